//! The DHCP servers of our bridges. A server's command line is its whole configuration, so the process table says what
//! is running and no pid file can be stale.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

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
    let arguments: Vec<OsString> = dhcp.arguments.iter().map(OsString::from).collect();
    tool::run("dnsmasq", &arguments, "").map(drop)
}

/// Stops a server and waits until it is gone.
///
/// # Errors
/// When it may not be signalled, or does not end.
pub fn stop(server: &Server) -> Result<(), String> {
    let say = |error: nix::errno::Errno| format!("cannot stop dnsmasq, process {}: {}", server.pid, error.desc());
    match kill(server.pid, Signal::SIGTERM) {
        Ok(()) => {}
        Err(nix::errno::Errno::ESRCH) => return Ok(()),
        Err(error) => return Err(say(error)),
    }
    for _ in 0..200 {
        if kill(server.pid, None).is_err() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    kill(server.pid, Signal::SIGKILL).or_else(|error| {
        if error == nix::errno::Errno::ESRCH {
            Ok(())
        } else {
            Err(say(error))
        }
    })
}
