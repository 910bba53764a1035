//! The socket by which `fanctl names` asks the daemon: a line of JSON each way. Its file is root's alone.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use ipnetwork::Ipv4Network;
use nix::poll::PollFlags;
use serde::{Deserialize, Serialize};

use super::super::facts::MOST_NAMES;
use super::super::peers::Standing;
use super::connection::Connection;
use super::station::{Source, Station};
use crate::fan::label::Label;
use crate::fan::mapping::Overlay;
use crate::kernel::lock;

/// The socket, in the directory of the locks.
pub(crate) const SOCKET: &str = "/run/fan/names.socket";

/// The longest question in bytes, with the names of ten thousand containers, and the longest answer, with those of all hosts.
const LIMITS: (usize, usize) = (1 << 20, 64 << 20);

/// The most who ask at a time.
const MOST_ASKERS: usize = 16;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Every name that is answered.
    List,
    /// Every host.
    Hosts,
    /// A name is to be added.
    Add {
        /// The name.
        name: Label,
        /// Its address, of this host's slice.
        address: Ipv4Addr,
    },
    /// The names that a container engine knows, in place of those that it knew.
    Engine {
        /// Names with their addresses; those that are not of this host's slices say nothing.
        names: Vec<(Label, Ipv4Addr)>,
    },
    /// A name that was added is to be removed.
    Remove {
        /// The name.
        name: Label,
        /// One of its addresses; all without it.
        address: Option<Ipv4Addr>,
    },
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Response {
    /// Names.
    Names(Vec<NameEntry>),
    /// Hosts.
    Hosts(Vec<HostEntry>),
    /// It is done.
    Done,
    /// No fan with names has the address in this host's slice.
    NotOurs,
    /// This host has as many names as a host can have.
    Full,
    /// No such name was added.
    NotAdded,
    /// It was no question.
    Unread,
}

/// A name and an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameEntry {
    /// The fan's overlay.
    pub overlay: Ipv4Network,
    /// The name, without the domain.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The host that has it.
    pub host: Ipv4Addr,
    /// Where it is from: `config`, `dhcp`, `engine`, `added`, or `host` for another host.
    pub source: String,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostEntry {
    /// The fan's overlay.
    pub overlay: Ipv4Network,
    /// Its address in the underlay.
    pub host: Ipv4Addr,
    /// Its slice.
    pub slice: Ipv4Network,
    /// `self`, `here`, `asked`, `unreachable`, `gone`, or `unknown` for one that is written down and was never heard of.
    pub state: String,
    /// For how many seconds.
    pub seconds: u64,
    /// Round trip in microseconds; none before there was one.
    pub round_trip: Option<u32>,
    /// How many names it has, each counted with each of its addresses.
    pub names: usize,
    /// Whether it is written down as a peer.
    pub peer: bool,
}

/// Asks the daemon.
///
/// # Errors
/// When it does not run, this is not its user, or it does not answer.
pub(crate) fn ask(request: &Request) -> io::Result<Response> {
    // Another user's daemon is not believed.
    lock::is_closed()?;
    let mut stream = UnixStream::connect(SOCKET)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    stream.take(LIMITS.1 as u64).read_to_end(&mut answer)?;
    Ok(serde_json::from_slice(&answer)?)
}

/// The daemon's end.
pub(super) struct Control {
    listener: UnixListener,
    askers: Vec<Connection<UnixStream>>,
}

