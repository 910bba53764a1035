//! A configuration file and the commands that follow it: `up -a`, `down -a`, `reload` and `status`.

pub mod files;

use std::collections::BTreeMap;
use std::net::UdpSocket;

use serde_json::Value;

use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Encap, Host, Lan, Output, assert_same};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("configured")
        .only_ipip_in_tier_3()
        .only_on("6.1")
        .each(named![
            up_a_brings_up_what_is_enabled_and_flags_it,
            up_a_again_does_nothing,
            up_a_takes_over_what_somebody_brought_up,
            down_a_leaves_what_configuration_did_not_bring_up,
            each_interface_has_its_fans,
            reload_adds_changes_and_removes,
            reload_takes_nothing_down_for_a_file_without_a_fan,
            reload_hands_a_name_over,
            reload_moves_a_fan_to_another_underlay,
            reload_leaves_a_fan_with_a_container_and_goes_on,
            a_file_with_a_fault_takes_nothing_away,
            status_tells_the_difference,
            a_fan_that_cannot_be_does_not_keep_the_others_down,
            a_containers_traffic_goes_on_through_reload,
        ])
        .once(named![a_fan_that_fails_is_taken_back_and_the_others_come_up,])
        .list()
}

const FILE: &str = "/run/fan.toml";

/// A host on two underlays, with a file of its own.
struct Configured {
    host: Host,
    encap: Encap,
    _lans: [Lan; 2],
}

impl Configured {
    fn new(encap: Encap) -> Self {
        let lans = [Lan::new(), Lan::of("10.99.0.0/16", 1500)];
        let host = lans[0].host("172.30.0.28");
        lans[1].plug(&host, "eth1", "10.99.0.28/16");
        Self { host, encap, _lans: lans }
    }

    /// Writes a file of fans: overlay, underlay, and what else their tables hold.
    fn write(&self, fans: &[(&str, &str, &str)]) {
        let tables = fans.iter().map(|(overlay, underlay, more)| {
            let encap = self.encap;
            format!("[[fan]]\noverlay = \"{overlay}\"\nunderlay = \"{underlay}\"\nencap = \"{encap}\"\n{more}\n")
        });
        self.host.write(FILE, &tables.collect::<String>());
    }

    #[track_caller]
    fn follow(&self, words: &str) -> Output {
        self.host.fanctl(&format!("{words} --config {FILE}"))
    }

    /// The fan bridges by their aliases' overlays, and whether they are flagged `auto`, as `ip` tells it.
    #[track_caller]
    fn bridges(&self) -> Vec<String> {
        bridges(&self.host)
    }
}

/// `250.0.0.0/8 fan-250-0-28 auto` for each fan bridge.
#[track_caller]
fn bridges(host: &Host) -> Vec<String> {
    let links = host.ip_json("link show type bridge");
    let bridge = |link: &Value| {
        let alias = link["ifalias"].as_str()?;
        let overlay = alias.split(' ').nth(1)?;
        let auto = if alias.split(' ').any(|word| word == "auto") { " auto" } else { "" };
        Some(format!("{overlay} {}{auto}", link["ifname"].as_str()?))
    };
    let mut bridges: Vec<String> = links.as_array().expect("links").iter().filter_map(bridge).collect();
    bridges.sort();
    bridges
}

fn up_a_brings_up_what_is_enabled_and_flags_it(encap: Encap) {
    let configured = Configured::new(encap);
    configured.write(&[
        ("250.0.0.0/8", "eth0/16", "host-reserve = 2"),
        ("251.0.0.0/8", "10.99.0.0/16", "bridge = \"fan0\""),
        ("252.0.0.0/8", "eth0/16", "enabled = false"),
    ]);
    configured.follow("up -a").ok().stdout_has(&["fan-250-0-28 is up", "fan0 is up"]);
    assert_eq!(configured.bridges(), ["250.0.0.0/8 fan-250-0-28 auto", "251.0.0.0/8 fan0 auto"]);
    let flags = configured.host.fanctl("show").ok();
    flags.stdout_has(&["host-reserve 2 auto", "host-reserve 1 auto bridge fan0"]);
}

