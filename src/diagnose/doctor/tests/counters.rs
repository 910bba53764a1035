//! What a fan has refused, and checksums.

use super::*;

#[test]
fn hardware_that_spoils_checksums_is_told_to_leave_them_alone() {
    let mut patient = Patient::new("vxlan");
    let mut offload = |checksums| {
        let driver = "vmxnet3".to_string();
        patient.health.offloads = [(patient.fan.tunnel(), Offload { driver, checksums })].into();
        patient.findings(CheckResult::Warned)
    };
    assert_eq!(offload(Some(false)), []);
    assert!(offload(None)[0].reason.contains("ethtool"));
    let finding = &offload(Some(true))[0];
    assert_eq!(finding.check, Check::Checksums);
    let command = "ethtool -K fan-vx16384000 tx-checksum-ip-generic off";
    assert_eq!(finding.mend.as_deref(), Some(command));
}

#[test]
fn wrong_checksums_of_all_the_hosts_udp_are_a_warning_only_where_they_can_be_the_fans() {
    let mut patient = Patient::new("vxlan");
    let tunnel = patient.fan.tunnel();
    patient.health.bad_checksums = 7;
    let told = |patient: &Patient, verdict| {
        let findings = patient.findings(verdict);
        let told = findings.into_iter().find(|finding| finding.check == Check::Checksums);
        told.map(|finding| finding.reason + &finding.evidence.join("\n"))
    };
    assert_eq!(told(&patient, CheckResult::Warned), None);
    let passed = told(&patient, CheckResult::Passed).unwrap();
    assert!(passed.contains('7') && passed.contains("all UDP"), "{passed}");
    // Other hosts answer, or none was asked: the packets with bad checksums are not the fan's.
    let mut with = |received, sent| {
        let of_tunnel = patient.host.links.iter_mut().find(|link| link.name == tunnel);
        of_tunnel.unwrap().counters = crate::plan::host::Counters { received, sent, refused: 0 };
        told(&patient, CheckResult::Warned).is_some()
    };
    assert!(!with(5, 5) && !with(5, 0) && !with(0, 0) && with(0, 5));
    // Where this host's hardware is known to write bad checksums, that of the other hosts may do so too.
    let offload = Offload { driver: "vmxnet3".into(), checksums: Some(false) };
    patient.health.offloads = [(tunnel, offload)].into();
    assert!(told(&patient, CheckResult::Warned).unwrap().contains("all UDP"));
    let mut over_ipip = Patient::new("ipip");
    over_ipip.health.bad_checksums = 7;
    assert_eq!(told(&over_ipip, CheckResult::Warned).or(told(&over_ipip, CheckResult::Passed)), None);
}

/// A table of the fan, in which a rule has counted packets.
pub(super) fn own(family: &str, chain: &str, text: &str) -> FirewallTable {
    let rule = crate::diagnose::netfilter::FirewallRule {
        text: text.into(),
        packets: Some(3),
        ..crate::diagnose::netfilter::FirewallRule::default()
    };
    let mut table = closed(Backend::Nftables, "fan-250.0.0.0/8", chain, "prerouting");
    table.family = family.into();
    table.chains.get_mut(chain).unwrap().rules = vec![rule];
    table
}

#[test]
fn what_was_refused_is_told_whatever_table_counts_it() {
    let mut patient = Patient::new("vxlan");
    patient.health.tables = vec![
        own("bridge", "ports", "counter drop comment \"posing 1f\""),
        own("ip", "guard", "counter drop comment \"foreign packets 83\""),
    ];
    let finding = patient.only(CheckResult::Warned);
    assert_eq!((finding.check, finding.evidence.len()), (Check::Refused, 2), "{finding:#?}");
}

#[test]
fn whatever_rule_of_a_fan_drops_something_it_is_told() {
    for words in BOTH {
        let mut patient = Patient::new(words);
        let ruleset = crate::plan::firewall::ruleset(&patient.fan, crate::fan::encap::SourcePorts::Privileged);
        let drops = ruleset.script().lines().filter(|line| line.contains("counter drop"));
        let mut told: Vec<String> = Vec::new();
        for rule in drops {
            let (_, name) = rule.split_once("comment").unwrap();
            patient.health.tables = vec![own("ip", "guard", rule.trim())];
            let finding = patient.only(CheckResult::Warned);
            assert_eq!(finding.check, Check::Refused, "{name}");
            let [line] = &finding.evidence[..] else { panic!("{name}: {finding:#?}") };
            assert!(line.starts_with("3 "), "{name}: {line}");
            told.push(line.clone());
        }
        // The two rules about source routes share one line; each other rule has its own.
        let rules = told.len();
        told.sort();
        told.dedup();
        assert_eq!(told.len() + 1, rules, "{told:#?}");
    }
}

#[test]
fn a_bridge_that_is_not_the_fans_may_be_meant_by_what_holds_for_all() {
    let mut patient = Patient::new("vxlan");
    patient.health.tables = vec![
        own("bridge", "ports", "counter drop comment \"posing 1f\""),
        own("ip", "guard", "counter drop comment \"foreign packets 83\""),
    ];
    let names_another = |patient: &Patient| {
        let evidence = patient.only(CheckResult::Warned).evidence;
        evidence.iter().map(|line| line.contains("'docker0'")).collect::<Vec<_>>()
    };
    assert_eq!(names_another(&patient), [false, false]);
    patient.host.links.push(link("docker0", LinkKind::Bridge { mac: crate::fan::Mac([2; 6]) }));
    assert_eq!(names_another(&patient), [true, false]);
}
