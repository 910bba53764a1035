//! The fast path over IPIP: four programs that let established connections skip tunnel device, routing and netfilter.
//!
//! The way by the tunnel is the slow path. A flow is a connection of TCP or UDP between a container here and an address of
//! another slice. Two programs [record](record_out) what the slow path does with a flow's packets, each where a packet can be
//! dropped no more; two others [send] and [receive] by that record:
//!
//! | program | hook | packets |
//! |---|---|---|
//! | `fast_send` | bridge, ingress | from a container, for another host |
//! | `fast_record_out` | underlay, egress | the same, encapsulated by the slow path, in clear |
//! | `fast_receive` | underlay, ingress | encapsulated, from another host |
//! | `fast_record_in` | bridge, egress | the same, delivered by the slow path |
//!
//! A packet takes the fast path only if, within the last [`FRESH`] seconds, the slow path has sent *and* delivered packets of
//! its flow by the flowtable, one of them in its own direction and at least as long. What went by routing and netfilter has the
//! bit [`NOT_OFFLOADED`] and is not recorded: connection tracking accepts gaps only in connections that are in the flowtable. In
//! others it would find sequence numbers outside of their windows, and its helpers would miss commands. So packets that are not
//! tracked, or have a helper, never take the fast path.
//!
//! The packet gets the Ethernet addresses that the recorded one had, so next hop and container are those of the slow path. The
//! slow path also takes packets with IP options, fragments, packets without DF, SYN, FIN and RST, congestion marks, headers whose
//! checksum or length is wrong, and other protocols. The programs check addresses as [the other programs](super::program) do,
//! before they write anything, and leave a packet that fails to the slow path, which drops and counts it.
//!
//! Packets of the fast path prove nothing: on their way out they have the identification 0, which RFC 6864 allows with DF, and on
//! their way in they do not leave by the bridge. So each flow takes the slow path once in a while, which keeps neighbours,
//! connection tracking and path MTU as they would be without the fast path.
//!
//! What is sent through IPsec leaves the underlay as ESP, is never recorded, and so never takes the fast path.

mod header;
mod parts;

use std::net::Ipv4Addr;

use super::program::Program;
use super::{Helper, MapNumber};
use crate::fan::digest::digest;
use crate::fan::mapping::Mapping;
use parts::{Direction, Generator};

/// What the programs of a fan are made for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FastSpec {
    /// Who lives where.
    pub mapping: Mapping,
    /// This host's address in the mapping's underlay.
    pub host: Ipv4Addr,
}

/// Where packets of the fast path go on, as the kernel's numbers of interfaces.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Places {
    /// The underlay's interface.
    pub underlay: u32,
    /// The port of the bridge by which received packets enter.
    pub port: u32,
}

/// The four programs of a fan.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the functions of the same names say what they are")]
pub struct FastPrograms {
    pub send: Program,
    pub record_out: Program,
    pub receive: Program,
    pub record_in: Program,
}

/// The map of flows: an LRU hash of [`FLOWS`] entries from [`KEY_LEN`] bytes to [`VALUE_LEN`].
pub const FLOWS_MAP: MapNumber = MapNumber(0);
/// The map of counters, for each processor: packets by [`COUNT_SENT`] and [`COUNT_RECEIVED`].
pub const COUNTS_MAP: MapNumber = MapNumber(1);

/// How many flows are remembered. Of more, those used least recently take the slow path.
pub const FLOWS: u32 = 16_384;
/// A flow: the address here, the other one, the port here, the other one (all in network byte order), and the protocol in the
/// first byte of four.
pub const KEY_LEN: u32 = 16;
/// What is known of a flow: two halves, for packets sent and received, each of [`HALF_LEN`].
pub const VALUE_LEN: u32 = 2 * HALF_LEN.unsigned_abs() as u32;

/// A half: when the slow path last let such a packet pass, by `CLOCK_MONOTONIC_COARSE` in nanoseconds, 0 for never (8 bytes); how long
/// it was, from its IPv4 header, of many in one the longest (2); the Ethernet addresses it had then, destination first (12);
/// zeros (2).
const HALF_LEN: i16 = 24;

/// The counter of packets sent by the fast path.
pub const COUNT_SENT: u32 = 0;
/// The counter of packets received by the fast path.
pub const COUNT_RECEIVED: u32 = 1;
/// How many counters there are, of 8 bytes each.
pub const COUNTS: u32 = 2;

/// How long a record is good for, in units of 2^[`UNIT`] nanoseconds: 4.8 seconds.
pub const FRESH: i32 = 9;
/// A record is not written again before it is this old: 1.6 seconds.
const RENEWED: i32 = 2;
/// Ages are compared in units of this power of two of nanoseconds, about half a second.
pub const UNIT: i32 = 29;