fn up_a_again_does_nothing(encap: Encap) {
    let configured = Configured::new(encap);
    configured.write(&[("250.0.0.0/8", "eth0/16", ""), ("251.0.0.0/8", "eth1/16", "mtu = 1400")]);
    configured.follow("up -a").ok();
    for again in ["up -a", "reload"] {
        configured
            .host
            .unchanged(|| configured.follow(again).ok())
            .stdout_has(&["fan-250-0-28 is up already: nothing to do", "fan-251-0-28 is up already"]);
    }
    let ends = configured.follow("up -a --json").ok().json();
    let told: Vec<(&Value, &Value)> =
        ends.as_array().expect("fans").iter().map(|end| (&end["changed"], &end["fan"]["bridge"])).collect();
    assert_eq!(
        format!("{told:?}"),
        "[(Bool(false), String(\"fan-250-0-28\")), (Bool(false), String(\"fan-251-0-28\"))]"
    );
}

fn up_a_takes_over_what_somebody_brought_up(encap: Encap) {
    let configured = Configured::new(encap);
    configured.write(&[("250.0.0.0/8", "eth0/16", "")]);
    configured.host.up(encap);
    assert_eq!(configured.bridges(), ["250.0.0.0/8 fan-250-0-28"]);
    configured.follow("up -a").ok();
    assert_eq!(configured.bridges(), ["250.0.0.0/8 fan-250-0-28 auto"]);
    // An `up` by hand of the same fan does not remove the flag.
    configured.host.unchanged(|| configured.host.up(encap));
}

fn down_a_leaves_what_configuration_did_not_bring_up(encap: Encap) {
    let configured = Configured::new(encap);
    let host = &configured.host;
    host.fanctl(&format!("up 240 eth0/16 {}", encap.words())).ok();
    let before = host.dump();
    configured.write(&[("250.0.0.0/8", "eth0/16", ""), ("251.0.0.0/8", "eth1/16", "")]);
    configured.follow("up -a").ok();
    let output = host.fanctl("down -a").ok();
    output.stdout_has(&["fan 250.0.0.0/8 is down", "fan 251.0.0.0/8 is down"]);
    assert_same(&before, &host.dump(), "down -a");
    let output = host.unchanged(|| host.fanctl("down -a").ok());
    output.stdout_has(&["no fan that configuration brought up is up"]);
}

fn each_interface_has_its_fans(encap: Encap) {
    let configured = Configured::new(encap);
    let host = &configured.host;
    configured.write(&[
        ("250.0.0.0/8", "eth0/16", ""),
        ("251.0.0.0/8", "10.99.0.0/16", ""),
        ("252.0.0.0/8", "10.99.0.28/16", ""),
        ("253.0.0.0/8", "eth9/16", ""),
    ]);
    configured.follow("up -a --dev eth1").ok();
    assert_eq!(configured.bridges(), ["251.0.0.0/8 fan-251-0-28 auto", "252.0.0.0/8 fan-252-0-28 auto"]);
    let output = host.unchanged(|| configured.follow("up -a --dev lo").ok());
    output.stdout_has(&["no fan of /run/fan.toml is over interface 'lo': nothing to do"]);
    configured.follow("up -a --dev eth0").ok();
    host.fanctl("down -a --dev eth1").ok();
    assert_eq!(configured.bridges(), ["250.0.0.0/8 fan-250-0-28 auto"]);
    configured.follow("up -a --dev eth9").refused().stderr_has(&["fan 253.0.0.0/8: interface 'eth9' does not exist"]);
    // What is wrong with a fan is reported at that fan.
    host.ip("addr add 10.99.0.29/16 dev eth1");
    let output = configured.follow("up -a --dev eth1").refused();
    output.stderr_has(&["fan 251.0.0.0/8: underlay '10.99.0.0/16' holds several addresses of this host"]);
    configured.follow("up -a --dev eth0").ok();
}

