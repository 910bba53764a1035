//! The hosts and slices that rules of others are about, which are asked about one by one.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use super::Ways;
use crate::diagnose::netfilter::{Entries, Field, FirewallTable, Match, Value};

/// At most so many of each.
const NAMED: usize = 64;

impl Ways<'_> {
    /// Hosts of the underlay that rules of others are about, whether or not they have been talked to: the first of each
    /// range of addresses, at most so many.
    pub(super) fn named(&self, others: &[FirewallTable]) -> BTreeSet<Ipv4Addr> {
        let own: BTreeSet<Ipv4Addr> =
            self.facts.host.links.iter().flat_map(|link| &link.addresses).map(|own| own.address.ip()).collect();
        let underlay = self.fan.mapping.underlay().network();
        let (first, _) = ends(underlay);
        let hosts = parts(others, underlay).map(|(from, _)| Ipv4Addr::from(from.max(first + 1)));
        hosts.filter(|host| !own.contains(host)).take(NAMED).collect()
    }

    /// Other hosts whose whole slice rules of others are about: the first of each range, at most so many.
    pub(super) fn sliced(&self, others: &[FirewallTable]) -> BTreeSet<Ipv4Addr> {
        let mapping = self.fan.mapping;
        let overlay = self.fan.overlay().network();
        let (first, last) = ends(overlay);
        let hosts = parts(others, overlay).filter_map(|(from, to)| {
            let (start, end) = ends(mapping.slice(mapping.host(Ipv4Addr::from(from.max(first)))));
            // The slice in which the range begins, or the next one.
            let [start, end] =
                if start < from { [end.checked_add(1)?, end.checked_add(end - start + 1)?] } else { [start, end] };
            (end <= to.min(last)).then(|| mapping.host(Ipv4Addr::from(start)))
        });
        hosts.filter(|host| *host != self.fan.host).take(NAMED).collect()
    }
}

/// The first and the last address of a network.
fn ends(network: Ipv4Network) -> (u32, u32) {
    (network.network().into(), network.broadcast().into())
}

/// The ranges that have a part of a network, and not all of it.
fn parts(others: &[FirewallTable], network: Ipv4Network) -> impl Iterator<Item = (u32, u32)> {
    let (first, last) = ends(network);
    ranges(others).filter(move |(from, to)| (*from > first || *to < last) && *from <= last && *to >= first)
}

/// The ranges of addresses that rules are about, and numbers that may be none.
fn ranges(others: &[FirewallTable]) -> impl Iterator<Item = (u32, u32)> {
    let of_table = |table: &FirewallTable| {
        let rules = table.chains.values().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.matches);
        let of_rules = rules.flat_map(|condition| match condition {
            Match::Field { field: Field::Source | Field::Destination, values, .. } => values.iter().collect(),
            Match::Tuples { tuples, .. } => tuples.iter().flatten().collect(),
            Match::Map(_, Entries::Own(entries)) => entries.iter().flat_map(|(values, _)| values).collect(),
            _ => Vec::new(),
        });
        let of_maps = table.maps.values().flatten().flat_map(|(values, _)| values);
        let range = |value: &Value| match *value {
            Value::Range(from, to) if from <= to => Some((from, to)),
            _ => None,
        };
        of_rules.chain(table.sets.values().flatten()).chain(of_maps).filter_map(range).collect::<Vec<_>>()
    };
    others.iter().flat_map(of_table)
}
