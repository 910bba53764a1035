//! The addresses and routes that containers have on their side. A container without an address may get one later.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use super::Port;
use crate::diagnose::doctor::{Finding, Found};
use crate::diagnose::facts::Peer;
use crate::fan::Fan;
use crate::fan::name::InterfaceName;
use crate::fan::shell::Line;
use crate::shell;

pub(super) fn check(fan: &Fan, ports: &[Port]) -> Vec<Finding> {
    let known: Vec<(&Port, &Peer)> = ports.iter().filter_map(|port| Some((port, port.peer?))).collect();
    let mut findings: Vec<Finding> = twice(fan, &known).into_iter().collect();
    for (port, peer) in known {
        let mut own = peer.addresses.iter().filter(|address| fan.overlay().network().contains(address.ip()));
        let misplaced = own.clone().find_map(|address| misplaced(fan, port, address.ip()));
        let Some(first) = own.next().filter(|_| misplaced.is_none()) else {
            findings.extend(misplaced);
            continue;
        };
        let prefix = prefix(fan, port, *first);
        // Which routes are missing shows when the prefix is right.
        let findings_of_one = prefix.or_else(|| way(fan, port, peer));
        findings.extend(findings_of_one);
    }
    findings
}

/// Two containers with one address, or a container with an address of the bridge.
fn twice(fan: &Fan, known: &[(&Port, &Peer)]) -> Option<Finding> {
    let mut holders: BTreeMap<Ipv4Addr, Vec<String>> = BTreeMap::new();
    for address in fan.bridge_addresses() {
        holders.entry(address.ip()).or_default().push(format!("bridge '{}'", fan.bridge));
    }
    for (port, peer) in known {
        for address in &peer.addresses {
            holders.entry(address.ip()).or_default().push(port.describe_peer());
        }
    }
    let is_twice = |address: &Ipv4Addr, names: &[String]| names.len() > 1 && fan.slice().contains(*address);
    let (address, names) = holders.iter().find(|(address, names)| is_twice(address, names))?;
    let reason = format!("{} have the address {address}; give each an address of its own", names.join(" and "));
    Some(Finding::failed(Found::ContainerAddressTwice, reason))
}

/// An address that no container of this host can have.
fn misplaced(fan: &Fan, port: &Port, address: Ipv4Addr) -> Option<Finding> {
    let (first, last) = fan.container_range();
    let peer = port.describe_peer();
    if !fan.slice().contains(address) {
        let reason = format!(
            "{peer} has the address {address}, which belongs to host {}; give it one from {first} to {last}",
            fan.mapping.host(address)
        );
        return Some(Finding::failed(Found::ContainerAddressForeign, reason));
    }
    let is_of_bridge = fan.bridge_addresses().any(|own| own.ip() == address);
    if is_of_bridge || (first..=last).contains(&address) {
        return None;
    }
    let reason = format!("{peer} has the reserved address {address}; give it one from {first} to {last}");
    Some(Finding::failed(Found::ContainerAddressReserved, reason))
}

/// A prefix length with which other hosts' containers are asked for on the link where they are not, or are not asked for where
/// they are. One address alone (/32) has its routes from elsewhere.
fn prefix(fan: &Fan, port: &Port, own: Ipv4Network) -> Option<Finding> {
    let (is, right) = (own.prefix(), fan.on_link_len());
    if is == right || is == 32 {
        return None;
    }
    let (code, address, peer) = (Found::ContainerPrefixWrong, own.ip(), port.describe_peer());
    let finding = if is < right {
        let reason = format!(
            "{peer} has the prefix length {is} instead of {right}, so it sends ARP requests for addresses that the fan routes"
        );
        Finding::failed(code, reason)
    } else if own.contains(fan.gateway()) {
        let reason = format!(
            "{peer} has the prefix length {is} instead of {right}, so packets to other hosts go by the gateway"
        );
        Finding::warned(code, reason)
    } else {
        let reason =
            format!("{peer} has the prefix length {is} instead of {right}, so it does not reach {}", fan.gateway());
        Finding::failed(code, reason)
    };
    let to = |len: u8| Ipv4Network::new(address, len).ok();
    let setting = |name: &InterfaceName| {
        let (right, is) = (to(right)?, to(is)?);
        Some([shell!("ip address add {} dev {}", right, name), shell!("ip address delete {} dev {}", is, name)])
    };
    Some(mended(finding, port, setting))
}

/// A container without a route to other hosts, or to the world.
fn way(fan: &Fan, port: &Port, peer: &Peer) -> Option<Finding> {
    let overlay = fan.overlay().network();
    let routes = peer.routes.as_ref()?;
    let leads = |to: Ipv4Addr| routes.iter().any(|route| route.contains(to));
    let (first, last) = (u32::from(overlay.network()), u32::from(overlay.broadcast()));
    let reaches_hosts = [first + 1, last - 1].into_iter().all(|to| leads(to.into()));
    // Two halves, as a VPN has them, are as good as a default route.
    let reaches_world = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(192, 0, 2, 1)].into_iter().all(leads);
    let name = port.describe_peer();
    let code = Found::ContainerRouteMissing;
    let finding = if !reaches_hosts {
        Finding::failed(code, format!("{name} has no default route, and none to other hosts of the fan"))
    } else if fan.options.nat && !reaches_world {
        Finding::warned(code, format!("{name} has no default route, so it reaches only the fan"))
    } else {
        return None;
    };
    Some(mended(finding, port, |name| Some([shell!("ip route add default via {} dev {}", fan.gateway(), name)])))
}

/// With the commands to type in the container, if a process was found there.
fn mended<const N: usize>(
    finding: Finding,
    port: &Port,
    commands: impl FnOnce(&InterfaceName) -> Option<[Line; N]>,
) -> Finding {
    let commands = port.peer.and_then(|peer| commands(&peer.name));
    let typed: Option<Vec<Line>> =
        commands.and_then(|commands| commands.iter().map(|command| port.within(command)).collect());
    match typed {
        Some(lines) => finding.mended_by(Line::all_of(lines)),
        None => finding,
    }
}