fn reload_adds_changes_and_removes(encap: Encap) {
    let configured = Configured::new(encap);
    let host = &configured.host;
    host.fanctl(&format!("up 240 eth0/16 {}", encap.words())).ok();
    configured.write(&[("250.0.0.0/8", "eth0/16", ""), ("251.0.0.0/8", "eth1/16", "")]);
    configured.follow("reload").ok();
    configured.write(&[("251.0.0.0/8", "eth1/16", "mtu = 1300\nnat = false"), ("250.0.0.0/9", "eth0/16", "")]);
    let plan = host.unchanged(|| configured.follow("reload --dry-run").ok());
    plan.stdout_has(&["ip link delete fan-250-0-28", "fan-251-0-28 mtu 1300"]);
    configured.follow("reload").ok();
    assert_eq!(
        configured.bridges(),
        ["240.0.0.0/8 fan-240-0-28", "250.0.0.0/9 fan-250-0-14 auto", "251.0.0.0/8 fan-251-0-28 auto"],
        "250.0.0.0/9 gives 172.30.0.28 the slice 250.0.14.0/25"
    );
    assert_eq!(host.ip_json("link show fan-251-0-28")[0]["mtu"], 1300);
    configured.write(&[("252.0.0.0/8", "eth0/16", "enabled = false")]);
    configured.follow("reload").ok();
    assert_eq!(configured.bridges(), ["240.0.0.0/8 fan-240-0-28"]);
}

/// An empty file, as a failed redirection of a shell leaves it, is no request to take down every fan.
fn reload_takes_nothing_down_for_a_file_without_a_fan(encap: Encap) {
    let configured = Configured::new(encap);
    let host = &configured.host;
    configured.write(&[("250.0.0.0/8", "eth0/16", ""), ("251.0.0.0/8", "eth1/16", "")]);
    configured.follow("reload").ok();
    for text in ["", "# [[fan]]\n# overlay = \"250.0.0.0/8\"\n"] {
        host.write(FILE, text);
        for verb in ["reload", "reload --dry-run"] {
            let output = host.unchanged(|| configured.follow(verb).exits(3));
            output.stderr_has(&[
                "fan 250.0.0.0/8: '/run/fan.toml' holds no fan",
                "fan 251.0.0.0/8: ",
                "fanctl down -a",
            ]);
        }
        configured.follow("status").exits(4).stdout_has(&["holds no fan"]);
        configured.follow("config check").ok().stderr_has(&["'/run/fan.toml' holds no fan"]);
    }
    host.fanctl("down -a").ok();
    configured.follow("reload").ok().stdout_has(&["nothing to do"]);
}

/// A name that one fan gives up goes to another, also where the file has them in the other order.
fn reload_hands_a_name_over(encap: Encap) {
    let configured = Configured::new(encap);
    let (named, unnamed) = ("bridge = \"fan0\"", "");
    configured.write(&[("250.0.0.0/8", "eth0/16", unnamed), ("251.0.0.0/8", "eth1/16", named)]);
    configured.follow("up -a").ok();
    configured.write(&[("250.0.0.0/8", "eth0/16", named), ("251.0.0.0/8", "eth1/16", unnamed)]);
    configured.follow("status").exits(4);
    configured.follow("reload").ok();
    assert_eq!(configured.bridges(), ["250.0.0.0/8 fan0 auto", "251.0.0.0/8 fan-251-0-28 auto"]);
    configured.follow("status").ok();
}

