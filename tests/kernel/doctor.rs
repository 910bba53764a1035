//! `fanctl doctor` on broken hosts: it names the one cause, and `--fix` or the printed command mends it.
//!
//! A breakage is a row of a table. Packets show what it breaks. Then the doctor must find it, and nothing else. Then it is
//! mended, by `--fix` or by the printed command: packets arrive, and the doctor finds nothing.

mod table;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use serde_json::{Value, json};

use crate::case::{Case, Cases, Need};
use crate::fixture::Pair;
use crate::named;
use crate::support::{Container, DEADLINE, Encap, Host, Lan, Namespace, Output, eventually};
use table::{Lost, Row, spell};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("doctor")
        .only_ipip_in_tier_3()
        .only_on("6.1")
        .each(named![
            damaged_devices_are_named_and_mended,
            damaged_settings_are_named_and_mended,
            ports_that_let_nothing_pass_are_named_and_mended,
            a_container_whose_interface_is_down_is_named_and_mended,
            routes_and_rules_of_others_are_named_and_mended,
            a_vpn_that_takes_packets_keeps_its_rule,
            firewalls_of_others_are_named_and_mended,
            firewalls_in_odd_words_are_named_and_mended,
            an_underlay_that_changed_is_named_and_mended,
            containers_that_do_not_fit_are_named_and_mended,
            containers_that_take_less_are_named_and_mended,
            containers_that_have_a_name_are_mended_at_both_ends,
            a_wire_that_is_out_is_named,
            a_new_underlay_address_is_named_and_mended,
            a_bridge_that_is_gone_is_named_and_mended,
            a_dhcp_server_that_is_gone_is_named_and_mended,
            names_that_nobody_can_ask_for_are_named_and_mended,
            a_port_of_a_bridge_is_named,
            an_address_that_stands_apart_is_an_underlay,
            a_manager_that_owns_its_table_is_told_itself,
            a_second_way_to_another_host_is_named_and_mended,
            a_copied_machine_is_named_and_mended,
            two_containers_with_one_address_are_named_and_mended,
            containers_with_wrong_addresses_are_named,
            hosts_with_another_fan_are_named,
            a_wrong_prefix_or_no_route_is_named_and_mended,
            software_that_takes_ours_for_its_own_is_named_and_mended,
        ])
        .each_with(&[Need::LegacyIptables], named![the_older_iptables_is_seen_and_mended])
        .once_with(&[Need::Ipip], named![a_tunnel_that_takes_packets_is_named_and_mended])
        .once(named![
            without_root_it_says_what_it_could_not_see,
            without_a_fan_it_says_so,
            a_fan_that_is_configured_and_down_is_brought_up,
            a_fan_that_is_unknown_is_refused,
            a_vxlan_device_that_holds_the_port_is_named_and_mended,
        ])
        .list()
}

/// A pair on which `fanctl` is found by its name, as the printed commands call it.
fn patients(encap: Encap) -> Pair {
    let pair = Pair::new(encap);
    install(&pair.a);
    pair.ca.ping("250.0.27.2").arrives();
    assert_well(&pair.a, "");
    pair
}

fn install(host: &Host) {
    host.sh(&format!("mkdir /run/bin; ln -s {} /run/bin/fanctl", Host::program())).ok();
}

/// What the doctor says of a host.
#[track_caller]
fn examine(host: &Host, options: &str) -> (Output, Vec<Value>) {
    let output = host.fanctl(&format!("doctor --json {options}"));
    let findings = output.json()["findings"].as_array().expect("findings").clone();
    (output, findings)
}

/// The checks with a verdict. Packets that were refused earlier are no sign of a fault now.
fn with_verdict(findings: &[Value], verdict: &str) -> BTreeSet<String> {
    let checks = findings
        .iter()
        .filter(|finding| finding["verdict"] == verdict)
        .map(|finding| finding["check"].as_str().expect("a check").to_string());
    checks.filter(|check| check != "refused").collect()
}

#[track_caller]
fn assert_well(host: &Host, options: &str) {
    let (output, findings) = examine(host, options);
    for verdict in ["failed", "warned"] {
        assert_eq!(with_verdict(&findings, verdict), BTreeSet::new(), "{output}");
    }
    output.ok();
}

