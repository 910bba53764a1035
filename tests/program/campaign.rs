//! A campaign against the programs: many packets, made by an adversary, in the interpreter.
//!
//! Two witnesses judge every packet. The oracle says which verdict it must get. The law says less, in arithmetic of its
//! own, and is what the project promises: nobody's packet is accepted whose source does not map to its sender. A short
//! campaign is among the tests; `make campaign` runs one of a hundred million packets and tells what it did. That it
//! finds mistakes is tested in [`mutants`](crate::mutants), by making them.

use std::fmt;
use std::mem;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fanctl::bpf::program::{Spec, egress, ingress};
use fanctl::fan::encap::Encapsulation;
use fanctl::fan::mapping::Mapping;
use ipnetwork::Ipv4Network;

use crate::adversary::{self, Adversary, Kind, Random};
use crate::interpreter::{Key, Packet, interpreter, run};
use crate::oracle::{self, ARP, Frame, IPV4, Outer, Verdict};
use crate::{TC_ACT_OK, context, received, wanted};

/// Packets with the same mapping.
const ROUND: u64 = 2_000;

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// The source and destination of an IPv4 packet (RFC 791, section 3.1) or the sender and target of an ARP packet (RFC 826).
fn ends(frame: &Frame) -> Option<(u64, u64)> {
    let bytes = &frame.bytes;
    match frame.ethertype {
        IPV4 => Some((number(bytes.get(12..16)?), number(bytes.get(16..20)?))),
        ARP if number(bytes.get(..6)?) == 0x0001_0800_0604 => {
            Some((number(bytes.get(14..18)?), number(bytes.get(24..28)?)))
        }
        _ => None,
    }
}

fn first(network: Ipv4Network) -> u64 {
    u32::from(network.network()).into()
}

/// Whose slice an address is in: slices follow each other in the overlay as hosts do in the underlay.
fn home(mapping: Mapping, address: u64) -> Option<u64> {
    let (overlay, underlay) = (mapping.overlay().network(), mapping.underlay().network());
    let size = 1_u64 << (underlay.prefix() - overlay.prefix());
    let beyond = first(overlay) + (1_u64 << (32 - overlay.prefix()));
    (first(overlay)..beyond).contains(&address).then(|| first(underlay) + (address - first(overlay)) / size)
}

/// Whether a packet with this outer header may pass from one host to the other. `sender` is who must have sent it.
fn is_lawful(spec: &Spec, frame: &Frame, outer: Outer, (sender, receiver): (Ipv4Addr, Ipv4Addr)) -> bool {
    let (sender, receiver) = (u64::from(u32::from(sender)), u64::from(u32::from(receiver)));
    let Some((source, destination)) = ends(frame) else {
        return false;
    };
    let is_readable = match spec.encapsulation {
        Encapsulation::Ipip | Encapsulation::Wireguard => frame.ethertype == IPV4 && frame.bytes[0] >> 4 == 4,
        Encapsulation::Vxlan => !frame.vlan && u64::from(outer.id) == first(spec.mapping.overlay().network()) >> 8,
    };
    is_readable
        && sender != receiver
        && home(spec.mapping, source) == Some(sender)
        && home(spec.mapping, destination) == Some(receiver)
        && u64::from(u32::from(outer.source)) == sender
        && u64::from(u32::from(outer.destination)) == receiver
}

/// What became of the packets of a kind.
#[derive(Clone, Copy, Default, Debug)]
struct Count {
    packets: u64,
    out: u64,
    back: u64,
}

#[derive(Clone, Copy, Default, Debug)]
struct Tally([Count; Kind::ALL.len()]);

impl Tally {
    fn add(&mut self, other: Self) {
        for (mine, more) in self.0.iter_mut().zip(other.0) {
            mine.packets += more.packets;
            mine.out += more.out;
            mine.back += more.back;
        }
    }

    fn total(self) -> Count {
        self.0.into_iter().fold(Count::default(), |sum, count| Count {
            packets: sum.packets + count.packets,
            out: sum.out + count.out,
            back: sum.back + count.back,
        })
    }
}

/// In thousandths.
fn share(part: u64, whole: u64) -> u64 {
    part * 1000 / whole.max(1)
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = [("all".to_string(), self.total())];
        let kinds = Kind::ALL.iter().zip(self.0).map(|(kind, count)| (format!("{kind:?}"), count));
        writeln!(f, "{:<13}{:>12}  {:>12}  {:>12}", "kind", "packets", "accepted out", "accepted in")?;
        for (name, count) in kinds.chain(total) {
            let percent = |part| {
                let share = share(part, count.packets);
                format!("{}.{} %", share / 10, share % 10)
            };
            let (out, back) = (percent(count.out), percent(count.back));
            writeln!(f, "{name:<13}{:>12}  {out:>12}  {back:>12}", count.packets)?;
        }
        Ok(())
    }
}

