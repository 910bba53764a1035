//! What a fan has refused, and what that tells.

use super::{Facts, Finding, Found, count};
use crate::diagnose::facts::Health;
use crate::diagnose::netfilter::{FirewallRule, FirewallTable};
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::plan::firewall::{GuardRule, table_name};
use crate::plan::host::{Host, LinkKind};
use crate::plan::state::{State, fans};
use crate::shell;

/// The fan's rules that refuse something, and whose packets they meet.
const MEANINGS: [(GuardRule, &str); 25] = [
    (
        GuardRule::EncapsulatedByNoHost,
        "encapsulated packets from outside the underlay: an attempt to bypass the checks, by a container or another host",
    ),
    (
        GuardRule::EncapsulatedByAnotherWay,
        "encapsulated packets by a way that does not lead back to their sender: a second interface, or a forged address",
    ),
    (
        GuardRule::Masqueraded,
        "encapsulated packets of another network of this host that are masqueraded: an attempt to pose as its containers",
    ),
    (GuardRule::RoutedByItsSender, "source-routed packets: an attempt to bypass the checks"),
    (
        GuardRule::ReservedGroups,
        "packets in frames to a reserved group: an attempt of a container to bypass the bridge's rules",
    ),
    (GuardRule::HiddenByTags, "frames with VLAN tags that hide what is in them, from a container"),
    (
        GuardRule::Posing,
        "packets with an address that no container here can have, from a container: it has a wrong address",
    ),
    (
        GuardRule::PosingByArp,
        "claims by ARP of an address that no container here can have, from a container: it has a wrong address",
    ),
    (
        GuardRule::ForeignSources,
        "packets with addresses of the overlay from elsewhere: an interface outside of the fan has such an address",
    ),
    (
        GuardRule::AboutOurOwn,
        "packets from outside of the fan about connections of its containers: ICMP errors that no host of it has sent",
    ),
    (
        GuardRule::ForeignPackets,
        "packets for the overlay from outside of it: another machine takes this host for its router",
    ),
    (
        GuardRule::ForeignAddresses,
        "packets for the host or by it with an address outside of the slice, from a container: a network behind it is to be \
         listed (--routed), or it has a wrong address",
    ),
    (
        GuardRule::ForeignAddressesByArp,
        "questions or claims by ARP from an address outside of the slice, from a container: it has a wrong address",
    ),
    (
        GuardRule::ForeignNeighbours,
        "packets between containers with an address outside of the slice: a network behind one is to be listed (--routed), \
         or one has a wrong address",
    ),
    (
        GuardRule::ForAnotherHost,
        "frames for a container of another host that would have gone to one here: it has claimed an Ethernet address of theirs",
    ),
    (
        GuardRule::SentToAnotherHost,
        "frames of this host for a container of another one that would have gone to one here: it has claimed an Ethernet \
         address of theirs",
    ),
    (
        GuardRule::EthernetAddressesOfHosts,
        "frames with the Ethernet address of a gateway or tunnel of the fan, from a container: it poses as a host",
    ),
    (GuardRule::EncapsulatedInIpip, "IPIP packets for the underlay from a container: it tries to get past the checks"),
    (
        GuardRule::EncapsulatedInVxlan,
        "VXLAN packets for the underlay from a container: it tries to get past the checks",
    ),
    (
        GuardRule::EncapsulatedByAProcess,
        "VXLAN packets from a process of this host: it tries to get past the checks, or another tunnel uses the fan's port",
    ),
    (
        GuardRule::ErrorsThatRedirect,
        "ICMP redirects or source quenches for the host from a container, which is no router for it",
    ),
    (GuardRule::ErrorsAboutASmallMtu, "ICMP errors of containers that tell hosts of an MTU under 1280 bytes"),
    (
        GuardRule::ErrorsOfOtherHosts,
        "ICMP errors of containers of other hosts about packets that the fan never carried",
    ),
    (GuardRule::ErrorsAboutOthers, "ICMP errors of containers about packets that were for no container here"),
    (
        GuardRule::DnsOfAnotherSlice,
        "questions to the fan's DNS and DHCP server from containers of other hosts, which have one of their own",
    ),
];

/// A suffix that names other bridges to which the packets may belong; empty if there are none. What the fan refuses of bridged
/// packets it refuses on all bridges.
fn other_bridges(fan: &Fan, facts: Facts) -> String {
    let bridges = facts.host.links.iter().filter(|link| matches!(link.kind, LinkKind::Bridge { .. }));
    let others = bridges.filter(|link| link.name != fan.bridge);
    let names: Vec<String> = others.map(|link| format!("'{}'", link.name)).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(" (on '{}', or on another bridge of this host: {})", fan.bridge, names.join(", "))
}