fn reload_moves_a_fan_to_another_underlay(encap: Encap) {
    let configured = Configured::new(encap);
    configured.host.ip("addr add 10.99.7.9/16 dev eth1");
    configured.write(&[("250.0.0.0/8", "eth0/16", "bridge = \"fan0\"")]);
    configured.follow("up -a").ok();
    configured.write(&[("250.0.0.0/8", "10.99.7.9/16", "bridge = \"fan0\"")]);
    configured.follow("reload").ok();
    let addresses = configured.host.ip_json("-4 addr show dev fan0");
    assert_eq!(addresses[0]["addr_info"][0]["local"], "250.7.9.1");
    configured.follow("status").ok();
    // A fan that was brought up by hand is taken down by hand.
    configured.host.fanctl("down -e").ok();
    configured.host.up(encap);
    let refusal = configured.host.unchanged(|| configured.follow("reload").refused());
    refusal.stderr_has(&["fan 250.0.0.0/8: ", "already up from 172.30.0.28/16 on eth0", "fanctl down"]);
}

fn reload_leaves_a_fan_with_a_container_and_goes_on(encap: Encap) {
    let configured = Configured::new(encap);
    configured.write(&[("250.0.0.0/8", "eth0/16", "")]);
    configured.follow("up -a").ok();
    let container = configured.host.container("250.0.28.2");
    configured.write(&[("251.0.0.0/8", "eth1/16", "")]);
    configured.follow("reload").refused().stderr_has(&["fan 250.0.0.0/8: bridge 'fan-250-0-28' still has a container"]);
    assert_eq!(configured.bridges(), ["250.0.0.0/8 fan-250-0-28 auto", "251.0.0.0/8 fan-251-0-28 auto"]);
    configured.host.detach(&container);
    configured.follow("reload").ok();
    assert_eq!(configured.bridges(), ["251.0.0.0/8 fan-251-0-28 auto"]);
}

fn a_file_with_a_fault_takes_nothing_away(encap: Encap) {
    let configured = Configured::new(encap);
    let host = &configured.host;
    configured.write(&[("250.0.0.0/8", "eth0/16", ""), ("251.0.0.0/8", "eth1/16", "")]);
    configured.follow("up -a").ok();
    configured.write(&[("250.0.0.0/8", "eth0/16", ""), ("251.0.0.0/8", "eth1/16", "dchp = true")]);
    for verb in ["reload", "status"] {
        let output = host.unchanged(|| configured.follow(verb).exits(2));
        output.stderr_has(&["/run/fan.toml:10:1: key 'dchp' is unknown"]);
    }
    // But the fans without faults can come up.
    host.fanctl("down -a").ok();
    configured.follow("up -a").exits(2).stderr_has(&["key 'dchp'"]);
    assert_eq!(configured.bridges(), ["250.0.0.0/8 fan-250-0-28 auto"]);
}

fn status_tells_the_difference(encap: Encap) {
    let configured = Configured::new(encap);
    let host = &configured.host;
    configured.write(&[("250.0.0.0/8", "eth0/16", ""), ("251.0.0.0/8", "eth1/16", "enabled = false")]);
    let output = host.unchanged(|| configured.follow("status").exits(4));
    let steps = "to do this: fanctl reload --config /run/fan.toml; to see every step: fanctl reload --config /run/fan.toml --dry-run";
    assert_eq!(output.stdout, format!("fan 250.0.0.0/8 over eth0/16: not up\n{steps}\n"));
    configured.follow("up -a").ok();
    let output = host.unchanged(|| configured.follow("status").ok());
    assert_eq!(output.stdout, "fan 250.0.0.0/8 over eth0/16: as configured\n");

    host.ip("route del unreachable 250.0.0.0/8");
    let status = configured.follow("status --json").exits(4).json();
    let fan = &status["fans"][0];
    assert_eq!((&fan["overlay"], &fan["matches"]), (&"250.0.0.0/8".into(), &false.into()));
    assert_eq!(fan["plan"], serde_json::json!(["ip route add unreachable 250.0.0.0/8 metric 4278198272 proto 250"]));
    let one_line = |state: &str| {
        let output = host.unchanged(|| configured.follow("status").exits(4));
        assert_eq!(output.stdout, format!("fan 250.0.0.0/8 over eth0/16: {state}\n{steps}\n"));
    };
    one_line("differs: unreachable route '250.0.0.0/8' is missing");
    configured.follow("reload").ok();
    configured.follow("status").ok();
    let words = encap.words();
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {words} --mtu 1400 --no-nat")).ok();
    let mtu = 1500 - encap.overhead();
    one_line(&format!("differs: nat off, should be on; mtu 1400, should be {mtu}"));
    host.fanctl("down 250").ok();
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {words}")).ok();
    one_line("differs: brought up by hand");
    configured.follow("reload").ok();

    configured.write(&[("252.0.0.0/8", "eth9/16", "")]);
    let output = configured.follow("status").exits(4);
    output.stdout_has(&[
        "fan 250.0.0.0/8: up, and not configured\n",
        "fan 252.0.0.0/8 over eth9/16: cannot be as configured: interface 'eth9' does not exist",
        "to do this: ",
    ]);
}

