//! What the programs of the fast path must do, said without programs.
//!
//! Shared, as `#[path]`, with the tests in the kernel.

use std::net::Ipv4Addr;

use fanctl::bpf::fast::FastSpec;

/// Where a program stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hook {
    Send,
    RecordOut,
    Receive,
    RecordIn,
}

impl Hook {
    pub const ALL: [Self; 4] = [Self::Send, Self::RecordOut, Self::Receive, Self::RecordIn];

    pub fn is_outward(self) -> bool {
        matches!(self, Self::Send | Self::RecordOut)
    }

    pub fn is_encapsulated(self) -> bool {
        matches!(self, Self::RecordOut | Self::Receive)
    }

    pub fn is_recording(self) -> bool {
        matches!(self, Self::RecordOut | Self::RecordIn)
    }
}

/// One half of what is known of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Half {
    /// Nanoseconds; 0 is never.
    pub time: u64,
    pub longest: u16,
    pub addresses: [u8; 12],
}

/// Packets sent, and packets received.
pub type Flow = [Half; 2];

pub fn value(flow: Flow) -> [u8; 48] {
    let half =
        |half: Half| [&half.time.to_ne_bytes()[..], &half.longest.to_ne_bytes(), &half.addresses, &[0; 2]].concat();
    flow.map(half).concat().try_into().unwrap()
}

/// A packet as the kernel shows it.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    pub bytes: &'a [u8],
    pub ethertype: u16,
    pub for_us: bool,
    pub vlan: bool,
    pub gso_size: u32,
    pub priority: u32,
}

/// The bit of a packet that did not go by the flowtable.
pub const NOT_OFFLOADED: u32 = 0x8000_0000;

/// What a packet is to the fast path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parsed {
    pub key: [u8; 16],
    /// Of the packet, or of each of several in one.
    pub length: u32,
}

pub fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

fn address(bytes: &[u8]) -> Ipv4Addr {
    <[u8; 4]>::try_from(bytes).unwrap().into()
}

/// Whether a header is as a router takes it, and its packet as long as it says.
fn is_sound(packet: &[u8]) -> bool {
    checksum(&packet[..20]) == 0 && usize::from(u16::from_be_bytes([packet[2], packet[3]])) == packet.len()
}

fn is_whole_with_df(header: &[u8]) -> bool {
    header[6..8] == [0x40, 0]
}

/// What a program makes of a packet, as far as its flow; none where it takes the slow path whatever is known of that.
pub fn parse(spec: &FastSpec, hook: Hook, packet: Shown<'_>) -> Option<Parsed> {
    let inner = of_fan(spec, hook, packet)?;
    let Shown { bytes, gso_size, priority, .. } = packet;
    if hook.is_recording() && priority & NOT_OFFLOADED != 0 {
        return None;
    }
    if inner[0] != 0x45 || !is_whole_with_df(inner) {
        return None;
    }
    if !hook.is_recording() && (inner[8] < 2 || !is_sound(inner) || (hook == Hook::Send && inner[1] & 3 == 3)) {
        return None;
    }
    let length = match inner[9] {
        6 if inner.len() < 34 || inner[33] & 7 != 0 => return None,
        6 if gso_size > 0 => 20 + u32::from(inner[32] >> 4) * 4 + gso_size,
        17 if gso_size > 0 => return None,
        6 | 17 => u32::try_from(inner.len()).unwrap(),
        _ => return None,
    };
    Some(Parsed { key: key(hook, bytes)?, length })
}

/// From its inner header, if the packet is between a container here and another host.
pub fn of_fan<'a>(spec: &FastSpec, hook: Hook, packet: Shown<'a>) -> Option<&'a [u8]> {
    let FastSpec { mapping, host } = *spec;
    let Shown { bytes, ethertype, for_us, vlan, .. } = packet;
    let network = bytes.get(14..)?;
    if ethertype != 0x0800 || (!hook.is_recording() && (!for_us || vlan)) {
        return None;
    }
    let inner = if hook.is_encapsulated() { network.get(20..)? } else { network };
    if inner.len() < 28 {
        return None;
    }
    let (source, destination) = (address(&inner[12..16]), address(&inner[16..20]));
    let (own, other) = if hook.is_outward() { (source, destination) } else { (destination, source) };
    let slice = mapping.slice(host);
    if !slice.contains(own) || slice.contains(other) || !mapping.overlay().contains(other) {
        return None;
    }
    if hook.is_encapsulated() {
        let [from, to] = [12, 16].map(|at| address(&network[at..at + 4]));
        let ends = if hook.is_outward() { (host, mapping.host(other)) } else { (mapping.host(other), host) };
        if network[0] != 0x45 || network[9] != 4 || (from, to) != ends {
            return None;
        }
        let is_slow_path = network[4..6] != [0, 0];
        let is_received = is_whole_with_df(network) && network[1] & 3 != 3 && is_sound(network);
        if !(if hook == Hook::RecordOut { is_slow_path } else { is_received }) {
            return None;
        }
    }
    Some(inner)
}

/// The flow of a packet, be it sound or not; none where it is too short.
pub fn key(hook: Hook, bytes: &[u8]) -> Option<[u8; 16]> {
    let inner = bytes.get(if hook.is_encapsulated() { 34 } else { 14 }..)?;
    let halves = |from: usize, len: usize| -> Option<[&[u8]; 2]> {
        let [first, second] = [inner.get(from..from + len)?, inner.get(from + len..from + 2 * len)?];
        Some(if hook.is_outward() { [first, second] } else { [second, first] })
    };
    let (addresses, ports) = (halves(12, 4)?, halves(20, 2)?);
    let protocol = u32::from(inner[9]).to_ne_bytes();
    [addresses[0], addresses[1], ports[0], ports[1], &protocol].concat().try_into().ok()
}

/// The packet as it leaves by the fast path.
pub fn rewritten(spec: &FastSpec, hook: Hook, packet: &[u8], known: Flow) -> Vec<u8> {
    let FastSpec { mapping, host } = *spec;
    let mut inner = packet[if hook == Hook::Send { 14 } else { 34 }..].to_vec();
    inner[8] -= 1;
    inner[10..12].fill(0);
    let sum = checksum(&inner[..20]);
    inner[10..12].copy_from_slice(&sum.to_be_bytes());
    let half = known[usize::from(!hook.is_outward())];
    let mut frame = [&half.addresses[..], &[0x08, 0]].concat();
    if hook == Hook::Send {
        let total = u16::try_from(inner.len() + 20).unwrap().to_be_bytes();
        let mut outer = vec![0x45, inner[1], total[0], total[1], 0, 0, 0x40, 0, 64, 4, 0, 0];
        outer.extend(host.octets());
        outer.extend(mapping.host(address(&inner[16..20])).octets());
        let sum = checksum(&outer);
        outer[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(outer);
    }
    [frame, inner].concat()
}
