//! The law of the fast path, packet by packet against the slow path: with rule sets, NAT, marks and policies of IPsec that were there
//! before, containers receive the same packets, byte by byte, with a fast path and without.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;

use super::{checksum, fast};
use crate::fixture::Pair;
use crate::soak::rounds_or;
use crate::support::{Host, Namespace, flush_connections, inject_frames, octets, seed};

/// Rule sets where `FANCTL_SOAK` says nothing else, how often both containers send, and how many packets each time.
const ROUNDS: usize = 4;
const PHASES: usize = 6;
const PACKETS: usize = 40;
/// The first phases have sound packets only, so that flows stand.
const SOUND_PHASES: usize = 3;
/// Flows with these numbers; even ones are of UDP, odd ones of TCP. The last has an address that rules may translate.
const FLOWS: u16 = 9;
/// One that no rule is about: its packets end a phase.
const LAST: u16 = 40;

/// Packets that are received, sorted, for each phase and direction.
type Received = Vec<Vec<Vec<u8>>>;

pub fn what_is_fast_is_what_the_slow_path_delivers() {
    let pair = super::pair();
    for host in [&pair.a, &pair.b] {
        host.set_sysctl("ipv4/icmp_ratelimit", "0");
        host.exec("ip rule add fwmark 7 blackhole").ok();
    }
    for container in [&pair.ca, &pair.cb] {
        // Nobody answers but the test.
        container.exec("nft add table ip quiet").ok();
        container.exec("nft add chain ip quiet input { type filter hook input priority -400 ; }").ok();
        container.exec("nft add rule ip quiet input meta l4proto != icmp drop").ok();
    }
    pair.ca.ping("250.0.27.2").arrives();
    let mut counted = [0; 2];
    for round in 0..rounds_or(ROUNDS) {
        let number = seed().wrapping_add(round);
        let rules = load_rules(&pair, &mut Random::new(number));
        let slow = converse(&pair, "", number);
        let quick = converse(&pair, " --fast", number);
        for (at, (slow, quick)) in slow.iter().zip(&quick).enumerate() {
            let (lost, new) = (beside(slow, quick), beside(quick, slow));
            let context = format!("FANCTL_SEED={number}, phase {} direction {}, rules\n{rules}", at / 2, at % 2);
            assert!(lost.is_empty() && new.is_empty(), "{context}\nlost {lost:02x?}\nnew {new:02x?}");
        }
        let [sent, received] = fast(&pair.a);
        counted = [counted[0] + sent, counted[1] + received];
        println!("{} packets received; {sent} sent fast, {received} received so", slow.iter().flatten().count());
        unload_rules(&pair);
    }
    assert!(counted.iter().all(|count| *count > 100), "{counted:?}");
}

/// What is in one list and not in the other.
fn beside<'a>(these: &'a [Vec<u8>], others: &[Vec<u8>]) -> Vec<&'a Vec<u8>> {
    these.iter().filter(|packet| !others.contains(packet)).collect()
}

/// A few rules about flows, on either host.
fn load_rules(pair: &Pair, random: &mut Random) -> String {
    let chains = [
        ("raw", "filter hook prerouting priority -300"),
        ("pre", "nat hook prerouting priority -100"),
        ("forward", "filter hook forward priority 0"),
        ("post", "nat hook postrouting priority 100"),
    ];
    let mut scripts = [&pair.a, &pair.b].map(|host| {
        host.exec("nft add table ip mine").ok();
        for (name, kind) in chains {
            host.exec(&format!("nft add chain ip mine {name} {{ type {kind} ; }}")).ok();
        }
        host
    });
    let mut told = Vec::new();
    for _ in 0..4 {
        let port = random.one_of(&[7000, 7100]) + u16::try_from(random.below(FLOWS.into())).expect("a few");
        let protocol = if port.is_multiple_of(2) { "udp" } else { "tcp" };
        let side = random.one_of(&["sport", "dport"]);
        let command = match random.below(8) {
            0 => format!("nft add rule ip mine forward {protocol} {side} {port} drop"),
            1 => format!("nft add rule ip mine forward {protocol} {side} {port} reject"),
            2 => format!("nft add rule ip mine raw {protocol} {side} {port} meta mark set 7"),
            3 => format!("nft add rule ip mine raw {protocol} {side} {port} notrack"),
            4 => "nft add rule ip mine pre ip daddr 250.0.27.9 dnat to 250.0.27.2".to_string(),
            5 => format!("nft add rule ip mine pre {protocol} dport {port} dnat to 250.0.27.2:7990"),
            6 => format!("nft add rule ip mine post {protocol} sport {port} snat to 250.0.28.2:7991"),
            _ => format!(
                "ip xfrm policy add src 250.0.0.0/8 dst 250.0.0.0/8 proto {protocol} {side} {port} dir {} action block",
                random.one_of(&["out", "fwd"])
            ),
        };
        let host: &mut &Host = &mut scripts[random.below(2)];
        // The same may be there already.
        host.exec(&command);
        told.push(format!("[{}] {command}", host.id()));
    }
    told.join("\n")
}

