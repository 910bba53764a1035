//! Interface names: what the kernel accepts, and how ours are chosen.
//!
//! Knows nothing of fans but the one rule of 2015: a bridge is named after its slice.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::str::FromStr;

use ipnetwork::Ipv4Network;

use crate::fan::text::{escape, unescape};

/// A name the kernel accepts for a network interface: 1 to 15 bytes without `/`, `:`, `%` or white space,
/// and neither `.` nor `..` (`dev_valid_name`, net/core/dev.c at v6.12; `%` starts a name template there). The bytes need
/// not be text: the name is kept, compared and printed [escaped](crate::fan::text::escape), which no two names are alike.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(String);

/// The longest interface name in bytes: `IFNAMSIZ` less the terminating zero (linux/if.h).
pub(crate) const MAX_LEN: usize = 15;

impl InterfaceName {
    /// The name of an interface that is there, as the kernel has it: any bytes.
    #[must_use]
    pub(crate) fn from_kernel(bytes: &[u8]) -> Self {
        Self(escape(bytes))
    }

    /// The name as escaped text; of a [plain](Self::is_plain) one, the name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as the kernel has it.
    #[must_use]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        unescape(&self.0)
    }

    /// The name as a part of a path.
    #[must_use]
    pub(crate) fn os(&self) -> OsString {
        OsString::from_vec(self.bytes())
    }

    /// The name of one of its IPv4 settings, as sysctl(8) takes it. It reads a slash as the separator too, which a dot in an
    /// interface's name needs.
    #[must_use]
    pub(crate) fn setting(&self, setting: &str) -> Vec<u8> {
        [b"net/ipv4/conf/", &self.bytes()[..], b"/", setting.as_bytes()].concat()
    }

    /// The name of a setting of the interface's for IPv6, as [`setting`](Self::setting) has those for IPv4.
    #[must_use]
    pub(crate) fn ipv6_setting(&self, setting: &str) -> Vec<u8> {
        [b"net/ipv6/conf/", &self.bytes()[..], b"/", setting.as_bytes()].concat()
    }

    /// Whether the name is printable text that stands for itself between the quotes of nft(8), where `*` is a wildcard and
    /// `"` cannot be written. A fan has no devices with other names.
    #[must_use]
    pub(crate) fn is_plain(&self) -> bool {
        !self.0.contains(['\\', '"', '*'])
    }

    /// The bridge of a slice: `fan-` and the octets of its network without trailing zeros, as `fanctl` named it
    /// in 2015 (`fan-250-0-28`). Where that is longer than the kernel allows, which needs a slice longer than
    /// /24, the network as eight hexadecimal digits (`fan-fafffff0`).
    #[must_use]
    pub(crate) fn of_slice(slice: Ipv4Network) -> Self {
        let octets = slice.network().octets();
        let significant = octets.iter().rposition(|&octet| octet != 0).map_or(1, |last| last + 1);
        let mut name = String::from("fan");
        for octet in &octets[..significant] {
            name.push('-');
            name.push_str(&octet.to_string());
        }
        if name.len() > MAX_LEN {
            name = format!("fan-{:08x}", u32::from(slice.network()));
        }
        Self(name)
    }

    /// The one `ipip external` device that all IPIP fans of a host share.
    #[must_use]
    pub fn shared_tunnel() -> Self {
        Self("fan-ipip".into())
    }

    /// The WireGuard device of a fan for an even epoch (`fan-wa16384000`) or an odd one (`fan-wb16384000`), named like that of VXLAN.
    #[must_use]
    pub(crate) fn wireguard_tunnel(number: u32, epoch: u32) -> Self {
        let letter = if epoch.is_multiple_of(2) { 'a' } else { 'b' };
        Self(format!("fan-w{letter}{number}"))
    }

    /// The VXLAN device of a fan, named after its VXLAN network identifier (24 bits).
    #[must_use]
    pub(crate) fn vxlan_tunnel(vni: u32) -> Self {
        Self(format!("fan-vx{vni}"))
    }

    /// The port of a fan's bridge by which packets of the fast path enter it, named like the VXLAN device.
    #[must_use]
    pub(crate) fn fast_port(vni: u32) -> Self {
        Self(format!("fan-in{vni}"))
    }
}

impl FromStr for InterfaceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let complaint = if text.is_empty() {
            "is empty"
        } else if text.len() > MAX_LEN {
            "is longer than 15 bytes"
        } else if text == "." || text == ".." {
            "is reserved by the kernel"
        } else if text.contains(|c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace() || c.is_control()) {
            "holds a '/', ':', '%', blank or control character"
        } else {
            return Ok(Self(escape(text.as_bytes())));
        };
        Err(format!("interface name '{}' {complaint}", escape(text.as_bytes())))
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl serde::Serialize for InterfaceName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(slice: &str) -> String {
        InterfaceName::of_slice(slice.parse().unwrap()).to_string()
    }

    #[test]
    fn a_bridge_is_named_after_the_significant_octets_of_its_slice() {
        assert_eq!(bridge("250.0.28.0/24"), "fan-250-0-28");
        assert_eq!(bridge("10.3.4.0/24"), "fan-10-3-4");
        assert_eq!(bridge("250.3.0.0/24"), "fan-250-3");
        assert_eq!(bridge("250.0.0.0/24"), "fan-250");
        assert_eq!(bridge("250.255.255.0/24"), "fan-250-255-255");
        assert_eq!(bridge("10.1.2.16/28"), "fan-10-1-2-16");
    }

    #[test]
    fn a_name_that_would_not_fit_is_hexadecimal() {
        assert_eq!(bridge("250.255.255.240/28"), "fan-fafffff0");
    }

    #[test]
    fn a_name_of_any_bytes_is_kept_and_printed_escaped() {
        for (bytes, text, is_plain) in [
            (&b"eth0"[..], "eth0", true),
            (b"caf\xe9", r"caf\xe9", false),
            (b"a\x1b[2J", r"a\x1b[2J", false),
            (b"a\\b", r"a\x5cb", false),
            (b"e*", "e*", false),
            (b"a\"b", "a\"b", false),
            (b"x;$(y)'z", "x;$(y)'z", true),
        ] {
            let name = InterfaceName::from_kernel(bytes);
            assert_eq!((name.to_string(), name.bytes()), (text.to_string(), bytes.to_vec()));
            assert_eq!(name.is_plain(), is_plain, "{name}");
        }
        assert_eq!("a\\b".parse::<InterfaceName>(), Ok(InterfaceName::from_kernel(b"a\\b")));
    }

    #[test]
    fn names_the_kernel_refuses_are_refused_with_the_reason() {
        for (name, reason) in [
            ("", "empty"),
            ("sixteen-bytes-xx", "longer than 15"),
            ("..", "reserved"),
            ("a/b", "'/'"),
            ("eth0:1", "':'"),
            ("fan%d", "'%'"),
            ("a b", "blank"),
        ] {
            let error = name.parse::<InterfaceName>().unwrap_err();
            assert!(error.contains(reason), "{name}: {error}");
        }
        assert_eq!("enp0s31f6".parse::<InterfaceName>().unwrap().as_str(), "enp0s31f6");
    }
}
