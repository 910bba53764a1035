//! The fast path: its programs in the kernel at hand, without any device, and connections that take it.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use fanctl::bpf::fast::{
    COUNT_RECEIVED, COUNT_SENT, COUNTS, FLOWS, FastSpec, KEY_LEN, Places, REDIRECTED, VALUE_LEN, programs,
};
use fanctl::fan::mapping::{Mapping, Underlay};
use fanctl::kernel::bpf::{Map, MapKind, TestRun, load_with, test_run};
use nix::time::{ClockId, clock_gettime};

use crate::case::{Case, Cases, Need};
use crate::fixture::Pair;
use crate::flowtable::{carried, own_chain, tcp_conversation, udp_conversation};
use crate::named;
use crate::support::{Capture, Encap, Host, assert_same, eventually, tcp_exchange};

mod law;
#[path = "../program/fast/oracle.rs"]
mod oracle;

use law::what_is_fast_is_what_the_slow_path_delivers;
use oracle::{Flow, Half, Hook, Shown, checksum, value};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("fast")
        .once_with(
            &[Need::Ipip],
            named![
                connections_that_stand_take_the_fast_path,
                packets_are_the_same_on_both_ways,
                a_direction_that_is_refused_is_never_fast,
                what_is_translated_is_never_fast,
                what_is_not_tracked_is_never_fast,
                two_fans_share_an_underlay,
                a_fast_path_is_mended_and_leaves_nothing,
            ],
        )
        .once_with(&[Need::Ipip, Need::Ipsec], named![what_is_fast_is_what_the_slow_path_delivers])
        .under_their_names(all())
        .list()
}

fn all() -> Vec<(&'static str, fn())> {
    vec![
        ("fast::programs_of_every_mapping_pass_the_verifier", programs_of_every_mapping_pass_the_verifier),
        ("fast::packets_of_a_known_flow_are_rewritten_and_counted", packets_of_a_known_flow_are_rewritten_and_counted),
        ("fast::what_the_slow_path_does_is_recorded", what_the_slow_path_does_is_recorded),
    ]
}

/// The programs of a fan with maps of their own.
struct Loaded {
    spec: FastSpec,
    programs: [OwnedFd; 4],
    flows: Map,
    counts: Map,
}

const PLACES: Places = Places { underlay: 1, port: 1 };

impl Loaded {
    fn new(spec: FastSpec) -> Self {
        let flows = Map::create("fast_flows", MapKind::LruHash, (KEY_LEN, VALUE_LEN), FLOWS).expect("a map");
        let counts = Map::create("fast_counts", MapKind::ArrayForEachProcessor, (4, 8), COUNTS).expect("a map");
        let maps = [flows, counts];
        let made = programs(&spec, PLACES);
        let programs = [made.send, made.record_out, made.receive, made.record_in]
            .map(|program| load_with(&program, &maps).unwrap_or_else(|error| panic!("{error}\n{program}")));
        let [flows, counts] = maps;
        Self { spec, programs, flows, counts }
    }

    fn program(&self, hook: Hook) -> &OwnedFd {
        let at = Hook::ALL.iter().position(|other| *other == hook).expect("one of them");
        &self.programs[at]
    }

    fn run(&self, hook: Hook, frame: &[u8]) -> TestRun {
        test_run(self.program(hook), frame).expect("a run")
    }

    /// Lets a packet's flow be known, at a hook.
    fn know(&self, hook: Hook, frame: &[u8], flow: Flow) {
        let parsed = oracle::parse(&self.spec, hook, shown(frame)).expect("a packet for the fast path");
        self.flows.update(&parsed.key, &value(flow)).expect("to write an entry");
    }

    fn counted(&self) -> [u64; 2] {
        [COUNT_SENT, COUNT_RECEIVED].map(|entry| self.counts.sum(entry).expect("a counter"))
    }
}

fn spec((overlay, host, len): (&str, [u8; 4], u8)) -> FastSpec {
    let host = Ipv4Addr::from(host);
    let mapping = Mapping::new(overlay.parse().unwrap(), Underlay::containing(host, len).unwrap()).unwrap();
    FastSpec { mapping, host }
}

const ANNOUNCED: (&str, [u8; 4], u8) = ("250.0.0.0/8", [172, 30, 0, 28], 16);

fn shown(bytes: &[u8]) -> Shown<'_> {
    Shown { bytes, ethertype: 0x0800, for_us: true, vlan: false, gso_size: 0, priority: 0 }
}

