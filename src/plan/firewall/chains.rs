//! The chains of a fan's tables, rule by rule.

mod bridged;
mod inside;

use std::fmt::Write as _;
use std::iter;

use super::{BY_INDEX, ESTABLISHED, FLOWTABLE, GuardRule, OFFLOAD, Ruleset, table_name};
use crate::bpf::fast::NOT_OFFLOADED;
use crate::fan::Fan;
use crate::fan::digest::digest;
use crate::fan::encap::{Encapsulation, SourcePorts};
use crate::fan::name::InterfaceName;

/// In front of a port of UDP: read from the header, in half the instructions of the `meta l4proto` that nft takes otherwise.
const UDP: &str = "ip protocol udp";

/// The tables of a fan.
///
/// `guard` runs before connection tracking (priority -300), and drops packets from outside the fan with a source or destination
/// in the overlay. Replies to masqueraded connections and packets for published ports still have the host's address there, so
/// they pass. Without masquerading, replies have the container's address, and only connection tracking knows them: `answers`
/// runs after it and after destination NAT (-100). There an ICMP error, from any sender, belongs to the connection that it
/// quotes.
///
/// What comes by the fan's own devices goes to `containers` and `others`: see `chains/inside.rs`.
///
/// `underlay` is for what is encapsulated already, for a host of the underlay: it must come from one, by the underlay's interface
/// (the first rule of `guard` accepts that at once, as all that hosts say to each other) or a way that leads back to it. A
/// container could write such a packet itself, and it would be decapsulated only where it had arrived. A fan over WireGuard whose
/// hosts are behind NAT or have numbers has no such chain.
///
/// `routed` sees what destination NAT or a source route has turned behind the guard's back, and `input` the same of what is for
/// the host. `no_snat` translates the source of what goes to other slices into itself: the kernel translates a connection once, so
/// that no later chain (priority 100) masquerades it; and so of what is encapsulated for a host, which masquerading by another chain
/// would make a packet of this host's containers. `nat` lets containers reach what the host reaches; what connection tracking calls
/// invalid passes no such chain, so `leaving` drops it.
///
/// `established` offloads, over IPIP, connections that all chains of the host accepted in both directions to a flowtable between
/// bridge and tunnel, which skips routing and all chains: a TCP connection once it is established, one of UDP once it was
/// answered. Each packet is still checked against the MTU, its TTL is decremented, and the programs see it.
/// `not_offloaded` marks for the fast path, in a bit of the priority that nobody uses, what did not go by the flowtable.
///
/// The table of family `bridge` is for what containers say to their host and to each other: see `chains/bridged.rs`.
///
/// Every packet passes these chains, so what most of them need stands first, and what is dear to ask last.
#[must_use]
pub fn ruleset(fan: &Fan, sources: SourcePorts) -> Ruleset {
    let (overlay, slice, bridge) = (fan.overlay(), fan.slice(), &fan.bridge);
    let underlay = fan.mapping.underlay();
    let carrier = match fan.options.encapsulation {
        Encapsulation::Ipip => "ip protocol 4".to_string(),
        Encapsulation::Vxlan => format!("{UDP} udp dport {}", fan.port()),
        Encapsulation::Wireguard => format!("{UDP} udp dport {{ {}, {} }}", fan.port_of(0), fan.port_of(1)),
    };
    let encapsulated = format!("ip daddr {underlay} {carrier} goto underlay");
    let between_hosts = format!("{BY_INDEX}{}\" ip saddr {underlay} ip daddr {underlay} accept", fan.device);
    // Behind NAT a host has another address, and numbers of hosts are no addresses at all: WireGuard knows who speaks.
    let encapsulated = (!fan.is_reached_from_elsewhere()).then_some(encapsulated);
    let mut guard = Vec::new();
    if let Some(encapsulated) = &encapsulated {
        guard =
            vec![("between hosts", between_hosts), (GuardRule::EncapsulatedForAHost.as_str(), encapsulated.clone())];
    }
    guard.extend(inside::entry(fan));
    guard.push((GuardRule::ForeignSources.as_str(), format!("ip saddr {overlay} counter drop")));
    if fan.options.nat {
        guard.push((GuardRule::ForeignPackets.as_str(), format!("ip daddr {overlay} counter drop")));
    }

    let mut script = format!("table ip {} {{\n", table_name(overlay));
    let raw = "type filter hook prerouting priority -300; policy accept;";
    chain(&mut script, "guard", raw, &guard);
    if encapsulated.is_some() {
        let rules = [
            (GuardRule::EncapsulatedByNoHost.as_str(), format!("ip saddr != {underlay} counter drop")),
            ("from the underlay", from(&fan.device)),
            ("from the underlay", from_namesake(&format!("\"{}\"", fan.device))),
            (GuardRule::EncapsulatedByAnotherWay.as_str(), "fib saddr . iif oif 0 counter drop".into()),
        ];
        chain(&mut script, "underlay", "", &rules);
    }
    inside::chains(fan, sources, &mut script);
    if !fan.options.nat {
        let among_ourselves = format!("ct original ip saddr {overlay} ct original ip daddr {overlay} counter drop");
        let mut answers = from_the_fan(fan);
        answers.extend([
            ("not ours", format!("ip daddr != {overlay} accept")),
            (GuardRule::AboutOurOwn.as_str(), among_ourselves),
            ("replies", "ct state established,related accept".into()),
            ("published ports", "ct status dnat accept".into()),
            (GuardRule::ForeignPackets.as_str(), "counter drop".into()),
        ]);
        let hook = "type filter hook prerouting priority -90; policy accept;";
        chain(&mut script, "answers", hook, &answers);
    }
    let masqueraded = format!("ip daddr {underlay} {carrier} ct status snat counter drop");
    routed(fan, encapsulated, masqueraded, &mut script);
    established(fan, &mut script);
    let unchanged = format!("ip saddr {slice} ip daddr {overlay} ip daddr != {slice} counter snat to ip saddr");
    let hook = "type nat hook postrouting priority 90; policy accept;";
    let as_it_is = format!("ip daddr {underlay} {carrier} counter snat to ip saddr");
    chain(&mut script, "no_snat", hook, &[("between slices", unchanged), ("encapsulated", as_it_is)]);
    if fan.options.nat {
        let masquerade = format!("ip saddr {slice} ip daddr != {overlay} oifname != \"{bridge}\" counter masquerade");
        let hook = "type nat hook postrouting priority 100; policy accept;";
        chain(&mut script, "nat", hook, &[("leaving", masquerade)]);
    }
    script.push_str("}\n");
    let fallbacks = bridged::table(fan, &mut script);
    Ruleset::new(script).with_fallbacks(fallbacks)
}

