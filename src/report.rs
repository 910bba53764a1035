//! What the user sees of fans: the table of 2015, and JSON with everything.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::config::{KEYS, Key, Kind};
use crate::configuration::Entry;
use crate::desire;
use crate::difference::{self, Difference};
use crate::encap::{Encapsulation, VXLAN_PORT};
use crate::fan::{Fan, MAIN_TABLE};
use crate::foreign::{self, Foreign};
use crate::host::{AttachedProgram, Counters, Host, Link};
use crate::name::InterfaceName;
use crate::object::{Bridge, Direction, Object, Slot, State};
use crate::plan::{Step, diff};
use crate::program;
use crate::remains::Remains;
use crate::transcript::describe;

/// The table that `show` prints, with its header.
#[must_use]
pub fn table<'a>(fans: impl IntoIterator<Item = &'a Fan>) -> String {
    let mut text = row("Bridge", "Overlay", "Underlay", "Flags");
    for fan in fans {
        text += &row(
            fan.bridge.as_str(),
            &fan.overlay().to_string(),
            &fan.underlay_address(),
            &fan.flags(),
        );
    }
    text
}

fn row(bridge: &str, overlay: &str, underlay: &str, flags: &str) -> String {
    format!("{bridge:16} {overlay:20} {underlay:20} {flags}\n")
}

/// What `show` says of a fan that is not known by a bridge.
#[must_use]
pub fn remains(left: &Remains) -> String {
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
pub fn entries(entries: &[Entry]) -> String {
    let mut text = String::new();
    let mut row = |overlay: &str, underlay: &str, options: &str, place: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{overlay:20} {underlay:20} {options:32} {place}");
    };
    row("Overlay", "Underlay", "Options", "Place");
    for Entry { config, position, .. } in entries {
        let options: Vec<String> = config.options().map(|(_, words)| words).collect();
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
pub fn entry(entry: &Entry) -> Value {
    let config = &entry.config;
    let over_vxlan = config.encapsulation == Encapsulation::Vxlan;
    let written = |key: &Key| {
        let text = key.get(config);
        text.map_or(Value::Null, |text| match key.kind {
            Kind::Text => Value::String(text),
            // Numbers and flags are written alike in JSON.
            Kind::Number | Kind::Flag | Kind::Switch => text.parse().unwrap_or(Value::Null),
            Kind::List => text.split(',').collect(),
            Kind::FlagOrText => text.parse().map_or(Value::String(text), Value::Bool),
        })
    };
    let keys = KEYS.iter().map(|key| {
        let value = match key.name {
            "port" if over_vxlan => config.port.unwrap_or(VXLAN_PORT).into(),
            "flowtable" if over_vxlan => Value::Null,
            "routed" => config.routed.subnets().map(ToString::to_string).collect(),
            "table" => config.table.unwrap_or(MAIN_TABLE).into(),
            _ => written(key),
        };
        (key.name.replace('-', "_"), value)
    });
    let place = [
        ("file".to_string(), entry.position.file.as_ref().into()),
        ("line".to_string(), entry.position.line.into()),
    ];
    keys.chain(place).collect::<serde_json::Map<_, _>>().into()
}

/// A fan with everything that is known of it.
#[derive(Debug, Serialize)]
pub struct Report {
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
    dhcp: bool,
    host_reserve: u8,
    nat: bool,
    routed: Vec<String>,
    flowtable: Option<bool>,
    table: u32,
    /// Of the bridge, in bytes.
    mtu: u32,
    tunnel: InterfaceName,
    /// Whether other fans use the tunnel too; then its counters are theirs as well.
    tunnel_shared: bool,
    containers: Vec<InterfaceName>,
    programs: Vec<ProgramReport>,
    counters: TrafficReport,
    verdict: Verdict,
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
}

/// Whether the kernel holds all that belongs to a fan.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// True when nothing is known to be missing or different, but for what is [older](Self::older).
    pub complete: bool,
    /// What is not there.
    pub missing: Vec<String>,
    /// What is there but not as it should be, or should not be.
    pub different: Vec<String>,
    /// In what the objects that are there differ, each with a code.
    pub differences: Vec<Difference>,
    /// Whether an earlier version made the fan, and nothing else is known to be missing or different: it goes on working, and
    /// `reload` makes it anew.
    pub older: bool,
    /// What others put on the fan's devices.
    pub foreign: Vec<Foreign>,
    /// What could not be looked at, and why.
    pub unknown: Vec<String>,
}

impl Report {
    /// Puts together what is known of a fan.
    #[must_use]
    pub fn new(bridge: &Bridge, owned: &State, host: &Host) -> Self {
        let fan = &bridge.fan;
        let counters = |name: &InterfaceName| host.link(name).map(|link| link.counters).unwrap_or_default();
        let vxlan = fan.encapsulation == Encapsulation::Vxlan;
        Self {
            bridge: fan.bridge.clone(),
            overlay: fan.overlay().to_string(),
            underlay: fan.underlay_address(),
            flags: fan.flags(),
            slice: fan.slice().to_string(),
            gateway: fan.gateway(),
            host: fan.host,
            device: fan.device.clone(),
            encap: fan.encapsulation,
            port: vxlan.then_some(fan.port),
            vni: vxlan.then(|| fan.overlay().vni()),
            dhcp: fan.dhcp,
            host_reserve: fan.host_reserve,
            nat: fan.nat,
            routed: fan.routed.subnets().map(ToString::to_string).collect(),
            flowtable: (!vxlan).then_some(fan.flowtable),
            table: fan.routing_table(),
            mtu: bridge.mtu,
            tunnel: fan.tunnel(),
            tunnel_shared: !vxlan,
            containers: host.foreign_ports(&fan.bridge).map(|link| link.name.clone()).collect(),
            programs: attached(fan, host)
                .map(|program| ProgramReport {
                    direction: program.direction.as_str(),
                    id: program.id,
                })
                .collect(),
            counters: TrafficReport {
                bridge: counters(&fan.bridge),
                tunnel: counters(&fan.tunnel()),
            },
            verdict: verdict(fan, owned, host),
        }
    }
}

fn attached<'a>(fan: &'a Fan, host: &'a Host) -> impl Iterator<Item = &'a AttachedProgram> + 'a {
    let programs = host
        .link(&fan.tunnel())
        .map(|link: &Link| link.programs.as_slice())
        .unwrap_or_default();
    programs
        .iter()
        .filter(|program| program.slot == Slot::Fan(fan.overlay()))
}

