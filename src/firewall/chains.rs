//! The chains of a fan's tables, rule by rule.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::{FLOWTABLE, HERE, OFFLOAD, Ruleset, table_name};
use crate::digest::digest;
use crate::encap::Encapsulation;
use crate::fan::Fan;

/// The tables of a fan.
///
/// `guard` keeps everybody else out. It stands in front of connection tracking (priority -300), where packets are still as
/// they came: what has an address of the overlay there is for the fan itself, and may come only from it. Replies to what was
/// masqueraded, and what somebody's destination NAT sends into the overlay, have the host's address yet. Where nobody
/// masquerades, replies have the container's, and only connection tracking knows them: `answers` stands behind it and behind
/// destination NAT (-100). There an ICMP error belongs to the conversation that it quotes, whoever sent it.
///
/// `wrapped` is for what is wrapped already, for a host of the underlay: it must come from one, by the underlay's interface
/// or a way that leads back to it. A container could write such a packet itself, and nobody would look inside before it had
/// arrived.
///
/// `routed` sees what destination NAT or a source route has turned behind the guard's back. `genuine` translates what goes to other slices into
/// what it is: the kernel translates a connection once, so that nobody who comes later (priority 100) masquerades it. `nat`
/// lets containers reach what the host reaches.
///
/// `established` leads over IPIP what every chain of the host has let pass in both directions, its own being the last, from
/// bridge to tunnel and back by the kernel's flowtable, past routing and all chains: a connection of TCP once it stands, one of
/// UDP once it was answered. Each packet is still measured against the MTU, loses a hop, and is seen by the programs.
///
/// `ports` is for what containers say to their host and to each other: what enters a bridge by a port, other than a tunnel
/// of the fan, says neither that it comes from another slice nor that it comes from the host.
///
/// Every packet passes these chains, so what most of them need stands first, and what is dear to ask last.
#[must_use]
pub fn ruleset(fan: &Fan) -> Ruleset {
    let (overlay, slice, bridge) = (fan.overlay(), fan.slice(), &fan.bridge);
    let underlay = fan.mapping.underlay();
    let wrapped = match fan.encapsulation {
        Encapsulation::Ipip => format!("ip protocol 4 ip daddr {underlay} goto wrapped"),
        Encapsulation::Vxlan => format!("udp dport {} ip daddr {underlay} goto wrapped", fan.port),
    };
    let from_the_fan = format!("iifname {{ \"lo\", {} }} accept", devices(fan));
    let mut guard = vec![
        ("wrapped for a host", wrapped.clone()),
        ("from the fan", from_the_fan.clone()),
        ("foreign sources", format!("ip saddr {overlay} counter drop")),
    ];
    if fan.nat {
        guard.push(("foreign packets", format!("ip daddr {overlay} counter drop")));
    }

    let mut script = format!("table ip {} {{\n", table_name(overlay));
    let raw = "type filter hook prerouting priority -300; policy accept;";
    chain(&mut script, "guard", raw, &guard);
    chain(
        &mut script,
        "wrapped",
        "",
        &[
            ("wrapped by no host", format!("ip saddr != {underlay} counter drop")),
            ("from the underlay", format!("iifname \"{}\" accept", fan.device)),
            ("wrapped by another", "fib saddr . iif oif 0 counter drop".into()),
        ],
    );
    if !fan.nat {
        let among_ourselves = format!("ct original ip saddr {overlay} ct original ip daddr {overlay} counter drop");
        let answers = [
            ("from the fan", from_the_fan),
            ("not ours", format!("ip daddr != {overlay} accept")),
            ("about our own", among_ourselves),
            ("replies", "ct state established,related accept".into()),
            ("published ports", "ct status dnat accept".into()),
            ("foreign packets", "counter drop".into()),
        ];
        let hook = "type filter hook prerouting priority -90; policy accept;";
        chain(&mut script, "answers", hook, &answers);
    }
    routed(fan, wrapped, &mut script);
    established(fan, &mut script);
    let genuine = format!("ip saddr {slice} ip daddr {overlay} ip daddr != {slice} counter snat to ip saddr");
    let hook = "type nat hook postrouting priority 90; policy accept;";
    chain(&mut script, "genuine", hook, &[("between slices", genuine)]);
    if fan.nat {
        let masquerade = format!("ip saddr {slice} ip daddr != {overlay} oifname != \"{bridge}\" counter masquerade");
        let hook = "type nat hook postrouting priority 100; policy accept;";
        chain(&mut script, "nat", hook, &[("leaving", masquerade)]);
    }
    let _ = write!(script, "}}\ntable bridge {} {{\n", table_name(overlay));
    let hook = "type filter hook prerouting priority -200; policy accept;";
    chain(&mut script, "ports", hook, &ports(fan));
    script.push_str("}\n");
    Ruleset::new(script)
}

/// The interfaces by which what is in the fan travels, as in a set of nft: the bridge, and the tunnel, except that what comes
/// by VXLAN comes from the bridge too.
fn devices(fan: &Fan) -> String {
    match fan.encapsulation {
        Encapsulation::Ipip => format!("\"{}\", \"{}\"", fan.bridge, fan.tunnel()),
        Encapsulation::Vxlan => format!("\"{}\"", fan.bridge),
    }
}

