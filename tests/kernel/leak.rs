//! With the tunnel gone, nothing for the overlay leaves by another way.

use crate::case::{Case, Cases};
use crate::fixture::Pair;
use crate::named;
use crate::support::{Capture, Encap};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("leak")
        .each(named![
            nothing_leaves_by_the_default_route_when_the_tunnel_is_deleted,
            nothing_leaves_by_the_default_route_when_the_tunnel_is_down,
            nothing_leaves_by_the_default_route_when_the_bridge_is_deleted,
            up_brings_back_what_a_link_down_took,
        ])
        .list()
}

/// Does something to a host, then tries to reach the other host's container from both host and container.
#[track_caller]
fn does_not_leak(pair: &Pair, encap: Encap, damage: &str) {
    pair.ca.ping("250.0.27.2").arrives();
    pair.a.ip(damage);
    let filter = format!("(net 250.0.0.0/8 or ({})) and not src 172.30.0.27", encap.outer());
    let wire = Capture::on(&pair.a, "eth0", &filter);
    pair.ca.ping_in_vain("250.0.27.2");
    pair.a.exec("ping -n -c 1 -W 0.5 250.0.27.2");
    pair.a.exec("ping -n -c 1 -W 0.5 250.99.99.99");
    assert_eq!(wire.packets(), Vec::<String>::new(), "after: {damage}");
}

fn nothing_leaves_by_the_default_route_when_the_tunnel_is_deleted(encap: Encap) {
    let pair = Pair::new(encap);
    does_not_leak(&pair, encap, &format!("link del {}", encap.tunnel()));
    if encap == Encap::Ipip {
        // It ends with the host's answer.
        let answer = pair.ca.exec("ping -n -c 1 -W 10 250.0.27.2").exits(1).stdout;
        assert!(answer.contains("Unreachable"), "{answer}");
    }
}

fn nothing_leaves_by_the_default_route_when_the_tunnel_is_down(encap: Encap) {
    let pair = Pair::new(encap);
    does_not_leak(&pair, encap, &format!("link set {} down", encap.tunnel()));
}

fn nothing_leaves_by_the_default_route_when_the_bridge_is_deleted(encap: Encap) {
    let pair = Pair::new(encap);
    does_not_leak(&pair, encap, &format!("link del {}\nlink del fan-250-0-28", encap.tunnel()));
    let answer = pair.a.exec("ping -n -c 1 -W 5 250.0.27.2");
    let words = format!("{}{}", answer.stdout, answer.stderr);
    assert!(words.contains("nreachable") || words.contains("No route"), "{answer}");
}

fn up_brings_back_what_a_link_down_took(encap: Encap) {
    let pair = Pair::new(encap);
    let whole = pair.a.dump();
    for device in [encap.tunnel(), "fan-250-0-28"] {
        pair.a.ip(&format!("link set {device} down\nlink set {device} up"));
        let output = pair.a.up(encap);
        crate::support::assert_same(&whole, &pair.a.dump(), &output.to_string());
    }
    pair.ca.ping("250.0.27.2").arrives();
}
