//! All of a host's network state as canonical text, for "it is as it was before".

use std::fmt::Write as _;
use std::fs;
use std::iter;

use serde_json::{Map, Value, json};

use super::{Namespace, Output, eventually};

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
        eventually("the kernel has no IPv6 address in the making", || self.run(ipv6_is_settled).then_some(()));
        let mut facts = Vec::new();
        let questions = ["link show", "addr show", "route show table all", "rule show"].map(String::from);
        self.record(&mut facts, "ip", &questions);
        let devices = self.devices().into_iter().filter(|device| device != "lo");
        let hooks =
            devices.flat_map(|device| ["ingress", "egress"].map(|hook| format!("filter show dev {device} {hook}")));
        let questions: Vec<String> = iter::once("qdisc show".to_string()).chain(hooks).collect();
        self.record(&mut facts, "tc", &questions);
        add(&mut facts, "nft list ruleset", &self.nft_json("list ruleset"));
        let iptables = self.exec("iptables-save").ok().stdout;
        let rules = iptables.lines().filter(|line| !line.starts_with('#'));
        facts.extend(rules.map(|line| format!("iptables-save {}", line.split(" [").next().unwrap_or(line))));
        facts.extend(self.sysctls());
        facts.extend(self.processes().into_iter().map(|(pid, line)| format!("process {pid} {line}")));
        facts.sort();
        facts
    }

    /// Asks a program of iproute2 several questions at once.
    #[track_caller]
    fn record(&self, facts: &mut Vec<String>, program: &str, questions: &[String]) {
        let output = self.batch(program, &questions.join("\n")).ok();
        let answers: Vec<Value> = serde_json::Deserializer::from_str(&output.stdout)
            .into_iter()
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("no JSON: {error}\n{output}"));
        assert_eq!(answers.len(), questions.len(), "an answer to each question\n{output}");
        for (question, answer) in questions.iter().zip(&answers) {
            add(facts, &format!("{program} {question}"), answer);
        }
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

/// Whether every IPv6 address of this namespace is there for good, with its route: the kernel gives each device one by itself,
/// and first looks for a duplicate for a second (`addrconf_dad_work`, net/ipv6/addrconf.c). Without a carrier it does not look.
fn ipv6_is_settled() -> bool {
    const TENTATIVE: u8 = 0x40; // linux/if_addr.h
    const DUPLICATE: u8 = 0x08;
    let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let (addresses, routes) = (read("if_inet6"), read("ipv6_route"));
    addresses.lines().all(|line| {
        // The address, the device's index, the prefix's length, the scope, flags, all hexadecimal, and the device.
        let fields: Vec<&str> = line.split_whitespace().collect();
        let flags = u8::from_str_radix(fields[4], 16).expect("flags");
        let carrier = fs::read_to_string(format!("/sys/class/net/{}/carrier", fields[5]));
        let is_looked_for = carrier.is_ok_and(|carrier| carrier.trim() == "1") && flags & DUPLICATE == 0;
        let has_route = || routes.lines().any(|route| route.starts_with(&format!("{} 80 ", fields[0])));
        !is_looked_for || (flags & TENTATIVE == 0 && has_route())
    })
}

/// Fails with the facts that differ.
#[track_caller]
pub fn assert_same(before: &[String], after: &[String], context: &str) {
    let (mut gone, mut come) = (before.to_vec(), after.to_vec());
    gone.retain(|fact| match come.iter().position(|other| other == fact) {
        Some(position) => {
            come.remove(position);
            false
        }
        None => true,
    });
    let mut difference = String::new();
    for (sign, fact) in gone.iter().map(|fact| ('-', fact)).chain(come.iter().map(|fact| ('+', fact))) {
        let _ = writeln!(difference, "{sign} {fact}");
    }
    assert!(difference.is_empty(), "the host is not as it was:\n{difference}after\n{context}");
}

/// Waits until a host is as it was: what watches over containers ends a moment after they do.
#[track_caller]
pub fn becomes(before: &[String], host: &Namespace, context: &str) {
    const DUMPS: u32 = 500;
    let mut now = host.dump();
    for _ in 0..DUMPS {
        if now == before {
            return;
        }
        now = host.dump();
    }
    assert_same(before, &now, context);
}

fn names_in(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Adds the elements of a list, a line each, without what is volatile.
fn add(facts: &mut Vec<String>, origin: &str, list: &Value) {
    let elements = list.as_array().into_iter().flatten().cloned().map(canonical);
    let elements = elements.filter(|element| *element != json!({}));
    facts.extend(elements.map(|element| format!("{origin}: {element}")));
}

/// A value without what is volatile.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(mut fields) => {
            if let Some(Value::Object(program)) = fields.get_mut("prog") {
                program.retain(|key, _| key == "name" || key == "tag");
            }
            // Where the fast path leads is an index, in its name as in its program.
            if let Some(Value::String(name)) = fields.get_mut("bpf_name")
                && name.starts_with("fan-fast ")
            {
                *name = name.split(' ').take(3).collect::<Vec<_>>().join(" ");
                fields.remove("prog");
            }
            let lasting = fields.into_iter().filter(|(key, _)| !VOLATILE.contains(&key.as_str()));
            Value::Object(lasting.map(|(key, value)| (key, canonical(value))).collect::<Map<_, _>>())
        }
        Value::Array(elements) => {
            let lasting = elements.into_iter().filter(|element| !CARRIER.iter().any(|flag| element == flag));
            Value::Array(lasting.map(canonical).collect())
        }
        // The record of a fan's tables has a digest of them as the kernel has them, with the indexes of devices.
        Value::String(name) if name.starts_with("made-") => Value::String("made".into()),
        other => other,
    }
}
