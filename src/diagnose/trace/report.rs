//! A trace as people read it, and as JSON.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::cause::Conclusion;
use super::hops::PathStep;
use super::probe::{Aim, Evidence, Hop, Leg, Probe, ProbeOutcome};
use super::{Location, Target};
use crate::fan::encap::Encapsulation;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;

/// The word before the verdict.
pub(crate) const VERDICT: &str = "verdict:";

/// All that a trace found.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// What was traced.
    pub(crate) target: Target,
    /// The way.
    pub(crate) steps: Vec<PathStep>,
    /// What came of the probes.
    pub(crate) evidence: Evidence,
    /// Who is to blame.
    pub(crate) verdict: Conclusion,
}

impl Aim {
    fn words(self) -> &'static str {
        match self {
            Self::Small => "",
            Self::Full | Self::Measure => " whole",
            Self::FullMayFragment => " without DF",
            Self::Fragments => " in fragments",
            Self::Datagram => " of UDP",
            Self::Unsummed => " of UDP without checksum",
        }
    }
}

fn outcome_text(outcome: &ProbeOutcome) -> String {
    match outcome {
        ProbeOutcome::Answered(microseconds) => {
            format!("answered in {}.{:03} ms", microseconds / 1000, microseconds % 1000)
        }
        ProbeOutcome::Complaint(from, complaint) => format!("{from} says {complaint}"),
        ProbeOutcome::Silence => "no answer".into(),
        ProbeOutcome::NotSent { words, .. } => format!("not sent: {words}"),
    }
}

