//! What belongs to the host: Ethernet addresses, and routing rules of other programs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::Ipv4Network;
use netlink_packet_core::Nla;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage, RulePortRange};

use super::netlink::{LinkReply, Netlink, Refusal};
use super::route;
use crate::fan::Mac;
use crate::fan::name::InterfaceName;
use crate::plan::rule::{Action, RoutingRule};

/// Ethernet addresses by interface.
#[must_use]
pub(crate) fn macs(links: &[LinkReply]) -> BTreeMap<InterfaceName, Mac> {
    let entry = |link: &LinkReply| Some((link.name.clone(), mac(&link.message)?));
    links.iter().filter_map(entry).collect()
}

/// The Ethernet address in a link message.
#[must_use]
pub(crate) fn mac(message: &LinkMessage) -> Option<Mac> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) => address.as_slice().try_into().ok().map(Mac),
        _ => None,
    })
}

/// The rules that are neither the kernel's own (local, main, default) nor ours.
///
/// # Errors
/// What the kernel said.
pub(crate) fn rules(netlink: &Netlink) -> Result<Vec<RoutingRule>, Refusal> {
    Ok(netlink.dump_rules()?.iter().filter_map(rule).collect())
}

/// Priorities and tables of the rules that the kernel makes (`fib_default_rules_init`, net/ipv4/fib_rules.c).
const KERNELS_OWN: [(u32, u32); 3] = [(0, 255), (32766, 254), (32767, 253)];

/// No route is suppressed (`FRA_SUPPRESS_*`: -1).
const ALL: u32 = u32::MAX;

/// An attribute that only aligns the next one (`FRA_PAD`, linux/fib_rules.h).
const PADDING: u16 = 18;

fn rule(message: &RuleMessage) -> Option<RoutingRule> {
    if route::decode_rule(message).is_some() {
        return None;
    }
    let mut rule = RoutingRule::default();
    let mut table = u32::from(message.header.table);
    let (mut mark, mut mask, mut goto) = (0, None, None);
    let mut is_of_device = false;
    let network = |address: &IpAddr, len| match address {
        IpAddr::V4(address) => Ipv4Network::new(*address, len).ok(),
        IpAddr::V6(_) => None,
    };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Destination(address) => rule.to = network(address, message.header.dst_len),
            RuleAttribute::Source(address) => rule.from = network(address, message.header.src_len),
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Iifname(name) => rule.incoming = Some(name.clone()),
            RuleAttribute::FwMark(number) => mark = *number,
            RuleAttribute::FwMask(number) => mask = Some(*number),
            RuleAttribute::Goto(priority) => goto = Some(*priority),
            RuleAttribute::L3MDev(true) => is_of_device = true,
            RuleAttribute::Protocol(_) | RuleAttribute::Realm(_) | RuleAttribute::L3MDev(false) => {}
            padding if padding.kind() == PADDING => {}
            RuleAttribute::SuppressPrefixLen(ALL) | RuleAttribute::SuppressIfGroup(ALL) => {}
            RuleAttribute::SuppressPrefixLen(len) => rule.suppressed.push(format!("suppress_prefixlength {len}")),
            RuleAttribute::SuppressIfGroup(group) => rule.suppressed.push(format!("suppress_ifgroup {group}")),
            other => rule.others.push(asked(other)),
        }
    }
    if message.header.tos != 0 {
        rule.others.push(format!("tos {:#x}", message.header.tos));
    }
    rule.negated = message.header.flags.contains(RuleFlags::Invert);
    rule.mark = (mark != 0 || mask.is_some()).then(|| (mark, mask.unwrap_or(u32::MAX)));
    rule.action = match message.header.action {
        // To the table of the VRF that the packet is in.
        RuleAction::ToTable if is_of_device => {
            rule.others.push("l3mdev".into());
            Action::Nothing
        }
        RuleAction::ToTable => Action::Lookup(table),
        RuleAction::Goto => goto.map_or(Action::Nothing, Action::Goto),
        RuleAction::Blackhole => Action::Refuse("blackhole"),
        RuleAction::Unreachable => Action::Refuse("unreachable"),
        RuleAction::Prohibit => Action::Refuse("prohibit"),
        _ => Action::Nothing,
    };
    let is_kernels = KERNELS_OWN.iter().any(|(priority, table)| {
        let own = RoutingRule { priority: *priority, action: Action::Lookup(*table), ..RoutingRule::default() };
        own == rule
    });
    (!is_kernels).then_some(rule)
}

