//! The generated programs in the kernel itself: its verifier accepts them, and `BPF_PROG_TEST_RUN` shows that they do what
//! the mapping says.
//!
//! `TEST_RUN` has no tunnel. A program put in front of ours hands it the outer header of a received packet, which is
//! written where the frame's MAC addresses should be. One behind it writes the tunnel key of a sent packet over the
//! frame. To `bpf_skb_get_tunnel_key` the sender's view of a key is the receiver's with the ends swapped, so the remote
//! and the local address change places in both.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use fanctl::bpf::Operation::{Add, Move};
use fanctl::bpf::Register::{R0, R1, R2, R3, R4, R5, R6, R10};
use fanctl::bpf::program::{Program, Spec, egress, ingress, refuse};
use fanctl::bpf::{Assembler, Helper, Insn, Size};
use fanctl::fan::encap::Encapsulation;
use fanctl::fan::mapping::{Mapping, Underlay};
use fanctl::kernel::bpf::{TestRun, fd_by_id, id, load, test_run};
use nix::errno::Errno;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::case::{Case, Cases};
use crate::support::is_emulated;

#[path = "../program/oracle.rs"]
mod oracle;

use oracle::{ARP, Frame, IPV4, IPV6, Outer, Sent, Verdict, any_arrival, host_of};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("program").under_their_names(all()).list()
}

fn all() -> Vec<(&'static str, fn())> {
    vec![
        ("program::every_mapping_passes_the_verifier", every_mapping_passes_the_verifier),
        ("program::the_verifier_reads_what_we_print", the_verifier_reads_what_we_print),
        ("program::a_program_is_found_by_its_id", a_program_is_found_by_its_id),
        ("program::the_last_filter_refuses_everything", the_last_filter_refuses_everything),
        ("program::packets_leave_as_the_mapping_says", packets_leave_as_the_mapping_says),
        ("program::packets_enter_as_the_mapping_says", packets_enter_as_the_mapping_says),
        ("program::without_an_outer_header_nothing_enters", without_an_outer_header_nothing_enters),
        ("program::vlan_tags_stay_outside", vlan_tags_stay_outside),
    ]
}

/// Overlays and underlays of many widths, at the limits of what is legal and with the upper bit set or not.
const MAPPINGS: [(&str, &str); 9] = [
    ("250.0.0.0/8", "172.30.0.0/16"),
    ("10.0.0.0/8", "192.168.202.0/24"),
    ("100.64.0.0/10", "10.224.220.0/24"),
    ("99.0.0.0/8", "10.99.224.0/20"),
    ("128.0.0.0/3", "10.0.0.0/8"),
    ("250.0.0.0/8", "172.30.1.2/32"),
    ("10.1.2.0/30", "192.168.1.1/32"),
    ("10.1.0.0/16", "172.16.0.0/18"),
    ("192.168.0.0/17", "240.0.0.0/28"),
];

fn specs() -> impl Iterator<Item = Spec> {
    MAPPINGS.into_iter().flat_map(|(overlay, underlay)| {
        let (network, len) = underlay.split_once('/').unwrap();
        let underlay = Underlay::containing(network.parse().unwrap(), len.parse().unwrap()).unwrap();
        let mapping = Mapping::new(overlay.parse().unwrap(), underlay).unwrap();
        [Encapsulation::Ipip, Encapsulation::Vxlan].map(|encapsulation| Spec {
            mapping,
            host: host_of(mapping, 28),
            broadcasts: [underlay.network().broadcast()].into(),
            encapsulation,
        })
    })
}

fn announced(encapsulation: Encapsulation) -> Spec {
    specs().find(|spec| spec.encapsulation == encapsulation).unwrap()
}

fn loaded(program: &Program) -> OwnedFd {
    load(program).unwrap_or_else(|error| panic!("{error}\n{program}"))
}

