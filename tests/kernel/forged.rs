//! Packets with a forged source, and packets into the overlay that are not encapsulated.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use crate::case::{Case, Cases};
use crate::fixture::{Pair, World, with_world};
use crate::named;
use crate::support::{
    Capture, DEADLINE, Encap, FORGER, INTERNET, Inner, eventually, inject_ipip, inject_plain, inject_vxlan,
    inject_vxlan_arp, octets,
};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("forged")
        .each(named![
            an_honest_packet_made_by_hand_arrives,
            an_inner_source_of_another_host_is_refused_and_counted,
            an_inner_source_outside_the_overlay_is_refused_and_counted,
            a_packet_to_be_relayed_is_refused_and_counted,
            a_container_cannot_send_from_another_slice,
            plain_packets_for_the_slice_are_refused,
            a_published_port_works,
        ])
        .once(named![
            vxlan_of_another_network_identifier_does_not_arrive,
            an_arp_sender_of_another_host_is_refused_and_counted,
        ])
        .list()
}

/// The MAC address of the container on `a`.
fn mac(world: &World) -> [u8; 6] {
    octets(&world.ca.mac("eth0"))
}

/// Mallory encapsulates an inner packet and sends it to host `a`.
fn inject(encap: Encap, world: &World, inner: Inner) {
    match encap {
        Encap::Ipip => inject_ipip(&world.mallory, ("172.30.0.26", "172.30.0.28"), inner),
        Encap::Vxlan => inject_vxlan(&world.mallory, "172.30.0.28", 16_384_000, mac(world), inner),
    }
}

/// How often a packet is sent, so that the count tells it from the few multicasts of an idle bridge.
const MANY: u64 = 20;

/// Waits until as many packets more have been refused on `a`.
#[track_caller]
fn are_counted(world: &World, encap: Encap, before: u64) {
    let now = || world.a.refused_packets(encap.tunnel());
    eventually("the packets are counted as refused", || (now() >= before + MANY).then_some(()));
}

/// Mallory sends an inner packet; it must be counted as refused and be seen neither by the container nor on the wire.
#[track_caller]
fn is_refused(encap: Encap, inner: Inner) {
    with_world(encap, |world| {
        let refused = world.a.refused_packets(encap.tunnel());
        let container = Capture::on(&world.ca, "eth0", Inner::FILTER);
        let wire =
            Capture::on(&world.a, "eth0", &format!("src 172.30.0.28 and ({} or {})", encap.outer(), Inner::FILTER));
        for _ in 0..MANY {
            inject(encap, world, inner);
        }
        are_counted(world, encap, refused);
        assert_eq!(container.packets(), Vec::<String>::new());
        assert_eq!(wire.packets_with(".7777 >"), Vec::<String>::new(), "relayed");
    });
}

fn an_honest_packet_made_by_hand_arrives(encap: Encap) {
    with_world(encap, |world| {
        let container = Capture::on(&world.ca, "eth0", Inner::FILTER);
        inject(encap, world, Inner::new("250.0.26.9", "250.0.28.2"));
        let seen = container.at_least(1);
        assert!(seen[0].contains("250.0.26.9.7777 > 250.0.28.2.7777"), "{seen:#?}");
    });
}

fn an_inner_source_of_another_host_is_refused_and_counted(encap: Encap) {
    is_refused(encap, Inner::new("250.0.27.9", "250.0.28.2"));
}

fn an_inner_source_outside_the_overlay_is_refused_and_counted(encap: Encap) {
    is_refused(encap, Inner::new("172.30.0.26", "250.0.28.2"));
}

fn a_packet_to_be_relayed_is_refused_and_counted(encap: Encap) {
    is_refused(encap, Inner::new("250.0.26.9", "250.0.27.2"));
    is_refused(encap, Inner::new("250.0.26.9", INTERNET));
}

fn a_container_cannot_send_from_another_slice(encap: Encap) {
    with_world(encap, |world| {
        world.ca.ping("250.0.27.2").arrives();
        let wire =
            Capture::on(&world.a, "eth0", &format!("src 172.30.0.28 and ({} or {})", encap.outer(), Inner::FILTER));
        // Packets with a source in the overlay are dropped where they enter the bridge, before the program.
        let refused =
            || world.a.refused_packets(encap.tunnel()) + world.guarded("posing") + world.guarded("foreign addresses");
        for source in ["250.0.27.9", "250.0.26.9", "10.9.9.9"] {
            let before = refused();
            for _ in 0..MANY {
                inject_plain(&world.ca, Inner::new(source, "250.0.27.2"));
            }
            eventually("the packets are counted as refused", || (refused() >= before + MANY).then_some(()));
        }
        assert_eq!(wire.packets_with(".7777 >"), Vec::<String>::new());
    });
}

