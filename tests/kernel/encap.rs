//! Only the kernel may encapsulate to the underlay, for the fan: neither containers nor processes of the host may.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use caps::{CapSet, Capability};

use crate::case::{Case, Cases};
use crate::fixture::Pair;
use crate::named;
use crate::support::{
    Capture, Crafted, DEADLINE, Encap, Host, INTERNET, Inner, Namespace, eventually, inject_plain, octets, tcp_exchange,
};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("encap")
        .each(named![
            no_container_encapsulates_for_any_fan,
            nor_for_an_address_that_is_translated_into_its_hosts,
            no_container_tells_its_host_of_a_small_mtu,
            nor_another_host,
            errors_of_containers_go_on,
            what_connection_tracking_calls_invalid_stays_at_home,
            what_is_for_the_first_and_the_last_address_stays_at_home,
        ])
        .once(named![
            no_process_encapsulates,
            what_a_process_sends_to_all_hosts_is_opened_by_none,
            processes_of_the_host_reach_containers_of_others,
            no_port_claims_the_address_of_a_gateway,
            an_address_of_another_host_that_a_port_claims_brings_no_packets,
        ])
        .list()
}

/// How often a packet is sent.
const MANY: u64 = 20;

#[track_caller]
fn is_counted(host: &Host, rule: &str, send: impl Fn()) {
    let now = || host.counted_packets(&["ip", "bridge"], rule);
    let before = now();
    for _ in 0..MANY {
        send();
    }
    eventually("the packets are counted as refused", || (now() >= before + MANY).then_some(()));
}

fn any_rp_filter(host: &Host, test: impl Fn()) {
    for filter in ["0", "2"] {
        for scope in ["all", "default", "eth0", "fan-250-0-28"] {
            host.set_sysctl(&format!("ipv4/conf/{scope}/rp_filter"), filter);
        }
        test();
    }
}

/// An inner packet in every encapsulation.
fn encapsulated(outer: (&str, &str)) -> [Crafted; 3] {
    let inner = || Crafted::udp(0x4001, ("250.0.28.2", "250.0.27.2"));
    let vxlan = || inner().in_vxlan(outer, [0x02, 0, 0, 0, 0, 0x77]);
    [inner().in_ip(outer), vxlan(), vxlan().patched(22, &4789_u16.to_be_bytes())]
}

fn no_container_encapsulates_for_any_fan(encap: Encap) {
    let pair = Pair::new(encap);
    pair.ca.ping("172.30.0.27").arrives();
    any_rp_filter(&pair.a, || {
        let wire = Capture::on(&pair.a, "eth0", "ip proto 4 or udp port 4789 or udp port 8472");
        for packet in encapsulated(("250.0.28.2", "172.30.0.27")) {
            let refused = || {
                let rules =
                    ["encapsulated in", "encapsulated by no host"].map(|rule| pair.a.counted_packets(&["ip"], rule));
                rules.iter().sum::<u64>()
            };
            let before = refused();
            (0..MANY).for_each(|_| packet.send(&pair.ca));
            eventually("the packets are counted as refused", || (refused() >= before + MANY).then_some(()));
        }
        assert_eq!(wire.packets_with(".7777 >"), Vec::<String>::new());
    });
    pair.ca.ping("250.0.27.2").arrives();
}

/// A destination NAT of the host translates to its own underlay address; the host's address in the overlay needs none.
fn nor_for_an_address_that_is_translated_into_its_hosts(encap: Encap) {
    let pair = Pair::new(encap);
    pair.a.exec("nft add table ip translated").ok();
    let chain = "nft add chain ip translated pre { type nat hook prerouting priority -100 ; }";
    pair.a.exec(chain).ok();
    let rule = "nft add rule ip translated pre ip daddr 203.0.113.5 dnat to 172.30.0.28";
    pair.a.exec(rule).ok();
    any_rp_filter(&pair.a, || {
        for to in ["203.0.113.5", "250.0.28.1"] {
            for packet in encapsulated(("250.0.28.2", to)) {
                is_counted(&pair.a, "encapsulated in", || packet.send(&pair.ca));
            }
        }
    });
    pair.ca.ping("250.0.27.2").arrives();
}

const FRAGMENTATION_NEEDED: (u8, u8) = (3, 4);
const PORT_UNREACHABLE: (u8, u8) = (3, 3);
const REDIRECT: (u8, u8) = (5, 1);

