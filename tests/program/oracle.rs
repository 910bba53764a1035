//! What the programs must do, said without programs: packets of every kind, and the verdict each must get.
//!
//! Shared, as `#[path]`, with the tests in the kernel.

use std::net::Ipv4Addr;

use fanctl::bpf::program::Spec;
use fanctl::fan::encap::Encapsulation;
use fanctl::fan::mapping::Mapping;
use ipnetwork::Ipv4Network;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;

/// A packet as a tunnel device shows it to a filter.
#[derive(Clone, Default, Debug)]
pub struct Frame {
    pub ethertype: u16,
    pub vlan: bool,
    /// From the network header.
    pub bytes: Vec<u8>,
}

/// The outer header of a received packet, as far as programs see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outer {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub id: u32,
}

/// The outer header that a packet must be sent with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    pub outer: Outer,
    pub ttl: u8,
    /// 1 on IPIP is "as inside".
    pub tos: u8,
    pub dont_fragment: bool,
    /// Whether the tunnel may leave out the UDP checksum.
    pub no_checksum: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict<T> {
    /// The next filter decides.
    Foreign,
    Refused,
    Accepted(T),
}

impl<T> Verdict<T> {
    /// The `TC_ACT_*` of the kernel.
    pub fn action(&self) -> i32 {
        match self {
            Self::Foreign => -1,
            Self::Refused => 2,
            Self::Accepted(_) => 0,
        }
    }
}

/// What matters of an inner packet.
struct Inner {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    tos: u8,
    dont_fragment: bool,
}

fn address(bytes: &[u8]) -> Ipv4Addr {
    <[u8; 4]>::try_from(bytes).unwrap().into()
}

impl Inner {
    fn parse(encapsulation: Encapsulation, frame: &Frame) -> Option<Self> {
        let bytes = &frame.bytes;
        match (encapsulation, frame.ethertype) {
            (Encapsulation::Vxlan, _) if frame.vlan => None,
            (Encapsulation::Ipip | Encapsulation::Wireguard, IPV4)
                if bytes.first().is_some_and(|first| first >> 4 != 4) =>
            {
                None
            }
            (_, IPV4) if bytes.len() >= 20 => Some(Self {
                source: address(&bytes[12..16]),
                destination: address(&bytes[16..20]),
                tos: bytes[1],
                dont_fragment: bytes[6] & 0x40 != 0,
            }),
            (Encapsulation::Vxlan, ARP) if bytes.len() >= 28 && bytes.starts_with(&[0, 1, 8, 0, 6, 4]) => Some(Self {
                source: address(&bytes[14..18]),
                destination: address(&bytes[24..28]),
                tos: 0,
                dont_fragment: false,
            }),
            _ => None,
        }
    }
}

/// The verdict on packets that another filter may want.
fn foreign<T>(encapsulation: Encapsulation) -> Verdict<T> {
    match encapsulation {
        Encapsulation::Ipip => Verdict::Foreign,
        Encapsulation::Vxlan | Encapsulation::Wireguard => Verdict::Refused,
    }
}

/// The network identifier of a fan's packets.
pub fn id(spec: &Spec) -> u32 {
    match spec.encapsulation {
        Encapsulation::Ipip | Encapsulation::Wireguard => 0,
        Encapsulation::Vxlan => spec.mapping.overlay().vni(),
    }
}

pub fn egress(spec: &Spec, frame: &Frame) -> Verdict<Sent> {
    let Spec { mapping, host, ref broadcasts, encapsulation } = *spec;
    let slice = mapping.slice(host);
    match Inner::parse(encapsulation, frame) {
        Some(inner) if mapping.overlay().contains(inner.destination) => {
            let to_all = broadcasts.contains(&mapping.host(inner.destination));
            if !slice.contains(inner.source) || slice.contains(inner.destination) || to_all {
                return Verdict::Refused;
            }
            Verdict::Accepted(Sent {
                outer: Outer { source: host, destination: mapping.host(inner.destination), id: id(spec) },
                ttl: 64,
                tos: match encapsulation {
                    Encapsulation::Ipip | Encapsulation::Wireguard => 1,
                    Encapsulation::Vxlan => inner.tos,
                },
                dont_fragment: inner.dont_fragment,
                no_checksum: encapsulation == Encapsulation::Vxlan,
            })
        }
        _ => foreign(encapsulation),
    }
}

pub fn ingress(spec: &Spec, frame: &Frame, outer: Option<Outer>) -> Verdict<()> {
    let Spec { mapping, host, encapsulation, .. } = *spec;
    match (Inner::parse(encapsulation, frame), outer) {
        (Some(inner), _) if !mapping.overlay().contains(inner.source) => foreign(encapsulation),
        (None, _) => foreign(encapsulation),
        // WireGuard has looked at the source already.
        (Some(inner), _) if encapsulation == Encapsulation::Wireguard => {
            let slice = mapping.slice(host);
            let is_ours = slice.contains(inner.destination) && !slice.contains(inner.source);
            if is_ours { Verdict::Accepted(()) } else { Verdict::Refused }
        }
        (Some(inner), Some(outer))
            if mapping.slice(host).contains(inner.destination)
                && !mapping.slice(host).contains(inner.source)
                && mapping.slice(outer.source).contains(inner.source)
                && mapping.underlay().contains(outer.source)
                && outer.destination == host
                && (encapsulation == Encapsulation::Ipip || outer.id == id(spec)) =>
        {
            Verdict::Accepted(())
        }
        _ => Verdict::Refused,
    }
}

