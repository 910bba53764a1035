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

#[cfg(test)]
pub(crate) mod tests;

/// Networks whose addresses cannot be given to containers, and why (RFC 6890).
const NEVER_OVERLAY: [(Ipv4Addr, u8, &str); 4] = [
    (Ipv4Addr::UNSPECIFIED, 8, "0.0.0.0/8 means 'this network'"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "127.0.0.0/8 is loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "169.254.0.0/16 is link-local"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "224.0.0.0/4 is multicast"),
];

/// The longest slice: a /30 holds the bridge's address and one container.
pub(crate) const MAX_SLICE_LEN: u8 = 30;

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

/// Reads a number that is written in digits alone: a sign before it is no part of any number here.
#[must_use]
pub(crate) fn digits<T: FromStr>(text: &str) -> Option<T> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// Whether two networks share an address: one then holds the other.
#[must_use]
pub(crate) fn overlap(a: Ipv4Network, b: Ipv4Network) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}

/// The networks of [`NEVER_OVERLAY`] that a network touches, and why each is reserved.
fn reserved(network: Ipv4Network) -> impl Iterator<Item = (Ipv4Addr, &'static str)> {
    NEVER_OVERLAY.into_iter().filter_map(move |(base, len, reason)| {
        let reserved = Ipv4Network::new(base, len).expect("a literal prefix length");
        overlap(network, reserved).then_some((base, reason))
    })
}

/// The prefix length of each host's slice, which the widths of overlay and underlay decide. The underlay is called as it was
/// written: an interface is that of no network yet.
///
/// # Errors
/// A sentence: the widths leave no slice with room for containers.
pub(crate) fn slice_len(overlay: Overlay, underlay: &impl fmt::Display, underlay_len: u8) -> Result<u8, String> {
    let overlay_len = overlay.0.prefix();
    if overlay_len >= underlay_len {
        return Err(format!(
            "overlay '{overlay}' is not wider than underlay '{underlay}': every host needs a slice of its own, so the \
             overlay's prefix must be the shorter one"
        ));
    }
    let slice_len = overlay_len + 32 - underlay_len;
    if slice_len > MAX_SLICE_LEN {
        return Err(format!(
            "overlay '{overlay}' over underlay '{underlay}' gives each host a /{slice_len}, which has no room for \
             containers; a slice must be a /{MAX_SLICE_LEN} or shorter"
        ));
    }
    Ok(slice_len)
}

/// How many addresses hosts and containers can have in a slice: all but its first and its last.
#[must_use]
pub(crate) fn room(slice_len: u8) -> u32 {
    host_mask(slice_len).saturating_sub(1)
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
            Some((_, reason)) => {
                Err(format!("overlay '{network}' cannot be used: {reason}; 240.0.0.0/8 to 254.0.0.0/8 are free"))
            }
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
    pub(crate) fn overlaps(self, other: Self) -> bool {
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
        if let Some(octet) = digits(text) {
            let network = Ipv4Network::new(Ipv4Addr::new(octet, 0, 0, 0), 8).expect("8 is a prefix length");
            return Self::new(network);
        }
        let Some((_, len)) = text.split_once('/') else {
            return Err(format!("overlay '{text}' is no network; write it like 250.0.0.0/8, or 250 for short"));
        };
        // A length may be a mask in dots.
        let network = text.parse().ok().filter(|_| !len.contains('+'));
        let network =
            network.ok_or_else(|| format!("overlay '{text}' is no IPv4 network; write it like 250.0.0.0/8"))?;
        Self::new(network)
    }
}

/// The address that all hosts of a network hear, its last (RFC 919, section 7); none where two addresses or one are all that it
/// has (RFC 3021).
#[must_use]
pub(crate) fn broadcast(network: Ipv4Network) -> Option<Ipv4Addr> {
    (network.prefix() <= 30).then(|| network.broadcast())
}

/// The addresses of a network that are no host's: the one whose host bits are all ones, and the one whose host bits are all zeros
/// (RFC 1122, section 3.2.1.3); none where two addresses or one are all that it has.
pub(crate) fn of_no_host(network: Ipv4Network) -> impl Iterator<Item = Ipv4Addr> {
    broadcast(network).into_iter().flat_map(move |last| [network.network(), last])
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
        slice_len(overlay, &underlay, under.prefix())?;
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
    pub(crate) fn slice_len(self) -> u8 {
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
