use serde_json::json;

use super::changes::marking;
use super::*;

#[test]
fn a_limit_may_be_kept_of_each_element_of_a_set() {
    let element = json!({"payload": {"protocol": "ip", "field": "saddr"}});
    let limit = json!({"limit": {"rate": 10, "burst": 5, "per": "second", "inv": true}});
    let count = json!({"ct count": {"val": 20, "inv": true}});
    let matches = |expression: Json| {
        let mut rule = FirewallRule::default();
        read(&expression, &mut rule);
        rule.matches
    };
    for statement in [&limit, &count] {
        let set = json!({"set": {"op": "add", "elem": element, "set": "@d", "stmt": [statement]}});
        let meter = json!({"meter": {"key": element, "stmt": statement, "size": 65535, "name": "m"}});
        assert_eq!(matches(set), [Match::Unknown], "{statement}");
        assert_eq!(matches(meter), [Match::Unknown], "{statement}");
    }
    let only_kept = json!({"set": {"op": "add", "elem": element, "set": "@d", "stmt": [{"counter": null}]}});
    assert_eq!(matches(only_kept), []);
}

#[test]
fn what_is_not_known_is_not_passed_over() {
    let read = |expression: Json| {
        let mut rule = FirewallRule::default();
        read(&expression, &mut rule);
        rule
    };
    for statement in ["queue", "tproxy", "synproxy", "fwd", "dnat", "redirect", "some new statement"] {
        assert_eq!(read(json!({statement: null})).verdict, Some(PacketVerdict::Unknown), "{statement}");
    }
    // The verdict behind it is reached only where the packet is still there.
    let mut behind = FirewallRule::default();
    for expression in [json!({"tproxy": {"port": 9999}}), json!({"accept": null})] {
        super::read(&expression, &mut behind);
    }
    assert_eq!(behind.verdict, Some(PacketVerdict::Unknown));
    let source = |address: &str| read(json!({"snat": {"addr": address}})).verdict;
    let new = NewSource::Address("172.30.0.99".parse().unwrap());
    assert_eq!(source("172.30.0.99"), Some(PacketVerdict::Source(new)));
    assert_eq!(source("172.30.0.0/24"), Some(PacketVerdict::Source(NewSource::Unknown)));
    let address = json!({"payload": {"protocol": "ip", "field": "daddr"}});
    let changed = read(json!({"mangle": {"key": address, "value": "192.0.2.1"}}));
    assert_eq!(changed.verdict, Some(PacketVerdict::Unknown));
    for statement in ["log", "dup", "ct helper"] {
        assert_eq!(read(json!({statement: null})), FirewallRule::default(), "{statement}");
    }
    assert_eq!(read(json!({"notrack": null})).tracking, Some(Tracking::Off));
    let zone = json!({"mangle": {"key": {"ct": {"key": "zone"}}, "value": 1}});
    assert_eq!(read(zone).tracking, Some(Tracking::Zone));
}

#[test]
fn a_condition_on_a_header_is_one_on_its_protocol() {
    let matched = |op: &str, left: &Json, right: Json| {
        let mut rule = FirewallRule::default();
        read(&json!({"match": {"op": op, "left": left, "right": right}}), &mut rule);
        rule.matches.remove(0)
    };
    let payload = |protocol: &str, field: &str| json!({"payload": {"protocol": protocol, "field": field}});
    let part = |protocol| Match::Field { field: Field::Header(protocol), negated: false, values: vec![Value::Unknown] };
    for (left, protocol) in [
        (payload("igmp", "type"), 2),
        (payload("sctp", "dport"), 132),
        (json!({"&": [payload("tcp", "flags"), ["fin", "syn"]]}), 6),
        (json!({"tcp option": {"name": "maxseg", "field": "size"}}), 6),
        (json!({"concat": [{"meta": {"key": "cpu"}}, payload("udp", "length")]}), 17),
    ] {
        for op in ["==", "!=", "<"] {
            assert_eq!(matched(op, &left, json!("something")), part(protocol), "{left}");
        }
    }
    // The header of a packet in a tunnel is none of the packet around it.
    let inner = json!({"payload": {"tunnel": "vxlan", "protocol": "tcp", "field": "dport"}});
    assert_eq!(matched("==", &inner, json!(22)), Match::Unknown);
    let port = payload("udp", "dport");
    let range = |first, last| Match::Field {
        field: Field::DestinationPort(17),
        negated: false,
        values: vec![Value::Range(first, last)],
    };
    assert_eq!(matched(">", &port, json!(1023)), range(1024, u32::MAX));
    assert_eq!(matched("<=", &port, json!(1023)), range(0, 1023));
}

