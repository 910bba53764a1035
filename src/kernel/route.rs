//! Addresses, routes and rules, to and from their messages.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::Ipv4Network;
use netlink_packet_core::Nla;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::RouteMessageBuilder;

use super::nexthop::Hops;
use crate::fan::Fan;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::plan::host::{ForeignRoute, HostAddress};
use crate::plan::state::{
    Address, Object, Owner, PROTOCOL, RULE_PRIORITY, Route, RoutingTable, Tunnel, TunnelKind, UNREACHABLE_METRIC,
};

/// The table of the kernel's own routes to local addresses (`RT_TABLE_LOCAL`).
const LOCAL_TABLE: u32 = 255;

/// An attribute of rules that only aligns the next one (linux/fib_rules.h).
const FRA_PAD: u16 = 18;

/// An address on the device of an index. One alone on its link has no broadcast address: the kernel would make a route of it.
#[must_use]
pub fn encode_address(address: Ipv4Network, index: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = address.prefix();
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(IpAddr::V4(address.ip())),
        AddressAttribute::Address(IpAddr::V4(address.ip())),
        AddressAttribute::Flags(AddressFlags::Noprefixroute),
    ];
    if address.prefix() < 32 {
        message.attributes.push(AddressAttribute::Broadcast(address.broadcast()));
    }
    message
}

/// The device index of an address, and the address as a fact.
#[must_use]
pub fn decode_address(message: &AddressMessage) -> Option<(u32, HostAddress)> {
    let ip = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(ip)) => Some(*ip),
        _ => None,
    })?;
    let secondary = message.header.flags.contains(AddressHeaderFlags::Secondary);
    let global = !matches!(message.header.scope, AddressScope::Link | AddressScope::Host | AddressScope::Nowhere);
    let address = Ipv4Network::new(ip, message.header.prefix_len).ok()?;
    Some((message.header.index, HostAddress { address, secondary, global }))
}

/// The object that an address on a fan's bridge is. What lies outside the overlay is somebody else's, even there.
#[must_use]
pub fn own_address(fan: &Fan, address: Ipv4Network) -> Option<Object> {
    let overlay = fan.overlay();
    let link = fan.bridge.clone();
    overlay.contains(address.ip()).then_some(Object::Address(Address { overlay, link, address }))
}

/// Notes an address on a device of WireGuard, if it is one of the overlay and on this device.
pub(super) fn note_address(tunnel: &mut Tunnel, link: &InterfaceName, found: Ipv4Network) {
    let Owner::Fan(overlay) = tunnel.owner else { return };
    if let TunnelKind::Wireguard { address, .. } = &mut tunnel.kind
        && tunnel.name == *link
        && overlay.contains(found.ip())
    {
        *address = Some(found.ip());
    }
}

fn route(destination: Ipv4Network, table: RoutingTable) -> RouteMessageBuilder<Ipv4Addr> {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(destination.network(), destination.prefix())
        .table_id(table.0)
        .protocol(RouteProtocol::Other(PROTOCOL))
}

/// The last resort of an overlay.
#[must_use]
pub fn encode_unreachable(overlay: Overlay, table: RoutingTable) -> RouteMessage {
    route(overlay.network(), table).kind(RouteType::Unreachable).priority(UNREACHABLE_METRIC).build()
}

/// A route through the device of an index.
#[must_use]
pub fn encode_route(object: &Route, index: u32) -> RouteMessage {
    let mut message = route(object.destination, object.table)
        .scope(RouteScope::Link)
        .output_interface(index)
        .pref_source(object.source)
        .build();
    if let Some(mtu) = object.mtu {
        message.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
    }
    message
}

/// A route message is one of our objects, a fact, or neither.
#[allow(clippy::large_enum_variant, reason = "of routes that are ours there are few, and each is kept")]
pub enum Decoded {
    /// Ours.
    Own(Object),
    /// Another's.
    Foreign(ForeignRoute),
}