impl Control {
    /// Takes the socket's file, unless another daemon answers there.
    pub(super) fn listen() -> io::Result<Self> {
        lock::make_directory()?;
        if UnixStream::connect(SOCKET).is_ok() {
            return Err(io::Error::new(ErrorKind::AddrInUse, format!("'{SOCKET}': another 'fanctl names serve' runs")));
        }
        match fs::remove_file(SOCKET) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(SOCKET)?;
        fs::set_permissions(SOCKET, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, askers: Vec::new() })
    }

    pub(super) fn wants(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let listener = std::iter::once((self.listener.as_fd(), PollFlags::POLLIN));
        listener.chain(self.askers.iter().map(Connection::wants))
    }

    pub(super) fn work(&mut self, stations: &mut BTreeMap<Overlay, Station>) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.askers.len() < MOST_ASKERS && stream.set_nonblocking(true).is_ok() {
                self.askers.push(Connection::new(stream, LIMITS));
            }
        }
        for asker in &mut self.askers {
            asker.fill();
            if let Some(end) = asker.input.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = asker.input.drain(..=end).collect();
                let response = match serde_json::from_slice(&line) {
                    Ok(request) => answer(request, stations),
                    Err(_) => Response::Unread,
                };
                asker.send(&serde_json::to_vec(&response).unwrap_or_default());
                asker.end();
            }
            asker.flush();
        }
        self.askers.retain(|asker| !asker.is_over());
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(SOCKET);
    }
}

fn answer(request: Request, stations: &mut BTreeMap<Overlay, Station>) -> Response {
    match request {
        Request::List => Response::Names(stations.values().flat_map(names).collect()),
        Request::Hosts => Response::Hosts(stations.values().flat_map(hosts).collect()),
        Request::Add { name, address } => {
            let ours = stations.values_mut().find(|station| station.fan().slice().contains(address));
            let Some(station) = ours else { return Response::NotOurs };
            if station.own().len() >= MOST_NAMES {
                return Response::Full;
            }
            if station.add((name, address)) { Response::Done } else { Response::NotOurs }
        }
        Request::Engine { names } => {
            for station in stations.values_mut() {
                station.engine(&names);
            }
            Response::Done
        }
        Request::Remove { name, address } => {
            let removed = stations.values_mut().filter_map(|station| station.remove(&name, address).then_some(()));
            if removed.count() > 0 { Response::Done } else { Response::NotAdded }
        }
    }
}

fn names(station: &Station) -> Vec<NameEntry> {
    let mapping = station.fan().mapping;
    let mut entries = Vec::new();
    for (label, addresses) in station.mesh().book().names() {
        for address in addresses {
            let source = station.own().get(&(label.clone(), *address)).copied();
            entries.push(NameEntry {
                overlay: mapping.overlay().network(),
                name: label.to_string(),
                address: *address,
                host: mapping.host(*address),
                source: source.map_or("host", Source::code).into(),
            });
        }
    }
    entries
}

fn hosts(station: &Station) -> Vec<HostEntry> {
    const SECOND: u64 = 1_000_000;
    let (fan, peers, now) = (station.fan(), station.peers(), station.age());
    let entry = |host, state: &str, seconds, round_trip, names| HostEntry {
        overlay: fan.overlay().network(),
        host,
        slice: fan.mapping.slice(host),
        state: state.into(),
        seconds,
        round_trip,
        names,
        peer: peers.contains(&host),
    };
    let mut entries: Vec<HostEntry> = vec![entry(fan.host, "self", now / SECOND, None, station.own().len())];
    entries.extend(station.mesh().hosts().map(|sight| {
        let seconds = now.saturating_sub(sight.since) / SECOND;
        entry(sight.host, sight.standing.code(), seconds, sight.rtt, sight.names)
    }));
    let unknown = peers.iter().filter(|peer| !entries.iter().any(|entry| entry.host == **peer));
    let unknown: Vec<HostEntry> = unknown.map(|peer| entry(*peer, "unknown", now / SECOND, None, 0)).collect();
    entries.extend(unknown);
    entries.sort_by_key(|entry| entry.host);
    entries
}

/// Whether this is another host, which answers.
#[must_use]
pub(crate) fn is_other_here(entry: &HostEntry) -> bool {
    entry.state == Standing::Here.code()
}

/// Whether a host that is written down answers.
#[must_use]
pub(crate) fn is_here(entry: &HostEntry) -> bool {
    [Standing::Here.code(), "self"].contains(&entry.state.as_str())
}
