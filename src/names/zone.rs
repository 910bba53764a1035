//! What a name of the fan's zones means, by arithmetic alone.
//!
//! | name | means |
//! |---|---|
//! | `250-0-28-3.ip.fan.internal` | the address itself |
//! | `gw.250-0-28.fan.internal` | the gateway of a slice |
//! | `web.250-0-28.fan.internal` | what the host of that slice calls `web` |
//! | `web.h-172-30-0-28.fan.internal` | the same, by the host's address |
//! | `web.fan.internal` | what any host calls `web` |
//! | `3.28.0.250.in-addr.arpa` | what the host of 250.0.28.3 calls it |

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::fan::label::{Label, octets};
use crate::fan::mapping::{Mapping, of_no_host};

pub use crate::fan::label::DOMAIN;

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The zone itself, or a name above others: it exists, and has no address.
    Empty,
    /// This address, by its spelling.
    Address(Ipv4Addr),
    /// What the host at this address of the underlay calls so.
    OfHost(Ipv4Addr, Label),
    /// What any host calls so.
    Flat(Label),
    /// What the container at this address of the overlay is called.
    Reverse(Ipv4Addr),
    /// A name of the zone that nothing can have.
    Missing,
    /// Not of these zones.
    Elsewhere,
}

/// The zones of one fan: its domain, and the reverse of its overlay.
#[derive(Clone, Debug)]
pub struct Zone {
    mapping: Mapping,
    /// Labels of the domain, the last first, in lower case.
    domain: Vec<String>,
}

/// The address that octets begin, with zeros behind them.
fn address(octets: &[u8]) -> Ipv4Addr {
    let mut all = [0; 4];
    all[..octets.len()].copy_from_slice(octets);
    all.into()
}

fn dashed(octets: &[u8]) -> String {
    octets.iter().map(u8::to_string).collect::<Vec<_>>().join("-")
}

impl Zone {
    /// The zones of a fan with this domain, `fan.internal` if in doubt.
    #[must_use]
    pub fn new(mapping: Mapping, domain: &str) -> Self {
        let domain = domain.trim_end_matches('.').rsplit('.').map(str::to_ascii_lowercase).collect();
        Self { mapping, domain }
    }

    /// The fan's mapping.
    #[must_use]
    pub fn mapping(&self) -> Mapping {
        self.mapping
    }

    /// The domain, without a dot at its end.
    #[must_use]
    pub fn domain(&self) -> String {
        let labels: Vec<&str> = self.domain.iter().rev().map(String::as_str).collect();
        labels.join(".")
    }

    /// What the name with these labels means, the first being the leftmost; letters in any case.
    #[must_use]
    pub fn meaning(&self, labels: &[&str]) -> Meaning {
        let lower: Vec<String> = labels.iter().map(|label| label.to_ascii_lowercase()).collect();
        let mut from_end = lower.iter().rev().map(String::as_str);
        let is_ours = self.domain.iter().all(|label| from_end.next() == Some(label));
        if !is_ours {
            return self.reverse(&lower);
        }
        let rest: Vec<&str> = lower[..lower.len() - self.domain.len()].iter().map(String::as_str).collect();
        match *rest.as_slice() {
            [] | ["ip"] => Meaning::Empty,
            [name] if self.host_named(name).is_some() => Meaning::Empty,
            [name] => Label::new(name).map_or(Meaning::Missing, Meaning::Flat),
            [spelled, "ip"] => self.spelled(spelled).map_or(Meaning::Missing, Meaning::Address),
            [name, place] => self.at_host(name, place),
            _ => Meaning::Missing,
        }
    }

    fn at_host(&self, name: &str, place: &str) -> Meaning {
        match (self.host_named(place), name) {
            (None, _) => Meaning::Missing,
            (Some(host), "gw") => Meaning::Address(self.mapping.gateway(host)),
            (Some(host), name) => Label::new(name).map_or(Meaning::Missing, |label| Meaning::OfHost(host, label)),
        }
    }

    /// The host that a label like `250-0-28` or `h-172-30-0-28` is for.
    fn host_named(&self, label: &str) -> Option<Ipv4Addr> {
        if let Some(spelled) = label.strip_prefix("h-") {
            let octets = octets(spelled).filter(|octets| octets.len() == 4)?;
            return Some(address(&octets)).filter(|host| self.is_host(*host));
        }
        let network = address(&octets(label)?);
        let host = self.mapping.host(network);
        let is_slice = self.mapping.overlay().contains(network) && self.slice_label(host) == label;
        (is_slice && self.is_host(host)).then_some(host)
    }