fn unload_rules(pair: &Pair) {
    for host in [&pair.a, &pair.b] {
        host.exec("nft delete table ip mine").ok();
        host.exec("ip xfrm policy flush").ok();
    }
}

/// Both containers send, in turn; what the other one receives each time.
fn converse(pair: &Pair, words: &str, number: usize) -> Received {
    for host in [&pair.a, &pair.b] {
        host.fanctl(&format!("up 250.0.0.0/8 eth0/16{words}")).ok();
        host.run(flush_connections);
    }
    let ends = [(&pair.ca, &pair.a, "fan-250-0-28", &pair.cb), (&pair.cb, &pair.b, "fan-250-0-27", &pair.ca)];
    let links = ends.map(|(from, host, bridge, _)| {
        [octets(&host.mac(bridge)), octets(&from.mac("eth0")), [0x08, 0, 0, 0, 0, 0]].concat()[..14].to_vec()
    });
    let taps = ends.map(|(.., to)| Tap::on(to));
    let mut random = Random::new(number ^ 0x5555);
    let mut received = Vec::new();
    for phase in 0..PHASES {
        for (way, (from, ..)) in ends.iter().enumerate() {
            let id = u16::try_from(phase * 2 + way).expect("a few") << 8;
            let frame = |packet: Vec<u8>| [links[way].clone(), packet].concat();
            let mut frames: Vec<Vec<u8>> = (1..=u16::try_from(PACKETS).expect("a few"))
                .map(|at| frame(packet(id | at, way == 0, phase, &mut random)))
                .collect();
            let end = |number| {
                let mut last = sound(id | number, LAST, way == 0, 20, 0x18);
                // It takes the slow path.
                last[6] = 0;
                seal(&mut last);
                frame(last)
            };
            frames.push(end(0xfe));
            inject_frames(from, frames);
            let mut packets = taps[way].until(id | 0xfe);
            // What took the fast path may come later, but not later than what is sent now.
            inject_frames(from, vec![end(0xff)]);
            packets.extend(taps[way].until(id | 0xff));
            packets.sort();
            received.push(packets);
        }
    }
    received
}

/// A packet of one of the flows, sound or not.
fn packet(id: u16, is_outward: bool, phase: usize, random: &mut Random) -> Vec<u8> {
    let flow = u16::try_from(random.below(FLOWS.into())).expect("a few");
    let is_sound = phase < SOUND_PHASES || random.below(2) == 0;
    let flags = if is_sound { 0x18 } else { random.one_of(&[0x10, 0x18, 0x38, 0x10]) };
    // In the end connections end, and what begins them anew is a matter of the slow path alone.
    let flags = if phase == PHASES - 1 { random.one_of(&[0x11, 0x14, 0x02]) } else { flags };
    let len = random.one_of(&[0, 8, 400, 1200, 1400]);
    let mut packet = sound(id, flow, is_outward, len, flags);
    if is_sound {
        return packet;
    }
    match random.below(9) {
        0 => packet[8] = random.one_of(&[1, 2, 3, 255]),
        1 => packet[1] = random.one_of(&[1, 2, 3, 0xb8]),
        2 => packet[6] = 0,
        3 => packet[6] = 0x20,
        4 => {
            let total = u16::try_from(packet.len() - 4).expect("short").to_be_bytes();
            packet[2..4].copy_from_slice(&total);
        }
        5 => packet.extend([0; 5]),
        6 => {
            // An option that does nothing.
            packet.splice(20..20, [1, 1, 1, 0]);
            packet[0] = 0x46;
            let total = u16::try_from(packet.len()).expect("short").to_be_bytes();
            packet[2..4].copy_from_slice(&total);
        }
        7 => {
            let last = packet.len() - 1;
            packet[last] ^= 0x55;
        }
        _ => {
            packet[10] ^= 1 << random.below(8);
            return packet;
        }
    }
    seal(&mut packet);
    packet
}

