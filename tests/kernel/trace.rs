//! `fanctl trace`: it names what is broken, and proves what works. Each breakage is also shown without it: by a ping
//! without an answer, a counter, or a capture.

mod others;
mod ways;

use std::net::UdpSocket;

use serde_json::Value;

use crate::case::{Case, Cases, Need};
use crate::fixture::{NarrowPath, Pair};
use crate::named;
use crate::support::{Capture, Encap, Host, Lan, Namespace, Output, eventually, udp_exchange};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    use others::a_connection_there_is_no_answer_to_ping;
    use ways::{
        a_table_of_its_own_is_looked_into, a_way_that_works_is_proven_step_by_step, others_than_root_see_the_steps,
        the_fan_that_has_the_address_is_traced, the_way_to_ones_own_containers,
    };
    Cases::of("trace")
        .only_ipip_in_tier_3()
        .only_on("6.1")
        .each(named![
            a_way_that_works_is_proven_step_by_step,
            what_is_wrong_here_is_named,
            what_is_wrong_there_is_named,
            who_is_not_there_is_named,
            what_is_wrong_with_a_container_is_named,
            a_narrow_way_is_measured,
            a_router_that_drops_is_named,
            the_nearest_is_blamed_first,
            a_checksum_that_a_nic_spoils_is_named,
            a_host_that_ignores_ping_is_there,
            the_way_to_ones_own_containers,
            a_table_of_its_own_is_looked_into,
        ])
        .once(named![
            others_than_root_see_the_steps,
            the_fan_that_has_the_address_is_traced,
            a_connection_there_is_no_answer_to_ping,
        ])
        .once_with(&[Need::Ipip], named![a_host_that_does_not_forward_is_named, a_firewall_in_the_forward_path_there])
        .list()
}

/// How long a trace waits: hosts of a busy machine are slow to answer.
const WAIT: &str = "--wait 3";

#[track_caller]
fn run(host: &Host, words: &str) -> Output {
    host.fanctl(&format!("trace {WAIT} {words}"))
}

/// What a trace of an address finds: the way works if and only if the exit status is 0.
#[track_caller]
pub fn trace(host: &Host, address: &str) -> Value {
    let output = run(host, &format!("{address} --json"));
    let found = output.json();
    let works = found["verdict"]["works"].as_bool().expect("a verdict");
    output.exits(i32::from(!works));
    found
}

/// The verdict of a trace has this cause, hop and part of its sentence.
#[track_caller]
pub fn blames(found: &Value, cause: &str, hop: &str, words: &str) {
    let verdict = &found["verdict"];
    let says = verdict["says"].as_str().expect("a sentence");
    assert!(
        verdict["cause"] == cause && verdict["hop"] == hop && says.contains(words),
        "not {cause} by {hop}: {words}\n{found:#}"
    );
    assert!(!says.contains('\n') && verdict["advice"].is_string(), "{found:#}");
}

#[track_caller]
fn works(found: &Value) {
    assert_eq!(found["verdict"]["cause"], "works", "{found:#}");
}

/// A ping without the trace gets no answer either.
#[track_caller]
fn in_vain(from: &Namespace, address: &str) {
    let ping = from.exec(&format!("ping -n -c 1 -W 0.5 {address}"));
    assert_ne!(ping.code, Some(0), "{ping}");
}

/// What a step of a trace decides.
#[track_caller]
fn decides<'a>(found: &'a Value, step: &str) -> &'a Value {
    let steps = found["steps"].as_array().expect("steps");
    let step = steps.iter().find(|found| found["step"] == step);
    &step.unwrap_or_else(|| panic!("no such step: {found:#}"))["decides"]
}

/// The encapsulated packets in the language of nft.
pub fn carrier(encap: Encap) -> &'static str {
    match encap {
        Encap::Ipip => "ip protocol 4",
        Encap::Vxlan => "udp dport 8472",
    }
}

/// The same in a verdict.
fn carried(encap: Encap) -> &'static str {
    match encap {
        Encap::Ipip => "protocol 4",
        Encap::Vxlan => "udp port 8472",
    }
}

