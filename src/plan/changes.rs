//! How a fan that is to be differs from the one that is up over the same overlay, in the words of its options.

use serde::Serialize;

use crate::fan::Fan;
use crate::fan::name::InterfaceName;
use crate::fan::options::{KEYS, OptionKey, OptionKind, ReadBack};
use crate::fan::request::Request;
use crate::plan::desired::mtu;
use crate::plan::host::Host;
use crate::plan::state::{State, bridges};

/// What changes of a fan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Changes {
    /// Each option whose value is another.
    pub(crate) options: Vec<OptionChange>,
    /// In bytes, and the ports of the bridge that have another MTU; their containers' ends must follow too.
    pub(crate) ports: Option<Ports>,
}

/// An option whose value is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct OptionChange {
    /// The key of /etc/fan.toml.
    pub(crate) option: &'static str,
    /// Its value up to now.
    pub(crate) from: String,
    /// Its value from now on.
    pub(crate) to: String,
}

/// Ports that are to follow the MTU of their bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Ports {
    /// In bytes.
    pub mtu: u32,
    /// Their names.
    pub(crate) names: Vec<InterfaceName>,
}

impl Changes {
    /// What changes as this fan comes in place of the one that is up; nothing where none is.
    #[must_use]
    pub(crate) fn of(fan: &Fan, owned: &State, host: &Host) -> Self {
        let Some(up) = bridges(owned).find(|bridge| bridge.fan.overlay() == fan.overlay()) else {
            return Self::default();
        };
        let then = mtu(fan, host);
        let options = differences((&up.fan, up.mtu), (fan, then));
        let others = host.foreign_ports(&up.fan.bridge).filter(|port| port.mtu != then);
        let names: Vec<InterfaceName> = others.map(|port| port.name.clone()).collect();
        let ports = (up.mtu != then && !names.is_empty()).then_some(Ports { mtu: then, names });
        Self { options, ports }
    }

    /// Whether nothing changes.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// In sentences.
    #[must_use]
    pub(crate) fn sentences(&self) -> Vec<String> {
        let changed = (!self.options.is_empty()).then(|| format!("changed: {}", list(&self.options)));
        let ports = self.ports.as_ref().map(|Ports { mtu, names }| {
            let names: Vec<&str> = names.iter().map(InterfaceName::as_str).collect();
            format!("mtu {mtu} is to be set on these ports too, and on their containers' ends: {}", names.join(", "))
        });
        changed.into_iter().chain(ports).collect()
    }
}

/// The differences as a list: `nat on -> off, mtu 1450 -> 1400`.
#[must_use]
pub(crate) fn list(differences: &[OptionChange]) -> String {
    let words = differences.iter().map(|OptionChange { option, from, to }| format!("{option} {from} -> {to}"));
    words.collect::<Vec<_>>().join(", ")
}

/// The options that two fans over one overlay have with another value. The MTU is what each bridge has.
#[must_use]
pub(crate) fn differences(from: (&Fan, u32), to: (&Fan, u32)) -> Vec<OptionChange> {
    let ((from, mtu), (to, mtu_then)) = (from, to);
    let (before, after) = (from.config(), to.config());
    let difference = |key: &'static OptionKey| {
        let (from, to) = (value(key, from, &before)?, value(key, to, &after)?);
        (from != to).then_some(OptionChange { option: key.name, from, to })
    };
    let mtu =
        (mtu != mtu_then).then(|| OptionChange { option: "mtu", from: mtu.to_string(), to: mtu_then.to_string() });
    KEYS.iter().filter_map(difference).chain(mtu).collect()
}

/// The value of an option of a fan, for a person; none where it is no property of a fan, or is told otherwise.
fn value(key: &OptionKey, fan: &Fan, config: &Request) -> Option<String> {
    let text = key.get(config);
    match (key.name, key.kind) {
        ("mtu", _) => None,
        _ if key.read_back == ReadBack::FileOnly => None,
        ("bridge", _) => Some(fan.bridge.to_string()),
        ("port", _) => (!fan.ports().is_empty()).then(|| fan.port().to_string()),
        ("table", _) => Some(text.unwrap_or("main".into())),
        (_, OptionKind::Flag | OptionKind::Switch) => {
            text.map(|text| if text == "true" { "on" } else { "off" }.to_string())
        }
        _ => text,
    }
}
