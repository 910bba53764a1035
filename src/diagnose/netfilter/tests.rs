use super::*;

fn packet() -> Packet {
    Packet {
        hook: "input",
        families: &["ip", "inet"],
        is_arp: false,
        incoming: Some("eth0".into()),
        outgoing: None,
        bridge: None,
        ports: None,
        source: Ipv4Addr::new(172, 30, 0, 27),
        destination: Ipv4Addr::new(172, 30, 0, 28),
        masqueraded: None,
        diverting: Vec::new(),
        needs_connection: false,
        is_local: true,
        protocol: 4,
        source_port: None,
        port: None,
        state: ConntrackState::New,
    }
}

fn is(field: Field, value: Value) -> Match {
    Match::Field { field, negated: false, values: vec![value] }
}

fn rule(matches: impl Into<Vec<Match>>, verdict: PacketVerdict) -> FirewallRule {
    FirewallRule { matches: matches.into(), verdict: Some(verdict), ..FirewallRule::default() }
}

fn ipip() -> Match {
    is(Field::Protocol, Value::Range(4, 4))
}

/// A table with a chain at the input, whose policy is to accept or to drop, and one to jump to.
fn table(policy: &PacketVerdict, rules: Vec<FirewallRule>, other: Vec<FirewallRule>) -> FirewallTable {
    let base = Base {
        hook: "input".into(),
        priority: 0,
        drops: *policy == PacketVerdict::Drop,
        devices: vec![],
        translates: false,
    };
    let chains = [("in", Some(base), rules), ("other", None, other)];
    FirewallTable {
        backend: Backend::Nftables,
        family: "ip".into(),
        name: "filter".into(),
        chains: chains.into_iter().map(|(name, base, rules)| (name.to_string(), Chain { base, rules })).collect(),
        sets: BTreeMap::from([("hosts".into(), vec![Value::from(packet().source)])]),
        maps: BTreeMap::from([("verdicts".into(), vec![(vec![Value::Range(4, 4)], PacketVerdict::Drop)])]),
        is_owned: false,
    }
}

#[derive(Debug, PartialEq)]
enum Short {
    Passes,
    Lost,
    AtRisk,
}

fn fate_in(policy: &PacketVerdict, rules: Vec<FirewallRule>, other: Vec<FirewallRule>) -> Short {
    match fate(&packet(), &[table(policy, rules, other)]) {
        Fate::Passes => Short::Passes,
        Fate::Lost(_) => Short::Lost,
        Fate::AtRisk(_) => Short::AtRisk,
    }
}

#[test]
fn the_first_verdict_counts_and_then_the_policy() {
    use PacketVerdict::{Accept, Drop};
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
    use PacketVerdict::{Accept, Drop, Goto, Jump, Return};
    let to = |verdict: fn(String) -> PacketVerdict| rule([], verdict("other".into()));
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
    use PacketVerdict::{Accept, Drop, Jump};
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
fn a_mark_is_a_risk_where_a_rule_routes_by_it() {
    let walk = |hook: &'static str, marking, diverting: &[(u32, u32)]| {
        let packet = Packet { hook, diverting: diverting.to_vec(), ..packet() };
        let marks = FirewallRule { marking: Some(marking), ..FirewallRule::default() };
        let mut table = table(&PacketVerdict::Accept, vec![marks], vec![]);
        if let Some(base) = table.chains.get_mut("in").and_then(|chain| chain.base.as_mut()) {
            base.hook = hook.into();
        }
        matches!(fate(&packet, &[table]), Fate::AtRisk(_))
    };
    let nine = Marking::Bits { keep: 0, flip: 9 };
    assert!(walk("prerouting", nine, &[(9, u32::MAX)]));
    assert!(walk("output", Marking::Unknown, &[(0x4000, 0x4000)]));
    assert!(!walk("prerouting", nine, &[(0x4000, 0x4000)]));
    assert!(!walk("prerouting", nine, &[]));
    assert!(!walk("postrouting", nine, &[(9, u32::MAX)]), "it is routed already");
}

