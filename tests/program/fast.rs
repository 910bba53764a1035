//! The fast path in the interpreter: its four programs against an oracle, and against the law.

mod machine;
mod mutants;
mod oracle;
mod packets;
mod record;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use fanctl::bpf::fast::{FastPrograms, FastSpec, Places, REDIRECTED, programs};
use fanctl::bpf::program::Program;
use fanctl::fan::mapping::{Mapping, Underlay};

use crate::TC_ACT_SHOT;
use crate::adversary::Random;
use crate::campaign::setting;
use machine::{Failure, Machine, Packet, interpreter, run};
use oracle::{Flow, Hook, value};
use packets::{Arrival, arrival, shown, spec};

const TC_ACT_UNSPEC: i32 = -1;
const PLACES: Places = Places { underlay: 2, port: 7 };

fn announced() -> FastSpec {
    let host = Ipv4Addr::new(172, 30, 0, 28);
    let underlay = Underlay::containing(host, 16).unwrap();
    FastSpec { mapping: Mapping::new("250".parse().unwrap(), underlay).unwrap(), host }
}

fn program(spec: &FastSpec, hook: Hook) -> Program {
    let FastPrograms { send, record_out, receive, record_in } = programs(spec, PLACES);
    match hook {
        Hook::Send => send,
        Hook::RecordOut => record_out,
        Hook::Receive => receive,
        Hook::RecordIn => record_in,
    }
}

/// What came of a packet: the verdict, its bytes, its way, what is known of its flow, and the counters.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Done {
    verdict: i32,
    bytes: Vec<u8>,
    way: Option<(u64, u64)>,
    known: Option<Flow>,
    counts: [u64; 2],
    priority: u32,
}

/// A flow that no packet is of.
const NO_FLOW: [u8; 16] = [0xee; 16];

fn expected(spec: &FastSpec, Arrival { hook, packet, known, now }: &Arrival) -> Done {
    let done = |verdict| Done {
        verdict,
        bytes: packet.bytes.clone(),
        way: None,
        known: *known,
        counts: [0; 2],
        priority: record::priority_after(spec, *hook, shown(packet)),
    };
    let slow = done(TC_ACT_UNSPEC);
    let Some(parsed) = oracle::parse(spec, *hook, shown(packet)) else { return slow };
    if hook.is_recording() {
        let known = record::recorded(*hook, shown(packet), parsed.length, *known, *now).or(*known);
        return Done { known, ..slow };
    }
    match known {
        Some(known) if record::is_fast(*hook, parsed.length, *known, *now) => Done {
            bytes: oracle::rewritten(spec, *hook, &packet.bytes, *known),
            way: Some(record::way(*hook, PLACES)),
            counts: if *hook == Hook::Send { [1, 0] } else { [0, 1] },
            ..done(REDIRECTED)
        },
        _ => slow,
    }
}

/// Runs a program; none where it left its memory.
fn put(code: &rbpf::EbpfVmMbuff<'_>, arrival: &Arrival, fails: Option<Failure>) -> Option<Done> {
    let key = oracle::key(arrival.hook, &arrival.packet.bytes).unwrap_or(NO_FLOW);
    let flows: BTreeMap<_, _> = arrival.known.iter().map(|flow| (key, value(*flow))).collect();
    let machine = Machine { flows, now: arrival.now, fails, ..Machine::default() };
    let (verdict, packet, mut after) = run(code, arrival.packet.clone(), machine)?;
    let known = after.flows.remove(&key).map(|value| record::flow(&value));
    // What is known of other flows was not asked for.
    let verdict = if after.flows.is_empty() { verdict } else { i32::MIN };
    let Packet { bytes, priority, .. } = packet;
    Some(Done { verdict, bytes, way: after.redirected, known, counts: after.counts, priority })
}

