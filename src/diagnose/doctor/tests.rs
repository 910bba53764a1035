//! What no kernel at hand can be brought to, and the words of findings.

mod codes;
mod counters;
mod routing;

use std::collections::BTreeMap;

use super::*;
use crate::diagnose::facts::{Manager, Offload, Settings};
use crate::diagnose::netfilter::{Backend, Base, Chain, Field, FirewallTable, Match, Value};
use crate::fan::tests::announced;
use crate::plan::host::NeighbourEntry;
use crate::plan::host::{ForeignRoute, HostAddress, Link, LinkKind, Routing};
use crate::plan::rule::{Action, RoutingRule};
use crate::plan::state::{Object, fans};

fn link(name: &str, kind: LinkKind) -> Link {
    Link { kind, ..crate::plan::resolve::tests::link(name, &[]) }
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
        device.addresses =
            vec![HostAddress { address: "172.30.0.28/16".parse().unwrap(), secondary: false, global: true }];
        let mut host = Host { links: vec![device], ip_forward: true, privileged: true, ..Host::default() };
        let owned = crate::plan::desired::with(&State::new(), &fan, &host);
        for object in owned.values() {
            let (name, mtu, kind) = match object {
                Object::Bridge(bridge) => (&bridge.fan.bridge, bridge.mtu, LinkKind::Other),
                Object::Tunnel(tunnel) => (&tunnel.name, tunnel.mtu, LinkKind::IpipExternal),
                _ => continue,
            };
            let device = link(name.as_str(), kind);
            host.links.push(Link { mtu, ours: true, ..device });
        }
        let mut patient = Self { fan, owned, host, health: Health::default() };
        patient.host.linux.release = "6.12.43".into();
        patient.health.kernel.has_nft = true;
        patient.answer(|_| None);
        patient
    }

    /// Has the kernel answer every question as it should, but where something else is said.
    fn answer(&mut self, other: impl Fn(&Question) -> Option<crate::plan::lookup::Answer>) {
        let questions = questions(&self.owned, &self.host, &self.health);
        let vxlan = self.fan.options.encapsulation == crate::fan::encap::Encapsulation::Vxlan;
        let right = |question: &Question| {
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

    fn findings(&self, verdict: CheckResult) -> Vec<Finding> {
        let facts = Facts {
            owned: &self.owned,
            host: &self.host,
            health: &self.health,
            configured: None,
            config_option: &Line::default(),
        };
        let all = examine(facts, |_| true);
        all.into_iter().filter(|finding| finding.verdict == verdict).collect()
    }

    /// The one thing that is not right.
    #[track_caller]
    fn only(&self, verdict: CheckResult) -> Finding {
        let other = if verdict == CheckResult::Failed { CheckResult::Warned } else { CheckResult::Failed };
        assert_eq!(self.findings(other), []);
        let [finding] = &self.findings(verdict)[..] else { panic!("{:#?}", self.findings(verdict)) };
        finding.clone()
    }
}

const BOTH: [&str; 2] = ["ipip", "vxlan"];

#[test]
fn nothing_is_wrong_with_a_host_on_which_nothing_is_wrong() {
    for words in BOTH {
        let patient = Patient::new(words);
        assert_eq!(fans(&patient.owned).count(), 1);
        assert_eq!(patient.findings(CheckResult::Failed), [], "{words}");
        assert_eq!(patient.findings(CheckResult::Warned), [], "{words}");
    }
}

#[test]
fn a_kernel_that_lacks_something_is_named() {
    let mut patient = Patient::new("ipip");
    patient.health.kernel.loads_programs = Some(Err("not permitted".into()));
    assert_eq!(patient.only(CheckResult::Failed).evidence, ["not permitted"]);
    patient.health.kernel.loads_programs = Some(Ok(()));
    patient.health.kernel.has_nft = false;
    assert!(patient.only(CheckResult::Failed).reason.contains("nft"));
    patient.health.kernel.has_nft = true;
    patient.health.kernel.compiles_programs = Some(false);
    assert_eq!(patient.only(CheckResult::Warned).check, Check::Kernel);
    // With no fan it is told what neither of the two could do.
    let mut bare = Patient::new("ipip");
    (bare.owned, bare.host.links) = (State::new(), vec![]);
    bare.health.kernel.has_ipip = Some(false);
    assert!(bare.only(CheckResult::Warned).reason.contains("use --encap vxlan"));
    bare.health.kernel.has_ipip = None;
    bare.health.kernel.has_vxlan = Some(true);
    let told = bare.findings(CheckResult::Passed).remove(0);
    assert!(told.reason.ends_with("but whether it has ipip is not known"), "{told}");
    assert_eq!(bare.findings(CheckResult::Warned), []);
    // A fan that is configured would need it.
    let config = Patient::new("ipip").fan.config();
    let facts = Facts {
        owned: &bare.owned,
        host: &bare.host,
        health: &bare.health,
        configured: Some(&[config]),
        config_option: &Line::default(),
    };
    let untold = examine(facts, |_| false).remove(0);
    assert_eq!((untold.check, untold.verdict), (Check::Kernel, CheckResult::Warned), "{untold}");
    assert!(untold.evidence[1].ends_with("fanctl lab --encap ipip"), "{untold}");
    bare.host.linux.release = "5.15.0-91".into();
    assert!(bare.only(CheckResult::Warned).reason.contains("older than Linux 5.19"));
}

#[test]
fn of_a_kernel_that_carries_no_fan_no_other_encapsulation_is_advised() {
    let mut bare = Patient::new("ipip");
    (bare.owned, bare.health.kernel.has_vxlan) = (State::new(), Some(false));
    bare.host.linux.release = "5.10.0-32-cloud-amd64".into();
    bare.host.linux.takes_source = Some(false);
    let finding = bare.only(CheckResult::Failed);
    assert!(finding.reason.contains("5.19") && !finding.to_string().contains("--encap"), "{finding}");
    (bare.host.linux.takes_source, bare.host.linux.has_nf_tables) = (Some(true), Some(false));
    assert!(bare.only(CheckResult::Failed).reason.contains("nf_tables"));
}

/// A table whose chain at a hook drops everything.
fn closed(backend: Backend, name: &str, chain: &str, hook: &str) -> FirewallTable {
    let base = Base { hook: hook.into(), priority: 0, drops: true, devices: vec![], translates: false };
    let chain_of = Chain { base: Some(base), rules: vec![] };
    FirewallTable {
        backend,
        family: "ip".into(),
        name: name.into(),
        chains: [(chain.to_string(), chain_of)].into(),
        sets: BTreeMap::new(),
        maps: BTreeMap::new(),
        is_owned: false,
    }
}

#[test]
fn each_firewall_is_mended_in_its_own_words() {
    let mut patient = Patient::new("ipip");
    let mut mend = |table| {
        patient.health.tables = vec![table];
        let finding = patient.only(CheckResult::Failed);
        (finding.mend.unwrap(), finding.reason)
    };
    let (command, reason) = mend(closed(Backend::Legacy, "filter", "FORWARD", "forward"));
    let [from, to] =
        ["-i", "-o"].map(|way| format!("iptables-legacy -t filter -I FORWARD {way} fan-250-0-28 -j ACCEPT"));
    assert_eq!(*command, format!("{from} && {to}"));
    assert!(!reason.contains("to last"), "{reason}");
    let (command, reason) = mend(closed(Backend::Nftables, "firewalld", "filter_INPUT", "input"));
    assert_eq!(
        &*command,
        "nft 'insert rule ip firewalld filter_INPUT ip protocol 4 ip saddr 172.30.0.0/16 counter accept' && nft 'insert rule ip \
         firewalld filter_INPUT icmp type destination-unreachable counter accept'"
    );
    assert!(reason.contains("firewall-cmd --permanent"), "{reason}");
}

#[test]
fn rules_that_stand_ready_for_docker_are_a_warning_until_it_drops() {
    let mut patient = Patient::new("ipip");
    patient.host.forward_chains = vec![crate::plan::firewall::ForwardChain::DockerUser];
    let finding = patient.only(CheckResult::Warned);
    assert_eq!((finding.check, finding.fixable), (Check::Firewall, true), "{finding}");
    assert!(finding.evidence.last().unwrap().contains("when it starts"), "{finding}");
    patient.health.tables = vec![closed(Backend::Nftables, "filter", "FORWARD", "forward")];
    assert_eq!(patient.only(CheckResult::Failed).check, Check::Firewall);
}

#[test]
fn a_host_that_is_dropped_alone_is_a_warning_and_no_failure() {
    let mut patient = Patient::new("vxlan");
    patient.health.neighbours = [27, 26]
        .map(|last| NeighbourEntry {
            device: "eth0".parse().unwrap(),
            address: [172, 30, 0, last].into(),
            mac: crate::fan::Mac([2, 0, 0, 0, 0, last]),
            confirmed: true,
        })
        .to_vec();
    patient.answer(|_| None);
    let dropped = |values: Vec<Value>| {
        let mut table = closed(Backend::Nftables, "filter", "INPUT", "input");
        let chain = table.chains.get_mut("INPUT").unwrap();
        chain.base.as_mut().unwrap().drops = false;
        chain.rules = vec![crate::diagnose::netfilter::FirewallRule {
            matches: vec![Match::Field { field: Field::Source, negated: false, values }],
            verdict: Some(crate::diagnose::netfilter::PacketVerdict::Drop),
            ..crate::diagnose::netfilter::FirewallRule::default()
        }];
        vec![table]
    };
    patient.health.tables = dropped(vec![std::net::Ipv4Addr::new(172, 30, 0, 27).into()]);
    let finding = patient.only(CheckResult::Warned);
    assert!(finding.reason.ends_with("drops what host 172.30.0.27 sends (UDP port 8472)"), "{finding}");
    let command = "nft 'insert rule ip filter INPUT ip saddr 172.30.0.27 udp dport 8472 counter accept'";
    assert_eq!(finding.mend.as_deref(), Some(command));
    // Where all are dropped, one is not told of by itself.
    patient.health.tables = dropped(vec![Value::Range(0, u32::MAX)]);
    let finding = patient.only(CheckResult::Failed);
    assert!(!finding.reason.contains("what host"), "{finding}");
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
        is_throw: false,
        table: 254,
        destination: "0.0.0.0/0".parse().unwrap(),
        device: Some("eth0".parse().unwrap()),
        gateway: Some([172, 30, 0, 1].into()),
        metric: 0,
        mtu: None,
    }];
    patient.answer(|_| None);
    let values: Vec<Value> =
        bogons.map(|network| Value::from(network.parse::<ipnetwork::Ipv4Network>().unwrap())).into();
    let mut with = |field, values: &[Value]| {
        let mut table = closed(Backend::Nftables, "bogons", "FORWARD", "forward");
        let chain = table.chains.get_mut("FORWARD").unwrap();
        chain.base.as_mut().unwrap().drops = false;
        chain.rules = vec![crate::diagnose::netfilter::FirewallRule {
            matches: vec![Match::Field { field, negated: false, values: values.to_vec() }],
            verdict: Some(crate::diagnose::netfilter::PacketVerdict::Drop),
            ..crate::diagnose::netfilter::FirewallRule::default()
        }];
        patient.health.tables = vec![table];
        patient.findings(CheckResult::Failed)
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
        .map(|address| NeighbourEntry {
            device: "eth0".parse().unwrap(),
            address: address.parse().unwrap(),
            mac,
            confirmed: true,
        })
        .to_vec();
    patient.answer(|_| None);
    assert_eq!(patient.only(CheckResult::Warned).check, Check::Macs);
    // A host that has another address since.
    patient.health.neighbours[0].confirmed = false;
    assert_eq!(patient.findings(CheckResult::Warned), []);
    patient.health.neighbours[0].confirmed = true;
    patient.health.macs = [("eth0".parse().unwrap(), mac)].into();
    assert!(patient.only(CheckResult::Failed).mend.unwrap().contains("02:fb:ac:1e:00:1c"));
    patient.health.neighbours.clear();
    patient.health.managers = vec![
        Manager { name: "NetworkManager", lacks: Some("/etc/NetworkManager/conf.d/50-fan.conf") },
        Manager { name: "dhcpcd", lacks: None },
    ];
    let command = patient.only(CheckResult::Warned).mend.unwrap();
    assert!(command.ends_with("/etc/NetworkManager/conf.d/50-fan.conf && nmcli general reload"), "{command}");
}

#[test]
fn what_is_left_of_a_fan_tells_how_to_bring_it_up() {
    let mut patient = Patient::new("vxlan");
    let rule = "ip daddr 172.30.0.0/16 udp dport 4789 goto underlay comment \"encapsulated for a host 24\"";
    patient.health.tables = vec![counters::own("bridge", "ports", "drop"), counters::own("ip", "guard", rule)];
    // With the bridge the kernel takes its routes.
    patient.owned.retain(|_, object| !matches!(object, Object::Bridge(_) | Object::Route(_)));
    let finding = patient.only(CheckResult::Failed);
    let command = "fanctl up 250.0.0.0/8 172.30.0.0/16 --encap vxlan --port 4789";
    assert_eq!((finding.check, finding.mend.as_deref()), (Check::Bridge, Some(command)));
    // Over WireGuard the table does not tell which key and which hosts it had.
    let rule = rule.replace("4789", "{ 8473, 8474 }");
    patient.health.tables = vec![counters::own("bridge", "ports", "drop"), counters::own("ip", "guard", &rule)];
    assert_eq!(patient.only(CheckResult::Failed).mend.as_deref(), Some("fanctl down -e"));
}
