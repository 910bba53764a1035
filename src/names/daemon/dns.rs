//! DNS on a gateway: questions by UDP and TCP, of containers of this host and of the dnsmasq in front.
//!
//! Where the fan's dnsmasq has port 53, it asks here for the fan's zones, at [`NAMES_PORT`]. Where there is none, this is port 53 itself.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::PollFlags;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use super::super::answer::{Query, Reply, Transport};
use super::super::mesh::{Found, Mesh, Ticket, Wanted};
use super::super::zone::{Meaning, Zone};
use super::connection::Connection;
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::fan::label::Label;
use crate::plan::desired::NAMES_PORT;

/// The port where nothing stands in front (RFC 1035, section 4.2).
const IN_FRONT: u16 = 53;

/// The most streams at a time.
const MOST_STREAMS: usize = 64;
/// The most questions that wait for another host.
const MOST_PENDING: usize = 1_024;
/// The most questions that are read of a socket in one go.
const MOST_AT_ONCE: usize = 256;
/// The most addresses in an answer by UDP. Some resolvers take no more than 13.
const MOST_ADDRESSES: usize = 8;
/// The most names of an address.
const MOST_NAMES: usize = 4;

/// Where an answer goes.
#[derive(Clone, Copy)]
enum Asker {
    Udp(SocketAddr),
    /// A stream by its number.
    Tcp(u64),
}

struct Pending {
    query: Query,
    asker: Asker,
    address: Option<Ipv4Addr>,
}

/// The server of one gateway.
pub(super) struct Dns {
    fan: Fan,
    udp: UdpSocket,
    tcp: TcpListener,
    streams: BTreeMap<u64, Connection<TcpStream>>,
    next: u64,
    pending: BTreeMap<Ticket, Pending>,
    rng: SmallRng,
}

/// What to ask another host, and what the answer will be known by.
pub(super) type Ask = (Ticket, Ipv4Addr, Wanted);