/// The devices by which what is in the fan travels: the bridge, and the tunnel, except that what comes by VXLAN comes from the
/// bridge too.
fn devices(fan: &Fan) -> impl Iterator<Item = InterfaceName> {
    let tunnels: Vec<_> = fan.tunnels().filter(|_| fan.options.encapsulation.is_routed()).collect();
    iter::once(fan.bridge.clone()).chain(tunnels)
}

/// Accepts packets from those devices and from the host itself.
fn from_the_fan(fan: &Fan) -> Vec<(&'static str, String)> {
    let by_name = from_namesake(&format!("{{ \"lo\", {} }}", list(fan)));
    let rules = devices(fan).map(|device| from(&device)).chain([by_name]);
    rules.map(|rule| ("from the fan", rule)).collect()
}

/// Lets pass what comes by a device, asking for its index, which is ten times as fast as asking for its name
/// (docs/bench/notes.md). A device that was made anew since has another, and its packets pass by [`from_namesake`]. The old one
/// goes to no device but one that is made with it or brings it from another namespace (`dev_index_reserve`,
/// `__dev_change_net_namespace`, net/core/dev.c at v6.12): the tables then differ from ours (see [`Ruleset`]).
fn from(device: &InterfaceName) -> String {
    format!("{BY_INDEX}{device}\" accept")
}

/// Lets pass what comes by a device of this name, or of one in a set.
fn from_namesake(names: &str) -> String {
    format!("iifname {names} accept")
}

fn list(fan: &Fan) -> String {
    let quoted = devices(fan).map(|device| format!("\"{device}\""));
    quoted.collect::<Vec<_>>().join(", ")
}

