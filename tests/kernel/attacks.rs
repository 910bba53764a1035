//! Attempts of a review with fresh eyes, and the legitimate traffic that the rules against them must let pass: packets here, what
//! others leave in the way of the program in `program`.

mod networks;
mod program;

use std::net::{TcpListener, TcpStream, UdpSocket};

use crate::case::{Case, Cases, Need};
use crate::fixture::Pair;
use crate::named;
use crate::support::{
    Capture, Crafted, DEADLINE, Encap, Host, INTERNET, Inner, Namespace, eventually, inject_ethernet, inject_plain,
    octets,
};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("attacks")
        .each(named![
            what_tracking_does_not_follow_is_opened_at_no_address_of_the_host,
            what_tracking_does_not_follow_stays_at_home,
            encapsulated_packets_for_a_host_in_the_overlay_are_not_opened,
            arp_of_any_hardware_claims_no_gateway,
            gratuitous_arp_claims_no_gateway,
            tags_in_tags_hide_nothing,
            a_container_does_not_speak_from_the_address_of_its_gateway,
            no_service_hears_a_container_from_an_address_of_others,
            what_is_neither_ipv4_nor_arp_stays_on_its_host,
            tunnels_between_containers_go_on,
            a_container_asks_whether_an_address_is_taken,
            a_published_port_is_reached_from_everywhere,
            ipv6_between_containers_of_a_host_goes_on,
        ])
        .once(named![vxlan_over_ipv6_is_refused])
        .once_with(&[Need::Tier2], named![a_macvlan_on_the_bridge_reaches_other_hosts])
        .list()
}

/// How often a packet is sent.
const MANY: u64 = 10;

const BROADCAST: [u8; 6] = [0xff; 6];
const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];

#[track_caller]
fn is_counted(host: &Host, rule: &str, packets: u64, send: impl FnOnce()) {
    let now = || host.counted_packets(&["ip", "bridge"], rule);
    let before = now();
    send();
    eventually("the packets are counted as refused", || (now() >= before + packets).then_some(()));
}

/// Connection tracking leaves out these packets, as is usual for VXLAN and DNS on busy hosts.
#[track_caller]
fn leave_out(host: &Host, packets: &str) {
    for line in [
        "table ip left".to_string(),
        "chain ip left pre { type filter hook prerouting priority -310 ; }".into(),
        format!("rule ip left pre {packets} notrack"),
    ] {
        host.exec(&format!("nft add {line}")).ok();
    }
}

fn encapsulated(outer: (&str, &str)) -> [Crafted; 3] {
    let inner = || Crafted::udp(0x4001, ("250.0.28.2", "250.0.27.2"));
    let vxlan = || inner().in_vxlan(outer, [0x02, 0, 0, 0, 0, 0x77]);
    [inner().in_ip(outer), vxlan(), vxlan().patched(22, &4789_u16.to_be_bytes())]
}

fn what_tracking_does_not_follow_is_opened_at_no_address_of_the_host(encap: Encap) {
    let pair = Pair::new(encap);
    pair.a.ip("addr add 10.9.9.28/32 dev lo");
    leave_out(&pair.a, "ip saddr 250.0.28.2");
    for to in ["250.0.28.1", "10.9.9.28"] {
        for packet in encapsulated(("250.0.28.2", to)) {
            is_counted(&pair.a, "encapsulated in", MANY, || (0..MANY).for_each(|_| packet.send(&pair.ca)));
        }
    }
    pair.ca.ping("250.0.27.2").arrives();
}

fn what_tracking_does_not_follow_stays_at_home(encap: Encap) {
    let pair = Pair::new(encap);
    leave_out(&pair.a, "udp dport 7777");
    let wire = Capture::on(&pair.a, "eth0", "udp port 7777");
    inject_plain(&pair.ca, Inner::new("250.0.28.2", INTERNET));
    assert_eq!(wire.packets(), Vec::<String>::new());
    pair.ca.ping(INTERNET).arrives();
}

fn encapsulated_packets_for_a_host_in_the_overlay_are_not_opened(encap: Encap) {
    let pair = Pair::new(encap);
    pair.ca.ping("250.0.27.1").arrives();
    for packet in encapsulated(("250.0.28.2", "250.0.27.1")) {
        is_counted(&pair.b, "encapsulated in", MANY, || (0..MANY).for_each(|_| packet.send(&pair.ca)));
    }
}

/// A claim by ARP: this address is at the sender's Ethernet address.
struct Claim<'a> {
    hardware: u8,
    operation: u8,
    sender: [u8; 6],
    claimed: [u8; 4],
    target: &'a [u8; 4],
}

