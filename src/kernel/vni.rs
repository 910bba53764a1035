//! The network identifiers that a VXLAN device lets in (`bridge vni`): messages that rtnetlink does not know.
//!
//! `RTM_NEWTUNNEL`, `RTM_DELTUNNEL` and `RTM_GETTUNNEL` carry a `struct tunnel_msg` and nested entries (linux/if_link.h,
//! drivers/net/vxlan/vxlan_vnifilter.c at v6.1).

use std::collections::BTreeMap;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP};

use super::netlink::{NLA_F_NESTED, Netlink, Refusal, attributes};
use crate::plan::state::Vnis;

const RTM_NEWTUNNEL: u16 = 120;
const RTM_DELTUNNEL: u16 = 121;
const RTM_GETTUNNEL: u16 = 122;
const PF_BRIDGE: u8 = 7;
const VXLAN_VNIFILTER_ENTRY: u16 = 1;
const VXLAN_VNIFILTER_ENTRY_START: u16 = 1;
const VXLAN_VNIFILTER_ENTRY_END: u16 = 2;
/// `struct tunnel_msg`: family, flags, two reserved bytes, interface index.
const HEADER_LEN: usize = 8;

fn header(index: u32) -> Vec<u8> {
    let mut bytes = vec![PF_BRIDGE, 0, 0, 0];
    bytes.extend(index.to_ne_bytes());
    bytes
}

/// The payload of a request about identifiers, from first to last.
#[must_use]
pub fn encode(index: u32, (first, last): (u32, u32)) -> Vec<u8> {
    let mut entry = number(VXLAN_VNIFILTER_ENTRY_START, first);
    if last != first {
        entry.extend(number(VXLAN_VNIFILTER_ENTRY_END, last));
    }
    let mut bytes = header(index);
    // An entry holds two numbers at most.
    bytes.extend(u16::try_from(4 + entry.len()).unwrap_or_default().to_ne_bytes());
    bytes.extend((VXLAN_VNIFILTER_ENTRY | NLA_F_NESTED).to_ne_bytes());
    bytes.extend(entry);
    bytes
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    [&8_u16.to_ne_bytes()[..], &kind.to_ne_bytes(), &value.to_ne_bytes()].concat()
}

/// Device index and identifiers of an answer. The kernel tells those that follow one another as a range.
#[must_use]
pub fn decode(payload: &[u8]) -> Option<(u32, Vnis)> {
    let index = u32::from_ne_bytes(*payload.get(4..)?.first_chunk()?);
    let entries = attributes(payload.get(HEADER_LEN..)?).filter(|(kind, _)| *kind == VXLAN_VNIFILTER_ENTRY);
    let range = |(_, entry): (u16, &[u8])| {
        let find = |kind| attributes(entry).find(|(found, _)| *found == kind);
        let number = |kind| Some(u32::from_ne_bytes(*find(kind)?.1.first_chunk()?));
        let first = number(VXLAN_VNIFILTER_ENTRY_START)?;
        let last = number(VXLAN_VNIFILTER_ENTRY_END).unwrap_or(first);
        Some((first, last.max(first)))
    };
    Some((index, entries.filter_map(range).collect()))
}

/// Lets identifiers, from first to last, into a VXLAN device.
///
/// # Errors
/// What the kernel said.
pub(crate) fn add(netlink: &Netlink, index: u32, vnis: (u32, u32)) -> Result<(), Refusal> {
    netlink.raw(RTM_NEWTUNNEL, NLM_F_ACK | NLM_F_CREATE, &encode(index, vnis)).map(drop)
}

/// Lets identifiers, from first to last, into a VXLAN device no more.
///
/// # Errors
/// What the kernel said.
pub(crate) fn delete(netlink: &Netlink, index: u32, vnis: (u32, u32)) -> Result<(), Refusal> {
    netlink.raw(RTM_DELTUNNEL, NLM_F_ACK, &encode(index, vnis)).map(drop)
}

/// The identifiers that the VXLAN devices of this namespace let in, by device index.
///
/// # Errors
/// What the kernel said.
pub(crate) fn list(netlink: &Netlink) -> Result<BTreeMap<u32, Vnis>, Refusal> {
    let answers = netlink.raw(RTM_GETTUNNEL, NLM_F_DUMP, &header(0))?;
    let mut list = BTreeMap::<u32, Vnis>::new();
    for (index, vnis) in answers.iter().filter_map(|answer| decode(answer)) {
        list.entry(index).or_default().extend(vnis);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::state::vnis_but;

    #[test]
    fn an_entry_is_read_back_as_written() {
        for range in [(16_384_000, 16_384_000), (16_384_000, 16_384_009)] {
            assert_eq!(decode(&encode(7, range)), Some((7, [range].into())));
        }
    }

    #[test]
    fn a_cut_answer_is_nothing_and_no_panic() {
        let whole = encode(7, (1, 9));
        for len in 0..whole.len() {
            let found = decode(&whole[..len]).map(|(_, vnis)| vnis).unwrap_or_default();
            assert_eq!(found, Vnis::new(), "{len}");
        }
    }

    #[test]
    fn what_is_too_much_is_told() {
        let own = [(5, 5)].into();
        assert_eq!(vnis_but(&[(1, 9)].into(), &own), [(1, 4), (6, 9)].into());
        assert_eq!(vnis_but(&[(0, 5), (7, 7)].into(), &own), [(0, 4), (7, 7)].into());
        assert_eq!(vnis_but(&own, &[(1, 9)].into()), Vnis::new());
        assert_eq!(vnis_but(&own, &Vnis::new()), own);
    }
}
