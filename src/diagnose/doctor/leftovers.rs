//! What is left of a fan whose bridge is gone, or has lost its alias. The bridge's alias tells how the fan was made;
//! without it only the configuration does.

use std::collections::BTreeSet;

use ipnetwork::Ipv4Network;

use super::{Facts, Finding, Found};
use crate::fan::Fan;
use crate::fan::encap::VXLAN_PORT;
use crate::fan::mapping::Overlay;
use crate::fan::shell::Line;
use crate::plan::commands::describe;
use crate::plan::firewall::{GuardRule, table_name};
use crate::plan::leftovers::{Stray, remains};
use crate::plan::state::{Owner, fans};
use crate::shell;

pub(super) fn check(facts: Facts, is_meant: impl Fn(Overlay) -> bool) -> Vec<Finding> {
    let up: BTreeSet<Overlay> = fans(facts.owned).map(Fan::overlay).collect();
    remains(facts.owned, facts.host)
        .into_iter()
        .filter(|left| is_meant(left.overlay))
        .map(|left| match &left.bridge {
            Some(stray) => unknown(left.overlay, stray, facts),
            None => finding(left.overlay, &up, facts),
        })
        .collect()
}

/// A bridge that exists, and whose alias is not that of a fan any more.
fn unknown(overlay: Overlay, stray: &Stray, facts: Facts) -> Finding {
    let mend = stray.mend();
    let then = match mend {
        Some(_) => "fanctl does not manage this fan until it has its alias again".to_string(),
        None => stray.advice(),
    };
    let reason = format!("the alias of bridge '{}', by which it was known, was changed; {then}", stray.name);
    let attached = facts.host.foreign_ports(&stray.name);
    let attached = attached.map(|port| format!("attached to it: {}", port.name));
    Finding { fan: Some(overlay), mend, ..Finding::failed(Found::AliasChanged, reason).because(attached) }
}

fn finding(overlay: Overlay, up: &BTreeSet<Overlay>, facts: Facts) -> Finding {
    let rest = facts
        .owned
        .iter()
        .filter(|(key, _)| key.owner == Owner::Fan(overlay))
        .map(|(_, object)| format!("left of it: {}", describe(object)));
    let is_configured = facts.configured.is_some_and(|all| all.iter().any(|config| config.overlay == overlay));
    let what = format!("fan {overlay} has lost its bridge, and is down");
    let mut finding = if is_configured {
        let mut finding =
            Finding::failed(Found::BridgeLost, format!("{what}; its containers have to be attached anew"))
                .mended_by(shell!("fanctl reload{}", facts.config_option));
        finding.fixable = true;
        finding
    } else {
        let reason = format!("{what}; it is not configured, so that only you know what it was like");
        let finding = Finding::failed(Found::BridgeLost, reason);
        match (guess(overlay, facts), up.is_empty()) {
            (Some(command), _) => finding.mended_by(command),
            (None, true) => finding.mended_by(shell!("fanctl down -e")),
            (None, false) => finding,
        }
    };
    finding.fan = Some(overlay);
    finding.because(rest)
}

/// The command that brings it up again, as far as its table tells: the underlay, and for VXLAN the port. None over WireGuard, whose
/// rule has a set of two ports: the key file and the hosts stood in the bridge's alias alone.
fn guess(overlay: Overlay, facts: Facts) -> Option<Line> {
    let name = table_name(overlay);
    let tables = facts.health.tables.iter().filter(|table| table.name == name);
    let mut rules = tables.flat_map(|table| table.chains.values()).flat_map(|chain| &chain.rules);
    let rule = rules.find(|rule| GuardRule::of(&rule.text) == Some(GuardRule::EncapsulatedForAHost))?;
    let words: Vec<&str> = rule.text.split(' ').collect();
    let after = |word: &str| words.iter().skip_while(|found| **found != word).nth(1).copied();
    let underlay: Ipv4Network = after("daddr")?.parse().ok()?;
    let options = match after("dport").map(str::parse::<u16>) {
        Some(Ok(VXLAN_PORT)) => shell!(" --encap vxlan"),
        Some(Ok(port)) => shell!(" --encap vxlan --port {}", port),
        Some(Err(_)) => return None,
        None => Line::default(),
    };
    Some(shell!("fanctl up {} {}{}", overlay, underlay, options))
}
