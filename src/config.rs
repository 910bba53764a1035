//! What the administrator asks for: one fan, as written on a command line or in a file, before the host is looked at.
//!
//! The words of 2015 (`dhcp host-reserve 4 bridge NAME off`), the options of later and the keys of /etc/fan.toml fill
//! the same [`Config`], each value read by the same function.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::encap::Encapsulation;
use crate::mapping::{Mapping, Overlay, Underlay};
use crate::name::InterfaceName;

/// The smallest MTU a fan is given: what every IPv4 host must be able to take (RFC 791, section 3.1).
pub const MIN_MTU: u32 = 576;
/// The largest: an IPv4 packet of 65535 bytes (RFC 791, section 3.1) less the 20 of IPIP.
pub const MAX_MTU: u32 = 65515;

/// The prefix length of an underlay that was written without one.
pub const DEFAULT_UNDERLAY_LEN: u8 = 16;

/// One fan as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The network that containers live in.
    pub overlay: Overlay,
    /// Where this host's underlay address comes from.
    pub underlay: UnderlaySource,
    /// How packets travel between hosts.
    pub encapsulation: Encapsulation,
    /// The bridge's name where it is not to be that of the slice.
    pub bridge: Option<InterfaceName>,
    /// Whether a DHCP server gives out the slice.
    pub dhcp: bool,
    /// Addresses at the start of the slice that the host keeps, 1 to 254.
    pub host_reserve: u8,
    /// MTU of bridge and tunnel in bytes, where it is not to follow the underlay.
    pub mtu: Option<u32>,
    /// UDP port of VXLAN, 1 to 65535, where it is not to be the usual one.
    pub port: Option<u16>,
    /// Routing table of its own (1 to 4294967295) where the main table is not to be used.
    pub table: Option<u32>,
    /// Whether traffic from the slice to outside the overlay is masqueraded.
    pub nat: bool,
    /// False for an entry that is kept but not brought up (`off`).
    pub enabled: bool,
}

/// A property of a fan that can be written down: the key of /etc/fan.toml, and mostly an option of the same name.
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// The kind of value it takes.
    pub kind: Kind,
    /// The values it takes, for a message: `a number from 1 to 254`.
    pub values: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
    get: fn(&Config) -> Option<String>,
}

/// The kind of value that a [`Key`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// An integer.
    Number,
    /// `true` or `false`.
    Flag,
}

/// Every key, in the order in which a fan is best read.
pub static KEYS: [Key; 11] = [
    Key {
        name: "overlay",
        kind: Kind::Text,
        values: "a network like \"250.0.0.0/8\"",
        set: |config, text| text.parse().map(|value| config.overlay = value),
        get: |config| Some(config.overlay.to_string()),
    },
    Key {
        name: "underlay",
        kind: Kind::Text,
        values: "an interface, address or network like \"eth0/16\", \"172.30.0.28/16\", \"172.30.0.0/16\", \"default/16\"",
        set: |config, text| text.parse().map(|value| config.underlay = value),
        get: |config| Some(config.underlay.to_string()),
    },
    Key {
        name: "encap",
        kind: Kind::Text,
        values: "\"ipip\" or \"vxlan\"",
        set: |config, text| text.parse().map(|value| config.encapsulation = value),
        get: |config| Some(config.encapsulation.to_string()),
    },
    Key {
        name: "bridge",
        kind: Kind::Text,
        values: "a name like \"fan0\"",
        set: |config, text| bridge_name(text).map(|value| config.bridge = Some(value)),
        get: |config| config.bridge.as_ref().map(ToString::to_string),
    },
    Key {
        name: "dhcp",
        kind: Kind::Flag,
        values: "true or false",
        set: |config, text| flag("dhcp", text).map(|value| config.dhcp = value),
        get: |config| Some(config.dhcp.to_string()),
    },
    Key {
        name: "host-reserve",
        kind: Kind::Number,
        values: "a number from 1 to 254",
        set: |config, text| host_reserve(text).map(|value| config.host_reserve = value),
        get: |config| Some(config.host_reserve.to_string()),
    },
    Key {
        name: "mtu",
        kind: Kind::Number,
        values: "a number from 576 to 65515",
        set: |config, text| mtu(text).map(|value| config.mtu = Some(value)),
        get: |config| config.mtu.map(|value| value.to_string()),
    },
    Key {
        name: "port",
        kind: Kind::Number,
        values: "a number from 1 to 65535",
        set: |config, text| port(text).map(|value| config.port = Some(value)),
        get: |config| config.port.map(|value| value.to_string()),
    },
    Key {
        name: "table",
        kind: Kind::Number,
        values: "a number from 1 to 4294967295",
        set: |config, text| table(text).map(|value| config.table = Some(value)),
        get: |config| config.table.map(|value| value.to_string()),
    },
    Key {
        name: "nat",
        kind: Kind::Flag,
        values: "true or false",
        set: |config, text| flag("nat", text).map(|value| config.nat = value),
        get: |config| Some(config.nat.to_string()),
    },
    Key {
        name: "enabled",
        kind: Kind::Flag,
        values: "true or false",
        set: |config, text| flag("enabled", text).map(|value| config.enabled = value),
        get: |config| Some(config.enabled.to_string()),
    },
];

