//! Routes and rules of other programs, and the reverse path filter.

use super::*;

#[test]
fn a_strict_reverse_path_filter_is_blamed_only_where_it_is_one() {
    let mut patient = Patient::new("ipip");
    let tunnel = patient.fan.tunnel();
    patient.answer(|question| (question.incoming.as_ref() == Some(&tunnel)).then_some(Err(nix::libc::EXDEV)));
    assert_eq!(patient.only(CheckResult::Failed).check, Check::Routing);
    let strict = Settings { rp_filter: 1, forwarding: true };
    patient.health.settings = [("all".to_string(), strict)].into();
    let finding = patient.only(CheckResult::Failed);
    assert_eq!(finding.check, Check::RpFilter);
    assert_eq!(finding.mend.as_deref(), Some("sysctl -w net/ipv4/conf/all/rp_filter=2"));
    let loose = Settings { rp_filter: 2, ..strict };
    patient.health.settings.insert(tunnel.to_string(), loose);
    assert_eq!(patient.only(CheckResult::Failed).check, Check::Routing);
}

/// A route that a rule of another program leads to, in a table with a default route.
fn by_vpn(device: &str, table: u32) -> Routing {
    Routing {
        local: false,
        device: device.parse().unwrap(),
        gateway: None,
        route: "0.0.0.0/0".parse().unwrap(),
        table,
        protocol: 0,
        mtu: None,
    }
}

#[test]
fn a_rule_of_a_vpn_stays_and_another_comes_before_it() {
    let rule = |priority, action| RoutingRule { priority, action, ..RoutingRule::default() };
    let wg_quick = RoutingRule { negated: true, mark: Some((0xca6c, u32::MAX)), ..rule(32765, Action::Lookup(51820)) };
    let about = |address: &str, action| RoutingRule { to: Some(address.parse().unwrap()), ..rule(500, action) };
    let overlay = "ip rule add to 250.0.0.0/8 lookup main priority";
    let underlay = "ip rule add to 172.30.0.0/16 lookup main priority";
    let both = |number: u32| format!("{overlay} {number} && {underlay} {number}");
    // The rules, the destinations that they divert, and the command that mends it.
    let pictures = [
        (vec![wg_quick.clone()], "", both(32764)),
        // The rule without `not` does not match packets without its mark; the `goto` past our rules does.
        (
            vec![
                RoutingRule { negated: false, ..wg_quick.clone() },
                rule(600, Action::Goto(700)),
                rule(700, Action::Lookup(51820)),
            ],
            "",
            both(599),
        ),
        (vec![about("250.0.0.0/8", Action::Lookup(51820))], "250.", format!("{overlay} 499")),
        (vec![about("172.30.0.0/16", Action::Lookup(51820))], "172.", format!("{underlay} 499")),
    ];
    for (rules, taken, command) in pictures {
        let mut patient = Patient::new("vxlan");
        patient.health.rules = rules;
        let slice = patient.fan.slice();
        patient.answer(|question| {
            let is_taken = question.to.to_string().starts_with(taken) && !slice.contains(question.to);
            is_taken.then(|| Ok(by_vpn("wg0", 51820)))
        });
        let finding = patient.only(CheckResult::Failed);
        assert_eq!(finding.mend.as_deref(), Some(&command[..]), "{finding:#?}");
    }
    // For the overlay the fan has a lasting option, `table`, by which its rule comes first.
    let mut patient = Patient::new("vxlan");
    patient.health.rules = vec![wg_quick];
    patient.answer(|_| Some(Ok(by_vpn("wg0", 51820))));
    let evidence = patient.only(CheckResult::Failed).evidence;
    assert_eq!(evidence[0], "rule priority 32765 not fwmark 0xca6c lookup 51820");
    assert!(evidence[1].contains("'table = N'"), "{evidence:#?}");
    // No rule can be put in front of priority 0.
    patient.health.rules = vec![rule(0, Action::Lookup(51820))];
    assert_eq!(patient.only(CheckResult::Failed).mend, None);
}

