//! The ways to name an underlay, and overlays of other widths.

use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Encap, Host, Lan};

pub fn cases() -> Vec<Case> {
    Cases::of("underlay")
        .each(named![networks_of_any_legal_width_carry_packets])
        .once(named![
            every_way_to_write_the_announcement_is_the_same_fan,
            devices_of_any_name_are_understood,
            the_second_address_of_a_device_is_found_by_its_network,
            the_choice_among_several_addresses_is_told,
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
        assert_eq!(
            shown(&host),
            ["fan-250-0-28", "250.0.0.0/8", "172.30.0.28/16"],
            "{overlay} {underlay}"
        );
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
        host.fanctl(&format!("up 250.0.0.0/8 {device}/{width} --encap vxlan"))
            .ok();
        assert_eq!(
            shown(&host),
            [bridge, "250.0.0.0/8", &format!("172.30.0.28/{width}")],
            "{device}"
        );
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
