//! The parts that the programs of the tunnels are made of.

use super::Spec;
use crate::bpf::Operation::{Add, And, Move, Or, ShiftRight};
use crate::bpf::Register::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};
use crate::bpf::{Assembler, Code, Helper, Label, Register, Size};
use crate::fan::encap::Encapsulation;

/// The next filter decides (`linux/pkt_cls.h`).
pub(in crate::bpf) const TC_ACT_UNSPEC: i32 = -1;
/// The packet goes on its way; no further filter is asked.
pub(super) const TC_ACT_OK: i32 = 0;
/// The packet is dropped, and counted by the clsact qdisc.
pub(in crate::bpf) const TC_ACT_SHOT: i32 = 2;

/// Reads packet bytes relative to a header, whatever `skb->data` points to: `(skb, offset, to, length, header)`.
const LOAD_BYTES: Helper = Helper { number: 68, name: "skb_load_bytes_relative" };
/// Reads the outer header of a received packet: `(skb, key, size, flags)`.
const GET_TUNNEL_KEY: Helper = Helper { number: 20, name: "skb_get_tunnel_key" };
/// Tells the tunnel where to send a packet: `(skb, key, size, flags)`.
const SET_TUNNEL_KEY: Helper = Helper { number: 21, name: "skb_set_tunnel_key" };

/// Offsets in `struct __sk_buff` (linux/bpf.h); the protocol is in network byte order.
pub(in crate::bpf) const SKB_PROTOCOL: i16 = 16;
pub(in crate::bpf) const SKB_VLAN_PRESENT: i16 = 20;

/// Relative to the network header, for `skb_load_bytes_relative`.
const BPF_HDR_START_NET: i32 = 1;

pub(in crate::bpf) const ETH_P_IP: u16 = 0x0800;
const ETH_P_ARP: u16 = 0x0806;

/// Bytes of an IPv4 header without options, and of an ARP packet for IPv4 over Ethernet (RFC 826).
const IPV4_LEN: i32 = 20;
const ARP_LEN: i32 = 28;

/// The stack: the packet's first bytes at the top, `struct bpf_tunnel_key` (linux/bpf.h, 44 bytes) below.
/// Stack accesses must be aligned, which is why an ARP packet starts at -28 and not at -32: its sender address then
/// is the middle of an aligned eight bytes, and its target address is aligned.
mod stack {
    pub(crate) const HEADER: i16 = -28;
    pub(crate) const TOS: i16 = HEADER + 1;
    pub(crate) const FRAGMENT: i16 = HEADER + 6;
    pub(crate) const SOURCE: i16 = HEADER + 12;
    pub(crate) const DESTINATION: i16 = HEADER + 16;
    pub(crate) const ARP_HARDWARE_AND_PROTOCOL: i16 = HEADER;
    pub(crate) const ARP_LENGTHS: i16 = HEADER + 4;
    pub(crate) const ARP_SENDER_LESS_2: i16 = HEADER + 12;
    pub(crate) const ARP_TARGET: i16 = HEADER + 24;

    pub(crate) const KEY: i16 = -72;
    pub(crate) const KEY_ID: i16 = KEY;
    pub(crate) const KEY_REMOTE: i16 = KEY + 4;
    pub(crate) const KEY_REMOTE_IPV6: i16 = KEY + 8;
    pub(crate) const KEY_TOS_TTL: i16 = KEY + 20;
    pub(crate) const KEY_LABEL: i16 = KEY + 24;
    pub(crate) const KEY_LOCAL: i16 = KEY + 28;
    pub(crate) const KEY_LOCAL_IPV6: i16 = KEY + 32;
    pub(crate) const KEY_LEN: i32 = 44;
}

/// Outer packets live as long as the underlay's own, whatever is left to the inner packet.
pub(in crate::bpf) const TTL: u8 = 64;
/// The IPIP device takes TOS 1 for "as the inner packet" (`ip_md_tunnel_xmit`, `net/ipv4/ip_tunnel.c`). The VXLAN device
/// does not (`vxlan_xmit_one` does so only for the TOS of its own configuration), so there the program copies it.
const TOS_INHERIT: u8 = 1;