fn sound(id: u16, flow: u16, is_outward: bool, len: usize, flags: u8) -> Vec<u8> {
    let (near, far) = (Ipv4Addr::new(250, 0, 28, 2), Ipv4Addr::new(250, 0, 27, 2));
    // Its answers have the container's own address.
    let named = if flow == FLOWS - 1 { Ipv4Addr::new(250, 0, 27, 9) } else { far };
    let (from, to, ports) =
        if is_outward { (near, named, [7000 + flow, 7100 + flow]) } else { (far, near, [7100 + flow, 7000 + flow]) };
    let ports = ports.map(u16::to_be_bytes).concat();
    let is_tcp = flow % 2 == 1;
    let mut payload = ports;
    if is_tcp {
        payload.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    } else {
        payload.extend(u16::try_from(8 + len).expect("short").to_be_bytes());
        payload.extend([0, 0]);
    }
    payload.resize(payload.len() + len, 0x66);
    if is_tcp {
        let total = u16::try_from(payload.len()).expect("short").to_be_bytes();
        let mut pseudo = [&from.octets()[..], &to.octets(), &[0, 6], &total, &payload].concat();
        pseudo.resize(pseudo.len().next_multiple_of(2), 0);
        payload[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    }
    let total = u16::try_from(20 + payload.len()).expect("short").to_be_bytes();
    let id = id.to_be_bytes();
    let mut packet = vec![0x45, 0, total[0], total[1], id[0], id[1], 0x40, 0, 64, if is_tcp { 6 } else { 17 }, 0, 0];
    packet.extend([from.octets(), to.octets()].concat());
    packet.extend(payload);
    seal(&mut packet);
    packet
}

fn seal(packet: &mut [u8]) {
    let len = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let sum = checksum(&packet[..len]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// What a container receives by eth0, before its kernel has looked at it.
struct Tap {
    socket: OwnedFd,
    own: [u8; 6],
}

impl Tap {
    fn on(container: &Namespace) -> Self {
        /// Only a failing test waits that long.
        const PATIENTLY: Duration = Duration::from_secs(60);
        let own = octets(&container.mac("eth0"));
        let socket = container.run(|| {
            let kind = SockType::Raw;
            socket(AddressFamily::Packet, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll).expect("a raw socket")
        });
        let patience = TimeVal::new(PATIENTLY.as_secs().try_into().expect("seconds"), 0);
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience).expect("a timeout");
        setsockopt(&socket, sockopt::RcvBuf, &(1 << 20)).expect("a buffer");
        Self { socket, own }
    }

    /// Packets of TCP and UDP between the containers, up to that with this identification, which is none of them.
    fn until(&self, last: u16) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let len = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("the last packet comes");
            let frame = &buffer[..len];
            let is_ours =
                len >= 34 && frame[..6] == self.own && frame[12..14] == [8, 0] && [6, 17].contains(&frame[23]);
            if !is_ours {
                continue;
            }
            if frame[18..20] == last.to_be_bytes() {
                return packets;
            }
            packets.push(comparable(frame));
        }
    }
}

/// A frame, without a port that address translation chose at random, and what follows from that.
fn comparable(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let ports = 14 + usize::from(frame[14] & 15) * 4;
    let checksum = ports + if frame[23] == 6 { 16 } else { 6 };
    for port in [ports, ports + 2] {
        let is_ours = |port: &[u8]| {
            let port = u16::from_be_bytes([port[0], port[1]]);
            matches!(port, 7990 | 7991) || [7000, 7100].iter().any(|first| (*first..first + FLOWS).contains(&port))
        };
        if frame.get(port..port + 2).is_some_and(|port| !is_ours(port)) {
            for at in [port, checksum] {
                if let Some(bytes) = frame.get_mut(at..at + 2) {
                    bytes.fill(0);
                }
            }
        }
    }
    frame
}

/// A generator of numbers that a seed decides (splitmix64).
struct Random(u64);

impl Random {
    fn new(seed: usize) -> Self {
        Self(u64::try_from(seed).expect("64 bits"))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((number ^ (number >> 31)) >> 33).expect("31 bits") % end
    }

    fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())]
    }
}