fn programs_of_every_mapping_pass_the_verifier() {
    for mapping in [
        ANNOUNCED,
        ("10.0.0.0/8", [192, 168, 202, 7], 24),
        ("99.0.0.0/8", [10, 99, 238, 5], 20),
        ("128.0.0.0/3", [10, 0, 0, 1], 8),
        ("250.0.0.0/8", [172, 30, 1, 2], 32),
        ("192.168.0.0/17", [240, 0, 0, 3], 28),
    ] {
        Loaded::new(spec(mapping));
    }
}

fn header(protocol: u8, [source, destination]: [[u8; 4]; 2], payload: usize) -> Vec<u8> {
    let total = u16::try_from(20 + payload).unwrap().to_be_bytes();
    let mut header = vec![0x45, 0xb8, total[0], total[1], 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0];
    header.extend([source, destination].concat());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// A packet of TCP or UDP of 250.0.28.2 and 250.0.27.3 at a hook. The loopback interface, which runs take a packet to have come
/// by, has an Ethernet address of zeros.
fn frame(hook: Hook, protocol: u8) -> Vec<u8> {
    let ends = |ends: [[u8; 4]; 2]| if hook.is_outward() { ends } else { [ends[1], ends[0]] };
    let [from, to] = if hook.is_outward() { [[0x1b, 0x58], [0, 80]] } else { [[0, 80], [0x1b, 0x58]] };
    let mut payload = [from, to].concat();
    payload.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    payload.extend(*b"something");
    let mut inner = header(protocol, ends([[250, 0, 28, 2], [250, 0, 27, 3]]), payload.len());
    inner.extend(payload);
    let mut frame = [&[0; 6][..], &[2, 0, 0, 0, 0, 9], &[8, 0]].concat();
    if hook.is_encapsulated() {
        frame.extend(header(4, ends([[172, 30, 0, 28], [172, 30, 0, 27]]), inner.len()));
    }
    frame.extend(inner);
    frame
}

/// Nanoseconds since the machine started, by the clock that the programs read: it is that of the last tick.
fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).expect("a clock");
    u64::try_from(time.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap()
}

/// A time that stays fresh for as long as a run may take: records of the future are not, so it is now.
fn lately() -> [Half; 2] {
    let half = |mark| Half { time: now(), longest: 1000, addresses: [mark; 12] };
    [half(0xa0), half(0xb0)]
}

fn packets_of_a_known_flow_are_rewritten_and_counted() {
    let loaded = Loaded::new(spec(ANNOUNCED));
    let mut counted = [0, 0];
    for hook in [Hook::Send, Hook::Receive] {
        for protocol in [6, 17] {
            let frame = frame(hook, protocol);
            let unknown = loaded.run(hook, &frame);
            assert_eq!((unknown.verdict, &unknown.packet), (-1, &frame), "{hook:?} {protocol}");
            // Where the machine stood still for seconds in between, it is tried again.
            let (known, run) = eventually("a run while the record is fresh", || {
                let known = lately();
                loaded.know(hook, &frame, known);
                let run = loaded.run(hook, &frame);
                (run.verdict == REDIRECTED).then_some((known, run))
            });
            assert_eq!(run.packet, oracle::rewritten(&loaded.spec, hook, &frame, known), "{hook:?} {protocol}");
            counted[usize::from(hook == Hook::Receive)] += 1;
            assert_eq!(loaded.counted(), counted);
            for at in [0, 1] {
                let mut stale = lately();
                stale[at].time = 0;
                loaded.know(hook, &frame, stale);
                assert_eq!(loaded.run(hook, &frame).verdict, -1, "{hook:?} {protocol}");
            }
            assert_eq!(loaded.counted(), counted);
        }
    }
}

fn what_the_slow_path_does_is_recorded() {
    let loaded = Loaded::new(spec(ANNOUNCED));
    for protocol in [6, 17] {
        let run = eventually("a run while the records are fresh", || {
            for hook in [Hook::RecordOut, Hook::RecordIn] {
                let frame = frame(hook, protocol);
                let run = loaded.run(hook, &frame);
                assert_eq!((run.verdict, run.packet), (-1, frame), "{hook:?} {protocol}");
            }
            let run = loaded.run(Hook::Send, &frame(Hook::Send, protocol));
            (run.verdict == REDIRECTED).then_some(run)
        });
        // With the Ethernet addresses of what was recorded.
        assert_eq!(run.packet[..14], frame(Hook::RecordOut, protocol)[..14]);
    }
}

