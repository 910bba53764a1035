//! The programs in the interpreter: they do what the mapping says, whatever packets come.

mod adversary;
mod campaign;
mod fast;
mod interpreter;
mod mutants;
mod oracle;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use fanctl::bpf::program::{self, Program, Spec, egress, ingress, refuse};
use fanctl::fan::encap::Encapsulation;
use fanctl::fan::mapping::{Mapping, Overlay, Underlay};
use ipnetwork::Ipv4Network;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRunner};

use interpreter::{Key, Packet, interpreter, run};
use oracle::{Frame, Outer, Sent, Verdict, any_arrival, host_of};

/// What a program says of a packet that it lets pass, and of one that it drops (linux/pkt_cls.h).
const TC_ACT_OK: i32 = program::ACCEPTED;
const TC_ACT_SHOT: i32 = 2;

/// Any mapping of networks that may be used.
fn any_mapping() -> impl Strategy<Value = Mapping> {
    (1_u8..=30, any::<u32>(), any::<u32>())
        .prop_flat_map(|(over_len, over, under)| (Just(over_len), (over_len + 2)..=32, Just(over), Just(under)))
        .prop_filter_map("networks that may be used", |(over_len, under_len, over, under)| {
            let over = Ipv4Network::new(over.into(), over_len).ok()?;
            let over = Overlay::new(Ipv4Network::new(over.network(), over_len).ok()?).ok()?;
            Mapping::new(over, Underlay::containing(under.into(), under_len).ok()?).ok()
        })
}

/// The beginning of `struct __sk_buff`, up to `vlan_present`.
fn context(frame: &Frame) -> [u8; 24] {
    let mut bytes = [0xaa; 24];
    bytes[16..20].copy_from_slice(&u32::from(frame.ethertype.to_be()).to_ne_bytes());
    bytes[20..].copy_from_slice(&u32::from(frame.vlan).to_ne_bytes());
    bytes
}

/// A received key: to a receiver, "remote" is the outer source.
fn received(outer: Outer) -> Key {
    let mut key = [0x55; 44];
    key[0..4].copy_from_slice(&outer.id.to_ne_bytes());
    key[4..8].copy_from_slice(&u32::from(outer.source).to_ne_bytes());
    key[28..32].copy_from_slice(&u32::from(outer.destination).to_ne_bytes());
    key
}

/// The key and the flags that a packet must leave with; what IPv6 would use of the key is zero.
fn wanted(sent: Sent) -> (Key, u64) {
    let mut key = [0; 44];
    key[0..4].copy_from_slice(&sent.outer.id.to_ne_bytes());
    key[4..8].copy_from_slice(&u32::from(sent.outer.destination).to_ne_bytes());
    key[20..22].copy_from_slice(&[sent.tos, sent.ttl]);
    key[28..32].copy_from_slice(&u32::from(sent.outer.source).to_ne_bytes());
    (key, u64::from(sent.no_checksum) << 1 | u64::from(sent.dont_fragment) << 2)
}

/// Who is heard by all neighbours: mostly the last address of the underlay, and of the networks around some hosts.
fn any_broadcasts(mapping: Mapping) -> impl Strategy<Value = BTreeSet<Ipv4Addr>> {
    let last = mapping.underlay().network().broadcast();
    let of_a_network = (any::<u32>(), 2_u32..16).prop_map(move |(bits, width)| {
        let address = u32::from(host_of(mapping, bits)) | ((1 << width) - 1);
        Ipv4Addr::from(address)
    });
    let any_address = prop_oneof![3 => Just(last), 2 => of_a_network];
    btree_set(any_address, 0..3).prop_map(move |addresses| {
        let inside = addresses.into_iter().filter(|address| mapping.underlay().contains(*address));
        inside.collect()
    })
}

fn any_spec() -> impl Strategy<Value = Spec> {
    let encapsulation = prop_oneof![
        2 => Just(Encapsulation::Ipip),
        2 => Just(Encapsulation::Vxlan),
        1 => Just(Encapsulation::Wireguard),
    ];
    let parts = (any_mapping(), any::<u32>(), encapsulation);
    parts.prop_flat_map(|(mapping, bits, encapsulation)| {
        any_broadcasts(mapping).prop_map(move |broadcasts| Spec {
            mapping,
            host: host_of(mapping, bits),
            broadcasts,
            encapsulation,
        })
    })
}

/// How often each verdict was right, on the way out and in.
#[derive(Default)]
struct Tally {
    foreign: Cell<u32>,
    refused: Cell<u32>,
    accepted: Cell<u32>,
}

impl Tally {
    fn count<T>(&self, verdict: &Verdict<T>) {
        let counter = match verdict {
            Verdict::Foreign => &self.foreign,
            Verdict::Refused => &self.refused,
            Verdict::Accepted(_) => &self.accepted,
        };
        counter.set(counter.get() + 1);
    }

    fn total(&self) -> u32 {
        self.foreign.get() + self.refused.get() + self.accepted.get()
    }
}

