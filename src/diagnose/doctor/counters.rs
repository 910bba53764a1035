//! What a fan has refused, and what that tells.

use super::{Facts, Finding, count};
use crate::diagnose::netfilter::{FirewallRule, FirewallTable};
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::plan::firewall::table_name;
use crate::plan::host::LinkKind;
use crate::shell;

/// The fan's rules that refuse something, by their names in [`firewall`](crate::plan::firewall), and whose packets they meet.
const MEANINGS: [(&str, &str); 23] = [
    (
        "wrapped by no host",
        "wrapped packets from outside the underlay: a container or somebody else tries to get past the checks",
    ),
    (
        "wrapped by another",
        "wrapped packets by a way that does not lead back to their sender: a second interface, or a forged address",
    ),
    ("routed by its sender", "packets that name their own way: somebody tries to get past the checks"),
    ("hidden by tags", "frames with VLAN tags that hide what is in them, from a container"),
    ("posing", "packets with an address that no container here can have, from a container: it has a wrong address"),
    (
        "posing by arp",
        "claims by ARP of an address that no container here can have, from a container: it has a wrong address",
    ),
    (
        "foreign sources",
        "packets with addresses of the overlay from elsewhere: an interface outside of the fan has such an address",
    ),
    (
        "about our own",
        "packets from outside of the fan about connections of its containers: ICMP errors that no host of it has sent",
    ),
    ("foreign packets", "packets for the overlay from outside of it: another machine takes this host for its router"),
    (
        "foreign addresses",
        "packets for the host or by it with an address outside of the slice, from a container: a network behind it is to be \
         listed (--routed), or it has a wrong address",
    ),
    (
        "foreign addresses by arp",
        "questions or claims by ARP from an address outside of the slice, from a container: it has a wrong address",
    ),
    (
        "foreign neighbours",
        "packets between containers with an address outside of the slice: a network behind one is to be listed (--routed), \
         or one has a wrong address",
    ),
    (
        "for another host",
        "frames for a container of another host that would have gone to one here: it has claimed an Ethernet address of theirs",
    ),
    (
        "sent to another host",
        "frames of this host for a container of another one that would have gone to one here: it has claimed an Ethernet \
         address of theirs",
    ),
    (
        "ethernet addresses of hosts",
        "frames with the Ethernet address of a gateway or tunnel of the fan, from a container: it poses as a host",
    ),
    ("encapsulated in ipip", "IPIP packets for the underlay from a container: it tries to get past the checks"),
    ("encapsulated in vxlan", "VXLAN packets for the underlay from a container: it tries to get past the checks"),
    (
        "encapsulated by a process",
        "VXLAN packets from a process of this host: it tries to get past the checks, or another tunnel uses the fan's port",
    ),
    (
        "errors that redirect",
        "ICMP redirects or source quenches for the host from a container, which is no router for it",
    ),
    ("errors about a small mtu", "ICMP errors of containers that tell hosts of an MTU under 1280 bytes"),
    ("errors of other hosts", "ICMP errors of containers of other hosts about packets that the fan never carried"),
    ("errors about others", "ICMP errors of containers about packets that were for no container here"),
    (
        "dns of another slice",
        "questions to the fan's DNS and DHCP server from containers of other hosts, which have one of their own",
    ),
];

/// That another bridge may be meant, to follow a sentence; nothing where there is none. What the fan refuses of bridged
/// packets it refuses on all bridges.
fn other_bridges(fan: &Fan, facts: Facts) -> String {
    let bridges = facts.host.links.iter().filter(|link| matches!(link.kind, LinkKind::Bridge { .. }));
    let others = bridges.filter(|link| link.name != fan.bridge);
    let names: Vec<String> = others.map(|link| format!("'{}'", link.name)).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(
        "; that is refused on every bridge of the host, and one that is not the fan's may be meant: {}",
        names.join(", ")
    )
}

