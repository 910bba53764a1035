//! The objects of a fan: what of them is not there or not right, by area. What went with another is told beside it.

use std::collections::BTreeMap;

use super::{CheckResult, Facts, Finding, firewall};
use crate::fan::Fan;
use crate::plan::commands::describe;
use crate::plan::desired;
use crate::plan::diff::{Step, diff};
use crate::plan::difference;
use crate::plan::firewall::ForwardChain;
use crate::plan::state::{Object, Owner, Route};
use crate::plan::verdict::is_hidden;
use crate::shell;

/// Areas that the others rest upon, in this order.
const FOUNDATIONS: [&str; 6] = ["bridge", "tunnel", "filters", "routes", "rule", "forwarding"];

/// Whether something is wrong that makes it meaningless to ask where packets go.
pub(super) fn are_foundations(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.verdict == CheckResult::Failed && FOUNDATIONS.contains(&finding.check))
}

pub(super) fn check(fan: &Fan, facts: Facts) -> Vec<Finding> {
    let steps = steps(fan, facts);
    if crate::plan::verdict::is_only_older(&steps) {
        let reason =
            "an earlier version made the fan, which goes on working; reload makes it anew without losing a packet";
        return vec![Finding::warned("older", reason).fixable(fan)];
    }
    let mut areas: BTreeMap<&'static str, (Vec<String>, Vec<String>)> = BTreeMap::new();
    for step in &steps {
        let (roots, consequences) = areas.entry(area(step, fan)).or_default();
        let list = if follows(step, &steps) { consequences } else { roots };
        list.push(line(step));
    }
    if fan.options.nat && !facts.host.ip_forward {
        let (roots, _) = areas.entry("forwarding").or_default();
        roots.insert(0, "net.ipv4.ip_forward is 0, and NAT needs it".into());
    }
    // A server is told the mtu, so that another one makes it another server.
    if areas.contains_key("mtu") && matches!(areas.get("dhcp"), Some((roots, _)) if !is_missing(roots)) {
        areas.remove("dhcp");
    }
    // An area in which everything follows from another is part of that one.
    let (causes, consequences): (Vec<_>, Vec<_>) = areas.into_iter().partition(|(_, (roots, _))| !roots.is_empty());
    let consequences: Vec<String> = consequences.into_iter().flat_map(|(_, (_, lines))| lines).collect();
    let mut findings: Vec<Finding> = causes
        .into_iter()
        .map(|(area, (roots, own))| finding(area, fan, roots, own))
        .map(|finding| if is_spare(&finding, fan, facts) { spare(finding) } else { finding })
        .collect();
    if let Some(first) = findings.first_mut() {
        let with_it = consequences.into_iter().map(|line| format!("and with it: {line}"));
        first.evidence.extend(with_it);
    }
    if findings.is_empty() {
        findings.extend(way_out(fan, facts));
    }
    if findings.is_empty() {
        let number = desired::objects(fan, facts.host).len();
        let what = format!("all {number} of {} are there and right", fan.bridge);
        findings.push(Finding::passed("objects", what));
    }
    findings
}

/// Whether it is about rules that stand ready for a chain that drops nothing yet, as Docker's before it has started.
fn is_spare(finding: &Finding, fan: &Fan, facts: Facts) -> bool {
    let is_asked_now = facts.host.forward_chains.contains(&ForwardChain::Forward);
    finding.check == "firewall" && !is_asked_now && !firewall::is_forward_closed(fan, facts)
}

fn spare(finding: Finding) -> Finding {
    Finding {
        verdict: CheckResult::Warned,
        ..finding.because([
            "chain 'FORWARD' lets the fan's packets pass now, and Docker has it drop them when it starts".into(),
        ])
    }
}

/// The interface of the default route, which answers to containers come in by: `ip_forward` switches it on, and others may
/// switch it off again.
fn way_out(fan: &Fan, facts: Facts) -> Option<Finding> {
    let device = facts.host.default_device().filter(|_| fan.options.nat)?;
    let settings = facts.health.settings.get(device.as_str())?;
    let setting = format!("net/ipv4/conf/{device}/forwarding");
    (!settings.forwarding).then(|| {
        let reason = format!("'{device}', which leads to everybody else, forwards no packets, and NAT needs it");
        Finding::failed("forwarding", reason)
            .because([format!("{setting} is 0")])
            .mended_by(shell!("sysctl -w {}=1", device.setting("forwarding")))
    })
}