/// A route to nowhere.
fn dead_end(destination: &str, table: u32) -> ForeignRoute {
    ForeignRoute {
        is_throw: false,
        table,
        destination: destination.parse().unwrap(),
        device: None,
        gateway: None,
        metric: 0,
        mtu: None,
    }
}

#[test]
fn no_way_to_other_hosts_is_a_failure_whoever_refuses_it() {
    let refuse = |to: &str, action| RoutingRule {
        priority: 500,
        to: Some(to.parse().unwrap()),
        action,
        ..RoutingRule::default()
    };
    let mended = "ip rule add to 172.30.0.0/16 lookup main priority 499";
    let pictures = [
        (vec![dead_end("172.30.0.0/24", 254)], vec![], "ip route delete 172.30.0.0/24"),
        (vec![dead_end("172.30.0.27/32", 254)], vec![], "ip route delete 172.30.0.27/32"),
        (vec![], vec![refuse("172.30.0.0/16", Action::Refuse("blackhole"))], mended),
        (vec![dead_end("0.0.0.0/0", 51820)], vec![refuse("172.30.0.0/16", Action::Lookup(51820))], mended),
    ];
    for (routes, rules, command) in pictures {
        let mut patient = Patient::new("ipip");
        (patient.host.routes, patient.health.rules) = (routes, rules);
        let underlay = patient.fan.mapping.underlay();
        patient.answer(|question| underlay.contains(question.to).then_some(Err(nix::libc::EINVAL)));
        let finding = patient.only(CheckResult::Failed);
        assert_eq!((finding.check, finding.mend.as_deref()), (Check::Routing, Some(command)));
    }
}

#[test]
fn what_lies_beyond_the_routers_is_no_failure() {
    // The underlay is wider than the network of the interface, as with hosts in several routed networks.
    let mut patient = Patient::new("ipip");
    patient.host.links[0].addresses[0].address = "172.30.0.28/24".parse().unwrap();
    patient.owned = crate::plan::desired::with(&State::new(), &patient.fan, &patient.host);
    let beyond = |to: std::net::Ipv4Addr| to.octets()[..2] == [172, 30] && to.octets()[2] != 0;
    let with = |patient: &mut Patient, answer: crate::plan::lookup::Answer| {
        patient.answer(|question| beyond(question.to).then(|| answer.clone()));
        let asked = patient.health.answers.keys().any(|question| beyond(question.to));
        assert!(asked, "{:#?}", patient.health.answers);
    };
    // It is not known that there are hosts; and the default route leads out by another interface.
    let other = |device: &str, table| Ok(by_vpn(device, table));
    for answer in [Err(nix::libc::ENETUNREACH), other("eth1", 254)] {
        with(&mut patient, answer.clone());
        assert_eq!(patient.findings(CheckResult::Warned), [], "{answer:?}");
        assert_eq!(patient.findings(CheckResult::Failed), [], "{answer:?}");
    }
    // A VPN that diverts these addresses diverts the packets for hosts that may be there.
    patient.health.rules =
        vec![RoutingRule { priority: 32765, action: Action::Lookup(51820), ..RoutingRule::default() }];
    with(&mut patient, other("wg0", 51820));
    assert_eq!(patient.only(CheckResult::Warned).check, Check::Routing);
    patient.health.rules.clear();
    patient.host.routes = vec![dead_end("172.30.77.0/24", 254)];
    with(&mut patient, Err(nix::libc::EINVAL));
    assert_eq!(patient.only(CheckResult::Warned).check, Check::Routing);
    // And without a route to the network of the interface itself, no host can be reached.
    patient.host.routes.clear();
    patient.answer(|question| (question.to.octets()[..3] == [172, 30, 0]).then_some(Err(nix::libc::ENETUNREACH)));
    assert_eq!(patient.only(CheckResult::Failed).check, Check::Routing);
}

