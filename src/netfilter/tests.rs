use super::*;

fn packet() -> Packet {
    Packet {
        hook: "input",
        families: &["ip", "inet"],
        incoming: Some("eth0".into()),
        outgoing: None,
        bridge: None,
        source: Ipv4Addr::new(172, 30, 0, 27),
        destination: Ipv4Addr::new(172, 30, 0, 28),
        is_local: true,
        protocol: 4,
        port: None,
        state: State::New,
    }
}

fn is(field: Field, value: Value) -> Match {
    Match::Field {
        field,
        negated: false,
        values: vec![value],
    }
}

fn rule(matches: impl Into<Vec<Match>>, verdict: Verdict) -> Rule {
    Rule {
        matches: matches.into(),
        verdict: Some(verdict),
        ..Rule::default()
    }
}

fn ipip() -> Match {
    is(Field::Protocol, Value::Range(4, 4))
}

/// A table with a chain at the input, whose policy is to accept or to drop, and one to jump to.
fn table(policy: &Verdict, rules: Vec<Rule>, other: Vec<Rule>) -> Table {
    let base = Base {
        hook: "input".into(),
        priority: 0,
        drops: *policy == Verdict::Drop,
        devices: vec![],
    };
    let chains = [("in", Some(base), rules), ("other", None, other)];
    Table {
        backend: Backend::Nftables,
        family: "ip".into(),
        name: "filter".into(),
        chains: chains
            .into_iter()
            .map(|(name, base, rules)| (name.to_string(), Chain { base, rules }))
            .collect(),
        sets: BTreeMap::from([("hosts".into(), vec![Value::from(packet().source)])]),
    }
}

#[derive(Debug, PartialEq)]
enum Short {
    Passes,
    Lost,
    AtRisk,
}

fn fate_in(policy: &Verdict, rules: Vec<Rule>, other: Vec<Rule>) -> Short {
    match fate(&packet(), &[table(policy, rules, other)]) {
        Fate::Passes => Short::Passes,
        Fate::Lost(_) => Short::Lost,
        Fate::AtRisk(_) => Short::AtRisk,
    }
}

#[test]
fn the_first_verdict_counts_and_then_the_policy() {
    use Verdict::{Accept, Drop};
    let drop = || rule([ipip()], Drop);
    let accept = || rule([ipip()], Accept);
    assert_eq!(fate_in(&Accept, vec![], vec![]), Short::Passes);
    assert_eq!(fate_in(&Drop, vec![], vec![]), Short::Lost);
    assert_eq!(fate_in(&Accept, vec![accept(), drop()], vec![]), Short::Passes);
    assert_eq!(fate_in(&Accept, vec![drop(), accept()], vec![]), Short::Lost);
    assert_eq!(fate_in(&Drop, vec![accept()], vec![]), Short::Passes);
    let other_protocol = rule([is(Field::Protocol, Value::Range(6, 6))], Drop);
    assert_eq!(fate_in(&Accept, vec![other_protocol], vec![]), Short::Passes);
}

#[test]
fn chains_are_jumped_to_and_come_back_from_but_not_gone_to() {
    use Verdict::{Accept, Drop, Goto, Jump, Return};
    let to = |verdict: fn(String) -> Verdict| rule([], verdict("other".into()));
    let drop = || rule([], Drop);
    assert_eq!(fate_in(&Accept, vec![to(Jump)], vec![drop()]), Short::Lost);
    assert_eq!(fate_in(&Accept, vec![to(Jump), drop()], vec![]), Short::Lost);
    assert_eq!(fate_in(&Accept, vec![to(Goto), drop()], vec![]), Short::Passes);
    assert_eq!(fate_in(&Drop, vec![to(Jump)], vec![rule([], Accept)]), Short::Passes);
    let returns = vec![rule([ipip()], Return), drop()];
    assert_eq!(fate_in(&Accept, vec![to(Jump)], returns), Short::Passes);
    let endless = vec![to(Jump)];
    assert_eq!(fate_in(&Accept, vec![to(Jump)], endless), Short::Passes);
}

