//! Where packets go: the kernel's own answers, and the neighbours and rules behind them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::Ipv4Network;
use netlink_packet_core::{Emitable, NLM_F_ACK, Parseable};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use super::netlink::{Netlink, Refusal};
use crate::fan::Mac;
use crate::health::{Answer, Found, Neighbour, Question, Rule};
use crate::name::InterfaceName;
use crate::object::PROTOCOL;

/// Ethernet addresses by interface.
#[must_use]
pub fn macs(messages: &[LinkMessage]) -> BTreeMap<InterfaceName, Mac> {
    let entry = |message: &LinkMessage| {
        let name = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => name.parse().ok(),
            _ => None,
        });
        Some((name?, mac(message)?))
    };
    messages.iter().filter_map(entry).collect()
}

/// The Ethernet address in a link message.
#[must_use]
pub fn mac(message: &LinkMessage) -> Option<Mac> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) => address.as_slice().try_into().ok().map(Mac),
        _ => None,
    })
}

/// The neighbours whose Ethernet address is known.
///
/// # Errors
/// What the kernel said.
pub fn neighbours(netlink: &Netlink, names: &BTreeMap<u32, InterfaceName>) -> Result<Vec<Neighbour>, Refusal> {
    let mut question = NeighbourMessage::default();
    question.header.family = AddressFamily::Inet;
    let answers = netlink.dump(&Message::GetNeighbour(question))?;
    let neighbour = |message: &NeighbourMessage| {
        let attributes = &message.attributes;
        Some(Neighbour {
            device: names.get(&message.header.ifindex)?.clone(),
            address: attributes.iter().find_map(|attribute| match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
                _ => None,
            })?,
            mac: attributes.iter().find_map(|attribute| match attribute {
                NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok().map(Mac),
                _ => None,
            })?,
        })
    };
    let messages = answers.iter().filter_map(|answer| match answer {
        Message::NewNeighbour(message) => neighbour(message),
        _ => None,
    });
    Ok(messages.collect())
}

/// The rules that are neither the kernel's own (local, main, default) nor ours.
///
/// # Errors
/// What the kernel said.
pub fn rules(netlink: &Netlink) -> Result<Vec<Rule>, Refusal> {
    let mut question = RuleMessage::default();
    question.header.family = AddressFamily::Inet;
    let answers = netlink.dump(&Message::GetRule(question))?;
    let rules = answers.iter().filter_map(|answer| match answer {
        Message::NewRule(message) => rule(message),
        _ => None,
    });
    Ok(rules.collect())
}

/// Priorities of the rules that the kernel makes (`fib_default_rules_init`, net/ipv4/fib_rules.c).
const KERNELS_OWN: [u32; 3] = [0, 32766, 32767];

fn rule(message: &RuleMessage) -> Option<Rule> {
    let mut rule = Rule {
        table: message.header.table.into(),
        ..Rule::default()
    };
    let mut rest = Vec::new();
    let network = |address: &IpAddr, len| match address {
        IpAddr::V4(address) => Ipv4Network::new(*address, len).ok(),
        IpAddr::V6(_) => None,
    };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Destination(address) => rule.to = network(address, message.header.dst_len),
            RuleAttribute::Source(address) => rule.from = network(address, message.header.src_len),
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Iifname(name) => rule.incoming = Some(name.clone()),
            RuleAttribute::Oifname(name) => rest.push(format!("oif {name}")),
            RuleAttribute::FwMark(mark) => rest.push(format!("fwmark {mark:#x}")),
            RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)) => return None,
            _ => {}
        }
    }
    match message.header.action {
        RuleAction::Blackhole => rest.push("blackhole".into()),
        RuleAction::Unreachable => rest.push("unreachable".into()),
        RuleAction::Prohibit => rest.push("prohibit".into()),
        _ => {}
    }
    rule.rest = rest.join(" ");
    let is_kernels = KERNELS_OWN.contains(&rule.priority) && rule.to.is_none() && rule.from.is_none();
    (!is_kernels).then_some(rule)
}

/// Asks the kernel for the route that a packet takes (`inet_rtm_getroute`, net/ipv4/route.c): the entry of the table itself,
/// not what was made of it.
///
/// # Errors
/// The error number of its refusal.
pub fn answer(netlink: &Netlink, question: &Question, names: &BTreeMap<u32, InterfaceName>) -> Answer {
    const RTM_GETROUTE: u16 = 26;
    let request = encode(question, names).ok_or(nix::libc::ENODEV)?;
    let answers = netlink
        .raw(RTM_GETROUTE, NLM_F_ACK, &request)
        .map_err(|refusal| refusal.errno)?;
    let found = answers
        .first()
        .and_then(|payload| RouteMessage::parse(&payload[..]).ok());
    found
        .and_then(|message| decode(&message, names))
        .ok_or(nix::libc::EBADMSG)
}

fn encode(question: &Question, names: &BTreeMap<u32, InterfaceName>) -> Option<Vec<u8>> {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = 32;
    message.header.flags = RouteFlags::LookupTable | RouteFlags::FibMatch;
    message
        .attributes
        .push(RouteAttribute::Destination(RouteAddress::Inet(question.to)));
    if let Some(from) = question.from {
        message.header.source_prefix_length = 32;
        message
            .attributes
            .push(RouteAttribute::Source(RouteAddress::Inet(from)));
    }
    if let Some(incoming) = &question.incoming {
        let (index, _) = names.iter().find(|(_, name)| *name == incoming)?;
        message.attributes.push(RouteAttribute::Iif(*index));
    }
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    Some(bytes)
}

fn decode(message: &RouteMessage, names: &BTreeMap<u32, InterfaceName>) -> Option<Found> {
    let mut found = Found {
        device: None,
        gateway: None,
        destination: Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0).ok()?,
        table: message.header.table.into(),
        ours: message.header.protocol == RouteProtocol::Other(PROTOCOL),
    };
    let mut destination = Ipv4Addr::UNSPECIFIED;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
            RouteAttribute::Table(table) => found.table = *table,
            RouteAttribute::Oif(index) => found.device = names.get(index).cloned(),
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => found.gateway = Some(*gateway),
            RouteAttribute::MultiPath(hops) => {
                found.device = hops.first().and_then(|hop| names.get(&hop.interface_index).cloned());
            }
            _ => {}
        }
    }
    found.destination = Ipv4Network::new(destination, message.header.destination_prefix_length).ok()?;
    Some(found)
}
