//! The DHCP servers of our bridges. A server's command line is its whole configuration, so the process table says what
//! is running and no pid file can be stale.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{process, tool};
use crate::desire::{LEASE_DIRECTORY, lease_file_overlay};
use crate::name::InterfaceName;
use crate::object::Dhcp;

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
    let processes = process::named(&["dnsmasq"])?;
    Ok(processes
        .iter()
        .filter_map(|process| read(&process.directory))
        .collect())
}

fn read(process: &Path) -> Option<Server> {
    let pid = process.file_name()?.to_str()?.parse().ok()?;
    let line = fs::read(process.join("cmdline")).ok()?;
    Some(Server {
        pid: Pid::from_raw(pid),
        dhcp: decode(&line)?,
    })
}

/// The server that a command line as in /proc/PID/cmdline starts, if it is one of ours.
#[must_use]
pub fn decode(line: &[u8]) -> Option<Dhcp> {
    let arguments: Vec<String> = line
        .split(|byte| *byte == 0)
        .skip(1)
        .filter(|argument| !argument.is_empty())
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    let value = |option: &str| arguments.iter().find_map(|argument| argument.strip_prefix(option));
    let overlay = lease_file_overlay(value("--dhcp-leasefile=")?)?;
    let bridge: InterfaceName = value("--interface=")?.parse().ok()?;
    Some(Dhcp {
        overlay,
        bridge,
        arguments,
    })
}

/// Starts a server, which goes to the background once it serves.
///
/// # Errors
/// A sentence: the program is missing, the lease directory cannot be made, or what dnsmasq said.
pub fn start(dhcp: &Dhcp) -> Result<(), String> {
    fs::create_dir_all(LEASE_DIRECTORY).map_err(|error| format!("cannot make '{LEASE_DIRECTORY}': {error}"))?;
    tool::run_daemon("dnsmasq", &dhcp.arguments).map_err(|said| {
        // In the words of glibc and of musl.
        let is_taken = said.to_lowercase().contains("in use");
        let hint = "; another server listens on all addresses: see ss -lnp 'sport = :53 or sport = :67', have it keep to its own \
                    (bind-interfaces), or leave dhcp out";
        if is_taken { said + hint } else { said }
    })
}

/// Whether a process is a dnsmasq that has not ended, by its /proc/PID/stat: a number, the name, the state.
///
/// Of one that ends the command line goes first, then the sockets (`do_exit`, kernel/exit.c at v6.12); it has ended when it
/// is a zombie, which it is until somebody asks how it ended.
fn is_alive(stat: &str) -> bool {
    let state = stat.split_once("(dnsmasq) ").map(|(_, fields)| fields);
    state.is_some_and(|fields| !fields.starts_with(['Z', 'X']))
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
    let status = format!("/proc/{}/stat", server.pid);
    let has_ended = || {
        (0..400).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            !fs::read_to_string(&status).is_ok_and(|stat| is_alive(&stat))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_lives_until_it_is_a_zombie() {
        for (stat, lives) in [
            ("7 (dnsmasq) S 1 7 7 0", true),
            ("7 (dnsmasq) R 1 7 7 0", true),
            ("7 (dnsmasq) Z 1 7 7 0", false),
            ("7 (dnsmasq) X 1 7 7 0", false),
            ("7 (sh) S 1 7 7 0", false),
            ("", false),
        ] {
            assert_eq!(is_alive(stat), lives, "{stat}");
        }
    }
}