#[test]
fn what_is_not_understood_is_a_risk_and_no_loss() {
    use Verdict::{Accept, Drop, Jump};
    let maybe = |verdict| rule([Match::Unknown], verdict);
    let drop = || rule([ipip()], Drop);
    assert_eq!(fate_in(&Accept, vec![maybe(Drop)], vec![]), Short::AtRisk);
    assert_eq!(fate_in(&Drop, vec![maybe(Accept)], vec![]), Short::AtRisk);
    assert_eq!(fate_in(&Accept, vec![maybe(Drop), drop()], vec![]), Short::Lost);
    let known_not_to_fit = rule([is(Field::Protocol, Value::Range(6, 6)), Match::Unknown], Drop);
    assert_eq!(fate_in(&Accept, vec![known_not_to_fit], vec![]), Short::Passes);
    let jump = || vec![maybe(Jump("other".into()))];
    assert_eq!(fate_in(&Accept, jump(), vec![drop()]), Short::AtRisk);
    assert_eq!(fate_in(&Drop, jump(), vec![rule([], Accept)]), Short::AtRisk);
    let jump_then_drop = jump().into_iter().chain([drop()]).collect();
    assert_eq!(fate_in(&Accept, jump_then_drop, vec![]), Short::Lost);
}

#[test]
fn fields_are_compared_as_both_kinds_of_firewall_do() {
    use Verdict::{Accept, Drop};
    let word = |word: &str| Value::Word(word.into());
    for (field, value, fits) in [
        (Field::In, word("eth0"), true),
        (Field::In, word("eth*"), true),
        (Field::In, word("eth1"), false),
        (Field::Out, word("*"), false),
        (
            Field::Source,
            Value::from("172.30.0.0/16".parse::<ipnetwork::Ipv4Network>().unwrap()),
            true,
        ),
        (Field::Source, Value::Set("hosts".into()), true),
        (Field::Destination, Value::Set("hosts".into()), false),
        (Field::DestinationPort(17), Value::Range(0, 65535), false),
        (Field::State, word("new"), true),
        (Field::State, word("invalid"), false),
        (Field::DestinationType, word("local"), true),
        (Field::Mark, Value::Range(0x4000, 0x4000), false),
        (Field::Family, word("ipv4"), true),
        (Field::Family, word("ipv6"), false),
    ] {
        let expected = if fits { Short::Lost } else { Short::Passes };
        let rules = vec![rule([is(field, value.clone())], Drop)];
        assert_eq!(fate_in(&Accept, rules, vec![]), expected, "{field:?} {value:?}");
        let negated = Match::Field {
            field,
            negated: true,
            values: vec![value.clone()],
        };
        let expected = if fits { Short::Passes } else { Short::Lost };
        assert_eq!(
            fate_in(&Accept, vec![rule([negated], Drop)], vec![]),
            expected,
            "not {field:?} {value:?}"
        );
    }
    let unknown_set = rule([is(Field::Source, Value::Set("none".into()))], Drop);
    assert_eq!(fate_in(&Accept, vec![unknown_set], vec![]), Short::AtRisk);
    let map = Match::Map(Field::State, vec![(word("invalid"), Drop), (word("new"), Accept)]);
    let by_state = Rule {
        matches: vec![map],
        ..Rule::default()
    };
    assert_eq!(fate_in(&Drop, vec![by_state], vec![]), Short::Passes);
}

#[test]
fn a_table_of_another_hook_or_family_is_not_asked() {
    let mut elsewhere = table(&Verdict::Drop, vec![], vec![]);
    elsewhere.family = "bridge".into();
    assert_eq!(fate(&packet(), &[elsewhere]), Fate::Passes);
    let forwarded = Packet {
        hook: "forward",
        ..packet()
    };
    assert_eq!(fate(&forwarded, &[table(&Verdict::Drop, vec![], vec![])]), Fate::Passes);
}
