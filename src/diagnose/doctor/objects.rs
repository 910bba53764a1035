//! The objects of a fan: what of them is not there or not right, by area. What went with another is told beside it.

use std::collections::BTreeMap;

use super::{Check, CheckResult, Code, Facts, Finding, Found, firewall};
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
const FOUNDATIONS: [Check; 6] =
    [Check::Bridge, Check::Tunnel, Check::Filters, Check::Routes, Check::Rule, Check::Forwarding];

/// Whether something is wrong that makes it meaningless to ask where packets go.
pub(super) fn are_foundations(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.verdict == CheckResult::Failed && FOUNDATIONS.contains(&finding.check))
}

pub(super) fn check(fan: &Fan, facts: Facts) -> Vec<Finding> {
    let steps = steps(fan, facts);
    if crate::plan::verdict::is_only_older(&steps) {
        let reason =
            "an earlier version made the fan, which goes on working; reload makes it anew without losing a packet";
        return vec![Finding::warned(Found::FanOlder, reason).fixable(fan)];
    }
    let mut areas: BTreeMap<Check, (Vec<Line>, Vec<Line>)> = BTreeMap::new();
    for step in &steps {
        let check = area(step, fan);
        let (roots, consequences) = areas.entry(check).or_default();
        let list = if follows(step, &steps) { consequences } else { roots };
        list.push(line(step, check));
    }
    if fan.options.nat && !facts.host.ip_forward {
        let (roots, _) = areas.entry(Check::Forwarding).or_default();
        let text = "net.ipv4.ip_forward is 0, and NAT needs it".into();
        roots.insert(0, Line { code: Found::IpForwardOff.into(), text });
    }
    // A server is told the mtu, so that another one makes it another server.
    if areas.contains_key(&Check::Mtu) && matches!(areas.get(&Check::Dhcp), Some((roots, _)) if !is_missing(roots)) {
        areas.remove(&Check::Dhcp);
    }
    // An area in which everything follows from another is part of that one.
    let (causes, consequences): (Vec<_>, Vec<_>) = areas.into_iter().partition(|(_, (roots, _))| !roots.is_empty());
    let consequences: Vec<Line> = consequences.into_iter().flat_map(|(_, (_, lines))| lines).collect();
    let mut findings: Vec<Finding> = causes
        .into_iter()
        .map(|(check, (roots, own))| finding(check, fan, roots, own))
        .map(|finding| if is_spare(&finding, fan, facts) { spare(finding) } else { finding })
        .collect();
    if let Some(first) = findings.first_mut() {
        let with_it = consequences.into_iter().map(|line| format!("and with it: {}", line.text));
        first.evidence.extend(with_it);
    }
    if findings.is_empty() {
        findings.extend(way_out(fan, facts));
    }
    if findings.is_empty() {
        let number = desired::objects(fan, facts.host).len();
        let what = format!("all {number} of {} are there and right", fan.bridge);
        findings.push(Finding::passed(Found::ObjectsRight, what));
    }
    findings
}

/// Whether it is about rules that stand ready for a chain that drops nothing yet, as Docker's before it has started.
fn is_spare(finding: &Finding, fan: &Fan, facts: Facts) -> bool {
    let is_asked_now = facts.host.forward_chains.contains(&ForwardChain::Forward);
    finding.check == Check::Firewall && !is_asked_now && !firewall::is_forward_closed(fan, facts)
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
        Finding::failed(Found::DefaultDeviceNotForwarding, reason)
            .because([format!("{setting} is 0")])
            .mended_by(shell!("sysctl -w {}=1", device.setting("forwarding")))
    })
}

fn finding(check: Check, fan: &Fan, roots: Vec<Line>, consequences: Vec<Line>) -> Finding {
    let with_it = consequences.into_iter().map(|line| format!("and with it: {}", line.text));
    let mut roots = roots.into_iter();
    let first = roots.next();
    let (code, reason) = first.map_or((Code::ObjectWrong(check), String::new()), |line| (line.code, line.text));
    let roots = roots.map(|line| line.text);
    // Redirects tell a container a shorter way, which no packet is lost by.
    let finding = if check == Check::Redirects { Finding::warned(code, reason) } else { Finding::failed(code, reason) };
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

/// What is wrong with one object, or follows from that.
struct Line {
    code: Code,
    text: String,
}

fn line(step: &Step, check: Check) -> Line {
    let object = step.object();
    let (code, text) = match step {
        Step::Create(_) => (Code::ObjectMissing(check), format!("{} is missing", describe(object))),
        Step::Change { from, to } => {
            let differences = difference::between(from, to);
            let words: Vec<String> = differences.iter().map(ToString::to_string).collect();
            let code =
                differences.first().map_or(Code::ObjectWrong(check), |first| Code::Difference(check, first.code()));
            (code, words.join("; "))
        }
        Step::Delete(_) | Step::Hold(_) | Step::Remake(_) => {
            (Code::ObjectWrong(check), format!("{} is not as it should be", describe(object)))
        }
    };
    Line { code, text }
}

fn is_missing(lines: &[Line]) -> bool {
    lines.iter().all(|line| matches!(line.code, Code::ObjectMissing(_)))
}

/// The area of a step.
fn area(step: &Step, fan: &Fan) -> Check {
    if let Step::Change { from, to } = step {
        return area_of_change(from, to);
    }
    match step.object() {
        Object::Bridge(_) | Object::Address(_) => Check::Bridge,
        Object::Up(_, link) if *link == fan.bridge => Check::Bridge,
        Object::Up(..) | Object::Tunnel(_) | Object::Peers(_) => Check::Tunnel,
        Object::Clsact(..) | Object::Filter(_) | Object::FastPath(_) => Check::Filters,
        Object::Unreachable(..) | Object::Route(_) => Check::Routes,
        Object::Rule(..) => Check::Rule,
        Object::Firewall(..) => Check::Table,
        Object::Accept(_) => Check::Firewall,
        Object::Dhcp(_) => Check::Dhcp,
    }
}

fn area_of_change(from: &Object, to: &Object) -> Check {
    match (from, to) {
        (Object::Bridge(is), Object::Bridge(should)) if is.mtu != should.mtu => Check::Mtu,
        (Object::Tunnel(is), Object::Tunnel(should)) if is.mtu != should.mtu => Check::Mtu,
        (Object::Bridge(is), Object::Bridge(should)) if is.ipv6 != should.ipv6 => Check::Ipv6,
        (Object::Tunnel(is), Object::Tunnel(should)) if is.ipv6 != should.ipv6 => Check::Ipv6,
        (Object::Bridge(is), _) if !is.forwarding => Check::Forwarding,
        (Object::Tunnel(is), _) if !is.forwarding => Check::Forwarding,
        (Object::Bridge(is), _) if is.send_redirects => Check::Redirects,
        (Object::Tunnel(is), Object::Tunnel(should)) if is.kind.rp_filter() != should.kind.rp_filter() => {
            Check::RpFilter
        }
        (Object::Route(is), Object::Route(should)) if differ_in_mtu(is, should) => Check::Mtu,
        (Object::Bridge(_), _) => Check::Bridge,
        (Object::Tunnel(_) | Object::Peers(_), _) => Check::Tunnel,
        (Object::Filter(_) | Object::FastPath(_), _) => Check::Filters,
        (Object::Firewall(..), _) => Check::Table,
        (Object::Dhcp(_), _) => Check::Dhcp,
        _ => Check::Routes,
    }
}

fn differ_in_mtu(is: &Route, should: &Route) -> bool {
    let as_should = Route { mtu: should.mtu, ..is.clone() };
    is != should && as_should == *should
}
