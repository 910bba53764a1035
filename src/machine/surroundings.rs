//! What is around: Ethernet addresses, other people's routing rules.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::Ipv4Network;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use super::netlink::{Netlink, Refusal};
use crate::fan::Mac;
use crate::health::Rule;
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
