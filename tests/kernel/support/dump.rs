//! All of a host's network state as canonical text, for "it is as it was before".

use std::fmt::Write as _;
use std::fs;

use serde_json::{Map, Value, json};

use super::{Namespace, Output};

/// What differs from one look to the next although nothing was done.
const VOLATILE: [&str; 15] = [
    "ifindex",
    "link_index",
    "stats",
    "stats64",
    "handle",
    "packets",
    "bytes",
    "expires",
    "used",
    "valid_life_time",
    "preferred_life_time",
    "drops",
    "overlimits",
    "metainfo",
    "operstate",
];

/// Flags that follow the carrier, which the kernel reports when it finds the time.
const CARRIER: [&str; 3] = ["NO-CARRIER", "LOWER_UP", "linkdown"];

impl Namespace {
    /// Links, addresses, routes, rules, qdiscs, filters, nftables, iptables, sysctls and dnsmasqs, one fact a line.
    #[track_caller]
    pub fn dump(&self) -> Vec<String> {
        let mut facts = Vec::new();
        let mut devices = self.devices();
        for question in ["link show", "addr show", "route show table all", "rule show"] {
            record(
                &mut facts,
                &format!("ip {question}"),
                &self.exec(&format!("ip -j {question}")).ok(),
            );
        }
        record(&mut facts, "tc qdisc show", &self.exec("tc -j qdisc show").ok());
        devices.retain(|device| device != "lo");
        for device in devices {
            for hook in ["ingress", "egress"] {
                let question = format!("filter show dev {device} {hook}");
                record(
                    &mut facts,
                    &format!("tc {question}"),
                    &self.exec(&format!("tc -j {question}")),
                );
            }
        }
        record(&mut facts, "nft list ruleset", &self.exec("nft -j list ruleset").ok());
        let iptables = self.exec("iptables-save").ok().stdout;
        let rules = iptables.lines().filter(|line| !line.starts_with('#'));
        facts.extend(rules.map(|line| format!("iptables-save {}", line.split(" [").next().unwrap_or(line))));
        facts.extend(self.sysctls());
        facts.extend(
            self.processes()
                .into_iter()
                .map(|(pid, line)| format!("process {pid} {line}")),
        );
        facts.sort();
        facts
    }

    /// Every sysctl of IPv4 devices, and `ip_forward`.
    fn sysctls(&self) -> Vec<String> {
        self.run(|| {
            let mut facts = Vec::new();
            let mut read = |path: String| {
                if let Ok(value) = fs::read_to_string(&path) {
                    facts.push(format!("sysctl {path} = {}", value.trim()));
                }
            };
            read("/proc/sys/net/ipv4/ip_forward".into());
            read("/proc/sys/net/bridge/bridge-nf-call-iptables".into());
            for device in names_in("/proc/sys/net/ipv4/conf") {
                for key in names_in(&format!("/proc/sys/net/ipv4/conf/{device}")) {
                    read(format!("/proc/sys/net/ipv4/conf/{device}/{key}"));
                }
            }
            facts
        })
    }

    /// Does something that must leave no trace.
    #[track_caller]
    pub fn unchanged(&self, action: impl FnOnce() -> Output) -> Output {
        let before = self.dump();
        let output = action();
        assert_same(&before, &self.dump(), &output.to_string());
        output
    }
}

/// Fails with the facts that differ.
#[track_caller]
pub fn assert_same(before: &[String], after: &[String], context: &str) {
    let mut difference = String::new();
    for fact in before.iter().filter(|fact| !after.contains(fact)) {
        let _ = writeln!(difference, "- {fact}");
    }
    for fact in after.iter().filter(|fact| !before.contains(fact)) {
        let _ = writeln!(difference, "+ {fact}");
    }
    assert!(
        difference.is_empty(),
        "the host is not as it was:\n{difference}after\n{context}"
    );
}

fn names_in(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Adds what a program said, an element a line, without what is volatile.
#[track_caller]
fn record(facts: &mut Vec<String>, origin: &str, output: &Output) {
    let value = output.json_or_empty();
    let list = value.get("nftables").unwrap_or(&value);
    for element in list.as_array().into_iter().flatten().cloned() {
        let element = canonical(element);
        if element != json!({}) {
            facts.push(format!("{origin}: {element}"));
        }
    }
}

/// A value without what is volatile.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(mut fields) => {
            if let Some(Value::Object(program)) = fields.get_mut("prog") {
                program.retain(|key, _| key == "name" || key == "tag");
            }
            let lasting = fields.into_iter().filter(|(key, _)| !VOLATILE.contains(&key.as_str()));
            Value::Object(
                lasting
                    .map(|(key, value)| (key, canonical(value)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(elements) => {
            let lasting = elements
                .into_iter()
                .filter(|element| !CARRIER.iter().any(|flag| element == flag));
            Value::Array(lasting.map(canonical).collect())
        }
        other => other,
    }
}
