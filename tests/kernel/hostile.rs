//! Malformed and forged packets, from an attacker on the underlay and from a hostile container: a table of them, with the
//! receiver of each.
//!
//! The attacked host forwards, accepts source routes and has no reverse path filter, so that only the fan drops packets.
//! Its default route leads out by another interface than its underlay. The identification in the IPv4 header tells which
//! row a packet belongs to.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{Capture, Container, Crafted, Encap, Host, INTERNET, Lan, Namespace};

mod container;
mod posing;
mod underlay;

/// Two hosts of a fan, one of them attacked.
struct Stage {
    /// 172.30.0.28
    host: Host,
    /// 250.0.28.2, on `host`
    victim: Container,
    /// 250.0.28.3, on `host`
    hostile: Container,
    /// 172.30.0.27
    other: Host,
    /// 250.0.27.2, on `other`
    far: Container,
    /// 172.30.0.26, without a fan, whose slice would be 250.0.26.0/24
    mallory: Host,
    _lans: [Lan; 2],
}

impl Stage {
    fn new(encap: Encap) -> Self {
        let (lan, uplink) = (Lan::new(), Lan::of("198.51.100.0/24", 1500));
        let host = lan.host("172.30.0.28");
        uplink.plug(&host, "eth1", "198.51.100.28/24");
        host.ip(&format!("route add default via {}", uplink.gateway()));
        for scope in ["all", "default", "eth0", "eth1"] {
            host.set_sysctl(&format!("ipv4/conf/{scope}/rp_filter"), "0");
            host.set_sysctl(&format!("ipv4/conf/{scope}/accept_source_route"), "1");
        }
        let (other, mallory) = (lan.host("172.30.0.27"), lan.host("172.30.0.26"));
        for host in [&host, &other] {
            host.up(encap);
        }
        mallory.ip("route add 250.0.28.0/24 via 172.30.0.28");
        let (victim, hostile) = (host.container("250.0.28.2"), host.container("250.0.28.3"));
        let far = other.container("250.0.27.2");
        let stage = Self { host, victim, hostile, other, far, mallory, _lans: [lan, uplink] };
        stage.works();
        stage
    }

    /// The fan carries packets; every neighbour is known afterwards.
    fn works(&self) {
        self.victim.ping("250.0.27.2").arrives();
        self.hostile.ping("250.0.27.2").arrives();
        self.hostile.ping("250.0.28.2").arrives();
        self.victim.ping(INTERNET).arrives();
    }

    /// Bridged packets that rules of the fan on the host have counted.
    fn counted(&self, rule: &str) -> u64 {
        self.host.counted_packets(&["bridge"], rule)
    }
}

/// Bits 7 and 9 of the kernel's taint mask: an oops or a warning (Documentation/admin-guide/tainted-kernels.rst).
fn kernel_complaints() -> u64 {
    let tainted = fs::read_to_string("/proc/sys/kernel/tainted").expect("a number");
    tainted.trim().parse::<u64>().expect("a number") & (1 << 7 | 1 << 9)
}

/// The container that receives the packets of a row. In every row, the attacked host sends packets only back to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nobody,
    Victim,
    Far,
    /// A packet with an honest source is bridged even when it is malformed; it is routed only when it is well-formed.
    VictimIfBridged,
    FarIfBridged,
}

struct Row {
    what: &'static str,
    packets: Vec<Crafted>,
    seen: Seen,
}