    /// The label of a host's slice: the octets of its network without zeros at the end, as in the name of its bridge.
    #[must_use]
    pub fn slice_label(&self, host: Ipv4Addr) -> String {
        let octets = self.mapping.slice(host).network().octets();
        let significant = octets.iter().rposition(|octet| *octet != 0).map_or(1, |last| last + 1);
        dashed(&octets[..significant])
    }

    /// Whether an address is one that a host of the underlay can have.
    #[must_use]
    pub fn is_host(&self, address: Ipv4Addr) -> bool {
        let underlay = self.mapping.underlay();
        underlay.contains(address) && !of_no_host(underlay.network()).any(|none| none == address)
    }

    /// An address of the overlay that is spelled in full.
    fn spelled(&self, label: &str) -> Option<Ipv4Addr> {
        let octets = octets(label).filter(|octets| octets.len() == 4)?;
        Some(address(&octets)).filter(|address| self.mapping.overlay().contains(*address))
    }

    /// The name that an address always has.
    #[must_use]
    pub fn name_of_address(&self, address: Ipv4Addr) -> String {
        format!("{}.ip.{}", dashed(&address.octets()), self.domain())
    }

    /// The full name of what a host calls so.
    #[must_use]
    pub fn name_at_host(&self, host: Ipv4Addr, label: &str) -> String {
        format!("{label}.{}.{}", self.slice_label(host), self.domain())
    }

    /// The zone that names of addresses are in: the reverse of the overlay's whole octets, `250.in-addr.arpa`.
    #[must_use]
    pub fn reverse_domain(&self) -> String {
        let overlay = self.mapping.overlay().network();
        let octets = overlay.network().octets();
        let mut name = String::new();
        for octet in octets[..usize::from(overlay.prefix() / 8)].iter().rev() {
            let _ = write!(name, "{octet}.");
        }
        name + "in-addr.arpa"
    }

    /// The domain, and the zones that the overlay alone is in: sixteen for a /12.
    #[must_use]
    pub fn domains(&self) -> Vec<String> {
        let overlay = self.mapping.overlay().network();
        let octets = usize::from(overlay.prefix().div_ceil(8));
        let first = u32::from(overlay.network());
        let reverse = (0..1_u32 << (octets * 8 - usize::from(overlay.prefix()))).map(|number| {
            let network = Ipv4Addr::from(first + (number << (32 - octets * 8)));
            let spelled: Vec<String> = network.octets()[..octets].iter().rev().map(u8::to_string).collect();
            format!("{}.in-addr.arpa", spelled.join("."))
        });
        std::iter::once(self.domain()).chain(reverse).collect()
    }

    /// Names under in-addr.arpa (RFC 1035, section 3.5).
    fn reverse(&self, labels: &[String]) -> Meaning {
        let [octets @ .., in_addr, arpa] = labels else { return Meaning::Elsewhere };
        if (in_addr.as_str(), arpa.as_str()) != ("in-addr", "arpa") || octets.len() > 4 {
            return Meaning::Elsewhere;
        }
        let spelled: Vec<&str> = octets.iter().rev().map(String::as_str).collect();
        let Some(octets) = octets_of(&spelled) else { return Meaning::Elsewhere };
        let first = address(&octets);
        let overlay = self.mapping.overlay();
        match octets.len() {
            4 if overlay.contains(first) => Meaning::Reverse(first),
            len if overlay.contains(first) && len * 8 >= usize::from(overlay.network().prefix()) => Meaning::Empty,
            _ => Meaning::Elsewhere,
        }
    }
}

