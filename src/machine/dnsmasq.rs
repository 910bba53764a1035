//! The DHCP servers of our bridges. A server's command line is its whole configuration, so the process table says what
//! is running and no pid file can be stale.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::desire::{LEASE_DIRECTORY, lease_file_overlay};
use crate::name::InterfaceName;
use crate::object::Dhcp;

use super::tool;

/// A server that runs in this network namespace.
#[derive(Debug)]
pub struct Server {
    /// Its process.
    pub pid: Pid,
    /// What it was started with.
    pub dhcp: Dhcp,
}

/// Our servers in this network namespace: dnsmasq processes that keep their leases where a fan's are kept.
///
/// # Errors
/// When /proc cannot be read.
pub fn observe() -> io::Result<Vec<Server>> {
    let namespace = fs::read_link("/proc/self/ns/net")?;
    let mut servers = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // A process may end while it is looked at; then it is none of ours.
        if fs::read(path.join("comm")).is_ok_and(|comm| comm == b"dnsmasq\n")
            && fs::read_link(path.join("ns/net")).is_ok_and(|found| found == namespace)
        {
            servers.extend(read(&path));
        }
    }
    Ok(servers)
}

fn read(process: &Path) -> Option<Server> {
    let pid = process.file_name()?.to_str()?.parse().ok()?;
    let line = fs::read(process.join("cmdline")).ok()?;
    let arguments: Vec<String> = line
        .split(|byte| *byte == 0)
        .skip(1)
        .filter(|argument| !argument.is_empty())
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    let value = |option: &str| arguments.iter().find_map(|argument| argument.strip_prefix(option));
    let overlay = lease_file_overlay(value("--dhcp-leasefile=")?)?;
    let bridge: InterfaceName = value("--interface=")?.parse().ok()?;
    Some(Server {
        pid: Pid::from_raw(pid),
        dhcp: Dhcp {
            overlay,
            bridge,
            arguments,
        },
    })
}

/// Starts a server, which goes to the background once it serves.
///
/// # Errors
/// A sentence: the program is missing, the lease directory cannot be made, or what dnsmasq said.
pub fn start(dhcp: &Dhcp) -> Result<(), String> {
    fs::create_dir_all(LEASE_DIRECTORY).map_err(|error| format!("cannot make '{LEASE_DIRECTORY}': {error}"))?;
    tool::run_daemon("dnsmasq", &dhcp.arguments)
}

/// Stops a server and waits until it serves no more.
///
/// # Errors
/// When it may not be signalled, or does not end.
pub fn stop(server: &Server) -> Result<(), String> {
    let signal = |signal| match kill(server.pid, signal) {
        Err(errno) if errno != Errno::ESRCH => {
            Err(format!("cannot stop dnsmasq, process {}: {}", server.pid, errno.desc()))
        }
        _ => Ok(()),
    };
    let process = PathBuf::from(format!("/proc/{}", server.pid));
    // A process that has ended has no command line, even while nobody has asked how it ended.
    let has_ended = || {
        (0..400).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            read(&process).is_none()
        })
    };
    for ending in [Signal::SIGTERM, Signal::SIGKILL] {
        signal(ending)?;
        if has_ended() {
            return Ok(());
        }
    }
    Err(format!("dnsmasq, process {}, does not end", server.pid))
}