/// What an attribute matches in a packet, in the words of `ip rule`.
fn asked(attribute: &RuleAttribute) -> String {
    let ports = |range: &RulePortRange| match range.start {
        port if port == range.end => port.to_string(),
        port => format!("{port}-{}", range.end),
    };
    match attribute {
        RuleAttribute::Oifname(name) => format!("oif {name}"),
        RuleAttribute::UidRange(range) => format!("uidrange {}-{}", range.start, range.end),
        RuleAttribute::IpProtocol(protocol) => format!("ipproto {}", u8::from(*protocol)),
        RuleAttribute::SourcePortRange(range) => format!("sport {}", ports(range)),
        RuleAttribute::DestinationPortRange(range) => format!("dport {}", ports(range)),
        RuleAttribute::TunId(number) => format!("tun_id {number}"),
        // An attribute of a newer kernel.
        other => format!("(attribute {})", other.kind()),
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::AddressFamily;
    use netlink_packet_route::rule::RuleUidRange;

    use super::*;

    fn message(attributes: Vec<RuleAttribute>, action: RuleAction, flags: RuleFlags) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.action = action;
        message.header.flags = flags;
        message.attributes = attributes;
        // The kernel says so of every rule that suppresses nothing.
        message.attributes.push(RuleAttribute::SuppressPrefixLen(u32::MAX));
        message
    }

    fn read(attributes: Vec<RuleAttribute>, action: RuleAction, flags: RuleFlags) -> Option<String> {
        rule(&message(attributes, action, flags)).map(|rule| rule.to_string())
    }

    #[test]
    fn what_a_rule_asks_and_does_is_read() {
        use RuleAttribute::{
            DestinationPortRange, FwMark, FwMask, Goto, IpProtocol, Priority, SuppressPrefixLen, Table, UidRange,
        };
        let lookup = |attributes, flags| read(attributes, RuleAction::ToTable, flags).unwrap();
        let (none, not) = (RuleFlags::default(), RuleFlags::Invert);
        // The three of wg-quick, ip-rule(8)'s, and one of each other kind.
        let wg = vec![Priority(32765), FwMark(0xca6c), FwMask(u32::MAX), Table(51820)];
        assert_eq!(lookup(wg, not), "priority 32765 not fwmark 0xca6c lookup 51820");
        let main = vec![Priority(32764), Table(254), SuppressPrefixLen(0)];
        assert_eq!(lookup(main, none), "priority 32764 lookup 254 suppress_prefixlength 0");
        let masked = vec![Priority(5210), FwMark(0x80000), FwMask(0xff_0000), Table(254)];
        assert_eq!(lookup(masked, none), "priority 5210 fwmark 0x80000/0xff0000 lookup 254");
        let uids = UidRange(RuleUidRange { start: 10, end: 20 });
        let ports = |start, end| DestinationPortRange(RulePortRange { start, end });
        let picky = vec![Priority(9), uids, IpProtocol(17.into()), ports(53, 53), ports(8000, 8100), Table(9)];
        assert_eq!(lookup(picky, none), "priority 9 uidrange 10-20 ipproto 17 dport 53 dport 8000-8100 lookup 9");
        let goto = read(vec![Priority(7), Goto(90)], RuleAction::Goto, none);
        assert_eq!(goto.as_deref(), Some("priority 7 goto 90"));
        let refused = read(vec![Priority(7)], RuleAction::Blackhole, not);
        assert_eq!(refused.as_deref(), Some("priority 7 not blackhole"));
    }

    #[test]
    fn the_kernels_own_rules_and_ours_are_left_out_and_none_that_only_has_their_place() {
        use RuleAttribute::{FwMark, Priority, Table};
        let none = RuleFlags::default();
        for (priority, table) in KERNELS_OWN {
            let own = vec![Priority(priority), Table(table)];
            assert_eq!(read(own.clone(), RuleAction::ToTable, none), None, "{priority}");
            let marked = [own, vec![FwMark(1)]].concat();
            assert!(read(marked, RuleAction::ToTable, none).is_some(), "{priority}");
        }
        let ours = |priority| {
            let mut ours = route::encode_rule("250".parse().unwrap(), crate::plan::state::RoutingTable(77));
            for attribute in &mut ours.attributes {
                if let Priority(its) = attribute {
                    *its = priority;
                }
            }
            rule(&ours).map(|rule| rule.to_string())
        };
        assert_eq!(ours(1000), None);
        let another = "priority 900 to 250.0.0.0/8 lookup 77";
        assert_eq!(ours(900).as_deref(), Some(another), "the protocol alone makes no rule ours");
    }
}
