//! Other people's firewalls: each kind of packet that a fan needs is walked through all of their chains.

mod keeper;
mod packets;

use std::net::Ipv4Addr;

use super::{Check, Facts, Finding, Found};
use crate::diagnose::netfilter::{Backend, Blame, ConntrackState, Fate, FirewallTable, Packet, fate, fates};
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::fan::shell::Line;
use crate::plan::firewall::{is_chain_of_ours, table_overlay};
use crate::shell;
use keeper::Keeper;
use packets::{BOOTPS, DNS, packets};

/// A kind of packet that must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TrafficKind {
    /// From containers to other slices and to the world.
    FromContainers,
    /// From there to containers.
    ToContainers,
    /// Wrapped, from other hosts.
    FromHosts,
    /// Wrapped, to other hosts.
    ToHosts,
    /// Wrapped, from this host of them.
    FromHost(Ipv4Addr),
    /// Wrapped, to this one.
    ToHost(Ipv4Addr),
    /// Who of the fan has which address.
    Arp,
    /// Who of the underlay has which address.
    ArpOfHosts,
    /// From containers that ask for an address, and the answer.
    Dhcp,
    /// From containers that ask for a name, and the answer.
    Dns,
}

pub(super) fn check(fan: &Fan, facts: Facts, before: &[Finding]) -> Vec<Finding> {
    if !facts.host.privileged {
        return Vec::new();
    }
    // Rules of ours that are missing in iptables' FORWARD are an object of ours, and found already.
    let is_ours_to_mend = |blame: &Blame| {
        let ours = before.iter().any(|finding| finding.check == Check::Firewall);
        ours && is_forward(blame)
    };
    let others: Vec<FirewallTable> = facts.health.tables.iter().filter(|table| !is_of_a_fan(table)).cloned().collect();
    let mut culprits: Vec<Culprit> = Vec::new();
    let journeys = packets(fan, facts, &others);
    let journeys = journeys.iter();
    for (kind, fate) in journeys.flat_map(|(kind, hooks)| fates(hooks, &others).map(move |fate| (*kind, fate))) {
        let (blame, is_certain) = match fate {
            Fate::Passes => continue,
            Fate::Lost(blame) => (blame, true),
            Fate::AtRisk(blame) => (blame, false),
        };
        if is_ours_to_mend(&blame) {
            continue;
        }
        let place = |blame: &Blame| (blame.backend, blame.family.clone(), blame.table.clone(), blame.base.clone());
        let index = culprits.iter().position(|culprit| place(&culprit.blames[0]) == place(&blame));
        let index = index.unwrap_or_else(|| {
            culprits.push(Culprit::default());
            culprits.len() - 1
        });
        let culprit = &mut culprits[index];
        if kind.general().is_some_and(|all| culprit.kinds.contains(&all)) {
            continue;
        }
        if !culprit.kinds.contains(&kind) {
            culprit.kinds.push(kind);
        }
        if is_certain && !culprit.certain.contains(&kind) {
            culprit.certain.push(kind);
        }
        if !culprit.blames.contains(&blame) {
            culprit.blames.push(blame);
        }
    }
    let mut findings: Vec<Finding> = culprits.iter().map(|culprit| culprit.finding(fan, facts)).collect();
    findings.extend(invalid(fan, facts, &others));
    if findings.is_empty() && !before.iter().any(|finding| finding.check == Check::Firewall) {
        let tables = match others.len() {
            0 => "there is no other firewall".to_string(),
            number => format!("{} of others let the fan's packets pass", super::count(number, "table", "tables")),
        };
        findings.push(Finding::passed(Found::FirewallPasses, tables));
    }
    findings
}

/// Whether the chain that rules of the fan stand ready for drops what is forwarded for it: without them packets are lost.
pub(super) fn is_forward_closed(fan: &Fan, facts: Facts) -> bool {
    let journeys = packets(fan, facts, &[]);
    let fates = journeys.iter().flat_map(|(_, hooks)| fates(hooks, &facts.health.tables));
    fates.filter_map(blamed).any(|blame| is_forward(&blame))
}

fn blamed(fate: Fate) -> Option<Blame> {
    match fate {
        Fate::Passes => None,
        Fate::Lost(blame) | Fate::AtRisk(blame) => Some(blame),
    }
}

/// Whether it is the chain `FORWARD` of iptables on top of nftables.
fn is_forward(blame: &Blame) -> bool {
    (blame.backend, blame.table.as_str(), blame.base.as_str()) == (Backend::Nftables, "filter", "FORWARD")
}

/// A base chain that drops packets of a fan.
#[derive(Default)]
struct Culprit {
    kinds: Vec<TrafficKind>,
    blames: Vec<Blame>,
    /// Those of the kinds that it drops without doubt.
    certain: Vec<TrafficKind>,
}

