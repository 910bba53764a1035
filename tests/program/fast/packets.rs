//! Packets for the programs of the fast path: sound ones of a flow that may be fast, and the same with one or two things wrong.

use std::net::Ipv4Addr;

use fanctl::bpf::fast::FastSpec;
use ipnetwork::Ipv4Network;

use super::machine::Packet;
use super::oracle::{Flow, Half, Hook, Shown, checksum};
use crate::adversary::{self, Random};

/// A packet that arrives at a hook, when, and what is known of its flow.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub hook: Hook,
    pub packet: Packet,
    pub known: Option<Flow>,
    pub now: u64,
}

pub fn shown(packet: &Packet) -> Shown<'_> {
    let Packet { bytes, ethertype, pkt_type, vlan, gso_size, priority } = packet;
    let (ethertype, for_us) = (*ethertype, *pkt_type == 0);
    Shown { bytes, ethertype, for_us, vlan: *vlan, gso_size: *gso_size, priority: *priority }
}

/// A host with a fan.
pub fn spec(random: &Random) -> FastSpec {
    let fanctl::bpf::program::Spec { mapping, host, .. } = adversary::spec(random);
    FastSpec { mapping, host }
}

fn inside(network: Ipv4Network, bits: u32) -> Ipv4Addr {
    (u32::from(network.network()) | (bits & !u32::from(network.mask()))).into()
}

fn header(random: &Random, protocol: u8, [source, destination]: [Ipv4Addr; 2], payload: usize) -> Vec<u8> {
    let total = u16::try_from(20 + payload).unwrap().to_be_bytes();
    let number = u16::try_from(random.below(65_535) + 1).unwrap().to_be_bytes();
    let ttl = random.one_of(&[2, 3, 64, 128, 255]);
    let tos = random.one_of(&[0, 0, 1, 2, 0xb8]);
    let mut header = vec![0x45, tos, total[0], total[1], number[0], number[1], 0x40, 0, ttl, protocol, 0, 0];
    header.extend(source.octets());
    header.extend(destination.octets());
    mend(&mut header);
    if random.one_in(8) {
        // Of these checksums that of a hop less has a carry or just has none; the identification makes them.
        let wanted = random.one_of(&[0xfcff_u32, 0xfdff, 0xfeff]);
        let is = u32::from(u16::from_be_bytes([header[10], header[11]]));
        let number = u32::from(u16::from_be_bytes(number)) + is + 0xffff - wanted;
        let number = u16::try_from((number - 1) % 0xffff + 1).unwrap();
        header[4..6].copy_from_slice(&number.to_be_bytes());
        mend(&mut header);
    }
    header
}

