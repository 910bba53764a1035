//! What no kernel at hand can be brought to, and the words of findings.

use std::collections::BTreeMap;

use super::*;
use crate::fan::tests::announced;
use crate::health::{Manager, Neighbour, Offload, Rule, Settings};
use crate::host::{ForeignRoute, HostAddress, Link, LinkKind, Routing};
use crate::netfilter::{Backend, Base, Chain, Field, Match, Table, Value};
use crate::object::{Object, fans};

fn link(name: &str, kind: LinkKind) -> Link {
    Link {
        name: name.parse().unwrap(),
        up: true,
        mtu: 1500,
        ours: false,
        master: None,
        kind,
        addresses: vec![],
        counters: crate::host::Counters::default(),
        programs: vec![],
    }
}

/// A host that runs a fan and has nothing wrong.
struct Patient {
    fan: Fan,
    owned: State,
    host: Host,
    health: Health,
}

impl Patient {
    fn new(words: &str) -> Self {
        let label = announced().label().replace("ipip", words);
        let fan = Fan::from_label(&"fan-250-0-28".parse().unwrap(), &label).unwrap();
        let mut device = link("eth0", LinkKind::Other);
        device.addresses = vec![HostAddress {
            address: "172.30.0.28/16".parse().unwrap(),
            secondary: false,
            global: true,
        }];
        let mut host = Host {
            links: vec![device],
            ip_forward: true,
            privileged: true,
            ..Host::default()
        };
        let owned = crate::desire::with(&State::new(), &fan, &host);
        for object in owned.values() {
            let (name, mtu, kind) = match object {
                Object::Bridge(bridge) => (&bridge.fan.bridge, bridge.mtu, LinkKind::Other),
                Object::Tunnel(tunnel) => (&tunnel.name, tunnel.mtu, LinkKind::IpipExternal),
                _ => continue,
            };
            let device = link(name.as_str(), kind);
            host.links.push(Link {
                mtu,
                ours: true,
                ..device
            });
        }
        let mut patient = Self {
            fan,
            owned,
            host,
            health: Health::default(),
        };
        patient.health.kernel.release = "6.12.43".into();
        patient.health.kernel.has_nft = true;
        patient.answer(|_| None);
        patient
    }

    /// Has the kernel answer every question as it should, but where something else is said.
    fn answer(&mut self, other: impl Fn(&crate::health::Question) -> Option<crate::health::Answer>) {
        let questions = questions(&self.owned, &self.host, &self.health);
        let vxlan = self.fan.encapsulation == crate::encap::Encapsulation::Vxlan;
        let right = |question: &crate::health::Question| {
            let device = if self.fan.slice().contains(question.to) {
                self.fan.bridge.clone()
            } else if !self.fan.overlay().contains(question.to) {
                self.fan.device.clone()
            } else if vxlan {
                self.fan.bridge.clone()
            } else {
                self.fan.tunnel()
            };
            Ok(Routing {
                local: false,
                device,
                gateway: None,
                route: "0.0.0.0/0".parse().unwrap(),
                table: 254,
                protocol: 0,
                mtu: None,
            })
        };
        let answers: BTreeMap<_, _> = questions
            .into_iter()
            .map(|question| {
                let answer = other(&question).unwrap_or_else(|| right(&question));
                (question, answer)
            })
            .collect();
        self.health.answers = answers;
    }

    fn findings(&self, verdict: Verdict) -> Vec<Finding> {
        let facts = Facts {
            owned: &self.owned,
            host: &self.host,
            health: &self.health,
            configured: None,
            config_option: "",
        };
        let all = examine(facts, |_| true);
        all.into_iter().filter(|finding| finding.verdict == verdict).collect()
    }

    /// The one thing that is not right.
    #[track_caller]
    fn only(&self, verdict: Verdict) -> Finding {
        let other = if verdict == Verdict::Failed {
            Verdict::Warned
        } else {
            Verdict::Failed
        };
        assert_eq!(self.findings(other), []);
        let [finding] = &self.findings(verdict)[..] else {
            panic!("{:#?}", self.findings(verdict))
        };
        finding.clone()
    }
}

