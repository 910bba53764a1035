//! The fast path: its programs in the kernel at hand, without any device.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use fanctl::bpf::fast::{
    COUNT_RECEIVED, COUNT_SENT, COUNTS, FLOWS, FastSpec, KEY_LEN, Places, REDIRECTED, VALUE_LEN, programs,
};
use fanctl::fan::mapping::{Mapping, Underlay};
use fanctl::kernel::bpf::{Map, MapKind, TestRun, load_with, test_run};
use nix::time::{ClockId, clock_gettime};

use crate::case::{Case, Cases};

#[path = "../program/fast/oracle.rs"]
mod oracle;

use oracle::{Flow, Half, Hook, Shown, checksum, value};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("fast").under_their_names(all()).list()
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
    Shown { bytes, ethertype: 0x0800, for_us: true, vlan: false, gso_size: 0 }
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
    let mut payload = vec![0x1b, 0x58, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0, 0, 0, 0];
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

/// Nanoseconds since the machine started.
fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock");
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
            let (known, run) = crate::support::eventually("a run while the record is fresh", || {
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
        let run = crate::support::eventually("a run while the records are fresh", || {
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
