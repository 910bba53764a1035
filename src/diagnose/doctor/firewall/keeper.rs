//! Software that writes a firewall anew, and so forgets what it was not told: how it is told, for each kind of packet.

use super::TrafficKind;
use super::packets::{BOOTPS, DNS};
use crate::diagnose::doctor::Facts;
use crate::diagnose::netfilter::{Blame, Field, Match, PacketVerdict, Value};
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::fan::shell::Line;
use crate::shell;

/// Who writes it.
#[derive(Clone, Copy)]
pub(super) enum Keeper {
    Firewalld,
    Ufw,
    Docker,
    Kubernetes,
}

impl Keeper {
    /// Whose the chain is that drops a packet, by its name and those around it.
    pub(super) fn of(blame: &Blame) -> Option<Self> {
        let names = [&blame.table, &blame.chain, &blame.base];
        let rule = blame.rule.as_ref().map_or("", |rule| rule.text.as_str());
        let has = |word: &str| names.iter().any(|name| name.contains(word)) || rule.contains(word);
        [("firewalld", Self::Firewalld), ("ufw", Self::Ufw), ("KUBE-", Self::Kubernetes), ("DOCKER", Self::Docker)]
            .into_iter()
            .find_map(|(word, keeper)| has(word).then_some(keeper))
    }

    /// How it is told for good of these kinds of packets, to follow a sentence.
    pub(super) fn advice(self, kinds: &[TrafficKind], fan: &Fan, facts: Facts) -> String {
        let bridge = &fan.bridge;
        let mut lasting: Vec<String> = Vec::new();
        for line in kinds.iter().filter_map(|kind| self.lasting(*kind, fan, facts)).map(|line| line.to_string()) {
            if !lasting.contains(&line) {
                lasting.push(line);
            }
        }
        let name = match self {
            Self::Firewalld => "firewalld",
            Self::Ufw => "ufw",
            Self::Docker => "Docker",
            Self::Kubernetes => "Kubernetes",
        };
        let how = match self {
            Self::Docker => format!("a rule for {bridge} in chain DOCKER-USER"),
            Self::Kubernetes => format!("a rule for {bridge} in front of its chains"),
            Self::Firewalld | Self::Ufw if !lasting.is_empty() => lasting.join("; "),
            Self::Firewalld => "a policy or rich rule for such packets".into(),
            Self::Ufw => "a rule for such packets in /etc/ufw/before.rules".into(),
        };
        format!("; it is {name}'s, and to last it has to be told there: {how}")
    }

    /// The commands that accept packets of a kind at once and for good; none where it has none for such packets.
    pub(super) fn commands(self, kind: TrafficKind, fan: &Fan, facts: Facts) -> Option<Line> {
        match self {
            Self::Firewalld => {
                let words = firewalld(kind, fan, facts)?;
                let [now, lasting] = [shell!("firewall-cmd"), shell!("firewall-cmd --permanent")];
                let both = [now, lasting]
                    .into_iter()
                    .flat_map(|begin| words.iter().map(move |words| begin.clone().then(words)).collect::<Vec<_>>());
                Some(Line::all_of(both))
            }
            Self::Ufw => self.lasting(kind, fan, facts),
            Self::Docker | Self::Kubernetes => None,
        }
    }

    /// The commands that accept them for good.
    fn lasting(self, kind: TrafficKind, fan: &Fan, facts: Facts) -> Option<Line> {
        match self {
            Self::Firewalld => {
                let lines = firewalld(kind, fan, facts)?.into_iter();
                Some(Line::all_of(lines.map(|words| shell!("firewall-cmd --permanent").then(&words))))
            }
            Self::Ufw => ufw(kind, fan),
            Self::Docker | Self::Kubernetes => None,
        }
    }
}

/// The options of firewall-cmd(1), a command each. What other hosts send comes in by the zone of the underlay's interface; the
/// fan's own interfaces belong into the zone that trusts all.
fn firewalld(kind: TrafficKind, fan: &Fan, facts: Facts) -> Option<Vec<Line>> {
    match kind {
        TrafficKind::FromHosts | TrafficKind::FromHost(_) => {
            let zone = zone(fan, facts).map_or_else(Line::default, |zone| shell!(" --zone={}", zone));
            Some(vec![match fan.options.encapsulation {
                Encapsulation::Vxlan => zone.then(&shell!(" --add-port={}/udp", fan.port())),
                Encapsulation::Wireguard => {
                    zone.then(&shell!(" --add-port={}/udp --add-port={}/udp", fan.port_of(0), fan.port_of(1)))
                }
                Encapsulation::Ipip => zone.then(&shell!(" --add-protocol=4")),
            }])
        }
        TrafficKind::FromContainers
        | TrafficKind::ToContainers
        | TrafficKind::ToSlice(_)
        | TrafficKind::FromSlice(_)
        | TrafficKind::BetweenContainers
        | TrafficKind::ToWorld
        | TrafficKind::FromWorld
        | TrafficKind::ToWorldElsewhere
        | TrafficKind::FromWorldElsewhere
        | TrafficKind::ErrorsFromWorld
        | TrafficKind::Dhcp
        | TrafficKind::Dns
        | TrafficKind::DnsByTcp => {
            let mut devices = vec![fan.bridge.clone()];
            devices.extend(fan.tunnels().filter(|_| fan.options.encapsulation.is_routed()));
            Some(devices.iter().map(|device| shell!(" --zone=trusted --add-interface={}", device)).collect())
        }
        TrafficKind::ToHosts
        | TrafficKind::ToHost(_)
        | TrafficKind::Arp
        | TrafficKind::ArpOfHosts
        | TrafficKind::ErrorsFromUnderlay
        | TrafficKind::ErrorsFromGateway => None,
    }
}