impl Trace {
    /// What follows [`VERDICT`]: the verdict itself, what to do, the numbered steps, and what proves them.
    #[must_use]
    pub fn text(&self) -> String {
        let Conclusion { says, advice, .. } = &self.verdict;
        let mut text = format!(" {says}\n");
        if let Some(advice) = advice {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "next: {advice}");
        }
        let width = self.steps.iter().map(|step| step.name.len()).max().unwrap_or_default();
        for (number, step) in (1..).zip(&self.steps) {
            let _ = writeln!(text, "{number:2}  {:width$}  {}", step.name, step.says);
            if let Some(fault) = &step.fault {
                let _ = writeln!(text, "    {:width$}  ! {}", "", fault.says);
            }
        }
        for line in self.proof() {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    fn proof(&self) -> Vec<String> {
        let evidence = &self.evidence;
        let mut lines: Vec<String> = Vec::new();
        if let Some(why) = &evidence.unproven {
            let names: Vec<String> = self.target.probes().iter().map(probe_text).collect();
            lines.push(format!("proof not sent: {why}"));
            lines.extend(names.into_iter().map(|name| format!("proof {name}: not sent")));
            return lines;
        }
        let width = evidence.probes.iter().map(|(probe, _)| probe_text(probe).len()).max();
        let width = width.unwrap_or_default();
        for (probe, outcome) in &evidence.probes {
            lines.push(format!("proof {:width$}  {}", probe_text(probe), outcome_text(outcome)));
        }
        let device = evidence.way_out.as_ref().unwrap_or(&self.target.fan.device);
        if let Some(left) = evidence.left {
            let went = if left { "left by" } else { "never left by" };
            let came = if evidence.came.is_empty() { "no answer came" } else { "answers came" };
            lines.push(format!("proof {} {went} {device}, {came}", self.target.carrier()));
        }
        for (from, complaint) in &evidence.complaints {
            lines.push(format!("proof {from} says {complaint} about {}", self.target.carrier()));
        }
        for Hop { ttl, plain, wrapped } in &evidence.hops {
            let name = |router: &Option<Ipv4Addr>| router.map_or("nobody".to_string(), |router| router.to_string());
            lines.push(format!(
                "proof hop {ttl}: ping gets to {}, {} to {}",
                name(plain),
                self.target.carrier(),
                name(wrapped)
            ));
        }
        let path: Vec<String> =
            self.path().into_iter().map(|(leg, size)| format!("{size} bytes ({})", leg.as_str())).collect();
        if !path.is_empty() {
            lines.push(format!("proof path mtu: {}", path.join(", ")));
        }
        lines
    }

    /// The largest packets known to arrive whole on each leg, in bytes.
    fn path(&self) -> Vec<(Leg, u32)> {
        let evidence = &self.evidence;
        [Leg::Underlay, Leg::Gateway, Leg::Address]
            .into_iter()
            .filter_map(|leg| {
                let full = evidence.probes.iter().find(|(probe, outcome)| {
                    (probe.leg, probe.aim) == (leg, Aim::Full) && matches!(outcome, ProbeOutcome::Answered(_))
                });
                let size = full.map(|(probe, _)| probe.size).or_else(|| evidence.measured(leg))?;
                Some((leg, size))
            })
            .collect()
    }

    /// For scripts.
    #[must_use]
    pub(crate) fn json(&self) -> impl Serialize + use<> {
        let Target { fan, mtu, asked, address, host, gateway, place, is_of_nobody: _ } = self.target.clone();
        let path: Map<String, Value> =
            self.path().into_iter().map(|(leg, size)| (leg.as_str().into(), json!(size))).collect();
        Json {
            asked,
            address,
            place: match place {
                Location::There => "there",
                Location::Here => "here",
                Location::Own => "own",
            },
            overlay: fan.overlay(),
            underlay: fan.underlay_address(),
            bridge: fan.bridge.clone(),
            encap: fan.options.encapsulation,
            slice: fan.mapping.slice(host).to_string(),
            host,
            gateway,
            mtu,
            path_mtu: path,
            steps: self.steps.iter().map(step_json).collect(),
            proof: proof_json(&self.evidence),
            verdict: self.verdict.clone(),
        }
    }
}

/// A probe in words: `underlay 172.30.0.27, 1500 bytes whole`.
fn probe_text(probe: &Probe) -> String {
    let Probe { leg, aim, destination, size, .. } = probe;
    format!("{:8} {destination}, {size} bytes{}", leg.as_str(), aim.words())
}

#[derive(Serialize)]
struct Json {
    asked: Ipv4Addr,
    address: Ipv4Addr,
    place: &'static str,
    overlay: Overlay,
    underlay: String,
    bridge: InterfaceName,
    encap: Encapsulation,
    slice: String,
    host: Ipv4Addr,
    gateway: Ipv4Addr,
    mtu: u32,
    path_mtu: Map<String, Value>,
    steps: Vec<Value>,
    proof: Value,
    verdict: Conclusion,
}

fn step_json(step: &PathStep) -> Value {
    let (cause, fault, advice) = match &step.fault {
        Some(fault) => (Some(fault.cause), Some(&fault.says), Some(&fault.advice)),
        None => (None, None, None),
    };
    json!({
        "step": step.name, "says": step.says, "decides": step.values,
        "ok": fault.is_none(), "cause": cause, "fault": fault, "advice": advice,
    })
}

fn proof_json(evidence: &Evidence) -> Value {
    let complaint = |from: &Ipv4Addr, complaint: &super::packet::Complaint| json!({ "from": from, "code": complaint.code(), "says": complaint.to_string() });
    let probes = evidence.probes.iter().map(|(probe, outcome)| {
        let (word, microseconds, error) = match outcome {
            ProbeOutcome::Answered(microseconds) => ("answered", Some(*microseconds), Value::Null),
            ProbeOutcome::Complaint(from, says) => ("error", None, complaint(from, says)),
            ProbeOutcome::Silence => ("silence", None, Value::Null),
            ProbeOutcome::NotSent { words, forbidden } => {
                let code = if *forbidden { "forbidden_here" } else { "not_sent" };
                ("not_sent", None, json!({ "from": null, "code": code, "says": words }))
            }
        };
        json!({
            "leg": probe.leg, "aim": probe.aim, "source": probe.source, "destination": probe.destination,
            "size": probe.size, "dont_fragment": probe.aim.dont_fragment(),
            "outcome": word, "microseconds": microseconds, "error": error,
        })
    });
    json!({
        "unproven": evidence.unproven,
        "probes": probes.collect::<Vec<Value>>(),
        "left": evidence.left, "came_from": evidence.came, "refused": evidence.refused,
        "errors": evidence.complaints.iter().map(|(from, says)| complaint(from, says)).collect::<Vec<Value>>(),
        "hops": evidence.hops,
    })
}