/// A frame, and the outer header it may have come with.
pub type Arrival = (Frame, Option<Outer>);

fn inside(network: Ipv4Network, bits: u32) -> Ipv4Addr {
    (u32::from(network.network()) | (bits & !u32::from(network.mask()))).into()
}

/// A host of an underlay.
pub fn host_of(mapping: Mapping, bits: u32) -> Ipv4Addr {
    inside(mapping.underlay().network(), bits)
}

/// Addresses where mistakes would be made: in our slice, in others, at the edges, and just outside of everything.
fn any_address(spec: &Spec) -> impl Strategy<Value = Ipv4Addr> + use<> {
    let (overlay, slice) = (spec.mapping.overlay().network(), spec.mapping.slice(spec.host));
    let heard_by_all = spec.broadcasts.iter().map(|address| spec.mapping.slice(*address));
    let edges = [overlay, slice].into_iter().chain(heard_by_all).flat_map(|network| {
        let (first, last) = (u32::from(network.network()), u32::from(network.broadcast()));
        [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
    });
    let neighbour = slice.size();
    prop_oneof![
        6 => any::<u32>().prop_map(move |bits| inside(slice, bits)),
        6 => any::<u32>().prop_map(move |bits| inside(overlay, bits)),
        1 => any::<u32>().prop_map(move |bits| (u32::from(inside(slice, bits)) ^ neighbour).into()),
        1 => (any::<u32>(), 0_u32..32).prop_map(move |(bits, flip)| (u32::from(inside(slice, bits)) ^ (1 << flip)).into()),
        1 => select(edges.collect::<Vec<_>>()).prop_map(Ipv4Addr::from),
        1 => any::<u32>().prop_map(Ipv4Addr::from),
        1 => Just(Ipv4Addr::UNSPECIFIED),
    ]
}

/// An IPv4 header for two addresses, mostly sound, with what follows it.
fn any_ipv4() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![9 => (5_u8..=15).prop_map(|words| 0x40 | words), 1 => any::<u8>()];
    (first, any::<[u8; 11]>(), vec(any::<u8>(), 0..48))
        .prop_map(|(first, middle, rest)| [&[first], middle.as_slice(), &[0; 8], &rest].concat())
}

/// An ARP packet, mostly sound, with what follows it.
fn any_arp() -> impl Strategy<Value = Vec<u8>> {
    let shape = prop_oneof![
        8 => Just([0, 1, 8, 0, 6, 4]),
        2 => (0_usize..6, any::<u8>()).prop_map(|(at, wrong)| {
            let mut shape = [0, 1, 8, 0, 6, 4];
            shape[at] = wrong;
            shape
        }),
    ];
    let operation = prop_oneof![select(vec![[0, 1], [0, 2]]), any::<[u8; 2]>()];
    (shape, operation, any::<[u8; 20]>(), vec(any::<u8>(), 0..20))
        .prop_map(|(shape, operation, addresses, rest)| [shape.as_slice(), &operation, &addresses, &rest].concat())
}

fn any_frame(spec: &Spec) -> impl Strategy<Value = Frame> + use<> {
    let kind = prop_oneof![
        5 => any_ipv4().prop_map(|bytes| (IPV4, bytes)),
        4 => any_arp().prop_map(|bytes| (ARP, bytes)),
        1 => (select(vec![ARP, IPV6, 0x8847, 0x8100, 0x0801, 0x8035]), any_ipv4()),
        1 => any_arp().prop_map(|bytes| (IPV4, bytes)),
    ];
    let cut = prop_oneof![9 => Just(usize::MAX), 1 => 0_usize..30];
    let vlan = prop::bool::weighted(0.05);
    (kind, any_address(spec), any_address(spec), cut, vlan).prop_map(
        |((ethertype, mut bytes), source, destination, cut, vlan)| {
            let (source_at, destination_at) = if ethertype == ARP && bytes.len() >= 28 { (14, 24) } else { (12, 16) };
            bytes[source_at..source_at + 4].copy_from_slice(&source.octets());
            bytes[destination_at..destination_at + 4].copy_from_slice(&destination.octets());
            bytes.truncate(cut);
            Frame { ethertype, vlan, bytes }
        },
    )
}

/// Frames with outer headers that are mostly right.
pub fn any_arrival(spec: &Spec) -> impl Strategy<Value = Arrival> + use<> {
    let Spec { mapping, host, encapsulation, .. } = *spec;
    let wrong = prop_oneof![
        any::<u32>().prop_map(Ipv4Addr::from),
        any::<u32>().prop_map(move |bits| host_of(mapping, bits)),
        Just(host),
    ];
    let slip = prop_oneof![6 => Just(0_u32), 1 => (0_u32..32).prop_map(|bit| 1 << bit)];
    let right_id = id(spec);
    let id = prop_oneof![9 => Just(right_id), 1 => Just(right_id ^ 1), 1 => any::<u32>()];
    let destination = prop_oneof![9 => Just(host), 1 => wrong.clone()];
    let source = prop_oneof![6 => Just(None), 1 => wrong.prop_map(Some)];
    let missing = prop::bool::weighted(0.02);
    (any_frame(spec), source, slip, destination, id, missing).prop_map(
        move |(frame, source, slip, destination, id, missing)| {
            let right = Inner::parse(encapsulation, &frame).map_or(host, |inner| mapping.host(inner.source));
            let source = source.unwrap_or((u32::from(right) ^ slip).into());
            let outer = (!missing).then_some(Outer { source, destination, id });
            (frame, outer)
        },
    )
}
