//! What the administrator asks for: one fan, as written on a command line, before the host is looked at.
//!
//! The words of 2015 (`dhcp host-reserve 4 bridge NAME off`) and the options of later fill the same [`Config`].

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::encap::{Encapsulation, VXLAN_PORT};
use crate::mapping::{Overlay, Underlay};
use crate::name::InterfaceName;

/// The prefix length of an underlay that was written without one.
pub const DEFAULT_UNDERLAY_LEN: u8 = 16;

/// One fan as asked for. Every default is filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The network that containers live in.
    pub overlay: Overlay,
    /// Where this host's underlay address comes from.
    pub underlay: UnderlaySource,
    /// How packets travel between hosts.
    pub encapsulation: Encapsulation,
    /// UDP port of VXLAN, 1 to 65535.
    pub port: u16,
    /// The bridge's name where it is not to be that of the slice.
    pub bridge: Option<InterfaceName>,
    /// Whether a DHCP server gives out the slice.
    pub dhcp: bool,
    /// Addresses at the start of the slice that the host keeps, 1 to 254.
    pub host_reserve: u8,
    /// MTU of bridge and tunnel in bytes, where it is not to follow the underlay.
    pub mtu: Option<u32>,
    /// Routing table of its own (1 to 4294967295) where the main table is not to be used.
    pub table: Option<u32>,
    /// Whether traffic from the slice to outside the overlay is masqueraded.
    pub nat: bool,
    /// False for an entry that is kept but not brought up (`off`).
    pub enabled: bool,
}

impl Config {
    /// A fan with every option at its default.
    #[must_use]
    pub fn new(overlay: Overlay, underlay: UnderlaySource) -> Self {
        Self {
            overlay,
            underlay,
            encapsulation: Encapsulation::Ipip,
            port: VXLAN_PORT,
            bridge: None,
            dhcp: false,
            host_reserve: 1,
            mtu: None,
            table: None,
            nat: true,
            enabled: true,
        }
    }

