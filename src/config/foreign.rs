//! Fans as other programs wrote them down: what `lxc network show` prints of a network of LXD whose bridge.mode is fan, and
//! the value of Juju's `fan-config`. Both keep the names of their bridges, to which containers are attached.

use std::fmt::Write as _;

use super::convert::table;
use super::source::too_long;
use super::{Fault, Source};
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::fan::options::OptionKey;
use crate::fan::request::Request;
use crate::fan::text::excerpt;

/// Whose text it is, if not that of an /etc/network/fan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// A network of LXD, in YAML.
    Lxd,
    /// `fan-config` of a model of Juju: `UNDERLAY=OVERLAY...`.
    Juju,
}

impl Foreign {
    /// Neither can be taken for a line of /etc/network/fan, whose networks have blanks between them.
    pub(super) fn of(text: &str) -> Option<Self> {
        if text.lines().any(|line| line.trim_end() == "config:") {
            return Some(Self::Lxd);
        }
        let mut words = words(text);
        let is_pair = |word: &str| word.starts_with(|c: char| c.is_ascii_digit()) && pair(word).is_some();
        words.next().is_some_and(|(_, word)| is_pair(word)).then_some(Self::Juju)
    }

    /// The fans as TOML.
    ///
    /// # Errors
    /// Every fault of the file.
    pub(super) fn convert(self, source: &Source) -> Result<String, Vec<Fault>> {
        match self {
            Self::Lxd => lxd(source),
            Self::Juju => juju(source),
        }
    }
}

/// A fan of these keys, or its faults, each with the key's name.
fn request(values: &[(&'static str, String)]) -> Result<Request, Vec<(&'static str, String)>> {
    let value = |key: &OptionKey| values.iter().find(|(name, _)| *name == key.name).map(|(_, value)| value.as_str());
    Request::from_values(value)
}

/// The words of a `fan-config` with their offsets. Juju's first release had semicolons between them.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let offset = move |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    text.split(|c: char| c.is_whitespace() || c == ';')
        .filter(|word| !word.is_empty())
        .map(move |word| (offset(word), word))
}

/// Underlay and overlay; Juju's first release had a colon between them.
fn pair(word: &str) -> Option<(&str, &str)> {
    word.split_once('=').or_else(|| word.split_once(':'))
}

/// Juju had ubuntu-fan make the bridges, by `fanatic enable-fan`: with DHCP, over VXLAN, and named after the overlay.
fn juju(source: &Source) -> Result<String, Vec<Fault>> {
    let (mut text, mut faults) = (String::new(), Vec::new());
    for (offset, word) in words(source.text()) {
        match juju_fan(word) {
            // Writing to a string cannot fail.
            Ok(fan) => drop(write!(text, "# Juju's fan-config {}\n{}", excerpt(word), table(&fan))),
            Err(message) => faults.push(Fault::new(&source.position(offset), message)),
        }
    }
    if faults.is_empty() { Ok(text) } else { Err(faults) }
}

fn juju_fan(word: &str) -> Result<Request, String> {
    if let Some(message) = too_long(word) {
        return Err(message);
    }
    let (underlay, overlay) = pair(word).ok_or_else(|| {
        format!("'{}' is no fan of Juju's; each is UNDERLAY=OVERLAY, like 172.31.0.0/16=252.0.0.0/8", excerpt(word))
    })?;
    let network: Overlay = overlay.parse()?;
    let values = [
        ("overlay", overlay.to_string()),
        ("underlay", underlay.to_string()),
        ("encap", "vxlan".into()),
        ("bridge", InterfaceName::of_slice(network.network()).to_string()),
        ("dhcp", "true".into()),
    ];
    request(&values).map_err(|faults| faults.into_iter().map(|(_, reason)| reason).next().unwrap_or_default())
}

/// A key of LXD's and its value, with the key's offset.
struct Setting<'a> {
    offset: usize,
    key: &'a str,
    value: &'a str,
}

impl<'a> Setting<'a> {
    /// LXD's scalars are plain or in quotes; what quotes escape is in none of those that are read here.
    fn new(text: &str, line: &'a str) -> Option<Self> {
        let (key, value) = line.trim().split_once(':')?;
        let value = value.trim();
        let quoted = |quote| value.strip_prefix(quote).and_then(|value: &str| value.strip_suffix(quote));
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
        Some(Self { offset: key.as_ptr() as usize - text.as_ptr() as usize, key: key.trim(), value })
    }
}

