//! Flat names: which addresses a name has, on all hosts whose names are known first-hand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::facts::{Facts, at_offset};
use crate::fan::label::Label;
use crate::fan::mapping::Mapping;

/// The names of all hosts. An address is always computed from the host that told of it.
#[derive(Debug)]
pub struct Book {
    mapping: Mapping,
    index: BTreeMap<Label, BTreeSet<Ipv4Addr>>,
    /// What stands in the index, by host.
    published: BTreeMap<Ipv4Addr, Facts>,
}

impl Book {
    /// An empty book.
    #[must_use]
    pub fn new(mapping: Mapping) -> Self {
        Self { mapping, index: BTreeMap::new(), published: BTreeMap::new() }
    }

    /// Has the names of a host be these, and no others.
    pub fn publish(&mut self, host: Ipv4Addr, facts: Facts) {
        self.withdraw(host);
        for (label, offset) in facts.entries() {
            if let Some(address) = at_offset(self.mapping, host, *offset) {
                self.index.entry(label.clone()).or_default().insert(address);
            }
        }
        if !facts.entries().is_empty() {
            self.published.insert(host, facts);
        }
    }

    /// Takes out the names of a host.
    pub fn withdraw(&mut self, host: Ipv4Addr) {
        let Some(facts) = self.published.remove(&host) else { return };
        for (label, offset) in facts.entries() {
            let (Some(addresses), Some(address)) = (self.index.get_mut(label), at_offset(self.mapping, host, *offset))
            else {
                continue;
            };
            addresses.remove(&address);
            if addresses.is_empty() {
                self.index.remove(label);
            }
        }
    }

    /// The addresses of a name, on all hosts.
    pub fn addresses<'a>(&'a self, label: &Label) -> impl Iterator<Item = Ipv4Addr> + use<'a> {
        self.index.get(label).into_iter().flatten().copied()
    }

    /// Every name with its addresses.
    pub fn names(&self) -> impl Iterator<Item = (&Label, &BTreeSet<Ipv4Addr>)> {
        self.index.iter()
    }

    /// What a host says, as far as it is published.
    #[must_use]
    pub fn of_host(&self, host: Ipv4Addr) -> Option<&Facts> {
        self.published.get(&host)
    }
}
