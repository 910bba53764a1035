//! What is ours is known by more than one mark: objects of others that have one of them are left alone, and not a word is said
//! of them.

use serde_json::Value;

use crate::case::{Case, Cases};
use crate::fixture::Pair;
use crate::named;
use crate::support::{Encap, Host, Lan};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("owned")
        .only_ipip_in_tier_3()
        .each(named![
            routes_of_others_with_our_protocol_are_left_alone,
            a_rule_of_our_protocol_at_another_priority_is_not_ours,
            routes_that_a_daemon_flushed_come_back,
            devices_of_others_with_our_alias_are_left_alone,
            a_bridge_that_comes_with_our_alias_changes_no_fan,
        ])
        .once(named![
            tables_of_others_with_our_name_are_left_alone,
            rules_of_others_with_our_comment_are_left_alone,
            filters_and_qdiscs_of_others_are_left_alone,
        ])
        .list()
}

/// Routes of the protocol that ours have, and nothing else that ours have.
const FOREIGN_ROUTES: [&str; 9] = [
    "198.51.100.0/24 via 172.30.0.1 dev eth0 proto 250",
    "198.51.101.0/24 dev eth0 proto 250",
    "10.8.0.0/24 via 250.0.28.2 dev fan-250-0-28 proto 250",
    "10.9.0.0/24 dev fan-250-0-28 proto 250",
    "253.7.0.0/16 dev lo proto 250",
    "blackhole 198.51.102.0/24 proto 250",
    "unreachable 198.51.103.0/24 metric 7 proto 250",
    "198.51.104.0/24 nhid 77 proto 250",
    "198.51.105.0/24 proto 250 nexthop via 172.30.0.1 dev eth0 nexthop via 172.30.0.2 dev eth0",
];

/// The routes that another tool sees, but for ours.
fn routes(host: &Host) -> Vec<String> {
    let all = host.exec("ip route show table all").ok().stdout;
    let is_foreign = |line: &&str| ["198.51.10", "10.8.", "10.9.", "253.7."].iter().any(|part| line.contains(part));
    all.lines().filter(is_foreign).map(String::from).collect()
}

/// Whether the fan has all that belongs to it, as `show --json` tells.
fn is_complete(host: &Host) -> bool {
    let shown = host.fanctl("show --json").ok().json();
    assert_eq!(shown.as_array().map(Vec::len), Some(1), "{shown}");
    shown[0]["verdict"]["complete"] == Value::Bool(true)
}

fn routes_of_others_with_our_protocol_are_left_alone(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.set_sysctl("ipv4/ip_forward", "1");
    let before = host.dump();
    host.ip("nexthop add id 77 via 172.30.0.1 dev eth0");
    // Some are there before the fan is, the others once it is up.
    let (early, late): (Vec<&str>, Vec<&str>) = FOREIGN_ROUTES.into_iter().partition(|route| !route.contains("fan-"));
    for route in &early {
        host.ip(&format!("route add {route}"));
    }
    host.up(encap);
    for route in &late {
        host.ip(&format!("route add {route}"));
    }
    let foreign = routes(&host);
    assert_eq!(foreign.iter().filter(|line| !line.starts_with(['\t', ' '])).count(), FOREIGN_ROUTES.len());

    host.write("/run/none.toml", "");
    for verb in ["show", "show --json", "doctor --config /run/none.toml"] {
        let said = host.fanctl(verb).ok();
        for word in ["198.51.10", "10.8.0", "10.9.0", "253.7", "ip link delete", "ip route delete"] {
            assert!(!said.stdout.contains(word) && !said.stderr.contains(word), "{word}: {said}");
        }
    }
    assert!(is_complete(&host));
    host.up(encap).stdout_has(&["nothing to do"]);
    // A plan that takes back what it did does not touch them either.
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {} --mtu 1400", encap.words())).ok();
    assert_eq!(routes(&host), foreign);
    host.fanctl("down -e").ok();
    let left: Vec<String> = foreign.into_iter().filter(|line| !line.contains("fan-250-0-28")).collect();
    assert_eq!(routes(&host), left, "the kernel took those of the bridge with it");
    for route in &early {
        host.ip(&format!("route delete {route}"));
    }
    host.ip("nexthop delete id 77");
    crate::support::assert_same(&before, &host.dump(), "down -e");
}

fn a_rule_of_our_protocol_at_another_priority_is_not_ours(encap: Encap) {
    let pair = Pair::new(encap);
    let up = format!("up 250.0.0.0/8 eth0/16 {} --table 77", encap.words());
    pair.a.fanctl(&up).ok();
    assert!(is_complete(&pair.a));
    pair.a.ip("rule delete to 250.0.0.0/8 priority 1000\n\
         rule add to 250.0.0.0/8 lookup 77 priority 40000 protocol 250");
    assert!(!is_complete(&pair.a), "nothing is routed");
    pair.a.fanctl("doctor").exits(1).stdout_has(&["rule 'to 250.0.0.0/8' is missing"]);
    pair.a.fanctl(&up).ok();
    assert!(is_complete(&pair.a));
    pair.ca.ping_again("250.0.27.2").arrives();
    let rules = pair.a.ip_json("rule show");
    let of_250 = rules.as_array().expect("rules").iter().filter(|rule| rule["protocol"] == "250");
    let mut priorities: Vec<Option<u64>> = of_250.map(|rule| rule["priority"].as_u64()).collect();
    priorities.sort_unstable();
    assert_eq!(priorities, [Some(1000), Some(40000)]);
    pair.a.fanctl("down 250.0.0.0/8 eth0/16").exits(3);
    drop(pair.ca);
}

