use super::*;
use crate::fan::options::Options;
use crate::fan::tests::announced;
use crate::plan::host::Link;
use crate::plan::host::LinkKind;
use crate::plan::state::RoutingTable;

fn fan() -> Fan {
    let alias = "fan 10.0.0.0/8 172.30.0.28/16 dev eth0 ipip host-reserve 1";
    Fan::from_label(&"fan-10-0-28".parse().unwrap(), alias).unwrap()
}

fn connection(address: [u8; 4], source: Option<[u8; 4]>) -> Use {
    Use { purpose: Purpose::Connection(22), address: address.into(), source: source.map(Into::into), process: None }
}

#[test]
fn the_fans_own_connections_and_its_slice_are_no_concern() {
    let host = Some([172, 30, 0, 28]);
    assert!(connection([10, 9, 9, 9], host).concerns(&fan()));
    assert!(connection([10, 9, 9, 9], None).concerns(&fan()));
    // To a container here, to one elsewhere by the fan that was up before, and to others.
    assert!(!connection([10, 0, 28, 2], host).concerns(&fan()));
    assert!(!connection([10, 0, 27, 2], Some([10, 0, 28, 1])).concerns(&fan()));
    assert!(!connection([11, 9, 9, 9], host).concerns(&fan()));
}

#[test]
fn only_a_new_way_into_the_fan_takes_something_over() {
    let fan = fan();
    let rule = Object::Rule(fan.overlay(), RoutingTable(7));
    assert!(takes_over(&fan, &[Step::Create(rule.clone())]));
    assert!(!takes_over(&announced(), &[Step::Create(rule.clone())]), "another fan's");
    assert!(!takes_over(&fan, &[Step::Delete(rule)]));
    assert!(!takes_over(&fan, &[Step::Create(Object::Unreachable(fan.overlay(), RoutingTable(7)))]));
}

fn routing(device: &str, table: u32) -> Routing {
    Routing {
        local: false,
        device: device.parse().unwrap(),
        gateway: Some([172, 30, 0, 1].into()),
        table,
        route: "0.0.0.0/0".parse().unwrap(),
        protocol: 3,
        mtu: None,
    }
}

fn rule(priority: u32, table: u32) -> RoutingRule {
    RoutingRule { priority, action: Action::Lookup(table), ..RoutingRule::default() }
}

#[test]
fn what_a_rule_routes_before_the_fan_stays_there() {
    let question = Question { to: [10, 9, 9, 9].into(), from: Some([172, 30, 0, 28].into()), incoming: None };
    let mut host = Host::default();
    host.links.push(Link {
        name: "fan-10-0-28".parse().unwrap(),
        other_names: Vec::new(),
        up: true,
        carrier: true,
        mtu: 1480,
        ours: true,
        master: None,
        port: crate::plan::host::PortFacts::default(),
        lower: None,
        is_ethernet: true,
        kind: LinkKind::Other,
        addresses: Vec::new(),
        ipv6: None,
        ipv6_addresses: Vec::new(),
        counters: crate::plan::host::Counters::default(),
        programs: Vec::new(),
    });
    let taken = |fan: &Fan, now: &Routing, rules: &[RoutingRule]| is_taken(fan, &question, now, &host, rules);
    let plain = fan();
    assert!(taken(&plain, &routing("eth0", MAIN_TABLE), &[]));
    assert!(!taken(&plain, &routing("fan-10-0-28", MAIN_TABLE), &[]), "it has it already");
    // Policy routing, in front of the main table or behind it, as wg-quick has it.
    assert!(!taken(&plain, &routing("wg0", 77), &[rule(500, 77)]));
    assert!(taken(&plain, &routing("wg0", 77), &[rule(500, MAIN_TABLE), rule(600, 77)]));
    assert!(taken(&plain, &routing("eth0", 253), &[]), "the table 'default' comes last");
    assert!(!taken(&plain, &routing("eth0", 77), &[rule(500, 78)]), "a table that no rule names is a VRF's");
    let own_table = Fan { options: Options { table: Some(7), ..fan().options }, ..fan() };
    assert!(taken(&own_table, &routing("eth0", MAIN_TABLE), &[]));
    assert!(!taken(&own_table, &routing("wg0", 77), &[rule(500, 77)]));
    assert!(taken(&own_table, &routing("wg0", 77), &[rule(5000, 77)]));
}

#[test]
fn each_address_is_told_once_and_not_without_end() {
    let used: Vec<Use> = (0..100).map(|last| connection([10, 9, 9, last % 20], Some([172, 30, 0, last]))).collect();
    let losses = Loss::of(&fan(), used, true);
    assert_eq!(losses.len(), MOST + 1);
    assert_eq!(losses.last(), Some(&Loss::More(fan().overlay(), 12)));
    assert_eq!(losses[0].code(), "connection");
    assert_eq!(
        losses[0].to_string(),
        "TCP connection to 10.9.9.0 port 22 is inside overlay '10.0.0.0/8': its packets would go into the fan"
    );
}

#[test]
fn public_overlays_are_those_that_hosts_of_the_internet_have() {
    for private in [
        "240.0.0.0/4",
        "250.0.0.0/8",
        "10.0.0.0/8",
        "10.64.0.0/12",
        "100.64.0.0/10",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "192.0.2.0/24",
        "198.51.100.0/24",
        "203.0.113.0/25",
    ] {
        assert!(!is_public(private.parse().unwrap()), "{private}");
    }
    for public in ["1.0.0.0/8", "8.0.0.0/8", "100.0.0.0/8", "172.0.0.0/8", "192.0.0.0/8", "203.0.112.0/23"] {
        assert!(is_public(public.parse().unwrap()), "{public}");
    }
}
