//! The arithmetic of the fan: which slice of the overlay a host owns, and which host owns an overlay address.
//!
//! ```text
//! shift       = underlay_len - overlay_len
//! slice(host) = overlay  | ((host & ~underlay_mask) << shift)    length = overlay_len + 32 - underlay_len
//! host(addr)  = underlay | ((addr & ~overlay_mask)  >> shift)
//! ```
//!
//! Pure, and total once a [`Mapping`] exists: everything that cannot work is refused while making one.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnetwork::Ipv4Network;

/// Networks whose addresses cannot be given to containers, and why (RFC 6890).
const NEVER_OVERLAY: [(Ipv4Addr, u8, &str); 4] = [
    (Ipv4Addr::UNSPECIFIED, 8, "0.0.0.0/8 means 'this network'"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "127.0.0.0/8 is loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "169.254.0.0/16 is link-local"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "224.0.0.0/4 is multicast"),
];

/// The longest slice: a /30 holds the bridge's address and one container.
pub const MAX_SLICE_LEN: u8 = 30;

/// The network that containers live in, 250.0.0.0/8 in the examples. Host bits are zero; never inside
/// 0/8, 127/8, 169.254/16 or 224/4.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Overlay(Ipv4Network);

/// The network that hosts live in, 172.30.0.0/16 in the examples. Host bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Underlay(Ipv4Network);

/// An overlay laid over an underlay: `overlay_len < underlay_len`, the two do not overlap, and a slice is a /30 or
/// shorter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mapping {
    overlay: Overlay,
    underlay: Underlay,
}

/// Whether two networks share an address: one then holds the other.
#[must_use]
pub fn overlap(a: Ipv4Network, b: Ipv4Network) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}

/// The networks of [`NEVER_OVERLAY`] that a network touches, and why each is reserved.
fn reserved(network: Ipv4Network) -> impl Iterator<Item = (Ipv4Addr, &'static str)> {
    NEVER_OVERLAY.into_iter().filter_map(move |(base, len, reason)| {
        let reserved = Ipv4Network::new(base, len).expect("a literal prefix length");
        overlap(network, reserved).then_some((base, reason))
    })
}

/// The bits below a prefix of `len` bits (0 to 32).
fn host_mask(len: u8) -> u32 {
    u32::MAX.checked_shr(u32::from(len)).unwrap_or(0)
}

impl Overlay {
    /// An overlay from a network.
    ///
    /// # Errors
    /// A sentence when host bits are set, or when the network touches one whose addresses cannot be given out.
    pub fn new(network: Ipv4Network) -> Result<Self, String> {
        if network.ip() != network.network() {
            return Err(format!(
                "overlay '{network}' has host bits set; the network is {}/{}",
                network.network(),
                network.prefix()
            ));
        }
        match reserved(network).next() {
            None => Ok(Self(network)),
            Some((_, reason)) => Err(format!(
                "overlay '{network}' cannot be used: {reason}; 240.0.0.0/8 to 254.0.0.0/8 are free"
            )),
        }
    }

    /// The overlay as a network.
    #[must_use]
    pub fn network(self) -> Ipv4Network {
        self.0
    }

    /// Whether an address lies in the overlay.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        self.0.contains(address)
    }

    /// Whether two overlays share an address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        overlap(self.0, other.0)
    }

    /// The VXLAN network identifier of a fan over this overlay: the upper 24 bits of its network, as Ubuntu's fan
    /// had it (250.0.0.0/8 is 16384000).
    #[must_use]
    pub fn vni(self) -> u32 {
        u32::from(self.0.network()) >> 8
    }
}

impl FromStr for Overlay {
    type Err = String;

    /// `250.0.0.0/8`, or `250` for short.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(octet) = text.parse::<u8>() {
            let network = Ipv4Network::new(Ipv4Addr::new(octet, 0, 0, 0), 8).expect("8 is a prefix length");
            return Self::new(network);
        }
        if !text.contains('/') {
            return Err(format!(
                "overlay '{text}' is no network; write it like 250.0.0.0/8, or 250 for short"
            ));
        }
        let network = text
            .parse()
            .map_err(|_| format!("overlay '{text}' is no IPv4 network; write it like 250.0.0.0/8"))?;
        Self::new(network)
    }
}