/// A bit of a packet's priority: a chain of the fan sets it for what did not go by the flowtable. It is part of a queue's number
/// that the kernel gives to none by itself (`qdisc_alloc_handle`, net/sched/sch_api.c at v6.12).
pub const NOT_OFFLOADED: u32 = 1 << 31;

/// What a program says of a packet that takes the fast path (`TC_ACT_REDIRECT`, linux/pkt_cls.h).
pub const REDIRECTED: i32 = 7;

const MAP_LOOKUP: Helper = Helper { number: 1, name: "map_lookup_elem" };
const MAP_UPDATE: Helper = Helper { number: 2, name: "map_update_elem" };
/// `(skb, offset, from, length, flags)`
const STORE_BYTES: Helper = Helper { number: 9, name: "skb_store_bytes" };
/// `(interface, flags)`
const REDIRECT: Helper = Helper { number: 23, name: "redirect" };
/// `(skb, offset, to, length)`
const LOAD_BYTES: Helper = Helper { number: 26, name: "skb_load_bytes" };
/// `(skb, difference, mode, flags)`
const ADJUST_ROOM: Helper = Helper { number: 50, name: "skb_adjust_room" };
/// Monotonic time in nanoseconds, as of the last tick (Linux 5.11).
const CLOCK: Helper = Helper { number: 160, name: "ktime_get_coarse_ns" };

/// The programs of a fan, for these places.
#[must_use]
pub fn programs(spec: &FastSpec, places: Places) -> FastPrograms {
    FastPrograms {
        send: send(spec, places),
        record_out: record_out(spec),
        receive: receive(spec, places),
        record_in: record_in(spec),
    }
}

/// The digest of the programs that this version makes for a fan, sixteen hexadecimal digits. It is the same for all interfaces.
#[must_use]
pub fn digest_of(spec: &FastSpec) -> String {
    let FastPrograms { send, record_out, receive, record_in } = programs(spec, Places::default());
    digest(&[send, record_out, receive, record_in].map(|program| program.encode()).concat())
}

/// What the bridge receives from containers: encapsulated, and sent by the underlay's interface.
#[must_use]
pub fn send(spec: &FastSpec, places: Places) -> Program {
    let mut generator = Generator::new(*spec);
    generator.is_ipv4_for_us();
    generator.load_inner(header::Frame::Plain);
    generator.check_ends(Direction::Out);
    generator.check_kind();
    generator.check_packet(Direction::Out);
    generator.find_flow(Direction::Out);
    generator.check_fresh(Direction::Out);
    generator.encapsulate();
    generator.redirect(places.underlay, 0, COUNT_SENT);
    Program::new("fast_send", generator.finish())
}

/// What the underlay receives from other hosts: decapsulated, and given to the bridge as if a port had received it.
#[must_use]
pub fn receive(spec: &FastSpec, places: Places) -> Program {
    const BPF_F_INGRESS: i32 = 1;
    let mut generator = Generator::new(*spec);
    generator.is_ipv4_for_us();
    generator.load_inner(header::Frame::Encapsulated);
    generator.check_outer(Direction::In);
    generator.check_ends(Direction::In);
    generator.check_kind();
    generator.check_packet(Direction::In);
    generator.find_flow(Direction::In);
    generator.check_fresh(Direction::In);
    generator.decapsulate();
    generator.redirect(places.port, BPF_F_INGRESS, COUNT_RECEIVED);
    Program::new("fast_receive", generator.finish())
}

/// Records what the slow path sends by the underlay's interface.
#[must_use]
pub fn record_out(spec: &FastSpec) -> Program {
    let mut generator = Generator::new(*spec);
    generator.is_ipv4();
    generator.load_inner(header::Frame::Encapsulated);
    generator.check_outer(Direction::Out);
    generator.check_ends(Direction::Out);
    generator.check_offloaded();
    generator.check_kind();
    generator.find_flow(Direction::Out);
    generator.record(Direction::Out);
    Program::new("fast_record_out", generator.finish())
}

/// Records what the slow path gives to the bridge for containers.
#[must_use]
pub fn record_in(spec: &FastSpec) -> Program {
    let mut generator = Generator::new(*spec);
    generator.is_ipv4();
    generator.load_inner(header::Frame::Plain);
    generator.check_ends(Direction::In);
    generator.check_offloaded();
    generator.check_kind();
    generator.find_flow(Direction::In);
    generator.record(Direction::In);
    Program::new("fast_record_in", generator.finish())
}
