//! What the user sees of fans: the table of 2015, and JSON with everything.

use crate::plan::verdict::{Completeness, verdict};
use std::fmt::Write as _;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::bpf::program;
use crate::config::Entry;
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::fan::options::{KEYS, OptionKey, OptionKind, ReadBack};
use crate::fan::request::Request;
use crate::plan::desired;
use crate::plan::host::{AttachedProgram, Counters, FastPackets, Host, Link, Occupant};
use crate::plan::leftovers::Remains;
use crate::plan::state::{Bridge, Direction, Object, Slot, State};
use crate::shell;

/// The table that `show` prints, with its header.
#[must_use]
pub(crate) fn table<'a>(fans: impl IntoIterator<Item = &'a Fan>) -> String {
    let mut text = row("Bridge", "Overlay", "Underlay", "Flags");
    for fan in fans {
        text += &row(fan.bridge.as_str(), &fan.overlay().to_string(), &fan.underlay_address(), &fan.flags());
    }
    text
}

fn row(bridge: &str, overlay: &str, underlay: &str, flags: &str) -> String {
    format!("{bridge:16} {overlay:20} {underlay:20} {flags}\n")
}

/// The table that `show -l` prints, with its header: where containers are, and whether the fan is whole. Each port stands
/// below its fan, with who is behind it, and what its fast path has carried.
#[must_use]
pub(crate) fn long<'a>(
    fans: impl IntoIterator<Item = (&'a Bridge, &'a Completeness)>,
    host: &Host,
    fast: impl Fn(Overlay) -> Option<FastPackets>,
) -> String {
    let row = |[bridge, slice, gateway, mtu, encap, ports, health]: [&str; 7]| {
        format!("{bridge:16} {slice:20} {gateway:16} {mtu:6} {encap:6} {ports:11} {health}\n")
    };
    let mut text = row(["Bridge", "Slice", "Gateway", "MTU", "Encap", "Containers", "Health"]);
    for (Bridge { fan, mtu, .. }, verdict) in fans {
        let ports: Vec<&Link> = host.foreign_ports(&fan.bridge).collect();
        let health = match verdict {
            Completeness { complete: false, .. } => "broken",
            Completeness { older: true, .. } => "older",
            _ => "ok",
        };
        text += &row([
            fan.bridge.as_str(),
            &fan.slice().to_string(),
            &fan.gateway().to_string(),
            &mtu.to_string(),
            fan.options.encapsulation.as_str(),
            &ports.len().to_string(),
            health,
        ]);
        text.extend(ports.iter().map(|port| format!("  {}\n", host.port(&port.name))));
        if let Some(FastPackets { sent, received }) = fast(fan.overlay()) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  fast path: {sent} packets sent, {received} received");
        }
    }
    text
}

/// That a fan that is up is not as it should be; none where it is.
#[must_use]
pub(crate) fn fault(fan: &Fan, verdict: &Completeness) -> Option<String> {
    /// As many objects as a line has room for; doctor has all.
    const MOST: usize = 3;
    let missing = verdict.missing.iter().map(|object| format!("{object} is missing"));
    let different = verdict.different.iter().map(|object| format!("{object} differs"));
    let foreign = verdict.foreign.iter().filter(|foreign| foreign.is_harmful(fan)).map(ToString::to_string);
    let all: Vec<String> = missing.chain(different).chain(foreign).collect();
    let more = all.len().saturating_sub(MOST);
    let more = if more > 0 { format!("; {more} more") } else { String::new() };
    (!verdict.complete).then(|| {
        let shown: Vec<&str> = all.iter().take(MOST).map(String::as_str).collect();
        let look = shell!("fanctl doctor {}", fan.bridge);
        format!("fan {} is not as it should be: {}{more}; see: {look}", fan.overlay(), shown.join("; "))
    })
}