impl Underlay {
    /// The underlay that an address lies in, given the underlay's prefix length (0 to 32).
    ///
    /// # Errors
    /// A sentence when the length is over 32, or when no host can have an address in the network.
    pub fn containing(address: Ipv4Addr, len: u8) -> Result<Self, String> {
        let inside = Ipv4Network::new(address, len)
            .map_err(|_| format!("underlay '{address}/{len}' has a prefix longer than 32 bits"))?;
        let network = Ipv4Network::new(inside.network(), len).expect("the length was just accepted");
        // A host can live on link-local addresses; it cannot on the other three.
        match reserved(network).find(|(base, _)| !base.is_link_local()) {
            None => Ok(Self(network)),
            Some((_, reason)) => Err(format!("underlay '{network}' cannot be used: {reason}")),
        }
    }

    /// The underlay as a network.
    #[must_use]
    pub fn network(self) -> Ipv4Network {
        self.0
    }

    /// Whether an address lies in the underlay.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        self.0.contains(address)
    }
}

impl Mapping {
    /// Lays an overlay over an underlay.
    ///
    /// # Errors
    /// A sentence when the widths leave no slice with room for containers, or when the two networks overlap.
    pub fn new(overlay: Overlay, underlay: Underlay) -> Result<Self, String> {
        let (over, under) = (overlay.0, underlay.0);
        if over.prefix() >= under.prefix() {
            return Err(format!(
                "overlay '{over}' is not wider than underlay '{under}': every host needs a slice of its own, so the \
                 overlay's prefix must be the shorter one"
            ));
        }
        let slice_len = over.prefix() + 32 - under.prefix();
        if slice_len > MAX_SLICE_LEN {
            return Err(format!(
                "overlay '{over}' over underlay '{under}' gives each host a /{slice_len}, which has no room for \
                 containers; a slice must be a /{MAX_SLICE_LEN} or shorter"
            ));
        }
        if overlap(over, under) {
            return Err(format!(
                "overlay '{over}' and underlay '{under}' overlap; choose an overlay that no host uses"
            ));
        }
        Ok(Self { overlay, underlay })
    }

    /// The overlay.
    #[must_use]
    pub fn overlay(self) -> Overlay {
        self.overlay
    }

    /// The underlay.
    #[must_use]
    pub fn underlay(self) -> Underlay {
        self.underlay
    }

    /// How far host bits move between the networks: `underlay_len - overlay_len`, 2 to 31 bits or, where every
    /// bit counts, 1 to 32.
    #[must_use]
    pub fn shift(self) -> u8 {
        self.underlay.0.prefix() - self.overlay.0.prefix()
    }

    /// The prefix length of every slice.
    #[must_use]
    pub fn slice_len(self) -> u8 {
        self.overlay.0.prefix() + 32 - self.underlay.0.prefix()
    }

    /// The slice of the host at an underlay address. Only the host bits of the address count.
    #[must_use]
    pub fn slice(self, host: Ipv4Addr) -> Ipv4Network {
        let bits = u32::from(host) & host_mask(self.underlay.0.prefix());
        let base = u32::from(self.overlay.0.network()) | bits.checked_shl(u32::from(self.shift())).unwrap_or(0);
        Ipv4Network::new(base.into(), self.slice_len()).expect("a mapping has a legal slice length")
    }

    /// The first address of the host's slice, which its bridge holds and containers use as their gateway.
    #[must_use]
    pub fn gateway(self, host: Ipv4Addr) -> Ipv4Addr {
        (u32::from(self.slice(host).network()) + 1).into()
    }

    /// The host behind an overlay address. Only the bits below the overlay's prefix count.
    #[must_use]
    pub fn host(self, address: Ipv4Addr) -> Ipv4Addr {
        let bits = u32::from(address) & host_mask(self.overlay.0.prefix());
        let host = bits.checked_shr(u32::from(self.shift())).unwrap_or(0);
        (u32::from(self.underlay.0.network()) | host).into()
    }
}