#[track_caller]
fn has_no_small_mtu(host: &Namespace, to: &str) {
    let route = host.ip_json(&format!("route get {to}"));
    assert!(!route.to_string().contains("mtu"), "{route:#}");
}

fn no_container_tells_its_host_of_a_small_mtu(encap: Encap) {
    let pair = Pair::new(encap);
    pair.ca.ping("250.0.27.2").arrives();
    let outer = ("172.30.0.28", "172.30.0.27");
    let inner = Crafted::udp(0x4001, ("250.0.28.2", "250.0.27.2"));
    let quoted = match encap {
        Encap::Ipip => inner.in_ip(outer),
        Encap::Vxlan => inner.in_vxlan(outer, octets(&pair.cb.mac("eth0"))),
    };
    for to in ["172.30.0.28", "250.0.28.1"] {
        for kind in [FRAGMENTATION_NEEDED, PORT_UNREACHABLE] {
            let error = quoted.clone().quoted(kind, ("250.0.28.2", to));
            is_counted(&pair.a, "errors about others", || error.send(&pair.ca));
        }
        let error = quoted.clone().quoted(REDIRECT, ("250.0.28.2", to));
        is_counted(&pair.a, "errors that redirect", || error.send(&pair.ca));
    }
    // Nor does a container tell another host, at that host's address in the overlay.
    let back = Crafted::udp(0x4002, ("172.30.0.27", "172.30.0.28"));
    let error = back.quoted(FRAGMENTATION_NEEDED, ("250.0.28.2", "250.0.27.1"));
    is_counted(&pair.b, "errors of other hosts", || error.send(&pair.ca));
    has_no_small_mtu(&pair.a, "172.30.0.27");
    has_no_small_mtu(&pair.b, "172.30.0.28");
    pair.ca.ping_with("-M do -s 1400", "250.0.27.2").arrives();
}

/// The other host would apply an error about a translated packet to the whole path.
fn nor_another_host(encap: Encap) {
    let pair = Pair::new(encap);
    pair.ca.ping("172.30.0.27").arrives();
    let (host, other) = (UdpSocket::bind, pair.b.run(|| UdpSocket::bind("172.30.0.27:7777")));
    let other = other.expect("a socket");
    let asking = pair.ca.run(move || host("250.0.28.2:7777")).expect("a socket");
    asking.send_to(b"question", "172.30.0.27:7777").expect("sent");
    let mut buffer = [0; 16];
    other.set_read_timeout(Some(DEADLINE)).expect("a time limit");
    let (_, from) = other.recv_from(&mut buffer).expect("the question");
    other.send_to(b"answer", from).expect("sent");
    asking.set_read_timeout(Some(DEADLINE)).expect("a time limit");
    asking.recv_from(&mut buffer).expect("the answer");
    let answer = Crafted::udp(0x4001, ("172.30.0.27", "250.0.28.2"));
    let error = answer.quoted(FRAGMENTATION_NEEDED, ("250.0.28.2", "172.30.0.27"));
    is_counted(&pair.a, "errors about a small mtu", || error.send(&pair.ca));
    has_no_small_mtu(&pair.b, "172.30.0.28");
}

fn errors_of_containers_go_on(encap: Encap) {
    let pair = Pair::new(encap);
    pair.a.exec("nft add table ip published").ok();
    let chain = "nft add chain ip published pre { type nat hook prerouting priority -100 ; }";
    pair.a.exec(chain).ok();
    let rule = "nft add rule ip published pre iifname eth0 udp dport 9000 dnat to 250.0.28.2:9000";
    pair.a.exec(rule).ok();
    // The port is closed.
    for (from, to) in [(&*pair.b, "172.30.0.28:9000"), (&*pair.a, "250.0.28.2:9000"), (&*pair.b, "250.0.28.2:9000")] {
        let refused = from.run(move || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(DEADLINE))?;
            socket.send(b"question")?;
            socket.recv(&mut [0; 16])
        });
        let refused = refused.expect_err("no process answers");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{to}: {refused}");
    }
    // A container gets the errors of routers on the way.
    let told = pair.ca.exec(&format!("ping -n -c 1 -W 5 -t 1 {INTERNET}")).stdout;
    assert!(told.contains("From 250.0.28.1") && told.contains("Time to live exceeded"), "{told}");
    pair.ca.ping(INTERNET).arrives();
}

