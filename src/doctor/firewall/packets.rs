//! The kinds of packets that a fan needs, as they are at each hook (linux/netfilter.h) that they pass.

use std::net::Ipv4Addr;

use super::Kind;
use crate::doctor::Facts;
use crate::encap::Encapsulation;
use crate::fan::Fan;
use crate::name::InterfaceName;
use crate::netfilter::{Packet, State};

/// The protocol numbers (IANA).
const IPIP: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The port of a DHCP server (RFC 2131).
pub(super) const BOOTPS: u16 = 67;

/// For the rest of the world, a server of the root of DNS (a.root-servers.net): those for documentation (RFC 5737) would not
/// do, lists of bogons drop them. Rules are asked about it, and nothing is sent to it.
const WORLD: Ipv4Addr = Ipv4Addr::new(198, 41, 0, 4);

/// Every kind of packet at every hook that it passes.
pub(super) fn packets(fan: &Fan, facts: Facts) -> Vec<(Kind, Packet)> {
    let mut all = Vec::new();
    let peer = Ipv4Addr::from(u32::from(fan.host) ^ 1);
    let container = fan.container_range().0;
    let others = u32::from(fan.mapping.gateway(peer)) + u32::from(fan.host_reserve);
    wrapped(fan, peer, &mut all);
    let routed = |kind, hooks: &[&'static str], incoming: &InterfaceName, outgoing: &InterfaceName, state| {
        let (source, destination) = match kind {
            Kind::ToContainers => (others.into(), container),
            _ => (container, others.into()),
        };
        let packet = |hook| Packet {
            hook,
            families: &["ip", "inet"],
            incoming: (hook != "postrouting").then(|| incoming.to_string()),
            outgoing: (hook != "prerouting").then(|| outgoing.to_string()),
            bridge: None,
            source,
            destination,
            is_local: false,
            protocol: TCP,
            port: None,
            state,
        };
        hooks.iter().map(|hook| (kind, packet(hook))).collect::<Vec<_>>()
    };
    let (bridge, tunnel) = (&fan.bridge, fan.tunnel());
    match fan.encapsulation {
        Encapsulation::Ipip => {
            let hooks = ["prerouting", "forward", "postrouting"];
            all.extend(routed(Kind::FromContainers, &hooks, bridge, &tunnel, State::New));
            all.extend(routed(Kind::ToContainers, &hooks, &tunnel, bridge, State::New));
        }
        Encapsulation::Vxlan => {
            if facts.health.bridged_packets_are_filtered {
                all.extend(routed(Kind::FromContainers, &["forward"], bridge, bridge, State::New));
                all.extend(routed(Kind::ToContainers, &["forward"], bridge, bridge, State::New));
            }
            let port = facts.host.foreign_ports(bridge).next().map(|link| &link.name);
            if let Some(port) = port {
                let bridged = [
                    routed(Kind::FromContainers, &["forward"], port, &tunnel, State::New),
                    routed(Kind::ToContainers, &["forward"], &tunnel, port, State::New),
                ];
                all.extend(bridged.into_iter().flatten().map(|(kind, packet)| {
                    let packet = Packet {
                        families: &["bridge"],
                        bridge: Some(bridge.to_string()),
                        ..packet
                    };
                    (kind, packet)
                }));
            }
        }
    }
    if let (Some(way_out), true) = (facts.host.default_device(), fan.nat) {
        let world = |packet: Packet| {
            if packet.source == container {
                Packet {
                    destination: WORLD,
                    ..packet
                }
            } else {
                Packet {
                    source: WORLD,
                    ..packet
                }
            }
        };
        let out = routed(
            Kind::FromContainers,
            &["prerouting", "forward"],
            bridge,
            way_out,
            State::New,
        );
        let back = routed(Kind::ToContainers, &["forward"], way_out, bridge, State::Established);
        all.extend(out.into_iter().chain(back).map(|(kind, packet)| (kind, world(packet))));
    }
    all
}

/// What travels between hosts, and what asks for an address.
fn wrapped(fan: &Fan, peer: Ipv4Addr, all: &mut Vec<(Kind, Packet)>) {
    let (protocol, port) = match fan.encapsulation {
        Encapsulation::Ipip => (IPIP, None),
        Encapsulation::Vxlan => (UDP, Some(fan.port)),
    };
    let device = Some(fan.device.to_string());
    let incoming = Packet {
        hook: "input",
        families: &["ip", "inet"],
        incoming: device.clone(),
        outgoing: None,
        bridge: None,
        source: peer,
        destination: fan.host,
        is_local: true,
        protocol,
        port,
        state: State::New,
    };
    let outgoing = Packet {
        incoming: None,
        outgoing: device,
        source: fan.host,
        destination: peer,
        is_local: false,
        ..incoming.clone()
    };
    let at = |hook, packet: &Packet| Packet { hook, ..packet.clone() };
    let ingress = Packet {
        families: &["netdev", "inet"],
        ..at("ingress", &incoming)
    };
    all.push((Kind::FromHosts, ingress));
    all.extend(["prerouting", "input"].map(|hook| (Kind::FromHosts, at(hook, &incoming))));
    all.extend(["output", "postrouting"].map(|hook| (Kind::ToHosts, at(hook, &outgoing))));
    if fan.dhcp {
        let asking = Packet {
            incoming: Some(fan.bridge.to_string()),
            source: Ipv4Addr::UNSPECIFIED,
            destination: Ipv4Addr::BROADCAST,
            protocol: UDP,
            port: Some(BOOTPS),
            ..incoming
        };
        all.push((Kind::Dhcp, asking));
    }
}