macro_rules! as_network {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0.to_string())
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }
    )*};
}
as_network!(Overlay, Underlay);

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {}", self.overlay, self.underlay)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mapping(overlay: &str, underlay: &str) -> Result<Mapping, String> {
        let network: Ipv4Network = underlay.parse().unwrap();
        Mapping::new(overlay.parse()?, Underlay::containing(network.ip(), network.prefix())?)
    }

    /// The vectors of sections 4 of the peers' reference: overlay, underlay, host, slice.
    const SLICES: [(&str, &str, &str, &str); 14] = [
        ("250.0.0.0/8", "172.16.0.0/16", "172.16.3.4", "250.3.4.0/24"),
        ("10.0.0.0/8", "172.16.0.0/16", "172.16.3.4", "10.3.4.0/24"),
        ("250.0.0.0/8", "172.30.0.0/16", "172.30.0.28", "250.0.28.0/24"),
        ("250", "172.30.0.0/16", "172.30.0.27", "250.0.27.0/24"),
        ("99.0.0.0/8", "10.88.0.0/16", "10.88.3.4", "99.3.4.0/24"),
        ("99.0.0.0/8", "10.99.224.0/20", "10.99.238.5", "99.224.80.0/20"),
        ("100.64.0.0/10", "10.224.220.0/24", "10.224.220.10", "100.66.128.0/18"),
        ("10.0.0.0/8", "172.21.0.0/16", "172.21.5.20", "10.5.20.0/24"),
        ("240.0.0.0/8", "10.248.0.0/16", "10.248.119.94", "240.119.94.0/24"),
        ("240.0.0.0/8", "192.168.202.0/24", "192.168.202.11", "240.11.0.0/16"),
        ("250.0.0.0/8", "10.0.0.0/16", "10.0.2.15", "250.2.15.0/24"),
        ("250.0.0.0/8", "192.168.0.0/16", "192.168.13.7", "250.13.7.0/24"),
        ("250.0.0.0/8", "172.30.0.0/16", "172.30.0.0", "250.0.0.0/24"),
        ("250.0.0.0/8", "172.30.0.0/16", "172.30.255.255", "250.255.255.0/24"),
    ];

    /// Inner destination to outer destination.
    const HOSTS: [(&str, &str, &str, &str); 6] = [
        ("99.0.0.0/8", "10.88.0.0/16", "99.6.7.8", "10.88.6.7"),
        ("100.64.0.0/10", "10.224.220.0/24", "100.66.200.5", "10.224.220.11"),
        ("10.0.0.0/8", "172.16.0.0/16", "10.3.4.15", "172.16.3.4"),
        ("240.0.0.0/8", "172.16.0.0/16", "240.5.6.25", "172.16.5.6"),
        ("250.0.0.0/8", "172.30.0.0/16", "250.0.27.3", "172.30.0.27"),
        ("240.0.0.0/8", "192.168.202.0/24", "240.11.200.5", "192.168.202.11"),
    ];

    #[test]
    fn the_worked_examples_hold() {
        for (overlay, underlay, host, slice) in SLICES {
            let mapping = mapping(overlay, underlay).unwrap();
            assert_eq!(
                mapping.slice(host.parse().unwrap()).to_string(),
                slice,
                "{mapping:?} {host}"
            );
        }
        for (overlay, underlay, inner, outer) in HOSTS {
            let mapping = mapping(overlay, underlay).unwrap();
            assert_eq!(
                mapping.host(inner.parse().unwrap()).to_string(),
                outer,
                "{mapping:?} {inner}"
            );
        }
    }

    #[test]
    fn vxlan_identifiers_are_ubuntus() {
        for (overlay, vni) in [("240", 15_728_640), ("250", 16_384_000), ("10", 655_360)] {
            assert_eq!(overlay.parse::<Overlay>().unwrap().vni(), vni);
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_sentence() {
        for (overlay, underlay, reason) in [
            ("1.0.0.0/8", "2.0.0.0/8", "not wider"),
            ("1.0.0.0/16", "2.0.0.0/8", "not wider"),
            ("1.0.0.0/8", "2.0.0.0/9", "no room for containers"),
            ("10.0.0.0/8", "10.1.0.0/16", "overlap"),
            ("0.0.0.0/8", "10.1.0.0/16", "this network"),
            ("0.0.0.0/0", "10.1.0.0/16", "this network"),
            ("126.0.0.0/7", "10.1.0.0/16", "loopback"),
            ("127", "10.1.0.0/16", "loopback"),
            ("169.254.128.0/17", "10.1.0.0/24", "link-local"),
            ("224.0.0.0/8", "10.1.0.0/16", "multicast"),
            ("250.1.0.0/8", "10.1.0.0/16", "the network is 250.0.0.0/8"),
            ("250.0.0.0", "10.1.0.0/16", "250.0.0.0/8"),
            ("333.122.142.17/18", "10.1.0.0/16", "no IPv4 network"),
            ("fd00::/8", "10.1.0.0/16", "no IPv4 network"),
            ("250", "127.0.0.0/16", "loopback"),
        ] {
            let error = mapping(overlay, underlay).unwrap_err();
            assert!(error.contains(reason), "{overlay} over {underlay}: {error}");
            assert!(
                error.contains(overlay) || error.contains("underlay"),
                "names what was written: {error}"
            );
        }
    }

    /// Every legal pair of widths, with networks that do not overlap.
    pub(crate) fn any_mapping() -> impl Strategy<Value = Mapping> {
        (1_u8..=30, any::<u32>(), any::<u32>())
            .prop_flat_map(|(over_len, over, under)| (Just(over_len), (over_len + 2)..=32, Just(over), Just(under)))
            .prop_filter_map("networks that may be used", |(over_len, under_len, over, under)| {
                let over = Ipv4Network::new((over & !host_mask(over_len)).into(), over_len).ok()?;
                Mapping::new(
                    Overlay::new(over).ok()?,
                    Underlay::containing(under.into(), under_len).ok()?,
                )
                .ok()
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, max_global_rejects: 2_000_000, ..ProptestConfig::default() })]

        #[test]
        fn a_mapping_inverts_itself(mapping in any_mapping(), bits: u32, inside: u32) {
            let under = mapping.underlay().network();
            let host = Ipv4Addr::from(u32::from(under.network()) | (bits & host_mask(under.prefix())));
            let slice = mapping.slice(host);
            let address = Ipv4Addr::from(u32::from(slice.network()) | (inside & host_mask(slice.prefix())));
            prop_assert_eq!(mapping.host(address), host);
            prop_assert!(slice.contains(address));
            prop_assert!(mapping.overlay().contains(slice.network()) && mapping.overlay().contains(slice.broadcast()));
            prop_assert!(slice.contains(mapping.gateway(host)) && slice.prefix() <= MAX_SLICE_LEN);
        }

        #[test]
        fn slices_of_different_hosts_are_disjoint(mapping in any_mapping(), one: u32, two: u32) {
            let under = mapping.underlay().network();
            let host = |bits: u32| Ipv4Addr::from(u32::from(under.network()) | (bits & host_mask(under.prefix())));
            let (one, two) = (host(one), host(two));
            prop_assert_eq!(overlap(mapping.slice(one), mapping.slice(two)), one == two);
        }
    }

    #[test]
    fn all_slices_of_a_16_tile_the_overlay_in_order() {
        let mapping = mapping("250", "172.30.0.0/16").unwrap();
        let mut next = u32::from(mapping.overlay().network().network());
        for host in 0..=u32::from(u16::MAX) {
            let host = Ipv4Addr::from(0xac1e_0000 | host);
            let slice = mapping.slice(host);
            assert_eq!(u32::from(slice.network()), next);
            next = next.wrapping_add(slice.size());
        }
        assert_eq!(next, u32::from(mapping.overlay().network().broadcast()) + 1);
    }
}
