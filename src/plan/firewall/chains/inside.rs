//! Packets from the fan's own devices, in family `ip`: which sources are accepted, and what containers may not send.
//!
//! `containers` sees what the bridge hands to the host, which over VXLAN includes what came from other hosts; `others` what comes
//! by a tunnel of IPIP or WireGuard. A port of the bridge that is attached later needs no rule of its own here, and no other bridge of the
//! host is concerned.
//!
//! `encap` is for what a container has encapsulated itself, for whatever fan or other network: no such packet reaches a host of
//! the underlay, and none the host itself at any of its addresses. The chain `input` asks again behind destination NAT, but it is a
//! chain of NAT, which a packet that connection tracking does not follow (`notrack`) never enters. `errors` is for ICMP errors: the host believes them about what it sends itself, encapsulated packets included, so
//! one must quote a packet that a container here can have received.
//!
//! `output` is for what processes of the host encapsulate themselves. The kernel sends from [source
//! ports](crate::fan::encap::SOURCE_PORTS) that take `CAP_NET_BIND_SERVICE`. An encapsulated packet keeps the socket of the process that
//! sent the inner one, so its user says nothing.

use std::fmt::Write as _;

use super::super::{BY_INDEX, GuardRule};
use super::{UDP, chain};
use crate::fan::Fan;
use crate::fan::encap::{Encapsulation, SourcePorts, VXLAN_PORT};

/// The port of VXLAN in RFC 7348, which other networks on the same hosts may use.
const IANA_VXLAN_PORT: u16 = 4789;

/// A source port of 1024 and more, by bits of four bytes: the kernel compares those in place, and sizes by a call.
const UNPRIVILEGED: &str = "@th,0,32 & 0xfc000000 != 0";

/// ICMP errors (RFC 792).
const ERRORS: &str = "destination-unreachable, source-quench, redirect, time-exceeded, parameter-problem";

/// The smallest MTU in bytes that a container may tell hosts of the underlay: what IPv6 asks of every link (RFC 8200, section 5).
/// A packet that leads there was translated, so the host at the other end takes it for one about the whole way to this host.
const SMALLEST_TOLD: u32 = 1280;

/// The rules of `guard` that lead here.
pub(super) fn entry(fan: &Fan) -> Vec<(&'static str, String)> {
    let bridge = &fan.bridge;
    let mut rules = vec![("from the fan", format!("{BY_INDEX}{bridge}\" goto containers"))];
    let mut names = format!("\"lo\" : accept, \"{bridge}\" : goto containers");
    for tunnel in fan.tunnels().filter(|_| fan.options.encapsulation.is_routed()) {
        rules.push(("from the fan", format!("{BY_INDEX}{tunnel}\" goto others")));
        let _ = write!(names, ", \"{tunnel}\" : goto others");
    }
    rules.push(("from the fan", format!("iifname vmap {{ {names} }}")));
    rules
}

