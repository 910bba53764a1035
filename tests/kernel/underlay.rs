//! The ways to name an underlay, and overlays of other widths.

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Capture, Encap, Host, Lan, tcp_exchange};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("underlay")
        .only_ipip_in_tier_3()
        .each(named![networks_of_any_legal_width_carry_packets])
        .in_both_tiers()
        .each_with(&[Need::Vlan], named![a_vlan_carries_a_fan])
        .each_with(&[Need::Vlan, Need::Bonding], named![a_vlan_on_a_bond_carries_a_fan])
        .only_ipip_in_tier_3()
        .once(named![
            every_way_to_write_the_announcement_is_the_same_fan,
            devices_of_any_name_are_understood,
            the_second_address_of_a_device_is_found_by_its_network,
            the_choice_among_several_addresses_is_told,
            a_fan_stays_on_its_address_when_another_comes_first,
        ])
        .list()
}

/// The columns Bridge, Overlay and Underlay of the only fan.
#[track_caller]
fn shown(host: &Host) -> [String; 3] {
    let table = host.fanctl("show").ok().stdout;
    let lines: Vec<&str> = table.lines().skip(1).collect();
    assert_eq!(lines.len(), 1, "{table}");
    let mut words = lines[0].split_whitespace().map(str::to_string);
    [(); 3].map(|()| words.next().expect("three columns"))
}

fn every_way_to_write_the_announcement_is_the_same_fan() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.ip(&format!("route add default via {}", lan.gateway()));
    let pairs = [
        ("250.0.0.0/8", "eth0/16"),
        ("250", "eth0"),
        ("250.0.0.0/8", "172.30.0.28/16"),
        ("250", "172.30.0.28"),
        ("250.0.0.0/8", "172.30.0.0/16"),
        ("250.0.0.0/8", "default/16"),
        ("250", "default"),
    ];
    host.fanctl("up 250.0.0.0/8 eth0/16 --encap vxlan").ok();
    for (overlay, underlay) in pairs {
        host.unchanged(|| host.fanctl(&format!("up {overlay} {underlay} --encap vxlan")).ok());
        assert_eq!(shown(&host), ["fan-250-0-28", "250.0.0.0/8", "172.30.0.28/16"], "{overlay} {underlay}");
    }
    host.unchanged(|| host.fanctl("up -o 250.0.0.0/8 -u eth0/16 --encap vxlan").ok());
    host.unchanged(|| host.fanctl("up --encap vxlan --underlay eth0/16 --overlay 250").ok());
    host.unchanged(|| host.fanctl("up -o 250 -u eth0 --encap vxlan host-reserve 1").ok());
    for (overlay, underlay) in pairs {
        host.fanctl(&format!("down {overlay} {underlay}")).ok();
        assert_eq!(host.fanctl("show").ok().stdout.lines().count(), 1);
        host.fanctl("up 250.0.0.0/8 eth0/16 --encap vxlan").ok();
    }
    host.fanctl("down -o 250.0.0.0/8 -u eth0/16").ok();
    assert_eq!(host.fanctl("show").ok().stdout.lines().count(), 1);
}

fn devices_of_any_name_are_understood() {
    let lan = Lan::new();
    for (device, width, bridge) in [
        ("enp0s31f6", "20", "fan-250-1-192"),
        ("bond0.100", "24", "fan-250-28"),
        ("wlp2s0", "16", "fan-250-0-28"),
        ("br-0a1b2c3d4e5f", "16", "fan-250-0-28"),
        ("default0", "16", "fan-250-0-28"),
    ] {
        let host = lan.host_on(device, "172.30.0.28");
        host.fanctl(&format!("up 250.0.0.0/8 {device}/{width} --encap vxlan")).ok();
        assert_eq!(shown(&host), [bridge, "250.0.0.0/8", &format!("172.30.0.28/{width}")], "{device}");
    }
}

fn the_second_address_of_a_device_is_found_by_its_network() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.ip("addr add 10.99.0.7/16 dev eth0");
    host.fanctl("up 250.0.0.0/8 10.99.0.0/16 --encap vxlan").ok();
    assert_eq!(shown(&host), ["fan-250-0-7", "250.0.0.0/8", "10.99.0.7/16"]);
}

fn the_choice_among_several_addresses_is_told() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.ip("addr add 10.99.0.7/16 dev eth0");
    let output = host.fanctl("up 250.0.0.0/8 eth0/16 --encap vxlan -v").ok();
    let [_, _, underlay] = shown(&host);
    assert_eq!(underlay, "172.30.0.28/16", "the first address of the interface");
    output.stderr_has(&["172.30.0.28", "eth0"]);
}