/// What `show` says of a fan that is not known by a bridge.
#[must_use]
pub(crate) fn remains(left: &Remains) -> String {
    let overlay = left.overlay;
    if let Some(stray) = &left.bridge {
        format!(
            "fan {overlay} has a bridge whose alias, by which it was known, was changed: '{}'; what to do about it: fanctl doctor",
            stray.name
        )
    } else {
        let removal = left.removal();
        format!("fan {overlay} has lost its bridge; bring it up again, or take away what remains: {removal}")
    }
}

/// The table that `config list` prints, with its header.
#[must_use]
pub(crate) fn entries(entries: &[Entry]) -> String {
    let mut text = String::new();
    let mut row = |overlay: &str, underlay: &str, options: &str, place: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{overlay:20} {underlay:20} {options:32} {place}");
    };
    row("Overlay", "Underlay", "Options", "Place");
    for Entry { config, position, .. } in entries {
        let options: Vec<String> = config.words().map(|(_, words)| words).collect();
        let options = if options.is_empty() { "-" } else { &options.join(" ") };
        row(
            &config.overlay.to_string(),
            &config.underlay.to_string(),
            options,
            &format!("{}:{}", position.file, position.line),
        );
    }
    text
}

/// A fan that is written down, and where, with every default filled in that is known without looking at the host, as
/// [`Report`] has them: what is none over the fan's encapsulation is null there too.
#[must_use]
pub(crate) fn entry(entry: &Entry) -> Value {
    let keys = KEYS.iter().map(|key| (field(key), value(key, &entry.config)));
    let place =
        [("file".to_string(), entry.position.file.as_ref().into()), ("line".to_string(), entry.position.line.into())];
    keys.chain(place).collect::<serde_json::Map<_, _>>().into()
}

/// The name of a key in JSON.
fn field(key: &OptionKey) -> String {
    key.name.replace('-', "_")
}

/// The value of a key in JSON; null where nothing was said and the value depends on the host, and where the key is for the other
/// encapsulation.
fn value(key: &OptionKey, config: &Request) -> Value {
    let is_for = key.is_for(config.options.encapsulation);
    let text = key.get(config).or_else(|| key.usual.and_then(|usual| usual(config))).filter(|_| is_for);
    match (text, key.kind) {
        (None, OptionKind::List) => Value::Array(vec![]),
        (None, _) => Value::Null,
        (Some(text), OptionKind::Text) => Value::String(text),
        // Numbers and flags are written alike in JSON.
        (Some(text), OptionKind::Number | OptionKind::Flag | OptionKind::Switch) => text.parse().unwrap_or(Value::Null),
        (Some(text), OptionKind::List) => text.split(',').collect(),
        (Some(text), OptionKind::FlagOrText) => text.parse().map_or(Value::String(text), Value::Bool),
    }
}

/// The options of a fan in JSON, but those that [`Report`] has at places of their own.
fn options<S: Serializer>(fan: &Request, serializer: S) -> Result<S::Ok, S::Error> {
    let is_here = |key: &&OptionKey| {
        !matches!(key.read_back, ReadBack::Place | ReadBack::FileOnly) && !matches!(key.name, "mtu" | "port" | "table")
    };
    serializer.collect_map(KEYS.iter().filter(is_here).map(|key| (field(key), value(key, fan))))
}

/// A fan with everything that is known of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    bridge: InterfaceName,
    overlay: String,
    underlay: String,
    flags: String,
    slice: String,
    gateway: std::net::Ipv4Addr,
    host: std::net::Ipv4Addr,
    device: InterfaceName,
    encap: Encapsulation,
    port: Option<u16>,
    vni: Option<u32>,
    #[serde(flatten, serialize_with = "options")]
    options: Request,
    table: u32,
    /// Of the bridge, in bytes.
    mtu: u32,
    tunnel: InterfaceName,
    /// Whether other fans use the tunnel too; then its counters are theirs as well.
    tunnel_shared: bool,
    containers: Vec<InterfaceName>,
    ports: Vec<PortReport>,
    programs: Vec<ProgramReport>,
    counters: TrafficReport,
    verdict: Completeness,
}

/// A port of a fan's bridge.
#[derive(Debug, Serialize)]
struct PortReport {
    name: InterfaceName,
    /// Who is behind it, where that was asked for and found.
    process: Option<Occupant>,
}