/// firewalld's zone of the underlay's interface: its chains are called `filter_IN_ZONE`. None for the default one.
fn zone(fan: &Fan, facts: Facts) -> Option<String> {
    let tables = facts.health.tables.iter().filter(|table| table.name == "firewalld");
    let mut rules = tables.flat_map(|table| table.chains.values()).flat_map(|chain| &chain.rules);
    rules.find_map(|rule| {
        let device = Value::Word(fan.device.to_string());
        let is_about = |condition: &Match| {
            matches!(condition, Match::Field { field: Field::In, negated: false, values } if values.contains(&device))
        };
        let (PacketVerdict::Goto(chain) | PacketVerdict::Jump(chain)) = rule.verdict.as_ref()? else { return None };
        let zone = chain.strip_prefix("filter_IN_").filter(|zone| !zone.starts_with("policy_"))?;
        rule.matches.iter().any(is_about).then(|| zone.to_string())
    })
}

/// A command of ufw(8); none where it knows no such packets.
fn ufw(kind: TrafficKind, fan: &Fan) -> Option<Line> {
    let (bridge, underlay) = (&fan.bridge, fan.mapping.underlay());
    Some(match (kind, fan.options.encapsulation) {
        (TrafficKind::FromHosts, Encapsulation::Vxlan | Encapsulation::Wireguard) => {
            shell!("ufw allow proto udp from {} to any port {}", underlay, fan.carrier_port())
        }
        (TrafficKind::FromHost(host), Encapsulation::Vxlan | Encapsulation::Wireguard) => {
            shell!("ufw insert 1 allow proto udp from {} to any port {}", host, fan.carrier_port())
        }
        (TrafficKind::ToHosts, Encapsulation::Vxlan | Encapsulation::Wireguard) => {
            shell!("ufw allow out proto udp to {} port {}", underlay, fan.carrier_port())
        }
        (TrafficKind::ToHost(host), Encapsulation::Vxlan | Encapsulation::Wireguard) => {
            shell!("ufw insert 1 allow out proto udp to {} port {}", host, fan.carrier_port())
        }
        (TrafficKind::FromContainers | TrafficKind::ToWorld | TrafficKind::ToWorldElsewhere, _) => {
            shell!("ufw route allow in on {}", bridge)
        }
        (TrafficKind::ToContainers | TrafficKind::FromWorld | TrafficKind::FromWorldElsewhere, _) => {
            shell!("ufw route allow out on {}", bridge)
        }
        (TrafficKind::ToSlice(host), _) => {
            shell!("ufw route insert 1 allow in on {} to {}", bridge, fan.mapping.slice(host).to_string())
        }
        (TrafficKind::FromSlice(host), _) => {
            shell!("ufw route insert 1 allow out on {} from {}", bridge, fan.mapping.slice(host).to_string())
        }
        (TrafficKind::BetweenContainers, _) => shell!("ufw route allow in on {} out on {}", bridge, bridge),
        (TrafficKind::Dhcp, _) => shell!("ufw allow in on {} proto udp to any port {}", bridge, BOOTPS),
        (TrafficKind::Dns | TrafficKind::DnsByTcp, _) => shell!("ufw allow in on {} to any port {}", bridge, DNS),
        // Its own rules know neither protocol 4, nor ICMP, nor ARP (ufw(8)).
        (
            TrafficKind::FromHosts | TrafficKind::FromHost(_) | TrafficKind::ToHosts | TrafficKind::ToHost(_),
            Encapsulation::Ipip,
        )
        | (
            TrafficKind::ErrorsFromUnderlay
            | TrafficKind::ErrorsFromGateway
            | TrafficKind::ErrorsFromWorld
            | TrafficKind::Arp
            | TrafficKind::ArpOfHosts,
            _,
        ) => return None,
    })
}
