//! Ways past the fan's rules: by a network of the host whose addresses it translates, by another fan, and by frames that a bridge
//! hands to its host as if they came by the port.

use crate::case::{Case, Cases};
use crate::fixture::Pair;
use crate::named;
use crate::support::{
    Capture, Container, Crafted, Encap, Host, Inner, Lan, eventually, inject_ethernet, inject_frames, octets,
};
use std::net::UdpSocket;

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("attacks")
        .each(named![no_other_network_is_translated_into_the_fan, no_frame_gets_past_the_bridge])
        .once(named![a_container_of_one_fan_does_not_speak_in_another])
        .list()
}

/// How often a packet is sent.
const MANY: u64 = 10;

#[track_caller]
fn translate(host: &Host, chain: &str, rule: &str) {
    host.exec("nft add table ip translated").ok();
    host.exec(&format!("nft add chain ip translated {chain}")).ok();
    host.exec(&format!("nft add rule ip translated {rule}")).ok();
}

/// A container of a network that has a part of the underlay, as where the underlay is wider than the LAN, and that its host
/// masquerades, as Docker has it.
#[track_caller]
fn of_another_network(host: &Host) -> Container {
    host.set_sysctl("ipv4/conf/all/forwarding", "1");
    host.ip("link add docker0 type bridge\n link set docker0 up\n address add 172.30.200.1/24 dev docker0");
    let chain = "post { type nat hook postrouting priority 100 ; }";
    translate(host, chain, "post ip saddr 172.30.200.0/24 oifname != docker0 masquerade");
    let other = host.attach("docker0", "other", 1500);
    other.ip("address add 172.30.200.2/24 dev eth0\n route add default via 172.30.200.1");
    other
}

fn no_other_network_is_translated_into_the_fan(encap: Encap) {
    let lan = Lan::new();
    let (a, b) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
    b.up(encap).ok();
    let (cb, other) = (b.container("250.0.27.2"), of_another_network(&a));
    let mac = octets(&cb.mac("eth0"));
    let from = |source| {
        let (inner, outer) = (Crafted::udp(0x4001, ("250.0.28.2", "250.0.27.2")), (source, "172.30.0.27"));
        match encap {
            Encap::Ipip => inner.in_ip(outer),
            Encap::Vxlan => inner.in_vxlan(outer, mac),
        }
    };
    // A connection from before the fan goes on with the address that it has. One of IPIP, which has no ports, would take the answers
    // of that host for its own.
    let early = (encap == Encap::Vxlan).then(|| from("172.30.200.3"));
    if let Some(early) = &early {
        let wire = Capture::on(&a, "eth0", "src 172.30.0.28 and udp port 8472");
        early.send(&other);
        wire.at_least(1);
    }
    a.up(encap).ok();
    let ca = a.container("250.0.28.2");
    ca.ping("250.0.27.2").arrives();
    let seen = Capture::on(&cb, "eth0", Inner::FILTER);
    let counted = |rule: &str| a.counted_packets(&["ip"], rule);
    if let Some(early) = early {
        (0..MANY).for_each(|_| early.send(&other));
        eventually("what is masqueraded is refused", || (counted("masqueraded") >= MANY).then_some(()));
    }
    // A new one leaves with its own address, which is not that of the inner packet's host.
    let before = b.refused_packets(encap.tunnel());
    let late = from("172.30.200.2");
    (0..MANY).for_each(|_| late.send(&other));
    eventually("the other host refuses it", || (b.refused_packets(encap.tunnel()) >= before + MANY).then_some(()));
    // Nor does it speak to other hosts as the gateway does, whose address masquerading would give it.
    let before = counted("foreign packets");
    let plain = Crafted::udp(0x4002, ("172.30.200.2", "250.0.27.1"));
    (0..MANY).for_each(|_| plain.send(&other));
    eventually("it is refused", || (counted("foreign packets") >= before + MANY).then_some(()));
    assert_eq!(seen.packets(), Vec::<String>::new());
    other.ping("172.30.0.27").arrives();
    ca.ping("250.0.27.2").arrives();
}