pub(super) fn check(fan: &Fan, facts: Facts, _: &[Finding]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = checksums(fan, facts).into_iter().collect();
    let mut evidence: Vec<String> = MEANINGS
        .iter()
        .filter_map(|(name, meaning)| {
            let packets = guarded(fan, facts, name);
            let is_of_bridges = rules(fan, facts, name).any(|(table, _)| table.family == "bridge");
            let others = if is_of_bridges { other_bridges(fan, facts) } else { String::new() };
            (packets > 0).then(|| format!("{packets} {meaning}{others}"))
        })
        .collect();
    let refused = facts.host.link(&fan.tunnel()).map_or(0, |link| link.counters.refused);
    // What is on a bridge with many is for all of them, and nothing of that leaves the host by VXLAN.
    if refused > 0 && fan.options.encapsulation == Encapsulation::Ipip {
        evidence.push(format!(
            "{refused} packets by the programs of '{}': from a host without this fan or with another underlay, or to an \
             address that is no host's",
            fan.tunnel()
        ));
    }
    if evidence.is_empty() {
        findings.push(Finding::passed("refused", "nothing that would tell of a mistake"));
    } else {
        let what = count(evidence.len(), "kind of packet was", "kinds of packets were");
        let reason = format!("{what} refused since the fan is up, as it should be; whose were they?");
        findings.push(Finding::warned("refused", reason).because(evidence));
    }
    findings
}

/// Packets that the fan's rules of a name have met.
pub(super) fn guarded(fan: &Fan, facts: Facts, name: &str) -> u64 {
    rules(fan, facts, name).filter_map(|(_, rule)| rule.packets).sum()
}

/// The fan's rules of a name, each with its table.
fn rules<'a>(
    fan: &Fan,
    facts: Facts<'a>,
    name: &'a str,
) -> impl Iterator<Item = (&'a FirewallTable, &'a FirewallRule)> {
    let own = table_name(fan.overlay());
    let tables = facts.health.tables.iter().filter(move |table| table.name == own);
    let rules = tables.flat_map(|table| {
        let rules = table.chains.values().flat_map(|chain| &chain.rules);
        rules.map(move |rule| (table, rule))
    });
    rules.filter(move |(_, rule)| rule_name(&rule.text) == Some(name))
}

/// What a rule of the fan's is called: its comment, but for the digest at the end.
fn rule_name(text: &str) -> Option<&str> {
    let (_, comment) = text.split_once("comment \"")?;
    let (name, _) = comment.split('"').next()?.rsplit_once(' ')?;
    Some(name)
}

/// VXLAN's packets with checksums that hardware got wrong, on the way out or in.
fn checksums(fan: &Fan, facts: Facts) -> Option<Finding> {
    let tunnel = fan.tunnel();
    let off = shell!("ethtool -K {} tx-checksum-ip-generic off", tunnel);
    if let Some(offload) = facts.health.offloads.get(&tunnel) {
        let reason = format!("'{}' has the driver {}, which may spoil checksums of VXLAN", fan.device, offload.driver);
        match offload.checksums {
            Some(true) => {
                let evidence = format!("{tunnel} leaves checksums to it (tx-checksum-ip-generic: on)");
                return Some(Finding::warned("checksums", reason).because([evidence]).mended_by(off));
            }
            None => {
                return Some(Finding::warned("checksums", reason + "; ethtool would tell, and is not installed"));
            }
            Some(false) => {}
        }
    }
    spoilt(fan, facts)
}

/// What came with a wrong checksum. The kernel counts that for all UDP of the host since it began, and not for the fan: it is
/// a sign where hardware like this host's is known for it, or where what was sent by VXLAN has no answer.
fn spoilt(fan: &Fan, facts: Facts) -> Option<Finding> {
    let number = facts.health.bad_checksums;
    if fan.options.encapsulation != Encapsulation::Vxlan || number == 0 {
        return None;
    }
    let tunnel = fan.tunnel();
    let is_like_others = facts.health.offloads.contains_key(&tunnel);
    let counters = facts.host.link(&tunnel).map(|link| link.counters).unwrap_or_default();
    let has_no_answer = counters.sent > 0 && counters.received == 0;
    let evidence = format!("Udp: InCsumErrors in /proc/net/snmp is {number}, for all UDP of this host since it began");
    Some(if is_like_others || has_no_answer {
        let reason = "UDP packets came with a wrong checksum: the hardware of another host may spoil those of VXLAN";
        let off = shell!("ethtool -K {} tx-checksum-ip-generic off", tunnel);
        let elsewhere = format!("on that host: {off}");
        Finding::warned("checksums", reason).because([evidence, elsewhere])
    } else {
        Finding::passed("checksums", "nothing tells that hardware spoils those of VXLAN").because([evidence])
    })
}