impl Dns {
    pub(super) fn open(fan: &Fan, rng: SmallRng) -> io::Result<Self> {
        let port = if fan.options.dhcp { NAMES_PORT } else { IN_FRONT };
        let at = SocketAddrV4::new(fan.gateway(), port);
        let (udp, tcp) = (UdpSocket::bind(at)?, TcpListener::bind(at)?);
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let (streams, pending) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { fan: fan.clone(), udp, tcp, streams, next: 0, pending, rng })
    }

    pub(super) fn wants(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let listeners = [(self.udp.as_fd(), PollFlags::POLLIN), (self.tcp.as_fd(), PollFlags::POLLIN)];
        listeners.into_iter().chain(self.streams.values().map(Connection::wants))
    }

    /// Whether one may ask: this host and its containers. Those of other hosts have a gateway of their own.
    fn may_ask(&self, from: SocketAddr) -> bool {
        matches!(from, SocketAddr::V4(from) if self.fan.slice().contains(*from.ip()))
    }

    /// Reads the questions that have come. Those that another host must answer are given back.
    pub(super) fn work(&mut self, mesh: &Mesh) -> Vec<Ask> {
        let mut asks = Vec::new();
        let mut buffer = [0; 2_048];
        for _ in 0..MOST_AT_ONCE {
            let Ok((len, from)) = self.udp.recv_from(&mut buffer) else { break };
            if self.may_ask(from) {
                asks.extend(self.question(mesh, &buffer[..len], Asker::Udp(from)));
            }
        }
        while let Ok((stream, from)) = self.tcp.accept() {
            if self.may_ask(from) && self.streams.len() < MOST_STREAMS && stream.set_nonblocking(true).is_ok() {
                self.next += 1;
                self.streams.insert(self.next, Connection::new(stream, (4_096, 1 << 18)));
            }
        }
        for number in self.streams.keys().copied().collect::<Vec<_>>() {
            asks.extend(self.stream(mesh, number));
        }
        asks
    }

    /// Reads a stream: each question behind its length (RFC 1035, section 4.2.2).
    fn stream(&mut self, mesh: &Mesh, number: u64) -> Vec<Ask> {
        let mut asks = Vec::new();
        let Some(stream) = self.streams.get_mut(&number) else { return asks };
        stream.fill();
        while let Some(question) = self.streams.get_mut(&number).and_then(|stream| framed(&mut stream.input)) {
            let ask = self.question(mesh, &question, Asker::Tcp(number));
            if let (Some(_), Some(stream)) = (&ask, self.streams.get_mut(&number)) {
                stream.awaited += 1;
            }
            asks.extend(ask);
        }
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.flush();
            if stream.is_over() {
                self.streams.remove(&number);
            }
        }
        asks
    }

    fn question(&mut self, mesh: &Mesh, bytes: &[u8], asker: Asker) -> Option<Ask> {
        let transport = match asker {
            Asker::Udp(_) => Transport::Udp,
            Asker::Tcp(_) => Transport::Tcp,
        };
        let query = match Query::read(bytes, transport) {
            Ok(query) => query,
            Err(answer) => {
                self.send(asker, &answer?);
                return None;
            }
        };
        let zone = mesh.zone();
        let (host, wanted, address) = match query.meaning(zone) {
            Meaning::OfHost(host, label) => (host, Wanted::Addresses(label), None),
            Meaning::Reverse(address) => (zone.mapping().host(address), Wanted::Names(address), Some(address)),
            other => {
                let reply = self.known(mesh, other, transport);
                self.send(asker, &query.answer(zone, &reply));
                return None;
            }
        };
        if !zone.is_host(host) || self.pending.len() >= MOST_PENDING {
            let reply = if zone.is_host(host) { Reply::Silence } else { Reply::Missing };
            self.send(asker, &query.answer(zone, &reply));
            return None;
        }
        self.next += 1;
        let ticket = Ticket(self.next);
        self.pending.insert(ticket, Pending { query, asker, address });
        Some((ticket, host, wanted))
    }

    /// What is answered without asking anybody.
    fn known(&mut self, mesh: &Mesh, meaning: Meaning, transport: Transport) -> Reply {
        match meaning {
            Meaning::Empty => Reply::Nothing,
            Meaning::Address(address) => Reply::Computed(address),
            Meaning::Flat(label) => {
                let addresses: Vec<Ipv4Addr> = mesh.book().addresses(&label).collect();
                self.balanced(addresses, transport)
            }
            Meaning::Elsewhere => Reply::Refused,
            Meaning::Missing | Meaning::OfHost(..) | Meaning::Reverse(_) => Reply::Missing,
        }
    }

    /// Addresses in any order. Where the whole overlay is on link, resolvers would sort them by how near they look (RFC 6724, rule 9),
    /// and all containers would take the same one: there it is one of them.
    fn balanced(&mut self, mut addresses: Vec<Ipv4Addr>, transport: Transport) -> Reply {
        if addresses.is_empty() {
            return Reply::Missing;
        }
        addresses.shuffle(&mut self.rng);
        match (self.fan.options.encapsulation, transport) {
            (Encapsulation::Vxlan, _) => addresses.truncate(1),
            (_, Transport::Udp) => addresses.truncate(MOST_ADDRESSES),
            (_, Transport::Tcp) => {}
        }
        Reply::Addresses(addresses)
    }

    /// Another host has answered, or has not.
    pub(super) fn found(&mut self, zone: &Zone, ticket: Ticket, found: Found) {
        let Some(Pending { query, asker, address }) = self.pending.remove(&ticket) else { return };
        if let Asker::Tcp(number) = asker
            && let Some(stream) = self.streams.get_mut(&number)
        {
            stream.awaited -= 1;
        }
        let reply = match (found, address) {
            (Found::Silence, _) => Reply::Silence,
            (Found::Addresses(addresses), None) => self.balanced(addresses, Transport::Udp),
            (Found::Names(labels), Some(address)) => Reply::Names(names(zone, address, &labels)),
            (Found::Addresses(_), Some(_)) | (Found::Names(_), None) => Reply::Missing,
        };
        self.send(asker, &query.answer(zone, &reply));
    }

    fn send(&mut self, asker: Asker, answer: &[u8]) {
        match asker {
            // Who does not get it asks again.
            Asker::Udp(to) => drop(self.udp.send_to(answer, to)),
            Asker::Tcp(number) => {
                let (Some(stream), Ok(len)) = (self.streams.get_mut(&number), u16::try_from(answer.len())) else {
                    return;
                };
                stream.send(&len.to_be_bytes());
                stream.send(answer);
                stream.flush();
            }
        }
    }
}

/// The names of an address: those that its host gave, else that of the gateway, else its spelling.
fn names(zone: &Zone, address: Ipv4Addr, labels: &[Label]) -> Vec<String> {
    let host = zone.mapping().host(address);
    if zone.mapping().gateway(host) == address {
        return vec![zone.name_at_host(host, "gw")];
    }
    if labels.is_empty() {
        return vec![zone.name_of_address(address)];
    }
    labels.iter().take(MOST_NAMES).map(|label| zone.name_at_host(host, label.as_str())).collect()
}

/// Takes a whole message off what was read.
fn framed(input: &mut Vec<u8>) -> Option<Vec<u8>> {
    let len = usize::from(u16::from_be_bytes([*input.first()?, *input.get(1)?]));
    if input.len() < 2 + len {
        return None;
    }
    Some(input.drain(..2 + len).skip(2).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_stream_are_behind_their_length() {
        let mut input = vec![0, 2, 7, 8, 0, 1];
        assert_eq!(framed(&mut input), Some(vec![7, 8]));
        assert_eq!(framed(&mut input), None);
        input.push(9);
        assert_eq!(framed(&mut input), Some(vec![9]));
        assert_eq!(framed(&mut input), None);
    }
}
