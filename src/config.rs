//! What the administrator asks for: one fan, as written on a command line or in a file, before the host is looked at.
//!
//! The words of 2015 (`dhcp host-reserve 4 bridge NAME off`), the options of later and the keys of /etc/fan.toml fill
//! the same [`Config`], each value read by the same function.

mod follow;
mod key;
mod underlay;

use std::str::FromStr;

use crate::encap::Encapsulation;
use crate::mapping::{Mapping, Overlay};
use crate::name::InterfaceName;

pub use follow::Follow;
pub use key::{KEYS, Key, Kind, MAX_MTU, MIN_MTU, bridge_name, host_reserve, mtu, number, port, table};
pub use underlay::{DEFAULT_UNDERLAY_LEN, Place, UnderlaySource};

/// One fan as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own, and written as one"
)]
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
    /// Whether connections between slices skip what stands between bridge and tunnel, once that has let them pass.
    pub flowtable: bool,
    /// Whether it is kept as configured while the host changes.
    pub follow: Follow,
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
            bridge: None,
            dhcp: false,
            host_reserve: 1,
            mtu: None,
            port: None,
            table: None,
            nat: true,
            flowtable: true,
            follow: Follow::No,
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
        key.set(self, value)
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
                "--no-flowtable" => self.flowtable = false,
                "--follow" => self.follow = Follow::Yes,
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

    /// What differs from a plain fan, in words: `encap vxlan dhcp no-nat follow off`.
    #[must_use]
    pub fn options(&self) -> String {
        let options = self.values().into_iter().filter(|(key, _)| !key.is_required());
        let words = options.map(|(key, value)| match (key.name, key.kind) {
            ("enabled", _) => "off".to_string(),
            ("nat" | "flowtable", _) => format!("no-{}", key.name),
            (name, Kind::Flag) => name.to_string(),
            (name, Kind::FlagOrText) if value == "true" => name.to_string(),
            (name, Kind::Text | Kind::Number | Kind::FlagOrText) => format!("{name} {value}"),
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
        if let (false, Encapsulation::Vxlan) = (self.flowtable, self.encapsulation) {
            let reason = "flowtable is for ipip, and this fan is over vxlan, where the host routes nothing between slices; \
                          leave it out";
            found.push(("flowtable", reason.into()));
        }
        found
    }
}

/// The key that a word or an option with a value sets.
fn key_of(name: &str) -> Option<&'static Key> {
    match name.strip_prefix("--") {
        Some("overlay" | "underlay" | "enabled" | "nat" | "flowtable") => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> UnderlaySource {
        text.parse().unwrap()
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
