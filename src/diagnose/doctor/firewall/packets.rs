//! The kinds of packets that a fan needs, as they are at each hook (linux/netfilter.h) that they pass.

use std::net::Ipv4Addr;

use super::TrafficKind;
use crate::diagnose::doctor::Facts;
use crate::diagnose::netfilter::{ConntrackState, Packet};
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::fan::name::InterfaceName;

/// The protocol numbers (IANA).
const IPIP: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The port of a DHCP server (RFC 2131).
pub(super) const BOOTPS: u16 = 67;

/// For the rest of the world, a server of the root of DNS (a.root-servers.net): those for documentation (RFC 5737) would not
/// do, lists of bogons drop them. Rules are asked about it, and nothing is sent to it.
const WORLD: Ipv4Addr = Ipv4Addr::new(198, 41, 0, 4);

/// A kind of packet, at each of the hooks that it passes, in their order.
pub(super) type Journey = (TrafficKind, Vec<Packet>);

/// At most so many neighbours are asked about.
const NEIGHBOURS: usize = 16;

/// Every kind of packet at every hook that it passes.
pub(super) fn packets(fan: &Fan, facts: Facts) -> Vec<Journey> {
    let container = fan.container_range().0;
    let peer = Ipv4Addr::from(u32::from(fan.host) ^ 1);
    let others = u32::from(fan.mapping.gateway(peer)) + u32::from(fan.options.host_reserve);
    let (bridge, tunnel) = (&fan.bridge, fan.tunnel());
    let mut all = Vec::new();
    wrapped(fan, facts, peer, &mut all);
    let routed = |kind: TrafficKind, hooks: &[&'static str], incoming: &InterfaceName, outgoing: &InterfaceName| {
        let (source, destination) = match kind {
            TrafficKind::ToContainers => (others.into(), container),
            _ => (container, others.into()),
        };
        let packet = |hook| Packet {
            hook,
            families: &["ip", "inet"],
            is_arp: false,
            incoming: (hook != "postrouting").then(|| incoming.to_string()),
            outgoing: (hook != "prerouting").then(|| outgoing.to_string()),
            bridge: None,
            source,
            destination,
            is_local: false,
            protocol: TCP,
            port: None,
            state: ConntrackState::New,
        };
        (kind, hooks.iter().copied().map(packet).collect::<Vec<Packet>>())
    };
    match fan.options.encapsulation {
        Encapsulation::Ipip => {
            let hooks = ["prerouting", "forward", "postrouting"];
            all.push(routed(TrafficKind::FromContainers, &hooks, bridge, &tunnel));
            all.push(routed(TrafficKind::ToContainers, &hooks, &tunnel, bridge));
        }
        Encapsulation::Vxlan => {
            if facts.health.bridged_packets_are_filtered {
                all.push(routed(TrafficKind::FromContainers, &["forward"], bridge, bridge));
                all.push(routed(TrafficKind::ToContainers, &["forward"], bridge, bridge));
            }
            let port = facts.host.foreign_ports(bridge).next().map(|link| &link.name);
            if let Some(port) = port {
                let ways = [(TrafficKind::FromContainers, port, &tunnel), (TrafficKind::ToContainers, &tunnel, port)];
                for (kind, incoming, outgoing) in ways {
                    let bridged =
                        |packet: Packet| Packet { families: &["bridge"], bridge: Some(bridge.to_string()), ..packet };
                    let (kind, packets) = routed(kind, &["forward"], incoming, outgoing);
                    let packets: Vec<Packet> = packets.into_iter().map(bridged).collect();
                    let asking = packets.iter().cloned().map(|packet| Packet { is_arp: true, ..packet });
                    all.push((TrafficKind::Arp, asking.collect()));
                    all.push((kind, packets));
                }
            }
        }
    }
    if let (Some(way_out), true) = (facts.host.default_device(), fan.options.nat) {
        let (from, mut out) = routed(TrafficKind::FromContainers, &["prerouting", "forward"], bridge, way_out);
        let (to, mut back) = routed(TrafficKind::ToContainers, &["forward"], way_out, bridge);
        for packet in &mut out {
            packet.destination = WORLD;
        }
        for packet in &mut back {
            (packet.source, packet.state) = (WORLD, ConntrackState::Established);
        }
        all.extend([(from, out), (to, back)]);
    }
    all
}

/// What travels between hosts, and what asks for an address.
fn wrapped(fan: &Fan, facts: Facts, peer: Ipv4Addr, all: &mut Vec<Journey>) {
    let (protocol, port) = match fan.options.encapsulation {
        Encapsulation::Ipip => (IPIP, None),
        Encapsulation::Vxlan => (UDP, Some(fan.port())),
    };
    let device = Some(fan.device.to_string());
    let incoming = Packet {
        hook: "input",
        families: &["ip", "inet"],
        is_arp: false,
        incoming: device.clone(),
        outgoing: None,
        bridge: None,
        source: peer,
        destination: fan.host,
        is_local: true,
        protocol,
        port,
        state: ConntrackState::New,
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
    let ingress = |packet: &Packet| Packet { families: &["netdev", "inet"], ..at("ingress", packet) };
    let entering = |packet: &Packet| vec![ingress(packet), at("prerouting", packet), at("input", packet)];
    let leaving = |packet: &Packet| vec![at("output", packet), at("postrouting", packet)];
    all.push((TrafficKind::FromHosts, entering(&incoming)));
    all.push((TrafficKind::ToHosts, leaving(&outgoing)));
    for known in neighbours(fan, facts) {
        let from = Packet { source: known, ..incoming.clone() };
        let to = Packet { destination: known, ..outgoing.clone() };
        all.push((TrafficKind::FromHost(known), entering(&from)));
        all.push((TrafficKind::ToHost(known), leaving(&to)));
    }
    if fan.options.dhcp {
        let asking = Packet {
            incoming: Some(fan.bridge.to_string()),
            source: Ipv4Addr::UNSPECIFIED,
            destination: Ipv4Addr::BROADCAST,
            protocol: UDP,
            port: Some(BOOTPS),
            state: ConntrackState::New,
            ..incoming
        };
        all.push((TrafficKind::Dhcp, vec![asking]));
    }
}

/// Other hosts that this one has talked to, each of which somebody's rule may be about; at most so many.
fn neighbours(fan: &Fan, facts: Facts) -> impl Iterator<Item = Ipv4Addr> {
    let underlay = fan.mapping.underlay();
    let known = facts.health.neighbours.iter();
    let known = known.filter(move |neighbour| neighbour.device == fan.device && underlay.contains(neighbour.address));
    known.map(|neighbour| neighbour.address).take(NEIGHBOURS)
}