/// Finds one thing wrong, and nothing else.
#[track_caller]
fn diagnose(host: &Host, options: &str, verdict: &str, check: &str) -> Value {
    let (output, findings) = examine(host, options);
    for each in ["failed", "warned"] {
        let expected = (each == verdict).then(|| check.to_string());
        assert_eq!(with_verdict(&findings, each), expected.into_iter().collect(), "{output}");
    }
    let mut found = findings.into_iter().filter(|finding| finding["verdict"] == verdict && finding["check"] == check);
    let finding = found.next().expect("found");
    assert_eq!(found.next(), None, "one cause is one finding\n{output}");
    output.exits(i32::from(verdict == "failed"));
    finding
}

/// Does what a finding says, and examines again, as `--fix` does by itself.
#[track_caller]
fn mend(host: &Host, options: &str, finding: &Value) -> (Output, Vec<Value>) {
    if finding["fixable"] == true {
        let (output, findings) = examine(host, &format!("--fix {options}"));
        assert_ne!(output.json()["fixed"], Value::Array(vec![]), "nothing was fixed\n{output}");
        return (output, findings);
    }
    let command = finding["mend"].as_str().unwrap_or_else(|| panic!("no command: {finding:#}"));
    host.sh(&format!("PATH=/run/bin:$PATH\n{command}")).ok();
    examine(host, options)
}

/// Breaks, finds and mends, row by row.
#[track_caller]
fn treat(pair: &Pair, encap: Encap, rows: Vec<Row>) {
    for row in rows.into_iter().filter(|row| row.encaps.contains(&encap)) {
        println!("{encap}: {}", row.damage);
        pair.a.sh(&spell(row.damage, encap)).ok();
        row.lost.assert_lost(pair);
        let mut finding = diagnose(&pair.a, "", row.verdict, row.check);
        // A fault that shows only when the first is mended is mended likewise.
        let (output, findings) = loop {
            let (output, findings) = mend(&pair.a, "", &finding);
            let is_next =
                |next: &&Value| next["verdict"] != "passed" && next["check"] != "refused" && **next != finding;
            let next = findings.iter().find(is_next);
            match next.cloned() {
                Some(next) => finding = next,
                None => break (output, findings),
            }
        };
        for verdict in ["failed", "warned"] {
            assert_eq!(with_verdict(&findings, verdict), BTreeSet::new(), "{}\n{output}", row.damage);
        }
        row.flows.assert_flows(pair);
        pair.ca.ping_again("250.0.27.2").arrives();
        if row.after.is_empty() {
            continue;
        }
        pair.a.sh(&spell(row.after, encap)).ok();
        pair.a.up(encap);
    }
}

fn damaged_devices_are_named_and_mended(encap: Encap) {
    treat(&patients(encap), encap, table::devices());
}

fn damaged_settings_are_named_and_mended(encap: Encap) {
    treat(&patients(encap), encap, table::settings());
}

fn ports_that_let_nothing_pass_are_named_and_mended(encap: Encap) {
    let pair = patients(encap);
    treat(&pair, encap, table::ports());
    // Isolated ports reach all but each other.
    let third = pair.a.container("250.0.28.3");
    third.ping("250.0.28.2").arrives();
    let ports = [pair.ca.port(), third.port()];
    let isolate = |port: &str| pair.a.exec(&format!("bridge link set dev {port} isolated on")).ok();
    isolate(ports[0]);
    third.ping_again("250.0.28.2").arrives();
    assert_well(&pair.a, "");
    isolate(ports[1]);
    third.ip("neigh flush all");
    assert_ne!(third.exec("ping -n -c 1 -W 0.5 250.0.28.2").code, Some(0));
    third.ping("250.0.27.2").arrives();
    let finding = diagnose(&pair.a, "", "warned", "containers");
    assert_eq!(finding["code"], "port-isolated", "{finding:#}");
    assert!(ports.iter().all(|port| finding["reason"].to_string().contains(port)), "{finding:#}");
    mend(&pair.a, "", &finding);
    third.ip("neigh flush all");
    third.ping("250.0.28.2").arrives();
    assert_well(&pair.a, "");
}

