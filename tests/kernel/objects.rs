//! The objects of a fan: what `up` makes, what `up` again leaves, what `down` takes away.

use serde_json::{Value, json};

use crate::case::{Case, Cases};
use crate::fixture::with_world;
use crate::named;
use crate::support::{Encap, Host, Lan, assert_same};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("objects")
        .each(named![down_leaves_the_host_as_it_was])
        .only_ipip_in_tier_3()
        .each(named![
            up_makes_the_bridge,
            up_makes_the_tunnel,
            up_makes_the_routes_under_our_protocol_number,
            up_attaches_programs_to_both_directions_of_the_tunnel,
            up_makes_two_nft_tables_of_one_name,
            up_sets_the_sysctls_of_its_own_devices,
            up_twice_does_nothing_and_says_so,
            down_without_a_fan_touches_nothing,
            what_the_administrator_added_stays,
        ])
        .list()
}

#[track_caller]
fn link(host: &Host, name: &str) -> Value {
    host.ip_json(&format!("addr show dev {name}"))[0].clone()
}

fn has_flag(link: &Value, flag: &str) -> bool {
    link["flags"].as_array().is_some_and(|flags| flags.iter().any(|each| each == flag))
}

fn up_makes_the_bridge(encap: Encap) {
    with_world(encap, |world| {
        let host = &world.a;
        let bridge = link(host, "fan-250-0-28");
        assert_eq!(bridge["linkinfo"]["info_kind"], "bridge");
        assert_eq!(bridge["mtu"], 1500 - encap.overhead());
        assert_eq!(bridge["address"], "02:fa:fa:00:1c:00", "derived from the slice");
        assert!(has_flag(&bridge, "UP"), "{bridge:#}");
        let alias = bridge["ifalias"].as_str().unwrap_or_default();
        assert!(alias.starts_with("fan 250.0.0.0/8 172.30.0.28/16 "), "{alias}");
        let addresses: Vec<(&Value, &Value)> = bridge["addr_info"]
            .as_array()
            .expect("addresses")
            .iter()
            .map(|address| (&address["local"], &address["prefixlen"]))
            .collect();
        assert_eq!(addresses, [(&json!("250.0.28.1"), &json!(encap.bridge_len()))]);
    });
}

fn up_makes_the_tunnel(encap: Encap) {
    with_world(encap, |world| {
        let host = &world.a;
        let tunnel = link(host, encap.tunnel());
        let info = &tunnel["linkinfo"];
        assert_eq!(info["info_kind"], encap.to_string());
        assert_eq!(info["info_data"]["external"], true, "{tunnel:#}");
        assert_eq!(tunnel["mtu"], 1500 - encap.overhead());
        assert!(has_flag(&tunnel, "UP"), "{tunnel:#}");
        assert!(tunnel["ifalias"].as_str().unwrap_or_default().starts_with("fan"), "{tunnel:#}");
        if encap == Encap::Vxlan {
            assert_eq!(tunnel["master"], "fan-250-0-28");
            assert_eq!(tunnel["address"], "06:fa:fa:00:1c:00", "derived from the slice");
            assert_eq!(info["info_data"]["vnifilter"], true, "{tunnel:#}");
            assert_eq!(info["info_data"]["port"], 8472);
            let vnis = host.exec("bridge -j vni show dev fan-vx16384000").ok().json();
            assert_eq!(vnis[0]["vnis"], json!([{ "vni": 16_384_000 }]));
        }
    });
}

fn up_makes_the_routes_under_our_protocol_number(encap: Encap) {
    with_world(encap, |world| {
        let host = &world.a;
        let routes = host.ip_json("route show proto 250");
        let mut found: Vec<(String, String, String, u64)> = routes
            .as_array()
            .expect("routes")
            .iter()
            .map(|route| {
                let text = |key: &str| route[key].as_str().unwrap_or_default().to_string();
                let target = if route["type"] == "unicast" { text("dev") } else { text("type") };
                (text("dst"), target, text("prefsrc"), route["metric"].as_u64().unwrap_or(0))
            })
            .collect();
        found.sort();
        let route =
            |dst: &str, target: &str, prefsrc: &str, metric| (dst.into(), target.into(), prefsrc.into(), metric);
        let mut expected: Vec<(String, String, String, u64)> = match encap {
            Encap::Ipip => vec![
                route("250.0.28.0/24", "fan-250-0-28", "250.0.28.1", 0),
                route("250.0.0.0/8", "fan-ipip", "250.0.28.1", 0),
            ],
            Encap::Vxlan => vec![route("250.0.0.0/8", "fan-250-0-28", "250.0.28.1", 0)],
        };
        expected.push(route("250.0.0.0/8", "unreachable", "", 4_278_198_272));
        expected.sort();
        assert_eq!(found, expected, "{routes:#}");
        let all = host.ip_json("route show table all");
        let others = all.as_array().expect("routes").iter().filter(|route| {
            route["dst"].as_str().is_some_and(|dst| dst.starts_with("250.")) && route["protocol"] != "250"
        });
        let others: Vec<&Value> = others.filter(|route| route["table"] != "local").collect();
        assert!(others.is_empty(), "routes of the kernel's own making: {others:#?}");
        assert_eq!(host.ip_json("rule show").as_array().expect("rules").len(), 3, "the rules every host has");
    });
}

