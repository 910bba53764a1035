//! One table: what came of the probes, and who is to blame.

use super::*;
use crate::diagnose::trace::hops::HopFault;
use crate::diagnose::trace::packet::Complaint;
use crate::diagnose::trace::probe::{Hop, ProbeOutcome};
use crate::fan::encap::Encapsulation;
use crate::fan::options::Options;
use crate::fan::tests::announced;
use crate::fan::{Fan, Mac};
use crate::plan::host::Reachability;

const ANSWERED: ProbeOutcome = ProbeOutcome::Answered(100);
const ROUTER: std::net::Ipv4Addr = std::net::Ipv4Addr::new(172, 30, 0, 1);
const THERE: std::net::Ipv4Addr = std::net::Ipv4Addr::new(172, 30, 0, 27);
const GATEWAY: std::net::Ipv4Addr = std::net::Ipv4Addr::new(250, 0, 27, 1);

fn target(encapsulation: Encapsulation) -> Target {
    let fan = Fan { options: Options { encapsulation, ..Options::default() }, ..announced() };
    Target::new("250.0.27.2".parse().unwrap(), &fan, 1480)
}

/// What comes of the first probes when only those on these legs are answered.
fn answered(target: &Target, legs: &[Leg]) -> Evidence {
    let outcome = |leg| {
        if legs.contains(&leg) { ANSWERED } else { ProbeOutcome::Silence }
    };
    Evidence {
        probes: target.probes().into_iter().map(|probe| (probe, outcome(probe.leg))).collect(),
        left: Some(true),
        ..Evidence::default()
    }
}

/// The same evidence with another outcome of some probes.
fn but(mut evidence: Evidence, legs: &[Leg], aims: &[Aim], outcome: &ProbeOutcome) -> Evidence {
    for (probe, found) in &mut evidence.probes {
        if legs.contains(&probe.leg) && aims.contains(&probe.aim) {
            *found = outcome.clone();
        }
    }
    evidence
}

const ALL: [Leg; 3] = [Leg::Underlay, Leg::Gateway, Leg::Address];

#[test]
fn each_picture_has_its_cause() {
    let ipip = target(Encapsulation::Ipip);
    let lost = answered(&ipip, &[Leg::Underlay]);
    let nothing = answered(&ipip, &[]);
    let near = answered(&ipip, &[Leg::Underlay, Leg::Gateway]);
    let all = answered(&ipip, &ALL);
    let complains =
        |evidence: &Evidence, from, complaint| Evidence { complaints: vec![(from, complaint)], ..evidence.clone() };
    let silence = &ProbeOutcome::Silence;
    let full = [Aim::Full];
    let small = [Aim::Small];
    let forbidden = ProbeOutcome::NotSent { words: "Operation not permitted".into(), forbidden: true };
    let hops = vec![Hop { ttl: 1, plain: Some(ROUTER), wrapped: Some(ROUTER) }];
    let pictures = [
        (all.clone(), Cause::Works, None),
        (but(all.clone(), &ALL, &full, silence), Cause::BlackHole, Some("172.30.0.27")),
        (but(all.clone(), &ALL, &[Aim::Datagram], silence), Cause::ChecksumsSpoilt, Some("this host")),
        (but(all.clone(), &ALL, &[Aim::Datagram, Aim::Unsummed], silence), Cause::Works, None),
        (
            complains(&but(all.clone(), &ALL, &full, silence), ROUTER, Complaint::TooLarge(1400)),
            Cause::Narrow,
            Some("172.30.0.1"),
        ),
        (but(all.clone(), &[Leg::Gateway, Leg::Address], &full, silence), Cause::ThereMtuSmall, Some("172.30.0.27")),
        (but(all.clone(), &[Leg::Address], &full, silence), Cause::AddressMtuSmall, Some("container 250.0.27.2")),
        (
            but(all.clone(), &[Leg::Address], &[Aim::Fragments], silence),
            Cause::AddressMtuLarge,
            Some("container 250.0.27.2"),
        ),
        (
            but(all, &[Leg::Gateway, Leg::Address], &[Aim::Fragments], silence),
            Cause::FragmentsLost,
            Some("172.30.0.27"),
        ),
        (near.clone(), Cause::AddressSilent, Some("container 250.0.27.2")),
        (
            but(near, &[Leg::Address], &small, &ProbeOutcome::Complaint(GATEWAY, Complaint::Host)),
            Cause::AddressGone,
            Some("container 250.0.27.2"),
        ),
        (lost.clone(), Cause::Dropped, Some("172.30.0.27")),
        (Evidence { hops, ..lost.clone() }, Cause::Dropped, Some("172.30.0.1")),
        (complains(&lost, THERE, Complaint::Protocol), Cause::NoFanThere, Some("172.30.0.27")),
        (complains(&lost, ROUTER, Complaint::Port), Cause::Rejected, Some("172.30.0.1")),
        (complains(&nothing, ROUTER, Complaint::Host), Cause::HostGone, Some("172.30.0.1")),
        (Evidence { left: Some(false), ..lost.clone() }, Cause::HereFirewallOut, Some("this host")),
        (but(lost.clone(), &[Leg::Address], &small, &forbidden), Cause::HereFirewallOut, Some("this host")),
        (Evidence { lost: vec![THERE], ..lost.clone() }, Cause::HereFirewallIn, Some("this host")),
        (Evidence { lost: vec![THERE; 3], refused: 3, ..lost.clone() }, Cause::HereRefused, Some("this host")),
        (Evidence { lost: vec![THERE; 3], refused: 2, ..lost.clone() }, Cause::HereFirewallIn, Some("this host")),
        (Evidence { came: vec![THERE], refused: 3, ..lost.clone() }, Cause::Dropped, Some("172.30.0.27")),
        (Evidence { lost: vec![ROUTER], ..lost }, Cause::HereRefused, Some("172.30.0.1")),
        (
            Evidence { left: Some(false), next_hop: Some(Reachability::Silent), ..nothing.clone() },
            Cause::HostGone,
            Some("172.30.0.27"),
        ),
        (nothing, Cause::HostSilent, Some("172.30.0.27")),
    ];
    for (evidence, cause, hop) in pictures {
        let found = verdict(&ipip, &[], &evidence);
        assert_eq!((found.cause, found.hop.as_deref()), (cause, hop), "{found:?}");
        assert!(hop.is_none() || found.advice.is_some(), "{found:?}");
        let works = matches!(cause, Cause::Works | Cause::Narrow | Cause::FragmentsLost);
        assert_eq!(found.works, works, "{found:?}");
    }
}

