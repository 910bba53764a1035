//! What the administrator asks for: one fan, as written on a command line or in a file, before the host is looked at.
//!
//! The words of 2015 (`dhcp host-reserve 4 bridge NAME off`), the options of later and the keys of /etc/fan.toml fill
//! the same [`Request`], each value read by the same function.

mod endpoints;
mod follow;
mod peers;
mod subnets;
mod underlay;

use std::str::FromStr;

use crate::fan::encap::Encapsulation;
use crate::fan::mapping::{self, Mapping, Overlay};
use crate::fan::name::InterfaceName;
use crate::fan::options::{KEYS, OptionKey, OptionKind, Options, ReadBack};

pub(crate) use endpoints::Endpoints;
pub(crate) use follow::Follow;
pub(crate) use peers::{Peer, Peers};
pub(crate) use subnets::Subnets;
pub use underlay::{DEFAULT_UNDERLAY_LEN, UnderlayPlace, UnderlaySource};

/// The most addresses that an underlay has whose hosts need not be listed over WireGuard.
pub(crate) const MOST_UNLISTED: u64 = 4096;
/// The most addresses that can be listed.
pub(crate) const MOST_LISTED: u64 = 16384;

/// One fan as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The network that containers live in.
    pub(crate) overlay: Overlay,
    /// Where this host's underlay address comes from.
    pub underlay: UnderlaySource,
    /// Whether the bridge's name is only what later releases of Ubuntu's fan named theirs (`fan-250`): it gives way to the name of a
    /// fan that is up, and to one that another file has.
    pub(crate) bridge_gives_way: bool,
    /// What it is like where it is not a plain fan.
    pub options: Options,
}

impl Request {
    /// A fan with every option at its default.
    #[must_use]
    pub fn new(overlay: Overlay, underlay: UnderlaySource) -> Self {
        Self { overlay, underlay, bridge_gives_way: false, options: Options::default() }
    }

    /// The same fan in the later grammar of Ubuntu's fan, which names a bridge after the overlay where nobody names it.
    #[must_use]
    pub(crate) fn of_later_grammar(mut self) -> Self {
        if self.options.bridge.is_none() {
            self.options.bridge = Some(InterfaceName::of_slice(self.overlay.network()));
            self.bridge_gives_way = true;
        }
        self
    }

    /// The same fan as /etc/fan.toml has it, which names its bridge for good.
    #[must_use]
    pub fn as_written(&self) -> Self {
        Self { bridge_gives_way: false, ..self.clone() }
    }

    /// A fan whose options are to be set, or looked at, for themselves.
    pub(super) fn any() -> Self {
        let overlay = Overlay::from_str("250.0.0.0/8").expect("an overlay");
        Self::new(overlay, UnderlaySource { place: UnderlayPlace::Default, len: DEFAULT_UNDERLAY_LEN })
    }