/// Two hosts whose fan has a fast path.
fn pair() -> Pair {
    let pair = Pair::new(Encap::Ipip);
    for host in [&pair.a, &pair.b] {
        host.fanctl("up 250.0.0.0/8 eth0/16 --fast").ok();
    }
    pair
}

/// How many packets a host has sent and received by the fast path.
fn fast(host: &Host) -> [u64; 2] {
    let report = host.fanctl("show --json").ok().json();
    ["sent", "received"].map(|way| report[0]["counters"]["fast_path"][way].as_u64().expect("a counter"))
}

/// Questions that are asked in one go, each of which is answered.
const QUESTIONS: u64 = 50;

fn connections_that_stand_take_the_fast_path() {
    let pair = pair();
    for conversation in [tcp_conversation, udp_conversation] {
        let mut ask = conversation(&pair);
        eventually("questions and answers are fast on both hosts", || {
            let before = [&pair.a, &pair.b].map(|host| (fast(host), carried(host)));
            (0..QUESTIONS).for_each(|_| ask());
            let after = [&pair.a, &pair.b].map(|host| (fast(host), carried(host)));
            let is_fast = before.iter().zip(after).all(|((fast, carried), after)| {
                let [sent, received] = [0, 1].map(|at| after.0[at] - fast[at]);
                sent.min(received) >= QUESTIONS / 2 && after.1 - carried < QUESTIONS
            });
            is_fast.then_some(())
        });
    }
    // Where bridges ask the chains of family ip too, they are asked, and let it pass.
    if pair.b.sysctl("bridge/bridge-nf-call-iptables").is_some() {
        pair.b.set_sysctl("bridge/bridge-nf-call-iptables", "1");
        let before = fast(&pair.b);
        tcp_exchange(&pair.ca, &pair.cb, "250.0.27.2");
        assert!(fast(&pair.b)[1] > before[1]);
    }
}

/// What a container receives of a conversation is the same, but for numbers that are never the same twice.
fn packets_are_the_same_on_both_ways() {
    let pair = pair();
    let mut ask = udp_conversation(&pair);
    let seen = Capture::on(&pair.cb, "eth0", "udp and dst host 250.0.27.2");
    let start = fast(&pair.b)[1];
    let asked = eventually("fast questions", || {
        (0..QUESTIONS).for_each(|_| ask());
        (fast(&pair.b)[1] >= start + QUESTIONS).then(|| usize::try_from(fast(&pair.b)[1] - start).unwrap())
    });
    // The first of them took the slow path.
    let packets = seen.at_least(asked);
    let same = |packet: &String| {
        let (before, rest) = packet.split_once(" id ").unwrap_or((packet, ""));
        let before = before.split_once("IP ").map_or(before, |(_, rest)| rest).to_string();
        (before, rest.split_once(',').map(|(_, rest)| rest.to_string()))
    };
    for packet in &packets {
        assert!(packet.contains(&format!("ttl {},", Encap::Ipip.ttl())), "{packet}");
        assert_eq!(same(packet), same(&packets[0]));
    }
}

/// Answers that a rule refuses are received by nobody, so no question is fast.
fn a_direction_that_is_refused_is_never_fast() {
    use std::net::UdpSocket;
    let pair = pair();
    own_chain(&pair.a, "iifname fan-ipip oifname fan-250-0-28 ip protocol udp counter drop");
    let [near, far] = [(&pair.ca, "250.0.28.2:7001"), (&pair.cb, "250.0.27.2:7002")]
        .map(|(container, address)| container.run(move || UdpSocket::bind(address)).expect("a socket"));
    for _ in 0..QUESTIONS {
        near.send_to(b"question", "250.0.27.2:7002").expect("to ask");
        far.send_to(b"answer", "250.0.28.2:7001").expect("to answer");
    }
    eventually("all answers have met the rule", || {
        (pair.a.counters("ip mine").iter().sum::<u64>() >= QUESTIONS).then_some(())
    });
    assert_eq!(fast(&pair.a), [0, 0]);
}