/// A firewall of another program: one chain with one rule.
#[track_caller]
fn firewall(at: &Namespace, hook: &str, rule: &str) {
    at.sh(&format!(
        "nft add table ip broken
         nft add chain ip broken {hook} '{{ type filter hook {hook} priority 0; }}'
         nft add rule ip broken {hook} {rule}"
    ))
    .ok();
}

/// Removes that firewall; its rule must have counted packets.
#[track_caller]
fn no_firewall(at: &Namespace) {
    let met = at.counters("ip broken");
    assert!(met.iter().any(|packets| *packets > 0), "the rule met no packet: {met:?}");
    at.sh("nft delete table ip broken").ok();
}

fn what_is_wrong_here_is_named(encap: Encap) {
    let Pair { a, b, ca, lan, .. } = &Pair::new(encap);
    let (tunnel, carried) = (encap.tunnel(), carried(encap));
    let blamed = |cause: &str, words: &str| {
        // Over VXLAN containers do not need the routes of the host; over IPIP the host itself does not need the bridge.
        let loser: &Namespace = if encap == Encap::Ipip { ca } else { a };
        in_vain(loser, "250.0.27.2");
        let found = trace(a, "250.0.27.2");
        blames(&found, cause, "this host", words);
        found
    };

    firewall(a, "output", &format!("{} counter drop", carrier(encap)));
    let found = blamed("here_firewall_out", &format!("drops {carried} before it leaves by eth0"));
    assert_eq!(found["proof"]["left"], false, "{found:#}");
    no_firewall(a);

    firewall(a, "input", &format!("{} counter drop", carrier(encap)));
    blamed("here_firewall_in", "answers of 172.30.0.27 come by eth0");
    no_firewall(a);

    a.exec(&format!("tc filter del dev {tunnel} egress pref 100")).ok();
    blamed("here_program", &format!("the egress program of {tunnel} is gone"));
    a.up(encap);

    a.ip("route add 250.0.27.0/24 dev eth0");
    blamed("here_route", "the route 250.0.27.0/24 dev eth0 (table main, protocol boot) takes it away");
    a.ip("route del 250.0.27.0/24 dev eth0");

    a.ip("route add default dev eth0 table 77\n rule add pref 500 to 250.0.27.0/24 lookup 77");
    blamed("here_rule", "table 77");
    a.ip("rule del pref 500");

    a.sh("ip link add wg0 type veth peer name wg0-there; ip link set wg0 up; ip link set wg0-there up; ip route add default dev wg0 table 78")
        .ok();
    a.ip("rule add pref 500 to 172.30.0.0/16 lookup 78");
    blamed("here_underlay", "the way to 172.30.0.27 leads by wg0 (table 78), and not by eth0");
    a.ip("rule del pref 500\n link del wg0");

    a.ip("link set fan-250-0-28 down");
    blamed("here_device", "fan-250-0-28 is down");
    a.up(encap);

    a.ip("addr del 172.30.0.28/16 dev eth0");
    blamed("here_address", "lost the address 172.30.0.28");
    a.ip(&format!("addr add 172.30.0.28/16 dev eth0\n route add default via {}", lan.gateway()));

    // Answers whose outer source was translated on the way are refused, and counted.
    let refused = a.refused_packets(tunnel);
    let answer = match encap {
        Encap::Ipip => "ip protocol 4",
        Encap::Vxlan => "udp dport 8472",
    };
    // Behind NAT, which would keep that source for the connection.
    b.sh(&format!(
        "nft add table ip broken
         nft add chain ip broken postrouting '{{ type filter hook postrouting priority 300; }}'
         nft add rule ip broken postrouting {answer} counter ip saddr set 172.30.0.99"
    ))
    .ok();
    let found = trace(a, "250.0.27.2");
    blames(&found, "here_refused", "172.30.0.99", "come from 172.30.0.99 and not from 172.30.0.27");
    assert!(a.refused_packets(tunnel) > refused);
    no_firewall(b);

    a.ping_again("250.0.27.2").arrives();
    works(&trace(a, "250.0.27.2"));
}

