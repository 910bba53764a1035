//! Packet sizes: jumbo underlays, narrow paths, and changes.

use std::sync::{Mutex, PoisonError};

use crate::case::{Case, Cases};
use crate::fixture::{NarrowPath, Pair};
use crate::named;
use crate::support::{Encap, Host, Lan, eventually, tcp_exchange};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("mtu")
        .each(named![
            a_jumbo_underlay_carries_jumbo_packets,
            the_mtu_follows_the_underlay_at_the_next_up,
            the_mtu_can_be_given,
            a_port_for_larger_packets_leaves_the_bridge_as_it_is,
            packets_that_may_not_be_fragmented_learn_of_a_narrow_path,
            packets_that_may_be_fragmented_pass_a_narrow_path,
            tcp_passes_a_narrow_path,
        ])
        .list()
}

/// Bytes of IPv4 and ICMP headers in a ping.
const HEADERS: u64 = 28;

#[track_caller]
fn mtu(host: &Host, device: &str) -> u64 {
    host.ip_json(&format!("link show dev {device}"))[0]["mtu"].as_u64().expect("an MTU")
}

fn a_jumbo_underlay_carries_jumbo_packets(encap: Encap) {
    let pair = Pair::on(Lan::of("172.30.0.0/16", 9000), encap);
    let expected = 9000 - encap.overhead();
    for device in ["fan-250-0-28", encap.tunnel()] {
        assert_eq!(mtu(&pair.a, device), expected, "{device}");
    }
    pair.ca.ping_with(&format!("-M do -s {}", expected - HEADERS), "250.0.27.2").arrives();
    tcp_exchange(&pair.ca, &pair.cb, "250.0.27.2");
}

fn the_mtu_follows_the_underlay_at_the_next_up(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(encap);
    let container = host.container("250.0.28.2");
    host.ip("link set eth0 mtu 1400");
    host.up(encap);
    for device in ["fan-250-0-28", encap.tunnel()] {
        assert_eq!(mtu(&host, device), 1400 - encap.overhead(), "{device}");
    }
    container.ping("250.0.28.1").arrives();
}

fn the_mtu_can_be_given(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {} --mtu 1300", encap.words())).ok();
    assert_eq!(mtu(&host, "fan-250-0-28"), 1300);
}

fn a_port_for_larger_packets_leaves_the_bridge_as_it_is(encap: Encap) {
    let pair = Pair::new(encap);
    let expected = 1500 - encap.overhead();
    for size in [1500, 1280, 9000] {
        let container = pair.a.attach("fan-250-0-28", "of another size", size);
        assert_eq!(mtu(&pair.a, "fan-250-0-28"), expected, "with a port of {size}");
        pair.ca.ping_with(&format!("-M do -s {}", expected - HEADERS), "250.0.27.2").arrives();
        pair.a.up(encap).stdout_has(&["nothing to do"]);
        pair.a.detach(&container);
        assert_eq!(mtu(&pair.a, "fan-250-0-28"), expected, "after a port of {size}");
    }
}

/// Lends the narrow path of an encapsulation to one test at a time; no host on it has a cached path MTU.
#[track_caller]
fn with_narrow_path(encap: Encap, test: impl FnOnce(&Pair)) {
    static PATHS: [Mutex<Option<NarrowPath>>; 2] = [Mutex::new(None), Mutex::new(None)];
    let mut path = PATHS[encap as usize].lock().unwrap_or_else(PoisonError::into_inner);
    let pair = &path.get_or_insert_with(|| NarrowPath::new(encap)).pair;
    for namespace in [&*pair.a, &*pair.b, &*pair.ca, &*pair.cb] {
        namespace.ip("route flush cache");
    }
    test(pair);
}

fn packets_that_may_not_be_fragmented_learn_of_a_narrow_path(encap: Encap) {
    with_narrow_path(encap, |pair| learn_of_a_narrow_path(pair, encap));
}

/// The container on one side sends a packet that is too large for the link between the routers, and learns the path MTU.
#[track_caller]
pub fn learn_of_a_narrow_path(pair: &Pair, encap: Encap) {
    let narrow = 1400 - encap.overhead();
    let fits = || pair.ca.ping_with(&format!("-M do -s {}", narrow - HEADERS), "250.0.227.2").arrives();
    let too_large = format!("ping -n -c 1 -W 1 -M do -s {} 250.0.227.2", 1500 - encap.overhead() - HEADERS);
    fits();
    // The first large packet is dropped on the way: the router tells the host the MTU, and the host tells the container.
    eventually("the container learns the size of the path", || {
        let answer = pair.ca.exec(&too_large);
        let words = format!("{}{}", answer.stdout, answer.stderr);
        (words.contains(&format!("mtu = {narrow}")) || words.contains(&format!("mtu={narrow}"))).then_some(())
    });
    fits();
}

fn packets_that_may_be_fragmented_pass_a_narrow_path(encap: Encap) {
    with_narrow_path(encap, |pair| {
        for size in [1500 - encap.overhead(), 4028] {
            pair.ca.ping_with(&format!("-M dont -s {}", size - HEADERS), "250.0.227.2").arrives();
        }
    });
}

fn tcp_passes_a_narrow_path(encap: Encap) {
    with_narrow_path(encap, |pair| {
        tcp_exchange(&pair.ca, &pair.cb, "250.0.227.2");
        tcp_exchange(&pair.cb, &pair.ca, "250.0.28.2");
    });
}
