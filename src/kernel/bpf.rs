//! bpf(2): loading a program, finding one again, and running one on a packet of our making.
//!
//! A program lives as long as a descriptor or a filter refers to it; nothing is pinned.

#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper among our libraries; this is the one place")]

mod map;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;

use crate::bpf::program::Program;
use crate::plan::state::Direction;
pub use map::{Map, MapKind};

/// Commands of bpf(2) (`enum bpf_cmd`, linux/bpf.h).
#[derive(Clone, Copy)]
enum BpfCommand {
    MapCreate = 0,
    MapLookupElem = 1,
    MapUpdateElem = 2,
    ProgLoad = 5,
    ProgTestRun = 10,
    ProgGetFdById = 13,
    MapGetFdById = 14,
    ObjGetInfoByFd = 15,
    ProgQuery = 16,
}

const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;

/// The first log buffer in bytes, and the last one to be tried. The programs of this crate need a tenth of the first.
const LOG_SIZES: [usize; 3] = [1 << 16, 1 << 20, 1 << 24];

/// A block of arguments for [`bpf`]: one of the structures of `union bpf_attr`.
///
/// # Safety
/// The type is `repr(C)` without padding, laid out as the kernel's structure for one command, and whatever pointers it
/// holds are valid for what that command does with them.
unsafe trait Attributes {
    /// The command that takes this structure.
    const COMMAND: BpfCommand;
}

/// The arguments of `BPF_PROG_LOAD`. Every later field of the kernel's structure is zero.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

// SAFETY: laid out as in linux/bpf.h; `load_encoded` fills the pointers from slices it holds across the call.
unsafe impl Attributes for ProgLoad {
    const COMMAND: BpfCommand = BpfCommand::ProgLoad;
}

/// The arguments of `BPF_PROG_TEST_RUN`.
#[repr(C)]
struct ProgTestRun {
    prog_fd: RawFd,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

// SAFETY: laid out as in linux/bpf.h; `test_run` fills the pointers from buffers it holds across the call.
unsafe impl Attributes for ProgTestRun {
    const COMMAND: BpfCommand = BpfCommand::ProgTestRun;
}

/// The arguments of `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
struct GetFdById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

// SAFETY: laid out as in linux/bpf.h, and without pointers.
unsafe impl Attributes for GetFdById {
    const COMMAND: BpfCommand = BpfCommand::ProgGetFdById;
}

/// The arguments of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct GetInfoByFd {
    bpf_fd: RawFd,
    info_len: u32,
    info: u64,
}

// SAFETY: laid out as in linux/bpf.h; `info` points it at a structure that it is given across the call.
unsafe impl Attributes for GetInfoByFd {
    const COMMAND: BpfCommand = BpfCommand::ObjGetInfoByFd;
}

/// The arguments of `BPF_PROG_QUERY`. Every later field of the kernel's structure is zero.
#[repr(C)]
struct ProgQuery {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    padding: u32,
}

// SAFETY: laid out as in linux/bpf.h; `tcx` points it at a buffer that it holds across the call, and tells its length.
unsafe impl Attributes for ProgQuery {
    const COMMAND: BpfCommand = BpfCommand::ProgQuery;
}

/// The beginning of `struct bpf_prog_info`; the kernel writes no more than it is given room for.
#[repr(C)]
#[derive(Default)]
struct ProgInfo {
    prog_type: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
}

fn bpf<A: Attributes>(attributes: &mut A) -> Result<libc::c_int, Errno> {
    // SAFETY: `Attributes` vouches for layout and pointers, and the size is the structure's own.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, A::COMMAND as libc::c_int, std::ptr::from_mut(attributes), size_of::<A>())
    };
    Errno::result(result).map(|result| libc::c_int::try_from(result).expect("bpf(2) returns an int"))
}

/// Calls a command that returns a new descriptor. The kernel opens all of them close-on-exec.
fn bpf_fd<A: Attributes>(attributes: &mut A) -> Result<OwnedFd, Errno> {
    let fd = bpf(attributes)?;
    // SAFETY: the command succeeded, so this is a descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn address<T>(buffer: &[T]) -> u64 {
    buffer.as_ptr() as u64
}