/// A port of one address that destination NAT gives to another: the container's answers have its own address on the bridge, and
/// the other on the wire.
fn what_is_translated_is_never_fast() {
    let pair = pair();
    pair.b.exec("nft add table ip mine").ok();
    pair.b.exec("nft add chain ip mine other { type nat hook prerouting priority -100 ; }").ok();
    pair.b.exec("nft add rule ip mine other ip daddr 250.0.27.9 counter dnat to 250.0.27.2").ok();
    let listener = pair.cb.run(|| std::net::TcpListener::bind("250.0.27.2:8080")).expect("to listen");
    let mut near = pair.ca.run(|| std::net::TcpStream::connect("250.0.27.9:8080")).expect("a connection");
    let (mut far, _) = listener.accept().expect("a connection");
    let mut word = [0; 8];
    for _ in 0..QUESTIONS {
        std::io::Write::write_all(&mut near, b"question").expect("to ask");
        std::io::Read::read_exact(&mut far, &mut word).expect("a question");
        std::io::Write::write_all(&mut far, b"answered").expect("to answer");
        std::io::Read::read_exact(&mut near, &mut word).expect("an answer");
    }
    assert_eq!(fast(&pair.b), [0, 0]);
    assert!(fast(&pair.a)[0] > 0, "nothing is translated there");
}

/// Nor is it in the flowtable.
fn what_is_not_tracked_is_never_fast() {
    let pair = pair();
    pair.b.exec("nft add table ip mine").ok();
    pair.b.exec("nft add chain ip mine raw { type filter hook prerouting priority -300 ; }").ok();
    pair.b.exec("nft add rule ip mine raw ip protocol udp counter notrack").ok();
    let mut ask = udp_conversation(&pair);
    (0..QUESTIONS).for_each(|_| ask());
    assert!(pair.b.counters("ip mine").iter().sum::<u64>() >= QUESTIONS);
    assert_eq!(fast(&pair.b), [0, 0]);
    assert!(fast(&pair.a)[0] > 0, "all is tracked there");
}

fn two_fans_share_an_underlay() {
    let pair = pair();
    for host in [&pair.a, &pair.b] {
        host.fanctl("up 251.0.0.0/8 eth0/16 --fast").ok();
    }
    let (ca, cb) = (pair.a.container("251.0.28.2"), pair.b.container("251.0.27.2"));
    tcp_exchange(&ca, &cb, "251.0.27.2");
    tcp_exchange(&pair.ca, &pair.cb, "250.0.27.2");
    let report = pair.a.fanctl("show --json").ok().json();
    for fan in report.as_array().expect("two fans") {
        assert!(fan["counters"]["fast_path"]["sent"].as_u64() > Some(0), "{fan}");
    }
    let sent = [0, 1].map(|at| report[at]["counters"]["fast_path"]["sent"].to_string());
    for (overlay, sent) in ["250.0.0.0/8", "251.0.0.0/8"].iter().zip(&sent) {
        pair.a.fanctl("show -l").ok().stdout_has(&[&format!("  fast path: {sent} packets sent, ")]);
        let metric = format!("fanctl_fast_sent_packets_total{{overlay=\"{overlay}\"}} {sent}\n");
        pair.a.fanctl("metrics").ok().stdout_has(&[&metric]);
    }
    drop((ca, cb));
    pair.a.fanctl("down 251.0.0.0/8 eth0/16").ok();
    tcp_exchange(&pair.ca, &pair.cb, "250.0.27.2");
    assert!(fast(&pair.a)[0] > 0);
}

fn a_fast_path_is_mended_and_leaves_nothing() {
    let pair = Pair::new(Encap::Ipip);
    let without = pair.a.dump();
    let up = || pair.a.fanctl("up 250.0.0.0/8 eth0/16 --fast").ok();
    up();
    let with = pair.a.dump();
    pair.a.unchanged(up);
    for loss in [
        "ip link del fan-in16384000",
        "tc qdisc del dev eth0 clsact",
        "tc filter del dev eth0 egress",
        "tc filter del dev fan-250-0-28 ingress",
        "ip link set fan-in16384000 nomaster",
        "ip link set fan-in16384000 down",
    ] {
        pair.a.exec(loss).ok();
        let output = up();
        assert_same(&with, &pair.a.dump(), &format!("{loss}\n{output}"));
    }
    // A filter of somebody else stays, and so does what it hangs on.
    pair.a.exec("tc filter add dev eth0 ingress pref 7 protocol ip matchall action ok").ok();
    let output = pair.a.up(Encap::Ipip);
    assert!(pair.a.exec("tc filter show dev eth0 ingress").ok().stdout.contains("pref 7"));
    pair.a.exec("tc qdisc del dev eth0 clsact").ok();
    assert_same(&without, &pair.a.dump(), &output.to_string());
}
