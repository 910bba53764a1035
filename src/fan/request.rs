//! What the administrator asks for: one fan, as written on a command line or in a file, before the host is looked at.
//!
//! The words of 2015 (`dhcp host-reserve 4 bridge NAME off`), the options of later and the keys of /etc/fan.toml fill
//! the same [`Config`], each value read by the same function.

mod follow;
mod options;
mod subnets;
mod underlay;

use std::str::FromStr;

use crate::fan::encap::Encapsulation;
use crate::fan::mapping::{self, Mapping, Overlay};
use crate::fan::name::InterfaceName;

pub use follow::Follow;
pub use options::{KEYS, MAX_MTU, MIN_MTU, OptionKey, OptionKind, bridge_name, host_reserve, mtu, number, port, table};
pub use subnets::Subnets;
pub use underlay::{DEFAULT_UNDERLAY_LEN, UnderlayPlace, UnderlaySource};

/// One fan as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own, and written as one")]
pub struct Config {
    /// The network that containers live in.
    pub overlay: Overlay,
    /// Where this host's underlay address comes from.
    pub underlay: UnderlaySource,
    /// How packets travel between hosts.
    pub encapsulation: Encapsulation,
    /// The bridge's name where it is not to be that of the slice.
    pub bridge: Option<InterfaceName>,
    /// Whether a new bridge without such a name is named after the overlay (`fan-250`), as later releases of Ubuntu's fan named
    /// theirs, and not after the slice.
    pub is_later: bool,
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
    /// Networks outside the overlay that are routed behind containers here.
    pub routed: Subnets,
    /// Whether connections between slices skip what stands between bridge and tunnel, once that has let them pass.
    pub flowtable: bool,
    /// Whether it is kept as configured while the host changes.
    pub follow: Follow,
    /// Whether it comes up even where that takes addresses away that this host uses.
    pub force: bool,
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
            is_later: false,
            dhcp: false,
            host_reserve: 1,
            mtu: None,
            port: None,
            table: None,
            nat: true,
            routed: Subnets::default(),
            flowtable: true,
            follow: Follow::No,
            force: false,
            enabled: true,
        }
    }

    /// Whether two files ask for the same fan. A line of the later grammar without a name for the bridge leaves that to the other.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        let leaves_name = |config: &Self| config.is_later && config.bridge.is_none();
        let plain = |config: &Self| Self { bridge: None, is_later: false, ..config.clone() };
        let same_name = self.bridge == other.bridge || leaves_name(self) || leaves_name(other);
        same_name && plain(self) == plain(other)
    }

    /// The bridge's name, where that is known without looking at the host.
    #[must_use]
    pub fn bridge(&self) -> Option<InterfaceName> {
        let of_overlay = || InterfaceName::of_slice(self.overlay.network());
        self.bridge.clone().or_else(|| self.is_later.then(of_overlay))
    }

    /// A fan by the values of its keys: what [`values`](Self::values) gave.
    ///
    /// # Errors
    /// Everything that is missing or makes no sense: the key to blame, and a sentence.
    pub fn from_values<'a>(value: impl Fn(&OptionKey) -> Option<&'a str>) -> Result<Self, Vec<(&'static str, String)>> {
        let network = Overlay::from_str("250.0.0.0/8").expect("an overlay");
        let place = UnderlaySource { place: UnderlayPlace::Default, len: DEFAULT_UNDERLAY_LEN };
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
    pub fn set(&mut self, key: &OptionKey, value: &str) -> Result<(), String> {
        key.set(self, value)
    }

    /// Reads what follows overlay and underlay: the words of 2015, and the options of later as a file may have them.
    ///
    /// # Errors
    /// The index of the word that is unknown or lacks its value, and a sentence.
    pub fn apply_words<S: AsRef<str>>(&mut self, words: &[S]) -> Result<(), (usize, String)> {
        self.apply(words, named_by_word)
    }

    /// Reads options as [`options`](Self::options) gives them, each of their words for itself; those of some keys have no
    /// business there.
    ///
    /// # Errors
    /// The same.
    pub fn apply_options(&mut self, words: &[&str], left_out: &[&str]) -> Result<(), (usize, String)> {
        let is_welcome = |(key, _): &OptionSetting| !left_out.contains(&key.name);
        self.apply(words, |word| named_by_option(word).filter(is_welcome))
    }

    fn apply<S: AsRef<str>>(
        &mut self,
        words: &[S],
        setting: impl Fn(&str) -> Option<OptionSetting>,
    ) -> Result<(), (usize, String)> {
        let mut words = words.iter().map(AsRef::as_ref).enumerate();
        while let Some((index, word)) = words.next() {
            let (key, value) = setting(word).ok_or_else(|| (index, unknown(word)))?;
            let value = value.or_else(|| words.next().map(|(_, value)| value));
            let value = value.ok_or_else(|| (index, format!("'{word}' lacks its value, {}", key.values)))?;
            self.set(key, value).map_err(|reason| (index, reason))?;
        }
        Ok(())
    }

    /// Every key whose value is not the default, with it; overlay and underlay always.
    #[must_use]
    pub fn values(&self) -> Vec<(&'static OptionKey, String)> {
        let defaults = Self::new(self.overlay, self.underlay.clone());
        KEYS.iter()
            .filter(|key| key.is_required() || key.get(self) != key.get(&defaults))
            .filter_map(|key| Some((key, key.get(self)?)))
            .collect()
    }

    /// What differs from a plain fan, each option with its words: `encap vxlan`, `dhcp`, `no-nat`, `off`.
    pub fn options(&self) -> impl Iterator<Item = (&'static OptionKey, String)> + use<> {
        let options = self.values().into_iter().filter(|(key, _)| !key.is_required());
        options.map(|(key, value)| {
            let words = match (key.name, key.kind) {
                ("enabled", _) => "off".to_string(),
                (name, OptionKind::Switch) => format!("no-{name}"),
                (name, OptionKind::Flag) => name.to_string(),
                (name, OptionKind::FlagOrText) if value == "true" => name.to_string(),
                (name, OptionKind::Text | OptionKind::Number | OptionKind::FlagOrText | OptionKind::List) => {
                    format!("{name} {value}")
                }
            };
            (key, words)
        })
    }

    /// What makes no sense together, as far as that shows without looking at the host: the key to blame, and a sentence.
    #[must_use]
    pub fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        found.extend(self.widths().err());
        if let Some(bridge) = self.bridge.as_ref().filter(|bridge| Some(*bridge) == self.underlay.interface()) {
            found.push((
                "bridge",
                format!(
                    "bridge '{bridge}' is the interface of underlay '{}'; choose a name that no interface has, like fan0",
                    self.underlay
                ),
            ));
        }
        let underlay = self.underlay.underlay().map(mapping::Underlay::network);
        let taken = [Some(self.overlay.network()), underlay].into_iter().flatten();
        found.extend(taken.filter_map(|network| Some(("routed", self.routed.overlap(network)?))));
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

    /// Whether overlay and underlay go together, and leave each host room for a container behind what it keeps.
    fn widths(&self) -> Result<(), (&'static str, String)> {
        let Self { overlay, underlay, .. } = self;
        let slice_len = match underlay.underlay() {
            Some(network) => Mapping::new(*overlay, network).map(Mapping::slice_len),
            None => mapping::slice_len(*overlay, underlay, underlay.len),
        };
        let slice_len = slice_len.map_err(|reason| ("underlay", reason))?;
        let room = mapping::room(slice_len);
        if u32::from(self.host_reserve) < room {
            return Ok(());
        }
        Err((
            "host-reserve",
            format!(
                "host-reserve {} leaves no address for containers: a slice of '{overlay}' over '{underlay}' is a /{slice_len}, \
                 which has {room}",
                self.host_reserve
            ),
        ))
    }
}

