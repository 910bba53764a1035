//! Several fans on one host come and go without disturbing each other.

use serde_json::json;

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Echo, Encap, Host, Lan, assert_same, tcp_exchange};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("several")
        .only_ipip_in_tier_3()
        .each(named![
            fans_over_two_nics_come_and_go_without_losing_a_packet,
            two_fans_over_one_nic_are_apart,
            changing_a_fan_does_not_lose_a_packet_of_another,
            down_of_one_leaves_the_other_as_it_was,
            fans_over_nics_of_different_mtus_each_have_their_own,
            what_is_another_fans_is_not_to_be_removed,
            nft_lists_the_tables_that_are_not_as_made_and_no_others,
        ])
        .once_with(&[Need::Ipip], named![down_e_removes_fans_of_both_encapsulations])
        .once(named![down_e_removes_every_fan, verbs_tell_of_fans_in_one_shape])
        .list()
}

/// Two hosts on two underlays: 172.30.0.0/16 on eth0 and 10.99.0.0/16 on eth1.
struct TwoNics {
    a: Host,
    b: Host,
    _lans: [Lan; 2],
}

impl TwoNics {
    fn new() -> Self {
        Self::with_mtu(1500)
    }

    /// With this MTU on eth1.
    fn with_mtu(mtu: u32) -> Self {
        let lans = [Lan::new(), Lan::of("10.99.0.0/16", mtu)];
        let [a, b] = ["28", "27"].map(|number| {
            let host = lans[0].host(&format!("172.30.0.{number}"));
            lans[1].plug(&host, "eth1", &format!("10.99.0.{number}/16"));
            host
        });
        Self { a, b, _lans: lans }
    }

    #[track_caller]
    fn fanctl(&self, words: &str) {
        for host in [&self.a, &self.b] {
            host.fanctl(words).ok();
        }
    }
}

fn fans_over_two_nics_come_and_go_without_losing_a_packet(encap: Encap) {
    let hosts = TwoNics::new();
    let words = encap.words();
    hosts.fanctl(&format!("up 250.0.0.0/8 eth0/16 {words}"));
    let (ca, cb) = (hosts.a.container("250.0.28.2"), hosts.b.container("250.0.27.2"));
    let echo = Echo::between(&ca, &cb, "250.0.27.2");
    for _ in 0..3 {
        hosts.fanctl(&format!("up 251.0.0.0/8 eth1/16 {words}"));
        let (other_a, other_b) = (hosts.a.container("251.0.28.2"), hosts.b.container("251.0.27.2"));
        other_a.ping("251.0.27.2").arrives();
        other_b.ping("251.0.28.2").arrives();
        hosts.a.detach(&other_a);
        hosts.b.detach(&other_b);
        hosts.fanctl("down 251.0.0.0/8 eth1/16");
    }
    assert!(echo.stop() > 0);
}

fn two_fans_over_one_nic_are_apart(encap: Encap) {
    let lan = Lan::new();
    let hosts = [lan.host("172.30.0.28"), lan.host("172.30.0.27")];
    for host in &hosts {
        host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {}", encap.words())).ok();
        host.fanctl(&format!("up 10.0.0.0/8 eth0/16 {}", encap.words())).ok();
    }
    let [a, b] = &hosts;
    let (ca, cb) = (a.container("250.0.28.2"), b.container("250.0.27.2"));
    let (da, db) = (a.container("10.0.28.2"), b.container("10.0.27.2"));
    ca.ping("250.0.27.2").arrives();
    da.ping("10.0.27.2").arrives();
    cb.ping("250.0.28.2").arrives();
    db.ping("10.0.28.2").arrives();
}