/// What is forwarded though its destination is the host itself goes where its sender wants it (`ip_options_rcv_srr`,
/// net/ipv4/ip_options.c at v6.12, which writes the next destination only when the packet leaves). That is asked of the route
/// and not of the option: `ip option lsrr` finds no source route of which a part has been travelled.
///
/// What destination NAT has made for a host of the underlay is wrapped for it now, and was not when the guard saw it.
fn routed(fan: &Fan, wrapped: String, script: &mut String) {
    let by_sender = |way| {
        let rule = format!("{way} {{ {} }} counter drop", devices(fan));
        ("routed by its sender", rule)
    };
    let rule = "ip hdrlength > 5 fib daddr type local goto by_sender".to_string();
    let hook = "type filter hook forward priority -90; policy accept;";
    chain(
        script,
        "routed",
        hook,
        &[("wrapped by translation", wrapped), ("by its sender", rule)],
    );
    chain(script, "by_sender", "", &["iifname", "oifname"].map(by_sender));
}

/// A packet in the direction of replies that comes as far as this has passed every chain, and so has one before it in the
/// other: a flowtable opens both at once, and asks of UDP no more than a first packet. What destination NAT has translated
/// the flowtable translates as well.
fn established(fan: &Fan, script: &mut String) {
    if fan.encapsulation != Encapsulation::Ipip || !fan.flowtable {
        return;
    }
    let overlay = fan.overlay();
    let _ = write!(
        script,
        "\tflowtable {FLOWTABLE} {{\n\t\thook ingress priority 0\n\t\tdevices = {{ {} }}\n\t}}\n",
        devices(fan)
    );
    let between = format!("ip saddr {overlay} ip daddr {overlay} ct direction reply {OFFLOAD}");
    let hook = "type filter hook forward priority 300; policy accept;";
    chain(script, "established", hook, &[("between slices", between)]);
}

/// What may enter a bridge by its ports, IP and ARP: what says that it comes from the overlay has an address of our slice
/// that the bridge does not hold. Docker gives out the slice's first and last address too where the whole overlay is on
/// link. On a kernel without `meta ibrname` (`CONFIG_NFT_BRIDGE_META`) it holds for all bridges of the host: see
/// [`Abilities::bridge_names`].
///
/// A tag of VLAN 0 is no tag to those who receive it, so the rules look at what is behind the first one, where the kernel
/// keeps it (`meta protocol`); of two such tags both are taken off behind our back (`__netif_receive_skb_core`,
/// net/core/dev.c at v6.12).
fn ports(fan: &Fan) -> Vec<(&'static str, String)> {
    let (overlay, slice) = (fan.overlay(), fan.slice());
    let first = fan.gateway();
    let last = Ipv4Addr::from(u32::from(first) + u32::from(fan.host_reserve) - 1);
    let held = if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    };
    let here = format!("{HERE}{}\" ", fan.bridge);
    let own = |source| format!("{source} {slice} {source} != {held} accept");
    let posing = |source| format!("{source} {overlay} counter drop");
    let (ip, arp) = ("ip saddr", "arp saddr ip");
    // That it is ARP does not go without saying: nft would ask the frame's own type, which may be that of a tag.
    let mut rules = vec![
        ("our own", own(ip)),
        ("our own by arp", format!("meta protocol arp {}", own(arp))),
        ("posing", format!("{here}{}", posing(ip))),
        ("posing by arp", format!("{here}meta protocol arp {}", posing(arp))),
        (
            "hidden by tags",
            format!("{here}meta protocol {{ 0x8100, 0x88a8 }} @ll,112,16 & 0xfff == 0 counter drop"),
        ),
    ];
    if fan.encapsulation == Encapsulation::Vxlan {
        rules.insert(1, ("from the tunnel", format!("iifname \"{}\" accept", fan.tunnel())));
    }
    rules
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::tests::announced;

    #[test]
    fn what_enters_by_a_port_has_an_address_that_a_container_here_can_have() {
        let rules = |fan: Fan| ports(&fan).into_iter().map(|(_, rule)| rule).collect::<Vec<_>>();
        let over_ipip = rules(announced());
        assert_eq!(
            over_ipip[..4],
            [
                "ip saddr 250.0.28.0/24 ip saddr != 250.0.28.1 accept",
                "meta protocol arp arp saddr ip 250.0.28.0/24 arp saddr ip != 250.0.28.1 accept",
                "meta ibrname \"fan-250-0-28\" ip saddr 250.0.0.0/8 counter drop",
                "meta ibrname \"fan-250-0-28\" meta protocol arp arp saddr ip 250.0.0.0/8 counter drop",
            ]
        );
        let mut over_vxlan = rules(Fan {
            encapsulation: Encapsulation::Vxlan,
            ..announced()
        });
        assert_eq!(over_vxlan.remove(1), "iifname \"fan-vx16384000\" accept");
        assert_eq!(over_vxlan, over_ipip);
        let all_held = rules(Fan {
            host_reserve: 254,
            ..announced()
        });
        assert_eq!(
            all_held[0],
            "ip saddr 250.0.28.0/24 ip saddr != 250.0.28.1-250.0.28.254 accept"
        );
    }
}
