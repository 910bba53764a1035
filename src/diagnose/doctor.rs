//! What is wrong with a fan, why, and what mends it: facts in, findings out.
//!
//! Each file below knows one area. A cause has consequences all over: a tunnel that is gone has taken its filters and
//! routes with it, an address that is gone makes every route a wrong one. So the areas are asked in the order in which one
//! rests upon another, and what follows from a finding is part of it, and no finding of its own.
//!
//! Files are called after their area, checks after what the administrator sees. Those that differ: bridge in `leftovers` and
//! `objects`; mtu in `underlay` and `objects`; forwarding and older in `objects`; macs in `neighbours` and `containers`;
//! rp_filter in `routing::fault`; software in `managers`; checksums and refused in `counters`; privileges in `kernel`;
//! settings in `foreign`; fix in this one.

mod code;
mod configuration;
mod containers;
mod counters;
mod encryption;
mod firewall;
mod foreign;
mod kernel;
mod leftovers;
mod managers;
mod names;
mod neighbours;
mod objects;
mod routing;
#[cfg(test)]
mod tests;
mod tunnels;
mod underlay;

use std::fmt;

use serde::Serialize;

use crate::diagnose::facts::Health;
use crate::fan::Fan;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::fan::request::Request;
use crate::fan::shell::Line;
use crate::plan::host::{Host, Link};
use crate::plan::lookup::Question;
use crate::plan::state::State;
use crate::shell;

pub(crate) use code::{Check, Code, Found};
pub(crate) use counters::{has_refused, refuses};
pub(crate) use firewall::TrafficKind;
pub(crate) use routing::questions;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CheckResult {
    /// All is well.
    Passed,
    /// Nothing is lost by it, yet.
    Warned,
    /// Packets are lost, or would be.
    Failed,
}

impl CheckResult {
    /// The word at the start of its line.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Warned => "warn",
            Self::Failed => "FAIL",
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The area.
    pub(crate) check: Check,
    /// What was found.
    pub(crate) code: Code,
    /// The fan; none where it is about the host.
    pub(crate) fan: Option<Overlay>,
    /// How it came out.
    pub(crate) verdict: CheckResult,
    /// A sentence.
    pub(crate) reason: String,
    /// What the kernel and others said, a line each.
    pub(crate) evidence: Vec<String>,
    /// The command that mends it.
    pub(crate) mend: Option<Line>,
    /// Whether `--fix` mends it.
    pub(crate) fixable: bool,
    /// Of a firewall: the kinds of packets that it drops or may drop.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) packets: Vec<TrafficKind>,
}

impl Finding {
    fn new(code: impl Into<Code>, verdict: CheckResult, reason: impl Into<String>) -> Self {
        let code = code.into();
        Self {
            check: code.check(),
            code,
            fan: None,
            verdict,
            reason: reason.into(),
            evidence: Vec::new(),
            mend: None,
            fixable: false,
            packets: Vec::new(),
        }
    }

    fn passed(code: impl Into<Code>, reason: impl Into<String>) -> Self {
        Self::new(code, CheckResult::Passed, reason)
    }

    fn warned(code: impl Into<Code>, reason: impl Into<String>) -> Self {
        Self::new(code, CheckResult::Warned, reason)
    }

    fn failed(code: impl Into<Code>, reason: impl Into<String>) -> Self {
        Self::new(code, CheckResult::Failed, reason)
    }

    fn because(mut self, evidence: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(evidence);
        self
    }

    fn mended_by(mut self, command: Line) -> Self {
        self.mend = Some(command);
        self
    }

    /// Mended by `fanctl` itself.
    fn fixable(mut self, fan: &Fan) -> Self {
        self.mend = Some(fan.mend());
        self.fixable = true;
        self
    }

    /// Files that cannot be followed.
    #[must_use]
    pub(crate) fn of_faults(faults: impl Iterator<Item = String>) -> Self {
        Self::failed(Found::ConfigurationFaulty, "the configuration cannot be followed, and so was not compared")
            .because(faults)
            .mended_by(shell!("fanctl config check"))
    }

