//! The DHCP servers of our bridges. A server's command line is its whole configuration, so the process table says what
//! is running and no pid file can be stale.
//!
//! What a command line says is compared with what is computed, and never started: see [`Dhcp::arguments`].

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use nix::poll::PollTimeout;
use rustix::process::Signal;

use super::exec;
use super::process::{self, Process};
use super::socket::{Holder, Sockets, Transport};
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::plan::desired::{LEASE_DIRECTORY, lease_file_overlay};
use crate::plan::state::Dhcp;

const PROGRAM: &str = "dnsmasq";

/// The port of DHCP servers (RFC 2131, section 4.1).
const DHCP_PORT: u16 = 67;

/// The port of DNS (RFC 1035, section 4.2).
const DNS_PORT: u16 = 53;

/// How long a server may take to end, in milliseconds, before it is killed, and after it was.
const PATIENCE: u16 = 2000;

/// A server that runs in this network namespace.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its process.
    pub(crate) process: Process,
    /// The overlay of its fan, by its lease file.
    pub(crate) overlay: Overlay,
    /// The bridge it is for.
    pub(crate) bridge: InterfaceName,
    /// What it runs with, to be compared.
    pub(crate) arguments: Vec<String>,
    /// Whether it holds a socket at the port of DHCP servers.
    pub(crate) serves: bool,
}

/// Our servers in this network namespace: processes of dnsmasq that may configure it, as no user without rights can have one,
/// and keep their leases where a fan's are kept.
///
/// # Errors
/// When /proc cannot be read.
pub(crate) fn observe() -> io::Result<Vec<Server>> {
    let processes = process::named(&[PROGRAM])?;
    if processes.is_empty() {
        return Ok(Vec::new());
    }
    let programs = exec::places(PROGRAM);
    let sockets = Sockets::on(Transport::Udp, DHCP_PORT, None)?;
    let servers = processes.into_iter().filter_map(|process| {
        if !process.runs_one_of(&programs) {
            return None;
        }
        let (overlay, bridge, arguments) = decode(&process.command_line().ok()?)?;
        let serves = u32::try_from(process.pid.as_raw()).is_ok_and(|pid| sockets.are_held_by(pid));
        // What was read is of the process that is held.
        process.is_alive().then_some(Server { process, overlay, bridge, arguments, serves })
    });
    Ok(without_children(servers.collect()))
}

/// The servers alone: of a question by TCP a process of its own takes care, which looks like its server but for the port.
fn without_children(servers: Vec<Server>) -> Vec<Server> {
    let is_child = |server: &Server| {
        let same = |other: &&Server| {
            (other.overlay, &other.bridge, &other.arguments) == (server.overlay, &server.bridge, &server.arguments)
        };
        !server.serves && servers.iter().filter(same).any(|other| other.serves)
    };
    let children: Vec<bool> = servers.iter().map(is_child).collect();
    servers.into_iter().zip(children).filter_map(|(server, is_child)| (!is_child).then_some(server)).collect()
}

/// Overlay, bridge and arguments of the server that a command line as in /proc/PID/cmdline starts, if it is a fan's.
#[must_use]
pub fn decode(line: &[u8]) -> Option<(Overlay, InterfaceName, Vec<String>)> {
    let words = line.split(|byte| *byte == 0).skip(1).filter(|word| !word.is_empty());
    let arguments: Vec<String> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let value = |option: &str| arguments.iter().find_map(|argument| argument.strip_prefix(option));
    let overlay = lease_file_overlay(value("--dhcp-leasefile=")?)?;
    let bridge = value("--interface=")?.parse().ok()?;
    Some((overlay, bridge, arguments))
}

