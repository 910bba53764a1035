//! The way out: traffic of containers to destinations outside the overlay.

use crate::case::{Case, Cases, Need};
use crate::fixture::Pair;
use crate::named;
use crate::support::{Capture, Encap, INTERNET, Lan, tcp_exchange};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("nat")
        .only_ipip_in_tier_3()
        .each(named![
            containers_reach_the_internet_under_the_address_of_their_host,
            without_nat_nobody_translates,
            nothing_is_translated_inside_the_overlay,
        ])
        .each_with(&[Need::BridgeNetfilter], named![nobody_else_translates_inside_the_overlay])
        .once(named![nat_asks_for_ip_forward_and_never_takes_it_back,])
        .list()
}

fn containers_reach_the_internet_under_the_address_of_their_host(encap: Encap) {
    let pair = Pair::new(encap);
    let peer = tcp_exchange(&pair.ca, &pair.lan, INTERNET);
    assert_eq!(peer.ip().to_string(), "172.30.0.28");
    pair.ca.ping(INTERNET).arrives();
    pair.ca.ping("172.30.0.27").arrives();
}

fn without_nat_nobody_translates(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.set_sysctl("ipv4/ip_forward", "1");
    host.ip(&format!("route add default via {}", lan.gateway()));
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {} --no-nat", encap.words())).ok();
    let container = host.container("250.0.28.2");
    let outside = Capture::on(&lan, "lan0", "icmp");
    container.ping_in_vain(INTERNET);
    let packets = outside.packets();
    assert!(packets.iter().all(|packet| !packet.contains(&format!("172.30.0.28 > {INTERNET}"))), "{packets:#?}");
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {}", encap.words())).ok();
    container.ping(INTERNET).arrives();
}

fn nothing_is_translated_inside_the_overlay(encap: Encap) {
    let pair = Pair::new(encap);
    let neighbour = pair.a.container("250.0.28.3");
    let peer = tcp_exchange(&pair.ca, &neighbour, "250.0.28.3");
    assert_eq!(peer.ip().to_string(), "250.0.28.2");
    let peer = tcp_exchange(&pair.ca, &pair.cb, "250.0.27.2");
    assert_eq!(peer.ip().to_string(), "250.0.28.2");
}

fn nobody_else_translates_inside_the_overlay(encap: Encap) {
    let pair = Pair::new(encap);
    // Bridged packets pass the chains of iptables too.
    pair.a.set_sysctl("bridge/bridge-nf-call-iptables", "1");
    for rule in ["-s 250.0.28.0/24", "! -o lo"] {
        pair.a.exec(&format!("iptables -w -t nat -A POSTROUTING {rule} -j MASQUERADE")).ok();
    }
    let peer = tcp_exchange(&pair.ca, &pair.cb, "250.0.27.2");
    assert_eq!(peer.ip().to_string(), "250.0.28.2");
    let peer = tcp_exchange(&pair.ca, &pair.lan, INTERNET);
    assert_eq!(peer.ip().to_string(), "172.30.0.28");
}

fn nat_asks_for_ip_forward_and_never_takes_it_back() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.fanctl("up 250.0.0.0/8 eth0/16 --encap vxlan").ok();
    assert_eq!(host.sysctl("ipv4/ip_forward").as_deref(), Some("1"));
    host.fanctl("down -e").ok();
    assert_eq!(host.sysctl("ipv4/ip_forward").as_deref(), Some("1"));
}
