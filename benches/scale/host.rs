//! The one host, and the ways to tell it where the others are.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Encap, Host, Namespace};

/// How many hosts get packets, at most, and how many packets they get together.
const TALKED_TO: u32 = 256;
const PACKETS: u32 = 20_000;

/// A way to know all hosts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    FanIpip,
    StaticIpip,
    FanVxlan,
    StaticVxlan,
}

/// A host, 172.30.0.28, on an underlay of /16 that is all behind a gateway. Packets that leave the wire are for the
/// gateway, and no process receives them.
pub fn underlay() -> Host {
    let host = Host::new("172.30.0.28");
    host.ip("link set lo up
         link add eth0 type veth peer name wire
         link set wire up
         link set eth0 up
         addr add 172.30.0.28/31 dev eth0
         neigh add 172.30.0.29 lladdr 02:00:00:00:00:fe dev eth0 nud permanent
         route add 172.30.0.0/16 via 172.30.0.29");
    host
}

impl Way {
    pub const ALL: [Self; 4] = [Self::FanIpip, Self::StaticIpip, Self::FanVxlan, Self::StaticVxlan];

    pub fn title(self) -> &'static str {
        match self {
            Self::FanIpip => "fan, IPIP",
            Self::StaticIpip => "static IPIP",
            Self::FanVxlan => "fan, VXLAN",
            Self::StaticVxlan => "static VXLAN",
        }
    }

    /// Something has to be made for each host.
    pub fn is_static(self) -> bool {
        matches!(self, Self::StaticIpip | Self::StaticVxlan)
    }

    /// Why this kernel cannot, if so.
    pub fn missing(self) -> Option<String> {
        let scratch = Namespace::new("probe");
        let link = match self {
            Self::FanIpip | Self::StaticIpip => "ipip external",
            Self::FanVxlan | Self::StaticVxlan => "vxlan external vnifilter dstport 8472",
        };
        scratch.sh("modprobe -a ipip vxlan 2>/dev/null || true");
        let said = scratch.exec(&format!("ip link add probe type {link}"));
        (said.code != Some(0)).then(|| said.stderr.trim().trim_end_matches('.').to_string())
    }

    /// Makes what a host needs for so many hosts, itself among them; returns how long it took.
    pub fn make(self, host: &Host, hosts: u32) -> Duration {
        let (mut ip, mut bridge) = (self.tunnel().to_string(), String::new());
        for other in others(hosts) {
            let (line, entry) = self.lines(other);
            ip += &line;
            bridge += &entry;
        }
        let begun = Instant::now();
        match self {
            Self::FanIpip => drop(host.up(Encap::Ipip)),
            Self::FanVxlan => drop(host.up(Encap::Vxlan)),
            Self::StaticIpip => host.ip(&ip),
            Self::StaticVxlan => {
                host.ip(&ip);
                host.batch("bridge", &bridge).ok();
            }
        }
        begun.elapsed()
    }

    /// Lets one more host join; returns how long it took, which is nothing where there is nothing to do.
    pub fn join(self, host: &Host, hosts: u32) -> Duration {
        let newcomer = others(hosts + 1).last().expect("there are others");
        let (line, entry) = self.lines(newcomer);
        let begun = Instant::now();
        match self {
            Self::FanIpip | Self::FanVxlan => return Duration::ZERO,
            Self::StaticIpip => host.ip(&line),
            Self::StaticVxlan => {
                host.ip(&line);
                host.batch("bridge", &entry).ok();
            }
        }
        begun.elapsed()
    }

    fn tunnel(self) -> &'static str {
        match self {
            Self::FanIpip | Self::FanVxlan => "",
            Self::StaticIpip => {
                "link add flannel.ipip type ipip local 172.30.0.28
                 link set flannel.ipip mtu 1480 up
                 addr add 250.0.28.1/32 dev flannel.ipip\n"
            }
            Self::StaticVxlan => {
                "link add flannel.1 address 02:00:00:00:00:28 type vxlan id 1 local 172.30.0.28 dev eth0 dstport 8472 nolearning
                 link set flannel.1 mtu 1450 up
                 addr add 250.0.28.1/32 dev flannel.1\n"
            }
        }
    }

    /// What `ip` and `bridge` are told of another host.
    fn lines(self, other: Ipv4Addr) -> (String, String) {
        let [_, _, a, b] = other.octets();
        let mac = format!("02:00:00:01:{a:02x}:{b:02x}");
        match self {
            Self::FanIpip | Self::FanVxlan => Default::default(),
            Self::StaticIpip => {
                (format!("route add 250.{a}.{b}.0/24 via {other} dev flannel.ipip onlink\n"), String::new())
            }
            Self::StaticVxlan => (
                format!(
                    "neigh add 250.{a}.{b}.0 lladdr {mac} dev flannel.1 nud permanent
                     route add 250.{a}.{b}.0/24 via 250.{a}.{b}.0 dev flannel.1 onlink\n"
                ),
                format!("fdb add {mac} dev flannel.1 dst {other} self permanent\n"),
            ),
        }
    }
}