const BOTH: [&str; 2] = ["ipip", "vxlan"];

#[test]
fn nothing_is_wrong_with_a_host_on_which_nothing_is_wrong() {
    for words in BOTH {
        let patient = Patient::new(words);
        assert_eq!(fans(&patient.owned).count(), 1);
        assert_eq!(patient.findings(Verdict::Failed), [], "{words}");
        assert_eq!(patient.findings(Verdict::Warned), [], "{words}");
    }
}

#[test]
fn hardware_that_spoils_checksums_is_told_to_leave_them_alone() {
    let mut patient = Patient::new("vxlan");
    let mut offload = |checksums| {
        let driver = "vmxnet3".to_string();
        patient.health.offloads = [(patient.fan.tunnel(), Offload { driver, checksums })].into();
        patient.findings(Verdict::Warned)
    };
    assert_eq!(offload(Some(false)), []);
    assert!(offload(None)[0].reason.contains("ethtool"));
    let finding = &offload(Some(true))[0];
    assert_eq!(finding.check, "checksums");
    let command = "ethtool -K fan-vx16384000 tx-checksum-ip-generic off";
    assert_eq!(finding.mend.as_deref(), Some(command));
}

#[test]
fn wrong_checksums_of_all_the_hosts_udp_are_a_warning_only_where_they_can_be_the_fans() {
    let mut patient = Patient::new("vxlan");
    let tunnel = patient.fan.tunnel();
    patient.health.bad_checksums = 7;
    let told = |patient: &Patient, verdict| {
        let findings = patient.findings(verdict);
        let told = findings.into_iter().find(|finding| finding.check == "checksums");
        told.map(|finding| finding.reason + &finding.evidence.join("\n"))
    };
    assert_eq!(told(&patient, Verdict::Warned), None);
    let passed = told(&patient, Verdict::Passed).unwrap();
    assert!(passed.contains('7') && passed.contains("all UDP"), "{passed}");
    // Others answer, or nobody was asked: it is not the fan's packets that are spoilt.
    let mut with = |received, sent| {
        let of_tunnel = patient.host.links.iter_mut().find(|link| link.name == tunnel);
        of_tunnel.unwrap().counters = crate::host::Counters {
            received,
            sent,
            refused: 0,
        };
        told(&patient, Verdict::Warned).is_some()
    };
    assert!(!with(5, 5) && !with(5, 0) && !with(0, 0) && with(0, 5));
    // Where this host's hardware is of a kind that spoils them, that of others may be too.
    let offload = Offload {
        driver: "vmxnet3".into(),
        checksums: Some(false),
    };
    patient.health.offloads = [(tunnel, offload)].into();
    assert!(told(&patient, Verdict::Warned).unwrap().contains("all UDP"));
    let mut over_ipip = Patient::new("ipip");
    over_ipip.health.bad_checksums = 7;
    assert_eq!(
        told(&over_ipip, Verdict::Warned).or(told(&over_ipip, Verdict::Passed)),
        None
    );
}

#[test]
fn a_kernel_that_lacks_something_is_named() {
    let mut patient = Patient::new("ipip");
    patient.health.kernel.loads_programs = Some(Err("not permitted".into()));
    assert_eq!(patient.only(Verdict::Failed).evidence, ["not permitted"]);
    patient.health.kernel.loads_programs = Some(Ok(()));
    patient.health.kernel.has_nft = false;
    assert!(patient.only(Verdict::Failed).reason.contains("nft"));
    patient.health.kernel.has_nft = true;
    patient.health.kernel.compiles_programs = Some(false);
    assert_eq!(patient.only(Verdict::Warned).check, "kernel");
    // With no fan it is told what neither of the two could do.
    let mut bare = Patient::new("ipip");
    (bare.owned, bare.host.links) = (State::new(), vec![]);
    bare.health.kernel.has_ipip = Some(false);
    assert!(bare.only(Verdict::Warned).reason.contains("use --encap vxlan"));
    bare.health.kernel.has_ipip = None;
    bare.health.kernel.release = "5.15.0-91".into();
    assert!(bare.only(Verdict::Warned).reason.contains("5.18"));
}

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