const SKB_LOAD_BYTES: Helper = Helper { number: 26, name: "skb_load_bytes" };
const SKB_STORE_BYTES: Helper = Helper { number: 9, name: "skb_store_bytes" };
const SKB_CHANGE_TAIL: Helper = Helper { number: 38, name: "skb_change_tail" };
const SKB_VLAN_PUSH: Helper = Helper { number: 18, name: "skb_vlan_push" };
const SKB_GET_TUNNEL_KEY: Helper = Helper { number: 20, name: "skb_get_tunnel_key" };
const SKB_SET_TUNNEL_KEY: Helper = Helper { number: 21, name: "skb_set_tunnel_key" };

/// `get_tunnel_key` puts the flags of the tunnel at offset 22 (since Linux 6.1).
const BPF_F_TUNINFO_FLAGS: i32 = 1 << 4;
const TUNNEL_CSUM: u16 = 1 << 0;
const TUNNEL_DONT_FRAGMENT: u16 = 1 << 8;

/// A key on the stack, 44 bytes.
const KEY: i16 = -48;
const KEY_LEN: usize = 44;
/// The MAC addresses of a frame, of which only 12 bytes matter here.
const MAC_LEN: i32 = 12;

/// The test's own instructions return this when a helper fails: it is no verdict.
const BROKEN: i32 = 99;

/// `program`, which first gets the outer header from the place of the MAC addresses.
fn with_outer(program: &Program) -> Program {
    let mut asm = Assembler::default();
    let broken = asm.label();
    let go = asm.label();
    asm.alu64(Move, R6, R1);
    for offset in (0..KEY_LEN).step_by(4) {
        asm.store(Size::U32, (R10, KEY + i16::try_from(offset).unwrap()), 0);
    }
    asm.alu32(Move, R2, 0)
        .alu64(Move, R3, R10)
        .alu64(Add, R3, i32::from(KEY) - 16)
        .alu32(Move, R4, MAC_LEN)
        .call(SKB_LOAD_BYTES)
        .if_not_equal(R0, 0, broken);
    // Remote, where `get_tunnel_key` will read the outer destination from; local for the source; the id.
    for (from, to) in [(-16, 28), (-12, 4), (-8, 0)] {
        asm.load(Size::U32, R1, (R10, KEY + from)).store(Size::U32, (R10, KEY + to), R1);
    }
    asm.alu64(Move, R1, R6)
        .alu64(Move, R2, R10)
        .alu64(Add, R2, i32::from(KEY))
        .alu32(Move, R3, i32::try_from(KEY_LEN).unwrap())
        .alu32(Move, R4, 0)
        .call(SKB_SET_TUNNEL_KEY)
        .alu64(Move, R1, R6)
        .if_equal(R0, 0, go);
    asm.place(broken);
    asm.alu32(Move, R0, BROKEN).exit();
    asm.place(go);
    prefixed(asm, program)
}

/// `program`, whose packet first gets a VLAN tag.
fn with_vlan(program: &Program) -> Program {
    let mut asm = Assembler::default();
    asm.alu64(Move, R6, R1)
        .alu32(Move, R2, u32::from(0x8100_u16.to_be()))
        .alu32(Move, R3, 5)
        .call(SKB_VLAN_PUSH)
        .alu64(Move, R1, R6);
    prefixed(asm, program)
}

fn with_code(program: &Program, instructions: Vec<Insn>) -> Program {
    let mut program = program.clone();
    program.instructions = instructions;
    program
}

/// Jumps are relative, so code can stand in front of other code as it is.
fn prefixed(asm: Assembler, program: &Program) -> Program {
    with_code(program, [asm.finish().instructions, program.instructions.clone()].concat())
}