/// The law, in arithmetic of its own: who takes the fast path was let pass both ways within five seconds, its addresses are what
/// they must be between these hosts, and it has a hop to spare.
fn is_lawful(spec: &FastSpec, Arrival { hook, packet, known, now }: &Arrival) -> bool {
    let network = &packet.bytes[14..];
    let inner = if *hook == Hook::Send { network } else { &network[20..] };
    let number = |at: usize| u32::from_be_bytes(inner[at..at + 4].try_into().unwrap());
    let [own, other] = if *hook == Hook::Send { [12, 16] } else { [16, 12] }.map(number);
    let shift = spec.mapping.shift();
    let overlay = spec.mapping.overlay().network();
    let home = |address: u32| {
        let offset = address.checked_sub(u32::from(overlay.network())).filter(|offset| *offset < overlay.size())?;
        Some(u32::from(spec.mapping.underlay().network().network()) + (offset >> shift))
    };
    let (Some(own), Some(other), Some(known)) = (home(own), home(other), known) else { return false };
    let of_outer = |at: usize| u32::from_be_bytes(network[at..at + 4].try_into().unwrap());
    let host = u32::from(spec.host);
    let is_from_its_host = *hook == Hook::Send || (of_outer(12), of_outer(16)) == (other, host);
    let is_recent = |time: u64| time != 0 && now.wrapping_sub(time) < 5_000_000_000;
    own == host
        && other != host
        && is_from_its_host
        && known.iter().all(|half| is_recent(half.time))
        && inner[8] > 1
        && inner[6..8] == [0x40, 0]
}

/// One host, its programs, and many packets; how many went fast or were recorded.
fn round(seed: u64, packets: usize) -> Result<[usize; 4], String> {
    let random = &Random::new(seed);
    let spec = spec(random);
    let mut taken = [0; 4];
    for (hook, taken) in Hook::ALL.into_iter().zip(&mut taken) {
        let code = program(&spec, hook).encode();
        let code = interpreter(&code);
        for _ in 0..packets {
            let arrival = arrival(&spec, hook, random);
            let (done, expected) = (put(&code, &arrival, None), expected(&spec, &arrival));
            let is_fast = done.as_ref().is_some_and(|done| done.verdict == REDIRECTED);
            if done.as_ref() != Some(&expected) || (is_fast && !is_lawful(&spec, &arrival)) {
                return Err(format!("{spec:?} {arrival:02x?}: {done:02x?}, not {expected:02x?}"));
            }
            *taken += usize::from(is_fast || expected.known != arrival.known);
        }
    }
    Ok(taken)
}

#[test]
fn only_what_the_slow_path_let_pass_lately_takes_the_fast_path() {
    let (packets, seed) = (setting("CAMPAIGN_PACKETS", 40_000), setting("CAMPAIGN_SEED", 28));
    let each = 250;
    let rounds = packets.div_ceil(each * 4);
    let mut total = [0; 4];
    for number in 0..rounds {
        let taken = round(seed ^ number << 20, usize::try_from(each).unwrap())
            .unwrap_or_else(|wrong| panic!("round {number}, {wrong}"));
        for (total, taken) in total.iter_mut().zip(taken) {
            *total += taken;
        }
    }
    println!("seed {seed}; of {} packets to each hook took the fast path or were recorded: {total:?}", rounds * each);
    let each = usize::try_from(rounds * each).unwrap();
    assert!(total.iter().all(|taken| (each / 10..each * 9 / 10).contains(taken)), "{total:?} of {each}");
}

/// A packet that goes fast, at a hook.
fn fast_one(spec: &FastSpec, hook: Hook) -> Arrival {
    let random = &Random::new(7);
    let mut arrivals = (0..10_000).map(|_| arrival(spec, hook, random));
    arrivals.find(|arrival| expected(spec, arrival).verdict == REDIRECTED).unwrap()
}

#[test]
fn a_packet_that_finds_no_room_takes_the_slow_path_and_a_broken_one_is_dropped() {
    let spec = announced();
    for hook in [Hook::Send, Hook::Receive] {
        let arrival = fast_one(&spec, hook);
        let code = program(&spec, hook).encode();
        let done = |fails| put(&interpreter(&code), &arrival, Some(fails)).unwrap();
        let slow = done(Failure::AdjustRoom);
        assert_eq!((slow.verdict, slow.way, &slow.bytes), (TC_ACT_UNSPEC, None, &arrival.packet.bytes));
        let broken = done(Failure::StoreBytes);
        assert_eq!((broken.verdict, broken.way, broken.counts), (TC_ACT_SHOT, None, [0; 2]));
    }
}

#[test]
fn what_is_not_known_is_not_fast() {
    let spec = announced();
    for hook in [Hook::Send, Hook::Receive] {
        let arrival = Arrival { known: None, ..fast_one(&spec, hook) };
        let code = program(&spec, hook).encode();
        assert_eq!(put(&interpreter(&code), &arrival, None).unwrap().verdict, TC_ACT_UNSPEC);
    }
}

#[test]
fn names_are_such_as_the_kernel_takes() {
    for hook in Hook::ALL {
        let Program { name, .. } = program(&announced(), hook);
        assert!(name.len() <= 15 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name}");
    }
}