#[test]
fn flags_of_tcp_and_places_of_headers_are_understood() {
    let matched = |op: &str, left: Json, right: Json| {
        let mut rule = FirewallRule::default();
        read(&json!({"match": {"op": op, "left": left, "right": right}}), &mut rule);
        rule.matches.remove(0)
    };
    let is = |field, negated, number| Match::Field { field, negated, values: vec![Value::Range(number, number)] };
    let flags = json!({"payload": {"protocol": "tcp", "field": "flags"}});
    let some = json!({"&": [flags, {"|": [{"|": ["fin", "syn"]}, "ack"]}]});
    assert_eq!(matched("==", some, json!("syn")), is(Field::TcpFlags(0x13), false, 2));
    assert_eq!(matched("in", flags.clone(), json!(["syn", "rst"])), is(Field::TcpFlags(6), true, 0));
    assert_eq!(matched("!=", flags, json!("syn")), is(Field::TcpFlags(0xff), true, 2));
    let place = |base: &str, offset, len| json!({"payload": {"base": base, "offset": offset, "len": len}});
    assert_eq!(matched("==", place("th", 16, 16), json!(53)), is(Field::DestinationPort(0), false, 53));
    assert_eq!(matched("==", place("th", 24, 16), json!(53)), Match::Unknown);
}

#[test]
fn what_is_about_ipv6_or_arp_is_about_the_family() {
    let family = |negated: bool, word: &str| Match::Field {
        field: Field::Family,
        negated,
        values: vec![Value::Word(word.into())],
    };
    let payload = |protocol: &str, field: &str| json!({"payload": {"protocol": protocol, "field": field}});
    let matched = |op: &str, left: Json, right: Json| {
        let mut rule = FirewallRule::default();
        read(&json!({"match": {"op": op, "left": left, "right": right}}), &mut rule);
        let [condition] = <[Match; 1]>::try_from(rule.matches).unwrap();
        condition
    };
    // As firewalld has it in filter_OUTPUT and filter_FORWARD.
    let nets = json!({"set": [{"prefix": {"addr": "::", "len": 96}}, {"prefix": {"addr": "2002::", "len": 24}}]});
    assert_eq!(matched("==", payload("ip6", "daddr"), nets.clone()), family(false, "ipv6"));
    // A rule that asks for any other address asks for IPv6 too.
    assert_eq!(matched("!=", payload("ip6", "daddr"), nets), family(false, "ipv6"));
    let kind = payload("icmpv6", "type");
    assert_eq!(matched("==", kind, json!("nd-redirect")), family(false, "ipv6"));
    let prefix = json!({"&": [payload("ip6", "saddr"), "ffff::"]});
    assert_eq!(matched("==", prefix, json!("fe80::")), family(false, "ipv6"));
    let pair = json!({"concat": [payload("ip6", "saddr"), payload("tcp", "dport")]});
    let right = json!({"set": [{"concat": ["fe80::1", 22]}]});
    assert_eq!(matched("==", pair, right), family(false, "ipv6"));
    let arp =
        Match::Field { field: Field::Arp(Arp::Operation), negated: false, values: vec![Value::Word("request".into())] };
    assert_eq!(matched("==", payload("arp", "operation"), json!("request")), arp);
    let nfproto = json!({"meta": {"key": "nfproto"}});
    assert_eq!(matched("==", nfproto, json!("ipv6")), family(false, "ipv6"));
    for left in [json!({"meta": {"key": "protocol"}}), payload("ether", "type")] {
        for (right, word) in [("ip6", "ipv6"), ("ip", "ipv4"), ("arp", "arp"), ("8021q", "8021q")] {
            assert_eq!(matched("==", left.clone(), json!(right)), family(false, word));
            assert_eq!(matched("!=", left.clone(), json!(right)), family(true, word));
        }
        // nft shows the numbers of protocols that it has no names for.
        assert_eq!(matched("==", left.clone(), json!(0x800)), family(false, "ipv4"));
        assert_eq!(matched("==", left.clone(), json!(0x88cc)), family(false, "0x88cc"));
        let some = json!({"set": ["ip", "ip6", "@others"]});
        let condition = matched("==", left.clone(), some);
        let Match::Field { values, .. } = condition else { panic!("{condition:?}") };
        let words = ["ipv4", "ipv6"].map(|word| Value::Word(word.into()));
        assert_eq!(values, [&words[..], &[Value::Unknown]].concat());
        let data = json!({"set": [["ip", {"accept": null}], ["ip6", {"drop": null}]]});
        let mut rule = FirewallRule::default();
        read(&json!({"vmap": {"key": left, "data": data}}), &mut rule);
        let [accepted, dropped] = words;
        let entries = vec![(vec![accepted], PacketVerdict::Accept), (vec![dropped], PacketVerdict::Drop)];
        let entries = Entries::Own(entries);
        assert_eq!(rule.matches, [Match::Map(vec![Field::Family], entries)]);
    }
}