/// `program`, which on acceptance writes the tunnel key it has set to the beginning of the frame. It keeps the packet in
/// R6, as ours do.
fn with_key_shown(program: &Program) -> Program {
    let mut asm = Assembler::default();
    let (end, broken) = (asm.label(), asm.label());
    asm.if_not_equal(R0, 0, end)
        // Room for the key.
        .alu64(Move, R1, R6)
        .alu32(Move, R2, 128)
        .alu32(Move, R3, 0)
        .call(SKB_CHANGE_TAIL)
        .if_not_equal(R0, 0, broken)
        .alu64(Move, R1, R6)
        .alu64(Move, R2, R10)
        .alu64(Add, R2, i32::from(KEY))
        .alu32(Move, R3, i32::try_from(KEY_LEN).unwrap())
        .alu32(Move, R4, BPF_F_TUNINFO_FLAGS)
        .call(SKB_GET_TUNNEL_KEY)
        .if_not_equal(R0, 0, broken)
        .alu64(Move, R1, R6)
        .alu32(Move, R2, 0)
        .alu64(Move, R3, R10)
        .alu64(Add, R3, i32::from(KEY))
        .alu32(Move, R4, i32::try_from(KEY_LEN).unwrap())
        .alu32(Move, R5, 0)
        .call(SKB_STORE_BYTES)
        .if_equal(R0, 0, end);
    asm.place(broken);
    asm.alu32(Move, R0, BROKEN);
    asm.place(end);
    asm.exit();

    let mut instructions = program.instructions.clone();
    let len = instructions.len();
    for (at, instruction) in instructions.iter_mut().enumerate() {
        if *instruction == Insn::Exit {
            let offset = i16::try_from(len - at - 1).unwrap();
            *instruction = Insn::Goto { offset };
        }
    }
    instructions.extend(asm.finish().instructions);
    with_code(program, instructions)
}

/// The Ethernet frame of a packet, with the outer header it came with.
fn ethernet(frame: &Frame, outer: Outer) -> Vec<u8> {
    [
        u32::from(outer.source).to_ne_bytes().as_slice(),
        &u32::from(outer.destination).to_ne_bytes(),
        &outer.id.to_ne_bytes(),
        &frame.ethertype.to_be_bytes(),
        &frame.bytes,
    ]
    .concat()
}

const NO_OUTER: Outer = Outer { source: Ipv4Addr::UNSPECIFIED, destination: Ipv4Addr::UNSPECIFIED, id: 0 };

/// Runs a program on a frame. Newer kernels (6.18) refuse to try one that is too short for its protocol's header; nothing
/// came of it then.
fn run(program: &OwnedFd, frame: &Frame, outer: Outer) -> Option<TestRun> {
    let header = match frame.ethertype {
        IPV4 => 20,
        IPV6 => 40,
        _ => 1,
    };
    match test_run(program, &ethernet(frame, outer)) {
        Ok(run) => Some(run),
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) && frame.bytes.len() < header => None,
        Err(error) => panic!("{error}: {frame:?}"),
    }
}

/// The key that [`with_key_shown`] left in a frame.
fn shown(TestRun { packet, .. }: &TestRun) -> Sent {
    let word = |at: usize| u32::from_ne_bytes(packet[at..at + 4].try_into().unwrap());
    let flags = u16::from_be_bytes(packet[22..24].try_into().unwrap());
    Sent {
        outer: Outer { source: word(4).into(), destination: word(28).into(), id: word(0) },
        ttl: packet[21],
        tos: packet[20],
        dont_fragment: flags & TUNNEL_DONT_FRAGMENT != 0,
        no_checksum: flags & TUNNEL_CSUM == 0,
    }
}

fn packets() -> usize {
    if is_emulated() { 100 } else { 200 }
}