    /// What `--fix` could not do.
    #[must_use]
    pub(crate) fn of_failure(overlay: Overlay, lines: &[&str]) -> Self {
        let mut finding = Self::failed(Found::FixFailed, "the fan could not be mended")
            .because(lines.iter().map(ToString::to_string));
        finding.fan = Some(overlay);
        finding
    }

    fn of(mut self, fan: &Fan) -> Self {
        self.fan = Some(fan.overlay());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = self.verdict.word();
        let fan = self.fan.map_or(String::new(), |fan| format!(" of {fan}"));
        write!(f, "{verdict:5} {}{fan}: {}", self.check, self.reason)?;
        for line in &self.evidence {
            write!(f, "\n        {line}")?;
        }
        self.mend.as_ref().map_or(Ok(()), |mend| write!(f, "\n      mend: {mend}"))
    }
}

/// Everything that is known.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// What we own.
    pub(crate) owned: &'a State,
    /// What planning knows of the machine.
    pub(crate) host: &'a Host,
    /// What else is known of it.
    pub(crate) health: &'a Health,
    /// The fans that are to be up; none where no configuration is there or it could not be read.
    pub(crate) configured: Option<&'a [Request]>,
    /// What the command line said of where they are written down: ` --config FILE`, or nothing.
    pub(crate) config_option: &'a Line,
}

/// Examines the host, then each of the fans that are up and are meant, and what is left of fans.
#[must_use]
pub(crate) fn examine(facts: Facts, is_meant: impl Fn(Overlay) -> bool) -> Vec<Finding> {
    let mut findings = kernel::check(facts);
    let fans: Vec<&Fan> = crate::plan::state::fans(facts.owned).collect();
    for fan in fans.iter().copied().filter(|fan| is_meant(fan.overlay())) {
        let own = self::fan(fan, facts);
        findings.extend(own.into_iter().map(|finding| finding.of(fan)));
    }
    findings.extend(leftovers::check(facts, &is_meant));
    findings.extend(configuration::check(facts, &is_meant));
    findings.extend(managers::managers(facts));
    findings
}

/// The checks of one fan. One that makes the rest meaningless is the last.
fn fan(fan: &Fan, facts: Facts) -> Vec<Finding> {
    let failed = |findings: &[Finding]| findings.iter().any(|finding| finding.verdict == CheckResult::Failed);
    let mut findings = vec![underlay::check(fan, facts)];
    if failed(&findings) {
        return findings;
    }
    findings.extend(tunnels::check(fan, facts));
    if failed(&findings) {
        return findings;
    }
    let objects = objects::check(fan, facts);
    let is_rest_meaningless = objects::are_foundations(&objects);
    findings.extend(objects);
    findings.extend(foreign::check(fan, facts));
    if is_rest_meaningless {
        return findings;
    }
    for check in [
        routing::check,
        firewall::check,
        containers::check,
        neighbours::check,
        managers::addresses,
        names::check,
        encryption::check,
        counters::check,
    ] {
        let more = check(fan, facts, &findings);
        findings.extend(more);
    }
    findings
}

/// The interface by which packets for other hosts leave: that of the underlay address, unless that one stands apart (a dummy
/// whose address is routed) and the kernel has answered that they go by another.
fn way_out(fan: &Fan, facts: Facts) -> InterfaceName {
    let stands_apart = facts.host.link(&fan.device).is_some_and(Link::stands_apart);
    let is_about_hosts = |question: &Question| question.from == Some(fan.host) && question.incoming.is_none();
    let mut answers = facts.health.answers.iter().filter(|(question, _)| stands_apart && is_about_hosts(question));
    let found = answers.find_map(|(_, answer)| answer.as_ref().ok().filter(|found| !found.local));
    found.map_or(&fan.device, |found| &found.device).clone()
}

/// The command that brings up a fan like this one from another source of its underlay address.
fn up(fan: &Fan, underlay: &str) -> Line {
    let begin = shell!("fanctl up {} {}", fan.overlay(), underlay);
    let options = fan.config().words();
    options.fold(begin, |line, (_, words)| line.then(&shell!(" --{}", Line::words(&words))))
}

/// `one thing`, `2 things`.
pub(crate) fn count(number: usize, one: &str, more: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {more}") }
}