    /// Reads the words of 2015 that follow overlay and underlay.
    ///
    /// # Errors
    /// A sentence naming the word that is unknown or lacks its value.
    pub fn apply_words<S: AsRef<str>>(&mut self, words: &[S]) -> Result<(), String> {
        let mut words = words.iter().map(AsRef::as_ref);
        while let Some(word) = words.next() {
            match word {
                "dhcp" => self.dhcp = true,
                "off" => self.enabled = false,
                "host-reserve" => {
                    let number = words
                        .next()
                        .ok_or("'host-reserve' lacks its number, like host-reserve 4")?;
                    self.host_reserve = host_reserve(number)?;
                }
                "bridge" => {
                    let name = words.next().ok_or("'bridge' lacks its name, like bridge fan0")?;
                    self.bridge = Some(bridge_name(name)?);
                }
                _ => {
                    return Err(format!(
                        "word '{word}' is unknown; after overlay and underlay may come dhcp, host-reserve N, bridge \
                         NAME, off, and options such as --encap vxlan"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Reads a name for a bridge: letters, digits, `.`, `_` and `-`, since it also stands in firewall rules, where `*` is a
/// wildcard, and in paths below /proc/sys/net/ipv4/conf, where `all` and `default` mean something else.
///
/// # Errors
/// A sentence when it is no such name, or one that the fan's tunnels have.
pub fn bridge_name(text: &str) -> Result<InterfaceName, String> {
    let name: InterfaceName = text.parse()?;
    if !text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    {
        return Err(format!(
            "bridge '{text}': a name is made of letters, digits, '.', '_' and '-'"
        ));
    }
    let tunnel = name == InterfaceName::shared_tunnel() || text.starts_with("fan-vx");
    if tunnel || matches!(text, "all" | "default" | "lo") {
        return Err(format!(
            "bridge '{text}': that name has another meaning; choose one like fan0"
        ));
    }
    Ok(name)
}

/// Reads a number of reserved addresses, 1 to 254.
///
/// # Errors
/// A sentence when it is no such number.
pub fn host_reserve(text: &str) -> Result<u8, String> {
    text.parse()
        .ok()
        .filter(|number| (1..=254).contains(number))
        .ok_or_else(|| format!("host-reserve '{text}' is no number from 1 to 254"))
}

/// Where the host's address in the underlay comes from, and the underlay's prefix length (0 to 32; 16 when not
/// written), which need not be that of the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderlaySource {
    /// Where to look for the address.
    pub place: Place,
    /// Prefix length of the underlay.
    pub len: u8,
}

/// Where to look for the host's underlay address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
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
    /// The underlay, where it can be told without looking at the host.
    #[must_use]
    pub fn underlay(&self) -> Option<Underlay> {
        match &self.place {
            Place::Network(underlay) => Some(*underlay),
            Place::Address(address) => Underlay::containing(*address, self.len).ok(),
            Place::Interface(_) | Place::Default => None,
        }
    }
}

impl FromStr for UnderlaySource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text
            .split('/')
            .next()
            .is_some_and(|place| place.parse::<Ipv6Addr>().is_ok())
        {
            return Err(format!(
                "underlay '{text}' is IPv6; a fan is IPv4 only, like 172.30.0.0/16"
            ));
        }
        let (place, len) = match text.split_once('/') {
            None => (text, DEFAULT_UNDERLAY_LEN),
            Some((place, len)) => (
                place,
                len.parse()
                    .ok()
                    .filter(|len| *len <= 32)
                    .ok_or_else(|| format!("underlay '{text}' has no prefix length from 0 to 32 after the '/'"))?,
            ),
        };
        if place == "default" {
            return Ok(Self {
                place: Place::Default,
                len,
            });
        }
        if let Ok(address) = place.parse::<Ipv4Addr>() {
            let underlay = Underlay::containing(address, len)?;
            let place = if underlay.network().network() == address && len < 32 {
                Place::Network(underlay)
            } else {
                Place::Address(address)
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
        Ok(Self {
            place: Place::Interface(name),
            len,
        })
    }
}

impl fmt::Display for UnderlaySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Interface(name) => write!(f, "{name}/{}", self.len),
            Place::Address(address) => write!(f, "{address}/{}", self.len),
            Place::Network(underlay) => write!(f, "{underlay}"),
            Place::Default => write!(f, "default/{}", self.len),
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
        for text in [
            "eth0/16",
            "172.30.0.28/16",
            "172.30.0.0/16",
            "default/16",
            "enp0s31f6/20",
            "bond0.100/24",
        ] {
            assert_eq!(source(text).to_string(), text);
        }
        assert!(matches!(source("172.30.0.0/16").place, Place::Network(_)));
        assert!(matches!(source("172.30.0.28/16").place, Place::Address(_)));
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

    #[test]
    fn the_words_of_2015_are_read() {
        let mut config = Config::new("250".parse().unwrap(), source("eth0"));
        config
            .apply_words(&["dhcp", "host-reserve", "4", "bridge", "fan0", "off"])
            .unwrap();
        assert!(config.dhcp && !config.enabled && config.host_reserve == 4);
        assert_eq!(config.bridge.unwrap().as_str(), "fan0");
    }

    #[test]
    fn a_wrong_word_is_named() {
        let mut config = Config::new("250".parse().unwrap(), source("eth0"));
        for (words, reason) in [
            (&["dchp"][..], "'dchp'"),
            (&["host-reserve"], "lacks its number"),
            (&["host-reserve", "none"], "'none'"),
            (&["host-reserve", "0"], "'0'"),
            (&["bridge"], "lacks its name"),
            (&["bridge", "a/b"], "'a/b'"),
            (&["bridge", "e*"], "letters"),
            (&["bridge", "a\"b"], "letters"),
            (&["bridge", "all"], "another meaning"),
            (&["bridge", "fan-ipip"], "another meaning"),
        ] {
            assert!(config.apply_words(words).unwrap_err().contains(reason));
        }
    }
}
