//! Routes of other programs: learnt path MTUs, next hops by number, and a full table.

use std::fmt::Write as _;

use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Encap, Host, Lan, eventually};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("routes")
        .only_ipip_in_tier_3()
        .each(named![a_path_mtu_that_a_router_told_is_no_route, a_path_mtu_into_the_fan_is_no_route])
        .once(named![a_default_route_by_a_numbered_next_hop_is_found, show_asks_for_the_routes_of_fans_only])
        .list()
}

/// What the kernel has learnt about the path to an address.
fn learned(host: &Host, address: &str) -> String {
    host.exec(&format!("ip route get {address}")).ok().stdout
}

/// An ICMP error about an address inside the overlay, to which the host sent a packet before there was a fan.
fn a_path_mtu_that_a_router_told_is_no_route(encap: Encap) {
    let lan = Lan::new();
    lan.set_sysctl("ipv4/ip_forward", "1");
    lan.ip("route add 250.9.9.9/32 dev lan0 mtu lock 1000");
    let host = lan.host("172.30.0.28");
    host.ip(&format!("route add default via {}", lan.gateway()));
    eventually("the host learns the path MTU", || {
        host.exec("ping -c 1 -W 1 -M do -s 1400 250.9.9.9");
        learned(&host, "250.9.9.9").contains("mtu 1000").then_some(())
    });
    let up = format!("up 250.0.0.0/8 eth0/16 {}", encap.words());
    host.fanctl(&up).ok();
    host.unchanged(|| host.fanctl(&up).ok().stdout_has(&["nothing to do"]));
    host.fanctl("down 250.0.0.0/8 eth0/16").ok();
}

/// A narrow way to another host, and a packet that does not fit it.
fn a_path_mtu_into_the_fan_is_no_route(encap: Encap) {
    let lan = Lan::new();
    let (host, other) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
    let config = format!("[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"{encap}\"\n");
    host.write("/run/fan.toml", &config);
    host.fanctl("up -a --config /run/fan.toml").ok();
    other.up(encap);
    host.ip("route add 172.30.0.27/32 dev eth0 mtu lock 1200");
    eventually("the host learns the path MTU", || {
        host.exec("ping -c 1 -W 1 -M do -s 1400 250.0.27.1");
        learned(&host, "250.0.27.1").contains(" mtu 1").then_some(())
    });
    // Without the route, the learnt path MTU stays.
    host.ip("route del 172.30.0.27/32 dev eth0");
    assert!(learned(&host, "250.0.27.1").contains(" mtu 1"));
    host.unchanged(|| host.fanctl("up -a --config /run/fan.toml").ok().stdout_has(&["nothing to do"]));
    host.fanctl("status --config /run/fan.toml").ok();
    host.fanctl("trace 250.0.27.1");
    host.unchanged(|| host.up(encap).ok());
    host.fanctl("down -e").ok();
}

/// Without the compatibility mode, the number of the next hop is all that the kernel tells of a route.
fn a_default_route_by_a_numbered_next_hop_is_found() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.set_sysctl("ipv4/nexthop_compat_mode", "0");
    let gateway = lan.gateway();
    for next in ["1", "2"] {
        host.ip(&format!("nexthop add id 1 via {gateway} dev eth0\n nexthop add id 2 group 1"));
        host.ip(&format!("route add default nhid {next}"));
        host.fanctl("up 250.0.0.0/8 default/16 --encap vxlan").ok();
        assert_eq!(host.fanctl("show --json").ok().json()[0]["device"], "eth0");
        host.fanctl("down 250.0.0.0/8 default/16").ok();
        // A route into the overlay by a numbered next hop counts as a route that leads elsewhere.
        host.ip(&format!("route add 250.7.0.0/16 nhid {next}"));
        let refused = host.fanctl("up 250.0.0.0/8 eth0/16 --encap vxlan").refused();
        refused.stderr_has(&["250.7.0.0/16", "eth0"]);
        host.ip("nexthop flush");
    }
}

/// What strace saw a command receive, in bytes.
fn received(host: &Host, words: &str) -> u64 {
    let program = Host::program();
    host.exec(&format!("strace -e trace=recvfrom,recvmsg -o /run/received {program} {words}")).ok();
    let calls = host.exec("cat /run/received").ok().stdout;
    calls.lines().filter_map(|line| line.rsplit_once(" = ")?.1.trim().parse::<u64>().ok()).sum()
}

/// The kernel leaves out the routes that `fanctl` does not ask for.
fn show_asks_for_the_routes_of_fans_only() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(Encap::Vxlan).ok();
    let before = ["show", "show --json"].map(|words| received(&host, words));
    assert!(before.iter().all(|bytes| *bytes > 0), "{before:?}");
    let mut routes = String::new();
    for number in 0..5000 {
        // Writing to a string cannot fail.
        let _ =
            writeln!(routes, "route add 198.18.{}.{}/32 via {} dev eth0", number / 250, number % 250, lan.gateway());
    }
    host.ip(&routes);
    let after = ["show", "show --json"].map(|words| received(&host, words));
    // Less than a byte for each of them.
    assert!(before.iter().zip(after).all(|(before, after)| after < before + 5000), "{before:?}, {after:?}");
}