/// A table whose chain at a hook drops everything.
fn closed(backend: Backend, name: &str, chain: &str, hook: &str) -> Table {
    let base = Base {
        hook: hook.into(),
        priority: 0,
        drops: true,
        devices: vec![],
    };
    let chain_of = Chain {
        base: Some(base),
        rules: vec![],
    };
    Table {
        backend,
        family: "ip".into(),
        name: name.into(),
        chains: [(chain.to_string(), chain_of)].into(),
        sets: BTreeMap::new(),
    }
}

#[test]
fn each_firewall_is_mended_in_its_own_words() {
    let mut patient = Patient::new("ipip");
    let mut mend = |table| {
        patient.health.tables = vec![table];
        let finding = patient.only(Verdict::Failed);
        (finding.mend.unwrap(), finding.reason)
    };
    let (command, reason) = mend(closed(Backend::Legacy, "filter", "FORWARD", "forward"));
    let [from, to] =
        ["-i", "-o"].map(|way| format!("iptables-legacy -t filter -I FORWARD {way} fan-250-0-28 -j ACCEPT"));
    assert_eq!(command, format!("{from} && {to}"));
    assert!(!reason.contains("to last"), "{reason}");
    let (command, reason) = mend(closed(Backend::Nftables, "firewalld", "filter_INPUT", "input"));
    assert_eq!(
        command,
        "nft 'insert rule ip firewalld filter_INPUT ip protocol 4 ip saddr 172.30.0.0/16 counter accept'"
    );
    assert!(reason.contains("firewall-cmd --permanent"), "{reason}");
}

#[test]
fn addresses_that_nobody_has_may_be_dropped() {
    // RFC 6890's, as lists of bogons have them; private ones may be a host's own.
    let bogons = [
        "0.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
    ];
    let mut patient = Patient::new("ipip");
    patient.host.routes = vec![ForeignRoute {
        table: 254,
        destination: "0.0.0.0/0".parse().unwrap(),
        device: Some("eth0".parse().unwrap()),
        gateway: Some([172, 30, 0, 1].into()),
        metric: 0,
    }];
    patient.answer(|_| None);
    let values: Vec<Value> = bogons
        .map(|network| Value::from(network.parse::<ipnetwork::Ipv4Network>().unwrap()))
        .into();
    let mut with = |field, values: &[Value]| {
        let mut table = closed(Backend::Nftables, "bogons", "FORWARD", "forward");
        let chain = table.chains.get_mut("FORWARD").unwrap();
        chain.base.as_mut().unwrap().drops = false;
        chain.rules = vec![crate::netfilter::Rule {
            matches: vec![Match::Field {
                field,
                negated: false,
                values: values.to_vec(),
            }],
            verdict: Some(crate::netfilter::Verdict::Drop),
            ..crate::netfilter::Rule::default()
        }];
        patient.health.tables = vec![table];
        patient.findings(Verdict::Failed)
    };
    for field in [Field::Source, Field::Destination] {
        assert_eq!(with(field, &values), []);
        // The rest of the world has to be reached, though.
        assert_eq!(with(field, &[Value::Range(0x0100_0000, 0xdfff_ffff)]).len(), 1);
    }
}

