//! `fanctl show`: from the kernel alone, without root.

use serde_json::{Value, json};

use crate::case::{Case, Cases};
use crate::fixture::with_world;
use crate::named;
use crate::support::{Encap, Host, Lan, NOBODY};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("show")
        .only_ipip_in_tier_3()
        .each(named![
            show_as_json_has_everything,
            show_counts_packets_and_those_refused,
            show_prints_the_program_with_the_mapping_beside_it,
        ])
        .once(named![
            show_of_a_vxlan_fan_prints_the_columns_and_its_flags,
            show_needs_no_root,
            show_selects_by_bridge_or_overlay,
            show_without_fans_prints_the_header_only,
            show_survives_a_reader_that_leaves,
        ])
        .once_with(&[crate::case::Need::Ipip], named![show_prints_exactly_the_columns_of_2015])
        .list()
}

const HEADER: &str = "Bridge           Overlay              Underlay             Flags\n";

#[track_caller]
fn host_with(words: &str) -> (Host, Lan) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.fanctl(&format!("up {words}")).ok();
    (host, lan)
}

fn show_prints_exactly_the_columns_of_2015() {
    let (host, _lan) = host_with("250.0.0.0/8 eth0/16 dhcp");
    let line = "fan-250-0-28     250.0.0.0/8          172.30.0.28/16       dhcp host-reserve 1\n";
    assert_eq!(host.fanctl("show").ok().stdout, format!("{HEADER}{line}"));
}

fn show_of_a_vxlan_fan_prints_the_columns_and_its_flags() {
    let (host, _lan) = host_with("250.0.0.0/8 eth0/16 dhcp --encap vxlan --no-nat");
    let line = "fan-250-0-28     250.0.0.0/8          172.30.0.28/16       dhcp host-reserve 1 encap vxlan no-nat\n";
    assert_eq!(host.fanctl("show").ok().stdout, format!("{HEADER}{line}"));
}

fn show_needs_no_root() {
    let (host, _lan) = host_with("250.0.0.0/8 eth0/16 --encap vxlan dhcp");
    let text = host.fanctl("show").ok().stdout;
    assert_eq!(host.fanctl_by(NOBODY, "show").ok().stdout, text);
    let json = host.fanctl_by(NOBODY, "show --json").ok().json();
    assert_eq!(json[0]["bridge"], "fan-250-0-28");
    assert_eq!(json[0]["mtu"], 1450);
}

fn show_selects_by_bridge_or_overlay() {
    let (host, _lan) = host_with("250.0.0.0/8 eth0/16 --encap vxlan");
    host.fanctl("up 251.0.0.0/8 eth0/16 --encap vxlan").ok();
    let lines = |words: &str| host.fanctl(words).ok().stdout.lines().skip(1).map(str::to_string).collect::<Vec<_>>();
    assert_eq!(lines("show").len(), 2);
    for selector in ["fan-251-0-28", "251.0.0.0/8", "251"] {
        let found = lines(&format!("show {selector}"));
        assert_eq!(found.len(), 1, "{selector}: {found:?}");
        assert!(found[0].starts_with("fan-251-0-28 "), "{selector}: {found:?}");
    }
    let json = host.fanctl("show --json fan-250-0-28").ok().json();
    assert_eq!(json.as_array().map(Vec::len), Some(1), "{json:#}");
    host.fanctl("show fan-9-9-9").failed().stderr_has(&["fan-9-9-9"]);
}

fn show_without_fans_prints_the_header_only() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    assert_eq!(host.fanctl("show").ok().stdout, HEADER);
    assert_eq!(host.fanctl("show --json").ok().json(), Value::Array(Vec::new()));
}

fn show_survives_a_reader_that_leaves() {
    let (host, _lan) = host_with("250.0.0.0/8 eth0/16 --encap vxlan");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("{} show --json | true", Host::program())]);
    let output = host.execute(command);
    assert!(!output.stderr.contains("panicked"), "{output}");
}

fn show_as_json_has_everything(encap: Encap) {
    with_world(encap, |world| {
        let host = &world.a;
        let json = host.fanctl("show --json").ok().json();
        let fan = &json[0];
        assert_eq!(fan["bridge"], "fan-250-0-28");
        assert_eq!(fan["overlay"], "250.0.0.0/8");
        assert_eq!(fan["underlay"], "172.30.0.28/16");
        assert_eq!(fan["mtu"], 1500 - encap.overhead());
        assert_eq!(fan["tunnel"], encap.tunnel(), "{fan:#}");
        // The ids are those of the programs that tc finds on the device.
        for hook in ["ingress", "egress"] {
            let filters = host.tc_json(&format!("filter show dev {} {hook}", encap.tunnel()));
            let id =
                filters.as_array().expect("filters").iter().find_map(|filter| filter["options"]["prog"]["id"].as_u64());
            let id = id.expect("a program");
            assert!(fan["programs"].to_string().contains(&id.to_string()), "{hook} {id}: {fan:#}");
        }
        assert_eq!(
            fan["verdict"],
            json!({
                "complete": true, "missing": [], "different": [], "unknown": [], "differences": [], "foreign": [], "older": false
            })
        );
    });
}

fn show_counts_packets_and_those_refused(encap: Encap) {
    with_world(encap, |world| {
        let count = |key: &str| {
            let json = world.a.fanctl("show --json").ok().json();
            json[0]["counters"]["tunnel"][key].as_u64().unwrap_or_else(|| panic!("no {key}: {json:#}"))
        };
        let (sent, received) = (count("sent"), count("received"));
        world.ca.ping("250.0.27.2").arrives();
        assert!(count("sent") > sent);
        assert!(count("received") > received);
        let refused = || world.a.refused_packets(encap.tunnel());
        let (before, shown, after) = (refused(), count("refused"), refused());
        assert!((before..=after).contains(&shown), "tc counts {before} and then {after}, not {shown}");
    });
}

fn show_prints_the_program_with_the_mapping_beside_it(encap: Encap) {
    with_world(encap, |world| {
        world.a.fanctl("show --program").ok().stdout_has(&["250.0.0.0/8", "172.30.0.0/16", "exit"]);
        world.a.fanctl("show --program fan-250-0-28").ok().stdout_has(&["exit"]);
    });
}