fn routes_that_a_daemon_flushed_come_back(encap: Encap) {
    let pair = Pair::new(encap);
    pair.ca.ping("250.0.27.2").arrives();
    pair.a.ip("route flush table all proto 250");
    assert!(!is_complete(&pair.a));
    pair.a.up(encap);
    assert!(is_complete(&pair.a));
    pair.ca.ping_again("250.0.27.2").arrives();
}

fn devices_of_others_with_our_alias_are_left_alone(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.set_sysctl("ipv4/ip_forward", "1");
    for (name, alias) in [
        ("veth-one", "fan 251.0.0.0/8 172.30.0.28/16 dev eth0 vxlan host-reserve 1"),
        ("veth-two", "fan tunnel of all ipip fans"),
        ("veth-three", "fan tunnel 251.0.0.0/8"),
    ] {
        host.ip(&format!("link add {name} type veth peer name {name}-in"));
        host.sh(&format!("ip link set dev {name} alias '{alias}'")).ok();
    }
    let before = host.dump();
    assert_eq!(host.fanctl("show --json").ok().json().as_array().map(Vec::len), Some(0));
    for verb in ["show", "down -e"] {
        let said = host.unchanged(|| host.fanctl(verb).ok());
        assert!(!said.to_string().contains("251.0.0.0"), "{said}");
    }
    host.up(encap);
    host.write("/run/none.toml", "");
    host.fanctl("doctor --config /run/none.toml").ok();
    assert!(is_complete(&host));
    host.fanctl("down -e").ok();
    crate::support::assert_same(&before, &host.dump(), "up, then down -e");
}

/// A port that a container gave an alias of ours is a port all the same.
fn a_bridge_that_comes_with_our_alias_changes_no_fan(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(encap);
    let container = host.container("250.0.28.2");
    host.sh(&format!("ip link set dev {} alias 'fan tunnel of all ipip fans'", container.port())).ok();
    let refusal = host.unchanged(|| host.fanctl("down -e").refused());
    refusal.stderr_has(&["still has a container"]);
    container.ping("250.0.28.1").arrives();
}

fn tables_of_others_with_our_name_are_left_alone() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    // A table of a name that reads like one of ours, one of another family, and one that has no chain of ours.
    host.sh(
        "nft add table ip fan-250
         nft add table inet fan-251.0.0.0/8
         nft 'add table ip fan-250.0.0.0/8; add chain ip fan-250.0.0.0/8 mine; add rule ip fan-250.0.0.0/8 mine counter'",
    )
    .ok();
    host.write("/run/none.toml", "");
    for verb in ["show", "down -e", "doctor --config /run/none.toml"] {
        let said = host.unchanged(|| host.fanctl(verb).ok());
        assert!(!said.to_string().contains("lost its bridge"), "{said}");
    }
    let refusal = host.unchanged(|| host.fanctl("up 250.0.0.0/8 eth0/16 --encap vxlan").refused());
    refusal.stderr_has(&[
        "table 'ip fan-250.0.0.0/8' has the name of the fan's and none of its chains",
        "nft list table ip fan-250.0.0.0/8",
    ]);
    host.exec("nft delete table ip fan-250.0.0.0/8").ok();
    host.fanctl("up 250.0.0.0/8 eth0/16 --encap vxlan").ok();
    assert!(is_complete(&host));
    host.fanctl("down -e").ok();
    host.exec("nft list table ip fan-250").ok();
    host.exec("nft list table inet fan-251.0.0.0/8").ok();
}

/// A rule with our comment that asks for more than ours.
fn rules_of_others_with_our_comment_are_left_alone() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.sh(
        "nft 'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy accept; }'
         nft 'add rule ip filter FORWARD iifname \"fan-250-0-28\" tcp dport 80 accept comment \"fan 250.0.0.0/8\"'",
    )
    .ok();
    let rule = || host.exec("nft list chain ip filter FORWARD").ok().stdout;
    let before = rule();
    host.up(Encap::Vxlan);
    host.fanctl("down -e").ok();
    assert_eq!(rule(), before);
}

/// A clsact elsewhere is another's, and so is a filter that is no program of a fan's, be it on the fan's tunnel.
fn filters_and_qdiscs_of_others_are_left_alone() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(Encap::Vxlan);
    let tunnel = Encap::Vxlan.tunnel();
    host.sh(&format!(
        "tc qdisc add dev eth0 clsact
         tc filter add dev eth0 ingress pref 7 handle 0x7 protocol all bpf bytecode '1,6 0 0 0,' flowid 1:1
         tc filter add dev {tunnel} egress pref 60000 handle 0x7 protocol all bpf bytecode '1,6 0 0 0,' flowid 1:1"
    ))
    .ok();
    let filters = |dev: &str| {
        host.tc_json(&format!("filter show dev {dev} {}", if dev == "eth0" { "ingress" } else { "egress" }))
    };
    let others = |dev: &str| {
        let all = filters(dev);
        let all = all.as_array().expect("filters").iter();
        all.filter(|filter| filter["options"]["handle"] == "0x7").count()
    };
    assert_eq!((others("eth0"), others(tunnel)), (1, 1));
    host.up(Encap::Vxlan).stdout_has(&["nothing to do"]);
    assert!(is_complete(&host));
    host.fanctl("up 250.0.0.0/8 eth0/16 --encap vxlan --mtu 1400").ok();
    assert_eq!((others("eth0"), others(tunnel)), (1, 1));
    host.fanctl("down -e").ok();
    assert_eq!(others("eth0"), 1, "the kernel takes those of the tunnel with it");
}
