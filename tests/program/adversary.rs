//! Packets as somebody makes them who wants past the programs, and random numbers to make them of.
//!
//! Every kind of packet that the wire can carry and a program could misread, between addresses at which the arithmetic
//! could go wrong. Fast and repeatable: a seed gives the same packets on every machine.

use std::cell::Cell;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::oracle::{ARP, Frame, IPV4, IPV6, Outer, id};
use fanctl::bpf::program::Spec;
use fanctl::fan::encap::Encapsulation;
use fanctl::fan::mapping::{Mapping, Overlay, Underlay};

/// Random numbers (SplitMix64).
pub struct Random(Cell<u64>);

impl Random {
    /// Those of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    pub fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut mixed = self.0.get();
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// All 32 bits.
    pub fn bits(&self) -> u32 {
        u32::try_from(self.next() >> 32).expect("32 bits")
    }

    pub fn byte(&self) -> u8 {
        self.bits().to_be_bytes()[0]
    }

    pub fn below(&self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).expect("small")).expect("small")
    }

    pub fn one_in(&self, number: usize) -> bool {
        self.below(number) == 0
    }

    pub fn one_of<T: Copy>(&self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub fn fill(&self, bytes: &mut Vec<u8>, count: usize) {
        for _ in 0..count {
            bytes.push(self.byte());
        }
    }
}

/// Widths people use, and those at the limits.
const WIDTHS: [(u8, u8); 8] = [(8, 16), (8, 20), (10, 24), (8, 24), (3, 8), (8, 32), (30, 32), (17, 28)];

/// A mapping: the announced one, of usual widths, or of any.
pub fn mapping(random: &Random) -> Mapping {
    loop {
        let (over, under) = match random.below(4) {
            0 => return Mapping::new(overlay(0xfa00_0000, 8).unwrap(), underlay(0xac1e_0000, 16).unwrap()).unwrap(),
            1 => random.one_of(&WIDTHS),
            _ => {
                let over = 1 + random.below(30);
                let under = over + 2 + random.below(31 - over);
                (u8::try_from(over).unwrap(), u8::try_from(under).unwrap())
            }
        };
        let (Some(over), Some(under)) = (overlay(random.bits(), over), underlay(random.bits(), under)) else {
            continue;
        };
        if let Ok(mapping) = Mapping::new(over, under) {
            return mapping;
        }
    }
}

fn overlay(bits: u32, len: u8) -> Option<Overlay> {
    let network = Ipv4Network::new(bits.into(), len).ok()?;
    Overlay::new(Ipv4Network::new(network.network(), len).ok()?).ok()
}

fn underlay(bits: u32, len: u8) -> Option<Underlay> {
    Underlay::containing(bits.into(), len).ok()
}

fn inside(network: Ipv4Network, bits: u32) -> u32 {
    u32::from(network.network()) | (bits & !u32::from(network.mask()))
}

/// A host with a fan.
pub fn spec(random: &Random) -> Spec {
    let mapping = mapping(random);
    let underlay = mapping.underlay().network();
    let host = inside(underlay, random.bits()).into();
    // What all neighbours hear: the underlay's last address, or that of a smaller network, or both.
    let all = [underlay.broadcast(), (inside(underlay, random.bits()) | 3).into()];
    let heard = all.into_iter().filter(|address| underlay.contains(*address));
    let broadcasts = heard.filter(|_| random.below(2) == 0).collect();
    let encapsulation = random.one_of(&[Encapsulation::Ipip, Encapsulation::Vxlan]);
    Spec { mapping, host, broadcasts, encapsulation }
}

/// A host, and addresses of its fan and of another fan at which mistakes would be made.
pub struct Adversary {
    spec: Spec,
    edges: Vec<u32>,
}

impl Adversary {
    /// One who knows the fan.
    pub fn new(spec: &Spec, other: Mapping) -> Self {
        let networks = [
            spec.mapping.slice(spec.host),
            spec.mapping.overlay().network(),
            spec.mapping.underlay().network(),
            other.slice(spec.host),
            other.overlay().network(),
        ];
        let around = |network: Ipv4Network| {
            let (first, last) = (u32::from(network.network()), u32::from(network.broadcast()));
            [first, first.wrapping_sub(1), first + 1, last, last - 1, last.wrapping_add(1)]
        };
        // A /32 has neither a second address nor a last but one.
        let heard_by_all = spec.broadcasts.iter().map(|address| spec.mapping.slice(*address));
        let wide = networks.into_iter().chain(heard_by_all).filter(|network| network.prefix() < 31);
        let mut edges: Vec<u32> = wide.flat_map(around).collect();
        edges.extend([u32::from(spec.host), 0, u32::MAX, 0x7f00_0001, 0xe000_0001]);
        let spec = spec.clone();
        Self { spec, edges }
    }

