//! Addresses, routes and rules, to and from their messages.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::Ipv4Network;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::RouteMessageBuilder;

use crate::fan::Fan;
use crate::host::{ForeignRoute, HostAddress};
use crate::mapping::Overlay;
use crate::name::InterfaceName;
use crate::object::{Address, Object, PROTOCOL, RULE_PRIORITY, Route, Table, UNREACHABLE_METRIC};

/// The table of the kernel's own routes to local addresses (`RT_TABLE_LOCAL`).
const LOCAL_TABLE: u32 = 255;

/// An address on the device of an index.
#[must_use]
pub fn encode_address(address: &Address, index: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = address.address.prefix();
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(IpAddr::V4(address.address.ip())),
        AddressAttribute::Address(IpAddr::V4(address.address.ip())),
        AddressAttribute::Broadcast(address.address.broadcast()),
        AddressAttribute::Flags(AddressFlags::Noprefixroute),
    ];
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
    let global = !matches!(
        message.header.scope,
        AddressScope::Link | AddressScope::Host | AddressScope::Nowhere
    );
    let address = Ipv4Network::new(ip, message.header.prefix_len).ok()?;
    Some((
        message.header.index,
        HostAddress {
            address,
            secondary,
            global,
        },
    ))
}

/// The object that an address on a fan's bridge is. What lies outside the overlay is somebody else's, even there.
#[must_use]
pub fn own_address(fan: &Fan, address: Ipv4Network) -> Option<Object> {
    let overlay = fan.overlay();
    let link = fan.bridge.clone();
    overlay
        .contains(address.ip())
        .then_some(Object::Address(Address { overlay, link, address }))
}

fn route(destination: Ipv4Network, table: Table) -> RouteMessageBuilder<Ipv4Addr> {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(destination.network(), destination.prefix())
        .table_id(table.0)
        .protocol(RouteProtocol::Other(PROTOCOL))
}

/// The last resort of an overlay.
#[must_use]
pub fn encode_unreachable(overlay: Overlay, table: Table) -> RouteMessage {
    route(overlay.network(), table)
        .kind(RouteType::Unreachable)
        .priority(UNREACHABLE_METRIC)
        .build()
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
        message
            .attributes
            .push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
    }
    message
}

/// A route message is one of our objects, a fact, or neither.
pub enum Decoded {
    /// Ours.
    Own(Object),
    /// Somebody else's.
    Foreign(ForeignRoute),
}

/// Reads an IPv4 unicast route. `names` are device names by index, `bridges` our fans by their bridge.
#[must_use]
pub fn decode_route(
    message: &RouteMessage,
    names: &BTreeMap<u32, InterfaceName>,
    bridges: &BTreeMap<InterfaceName, Overlay>,
) -> Option<Decoded> {
    let mut destination = Ipv4Addr::UNSPECIFIED;
    let (mut table, mut metric) = (u32::from(message.header.table), 0);
    let (mut device, mut gateway, mut source, mut mtu) = (None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Oif(index) => device = names.get(index).cloned(),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => source = Some(*address),
            RouteAttribute::MultiPath(hops) => {
                device = hops.first().and_then(|hop| names.get(&hop.interface_index).cloned());
            }
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| {
                    if let RouteMetric::Mtu(mtu) = metric {
                        Some(*mtu)
                    } else {
                        None
                    }
                });
            }
            _ => {}
        }
    }
    let destination = Ipv4Network::new(destination, message.header.destination_prefix_length).ok()?;
    let destination = Ipv4Network::new(destination.network(), destination.prefix()).ok()?;
    let table = Table(table);
    let ours = message.header.protocol == RouteProtocol::Other(PROTOCOL);
    match (message.header.kind, device) {
        (RouteType::Unreachable, None) if ours && metric == UNREACHABLE_METRIC => Some(Decoded::Own(
            Object::Unreachable(Overlay::new(destination).ok()?, table),
        )),
        (RouteType::Unicast, Some(device)) if ours && metric == 0 => {
            let overlay = bridges
                .get(&device)
                .copied()
                .or_else(|| Overlay::new(destination).ok())?;
            let source = source.unwrap_or(Ipv4Addr::UNSPECIFIED);
            Some(Decoded::Own(Object::Route(Route {
                overlay,
                table,
                destination,
                device,
                source,
                mtu,
            })))
        }
        (
            RouteType::Unicast | RouteType::Unreachable | RouteType::BlackHole | RouteType::Prohibit | RouteType::Throw,
            device,
        ) if table.0 != LOCAL_TABLE => Some(Decoded::Foreign(ForeignRoute {
            is_throw: message.header.kind == RouteType::Throw,
            table: table.0,
            destination,
            device,
            gateway,
            metric,
        })),
        _ => None,
    }
}

/// The rule that sends an overlay to a table of its own.
#[must_use]
pub fn encode_rule(overlay: Overlay, table: Table) -> RuleMessage {
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

/// Reads a rule, if it is ours.
#[must_use]
pub fn decode_rule(message: &RuleMessage) -> Option<Object> {
    let mut table = u32::from(message.header.table);
    let (mut destination, mut ours) = (None, false);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Destination(IpAddr::V4(address)) => destination = Some(*address),
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Protocol(protocol) => ours = *protocol == RouteProtocol::Other(PROTOCOL),
            _ => {}
        }
    }
    let network = Ipv4Network::new(destination?, message.header.dst_len).ok()?;
    ours.then_some(Object::Rule(Overlay::new(network).ok()?, Table(table)))
}
