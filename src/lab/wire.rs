//! What somebody who listens between the hosts sees of an encrypted fan.

use std::io::{self, Read};
use std::net::Ipv4Addr;

use nix::libc;
use serde::Serialize;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::measure::within;
use super::topology::{self, FanHost, Node};
use crate::error::Error;

/// Bytes that are read of a packet: all of it.
const LARGEST: usize = 65536;

/// What pings of iputils carry behind the time: bytes that count up from 16.
const PING: [u8; 16] = [16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31];

/// A socket between the hosts that sees every packet once.
pub(crate) struct Wire(Socket);

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Overheard {
    /// Packets of IPv4 between the hosts.
    pub(crate) packets: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// The UDP port that all of them went to or came from.
    pub(crate) port: u16,
    /// Packets in which something of the containers' could be read: what they said, an address of theirs, or that it is no packet of
    /// that port.
    pub(crate) readable: u64,
}

impl Wire {
    /// Begins to listen: packets wait until they are read.
    pub(crate) fn tap() -> Result<Self, Error> {
        let all = i32::from(u16::to_be(0x0003)); // ETH_P_ALL, linux/if_ether.h: before a bridge takes them
        let place = Node { address: Ipv4Addr::UNSPECIFIED, namespace: topology::UNDERLAY.into() };
        let open = || {
            let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(all)))?;
            socket.set_nonblocking(true)?;
            socket.attach_filter(&coming())?;
            Ok(Self(socket))
        };
        within(&place, open).map_err(|error| Error::Failed(format!("cannot listen between the hosts: {error}")))
    }

    /// Reads what has come since.
    pub(crate) fn overheard(&self, hosts: &[FanHost], port: u16) -> Result<Overheard, Error> {
        let secrets = secrets(hosts);
        let mut seen = Overheard { port, ..Overheard::default() };
        let mut bytes = vec![0; LARGEST];
        loop {
            match (&self.0).read(&mut bytes) {
                Ok(len) => seen.add(&bytes[..len], &secrets),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(seen),
                Err(error) => return Err(Error::Failed(format!("cannot listen between the hosts: {error}"))),
            }
        }
    }
}

impl Overheard {
    fn add(&mut self, packet: &[u8], secrets: &[Vec<u8>]) {
        let is_read = secrets.iter().any(|secret| packet.windows(secret.len()).any(|part| part == secret));
        let is_ipv4 = packet.first().is_some_and(|first| first >> 4 == 4);
        let is_carrier = || {
            let header = usize::from(packet[0] & 15) * 4;
            let port = |at: usize| packet.get(header + at..)?.first_chunk().map(|two| u16::from_be_bytes(*two));
            packet.get(9) == Some(&17) && (port(0) == Some(self.port) || port(2) == Some(self.port))
        };
        if is_ipv4 {
            self.packets += 1;
            self.bytes += u64::try_from(packet.len()).unwrap_or(u64::MAX);
        }
        self.readable += u64::from(is_read || (is_ipv4 && !is_carrier()));
    }

    /// That nothing could be read.
    ///
    /// # Errors
    /// That something could, or that nothing went by.
    pub(crate) fn proven(self) -> Result<Self, Error> {
        match self {
            Self { packets: 0, .. } => Err(Error::Failed("nothing was heard between the hosts".into())),
            Self { readable: 0, .. } => Ok(self),
            Self { readable, packets, .. } => Err(Error::Failed(format!(
                "{readable} of {packets} packets between the hosts could be read: the fan does not encrypt"
            ))),
        }
    }
}

/// What is not to be read: greetings, pings, and addresses inside the fan.
fn secrets(hosts: &[FanHost]) -> Vec<Vec<u8>> {
    let containers = || hosts.iter().flat_map(|host| &host.host.containers);
    let greeting = super::measure::GREETING.as_bytes().to_vec();
    let addresses = containers().map(|container| container.address.octets().to_vec());
    [greeting, PING.to_vec()].into_iter().chain(addresses).collect()
}

/// Lets by what comes in by an interface, and not what goes out: a bridge has each packet twice.
fn coming() -> Vec<SockFilter> {
    // Classic BPF (linux/bpf_common.h), and where it finds the kind of a packet (SKF_AD_PKTTYPE, linux/filter.h).
    const WORD: u16 = 0x20;
    const IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const KIND: u32 = 0xffff_f004;
    let outgoing = u32::from(libc::PACKET_OUTGOING);
    vec![
        SockFilter::new(WORD, 0, 0, KIND),
        SockFilter::new(IF_EQUAL, 0, 1, outgoing),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of UDP to a port, with this in it.
    fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 28];
        (packet[0], packet[9]) = (0x45, 17);
        packet[22..24].copy_from_slice(&port.to_be_bytes());
        [packet, payload.to_vec()].concat()
    }

    #[test]
    fn what_can_be_read_is_counted() {
        let secrets = [b"hello from ".to_vec(), vec![250, 0, 28, 2]];
        let seen = |packet: &[u8]| {
            let mut seen = Overheard { port: 8474, ..Overheard::default() };
            seen.add(packet, &secrets);
            (seen.packets, seen.readable)
        };
        assert_eq!(seen(&datagram(8474, b"\x04\0\0\0gibberish")), (1, 0));
        assert_eq!(seen(&datagram(8474, b"hello from 250.0.28.2")), (1, 1));
        assert_eq!(seen(&datagram(8474, &[69, 0, 250, 0, 28, 2])), (1, 1));
        assert_eq!(seen(&datagram(8472, b"gibberish")), (1, 1));
        assert_eq!(seen(&[0, 1, 8, 0]), (0, 0), "arp");
        assert!(Overheard { packets: 2, readable: 1, ..Overheard::default() }.proven().is_err());
        assert!(Overheard::default().proven().is_err());
    }
}
