//! `fanctl lab`: the demonstration that cleans up after itself.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::case::{Case, Cases};
use crate::json::is_a;
use crate::named;
use crate::support::{Encap, Host, Lan, is_emulated};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("lab")
        .only_ipip_in_tier_3()
        .only_on("6.12")
        .each(named![a_lab_proves_itself_and_is_kept_until_it_is_taken_down, a_lab_that_is_interrupted_leaves_nothing,])
        .list()
}

/// The namespaces of labs, in the machine that `host` plays: it has a `/run` of its own.
fn namespaces(host: &Host) -> Vec<String> {
    host.run(|| {
        let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with("fanlab-"))
            .collect()
    })
}

fn list<'a>(json: &'a Value, key: &str) -> &'a Vec<Value> {
    json[key].as_array().unwrap_or_else(|| panic!("no {key}: {json:#}"))
}

fn a_lab_proves_itself_and_is_kept_until_it_is_taken_down(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let words = format!("lab --json --keep --encap {encap}");
    let json = host.unchanged(|| host.fanctl(&words).ok()).json();
    is_a("lab-1", &json);
    assert_eq!(json["encap"], encap.to_string(), "{json:#}");
    let pings = list(&json, "ping");
    assert_eq!(pings.len(), 4, "the first containers both ways, the second too: {json:#}");
    assert!(pings.iter().all(|ping| ping["ttl"] == encap.ttl()), "{json:#}");
    let connections = list(&json, "tcp");
    assert_eq!(connections.len(), 2, "{json:#}");
    for connection in connections {
        let from = connection["from"].as_str().expect("an address");
        let seen_as = connection["seen_as"].as_str().expect("an address");
        assert!(seen_as.starts_with(&format!("{from}:")), "{json:#}");
    }
    let streams = list(&json, "throughput");
    assert_eq!(streams.len(), 2, "{json:#}");
    assert!(streams.iter().all(|stream| stream["bits_per_second"].as_f64() > Some(0.0)), "{json:#}");
    let kept = namespaces(&host);
    assert_eq!(kept.len(), 7, "an underlay, two hosts, two containers each: {kept:?}");
    host.unchanged(|| host.fanctl("lab").refused().stderr_has(&["fanctl lab down"]));
    assert_eq!(namespaces(&host), kept);
    let down = host.unchanged(|| host.fanctl("lab down --json").ok());
    assert_eq!(down.json(), serde_json::json!({ "removed_namespaces": 7 }));
    assert_eq!(namespaces(&host), Vec::<String>::new());
    host.fanctl("lab down").ok().stdout_has(&["no lab"]);
    let down = host.fanctl("lab down --json").ok();
    assert_eq!(down.json(), serde_json::json!({ "removed_namespaces": 0 }));
    is_a("lab-down-1", &down.json());
    is_a("lab-2", &host.fanctl(&format!("lab --json=2 --encap {encap}")).ok().json());
    is_a("lab-down-2", &host.fanctl("lab down --json=2").ok().json());
}

fn a_lab_that_is_interrupted_leaves_nothing(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let words = format!("lab --encap {encap}");
    let before = host.dump();
    let moments =
        [(20, Signal::SIGINT), (1, Signal::SIGTERM), (2, Signal::SIGINT), (10, Signal::SIGHUP), (40, Signal::SIGINT)];
    // On an emulated machine each takes seconds.
    for (step, signal) in moments.into_iter().take(if is_emulated() { 2 } else { 5 }) {
        let output = host.signalled_at(&words, "+ ", step, signal);
        let output = output.unwrap_or_else(|| panic!("a lab of less than {step} steps"));
        let output = output.exits(128 + signal as i32);
        assert_eq!(namespaces(&host), Vec::<String>::new(), "{output}");
    }
    crate::support::assert_same(&before, &host.dump(), "interrupted labs");
}