#[test]
fn maps_are_read_with_their_names_and_all_their_fields() {
    let map = |key: &Json, data: Json| {
        let mut rule = FirewallRule::default();
        read(&json!({"vmap": {"key": key, "data": data}}), &mut rule);
        rule.matches.remove(0)
    };
    let port = json!({"payload": {"protocol": "udp", "field": "dport"}});
    let fields = vec![Field::DestinationPort(17)];
    assert_eq!(map(&port, json!("@m")), Match::Map(fields.clone(), Entries::Named("m".into())));
    assert_eq!(map(&port, json!({"odd": 1})), Match::Map(fields, Entries::Unknown));
    let both = json!({"concat": [{"meta": {"key": "iifname"}}, port, {"meta": {"key": "cgroup"}}]});
    let data = json!([[{"concat": ["eth0", 8472, 7]}, {"drop": null}], ["*", {"jump": {"target": "x"}}]]);
    let own = vec![
        (vec![Value::Word("eth0".into()), Value::Range(8472, 8472), Value::Range(7, 7)], PacketVerdict::Drop),
        (vec![Value::Any], PacketVerdict::Jump("x".into())),
    ];
    let fields = vec![Field::In, Field::DestinationPort(17), Field::Unknown];
    assert_eq!(map(&both, json!({"set": data})), Match::Map(fields, Entries::Own(own)));
    let counted = json!([[{"elem": {"val": "1.2.3.4", "counter": {"packets": 0}}}, {"drop": null}]]);
    let address = Value::from(std::net::Ipv4Addr::new(1, 2, 3, 4));
    assert_eq!(entries(counted.as_array().unwrap()), [(vec![address], PacketVerdict::Drop)]);
}

#[test]
fn marks_are_set_kept_and_changed() {
    let mark = json!({"meta": {"key": "mark"}});
    let bits = |keep, flip| Marking::Bits { keep, flip };
    for (value, expected) in [
        (json!(0x8000), bits(0, 0x8000)),
        (json!({"|": [mark, 16]}), bits(!16, 16)),
        (json!({"&": [mark, 255]}), bits(255, 0)),
        (json!({"^": [{"&": [mark, 255]}, 1]}), bits(255, 1)),
        (json!({"ct": {"key": "mark"}}), Marking::OfConnection { keep: 0 }),
        (json!({"map": {"key": mark, "data": "@m"}}), Marking::Unknown),
    ] {
        assert_eq!(marking(&value), expected, "{value}");
    }
}
