//! The parts that the programs of the fast path are made of.

mod kind;
mod rewrite;

use super::header::{self, ETHERNET_LEN, Frame, INNER, IPV4_LEN, KEY, OUTER, PORTS, VALUE, ipv4};
use super::{
    CLOCK, COUNTS_MAP, FLOWS_MAP, FRESH, FastSpec, HALF_LEN, LOAD_BYTES, MAP_LOOKUP, MAP_UPDATE, NOT_OFFLOADED,
    REDIRECT, RENEWED, UNIT,
};
use crate::bpf::Operation::{Add, And, Modulo, Move, Or, ShiftRight, Subtract};
use crate::bpf::Register::{R0, R1, R2, R3, R4, R6, R7, R8, R9, R10};
use crate::bpf::program::{ETH_P_IP, SKB_PROTOCOL, SKB_VLAN_PRESENT, TC_ACT_SHOT, TC_ACT_UNSPEC, ethertype};
use crate::bpf::{Assembler, Code, Label, MapNumber, Register, Size};

/// A packet's way, seen from the host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Out,
    In,
}

impl Direction {
    /// The half of a flow's value that is about such packets.
    fn half(self) -> i16 {
        match self {
            Self::Out => 0,
            Self::In => HALF_LEN,
        }
    }
}

/// The packet, all the way through a program.
const SKB: Register = R6;
/// What is known of the flow, once found; null where nothing is.
const FLOW: Register = R7;
/// The packet's length from its inner header, of many in one the longest.
const LENGTH: Register = R8;
/// The time, or half of what becomes of it.
const NOW: Register = R9;

/// Offsets in `struct __sk_buff` (linux/bpf.h).
const SKB_LEN: i16 = 0;
const SKB_PKT_TYPE: i16 = 4;
const SKB_PRIORITY: i16 = 32;
const SKB_GSO_SIZE: i16 = 176;
/// For this host (`PACKET_HOST`, linux/if_packet.h).
const PACKET_HOST: i32 = 0;

const IPPROTO_IPIP: u8 = 4;
const IPPROTO_TCP: i32 = 6;
const IPPROTO_UDP: i32 = 17;
/// FIN, SYN and RST (RFC 9293, section 3.1).
const BEGIN_OR_END: i32 = 0x07;
/// Congestion experienced (RFC 3168, section 5).
const CE: i32 = 0x03;
/// DF alone, and no fragment.
const DF: [u8; 2] = [0x40, 0];
/// Version 4, and a header without options.
const PLAIN: i32 = 0x45;

/// In a half of a flow's value.
const TIME: i16 = 0;
const LONGEST: i16 = 8;
const ADDRESSES: i16 = 10;
const ZEROS: i16 = 22;

pub(super) struct Generator {
    spec: FastSpec,
    asm: Assembler,
    frame: Frame,
    /// Where packets go that are none of ours, or take the slow path.
    slow: Label,
    /// Where a packet goes that cannot be put together any more.
    broken: Label,
}

impl Generator {
    pub(super) fn new(spec: FastSpec) -> Self {
        let mut asm = Assembler::default();
        let (slow, broken) = (asm.label(), asm.label());
        asm.note("the packet").alu64(Move, SKB, R1);
        Self { spec, asm, frame: Frame::Plain, slow, broken }
    }

    pub(super) fn is_ipv4(&mut self) {
        self.asm.load(Size::U32, R1, (SKB, SKB_PROTOCOL)).note("IPv4 only").if_not_equal(
            R1,
            ethertype(ETH_P_IP),
            self.slow,
        );
    }

    /// IPv4 that the interface has received for this host, without a VLAN tag.
    pub(super) fn is_ipv4_for_us(&mut self) {
        self.is_ipv4();
        self.asm
            .load(Size::U32, R1, (SKB, SKB_PKT_TYPE))
            .note("for this host")
            .if_not_equal(R1, PACKET_HOST, self.slow)
            .load(Size::U32, R1, (SKB, SKB_VLAN_PRESENT))
            .note("no VLAN tag")
            .if_not_equal(R1, 0, self.slow);
    }