fn what_connection_tracking_calls_invalid_stays_at_home(encap: Encap) {
    let pair = Pair::new(encap);
    pair.ca.ping(INTERNET).arrives();
    let wire = Capture::on(&pair.a, "eth0", "net 250.0.0.0/8 and not ip proto 4 and not udp port 8472");
    let ends = ("250.0.28.2", INTERNET);
    // TCP with a wrong checksum, and an error about nothing.
    let segment = [0x1f, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 3, 0xe8, 0xde, 0xad, 0, 0];
    Crafted::new(0x4001, 6, ends, &segment).send(&pair.ca);
    Crafted::udp(0x4002, (INTERNET, "250.0.28.2")).quoted(PORT_UNREACHABLE, ends).send(&pair.ca);
    inject_plain(&pair.ca, Inner::new("250.0.28.2", INTERNET));
    assert_eq!(wire.packets(), Vec::<String>::new());
    tcp_exchange(&pair.ca, &pair.lan, INTERNET);
}

fn what_is_for_the_first_and_the_last_address_stays_at_home(encap: Encap) {
    let pair = Pair::new(encap);
    let wire = Capture::on(&pair.a, "eth0", "host 172.30.0.0 or host 172.30.255.255");
    for to in ["250.0.0.9", "250.255.255.9"] {
        // Over VXLAN only an ARP request is sent.
        pair.ca.ping_in_vain(to);
        inject_plain(&pair.ca, Inner::new("250.0.28.2", to));
    }
    assert_eq!(wire.packets(), Vec::<String>::new());
}

/// As a user without any rights.
const USER: &str =
    "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs";

fn no_process_encapsulates() {
    let pair = Pair::new(Encap::Vxlan);
    let wire = Capture::on(&pair.a, "eth0", "udp port 8472");
    is_counted(&pair.a, "encapsulated by a process", || {
        pair.a.sh(&format!("{USER} bash -c 'echo from-a-user >/dev/udp/172.30.0.27/8472'"));
    });
    // A packet that a rule of the administrator translates is counted after the translation.
    pair.a.exec("nft add table ip translated").ok();
    let chain = "nft add chain ip translated out { type nat hook output priority -100 ; }";
    pair.a.exec(chain).ok();
    let rule = "nft add rule ip translated out udp dport 53 dnat to 172.30.0.27:8472";
    pair.a.exec(rule).ok();
    is_counted(&pair.a, "encapsulated by a process", || {
        pair.a.sh(&format!("{USER} bash -c 'echo from-a-user >/dev/udp/203.0.113.5/53'"));
    });
    pair.ca.ping("250.0.27.2").arrives();
    let packets = wire.at_least(1);
    let ports = packets.iter().filter_map(|packet| {
        let (_, rest) = packet.split_once("172.30.0.28.")?;
        rest.split_once(" > 172.30.0.27.8472")?.0.parse::<u16>().ok()
    });
    let ports: Vec<u16> = ports.collect();
    assert!(!ports.is_empty() && ports.iter().all(|port| (512..1024).contains(port)), "{packets:#?}");
    // A user may not bind such a port, unless the administrator allows it, which is reported.
    let bound = pair.a.run(|| {
        caps::drop(None, CapSet::Effective, Capability::CAP_NET_BIND_SERVICE).expect("less can be had");
        let bound = UdpSocket::bind(("0.0.0.0", 700)).map(drop);
        caps::raise(None, CapSet::Effective, Capability::CAP_NET_BIND_SERVICE).expect("it is permitted");
        bound
    });
    assert_eq!(bound.expect_err("a port of the kernel's").kind(), ErrorKind::PermissionDenied);
    pair.a.set_sysctl("ipv4/ip_unprivileged_port_start", "0");
    let told = pair.a.up(Encap::Vxlan).stderr;
    assert!(told.contains("ip_unprivileged_port_start is 0"), "{told}");
}

