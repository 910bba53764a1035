//! What is attached to a fan's bridge: whether packets fit, whether two claim to be the same, and how they are addressed.

mod addressing;

use std::collections::BTreeMap;

use super::{CheckResult, Facts, Finding, Found, count};
use crate::diagnose::facts::Peer;
use crate::fan::encap::Encapsulation;
use crate::fan::shell::Line;
use crate::fan::{Fan, Mac};
use crate::plan::desired;
use crate::plan::host::Link;
use crate::shell;

pub(super) fn check(fan: &Fan, facts: Facts, _: &[Finding]) -> Vec<Finding> {
    let ports: Vec<Port> = facts
        .host
        .foreign_ports(&fan.bridge)
        .map(|link| Port { link, peer: facts.health.peers.get(&link.name) })
        .collect();
    let mut findings = Vec::new();
    findings.extend(too_large(fan, facts, &ports));
    findings.extend(too_small(fan, facts, &ports));
    findings.extend(twice(fan, facts, &ports));
    findings.extend(addressing::check(fan, &ports));
    if findings.is_empty() {
        let hidden = ports.iter().filter(|port| facts.health.hidden_peers.contains(&port.link.name)).count();
        let seen = match hidden {
            0 => String::new(),
            number => format!("; what {number} of them have on their side could not be seen"),
        };
        let what = count(ports.len(), "port", "ports");
        findings
            .push(Finding::passed(Found::ContainersRight, format!("{what} on {}, nothing wrong{seen}", fan.bridge)));
    }
    findings
}

/// Something attached, and its other end.
struct Port<'a> {
    link: &'a Link,
    peer: Option<&'a Peer>,
}

impl Port<'_> {
    /// The command that sets something on the other end; none where the way there is not known.
    fn in_container(&self, setting: &Line) -> Option<Line> {
        self.within(&shell!("ip link set dev {} {}", self.peer?.name, setting))
    }

    /// A command to run in the container; none where its namespace has no name and nobody was found there.
    fn within(&self, command: &Line) -> Option<Line> {
        let Peer { process, file, .. } = self.peer?;
        Some(match (file, process) {
            (Some(file), _) => shell!("nsenter --net={} {}", file.as_path(), command),
            (None, Some(process)) => shell!("nsenter --net=/proc/{}/ns/net {}", process, command),
            (None, None) => return None,
        })
    }

    fn describe_peer(&self) -> String {
        let peer = self.peer.map_or("the other end".to_string(), |peer| format!("'{}' behind it", peer.name));
        format!("{peer} (port '{}')", self.link.name)
    }
}

/// Ports and containers that send more than the bridge carries. A frame that does not fit a port of the bridge is dropped
/// without a word (`is_skb_forwardable`, net/core/dev.c); where the packet is routed instead, its sender is told.
fn too_large(fan: &Fan, facts: Facts, ports: &[Port]) -> Option<Finding> {
    let mtu = mtu(fan, facts)?;
    let sizes = Sizes::that(ports, mtu, |size| size > mtu)?;
    let (verdict, what) = match fan.options.encapsulation {
        Encapsulation::Vxlan => (CheckResult::Failed, "are dropped without a word"),
        Encapsulation::Ipip | Encapsulation::Wireguard => {
            (CheckResult::Warned, "are lost between containers of this host, and slow to others")
        }
    };
    Some(sizes.finding(
        Found::PortMtuLarge,
        verdict,
        format!("packets of more than {mtu} bytes, the mtu of '{}', {what}", fan.bridge),
    ))
}

/// Ports and containers that take less than the bridge carries. TCP finds out, and nothing else does.
fn too_small(fan: &Fan, facts: Facts, ports: &[Port]) -> Option<Finding> {
    let mtu = mtu(fan, facts)?;
    let sizes = Sizes::that(ports, mtu, |size| size < mtu)?;
    let reason = format!(
        "packets of {mtu} bytes, the mtu of '{}', do not fit all containers and are dropped without a word",
        fan.bridge
    );
    Some(sizes.finding(Found::PortMtuSmall, CheckResult::Warned, reason))
}

/// What the bridge should carry, or more. What somebody set on the bridge itself is found among the objects.
fn mtu(fan: &Fan, facts: Facts) -> Option<u32> {
    let bridge = facts.host.link(&fan.bridge)?;
    Some(bridge.mtu.max(desired::mtu(fan, facts.host)))
}

/// Sizes that are wrong, and what would put them right.
struct Sizes {
    evidence: Vec<String>,
    commands: Vec<Line>,
    is_complete: bool,
}

impl Sizes {
    /// The MTUs of ports and what is behind them that are wrong; none when all are right.
    fn that(ports: &[Port], mtu: u32, is_wrong: impl Fn(u32) -> bool) -> Option<Self> {
        let (mut evidence, mut commands, mut is_complete) = (Vec::new(), Vec::new(), true);
        for port in ports {
            if let Some(peer) = port.peer.filter(|peer| is_wrong(peer.mtu)) {
                evidence.push(format!("{} has mtu {}", port.describe_peer(), peer.mtu));
                let command = port.in_container(&shell!("mtu {}", mtu));
                is_complete &= command.is_some();
                commands.extend(command);
            }
            if is_wrong(port.link.mtu) {
                evidence.push(format!("port '{}' has mtu {}", port.link.name, port.link.mtu));
                commands.push(shell!("ip link set dev {} mtu {}", port.link.name, mtu));
            }
        }
        (!evidence.is_empty()).then_some(Self { evidence, commands, is_complete })
    }

    fn finding(self, code: Found, verdict: CheckResult, reason: String) -> Finding {
        let advice = if self.is_complete {
            ""
        } else {
            "; set it in the container too, whose namespace has no process that was found, and no name"
        };
        let finding = Finding::new(code, verdict, reason + advice).because(self.evidence);
        if self.commands.is_empty() { finding } else { finding.mended_by(Line::all_of(self.commands)) }
    }
}

/// Ethernet addresses that are there twice: a bridge sends to the one that it has heard of last.
fn twice(fan: &Fan, facts: Facts, ports: &[Port]) -> Option<Finding> {
    let bridge = facts.health.macs.get(&fan.bridge);
    let mut holders: BTreeMap<Mac, Vec<&Port>> = BTreeMap::new();
    for port in ports {
        if let Some(mac) = port.peer.and_then(|peer| peer.mac) {
            holders.entry(mac).or_default().push(port);
        }
    }
    let is_twice = |mac: &Mac, ports: &[&Port]| ports.len() > 1 || Some(mac) == bridge;
    let (mac, ports) = holders.iter().find(|(mac, ports)| is_twice(mac, ports))?;
    let mut names: Vec<String> = ports.iter().map(|port| port.describe_peer()).collect();
    names.extend((Some(mac) == bridge).then(|| format!("bridge '{}'", fan.bridge)));
    let last = ports.last()?;
    let Mac([_, _, _, d, e, f]) = *mac;
    // Locally administered (IEEE 802, the second bit of the first octet), and named after the port's number.
    let index = u8::try_from(ports.len()).unwrap_or(u8::MAX);
    let other = Mac([0x02, 0xfb, index, d, e, f]);
    let reason = format!(
        "Ethernet address {mac} is there twice: {} have it, and frames reach the wrong one",
        names.join(" and ")
    );
    let finding = Finding::failed(Found::MacTwice, reason);
    Some(match last.in_container(&shell!("address {}", other)) {
        Some(command) => finding.mended_by(command),
        None => finding,
    })
}