#[test]
fn over_vxlan_arp_tells_who_is_there() {
    let vxlan = target(Encapsulation::Vxlan);
    let near = answered(&vxlan, &[Leg::Underlay, Leg::Gateway]);
    let with = |on_bridge| Evidence { on_bridge, ..near.clone() };
    let cause = |evidence: &Evidence| verdict(&vxlan, &[], evidence).cause;
    assert_eq!(cause(&with(Some(Reachability::Silent))), Cause::AddressGone);
    assert_eq!(cause(&with(Some(Reachability::Known(Mac([2; 6]))))), Cause::AddressSilent);
    let half = Evidence { knows: true, ..answered(&vxlan, &[Leg::Underlay]) };
    let found = verdict(&vxlan, &[], &half);
    assert_eq!(found.cause, Cause::Dropped);
    assert!(found.says.contains("ARP"), "{found:?}");
}

#[test]
fn what_is_wrong_here_comes_first_unless_it_does_not_matter() {
    let ipip = target(Encapsulation::Ipip);
    let step = |cause| PathStep {
        name: "a step",
        says: String::new(),
        values: serde_json::Map::new(),
        fault: Some(HopFault { cause, says: "it is wrong".into(), advice: "mend it".into() }),
    };
    let judged = |cause, legs: &[Leg]| verdict(&ipip, &[step(cause)], &answered(&ipip, legs));
    let found = judged(Cause::HereProgram, &[Leg::Underlay]);
    assert_eq!((found.cause, found.works), (Cause::HereProgram, false));
    assert_eq!(found.advice.as_deref(), Some("mend it"));
    assert!(judged(Cause::HereProgram, &ALL).works, "it answers all the same");
    assert!(!judged(Cause::HereForward, &ALL).works, "containers are not answered");
    assert_eq!(judged(Cause::Narrow, &[Leg::Underlay]).cause, Cause::Dropped);
    let unproven = Evidence { unproven: Some("not root".into()), ..Evidence::default() };
    assert_eq!(verdict(&ipip, &[], &unproven).cause, Cause::Unproven);
    assert_eq!(verdict(&ipip, &[step(Cause::HereRule)], &unproven).cause, Cause::HereRule);
}

#[test]
fn an_address_that_no_host_can_have_is_nobodys() {
    let steps = [PathStep {
        name: "program",
        says: String::new(),
        values: serde_json::Map::new(),
        fault: Some(HopFault {
            cause: Cause::HereProgram,
            says: "the program refuses it".into(),
            advice: "fanctl doctor fan-250-0-28 --fix".into(),
        }),
    }];
    let judged = |asked: &str, is_of_nobody| {
        let target = Target { is_of_nobody, ..Target::new(asked.parse().unwrap(), &announced(), 1480) };
        verdict(&target, &steps, &answered(&target, &[]))
    };
    for asked in ["250.255.255.5", "172.30.255.255"] {
        let found = judged(asked, true);
        assert_eq!((found.cause, found.hop.as_deref()), (Cause::AddressOfNobody, Some(asked)));
        assert!(found.says.contains("172.30.255.255") && !found.works, "{found:?}");
        assert!(found.advice.unwrap().contains("fanctl map 250.0.0.0/8 172.30.0.0/16"));
    }
    // Where the network of the interface is larger, it is a host's.
    assert_eq!(judged("250.255.255.5", false).cause, Cause::HereProgram);
}

#[test]
fn who_is_asked_for_by_another_interface_is_missed_there() {
    let target = target(Encapsulation::Ipip);
    let silent = |way_out: &str| Evidence {
        left: Some(false),
        way_out: Some(way_out.parse().unwrap()),
        next_hop: Some(Reachability::Silent),
        ..answered(&target, &[])
    };
    let found = verdict(&target, &[], &silent("wg0"));
    assert_eq!(found.cause, Cause::HostGone);
    assert!(found.says.ends_with("on wg0"), "{found:?}");
    assert!(found.advice.unwrap().ends_with("not by eth0: ip route get 172.30.0.27 from 172.30.0.28"));
    let found = verdict(&target, &[], &silent("eth0"));
    assert!(found.says.ends_with("on eth0") && !found.advice.unwrap().contains("eth0"));
}
