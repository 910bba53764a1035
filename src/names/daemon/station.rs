//! One fan that the daemon serves: its mesh, and the sockets on its gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::poll::PollFlags;
use rand::rngs::{SmallRng, SysRng};
use rand::{RngExt, SeedableRng};

use super::super::facts::offset;
use super::super::mesh::{Action, Event, Mesh, Settings};
use super::super::peers::Standing;
use super::super::wire::{LARGEST, PORT};
use super::super::zone::{DOMAIN, Zone};
use super::dns::Dns;
use super::kept::Kept;
use super::leases::Leases;
use super::resolved::Resolved;
use super::seeds::{self, Caller, addresses};
use crate::fan::Fan;
use crate::fan::label::Label;
use crate::fan::request::Peer;
use crate::kernel::Machine;

/// The most datagrams that are read before time is looked at.
const MOST_AT_ONCE: usize = 4_096;
/// How much the kernel keeps of what has come, in bytes: a thousand hosts may answer at once.
const BUFFER: usize = 4 << 20;
/// The most seeds that are called at a time while no other host is known, twice a second.
const SEEDS_AT_ONCE: usize = 25;
/// How often names are asked for their addresses, and how often the underlay is called.
const MINUTE: Duration = Duration::from_secs(60);
/// How long the names of a container engine hold: it tells them every half a minute.
const ENGINE_HOLDS: Duration = Duration::from_secs(90);
const CALLS: Duration = Duration::from_secs(10);

/// Where a name is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// The configuration.
    Config,
    /// A lease of the fan's DHCP server.
    Dhcp,
    /// A container engine.
    Engine,
    /// `fanctl names add`.
    Added,
}

impl Source {
    /// A stable word.
    #[must_use]
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Dhcp => "dhcp",
            Self::Engine => "engine",
            Self::Added => "added",
        }
    }
}

/// What is new of a fan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It is served, at this gateway.
    Began(Ipv4Addr),
    /// It is not served any more.
    Ended,
    /// It cannot be served.
    Failed(String),
    /// A host has come.
    Came(Ipv4Addr),
    /// A host does not answer any more.
    Left(Ipv4Addr),
    /// systemd-resolved was told of the fan's zones.
    Resolved,
    /// It could not be told.
    Unresolved(String),
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Began(gateway) => write!(f, "names are served at {gateway}"),
            Self::Ended => f.write_str("names are not served any more: the fan is down, or has no names"),
            Self::Failed(reason) => write!(f, "names cannot be served: {reason}"),
            Self::Came(host) => write!(f, "host {host} is there"),
            Self::Left(host) => write!(f, "host {host} does not answer; its names are gone"),
            Self::Resolved => f.write_str("systemd-resolved asks here for the fan's zones"),
            Self::Unresolved(reason) => write!(f, "systemd-resolved cannot be told of the fan's zones: {reason}"),
        }
    }
}

/// A name of this host.
pub(super) type Name = (Label, Ipv4Addr);

/// One fan.
pub(super) struct Station {
    fan: Fan,
    mesh: Mesh,
    began: Instant,
    socket: UdpSocket,
    dns: Dns,
    leases: Leases,
    resolved: Resolved,
    kept: Kept,
    caller: Option<Caller>,
    called: Option<Instant>,
    /// Addresses of names among the seeds, when they were asked for, and the answer if it has not come.
    named: Vec<Ipv4Addr>,
    asked: Option<(Instant, Receiver<Vec<Ipv4Addr>>)>,
    /// Whose turn it is among the seeds.
    turn: usize,
    peers: Vec<Ipv4Addr>,
    own: BTreeMap<Name, Source>,
    added: BTreeSet<Name>,
    /// What a container engine knows, and when it was told last.
    engine: (Vec<Name>, Instant),
}

impl Station {
    /// Takes the gateway's ports. These names were added.
    pub(super) fn open(fan: &Fan, added: BTreeSet<Name>) -> Result<Self, String> {
        let gateway = fan.gateway();
        let taken = |port: &str, error: &io::Error| format!("{port} of {gateway}: {error}; see: ss -lnp src {gateway}");
        let socket = gossip_socket(gateway).map_err(|error| taken("UDP port 924", &error))?;
        let mut rng = SmallRng::try_from_rng(&mut SysRng).map_err(|error| error.to_string())?;
        let dns =
            Dns::open(fan, SmallRng::seed_from_u64(rng.random())).map_err(|error| taken("the port of DNS", &error))?;
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let settings = Settings {
            zone: Zone::new(fan.mapping, DOMAIN),
            host: fan.host,
            epoch: u32::try_from(epoch).unwrap_or(u32::MAX),
            seed: rng.random(),
        };
        Ok(Self {
            leases: Leases::of(fan),
            resolved: Resolved::default(),
            kept: Kept::of(fan),
            fan: fan.clone(),
            mesh: Mesh::new(settings),
            began: Instant::now(),
            socket,
            dns,
            caller: None,
            called: None,
            named: Vec::new(),
            asked: None,
            turn: 0,
            peers: Vec::new(),
            own: BTreeMap::new(),
            added,
            engine: (Vec::new(), Instant::now()),
        })
    }

