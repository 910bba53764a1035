//! The programs' three helpers for the interpreter `rbpf`, which follow pointers.

#![expect(unsafe_code, reason = "rbpf hands its helpers addresses")]

use std::cell::RefCell;

use nix::libc;
use rbpf::EbpfVmMbuff;

/// `struct bpf_tunnel_key`.
pub type Key = [u8; 44];

/// What the helpers see and change.
#[derive(Clone, Default)]
pub struct Packet {
    /// The packet from its network header.
    pub bytes: Vec<u8>,
    /// The key it came with.
    pub received: Option<Key>,
    /// The key and the flags it leaves with.
    pub sent: Option<(Key, u64)>,
    /// Whether the kernel will fail to give it a key.
    pub keyless: bool,
}

thread_local! {
    static PACKET: RefCell<Packet> = RefCell::default();
}

/// An interpreter for a program of ours.
pub fn interpreter(code: &[u8]) -> EbpfVmMbuff<'_> {
    let mut vm = EbpfVmMbuff::new(Some(code)).unwrap();
    vm.register_helper(20, get_tunnel_key).unwrap();
    vm.register_helper(21, set_tunnel_key).unwrap();
    vm.register_helper(68, load_bytes_relative).unwrap();
    vm
}

/// Runs a program; `context` is the part of `struct __sk_buff` that it reads.
pub fn run(vm: &EbpfVmMbuff<'_>, context: &[u8], packet: Packet) -> (i32, Packet) {
    PACKET.replace(packet);
    let verdict = vm.execute_program(&[], context).unwrap();
    (u32::try_from(verdict).unwrap().cast_signed(), PACKET.take())
}

fn error(errno: i32) -> u64 {
    i64::from(-errno).cast_unsigned()
}

/// Copies to an address that a program gave.
fn write(to: u64, bytes: &[u8]) {
    // SAFETY: our programs give addresses below R10 with as many bytes up to it, the top of the interpreter's
    // stack of 512 bytes, to which nothing else refers during a call.
    unsafe { std::slice::from_raw_parts_mut(to as *mut u8, bytes.len()) }.copy_from_slice(bytes);
}

fn load_bytes_relative(_skb: u64, offset: u64, to: u64, len: u64, header: u64) -> u64 {
    assert_eq!(header, 1, "BPF_HDR_START_NET");
    let (offset, len) = (usize::try_from(offset).unwrap(), usize::try_from(len).unwrap());
    PACKET.with_borrow(|packet| {
        let bytes = packet.bytes.get(offset..offset + len);
        write(to, bytes.unwrap_or(&vec![0; len]));
        if bytes.is_some() { 0 } else { error(libc::EFAULT) }
    })
}

fn get_tunnel_key(_skb: u64, key: u64, size: u64, flags: u64, _: u64) -> u64 {
    assert_eq!((size, flags), (44, 0));
    PACKET.with_borrow(|packet| {
        write(key, &packet.received.unwrap_or([0; 44]));
        if packet.received.is_some() { 0 } else { error(libc::EINVAL) }
    })
}

fn set_tunnel_key(_skb: u64, key: u64, size: u64, flags: u64, _: u64) -> u64 {
    assert_eq!(size, 44);
    // SAFETY: as in `write`.
    let bytes = unsafe { std::slice::from_raw_parts(key as *const u8, 44) };
    PACKET.with_borrow_mut(|packet| {
        if packet.keyless {
            return error(libc::ENOMEM);
        }
        packet.sent = Some((bytes.try_into().unwrap(), flags));
        0
    })
}
