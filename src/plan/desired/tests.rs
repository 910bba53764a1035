//! What a fan consists of.

use super::*;
use crate::fan::options::Options;
use crate::fan::tests::announced;
use crate::plan::resolve::tests::{host, link};
use crate::plan::state::{Identity, bridges};

#[test]
fn the_mtu_follows_the_underlay_unless_it_is_given() {
    let mut host = host(vec![link("eth0", &["172.30.0.28/16"])]);
    let vxlan = Fan { options: Options { encapsulation: Encapsulation::Vxlan, ..Options::default() }, ..announced() };
    assert_eq!((mtu(&announced(), &host), mtu(&vxlan, &host)), (1480, 1450));
    host.links[0].mtu = 9001;
    assert_eq!((mtu(&announced(), &host), mtu(&vxlan, &host)), (8981, 8951));
    assert_eq!(mtu(&Fan { options: Options { mtu: Some(1400), ..Options::default() }, ..announced() }, &host), 1400);
}

#[test]
fn the_shared_tunnel_is_as_large_as_its_largest_fan_and_gone_with_its_last() {
    let host = host(vec![link("eth0", &["172.30.0.28/16"])]);
    let small = Fan { options: Options { mtu: Some(1300), ..Options::default() }, ..announced() };
    let vxlan = Fan { options: Options { encapsulation: Encapsulation::Vxlan, ..Options::default() }, ..announced() };
    let size = |fans: &[&Fan]| {
        shared(fans.iter().copied(), &host).into_values().find_map(|object| match object {
            Object::Tunnel(tunnel) => Some(tunnel.mtu),
            _ => None,
        })
    };
    assert_eq!(size(&[&small, &announced()]), Some(1480));
    assert_eq!(size(&[&small, &vxlan]), Some(1300));
    assert_eq!(size(&[&vxlan]), None);
}

#[test]
fn dhcp_gives_out_what_the_host_does_not_keep() {
    let host = host(vec![link("eth0", &["172.30.0.28/16"])]);
    let fan = Fan { options: Options { dhcp: true, host_reserve: 4, ..Options::default() }, ..announced() };
    let state = objects(&fan, &host);
    let server = state.iter().find_map(|(key, object)| match (&key.identity, object) {
        (Identity::Dhcp(_), Object::Dhcp(dhcp)) => Some(dhcp),
        _ => None,
    });
    let arguments = server.unwrap().arguments.as_ref().expect("computed");
    for wanted in [
        "--dhcp-range=250.0.28.5,250.0.28.254,255.255.255.0,12h",
        "--dhcp-option=option:mtu,1480",
        "--dhcp-option=option:router,250.0.28.1",
        "--interface=fan-250-0-28",
    ] {
        assert!(arguments.iter().any(|argument| argument == wanted), "{wanted}: {arguments:?}");
    }
    let file = arguments.iter().find_map(|argument| argument.strip_prefix("--dhcp-leasefile="));
    assert_eq!(lease_file_overlay(file.unwrap()), Some(fan.overlay()));
    assert_eq!(lease_file_overlay("/var/lib/misc/dnsmasq.leases"), None);
}

/// What was observed is compared, and what is started is computed.
#[test]
fn only_a_server_with_the_computed_arguments_can_be_started_again() {
    let host = host(vec![link("eth0", &["172.30.0.28/16"])]);
    let fan = Fan { options: Options { dhcp: true, ..Options::default() }, ..announced() };
    let state = objects(&fan, &host);
    let bridge = bridges(&state).next().expect("a bridge");
    let (overlay, name) = (fan.overlay(), &fan.bridge);
    let computed = dhcp(&fan, bridge.mtu);
    let arguments = computed.arguments.clone().expect("computed");
    assert_eq!(recognise_dhcp(overlay, name, &arguments, bridges(&state)), computed, "the fan's own");
    let mut others = vec![vec![], arguments[1..].to_vec()];
    for index in 0..arguments.len() {
        let mut other = arguments.clone();
        other[index] = "--conf-script=/tmp/script".into();
        others.push(other);
        let mut longer = arguments.clone();
        longer.insert(index, "--conf-script=/tmp/script".into());
        others.push(longer);
    }
    for other in others {
        let found = recognise_dhcp(overlay, name, &other, bridges(&state));
        assert_eq!((found.arguments, &found.bridge), (None, name), "{other:?}");
    }
    let of_no_fan = recognise_dhcp(overlay, name, &arguments, std::iter::empty());
    assert_eq!(of_no_fan.arguments, None, "its bridge is gone");
}

#[test]
fn programs_of_this_version_are_recognised_and_no_others() {
    let host = host(vec![link("eth0", &["172.30.0.28/16"])]);
    for encapsulation in [Encapsulation::Ipip, Encapsulation::Vxlan] {
        let fan = Fan { options: Options { encapsulation, ..Options::default() }, ..announced() };
        let whole = with(&State::new(), &fan, &host);
        let filters = |state: &State| -> Vec<Filter> {
            let filters = state.values().filter_map(|object| match object {
                Object::Filter(filter) => Some(filter.clone()),
                _ => None,
            });
            filters.collect()
        };
        // As the kernel tells of them, one by another version among them.
        let mut observed = whole.clone();
        let mut others = 0;
        for object in observed.values_mut() {
            let Object::Filter(filter) = object else { continue };
            filter.program.program = None;
            if (filter.slot, filter.direction) == (Slot::Fan(fan.overlay()), Direction::Egress) {
                filter.program.digest = "0123456789abcdef".into();
                others += 1;
            }
        }
        assert_eq!(others, 1);
        let without_bridge = |state: &State| -> State {
            let rest = state.iter().filter(|(key, _)| !matches!(key.identity, Identity::Bridge(_)));
            rest.map(|(key, object)| (key.clone(), object.clone())).collect()
        };
        let mut wreck = without_bridge(&observed);

        recognise(&mut observed, &host);
        for (found, made) in filters(&observed).iter().zip(filters(&whole)) {
            let same = found.program == made.program;
            assert_eq!(found.program.program, made.program.program.filter(|_| same));
            assert_eq!(same, found.program.digest != "0123456789abcdef");
        }
        // Of a fan whose bridge is gone nothing tells what it was, but the refusal is everybody's.
        recognise(&mut wreck, &host);
        for filter in filters(&wreck) {
            assert_eq!(filter.program.program.is_some(), filter.slot == Slot::Refuse);
        }
    }
}

#[test]
fn who_is_heard_by_all_neighbours_is_a_matter_of_their_networks() {
    // And of the underlay's own first and last address.
    let (first, last) = ("172.30.0.0", "172.30.255.255");
    for (addresses, heard) in [
        (&["172.30.0.28/16"][..], &[first, last][..]),
        (&["172.30.0.28/12"], &[first, last]),
        (&["172.30.0.28/30"], &[first, "172.30.0.31", last]),
        (&["172.30.0.28/31"], &[first, last]),
        (&["172.30.0.28/32"], &[first, last]),
        (&["172.30.0.28/32", "172.30.0.5/24"], &[first, "172.30.0.255", last]),
        (&["172.30.0.28/16", "172.30.5.1/24"], &[first, "172.30.5.255", last]),
        (&["172.30.0.28/16", "10.0.0.5/24"], &[first, last]),
    ] {
        let host = host(vec![link("eth0", addresses)]);
        let found: Vec<String> = spec(&announced(), &host).broadcasts.iter().map(ToString::to_string).collect();
        assert_eq!(found, heard, "{addresses:?}");
    }
}
