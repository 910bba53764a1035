//! What the programs of the fast path write: headers into a packet, and records into the map of flows.

use super::{
    ADDRESSES, DF, Direction, FLOW, Generator, IPPROTO_IPIP, LENGTH, LONGEST, NOW, PLAIN, SKB, SKB_LEN, TIME, ZEROS,
    raw, short,
};
use crate::bpf::Operation::{Add, Move, ShiftRight, Xor};
use crate::bpf::Register::{R0, R1, R2, R3, R4, R5, R10};
use crate::bpf::Size;
use crate::bpf::fast::header::{self, ETHERNET_LEN, INNER, IPV4_LEN, KEY, OUTER, VALUE, ipv4};
use crate::bpf::fast::{
    ADJUST_ROOM, CLOCK, COUNTS_MAP, FLOWS_MAP, FRESH, HALF_LEN, MAP_UPDATE, REDIRECT, RENEWED, STORE_BYTES,
};
use crate::bpf::program::{ETH_P_IP, TTL};

impl Generator {
    /// Takes a hop off the inner header on the stack, as routers do (`ip_decrease_ttl`, net/ip.h).
    fn lower_ttl(&mut self) {
        self.asm
            .load(Size::U16, R1, (R10, INNER + ipv4::CHECKSUM))
            .alu32(Add, R1, short([1, 0]))
            .alu32(Move, R2, R1)
            .alu32(Add, R2, 1)
            .alu32(ShiftRight, R2, 16)
            .alu32(Add, R1, R2)
            .note("the checksum of a hop less")
            .store(Size::U16, (R10, INNER + ipv4::CHECKSUM), R1)
            .load(Size::U8, R1, (R10, INNER + ipv4::TTL))
            .alu32(Add, R1, -1)
            .note("a hop less")
            .store(Size::U8, (R10, INNER + ipv4::TTL), R1);
    }

    /// Writes the Ethernet header that the slow path's packets had, at a place on the stack that is 2 modulo 4.
    fn write_ethernet(&mut self, direction: Direction, at: i16) {
        self.asm.note("IPv4").store(Size::U16, (R10, at + 12), short(ETH_P_IP.to_be_bytes()));
        for (size, offset) in [(Size::U16, 10), (Size::U32, 6), (Size::U32, 2), (Size::U16, 0)] {
            let from = (FLOW, direction.half() + ADDRESSES + offset);
            self.asm.load(size, R1, from).store(size, (R10, at + offset), R1);
        }
    }

    /// Adds or takes bytes behind the Ethernet header.
    fn adjust_room(&mut self, difference: i16, flags: i32) {
        const BPF_ADJ_ROOM_MAC: i32 = 1;
        self.asm
            .alu64(Move, R1, SKB)
            .alu32(Move, R2, i32::from(difference))
            .alu32(Move, R3, BPF_ADJ_ROOM_MAC)
            .alu32(Move, R4, flags)
            .call(ADJUST_ROOM)
            .note("there was room")
            .if_not_equal(R0, 0, self.slow);
    }

    /// Writes the stack from a place to the inner checksum to the packet's beginning.
    fn write_headers(&mut self, from: i16) {
        self.asm.alu64(Move, R1, SKB).alu32(Move, R2, 0);
        self.stack(R3, from);
        let len = INNER + ipv4::SOURCE - from;
        self.asm.alu32(Move, R4, i32::from(len)).alu32(Move, R5, 0).call(STORE_BYTES).note("written").if_not_equal(
            R0,
            0,
            self.broken,
        );
    }

    /// The outer header is that of the tunnel: TTL 64, TOS and DF of the inner packet.
    pub(in crate::bpf::fast) fn encapsulate(&mut self) {
        /// `BPF_F_ADJ_ROOM_FIXED_GSO` and `BPF_F_ADJ_ROOM_ENCAP_L3_IPV4`: each of several packets in one gets an outer header.
        const FLAGS: i32 = 1 | 2;
        let host = raw(self.spec.host.octets());
        self.adjust_room(IPV4_LEN, FLAGS);
        self.lower_ttl();
        self.host_of(INNER + ipv4::DESTINATION);
        self.asm
            .note("outer destination")
            .store(Size::U32, (R10, OUTER + ipv4::DESTINATION), R1)
            .note("outer source")
            .store(Size::U32, (R10, OUTER + ipv4::SOURCE), host)
            .note(format!("TTL {TTL}, IP in IP, checksum 0"))
            .store(Size::U32, (R10, OUTER + ipv4::TTL), raw([TTL, IPPROTO_IPIP, 0, 0]))
            .note("identification 0, DF")
            .store(Size::U32, (R10, OUTER + ipv4::IDENTIFICATION), raw([0, 0, DF[0], DF[1]]))
            .load(Size::U32, R1, (SKB, SKB_LEN))
            .alu32(Add, R1, -i32::from(ETHERNET_LEN))
            .be16(R1)
            .store(Size::U16, (R10, OUTER + ipv4::TOTAL_LENGTH), R1)
            .load(Size::U8, R1, (R10, INNER + ipv4::TOS))
            .store(Size::U8, (R10, OUTER + ipv4::TOS), R1)
            .store(Size::U8, (R10, OUTER), PLAIN);
        self.sum(OUTER);
        self.asm.alu32(Xor, R1, 0xffff).store(Size::U16, (R10, OUTER + ipv4::CHECKSUM), R1);
        self.write_ethernet(Direction::Out, header::ETHERNET_OF_OUTER);
        self.write_headers(header::ETHERNET_OF_OUTER);
    }

    pub(in crate::bpf::fast) fn decapsulate(&mut self) {
        /// `BPF_F_ADJ_ROOM_FIXED_GSO` and `BPF_F_ADJ_ROOM_NO_CSUM_RESET`: each of several packets in one loses its outer header,
        /// and what the interface has said of the inner checksum stays true.
        const FLAGS: i32 = 1 | 32;
        self.adjust_room(-IPV4_LEN, FLAGS);
        self.lower_ttl();
        self.write_ethernet(Direction::In, header::ETHERNET_OF_INNER);
        self.write_headers(header::ETHERNET_OF_INNER);
    }

    /// Counts the packet, and gives it to an interface.
    pub(in crate::bpf::fast) fn redirect(&mut self, interface: u32, flags: i32, counter: u32) {
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

    /// Records a packet of the slow path. A record that is fresh is replaced by that of a longer packet, and once in a while by
    /// that of one as long; a shorter one proves nothing of longer ones.
    pub(in crate::bpf::fast) fn record(&mut self, direction: Direction) {
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
}
