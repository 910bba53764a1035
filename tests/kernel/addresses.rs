//! Which addresses containers may send from, on which bridges that is asked, and what is not asked.

use crate::case::{Case, Cases};
use crate::fixture::Pair;
use crate::named;
use crate::support::{Capture, Encap, Host, Inner, Lan, eventually, inject_plain};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("addresses")
        .each(named![
            a_container_cannot_send_from_an_address_of_the_underlay,
            nor_to_its_neighbours,
            other_bridges_keep_their_traffic,
            an_underlay_that_is_a_bridge_keeps_its_traffic,
            a_network_behind_a_container_is_listed,
            a_host_with_the_first_or_the_last_address_is_in_no_fan,
        ])
        .list()
}

/// How often a packet is sent.
const MANY: u64 = 20;

/// Sends a packet often; a rule of the fan must count all of them.
#[track_caller]
fn is_counted(host: &Host, rule: &str, send: impl Fn()) {
    let now = || host.counted_packets(&["ip", "bridge"], rule);
    let before = now();
    for _ in 0..MANY {
        send();
    }
    eventually("the packets are counted as refused", || (now() >= before + MANY).then_some(()));
}

fn a_container_cannot_send_from_an_address_of_the_underlay(encap: Encap) {
    let pair = Pair::new(encap);
    for filter in ["0", "2"] {
        for scope in ["all", "default", "eth0", "fan-250-0-28"] {
            pair.a.set_sysctl(&format!("ipv4/conf/{scope}/rp_filter"), filter);
        }
        let there = Capture::on(&pair.b, "eth0", Inner::FILTER);
        for (source, to) in [
            ("172.30.0.26", "172.30.0.27"),
            ("172.30.0.26", "172.30.0.28"),
            ("172.30.0.28", "172.30.0.27"),
            ("10.9.9.9", "198.51.100.1"),
        ] {
            is_counted(&pair.a, "foreign addresses", || {
                inject_plain(&pair.ca, Inner::new(source, to));
            });
        }
        assert_eq!(there.packets(), Vec::<String>::new());
    }
}

fn nor_to_its_neighbours(encap: Encap) {
    let pair = Pair::new(encap);
    let neighbour = pair.a.container("250.0.28.3");
    neighbour.ping("250.0.28.2").arrives();
    let seen = Capture::on(&neighbour, "eth0", Inner::FILTER);
    for source in ["172.30.0.27", "10.9.9.9"] {
        is_counted(&pair.a, "foreign neighbours", || {
            inject_plain(&pair.ca, Inner::new(source, "250.0.28.3"));
        });
    }
    inject_plain(&pair.ca, Inner::new("250.0.28.2", "250.0.28.3"));
    let packets = seen.at_least(1);
    assert!(packets.iter().all(|packet| packet.contains("250.0.28.2")), "{packets:#?}");
}

/// As Docker and libvirt make them.
fn other_bridges_keep_their_traffic(encap: Encap) {
    let pair = Pair::new(encap);
    for (bridge, network) in [("docker0", "172.17.0"), ("virbr0", "192.168.122")] {
        pair.a.ip(&format!(
            "link add {bridge} type bridge\n link set {bridge} up\n address add {network}.1/24 dev {bridge}"
        ));
        pair.lan.ip(&format!("route add {network}.0/24 via 172.30.0.28"));
        let machines = ["2", "3"].map(|last| {
            let machine = pair.a.attach(bridge, &format!("{bridge}-{last}"), 1500);
            machine.ip(&format!("address add {network}.{last}/24 dev eth0\n route add default via {network}.1"));
            machine
        });
        for to in ["3", "1"] {
            machines[0].ping(&format!("{network}.{to}")).arrives();
        }
        machines[0].ping(&pair.lan.gateway().to_string()).arrives();
        // By an address of its own, as a container may have behind one.
        machines[1].ip("address add 10.77.0.1/32 dev lo");
        machines[0].ip(&format!("route add 10.77.0.1 via {network}.3"));
        machines[0].ping("10.77.0.1").arrives();
        machines[1].ping_with("-I 10.77.0.1", &format!("{network}.2")).arrives();
    }
    pair.ca.ping("250.0.27.2").arrives();
}