impl Culprit {
    fn finding(&self, fan: &Fan, facts: Facts) -> Finding {
        let blame = &self.blames[0];
        let what: Vec<String> = self.kinds.iter().map(|kind| kind.describe(fan)).collect();
        let keeper = Keeper::of(blame);
        let who = format!("chain '{}' of {} table '{} {}'", blame.base, blame.backend, blame.family, blame.table);
        let lasting = keeper.map_or(String::new(), |keeper| keeper.advice(&self.kinds, fan, facts));
        let is_failure = self.certain.iter().any(|kind| kind.general().is_none());
        let what = what.join(" and ");
        let (code, reason) = if is_failure || self.certain == self.kinds {
            (Found::FirewallDrops, format!("{who} drops {what}{lasting}"))
        } else {
            (Found::FirewallMayDrop, format!("cannot tell whether {who} drops {what}: look at this rule{lasting}"))
        };
        let evidence = self.blames.iter().map(|blame| match &blame.rule {
            Some(rule) => format!("{}: {}", blame.chain, rule.text),
            None => format!("{}: policy drop, and no rule accepts them", blame.chain),
        });
        let owned = (blame.is_owned && keeper.is_none())
            .then(|| format!("table '{}' is for its maker alone to change (flags owner)", blame.table));
        let own = keeper.filter(|_| blame.is_owned);
        let mend = self.kinds.iter().map(|kind| match own {
            Some(keeper) => keeper.commands(*kind, fan, facts),
            None => kind.acceptance(fan, blame),
        });
        let finding = if is_failure { Finding::failed(code, reason) } else { Finding::warned(code, reason) };
        Finding {
            mend: mend.collect::<Option<Vec<Line>>>().map(Line::all_of),
            ..finding.because(evidence).because(owned)
        }
    }
}

impl TrafficKind {
    /// The kind of which this one is a part.
    fn general(self) -> Option<Self> {
        match self {
            Self::FromHost(_) => Some(Self::FromHosts),
            Self::ToHost(_) => Some(Self::ToHosts),
            _ => None,
        }
    }

    fn describe(self, fan: &Fan) -> String {
        let wrapped = match fan.options.encapsulation {
            Encapsulation::Ipip => "protocol 4".to_string(),
            Encapsulation::Vxlan => format!("UDP port {}", fan.port()),
        };
        match self {
            Self::FromContainers => "what containers send".to_string(),
            Self::ToContainers => "what is sent to containers".to_string(),
            Self::FromHosts => format!("what other hosts send ({wrapped})"),
            Self::ToHosts => format!("what goes to other hosts ({wrapped})"),
            Self::FromHost(host) => format!("what host {host} sends ({wrapped})"),
            Self::ToHost(host) => format!("what goes to host {host} ({wrapped})"),
            Self::Arp => "what asks who has an address (ARP)".to_string(),
            Self::ArpOfHosts => format!("what asks which host has an address (ARP on {})", fan.device),
            Self::Dhcp => "what asks for an address (DHCP)".to_string(),
            Self::Dns => "what asks for names (DNS)".to_string(),
        }
    }

