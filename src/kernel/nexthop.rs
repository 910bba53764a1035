//! Next hops by number (`ip nexthop`), which a route may name instead of a device and a gateway.
//!
//! With `net.ipv4.nexthop_compat_mode` off, the number is all that the kernel tells of such a route's way
//! (`fib_dump_info`, net/ipv4/fib_semantics.c at v6.12). rtnetlink does not know the messages (linux/nexthop.h).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::route::{RouteAttribute, RouteMessage};

use super::netlink::{Netlink, Refusal, attributes};

const RTM_GETNEXTHOP: u16 = 106;
/// `struct nhmsg`: family, scope, protocol, a reserved byte, flags.
const HEADER_LEN: usize = 8;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;

/// Where a next hop leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hop {
    /// The index of its device; none for one that drops.
    pub(crate) device: Option<u32>,
    /// Its gateway, where that has an IPv4 address.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// For a group, the numbers of its members.
    members: Vec<u32>,
}

/// The next hops of this network namespace, by their numbers.
#[derive(Debug, Default)]
pub struct Hops(BTreeMap<u32, Hop>);

impl Hops {
    /// The next hop of a number; of a group, its first member. The kernel has no groups of groups (`nh_check_attr_group`).
    #[must_use]
    pub(crate) fn first(&self, number: u32) -> Option<Hop> {
        self.all(number).next().cloned()
    }

    /// The next hop of a number; of a group, all its members.
    pub(crate) fn all(&self, number: u32) -> impl Iterator<Item = &Hop> {
        let hop = self.0.get(&number);
        let alone = hop.filter(|hop| hop.members.is_empty());
        alone
            .into_iter()
            .chain(hop.into_iter().flat_map(|hop| hop.members.iter().filter_map(|member| self.0.get(member))))
    }
}

/// Whether a route names its next hop by number, and does not tell its device.
#[must_use]
pub(crate) fn is_by_number(message: &RouteMessage) -> bool {
    let has = |is: fn(&RouteAttribute) -> bool| message.attributes.iter().any(is);
    let tells_way = has(|attribute| matches!(attribute, RouteAttribute::Oif(_) | RouteAttribute::MultiPath(_)));
    has(|attribute| matches!(attribute, RouteAttribute::NhId(_))) && !tells_way
}

/// Asks for all next hops.
///
/// # Errors
/// What the kernel said.
pub(crate) fn list(netlink: &Netlink) -> Result<Hops, Refusal> {
    let answers = netlink.raw(RTM_GETNEXTHOP, NLM_F_DUMP, &[0; HEADER_LEN])?;
    Ok(Hops(answers.iter().filter_map(|answer| decode(answer)).collect()))
}

/// The number of a next hop in an answer, and where it leads.
fn decode(payload: &[u8]) -> Option<(u32, Hop)> {
    let (mut number, mut hop) = (None, Hop::default());
    let word = |value: &[u8]| value.first_chunk().copied().map(u32::from_ne_bytes);
    for (kind, value) in attributes(payload.get(HEADER_LEN..)?) {
        match kind {
            NHA_ID => number = word(value),
            // Entries of eight bytes, each of which begins with a number (`struct nexthop_grp`).
            NHA_GROUP => hop.members = value.chunks_exact(8).filter_map(word).collect(),
            NHA_OIF => hop.device = word(value),
            NHA_GATEWAY => hop.gateway = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from),
            _ => {}
        }
    }
    Some((number?, hop))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        for (kind, value) in attributes {
            bytes.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*value);
        }
        bytes
    }

    #[test]
    fn a_next_hop_and_a_group_are_read() {
        let word = |number: u32| number.to_ne_bytes();
        let one = answer(&[(NHA_ID, &word(7)), (NHA_OIF, &word(2)), (NHA_GATEWAY, &[172, 30, 0, 1])]);
        let members = [word(7), word(0), word(8), word(0)].concat();
        let group = answer(&[(NHA_ID, &word(9)), (NHA_GROUP, &members)]);
        let hops = Hops([&one, &group].into_iter().filter_map(|answer| decode(answer)).collect());
        let expected = Some(Hop { device: Some(2), gateway: Some([172, 30, 0, 1].into()), members: Vec::new() });
        assert_eq!((hops.first(7), hops.first(9), hops.first(8)), (expected.clone(), expected, None));
        assert_eq!((hops.all(7).count(), hops.all(9).count()), (1, 1), "the number 8 is nobody's");
        for len in 0..one.len() {
            let _ = decode(&one[..len]);
        }
    }
}