fn finding(area: &'static str, fan: &Fan, roots: Vec<String>, consequences: Vec<String>) -> Finding {
    let with_it = consequences.into_iter().map(|line| format!("and with it: {line}"));
    let mut roots = roots.into_iter();
    let reason = roots.next().unwrap_or_default();
    // Redirects tell a container a shorter way, which no packet is lost by.
    let finding = if area == "redirects" { Finding::warned(area, reason) } else { Finding::failed(area, reason) };
    finding.because(roots.chain(with_it)).fixable(fan)
}

/// What has to be done to make the fan right, as far as its objects can be seen.
fn steps(fan: &Fan, facts: Facts) -> Vec<Step> {
    let mut steps = diff(facts.owned, &desired::with(facts.owned, fan, facts.host));
    let owner = Owner::Fan(fan.overlay());
    let shared = fan.options.encapsulation == crate::fan::encap::Encapsulation::Ipip;
    steps.retain(|step| {
        let object = step.object();
        (object.owner() == owner || shared && object.owner() == Owner::Shared) && !is_hidden(object, facts.host)
    });
    steps
}

/// Whether the kernel took an object away because of another that is gone, or it is only made anew with another.
fn follows(step: &Step, steps: &[Step]) -> bool {
    if matches!(step, Step::Hold(_) | Step::Remake(_)) {
        return true;
    }
    steps
        .iter()
        .filter(|other| other.object().key() != step.object().key())
        .filter(|other| matches!(other, Step::Create(_) | Step::Delete(_)))
        .any(|other| step.object().depends_on(&other.object().key().identity))
}

fn line(step: &Step) -> String {
    let object = step.object();
    match step {
        Step::Create(_) => format!("{} is missing", describe(object)),
        Step::Change { from, to } => {
            let differences = difference::between(from, to);
            let words: Vec<String> = differences.iter().map(ToString::to_string).collect();
            words.join("; ")
        }
        Step::Delete(_) | Step::Hold(_) | Step::Remake(_) => format!("{} is not as it should be", describe(object)),
    }
}

fn is_missing(lines: &[String]) -> bool {
    lines.iter().all(|line| line.ends_with("is missing"))
}

/// The area of a step.
fn area(step: &Step, fan: &Fan) -> &'static str {
    if let Step::Change { from, to } = step {
        return area_of_change(from, to);
    }
    match step.object() {
        Object::Bridge(_) | Object::Address(_) => "bridge",
        Object::Up(_, link) if *link == fan.bridge => "bridge",
        Object::Up(..) | Object::Tunnel(_) => "tunnel",
        Object::Clsact(..) | Object::Filter(_) => "filters",
        Object::Unreachable(..) | Object::Route(_) => "routes",
        Object::Rule(..) => "rule",
        Object::Firewall(..) => "table",
        Object::Accept(_) => "firewall",
        Object::Dhcp(_) => "dhcp",
    }
}

fn area_of_change(from: &Object, to: &Object) -> &'static str {
    match (from, to) {
        (Object::Bridge(is), Object::Bridge(should)) if is.mtu != should.mtu => "mtu",
        (Object::Tunnel(is), Object::Tunnel(should)) if is.mtu != should.mtu => "mtu",
        (Object::Bridge(is), Object::Bridge(should)) if is.ipv6 != should.ipv6 => "ipv6",
        (Object::Tunnel(is), Object::Tunnel(should)) if is.ipv6 != should.ipv6 => "ipv6",
        (Object::Bridge(is), _) if !is.forwarding => "forwarding",
        (Object::Tunnel(is), _) if !is.forwarding => "forwarding",
        (Object::Bridge(is), _) if is.send_redirects => "redirects",
        (Object::Route(is), Object::Route(should)) if differ_in_mtu(is, should) => "mtu",
        (Object::Bridge(_), _) => "bridge",
        (Object::Tunnel(_), _) => "tunnel",
        (Object::Filter(_), _) => "filters",
        (Object::Firewall(..), _) => "table",
        (Object::Dhcp(_), _) => "dhcp",
        _ => "routes",
    }
}

fn differ_in_mtu(is: &Route, should: &Route) -> bool {
    let as_should = Route { mtu: should.mtu, ..is.clone() };
    is != should && as_should == *should
}