/// Frames for a host, always the same ones. `TEST_RUN` cannot show a VLAN tag that the network card took off.
fn arrivals(spec: &Spec) -> Vec<oracle::Arrival> {
    let random = TestRng::deterministic_rng(RngAlgorithm::XorShift);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let strategy = any_arrival(spec).prop_filter("no VLAN tag", |(frame, _)| !frame.vlan);
    (0..packets()).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn every_mapping_passes_the_verifier() {
    for spec in specs() {
        loaded(&egress(&spec));
        loaded(&ingress(&spec));
    }
    loaded(&refuse());
}

/// A load that must fail, at the very end of the path that accepts a packet, makes the verifier print that path.
fn the_verifier_reads_what_we_print() {
    for spec in [Encapsulation::Ipip, Encapsulation::Vxlan].map(announced) {
        for mut program in [egress(&spec), ingress(&spec)] {
            let accepted = program.instructions.iter().position(|&insn| insn == Insn::Exit).unwrap();
            // The verifier refuses a write to the frame pointer.
            program.instructions[accepted - 1] =
                Insn::Alu { width: fanctl::bpf::Width::Bits64, operation: Move, target: R10, source: 0.into() };
            let error = load(&program).unwrap_err();
            assert_eq!(error.errno, Errno::EACCES, "{error}");
            assert!(error.to_string().contains("verifier says"), "{error}");
            let mut seen = 0;
            for line in error.log.lines() {
                let Some((number, rest)) = line.split_once(": (") else {
                    continue;
                };
                let (Ok(number), Some((_, text))) = (number.parse::<usize>(), rest.split_once(") ")) else {
                    continue;
                };
                let text = text.split(';').next().unwrap().trim_end();
                assert_eq!(text, program.instructions[number].to_string(), "{line}");
                seen += 1;
            }
            assert!(seen >= 40, "only {seen} instructions in the log:\n{}", error.log);
        }
    }
}

fn a_program_is_found_by_its_id() {
    let program = loaded(&refuse());
    let number = id(&program).unwrap();
    let again = fd_by_id(number).unwrap();
    assert_eq!(id(&again).unwrap(), number);
    let other = loaded(&refuse());
    assert_ne!(id(&other).unwrap(), number);
    assert_eq!(fd_by_id(u32::MAX).unwrap_err().raw_os_error(), Some(Errno::ENOENT as i32));
}

fn the_last_filter_refuses_everything() {
    let program = loaded(&refuse());
    for ethertype in [IPV4, ARP, IPV6] {
        let frame = Frame { ethertype, vlan: false, bytes: vec![0x45; 40] };
        assert_eq!(run(&program, &frame, NO_OUTER).map(|run| run.verdict), Some(2));
    }
}

fn packets_leave_as_the_mapping_says() {
    let mut accepted = 0;
    for spec in specs() {
        let program = loaded(&with_key_shown(&egress(&spec)));
        for (frame, _) in arrivals(&spec) {
            let expected = oracle::egress(&spec, &frame);
            let Some(run) = run(&program, &frame, NO_OUTER) else {
                continue;
            };
            assert_eq!(run.verdict, expected.action(), "{spec:?} {frame:?}");
            if let Verdict::Accepted(key) = expected {
                assert_eq!(shown(&run), key, "{spec:?} {frame:?}");
                accepted += 1;
            }
        }
    }
    assert!(accepted > 100, "{accepted}");
}

fn packets_enter_as_the_mapping_says() {
    let mut accepted = 0;
    for spec in specs() {
        let program = loaded(&with_outer(&ingress(&spec)));
        for (frame, outer) in arrivals(&spec) {
            let Some(outer) = outer else { continue };
            let expected = oracle::ingress(&spec, &frame, Some(outer));
            let Some(run) = run(&program, &frame, outer) else {
                continue;
            };
            assert_eq!(run.verdict, expected.action(), "{spec:?} {frame:?} {outer:?}");
            accepted += u32::from(expected == Verdict::Accepted(()));
        }
    }
    assert!(accepted > 100, "{accepted}");
}

fn without_an_outer_header_nothing_enters() {
    for spec in specs() {
        let program = loaded(&ingress(&spec));
        for (frame, _) in arrivals(&spec) {
            let Some(run) = run(&program, &frame, NO_OUTER) else {
                continue;
            };
            assert_eq!(run.verdict, oracle::ingress(&spec, &frame, None).action(), "{spec:?} {frame:?}");
            assert_ne!(run.verdict, 0);
        }
    }
}

fn vlan_tags_stay_outside() {
    let spec = announced(Encapsulation::Vxlan);
    let (out, back) = (loaded(&with_vlan(&egress(&spec))), loaded(&with_vlan(&with_outer(&ingress(&spec)))));
    for (frame, outer) in arrivals(&spec) {
        for program in [&out, &back] {
            let Some(run) = run(program, &frame, outer.unwrap_or(NO_OUTER)) else {
                continue;
            };
            assert_eq!(run.verdict, 2, "{frame:?}");
        }
    }
}
