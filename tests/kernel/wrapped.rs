//! Containers that write the outer header themselves: only hosts may encapsulate.

use crate::case::{Case, Cases};
use crate::fixture::with_world;
use crate::named;
use crate::support::{Capture, Encap, Inner, Namespace, eventually, inject_ipip, inject_vxlan_from};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("wrapped")
        .each(named![
            a_container_cannot_pose_as_a_host_to_its_own,
            a_container_cannot_pose_as_a_host_to_another,
            a_container_cannot_wrap_in_the_name_of_its_host,
            nor_for_an_address_that_is_translated_into_a_hosts,
        ])
        .list()
}

/// How often a packet is sent.
const MANY: u64 = 20;

/// A destination NAT of the host translates the outer destination to the address of another host.
fn nor_for_an_address_that_is_translated_into_a_hosts(encap: Encap) {
    with_world(encap, |world| {
        world.a.exec("nft add table ip translated").ok();
        let chain = "nft add chain ip translated pre { type nat hook prerouting priority -100 ; }";
        world.a.exec(chain).ok();
        let rule = "nft add rule ip translated pre ip daddr 203.0.113.5 dnat to 172.30.0.27";
        world.a.exec(rule).ok();
    });
    let inner = Inner::new("250.0.28.9", "250.0.27.2");
    is_stopped_at_home(encap, ("250.0.28.2", "203.0.113.5"), inner, "encapsulated by no host");
    with_world(encap, |world| drop(world.a.exec("nft delete table ip translated").ok()));
}

/// A container of host 172.30.0.28 sends packets with an outer header of its own. Rules of its host's guard must count
/// all of them, and none may arrive at a container or on the wire.
#[track_caller]
fn is_stopped_at_home(encap: Encap, outer: (&str, &str), inner: Inner, rule: &str) {
    with_world(encap, |world| {
        let before = world.guarded(rule);
        let here = Capture::on(&world.ca, "eth0", Inner::FILTER);
        let there = Capture::on(&world.cb, "eth0", Inner::FILTER);
        let wire = Capture::on(&world.a, "eth0", encap.outer());
        for _ in 0..MANY {
            wrap(encap, &world.ca, outer, inner);
        }
        eventually("the guard counts the packets", || (world.guarded(rule) >= before + MANY).then_some(()));
        for capture in [here, there] {
            assert_eq!(capture.packets(), Vec::<String>::new());
        }
        assert_eq!(wire.packets_with(".7777 >"), Vec::<String>::new());
    });
}

fn wrap(encap: Encap, from: &Namespace, outer: (&str, &str), inner: Inner) {
    match encap {
        Encap::Ipip => inject_ipip(from, outer, inner),
        // No interface has the MAC address; the bridge would flood the frame to all ports.
        Encap::Vxlan => inject_vxlan_from(from, outer, 16_384_000, [0x02, 0, 0, 0, 0, 0x77], inner),
    }
}

fn a_container_cannot_pose_as_a_host_to_its_own(encap: Encap) {
    let inner = Inner::new("250.0.27.9", "250.0.28.2");
    is_stopped_at_home(encap, ("172.30.0.27", "172.30.0.28"), inner, "encapsulated by another way");
}

fn a_container_cannot_pose_as_a_host_to_another(encap: Encap) {
    let inner = Inner::new("250.0.26.9", "250.0.27.2");
    is_stopped_at_home(encap, ("172.30.0.26", "172.30.0.27"), inner, "encapsulated by another way");
}

fn a_container_cannot_wrap_in_the_name_of_its_host(encap: Encap) {
    let inner = Inner::new("250.0.28.9", "250.0.27.2");
    is_stopped_at_home(encap, ("250.0.28.2", "172.30.0.27"), inner, "encapsulated by no host");
}