/// No rule matches it, because its destination is no address of the underlay.
fn what_a_process_sends_to_all_hosts_is_opened_by_none() {
    let pair = Pair::new(Encap::Vxlan);
    pair.a.ip(&format!("route replace default via {} dev eth0", pair.lan.gateway()));
    let inner = Crafted::udp(0x4001, ("250.0.28.2", "250.0.27.2"));
    let packet = inner.in_vxlan(("172.30.0.28", "172.30.0.27"), octets(&pair.cb.mac("eth0")));
    let (ip, udp) = (20, 8);
    let payload = packet.bytes()[ip + udp..].to_vec();
    let seen = Capture::on(&pair.cb, "eth0", Inner::FILTER);
    for to in ["255.255.255.255:8472", "224.0.0.1:8472"] {
        let (before, payload) = (pair.b.refused_packets(Encap::Vxlan.tunnel()), payload.clone());
        pair.a.run(move || {
            let socket = UdpSocket::bind("172.30.0.28:0").expect("a socket");
            socket.set_broadcast(true).expect("to send to all");
            for _ in 0..MANY {
                socket.send_to(&payload, to).expect("to send");
            }
        });
        eventually("all are refused", || {
            (pair.b.refused_packets(Encap::Vxlan.tunnel()) >= before + MANY).then_some(())
        });
    }
    assert_eq!(seen.packets(), Vec::<String>::new());
    pair.ca.ping("250.0.27.2").arrives();
}

fn processes_of_the_host_reach_containers_of_others() {
    let pair = Pair::new(Encap::Vxlan);
    pair.a.ping("250.0.27.2").arrives();
    let peer = tcp_exchange(&pair.a, &pair.cb, "250.0.27.2");
    assert_eq!(peer.ip().to_string(), "250.0.28.1");
    let address: Ipv4Addr = [250, 0, 27, 2].into();
    let listener = pair.cb.run(move || TcpListener::bind((address, 80))).expect("to listen");
    pair.a.sh(&format!("{USER} bash -c 'exec 3<>/dev/tcp/250.0.27.2/80'")).ok();
    let (_, peer) = listener.accept().expect("the connection");
    assert_eq!(peer.ip().to_string(), "250.0.28.1");
}

/// The ports of the fan's bridge on `host` at which an Ethernet address was learnt.
fn learnt(host: &Host, mac: &str) -> Vec<String> {
    let answer = host.exec("bridge -j fdb show br fan-250-0-28").ok().json();
    let entries = answer.as_array().expect("entries").clone().into_iter();
    let learnt = entries.filter(|entry| entry["mac"] == mac && entry["state"] != "permanent");
    learnt.filter_map(|entry| Some(entry["ifname"].as_str()?.to_string())).collect()
}

fn no_port_claims_the_address_of_a_gateway() {
    let pair = Pair::new(Encap::Vxlan);
    let hostile = pair.a.container("250.0.28.3");
    pair.ca.ping("250.0.27.1").arrives();
    let gateway = pair.a.mac("fan-250-0-28");
    // The other host's bridge and tunnel.
    for mac in ["02:fa:fa:00:1b:00", "06:fa:fa:00:1b:00"] {
        hostile.ip(&format!("link set eth0 address {mac}\n neigh replace 250.0.28.1 lladdr {gateway} dev eth0"));
        is_counted(&pair.a, "ethernet addresses of hosts", || {
            inject_plain(&hostile, Inner::new("250.0.28.3", "250.0.28.1"));
        });
        assert!(learnt(&pair.a, mac).iter().all(|port| port == Encap::Vxlan.tunnel()));
        pair.ca.ping("250.0.27.1").arrives();
    }
}

fn an_address_of_another_host_that_a_port_claims_brings_no_packets() {
    let pair = Pair::new(Encap::Vxlan);
    let hostile = pair.a.container("250.0.28.3");
    pair.ca.ping("250.0.27.2").arrives();
    pair.a.ping("250.0.27.2").arrives();
    hostile.ping("250.0.28.1").arrives();
    let mac = pair.cb.mac("eth0");
    hostile.ip(&format!("link set eth0 address {mac}"));
    let seen = Capture::on(&hostile, "eth0", "udp port 7777 and host 250.0.27.2");
    for (from, source, rule) in
        [(&*pair.ca, "250.0.28.2", "for another host"), (&*pair.a, "250.0.28.1", "sent to another host")]
    {
        is_counted(&pair.a, rule, || {
            // The other container sends now and then, and the bridge learns its address again.
            inject_plain(&hostile, Inner::new("250.0.28.3", "250.0.28.1"));
            inject_plain(from, Inner::new(source, "250.0.27.2"));
        });
    }
    assert_eq!(seen.packets(), Vec::<String>::new());
    pair.cb.ping("250.0.28.2").arrives();
    pair.ca.ping("250.0.27.2").arrives();
}