/// DF among the bits of the header's seventh byte. Shifted, it is `BPF_F_DONT_FRAGMENT`.
const DF: i32 = 0x40;
const DF_TO_FLAG: i32 = 4;
/// No UDP checksum, as on any VXLAN device over IPv4 that was not told otherwise (`udpcsum` is off). The helper's
/// default is to compute one. The IPIP device does not look at it.
const BPF_F_ZERO_CSUM_TX: i32 = 1 << 1;

/// The packet, all the way through a program.
const SKB: Register = R6;
/// The inner source and destination in host byte order, once read.
pub(super) const SOURCE: Register = R7;
pub(super) const DESTINATION: Register = R8;
/// The packet's ethertype, where it may be one of two.
const PROTOCOL: Register = R9;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PacketDirection {
    In,
    Out,
}

pub(super) struct Generator {
    spec: Spec,
    asm: Assembler,
    /// Where packets of other fans go, and those that are dropped. The same over VXLAN and WireGuard.
    foreign: Label,
    refused: Label,
}

impl Generator {
    pub(super) fn new(spec: Spec) -> Self {
        let mut asm = Assembler::default();
        let refused = asm.label();
        let foreign = match spec.encapsulation {
            Encapsulation::Ipip => asm.label(),
            Encapsulation::Vxlan | Encapsulation::Wireguard => refused,
        };
        Self { spec, asm, foreign, refused }
    }

    /// Fills [`SOURCE`] and [`DESTINATION`], and leaves what the outer header takes over at [`stack::TOS`] and
    /// [`stack::FRAGMENT`].
    pub(super) fn read_addresses(&mut self, direction: PacketDirection) {
        self.asm.note("the packet").alu64(Move, SKB, R1);
        match self.spec.encapsulation {
            Encapsulation::Ipip | Encapsulation::Wireguard => self.read_ipv4(),
            Encapsulation::Vxlan => self.read_ipv4_or_arp(direction),
        }
        self.asm.note("source").be32(SOURCE).note("destination").be32(DESTINATION);
    }

    fn read_ipv4(&mut self) {
        self.asm
            .load(Size::U32, R1, (SKB, SKB_PROTOCOL))
            .note("IPv4 only")
            .if_not_equal(R1, ethertype(ETH_P_IP), self.foreign)
            .alu32(Move, R4, IPV4_LEN);
        self.load_header();
        self.asm.load(Size::U8, R1, (R10, stack::HEADER)).alu32(ShiftRight, R1, 4).note("version 4").if_not_equal(
            R1,
            4,
            self.foreign,
        );
        self.load_ipv4_addresses();
    }

    fn read_ipv4_or_arp(&mut self, direction: PacketDirection) {
        let (length_known, arp, done) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.asm
            .load(Size::U32, R1, (SKB, SKB_VLAN_PRESENT))
            .note("no VLAN tag")
            .if_not_equal(R1, 0, self.refused)
            .load(Size::U32, PROTOCOL, (SKB, SKB_PROTOCOL))
            .alu32(Move, R4, IPV4_LEN)
            .note("IPv4 or ARP only")
            .if_equal(PROTOCOL, ethertype(ETH_P_IP), length_known)
            .alu32(Move, R4, ARP_LEN)
            .if_not_equal(PROTOCOL, ethertype(ETH_P_ARP), self.refused);
        self.asm.place(length_known);
        // For whom it has no CAP_PERFMON, the verifier also walks the ways that a mispredicting processor might: that of ARP
        // with the 20 bytes of IPv4, where this would be read before it was written (`sanitize_speculative_path` and
        // `check_stack_range_initialized`, kernel/bpf/verifier.c at v6.1).
        self.asm.store(Size::U32, (R10, stack::ARP_TARGET), 0);
        self.load_header();
        self.asm.if_equal(PROTOCOL, ethertype(ETH_P_ARP), arp);
        self.load_ipv4_addresses();
        self.asm.goto(done);

        self.asm.place(arp);
        self.asm
            .load(Size::U32, R1, (R10, stack::ARP_HARDWARE_AND_PROTOCOL))
            .note("Ethernet and IPv4")
            .if_not_equal(R1, u32::from_ne_bytes([0, 1, 8, 0]), self.refused)
            .load(Size::U16, R1, (R10, stack::ARP_LENGTHS))
            .note("addresses of 6 and 4 bytes")
            .if_not_equal(R1, u32::from(u16::from_ne_bytes([6, 4])), self.refused)
            .load(Size::U64, SOURCE, (R10, stack::ARP_SENDER_LESS_2))
            .note("the sender")
            .alu64(ShiftRight, SOURCE, 16)
            .note("the target")
            .load(Size::U32, DESTINATION, (R10, stack::ARP_TARGET));
        if direction == PacketDirection::Out {
            self.asm.note("ARP has no TOS and no DF").store(Size::U8, (R10, stack::TOS), 0).store(
                Size::U8,
                (R10, stack::FRAGMENT),
                0,
            );
        }
        self.asm.place(done);
    }