/// A key, and its value where the word that names the key says it too.
type OptionSetting<'a> = (&'static OptionKey, Option<&'a str>);

/// What a word of 2015 sets, or an option with the two dashes of a command line.
fn named_by_word(word: &str) -> Option<OptionSetting<'_>> {
    let (name, value) = match word {
        "off" | "--disable" => ("enabled", "false"),
        "--enable" => ("enabled", "true"),
        "--follow" => ("follow", "true"),
        "dhcp" | "host-reserve" | "bridge" => return named_by_option(word),
        _ => return named_by_option(word.strip_prefix("--")?),
    };
    Some((OptionKey::named(name)?, Some(value)))
}

/// What an option sets: `no-nat` a switch, `dhcp` a flag, and `mtu=1400`, or `mtu` with the next word, any other key.
fn named_by_option(option: &str) -> Option<OptionSetting<'_>> {
    let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
    let switched_off = name.strip_prefix("no-").and_then(OptionKey::named);
    if let Some(key) = switched_off.filter(|key| key.kind == OptionKind::Switch) {
        return value.is_none().then_some((key, Some("false")));
    }
    let is_word = |key: &&OptionKey| !key.is_required() && !matches!(key.name, "enabled" | "force");
    let key = OptionKey::named(name).filter(is_word)?;
    match key.kind {
        OptionKind::Switch => None,
        OptionKind::Flag => Some((key, value.or(Some("true")))),
        OptionKind::Text | OptionKind::Number | OptionKind::FlagOrText | OptionKind::List => Some((key, value)),
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
        config.apply_words(&["dhcp", "host-reserve", "4", "bridge", "fan0", "off"]).unwrap();
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
