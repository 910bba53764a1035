//! Which address an underlay means.

use super::*;
use crate::fan::request::UnderlaySource;
use crate::fan::tests::announced;
use crate::plan::desired;
use crate::plan::host::{Counters, ForeignRoute, PortFacts};

pub(crate) fn link(name: &str, addresses: &[&str]) -> Link {
    Link {
        name: name.parse().unwrap(),
        other_names: Vec::new(),
        up: true,
        carrier: true,
        mtu: 1500,
        ours: false,
        master: None,
        port: PortFacts::default(),
        lower: None,
        is_ethernet: true,
        kind: LinkKind::Other,
        addresses: addresses
            .iter()
            .map(|text| HostAddress { address: text.parse().unwrap(), secondary: false, global: true })
            .collect(),
        ipv6: None,
        ipv6_addresses: Vec::new(),
        counters: Counters::default(),
        programs: Vec::new(),
    }
}

pub(crate) fn host(links: Vec<Link>) -> Host {
    Host { links, privileged: true, ..Host::default() }
}

fn resolved(underlay: &str, host: &Host) -> Result<Fan, String> {
    while_up(None, underlay, host)
}

/// The same, where a fan is up.
fn while_up(fan: Option<Fan>, underlay: &str, host: &Host) -> Result<Fan, String> {
    let config = Request::new("250".parse().unwrap(), underlay.parse::<UnderlaySource>().unwrap());
    let owned = fan.map_or_else(State::new, |fan| desired::with(&State::new(), &fan, host));
    resolve(&config, host, &owned).map(|resolved| resolved.fan).map_err(|reason| reason.to_string())
}

#[test]
fn a_fan_is_on_the_interface_that_its_underlay_means() {
    let mut loopback = link("lo", &["172.30.0.1/32"]);
    loopback.kind = LinkKind::Loopback;
    let host = host(vec![
        loopback,
        link("eth0", &["172.30.0.28/16", "172.30.0.29/16"]),
        link("eth1", &["10.99.0.28/16", "10.98.0.28/16"]),
    ]);
    // The third has two addresses of the host in it, and that is for eth0 to tell.
    for (underlay, on) in [
        ("eth0/16", "eth0"),
        ("172.30.0.29/16", "eth0"),
        ("172.30.0.0/16", "eth0"),
        ("10.98.0.0/16", "eth1"),
        ("eth9/16", "eth9"),
        ("10.97.0.0/16", ""),
        ("default/16", ""),
    ] {
        let config = Request::new("250".parse().unwrap(), underlay.parse().unwrap());
        for interface in ["lo", "eth0", "eth1", "eth9"] {
            let found = is_on(&config, &interface.parse().unwrap(), &host);
            assert_eq!(found, on == interface, "{underlay} {interface}");
        }
    }
}

#[test]
fn every_form_of_an_underlay_finds_the_same_fan() {
    let mut host = host(vec![link("eth0", &["172.30.0.28/20"]), link("docker0", &["172.17.0.1/16"])]);
    let device = Some("eth0".parse().unwrap());
    let default = Ipv4Addr::UNSPECIFIED;
    host.routes.push(ForeignRoute {
        is_throw: false,
        table: 254,
        destination: ipnetwork::Ipv4Network::new(default, 0).unwrap(),
        device,
        gateway: None,
        metric: 0,
        mtu: None,
    });
    for form in ["eth0/16", "eth0", "172.30.0.28/16", "172.30.0.28", "172.30.0.0/16", "default/16", "default"] {
        assert_eq!(resolved(form, &host).unwrap(), announced(), "{form}");
    }
    assert_eq!(resolved("eth0/20", &host).unwrap().slice().to_string(), "250.1.192.0/20");
}

#[test]
fn of_several_addresses_the_first_primary_one_that_is_no_32_is_taken() {
    let mut eth0 = link("eth0", &["169.254.9.9/16", "172.30.9.9/32", "172.30.0.27/16", "172.30.0.28/16"]);
    eth0.addresses[0].global = false;
    eth0.addresses[2].secondary = true;
    assert_eq!(resolved("eth0/16", &host(vec![eth0.clone()])).unwrap().host.to_string(), "172.30.0.28");
    // A cloud may give nothing but a /32, which then is the address.
    eth0.addresses.truncate(2);
    assert_eq!(resolved("eth0/16", &host(vec![eth0])).unwrap().host.to_string(), "172.30.9.9");
}

