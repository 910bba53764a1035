//! Connection tracking and what carries the fan between hosts: they know of each other, unless somebody asks otherwise.

use crate::case::{Case, Cases};
use crate::fixture::NarrowPath;
use crate::mtu::learn_of_a_narrow_path;
use crate::named;
use crate::support::{Crafted, Encap, Host, INTERNET, Lan, eventually, octets, tcp_exchange};
use crate::trace::{blames, carrier, trace};

pub fn cases() -> Vec<Case> {
    Cases::of("conntrack")
        .each(named![
            what_carries_the_fan_is_tracked_unless_somebody_asks_otherwise,
            an_untracked_fan_hears_of_errors_behind_a_firewall,
            errors_about_others_are_tracked,
        ])
        .list()
}

#[track_caller]
fn up(host: &Host, encap: Encap, option: &str) {
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {} {option}", encap.words()))
        .ok();
}

/// What a host tracks between two addresses.
fn tracked(host: &Host, one: &str, other: &str) -> Vec<String> {
    let all = host.exec("cat /proc/net/nf_conntrack").ok().stdout;
    let is_between = |line: &&str| line.contains(&format!("={one} ")) && line.contains(&format!("={other} "));
    all.lines().filter(is_between).map(str::to_string).collect()
}

fn what_carries_the_fan_is_tracked_unless_somebody_asks_otherwise(encap: Encap) {
    for option in ["", "--no-conntrack"] {
        let lan = Lan::new();
        let (a, b) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
        for host in [&a, &b] {
            up(host, encap, option);
        }
        let (ca, cb) = (a.container("250.0.28.2"), b.container("250.0.27.2"));
        tcp_exchange(&ca, &cb, "250.0.27.2");
        tcp_exchange(&cb, &ca, "250.0.28.2");
        a.ping("172.30.0.27").arrives();
        for host in [&a, &b] {
            let mut outside = tracked(host, "172.30.0.28", "172.30.0.27");
            // That it tracks what is not the fan's shows that it tracks.
            let before = outside.len();
            outside.retain(|line| !line.contains(" icmp "));
            assert!(outside.len() < before, "{option}: {outside:#?}");
            assert_eq!(outside.is_empty(), !option.is_empty(), "{option}: {outside:#?}");
            if encap == Encap::Ipip {
                let inside = tracked(host, "250.0.28.2", "250.0.27.2");
                assert!(!inside.is_empty(), "{option}: what the host routes is tracked");
            }
        }
    }
}

/// The firewall refuses what is invalid before it accepts errors, as ufw does and as firewalld does.
fn an_untracked_fan_hears_of_errors_behind_a_firewall(encap: Encap) {
    let narrow = NarrowPath::new(encap);
    let pair = &narrow.pair;
    let wrapped = carrier(encap);
    up(&pair.a, encap, "--no-conntrack");
    let rules = "nft add rule ip firewall in";
    pair.a
        .sh(&format!(
            "nft add table ip firewall
             nft add chain ip firewall in '{{ type filter hook input priority 0; policy drop; }}'
             {rules} ct state established,related accept
             {rules} ct state invalid counter drop
             {rules} {wrapped} accept
             {rules} icmp type '{{ destination-unreachable, time-exceeded }}' accept"
        ))
        .ok();
    learn_of_a_narrow_path(pair, encap);
    tcp_exchange(&pair.ca, &pair.cb, "250.0.227.2");
    // A trace lives on the errors of routers.
    narrow.routers[0]
        .sh(&format!(
            "nft add table ip broken
             nft add chain ip broken forward '{{ type filter hook forward priority 0; }}'
             nft add rule ip broken forward {wrapped} counter drop"
        ))
        .ok();
    blames(
        &trace(&pair.a, "250.0.227.2"),
        "dropped",
        "172.30.0.1",
        "gets as far as 172.30.0.1",
    );
}

/// What else a host hears of is tracked as before: it may be about somebody whom the host masquerades.
fn errors_about_others_are_tracked(encap: Encap) {
    let lan = Lan::new();
    let (a, b) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
    up(&a, encap, "--no-conntrack");
    let rules = "nft add rule ip mine in icmp type destination-unreachable ct state";
    a.sh(&format!(
        "nft add table ip mine
         nft add chain ip mine in '{{ type filter hook input priority 0; }}'
         {rules} untracked counter
         {rules} invalid counter"
    ))
    .ok();
    let heard = || a.counters("ip mine");
    let inner = || Crafted::udp(7, ("250.0.28.2", "250.0.27.2"));
    let wrapped = |ends| match encap {
        Encap::Ipip => inner().in_ip(ends),
        Encap::Vxlan => inner().in_vxlan(ends, octets("02:fa:fa:00:1b:00")),
    };
    let ours = wrapped(("172.30.0.28", "172.30.0.27"));
    let mut expected = vec![0, 0];
    for (quoted, of) in [
        (ours.clone(), 0),
        (wrapped(("172.30.0.28", INTERNET)), 1),
        (wrapped(("172.30.0.27", "172.30.0.28")), 1),
        // Of another protocol: ICMP.
        (ours.clone().patched(9, &[1]), 1),
        // To another port.
        (ours.patched(22, &[0x21, 0x19]), usize::from(encap == Encap::Vxlan)),
    ] {
        let what = format!("{quoted:?}");
        quoted.quoted((3, 4), ("172.30.0.27", "172.30.0.28")).send(&b);
        expected[of] += 1;
        eventually("the error is heard", || {
            (heard().iter().sum::<u64>() == expected.iter().sum::<u64>()).then_some(())
        });
        assert_eq!(heard(), expected, "{what}");
    }
}