impl Key {
    /// The key of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// Its value, as text; none where nothing was said and there is no fixed default.
    #[must_use]
    pub fn get(&self, config: &Config) -> Option<String> {
        (self.get)(config)
    }

    /// Whether no fan can do without it.
    #[must_use]
    pub fn is_required(&self) -> bool {
        matches!(self.name, "overlay" | "underlay")
    }
}

impl Config {
    /// A fan with every option at its default.
    #[must_use]
    pub fn new(overlay: Overlay, underlay: UnderlaySource) -> Self {
        Self {
            overlay,
            underlay,
            encapsulation: Encapsulation::Ipip,
            bridge: None,
            dhcp: false,
            host_reserve: 1,
            mtu: None,
            port: None,
            table: None,
            nat: true,
            enabled: true,
        }
    }

    /// A fan by the values of its keys: what [`values`](Self::values) gave.
    ///
    /// # Errors
    /// Everything that is missing or makes no sense: the key to blame, and a sentence.
    pub fn from_values<'a>(value: impl Fn(&Key) -> Option<&'a str>) -> Result<Self, Vec<(&'static str, String)>> {
        let network = Overlay::from_str("250.0.0.0/8").expect("an overlay");
        let place = UnderlaySource {
            place: Place::Default,
            len: DEFAULT_UNDERLAY_LEN,
        };
        // Both are required, so nothing of these two stays.
        let mut config = Self::new(network, place);
        let mut reasons = Vec::new();
        for key in &KEYS {
            match value(key).map(|text| config.set(key, text)) {
                Some(Err(reason)) => reasons.push((key.name, reason)),
                None if key.is_required() => {
                    reasons.push((key.name, format!("the fan lacks its '{}', {}", key.name, key.values)));
                }
                Some(Ok(())) | None => {}
            }
        }
        if reasons.is_empty() {
            reasons = config.contradictions();
        }
        if reasons.is_empty() { Ok(config) } else { Err(reasons) }
    }

    /// Reads the value of a key.
    ///
    /// # Errors
    /// A sentence naming what makes no sense.
    pub fn set(&mut self, key: &Key, value: &str) -> Result<(), String> {
        (key.set)(self, value)
    }

    /// Reads what follows overlay and underlay: the words of 2015, and the options of later as a file may have them.
    ///
    /// # Errors
    /// The index of the word that is unknown or lacks its value, and a sentence.
    pub fn apply_words<S: AsRef<str>>(&mut self, words: &[S]) -> Result<(), (usize, String)> {
        let mut words = words.iter().map(AsRef::as_ref).enumerate();
        while let Some((index, word)) = words.next() {
            match word {
                "dhcp" | "--dhcp" => self.dhcp = true,
                "off" | "--disable" => self.enabled = false,
                "--enable" => self.enabled = true,
                "--no-nat" => self.nat = false,
                _ => {
                    let (name, value) = match word.split_once('=') {
                        Some((name, value)) if name.starts_with("--") => (name, Some(value)),
                        _ => (word, None),
                    };
                    let key = key_of(name).ok_or_else(|| (index, unknown(word)))?;
                    let value = value.or_else(|| words.next().map(|(_, value)| value));
                    let value = value.ok_or_else(|| (index, format!("'{word}' lacks its value, {}", key.values)))?;
                    self.set(key, value).map_err(|reason| (index, reason))?;
                }
            }
        }
        Ok(())
    }

    /// Every key whose value is not the default, with it; overlay and underlay always.
    #[must_use]
    pub fn values(&self) -> Vec<(&'static Key, String)> {
        let defaults = Self::new(self.overlay, self.underlay.clone());
        KEYS.iter()
            .filter(|key| key.is_required() || key.get(self) != key.get(&defaults))
            .filter_map(|key| Some((key, key.get(self)?)))
            .collect()
    }

    /// What differs from a plain fan, in words: `encap vxlan dhcp no-nat off`.
    #[must_use]
    pub fn options(&self) -> String {
        let options = self.values().into_iter().filter(|(key, _)| !key.is_required());
        let words = options.map(|(key, value)| match (key.name, key.kind) {
            ("enabled", _) => "off".to_string(),
            ("nat", _) => "no-nat".to_string(),
            (name, Kind::Flag) => name.to_string(),
            (name, Kind::Text | Kind::Number) => format!("{name} {value}"),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// What makes no sense together, as far as that shows without looking at the host: the key to blame, and a sentence.
    #[must_use]
    pub fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if let Some(Err(reason)) = self.underlay.underlay().map(|u| Mapping::new(self.overlay, u)) {
            found.push(("underlay", reason));
        }
        if let (Some(port), Encapsulation::Ipip) = (self.port, self.encapsulation) {
            found.push((
                "port",
                format!(
                    "port {port} is for vxlan, and this fan is over ipip; choose encap vxlan on all hosts, or leave the port out"
                ),
            ));
        }
        found
    }
}

/// The key that a word or an option with a value sets.
fn key_of(name: &str) -> Option<&'static Key> {
    match name.strip_prefix("--") {
        Some("overlay" | "underlay" | "enabled" | "nat") => None,
        Some(option) => Key::named(option),
        None if matches!(name, "host-reserve" | "bridge") => Key::named(name),
        None => None,
    }
}