    /// Copies the headers to the stack.
    pub(super) fn load_inner(&mut self, frame: Frame) {
        self.frame = frame;
        self.load_bytes(0, frame.start(), frame.len());
    }

    fn load_bytes(&mut self, offset: i32, to: i16, len: i32) {
        self.asm.alu64(Move, R1, SKB).alu32(Move, R2, offset);
        self.stack(R3, to);
        self.asm.alu32(Move, R4, len).call(LOAD_BYTES).note("not too short").if_not_equal(R0, 0, self.slow);
    }

    /// Lets a register point to a place on the stack.
    fn stack(&mut self, register: Register, place: i16) {
        self.asm.alu64(Move, register, R10).alu64(Add, register, i32::from(place));
    }

    /// The outer header that the tunnels of two hosts write for each other.
    pub(super) fn check_outer(&mut self, direction: Direction) {
        let host = raw(self.spec.host.octets());
        self.asm
            .load(Size::U8, R1, (R10, OUTER + ipv4::PROTOCOL))
            .note("IP in IP")
            .if_not_equal(R1, i32::from(IPPROTO_IPIP), self.slow)
            .load(Size::U8, R1, (R10, OUTER))
            .note("a header without options")
            .if_not_equal(R1, PLAIN, self.slow);
        match direction {
            Direction::Out => {
                self.asm
                    .load(Size::U32, R1, (R10, OUTER + ipv4::SOURCE))
                    .note("sent by this host")
                    .if_not_equal(R1, host, self.slow)
                    .load(Size::U16, R1, (R10, OUTER + ipv4::IDENTIFICATION))
                    .note("not by the fast path")
                    .if_equal(R1, 0, self.slow);
            }
            Direction::In => {
                self.asm
                    .load(Size::U32, R1, (R10, OUTER + ipv4::DESTINATION))
                    .note("for this host")
                    .if_not_equal(R1, host, self.slow)
                    .load(Size::U16, R1, (R10, OUTER + ipv4::FRAGMENT))
                    .note("DF, no fragment")
                    .if_not_equal(R1, short(DF), self.slow);
                self.check_congestion(OUTER);
                self.check_header(OUTER, ETHERNET_LEN);
            }
        }
        let (outer, inner) = match direction {
            Direction::Out => (ipv4::DESTINATION, ipv4::DESTINATION),
            Direction::In => (ipv4::SOURCE, ipv4::SOURCE),
        };
        self.host_of(INNER + inner);
        self.asm
            .load(Size::U32, R2, (R10, OUTER + outer))
            .note("the host of the inner address")
            .if_not_equal(R1, R2, self.slow);
    }

    /// Puts the host of the overlay address at a place on the stack into R1, in network byte order.
    fn host_of(&mut self, place: i16) {
        let mapping = self.spec.mapping;
        let (overlay, underlay) = (mapping.overlay().network(), mapping.underlay().network());
        self.asm
            .load(Size::U32, R1, (R10, place))
            .be32(R1)
            .alu32(And, R1, !u32::from(overlay.mask()))
            .alu32(ShiftRight, R1, i32::from(mapping.shift()))
            .note(format!("its host in {underlay}"))
            .alu32(Or, R1, u32::from(underlay.network()))
            .be32(R1);
    }

