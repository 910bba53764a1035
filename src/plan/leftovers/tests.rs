//! What is left of fans whose bridges were deleted, or got another alias.

use super::*;
use crate::fan::Mac;
use crate::fan::options::Options;
use crate::fan::tests::announced;
use crate::plan::host::HostAddress;
use crate::plan::resolve::tests::link;
use crate::plan::state::Identity;

/// A host that runs a fan, whose bridge somebody gave another alias.
fn disguised(fan: &Fan) -> (State, Host) {
    let mut host = Host {
        links: vec![link("wlan0", &["192.0.2.7/24"]), link("eth0", &["172.30.0.28/16"])],
        privileged: true,
        ..Host::default()
    };
    let mut state = desired::with(&State::new(), fan, &host);
    assert_eq!(remains(&state, &host), [], "a whole fan");
    let mut bridge = link(fan.bridge.as_str(), &[]);
    bridge.kind = LinkKind::Bridge { mac: fan.bridge_mac() };
    bridge.mtu = desired::mtu(fan, &host);
    bridge.addresses =
        fan.bridge_addresses().map(|address| HostAddress { address, secondary: false, global: true }).collect();
    host.links.push(bridge);
    // What only a label tells to be ours.
    let of_bridge = |name: &InterfaceName| *name == fan.bridge;
    state.retain(|key, _| match &key.identity {
        Identity::Bridge(_) | Identity::Address { .. } => false,
        Identity::Up(name) => !of_bridge(name),
        _ => true,
    });
    // Of whom a route on an unknown device is, its destination tells.
    let state = state.into_values().map(|mut object| {
        if let Object::Route(route) = &mut object
            && of_bridge(&route.device)
        {
            route.overlay = Overlay::new(route.destination).expect("as wide as an overlay");
        }
        (object.key(), object)
    });
    (state.collect(), host)
}

fn alias(state: &State, host: &Host) -> Option<String> {
    let [left] = &remains(state, host)[..] else { panic!("one fan") };
    left.bridge.as_ref().expect("its bridge stands").alias.clone()
}

fn fans_of_all_kinds() -> [Fan; 4] {
    let plain = announced();
    let vxlan =
        Fan { options: Options { encapsulation: Encapsulation::Vxlan, ..plain.options.clone() }, ..plain.clone() };
    let full = Fan {
        bridge: "br7".parse().unwrap(),
        options: Options {
            port: Some(4789),
            dhcp: true,
            host_reserve: 4,
            mtu: Some(1400),
            table: Some(77),
            nat: false,
            ..vxlan.options.clone()
        },
        ..vxlan.clone()
    };
    let asked = Fan { options: Options { flowtable: false, ..plain.options.clone() }, ..plain.clone() };
    [plain, vxlan, full, asked]
}

#[test]
fn the_rest_of_a_fan_tells_what_the_alias_of_its_bridge_was() {
    for fan in fans_of_all_kinds() {
        let (state, host) = disguised(&fan);
        assert_eq!(alias(&state, &host), Some(fan.label()));
        assert_eq!(loose_remains(&state, &host).count(), 0);
    }
}

#[test]
fn what_does_not_run_tells_no_alias() {
    let fan = announced();
    let (mut state, host) = disguised(&fan);
    state.retain(|key, _| !matches!(key.identity, Identity::Filter { .. }));
    assert_eq!(alias(&state, &host), None);
    let refusal = remains(&state, &host)[0].refusal().expect("it stands");
    assert!(refusal.as_str().contains("ip -details link show dev fan-250-0-28"), "{refusal}");
    assert!(!refusal.as_str().contains("delete"), "it may be another's: {refusal}");
}

#[test]
fn a_bridge_is_known_by_its_ethernet_address() {
    for fan in fans_of_all_kinds() {
        let (state, host) = disguised(&fan);
        let mut without_route = state.clone();
        without_route.retain(|_, object| !matches!(object, Object::Route(route) if route.device == fan.bridge));
        assert_eq!(alias(&without_route, &host), Some(fan.label()));
        // Without that it is any bridge.
        let mut renumbered = host.clone();
        renumbered.links.last_mut().expect("the bridge").kind = LinkKind::Bridge { mac: Mac([2; 6]) };
        assert!(remains(&without_route, &renumbered)[0].bridge.is_none());
        // With the bridge the kernel takes its routes.
        let mut gone = host;
        gone.links.pop();
        let left = Remains { overlay: fan.overlay(), bridge: None };
        assert_eq!(remains(&without_route, &gone), [left]);
        assert_eq!(loose_remains(&without_route, &gone).collect::<Vec<_>>(), [fan.overlay()]);
        // Killed at the last step of all.
        without_route.retain(|_, object| matches!(object, Object::Unreachable(..)));
        assert_eq!(loose_remains(&without_route, &gone).count(), 1);
    }
    assert_eq!(remains(&State::new(), &Host::default()), []);
}

#[test]
fn a_fan_over_wireguard_has_its_key_file_in_the_alias_alone() {
    let plain = announced();
    let options = Options { encapsulation: Encapsulation::Wireguard, ..plain.options.clone() };
    let (state, host) = disguised(&Fan { options, epochs: vec![1], ..plain });
    assert_eq!(alias(&state, &host), None);
}
