//! The kernel that the programs of the fast path see, for the interpreter: their helpers, two maps and a clock.

#![expect(unsafe_code, reason = "rbpf hands its helpers addresses")]

use std::cell::RefCell;
use std::collections::BTreeMap;

use nix::libc;
use rbpf::EbpfVmMbuff;

pub type Key = [u8; 16];
pub type Value = [u8; 48];

/// A packet at a hook, and what the kernel says of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Packet {
    /// From its Ethernet header.
    pub bytes: Vec<u8>,
    pub ethertype: u16,
    pub pkt_type: u32,
    pub vlan: bool,
    /// The payload of each of several packets in one; 0 for one.
    pub gso_size: u32,
    pub priority: u32,
}

/// All that a program sees and changes beside the packet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Machine {
    pub flows: BTreeMap<Key, Value>,
    pub counts: [u64; 2],
    pub now: u64,
    /// Interface and flags.
    pub redirected: Option<(u64, u64)>,
    /// Which helper fails.
    pub fails: Option<Failure>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    AdjustRoom,
    StoreBytes,
}

/// Memory that programs get addresses of.
struct Memory {
    value: Value,
    counts: [u64; 2],
}

thread_local! {
    static RUN: RefCell<(Packet, Machine)> = RefCell::default();
    static MEMORY: &'static RefCell<Memory> = Box::leak(Box::new(RefCell::new(Memory { value: [0; 48], counts: [0; 2] })));
}

/// An interpreter for a program of the fast path, for this thread.
pub fn interpreter(code: &[u8]) -> EbpfVmMbuff<'_> {
    let mut vm = EbpfVmMbuff::new(Some(code)).unwrap();
    for (number, helper) in [
        (1, lookup as fn(u64, u64, u64, u64, u64) -> u64),
        (2, update),
        (9, store_bytes),
        (23, redirect),
        (26, load_bytes),
        (50, adjust_room),
        (160, clock),
    ] {
        vm.register_helper(number, helper).unwrap();
    }
    let start = MEMORY.with(|memory| memory.as_ptr() as u64);
    vm.register_allowed_memory(start..start + size_of::<Memory>() as u64);
    vm
}

/// Offsets in `struct __sk_buff`.
const PRIORITY: usize = 32;
const GSO_SIZE: usize = 176;

/// Runs a program: its verdict, and what became of packet and machine. None where it left its memory, as the kernel's verifier
/// lets no program do.
pub fn run(vm: &EbpfVmMbuff<'_>, packet: Packet, machine: Machine) -> Option<(i32, Packet, Machine)> {
    let mut context = [0xaa_u8; 192];
    let len = u32::try_from(packet.bytes.len()).unwrap();
    let fields = [
        (0, len),
        (4, packet.pkt_type),
        (16, packet.ethertype.to_be().into()),
        (20, packet.vlan.into()),
        (PRIORITY, packet.priority),
        (GSO_SIZE, packet.gso_size),
    ];
    for (at, number) in fields {
        context[at..at + 4].copy_from_slice(&number.to_ne_bytes());
    }
    MEMORY.with(|memory| memory.borrow_mut().counts = machine.counts);
    RUN.set((packet, machine));
    let verdict = vm.execute_program(&[], &context).ok()?;
    let (mut packet, mut machine) = RUN.take();
    // Programs write to it, behind the compiler's back.
    let after = bytes(std::hint::black_box(context.as_ptr()) as u64, context.len());
    packet.priority = u32::from_ne_bytes(after[PRIORITY..PRIORITY + 4].try_into().unwrap());
    machine.counts = MEMORY.with(|memory| memory.borrow().counts);
    Some((u32::try_from(verdict).ok()?.cast_signed(), packet, machine))
}

fn error(errno: i32) -> u64 {
    i64::from(-errno).cast_unsigned()
}

