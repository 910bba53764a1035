//! Hosts that were set up with `ip` alone.

use std::process::Command;

use crate::case::{Case, Cases, Need};
use crate::fixture::Pair;
use crate::named;
use crate::support::{Capture, Encap, Lan, eventually, tcp_exchange};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("interop")
        .each(named![a_secondary_address_is_a_host_like_any_other])
        .once(named![a_plain_vxlan_device_with_static_entries_is_a_peer, a_fan_of_lxd_is_taken_over_host_by_host])
        .once_with(&[Need::Ipip], named![an_ipip_host_with_a_route_for_each_peer_is_a_peer])
        .list()
}

fn a_plain_vxlan_device_with_static_entries_is_a_peer() {
    let lan = Lan::new();
    let (a, b) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
    a.up(Encap::Vxlan);
    b.set_sysctl("ipv4/ip_forward", "1");
    b.ip("link add vx0 type vxlan id 16384000 dstport 8472 local 172.30.0.27 dev eth0
         link add br0 type bridge
         link set br0 mtu 1450 up
         link set vx0 master br0 up
         addr add 250.0.27.1/8 dev br0");
    b.exec("bridge fdb append 00:00:00:00:00:00 dev vx0 dst 172.30.0.28").ok();
    let (ca, cb) = (a.container("250.0.28.2"), b.attach("br0", "by hand", 1450));
    cb.ip("addr add 250.0.27.2/8 dev eth0");
    assert_eq!(ca.ping("250.0.27.2").arrives().ttl(), 64);
    cb.ping("250.0.28.1").arrives();
    a.ping("250.0.27.1").arrives();
    tcp_exchange(&cb, &ca, "250.0.28.2");
}

/// The host that comes later has devices like those that LXD made on a kernel with Ubuntu's patch, and LXD's dnsmasq.
fn a_fan_of_lxd_is_taken_over_host_by_host() {
    let lan = Lan::new();
    let (a, b) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
    b.set_sysctl("ipv4/ip_forward", "1");
    b.ip("link add lxdfan0 type bridge
         link set lxdfan0 mtu 1450 up
         link add lxdfan0-fan type vxlan id 15728640 dstport 8472 local 172.30.0.27 dev eth0
         link set lxdfan0-fan master lxdfan0 up
         addr add 240.0.27.1/8 dev lxdfan0");
    b.exec("bridge fdb append 00:00:00:00:00:00 dev lxdfan0-fan dst 172.30.0.28").ok();
    let shown =
        "config:\n  bridge.mode: fan\n  fan.underlay_subnet: 172.30.0.0/16\n  ipv4.nat: \"true\"\nname: lxdfan0\n";
    let old = b.attach("lxdfan0", "by LXD", 1450);
    old.ip("addr add 240.0.27.2/8 dev eth0");
    // The words of LXD 5.0.
    let mut server = Command::new("dnsmasq");
    let words = "--keep-in-foreground --strict-order --bind-interfaces --except-interface=lo --pid-file= --no-ping \
                 --interface=lxdfan0 --listen-address=240.0.27.1 --dhcp-no-override --dhcp-authoritative \
                 --dhcp-leasefile=/run/lxd.leases --dhcp-range=240.0.27.2,240.0.27.254,1h --conf-file=/dev/null";
    server.args(words.split_ascii_whitespace());
    let mut server = b.spawn(server);
    eventually("LXD's dnsmasq serves", || b.exec("ss -lnuH sport = :67").ok().stdout.contains(":67").then_some(()));

    a.write("/run/lxdfan0.yaml", shown);
    a.fanctl("config convert /run/lxdfan0.yaml -o /etc/fan.toml").ok();
    a.fanctl("up -a").ok();
    let new = a.attach("lxdfan0", "by fanctl", 1450);
    new.ip("addr add 240.0.28.2/8 dev eth0");
    new.ping("240.0.27.2").arrives();
    tcp_exchange(&old, &new, "240.0.28.2");

    b.ip("link del lxdfan0-fan\nlink del lxdfan0");
    b.write("/run/lxdfan0.yaml", shown);
    b.fanctl("config convert /run/lxdfan0.yaml -o /etc/fan.toml").ok();
    // It has the addresses of a bridge that is gone, until somebody ends it.
    b.fanctl("up -a").failed().stderr_has(&["UDP port 67 is held by process", "end it"]);
    server.kill().expect("LXD's dnsmasq");
    server.wait().expect("its end");
    b.fanctl("up -a").ok();
    b.ip(&format!("link set {} master lxdfan0", old.port));
    tcp_exchange(&new, &old, "240.0.27.2");
    tcp_exchange(&old, &new, "240.0.28.2");
}

fn an_ipip_host_with_a_route_for_each_peer_is_a_peer() {
    let lan = Lan::new();
    let (a, b) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
    a.up(Encap::Ipip);
    b.set_sysctl("ipv4/ip_forward", "1");
    b.ip("link add tun0 type ipip local 172.30.0.27
         link set tun0 up
         link add br0 type bridge
         link set br0 mtu 1480 up
         addr add 250.0.27.1/24 dev br0
         route add 250.0.28.0/24 via 172.30.0.28 dev tun0 src 250.0.27.1 onlink");
    let (ca, cb) = (a.container("250.0.28.2"), b.attach("br0", "by hand", 1480));
    cb.ip("addr add 250.0.27.2/24 dev eth0\nroute add default via 250.0.27.1");
    assert_eq!(ca.ping("250.0.27.2").arrives().ttl(), 62);
    cb.ping("250.0.28.1").arrives();
    a.ping("250.0.27.1").arrives();
    tcp_exchange(&cb, &ca, "250.0.28.2");
}

fn a_secondary_address_is_a_host_like_any_other(encap: Encap) {
    let lan = Lan::new();
    let (a, b) = (lan.host("172.30.0.100"), lan.host("172.30.0.27"));
    a.ip("addr add 172.30.0.28/16 dev eth0");
    a.fanctl(&format!("up 250.0.0.0/8 172.30.0.28/16 {}", encap.words())).ok();
    b.up(encap);
    let (ca, cb) = (a.container("250.0.28.2"), b.container("250.0.27.2"));
    let pair = Pair { a, b, ca, cb, lan };
    let wire = Capture::on(&pair.b, "eth0", encap.outer());
    pair.ca.ping("250.0.27.2").arrives();
    pair.cb.ping("250.0.28.2").arrives();
    let packets = wire.packets();
    assert!(
        packets.iter().all(|packet| packet.contains("172.30.0.28") && !packet.contains("172.30.0.100")),
        "{packets:#?}"
    );
}
