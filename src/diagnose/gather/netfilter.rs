//! Everybody's firewall rules, as [`netfilter`](crate::diagnose::netfilter) understands them: nftables by `nft -j`, what iptables has
//! put there in words that only it knows by `iptables-nft-save`, and the older rule set by `iptables-legacy-save`.

mod ipset;
mod iptables_save;
mod nft_json;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::diagnose::netfilter::{Backend, Base, FirewallRule, FirewallTable};
use crate::kernel::file::{self, KERNEL_LIMIT};
use crate::kernel::{capabilities, exec};

/// Reads every table, and says what could not be read.
#[must_use]
pub(crate) fn observe() -> (Vec<FirewallTable>, Vec<String>) {
    let mut unseen = Vec::new();
    let mut tables = match nftables() {
        Ok(tables) => tables,
        Err(sentence) => {
            unseen.push(format!("nftables: {sentence}"));
            Vec::new()
        }
    };
    match legacy() {
        Ok(legacy) => tables.extend(legacy),
        Err(sentence) => unseen.push(format!("rules of iptables-legacy: {sentence}")),
    }
    (tables, unseen)
}

fn nftables() -> Result<Vec<FirewallTable>, String> {
    let json = exec::run("nft", &["-j", "list", "ruleset"], "")?;
    let json: Json = serde_json::from_str(&json).map_err(|error| format!("'nft' says what is no JSON: {error}"))?;
    // Rules as a person reads them stand in the other listing, under the same handles.
    let listing = Listing::read(&exec::run("nft", &["-a", "list", "ruleset"], "")?);
    let (mut tables, uses_extensions) = read(&json, &listing);
    if uses_extensions && let Ok(saved) = saved(Backend::Nftables) {
        for table in saved {
            tables.retain(|other| (&other.family, &other.name) != (&table.family, &table.name));
            tables.push(table);
        }
    }
    Ok(tables)
}

/// The rule set that nftables does not show: the kernel tells which of its tables are in use.
fn legacy() -> Result<Vec<FirewallTable>, String> {
    let names = file::read_text("/proc/net/ip_tables_names", KERNEL_LIMIT).unwrap_or_default();
    if names.trim().is_empty() {
        return Ok(Vec::new());
    }
    saved(Backend::Legacy)
}

/// What `iptables-save` of a kind prints: where only one is installed, it has no more than the plain name.
fn saved(backend: Backend) -> Result<Vec<FirewallTable>, String> {
    let program = match backend {
        Backend::Nftables => "iptables-nft-save",
        Backend::Legacy => "iptables-legacy-save",
    };
    let plain = "iptables-save";
    let found = if exec::find(program).is_some() { program } else { plain };
    let text = exec::run_with::<&str>(capabilities::IPTABLES, found, &[], "")?;
    // Its first line tells which one it is.
    let is_new = text.lines().next().is_some_and(|line| line.contains("nf_tables"));
    if found == plain && is_new != (backend == Backend::Nftables) {
        return Err(exec::missing(program));
    }
    // Of sets that cannot be read it is not known what is in them.
    let asks_sets = text.contains("--match-set") && exec::find("ipset").is_some();
    let sets = if asks_sets { exec::run("ipset", &["save"], "").unwrap_or_default() } else { String::new() };
    Ok(iptables_save::read(&text, backend, &ipset::read(&sets)))
}

/// What identifies a chain: family, table and name.
type ChainName = (String, String, String);

/// What `nft -a list ruleset` tells.
#[derive(Default)]
struct Listing {
    /// Rules, by their chain and handle.
    rules: BTreeMap<(ChainName, u64), String>,
    /// The interfaces of chains that packets enter when they are received, which JSON may lack (nft 1.0.6).
    devices: BTreeMap<ChainName, Vec<String>>,
    /// The flags of tables, by family and name, which JSON may lack likewise.
    flags: BTreeMap<(String, String), Vec<String>>,
}

impl Listing {
    fn read(text: &str) -> Self {
        let (mut listing, mut place) = (Self::default(), ChainName::default());
        for line in text.lines().map(str::trim) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["table", family, table, "{", ..] => place = (family.into(), table.into(), String::new()),
                // A set or a map has flags of its own.
                ["chain" | "set" | "map" | "flowtable", name, "{", ..] => place.2 = name.into(),
                ["flags", flags, ..] if place.2.is_empty() => {
                    let flags = flags.split(',').map(str::to_string).collect();
                    listing.flags.insert((place.0.clone(), place.1.clone()), flags);
                }
                ["type", _, "hook", "ingress" | "egress", ..] => {
                    let devices = line.split('"').skip(1).step_by(2).map(str::to_string);
                    listing.devices.insert(place.clone(), devices.collect());
                }
                _ => {
                    if let Some((text, handle)) = line.rsplit_once(" # handle ") {
                        let handle = handle.trim().parse().unwrap_or_default();
                        listing.rules.insert((place.clone(), handle), text.to_string());
                    }
                }
            }
        }
        listing
    }
}