#[test]
fn another_source_is_a_risk_only_for_what_is_refused_then() {
    let own = packet().source;
    let other = Ipv4Addr::new(172, 30, 0, 99);
    let walk = |masqueraded, new| {
        let packet = Packet { masqueraded, ..packet() };
        let rules = vec![rule([], PacketVerdict::Source(new))];
        matches!(fate(&packet, &[table(&PacketVerdict::Accept, rules, vec![])]), Fate::AtRisk(_))
    };
    let news = [NewSource::Address(own), NewSource::Address(other), NewSource::OfInterface, NewSource::Unknown];
    assert_eq!(news.map(|new| walk(None, new)), [false; 4]);
    assert_eq!(news.map(|new| walk(Some(own), new)), [false, true, false, true]);
    assert_eq!(news.map(|new| walk(Some(other), new)), [false, true, true, true], "a secondary address");
}

#[test]
fn fields_are_compared_as_both_kinds_of_firewall_do() {
    use PacketVerdict::{Accept, Drop};
    let word = |word: &str| Value::Word(word.into());
    for (field, value, fits) in [
        (Field::In, word("eth0"), true),
        (Field::In, word("eth*"), true),
        (Field::In, word("eth1"), false),
        (Field::Out, word("*"), false),
        (Field::Source, Value::from("172.30.0.0/16".parse::<ipnetwork::Ipv4Network>().unwrap()), true),
        (Field::Source, Value::Set("hosts".into()), true),
        (Field::Destination, Value::Set("hosts".into()), false),
        (Field::State, word("new"), true),
        (Field::State, word("invalid"), false),
        (Field::DestinationType, word("local"), true),
        (Field::Mark(u32::MAX), Value::Range(0x4000, 0x4000), false),
        (Field::Family, word("ipv4"), true),
        (Field::Family, word("ipv6"), false),
    ] {
        let expected = if fits { Short::Lost } else { Short::Passes };
        let rules = vec![rule([is(field, value.clone())], Drop)];
        assert_eq!(fate_in(&Accept, rules, vec![]), expected, "{field:?} {value:?}");
        let negated = Match::Field { field, negated: true, values: vec![value.clone()] };
        let expected = if fits { Short::Passes } else { Short::Lost };
        assert_eq!(fate_in(&Accept, vec![rule([negated], Drop)], vec![]), expected, "not {field:?} {value:?}");
    }
    let unknown_set = rule([is(Field::Source, Value::Set("none".into()))], Drop);
    assert_eq!(fate_in(&Accept, vec![unknown_set], vec![]), Short::AtRisk);
    let map =
        Match::Map(vec![Field::State], Entries::Own(vec![(vec![word("invalid")], Drop), (vec![word("new")], Accept)]));
    let by_state = FirewallRule { matches: vec![map], ..FirewallRule::default() };
    assert_eq!(fate_in(&Drop, vec![by_state], vec![]), Short::Passes);
}

#[test]
fn a_table_of_another_hook_or_family_is_not_asked() {
    let mut elsewhere = table(&PacketVerdict::Drop, vec![], vec![]);
    elsewhere.family = "bridge".into();
    assert_eq!(fate(&packet(), &[elsewhere]), Fate::Passes);
    let forwarded = Packet { hook: "forward", ..packet() };
    assert_eq!(fate(&forwarded, &[table(&PacketVerdict::Drop, vec![], vec![])]), Fate::Passes);
}

#[test]
fn a_field_of_another_protocol_fits_nothing_and_neither_does_its_contrary() {
    use PacketVerdict::{Accept, Drop};
    let not = |field, value| Match::Field { field, negated: true, values: vec![value] };
    let echo = || Value::Word("echo-request".into());
    let ssh = || Value::Range(22, 22);
    for (field, value) in
        [(Field::IcmpType, echo()), (Field::DestinationPort(6), ssh()), (Field::SourcePort(17), ssh())]
    {
        for condition in [is(field, value.clone()), not(field, value)] {
            assert_eq!(fate_in(&Accept, vec![rule([condition.clone()], Drop)], vec![]), Short::Passes);
            assert_eq!(fate_in(&Drop, vec![rule([condition], Accept)], vec![]), Short::Lost);
        }
    }
    let unknown = Packet { state: ConntrackState::Invalid, ..packet() };
    let not_translated = rule([not(Field::Status, Value::Word("dnat".into()))], Accept);
    for (packet, fate_of_it) in [(packet(), true), (unknown, false)] {
        let accepted = table(&Drop, vec![not_translated.clone()], vec![]);
        assert_eq!(fate(&packet, &[accepted]) == Fate::Passes, fate_of_it);
    }
    let any_port = not(Field::DestinationPort(0), ssh());
    assert_eq!(fate_in(&Accept, vec![rule([any_port], Drop)], vec![]), Short::Lost);
}