    /// Copies R4 bytes from the network header to the stack.
    fn load_header(&mut self) {
        self.asm
            .alu64(Move, R1, SKB)
            .alu32(Move, R2, 0)
            .alu64(Move, R3, R10)
            .alu64(Add, R3, i32::from(stack::HEADER))
            .alu32(Move, R5, BPF_HDR_START_NET)
            .call(LOAD_BYTES)
            .note("not too short")
            .if_not_equal(R0, 0, self.foreign);
    }

    fn load_ipv4_addresses(&mut self) {
        self.asm.load(Size::U32, SOURCE, (R10, stack::SOURCE)).load(Size::U32, DESTINATION, (R10, stack::DESTINATION));
    }

    pub(super) fn check_overlay(&mut self, address: Register) {
        let overlay = self.spec.mapping.overlay().network();
        self.asm
            .alu32(Move, R1, address)
            .alu32(And, R1, u32::from(overlay.mask()))
            .note(format!("{} in {overlay}", role(address)))
            .if_not_equal(R1, u32::from(overlay.network()), self.foreign);
    }

    pub(super) fn check_slice(&mut self, address: Register) {
        let slice = self.spec.mapping.slice(self.spec.host);
        self.asm
            .alu32(Move, R1, address)
            .alu32(And, R1, u32::from(slice.mask()))
            .note(format!("{} in our slice {slice}", role(address)))
            .if_not_equal(R1, u32::from(slice.network()), self.refused);
    }

    /// Replaces an overlay address by its host, which must not be this one.
    pub(super) fn find_host(&mut self, address: Register) {
        let Spec { mapping, host, .. } = self.spec;
        let (overlay, underlay) = (mapping.overlay().network(), mapping.underlay().network());
        self.asm
            .note(format!("host bits of {overlay}"))
            .alu32(And, address, !u32::from(overlay.mask()))
            .alu32(ShiftRight, address, i32::from(mapping.shift()))
            .note(format!("the {}'s host in {underlay}", role(address)))
            .alu32(Or, address, u32::from(underlay.network()))
            .note(format!("not {host}, this host"))
            .if_equal(address, u32::from(host), self.refused);
    }

    /// What goes to one host goes to no other: the kernel would send it to all (`ip_route_output_key_hash`, net/ipv4/route.c).
    pub(super) fn refuse_broadcast(&mut self) {
        for address in &self.spec.broadcasts {
            self.asm.note(format!("not {address}, which all neighbours hear")).if_equal(
                DESTINATION,
                u32::from(*address),
                self.refused,
            );
        }
    }

