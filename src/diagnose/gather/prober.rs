//! Probes on the wire: echo requests over raw sockets, what ICMP says to them, and a look at what is wrapped.

mod capture;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use caps::Capability;
use ipnetwork::IpNetwork;
use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use socket2::{Domain, Protocol, Socket, Type};

use crate::diagnose::trace::Target;
use crate::diagnose::trace::observed::Seen;
use crate::diagnose::trace::packet::{self, Complaint, Mark, News, Outer};
use crate::diagnose::trace::probe::{Aim, Handshake, Hop, Leg, Probe, ProbeOutcome};
use crate::diagnose::trace::round::Round;
use crate::fan::encap::{Encapsulation, SOURCE_PORTS};
use crate::kernel::wireguard::Wireguard;
use crate::kernel::{KernelError, Machine, bpf, capabilities};

/// How often a probe is sent that is not answered.
const ATTEMPTS: u32 = 3;
/// The first of the UDP ports that are nobody's (RFC 6335).
const FIRST_DYNAMIC_PORT: u16 = 49152;
/// Where traceroute(8) sends to, which nobody listens at, and how many ports from there.
const FIRST_TRACED_PORT: u16 = 33434;
const TRACED_PORTS: u16 = 256;
/// How many routers are looked for.
const ROUTERS: u8 = 16;
/// How long what goes by is looked at before ICMP is heard again.
const TURN: Duration = Duration::from_millis(10);
/// How long what waits at the sockets is looked through when the time for probes is up.
const GRACE: Duration = Duration::from_millis(200);

/// Sends probes and hears what comes of them.
pub(crate) struct Prober {
    target: Target,
    icmp: Socket,
    wire: Socket,
    id: u16,
    /// Of the latest probe.
    sequence: u16,
    /// Whom each probe was for, by its sequence.
    earlier: BTreeMap<u16, Ipv4Addr>,
    /// The probes of UDP, by their ports.
    datagrams: BTreeMap<(u16, u16), Mark>,
    seen: Seen,
}

fn any_port(address: Ipv4Addr) -> socket2::SockAddr {
    SocketAddrV4::new(address, 0).into()
}

fn raw(protocol: i32) -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(protocol)))
}

/// Sends an echo request from a socket of its own.
fn send(probe: &Probe, mark: Mark, ttl: Option<u8>) -> io::Result<()> {
    let socket = raw(libc::IPPROTO_ICMP)?;
    // Neither heeds what was learned of the path; the latter lets the kernel cut up what the device does not take.
    let discovery = if probe.aim.dont_fragment() { Ipv4PathMtuDiscovery::PROBE } else { Ipv4PathMtuDiscovery::OMIT };
    set_ip_mtu_discover(&socket, discovery)?;
    if let Some(ttl) = ttl {
        socket.set_ttl_v4(ttl.into())?;
    }
    socket.bind(&any_port(probe.source))?;
    let message = packet::echo(mark, probe.size);
    socket.send_to(&message, &any_port(probe.destination)).map(drop)
}

/// Sends UDP to a port where nobody listens, and returns its ports. The kernel leaves the checksum of what a socket of UDP sends
/// to the interface where that can compute it; a raw socket sends what it is given.
fn send_datagram(probe: &Probe, mark: Mark) -> io::Result<(u16, u16)> {
    let to = FIRST_TRACED_PORT + mark.sequence % TRACED_PORTS;
    if probe.aim == Aim::Unsummed {
        let (socket, from) = (raw(libc::IPPROTO_UDP)?, FIRST_DYNAMIC_PORT | mark.sequence);
        socket.bind(&any_port(probe.source))?;
        socket.send_to(&packet::unsummed(from, to, probe.size), &any_port(probe.destination))?;
        return Ok((from, to));
    }
    let socket = UdpSocket::bind(SocketAddrV4::new(probe.source, 0))?;
    socket.send_to(&packet::payload(probe.size), SocketAddrV4::new(probe.destination, to))?;
    Ok((socket.local_addr()?.port(), to))
}

/// What it means that a probe could not be sent.
fn not_sent(probe: &Probe, error: &io::Error) -> ProbeOutcome {
    match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
        Errno::EMSGSIZE => ProbeOutcome::Complaint(probe.source, Complaint::TooLarge(0)),
        errno => ProbeOutcome::NotSent { words: errno.desc().to_string(), forbidden: errno == Errno::EPERM },
    }
}