/// Its routes went with the interface: what is printed is typed from top to bottom.
fn a_container_whose_interface_is_down_is_named_and_mended(encap: Encap) {
    let pair = patients(encap);
    let _sleeper = Sleeper::in_(&pair.ca);
    pair.ca.ip("link set eth0 down");
    let (output, findings) = examine(&pair.a, "");
    let of_containers: Vec<&Value> =
        findings.iter().filter(|finding| finding["check"] == "containers" && finding["verdict"] != "passed").collect();
    assert_eq!(of_containers[0]["code"], "port-down", "{output}");
    for finding in of_containers {
        mend(&pair.a, "", finding);
    }
    Lost::Containers.assert_flows(&pair);
    Lost::World.assert_flows(&pair);
    assert_well(&pair.a, "");
}

fn routes_and_rules_of_others_are_named_and_mended(encap: Encap) {
    treat(&patients(encap), encap, table::routes());
}

/// The rules of wg-quick, without its rule for the routes of the main table.
fn a_vpn_that_takes_packets_keeps_its_rule(encap: Encap) {
    let pair = patients(encap);
    pair.a
        .sh("ip link add wg0 type veth peer name wg0-there; ip link set wg0 up; ip link set wg0-there up; ip route add default dev wg0 table 51820")
        .ok();
    let rules = ["not fwmark 0xca6c table 51820", "to 172.30.0.0/16 table 51820"];
    for words in rules {
        pair.a.ip(&format!("rule add {words} priority 32765"));
        let rule = |host: &Host| {
            let mut rules = host.ip_json("rule show priority 32765").as_array().expect("rules").clone();
            assert_eq!(rules.len(), 1, "{rules:#?}");
            rules.remove(0)
        };
        let of_vpn = rule(&pair.a);
        Lost::Containers.assert_lost(&pair);
        let finding = diagnose(&pair.a, "", "failed", "routing");
        let told = finding["evidence"][0].as_str().expect("evidence");
        let words = words.replace("table", "lookup");
        assert_eq!(told, format!("rule priority 32765 {words}"), "{finding:#}");
        mend(&pair.a, "", &finding);
        Lost::Containers.assert_flows(&pair);
        assert_eq!(rule(&pair.a), of_vpn);
        assert_well(&pair.a, "");
        // Packets for other destinations still take the VPN.
        assert_eq!(pair.a.ip_json("route get 8.8.8.8")[0]["dev"] == "wg0", words.starts_with("not"));
        pair.a.sh("ip rule del priority 32765; while ip rule del priority 32764; do :; done 2>/dev/null").ok();
    }
}

fn firewalls_of_others_are_named_and_mended(encap: Encap) {
    treat(&patients(encap), encap, table::firewalls());
}

fn firewalls_in_odd_words_are_named_and_mended(encap: Encap) {
    let pair = patients(encap);
    treat(&pair, encap, table::odd_firewalls());
    treat(&pair, encap, table::passed_over());
    treat(&pair, encap, table::of_the_world());
}

fn the_older_iptables_is_seen_and_mended(encap: Encap) {
    treat(&patients(encap), encap, table::legacy());
}

fn an_underlay_that_changed_is_named_and_mended(encap: Encap) {
    let pair = patients(encap);
    let _sleeper = Sleeper::in_(&pair.ca);
    treat(&pair, encap, table::underlay());
}

fn a_tunnel_that_takes_packets_is_named_and_mended() {
    treat(&patients(Encap::Ipip), Encap::Ipip, table::tunnels());
}

/// A process in a container, by which the doctor finds the way into it.
struct Sleeper(std::process::Child);