/// The other hosts of a network of so many: 172.30.0.1 and up, this one left out, the gateway's address taken last.
fn others(hosts: u32) -> impl Iterator<Item = Ipv4Addr> {
    let (network, own, gateway) = (u32::from(Ipv4Addr::new(172, 30, 0, 0)), 28, 29);
    let all = (1..65_536).filter(move |number| ![own, gateway].contains(number)).chain([gateway]);
    all.take(hosts as usize - 1).map(move |number| Ipv4Addr::from(network + number))
}

/// Everything that this host has for its networks.
pub fn count_objects(host: &Host) -> usize {
    let length = |value: Value| value.as_array().map_or(0, Vec::len);
    let lists = ["link", "addr", "neigh", "route show table all"];
    let by_ip: usize = lists.iter().map(|list| length(host.ip_json(list))).sum();
    let fdb = length(host.exec("bridge -j fdb show").ok().json_or_empty());
    let rules = length(host.nft_json("list ruleset"));
    let filters = host.sh("for d in /sys/class/net/*; do d=${d##*/}; tc filter show dev $d ingress; tc filter show dev $d egress; done 2>/dev/null; true");
    let filters = filters.stdout.lines().filter(|line| line.contains(" handle ")).count();
    by_ip + fdb + rules + filters
}

/// KiB of the kernel's memory that tables are made of.
pub fn kernel_memory() -> i64 {
    let info = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let kib = |line: &str| line.split_whitespace().nth(1).and_then(|number| number.parse::<i64>().ok());
    let counted = |line: &&str| ["Slab:", "Percpu:", "VmallocUsed:"].iter().any(|key| line.starts_with(key));
    info.lines().filter(counted).filter_map(kib).sum()
}

/// Sends small packets to hosts spread over the network in turn, and sees that they came out at the wire.
pub fn time_of_a_packet(host: &Host, way: Way, hosts: u32) -> Duration {
    let all: Vec<Ipv4Addr> = others(hosts).collect();
    let step = all.len().div_ceil(TALKED_TO as usize);
    let containers: Vec<Ipv4Addr> = all.iter().step_by(step).map(|host| container(*host)).collect();
    if way == Way::FanVxlan {
        // One Ethernet: the destinations must be in the neighbour tables, since no other host is here to answer ARP.
        let mut asked = String::new();
        for container in &containers {
            let _ = writeln!(asked, "neigh add {container} lladdr 02:00:00:02:00:02 dev fan-250-0-28 nud permanent");
        }
        host.ip(&asked);
        host.batch("bridge", "fdb add 02:00:00:02:00:02 dev fan-vx16384000 master static").ok();
    }
    let before = sent(host);
    let socket = host.run(|| UdpSocket::bind("250.0.28.1:0")).expect("a socket");
    let send = |packets: u32| {
        for (_, container) in (0..packets).zip(containers.iter().cycle()) {
            socket.send_to(&[b'f'; 64], (*container, 9)).expect("to send");
        }
    };
    send(PACKETS / 10);
    let begun = Instant::now();
    send(PACKETS);
    let time = begun.elapsed();
    let out = sent(host) - before;
    assert!(out >= u64::from(PACKETS + PACKETS / 10), "of {PACKETS} packets {out} came to the wire");
    time / PACKETS
}

fn container(host: Ipv4Addr) -> Ipv4Addr {
    let [_, _, a, b] = host.octets();
    Ipv4Addr::new(250, a, b, 2)
}

/// Packets that were sent into the wire.
fn sent(host: &Host) -> u64 {
    let count = host.run(|| fs::read_to_string("/sys/class/net/eth0/statistics/tx_packets")).expect("a counter");
    count.trim().parse().expect("a number")
}