/// The settings of `lxc network show`: of the network itself, and those below `config:`.
fn settings(text: &str) -> (Vec<Setting<'_>>, Vec<Setting<'_>>) {
    let (mut network, mut config) = (Vec::new(), Vec::new());
    let (mut is_config, mut depth) = (false, None);
    for line in text.lines() {
        let line = line.trim_end();
        let indentation = line.len() - line.trim_start().len();
        if line.is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        if indentation == 0 {
            (is_config, depth) = (line == "config:", None);
            network.extend(Setting::new(text, line));
        // What is deeper than the first of them belongs to a value of several lines.
        } else if is_config && *depth.get_or_insert(indentation) == indentation {
            config.extend(Setting::new(text, line));
        }
    }
    (network, config)
}

/// The keys of LXD that say what ours say.
const LXD_KEYS: [&str; 6] =
    ["bridge.mode", "bridge.mtu", "fan.overlay_subnet", "fan.underlay_subnet", "fan.type", "ipv4.nat"];

/// LXD serves DHCP on every bridge with a fan, and masquerades only where ipv4.nat says so.
fn lxd(source: &Source) -> Result<String, Vec<Fault>> {
    let (network, config) = settings(source.text());
    let value = |key: &str| config.iter().find(|setting| setting.key == key);
    let fault = |offset: usize, message: String| vec![Fault::new(&source.position(offset), message)];
    let begins = |name: &str| network.iter().filter(|setting| setting.key == name).map(|setting| setting.offset).nth(1);
    if let Some(second) = begins("config").or_else(|| begins("name")) {
        return Err(fault(second, "a second network begins here; convert the networks one by one".into()));
    }
    let long = config.iter().chain(&network).filter(|setting| LXD_KEYS.contains(&setting.key) || setting.key == "name");
    if let Some((offset, message)) = { long }.find_map(|setting| Some((setting.offset, too_long(setting.value)?))) {
        return Err(fault(offset, message));
    }
    let Some(name) = network.iter().find(|setting| setting.key == "name") else {
        return Err(fault(
            0,
            "the network lacks its name; what is read is the output of: lxc network show NAME".into(),
        ));
    };
    let mode = value("bridge.mode");
    if mode.is_none_or(|mode| mode.value != "fan") {
        let mode = mode.map_or("not set".to_string(), |mode| format!("'{}'", excerpt(mode.value)));
        let name = excerpt(name.value);
        return Err(fault(0, format!("network '{name}' has no fan: its bridge.mode is {mode}, and would be 'fan'")));
    }
    let underlay = value("fan.underlay_subnet").filter(|setting| setting.value != "auto").ok_or_else(|| {
        let at = value("fan.underlay_subnet").map_or(0, |setting| setting.offset);
        fault(
            at,
            "fan.underlay_subnet names no network; write the one of the hosts, like 10.0.0.0/16, in the file".into(),
        )
    })?;
    let encap = value("fan.type").map_or("vxlan", |setting| setting.value);
    if !["vxlan", "ipip"].contains(&encap) {
        let at = value("fan.type").map_or(0, |setting| setting.offset);
        return Err(fault(at, format!("fan.type '{}' is unknown; it is vxlan or ipip", excerpt(encap))));
    }
    let mut values = vec![
        ("overlay", value("fan.overlay_subnet").map_or("240.0.0.0/8", |setting| setting.value).to_string()),
        ("underlay", underlay.value.to_string()),
        ("encap", encap.to_string()),
        ("bridge", name.value.to_string()),
        ("dhcp", "true".into()),
    ];
    values.extend(value("bridge.mtu").map(|setting| ("mtu", setting.value.to_string())));
    if value("ipv4.nat").is_none_or(|setting| setting.value != "true") {
        values.push(("nat", "false".into()));
    }
    let fan = request(&values).map_err(|faults| {
        let place = |key: &str| match key {
            "overlay" => value("fan.overlay_subnet"),
            "underlay" => Some(underlay),
            "mtu" => value("bridge.mtu"),
            _ => Some(name),
        };
        let faults = faults
            .into_iter()
            .map(|(key, reason)| Fault::new(&source.position(place(key).map_or(0, |setting| setting.offset)), reason));
        faults.collect::<Vec<_>>()
    })?;
    let others = config.iter().map(|setting| setting.key);
    let others: Vec<_> =
        others.filter(|key| !LXD_KEYS.contains(key) && !key.starts_with("volatile.")).map(excerpt).collect();
    let mut text = format!("# LXD's network '{}'\n", excerpt(name.value));
    if !others.is_empty() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# not taken over: {}", others.join(", "));
    }
    Ok(text + &table(&fan))
}