    fn ours(&self, random: &Random) -> u32 {
        inside(self.spec.mapping.slice(self.spec.host), random.bits())
    }

    fn others(&self, random: &Random) -> u32 {
        let overlay = self.spec.mapping.overlay().network();
        let slice = self.spec.mapping.slice(self.spec.host);
        match random.below(3) {
            // The slices beside ours.
            0 => self.ours(random).wrapping_add(slice.size()),
            1 => self.ours(random).wrapping_sub(slice.size()),
            _ => inside(overlay, random.bits()),
        }
    }

    /// An address in place of another.
    fn nasty(&self, random: &Random, address: u32) -> u32 {
        match random.below(4) {
            0 => random.one_of(&self.edges),
            1 => address ^ (1 << random.below(32)),
            2 => inside(self.spec.mapping.underlay().network(), random.bits()),
            _ => random.bits(),
        }
    }

    /// Source and destination, more often than not as they would be on their way out or in.
    fn ends(&self, random: &Random) -> [u32; 2] {
        let mut ends = match random.below(9) {
            0..=3 => [self.ours(random), self.others(random)],
            4..=7 => [self.others(random), self.ours(random)],
            _ => [self.ours(random), self.ours(random)],
        };
        for end in &mut ends {
            if random.one_in(8) {
                *end = self.nasty(random, *end);
            }
        }
        ends
    }

    /// A packet with the outer header that it comes with. The buffer of the last one is used again.
    pub fn make(&self, random: &Random, frame: &mut Frame) -> (Kind, Option<Outer>) {
        let kind = match random.below(3) {
            // The others are not for IPIP, or seldom get far.
            0 => random.one_of(&Kind::ALL),
            1 => random.one_of(&[Kind::Plain, Kind::Options, Kind::Fragment, Kind::Nested, Kind::IcmpError]),
            _ => random.one_of(&[Kind::Plain, Kind::Arp]),
        };
        let [source, destination] = self.ends(random);
        frame.vlan = false;
        frame.bytes.clear();
        frame.ethertype = kind.write(self, random, (source, destination), frame);
        (kind, self.outer(random, source))
    }

    /// The outer header of an honest sender, or one with a slip.
    fn outer(&self, random: &Random, source: u32) -> Option<Outer> {
        let Spec { mapping, host, .. } = self.spec;
        let honest = Outer { source: mapping.host(source.into()), destination: host, id: id(&self.spec) };
        let near = |random: &Random, address: Ipv4Addr| {
            let address = u32::from(address);
            let near = [address.wrapping_add(1), address.wrapping_sub(1), address ^ (1 << random.below(32))];
            Ipv4Addr::from(random.one_of(&near))
        };
        Some(match random.below(24) {
            0 => return None,
            1 => Outer { source: near(random, honest.source), ..honest },
            2 => Outer { source: host, ..honest },
            3 => Outer { source: self.nasty(random, honest.source.into()).into(), ..honest },
            4 => Outer { destination: near(random, host), ..honest },
            5 => Outer { id: honest.id ^ (1 << random.below(32)), ..honest },
            _ => honest,
        })
    }
}

/// What a packet is, or pretends to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An IPv4 header without options and what follows it.
    Plain,
    /// A header with options, loose and strict source routes among them.
    Options,
    /// A fragment: first, middle, last, and too small.
    Fragment,
    /// A header length that is less than a header, or more than there is; a total length that is wrong.
    WrongLength,
    /// Less than a header.
    Truncated,
    /// IPv4 in IPv4, whose inner header has addresses of its own.
    Nested,
    /// An ICMP error that quotes a packet nobody sent.
    IcmpError,
    /// IPv6, or what calls itself IPv4 and says version 6 or any other.
    OtherVersion,
    /// An IPv4 or ARP packet with a VLAN tag, beside it or in it.
    Tagged,
    /// ARP for IPv4 over Ethernet, padded or not.
    Arp,
    /// ARP for other hardware or protocols, or with lengths that are not theirs; RARP.
    OddArp,
    /// Anything.
    Noise,
}

impl Kind {
    /// All of them, by number.
    pub const ALL: [Self; 12] = [
        Self::Plain,
        Self::Options,
        Self::Fragment,
        Self::WrongLength,
        Self::Truncated,
        Self::Nested,
        Self::IcmpError,
        Self::OtherVersion,
        Self::Tagged,
        Self::Arp,
        Self::OddArp,
        Self::Noise,
    ];

