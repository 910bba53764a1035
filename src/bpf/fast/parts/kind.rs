//! Which packets there is a fast path for: whole ones, as routers forward them.

use super::{
    BEGIN_OR_END, CE, DF, Direction, Generator, IPPROTO_TCP, IPPROTO_UDP, LENGTH, PLAIN, SKB, SKB_GSO_SIZE, SKB_LEN,
    short,
};
use crate::bpf::Operation::{Add, And, ShiftRight, Subtract};
use crate::bpf::Register::{R1, R2, R10};
use crate::bpf::Size;
use crate::bpf::fast::header::{self, INNER, IPV4_LEN, ipv4};

impl Generator {
    /// The inner header, and what is behind it: what all four programs ask.
    pub(in crate::bpf::fast) fn check_kind(&mut self) {
        self.asm
            .load(Size::U8, R1, (R10, INNER))
            .note("a header without options")
            .if_not_equal(R1, PLAIN, self.slow)
            .load(Size::U16, R1, (R10, INNER + ipv4::FRAGMENT))
            .note("DF, no fragment")
            .if_not_equal(R1, short(DF), self.slow);
        self.measure();
    }

    /// Puts the packet's length into [`LENGTH`], and refuses what is neither TCP between its beginning and end nor UDP.
    fn measure(&mut self) {
        let (tcp, whole) = (self.asm.label(), self.asm.label());
        let before = self.frame.before_inner();
        self.asm
            .load(Size::U32, LENGTH, (SKB, SKB_LEN))
            .alu32(Subtract, LENGTH, before)
            .load(Size::U8, R1, (R10, INNER + ipv4::PROTOCOL))
            .note("TCP")
            .if_equal(R1, IPPROTO_TCP, tcp)
            .note("or UDP")
            .if_not_equal(R1, IPPROTO_UDP, self.slow)
            .load(Size::U32, R1, (SKB, SKB_GSO_SIZE))
            .note("one packet of UDP")
            .if_not_equal(R1, 0, self.slow)
            .goto(whole);
        self.asm.place(tcp);
        self.load_bytes(self.frame.tcp_length(), header::TCP_LENGTH, 2);
        self.asm
            .load(Size::U8, R1, (R10, header::TCP_FLAGS))
            .alu32(And, R1, BEGIN_OR_END)
            .note("neither SYN nor FIN nor RST")
            .if_not_equal(R1, 0, self.slow)
            .load(Size::U32, R1, (SKB, SKB_GSO_SIZE))
            .note("several in one: the length of each")
            .if_equal(R1, 0, whole)
            .load(Size::U8, LENGTH, (R10, header::TCP_LENGTH))
            .alu32(And, LENGTH, 0xf0)
            .alu32(ShiftRight, LENGTH, 2)
            .alu32(Add, LENGTH, R1)
            .alu32(Add, LENGTH, i32::from(IPV4_LEN));
        self.asm.place(whole);
    }

    /// What the slow path would refuse or change: TTL, congestion marks, length and checksum of the inner header.
    pub(in crate::bpf::fast) fn check_packet(&mut self, direction: Direction) {
        self.asm
            .load(Size::U8, R1, (R10, INNER + ipv4::TTL))
            .alu32(ShiftRight, R1, 1)
            .note("TTL 2 or more")
            .if_equal(R1, 0, self.slow);
        if direction == Direction::Out {
            self.check_congestion(INNER);
        }
        let before = i16::try_from(self.frame.before_inner()).expect("two headers");
        self.check_header(INNER, before);
    }

    pub(super) fn check_congestion(&mut self, at: i16) {
        self.asm
            .load(Size::U8, R1, (R10, at + ipv4::TOS))
            .alu32(And, R1, CE)
            .note("no congestion experienced")
            .if_equal(R1, CE, self.slow);
    }

    /// Checks length and checksum of the IPv4 header at a place on the stack; `before` bytes of the packet precede it.
    pub(super) fn check_header(&mut self, at: i16, before: i16) {
        self.asm
            .load(Size::U16, R1, (R10, at + ipv4::TOTAL_LENGTH))
            .be16(R1)
            .alu32(Add, R1, i32::from(before))
            .load(Size::U32, R2, (SKB, SKB_LEN))
            .note("nothing behind the packet")
            .if_not_equal(R1, R2, self.slow);
        self.sum(at);
        self.asm.note("the header's checksum").if_not_equal(R1, 0xffff, self.slow);
    }
}
