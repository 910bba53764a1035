//! The datapath between hosts: what arrives, and what the wire looks like.

use crate::case::{Case, Cases};
use crate::fixture::{Pair, with_world};
use crate::named;
use crate::support::{Capture, Encap, Inner, Lan, inject_plain, tcp_exchange};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("wire")
        .each(named![
            the_first_packet_between_containers_arrives,
            the_first_packet_of_a_host_to_a_container_arrives,
            containers_talk_tcp_both_ways,
            hosts_and_containers_reach_each_other_from_their_overlay_addresses,
            outer_headers_carry_the_underlay_addresses_of_both_hosts,
            the_outer_packet_may_be_fragmented_exactly_when_the_inner_one_may,
            the_outer_packet_inherits_tos_and_has_its_own_ttl,
            the_mapping_holds_across_different_24s_of_the_underlay,
            broadcasts_stay_on_their_host,
            what_is_for_one_host_does_not_go_to_all,
        ])
        .once(named![vxlan_uses_vni_16384000_and_asks_only_the_one_host_by_arp])
        .list()
}

fn the_first_packet_between_containers_arrives(encap: Encap) {
    let pair = Pair::new(encap);
    let ping = pair.ca.ping("250.0.27.2").arrives();
    assert_eq!(ping.ttl(), encap.ttl());
}

fn the_first_packet_of_a_host_to_a_container_arrives(encap: Encap) {
    let pair = Pair::new(encap);
    let wire = Capture::on(&pair.cb, "eth0", "icmp[icmptype] = icmp-echo");
    pair.a.ping("250.0.27.2").arrives();
    let packets = wire.packets();
    assert!(packets[0].contains("250.0.28.1 > 250.0.27.2"), "the source is the bridge's address: {packets:#?}");
}

fn containers_talk_tcp_both_ways(encap: Encap) {
    with_world(encap, |world| {
        let peer = tcp_exchange(&world.ca, &world.cb, "250.0.27.2");
        assert_eq!(peer.ip().to_string(), "250.0.28.2", "no address translation inside the overlay");
        let peer = tcp_exchange(&world.cb, &world.ca, "250.0.28.2");
        assert_eq!(peer.ip().to_string(), "250.0.27.2");
    });
}

fn hosts_and_containers_reach_each_other_from_their_overlay_addresses(encap: Encap) {
    with_world(encap, |world| {
        world.ca.ping("250.0.28.1").arrives();
        world.ca.ping("250.0.27.1").arrives();
        world.a.ping("250.0.28.2").arrives();
        world.a.ping("250.0.27.1").arrives();
        let peer = tcp_exchange(&world.a, &world.cb, "250.0.27.2");
        assert_eq!(peer.ip().to_string(), "250.0.28.1");
        let peer = tcp_exchange(&world.cb, &world.a, "250.0.28.1");
        assert_eq!(peer.ip().to_string(), "250.0.27.2");
    });
}

fn outer_headers_carry_the_underlay_addresses_of_both_hosts(encap: Encap) {
    with_world(encap, |world| {
        let wire = Capture::on(&world.b, "eth0", encap.outer());
        world.ca.ping("250.0.27.2").arrives();
        let packets = wire.packets();
        let pings: Vec<&String> = packets.iter().filter(|packet| packet.contains("ICMP echo")).collect();
        assert_eq!(pings.len(), 2, "{packets:#?}");
        let (there, back) = match encap {
            Encap::Ipip => ("172.30.0.28 > 172.30.0.27:", "172.30.0.27 > 172.30.0.28:"),
            Encap::Vxlan => ("> 172.30.0.27.8472:", "> 172.30.0.28.8472:"),
        };
        assert!(pings[0].contains(there) && pings[0].contains("250.0.28.2 > 250.0.27.2"), "{packets:#?}");
        assert!(pings[1].contains(back) && pings[1].contains("250.0.27.2 > 250.0.28.2"), "{packets:#?}");
    });
}

fn vxlan_uses_vni_16384000_and_asks_only_the_one_host_by_arp() {
    with_world(Encap::Vxlan, |world| {
        world.ca.ip("neigh flush dev eth0");
        let wire = Capture::on(&world.a, "eth0", "udp and not port 9");
        world.ca.ping("250.1.5.2").arrives();
        // Others ask their neighbours at any time whether they are still there.
        let packets = wire.packets_with("250.1.5.2");
        assert!(packets.iter().any(|packet| packet.contains("who-has 250.1.5.2")), "{packets:#?}");
        for packet in &packets {
            assert!(packet.contains("vni 16384000"), "{packet}");
            assert!(packet.contains("172.30.0.28.") && packet.contains("172.30.1.5."), "to one host only: {packet}");
        }
    });
}