#[test]
fn a_second_way_is_a_warning_until_something_came_by_it() {
    let mut patient = Patient::new("vxlan");
    let route = |destination: &str, device: &str, gateway| ForeignRoute {
        is_throw: false,
        table: 254,
        destination: destination.parse().unwrap(),
        device: Some(device.parse().unwrap()),
        gateway,
        metric: 0,
        mtu: None,
    };
    let second = route("172.30.0.27/32", "eth1", Some([10, 0, 0, 1].into()));
    patient.host.routes = vec![second.clone(), route("172.30.0.0/16", "eth0", None)];
    let other = Routing {
        local: false,
        device: "eth1".parse().unwrap(),
        gateway: Some([10, 0, 0, 1].into()),
        route: "172.30.0.27/32".parse().unwrap(),
        table: 254,
        protocol: 0,
        mtu: None,
    };
    let peer: std::net::Ipv4Addr = [172, 30, 0, 27].into();
    patient.answer(|question| (question.to == peer).then(|| Ok(other.clone())));
    let finding = patient.only(CheckResult::Warned);
    assert_eq!(finding.mend.as_deref(), Some("ip route delete 172.30.0.27/32 via 10.0.0.1 dev eth1"));
    // When it is the only route there, it must not be deleted.
    patient.host.routes = vec![second];
    assert_eq!(patient.only(CheckResult::Warned).mend, None);
}

/// A bridge of another tool's containers, with the route that its address brings.
fn beside(patient: &mut Patient, address: &str) -> ForeignRoute {
    let address: ipnetwork::Ipv4Network = address.parse().unwrap();
    let mut bridge = link("virbr0", LinkKind::Other);
    bridge.addresses = vec![HostAddress { address, secondary: false, global: true }];
    let route = ForeignRoute {
        is_throw: false,
        table: 254,
        destination: ipnetwork::Ipv4Network::new(address.network(), address.prefix()).unwrap(),
        device: Some(bridge.name.clone()),
        gateway: None,
        metric: 0,
        mtu: None,
    };
    patient.host.links.push(bridge);
    patient.host.routes.push(route.clone());
    route
}

#[test]
fn networks_of_this_host_in_a_wide_underlay_are_no_hosts_of_the_fan() {
    // The host's address is the first of the network, as with libvirt, or the last.
    for address in ["172.30.122.1/24", "172.30.122.254/24"] {
        let mut patient = Patient::new("ipip");
        let network = beside(&mut patient, address).destination;
        let routed = |device: &str, local| Routing {
            local,
            device: device.parse().unwrap(),
            gateway: None,
            route: network,
            table: if local { 255 } else { 254 },
            protocol: nix::libc::RTPROT_KERNEL,
            mtu: None,
        };
        patient.answer(|question| {
            let is_own = address.starts_with(&format!("{}/", question.to));
            let found = if is_own { routed("lo", true) } else { routed("virbr0", false) };
            network.contains(question.to).then_some(Ok(found))
        });
        assert_eq!(patient.findings(CheckResult::Warned), [], "{address}");
        assert_eq!(patient.findings(CheckResult::Failed), [], "{address}");
        // A route by another device than the network's is reported; a route that the kernel made is not to be deleted.
        patient.host.routes[0].device = Some("tun0".parse().unwrap());
        patient.answer(|question| network.contains(question.to).then(|| Ok(routed("tun0", false))));
        let finding = patient.only(CheckResult::Warned);
        assert_eq!((finding.check, &finding.mend), (Check::Routing, &None), "{finding:#?}");
    }
}

#[test]
fn a_network_of_this_host_in_the_overlay_is_told_and_not_deleted() {
    let mut patient = Patient::new("ipip");
    let network = beside(&mut patient, "250.0.40.1/24").destination;
    let found = Routing {
        local: false,
        device: "virbr0".parse().unwrap(),
        gateway: None,
        route: network,
        table: 254,
        protocol: nix::libc::RTPROT_KERNEL,
        mtu: None,
    };
    patient.answer(|question| {
        assert_ne!(question.to.to_string(), "250.0.40.1", "the kernel delivers that at home");
        network.contains(question.to).then(|| Ok(found.clone()))
    });
    let findings = patient.findings(CheckResult::Failed);
    let finding = findings.iter().find(|finding| finding.check == Check::Routing).unwrap();
    assert!(finding.evidence[0].contains("an address of 'virbr0'"), "{finding:#?}");
    assert_eq!(finding.mend, None);
}