/// What a plan would have to do to make the fan right.
#[must_use]
pub fn verdict(fan: &Fan, owned: &State, host: &Host) -> Verdict {
    let mut steps = diff(owned, &desire::with(owned, fan, host));
    steps.retain(|step| !is_hidden(step.object(), host));
    let older = is_only_older(&steps);
    let (mut missing, mut different, mut differences) = (Vec::new(), Vec::new(), Vec::new());
    for step in &steps {
        if let Step::Change { from, to } = step {
            differences.extend(difference::between(from, to));
        }
        match step {
            _ if older => {}
            Step::Hold(_) | Step::Remake(_) => {}
            Step::Create(object) => missing.push(describe(object)),
            Step::Change { to: object, .. } | Step::Delete(object) => different.push(describe(object)),
        }
    }
    if fan.nat && !host.ip_forward {
        different.push("net.ipv4.ip_forward, which NAT needs".to_string());
    }
    let foreign = foreign::on(fan, host);
    let unknown = unknown(host);
    let is_harmed = foreign.iter().any(|foreign| foreign.is_harmful(fan));
    Verdict {
        complete: missing.is_empty() && different.is_empty() && !is_harmed,
        missing,
        different,
        differences,
        older,
        foreign,
        unknown,
    }
}

/// Whether all that these steps are about is that an earlier version made a fan: its tables, programs and settings are others,
/// and every object is there for the same fan with the same MTU.
#[must_use]
pub fn is_only_older(steps: &[Step]) -> bool {
    let is_older =
        |step: &Step| matches!(step, Step::Change { from: Object::Firewall(_, from), .. } if from.is_older());
    let is_of_version = |step: &Step| match step {
        Step::Hold(_) | Step::Remake(_) => true,
        Step::Change {
            from: Object::Bridge(from),
            to: Object::Bridge(to),
        } => from.fan == to.fan && from.mtu == to.mtu && from.changed.is_empty(),
        Step::Change {
            from: Object::Tunnel(from),
            to: Object::Tunnel(to),
        } => from.mtu == to.mtu,
        Step::Change { to, .. } => matches!(to, Object::Filter(_) | Object::Firewall(..)),
        // What cannot become what it should be goes, and comes again.
        Step::Delete(object) => steps
            .iter()
            .any(|step| matches!(step, Step::Create(made) if made.key() == object.key())),
        Step::Create(object) => steps
            .iter()
            .any(|step| matches!(step, Step::Delete(gone) if gone.key() == object.key())),
    };
    steps.iter().any(is_older) && steps.iter().all(is_of_version)
}

/// Whether an object could not be seen even if it is there, so that its absence means nothing.
#[must_use]
pub fn is_hidden(object: &Object, host: &Host) -> bool {
    !host.privileged && matches!(object, Object::Firewall(..) | Object::Accept(_) | Object::Dhcp(_))
}

/// What could not be looked at, and why.
#[must_use]
pub fn unknown(host: &Host) -> Vec<String> {
    if host.privileged {
        return Vec::new();
    }
    vec!["firewall and dhcp server: only root may look at them".to_string()]
}

/// The programs of a fan with its mapping beside them, and whether they are those that the kernel runs.
#[must_use]
pub fn programs(fan: &Fan, owned: &State, host: &Host) -> String {
    let spec = desire::spec(fan, host);
    let mut text = String::new();
    for (direction, program) in [
        (Direction::Egress, program::egress(&spec)),
        (Direction::Ingress, program::ingress(&spec)),
    ] {
        let runs = owned.values().any(|object| {
            matches!(object, Object::Filter(filter)
                if filter.link == fan.tunnel() && filter.direction == direction && filter.slot == Slot::Fan(fan.overlay())
                    && filter.program.digest == program.digest())
        });
        let id = attached(fan, host)
            .find(|found| found.direction == direction)
            .map(|found| found.id);
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
