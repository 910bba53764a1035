//! The kinds of packets that a fan needs, as they are at each hook (linux/netfilter.h) that they pass.

mod named;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use super::TrafficKind;
use crate::diagnose::doctor::{Facts, way_out};
use crate::diagnose::netfilter::{ConntrackState, FirewallTable, Packet};
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::fan::name::InterfaceName;
use crate::fan::options::MAIN_TABLE;
use crate::plan::host::LinkKind;
use crate::plan::rule::Action;

/// The protocol numbers (IANA).
const ICMP: u8 = 1;
const IPIP: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The ports of a DHCP server and its client (RFC 2131), and that of a DNS server (RFC 1035).
pub(super) const BOOTPS: u16 = 67;
const BOOTPC: u16 = 68;
pub(super) const DNS: u16 = 53;

/// For the rest of the world, a server of the root of DNS (a.root-servers.net): those for documentation (RFC 5737) would not
/// do, lists of bogons drop them. Rules are asked about it, and nothing is sent to it.
const WORLD: Ipv4Addr = Ipv4Addr::new(198, 41, 0, 4);

/// A kind of packet, at each of the hooks that it passes, in their order.
pub(super) type Journey = (TrafficKind, Vec<Packet>);

/// At most so many neighbours are asked about.
const NEIGHBOURS: usize = 16;

const IP: &[&str] = &["ip", "inet"];
const BRIDGE: &[&str] = &["bridge"];
const ARP: &[&str] = &["arp"];
const RECEIVED: &[&str] = &["netdev", "inet"];
const SENT: &[&str] = &["netdev"];

/// Every kind of packet at every hook that it passes, through the tables of others.
pub(super) fn packets(fan: &Fan, facts: Facts, others: &[FirewallTable]) -> Vec<Journey> {
    let ways = Ways { fan, facts };
    let mut all = ways.between_hosts(others);
    all.extend(ways.of_containers(others));
    all.extend(ways.between_containers());
    all.extend(ways.to_the_world());
    all.extend(ways.errors());
    if fan.options.dhcp {
        all.extend(ways.served());
    }
    all
}