fn an_underlay_that_is_a_bridge_keeps_its_traffic(encap: Encap) {
    let lan = Lan::new();
    let (host, other) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
    host.ip("link add br0 type bridge\n link set br0 up\n address flush dev eth0\n link set eth0 master br0");
    host.ip("address add 172.30.0.28/16 dev br0");
    host.fanctl(&format!("up 250.0.0.0/8 br0/16 {}", encap.words())).ok();
    other.up(encap);
    let machine = host.attach("br0", "machine", 1500);
    machine.ip("address add 172.30.0.77/16 dev eth0");
    machine.ping("172.30.0.27").arrives();
    machine.ping("172.30.0.28").arrives();
    other.ping("172.30.0.77").arrives();
    // A machine there may be a host of the fan as well.
    for (from, to) in [(&*machine, &*other), (&*other, &*machine)] {
        let address = if std::ptr::eq(to, &raw const *other) { "172.30.0.27" } else { "172.30.0.77" };
        let seen = Capture::on(to, "eth0", Inner::FILTER);
        inject_plain(from, Inner::new("10.1.2.3", address));
        seen.at_least(1);
    }
    let (here, there) = (host.container("250.0.28.2"), other.container("250.0.27.2"));
    here.ping("250.0.27.2").arrives();
    there.ping("250.0.28.2").arrives();
}

fn a_network_behind_a_container_is_listed(encap: Encap) {
    let pair = Pair::new(encap);
    let up = |more: &str| pair.a.fanctl(&format!("up 250.0.0.0/8 eth0/16 {} {more}", encap.words()));
    let neighbour = pair.a.container("250.0.28.3");
    pair.a.ip("route add 10.8.0.0/24 via 250.0.28.2");
    pair.ca.set_sysctl("ipv4/ip_forward", "1");
    pair.ca.ip("address add 10.8.0.5/32 dev lo");
    neighbour.ip("route add 10.8.0.0/24 via 250.0.28.2");
    let told = up("").ok().stderr;
    assert!(told.contains("'10.8.0.0/24'") && told.contains("--routed"), "{told}");
    pair.a.ping_in_vain("10.8.0.5");
    neighbour.ping_in_vain("10.8.0.5");

    let told = up("--routed 10.8.0.0/24").ok().stderr;
    assert!(!told.contains("10.8.0.0/24"), "{told}");
    pair.a.ping("10.8.0.5").arrives();
    neighbour.ping("10.8.0.5").arrives();
    pair.ca.ping_with("-I 10.8.0.5", "250.0.28.1").arrives();
    // The container is a router there, and tells so.
    let told = pair.a.exec("ping -n -c 1 -W 5 -t 1 10.8.0.9").stdout;
    assert!(told.contains("From 250.0.28.2") && told.contains("Time to live exceeded"), "{told}");
    let shown = pair.a.fanctl("show --json").ok().json();
    assert_eq!(shown[0]["routed"], serde_json::json!(["10.8.0.0/24"]), "{shown:#}");
    assert_eq!(shown[0]["verdict"]["complete"], true, "{shown:#}");
    pair.ca.ping("250.0.27.2").arrives();
}

fn a_host_with_the_first_or_the_last_address_is_in_no_fan(encap: Encap) {
    let lan = Lan::of("172.16.0.0/12", 1500);
    for address in ["172.30.0.0", "172.30.255.255"] {
        let host = lan.host(address);
        let up = |len| host.fanctl(&format!("up 250.0.0.0/8 eth0/{len} {}", encap.words()));
        let refused = up(16);
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert!(refused.stderr.contains(address) && refused.stderr.contains("host bits"), "{refused:?}");
        assert_eq!(host.ip_json("link show type bridge"), serde_json::json!([]));
        // In a wider underlay it is an address like any other.
        up(12).ok();
    }
}