    /// Hands the packet to the tunnel, for the host that [`DESTINATION`] holds.
    pub(super) fn send(&mut self) {
        let Spec { host, .. } = self.spec;
        let (id, tos) = match self.spec.encapsulation {
            Encapsulation::Ipip | Encapsulation::Wireguard => (0, TOS_INHERIT),
            Encapsulation::Vxlan => (self.spec.mapping.overlay().vni(), 0),
        };
        let tos_note = match self.spec.encapsulation {
            Encapsulation::Ipip | Encapsulation::Wireguard => format!("TTL {TTL}, TOS of the inner packet"),
            Encapsulation::Vxlan => format!("TTL {TTL}"),
        };
        // Not the other way round: without CAP_PERFMON the verifier of Linux 6.1 takes a number in the first half of eight bytes
        // for one that the second half must not touch any more (`check_stack_write_fixed_off`, kernel/bpf/verifier.c).
        self.asm
            .note("the tunnel key: outer destination")
            .store(Size::U32, (R10, stack::KEY_REMOTE), DESTINATION)
            .note("id")
            .store(Size::U32, (R10, stack::KEY_ID), id)
            .store(Size::U64, (R10, stack::KEY_REMOTE_IPV6), 0)
            .store(Size::U32, (R10, stack::KEY_REMOTE_IPV6 + 8), 0)
            .note(tos_note)
            .store(Size::U32, (R10, stack::KEY_TOS_TTL), u32::from_ne_bytes([tos, TTL, 0, 0]))
            .store(Size::U32, (R10, stack::KEY_LABEL), 0)
            .note(format!("outer source {host}"))
            .store(Size::U32, (R10, stack::KEY_LOCAL), u32::from(host))
            .store(Size::U64, (R10, stack::KEY_LOCAL_IPV6), 0)
            .store(Size::U32, (R10, stack::KEY_LOCAL_IPV6 + 8), 0);
        if self.spec.encapsulation == Encapsulation::Vxlan {
            self.asm.load(Size::U8, R1, (R10, stack::TOS)).note("TOS of the inner packet").store(
                Size::U8,
                (R10, stack::KEY_TOS_TTL),
                R1,
            );
        }
        self.asm
            .load(Size::U8, R4, (R10, stack::FRAGMENT))
            .alu32(And, R4, DF)
            .note("DF as the inner packet")
            .alu32(ShiftRight, R4, DF_TO_FLAG);
        if self.spec.encapsulation == Encapsulation::Vxlan {
            self.asm.note("no UDP checksum").alu32(Or, R4, BPF_F_ZERO_CSUM_TX);
        }
        self.call_with_key(SET_TUNNEL_KEY);
    }

    /// Compares the outer header with what [`SOURCE`]'s host must have written.
    pub(super) fn check_outer(&mut self) {
        let Spec { mapping, host, .. } = self.spec;
        self.asm.alu32(Move, R4, 0);
        self.call_with_key(GET_TUNNEL_KEY);
        self.asm
            .load(Size::U32, R1, (R10, stack::KEY_REMOTE))
            .note("the outer source is the source's host")
            .if_not_equal(R1, SOURCE, self.refused)
            .load(Size::U32, R1, (R10, stack::KEY_LOCAL))
            .note(format!("the outer destination is {host}"))
            .if_not_equal(R1, u32::from(host), self.refused);
        if self.spec.encapsulation == Encapsulation::Vxlan {
            let vni = mapping.overlay().vni();
            self.asm.load(Size::U32, R1, (R10, stack::KEY_ID)).note(format!("VNI {vni}")).if_not_equal(
                R1,
                vni,
                self.refused,
            );
        }
    }

    /// Calls a tunnel helper, with the flags in R4.
    fn call_with_key(&mut self, helper: Helper) {
        self.asm
            .alu64(Move, R1, SKB)
            .alu64(Move, R2, R10)
            .alu64(Add, R2, i32::from(stack::KEY))
            .alu32(Move, R3, stack::KEY_LEN)
            .call(helper)
            .if_not_equal(R0, 0, self.refused);
    }

    pub(super) fn finish(mut self) -> Code {
        let asm = &mut self.asm;
        asm.note("TC_ACT_OK").alu32(Move, R0, TC_ACT_OK).exit();
        asm.place(self.refused);
        asm.note("TC_ACT_SHOT").alu32(Move, R0, TC_ACT_SHOT).exit();
        if self.foreign != self.refused {
            asm.place(self.foreign);
            asm.note("TC_ACT_UNSPEC: not this fan's, the next filter decides").alu32(Move, R0, TC_ACT_UNSPEC).exit();
        }
        self.asm.finish()
    }
}

/// An ethertype as `skb->protocol` holds it.
pub(in crate::bpf) fn ethertype(number: u16) -> u32 {
    number.to_be().into()
}

fn role(address: Register) -> &'static str {
    if address == SOURCE { "source" } else { "destination" }
}