/// The devices that a route of ours can lead to: the protocol number alone makes none ours, since others use it too.
#[derive(Default)]
pub struct Devices {
    /// The fans that are up, by their bridges.
    pub fans: BTreeMap<InterfaceName, Fan>,
    /// Tunnels of ours.
    pub tunnels: BTreeSet<InterfaceName>,
    /// Bridges without an alias of ours whose Ethernet address was made from a slice, by its network.
    pub strays: BTreeMap<InterfaceName, Ipv4Addr>,
}

impl Devices {
    /// The overlay of the fan that has a route with this destination and source to a device; none if no fan has one. A fan's
    /// routes lead to its slice and to its overlay, and have an address of the slice as their source.
    fn owner(&self, device: &InterfaceName, destination: Ipv4Network, source: Option<Ipv4Addr>) -> Option<Overlay> {
        let has = |fan: &&Fan| [fan.slice(), fan.overlay().network()].contains(&destination);
        let made = || {
            let is_inside = source.is_some_and(|source| destination.contains(source));
            Overlay::new(destination).ok().filter(|_| is_inside)
        };
        if let Some(fan) = self.fans.get(device) {
            return Some(fan).filter(has).map(Fan::overlay);
        }
        if self.tunnels.contains(device) {
            let fan = self.fans.values().find(|fan| fan.overlay().network() == destination);
            return fan.map(Fan::overlay).or_else(made);
        }
        let slice = self.strays.get(device)?;
        made().filter(|_| destination.contains(*slice))
    }
}

/// What is read of a route.
#[derive(Default)]
struct Read {
    table: u32,
    metric: u32,
    device: Option<u32>,
    gateway: Option<Ipv4Addr>,
    source: Option<Ipv4Addr>,
    mtu: Option<u32>,
    /// The number of its next hop, or of a group of them.
    hop: Option<u32>,
    /// Whether it has something that no route of ours has: a gateway, several ways, a next hop by number, an encapsulation,
    /// metrics beside the MTU.
    has_more: bool,
}

impl Read {
    fn attributes(message: &RouteMessage) -> (Ipv4Addr, Self) {
        let mut destination = Ipv4Addr::UNSPECIFIED;
        let mut read = Self {
            table: message.header.table.into(),
            has_more: message.header.tos != 0 || message.header.source_prefix_length != 0,
            ..Self::default()
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
                RouteAttribute::Table(number) => read.table = *number,
                RouteAttribute::Priority(number) => read.metric = *number,
                RouteAttribute::Oif(index) => read.device = Some(*index),
                RouteAttribute::PrefSource(RouteAddress::Inet(address)) => read.source = Some(*address),
                RouteAttribute::CacheInfo(_) => {}
                RouteAttribute::Metrics(metrics) => {
                    for metric in metrics {
                        match metric {
                            RouteMetric::Mtu(mtu) => read.mtu = Some(*mtu),
                            _ => read.has_more = true,
                        }
                    }
                }
                other => {
                    read.has_more = true;
                    match other {
                        RouteAttribute::Gateway(RouteAddress::Inet(address)) => read.gateway = Some(*address),
                        RouteAttribute::NhId(number) => read.hop = Some(*number),
                        RouteAttribute::MultiPath(hops) => read.device = hops.first().map(|hop| hop.interface_index),
                        _ => {}
                    }
                }
            }
        }
        (destination, read)
    }
}

/// The gateways of a route, of each of its ways.
#[must_use]
pub(crate) fn gateways(message: &RouteMessage, hops: &Hops) -> Vec<Ipv4Addr> {
    fn own(attributes: &[RouteAttribute]) -> impl Iterator<Item = Ipv4Addr> {
        attributes.iter().filter_map(|attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(*address),
            _ => None,
        })
    }
    let mut found: Vec<Ipv4Addr> = own(&message.attributes).collect();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::MultiPath(ways) => found.extend(ways.iter().flat_map(|way| own(&way.attributes))),
            RouteAttribute::NhId(number) => found.extend(hops.all(*number).filter_map(|hop| hop.gateway)),
            _ => {}
        }
    }
    found
}