/// Bytes at an address that a program gave.
fn bytes<'a>(at: u64, len: usize) -> &'a mut [u8] {
    // SAFETY: our programs give addresses below R10 with as many bytes up to it, the top of the interpreter's stack, or that of
    // the context; nothing else refers to them during a call.
    unsafe { std::slice::from_raw_parts_mut(at as *mut u8, len) }
}

fn lookup(map: u64, key: u64, _: u64, _: u64, _: u64) -> u64 {
    MEMORY.with(|memory| {
        let start = memory.as_ptr();
        match map {
            0 => RUN.with_borrow(|(_, machine)| {
                let key: &Key = (&*bytes(key, 16)).try_into().unwrap();
                machine.flows.get(key).map_or(0, |value| {
                    memory.borrow_mut().value = *value;
                    // SAFETY: the field of a value that lives for ever.
                    unsafe { &raw const (*start).value as u64 }
                })
            }),
            1 => {
                let index = usize::try_from(u32::from_ne_bytes((&*bytes(key, 4)).try_into().unwrap())).unwrap();
                // SAFETY: as before; the index is that of an array of two.
                if index < 2 { unsafe { &raw const (*start).counts[index] as u64 } } else { 0 }
            }
            other => panic!("no map {other}"),
        }
    })
}

fn update(map: u64, key: u64, value: u64, flags: u64, _: u64) -> u64 {
    assert_eq!((map, flags), (0, 0));
    RUN.with_borrow_mut(|(_, machine)| {
        let key = (&*bytes(key, 16)).try_into().unwrap();
        machine.flows.insert(key, (&*bytes(value, 48)).try_into().unwrap());
    });
    0
}

fn clock(_: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    RUN.with_borrow(|(_, machine)| machine.now)
}

fn redirect(interface: u64, flags: u64, _: u64, _: u64, _: u64) -> u64 {
    RUN.with_borrow_mut(|(_, machine)| machine.redirected = Some((interface, flags)));
    7
}

fn load_bytes(_skb: u64, offset: u64, to: u64, len: u64, _: u64) -> u64 {
    let (offset, len) = (usize::try_from(offset).unwrap(), usize::try_from(len).unwrap());
    RUN.with_borrow(|(packet, _)| {
        let found = packet.bytes.get(offset..offset + len);
        bytes(to, len).copy_from_slice(found.unwrap_or(&vec![0; len]));
        if found.is_some() { 0 } else { error(libc::EFAULT) }
    })
}

fn store_bytes(_skb: u64, offset: u64, from: u64, len: u64, flags: u64) -> u64 {
    assert_eq!(flags, 0);
    let (offset, len) = (usize::try_from(offset).unwrap(), usize::try_from(len).unwrap());
    RUN.with_borrow_mut(|(packet, machine)| {
        if machine.fails == Some(Failure::StoreBytes) {
            return error(libc::ENOMEM);
        }
        packet.bytes[offset..offset + len].copy_from_slice(bytes(from, len));
        0
    })
}

/// Behind the Ethernet header, as `bpf_skb_adjust_room` does with `BPF_ADJ_ROOM_MAC`.
fn adjust_room(skb: u64, difference: u64, mode: u64, flags: u64, _: u64) -> u64 {
    assert_eq!(mode, 1);
    let difference = u32::try_from(difference).unwrap().cast_signed();
    RUN.with_borrow_mut(|(packet, machine)| {
        if machine.fails == Some(Failure::AdjustRoom) {
            return error(libc::ENOMEM);
        }
        match difference {
            20 => {
                assert_eq!(flags, 1 | 2);
                packet.bytes.splice(14..14, [0; 20]);
            }
            -20 => {
                assert_eq!(flags, 1 | 32);
                packet.bytes.drain(14..34);
            }
            other => panic!("by {other} bytes"),
        }
        let len = u32::try_from(packet.bytes.len()).unwrap();
        bytes(skb, 4).copy_from_slice(&len.to_ne_bytes());
        0
    })
}