impl Sleeper {
    fn in_(container: &Container) -> Self {
        let mut command = std::process::Command::new("sleep");
        command.arg("3600");
        Self(container.spawn(command))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn containers_that_do_not_fit_are_named_and_mended(encap: Encap) {
    let pair = patients(encap);
    let _sleeper = Sleeper::in_(&pair.ca);
    pair.ca.ip("link set eth0 mtu 1500");
    pair.a.ip("link set con0 mtu 1500");
    let large = Lost::Large(1500);
    large.assert_lost(&pair);
    let verdict = match encap {
        Encap::Vxlan => "failed",
        Encap::Ipip => "warned",
    };
    let finding = diagnose(&pair.a, "", verdict, "containers");
    mend(&pair.a, "", &finding);
    Lost::Large(1500 - encap.overhead()).assert_flows(&pair);
    assert_well(&pair.a, "");
}

/// A namespace without a process, which has a name (ip-netns(8)).
fn containers_that_have_a_name_are_mended_at_both_ends(encap: Encap) {
    let pair = patients(encap);
    let sleeper = Sleeper::in_(&pair.ca);
    pair.a
        .sh(&format!(
            "mkdir -p /run/netns; touch '/run/netns/a web'; mount --bind /proc/{}/ns/net '/run/netns/a web'",
            sleeper.0.id()
        ))
        .ok();
    drop(sleeper);
    pair.ca.ip("link set eth0 mtu 1300");
    pair.a.ip("link set con0 mtu 1300");
    let finding = diagnose(&pair.a, "", "warned", "containers");
    let command = finding["mend"].as_str().expect("a command");
    assert!(command.contains("nsenter --net='/run/netns/a web' ip link set dev eth0 mtu "), "{finding:#}");
    mend(&pair.a, "", &finding);
    Lost::Large(1500 - encap.overhead()).assert_flows(&pair);
    assert_well(&pair.a, "");
}

fn containers_that_take_less_are_named_and_mended(encap: Encap) {
    let pair = patients(encap);
    let _sleeper = Sleeper::in_(&pair.cb);
    pair.cb.ip("link set eth0 mtu 1300");
    pair.b.ip("link set con0 mtu 1300");
    let large = Lost::Large(1400);
    large.assert_lost(&pair);
    install(&pair.b);
    let finding = diagnose(&pair.b, "", "warned", "containers");
    mend(&pair.b, "", &finding);
    large.assert_flows(&pair);
    assert_well(&pair.b, "");
}

fn a_wire_that_is_out_is_named(encap: Encap) {
    let pair = patients(encap);
    pair.lan.ip("link set port0 down");
    Lost::Containers.assert_lost(&pair);
    let finding = diagnose(&pair.a, "", "failed", "underlay");
    assert!(finding["reason"].to_string().contains("'eth0' has no carrier"), "{finding:#}");
    pair.lan.ip("link set port0 up");
    Lost::Containers.assert_flows(&pair);
    assert_well(&pair.a, "");
}

fn two_containers_with_one_address_are_named_and_mended(encap: Encap) {
    let pair = patients(encap);
    let third = pair.a.container("250.0.28.3");
    let _sleepers = [Sleeper::in_(&pair.ca), Sleeper::in_(&third)];
    let mac = pair.ca.mac("eth0");
    // A neighbour entry is updated at once, and not only when it is a second old.
    pair.a.set_sysctl("ipv4/neigh/fan-250-0-28/locktime", "0");
    pair.a.ping("250.0.28.2").arrives();
    third.ip(&format!("link set eth0 address {mac}"));
    eventually("what is for the one goes to the other", || {
        // The bridge learnt the address at the other port last, unless this container probes a neighbour in between.
        third.exec("ping -n -c 1 -W 1 250.0.28.1");
        (pair.a.exec("ping -n -c 1 -W 0.5 250.0.28.2").code != Some(0)).then_some(())
    });
    let finding = diagnose(&pair.a, "", "failed", "macs");
    mend(&pair.a, "", &finding);
    for (container, address) in [(&pair.ca, "250.0.28.2"), (&third, "250.0.28.3")] {
        container.ip("neigh flush all");
        container.ping("250.0.28.1").arrives();
        pair.a.ping(address).arrives();
    }
    assert_well(&pair.a, "");
}

/// Addresses are the administrator's to choose, so that no command is printed.
fn containers_with_wrong_addresses_are_named(encap: Encap) {
    let pair = patients(encap);
    let third = pair.a.attach("fan-250-0-28", "third", 1500 - encap.overhead());
    let len = if encap == Encap::Vxlan { 8 } else { 24 };
    let code = |finding: &Value| finding["code"].as_str().expect("a code").to_string();
    for (address, expected) in [
        ("250.0.28.2", "container-address-twice"),
        ("250.0.28.1", "container-address-twice"),
        ("250.0.27.9", "container-address-foreign"),
        ("250.0.28.255", "container-address-reserved"),
    ] {
        third.ip(&format!("addr add {address}/{len} dev eth0"));
        let finding = diagnose(&pair.a, "", "failed", "containers");
        assert_eq!(code(&finding), expected, "{finding:#}");
        assert!(finding["reason"].to_string().contains(address), "{finding:#}");
        assert!(finding["reason"].to_string().contains(third.port()), "{finding:#}");
        third.ip("addr flush dev eth0");
    }
    assert_well(&pair.a, "");
}

/// Another width; and, where both can be told by the packets, another port.
fn hosts_with_another_fan_are_named(encap: Encap) {
    let lan = Lan::new();
    let (host, other) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
    host.up(encap);
    let words = encap.words();
    let mut fans = vec![("172.30.0.27/20".to_string(), "250.1.192.1", "250.1.176.1 belongs to host 172.30.1.176")];
    if encap == Encap::Vxlan {
        fans.push(("172.30.0.27/16 --port 4789".into(), "250.0.28.1", "they come to UDP port 4789"));
    }
    for (fan, to, says) in fans {
        other.fanctl(&format!("up 250.0.0.0/8 {fan} {words}")).ok();
        let mut ping = std::process::Command::new("ping");
        ping.args(["-q", "-n", "-i", "0.01", to]);
        let _ping = Sleeper(other.spawn(ping));
        eventually("the doctor names the host", || {
            let (_, findings) = examine(&host, "");
            let finding = findings.iter().find(|finding| finding["code"] == "host-disagrees")?;
            let text = finding.to_string();
            assert!(text.contains("packets of host 172.30.0.27: ") && text.contains(says), "{finding:#}");
            Some(())
        });
        other.fanctl("down -e").ok();
    }
    // The same fan on both is no disagreement.
    other.up(encap);
    let mut ping = std::process::Command::new("ping");
    ping.args(["-q", "-n", "-i", "0.01", "250.0.28.1"]);
    let _ping = Sleeper(other.spawn(ping));
    other.ping("250.0.28.1").arrives();
    let (output, findings) = examine(&host, "");
    assert!(!findings.iter().any(|finding| finding["code"] == "host-disagrees"), "{output}");
}

fn a_wrong_prefix_or_no_route_is_named_and_mended(encap: Encap) {
    let pair = patients(encap);
    let _sleeper = Sleeper::in_(&pair.ca);
    let right = if encap == Encap::Vxlan { 8 } else { 24 };
    let breaks = |script: &str, lost: Lost, verdict: &str, code: &str| {
        pair.ca.ip(script);
        lost.assert_lost(&pair);
        let finding = diagnose(&pair.a, "", verdict, "containers");
        assert_eq!(finding["code"], code, "{finding:#}");
        mend(&pair.a, "", &finding);
        lost.assert_flows(&pair);
        let addresses = pair.ca.ip_json("-4 addr show dev eth0")[0]["addr_info"].clone();
        assert_eq!(addresses[0]["prefixlen"], right, "{addresses:#}");
        assert_eq!(addresses[1], Value::Null, "{addresses:#}");
        assert_well(&pair.a, "");
    };
    // The longer one goes by the gateway, and arrives.
    let (wrong, lost, verdict) = match encap {
        Encap::Ipip => (8, Lost::Containers, "failed"),
        Encap::Vxlan => (24, Lost::Nothing, "warned"),
    };
    let to = format!("addr add 250.0.28.2/{wrong} dev eth0\n addr del 250.0.28.2/{right} dev eth0");
    breaks(&to, lost, verdict, "container-prefix-wrong");
    // Over VXLAN other hosts are on the link, and only the world is not reached.
    let (lost, verdict) = match encap {
        Encap::Ipip => (Lost::Containers, "failed"),
        Encap::Vxlan => (Lost::World, "warned"),
    };
    breaks("route del default", lost, verdict, "container-route-missing");
}

fn a_copied_machine_is_named_and_mended(encap: Encap) {
    let pair = patients(encap);
    let mac = pair.a.mac("eth0");
    // A neighbour entry is updated at once, and not only when it is a second old; and it is used for longer than five
    // seconds before it is probed.
    pair.a.set_sysctl("ipv4/neigh/eth0/locktime", "0");
    pair.a.set_sysctl("ipv4/neigh/eth0/delay_first_probe_time", "60");
    pair.b.ip(&format!("link set eth0 address {mac}\n neigh flush all"));
    // A host that receives from both takes one for the other.
    pair.b.exec("ping -n -c 1 -W 0.5 172.30.0.28");
    Lost::Containers.assert_lost(&pair);
    let finding = diagnose(&pair.a, "", "failed", "macs");
    mend(&pair.a, "", &finding);
    pair.b.ip("neigh flush all");
    pair.ca.ping_again("250.0.27.2").arrives();
    assert_well(&pair.a, "");
}

/// A second interface in the same network, with the route back: a strict reverse path filter drops the packets.
fn a_second_way_to_another_host_is_named_and_mended(encap: Encap) {
    let pair = patients(encap);
    pair.a.set_sysctl("ipv4/conf/all/arp_ignore", "1");
    pair.a.set_sysctl("ipv4/conf/all/arp_announce", "2");
    pair.lan.plug(&pair.a, "eth1", "172.30.0.29/16");
    pair.a.ip("route add 172.30.0.27/32 dev eth1");
    for (filter, verdict) in [("2", "warned"), ("1", "failed")] {
        for name in ["all", "eth0"] {
            pair.a.set_sysctl(&format!("ipv4/conf/{name}/rp_filter"), filter);
        }
        assert_eq!(diagnose(&pair.a, "", verdict, "routing")["code"], "route-elsewhere");
        if filter == "2" {
            pair.ca.ping("250.0.27.2").arrives();
        }
    }
    Lost::Containers.assert_lost(&pair);
    let finding = diagnose(&pair.a, "", "failed", "routing");
    mend(&pair.a, "", &finding);
    pair.ca.ping_again("250.0.27.2").arrives();
    assert_well(&pair.a, "");
}

/// The host got another address: its slice is another one, and containers have to move there.
fn a_new_underlay_address_is_named_and_mended(encap: Encap) {
    let pair = patients(encap);
    pair.a.ip("addr del 172.30.0.28/16 dev eth0\n addr add 172.30.0.99/16 dev eth0");
    Lost::Containers.assert_lost(&pair);
    let finding = diagnose(&pair.a, "", "failed", "underlay");
    pair.a.detach(&pair.ca);
    mend(&pair.a, "", &finding);
    let moved = pair.a.container("250.0.99.2");
    moved.ping("250.0.27.2").arrives();
    assert_well(&pair.a, "");
}

/// Without the bridge, its alias does not tell how the fan was made. The configuration does, or the administrator types
/// the printed command.
fn a_bridge_that_is_gone_is_named_and_mended(encap: Encap) {
    let pair = patients(encap);
    let text = match encap {
        Encap::Ipip => "",
        Encap::Vxlan => "encap = \"vxlan\"\n",
    };
    pair.a.write("/run/fan.toml", &format!("[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\n{text}"));
    for options in ["--config /run/fan.toml", ""] {
        pair.a.ip("link del fan-250-0-28");
        Lost::Containers.assert_lost(&pair);
        let finding = diagnose(&pair.a, options, "failed", "bridge");
        assert_eq!(finding["fixable"], !options.is_empty(), "{finding:#}");
        mend(&pair.a, options, &finding);
        pair.a.ip("link set con0 master fan-250-0-28");
        pair.ca.ping_again("250.0.27.2").arrives();
        assert_well(&pair.a, options);
    }
}

fn a_dhcp_server_that_is_gone_is_named_and_mended(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    install(&host);
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {} --dhcp", encap.words())).ok();
    assert_well(&host, "");
    let [(server, _)] = host.dnsmasqs()[..] else { panic!("{:?}", host.dnsmasqs()) };
    nix::sys::signal::kill(server, nix::sys::signal::Signal::SIGKILL).expect("to kill it");
    eventually("it has ended", || Namespace::has_ended(server).then_some(()));
    let finding = diagnose(&host, "", "failed", "dhcp");
    mend(&host, "", &finding);
    assert_eq!(host.dnsmasqs().len(), 1);
    assert_well(&host, "");
    // The server runs, but no container can reach it.
    host.exec("iptables -w -A INPUT -p udp --dport 67 -j DROP").ok();
    let finding = diagnose(&host, "", "failed", "firewall");
    mend(&host, "", &finding);
    assert_well(&host, "");
}

/// The fan hands out its own DNS server, and a firewall drops the queries.
fn names_that_nobody_can_ask_for_are_named_and_mended(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    install(&host);
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {} --dhcp", encap.words())).ok();
    let container = host.container("250.0.28.2");
    // A question for the address of "localhost" (RFC 1035, section 4).
    let asks = |patience: Duration| {
        container.run(move || {
            let question = b"\x10\x92\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x09localhost\x00\x00\x01\x00\x01";
            let socket = UdpSocket::bind(("0.0.0.0", 0))?;
            socket.set_read_timeout(Some(patience))?;
            socket.send_to(question, ("250.0.28.1", 53))?;
            socket.recv(&mut [0; 1500])
        })
    };
    asks(DEADLINE).expect("an answer");
    let firewall = "nft add table inet odd; nft 'add chain inet odd input { type filter hook input priority 0; policy drop; \
                    }'; nft add rule inet odd input ct state established,related accept; nft add rule inet odd input \
                    iifname fan-250-0-28 icmp type echo-request accept";
    host.sh(firewall).ok();
    let unanswered = asks(Duration::from_millis(500)).expect_err("nothing is broken");
    assert_eq!(unanswered.kind(), ErrorKind::WouldBlock, "{unanswered}");
    let finding = diagnose(&host, "", "failed", "firewall");
    assert!(finding["reason"].to_string().contains("what asks for names (DNS)"), "{finding:#}");
    mend(&host, "", &finding);
    asks(DEADLINE).expect("an answer");
    assert_well(&host, "");
}

/// The address of a port of a bridge receives nothing, with every setting of the bridge.
fn a_port_of_a_bridge_is_named(encap: Encap) {
    let pair = patients(encap);
    pair.a.ip("link add br-lan type bridge\n link set br-lan up\n link set eth0 master br-lan");
    Lost::Containers.assert_lost(&pair);
    let finding = diagnose(&pair.a, "", "failed", "underlay");
    assert!(finding["reason"].to_string().contains("a port of 'br-lan'"), "{finding:#}");
    pair.a.ip("link set eth0 nomaster");
    Lost::Containers.assert_flows(&pair);
    assert_well(&pair.a, "");
}

/// The address is on an interface of its own, and the hosts are reached by routes on another with a smaller MTU.
fn an_address_that_stands_apart_is_an_underlay(encap: Encap) {
    let lan = Lan::new();
    let hosts = [lan.host("172.30.200.1"), lan.host("172.30.200.2")];
    for (host, [own, other], next) in [
        (&hosts[0], ["172.30.0.28", "172.30.0.27"], "172.30.200.2"),
        (&hosts[1], ["172.30.0.27", "172.30.0.28"], "172.30.200.1"),
    ] {
        let first = if next.ends_with('2') { "172.30.200.1" } else { "172.30.200.2" };
        host.ip(&format!(
            "addr del {first}/16 dev eth0
             addr add {first}/24 dev eth0
             link add node0 type veth peer name node0-there
             link set node0-there up
             link set node0 up
             addr add {own}/32 dev node0
             link set eth0 mtu 1400
             route add {other}/32 via {next} dev eth0 src {own}"
        ));
        install(host);
        host.fanctl(&format!("up 250.0.0.0/8 node0/16 {}", encap.words())).ok();
        let bridge = if own.ends_with("28") { "fan-250-0-28" } else { "fan-250-0-27" };
        assert_eq!(host.ip_json(&format!("link show {bridge}"))[0]["mtu"], 1400 - encap.overhead());
    }
    hosts[0].exec("ping -n -c 1 -W 60 -I 250.0.28.1 250.0.27.1").ok();
    assert_well(&hosts[0], "");
}

/// firewalld owns its table, so that rules of others are refused.
fn a_manager_that_owns_its_table_is_told_itself(encap: Encap) {
    let pair = patients(encap);
    let script = "add table inet firewalld { flags owner; }
add chain inet firewalld filter_INPUT { type filter hook input priority 10; policy accept; }
add chain inet firewalld filter_IN_work
add rule inet firewalld filter_INPUT ct state established,related accept
add rule inet firewalld filter_INPUT iifname eth0 goto filter_IN_work
add rule inet firewalld filter_IN_work tcp dport 22 accept
add rule inet firewalld filter_IN_work reject with icmpx type admin-prohibited
";
    let mut command = std::process::Command::new("nft");
    command.arg("-i");
    let mut owner = pair.a.spawn_with(command, std::process::Stdio::piped());
    let mut input = owner.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut input, script.as_bytes()).expect("to write");
    eventually("the table is there", || {
        let rules = pair.a.exec("nft list table inet firewalld");
        rules.stdout.contains("reject").then_some(())
    });
    let finding = diagnose(&pair.a, "", "failed", "firewall");
    let what = match encap {
        Encap::Ipip => "--add-protocol=4",
        Encap::Vxlan => "--add-port=8472/udp",
    };
    let expected = format!("firewall-cmd --zone=work {what} && firewall-cmd --permanent --zone=work {what}");
    assert_eq!(finding["mend"], expected, "{finding:#}");
    drop(input);
    owner.wait().expect("to end");
    assert_well(&pair.a, "");
}

fn software_that_takes_ours_for_its_own_is_named_and_mended(encap: Encap) {
    let pair = patients(encap);
    let host = &pair.a;
    host.write("/etc/dhcpcd.conf", "");
    host.write("/run/bin/dhcpcd", "#!/bin/sh\nsleep 3600\nexit\n");
    host.sh("chmod +x /run/bin/dhcpcd").ok();
    let _dhcpcd = Sleeper(host.spawn(std::process::Command::new("/run/bin/dhcpcd")));
    let finding = diagnose(host, "", "warned", "software");
    assert!(finding["reason"].to_string().contains("dhcpcd"), "{finding:#}");
    mend(host, "", &finding);
    assert_well(host, "");
    host.ip("addr add 169.254.7.7/16 dev fan-250-0-28");
    let finding = diagnose(host, "", "warned", "software");
    assert!(finding["reason"].to_string().contains("169.254.7.7/16"), "{finding:#}");
    mend(host, "", &finding);
    assert_well(host, "");
}

fn a_vxlan_device_that_holds_the_port_is_named_and_mended() {
    let pair = patients(Encap::Vxlan);
    pair.a.ip("link set fan-vx16384000 down
         link add flannel.1 type vxlan id 1 dstport 8472 dev eth0
         link set flannel.1 up");
    Lost::Containers.assert_lost(&pair);
    let finding = diagnose(&pair.a, "", "failed", "tunnels");
    mend(&pair.a, "", &finding);
    pair.ca.ping_again("250.0.27.2").arrives();
    assert_well(&pair.a, "");
}

fn without_root_it_says_what_it_could_not_see() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(Encap::Vxlan);
    let output = host.fanctl_by(crate::support::NOBODY, "doctor").ok();
    output.stdout_has(&["not root", "only root may look"]);
    host.fanctl_by(crate::support::NOBODY, "doctor --fix").failed().stderr_has(&["takes root"]);
}

fn without_a_fan_it_says_so() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.fanctl("doctor --config /dev/null").ok().stdout_has(&["no fan is up", "kernel"]);
}