impl Claim<'_> {
    fn frame(&self, to: [u8; 6]) -> Vec<u8> {
        let header = [0, self.hardware, 0x08, 0, 6, 4, 0, self.operation];
        let addresses = [&self.sender[..], &self.claimed, &[0; 6], self.target].concat();
        [&to[..], &self.sender, &ARP, &header, &addresses].concat()
    }
}

const GATEWAY: [u8; 4] = [250, 0, 28, 1];
const NEIGHBOUR: [u8; 4] = [250, 0, 28, 3];

/// Linux takes ARP of IEEE 802 (6) for that of Ethernet (1), and any operation but a reply for a question (`arp_process`,
/// net/ipv4/arp.c at v6.12).
fn arp_of_any_hardware_claims_no_gateway(encap: Encap) {
    let pair = Pair::new(encap);
    let neighbour = pair.a.container("250.0.28.3");
    let sender = octets(&pair.ca.mac("eth0"));
    for hardware in [1, 6] {
        for operation in [1, 2, 3, 9] {
            let claim = Claim { hardware, operation, sender, claimed: GATEWAY, target: &NEIGHBOUR };
            let frame = claim.frame(BROADCAST);
            is_counted(&pair.a, "posing by arp", MANY, || {
                (0..MANY).for_each(|_| inject_ethernet(&pair.ca, &frame));
            });
        }
    }
    neighbour.ping("250.0.28.1").arrives();
    let known = neighbour.ip_json("neigh show 250.0.28.1").to_string();
    assert!(known.contains(&pair.a.mac("fan-250-0-28")), "{known}");
}

fn gratuitous_arp_claims_no_gateway(encap: Encap) {
    let pair = Pair::new(encap);
    let neighbour = pair.a.container("250.0.28.3");
    neighbour.ping("250.0.28.1").arrives();
    let sender = octets(&pair.ca.mac("eth0"));
    for to in [BROADCAST, octets(&neighbour.mac("eth0")), [0x01, 0, 0x5e, 0, 0, 1]] {
        for operation in [1, 2] {
            let claim = Claim { hardware: 1, operation, sender, claimed: GATEWAY, target: &GATEWAY };
            let frame = claim.frame(to);
            is_counted(&pair.a, "posing by arp", MANY, || {
                (0..MANY).for_each(|_| inject_ethernet(&pair.ca, &frame));
            });
        }
    }
    let known = neighbour.ip_json("neigh show 250.0.28.1").to_string();
    assert!(known.contains(&pair.a.mac("fan-250-0-28")), "{known}");
}

/// The kernel takes off one tag of VLAN 0 after the other.
fn tags_in_tags_hide_nothing(encap: Encap) {
    let pair = Pair::new(encap);
    let neighbour = pair.a.container("250.0.28.3");
    let ends = (octets(&neighbour.mac("eth0")), octets(&pair.ca.mac("eth0")));
    let packet = Crafted::udp(0x4001, ("250.0.27.9", "250.0.28.3"));
    let (customer, service) = ([0x81, 0x00], [0x88, 0xa8]);
    let seen = Capture::on(&neighbour, "eth0", &format!("ether src {}", pair.ca.mac("eth0")));
    for tags in [
        vec![(customer, [0, 0]), (customer, [0, 0])],
        vec![(service, [0, 0]), (customer, [0, 0])],
        vec![(customer, [0x20, 0]), (service, [0, 0])],
        vec![(service, [0xe0, 0]), (service, [0, 0]), (customer, [0, 0])],
    ] {
        let tags: Vec<u8> = tags.iter().flat_map(|(kind, tag)| [*kind, *tag].concat()).collect();
        let frame = [&ends.0[..], &ends.1, &tags, &IPV4, packet.bytes()].concat();
        is_counted(&pair.a, "hidden by tags", MANY, || (0..MANY).for_each(|_| inject_ethernet(&pair.ca, &frame)));
    }
    assert_eq!(seen.packets(), Vec::<String>::new());
}

fn a_container_does_not_speak_from_the_address_of_its_gateway(encap: Encap) {
    let pair = Pair::new(encap);
    let there = Capture::on(&pair.cb, "eth0", Inner::FILTER);
    is_counted(&pair.a, "posing", MANY, || {
        (0..MANY).for_each(|_| inject_plain(&pair.ca, Inner::new("250.0.28.1", "250.0.27.2")));
    });
    assert_eq!(there.packets(), Vec::<String>::new());
}