    /// The inner addresses.
    pub(super) fn check_ends(&mut self, direction: Direction) {
        let (overlay, slice) = (self.spec.mapping.overlay().network(), self.spec.mapping.slice(self.spec.host));
        let [own, other] = match direction {
            Direction::Out => [ipv4::SOURCE, ipv4::DESTINATION],
            Direction::In => [ipv4::DESTINATION, ipv4::SOURCE],
        };
        let [slice_mask, slice_base] = [slice.mask(), slice.network()].map(|address| raw(address.octets()));
        let [overlay_mask, overlay_base] = [overlay.mask(), overlay.network()].map(|address| raw(address.octets()));
        self.asm
            .load(Size::U32, R1, (R10, INNER + own))
            .alu32(And, R1, slice_mask)
            .note(format!("one end in our slice {slice}"))
            .if_not_equal(R1, slice_base, self.slow)
            .load(Size::U32, R1, (R10, INNER + other))
            .alu32(Move, R2, R1)
            .alu32(And, R2, overlay_mask)
            .note(format!("the other in {overlay}"))
            .if_not_equal(R2, overlay_base, self.slow)
            .alu32(And, R1, slice_mask)
            .note("and in another slice")
            .if_equal(R1, slice_base, self.slow);
    }

    /// That the packet went by the flowtable. What did not has a mark, which goes no further.
    pub(super) fn check_offloaded(&mut self) {
        let offloaded = self.asm.label();
        self.asm
            .load(Size::U32, R1, (SKB, SKB_PRIORITY))
            .alu32(Move, R2, R1)
            .alu32(ShiftRight, R2, NOT_OFFLOADED.trailing_zeros().cast_signed())
            .note("by the flowtable")
            .if_equal(R2, 0, offloaded)
            .alu32(And, R1, !NOT_OFFLOADED)
            .note("no mark any more")
            .store(Size::U32, (SKB, SKB_PRIORITY), R1)
            .goto(self.slow);
        self.asm.place(offloaded);
    }

    /// Puts the sum of RFC 1071 over the header at a place into R1. A sum in one's complement is a remainder by 65535, written as
    /// 1 to 65535.
    fn sum(&mut self, at: i16) {
        self.asm.load(Size::U32, R1, (R10, at));
        for word in (4..IPV4_LEN).step_by(4) {
            self.asm.load(Size::U32, R2, (R10, at + word)).alu64(Add, R1, R2);
        }
        self.asm.alu64(Add, R1, -1).alu64(Modulo, R1, 0xffff).alu64(Add, R1, 1);
    }

    /// Lets [`FLOW`] point to what is known of the packet's flow.
    pub(super) fn find_flow(&mut self, direction: Direction) {
        let [own, other] = match direction {
            Direction::Out => [0, 1],
            Direction::In => [1, 0],
        };
        let (addresses, ports) = ([ipv4::SOURCE, ipv4::DESTINATION], [PORTS, PORTS + 2]);
        self.asm.load(Size::U8, R1, (R10, INNER + ipv4::PROTOCOL)).store(Size::U32, (R10, KEY + 12), R1);
        for (from, to) in [(ports[other], 10), (ports[own], 8)] {
            self.asm.load(Size::U16, R1, (R10, from)).store(Size::U16, (R10, KEY + to), R1);
        }
        for (from, to) in [(addresses[other], 4), (addresses[own], 0)] {
            self.asm.load(Size::U32, R1, (R10, INNER + from)).store(Size::U32, (R10, KEY + to), R1);
        }
        self.asm.map(R1, FLOWS_MAP);
        self.stack(R2, KEY);
        self.asm.call(MAP_LOOKUP).note("the flow").alu64(Move, FLOW, R0);
    }

    /// Puts the age of a half of [`FLOW`], in units, into R1; where there is no time, jumps.
    fn age(&mut self, direction: Direction, never: Label) {
        self.asm
            .load(Size::U64, R2, (FLOW, direction.half() + TIME))
            .if_equal(R2, 0, never)
            .alu64(Move, R1, NOW)
            .alu64(Subtract, R1, R2)
            .alu64(ShiftRight, R1, UNIT);
    }