    /// The names that were added, for the station that comes in its place.
    pub(super) fn into_added(self) -> BTreeSet<Name> {
        self.added
    }

    pub(super) fn fan(&self) -> &Fan {
        &self.fan
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// When there is something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.mesh.next().map(|next| self.began + Duration::from_micros(next))
    }

    pub(super) fn wants(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let caller = self.caller.iter().map(|caller| caller.socket().as_fd());
        let own = std::iter::once(self.socket.as_fd()).chain(caller).map(|fd| (fd, PollFlags::POLLIN));
        own.chain(self.dns.wants()).collect()
    }

    /// Does what there is to do: first what has come, then what is due.
    pub(super) fn work(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        let mut buffer = [0; LARGEST + 1];
        for _ in 0..MOST_AT_ONCE {
            let Ok((len, from)) = self.socket.recv_from(&mut buffer) else { break };
            if let (IpAddr::V4(address), PORT) = (from.ip(), from.port()) {
                let actions = self.mesh.step(self.now(), Event::Datagram(address, &buffer[..len]));
                self.act(actions, &mut news);
            }
        }
        let heard = self.caller.as_ref().map(Caller::heard).unwrap_or_default();
        for host in heard {
            let actions = self.mesh.step(self.now(), Event::Call(host));
            self.act(actions, &mut news);
        }
        let actions = self.mesh.step(self.now(), Event::Time);
        self.act(actions, &mut news);
        for (ticket, host, wanted) in self.dns.work(&self.mesh) {
            let actions = self.mesh.step(self.now(), Event::Ask(ticket, host, wanted));
            self.act(actions, &mut news);
        }
        news
    }

    fn act(&mut self, actions: Vec<Action>, news: &mut Vec<News>) {
        for action in actions {
            match action {
                // Lost datagrams are what the mesh is made for.
                Action::Send(gateway, bytes) => {
                    drop(self.socket.send_to(&bytes, SocketAddrV4::new(gateway, PORT)));
                }
                Action::Answer(ticket, found) => self.dns.found(self.mesh.zone(), ticket, found),
                Action::Came(host) => news.push(News::Came(host)),
                Action::Left(host) => news.push(News::Left(host)),
            }
        }
    }

    /// Looks at sources and seeds.
    pub(super) fn look(&mut self, machine: &Machine, written: &[Name], peers: &[Peer]) -> Option<News> {
        let is_own = |name: &&Name| offset(self.fan.mapping, self.fan.host, name.1).is_some();
        let config = written.iter().filter(is_own).map(|name| (name.clone(), Source::Config));
        let leases = if self.fan.options.dhcp { self.leases.names(machine, &self.fan) } else { Vec::new() };
        let leases = leases.into_iter().map(|name| (name, Source::Dhcp));
        if self.engine.1.elapsed() > ENGINE_HOLDS {
            self.engine.0.clear();
        }
        let engine = self.engine.0.iter().map(|name| (name.clone(), Source::Engine));
        let added = self.added.iter().map(|name| (name.clone(), Source::Added));
        // A name that several give is the administrator's.
        self.own = added.chain(engine).chain(leases).chain(config).collect();
        self.publish();
        self.seek(machine, peers);
        self.resolved.look(&self.fan, self.mesh.zone())
    }

    fn publish(&mut self) {
        let names = self.own.keys().cloned().collect();
        let actions = self.mesh.step(self.now(), Event::Names(names));
        self.act(actions, &mut Vec::new());
    }

