//! Other people's firewalls: each kind of packet that a fan needs is walked through all of their chains.

mod packets;

use super::{Facts, Finding, all_of};
use crate::encap::Encapsulation;
use crate::fan::Fan;
use crate::firewall::table_overlay;
use crate::netfilter::{Backend, Blame, Fate, Packet, State, Table, fate};
use packets::{BOOTPS, packets};

/// A kind of packet that must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// From containers to other slices and to the world.
    FromContainers,
    /// From there to containers.
    ToContainers,
    /// Wrapped, from other hosts.
    FromHosts,
    /// Wrapped, to other hosts.
    ToHosts,
    /// From containers that ask for an address.
    Dhcp,
}

pub(super) fn check(fan: &Fan, facts: Facts, before: &[Finding]) -> Vec<Finding> {
    if !facts.host.privileged {
        return Vec::new();
    }
    // Rules of ours that are missing in iptables' FORWARD are an object of ours, and found already.
    let is_ours_to_mend = |blame: &Blame| {
        let ours = before.iter().any(|finding| finding.check == "firewall");
        ours && (blame.backend, blame.table.as_str(), blame.base.as_str()) == (Backend::Nftables, "filter", "FORWARD")
    };
    let others: Vec<Table> = facts
        .health
        .tables
        .iter()
        .filter(|table| table_overlay(&table.name).is_none())
        .cloned()
        .collect();
    let mut culprits: Vec<Culprit> = Vec::new();
    for (kind, packet) in packets(fan, facts) {
        let (blame, is_certain) = match fate(&packet, &others) {
            Fate::Passes => continue,
            Fate::Lost(blame) => (blame, true),
            Fate::AtRisk(blame) => (blame, false),
        };
        if is_ours_to_mend(&blame) {
            continue;
        }
        let place = |blame: &Blame| {
            (
                blame.backend,
                blame.family.clone(),
                blame.table.clone(),
                blame.base.clone(),
            )
        };
        let index = culprits
            .iter()
            .position(|culprit| place(&culprit.blames[0]) == place(&blame));
        let index = index.unwrap_or_else(|| {
            culprits.push(Culprit::default());
            culprits.len() - 1
        });
        let culprit = &mut culprits[index];
        culprit.is_certain |= is_certain;
        if !culprit.kinds.contains(&kind) {
            culprit.kinds.push(kind);
        }
        if !culprit.blames.contains(&blame) {
            culprit.blames.push(blame);
        }
    }
    let mut findings: Vec<Finding> = culprits.iter().map(|culprit| culprit.finding(fan)).collect();
    findings.extend(invalid(fan, facts, &others));
    if findings.is_empty() && !before.iter().any(|finding| finding.check == "firewall") {
        let tables = match others.len() {
            0 => "there is no other firewall".to_string(),
            number => format!(
                "{} of others let the fan's packets pass",
                super::count(number, "table", "tables")
            ),
        };
        findings.push(Finding::passed("firewall", tables));
    }
    findings
}

/// A base chain that drops packets of a fan.
#[derive(Default)]
struct Culprit {
    kinds: Vec<Kind>,
    blames: Vec<Blame>,
    is_certain: bool,
}

impl Culprit {
    fn finding(&self, fan: &Fan) -> Finding {
        let blame = &self.blames[0];
        let what: Vec<String> = self.kinds.iter().map(|kind| kind.describe(fan)).collect();
        let keeper = keeper(blame);
        let who = format!(
            "chain '{}' of {} table '{} {}'",
            blame.base, blame.backend, blame.family, blame.table
        );
        let lasting = keeper.map_or(String::new(), |keeper| keeper.advice(fan));
        let drops = if self.is_certain { "drops" } else { "may drop" };
        let reason = format!("{who} {drops} {}{lasting}", what.join(" and "));
        let evidence = self.blames.iter().map(|blame| match &blame.rule {
            Some(rule) => format!("{}: {}", blame.chain, rule.text),
            None => format!("{}: policy drop, and no rule accepts them", blame.chain),
        });
        let mend = self.kinds.iter().map(|kind| kind.acceptance(fan, blame));
        let finding = if self.is_certain {
            Finding::failed("firewall", reason)
        } else {
            Finding::warned("firewall", reason)
        };
        finding.because(evidence).mended_by(all_of(mend))
    }
}

impl Kind {
    fn describe(self, fan: &Fan) -> String {
        let wrapped = match fan.encapsulation {
            Encapsulation::Ipip => "protocol 4".to_string(),
            Encapsulation::Vxlan => format!("UDP port {}", fan.port),
        };
        match self {
            Self::FromContainers => "what containers send".to_string(),
            Self::ToContainers => "what is sent to containers".to_string(),
            Self::FromHosts => format!("what other hosts send ({wrapped})"),
            Self::ToHosts => format!("what goes to other hosts ({wrapped})"),
            Self::Dhcp => "what asks for an address (DHCP)".to_string(),
        }
    }