/// Starts a server, which goes to the background once it serves.
///
/// # Errors
/// A sentence: the program is missing, the lease directory cannot be made, its files are not as they must be, who has the port,
/// or what dnsmasq said.
pub(crate) fn start(dhcp: &Dhcp) -> Result<(), String> {
    let Some(arguments) = &dhcp.arguments else {
        return Err("it ran with other arguments than this fanctl computes, so it is not started again".into());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(LEASE_DIRECTORY)
        .map_err(|error| format!("cannot make '{LEASE_DIRECTORY}': {error}"))?;
    close_to_others(Path::new(LEASE_DIRECTORY))?;
    let value = |option: &str| arguments.iter().find_map(|argument| argument.strip_prefix(option));
    if let Some(file) = value("--dhcp-leasefile=") {
        writable(Path::new(LEASE_DIRECTORY), Path::new(file))?;
    }
    let gateway = value("--listen-address=").and_then(|address| address.parse().ok());
    exec::run_daemon(PROGRAM, arguments).map_err(|said| {
        let holders = gateway.map_or_else(Vec::new, holders);
        // Of another user's processes, or of another PID namespace, the sockets are seen and their holders are not.
        if holders.is_empty() && !gateway.is_some_and(are_taken) {
            return with_advice(said);
        }
        let named = holders.iter().map(|holder| format!("; {holder}"));
        let named = named.collect::<Vec<_>>().concat();
        format!(
            "{said}{named}; another server listens at this address or at all: see ss -lnp 'sport = :53 or sport = :67', end it, \
             have it keep to its own addresses (bind-interfaces), or leave dhcp out"
        )
    })
}

/// What dnsmasq said, and what to do where a profile denies it the lease file: owner and mode are right, or it was not started.
fn with_advice(said: String) -> String {
    if said.contains("lease file") && said.contains("Permission denied") {
        return format!("{said}; AppArmor or SELinux denies it: docs/security.md says how to allow it");
    }
    said
}

/// The ports that a server needs.
const PORTS: [(&str, Transport, u16); 3] = [
    ("UDP port 67", Transport::Udp, DHCP_PORT),
    ("UDP port 53", Transport::Udp, DNS_PORT),
    ("TCP port 53", Transport::Tcp, DNS_PORT),
];

/// Whether a socket has one of the ports that a server needs.
fn are_taken(gateway: Ipv4Addr) -> bool {
    let mut sockets = PORTS.into_iter().map(|(_, transport, port)| Sockets::on(transport, port, Some(gateway)));
    sockets.any(|sockets| sockets.is_ok_and(|sockets| !sockets.is_empty()))
}

/// Who has the ports that a server needs, in words.
fn holders(gateway: Ipv4Addr) -> Vec<String> {
    let holder = |(name, transport, port)| {
        /// More would not fit a line.
        const MOST: usize = 3;
        let sockets = Sockets::on(transport, port, Some(gateway)).ok()?;
        let holders = sockets.holders().ok().filter(|holders| !holders.is_empty())?;
        let named: Vec<String> = holders.iter().take(MOST).map(Holder::to_string).collect();
        let more = if holders.len() > MOST { " and others" } else { "" };
        Some(format!("{name} is held by {}{more}", named.join(", ")))
    };
    PORTS.into_iter().filter_map(holder).collect()
}

/// Whether a server can keep its leases in this file, and no other user decides about them. It has no right to write to what
/// is another user's (no `CAP_DAC_OVERRIDE`), and would wait for the other end of a pipe.
fn writable(directory: &Path, file: &Path) -> Result<(), String> {
    let metadata = |path: &Path| match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some).map_err(|error| format!("'{}': {error}", path.display())),
    };
    if let Some(found) = metadata(directory)? {
        keeps(directory, &found, found.is_dir().then_some("directory"))?;
    }
    if let Some(found) = metadata(file)? {
        keeps(file, &found, found.is_file().then_some("lease file"))?;
    }
    Ok(())
}

/// Takes the right to write to the directory of the lease files from all but its owner, if that is who runs this: a
/// tmpfs is mounted open to everybody unless it is given a mode.
fn close_to_others(directory: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("'{}': {error}", directory.display());
    let found = fs::symlink_metadata(directory).map_err(failed)?;
    let is_ours = found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw();
    if is_ours && found.mode() & 0o022 != 0 {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).map_err(failed)?;
    }
    Ok(())
}

/// Whether only root and who runs this can write there.
fn keeps(path: &Path, found: &Metadata, kind: Option<&str>) -> Result<(), String> {
    let name = path.display();
    let Some(kind) = kind else {
        return Err(format!(
            "'{name}' is neither a lease file nor a directory of them; move it away: mv {name} {name}.odd"
        ));
    };
    let us = nix::unistd::geteuid().as_raw();
    if ![0, us].contains(&found.uid()) {
        return Err(format!(
            "{kind} '{name}' belongs to user {}, and dnsmasq cannot write there; first: chown {us} {name}",
            found.uid()
        ));
    }
    if found.mode() & 0o002 != 0 {
        return Err(format!("{kind} '{name}' may be written by everybody; first: chmod o-w {name}"));
    }
    Ok(())
}

/// Stops a server and waits until it serves no more. It is the one that was looked at, whatever has its number.
///
/// # Errors
/// When it may not be signalled, or does not end.
pub(crate) fn stop(server: &Server) -> Result<(), String> {
    let process = &server.process;
    for signal in [Signal::TERM, Signal::KILL] {
        process.signal(signal).map_err(|error| format!("cannot stop dnsmasq, process {}: {error}", process.pid))?;
        if process.ends_within(PollTimeout::from(PATIENCE)) {
            return Ok(());
        }
    }
    Err(format!("dnsmasq, process {}, does not end", process.pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_file_that_a_profile_denies_is_told_with_its_cure() {
        // As dnsmasq 2.90 says it under Debian's profile, enforced.
        let denied =
            "cannot open or create lease file /var/lib/fan/250.0.0.0-8_250.0.28.0-24.leases: Permission denied";
        let told = with_advice(denied.into());
        assert!(told.starts_with(denied) && told.contains("docs/security.md"), "{told}");
        let other = "unknown interface fan-250-0-28";
        assert_eq!(with_advice(other.into()), other);
    }

    #[test]
    fn a_fans_server_is_known_by_its_lease_file_and_its_bridge() {
        let meant = |words: &str| decode(format!("dnsmasq {words} ").replace(' ', "\0").as_bytes());
        let file = "--dhcp-leasefile=/var/lib/fan/250.0.0.0-8_250.0.28.0-24.leases";
        let (overlay, bridge, _) = meant(&format!("--port=0 {file} --interface=fan-x")).expect("a fan's");
        assert_eq!((overlay.to_string().as_str(), bridge.as_str()), ("250.0.0.0/8", "fan-x"));
        assert!(meant(file).is_none());
        assert!(meant("--dhcp-leasefile=/var/lib/misc/dnsmasq.leases --interface=fan-x").is_none());
        assert!(meant(&format!("{file} --interface=fan/x")).is_none());
    }
}
