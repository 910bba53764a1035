//! Filters and programs of others by which the fan's packets come and go: what they do with a packet is not known.

use super::TrafficKind;
use crate::diagnose::doctor::{Facts, Finding, Found, way_out};
use crate::fan::Fan;
use crate::fan::name::InterfaceName;
use crate::plan::foreign::Foreign;
use crate::plan::state::Direction;

/// A finding for each interface that has some.
pub(super) fn check(fan: &Fan, facts: Facts) -> Vec<Finding> {
    let host = facts.host;
    let underlay = way_out(fan, facts);
    let below = host.foreign_ports(&underlay).map(|link| (&link.name, true));
    let ports = host.foreign_ports(&fan.bridge).map(|link| (&link.name, false));
    let devices = [(&underlay, true)].into_iter().chain(below).chain(ports);
    devices.filter_map(|(device, is_underlay)| finding(fan, facts, device, is_underlay)).collect()
}

fn finding(fan: &Fan, facts: Facts, device: &InterfaceName, is_underlay: bool) -> Option<Finding> {
    let on_device: Vec<&Foreign> = facts.health.programs.iter().filter(|program| program.device() == device).collect();
    let first = on_device.first()?;
    let mut packets = Vec::new();
    for program in &on_device {
        let is_sent = matches!(
            program,
            Foreign::Filter { direction: Direction::Egress, .. } | Foreign::Tcx { direction: Direction::Egress, .. }
        );
        let kind = match (is_underlay, is_sent) {
            (true, false) => TrafficKind::FromHosts,
            (true, true) => TrafficKind::ToHosts,
            (false, false) => TrafficKind::FromContainers,
            (false, true) => TrafficKind::ToContainers,
        };
        if !packets.contains(&kind) {
            packets.push(kind);
        }
    }
    let what: Vec<String> = packets.iter().map(|kind| kind.describe(fan)).collect();
    let more = match on_device.len() {
        1 => String::new(),
        number => format!(" and {} more", number - 1),
    };
    let reason = format!("cannot tell whether {} is dropped: {}{more}", what.join(" or "), name(first));
    let look = format!("see: {}", first.look());
    let finding = Finding::warned(Found::FirewallMayDrop, reason).because([look]);
    Some(Finding { packets, ..finding })
}

/// What it is; no filter of the fan is beside it.
fn name(program: &Foreign) -> String {
    match program {
        Foreign::Filter { device, direction, preference, kind, .. } => {
            format!("'{device}' has a {kind} {} filter of others, pref {preference}", direction.as_str())
        }
        Foreign::Tcx { device, direction, program } => {
            format!("'{device}' has the tcx {} program {program} of others", direction.as_str())
        }
        other => other.to_string(),
    }
}