/// The chains.
pub(super) fn chains(fan: &Fan, sources: SourcePorts, script: &mut String) {
    let (overlay, underlay, slice) = (fan.overlay(), fan.mapping.underlay(), fan.slice());
    encap(fan, script);
    errors(fan, script);
    let source = match fan.options.encapsulation {
        Encapsulation::Ipip | Encapsulation::Wireguard => slice.to_string(),
        Encapsulation::Vxlan => overlay.to_string(),
    };
    let about = format!("ip protocol icmp icmp type {{ {ERRORS} }} jump errors");
    let mut containers = vec![("errors", about.clone())];
    let mut others = vec![("errors", about)];
    if fan.options.dhcp {
        let gateway = fan.gateway();
        let foreign = format!("ip saddr {overlay} ip saddr != {slice}");
        let rule =
            format!("ip daddr {gateway} {foreign} meta l4proto {{ tcp, udp }} th dport {{ 53, 67 }} counter drop");
        let rules = match fan.options.encapsulation {
            Encapsulation::Ipip | Encapsulation::Wireguard => &mut others,
            Encapsulation::Vxlan => &mut containers,
        };
        rules.push((GuardRule::DnsOfAnotherSlice.as_str(), rule));
    }
    let (ports, here) = (encapsulating_ports(fan), "fib daddr type local jump encap");
    let for_the_host = [
        ("encapsulated for the host", format!("ip protocol 4 {here}")),
        ("encapsulated for the host", format!("udp dport {ports} {here}")),
    ];
    others.extend(for_the_host.clone());
    others.push(("of other hosts", "accept".into()));
    containers.extend(for_the_host);
    if fan.options.fast {
        // Bridged, where bridges ask these chains too (`net.bridge.bridge-nf-call-iptables`): at other ports the table of family
        // bridge has refused it.
        let rule = format!("ip saddr {overlay} ip saddr != {slice} ip daddr {slice} fib daddr type != local accept");
        containers.push(("by the fast path", rule));
    }
    containers.extend([
        ("inside the overlay", format!("ip saddr {source} ip daddr {overlay} accept")),
        ("encapsulated", format!("ip daddr {underlay} jump encap")),
        ("of the slice", format!("ip saddr {source} accept")),
    ]);
    if let Some(subnets) = fan.options.routed.set() {
        containers.push(("routed subnets", format!("ip saddr {subnets} accept")));
    }
    containers.extend([
        ("dhcp", "ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept".into()),
        ("no address yet", "ip saddr 0.0.0.0 drop".into()),
        (GuardRule::ForeignAddresses.as_str(), "counter drop".into()),
    ]);
    chain(script, "containers", "", &containers);
    match (fan.options.encapsulation, sources) {
        (Encapsulation::Ipip | Encapsulation::Wireguard, _) => chain(script, "others", "", &others),
        (Encapsulation::Vxlan, SourcePorts::Any) => {}
        (Encapsulation::Vxlan, SourcePorts::Privileged) => {
            let port = fan.port();
            let rule = format!("{UDP} {UNPRIVILEGED} udp dport {port} ip daddr {underlay} counter drop");
            let hook = "type filter hook output priority -90; policy accept;";
            chain(script, "output", hook, &[(GuardRule::EncapsulatedByAProcess.as_str(), rule)]);
        }
    }
}

/// The UDP ports that receive encapsulated packets, as a set of nft.
fn encapsulating_ports(fan: &Fan) -> String {
    let mut ports = vec![IANA_VXLAN_PORT, VXLAN_PORT];
    ports.extend(fan.ports());
    ports.sort_unstable();
    ports.dedup();
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    format!("{{ {} }}", ports.join(", "))
}

fn encap(fan: &Fan, script: &mut String) {
    let rules = [
        (GuardRule::EncapsulatedInIpip.as_str(), "ip protocol 4 counter drop".to_string()),
        (GuardRule::EncapsulatedInVxlan.as_str(), format!("udp dport {} counter drop", encapsulating_ports(fan))),
    ];
    chain(script, "encap", "", &rules);
}

/// Errors for containers pass: a container takes them as from any router. The destination of the packet that an error quotes
/// stands 24 bytes behind the ICMP header's first, in a quoted header of any length.
fn errors(fan: &Fan, script: &mut String) {
    let (overlay, slice) = (fan.overlay(), fan.slice());
    let about = |network: ipnetwork::Ipv4Network| {
        let (mask, base) = (u32::from(network.mask()), u32::from(network.network()));
        format!("@th,192,32 & {mask:#010x} == {base:#010x}")
    };
    let foreign = format!("ip saddr {overlay} ip saddr != {slice}");
    let small = format!("icmp type destination-unreachable icmp code 4 icmp mtu < {SMALLEST_TOLD}");
    let mut rules = vec![
        ("errors for containers", format!("ip daddr {overlay} fib daddr type != local return")),
        (GuardRule::ErrorsThatRedirect.as_str(), "icmp type { source-quench, redirect } counter drop".into()),
        (GuardRule::ErrorsOfOtherHosts.as_str(), format!("{foreign} {} return", about(overlay.network()))),
        (GuardRule::ErrorsOfOtherHosts.as_str(), format!("{foreign} counter drop")),
    ];
    let mut told = |what, network| {
        let (about, outside) = (about(network), format!("ip daddr != {overlay}"));
        rules.push((GuardRule::ErrorsAboutASmallMtu.as_str(), format!("{about} {outside} {small} counter drop")));
        rules.push((what, format!("{about} return")));
    };
    told("errors about the slice", slice);
    for subnet in fan.options.routed.subnets() {
        told("errors about a routed subnet", *subnet);
    }
    rules.push((GuardRule::ErrorsAboutOthers.as_str(), "counter drop".into()));
    chain(script, "errors", "", &rules);
}