fn length(buffer: &[u8]) -> io::Result<u32> {
    u32::try_from(buffer.len()).map_err(io::Error::other)
}

/// Why the kernel did not take a program.
#[derive(Debug)]
pub struct LoadError {
    /// The program's name.
    pub(crate) program: String,
    /// What bpf(2) returned.
    pub errno: Errno,
    /// What the verifier said; empty if it was not asked.
    pub log: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, errno, log } = self;
        write!(f, "cannot load the bpf program '{program}': ")?;
        match errno {
            Errno::EPERM | Errno::EACCES if log.is_empty() => f.write_str(
                "not permitted; this takes root, or CAP_BPF and CAP_NET_ADMIN, and kernel lockdown or a container's \
                 seccomp filter can forbid it even then",
            ),
            Errno::ENOSYS => f.write_str("this kernel has no bpf(2); it needs CONFIG_BPF_SYSCALL"),
            _ => f.write_str(errno.desc()),
        }?;
        if log.is_empty() {
            return Ok(());
        }
        write!(f, "; the kernel's verifier says:\n{}", log.trim_end())
    }
}

impl std::error::Error for LoadError {}

/// Loads a program for a tc filter.
///
/// # Errors
/// The kernel's error with the verifier's log, for which the program is offered again: a log costs time and is of no
/// use otherwise.
pub fn load(program: &Program) -> Result<OwnedFd, LoadError> {
    load_with(program, &[])
}

/// The same for a program that refers to these maps.
///
/// # Errors
/// As [`load`].
pub fn load_with(program: &Program, maps: &[Map]) -> Result<OwnedFd, LoadError> {
    let maps: Vec<RawFd> = maps.iter().map(|map| map.as_fd().as_raw_fd()).collect();
    let code = program.encode_with(&maps);
    let attempt = |log: &mut [u8]| load_encoded(&program.name, &code, log);
    let mut result = attempt(&mut []);
    let mut log = Vec::new();
    for size in LOG_SIZES {
        match result {
            // Another attempt would fail in the same way, before the verifier has looked at the program.
            Err(Errno::EPERM | Errno::ENOSYS) | Ok(_) => break,
            // The log of the attempt before fitted.
            Err(errno) if errno != Errno::ENOSPC && !log.is_empty() => break,
            Err(_) => {
                log = vec![0; size];
                result = attempt(&mut log);
            }
        }
    }
    result.map_err(|errno| LoadError {
        program: program.name.clone(),
        errno,
        log: String::from_utf8_lossy(log.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned(),
    })
}

/// Loads a program of instructions as the kernel takes them, eight bytes each.
///
/// # Errors
/// What bpf(2) returned.
pub fn load_encoded(name: &str, code: &[u8], log: &mut [u8]) -> Result<OwnedFd, Errno> {
    let (log_level, log_buf) = if log.is_empty() { (0, 0) } else { (1, log.as_mut_ptr() as u64) };
    bpf_fd(&mut ProgLoad {
        prog_type: BPF_PROG_TYPE_SCHED_CLS,
        insn_cnt: u32::try_from(code.len() / 8).map_err(|_| Errno::E2BIG)?,
        insns: address(code),
        // None of the helpers we call is reserved for the GPL.
        license: address(c"Dual MIT/Apache-2.0".to_bytes_with_nul()),
        log_level,
        log_size: u32::try_from(log.len()).map_err(|_| Errno::E2BIG)?,
        log_buf,
        kern_version: 0,
        prog_flags: 0,
        prog_name: object_name(name),
    })
}

/// A name for the kernel, which wants a terminating zero: one byte stays. A longer name would only be cut.
fn object_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes[..15].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    bytes
}

/// Opens a loaded program by its number.
///
/// # Errors
/// `ENOENT` if there is none, `EPERM` without `CAP_SYS_ADMIN`.
pub fn fd_by_id(id: u32) -> io::Result<OwnedFd> {
    Ok(bpf_fd(&mut GetFdById { prog_id: id, next_id: 0, open_flags: 0 })?)
}