/// A packet on a way that is not said yet.
fn packet(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> Packet {
    Packet {
        hook: "",
        families: IP,
        is_arp: false,
        incoming: None,
        outgoing: None,
        bridge: None,
        ports: None,
        source,
        masqueraded: None,
        diverting: Vec::new(),
        needs_connection: false,
        destination,
        is_local: false,
        protocol,
        source_port: None,
        port: None,
        state: ConntrackState::New,
    }
}

/// The same at a hook.
fn at(hook: &'static str, families: &'static [&'static str], packet: &Packet) -> Packet {
    Packet { hook, families, ..packet.clone() }
}

fn received(by: &InterfaceName, packet: &Packet) -> Packet {
    Packet { incoming: Some(by.to_string()), outgoing: None, ..at("ingress", RECEIVED, packet) }
}

fn sent(by: &InterfaceName, packet: &Packet) -> Packet {
    Packet { incoming: None, outgoing: Some(by.to_string()), ..at("egress", SENT, packet) }
}

struct Ways<'a> {
    fan: &'a Fan,
    facts: Facts<'a>,
}

impl Ways<'_> {
    /// A packet that this host itself takes, by an interface and its ports.
    fn entering(&self, device: &InterfaceName, packet: &Packet) -> Vec<Packet> {
        let packet = Packet { incoming: Some(device.to_string()), is_local: true, ..packet.clone() };
        let mut hooks = self.below(device, &packet, received, ["prerouting", "input"]);
        hooks.push(received(device, &packet));
        if packet.is_arp {
            hooks.push(at("input", ARP, &packet));
        } else {
            hooks.extend([at("prerouting", IP, &packet), at("input", IP, &packet)]);
        }
        hooks
    }

    /// A packet that this host itself sends.
    fn leaving(&self, device: &InterfaceName, packet: &Packet) -> Vec<Packet> {
        let packet = Packet { outgoing: Some(device.to_string()), ..packet.clone() };
        let mut hooks = if packet.is_arp {
            vec![at("output", ARP, &packet)]
        } else {
            vec![at("output", IP, &packet), at("postrouting", IP, &packet)]
        };
        hooks.push(sent(device, &packet));
        hooks.extend(self.below(device, &packet, sent, ["output", "postrouting"]));
        hooks
    }

    /// A packet that comes in by a port of the fan's bridge, before it is routed.
    fn by_port(&self, packet: &Packet) -> Vec<Packet> {
        let bridge = &self.fan.bridge;
        let packet = Packet { incoming: Some(bridge.to_string()), needs_connection: false, ..packet.clone() };
        let mut hooks = self.below(bridge, &packet, received, ["prerouting", "input"]);
        hooks.push(received(bridge, &packet));
        hooks
    }

    /// A packet that an interface receives, before it is routed.
    fn off_wire(&self, device: &InterfaceName, packet: &Packet) -> Vec<Packet> {
        let packet = Packet { incoming: Some(device.to_string()), ..packet.clone() };
        let mut hooks = self.below(device, &packet, received, ["prerouting", "input"]);
        hooks.extend([received(device, &packet), at("prerouting", IP, &packet)]);
        hooks
    }

    /// A packet that an interface sends, when it is routed.
    fn onto_wire(&self, device: &InterfaceName, packet: &Packet) -> Vec<Packet> {
        let packet = Packet { outgoing: Some(device.to_string()), ..packet.clone() };
        let mut hooks = vec![sent(device, &packet)];
        hooks.extend(self.below(device, &packet, sent, ["output", "postrouting"]));
        hooks
    }

    /// The same packet at the ports of a bridge or bond: of a bridge, through its own hooks too.
    fn below(
        &self,
        device: &InterfaceName,
        packet: &Packet,
        wire: fn(&InterfaceName, &Packet) -> Packet,
        hooks: [&'static str; 2],
    ) -> Vec<Packet> {
        let host = self.facts.host;
        let is_bridge = host.link(device).is_some_and(|link| matches!(link.kind, LinkKind::Bridge { .. }));
        let bridge = is_bridge.then(|| device.to_string());
        let ports = host.foreign_ports(device).take(NEIGHBOURS);
        ports
            .flat_map(|port| {
                let name = Some(port.name.to_string());
                let (incoming, outgoing) = if packet.incoming.is_some() { (name, None) } else { (None, name) };
                let bridged = Packet { incoming, outgoing, bridge: bridge.clone(), ..packet.clone() };
                let own = if is_bridge { &hooks[..] } else { &[] };
                let own = own.iter().map(|hook| at(hook, BRIDGE, &bridged));
                [wire(&port.name, packet)].into_iter().chain(own).collect::<Vec<_>>()
            })
            .collect()
    }

    /// What travels between hosts, and what asks for their Ethernet addresses.
    fn between_hosts(&self, others: &[FirewallTable]) -> Vec<Journey> {
        let fan = self.fan;
        let own = self.facts.host.outer_address(self.fan);
        let peer = Ipv4Addr::from(u32::from(own) ^ 1);
        let device = &way_out(fan, self.facts);
        let (protocol, port) = match fan.options.encapsulation {
            Encapsulation::Ipip => (IPIP, None),
            Encapsulation::Vxlan | Encapsulation::Wireguard => (UDP, Some(fan.carrier_port())),
        };
        let from = |host| self.entering(device, &Packet { port, ..packet(host, own, protocol) });
        let masqueraded = Some(self.address_of(device, own));
        let goes = |host| Packet { masqueraded, port, ..self.routed_here(packet(own, host, protocol)) };
        let to = |host| self.leaving(device, &goes(host));
        let mut all = vec![(TrafficKind::FromHosts, from(peer)), (TrafficKind::ToHosts, to(peer))];
        let known: BTreeSet<Ipv4Addr> = self.neighbours().chain(self.named(others)).collect();
        for host in known {
            all.push((TrafficKind::FromHost(host), from(host)));
            all.push((TrafficKind::ToHost(host), to(host)));
        }
        for state in [ConntrackState::New, ConntrackState::Established] {
            let asking = |from, to| Packet { is_arp: true, state, ..packet(from, to, 0) };
            all.push((TrafficKind::ArpOfHosts, self.entering(device, &asking(peer, own))));
            all.push((TrafficKind::ArpOfHosts, self.leaving(device, &asking(own, peer))));
            let (container, gateway) = (fan.container_range().0, fan.gateway());
            all.push((TrafficKind::Arp, self.entering(&fan.bridge, &asking(container, gateway))));
            all.push((TrafficKind::Arp, self.leaving(&fan.bridge, &asking(gateway, container))));
        }
        all
    }

    /// Other hosts that this one has talked to; at most so many.
    fn neighbours(&self) -> impl Iterator<Item = Ipv4Addr> {
        let underlay = self.fan.mapping.underlay();
        let known = self.facts.health.neighbours.iter();
        let known = known.filter(move |known| known.device == self.fan.device && underlay.contains(known.address));
        known.map(|neighbour| neighbour.address).take(NEIGHBOURS)
    }

    /// A packet that this host routes, with the marks by which it would go elsewhere.
    fn routed_here(&self, packet: Packet) -> Packet {
        let rules = self.facts.health.rules.iter();
        let rules = rules.filter(|rule| !rule.negated && rule.action != Action::Lookup(MAIN_TABLE));
        let diverting = rules.filter_map(|rule| rule.mark).filter(|(mark, mask)| mark & mask != 0).collect();
        Packet { diverting, ..packet }
    }

    /// The address that masquerading on an interface gives what goes to such an address (`inet_select_addr`, net/ipv4/devinet.c).
    fn address_of(&self, device: &InterfaceName, to: Ipv4Addr) -> Ipv4Addr {
        let addresses = self.facts.host.link(device).into_iter().flat_map(|link| &link.addresses);
        let primary: Vec<Ipv4Network> =
            addresses.filter(|own| own.global && !own.secondary).map(|own| own.address).collect();
        let near = primary.iter().find(|address| address.contains(to)).or(primary.first());
        near.map_or(self.fan.host, |address| address.ip())
    }

    /// What containers of this host and of others send each other.
    fn of_containers(&self, tables: &[FirewallTable]) -> Vec<Journey> {
        let (fan, facts) = (self.fan, self.facts);
        let (bridge, tunnel) = (&fan.bridge, &fan.tunnel());
        let peer = Ipv4Addr::from(u32::from(fan.host) ^ 1);
        let first_of =
            |host| Ipv4Addr::from(u32::from(fan.mapping.gateway(host)) + u32::from(fan.options.host_reserve));
        let others = first_of(peer);
        let container = fan.container_range().0;
        let port = facts.host.foreign_ports(bridge).next().map(|link| &link.name);
        let mut ways = vec![
            (TrafficKind::FromContainers, packet(container, others, TCP)),
            (TrafficKind::ToContainers, packet(others, container, TCP)),
        ];
        for host in self.sliced(tables) {
            ways.push((TrafficKind::ToSlice(host), packet(container, first_of(host), TCP)));
            ways.push((TrafficKind::FromSlice(host), packet(first_of(host), container, TCP)));
        }
        let mut all = Vec::new();
        for (kind, packet) in ways {
            let is_out = matches!(kind, TrafficKind::FromContainers | TrafficKind::ToSlice(_));
            // The inner and the outer side of the bridge.
            let [from, to] = if is_out { [port, Some(tunnel)] } else { [Some(tunnel), port] };
            let mut hooks: Vec<Packet> = from.map(|from| received(from, &packet)).into_iter().collect();
            match fan.options.encapsulation {
                Encapsulation::Ipip | Encapsulation::Wireguard => {
                    let [incoming, outgoing] = if is_out { [bridge, tunnel] } else { [tunnel, bridge] };
                    let inside = |own: [&'static str; 2]| {
                        let port = port.map(ToString::to_string);
                        let (incoming, outgoing) = if is_out { (port, None) } else { (None, port) };
                        let packet = Packet { incoming, outgoing, bridge: Some(bridge.to_string()), ..packet.clone() };
                        own.map(|hook| at(hook, BRIDGE, &packet))
                    };
                    if is_out && port.is_some() {
                        hooks.extend(inside(["prerouting", "input"]));
                    }
                    hooks.extend(routed(&self.routed_here(packet.clone()), incoming, outgoing));
                    if !is_out && port.is_some() {
                        hooks.extend(inside(["output", "postrouting"]));
                    }
                }
                Encapsulation::Vxlan => {
                    let bridged = Packet { bridge: Some(bridge.to_string()), ..packet.clone() };
                    let of_bridge = |packet: &Packet| {
                        let both = from.zip(to).into_iter();
                        let hooks = both.flat_map(|(from, to)| routed(packet, from, to));
                        hooks.map(|packet| Packet { families: BRIDGE, ..packet }).collect::<Vec<_>>()
                    };
                    if facts.health.bridged_packets_are_filtered {
                        let ports = from.zip(to).map(|both| <[_; 2]>::from(both).map(ToString::to_string));
                        hooks.extend(routed(&Packet { ports, ..packet.clone() }, bridge, bridge));
                    }
                    hooks.extend(of_bridge(&bridged));
                    if kind.general().is_none() {
                        let asking = Packet { is_arp: true, ..bridged };
                        all.push((TrafficKind::Arp, of_bridge(&asking)));
                        let answering = Packet { state: ConntrackState::Established, ..asking };
                        all.push((TrafficKind::Arp, of_bridge(&answering)));
                    }
                }
            }
            hooks.extend(to.map(|to| sent(to, &packet)));
            all.push((kind, hooks));
        }
        all
    }

    /// What containers of this host send each other: it is bridged, and so no rule about routed packets is about it unless
    /// bridged packets pass through those too.
    fn between_containers(&self) -> Vec<Journey> {
        let (fan, facts) = (self.fan, self.facts);
        let (bridge, first) = (&fan.bridge, fan.container_range().0);
        let between = packet(first, Ipv4Addr::from(u32::from(first) + 1), TCP);
        let mut ports = facts.host.foreign_ports(bridge).map(|link| &link.name);
        let Some(from) = ports.next() else { return Vec::new() };
        let to = ports.next().unwrap_or(from);
        let mut hooks = vec![received(from, &between)];
        if facts.health.bridged_packets_are_filtered {
            let ports = Some([from, to].map(ToString::to_string));
            hooks.extend(routed(&Packet { ports, ..between.clone() }, bridge, bridge));
        }
        let bridged = Packet { bridge: Some(bridge.to_string()), ..between.clone() };
        hooks.extend(routed(&bridged, from, to).map(|packet| Packet { families: BRIDGE, ..packet }));
        hooks.push(sent(to, &between));
        vec![(TrafficKind::BetweenContainers, hooks)]
    }

    /// The interfaces of all default routes, that of the best one first.
    fn uplinks(&self) -> Vec<&InterfaceName> {
        let host = self.facts.host;
        let mut all: Vec<&InterfaceName> = host.default_device().into_iter().collect();
        for route in host.routes.iter().filter(|route| route.destination.prefix() == 0) {
            let device = route.device.as_ref().filter(|device| !all.contains(device));
            all.extend(device.filter(|_| all.len() < NEIGHBOURS));
        }
        all
    }

    /// What containers send to the rest of the world, and what comes back, by each way out.
    fn to_the_world(&self) -> Vec<Journey> {
        if !self.fan.options.nat {
            return Vec::new();
        }
        let (container, bridge) = (self.fan.container_range().0, &self.fan.bridge);
        let best = self.facts.host.default_device();
        let ways = self.uplinks().into_iter().flat_map(|way_out| {
            let (to, from) = if Some(way_out) == best {
                (TrafficKind::ToWorld, TrafficKind::FromWorld)
            } else {
                (TrafficKind::ToWorldElsewhere, TrafficKind::FromWorldElsewhere)
            };
            let address = self.address_of(way_out, WORLD);
            let goes = Packet { needs_connection: true, ..self.routed_here(packet(container, WORLD, TCP)) };
            let mut hooks = self.by_port(&goes);
            hooks.extend(routed(&goes, bridge, way_out));
            hooks.extend(self.onto_wire(way_out, &packet(address, WORLD, TCP)));
            // Until its connection is found it is for this host.
            let comes = Packet { state: ConntrackState::Established, ..packet(WORLD, address, TCP) };
            let comes = Packet { needs_connection: true, is_local: true, ..self.routed_here(comes) };
            let mut answer = self.off_wire(way_out, &comes);
            let back = Packet { state: ConntrackState::Established, ..packet(WORLD, container, TCP) };
            let [_, forward, last] = routed(&back, way_out, bridge);
            answer.extend([forward, last]);
            answer.extend(self.onto_wire(bridge, &back));
            [(to, hooks), (from, answer)]
        });
        ways.collect()
    }

    /// ICMP that tells of a packet that was too large: without it connections hang where a way takes less.
    fn errors(&self) -> Vec<Journey> {
        let (fan, container) = (self.fan, self.fan.container_range().0);
        let device = &way_out(fan, self.facts);
        let error = |from, to| Packet { state: ConntrackState::Related, ..packet(from, to, ICMP) };
        let own = self.facts.host.outer_address(self.fan);
        let peer = Ipv4Addr::from(u32::from(own) ^ 1);
        let mut all = vec![
            (TrafficKind::ErrorsFromUnderlay, self.entering(device, &error(peer, own))),
            (TrafficKind::ErrorsFromGateway, self.leaving(&fan.bridge, &error(fan.gateway(), container))),
        ];
        if let (Some(way_out), true) = (self.facts.host.default_device(), fan.options.nat) {
            let [_, forward, after] = routed(&error(WORLD, container), way_out, &fan.bridge);
            all.push((TrafficKind::ErrorsFromWorld, vec![forward, after]));
        }
        all
    }

    /// What the fan itself serves: addresses and names.
    fn served(&self) -> Vec<Journey> {
        let (bridge, gateway, container) = (&self.fan.bridge, self.fan.gateway(), self.fan.container_range().0);
        let discover = packet(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, UDP);
        let discover = Packet { source_port: Some(BOOTPC), port: Some(BOOTPS), ..discover };
        // Its addresses are not those that were asked: it is the first of a connection.
        let offer = Packet { source_port: Some(BOOTPS), port: Some(BOOTPC), ..packet(gateway, container, UDP) };
        let mut all = vec![
            (TrafficKind::Dhcp, self.entering(bridge, &discover)),
            (TrafficKind::Dhcp, self.leaving(bridge, &offer)),
        ];
        for (kind, protocol) in [(TrafficKind::Dns, UDP), (TrafficKind::DnsByTcp, TCP)] {
            let question = Packet { port: Some(DNS), ..packet(container, gateway, protocol) };
            let answer = packet(gateway, container, protocol);
            let answer = Packet { source_port: Some(DNS), state: ConntrackState::Established, ..answer };
            all.push((kind, self.entering(bridge, &question)));
            all.push((kind, self.leaving(bridge, &answer)));
        }
        all
    }
}

/// A packet that goes from one interface to another, at its three hooks.
fn routed(packet: &Packet, incoming: &InterfaceName, outgoing: &InterfaceName) -> [Packet; 3] {
    ["prerouting", "forward", "postrouting"].map(|hook| Packet {
        incoming: (hook != "postrouting").then(|| incoming.to_string()),
        outgoing: (hook != "prerouting").then(|| outgoing.to_string()),
        ..at(hook, IP, packet)
    })
}
