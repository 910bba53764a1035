//! Ports by which containers are attached: whether they are up, and whether the bridge lets frames pass by them.

use super::Port;
use crate::diagnose::doctor::{Check, Code, Finding, Found};
use crate::fan::Fan;
use crate::fan::shell::Line;
use crate::plan::state::Setting;
use crate::shell;

pub(super) fn check(fan: &Fan, ports: &[Port]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = ports.iter().filter_map(stopped).collect();
    findings.extend(isolated(ports));
    let is_changed = |setting| move |port: &&Port| port.link.port.changed.contains(&setting);
    for port in ports.iter().filter(is_changed(Setting::BroadcastFlood)) {
        let what = "gets no broadcast, so that no ARP request of others reaches what is behind it";
        findings.push(changed(fan, port, Setting::BroadcastFlood, what));
    }
    for port in ports.iter().filter(is_changed(Setting::Locked)) {
        let what = "takes frames only from Ethernet addresses that were configured";
        findings.push(changed(fan, port, Setting::Locked, what));
    }
    // Without learning every address is unknown.
    let is_deaf = |port: &&Port| is_changed(Setting::Learning)(port) && is_changed(Setting::Flood)(port);
    for port in ports.iter().filter(is_deaf) {
        let what = "gets frames only to addresses that were configured, because it learns none";
        findings.push(changed(fan, port, Setting::Flood, what));
    }
    findings
}

/// Nothing passes: the port is down, what is behind it is, or the bridge forwards no frames of it.
fn stopped(port: &Port) -> Option<Finding> {
    let name = &port.link.name;
    if !port.link.up {
        let reason = format!("port '{name}' is down, so that nothing passes between the fan and what is behind it");
        return Some(Finding::failed(Found::PortDown, reason).mended_by(shell!("ip link set dev {} up", name)));
    }
    if !port.link.carrier {
        let reason = format!("port '{name}' has no carrier: the interface behind it is down");
        let finding = Finding::warned(Found::PortDown, reason);
        return Some(match port.in_container(&shell!("up")) {
            Some(command) => finding.mended_by(command),
            None => finding,
        });
    }
    let state = port.link.port.stopped?;
    let reason = format!("port '{name}' is in the state '{state}' of its bridge, which forwards no frames of it");
    Some(Finding::failed(Found::PortStopped, reason).mended_by(shell!("bridge link set dev {} state 3", name)))
}

/// Isolated ports reach the tunnel, which is not, and the host; each other they do not.
fn isolated(ports: &[Port]) -> Option<Finding> {
    let isolated: Vec<&Port> =
        ports.iter().filter(|port| port.link.port.changed.contains(&Setting::Isolated)).collect();
    if isolated.len() < 2 {
        return None;
    }
    let names: Vec<String> = isolated.iter().map(|port| format!("'{}'", port.link.name)).collect();
    let reason = format!("ports {} are isolated: containers behind them do not reach each other", names.join(", "));
    let lines: Vec<Line> = isolated.iter().map(|port| Setting::Isolated.line(&port.link.name, false)).collect();
    let code = Code::Difference(Check::Containers, Setting::Isolated.code());
    Some(Finding::warned(code, reason).mended_by(Line::all_of(lines)))
}

fn changed(fan: &Fan, port: &Port, setting: Setting, what: &str) -> Finding {
    let name = &port.link.name;
    let reason = format!("port '{name}' of {} has '{setting}': it {what}", fan.bridge);
    Finding::failed(Code::Difference(Check::Containers, setting.code()), reason).mended_by(setting.line(name, false))
}