fn what_is_wrong_there_is_named(encap: Encap) {
    let Pair { a, b, .. } = &Pair::new(encap);
    let carried = carried(encap);
    let blamed = |cause: &str, words: &str| {
        a.ping("172.30.0.27").arrives();
        in_vain(a, "250.0.27.2");
        blames(&trace(a, "250.0.27.2"), cause, "172.30.0.27", words);
    };

    firewall(b, "input", &format!("{} counter drop", carrier(encap)));
    blamed("dropped", &format!("172.30.0.27 answers ping, but {carried} to it gets no answer and no ICMP error"));
    no_firewall(b);

    firewall(b, "input", &format!("{} counter reject with icmp type admin-prohibited", carrier(encap)));
    blamed("rejected", &format!("172.30.0.27 rejects {carried}"));
    no_firewall(b);

    // This is also what a host without the fan says.
    firewall(b, "input", &format!("{} counter reject", carrier(encap)));
    blamed("no_fan_there", &format!("or its firewall rejects {carried}: it says port unreachable"));
    no_firewall(b);

    // A filter that stands before all firewalls: of packets of the protocol in byte 23 it says TC_ACT_SHOT, of others nothing.
    let protocol = if encap == Encap::Ipip { 4 } else { 17 };
    let filter = format!("4,48 0 0 23,21 0 1 {protocol},6 0 0 2,6 0 0 4294967295");
    b.sh(&format!(
        "tc qdisc add dev eth0 clsact; tc filter add dev eth0 ingress protocol ip bpf da bytecode '{filter}'"
    ))
    .ok();
    blamed("dropped", &format!("172.30.0.27 answers ping, but {carried} to it gets no answer"));
    b.exec("tc qdisc del dev eth0 clsact").ok();

    // Without its program the tunnel there drops all packets.
    b.exec(&format!("tc filter del dev {} egress pref 100", encap.tunnel())).ok();
    let words = match encap {
        Encap::Ipip => "protocol 4 to it gets no answer",
        // The kernel answers an ARP request on the path that it came by.
        Encap::Vxlan => "172.30.0.27 answers ARP by udp port 8472 and no ping",
    };
    blamed("dropped", words);
    b.up(encap);
    works(&trace(a, "250.0.27.2"));

    // Its fan takes less than the one here.
    b.fanctl(&format!("up 250.0.0.0/8 eth0/16 {} --mtu 1300", encap.words())).ok();
    let (cause, hop, words) = match encap {
        Encap::Ipip => ("there_mtu_small", "172.30.0.27", "the fan on 172.30.0.27 takes packets of 1300 bytes"),
        Encap::Vxlan => ("address_mtu_small", "container 250.0.27.2", "or the fan on 172.30.0.27 is to blame"),
    };
    blames(&trace(a, "250.0.27.2"), cause, hop, words);
    b.up(encap);
}

/// UDP datagrams that a namespace refused for their checksum (`InCsumErrors`, the seventh figure of UDP).
fn wrong_sums(at: &Namespace) -> u64 {
    let counters = at.exec("cat /proc/net/snmp").ok().stdout;
    let udp = counters.lines().filter_map(|line| line.strip_prefix("Udp: ")).nth(1).expect("figures of UDP");
    udp.split(' ').nth(6).expect("InCsumErrors").parse().expect("a number")
}