#[test]
fn a_fan_that_is_up_stays_on_its_address() {
    let first = |addresses: &[&str]| host(vec![link("eth0", addresses)]);
    for (underlay, addresses) in [
        ("eth0/16", &["172.30.0.100/16", "172.30.0.28/16"][..]),
        ("172.30.0.0/16", &["172.30.0.100/16", "172.30.0.28/16"]),
        ("172.30.0.0/16", &["172.30.0.28/16", "172.30.0.100/32"]),
        ("eth0/16", &["172.30.0.100/16", "172.30.0.28/32"]),
    ] {
        let fan = while_up(Some(announced()), underlay, &first(addresses)).unwrap();
        assert_eq!(fan.host, announced().host, "{underlay} {addresses:?}");
    }
    for (up, underlay, addresses, chosen) in [
        (true, "eth0/16", &["172.30.0.100/32"][..], [172, 30, 0, 100]),
        (true, "172.30.0.100/16", &["172.30.0.28/16", "172.30.0.100/32"], [172, 30, 0, 100]),
        (false, "eth0/16", &["172.30.0.100/16", "172.30.0.28/16"], [172, 30, 0, 100]),
        (false, "172.30.0.0/16", &["172.30.0.100/32", "172.30.0.28/16"], [172, 30, 0, 28]),
    ] {
        let fan = while_up(up.then(announced), underlay, &first(addresses)).unwrap();
        assert_eq!(fan.host.octets(), chosen, "{underlay} {addresses:?}");
    }
}

#[test]
fn an_underlay_that_means_nothing_or_too_much_is_refused() {
    let mut down = link("eth9", &["10.9.0.1/16"]);
    down.up = false;
    let mut other = link("eth3", &["10.3.0.1/16"]);
    other.other_names = vec!["an-altname-of-more-than-15".into(), "enp3s0".into()];
    let host =
        host(vec![link("eth0", &["172.30.0.28/16"]), link("eth1", &["172.30.1.1/16"]), link("eth2", &[]), other, down]);
    for (underlay, reason) in [
        ("eth7/16", "interface 'eth7' does not exist; see"),
        ("enp3s0/20", "another one of 'eth3'; write eth3/20"),
        ("eth9/16", "interface 'eth9' is down"),
        ("eth2/16", "interface 'eth2' has no IPv4 address"),
        ("172.30.0.29/16", "no interface has the address 172.30.0.29"),
        ("192.168.0.0/16", "no interface has an address in it"),
        ("172.30.0.0/16", "172.30.0.28 on eth0, 172.30.1.1 on eth1"),
        ("default/16", "no default route"),
    ] {
        let error = resolved(underlay, &host).unwrap_err();
        assert!(error.contains(reason), "{underlay}: {error}");
    }
}

#[test]
fn an_interface_that_leads_to_no_other_host_is_refused() {
    let lo = Link { kind: LinkKind::Loopback, ..link("lo", &["127.0.0.1/8", "10.9.0.5/32"]) };
    let vrf = Link { kind: LinkKind::Vrf, ..link("blue", &[]) };
    let eth0 = Link { master: Some(vrf.name.clone()), ..link("eth0", &["172.30.0.28/16"]) };
    let host = host(vec![lo, vrf, eth0]);
    assert!(resolved("10.9.0.5/16", &host).unwrap_err().contains("loopback"));
    assert!(resolved("eth0/16", &host).unwrap_err().contains("in VRF 'blue'"));
}

#[test]
fn an_address_that_all_neighbours_hear_is_refused() {
    let reason = resolved("eth0/16", &host(vec![link("eth0", &["172.30.0.255/24"])])).unwrap_err();
    assert!(reason.contains("'172.30.0.255' on 'eth0' is the broadcast address"), "{reason}");
    for own in ["172.30.0.255/16", "172.30.0.255/32", "172.30.0.255/31"] {
        assert!(resolved("eth0/16", &host(vec![link("eth0", &[own])])).is_ok(), "{own}");
    }
}
