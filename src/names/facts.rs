//! What a host says of itself: its names, each with an address of its slice.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fan::label::Label;
use crate::fan::mapping::{Mapping, room};

/// The most names that one host has, counted with each of their addresses.
pub const MOST_NAMES: usize = 1024;

/// Which of a host's statements about itself this is. A later one is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// When the host's daemon began, in seconds since 1970 by its own clock.
    pub boot: u32,
    /// Changes since then.
    pub count: u32,
}

/// A name and its address, as an offset into the slice of the host that says so: 1 is the gateway.
pub type Entry = (Label, u32);

/// The address at an offset of a host's slice; none at its first and last, or beyond it.
#[must_use]
pub fn at_offset(mapping: Mapping, host: Ipv4Addr, offset: u32) -> Option<Ipv4Addr> {
    let is_inside = (1..=room(mapping.slice_len())).contains(&offset);
    is_inside.then(|| (u32::from(mapping.slice(host).network()) + offset).into())
}

/// The offset of an address in a host's slice; none for another host's, and for the slice's first and last.
#[must_use]
pub fn offset(mapping: Mapping, host: Ipv4Addr, address: Ipv4Addr) -> Option<u32> {
    let offset = u32::from(address).checked_sub(u32::from(mapping.slice(host).network()))?;
    at_offset(mapping, host, offset).map(|_| offset)
}

/// The names of one host, sorted, each once with each address; at most [`MOST_NAMES`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(Arc<[Entry]>);

impl Facts {
    /// What a host says of itself: names whose addresses are of its slice, the first [`MOST_NAMES`] of them.
    #[must_use]
    pub fn own(mapping: Mapping, host: Ipv4Addr, names: impl IntoIterator<Item = (Label, Ipv4Addr)>) -> Self {
        let entries = names.into_iter().filter_map(|(label, address)| Some((label, offset(mapping, host, address)?)));
        let entries: BTreeSet<Entry> = entries.collect();
        Self(entries.into_iter().take(MOST_NAMES).collect())
    }

    /// What a host said, in parts; none where it is more than a host may say, or an offset is outside of its slice.
    #[must_use]
    pub fn told(mapping: Mapping, host: Ipv4Addr, entries: impl IntoIterator<Item = Entry>) -> Option<Self> {
        let mut all: Vec<Entry> = Vec::new();
        for entry in entries {
            at_offset(mapping, host, entry.1)?;
            all.push(entry);
            if all.len() > MOST_NAMES {
                return None;
            }
        }
        all.sort();
        all.dedup();
        Some(Self(all.into()))
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Addresses of a name, as offsets.
    pub fn offsets(&self, label: &Label) -> impl Iterator<Item = u32> {
        let first = self.0.partition_point(|entry| entry.0 < *label);
        self.0[first..].iter().take_while(move |entry| entry.0 == *label).map(|entry| entry.1)
    }

    /// Names of an address.
    pub fn labels(&self, offset: u32) -> impl Iterator<Item = &Label> {
        self.0.iter().filter(move |entry| entry.1 == offset).map(|entry| &entry.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::tests::announced;

    #[test]
    fn a_host_speaks_only_for_its_slice() {
        let (mapping, host) = (announced().mapping, announced().host);
        let label = |text: &str| Label::new(text).unwrap();
        let own = Facts::own(
            mapping,
            host,
            [
                (label("web"), [250, 0, 28, 3].into()),
                (label("web"), [250, 0, 28, 4].into()),
                (label("db"), [250, 0, 28, 3].into()),
                (label("db"), [250, 0, 27, 3].into()),
                (label("db"), [250, 0, 28, 0].into()),
                (label("db"), [250, 0, 28, 255].into()),
                (label("db"), [10, 0, 0, 1].into()),
            ],
        );
        assert_eq!(own.offsets(&label("web")).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(own.offsets(&label("db")).collect::<Vec<_>>(), [3]);
        assert_eq!(own.labels(3).map(Label::as_str).collect::<Vec<_>>(), ["db", "web"]);
        for offset in [0, 255, 256, u32::MAX] {
            assert_eq!(Facts::told(mapping, host, [(label("web"), 3), (label("a"), offset)]), None, "{offset}");
        }
    }
}