/// Ping passes, and so do packets without a checksum. The rule changes the bytes of others, as a NIC does that spoils sums.
fn a_checksum_that_a_nic_spoils_is_named(encap: Encap) {
    let Pair { a, b, ca, cb, .. } = &Pair::new(encap);
    // The sender computes the sum: between namespaces nobody else would.
    a.exec("ethtool -K eth0 tx off").ok();
    udp_exchange(ca, cb, "250.0.27.2", 1);
    let (protocol, payload) = match encap {
        Encap::Ipip => (72, 224),
        Encap::Vxlan => (312, 464),
    };
    let spoil = format!("{} @th,{protocol},8 17 counter @th,{payload},16 set 0xdead", carrier(encap));
    firewall(b, "prerouting", &spoil);
    let asking = ca.run(|| UdpSocket::bind("0.0.0.0:0")).expect("a socket");
    asking.send_to(b"lost", "250.0.27.2:9").expect("to send");
    eventually("a wrong checksum", || (wrong_sums(cb) > 0).then_some(()));
    for address in ["250.0.27.1", "250.0.27.2"] {
        a.ping(address).arrives();
        let found = trace(a, address);
        blames(&found, "checksums_spoilt", "this host", "UDP with a checksum does not arrive at 172.30.0.27");
        let advice = found["verdict"]["advice"].as_str().expect("advice");
        a.sh(advice.split(',').next().expect("a command")).ok();
    }
    no_firewall(b);
    works(&trace(a, "250.0.27.2"));
    // A firewall that drops UDP spoils nothing.
    firewall(b, "input", "iifname fan-* meta l4proto udp counter drop");
    works(&trace(a, "250.0.27.2"));
    no_firewall(b);
}

/// UDP proves that the fan is there, and its own containers do.
fn a_host_that_ignores_ping_is_there(encap: Encap) {
    let Pair { a, b, .. } = &Pair::new(encap);
    b.set_sysctl("ipv4/icmp_echo_ignore_all", "1");
    in_vain(a, "172.30.0.27");
    in_vain(a, "250.0.27.1");
    let found = trace(a, "250.0.27.1");
    blames(&found, "address_silent", "gateway 250.0.27.1", "answers UDP by way of 172.30.0.27, and no ping");
    assert_eq!(found["verdict"]["works"], true, "{found:#}");
    works(&trace(a, "250.0.27.2"));
    let found = trace(a, "250.0.27.77");
    blames(&found, "address_gone", "container 250.0.27.77", "the fan on 172.30.0.27 answers");
}

fn who_is_not_there_is_named(encap: Encap) {
    let lan = Lan::new();
    let (a, fanless) = (lan.host("172.30.0.28"), lan.host("172.30.0.26"));
    a.up(encap);
    let capture = Capture::on(&fanless, "eth0", &format!("{} or icmp", encap.outer()));
    let found = trace(&a, "250.0.26.2");
    blames(&found, "no_fan_there", "172.30.0.26", "172.30.0.26 has no fan for 250.0.0.0/8");
    let packets = capture.packets();
    let unreachable = |packet: &String| packet.contains("172.30.0.26 > 172.30.0.28") && packet.contains("unreachable");
    assert!(packets.iter().any(unreachable), "it said so: {packets:#?}");
    let found = trace(&a, "250.255.255.5");
    blames(
        &found,
        "address_of_nobody",
        "250.255.255.5",
        "belongs to no host: that would be 172.30.255.255, the broadcast address",
    );
    let found = trace(&a, "172.30.0.99");
    blames(&found, "host_gone", "172.30.0.99", "nobody answers ARP");
    assert_eq!(found["address"], "250.0.99.1");
}

fn what_is_wrong_with_a_container_is_named(encap: Encap) {
    let Pair { a, cb, .. } = &Pair::new(encap);
    let mtu = 1500 - encap.overhead();
    let found = trace(a, "250.0.27.77");
    blames(&found, "address_gone", "container 250.0.27.77", "the fan on 172.30.0.27 answers");

    firewall(cb, "input", "icmp type echo-request counter drop");
    let found = trace(a, "250.0.27.2");
    blames(&found, "address_silent", "container 250.0.27.2", "a firewall");
    no_firewall(cb);

    cb.ip("link set eth0 mtu 1280");
    let found = trace(a, "250.0.27.2");
    blames(&found, "address_mtu_small", "container 250.0.27.2", &format!("and the fan has {mtu}"));
    // A veth device takes a few bytes more than its MTU, for a VLAN tag.
    let measured = found["path_mtu"]["address"].as_u64().expect("measured");
    assert!((1280..=1284).contains(&measured), "{found:#}");

    cb.ip("link set eth0 mtu 1500");
    let found = trace(a, "250.0.27.2");
    blames(&found, "address_mtu_large", "container 250.0.27.2", &format!("larger than the {mtu} bytes"));
    cb.ip(&format!("link set eth0 mtu {mtu}"));
    works(&trace(a, "250.0.27.2"));
}

