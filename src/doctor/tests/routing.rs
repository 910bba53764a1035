//! Other people's routes and rules, and the reverse path filter.

use super::*;

#[test]
fn a_strict_reverse_path_filter_is_blamed_only_where_it_is_one() {
    let mut patient = Patient::new("ipip");
    let tunnel = patient.fan.tunnel();
    patient.answer(|question| (question.incoming.as_ref() == Some(&tunnel)).then_some(Err(nix::libc::EXDEV)));
    assert_eq!(patient.only(Verdict::Failed).check, "routing");
    let strict = Settings {
        rp_filter: 1,
        forwarding: true,
    };
    patient.health.settings = [("all".to_string(), strict)].into();
    let finding = patient.only(Verdict::Failed);
    assert_eq!(finding.check, "rp_filter");
    assert_eq!(finding.mend.as_deref(), Some("sysctl -w net/ipv4/conf/all/rp_filter=2"));
    let loose = Settings { rp_filter: 2, ..strict };
    patient.health.settings.insert(tunnel.to_string(), loose);
    assert_eq!(patient.only(Verdict::Failed).check, "routing");
}

#[test]
fn a_rule_is_deleted_in_the_words_in_which_it_was_made() {
    let mut patient = Patient::new("ipip");
    patient.health.rules = vec![Rule {
        priority: 5270,
        from: Some("250.0.28.0/24".parse().unwrap()),
        table: 52,
        rest: "fwmark 0x80".into(),
        ..Rule::default()
    }];
    let vpn = Routing {
        local: false,
        device: "tailscale0".parse().unwrap(),
        gateway: None,
        route: "0.0.0.0/0".parse().unwrap(),
        table: 52,
        protocol: 0,
        mtu: None,
    };
    patient.answer(|question| question.from.is_some().then(|| Ok(vpn.clone())));
    let finding = patient.only(Verdict::Failed);
    let command = "ip rule delete priority 5270 from 250.0.28.0/24 fwmark 0x80 lookup 52";
    assert_eq!(finding.mend.as_deref(), Some(command));
}

#[test]
fn a_second_way_is_a_warning_until_something_came_by_it() {
    let mut patient = Patient::new("vxlan");
    patient.host.routes = vec![ForeignRoute {
        table: 254,
        destination: "172.30.0.27/32".parse().unwrap(),
        device: Some("eth1".parse().unwrap()),
        gateway: None,
        metric: 0,
    }];
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
    let finding = patient.only(Verdict::Warned);
    assert_eq!(
        finding.mend.as_deref(),
        Some("ip route delete 172.30.0.27/32 via 10.0.0.1 dev eth1")
    );
}

/// A bridge of another tool's containers, with the route that its address brings.
fn beside(patient: &mut Patient, address: &str) -> ForeignRoute {
    let address: ipnetwork::Ipv4Network = address.parse().unwrap();
    let mut bridge = link("virbr0", LinkKind::Other);
    bridge.addresses = vec![HostAddress {
        address,
        secondary: false,
        global: true,
    }];
    let route = ForeignRoute {
        table: 254,
        destination: ipnetwork::Ipv4Network::new(address.network(), address.prefix()).unwrap(),
        device: Some(bridge.name.clone()),
        gateway: None,
        metric: 0,
    };
    patient.host.links.push(bridge);
    patient.host.routes.push(route.clone());
    route
}

#[test]
fn networks_of_this_host_in_a_wide_underlay_are_no_hosts_of_the_fan() {
    // As libvirt has it, and with the address at the other end.
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
            let found = if is_own {
                routed("lo", true)
            } else {
                routed("virbr0", false)
            };
            network.contains(question.to).then_some(Ok(found))
        });
        assert_eq!(patient.findings(Verdict::Warned), [], "{address}");
        assert_eq!(patient.findings(Verdict::Failed), [], "{address}");
        // A router on the way is somebody's doing, and told; what the kernel did by itself is not to be deleted.
        patient.host.routes[0].device = Some("tun0".parse().unwrap());
        patient.answer(|question| network.contains(question.to).then(|| Ok(routed("tun0", false))));
        let finding = patient.only(Verdict::Warned);
        assert_eq!((finding.check, &finding.mend), ("routing", &None), "{finding:#?}");
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
        assert_ne!(
            question.to.to_string(),
            "250.0.40.1",
            "the kernel delivers that at home"
        );
        network.contains(question.to).then(|| Ok(found.clone()))
    });
    let findings = patient.findings(Verdict::Failed);
    let finding = findings.iter().find(|finding| finding.check == "routing").unwrap();
    assert!(finding.evidence[0].contains("an address of 'virbr0'"), "{finding:#?}");
    assert_eq!(finding.mend, None);
}
