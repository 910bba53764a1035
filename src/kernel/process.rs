//! Who else runs in this network namespace, by the process table.
//!
//! A name and arguments are what a process's own user chose. So one counts here only by what no user without rights can have:
//! our user namespace, and the capability to configure this network. Of another nothing is read that its user can make us
//! wait for (/proc/PID/cmdline is that process's memory, which may be backed by a file system of that user).

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use caps::Capability;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::file::{self, KERNEL_LIMIT};

/// The most that is read of a command line, in bytes.
const COMMAND_LIMIT: u64 = 1 << 16;

/// A process of this network namespace that may configure it. Its number cannot become another's while this value lives and
/// [`Process::is_alive`].
#[derive(Debug)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: Pid,
    /// Its name: at most 15 bytes, as the kernel keeps them.
    pub(crate) comm: String,
    handle: OwnedFd,
}

/// What tells our network namespace and our user namespace.
#[derive(PartialEq, Eq)]
struct Namespaces {
    net: PathBuf,
    /// None on a kernel without user namespaces.
    user: Option<PathBuf>,
}

impl Namespaces {
    fn of(process: &Path) -> io::Result<Self> {
        let link = |name| fs::read_link(process.join("ns").join(name));
        Ok(Self { net: link("net")?, user: link("user").ok() })
    }
}

/// The processes of this network namespace and our user namespace that have one of these names, and may configure this
/// network.
///
/// # Errors
/// When /proc cannot be read.
pub(crate) fn named(names: &[&str]) -> io::Result<Vec<Process>> {
    let ours = Namespaces::of(Path::new("/proc/thread-self"))?;
    Ok(numbers()?.filter_map(|pid| look(pid, names, &ours)).collect())
}

/// The numbers of all processes that are to be seen.
fn numbers() -> io::Result<impl Iterator<Item = i32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// A process, if it is one of those. It is held before it is looked at, and must be there still afterwards: so all that was seen
/// is of the one that is held.
fn look(pid: i32, names: &[&str], ours: &Namespaces) -> Option<Process> {
    let directory = directory(pid);
    let comm = comm(pid)?;
    if !names.contains(&comm.as_str()) {
        return None;
    }
    let handle = pidfd_open(rustix::process::Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    let is_here = Namespaces::of(&directory).is_ok_and(|found| found == *ours);
    let status = file::read_text(directory.join("status"), KERNEL_LIMIT).ok()?;
    let process = Process { pid: Pid::from_raw(pid), comm, handle };
    (is_here && may_configure(&status) && process.is_alive()).then_some(process)
}

/// Whether a process may configure its network, by its /proc/PID/status. Its name there has no line breaks (`proc_task_name`,
/// fs/proc/array.c at v6.12).
fn may_configure(status: &str) -> bool {
    let permitted = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    let permitted = permitted.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    permitted.is_some_and(|set| set & Capability::CAP_NET_ADMIN.bitmask() != 0)
}

/// Its directory in /proc.
fn directory(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// The name of a process, which its user chose.
pub(super) fn comm(pid: i32) -> Option<String> {
    let bytes = file::read(directory(pid).join("comm"), KERNEL_LIMIT).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.strip_suffix('\n').unwrap_or(&text).to_string())
}

impl Process {
    /// Whether it has not ended. Its number is its own as long as that is so.
    #[must_use]
    pub(crate) fn is_alive(&self) -> bool {
        !self.ends_within(PollTimeout::ZERO)
    }

    /// Waits for its end, and tells whether it came. Its sockets are closed by then (`do_exit`, kernel/exit.c at v6.12).
    #[must_use]
    pub(crate) fn ends_within(&self, limit: PollTimeout) -> bool {
        let mut handle = [PollFd::new(std::os::fd::AsFd::as_fd(&self.handle), PollFlags::POLLIN)];
        poll(&mut handle, limit).is_ok_and(|count| count > 0)
    }

    /// Whether its program is one of these files, or was until that was replaced.
    #[must_use]
    pub(crate) fn runs_one_of(&self, programs: &[PathBuf]) -> bool {
        let Ok(program) = fs::read_link(directory(self.pid.as_raw()).join("exe")) else {
            return false;
        };
        let text = program.to_string_lossy();
        let program = Path::new(text.strip_suffix(" (deleted)").unwrap_or(&text));
        programs.iter().any(|one| one == program)
    }

    /// Its command line, each word with a zero byte behind it.
    ///
    /// # Errors
    /// When it cannot be read, or is too long for any that we start.
    pub(crate) fn command_line(&self) -> io::Result<Vec<u8>> {
        file::read(directory(self.pid.as_raw()).join("cmdline"), COMMAND_LIMIT)
    }

    /// Signals it, and none that has its number after it.
    ///
    /// # Errors
    /// When it may not be signalled. One that has ended is no error.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.handle, signal) {
            Err(error) if error != rustix::io::Errno::SRCH => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The handle by which its end is heard of.
    #[must_use]
    pub(crate) fn into_handle(self) -> OwnedFd {
        self.handle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_may_configure_the_network_counts() {
        let status =
            |caps: &str| format!("Name:\tdnsmasq\nUid:\t0\t0\t0\t0\nCapInh:\tffffffffffffffff\n{caps}\nCapBnd:\tff\n");
        assert!(may_configure(&status("CapPrm:\t0000000000003400")), "dnsmasq's own");
        assert!(may_configure(&status("CapPrm:\t000001ffffffffff")));
        assert!(!may_configure(&status("CapPrm:\t0000000000000000")));
        assert!(!may_configure(&status("CapPrm:\t00000000a80425fb")), "a container's of Docker");
        assert!(!may_configure(&status("CapPrm:\tmuch")));
        assert!(!may_configure(""));
    }
}