fn a_narrow_way_is_measured(encap: Encap) {
    let NarrowPath { pair, routers, .. } = &NarrowPath::new(encap);
    let (a, narrow) = (&pair.a, 1400 - encap.overhead());
    let measured = |found: &Value| {
        assert_eq!(found["path_mtu"]["underlay"], 1400, "{found:#}");
        assert_eq!(found["path_mtu"]["address"], narrow, "{found:#}");
    };
    let found = trace(a, "250.0.227.2");
    blames(&found, "narrow", "172.30.0.1", &format!("the path MTU is {narrow} (the underlay to 172.30.0.227 1400)"));
    assert_eq!(found["verdict"]["works"], true);
    measured(&found);

    for namespace in [&**a, &*pair.ca, &*pair.b, &*pair.cb] {
        namespace.ip("route flush cache");
    }
    firewall(&routers[0], "output", "icmp type destination-unreachable counter drop");
    let found = trace(a, "250.0.227.2");
    blames(&found, "black_hole", "172.30.0.227", &format!("packets of more than {narrow} bytes"));
    measured(&found);
    no_firewall(&routers[0]);
}

fn a_router_that_drops_is_named(encap: Encap) {
    let NarrowPath { pair, routers, .. } = &NarrowPath::new(encap);
    for (router, address) in routers.iter().zip(["172.30.0.1", "10.1.1.2"]) {
        firewall(router, "forward", &format!("{} counter drop", carrier(encap)));
        let found = trace(&pair.a, "250.0.227.2");
        blames(&found, "dropped", address, &format!("{} to it gets as far as {address}", carried(encap)));
        let routers: Vec<&Value> =
            found["proof"]["hops"].as_array().expect("hops").iter().map(|hop| &hop["plain"]).collect();
        assert_eq!(routers, ["172.30.0.1", "10.1.1.2"]);
        no_firewall(router);
    }
    routers[0].ip("route del 172.30.0.128/25");
    let found = trace(&pair.a, "250.0.227.2");
    blames(&found, "host_gone", "172.30.0.1", "172.30.0.1 says network unreachable");
}

/// A silent router is blamed before the host behind it, and this host's own interface before both.
fn the_nearest_is_blamed_first(encap: Encap) {
    let Pair { lan, a, .. } = &Pair::new(encap);
    a.ip("route add default via 172.30.0.1 dev eth0 table 100\n rule add from 172.30.0.28 lookup 100 pref 200");
    let found = trace(a, "250.0.27.1");
    blames(&found, "next_hop_gone", "172.30.0.1", "next hop 172.30.0.1 does not answer ARP");
    a.ip("rule del pref 200");
    works(&trace(a, "250.0.27.1"));
    lan.ip("link set port0 down");
    let found = trace(a, "250.0.27.1");
    blames(&found, "here_device", "this host", "'eth0' has no carrier");
    lan.ip("link set port0 up");
    a.ip("link add br-lan type bridge\n link set br-lan up\n link set eth0 master br-lan");
    let found = trace(a, "250.0.27.1");
    blames(&found, "here_device", "this host", "'eth0' is a port of 'br-lan'");
}

fn a_host_that_does_not_forward_is_named() {
    let Pair { a, ca, .. } = &Pair::new(Encap::Ipip);
    a.set_sysctl("ipv4/conf/fan-250-0-28/forwarding", "0");
    a.ping("250.0.27.2").arrives();
    in_vain(ca, "250.0.27.2");
    let found = trace(a, "250.0.27.2");
    blames(&found, "here_forward", "this host", "answers this host, but not its containers");
    a.up(Encap::Ipip);
    works(&trace(a, "250.0.27.2"));
}

fn a_firewall_in_the_forward_path_there() {
    let Pair { a, b, .. } = &Pair::new(Encap::Ipip);
    firewall(b, "forward", "oifname fan-250-0-27 counter drop");
    let found = trace(a, "250.0.27.2");
    blames(&found, "address_silent", "container 250.0.27.2", "a firewall of 172.30.0.27 (forward)");
    no_firewall(b);
}