fn unknown(word: &str) -> String {
    format!(
        "word '{word}' is unknown; after overlay and underlay may come dhcp, host-reserve N, bridge NAME, off, and options \
         such as --encap vxlan"
    )
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
    let of_vxlan = |vni: &str| vni.starts_with(|c: char| c.is_ascii_digit());
    let tunnel = name == InterfaceName::shared_tunnel() || text.strip_prefix("fan-vx").is_some_and(of_vxlan);
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
    number("host-reserve", text, 1..=254)
}

/// Reads an MTU in bytes.
///
/// # Errors
/// A sentence when it is no such number.
pub fn mtu(text: &str) -> Result<u32, String> {
    number("mtu", text, MIN_MTU..=MAX_MTU)
}

/// Reads a UDP port.
///
/// # Errors
/// A sentence when it is no such number.
pub fn port(text: &str) -> Result<u16, String> {
    number("port", text, 1..=65535)
}

/// Reads a routing table that a fan can have for itself: not 0, and not the kernel's 253 to 255.
///
/// # Errors
/// A sentence when it is no such number.
pub fn table(text: &str) -> Result<u32, String> {
    match number("table", text, 1..=u32::MAX)? {
        253..=255 => Err(format!(
            "table {text} is the kernel's own; leave the table out for the main one"
        )),
        number => Ok(number),
    }
}

/// Reads a number in a range; a sentence when it is none names what it is for.
///
/// # Errors
/// That sentence.
pub fn number<T>(what: &str, text: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{what} '{text}' is no number from {} to {}", range.start(), range.end()))
}

fn flag(what: &str, text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| format!("{what} '{text}' is neither true nor false"))
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
    /// The interface, where one was named.
    #[must_use]
    pub fn interface(&self) -> Option<&InterfaceName> {
        match &self.place {
            Place::Interface(name) => Some(name),
            Place::Address(_) | Place::Network(_) | Place::Default => None,
        }
    }

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
            (&["host-reserve"], "lacks its value, a number from 1 to 254"),
            (&["host-reserve", "none"], "'none'"),
            (&["host-reserve", "0"], "'0'"),
            (&["bridge"], "lacks its value, a name like"),
            (&["bridge", "a/b"], "'a/b'"),
            (&["bridge", "e*"], "letters"),
            (&["bridge", "a\"b"], "letters"),
            (&["bridge", "all"], "another meaning"),
            (&["bridge", "fan-ipip"], "another meaning"),
        ] {
            assert!(config.apply_words(words).unwrap_err().1.contains(reason));
        }
    }
}
