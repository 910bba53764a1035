//! From a mapping to the programs that carry it out in the kernel.
//!
//! Four recipes, each with the two networks, the slice and the host's address as numbers inside its instructions.
//! They sit on a tunnel device in collect-metadata mode, as clsact filters with direct action.
//!
//! **Out over IPIP**, on the device that all fans share:
//! 1. Not IPv4, or for a destination outside the overlay: not ours, the next filter decides.
//! 2. The source is not in our slice (spoofed), or the destination is (it would come back to us): drop.
//! 3. Compute the destination's host. It is a broadcast address, so that all neighbours would get the packet: drop.
//! 4. Hand the packet to the tunnel with that host as the outer destination, our address as the outer source, TTL 64,
//!    the inner packet's TOS, and DF exactly when the inner packet has it.
//!
//! **In over IPIP**:
//! 1. Not IPv4, or from a source outside the overlay: not ours, the next filter decides.
//! 2. The destination is not in our slice: drop.
//! 3. Compute the source's host. It is us, or it is not the outer source: spoofed, drop.
//! 4. The outer destination is not the address our slice comes from: drop. Nobody who knows the mapping sends there,
//!    and fans on other addresses of this host share the device.
//!
//! **Out over VXLAN**, on a bridge port of one fan, where nobody else decides and so whatever is refused is dropped:
//! the same, for IPv4 and for ARP, whose sender and target count as source and destination. No other protocol and
//! no VLAN tag leaves the host, nor does an ARP probe, whose sender is 0.0.0.0.
//!
//! **In over VXLAN**: the same, for IPv4 and ARP, and only for our VNI.
//!
//! **Out and in over WireGuard**, on a device of one fan, where whatever is refused is dropped: the same for IPv4, without outer
//! header. WireGuard itself sends to the host that has the destination, and takes from each only what has a source of its own
//! (`wg_allowedips_lookup_src`, drivers/net/wireguard/receive.c); it looks at no source on the way out, and at no destination on
//! the way in.
//!
//! Acceptance is `TC_ACT_OK`, which ends classification; `TC_ACT_UNSPEC` would go on to the filter that drops
//! (`tcf_classify`, `net/sched/cls_api.c`).

mod generator;

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use self::generator::{DESTINATION, Generator, PacketDirection, SOURCE, TC_ACT_OK};
use crate::bpf::Operation::Move;
use crate::bpf::Register::R0;
use crate::bpf::{Assembler, Code, Insn};
use crate::fan::digest::digest;
use crate::fan::encap::Encapsulation;
use crate::fan::mapping::Mapping;

pub(super) use generator::{ETH_P_IP, SKB_PROTOCOL, SKB_VLAN_PRESENT, TC_ACT_SHOT, TC_ACT_UNSPEC, TTL, ethertype};

/// What a program says of a packet that it lets pass: the packet goes on its way, and no further filter is asked.
pub const ACCEPTED: i32 = TC_ACT_OK;

/// What a pair of programs is made for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Spec {
    /// Who lives where.
    pub mapping: Mapping,
    /// This host's address in the mapping's underlay.
    pub host: Ipv4Addr,
    /// The addresses there that every neighbour hears, and that so are no host's.
    pub broadcasts: BTreeSet<Ipv4Addr>,
    /// What is wrapped around the packets.
    pub encapsulation: Encapsulation,
}

/// Instructions for the kernel, with a name it accepts.
///
/// Equality and digest know only what the kernel gets; the notes of the listing do not count.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program's name in the kernel: at most 15 of `[A-Za-z0-9_.]` (`bpf_obj_name_cpy`, kernel/bpf/syscall.c).
    pub name: String,
    /// What the kernel runs.
    pub instructions: Vec<Insn>,
    notes: Vec<(usize, String)>,
}

/// The filter at the end of the shared tunnel: whatever no fan took is dropped.
#[must_use]
pub fn refuse() -> Program {
    let mut asm = Assembler::default();
    asm.note("TC_ACT_SHOT: of no fan").alu32(Move, R0, TC_ACT_SHOT).exit();
    Program::new("fan_refuse", asm.finish())
}

/// The program for packets that leave through the tunnel.
#[must_use]
pub fn egress(spec: &Spec) -> Program {
    let mut generator = Generator::new(spec.clone());
    generator.read_addresses(PacketDirection::Out);
    generator.check_overlay(DESTINATION);
    generator.check_slice(SOURCE);
    generator.find_host(DESTINATION);
    generator.refuse_broadcast();
    if spec.encapsulation != Encapsulation::Wireguard {
        generator.send();
    }
    Program::new("fan_egress", generator.finish())
}

/// The program for packets that come in through the tunnel.
#[must_use]
pub fn ingress(spec: &Spec) -> Program {
    let mut generator = Generator::new(spec.clone());
    generator.read_addresses(PacketDirection::In);
    generator.check_overlay(SOURCE);
    generator.check_slice(DESTINATION);
    generator.find_host(SOURCE);
    if spec.encapsulation != Encapsulation::Wireguard {
        generator.check_outer();
    }
    Program::new("fan_ingress", generator.finish())
}

impl Program {
    pub(super) fn new(name: &str, Code { instructions, notes }: Code) -> Self {
        Self { name: name.into(), instructions, notes }
    }

    /// The instructions as the kernel takes them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.instructions.iter().flat_map(|insn| insn.encode()).collect()
    }

    /// The same, with the descriptors of the maps that the program refers to.
    #[must_use]
    pub(crate) fn encode_with(&self, maps: &[i32]) -> Vec<u8> {
        self.instructions.iter().flat_map(|insn| insn.encode_with(maps)).collect()
    }

    /// Sixteen hexadecimal digits that tell programs apart: FNV-1a with 64 bits over the encoded instructions. The
    /// same in every build for one byte order; not a defence against someone who looks for collisions.
    #[must_use]
    pub(crate) fn digest(&self) -> String {
        digest(&self.encode())
    }
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.instructions == other.instructions
    }
}

impl Eq for Program {}

/// The listing: a line for each instruction, with its number and what there is to say about it.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut notes = self.notes.iter().peekable();
        for (number, instruction) in self.instructions.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            match notes.next_if(|(index, _)| *index == number) {
                Some((_, note)) => write!(f, "{number:>3}: {:<36} ; {note}", instruction.to_string())?,
                None => write!(f, "{number:>3}: {instruction}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::mapping::Underlay;

    fn announced(encapsulation: Encapsulation) -> Spec {
        let host = Ipv4Addr::new(172, 30, 0, 28);
        let underlay = Underlay::containing(host, 16).unwrap();
        Spec {
            mapping: Mapping::new("250".parse().unwrap(), underlay).unwrap(),
            host,
            broadcasts: BTreeSet::new(),
            encapsulation,
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_digest_is_fnv_1a_of_the_instructions_alone() {
        // By an independent implementation, over the bytes b4 00 00 00 02 00 00 00 95 00 00 00 00 00 00 00.
        assert_eq!(refuse().digest(), "b5b8b7671db63d06");
        let program = egress(&announced(Encapsulation::Ipip));
        let renoted = Program { notes: Vec::new(), ..program.clone() };
        assert_eq!(program, renoted);
        assert_eq!(program.digest(), renoted.digest());
        assert_ne!(program.digest(), egress(&announced(Encapsulation::Vxlan)).digest());
    }
}