    /// Calls hosts that may be there, and are not known.
    fn seek(&mut self, machine: &Machine, peers: &[Peer]) {
        if self.caller.is_none() {
            self.caller = Caller::open(machine, &self.fan);
        }
        let here = self.mesh.hosts().filter(|sight| sight.standing == Standing::Here).map(|sight| sight.host);
        let here: Vec<Ipv4Addr> = here.collect();
        self.kept.keep(&here);
        let is_here = !here.is_empty();
        let is_due = self.called.is_none_or(|called| called.elapsed() >= if is_here { MINUTE } else { CALLS });
        if let (Some(caller), true) = (&self.caller, is_due) {
            self.called = Some(Instant::now());
            caller.call();
        }
        self.resolve(peers);
        self.peers = peers.iter().filter(|seed| matches!(seed, Peer::Host(_))).flat_map(addresses).collect();
        self.peers.extend(&self.named);
        let many = peers.iter().filter(|seed| matches!(seed, Peer::Network(_))).flat_map(addresses);
        let many = many.chain(self.kept.hosts().iter().copied());
        let many: Vec<Ipv4Addr> = many.chain(seeds::neighbours(machine, &self.fan).unwrap_or_default()).collect();
        let candidates = self.peers.iter().chain(&many).count();
        // A large network is swept, and those who are known are left alone.
        self.turn = (self.turn + SEEDS_AT_ONCE) % candidates.max(1);
        let all = self.peers.iter().chain(many.iter().cycle().skip(self.turn).take(many.len()));
        let some: Vec<Ipv4Addr> = all.take(SEEDS_AT_ONCE.max(self.peers.len())).copied().collect();
        let known: BTreeSet<Ipv4Addr> = self.mesh.hosts().map(|sight| sight.host).collect();
        let unknown: Vec<Ipv4Addr> = some.iter().filter(|host| !known.contains(host)).copied().collect();
        if is_here {
            let next = unknown.get(self.turn % unknown.len().max(1)).copied();
            let actions = next.map(|host| self.mesh.step(self.now(), Event::Call(host)));
            self.act(actions.unwrap_or_default(), &mut Vec::new());
        }
        self.mesh.step(self.now(), Event::Seeds(some));
    }

    /// Asks for the addresses of names, in a thread, for that may take a while.
    fn resolve(&mut self, peers: &[Peer]) {
        let names: Vec<Peer> = peers.iter().filter(|seed| matches!(seed, Peer::Name(_))).cloned().collect();
        if names.is_empty() {
            self.named.clear();
            return;
        }
        if let Some((_, answer)) = &self.asked
            && let Ok(addresses) = answer.try_recv()
        {
            self.named = addresses;
        }
        if self.asked.as_ref().is_none_or(|(asked, _)| asked.elapsed() >= MINUTE) {
            let (sender, receiver) = channel();
            self.asked = Some((Instant::now(), receiver));
            thread::spawn(move || {
                // The station may have ended meanwhile.
                let _ = sender.send(names.iter().flat_map(addresses).take(SEEDS_AT_ONCE).collect());
            });
        }
    }

    /// The names of this host, with where they are from.
    pub(super) fn own(&self) -> &BTreeMap<Name, Source> {
        &self.own
    }

    pub(super) fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Hosts that are written down, or that a name that is written down has.
    pub(super) fn peers(&self) -> &[Ipv4Addr] {
        &self.peers
    }

    /// Microseconds since it began.
    pub(super) fn age(&self) -> u64 {
        self.now()
    }

    /// Takes the names that a container engine knows.
    pub(super) fn engine(&mut self, names: &[Name]) {
        let (mapping, host) = (self.fan.mapping, self.fan.host);
        let own: Vec<Name> = names.iter().filter(|name| offset(mapping, host, name.1).is_some()).cloned().collect();
        self.own.retain(|_, source| *source != Source::Engine);
        for name in &own {
            self.own.entry(name.clone()).or_insert(Source::Engine);
        }
        self.engine = (own, Instant::now());
        self.publish();
    }

    /// Adds a name. False if the address is not one of this host's slice.
    pub(super) fn add(&mut self, name: Name) -> bool {
        if offset(self.fan.mapping, self.fan.host, name.1).is_none() {
            return false;
        }
        self.added.insert(name.clone());
        self.own.entry(name).or_insert(Source::Added);
        self.publish();
        true
    }

    /// Removes what was added of a name, or of one of its addresses. False if that was nothing.
    pub(super) fn remove(&mut self, label: &Label, address: Option<Ipv4Addr>) -> bool {
        let is_meant = |name: &Name| name.0 == *label && address.is_none_or(|address| address == name.1);
        let before = self.added.len();
        self.added.retain(|name| !is_meant(name));
        self.own.retain(|name, source| !(is_meant(name) && *source == Source::Added));
        self.publish();
        self.added.len() < before
    }
}

fn gossip_socket(gateway: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket: UdpSocket = UdpSocket::bind(SocketAddrV4::new(gateway, PORT))?;
    socket.set_nonblocking(true)?;
    // As much as the host allows (net.core.rmem_max).
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(BUFFER);
    Ok(socket)
}