impl Prober {
    /// Opens its sockets, and gives up what asking a program took.
    ///
    /// # Errors
    /// The kernel gives them to nobody but root (`CAP_NET_RAW`).
    pub(crate) fn open(target: &Target) -> Result<Self, KernelError> {
        capabilities::give_up(Capability::CAP_SYS_ADMIN)?;
        let sockets = || -> io::Result<(Socket, Socket)> {
            let sockets = (raw(libc::IPPROTO_ICMP)?, capture::watch(target)?);
            sockets.0.set_nonblocking(true)?;
            sockets.1.set_nonblocking(true)?;
            Ok(sockets)
        };
        let (icmp, wire) = sockets().map_err(|error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
            KernelError::from(format!("raw sockets: {}", errno.desc()))
        })?;
        // Whoever traces at the same time is another process.
        let [.., high, low] = std::process::id().to_be_bytes();
        let id = u16::from_be_bytes([high, low]);
        Ok(Self {
            target: target.clone(),
            icmp,
            wire,
            id,
            sequence: 0,
            earlier: BTreeMap::new(),
            datagrams: BTreeMap::new(),
            seen: Seen::new(target, id),
        })
    }

    /// Sends probes all at once, those that are not answered again, and waits so long for what comes of them.
    pub fn run(&mut self, probes: &[Probe], wait: Duration) -> Vec<ProbeOutcome> {
        let begun = Instant::now();
        let earlier = self.earlier.clone();
        let mut round = Round::new(probes, &earlier);
        for attempt in 0..ATTEMPTS {
            let until = begun + wait * (attempt + 1) / ATTEMPTS;
            for (index, probe) in round.open() {
                let mark = self.mark();
                round.send(mark.sequence, index, Instant::now());
                self.earlier.insert(mark.sequence, probe.destination);
                let sent = if probe.aim.is_udp() {
                    send_datagram(&probe, mark).map(|ports| {
                        self.datagrams.insert(ports, mark);
                    })
                } else {
                    send(&probe, mark, None)
                };
                if let Err(error) = sent {
                    round.fail(index, not_sent(&probe, &error));
                }
                // What is answered at once is to be known at once.
                while let Some((from, news)) = self.next(until) {
                    round.take(from, news, Instant::now());
                }
            }
            while !round.is_settled() {
                let Some((from, news)) = self.hear(until) else { break };
                round.take(from, news, Instant::now());
            }
        }
        // What came in time counts, also where this process was late.
        let until = Instant::now() + GRACE;
        while !round.is_settled() {
            let Some((from, news)) = self.next(until) else { break };
            round.take(from, news, Instant::now());
        }
        self.look(until);
        round.outcomes()
    }

    /// Sends packets that may pass 1, 2, 3 routers and so on, plain and wrapped, to find out where they stay: the routers
    /// before the other host.
    pub(crate) fn hops(&mut self, wait: Duration) -> Vec<Hop> {
        let until = Instant::now() + wait;
        let probe = self.target.probe(Leg::Underlay, Aim::Small, 84);
        let hop = |ttl| Hop { ttl, plain: None, wrapped: None };
        let mut hops: Vec<Hop> = (1..=ROUTERS).map(hop).collect();
        let (mut plain, mut wrapped) = (BTreeMap::new(), BTreeMap::new());
        for (index, hop) in hops.iter().enumerate() {
            let mark = self.mark();
            // What cannot be sent has no answer either.
            if send(&probe, mark, Some(hop.ttl)).is_ok() {
                plain.insert(mark.sequence, index);
            }
            if let Ok(mark) = self.send_wrapped(hop.ttl) {
                wrapped.insert(mark, index);
            }
        }
        let mut reached = hops.len();
        while let Some((from, news)) = self.hear(until) {
            match news {
                News::Answer(mark) if from == self.target.host => {
                    reached = plain.get(&mark.sequence).map_or(reached, |index| reached.min(*index));
                }
                News::Complaint(mark, Complaint::Expired) => {
                    if let Some(index) = plain.get(&mark.sequence) {
                        hops[*index].plain = Some(from);
                    }
                }
                News::AboutWrapped { mark, complaint: Complaint::Expired, .. } => {
                    if let Some(index) = wrapped.get(&mark) {
                        hops[*index].wrapped = Some(from);
                    }
                }
                _ => {}
            }
        }
        hops.truncate(reached);
        hops
    }

    /// Sends what looks wrapped to whoever is on the way; returns what it is marked with.
    fn send_wrapped(&mut self, ttl: u8) -> io::Result<u16> {
        let (fan, mark) = (self.target.fan.clone(), self.mark());
        let (socket, own, payload) = match fan.options.encapsulation {
            Encapsulation::Ipip => {
                let inner = packet::ipv4(fan.gateway(), self.target.gateway, mark);
                (raw(libc::IPPROTO_IPIP)?, mark.sequence, inner)
            }
            Encapsulation::Wireguard => {
                let own = FIRST_DYNAMIC_PORT | mark.sequence;
                (raw(libc::IPPROTO_UDP)?, own, packet::no_vxlan(own, fan.carrier_port()))
            }
            Encapsulation::Vxlan => {
                // The fan's own rules let no other port of this host's speak to that one.
                let (first, last) = SOURCE_PORTS;
                let own = first + mark.sequence % (last - first + 1);
                (raw(libc::IPPROTO_UDP)?, own, packet::no_vxlan(own, fan.port()))
            }
        };
        socket.bind(&any_port(fan.host))?;
        socket.set_ttl_v4(ttl.into())?;
        socket.send_to(&payload, &any_port(self.target.host))?;
        Ok(own)
    }

    fn mark(&mut self) -> Mark {
        self.sequence = self.sequence.wrapping_add(1);
        Mark { id: self.id, sequence: self.sequence }
    }

    /// The next that ICMP has told already of what this process sent, or the fan; none when the time is up.
    fn next(&mut self, until: Instant) -> Option<(Ipv4Addr, News)> {
        let mut told =
            std::iter::from_fn(|| capture::receive(&self.icmp, until)).filter_map(|packet| packet::news(&packet));
        let (datagrams, gateway) = (&self.datagrams, self.target.gateway);
        let mut told = told.by_ref().map(|(from, news)| match news {
            News::AboutWrapped { host, outer: Outer::Udp(to), mark, complaint } if host == gateway => {
                let own = datagrams.get(&(mark, to)).map(|mark| News::Complaint(*mark, complaint));
                (from, own.unwrap_or(news))
            }
            news => (from, news),
        });
        told.find(|(from, news)| self.seen.hear(*from, *news))
    }

    /// What was seen on the underlay so far; answers that come out late, when nobody waits for them, are not lost.
    pub(crate) fn seen(&mut self) -> &Seen {
        let until = Instant::now() + GRACE;
        self.look(until);
        while self.next(until).is_some() {}
        &self.seen
    }

    /// The next that ICMP tells; none when the time is up.
    fn hear(&mut self, until: Instant) -> Option<(Ipv4Addr, News)> {
        loop {
            if let Some(news) = self.next(until) {
                return Some(news);
            }
            // However much goes by, the answers are heard in between.
            self.look(until.min(Instant::now() + TURN));
            let left = until.checked_duration_since(Instant::now())?;
            let millis = u16::try_from(left.as_millis()).unwrap_or(u16::MAX).saturating_add(1);
            let mut sources = [&self.icmp, &self.wire].map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
            // Interrupted or not, it is looked again until the time is up.
            let _ = poll(&mut sources, PollTimeout::from(millis));
        }
    }

    /// Looks at the wrapped packets that went by, as long as there is time.
    fn look(&mut self, until: Instant) {
        let fan = &self.target.fan;
        while let Some(packet) = capture::receive(&self.wire, until) {
            if let Some(wrapped) = packet::wrapped(&packet, fan.options.encapsulation, fan.carrier_port()) {
                self.seen.see(&wrapped);
            }
        }
    }
}

impl Machine {
    /// How the handshake with the other host of an encrypted fan stands; none where that cannot be asked.
    #[must_use]
    pub(crate) fn handshake(target: &Target) -> Option<Handshake> {
        target.fan.key_file()?;
        let index = if_nametoindex(target.fan.tunnel().as_str()).ok()?;
        let device = Wireguard::connect().ok()?.device(index).ok()?;
        let is_its = |network: &IpNetwork| network.contains(target.gateway.into());
        let Some((_, heard)) = device.peers.values().find(|(peer, _)| peer.allowed.iter().any(is_its)) else {
            return Some(Handshake::NoPeer);
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        Some(heard.handshake.map_or(Handshake::Never, |then| Handshake::Ago(now.saturating_sub(then))))
    }

    /// Asks a program on a tunnel what it says of an Ethernet frame (`TC_ACT_*`), without sending it.
    ///
    /// # Errors
    /// Only root may ask.
    pub(crate) fn ask_program(id: u32, frame: &[u8]) -> Result<i32, KernelError> {
        Ok(bpf::test_run(bpf::fd_by_id(id)?, frame)?.verdict)
    }
}