pub(super) fn check(fan: &Fan, facts: Facts, _: &[Finding]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = checksums(fan, facts).into_iter().chain(disagreement(fan, facts)).collect();
    let mut is_over = facts.health.earlier.is_some();
    let before = facts.health.earlier.as_ref().map_or(&[][..], |look| &look.tables);
    let mut evidence: Vec<String> = MEANINGS
        .iter()
        .filter_map(|(rule, meaning)| {
            let packets = guarded(fan, facts, *rule);
            is_over &= packets == counted(before, fan, *rule);
            let is_of_bridges = rules(&facts.health.tables, fan, *rule).any(|(table, _)| table.family == "bridge");
            let others = if is_of_bridges { other_bridges(fan, facts) } else { String::new() };
            (packets > 0).then(|| format!("{packets} {meaning}{others}"))
        })
        .collect();
    let refused = facts.host.link(&fan.tunnel()).map_or(0, |link| link.counters.refused);
    let earlier = facts.health.earlier.as_ref().and_then(|look| look.tunnels.get(&fan.tunnel()));
    is_over &= earlier == Some(&refused);
    // What is on a bridge with many is for all of them, and nothing of that leaves the host by VXLAN.
    if refused > 0 && fan.options.encapsulation == Encapsulation::Ipip {
        evidence.push(format!(
            "{refused} packets by the programs of '{}': from a host without this fan or with another underlay, or to an \
             address that is no host's",
            fan.tunnel()
        ));
    }
    if evidence.is_empty() {
        findings.push(Finding::passed(Found::NothingRefused, "nothing that would tell of a mistake"));
    } else if is_over {
        let what = count(evidence.len(), "kind of packet", "kinds of packets");
        let reason = format!("nothing is dropped now; since the fan came up, {what} were");
        findings.push(Finding::passed(Found::PacketsRefused, reason).because(evidence));
    } else {
        let what = count(evidence.len(), "kind of packet was", "kinds of packets were");
        let reason = format!("{what} dropped since the fan came up; see whose they may be");
        findings.push(Finding::warned(Found::PacketsRefused, reason).because(evidence));
    }
    findings
}

/// Hosts whose packets no fan here takes, because theirs is another.
fn disagreement(fan: &Fan, facts: Facts) -> Option<Finding> {
    let all = facts.health.disagreements.iter().filter(|((overlay, _), _)| *overlay == fan.overlay());
    let evidence: Vec<String> = all.map(|((_, host), what)| format!("packets of host {host}: {what}")).collect();
    let hosts = count(evidence.len(), "host has", "hosts have");
    let reason = format!(
        "{hosts} another fan, and packets of it are refused here; compare on both sides overlay, underlay, encapsulation and \
         port: fanctl show -l"
    );
    (!evidence.is_empty()).then(|| Finding::warned(Found::HostDisagrees, reason).because(evidence))
}

/// Whether the programs of a tunnel have refused packets between the two looks.
#[must_use]
pub(crate) fn refuses(host: &Host, health: &Health) -> bool {
    let earlier = health.earlier.iter().flat_map(|look| &look.tunnels);
    let mut rises = earlier.filter_map(|(name, before)| Some(host.link(name)?.counters.refused > *before));
    rises.any(|rises| rises)
}

/// Packets that a rule of the fan has met.
pub(super) fn guarded(fan: &Fan, facts: Facts, name: GuardRule) -> u64 {
    counted(&facts.health.tables, fan, name)
}

/// Whether fans have refused anything, so that a second look tells whether they still do.
#[must_use]
pub(crate) fn has_refused(owned: &State, host: &Host, health: &Health) -> bool {
    let by_rule = |fan: &Fan| MEANINGS.iter().any(|(rule, _)| counted(&health.tables, fan, *rule) > 0);
    let by_program = |fan: &Fan| host.link(&fan.tunnel()).is_some_and(|link| link.counters.refused > 0);
    fans(owned).any(|fan| by_rule(fan) || by_program(fan))
}

/// The same, in these tables.
fn counted(tables: &[FirewallTable], fan: &Fan, name: GuardRule) -> u64 {
    rules(tables, fan, name).filter_map(|(_, rule)| rule.packets).sum()
}

/// Where a rule of the fan stands, each with its table.
fn rules<'a>(
    tables: &'a [FirewallTable],
    fan: &Fan,
    name: GuardRule,
) -> impl Iterator<Item = (&'a FirewallTable, &'a FirewallRule)> {
    let own = table_name(fan.overlay());
    let tables = tables.iter().filter(move |table| table.name == own);
    let rules = tables.flat_map(|table| {
        let rules = table.chains.values().flat_map(|chain| &chain.rules);
        rules.map(move |rule| (table, rule))
    });
    rules.filter(move |(_, rule)| GuardRule::of(&rule.text) == Some(name))
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
                return Some(Finding::warned(Found::OffloadOn, reason).because([evidence]).mended_by(off));
            }
            None => {
                return Some(Finding::warned(
                    Found::OffloadUnknown,
                    reason + "; ethtool would tell, and is not installed",
                ));
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
        Finding::warned(Found::ChecksumsWrong, reason).because([evidence, elsewhere])
    } else {
        Finding::passed(Found::ChecksumsRight, "nothing tells that hardware spoils those of VXLAN").because([evidence])
    })
}