/// What a program did: its action, and the key it left.
pub type Done = (i32, Option<(Key, u64)>);

/// Runs one program on one packet, and leaves the packet where it was.
pub fn put(code: &Interpreter<'_>, frame: &mut Frame, outer: Option<Outer>) -> Done {
    let packet = Packet { bytes: mem::take(&mut frame.bytes), received: outer.map(received), ..Packet::default() };
    let (action, packet) = run(code, &context(frame), packet);
    frame.bytes = packet.bytes;
    (action, packet.sent)
}

pub type Interpreter<'a> = rbpf::EbpfVmMbuff<'a>;

/// Whether a program accepted what nobody may send. With a key in hand the packet is on its way out.
pub fn is_outrage(spec: &Spec, frame: &Frame, outer: Option<Outer>, (action, sent): Done) -> bool {
    let word = |key: &[u8], at: usize| u32::from_ne_bytes(key[at..at + 4].try_into().unwrap());
    let travels = match (sent, outer) {
        (Some((key, _)), _) => {
            let outer = Outer { source: word(&key, 28).into(), destination: word(&key, 4).into(), id: word(&key, 0) };
            Some((outer, (spec.host, outer.destination)))
        }
        (None, outer) => outer.map(|outer| (outer, (outer.source, spec.host))),
    };
    action == TC_ACT_OK && !travels.is_some_and(|(outer, hosts)| is_lawful(spec, frame, outer, hosts))
}

/// What the oracle says that the program for sending does.
pub fn outgoing(spec: &Spec, frame: &Frame) -> Done {
    match oracle::egress(spec, frame) {
        Verdict::Accepted(sent) => (TC_ACT_OK, Some(wanted(sent))),
        verdict => (verdict.action(), None),
    }
}

/// What the oracle says that the program for receiving does.
pub fn incoming(spec: &Spec, frame: &Frame, outer: Option<Outer>) -> Done {
    (oracle::ingress(spec, frame, outer).action(), None)
}

/// One round: one host, its two programs, many packets.
fn round(seed: u64) -> Result<Tally, String> {
    let random = &Random::new(seed);
    let spec = adversary::spec(random);
    let adversary = Adversary::new(&spec, adversary::mapping(random));
    let (egress, ingress) = (egress(&spec).encode(), ingress(&spec).encode());
    let (egress, ingress) = (interpreter(&egress), interpreter(&ingress));
    let mut frame = Frame::default();
    let mut tally = Tally::default();
    for _ in 0..ROUND {
        let (kind, outer) = adversary.make(random, &mut frame);
        let out = put(&egress, &mut frame, outer);
        let back = put(&ingress, &mut frame, outer);
        for (way, done, expected) in
            [("out", out, outgoing(&spec, &frame)), ("in", back, incoming(&spec, &frame, outer))]
        {
            let outrage = is_outrage(&spec, &frame, outer, done);
            if outrage || done != expected {
                return Err(format!(
                    "{way}: {done:?}, not {expected:?}; against the law: {outrage}; {spec:?} {kind:?} {frame:02x?} {outer:?}"
                ));
            }
        }
        let count = &mut tally.0[kind as usize];
        count.packets += 1;
        count.out += u64::from(out.0 == TC_ACT_OK);
        count.back += u64::from(back.0 == TC_ACT_OK);
    }
    Ok(tally)
}

/// A campaign of at least this many packets on all processors. The same seed gives the same packets.
fn campaign(packets: u64, seed: u64) -> Tally {
    let rounds = packets.div_ceil(ROUND);
    let (next, total) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= rounds {
                        return;
                    }
                    let tally = round(seed ^ number << 20).unwrap_or_else(|wrong| panic!("round {number}, {wrong}"));
                    total.lock().unwrap().add(tally);
                }
            });
        }
    });
    total.into_inner().unwrap()
}

/// A number of the environment, for `make campaign` and `make test-all`.
pub fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn no_packet_is_accepted_whose_source_does_not_map_to_its_sender() {
    let (packets, seed) = (setting("CAMPAIGN_PACKETS", 50_000), setting("CAMPAIGN_SEED", 28));
    let tally = campaign(packets, seed);
    println!("seed {seed}, packets to each of two programs:\n{tally}");
    let total = tally.total();
    assert!(total.packets >= packets);
    for accepted in [total.out, total.back] {
        assert!((100..900).contains(&share(accepted, total.packets)), "{tally}");
    }
    for (kind, count) in Kind::ALL.into_iter().zip(tally.0) {
        let as_it_should = match kind {
            Kind::Truncated => count.out == 0 && count.back == 0,
            // Seldom anything, but an overlay may be half of all addresses.
            Kind::Noise => true,
            _ => count.out > 0 && count.back > 0,
        };
        assert!(count.packets > 0 && as_it_should, "{kind:?}\n{tally}");
    }
}