fn a_fan_that_is_configured_and_down_is_brought_up() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.write("/run/fan.toml", "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"vxlan\"\n");
    let options = "--config /run/fan.toml";
    let finding = diagnose(&host, options, "failed", "configuration");
    mend(&host, options, &finding);
    assert_eq!(host.ip_json("link show fan-250-0-28")[0]["ifname"], "fan-250-0-28");
    assert_well(&host, options);
    host.exec("ip link set fan-250-0-28 mtu 1300").ok();
    let fixed = host.fanctl("doctor fan-250-0-28 --fix --json=2").ok().json()["fixed"].clone();
    assert_eq!(fixed, json!(["ip link set fan-250-0-28 mtu 1450"]), "only what it changed");
    host.exec("sysctl -w net.ipv4.conf.fan-250-0-28.forwarding=0").ok();
    let fixed = "fixed sysctl -w net/ipv4/conf/fan-250-0-28/forwarding=1\n";
    let lines = host.fanctl("doctor fan-250-0-28 --fix").ok().stdout;
    let told: Vec<&str> = lines.split_inclusive('\n').filter(|line| line.starts_with("fixed ")).collect();
    assert_eq!(told, [fixed]);
}

fn a_fan_that_is_unknown_is_refused() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.fanctl("doctor 251.0.0.0/8 --config /dev/null")
        .failed()
        .stderr_has(&["'251.0.0.0/8'", "neither up nor configured"]);
}