/// The part of a captured packet that tells of the outer header: up to the second IP header, if there is one.
fn outer(packet: &str) -> &str {
    packet.find(')').map_or(packet, |end| &packet[..end])
}

fn the_outer_packet_may_be_fragmented_exactly_when_the_inner_one_may(encap: Encap) {
    with_world(encap, |world| {
        for (option, flags) in [("do", "flags [DF]"), ("dont", "flags [none]")] {
            let wire = Capture::on(&world.a, "eth0", &format!("({}) and src 172.30.0.28", encap.outer()));
            world.ca.ping_with(&format!("-M {option}"), "250.0.27.2").arrives();
            let packets = wire.packets();
            let pings: Vec<&String> = packets.iter().filter(|packet| packet.contains("ICMP echo")).collect();
            assert!(!pings.is_empty(), "{packets:#?}");
            assert!(pings.iter().all(|packet| outer(packet).contains(flags)), "ping -M {option}: {packets:#?}");
        }
    });
}

fn the_outer_packet_inherits_tos_and_has_its_own_ttl(encap: Encap) {
    with_world(encap, |world| {
        let wire = Capture::on(&world.a, "eth0", &format!("({}) and src 172.30.0.28", encap.outer()));
        world.ca.ping_with("-Q 0xb8 -t 7", "250.0.27.2").arrives();
        let packets = wire.packets();
        let ping = packets.iter().find(|packet| packet.contains("ICMP echo request")).expect("a ping on the wire");
        assert!(outer(ping).contains("tos 0xb8") && outer(ping).contains("ttl 64"), "{ping}");
    });
}

fn the_mapping_holds_across_different_24s_of_the_underlay(encap: Encap) {
    with_world(encap, |world| {
        let wire = Capture::on(&world.far, "eth0", encap.outer());
        assert_eq!(world.ca.ping("250.1.5.2").arrives().ttl(), encap.ttl());
        assert_eq!(world.cfar.ping("250.0.27.2").arrives().ttl(), encap.ttl());
        let packets = wire.packets();
        assert!(packets.iter().any(|packet| packet.contains("172.30.0.28")), "{packets:#?}");
        assert!(packets.iter().any(|packet| packet.contains("172.30.0.27")), "{packets:#?}");
    });
}

fn broadcasts_stay_on_their_host(encap: Encap) {
    with_world(encap, |world| {
        let neighbour = world.a.container("250.0.28.3");
        let wire = Capture::on(&world.a, "eth0", "not arp");
        let bridge = Capture::on(&neighbour, "eth0", Inner::FILTER);
        world.ca.ip("route replace 224.0.0.1/32 dev eth0");
        inject_plain(&world.ca, Inner::new("250.0.28.2", "224.0.0.1"));
        world.ca.ping_in_vain("250.0.28.99");
        let heard = bridge.packets();
        assert!(heard.iter().any(|packet| packet.contains("224.0.0.1")), "the neighbour hears it: {heard:#?}");
        let leaving =
            wire.packets().into_iter().filter(|packet| packet.contains("224.0.0.1") || packet.contains("250.0.28.99"));
        assert_eq!(leaving.collect::<Vec<_>>(), Vec::<String>::new(), "nothing leaves the host");
    });
}

/// Each neighbour would take it for its own, unwrap it, and run a program for it.
fn what_is_for_one_host_does_not_go_to_all(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(encap);
    let container = host.container("250.0.28.2");
    // The network of the interface may change, and it may be in a second one.
    for (networks, all) in [
        (&["172.30.0.28/16"][..], &["250.255.255.5"][..]),
        (&["172.30.0.28/24"], &["250.0.255.5"]),
        (&["172.30.0.28/20", "172.30.5.1/24"], &["250.15.255.5", "250.5.255.5"]),
    ] {
        let addresses: Vec<String> = networks.iter().map(|network| format!("addr add {network} dev eth0")).collect();
        host.ip(&format!("addr flush dev eth0\n {}", addresses.join("\n ")));
        host.up(encap);
        let wire = Capture::on(&lan, "lan0", "ether broadcast and not arp");
        for address in all {
            container.ping_in_vain(address);
            host.exec(&format!("ping -n -c 1 -W 0.5 {address}")).exits(1);
        }
        assert_eq!(wire.packets(), Vec::<String>::new(), "{networks:?}");
        host.fanctl("doctor").ok();
    }
}