/// Each source beside its own for each destination that a host answers at, to the host's Ethernet address and to all.
fn no_service_hears_a_container_from_an_address_of_others(encap: Encap) {
    let pair = Pair::new(encap);
    let services = [&pair.a, &pair.b].map(|host| host.run(|| UdpSocket::bind("0.0.0.0:7777")).expect("a service"));
    let gateway = octets(&pair.a.mac("fan-250-0-28"));
    let sources = [
        "172.30.0.27",
        "172.30.0.28",
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "169.254.1.1",
        "250.0.28.1",
        "250.0.27.1",
        "250.0.27.2",
        "250.0.0.0",
        INTERNET,
    ];
    let destinations = ["172.30.0.28", "172.30.0.27", "250.0.28.1", "250.0.27.1", "255.255.255.255", "224.0.0.1"];
    for ends in sources.iter().flat_map(|source| destinations.map(|destination| (*source, destination))) {
        let packet = Crafted::udp(0x4001, ends);
        for to in [gateway, BROADCAST] {
            inject_ethernet(&pair.ca, &[&to, &[0x02, 0, 0, 0, 0, 0x66][..], &IPV4, packet.bytes()].concat());
        }
    }
    // What is its own comes next, and first.
    for (service, host) in services.iter().zip(["172.30.0.28", "172.30.0.27"]) {
        let own = [0x1e, 0x61, 0x1e, 0x61, 0, 9, 0, 0, b'o'];
        Crafted::new(0x4002, 17, ("250.0.28.2", host), &own).send(&pair.ca);
        service.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        let mut heard = [0; 64];
        let (len, from) = service.recv_from(&mut heard).expect("a packet");
        assert_eq!(&heard[..len], b"o", "{host} heard {from}");
    }
}

/// Router advertisement, spanning tree, LLDP, RARP, IPv4 behind LLC and SNAP, IPv4 in MPLS: to all.
fn what_is_neither_ipv4_nor_arp_stays_on_its_host(encap: Encap) {
    let pair = Pair::new(encap);
    let neighbour = pair.a.container("250.0.28.3");
    let sender = octets(&pair.ca.mac("eth0"));
    let packet = Crafted::udp(0x4001, ("250.0.27.9", "250.0.27.2"));
    let frames: [([u8; 2], Vec<u8>); 6] = [
        ([0x86, 0xdd], [&[0x60, 0, 0, 0, 0, 16, 58, 255][..], &[0xfe; 16], &[0xff; 16], &[134; 16]].concat()),
        ([0, 38], [&[0x42, 0x42, 3][..], &[0; 35]].concat()),
        ([0x88, 0xcc], vec![0; 50]),
        ([0x80, 0x35], vec![0; 50]),
        ([0, 68], [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], packet.bytes()].concat()),
        ([0x88, 0x47], [&[0, 0, 0x11, 0x40][..], packet.bytes()].concat()),
    ];
    let filter = format!("ether src {}", pair.ca.mac("eth0"));
    let (near, far) = (Capture::on(&neighbour, "eth0", &filter), Capture::on(&pair.cb, "eth0", &filter));
    for (kind, rest) in &frames {
        inject_ethernet(&pair.ca, &[&BROADCAST[..], &sender, kind, rest].concat());
    }
    near.at_least(frames.len());
    assert_eq!(far.packets(), Vec::<String>::new());
}

/// As of a cluster whose nodes are containers (kind): its network is none of this fan's business.
fn tunnels_between_containers_go_on(encap: Encap) {
    let pair = Pair::new(encap);
    pair.ca.ping("250.0.27.2").arrives();
    let ends = ("250.0.28.2", "250.0.27.2");
    let seen = Capture::on(&pair.cb, "eth0", "ip proto 4 or ip proto 47 or udp port 4789 or udp port 8472");
    for packet in encapsulated(ends) {
        packet.send(&pair.ca);
    }
    Crafted::new(0x4004, 47, ends, &[0, 0, 8, 0, 0x45, 0, 0, 0]).send(&pair.ca);
    seen.at_least(4);
}

/// RFC 5227: from no address.
fn a_container_asks_whether_an_address_is_taken(encap: Encap) {
    let pair = Pair::new(encap);
    let _neighbour = pair.a.container("250.0.28.3");
    for taken in ["250.0.28.1", "250.0.28.3"] {
        pair.ca.exec(&format!("arping -q -D -c 1 -w 60 -I eth0 {taken}")).exits(1);
    }
}