fn octets_of(spelled: &[&str]) -> Option<Vec<u8>> {
    if spelled.is_empty() { Some(Vec::new()) } else { octets(&spelled.join("-")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fan::mapping::Underlay;

    pub(crate) fn zone(overlay: &str, host: [u8; 4], len: u8) -> Zone {
        let underlay = Underlay::containing(host.into(), len).unwrap();
        Zone::new(Mapping::new(overlay.parse().unwrap(), underlay).unwrap(), DOMAIN)
    }

    fn meaning(zone: &Zone, name: &str) -> Meaning {
        zone.meaning(&name.split('.').collect::<Vec<_>>())
    }

    #[test]
    fn names_mean_what_the_table_says() {
        let zone = zone("250.0.0.0/8", [172, 30, 0, 28], 16);
        let web = Label::new("web").unwrap();
        let of_host = Meaning::OfHost([172, 30, 0, 28].into(), web.clone());
        for (name, expected) in [
            ("fan.internal", Meaning::Empty),
            ("ip.fan.internal", Meaning::Empty),
            ("250-0-28.fan.internal", Meaning::Empty),
            ("250-0-28-3.ip.FAN.internal", Meaning::Address([250, 0, 28, 3].into())),
            ("251-0-28-3.ip.fan.internal", Meaning::Missing),
            ("250-0-28.ip.fan.internal", Meaning::Missing),
            ("gw.250-0-28.fan.internal", Meaning::Address([250, 0, 28, 1].into())),
            ("web.250-0-28.fan.internal", of_host.clone()),
            ("WEB.h-172-30-0-28.fan.internal", of_host),
            ("web.250-0-028.fan.internal", Meaning::Missing),
            ("web.250-0-28-0.fan.internal", Meaning::Missing),
            ("web.251-0-28.fan.internal", Meaning::Missing),
            ("web.250.fan.internal", Meaning::Missing),
            ("web.h-172-31-0-28.fan.internal", Meaning::Missing),
            ("web.fan.internal", Meaning::Flat(web)),
            ("a.web.fan.internal", Meaning::Missing),
            ("a.b.250-0-28.fan.internal", Meaning::Missing),
            ("3.28.0.250.in-addr.arpa", Meaning::Reverse([250, 0, 28, 3].into())),
            ("250.in-addr.arpa", Meaning::Empty),
            ("in-addr.arpa", Meaning::Elsewhere),
            ("3.28.0.251.in-addr.arpa", Meaning::Elsewhere),
            ("example.net", Meaning::Elsewhere),
            ("internal", Meaning::Elsewhere),
            ("", Meaning::Elsewhere),
        ] {
            assert_eq!(meaning(&zone, name), expected, "{name}");
        }
        assert_eq!(zone.reverse_domain(), "250.in-addr.arpa");
    }

    #[test]
    fn a_resolver_is_to_ask_for_the_overlay_and_no_more() {
        let host = [172, 30, 0, 28];
        assert_eq!(zone("250.0.0.0/8", host, 16).domains(), ["fan.internal", "250.in-addr.arpa"]);
        assert_eq!(zone("10.64.0.0/16", host, 24).domains(), ["fan.internal", "64.10.in-addr.arpa"]);
        let domains = zone("100.64.0.0/12", [10, 0, 3, 9], 24).domains();
        assert_eq!(domains.len(), 17);
        assert_eq!((&*domains[1], &*domains[16]), ("64.100.in-addr.arpa", "79.100.in-addr.arpa"));
    }

    #[test]
    fn slices_that_are_not_on_octets_have_labels() {
        let zone = zone("100.64.0.0/12", [10, 0, 3, 9], 24);
        let label = zone.slice_label([10, 0, 3, 9].into());
        assert_eq!(label, "100-64-144");
        assert_eq!(meaning(&zone, &format!("gw.{label}.fan.internal")), Meaning::Address([100, 64, 144, 1].into()));
        assert_eq!(meaning(&zone, "gw.100-64-145.fan.internal"), Meaning::Missing);
    }

    proptest! {
        #[test]
        fn what_is_computed_is_read_back(bits in 1_u32..65_535, offset in 1_u32..255) {
            let zone = zone("250.0.0.0/8", [172, 30, 0, 28], 16);
            let host = Ipv4Addr::from(0xac1e_0000 | bits);
            let address = Ipv4Addr::from(u32::from(zone.mapping().slice(host).network()) + offset);
            prop_assert_eq!(meaning(&zone, &zone.name_of_address(address)), Meaning::Address(address));
            let web = Label::new("web").unwrap();
            prop_assert_eq!(meaning(&zone, &zone.name_at_host(host, "web")), Meaning::OfHost(host, web));
        }

        #[test]
        fn any_labels_have_a_meaning(labels in prop::collection::vec(".{0,20}", 0..8)) {
            let zone = zone("250.0.0.0/8", [172, 30, 0, 28], 16);
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let _ = zone.meaning(&labels);
        }
    }
}