/// The number of a loaded program, by which filters name it.
///
/// # Errors
/// If the descriptor is none of a program.
pub fn id(program: impl AsFd) -> io::Result<u32> {
    let mut info = ProgInfo::default();
    read_info(program, &mut info)?;
    Ok(info.id)
}

/// Reads what the kernel tells of a program or a map.
fn read_info<T>(object: impl AsFd, info: &mut T) -> io::Result<()> {
    bpf(&mut GetInfoByFd {
        bpf_fd: object.as_fd().as_raw_fd(),
        info_len: u32::try_from(size_of::<T>()).map_err(io::Error::other)?,
        info: std::ptr::from_mut(info) as u64,
    })?;
    Ok(())
}

/// The numbers of the programs in front of the filters of a device, by its index; of more than 64 the first.
///
/// # Errors
/// `EINVAL` before Linux 6.6, `EPERM` without `CAP_NET_ADMIN`.
pub(crate) fn tcx(index: u32, direction: Direction) -> io::Result<Vec<u32>> {
    let mut numbers = [0_u32; 64];
    let mut query = ProgQuery {
        target_ifindex: index,
        // BPF_TCX_INGRESS and BPF_TCX_EGRESS
        attach_type: match direction {
            Direction::Ingress => 46,
            Direction::Egress => 47,
        },
        query_flags: 0,
        attach_flags: 0,
        prog_ids: numbers.as_mut_ptr() as u64,
        count: 64,
        padding: 0,
    };
    match bpf(&mut query) {
        // Of too many, as many as there is room for are told.
        Ok(_) | Err(Errno::ENOSPC) => Ok(numbers.into_iter().take_while(|number| *number != 0).collect()),
        Err(errno) => Err(errno.into()),
    }
}

/// What came of running a program on a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TestRun {
    /// The program's answer, a `TC_ACT_*`.
    pub verdict: i32,
    /// The packet as the program left it.
    pub packet: Vec<u8>,
}

/// How much longer a program may make a packet in [`test_run`], in bytes.
const ROOM: usize = 256;

/// Runs a loaded program once on an Ethernet frame, without any device (`BPF_PROG_TEST_RUN`).
///
/// # Errors
/// `EINVAL` if the packet is shorter than an Ethernet header or longer than about a page.
pub fn test_run(program: impl AsFd, packet: &[u8]) -> io::Result<TestRun> {
    let mut out = vec![0; packet.len() + ROOM];
    let mut attributes = ProgTestRun {
        prog_fd: program.as_fd().as_raw_fd(),
        retval: 0,
        data_size_in: length(packet)?,
        data_size_out: length(&out)?,
        data_in: address(packet),
        data_out: out.as_mut_ptr() as u64,
        repeat: 1,
        duration: 0,
    };
    bpf(&mut attributes)?;
    out.truncate(attributes.data_size_out.try_into().map_err(io::Error::other)?);
    Ok(TestRun { verdict: attributes.retval.cast_signed(), packet: out })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_sentence_that_says_what_to_do() {
        let error = |errno, log: &str| {
            let (program, log) = ("fan_egress".into(), log.into());
            LoadError { program, errno, log }.to_string()
        };
        for (errno, log, expected) in [
            (Errno::EPERM, "", "'fan_egress': not permitted; this takes root"),
            (Errno::ENOSYS, "", "'fan_egress': this kernel has no bpf(2); it needs CONFIG_BPF_SYSCALL"),
            (Errno::EINVAL, "", "'fan_egress': Invalid argument"),
            (Errno::EACCES, "0: (95) exit\nR0 !read_ok\n", "verifier says:\n0: (95) exit\nR0 !read_ok"),
        ] {
            let sentence = error(errno, log);
            assert!(sentence.starts_with("cannot load the bpf program") && sentence.contains(expected), "{sentence}");
        }
    }
}