/// What reconfigures an interface takes its addresses away and gives them back, and the kernel's order is that of being added.
fn a_fan_stays_on_its_address_when_another_comes_first() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.set_sysctl("ipv4/conf/eth0/promote_secondaries", "1");
    host.fanctl("up 250.0.0.0/8 eth0/16 --encap vxlan").ok();
    let _container = host.container("250.0.28.2");
    host.ip("addr add 172.30.0.100/16 dev eth0
         addr del 172.30.0.28/16 dev eth0
         addr add 172.30.0.28/16 dev eth0");
    let first = &host.ip_json("addr show dev eth0")[0]["addr_info"][0]["local"];
    assert_eq!(first, "172.30.0.100");
    for underlay in ["eth0/16", "172.30.0.0/16"] {
        host.fanctl(&format!("up 250.0.0.0/8 {underlay} --encap vxlan")).ok();
        assert_eq!(shown(&host), ["fan-250-0-28", "250.0.0.0/8", "172.30.0.28/16"]);
    }
    // Who means another says so, and is asked to mind the containers.
    let refused = host.fanctl("up 250.0.0.0/8 172.30.0.100/16 --encap vxlan");
    refused.exits(3).stderr_has(&["fan-250-0-28"]);
}

fn networks_of_any_legal_width_carry_packets(encap: Encap) {
    // Underlay prefix, overlay, and for the hosts .28 and .27 what the arithmetic says of their slices.
    let cases = [
        ("172.30.0.0/24", "250.64.0.0/10", "250.71.0.2", "250.70.192.2"),
        ("172.30.0.0/16", "240.16.0.0/12", "240.16.1.194", "240.16.1.178"),
        ("172.30.0.0/24", "10.64.0.0/16", "10.64.28.2", "10.64.27.2"),
        ("172.30.0.0/16", "240.0.0.0/4", "240.1.192.2", "240.1.176.2"),
    ];
    for (underlay, overlay, there, back) in cases {
        let lan = Lan::of(underlay, 1500);
        let (a, b) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
        for host in [&a, &b] {
            host.fanctl(&format!("up {overlay} {underlay} {}", encap.words())).ok();
        }
        let (ca, cb) = (a.container(there), b.container(back));
        assert_eq!(ca.ping(back).arrives().ttl(), encap.ttl(), "{overlay} over {underlay}");
        assert_eq!(cb.ping(there).arrives().ttl(), encap.ttl(), "{overlay} over {underlay}");
    }
}

/// Two hosts that reach each other at 192.0.2.28 and .27, and at 172.30.0.28 and .27 through a device to be made.
#[track_caller]
fn two_hosts_with(device: &str, script: &str) -> (Host, Host, Lan) {
    let lan = Lan::of("192.0.2.0/24", 1500);
    let [a, b] = [28, 27].map(|number| {
        let host = lan.host(&format!("192.0.2.{number}"));
        host.ip(&format!(
            "{script}
             addr add 172.30.0.{number}/16 dev {device}
             link set {device} up"
        ));
        host
    });
    (a, b, lan)
}

/// Brings up a fan over the device on both hosts, and uses all of its MTU.
#[track_caller]
fn carries_a_fan(encap: Encap, device: &str, a: &Host, b: &Host, mtu: u64) {
    let wire = Capture::on(a, device, encap.outer());
    for (host, number) in [(a, 28), (b, 27)] {
        host.fanctl(&format!("up 250.0.0.0/8 {device}/16 {}", encap.words())).ok();
        let [bridge, _, underlay] = shown(host);
        assert_eq!(bridge, format!("fan-250-0-{number}"));
        assert_eq!(underlay, format!("172.30.0.{number}/16"));
    }
    let size = mtu - encap.overhead();
    assert_eq!(a.ip_json("link show dev fan-250-0-28")[0]["mtu"], size);
    let (ca, cb) = (a.container("250.0.28.2"), b.container("250.0.27.2"));
    let ping = ca.ping_with(&format!("-M do -s {}", size - 28), "250.0.27.2").arrives();
    assert_eq!(ping.ttl(), encap.ttl());
    tcp_exchange(&cb, &ca, "250.0.28.2");
    let packets = wire.first(2);
    assert!(
        packets.iter().all(|packet| packet.contains("172.30.0.28") && packet.contains("172.30.0.27")),
        "{packets:#?}"
    );
}

fn a_vlan_carries_a_fan(encap: Encap) {
    let (a, b, _lan) = two_hosts_with("eth0.100", "link add link eth0 name eth0.100 type vlan id 100");
    carries_a_fan(encap, "eth0.100", &a, &b, 1500);
}

fn a_vlan_on_a_bond_carries_a_fan(encap: Encap) {
    let script = "link add bond0 type bond mode active-backup
        link set eth0 down
        link set eth0 master bond0
        link set bond0 up
        link add link bond0 name bond0.100 type vlan id 100";
    let (a, b, _lan) = two_hosts_with("bond0.100", script);
    carries_a_fan(encap, "bond0.100", &a, &b, 1500);
}