fn changing_a_fan_does_not_lose_a_packet_of_another(encap: Encap) {
    let hosts = TwoNics::new();
    let words = encap.words();
    hosts.fanctl(&format!("up 250.0.0.0/8 eth0/16 {words}"));
    hosts.fanctl(&format!("up 251.0.0.0/8 eth1/16 {words}"));
    let (ca, cb) = (hosts.a.container("250.0.28.2"), hosts.b.container("250.0.27.2"));
    let echo = Echo::between(&ca, &cb, "250.0.27.2");
    for change in ["--no-nat", "--host-reserve 4", ""] {
        hosts.fanctl(&format!("up 251.0.0.0/8 eth1/16 {words} {change}"));
    }
    assert!(echo.stop() > 0);
}

fn down_of_one_leaves_the_other_as_it_was(encap: Encap) {
    let hosts = TwoNics::new();
    let words = encap.words();
    hosts.a.fanctl(&format!("up 250.0.0.0/8 eth0/16 {words}")).ok();
    let one = hosts.a.dump();
    hosts.a.fanctl(&format!("up 251.0.0.0/8 eth1/16 {words}")).ok();
    let output = hosts.a.fanctl("down 251.0.0.0/8 eth1/16").ok();
    assert_same(&one, &hosts.a.dump(), &output.to_string());
}

fn fans_over_nics_of_different_mtus_each_have_their_own(encap: Encap) {
    let hosts = TwoNics::with_mtu(9000);
    let words = encap.words();
    hosts.fanctl(&format!("up 250.0.0.0/8 eth0/16 {words}"));
    let narrow = hosts.a.dump();
    hosts.fanctl(&format!("up 251.0.0.0/8 eth1/16 {words}"));
    let mtu = |device: &str| hosts.a.ip_json(&format!("link show dev {device}"))[0]["mtu"].as_u64();
    for (fan, underlay) in [(250, 1500), (251, 9000)] {
        let size = underlay - encap.overhead();
        assert_eq!(mtu(&format!("fan-{fan}-0-28")), Some(size));
        let here = hosts.a.container(&format!("{fan}.0.28.2"));
        let there = hosts.b.container(&format!("{fan}.0.27.2"));
        let address = format!("{fan}.0.27.2");
        // 28 bytes of every ping are headers.
        for from in [&*here, &*hosts.a] {
            from.ping_with(&format!("-M do -s {}", size - 28), &address).arrives();
            from.exec(&format!("ping -n -c 1 -W 1 -M do -s {} {address}", size - 27)).exits(1);
        }
        tcp_exchange(&here, &there, &address);
        hosts.a.detach(&here);
        hosts.b.detach(&there);
    }
    let output = hosts.a.fanctl("down 251.0.0.0/8 eth1/16").ok();
    assert_same(&narrow, &hosts.a.dump(), &output.to_string());
}

/// Brings up a fan for each of these words, then takes all down at once.
#[track_caller]
fn all_go(fans: &[&str]) {
    let hosts = TwoNics::new();
    let host = &hosts.a;
    host.set_sysctl("ipv4/ip_forward", "1");
    let before = host.dump();
    for fan in fans {
        host.fanctl(&format!("up {fan}")).ok();
    }
    assert_eq!(host.fanctl("show").ok().stdout.lines().count(), 1 + fans.len());
    let output = host.fanctl("down -e").ok();
    assert_same(&before, &host.dump(), &output.to_string());
}

fn down_e_removes_fans_of_both_encapsulations() {
    all_go(&[
        "250.0.0.0/8 eth0/16 dhcp",
        "251.0.0.0/8 eth1/16",
        "252.0.0.0/8 eth0/16 --encap vxlan",
        "253.0.0.0/8 eth1/16 --encap vxlan --table 7 --no-nat",
    ]);
}

/// Two fans cannot have one bridge, and no message says to remove the bridge of a fan.
fn what_is_another_fans_is_not_to_be_removed(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let up = |words: &str| host.fanctl(&format!("up {words} {}", encap.words()));
    up("250.0.0.0/8 eth0/16 bridge fan0").ok();
    let refusal = host.unchanged(|| up("251.0.0.0/8 eth0/16 bridge fan0").refused());
    refusal.stderr_has(&["bridge name 'fan0' is that of fan 250.0.0.0/8, which is up"]);
    let refusal = host.unchanged(|| up("250.0.0.0/9 eth0/16").refused());
    refusal.stderr_has(&["overlay '250.0.0.0/9' overlaps fan 250.0.0.0/8, which is up"]);
}