fn a_published_port_is_reached_from_everywhere(encap: Encap) {
    let pair = Pair::new(encap);
    let neighbour = pair.a.container("250.0.28.3");
    for line in [
        "table ip published",
        "chain ip published pre { type nat hook prerouting priority -100 ; }",
        "chain ip published out { type nat hook output priority -100 ; }",
        "chain ip published post { type nat hook postrouting priority 100 ; }",
        "rule ip published pre ip daddr 172.30.0.28 tcp dport 9000 dnat to 250.0.28.2:80",
        "rule ip published out ip daddr 172.30.0.28 tcp dport 9000 dnat to 250.0.28.2:80",
        "rule ip published post ip saddr 250.0.28.0/24 ip daddr 250.0.28.2 tcp dport 80 masquerade",
    ] {
        pair.a.exec(&format!("nft add {line}")).ok();
    }
    let _server = pair.ca.run(|| TcpListener::bind("250.0.28.2:80").expect("a server"));
    for (from, who) in [
        (&*pair.a, "its host"),
        (&*pair.b, "another host"),
        (&*neighbour, "a neighbour"),
        (&*pair.cb, "a container of another host"),
        (&*pair.lan, "the underlay"),
    ] {
        let connected = from.run(|| TcpStream::connect("172.30.0.28:9000").map(drop));
        connected.unwrap_or_else(|error| panic!("{who}: {error}"));
    }
}

fn speaks_ipv6(who: &Namespace, device: &str) {
    who.set_sysctl(&format!("ipv6/conf/{device}/disable_ipv6"), "0");
}

fn ipv6_between_containers_of_a_host_goes_on(encap: Encap) {
    let pair = Pair::new(encap);
    let neighbour = pair.a.container("250.0.28.3");
    speaks_ipv6(&pair.a, "fan-250-0-28");
    speaks_ipv6(&pair.ca, "eth0");
    speaks_ipv6(&neighbour, "eth0");
    pair.a.ip("addr add fd50::1/64 dev fan-250-0-28 nodad");
    pair.ca.ip("addr add fd50::2/64 dev eth0 nodad");
    neighbour.ip("addr add fd50::3/64 dev eth0 nodad");
    for to in ["fd50::1", "fd50::3"] {
        pair.ca.ping(to).arrives();
    }
    pair.a.up(encap).stdout_has(&["nothing to do"]);
    pair.ca.ping("fd50::1").arrives();
}

/// The tunnel's socket hears IPv6, too.
fn vxlan_over_ipv6_is_refused() {
    let pair = Pair::new(Encap::Vxlan);
    for host in [&*pair.a, &*pair.b, &*pair.ca] {
        speaks_ipv6(host, "eth0");
    }
    speaks_ipv6(&pair.a, "fan-250-0-28");
    pair.a.ip("addr add fd00::28/64 dev eth0 nodad");
    pair.b.ip("addr add fd00::27/64 dev eth0 nodad");
    let frame = |to: &str, packet: &Crafted| {
        let mac = octets(to);
        [&[8, 0, 0, 0, 0xfa, 0, 0, 0][..], &mac, &[2, 0, 0, 0, 0, 0x66], &IPV4, packet.bytes()].concat()
    };
    // Of a process of the host.
    let datagram = frame(&pair.cb.mac("eth0"), &Crafted::udp(0x4001, ("250.0.28.9", "250.0.27.2")));
    let before = pair.b.refused_packets("fan-vx16384000");
    pair.a.run(move || {
        let socket = UdpSocket::bind("[::]:0").expect("a socket");
        for _ in 0..MANY {
            socket.send_to(&datagram, "[fd00::27]:8472").expect("sent");
        }
    });
    eventually("all are refused", || (pair.b.refused_packets("fan-vx16384000") >= before + MANY).then_some(()));
    // Of a container, to its own host, with an address of another.
    pair.ca.ip("addr add fd00::27/64 dev eth0 nodad\n neigh add fd00::28 lladdr 02:fa:fa:00:1c:00 dev eth0");
    let datagram = frame(&pair.ca.mac("eth0"), &Crafted::udp(0x4001, ("250.0.27.9", "250.0.28.2")));
    let seen = Capture::on(&pair.ca, "eth0", "src host 250.0.27.9");
    let before = pair.a.refused_packets("fan-vx16384000");
    pair.ca.run(move || {
        let socket = UdpSocket::bind("[fd00::27]:0").expect("a socket");
        for _ in 0..MANY {
            socket.send_to(&datagram, "[fd00::28]:8472").expect("sent");
        }
    });
    eventually("all are refused", || (pair.a.refused_packets("fan-vx16384000") >= before + MANY).then_some(()));
    assert_eq!(seen.packets(), Vec::<String>::new());
    pair.ca.ping("250.0.27.2").arrives();
}

fn a_macvlan_on_the_bridge_reaches_other_hosts() {
    let pair = Pair::new(Encap::Vxlan);
    let inside = Host::new("macvlan");
    let id = inside.id();
    pair.a.ip(&format!("link add eth0m link fan-250-0-28 type macvlan mode bridge\n link set eth0m netns {id}"));
    inside.ip("link set lo up\n link set eth0m up\n addr add 250.0.28.50/8 dev eth0m");
    inside.ping("250.0.27.2").arrives();
    inside.ping("250.0.28.2").arrives();
}
