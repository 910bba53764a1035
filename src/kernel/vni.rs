//! The network identifiers that a VXLAN device lets in (`bridge vni`): messages that rtnetlink does not know.
//!
//! `RTM_NEWTUNNEL`, `RTM_DELTUNNEL` and `RTM_GETTUNNEL` carry a `struct tunnel_msg` and nested entries (linux/if_link.h,
//! drivers/net/vxlan/vxlan_vnifilter.c at v6.1).

use std::collections::BTreeMap;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP};

use super::netlink::{NLA_F_NESTED, Netlink, Refusal, attributes};

const RTM_NEWTUNNEL: u16 = 120;
const RTM_DELTUNNEL: u16 = 121;
const RTM_GETTUNNEL: u16 = 122;
const PF_BRIDGE: u8 = 7;
const VXLAN_VNIFILTER_ENTRY: u16 = 1;
const VXLAN_VNIFILTER_ENTRY_START: u16 = 1;
/// `struct tunnel_msg`: family, flags, two reserved bytes, interface index.
const HEADER_LEN: usize = 8;

fn header(index: u32) -> Vec<u8> {
    let mut bytes = vec![PF_BRIDGE, 0, 0, 0];
    bytes.extend(index.to_ne_bytes());
    bytes
}

/// The payload of a request about one identifier.
#[must_use]
pub fn encode(index: u32, vni: u32) -> Vec<u8> {
    let mut bytes = header(index);
    bytes.extend(12_u16.to_ne_bytes());
    bytes.extend((VXLAN_VNIFILTER_ENTRY | NLA_F_NESTED).to_ne_bytes());
    bytes.extend(8_u16.to_ne_bytes());
    bytes.extend(VXLAN_VNIFILTER_ENTRY_START.to_ne_bytes());
    bytes.extend(vni.to_ne_bytes());
    bytes
}

/// Device index and first identifier of an answer.
#[must_use]
pub fn decode(payload: &[u8]) -> Option<(u32, u32)> {
    let index = u32::from_ne_bytes(*payload.get(4..)?.first_chunk()?);
    let vni = attributes(payload.get(HEADER_LEN..)?)
        .filter(|(kind, _)| *kind == VXLAN_VNIFILTER_ENTRY)
        .flat_map(|(_, entry)| attributes(entry))
        .find(|(kind, _)| *kind == VXLAN_VNIFILTER_ENTRY_START)?;
    Some((index, u32::from_ne_bytes(*vni.1.first_chunk()?)))
}

/// Lets an identifier into a VXLAN device.
///
/// # Errors
/// What the kernel said.
pub fn add(netlink: &Netlink, index: u32, vni: u32) -> Result<(), Refusal> {
    netlink.raw(RTM_NEWTUNNEL, NLM_F_ACK | NLM_F_CREATE, &encode(index, vni)).map(drop)
}

/// Lets an identifier into a VXLAN device no more.
///
/// # Errors
/// What the kernel said.
pub fn delete(netlink: &Netlink, index: u32, vni: u32) -> Result<(), Refusal> {
    netlink.raw(RTM_DELTUNNEL, NLM_F_ACK, &encode(index, vni)).map(drop)
}

/// The identifiers that the VXLAN devices of this namespace let in, by device index.
///
/// # Errors
/// What the kernel said.
pub fn list(netlink: &Netlink) -> Result<BTreeMap<u32, u32>, Refusal> {
    let answers = netlink.raw(RTM_GETTUNNEL, NLM_F_DUMP, &header(0))?;
    Ok(answers.iter().filter_map(|answer| decode(answer)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_back_as_written() {
        assert_eq!(decode(&encode(7, 16_384_000)), Some((7, 16_384_000)));
    }

    #[test]
    fn a_cut_answer_is_none_and_no_panic() {
        let whole = encode(7, 16_384_000);
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]), None, "{len}");
        }
    }
}