    /// The command that accepts such packets at the head of a base chain.
    fn acceptance(self, fan: &Fan, blame: &Blame) -> String {
        let (bridge, underlay) = (&fan.bridge, fan.mapping.underlay());
        match blame.backend {
            Backend::Nftables => {
                let [from, to] = match blame.family.as_str() {
                    "bridge" => ["ibrname", "obrname"],
                    _ => ["iifname", "oifname"],
                };
                let rule = match (self, fan.encapsulation) {
                    (Self::FromContainers, _) => format!("{from} \"{bridge}\""),
                    (Self::ToContainers, _) => format!("{to} \"{bridge}\""),
                    (Self::FromHosts, Encapsulation::Ipip) => format!("ip protocol 4 ip saddr {underlay}"),
                    (Self::ToHosts, Encapsulation::Ipip) => format!("ip protocol 4 ip daddr {underlay}"),
                    (Self::FromHosts, Encapsulation::Vxlan) => format!("ip saddr {underlay} udp dport {}", fan.port),
                    (Self::ToHosts, Encapsulation::Vxlan) => format!("ip daddr {underlay} udp dport {}", fan.port),
                    (Self::Dhcp, _) => format!("{from} \"{bridge}\" udp dport {BOOTPS}"),
                };
                let Blame {
                    family, table, base, ..
                } = blame;
                format!("nft 'insert rule {family} {table} {base} {rule} counter accept'")
            }
            Backend::Legacy => {
                let rule = match (self, fan.encapsulation) {
                    (Self::FromContainers, _) => format!("-i {bridge}"),
                    (Self::ToContainers, _) => format!("-o {bridge}"),
                    (Self::FromHosts, Encapsulation::Ipip) => format!("-p 4 -s {underlay}"),
                    (Self::ToHosts, Encapsulation::Ipip) => format!("-p 4 -d {underlay}"),
                    (Self::FromHosts, Encapsulation::Vxlan) => format!("-s {underlay} -p udp --dport {}", fan.port),
                    (Self::ToHosts, Encapsulation::Vxlan) => format!("-d {underlay} -p udp --dport {}", fan.port),
                    (Self::Dhcp, _) => format!("-i {bridge} -p udp --dport {BOOTPS}"),
                };
                format!("iptables-legacy -t {} -I {} {rule} -j ACCEPT", blame.table, blame.base)
            }
        }
    }
}

/// Software that writes a firewall anew, and so forgets what it was not told.
#[derive(Clone, Copy)]
enum Keeper {
    Firewalld,
    Ufw,
    Docker,
    Kubernetes,
}

fn keeper(blame: &Blame) -> Option<Keeper> {
    let names = [&blame.table, &blame.chain, &blame.base];
    let rule = blame.rule.as_ref().map_or("", |rule| rule.text.as_str());
    let has = |word: &str| names.iter().any(|name| name.contains(word)) || rule.contains(word);
    [
        ("firewalld", Keeper::Firewalld),
        ("ufw", Keeper::Ufw),
        ("KUBE-", Keeper::Kubernetes),
        ("DOCKER", Keeper::Docker),
    ]
    .into_iter()
    .find_map(|(word, keeper)| has(word).then_some(keeper))
}

impl Keeper {
    /// How it is told for good, to follow a sentence.
    fn advice(self, fan: &Fan) -> String {
        let bridge = &fan.bridge;
        let (name, how) = match self {
            Self::Firewalld => (
                "firewalld",
                format!("firewall-cmd --permanent --zone=trusted --add-interface={bridge}"),
            ),
            Self::Ufw => (
                "ufw",
                format!("ufw route allow in on {bridge}; ufw route allow out on {bridge}; or /etc/ufw/before.rules"),
            ),
            Self::Docker => ("Docker", format!("a rule for {bridge} in chain DOCKER-USER")),
            Self::Kubernetes => ("Kubernetes", format!("a rule for {bridge} in front of its chains")),
        };
        format!("; it is {name}'s, and to last it has to be told there: {how}")
    }
}

/// Packets that connection tracking could make nothing of, and that somebody dropped for that: TCP that it saw half of, as
/// with two ways between two hosts. The rule counts, so that it is known whether it ever happened.
fn invalid(fan: &Fan, facts: Facts, others: &[Table]) -> Option<Finding> {
    let forwarded = packets(fan, facts)
        .into_iter()
        .filter(|(kind, packet)| packet.hook == "forward" && *kind == Kind::FromContainers);
    let mut blames = forwarded.filter_map(|(_, packet)| {
        let packet = Packet {
            state: State::Invalid,
            ..packet
        };
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
        super::count(
            usize::try_from(rule.packets.unwrap_or_default()).unwrap_or(usize::MAX),
            "packet",
            "packets"
        )
    );
    let mend = [Kind::FromContainers, Kind::ToContainers]
        .into_iter()
        .map(|kind| kind.acceptance(fan, &blame));
    Some(
        Finding::warned("firewall", reason)
            .because([format!("{}: {}", blame.chain, rule.text)])
            .mended_by(all_of(mend)),
    )
}