#[test]
fn icmp_says_that_fragmentation_is_needed() {
    let error = Packet { protocol: 1, state: ConntrackState::Invalid, ..packet() };
    let word = |field, word: &str| is(field, Value::Word(word.into()));
    for (condition, passes) in [
        (word(Field::IcmpType, "destination-unreachable"), true),
        (is(Field::IcmpType, Value::Range(3, 3)), true),
        (word(Field::IcmpCode, "frag-needed"), true),
        (is(Field::IcmpCode, Value::Range(4, 4)), true),
        (word(Field::State, "invalid"), true),
        (word(Field::IcmpType, "echo-request"), false),
        (is(Field::IcmpType, Value::Range(8, 8)), false),
        (word(Field::IcmpCode, "port-unreachable"), false),
        (word(Field::State, "untracked"), false),
        (word(Field::State, "related"), false),
    ] {
        let accepted = table(&PacketVerdict::Drop, vec![rule([condition.clone()], PacketVerdict::Accept)], vec![]);
        assert_eq!(fate(&error, &[accepted]) == Fate::Passes, passes, "{condition:?}");
    }
}

fn map(fields: impl Into<Vec<Field>>, entries: Entries) -> FirewallRule {
    FirewallRule { matches: vec![Match::Map(fields.into(), entries)], ..FirewallRule::default() }
}

#[test]
fn maps_are_asked_for_all_their_fields_and_by_name() {
    use PacketVerdict::{Accept, Drop, Jump};
    let protocol = Value::Range(4, 4);
    let word = |word: &str| Value::Word(word.into());
    let both = [Field::In, Field::Protocol];
    let fate_of = |rule, other| fate_in(&Accept, vec![rule], other);
    let own = |device: &str, verdict| Entries::Own(vec![(vec![word(device), protocol.clone()], verdict)]);
    assert_eq!(fate_of(map(both, own("eth0", Drop)), vec![]), Short::Lost);
    assert_eq!(fate_of(map(both, own("eth1", Drop)), vec![]), Short::Passes);
    let jump = || own("eth0", Jump("other".into()));
    assert_eq!(fate_of(map(both, jump()), vec![rule([], Drop)]), Short::Lost);
    assert_eq!(fate_of(map(both, jump()), vec![]), Short::Passes);
    let named = |name: &str| Entries::Named(name.into());
    assert_eq!(fate_of(map([Field::Protocol], named("verdicts")), vec![]), Short::Lost);
    assert_eq!(fate_of(map([Field::SourcePort(6)], named("verdicts")), vec![]), Short::Passes);
    // What is not understood may be anything; what does not fit otherwise is nothing.
    let unknown = [Field::Unknown, Field::Protocol];
    assert_eq!(fate_of(map(unknown, own("eth0", Drop)), vec![]), Short::AtRisk);
    assert_eq!(fate_of(map(unknown, own("eth0", Accept)), vec![]), Short::Passes);
    for entries in [named("none"), Entries::Unknown] {
        assert_eq!(fate_of(map([Field::Protocol], entries.clone()), vec![]), Short::AtRisk);
        let mut of_tcp = map([Field::Protocol], entries);
        of_tcp.matches.insert(0, is(Field::Protocol, Value::Range(6, 6)));
        assert_eq!(fate_of(of_tcp, vec![]), Short::Passes);
    }
    let rest = vec![(vec![word("eth1"), protocol.clone()], Accept), (vec![Value::Any], Drop)];
    assert_eq!(fate_of(map(both, Entries::Own(rest)), vec![]), Short::Lost);
    // Nor is a target of iptables of which nothing is known, or a queue.
    for verdict in [PacketVerdict::Unknown, Jump("TARPIT".into())] {
        assert_eq!(fate_of(rule([ipip()], verdict.clone()), vec![]), Short::AtRisk);
        let of_tcp = rule([is(Field::Protocol, Value::Range(6, 6))], verdict);
        assert_eq!(fate_of(of_tcp, vec![]), Short::Passes);
    }
}