fn a_fan_that_cannot_be_does_not_keep_the_others_down(encap: Encap) {
    let configured = Configured::new(encap);
    configured.write(&[
        ("250.0.0.0/8", "eth9/16", ""),
        ("251.0.0.0/8", "eth0/16", "bridge = \"eth1\""),
        ("252.0.0.0/8", "eth1/16", ""),
    ]);
    for verb in ["up -a", "reload"] {
        let output = configured.follow(verb).exits(3);
        assert_eq!(output.stderr.lines().count(), 2, "{output}");
        output.stderr_has(&[
            "fanctl: fan 250.0.0.0/8: interface 'eth9' does not exist",
            "fanctl: fan 251.0.0.0/8: bridge name 'eth1' is taken",
        ]);
        assert_eq!(configured.bridges(), ["252.0.0.0/8 fan-252-0-28 auto"]);
    }
    let ends = configured.follow("up -a --json").exits(3).json();
    let ends = ends.as_array().expect("fans").iter();
    let told: BTreeMap<&str, bool> =
        ends.map(|end| (end["overlay"].as_str().expect("its name"), end["error"].is_string())).collect();
    assert_eq!(told, BTreeMap::from([("250.0.0.0/8", true), ("251.0.0.0/8", true), ("252.0.0.0/8", false)]));
}

fn a_containers_traffic_goes_on_through_reload(encap: Encap) {
    let configured = Configured::new(encap);
    configured.write(&[("250.0.0.0/8", "eth0/16", "")]);
    configured.follow("up -a").ok();
    let container = configured.host.container("250.0.28.2");
    container.ping("250.0.28.1").arrives();
    configured.write(&[("250.0.0.0/8", "eth0/16", "nat = false"), ("251.0.0.0/8", "eth0/16", "")]);
    configured.follow("reload").ok();
    container.ping("250.0.28.1").arrives();
}

/// That DNS's port is taken shows when the DHCP server starts, at the end of the plan.
fn a_fan_that_fails_is_taken_back_and_the_others_come_up() {
    let configured = Configured::new(Encap::Vxlan);
    let host = &configured.host;
    let held = host.run(|| UdpSocket::bind("0.0.0.0:53").expect("the port is free"));
    configured.write(&[("250.0.0.0/8", "eth0/16", "dhcp = true")]);
    let output = host.unchanged(|| configured.follow("up -a").failed());
    output.stderr_has(&["fan 250.0.0.0/8: cannot create", "everything is as it was"]);
    configured.write(&[
        ("250.0.0.0/8", "eth0/16", "dhcp = true"),
        ("251.0.0.0/8", "eth9/16", ""),
        ("252.0.0.0/8", "eth1/16", ""),
    ]);
    let output = configured.follow("up -a").exits(1);
    output.stderr_has(&["fan 250.0.0.0/8: cannot create", "fan 251.0.0.0/8: interface 'eth9'"]);
    assert_eq!(configured.bridges(), ["252.0.0.0/8 fan-252-0-28 auto"]);
    drop(held);
}