    /// Writes such a packet; returns its ethertype.
    fn write(self, by: &Adversary, random: &Random, (source, destination): (u32, u32), frame: &mut Frame) -> u16 {
        let bytes = &mut frame.bytes;
        let ends = [source, destination];
        match self {
            Self::Plain => return ipv4(random, bytes, ends, 17),
            Self::Options => {
                ipv4(random, bytes, ends, 17);
                let (words, noise) = (1 + random.below(10), random.byte());
                bytes[0] = 0x45 + u8::try_from(words).unwrap();
                let (kind, through) = (random.one_of(&[131, 137, 7, 68, 148, noise]), by.ends(random)[0]);
                let mut options = vec![kind, u8::try_from(words * 4 - 1).unwrap(), 4];
                options.extend(through.to_be_bytes());
                options.resize(words * 4, 0);
                bytes.splice(20..20, options);
            }
            Self::Fragment => {
                ipv4(random, bytes, ends, random.one_of(&[1, 4, 6, 17]));
                let offset = u16::try_from(random.one_of(&[0, 1, 2, 3, 184, 8191])).unwrap();
                let more = if random.one_in(3) { 0 } else { 0x2000 };
                bytes[6..8].copy_from_slice(&(more | offset).to_be_bytes());
                if random.one_in(3) {
                    bytes.truncate(20 + random.one_of(&[0, 1, 8]));
                }
            }
            Self::WrongLength => {
                ipv4(random, bytes, ends, 17);
                bytes[0] = 0x40 | random.one_of(&[0, 1, 4, 6, 15]);
                let length = random.bits().to_be_bytes();
                bytes[2..4].copy_from_slice(&length[..2]);
            }
            Self::Truncated => {
                let arp = random.one_in(2);
                let _ = if arp { arp_packet(random, bytes, ends) } else { ipv4(random, bytes, ends, 17) };
                bytes.truncate(random.below(if arp { 28 } else { 20 }));
                return if arp { ARP } else { IPV4 };
            }
            Self::Nested => {
                ipv4(random, bytes, ends, 4);
                bytes.truncate(20);
                ipv4(random, bytes, by.ends(random), 17);
            }
            Self::IcmpError => {
                ipv4(random, bytes, ends, 1);
                bytes.truncate(20);
                bytes.extend([random.one_of(&[3, 4, 5, 11, 12]), random.byte() & 15, 0, 0, 0, 0, 2, 40]);
                ipv4(random, bytes, by.ends(random), random.one_of(&[4, 6, 17]));
            }
            Self::OtherVersion => {
                ipv4(random, bytes, ends, 17);
                bytes[0] = random.byte();
                return random.one_of(&[IPV4, IPV6]);
            }
            Self::Tagged => {
                let is = match random.below(2) {
                    0 => ipv4(random, bytes, ends, 17),
                    _ => arp_packet(random, bytes, ends),
                };
                if random.one_in(2) {
                    frame.vlan = true;
                    return is;
                }
                bytes.splice(0..0, [0, random.byte(), is.to_be_bytes()[0], is.to_be_bytes()[1]]);
                return random.one_of(&[0x8100, 0x88a8]);
            }
            Self::Arp => return arp_packet(random, bytes, ends),
            Self::OddArp => {
                arp_packet(random, bytes, ends);
                let at = random.below(6);
                bytes[at] = match random.below(3) {
                    0 => bytes[at] ^ 1 << random.below(8),
                    1 => 0,
                    _ => random.byte(),
                };
                return random.one_of(&[ARP, ARP, ARP, 0x8035, IPV4]);
            }
            Self::Noise => {
                let length = random.below(80);
                random.fill(bytes, length);
                return random.one_of(&[IPV4, ARP, IPV6, 0x8847, 0x0004, 0x8864, 0x0801]);
            }
        }
        IPV4
    }
}

/// Appends a sound header and a few bytes that may be ports.
fn ipv4(random: &Random, bytes: &mut Vec<u8>, [source, destination]: [u32; 2], protocol: u8) -> u16 {
    let payload = random.below(24);
    let length = u16::try_from(20 + payload).unwrap().to_be_bytes();
    let fragment = random.one_of(&[0, 0x40, 0x80]);
    bytes.extend([0x45, random.byte(), length[0], length[1], 0x12, 0x34, fragment, 0]);
    bytes.extend([64, protocol, 0, 0]);
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    random.fill(bytes, payload);
    IPV4
}

/// Appends a request, an answer or another operation, mostly padded to the least that Ethernet carries.
fn arp_packet(random: &Random, bytes: &mut Vec<u8>, [sender, target]: [u32; 2]) -> u16 {
    bytes.extend([0, 1, 8, 0, 6, 4, 0, random.one_of(&[1, 2, 1, 2, 3, 8, 0])]);
    random.fill(bytes, 6);
    bytes.extend(sender.to_be_bytes());
    random.fill(bytes, 6);
    bytes.extend(target.to_be_bytes());
    if random.one_in(2) {
        bytes.resize(46, 0);
    }
    ARP
}