/// A program that the kernel runs for a fan.
#[derive(Debug, Serialize)]
struct ProgramReport {
    direction: &'static str,
    id: u32,
}

/// Packets through bridge and tunnel.
#[derive(Debug, Serialize)]
struct TrafficReport {
    bridge: Counters,
    tunnel: Counters,
    /// Past the tunnel; null where there is no fast path, and where its counters may not be read.
    fast_path: Option<FastPackets>,
}

impl Report {
    /// Puts together what is known of a fan.
    #[must_use]
    pub fn new(bridge: &Bridge, owned: &State, host: &Host) -> Self {
        let fan = &bridge.fan;
        let counters = |name: &InterfaceName| host.link(name).map(|link| link.counters).unwrap_or_default();
        let vxlan = fan.options.encapsulation == Encapsulation::Vxlan;
        Self {
            bridge: fan.bridge.clone(),
            overlay: fan.overlay().to_string(),
            underlay: fan.underlay_address(),
            flags: fan.flags(),
            slice: fan.slice().to_string(),
            gateway: fan.gateway(),
            host: fan.host,
            device: fan.device.clone(),
            encap: fan.options.encapsulation,
            port: (!fan.ports().is_empty()).then(|| fan.port()),
            vni: vxlan.then(|| fan.overlay().vni()),
            options: fan.config(),
            table: fan.routing_table(),
            mtu: bridge.mtu,
            tunnel: fan.tunnel(),
            tunnel_shared: fan.options.encapsulation == Encapsulation::Ipip,
            containers: host.foreign_ports(&fan.bridge).map(|link| link.name.clone()).collect(),
            ports: host
                .foreign_ports(&fan.bridge)
                .map(|Link { name, .. }| PortReport { name: name.clone(), process: host.occupants.get(name).cloned() })
                .collect(),
            programs: attached(fan, host)
                .map(|program| ProgramReport { direction: program.direction.as_str(), id: program.id })
                .collect(),
            counters: TrafficReport { bridge: counters(&fan.bridge), tunnel: counters(&fan.tunnel()), fast_path: None },
            verdict: verdict(fan, owned, host),
        }
    }

    /// The same with the counters of the fast path.
    #[must_use]
    pub(crate) fn with_fast_path(mut self, packets: Option<FastPackets>) -> Self {
        self.counters.fast_path = packets;
        self
    }
}

fn attached<'a>(fan: &'a Fan, host: &'a Host) -> impl Iterator<Item = &'a AttachedProgram> + 'a {
    let programs = host.link(&fan.tunnel()).map(|link: &Link| link.programs.as_slice()).unwrap_or_default();
    programs.iter().filter(|program| program.slot == Slot::Fan(fan.overlay()))
}

/// The programs of a fan with its mapping beside them, and whether they are those that the kernel runs.
#[must_use]
pub(crate) fn programs(fan: &Fan, owned: &State, host: &Host) -> String {
    let spec = desired::spec(fan, host);
    let mut text = String::new();
    for (direction, program) in
        [(Direction::Egress, program::egress(&spec)), (Direction::Ingress, program::ingress(&spec))]
    {
        let runs = owned.values().any(|object| {
            matches!(object, Object::Filter(filter)
                if filter.link == fan.tunnel() && filter.direction == direction && filter.slot == Slot::Fan(fan.overlay())
                    && filter.program.digest == program.digest())
        });
        let id = attached(fan, host).find(|found| found.direction == direction).map(|found| found.id);
        let state = match (runs, id) {
            (true, Some(id)) => format!("running as program {id}"),
            (false, Some(id)) => format!("NOT what runs there as program {id}; run fanctl up again"),
            (_, None) => "not attached; run fanctl up again".to_string(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} of {}: {} over {}, host {}, slice {} ({state})\n{program}",
            direction.as_str(),
            fan.tunnel(),
            fan.overlay(),
            fan.mapping.underlay(),
            fan.host,
            fan.slice()
        );
    }
    text
}