/// Writes the right checksum into a header.
fn mend(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum(&header[..20]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// A sound packet at a hook.
fn sound(spec: &FastSpec, hook: Hook, random: &Random) -> Packet {
    let FastSpec { mapping, host } = *spec;
    let own = inside(mapping.slice(host), random.bits());
    // Now and then one of our own.
    let others = if random.one_in(20) { mapping.slice(host) } else { mapping.overlay().network() };
    let other = inside(others, random.bits());
    let ends = |ends: [Ipv4Addr; 2]| if hook.is_outward() { ends } else { [ends[1], ends[0]] };
    let mut payload = Vec::new();
    random.fill(&mut payload, 4);
    let is_tcp = random.one_in(2);
    if is_tcp {
        random.fill(&mut payload, 8);
        payload.extend([random.one_of(&[0x50, 0x80, 0xf7]), random.one_of(&[0x10, 0x18, 0xf8, 0]), 1, 2, 0, 0, 0, 0]);
    } else {
        payload.extend([0, 8, 0, 0]);
    }
    let more = random.below(40);
    random.fill(&mut payload, more);
    let mut inner = header(random, if is_tcp { 6 } else { 17 }, ends([own, other]), payload.len());
    inner.extend(payload);
    let mut bytes = Vec::new();
    random.fill(&mut bytes, 12);
    bytes.extend([8, 0]);
    if hook.is_encapsulated() {
        bytes.extend(header(random, 4, ends([host, mapping.host(other)]), inner.len()));
    }
    bytes.extend(inner);
    let gso_size = if is_tcp && random.one_in(4) { u32::try_from(1 + random.below(1500)).unwrap() } else { 0 };
    let priority = random.bits() & random.one_of(&[7, 0x7fff_ffff]);
    Packet { bytes, ethertype: 0x0800, pkt_type: 0, vlan: false, gso_size, priority }
}

/// Makes one thing wrong, or leaves it as it is.
fn spoil(spec: &FastSpec, hook: Hook, packet: &mut Packet, random: &Random) {
    let inner = if hook.is_encapsulated() { 34 } else { 14 };
    // Mostly the inner header.
    let at = if random.one_in(3) { 14 } else { inner };
    let bytes = &mut packet.bytes;
    if bytes.len() < inner + 28 {
        return;
    }
    match random.below(15) {
        0 => bytes[at] = random.one_of(&[0x46, 0x44, 0x65, 0x05, 0x4f]),
        1 => bytes[at + 1] = random.one_of(&[1, 2, 3, 3, 7, 0xff]),
        2 => bytes[at + 2 + random.below(2)] ^= 1 << random.below(8),
        3 => bytes[at + 4..at + 6].copy_from_slice(&random.one_of(&[[0, 0], [0, 1], [1, 0]])),
        4 => bytes[at + 6] ^= 1 << random.below(8),
        5 => bytes[at + 7] ^= 1 << random.below(8),
        6 => bytes[at + 8] = random.one_of(&[0, 1, 2, 3]),
        7 => bytes[at + 9] = random.one_of(&[1, 2, 4, 5, 6, 7, 17, 16, 19, 132]),
        8 => bytes[at + 10 + random.below(2)] ^= 1 << random.below(8),
        9 => bytes[at + 12 + random.below(8)] ^= 1 << random.below(8),
        10 => {
            let slice = spec.mapping.slice(spec.host);
            let networks = [slice, spec.mapping.overlay().network(), spec.mapping.underlay().network()];
            let place = at + random.one_of(&[12, 16]);
            let address = inside(random.one_of(&networks), random.bits());
            bytes[place..place + 4].copy_from_slice(&address.octets());
        }
        11 => bytes.truncate(random.below(inner + 40)),
        12 => random.fill(bytes, 1),
        13 => {
            if let Some(flags) = bytes.get_mut(inner + 33) {
                *flags ^= 1 << random.below(8);
            }
        }
        _ => match random.below(5) {
            0 => packet.ethertype = random.one_of(&[0x0806, 0x86dd, 0x8100, 0x0008]),
            1 => packet.pkt_type = random.one_of(&[1, 2, 3, 4]),
            2 => packet.vlan = true,
            3 => packet.priority |= 1 << 31,
            _ => packet.gso_size = random.bits() % 2000,
        },
    }
    // So that not the checksum alone tells.
    if !random.one_in(4) {
        for at in if hook.is_encapsulated() { vec![14, 34] } else { vec![14] } {
            if let Some(header) = packet.bytes.get_mut(at..at + 20) {
                mend(header);
            }
        }
    }
}

/// One half of what is known, with ages and lengths around those that matter.
fn half(random: &Random, length: u32, now: u64) -> Half {
    let unit = 1_u64 << 29;
    let age = match random.below(20) {
        0 => return Half::default(),
        1 => unit * random.one_of(&[2, 3, 9, 10]) - 1,
        2 => unit * random.one_of(&[2, 3, 9, 10]),
        3 => unit * u64::try_from(random.below(40)).unwrap(),
        _ => random.next() % (unit * 9),
    };
    let length = length + u32::try_from(random.one_of(&[0, 0, 1, 7])).unwrap();
    let longest = u16::try_from(length.saturating_sub(random.one_of(&[0, 0, 0, 1])) & 0xffff).unwrap();
    let mut addresses = Vec::new();
    random.fill(&mut addresses, 12);
    Half { time: now.saturating_sub(age), longest, addresses: addresses.try_into().unwrap() }
}

/// Any packet at a hook of a host.
pub fn arrival(spec: &FastSpec, hook: Hook, random: &Random) -> Arrival {
    let mut packet = sound(spec, hook, random);
    let length = super::oracle::parse(spec, hook, shown(&packet)).map_or(100, |parsed| parsed.length);
    let spoils = random.one_of(&[0, 1, 1, 1, 1, 2]);
    for _ in 0..spoils {
        spoil(spec, hook, &mut packet, random);
    }
    // Soon after boot, or any time later.
    let now = if random.one_in(8) { random.next() % (1 << 33) } else { (1 << 40) + (random.next() >> 20) };
    let known = (!random.one_in(10)).then(|| [half(random, length, now), half(random, length, now)]);
    Arrival { hook, packet, known, now }
}