const CASES: u32 = 2_600;
const PACKETS: usize = 80;

#[test]
fn programs_do_in_the_interpreter_what_the_mapping_says() {
    let config = ProptestConfig {
        cases: CASES,
        max_global_rejects: 2_000_000,
        // The default's random numbers would take three quarters of the time.
        rng_algorithm: RngAlgorithm::XorShift,
        ..ProptestConfig::default()
    };
    let cases = any_spec().prop_flat_map(|spec| {
        let arrivals = vec(any_arrival(&spec), PACKETS);
        (Just(spec), arrivals)
    });
    let (out, back) = (Tally::default(), Tally::default());
    TestRunner::new(config)
        .run(&cases, |(spec, arrivals)| {
            let (egress, ingress) = (egress(&spec).encode(), ingress(&spec).encode());
            let (egress, ingress) = (interpreter(&egress), interpreter(&ingress));
            for (frame, outer) in arrivals {
                let context = context(&frame);
                let packet = Packet { bytes: frame.bytes.clone(), received: outer.map(received), ..Packet::default() };

                let expected = oracle::egress(&spec, &frame);
                let (action, after) = run(&egress, &context, packet.clone());
                prop_assert_eq!(action, expected.action(), "out: {:?}", frame);
                let key = match expected {
                    // WireGuard itself knows where to.
                    Verdict::Accepted(key) if spec.encapsulation != Encapsulation::Wireguard => Some(wanted(key)),
                    _ => None,
                };
                prop_assert_eq!(after.sent, key, "{:?}", frame);
                out.count(&expected);

                let expected = oracle::ingress(&spec, &frame, outer);
                let (action, after) = run(&ingress, &context, packet);
                prop_assert_eq!(action, expected.action(), "in: {:?} {:?}", frame, outer);
                prop_assert_eq!(after.sent, None);
                back.count(&expected);
            }
            Ok(())
        })
        .unwrap();
    for tally in [out, back] {
        assert_eq!(tally.total(), CASES * u32::try_from(PACKETS).unwrap());
        for seen in [&tally.foreign, &tally.refused, &tally.accepted] {
            assert!(seen.get() > tally.total() / 50, "{} of {}", seen.get(), tally.total());
        }
    }
}

/// A fan on the host of this address, in an underlay of this width.
fn of(overlay: &str, (host, width): ([u8; 4], u8), encapsulation: Encapsulation) -> Spec {
    let underlay = Underlay::containing(host.into(), width).unwrap();
    Spec {
        mapping: Mapping::new(overlay.parse().unwrap(), underlay).unwrap(),
        host: host.into(),
        broadcasts: [underlay.network().broadcast()].into(),
        encapsulation,
    }
}

/// The fan of the announcement: 250.0.0.0/8 over 172.30.0.0/16, on 172.30.0.28.
fn announced(encapsulation: Encapsulation) -> Spec {
    of("250", ([172, 30, 0, 28], 16), encapsulation)
}

#[test]
fn what_the_tunnel_cannot_be_told_to_send_is_dropped() {
    let [source, destination] = [[250, 0, 28, 2], [250, 0, 27, 3]];
    let header = [[0x45, 0, 0, 20], [0; 4], [64, 17, 0, 0], source, destination];
    for encapsulation in [Encapsulation::Ipip, Encapsulation::Vxlan] {
        let frame = Frame { ethertype: oracle::IPV4, vlan: false, bytes: header.concat() };
        let code = egress(&announced(encapsulation)).encode();
        for (keyless, action) in [(false, TC_ACT_OK), (true, TC_ACT_SHOT)] {
            let packet = Packet { bytes: frame.bytes.clone(), keyless, ..Packet::default() };
            assert_eq!(run(&interpreter(&code), &context(&frame), packet).0, action);
        }
    }
}

#[test]
#[cfg(target_endian = "little")]
fn the_listings_are_as_written_down() {
    for (encapsulation, out, back) in [
        (Encapsulation::Ipip, include_str!("ipip-egress.txt"), include_str!("ipip-ingress.txt")),
        (Encapsulation::Vxlan, include_str!("vxlan-egress.txt"), include_str!("vxlan-ingress.txt")),
        (Encapsulation::Wireguard, include_str!("wireguard-egress.txt"), include_str!("wireguard-ingress.txt")),
    ] {
        let spec = announced(encapsulation);
        assert_eq!(format!("{}\n", egress(&spec)), out);
        assert_eq!(format!("{}\n", ingress(&spec)), back);
    }
    assert_eq!(refuse().to_string(), "  0: w0 = 2                               ; TC_ACT_SHOT: of no fan\n  1: exit");
}

#[test]
fn names_are_such_as_the_kernel_takes() {
    let spec = announced(Encapsulation::Ipip);
    for Program { name, .. } in [egress(&spec), ingress(&spec), refuse()] {
        assert!(name.len() <= 15 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.'), "{name}");
    }
}