/// A forwarded packet whose destination is this host has a source route (`ip_options_rcv_srr`, net/ipv4/ip_options.c at v6.12,
/// writes the next destination only when the packet leaves). It is matched by `fib`: `ip option lsrr` misses a source route of
/// which a part has been travelled.
///
/// What destination NAT has made for a host of the underlay was not for one when the guard saw it. Only the first packet of a
/// connection passes `input`, and no other does if that one was dropped.
///
/// A connection that another chain masqueraded before this fan was up goes on being masqueraded.
fn routed(fan: &Fan, encapsulated: Option<String>, masqueraded: String, script: &mut String) {
    let (overlay, underlay, bridge) = (fan.overlay(), fan.mapping.underlay(), &fan.bridge);
    let for_a_host = encapsulated.map(|encapsulated| ("for a host by translation", encapsulated));
    let mut leaving = vec![(GuardRule::Masqueraded.as_str(), masqueraded)];
    leaving.extend(for_a_host);
    let by_translation = format!("iifname \"{bridge}\" ip daddr {underlay} jump encap");
    leaving.push(("encapsulated by translation", by_translation));
    if fan.options.nat {
        // Neither is translated: NAT sees only what connection tracking follows.
        let (slice, invalid) = (fan.slice(), "ct state invalid,untracked");
        let rule = format!("ip saddr {slice} oifname != \"{bridge}\" {invalid} drop");
        leaving.push(("invalid", rule));
    }
    chain(script, "leaving", "", &leaving);
    let by_sender = |way| {
        let rule = format!("{way} {{ {} }} counter drop", list(fan));
        (GuardRule::RoutedByItsSender.as_str(), rule)
    };
    chain(script, "by_sender", "", &["iifname", "oifname"].map(by_sender));
    let rules = [
        ("leaving", format!("ip daddr != {overlay} jump leaving")),
        ("by its sender", "ip hdrlength > 5 fib daddr type local goto by_sender".to_string()),
    ];
    let hook = "type filter hook forward priority -90; policy accept;";
    chain(script, "routed", hook, &rules);
    let to_the_host = format!("iifname \"{bridge}\" jump encap");
    let hook = "type nat hook input priority 100; policy accept;";
    chain(script, "input", hook, &[("encapsulated for the host", to_the_host)]);
}

/// All chains of the host accepted a reply that reaches this chain, and a packet in the original direction before it: a
/// flowtable takes both directions at once, and of UDP after the first packet. It also translates what destination NAT
/// translates.
fn established(fan: &Fan, script: &mut String) {
    if fan.options.encapsulation != Encapsulation::Ipip || !fan.options.flowtable {
        return;
    }
    let overlay = fan.overlay();
    let _ = write!(
        script,
        "\tflowtable {FLOWTABLE} {{\n\t\thook ingress priority 0\n\t\tdevices = {{ {} }}\n\t}}\n",
        list(fan)
    );
    let between = format!("ct direction reply ip saddr {overlay} ip daddr {overlay} {OFFLOAD}");
    let hook = "type filter hook forward priority 300; policy accept;";
    chain(script, ESTABLISHED, hook, &[("between slices", between)]);
    if fan.options.fast {
        // Behind whatever else may set a priority; the record of the fast path takes the bit away again.
        let rule =
            format!("ip saddr {overlay} ip daddr {overlay} meta priority set meta priority | {NOT_OFFLOADED:#x}");
        let hook = "type filter hook postrouting priority 400; policy accept;";
        chain(script, "not_offloaded", hook, &[("not by the flowtable", rule)]);
    }
}

/// Writes a chain; without a hook it is one that others lead to. A rule's digest covers the hook, which nft prints in ways
/// that differ.
fn chain(script: &mut String, name: &str, hook: &str, rules: &[(&str, String)]) {
    // Writing to a string cannot fail.
    let _ = writeln!(script, "\tchain {name} {{");
    if !hook.is_empty() {
        let _ = writeln!(script, "\t\t{hook}");
    }
    for (what, rule) in rules {
        let mark = digest(format!("{hook} {rule}").as_bytes());
        let _ = writeln!(script, "\t\t{} comment \"{what} {mark}\"", rule.trim_end());
    }
    script.push_str("\t}\n");
}
