//! What makes a route or a rule ours, one mark at a time.

use super::*;
use crate::fan::tests::announced;

fn devices() -> (BTreeMap<u32, InterfaceName>, Devices) {
    let fan = announced();
    let names = ["lo", "eth0", "fan-250-0-28", "fan-ipip", "br7"];
    let names = (1..).zip(names.map(|name| name.parse().unwrap())).collect();
    let devices = Devices {
        tunnels: [fan.tunnel()].into(),
        strays: [("br7".parse().unwrap(), "251.0.28.0".parse().unwrap())].into(),
        fans: [(fan.bridge.clone(), fan)].into(),
    };
    (names, devices)
}

/// The fan that a route is taken to be of.
fn owner(message: &RouteMessage) -> Option<String> {
    let (names, devices) = devices();
    match decode_route(message, &names, &devices, &Hops::default()) {
        Some(Decoded::Own(Object::Route(route))) => Some(route.overlay.to_string()),
        Some(Decoded::Own(other)) => panic!("{other:?}"),
        _ => None,
    }
}

fn ours(destination: &str, source: &str, index: u32) -> RouteMessage {
    let route = Route {
        overlay: announced().overlay(),
        table: RoutingTable(254),
        destination: destination.parse().unwrap(),
        device: "fan-ipip".parse().unwrap(),
        source: source.parse().unwrap(),
        mtu: Some(1480),
    };
    encode_route(&route, index)
}

#[test]
fn a_route_is_ours_by_device_destination_and_source() {
    let of = |destination, source, index| owner(&ours(destination, source, index));
    assert_eq!(of("250.0.28.0/24", "250.0.28.1", 3).as_deref(), Some("250.0.0.0/8"));
    assert_eq!(of("250.0.0.0/8", "250.0.28.1", 4).as_deref(), Some("250.0.0.0/8"));
    assert_eq!(of("250.0.0.0/8", "250.0.28.9", 4).as_deref(), Some("250.0.0.0/8"), "to be put right");
    assert_eq!(of("251.0.0.0/8", "251.0.28.1", 4).as_deref(), Some("251.0.0.0/8"), "what remains of a fan");
    assert_eq!(of("251.0.28.0/24", "251.0.28.1", 5).as_deref(), Some("251.0.28.0/24"), "by the bridge's address");
    for (destination, source, index) in [
        ("253.7.0.0/16", "253.7.0.1", 1),
        ("198.51.100.0/24", "198.51.100.1", 2),
        ("250.0.0.0/8", "250.0.28.1", 2),
        ("10.8.0.0/24", "10.8.0.1", 3),
        ("250.0.29.0/24", "250.0.29.1", 3),
        ("10.8.0.0/24", "10.9.0.1", 4),
        ("252.0.28.0/24", "252.0.28.1", 5),
    ] {
        assert_eq!(of(destination, source, index), None, "{destination} on {index}");
    }
}

#[test]
fn a_route_with_anything_that_ours_have_not_is_none_of_ours() {
    let plain = ours("250.0.0.0/8", "250.0.28.1", 4);
    assert!(owner(&plain).is_some());
    for attribute in [
        RouteAttribute::Gateway(RouteAddress::Inet([250, 0, 28, 2].into())),
        RouteAttribute::Priority(7),
        RouteAttribute::NhId(7),
        RouteAttribute::Metrics(vec![RouteMetric::Advmss(1000)]),
        RouteAttribute::MultiPath(Vec::new()),
    ] {
        let mut message = plain.clone();
        message.attributes.push(attribute.clone());
        assert_eq!(owner(&message), None, "{attribute:?}");
    }
    for change in [
        |message: &mut RouteMessage| message.header.protocol = RouteProtocol::Static,
        |message: &mut RouteMessage| message.header.kind = RouteType::BlackHole,
        |message: &mut RouteMessage| message.header.scope = RouteScope::Universe,
        |message: &mut RouteMessage| message.header.tos = 8,
    ] {
        let mut message = plain.clone();
        change(&mut message);
        assert_eq!(owner(&message), None, "{:?}", message.header);
    }
}

#[test]
fn a_rule_is_ours_by_all_that_it_says() {
    let rule = encode_rule("250".parse().unwrap(), RoutingTable(77));
    assert_eq!(decode_rule(&rule), Some(Object::Rule("250".parse().unwrap(), RoutingTable(77))));
    for attribute in [
        RuleAttribute::Priority(999),
        RuleAttribute::Protocol(RouteProtocol::Static),
        RuleAttribute::Iifname("eth0".into()),
        RuleAttribute::FwMark(1),
        RuleAttribute::SuppressPrefixLen(0),
    ] {
        let mut other = rule.clone();
        other.attributes.push(attribute.clone());
        assert_eq!(decode_rule(&other), None, "{attribute:?}");
    }
    let mut other = rule;
    other.header.flags = RuleFlags::Invert;
    assert_eq!(decode_rule(&other), None);
}
