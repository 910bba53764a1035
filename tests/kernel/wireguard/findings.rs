//! What `doctor` and `trace` make of handshakes, each with its code.

use serde_json::Value;

use super::{COUNTING, DEVICE, Pair, UP, give_key, wg};
use crate::support::{Host, Lan, eventually};

/// The finding of this code, as `doctor` tells it.
#[track_caller]
fn finding(host: &Host, code: &str) -> Value {
    let output = host.fanctl("doctor --json");
    let json: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output}"));
    let all = json.as_array().or(json["findings"].as_array()).unwrap_or_else(|| panic!("{json:#}"));
    all.iter().find(|finding| finding["code"] == code).unwrap_or_else(|| panic!("no {code}: {json:#}")).clone()
}

#[track_caller]
fn cause(host: &Host, words: &str) -> String {
    let output = host.fanctl(&format!("trace --json {words}")).exits(1);
    let json: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output}"));
    json["verdict"]["cause"].as_str().unwrap_or_else(|| panic!("{json:#}")).to_string()
}

pub(super) fn handshakes_that_are_missing_have_a_code() {
    let lan = Lan::new();
    let [a, b] = ["172.30.0.28", "172.30.0.27"].map(|address| lan.host(address));
    give_key(&a, COUNTING);
    b.fanctl("key generate").ok();
    for host in [&a, &b] {
        host.fanctl(UP).ok();
    }
    let (ca, cb) = (a.container("250.0.28.2"), b.container("250.0.27.2"));
    finding(&a, "handshakes-right");
    ca.ping_in_vain("250.0.27.2");
    // The neighbour is known from the handshake that WireGuard began.
    a.ping("172.30.0.27").arrives();
    let found = finding(&a, "handshake-missing").to_string();
    for words in ["no handshake ever with 172.30.0.27", "4d21 4241 b161 7ee2", "fanctl trace 250.0.27.1"] {
        assert!(found.contains(words), "{found}");
    }
    assert_eq!(cause(&a, "250.0.27.2"), "no_handshake");
    // The other side tries as well, again every five seconds.
    cb.ping_in_vain("250.0.28.2");
    assert_eq!(cause(&a, "--wait 15 250.0.27.2"), "other_secret");
    assert_eq!(cause(&a, "250.9.9.2"), "host_unlisted");
}

pub(super) fn clock_port_place_and_epoch_have_a_code() {
    let pair = Pair::new();
    let Pair { a, b, ca, cb, lan } = &pair;
    ca.ping("250.0.27.2").arrives();
    finding(a, "handshakes-right");
    // A port that is filtered here.
    a.sh("nft 'add table ip other; add chain ip other in { type filter hook input priority 0; }; \
          add rule ip other in udp dport 8474 drop'")
        .ok();
    finding(a, "firewall-drops");
    a.exec("nft delete table ip other").ok();
    // After a start without a clock, the file was written later than now.
    a.sh("touch -d @$(($(date +%s) + 3600)) /etc/fan/key").ok();
    let found = finding(a, "clock-behind").to_string();
    assert!(found.contains("it is before /etc/fan/key was written"), "{found}");
    a.sh("touch /etc/fan/key").ok();

    // The key of 27 is on another machine, too.
    let c = lan.host("172.30.0.26");
    give_key(&c, COUNTING);
    c.fanctl(UP).ok();
    let private = wg(b, DEVICE, "private-key");
    c.sh(&format!(
        "umask 077; echo {private} >/run/stolen; wg set {DEVICE} private-key /run/stolen
         tc qdisc delete dev {DEVICE} clsact; nft flush ruleset
         ip addr add 250.0.27.9/32 dev lo"
    ))
    .ok();
    c.exec("ping -n -c 1 -W 2 -I 250.0.27.9 250.0.28.2");
    let found = finding(a, "host-heard-elsewhere").to_string();
    assert!(found.contains("172.30.0.27 is heard from 172.30.0.26"), "{found}");
    c.ip("link set eth0 down");
    // b notices that its keys are no longer those that a sends by, and shakes hands again.
    eventually("the true holder is heard again", || {
        (cb.exec("ping -n -c 1 -W 1 250.0.28.2").code == Some(0)).then_some(())
    });

    // a has turned to the new secret, and b not yet.
    a.fanctl("key add").ok();
    let both = a.exec("cat /etc/fan/key").ok().stdout;
    a.fanctl(UP).ok();
    give_key(b, &both);
    b.fanctl(UP).ok();
    a.fanctl("key prefer 2").ok();
    a.fanctl(UP).ok();
    ca.ping("250.0.27.2").arrives();
    let found = finding(a, "epoch-old").to_string();
    assert!(found.contains("by epoch 1") && found.contains("172.30.0.27"), "{found}");
}