/// Sends all rows, and checks where each was received. The last row is honest, and arrives after all others.
#[track_caller]
fn attack(encap: Encap, stage: &Stage, from: &Namespace, Table(rows): Table) {
    let complaints = kernel_complaints();
    // For packets that the containers send themselves the kernel chooses the identification, which may be that of a row.
    let arriving = |at: &Container| format!("ip and not igmp and not ether src {}", at.mac("eth0"));
    let victim = Capture::on(&stage.victim, "eth0", &arriving(&stage.victim));
    let far = Capture::on(&stage.far, "eth0", &arriving(&stage.far));
    let leaks = format!("net 250.0.0.0/8 or host {INTERNET} or ip proto 4 or udp port 8472 or udp port 7777");
    let leaving = |device| {
        let mac = stage.host.mac(device);
        format!("ether src {mac} and ({leaks}) and not dst host {MALLORY}")
    };
    let underlay = Capture::on(&stage.host, "eth0", &leaving("eth0"));
    let default = Capture::on(&stage.host, "eth1", &leaving("eth1"));
    for packet in rows.iter().flat_map(|row| &row.packets) {
        packet.send(from);
    }

    let seen = |packets: &[String]| -> BTreeSet<&str> {
        let ids = packets.iter().flat_map(|packet| packet.split(" id ").skip(1));
        let ids = ids.filter_map(|rest| rest.split(',').next()?.parse::<usize>().ok());
        let rows = ids.filter_map(|id| rows.get(id.checked_sub(FIRST)?));
        rows.map(|row| row.what).collect()
    };
    let expected = |by: Seen, if_bridged: Seen| -> BTreeSet<&str> {
        let bridged = encap == Encap::Vxlan;
        let rows = rows.iter();
        let rows = rows.filter(|row| row.seen == by || bridged && row.seen == if_bridged);
        rows.map(|row| row.what).collect()
    };
    let (to_victim, to_far) = (expected(Seen::Victim, Seen::VictimIfBridged), expected(Seen::Far, Seen::FarIfBridged));
    let signs = |to: &BTreeSet<&str>| -> Vec<String> {
        let ids = (FIRST..).zip(&rows).filter(|(_, row)| to.contains(row.what));
        ids.map(|(id, _)| format!(" id {id},")).collect()
    };
    // First the container that receives the last row.
    let (victim, far) = if rows.last().expect("rows").seen == Seen::Victim {
        let victim = victim.until_all(&signs(&to_victim));
        (victim, far.until_all(&signs(&to_far)))
    } else {
        let far = far.until_all(&signs(&to_far));
        (victim.until_all(&signs(&to_victim)), far)
    };
    assert_eq!(seen(&victim), to_victim, "{victim:#?}");
    assert_eq!(seen(&far), to_far, "{far:#?}");
    let is_honest = |packet: &String| {
        let what = seen(std::slice::from_ref(packet));
        !what.is_empty() && what.is_subset(&to_far)
    };
    let mut leaked = underlay.packets();
    // Over VXLAN honest containers send ARP requests for each other; forged ARP has tests of its own (`posing`).
    leaked.retain(|packet| !is_honest(packet) && !packet.contains("ethertype ARP") && !packet.contains(" ARP, "));
    assert_eq!(leaked, Vec::<String>::new(), "on the underlay");
    assert_eq!(default.packets(), Vec::<String>::new(), "on the default route");
    stage.works();
    assert_eq!(kernel_complaints(), complaints, "the kernel warned");
}

/// The identification of the first row.
const FIRST: usize = 0x4000;

/// Rows in the making.
#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    /// Adds a row; its packets are made of its identification.
    fn row<const N: usize>(&mut self, what: &'static str, seen: Seen, packets: impl FnOnce(u16) -> [Crafted; N]) {
        let id = u16::try_from(FIRST + self.0.len()).expect("few");
        let packets = packets(id).into();
        self.0.push(Row { what, packets, seen });
    }
}

const VICTIM: &str = "250.0.28.2";
const FAR: &str = "250.0.27.2";
const GATEWAY: &str = "250.0.28.1";
/// An address of Mallory's own slice.
const OWN: &str = "250.0.26.9";
/// An address of the other host's slice.
const FOREIGN: &str = "250.0.27.9";
/// Underlay addresses of Mallory, the attacked host, and the other.
const MALLORY: &str = "172.30.0.26";
const HOST: &str = "172.30.0.28";
const OTHER: &str = "172.30.0.27";

/// IP options (RFC 791).
const LOOSE: u8 = 131;
const STRICT: u8 = 137;
/// ICMP types and codes (RFC 792).
const FRAGMENTATION_NEEDED: (u8, u8) = (3, 4);
const HOST_UNREACHABLE: (u8, u8) = (3, 1);
const REDIRECT: (u8, u8) = (5, 1);
