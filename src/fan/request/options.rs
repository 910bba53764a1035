//! What can be written down of a fan: every key by its name, and how each value is read.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::Config;
use crate::fan::mapping::digits;
use crate::fan::name::InterfaceName;

/// The smallest MTU a fan is given: what every IPv4 host must be able to take (RFC 791, section 3.1).
pub const MIN_MTU: u32 = 576;
/// The largest: an IPv4 packet of 65535 bytes (RFC 791, section 3.1) less the 20 of IPIP.
pub const MAX_MTU: u32 = 65515;

/// A property of a fan that can be written down: the key of /etc/fan.toml, and mostly an option of the same name.
pub struct OptionKey {
    /// Its name.
    pub name: &'static str,
    /// The kind of value it takes.
    pub kind: OptionKind,
    /// The values it takes, for a message: `a number from 1 to 254`.
    pub values: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
    get: fn(&Config) -> Option<String>,
}

/// The kind of value that a [`OptionKey`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// A string.
    Text,
    /// An integer.
    Number,
    /// `true` or `false`.
    Flag,
    /// The same, where `true` goes without saying: the option is `--no-` and its name, without a value.
    Switch,
    /// Either of these, or a string.
    FlagOrText,
    /// An array of strings; as an option, the strings with commas between them.
    List,
}

/// Every key, in the order in which a fan is best read.
pub static KEYS: [OptionKey; 15] = [
    OptionKey {
        name: "overlay",
        kind: OptionKind::Text,
        values: "a network like \"250.0.0.0/8\"",
        set: |config, text| text.parse().map(|value| config.overlay = value),
        get: |config| Some(config.overlay.to_string()),
    },
    OptionKey {
        name: "underlay",
        kind: OptionKind::Text,
        values: "an interface, address or network like \"eth0/16\", \"172.30.0.28/16\", \"172.30.0.0/16\", \"default/16\"",
        set: |config, text| text.parse().map(|value| config.underlay = value),
        get: |config| Some(config.underlay.to_string()),
    },
    OptionKey {
        name: "encap",
        kind: OptionKind::Text,
        values: "\"ipip\" or \"vxlan\"",
        set: |config, text| text.parse().map(|value| config.encapsulation = value),
        get: |config| Some(config.encapsulation.to_string()),
    },
    OptionKey {
        name: "bridge",
        kind: OptionKind::Text,
        values: "a name like \"fan0\"",
        set: |config, text| bridge_name(text).map(|value| config.bridge = Some(value)),
        get: |config| config.bridge().map(|bridge| bridge.to_string()),
    },
    OptionKey {
        name: "dhcp",
        kind: OptionKind::Flag,
        values: "true or false",
        set: |config, text| flag("dhcp", text).map(|value| config.dhcp = value),
        get: |config| Some(config.dhcp.to_string()),
    },
    OptionKey {
        name: "host-reserve",
        kind: OptionKind::Number,
        values: "a number from 1 to 254",
        set: |config, text| host_reserve(text).map(|value| config.host_reserve = value),
        get: |config| Some(config.host_reserve.to_string()),
    },
    OptionKey {
        name: "mtu",
        kind: OptionKind::Number,
        values: "a number from 576 to 65515",
        set: |config, text| mtu(text).map(|value| config.mtu = Some(value)),
        get: |config| config.mtu.map(|value| value.to_string()),
    },
    OptionKey {
        name: "port",
        kind: OptionKind::Number,
        values: "a number from 1 to 65535",
        set: |config, text| port(text).map(|value| config.port = Some(value)),
        get: |config| config.port.map(|value| value.to_string()),
    },
    OptionKey {
        name: "table",
        kind: OptionKind::Number,
        values: "a number from 1 to 4294967295",
        set: |config, text| table(text).map(|value| config.table = Some(value)),
        get: |config| config.table.map(|value| value.to_string()),
    },
    OptionKey {
        name: "nat",
        kind: OptionKind::Switch,
        values: "true or false",
        set: |config, text| flag("nat", text).map(|value| config.nat = value),
        get: |config| Some(config.nat.to_string()),
    },
    OptionKey {
        name: "routed",
        kind: OptionKind::List,
        values: "a list of networks like [\"10.8.0.0/24\"]",
        set: |config, text| text.parse().map(|value| config.routed = value),
        get: |config| config.routed.given(),
    },
    OptionKey {
        name: "flowtable",
        kind: OptionKind::Switch,
        values: "true or false",
        set: |config, text| flag("flowtable", text).map(|value| config.flowtable = value),
        get: |config| Some(config.flowtable.to_string()),
    },
    OptionKey {
        name: "follow",
        kind: OptionKind::FlagOrText,
        values: "true, false or \"renumber\"",
        set: |config, text| text.parse().map(|value| config.follow = value),
        get: |config| Some(config.follow.to_string()),
    },
    OptionKey {
        name: "force",
        kind: OptionKind::Flag,
        values: "true or false",
        set: |config, text| flag("force", text).map(|value| config.force = value),
        get: |config| Some(config.force.to_string()),
    },
    OptionKey {
        name: "enabled",
        kind: OptionKind::Flag,
        values: "true or false",
        set: |config, text| flag("enabled", text).map(|value| config.enabled = value),
        get: |config| Some(config.enabled.to_string()),
    },
];

impl OptionKey {
    /// The key of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    pub(super) fn set(&self, config: &mut Config, value: &str) -> Result<(), String> {
        (self.set)(config, value)
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

/// Reads a name for a bridge: letters, digits, `.`, `_` and `-`, since it also stands in firewall rules, where `*` is a
/// wildcard, and in paths below /proc/sys/net/ipv4/conf, where `all` and `default` mean something else. It does not begin with
/// `-`, with which ip(8) and others take it for an option.
///
/// # Errors
/// A sentence when it is no such name, or one that the fan's tunnels have.
pub fn bridge_name(text: &str) -> Result<InterfaceName, String> {
    let name: InterfaceName = text.parse()?;
    if !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
        return Err(format!("bridge '{text}': a name is made of letters, digits, '.', '_' and '-'"));
    }
    if text.starts_with('-') {
        return Err(format!(
            "bridge '{text}': programs take a name that begins with '-' for an option; choose one like fan0"
        ));
    }
    let of_vxlan = |vni: &str| vni.starts_with(|c: char| c.is_ascii_digit());
    let tunnel = name == InterfaceName::shared_tunnel() || text.strip_prefix("fan-vx").is_some_and(of_vxlan);
    if tunnel || matches!(text, "all" | "default" | "lo") {
        return Err(format!("bridge '{text}': that name has another meaning; choose one like fan0"));
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
        253..=255 => Err(format!("table {text} is the kernel's own; leave the table out for the main one")),
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
    let number = digits(text).filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{what} '{text}' is no number from {} to {}", range.start(), range.end()))
}

fn flag(what: &str, text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{what} '{text}' is neither true nor false"))
}