    /// Whether two files ask for the same fan.
    #[must_use]
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        let gives_way = self.bridge_gives_way || other.bridge_gives_way;
        let mut differing = KEYS.iter().filter(|key| key.get(self) != key.get(other));
        differing.all(|key| gives_way && key.name == "bridge")
    }

    /// A fan by the values of its keys: what [`values`](Self::values) gave.
    ///
    /// # Errors
    /// Everything that is missing or makes no sense: the key to blame, and a sentence.
    pub fn from_values<'a>(value: impl Fn(&OptionKey) -> Option<&'a str>) -> Result<Self, Vec<(&'static str, String)>> {
        // Overlay and underlay are required, so nothing of these two stays.
        let mut config = Self::any();
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
    pub(crate) fn set(&mut self, key: &OptionKey, value: &str) -> Result<(), String> {
        key.set(self, value)
    }

    /// Reads what follows overlay and underlay: the words of 2015, and the options of later as a file may have them.
    ///
    /// # Errors
    /// The index of the word that is unknown or lacks its value, and a sentence.
    pub fn apply_words<S: AsRef<str>>(&mut self, words: &[S]) -> Result<(), (usize, String)> {
        self.apply(words, named_by_word)
    }

    /// Reads the options of a label as [`words`](Self::words) gives them, each of their words for itself.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn apply_label(&mut self, words: &[&str]) -> Result<(), (usize, String)> {
        let is_of_label = |(key, _): &OptionSetting| matches!(key.read_back, ReadBack::Label | ReadBack::Effect);
        self.apply(words, |word| named_by_option(word).filter(is_of_label))
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
    pub(crate) fn words(&self) -> impl Iterator<Item = (&'static OptionKey, String)> + use<> {
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
    pub(crate) fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        found.extend(self.widths().err());
        if let Some(bridge) = self.options.bridge.as_ref().filter(|bridge| Some(*bridge) == self.underlay.interface()) {
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
        found.extend(taken.filter_map(|network| Some(("routed", self.options.routed.overlap(network)?))));
        let inside = |what, list: &Subnets| Some((what, list.outside(what, underlay?)?));
        found.extend(inside("hosts", &self.options.hosts));
        found.extend(inside("exclude", &self.options.exclude));
        let endpoints = &self.options.endpoints;
        found.extend(underlay.and_then(|underlay| Some(("endpoints", endpoints.outside(underlay)?))));
        found.extend(endpoints.inside(self.overlay.network()).map(|reason| ("endpoints", reason)));
        if self.options.number && !matches!(self.underlay.place, UnderlayPlace::Address(_)) {
            let reason = format!(
                "number needs an underlay that names this host's number, and '{}' does not; write it like 172.30.7.9/{}",
                self.underlay, self.underlay.len
            );
            found.push(("number", reason));
        }
        if self.options.encapsulation == Encapsulation::Wireguard {
            found.extend(self.too_many_hosts().map(|reason| ("hosts", reason)));
            if self.options.port == Some(u16::MAX) {
                found.push(("port", "port 65535 is the last, and wireguard takes two; choose one up to 65534".into()));
            }
        }
        if self.options.fast && !self.options.flowtable {
            let reason = "fast needs the flowtable; leave out fast, or have the flowtable";
            found.push(("fast", reason.to_string()));
        }
        let plain = Self::new(self.overlay, self.underlay.clone());
        found.extend(KEYS.iter().filter(|key| key.get(self) != key.get(&plain)).filter_map(|key| self.unfit(key)));
        found
    }

    /// That there may be more hosts than a device can have peers without trouble: the kernel keeps some 2,000 bytes for each.
    fn too_many_hosts(&self) -> Option<String> {
        let Options { hosts, .. } = &self.options;
        let len = self.underlay.len;
        let (room, listed) = (1_u64 << (32 - len.min(32)), hosts.size());
        if listed > MOST_LISTED {
            return Some(format!(
                "hosts '{hosts}' has {listed} addresses, and at most {MOST_LISTED} can be; list smaller networks"
            ));
        }
        (listed == 0 && room > MOST_UNLISTED).then(|| {
            format!(
                "an underlay of /{len} has {room} addresses, and wireguard keeps a peer for each; say where hosts are, like \
                 --hosts 172.30.0.0/24"
            )
        })
    }

    /// Why an option does not fit the encapsulation.
    fn unfit(&self, key: &OptionKey) -> Option<(&'static str, String)> {
        let encapsulation = self.options.encapsulation;
        let only = key.only.as_ref().filter(|only| !only.encapsulations.contains(&encapsulation))?;
        let value = key.get(self).filter(|_| key.kind != OptionKind::Switch);
        let value = value.map_or(String::new(), |value| format!(" {value}"));
        let its: Vec<&str> = only.encapsulations.iter().map(|its| its.as_str()).collect();
        let (name, its, advice) = (key.name, its.join(" and "), (only.advice)(encapsulation));
        Some((name, format!("{name}{value} is for {its}, and this fan is over {encapsulation}{advice}")))
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
        if u32::from(self.options.host_reserve) < room {
            return Ok(());
        }
        Err((
            "host-reserve",
            format!(
                "host-reserve {} leaves no address for containers: a slice of '{overlay}' over '{underlay}' is a /{slice_len}, \
                 which has {room}",
                self.options.host_reserve
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
        _ => {
            let is_of_2015 = OptionKey::named(word).is_some_and(|key| key.word.is_some());
            return named_by_option(if is_of_2015 { word } else { word.strip_prefix("--")? });
        }
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
        let mut config = Request::new("250".parse().unwrap(), source("eth0"));
        config.apply_words(&["dhcp", "host-reserve", "4", "bridge", "fan0", "off"]).unwrap();
        let options = config.options;
        assert!(options.dhcp && !options.enabled && options.host_reserve == 4);
        assert_eq!(options.bridge.unwrap().as_str(), "fan0");
    }

    #[test]
    fn a_wrong_word_is_named() {
        let mut config = Request::new("250".parse().unwrap(), source("eth0"));
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