fn plain_packets_for_the_slice_are_refused(encap: Encap) {
    with_world(encap, |world| {
        world.mallory.ip("route replace 250.0.28.0/24 via 172.30.0.28");
        world.ca.ping("250.0.28.1").arrives();
        let container = Capture::on(&world.ca, "eth0", Inner::FILTER);
        let door = Capture::on(&world.a, "eth0", Inner::FILTER);
        let sources = ["172.30.0.26", "250.0.27.9", "250.0.28.9", "250.0.26.9"];
        for source in sources {
            inject_plain(&world.mallory, Inner::new(source, "250.0.28.2"));
        }
        assert_eq!(door.at_least(sources.len()).len(), sources.len(), "they reached the host");
        assert_eq!(container.packets(), Vec::<String>::new());
        assert!(world.mallory.ping_in_vain("250.0.28.2").stdout.contains("100% packet loss"));
    });
}

fn a_published_port_works(encap: Encap) {
    let pair = Pair::new(encap);
    let neighbour = pair.lan.host("172.30.0.26");
    pair.a.exec("nft add table ip published").ok();
    pair.a.exec("nft add chain ip published pre { type nat hook prerouting priority -100 ; }").ok();
    pair.a.exec("nft add rule ip published pre iifname eth0 tcp dport 8080 dnat to 250.0.28.2:80").ok();
    let address: Ipv4Addr = [250, 0, 28, 2].into();
    let listener = pair.ca.run(move || TcpListener::bind((address, 80))).expect("to listen in the container");
    let to = "172.30.0.28:8080".parse().expect("an address");
    let connection = neighbour.run(move || TcpStream::connect_timeout(&to, DEADLINE));
    connection.expect("a connection to the published port");
    let (_, peer) = listener.accept().expect("the connection");
    assert_eq!(peer.ip().to_string(), "172.30.0.26");
    neighbour.ip("route add 250.0.28.0/24 via 172.30.0.28");
    let door = Capture::on(&pair.ca, "eth0", Inner::FILTER);
    inject_plain(&neighbour, Inner::new("172.30.0.26", "250.0.28.2"));
    neighbour.ping_in_vain("250.0.28.2");
    assert_eq!(door.packets(), Vec::<String>::new(), "only the published port is open");
}

fn vxlan_of_another_network_identifier_does_not_arrive() {
    with_world(Encap::Vxlan, |world| {
        let container = Capture::on(&world.ca, "eth0", Inner::FILTER);
        let inner = Inner::new("250.0.26.9", "250.0.28.2");
        for vni in [1, 16_384_001, 16_449_536] {
            inject_vxlan(&world.mallory, "172.30.0.28", vni, mac(world), inner);
        }
        let refused = world.a.refused_packets(Encap::Vxlan.tunnel());
        // Packets of the right network, behind the others on the same path, show that they are through.
        for _ in 0..MANY {
            inject_vxlan(&world.mallory, "172.30.0.28", 16_384_000, mac(world), Inner::new("250.0.27.9", "250.0.28.2"));
        }
        are_counted(world, Encap::Vxlan, refused);
        assert_eq!(container.packets(), Vec::<String>::new());
    });
}

fn an_arp_sender_of_another_host_is_refused_and_counted() {
    with_world(Encap::Vxlan, |world| {
        // Only the forged requests, not those of the container itself.
        let container = Capture::on(&world.ca, "eth0", &format!("arp and ether src {FORGER}"));
        for (sender, target) in [([250, 0, 27, 9], [250, 0, 28, 2]), ([250, 0, 26, 9], [250, 0, 27, 2])] {
            let refused = world.a.refused_packets(Encap::Vxlan.tunnel());
            for _ in 0..MANY {
                inject_vxlan_arp(&world.mallory, "172.30.0.28", 16_384_000, sender.into(), target.into());
            }
            are_counted(world, Encap::Vxlan, refused);
        }
        assert_eq!(container.packets(), Vec::<String>::new());
    });
}