fn up_attaches_programs_to_both_directions_of_the_tunnel(encap: Encap) {
    with_world(encap, |world| {
        let host = &world.a;
        for hook in ["ingress", "egress"] {
            let filters = host.tc_json(&format!("filter show dev {} {hook}", encap.tunnel()));
            let options = filters.as_array().expect("filters").iter().filter_map(|filter| filter.get("options"));
            let options: Vec<&Value> = options.filter(|options| options.get("bpf_name").is_some()).collect();
            // The shared device refuses what no fan's own program took; the fan's own device needs no second one.
            let expected = if encap == Encap::Ipip { 2 } else { 1 };
            assert_eq!(options.len(), expected, "{filters:#}");
            for options in options {
                assert_eq!(options["direct-action"], true, "{options:#}");
                assert!(options["prog"]["id"].as_u64().is_some(), "{options:#}");
            }
        }
    });
}

fn up_makes_two_nft_tables_of_one_name(encap: Encap) {
    with_world(encap, |world| {
        let host = &world.a;
        let tables = host.nft_json("list tables");
        let tables: Vec<(&Value, &Value)> = tables
            .as_array()
            .expect("tables")
            .iter()
            .filter_map(|entry| entry.get("table"))
            .map(|table| (&table["family"], &table["name"]))
            // Where Docker is installed, its chain stands ready in iptables' table.
            .filter(|(_, name)| *name != "filter")
            .collect();
        let name = json!("fan-250.0.0.0/8");
        assert_eq!(tables, [(&json!("ip"), &name), (&json!("bridge"), &name)]);
    });
}

fn up_sets_the_sysctls_of_its_own_devices(encap: Encap) {
    with_world(encap, |world| {
        let host = &world.a;
        let sysctl = |key: &str| host.sysctl(&format!("ipv4/conf/{key}")).expect("a sysctl");
        assert_eq!(sysctl("fan-250-0-28/forwarding"), "1");
        assert_eq!(sysctl("fan-250-0-28/send_redirects"), "0");
        if encap == Encap::Ipip {
            assert_eq!(sysctl("fan-ipip/forwarding"), "1");
        }
    });
}

/// Every id and handle, which a `down` and `up` would change.
#[track_caller]
fn identities(host: &Host, encap: Encap) -> Vec<Value> {
    let mut all = vec![host.ip_json("addr show"), host.nft_json("list ruleset"), host.ip_json("route show table all")];
    for hook in ["ingress", "egress"] {
        all.push(host.exec(&format!("tc -j filter show dev {} {hook}", encap.tunnel())).ok().json());
    }
    all
}

fn up_twice_does_nothing_and_says_so(encap: Encap) {
    with_world(encap, |world| {
        let host = &world.a;
        let before = identities(host, encap);
        host.unchanged(|| host.up(encap).stdout_has(&["nothing to do"]));
        let after = identities(host, encap);
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(without_timers(before), without_timers(after));
        }
    });
}

/// A bridge's timers and the state of its carrier move on their own.
fn without_timers(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| !key.ends_with("_timer") && !["operstate", "flags"].contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), without_timers(value)))
            .collect(),
        Value::Array(elements) => elements.iter().map(without_timers).collect(),
        other => other.clone(),
    }
}

fn down_leaves_the_host_as_it_was(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.set_sysctl("ipv4/ip_forward", "1");
    let before = host.dump();
    host.up(encap);
    let output = host.down();
    assert_same(&before, &host.dump(), &output.to_string());
}

fn down_without_a_fan_touches_nothing(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.unchanged(|| host.fanctl("down -e").ok());
    host.unchanged(|| host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {} off", encap.words())).ok());
}

fn what_the_administrator_added_stays(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.set_sysctl("ipv4/ip_forward", "1");
    host.ip("route add 198.51.100.0/24 via 172.30.0.1 proto static");
    host.exec("nft add table ip mine").ok();
    host.exec("nft add table inet fanclub").ok();
    host.ip("link add br7 type bridge");
    host.ip("link set br7 alias fanatics");
    let before = host.dump();
    host.up(encap);
    host.fanctl("down -e").ok();
    assert_same(&before, &host.dump(), "up, then down -e");
}