#[test]
fn neighbours_and_software_are_looked_at() {
    let mut patient = Patient::new("ipip");
    let mac = crate::fan::Mac([0, 1, 2, 3, 4, 5]);
    patient.health.neighbours = ["172.30.0.7", "172.30.0.8"]
        .map(|address| Neighbour {
            device: "eth0".parse().unwrap(),
            address: address.parse().unwrap(),
            mac,
        })
        .to_vec();
    patient.answer(|_| None);
    assert_eq!(patient.only(Verdict::Warned).check, "macs");
    patient.health.macs = [("eth0".parse().unwrap(), mac)].into();
    assert!(
        patient
            .only(Verdict::Failed)
            .mend
            .unwrap()
            .contains("02:fb:ac:1e:00:1c")
    );
    patient.health.neighbours.clear();
    patient.health.managers = vec![
        Manager {
            name: "NetworkManager",
            lacks: Some("/etc/NetworkManager/conf.d/50-fan.conf"),
        },
        Manager {
            name: "dhcpcd",
            lacks: None,
        },
    ];
    let command = patient.only(Verdict::Warned).mend.unwrap();
    assert!(
        command.ends_with("/etc/NetworkManager/conf.d/50-fan.conf && nmcli general reload"),
        "{command}"
    );
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

/// A table of the fan's own, in which a rule has met packets.
fn own(family: &str, chain: &str, text: &str) -> Table {
    let rule = crate::netfilter::Rule {
        text: text.into(),
        packets: Some(3),
        ..crate::netfilter::Rule::default()
    };
    let mut table = closed(Backend::Nftables, "fan-250.0.0.0/8", chain, "prerouting");
    table.family = family.into();
    table.chains.get_mut(chain).unwrap().rules = vec![rule];
    table
}

#[test]
fn what_was_refused_is_told_whatever_table_counts_it() {
    let mut patient = Patient::new("vxlan");
    patient.health.tables = vec![
        own("bridge", "ports", "counter drop comment \"posing 1f\""),
        own("ip", "guard", "counter drop comment \"foreign packets 83\""),
    ];
    let finding = patient.only(Verdict::Warned);
    assert_eq!((finding.check, finding.evidence.len()), ("refused", 2), "{finding:#?}");
}

#[test]
fn whatever_rule_of_a_fan_drops_something_it_is_told() {
    for words in BOTH {
        let mut patient = Patient::new(words);
        let ruleset = crate::firewall::ruleset(&patient.fan);
        let drops = ruleset.script().lines().filter(|line| line.contains("counter drop"));
        let mut told: Vec<String> = Vec::new();
        for rule in drops {
            let (_, name) = rule.split_once("comment").unwrap();
            patient.health.tables = vec![own("ip", "guard", rule.trim())];
            let finding = patient.only(Verdict::Warned);
            assert_eq!(finding.check, "refused", "{name}");
            let [line] = &finding.evidence[..] else {
                panic!("{name}: {finding:#?}")
            };
            assert!(line.starts_with("3 "), "{name}: {line}");
            told.push(line.clone());
        }
        // The two ways of what is routed by its sender are one, and no others are.
        let rules = told.len();
        told.sort();
        told.dedup();
        assert_eq!(told.len() + 1, rules, "{told:#?}");
    }
}

#[test]
fn what_is_left_of_a_fan_tells_how_to_bring_it_up() {
    let mut patient = Patient::new("vxlan");
    let rule = "ip daddr 172.30.0.0/16 udp dport 4789 counter drop comment \"wrapped by no host 24\"";
    patient.health.tables = vec![own("bridge", "ports", "drop"), own("ip", "guard", rule)];
    // With the bridge the kernel takes its routes.
    patient
        .owned
        .retain(|_, object| !matches!(object, Object::Bridge(_) | Object::Route(_)));
    let finding = patient.only(Verdict::Failed);
    let command = "fanctl up 250.0.0.0/8 172.30.0.0/16 --encap vxlan --port 4789";
    assert_eq!((finding.check, finding.mend.as_deref()), ("bridge", Some(command)));
}

#[test]
fn a_bridge_that_is_not_the_fans_may_be_meant_by_what_holds_for_all() {
    let mut patient = Patient::new("vxlan");
    patient.health.tables = vec![
        own("bridge", "ports", "counter drop comment \"posing 1f\""),
        own("ip", "guard", "counter drop comment \"foreign packets 83\""),
    ];
    let names_another = |patient: &Patient| {
        let evidence = patient.only(Verdict::Warned).evidence;
        evidence
            .iter()
            .map(|line| line.contains("'docker0'"))
            .collect::<Vec<_>>()
    };
    assert_eq!(names_another(&patient), [false, false]);
    patient.host.links.push(link(
        "docker0",
        LinkKind::Bridge {
            mac: crate::fan::Mac([2; 6]),
        },
    ));
    assert_eq!(names_another(&patient), [true, false]);
}
