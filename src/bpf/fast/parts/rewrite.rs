//! What becomes of a packet: a hop less, another Ethernet header, an outer header more or less.

use super::{ADDRESSES, DF, Direction, FLOW, Generator, IPPROTO_IPIP, PLAIN, SKB, SKB_LEN, raw, short};
use crate::bpf::Operation::{Add, Modulo, Move, Xor};
use crate::bpf::Register::{R0, R1, R2, R3, R4, R5, R10};
use crate::bpf::Size;
use crate::bpf::fast::header::{self, ETHERNET_LEN, INNER, IPV4_LEN, OUTER, ipv4};
use crate::bpf::fast::{ADJUST_ROOM, STORE_BYTES};
use crate::bpf::program::{ETH_P_IP, TTL};

impl Generator {
    /// Takes a hop off the inner header on the stack, as routers do (`ip_decrease_ttl`, net/ip.h).
    fn lower_ttl(&mut self) {
        self.asm
            .load(Size::U16, R1, (R10, INNER + ipv4::CHECKSUM))
            .alu32(Add, R1, short([1, 0]))
            .alu32(Modulo, R1, 0xffff)
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
            .note("DF")
            .store(Size::U16, (R10, OUTER + ipv4::FRAGMENT), short(DF))
            .note("identification 0")
            .store(Size::U16, (R10, OUTER + ipv4::IDENTIFICATION), 0)
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
}
