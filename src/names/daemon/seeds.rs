//! Hosts that may be there: those that are written down, those that this host has spoken to, and those that hear a call on the underlay.
//!
//! All are candidates: each is asked over the fan before anything is believed of it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs, UdpSocket};

use socket2::{Domain, Socket, Type};

use super::super::wire::PORT;
use crate::fan::Fan;
use crate::fan::mapping::Overlay;
use crate::fan::request::Peer;
use crate::kernel::{KernelError, Machine};

/// What is called on the underlay: `fan1?`, and the overlay's network and prefix length.
const CALL: [u8; 5] = *b"fan1?";

/// The addresses that a peer stands for. That of a name may take the resolver a while.
#[must_use]
pub(crate) fn addresses(peer: &Peer) -> Vec<Ipv4Addr> {
    match peer {
        Peer::Host(host) => vec![*host],
        Peer::Network(network) => network.iter().collect(),
        Peer::Name(name) => {
            let found = (name.as_str(), PORT).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            let of_ipv4 = |address: SocketAddr| match address.ip() {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            };
            found.unwrap_or_default().into_iter().filter_map(of_ipv4).collect()
        }
    }
}

/// Hosts of the underlay that this host has spoken to.
///
/// # Errors
/// What the kernel said.
pub(super) fn neighbours(machine: &Machine, fan: &Fan) -> Result<Vec<Ipv4Addr>, KernelError> {
    let underlay = fan.mapping.underlay();
    let all = machine.neighbours(&fan.device)?;
    Ok(all.into_iter().filter(|address| underlay.contains(*address)).collect())
}

/// Calls to all on the interface of the underlay, and the ears for them.
pub(super) struct Caller {
    socket: UdpSocket,
    to: SocketAddrV4,
    overlay: Overlay,
    own: Ipv4Addr,
}

impl Caller {
    /// None where the interface has no broadcast address, or the port is taken.
    pub(super) fn open(machine: &Machine, fan: &Fan) -> Option<Self> {
        let to = machine.broadcast(&fan.device, fan.host).ok()??;
        let to = SocketAddrV4::new(to, PORT);
        // Bound to the broadcast address, it hears calls and nothing else.
        let open = || -> io::Result<UdpSocket> {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
            socket.set_reuse_address(true)?;
            socket.set_broadcast(true)?;
            socket.bind(&to.into())?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        };
        Some(Self { socket: open().ok()?, to, overlay: fan.overlay(), own: fan.host })
    }

    pub(super) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    fn call_of(&self) -> Vec<u8> {
        let network = self.overlay.network();
        [&CALL[..], &network.network().octets(), &[network.prefix()]].concat()
    }

    /// Calls. The socket's own address is that of all; the call leaves from another.
    pub(super) fn call(&self) {
        let sent = || -> io::Result<()> {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
            socket.set_broadcast(true)?;
            socket.bind(&SocketAddrV4::new(self.own, 0).into())?;
            socket.send_to(&self.call_of(), &self.to.into()).map(|_| ())
        };
        // One that is lost is followed by others.
        let _ = sent();
    }

    /// Those who have called since the last time; at most a few.
    pub(super) fn heard(&self) -> Vec<Ipv4Addr> {
        const MOST: usize = 64;
        let mut found = Vec::new();
        let mut buffer = [0; 64];
        while let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            let is_call = buffer[..len] == *self.call_of();
            if let (IpAddr::V4(from), true) = (from.ip(), is_call) {
                found.push(from);
            }
            if found.len() >= MOST {
                break;
            }
        }
        found.retain(|from| *from != self.own);
        found
    }
}
