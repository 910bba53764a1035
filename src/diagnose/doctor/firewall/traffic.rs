//! The kinds of packets that a fan needs: what they are called, and the command that accepts them.

use std::net::Ipv4Addr;

use serde::{Serialize, Serializer};

use super::packets::{BOOTPS, DNS};
use crate::diagnose::netfilter::{Backend, Blame};
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::fan::shell::Line;
use crate::shell;

/// A kind of packet that must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrafficKind {
    /// From containers to other slices.
    FromContainers,
    /// From other slices to containers.
    ToContainers,
    /// From containers to those of this host.
    ToSlice(Ipv4Addr),
    /// From containers of this host to those here.
    FromSlice(Ipv4Addr),
    /// From a container to another one of the same bridge.
    BetweenContainers,
    /// From containers to the rest of the world.
    ToWorld,
    /// What is answered from there.
    FromWorld,
    /// From containers to the rest of the world, by a default route that is not the preferred one.
    ToWorldElsewhere,
    /// What is answered by that way.
    FromWorldElsewhere,
    /// Encapsulated, from other hosts.
    FromHosts,
    /// Encapsulated, to other hosts.
    ToHosts,
    /// Encapsulated, from this host of them.
    FromHost(Ipv4Addr),
    /// Encapsulated, to this one.
    ToHost(Ipv4Addr),
    /// ARP on the fan.
    Arp,
    /// ARP on the underlay.
    ArpOfHosts,
    /// From containers that ask for an address, and the answer.
    Dhcp,
    /// From containers that ask for a name, and the answer.
    Dns,
    /// The same by TCP, as for long answers.
    DnsByTcp,
    /// ICMP from the underlay: an encapsulated packet was too large.
    ErrorsFromUnderlay,
    /// ICMP from this host to a container: its packet was too large.
    ErrorsFromGateway,
    /// ICMP from the rest of the world to a container: its packet was too large.
    ErrorsFromWorld,
}