    /// The command that accepts such packets at the head of a base chain; none where the chain's name cannot be written in nft(8).
    fn acceptance(self, fan: &Fan, blame: &Blame) -> Option<Line> {
        let bridge = &fan.bridge;
        let hosts = match self {
            Self::FromHost(host) | Self::ToHost(host) => host.to_string(),
            _ => fan.mapping.underlay().to_string(),
        };
        let goes_out = matches!(blame.hook.as_str(), "output" | "postrouting" | "egress");
        match blame.backend {
            Backend::Nftables => {
                // Not every kernel knows the bridge of a bridged packet, and the tunnel is a port of none but this one.
                let tunnel = fan.tunnel();
                let [from, to] = match blame.family.as_str() {
                    "bridge" => [format!("oifname \"{tunnel}\""), format!("iifname \"{tunnel}\"")],
                    _ => [format!("iifname \"{bridge}\""), format!("oifname \"{bridge}\"")],
                };
                let Blame { family, table, base, .. } = blame;
                if blame.is_owned {
                    return None;
                }
                if [family, table, base].into_iter().any(|name| !is_identifier(name)) {
                    return None;
                }
                let insert = |rule: String| {
                    let text = format!("insert rule {family} {table} {base} {rule} counter accept");
                    shell!("nft {}", text)
                };
                let rule = match (self, fan.options.encapsulation) {
                    (Self::FromContainers, _) => from,
                    (Self::ToContainers, _) => to,
                    (Self::FromHosts | Self::FromHost(_), Encapsulation::Ipip) => {
                        format!("ip protocol 4 ip saddr {hosts}")
                    }
                    (Self::ToHosts | Self::ToHost(_), Encapsulation::Ipip) => format!("ip protocol 4 ip daddr {hosts}"),
                    (Self::FromHosts | Self::FromHost(_), Encapsulation::Vxlan) => {
                        format!("ip saddr {hosts} udp dport {}", fan.port())
                    }
                    (Self::ToHosts | Self::ToHost(_), Encapsulation::Vxlan) => {
                        format!("ip daddr {hosts} udp dport {}", fan.port())
                    }
                    (Self::Arp | Self::ArpOfHosts, _) if family == "arp" => "arp operation { request, reply }".into(),
                    (Self::ArpOfHosts, _) => "ether type arp".into(),
                    (Self::Arp, _) => {
                        let rules = [from, to].map(|way| insert(format!("ether type arp {way}")));
                        return Some(Line::all_of(rules));
                    }
                    (Self::Dhcp, _) if goes_out => format!("{to} udp sport {BOOTPS}"),
                    (Self::Dhcp, _) => format!("{from} udp dport {BOOTPS}"),
                    (Self::Dns, _) => {
                        let (way, side) = if goes_out { (to, "sport") } else { (from, "dport") };
                        let rules = ["udp", "tcp"].map(|name| insert(format!("{way} {name} {side} {DNS}")));
                        return Some(Line::all_of(rules));
                    }
                };
                Some(insert(rule))
            }
            Backend::Legacy => {
                let rule = match (self, fan.options.encapsulation) {
                    (Self::FromContainers, _) => shell!("-i {}", bridge),
                    (Self::ToContainers, _) => shell!("-o {}", bridge),
                    (Self::FromHosts | Self::FromHost(_), Encapsulation::Ipip) => shell!("-p 4 -s {}", hosts),
                    (Self::ToHosts | Self::ToHost(_), Encapsulation::Ipip) => shell!("-p 4 -d {}", hosts),
                    (Self::FromHosts | Self::FromHost(_), Encapsulation::Vxlan) => {
                        shell!("-s {} -p udp --dport {}", hosts, fan.port())
                    }
                    (Self::ToHosts | Self::ToHost(_), Encapsulation::Vxlan) => {
                        shell!("-d {} -p udp --dport {}", hosts, fan.port())
                    }
                    // The older tables see nothing of ARP.
                    (Self::Arp | Self::ArpOfHosts, _) => Line::default(),
                    (Self::Dhcp, _) if goes_out => shell!("-o {} -p udp --sport {}", bridge, BOOTPS),
                    (Self::Dhcp, _) => shell!("-i {} -p udp --dport {}", bridge, BOOTPS),
                    (Self::Dns, _) if goes_out => shell!("-o {} -p udp --sport {}", bridge, DNS),
                    (Self::Dns, _) => shell!("-i {} -p udp --dport {}", bridge, DNS),
                };
                if blame.base.starts_with('-') {
                    return None;
                }
                let insert =
                    |rule: Line| shell!("iptables-legacy -t {} -I {} {} -j ACCEPT", blame.table, blame.base, rule);
                if self == Self::Dns {
                    let way = if goes_out {
                        shell!("-o {} -p tcp --sport {}", bridge, DNS)
                    } else {
                        shell!("-i {} -p tcp --dport {}", bridge, DNS)
                    };
                    return Some(Line::all_of([insert(rule), insert(way)]));
                }
                Some(insert(rule))
            }
        }
    }
}

/// Whether a table is one of a fan's.
fn is_of_a_fan(table: &FirewallTable) -> bool {
    let mut chains = table.chains.keys();
    table_overlay(&table.name).is_some() && chains.any(|chain| is_chain_of_ours(&table.family, chain))
}

/// Whether a name can be written in a rule of nft(8) as it is (`string`, src/scanner.l of nftables 1.0): others, which only its
/// messages to the kernel can make, may be anything.
fn is_identifier(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_inner)
}

/// Packets that connection tracking could make nothing of, and that somebody dropped for that: TCP that it saw half of, as
/// with two ways between two hosts. The rule counts, so that it is known whether it ever happened.
fn invalid(fan: &Fan, facts: Facts, others: &[FirewallTable]) -> Option<Finding> {
    let journeys = packets(fan, facts, &[]).into_iter();
    let forwarded = journeys
        .filter(|(kind, _)| *kind == TrafficKind::FromContainers)
        .flat_map(|(_, hooks)| hooks)
        .filter(|packet| packet.hook == "forward");
    let mut blames = forwarded.filter_map(|packet| {
        let packet = Packet { state: ConntrackState::Invalid, ..packet };
        match fate(&packet, others) {
            Fate::Lost(blame) => Some(blame),
            _ => None,
        }
    });
    let blame = blames.find(|blame| {
        let rule = blame.rule.as_ref();
        rule.is_some_and(|rule| rule.packets.is_some_and(|packets| packets > 0) && rule.asks_for_invalid())
    })?;
    let rule = blame.rule.as_ref()?;
    let reason = format!(
        "chain '{}' has dropped {} whose connection was unknown; if connections between containers hang, these were theirs",
        blame.chain,
        super::count(usize::try_from(rule.packets.unwrap_or_default()).unwrap_or(usize::MAX), "packet", "packets")
    );
    let mend =
        [TrafficKind::FromContainers, TrafficKind::ToContainers].into_iter().map(|kind| kind.acceptance(fan, &blame));
    let finding =
        Finding::warned(Found::FirewallDropsInvalid, reason).because([format!("{}: {}", blame.chain, rule.text)]);
    Some(Finding { mend: mend.collect::<Option<Vec<Line>>>().map(Line::all_of), ..finding })
}
