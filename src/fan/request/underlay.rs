//! Where a host's underlay address comes from, before the host is looked at.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::fan::mapping::{Underlay, digits};
use crate::fan::name::InterfaceName;

/// The prefix length of an underlay that was written without one.
pub const DEFAULT_UNDERLAY_LEN: u8 = 16;

/// Where the host's address in the underlay comes from, and the underlay's prefix length (0 to 32; 16 when not
/// written), which need not be that of the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderlaySource {
    /// Where to look for the address.
    pub(crate) place: UnderlayPlace,
    /// Prefix length of the underlay.
    pub(crate) len: u8,
}

/// Where to look for the host's underlay address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnderlayPlace {
    /// `eth0/16`: the first suitable address of the interface.
    Interface(InterfaceName),
    /// `172.30.0.28/16`: this address, which the host must have.
    Address(Ipv4Addr),
    /// `172.30.0.0/16`: the host's one address in this network.
    Network(Underlay),
    /// `default/16`: the first suitable address of the interface that the default route uses.
    Default,
}

impl UnderlaySource {
    /// The interface, where one was named.
    #[must_use]
    pub(crate) fn interface(&self) -> Option<&InterfaceName> {
        match &self.place {
            UnderlayPlace::Interface(name) => Some(name),
            UnderlayPlace::Address(_) | UnderlayPlace::Network(_) | UnderlayPlace::Default => None,
        }
    }

    /// The underlay, where it can be told without looking at the host.
    #[must_use]
    pub fn underlay(&self) -> Option<Underlay> {
        match &self.place {
            UnderlayPlace::Network(underlay) => Some(*underlay),
            UnderlayPlace::Address(address) => Underlay::containing(*address, self.len).ok(),
            UnderlayPlace::Interface(_) | UnderlayPlace::Default => None,
        }
    }
}

impl FromStr for UnderlaySource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.split('/').next().is_some_and(|place| place.parse::<Ipv6Addr>().is_ok()) {
            return Err(format!("underlay '{text}' is IPv6; a fan is IPv4 only, like 172.30.0.0/16"));
        }
        let (place, len) = match text.split_once('/') {
            None => (text, DEFAULT_UNDERLAY_LEN),
            Some((place, len)) => (
                place,
                digits(len)
                    .filter(|len| *len <= 32)
                    .ok_or_else(|| format!("underlay '{text}' has no prefix length from 0 to 32 after the '/'"))?,
            ),
        };
        if place == "default" {
            return Ok(Self { place: UnderlayPlace::Default, len });
        }
        if let Ok(address) = place.parse::<Ipv4Addr>() {
            let underlay = Underlay::containing(address, len)?;
            let place = if underlay.network().network() == address && len < 32 {
                UnderlayPlace::Network(underlay)
            } else {
                UnderlayPlace::Address(address)
            };
            return Ok(Self { place, len });
        }
        // An address with a slip in it would pass as an interface's name; no interface is called like that.
        let numeric = place.chars().all(|c| c.is_ascii_digit() || c == '.');
        let name = if numeric { Err(String::new()) } else { place.parse() };
        let name = name.map_err(|_| {
            format!(
                "underlay '{text}' is neither an interface nor an IPv4 address; write it like eth0/16, 172.30.0.28/16, \
                 172.30.0.0/16 or default/16"
            )
        })?;
        Ok(Self { place: UnderlayPlace::Interface(name), len })
    }
}

impl fmt::Display for UnderlaySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            // As it was written, for a file is written of it too.
            UnderlayPlace::Interface(name) => write!(f, "{}/{}", String::from_utf8_lossy(&name.bytes()), self.len),
            UnderlayPlace::Address(address) => write!(f, "{address}/{}", self.len),
            UnderlayPlace::Network(underlay) => write!(f, "{underlay}"),
            UnderlayPlace::Default => write!(f, "default/{}", self.len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> UnderlaySource {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_of_an_underlay_is_read_and_written_back() {
        for text in ["eth0/16", "172.30.0.28/16", "172.30.0.0/16", "default/16", "enp0s31f6/20", "bond0.100/24"] {
            assert_eq!(source(text).to_string(), text);
        }
        assert!(matches!(source("172.30.0.0/16").place, UnderlayPlace::Network(_)));
        assert!(matches!(source("172.30.0.28/16").place, UnderlayPlace::Address(_)));
        for (short, long) in [
            ("eth0", "eth0/16"),
            ("172.30.0.28", "172.30.0.28/16"),
            ("172.30.0.0", "172.30.0.0/16"),
            ("default", "default/16"),
        ] {
            assert_eq!(source(short), source(long));
        }
    }

    #[test]
    fn a_slip_in_an_underlay_is_refused() {
        for (text, reason) in [
            ("eth0/33", "prefix length"),
            ("eth0/", "prefix length"),
            ("eth0/+16", "prefix length"),
            ("172.30.0/16", "neither"),
            ("333.1.1.1/16", "neither"),
            ("/16", "neither"),
            ("eth0:1/16", "neither"),
            ("fd00::1/64", "IPv4 only"),
        ] {
            let error = text.parse::<UnderlaySource>().unwrap_err();
            assert!(error.contains(reason) && error.contains(text), "{text}: {error}");
        }
    }
}