/// Reads an IPv4 unicast route. `names` are device names by index, `hops` the next hops that have numbers. A route is ours by all of these marks: protocol, kind,
/// metric, scope, one of our devices, a destination and source that the fan of that device has, and nothing else on it, so
/// that what is put back when a plan fails is what was there.
#[must_use]
pub fn decode_route(
    message: &RouteMessage,
    names: &BTreeMap<u32, InterfaceName>,
    devices: &Devices,
    hops: &Hops,
) -> Option<Decoded> {
    // A learned exception, such as a path MTU (RFC 1191), is no route.
    if message.header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let (destination, mut read) = Read::attributes(message);
    if let Some(hop) = read.hop.and_then(|number| hops.first(number)) {
        read.device = read.device.or(hop.device);
        read.gateway = read.gateway.or(hop.gateway);
    }
    let device = read.device.and_then(|index| names.get(&index).cloned());
    let destination = Ipv4Network::new(destination, message.header.destination_prefix_length).ok()?;
    let destination = Ipv4Network::new(destination.network(), destination.prefix()).ok()?;
    let table = RoutingTable(read.table);
    let is_marked = message.header.protocol == RouteProtocol::Other(PROTOCOL) && !read.has_more;
    if is_marked
        && message.header.kind == RouteType::Unreachable
        && read.metric == UNREACHABLE_METRIC
        && let Ok(overlay) = Overlay::new(destination)
    {
        return Some(Decoded::Own(Object::Unreachable(overlay, table)));
    }
    if is_marked
        && (message.header.kind, message.header.scope, read.metric) == (RouteType::Unicast, RouteScope::Link, 0)
        && let Some(device) = &device
        && let Some(overlay) = devices.owner(device, destination, read.source)
    {
        return Some(Decoded::Own(Object::Route(Route {
            overlay,
            table,
            destination,
            device: device.clone(),
            source: read.source.unwrap_or(Ipv4Addr::UNSPECIFIED),
            mtu: read.mtu,
        })));
    }
    match message.header.kind {
        RouteType::Unicast | RouteType::Unreachable | RouteType::BlackHole | RouteType::Prohibit | RouteType::Throw
            if table.0 != LOCAL_TABLE =>
        {
            Some(Decoded::Foreign(ForeignRoute {
                is_throw: message.header.kind == RouteType::Throw,
                table: table.0,
                destination,
                device,
                gateway: read.gateway,
                metric: read.metric,
                mtu: read.mtu.filter(|mtu| *mtu > 0),
            }))
        }
        _ => None,
    }
}

/// The rule that sends an overlay to a table of its own.
#[must_use]
pub fn encode_rule(overlay: Overlay, table: RoutingTable) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.dst_len = overlay.network().prefix();
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Destination(IpAddr::V4(overlay.network().network())),
        RuleAttribute::Priority(RULE_PRIORITY),
        RuleAttribute::Table(table.0),
        RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
    ];
    message
}

/// Reads a rule, if it is ours: by all of protocol, priority, action, destination and nothing else in it. One at another
/// priority does not do what ours does.
#[must_use]
pub fn decode_rule(message: &RuleMessage) -> Option<Object> {
    let mut table = u32::from(message.header.table);
    let (mut destination, mut priority, mut protocol) = (None, 0, None);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Destination(IpAddr::V4(address)) => destination = Some(*address),
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::Protocol(number) => protocol = Some(*number),
            // The kernel says so of every rule that suppresses nothing (-1).
            RuleAttribute::SuppressPrefixLen(u32::MAX) | RuleAttribute::SuppressIfGroup(u32::MAX) => {}
            padding if padding.kind() == FRA_PAD => {}
            _ => return None,
        }
    }
    let network = Ipv4Network::new(destination?, message.header.dst_len).ok()?;
    let header = &message.header;
    let is_ours = (priority, protocol) == (RULE_PRIORITY, Some(RouteProtocol::Other(PROTOCOL)))
        && (header.action, header.src_len, header.tos) == (RuleAction::ToTable, 0, 0)
        && !header.flags.contains(RuleFlags::Invert);
    Overlay::new(network).ok().filter(|_| is_ours).map(|overlay| Object::Rule(overlay, RoutingTable(table)))
}

#[cfg(test)]
mod tests;