impl TrafficKind {
    /// A stable word for it.
    #[must_use]
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::FromContainers => "from-containers",
            Self::ToContainers => "to-containers",
            Self::ToSlice(_) => "to-slice",
            Self::FromSlice(_) => "from-slice",
            Self::BetweenContainers => "between-containers",
            Self::ToWorld => "to-world",
            Self::FromWorld => "from-world",
            Self::ToWorldElsewhere => "to-world-elsewhere",
            Self::FromWorldElsewhere => "from-world-elsewhere",
            Self::FromHosts => "from-hosts",
            Self::ToHosts => "to-hosts",
            Self::FromHost(_) => "from-host",
            Self::ToHost(_) => "to-host",
            Self::Arp => "arp",
            Self::ArpOfHosts => "arp-of-hosts",
            Self::Dhcp => "dhcp",
            Self::Dns => "dns",
            Self::DnsByTcp => "dns-by-tcp",
            Self::ErrorsFromUnderlay => "errors-from-underlay",
            Self::ErrorsFromGateway => "errors-from-gateway",
            Self::ErrorsFromWorld => "errors-from-world",
        }
    }

    /// The kind of which this one is a part.
    pub(super) fn general(self) -> Option<Self> {
        match self {
            Self::FromHost(_) => Some(Self::FromHosts),
            Self::ToHost(_) => Some(Self::ToHosts),
            Self::ToSlice(_) => Some(Self::FromContainers),
            Self::FromSlice(_) => Some(Self::ToContainers),
            Self::ToWorldElsewhere => Some(Self::ToWorld),
            Self::FromWorldElsewhere => Some(Self::FromWorld),
            _ => None,
        }
    }

    /// Whether nothing works for all without it: the others concern one host, another uplink, or large packets.
    pub(super) fn is_vital(self) -> bool {
        let is_error = matches!(self, Self::ErrorsFromUnderlay | Self::ErrorsFromGateway | Self::ErrorsFromWorld);
        self.general().is_none() && !is_error
    }

    fn is_of_world(self) -> bool {
        let way = self.general().unwrap_or(self);
        matches!(way, Self::ToWorld | Self::FromWorld)
    }

    pub(super) fn describe(self, fan: &Fan) -> String {
        let outer = match fan.options.encapsulation {
            Encapsulation::Ipip => "protocol 4".to_string(),
            Encapsulation::Vxlan | Encapsulation::Wireguard => format!("UDP port {}", fan.carrier_port()),
        };
        match self {
            Self::FromContainers => "what containers send".to_string(),
            Self::ToContainers => "what is sent to containers".to_string(),
            Self::ToSlice(host) => format!("what containers send to those of host {host}"),
            Self::FromSlice(host) => format!("what containers of host {host} send to those here"),
            Self::BetweenContainers => "what containers of this host send each other".to_string(),
            Self::ToWorld => "what containers send to the world".to_string(),
            Self::FromWorld => "what the world answers containers".to_string(),
            Self::ToWorldElsewhere => "what containers send to the world by another default route".to_string(),
            Self::FromWorldElsewhere => "what the world answers containers by another default route".to_string(),
            Self::FromHosts => format!("what other hosts send ({outer})"),
            Self::ToHosts => format!("what goes to other hosts ({outer})"),
            Self::FromHost(host) => format!("what host {host} sends ({outer})"),
            Self::ToHost(host) => format!("what goes to host {host} ({outer})"),
            Self::Arp => "what asks who has an address (ARP)".to_string(),
            Self::ArpOfHosts => format!("what asks which host has an address (ARP on {})", fan.device),
            Self::Dhcp => "what asks for an address (DHCP)".to_string(),
            Self::Dns => "what asks for names (DNS)".to_string(),
            Self::DnsByTcp => "what asks for names by TCP (DNS)".to_string(),
            Self::ErrorsFromUnderlay => {
                "what tells this host that a packet was too large (ICMP from the underlay)".to_string()
            }
            Self::ErrorsFromGateway => {
                "what tells containers that a packet was too large (ICMP of this host)".to_string()
            }
            Self::ErrorsFromWorld => {
                "what tells containers that a packet was too large (ICMP from the world)".to_string()
            }
        }
    }

    /// The command that accepts such packets at the head of a base chain; none where the chain's name cannot be written in nft(8).
    pub(super) fn acceptance(self, fan: &Fan, blame: &Blame) -> Option<Line> {
        match blame.backend {
            Backend::Nftables => self.nftables(fan, blame),
            Backend::Legacy => self.legacy(fan, blame),
        }
    }

    /// The host that it is about, or all.
    fn hosts(self, fan: &Fan) -> String {
        match self {
            Self::FromHost(host) | Self::ToHost(host) => host.to_string(),
            _ => fan.mapping.underlay().to_string(),
        }
    }

    fn nftables(self, fan: &Fan, blame: &Blame) -> Option<Line> {
        let Blame { family, table, base, .. } = blame;
        if blame.is_owned || [family, table, base].into_iter().any(|name| !is_identifier(name)) {
            return None;
        }
        let (bridge, tunnel, hosts) = (&fan.bridge, fan.tunnel(), self.hosts(fan));
        let is_answer = matches!(self, Self::FromWorld | Self::FromWorldElsewhere);
        match blame.hook.as_str() {
            // Which container it is for is not known there yet, and on its way out not any more from which.
            "prerouting" | "ingress" if is_answer => return None,
            "egress" if matches!(self, Self::ToWorld | Self::ToWorldElsewhere) => return None,
            _ => {}
        }
        // Not every kernel knows the bridge of a bridged packet, and the tunnel is a port of none but this one.
        let is_routed = self.is_of_world() || fan.options.encapsulation.is_routed();
        let [from, to] = match family.as_str() {
            "bridge" | "netdev" if is_routed => ["saddr", "daddr"].map(|side| format!("ip {side} {}", fan.slice())),
            "bridge" => [format!("oifname \"{tunnel}\""), format!("iifname \"{tunnel}\"")],
            _ => [format!("iifname \"{bridge}\""), format!("oifname \"{bridge}\"")],
        };
        let insert = |rule: String| {
            let text = format!("insert rule {family} {table} {base} {rule} counter accept");
            shell!("nft {}", text)
        };
        let rule = match (self, fan.options.encapsulation) {
            (Self::ToSlice(host), _) => format!("{from} ip daddr {}", fan.mapping.slice(host)),
            (Self::FromSlice(host), _) => format!("{to} ip saddr {}", fan.mapping.slice(host)),
            (Self::FromContainers | Self::ToWorld | Self::ToWorldElsewhere, _) => from,
            (Self::ToContainers | Self::FromWorld | Self::FromWorldElsewhere, _) => to,
            (Self::BetweenContainers, _) if family == "bridge" => {
                let slice = fan.slice();
                format!("ip saddr {slice} ip daddr {slice}")
            }
            (Self::BetweenContainers, _) => format!("{from} {to}"),
            (Self::FromHosts | Self::FromHost(_), Encapsulation::Ipip) => format!("ip protocol 4 ip saddr {hosts}"),
            (Self::ToHosts | Self::ToHost(_), Encapsulation::Ipip) => format!("ip protocol 4 ip daddr {hosts}"),
            (Self::FromHosts | Self::FromHost(_), Encapsulation::Vxlan | Encapsulation::Wireguard) => {
                format!("ip saddr {hosts} udp dport {}", fan.carrier_port())
            }
            (Self::ToHosts | Self::ToHost(_), Encapsulation::Vxlan | Encapsulation::Wireguard) => {
                format!("ip daddr {hosts} udp dport {}", fan.carrier_port())
            }
            (Self::Arp | Self::ArpOfHosts, _) if family == "arp" => "arp operation { request, reply }".into(),
            (Self::ArpOfHosts, _) => "ether type arp".into(),
            (Self::Arp, _) => {
                let rules = [from, to].map(|way| insert(format!("ether type arp {way}")));
                return Some(Line::all_of(rules));
            }
            // They come in by ports of the bridge, and are to it or from it.
            (Self::Dhcp, _) if family == "bridge" && goes_out(blame) => {
                format!("ip saddr {} udp sport {BOOTPS}", fan.gateway())
            }
            (Self::Dhcp, _) if family == "bridge" => format!("udp dport {BOOTPS}"),
            (Self::Dns | Self::DnsByTcp, _) if family == "bridge" => {
                let (way, side) = if goes_out(blame) { ("saddr", "sport") } else { ("daddr", "dport") };
                format!("ip {way} {} {} {side} {DNS}", fan.gateway(), self.transport())
            }
            (Self::Dhcp, _) if goes_out(blame) => format!("{to} udp sport {BOOTPS}"),
            (Self::Dhcp, _) => format!("{from} udp dport {BOOTPS}"),
            (Self::Dns | Self::DnsByTcp, _) => {
                let (way, side) = if goes_out(blame) { (to, "sport") } else { (from, "dport") };
                format!("{way} {} {side} {DNS}", self.transport())
            }
            (Self::ErrorsFromUnderlay | Self::ErrorsFromGateway | Self::ErrorsFromWorld, _) => {
                "icmp type destination-unreachable".into()
            }
        };
        Some(insert(rule))
    }

    fn legacy(self, fan: &Fan, blame: &Blame) -> Option<Line> {
        let (bridge, hosts) = (&fan.bridge, self.hosts(fan));
        let rule = match (self, fan.options.encapsulation) {
            (Self::ToSlice(host), _) => shell!("-d {} -i {}", fan.mapping.slice(host).to_string(), bridge),
            (Self::FromSlice(host), _) => shell!("-s {} -o {}", fan.mapping.slice(host).to_string(), bridge),
            (Self::FromContainers | Self::ToWorld | Self::ToWorldElsewhere, _) => shell!("-i {}", bridge),
            (Self::ToContainers | Self::FromWorld | Self::FromWorldElsewhere, _) => shell!("-o {}", bridge),
            (Self::BetweenContainers, _) => shell!("-i {} -o {}", bridge, bridge),
            (Self::FromHosts | Self::FromHost(_), Encapsulation::Ipip) => shell!("-p 4 -s {}", hosts),
            (Self::ToHosts | Self::ToHost(_), Encapsulation::Ipip) => shell!("-p 4 -d {}", hosts),
            (Self::FromHosts | Self::FromHost(_), Encapsulation::Vxlan | Encapsulation::Wireguard) => {
                shell!("-s {} -p udp --dport {}", hosts, fan.carrier_port())
            }
            (Self::ToHosts | Self::ToHost(_), Encapsulation::Vxlan | Encapsulation::Wireguard) => {
                shell!("-d {} -p udp --dport {}", hosts, fan.carrier_port())
            }
            // The older tables see nothing of ARP.
            (Self::Arp | Self::ArpOfHosts, _) => Line::default(),
            (Self::Dhcp, _) if goes_out(blame) => shell!("-o {} -p udp --sport {}", bridge, BOOTPS),
            (Self::Dhcp, _) => shell!("-i {} -p udp --dport {}", bridge, BOOTPS),
            (Self::Dns | Self::DnsByTcp, _) if goes_out(blame) => {
                shell!("-o {} -p {} --sport {}", bridge, self.transport(), DNS)
            }
            (Self::Dns | Self::DnsByTcp, _) => shell!("-i {} -p {} --dport {}", bridge, self.transport(), DNS),
            (Self::ErrorsFromUnderlay | Self::ErrorsFromGateway | Self::ErrorsFromWorld, _) => {
                shell!("-p icmp --icmp-type destination-unreachable")
            }
        };
        if blame.base.starts_with('-') {
            return None;
        }
        Some(shell!("iptables-legacy -t {} -I {} {} -j ACCEPT", blame.table, blame.base, rule))
    }

    /// The protocol by which a name is asked for.
    fn transport(self) -> &'static str {
        if self == Self::DnsByTcp { "tcp" } else { "udp" }
    }
}

/// With its code, and with the host where it is about one.
impl Serialize for TrafficKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let host = match self {
            Self::FromHost(host) | Self::ToHost(host) | Self::FromSlice(host) | Self::ToSlice(host) => Some(host),
            _ => None,
        };
        let mut fields = serializer.serialize_struct("TrafficKind", 1 + usize::from(host.is_some()))?;
        fields.serialize_field("kind", self.code())?;
        match host {
            Some(host) => fields.serialize_field("host", host)?,
            None => fields.skip_field("host")?,
        }
        fields.end()
    }
}

/// Whether a chain sees what this host sends.
fn goes_out(blame: &Blame) -> bool {
    matches!(blame.hook.as_str(), "output" | "postrouting" | "egress")
}

/// Whether a name can be written in a rule of nft(8) as it is (`string`, src/scanner.l of nftables 1.0): others, which only its
/// messages to the kernel can make, may be anything.
fn is_identifier(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_inner)
}