    pub(super) fn check_fresh(&mut self, direction: Direction) {
        self.asm.if_null(FLOW, self.slow).call(CLOCK).alu64(Move, NOW, R0);
        for (half, what) in [(Direction::Out, "sent lately"), (Direction::In, "and received")] {
            self.age(half, self.slow);
            self.asm.note(what).if_greater(R1, FRESH - 1, self.slow);
        }
        self.asm
            .load(Size::U16, R1, (FLOW, direction.half() + LONGEST))
            .note("as long a packet")
            .if_greater(LENGTH, R1, self.slow);
    }

    /// Counts the packet, and gives it to an interface.
    pub(super) fn redirect(&mut self, interface: u32, flags: i32, counter: u32) {
        let uncounted = self.asm.label();
        self.asm.store(Size::U32, (R10, header::COUNTER), counter);
        self.lookup(COUNTS_MAP, header::COUNTER);
        self.asm.if_null(R0, uncounted).load(Size::U64, R1, (R0, 0)).alu64(Add, R1, 1).note("counted").store(
            Size::U64,
            (R0, 0),
            R1,
        );
        self.asm.place(uncounted);
        self.asm.alu32(Move, R1, interface).alu32(Move, R2, flags).call(REDIRECT).exit();
    }

    fn lookup(&mut self, map: MapNumber, key: i16) {
        self.asm.map(R1, map);
        self.stack(R2, key);
        self.asm.call(MAP_LOOKUP);
    }

    /// Records a packet of the slow path. A record that is fresh is replaced by that of a longer packet, and once in a while by
    /// that of one as long; a shorter one proves nothing of longer ones.
    pub(super) fn record(&mut self, direction: Direction) {
        let (new, write) = (self.asm.label(), self.asm.label());
        let half = direction.half();
        self.asm.call(CLOCK).alu64(Move, NOW, R0).if_null(FLOW, new);
        for offset in (0..2 * HALF_LEN).step_by(8) {
            self.asm.load(Size::U64, R1, (FLOW, offset)).store(Size::U64, (R10, VALUE + offset), R1);
        }
        self.age(direction, write);
        self.asm
            .note("not fresh any more")
            .if_greater(R1, FRESH - 1, write)
            .load(Size::U16, R2, (FLOW, half + LONGEST))
            .note("longer")
            .if_greater(LENGTH, R2, write)
            .note("shorter")
            .if_not_equal(LENGTH, R2, self.slow)
            .note("as long, and not for the first time lately")
            .if_greater(R1, RENEWED, write)
            .goto(self.slow);
        self.asm.place(new);
        for offset in (0..2 * HALF_LEN).step_by(8) {
            self.asm.store(Size::U64, (R10, VALUE + offset), 0);
        }
        self.asm.place(write);
        let (to, from) = (VALUE + half, self.frame.start());
        self.asm.store(Size::U16, (R10, to + ZEROS), 0);
        for (size, offset) in [(Size::U16, 10), (Size::U32, 6), (Size::U32, 2), (Size::U16, 0)] {
            self.asm.load(size, R1, (R10, from + offset)).store(size, (R10, to + ADDRESSES + offset), R1);
        }
        self.asm.store(Size::U16, (R10, to + LONGEST), LENGTH).store(Size::U64, (R10, to + TIME), NOW);
        self.asm.map(R1, FLOWS_MAP);
        self.stack(R2, KEY);
        self.stack(R3, VALUE);
        self.asm.alu32(Move, R4, 0).call(MAP_UPDATE);
    }

    pub(super) fn finish(mut self) -> Code {
        self.asm.place(self.slow);
        self.asm.note("TC_ACT_UNSPEC: the slow path").alu32(Move, R0, TC_ACT_UNSPEC).exit();
        if !self.asm.is_jumped_to(self.broken) {
            return self.asm.finish();
        }
        self.asm.place(self.broken);
        self.asm.note("TC_ACT_SHOT").alu32(Move, R0, TC_ACT_SHOT).exit();
        self.asm.finish()
    }
}

/// Bytes of a packet as a number that is loaded from there.
fn raw(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}

fn short(bytes: [u8; 2]) -> i32 {
    u16::from_ne_bytes(bytes).into()
}