/// The tables of `nft -j list ruleset`, and whether there are rules that only iptables can read.
fn read(json: &Json, listing: &Listing) -> (Vec<FirewallTable>, bool) {
    let mut tables: BTreeMap<(String, String), FirewallTable> = BTreeMap::new();
    let mut uses_extensions = false;
    let text = |object: &Json, key: &str| object[key].as_str().unwrap_or_default().to_string();
    for object in json["nftables"].as_array().into_iter().flatten() {
        let Some((kind, object)) = object.as_object().and_then(|object| object.iter().next()) else {
            continue;
        };
        let (family, name) = (text(object, "family"), text(object, "table"));
        if !matches!(kind.as_str(), "chain" | "set" | "map" | "rule") {
            continue;
        }
        let has_flag = |flag: &str| {
            let flags = listing.flags.get(&(family.clone(), name.clone()));
            flags.is_some_and(|flags| flags.iter().any(|own| own == flag))
        };
        let table = tables.entry((family.clone(), name.clone())).or_insert_with(|| FirewallTable {
            backend: Backend::Nftables,
            family: family.clone(),
            name: name.clone(),
            chains: BTreeMap::new(),
            sets: BTreeMap::new(),
            maps: BTreeMap::new(),
            is_owned: has_flag("owner"),
        });
        match kind.as_str() {
            "chain" => {
                let chain = text(object, "name");
                let devices = listing.devices.get(&(family.clone(), name.clone(), chain.clone()));
                // No packet enters the chains of a table that sleeps.
                let base = base(object, devices).filter(|_| !has_flag("dormant"));
                table.chains.entry(chain).or_default().base = base;
            }
            "set" => {
                let elements = object["elem"].as_array().into_iter().flatten();
                let values = elements.map(nft_json::value).collect();
                table.sets.insert(text(object, "name"), values);
            }
            "map" if object["map"] == "verdict" => {
                let elements = object["elem"].as_array().map(Vec::as_slice).unwrap_or_default();
                table.maps.insert(text(object, "name"), nft_json::entries(elements));
            }
            "rule" => {
                let chain = text(object, "chain");
                let handle = object["handle"].as_u64().unwrap_or_default();
                let place = ((family.clone(), name.clone(), chain.clone()), handle);
                let expressions = object["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
                uses_extensions |= expressions.iter().any(|expression| expression.get("xt").is_some());
                let mut rule = FirewallRule {
                    text: listing.rules.get(&place).cloned().unwrap_or_default(),
                    ..FirewallRule::default()
                };
                for expression in expressions {
                    nft_json::read(expression, &mut rule);
                }
                table.chains.entry(chain).or_default().rules.push(rule);
            }
            _ => {}
        }
    }
    (tables.into_values().collect(), uses_extensions)
}

/// Where packets enter a chain, of whatever type; none for one that is only jumped to.
fn base(chain: &Json, devices: Option<&Vec<String>>) -> Option<Base> {
    Some(Base {
        hook: chain["hook"].as_str()?.to_string(),
        priority: chain["prio"].as_i64().unwrap_or_default(),
        drops: chain["policy"] == "drop",
        devices: devices.cloned().unwrap_or_default(),
        translates: chain["type"] == "nat",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::netfilter::{Field, Match, PacketVerdict, Value};

    #[test]
    fn rules_are_read_with_their_texts() {
        let json = serde_json::json!({"nftables": [
            {"chain": {"family": "inet", "table": "t", "name": "in", "type": "filter", "hook": "input", "prio": -10,
                "policy": "drop"}},
            {"rule": {"family": "inet", "table": "t", "chain": "in", "handle": 4, "expr": [
                {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "protocol"}}, "right": 4}},
                {"counter": {"packets": 7, "bytes": 420}}, {"drop": null}]}},
        ]});
        let listing = "table inet t { # handle 1\n\tchain in { # handle 2\n\t\ttype filter hook input priority -10; \
                       policy drop;\n\t\tip protocol 4 counter packets 7 bytes 420 drop # handle 4\n\t}\n}\n";
        let (tables, uses_extensions) = read(&json, &Listing::read(listing));
        assert!(!uses_extensions);
        let chain = &tables[0].chains["in"];
        assert!(chain.base.as_ref().is_some_and(|base| base.drops && base.priority == -10));
        let rule = FirewallRule {
            text: "ip protocol 4 counter packets 7 bytes 420 drop".into(),
            matches: vec![Match::Field { field: Field::Protocol, negated: false, values: vec![Value::Range(4, 4)] }],
            verdict: Some(PacketVerdict::Drop),
            marking: None,
            tracking: None,
            packets: Some(7),
        };
        assert_eq!(chain.rules, [rule]);
    }
}