#[test]
fn a_mark_is_what_rules_have_made_of_it() {
    use PacketVerdict::{Accept, Drop};
    let set =
        |matches: Vec<Match>, marking| FirewallRule { matches, marking: Some(marking), ..FirewallRule::default() };
    let to = |keep, flip| Marking::Bits { keep, flip };
    let has = |mask, mark| rule([is(Field::Mark(mask), Value::Range(mark, mark))], Drop);
    let all = u32::MAX;
    let other = || vec![is(Field::Protocol, Value::Range(6, 6))];
    let perhaps = || vec![Match::Unknown];
    let kept = Marking::OfConnection { keep: !0xff };
    for (rules, expected) in [
        (vec![has(all, 0x8000)], Short::Passes),
        (vec![set(vec![ipip()], to(0, 0x8000)), has(all, 0x8000)], Short::Lost),
        (vec![set(other(), to(0, 0x8000)), has(all, 0x8000)], Short::Passes),
        (vec![set(perhaps(), to(0, 0x8000)), has(all, 0x8000)], Short::AtRisk),
        (vec![set(perhaps(), to(0, 0x8000)), has(all, 0x4000)], Short::Passes),
        (vec![set(vec![], Marking::Unknown), has(all, 1)], Short::AtRisk),
        (vec![set(vec![], Marking::Unknown), set(vec![], to(0, 2)), has(all, 1)], Short::Passes),
        (vec![set(vec![], to(0, 0x8001)), set(vec![], to(!1, 0)), has(all, 0x8000)], Short::Lost),
        (vec![set(vec![], to(0, 0x8001)), has(0xff, 1)], Short::Lost),
        (vec![set(vec![], to(0, 0x8001)), has(0xff, 0)], Short::Passes),
        // A new connection has no mark.
        (vec![set(vec![], kept), has(all, 1)], Short::Passes),
        (vec![set(vec![], to(0, 0x101)), set(vec![], kept), has(all, 0x100)], Short::Lost),
    ] {
        assert_eq!(fate_in(&Accept, rules.clone(), vec![]), expected, "{rules:#?}");
    }
    // It goes along from hook to hook.
    let mut early = table(&Accept, vec![set(vec![ipip()], to(0, 0x8000))], vec![]);
    early.chains.get_mut("in").unwrap().base.as_mut().unwrap().hook = "prerouting".into();
    let late = table(&Accept, vec![has(all, 0x8000)], vec![]);
    let hooks = ["prerouting", "input"].map(|hook| Packet { hook, ..packet() });
    let fates: Vec<Fate> = fates(&hooks, &[early, late]).collect();
    assert!(matches!(fates[..], [Fate::Passes, Fate::Lost(_)]), "{fates:#?}");
}

#[test]
fn a_request_of_arp_has_what_arp_has_and_nothing_of_ip() {
    use PacketVerdict::{Accept, Drop};
    let asking = Packet { is_arp: true, ..packet() };
    let word = |word: &str| Value::Word(word.into());
    let source = || Value::from(packet().source);
    for (field, value, arp, ip) in [
        (Field::Family, word("arp"), Short::Lost, Short::Passes),
        (Field::Family, word("ipv4"), Short::Passes, Short::Lost),
        (Field::Source, source(), Short::Passes, Short::Lost),
        (Field::Protocol, Value::Range(4, 4), Short::Passes, Short::Lost),
        (Field::State, word("new"), Short::Passes, Short::Lost),
        (Field::In, word("eth0"), Short::Lost, Short::Lost),
        (Field::Arp(Arp::Operation), word("request"), Short::Lost, Short::Passes),
        (Field::Arp(Arp::Operation), Value::Range(2, 2), Short::Passes, Short::Passes),
        (Field::Arp(Arp::Source), source(), Short::Lost, Short::Passes),
        (Field::Arp(Arp::Target), source(), Short::Passes, Short::Passes),
        (Field::Arp(Arp::Other), Value::Range(1, 1), Short::AtRisk, Short::Passes),
    ] {
        let tables = [table(&Accept, vec![rule([is(field, value.clone())], Drop)], vec![])];
        let short = |packet: &Packet| match fate(packet, &tables) {
            Fate::Passes => Short::Passes,
            Fate::Lost(_) => Short::Lost,
            Fate::AtRisk(_) => Short::AtRisk,
        };
        assert_eq!((short(&asking), short(&packet())), (arp, ip), "{field:?} {value:?}");
    }
}