/// The second fan's port is none that the first one's rules name.
fn a_container_of_one_fan_does_not_speak_in_another() {
    const PORT: u16 = 5555;
    const VNI: [u8; 3] = [0xfb, 0, 0];
    let pair = Pair::new(Encap::Vxlan);
    for host in [&pair.a, &pair.b] {
        host.fanctl(&format!("up 251.0.0.0/8 eth0/16 --encap vxlan --port {PORT} --force")).ok();
    }
    let [near, far] = [(&pair.a, "28"), (&pair.b, "27")].map(|(host, slice)| {
        let container = host.attach(&format!("fan-251-0-{slice}"), "second", 1450);
        container.ip(&format!("address add 251.0.{slice}.2/8 dev eth0"));
        container
    });
    near.ping("251.0.27.2").arrives();
    translate(
        &pair.a,
        "pre { type nat hook prerouting priority -100 ; }",
        "pre ip daddr 203.0.113.5 dnat to 172.30.0.27",
    );
    translate(&pair.a, "post { type nat hook postrouting priority 100 ; }", "post ip daddr 172.30.0.0/16 masquerade");
    let seen = Capture::on(&far, "eth0", Inner::FILTER);
    let refused = || {
        let tables = ["fan-250.0.0.0/8", "fan-251.0.0.0/8"].map(|table| pair.a.counters(&format!("ip {table}")));
        tables.iter().flatten().sum::<u64>()
    };
    // Where the other fan's port is in the UDP header, and its number in that of VXLAN.
    let (port, number) = (20 + 2, 20 + 8 + 4);
    let mac = octets(&far.mac("eth0"));
    for to in ["172.30.0.27", "203.0.113.5", "250.0.27.1"] {
        for source in ["251.0.28.2", "251.0.28.1"] {
            let inner = Crafted::udp(0x4001, (source, "251.0.27.2")).in_vxlan(("250.0.28.2", to), mac);
            let packet = inner.patched(port, &PORT.to_be_bytes()).patched(number, &VNI);
            let before = refused();
            (0..MANY).for_each(|_| packet.send(&pair.ca));
            if to != "250.0.27.1" {
                eventually("it is refused at home", || (refused() >= before + MANY).then_some(()));
            }
        }
    }
    near.ping("251.0.27.2").arrives();
    assert_eq!(seen.packets(), Vec::<String>::new());
}

/// An advertisement of a router at fe80::66 for the next half an hour (RFC 4861, section 4.2), from 02:00:00:00:00:66.
const ADVERTISEMENT: [u8; 40 + 16] = [
    0x60, 0, 0, 0, 0, 16, 58, 255, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x66, 0xff, 0x02, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 1, 134, 0, 0x34, 0xc2, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// A frame for a group that bridges do not forward, as LLDP's, is received as what came by the port, with none of the bridge's rules
/// and none of its settings.
fn no_frame_gets_past_the_bridge(encap: Encap) {
    let pair = Pair::new(encap);
    let port = pair.ca.port().to_string();
    let sender = octets(&pair.ca.mac("eth0"));
    let socket = pair.a.run(|| UdpSocket::bind("0.0.0.0:7777")).expect("a socket");
    let from_its_address = Crafted::udp(0x4001, ("250.0.28.2", "250.0.28.1"));
    let of_another = Crafted::udp(0x4002, ("172.30.0.27", "172.30.0.28"));
    for last in 0..16 {
        let group = [0x01, 0x80, 0xc2, 0, 0, last];
        let plain = |kind: [u8; 2], packet: &[u8]| [&group[..], &sender, &kind, packet].concat();
        let tagged = |kind: [u8; 2], packet: &[u8]| [&group[..], &sender, &[0x88, 0xa8, 0, 0], &kind, packet].concat();
        let (ipv4, ipv6) = ([0x08, 0x00], [0x86, 0xdd]);
        inject_frames(
            &pair.ca,
            vec![
                plain(ipv4, of_another.bytes()),
                tagged(ipv4, of_another.bytes()),
                plain(ipv6, &ADVERTISEMENT),
                tagged(ipv6, &ADVERTISEMENT),
            ],
        );
    }
    // What comes behind them in order has come when this has.
    let gateway = octets(&pair.a.mac("fan-250-0-28"));
    inject_ethernet(&pair.ca, &[&gateway[..], &sender, &[0x08, 0x00], from_its_address.bytes()].concat());
    let (_, from) = socket.recv_from(&mut [0; 100]).expect("a datagram");
    assert_eq!(from.ip().to_string(), "250.0.28.2", "the first that is heard");
    for device in ["fan-250-0-28", &port] {
        let routes = pair.a.ip_json(&format!("-6 route show default dev {device}"));
        assert_eq!(routes.as_array().map(Vec::len), Some(0), "{device}: {routes:#}");
    }
    // As an administrator would find it, who had it otherwise.
    pair.a.ip("link set fan-250-0-28 type bridge group_fwd_mask 0");
    let told = pair.a.fanctl("show --json").ok().json();
    assert!(told.to_string().contains("bridge-group-forwarding"), "{told:#}");
    pair.a.up(encap).ok();
    pair.ca.ping("250.0.27.2").arrives();
}
