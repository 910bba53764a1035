//! Ways that work, and which are traced.

use super::{blames, decides, firewall, in_vain, no_firewall, run, trace, works};
use crate::fixture::Pair;
use crate::support::{Capture, Encap, Host, Lan, NOBODY};

pub fn a_way_that_works_is_proven_step_by_step(encap: Encap) {
    let pair = Pair::new(encap);
    let capture = Capture::on(&pair.b, "eth0", encap.outer());
    let found = trace(&pair.a, "250.0.27.2");
    works(&found);
    let mtu = 1500 - encap.overhead();
    assert_eq!(found["path_mtu"]["address"], mtu, "{found:#}");
    assert_eq!(found["path_mtu"]["underlay"], 1500);
    assert_eq!(decides(&found, "slice")["slice"], "250.0.27.0/24");
    assert_eq!(decides(&found, "host")["host"], "172.30.0.27");
    assert_eq!(decides(&found, "program")["verdict"], 0, "TC_ACT_OK, says the kernel");
    assert_eq!(decides(&found, "encapsulation")["overhead"], encap.overhead());
    assert_eq!(decides(&found, "underlay")["device"], "eth0");
    // The same route as ip(8) finds, and the same program as tc(8).
    let route = pair.a.ip_json("route get 250.0.27.2 from 250.0.28.1");
    assert_eq!(decides(&found, "route")["device"], route[0]["dev"], "{route:#}");
    let filters = pair.a.tc_json(&format!("filter show dev {} egress", encap.tunnel()));
    let mut filters = filters.as_array().expect("filters").iter();
    let id = filters.find_map(|filter| filter["options"]["prog"]["id"].as_u64());
    assert_eq!(decides(&found, "program")["egress"].as_u64(), id, "{found:#}");
    // Encapsulated packets of the reported size arrived there.
    let largest = format!("length {}", mtu - 20);
    let packets = capture.packets();
    assert!(
        packets.iter().any(|packet| packet.contains("172.30.0.28") && packet.contains(&largest)),
        "no packet of {largest}: {packets:#?}"
    );
    // The output for users has the same, numbered.
    let gateway = run(&pair.a, "172.30.0.27").ok();
    gateway.stdout_has(&[
        " 1  fan ",
        "10  ",
        "proof path mtu: 1500 bytes (underlay)",
        "verdict: gateway 250.0.27.1 answers",
    ]);
}

pub fn the_way_to_ones_own_containers(encap: Encap) {
    let Pair { a, ca, .. } = &Pair::new(encap);
    let found = trace(a, "250.0.28.2");
    works(&found);
    let mac = ca.mac("eth0");
    assert_eq!(decides(&found, "port")["mac"], mac);
    assert_eq!(decides(&found, "port")["port"], "con0");
    blames(&trace(a, "250.0.28.77"), "address_gone", "container 250.0.28.77", "nobody on fan-250-0-28");
    works(&trace(a, "250.0.28.1"));
    firewall(ca, "input", "icmp type echo-request counter drop");
    let found = trace(a, "250.0.28.2");
    blames(&found, "address_silent", "container 250.0.28.2", &mac);
    no_firewall(ca);
}

pub fn a_table_of_its_own_is_looked_into(encap: Encap) {
    let lan = Lan::new();
    let (a, b) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
    let up = |host: &Host| host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {} --table 77", encap.words())).ok();
    up(&a);
    up(&b);
    let found = trace(&a, "250.0.27.1");
    works(&found);
    assert_eq!(decides(&found, "route")["table"], 77);
    a.ip("rule del pref 1000");
    in_vain(&a, "250.0.27.1");
    let found = trace(&a, "250.0.27.1");
    blames(&found, "here_rule", "this host", "the rule 'to 250.0.0.0/8 lookup 77' is missing");
}

pub fn others_than_root_see_the_steps() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(Encap::Vxlan);
    let trace = |words: &str| host.fanctl_by(NOBODY, &format!("trace 250.0.27.2 {words}")).exits(1);
    trace("").stdout_has(&[
        " 9  underlay",
        "proof underlay 172.30.0.27, 84 bytes: not sent",
        "verdict: nothing is wrong on this host, and nothing is proven: raw sockets: Operation not permitted",
    ]);
    assert_eq!(trace("--json").json()["verdict"]["cause"], "unproven");
    host.ip("link set fan-250-0-28 down");
    blames(&trace("--json").json(), "here_device", "this host", "fan-250-0-28 is down");
}

pub fn the_fan_that_has_the_address_is_traced() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    run(&host, "250.0.27.2").failed().stderr_has(&["no fan is up"]);
    for overlay in ["250.0.0.0/8", "251.0.0.0/8"] {
        host.fanctl(&format!("up {overlay} eth0/16 --encap vxlan")).ok();
    }
    assert_eq!(trace(&host, "251.0.28.1")["bridge"], "fan-251-0-28");
    let other = run(&host, "8.8.8.8").failed();
    other.stderr_has(&["'8.8.8.8' is of no fan that is up", "251.0.0.0/8 over 172.30.0.28/16"]);
    run(&host, "172.30.0.27").failed().stderr_has(&["250.0.27.1, 251.0.27.1"]);
    run(&host, "web").exits(2).stderr_has(&["'web'", "250.0.27.2"]);
}