fn down_e_removes_every_fan() {
    all_go(&[
        "252.0.0.0/8 eth0/16 --encap vxlan dhcp",
        "253.0.0.0/8 eth1/16 --encap vxlan --table 7 --no-nat",
        "251.0.0.0/8 eth0/16 --encap vxlan --port 4789 --bridge br251",
    ]);
}

/// On this host a script stands in the place of `nft`: it writes down its arguments, then executes `nft`.
fn nft_lists_the_tables_that_are_not_as_made_and_no_others(encap: Encap) {
    let hosts = TwoNics::new();
    let words = encap.words();
    hosts.fanctl(&format!("up 250.0.0.0/8 eth0/16 {words}"));
    hosts.fanctl(&format!("up 251.0.0.0/8 eth1/16 {words}"));
    let before = hosts.a.dump();
    hosts
        .a
        .sh("nft=$(readlink -f \"$(command -v nft)\")
             touch /run/real /run/wrapper
             mount --bind \"$nft\" /run/real
             printf '#!/bin/sh\\necho \"$*\" >>/run/asked\\nexec /run/real \"$@\"\\n' >/run/wrapper
             chmod 755 /run/wrapper
             mount --bind /run/wrapper \"$nft\"")
        .ok();
    let listed = || -> Vec<String> {
        let asked = hosts.a.sh("cat /run/asked; : >/run/asked").ok().stdout;
        let tables = asked.lines().filter(|line| line.starts_with("list table "));
        tables.map(String::from).collect()
    };
    // The script does see calls of `nft`.
    hosts.a.sh("nft list tables; grep -qx \"list tables\" /run/asked").ok();
    let up = hosts.a.fanctl(&format!("up 250.0.0.0/8 eth0/16 {words}")).ok();
    up.stdout_has(&["nothing to do"]);
    assert_eq!(listed(), [""; 0]);
    for harm in [
        "flush chain ip fan-251.0.0.0/8 routed",
        "add rule ip fan-251.0.0.0/8 guard accept",
        "add chain bridge fan-251.0.0.0/8 mine",
        "add set ip fan-251.0.0.0/8 mine { type ipv4_addr; }",
        "add counter ip fan-251.0.0.0/8 mine",
    ] {
        hosts.a.sh(&format!("nft '{harm}'")).ok();
        listed();
        let output = hosts.a.fanctl(&format!("up 251.0.0.0/8 eth1/16 {words}")).ok();
        let both = ["ip", "bridge"].map(|family| format!("list table {family} fan-251.0.0.0/8"));
        assert_eq!(listed(), both, "{harm}");
        assert_same(&before, &hosts.a.dump(), &output.to_string());
    }
}

/// Each verb has the same keys for a fan, in an array where there can be several fans.
fn verbs_tell_of_fans_in_one_shape() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let told = |words: &str| host.fanctl(&format!("{words} --json")).ok().json();
    let [one, other] = ["250.0.0.0/8", "251.0.0.0/8"];
    for overlay in [one, other] {
        let up = told(&format!("up {overlay} eth0/16 --encap vxlan"));
        assert_eq!((&up["overlay"], &up["changed"]), (&json!(overlay), &json!(true)));
        assert_eq!(up["fan"]["overlay"], overlay);
    }
    let end = |overlay: &str, changed: bool| json!({ "overlay": overlay, "changed": changed, "fan": null });
    assert_eq!(told("down -e"), json!([end(one, true), end(other, true)]));
    assert_eq!(told("down -e"), json!([]));
    assert_eq!(told("down -a"), json!([]));
    assert_eq!(told(&format!("down {one} eth0/16")), end(one, false));
}
