//! Listens for encapsulated packets that come to this host, while a diagnosis looks at other things.

use std::io::{self, Read};
use std::time::Duration;

use nix::libc;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::diagnose::disagreement::{Disagreements, Wrapped, ports};
use crate::fan::Fan;

/// Bytes that are read of a packet: the headers, outer and inner, with options.
const HEADERS: u32 = 192;
/// More packets are not read, and more disagreements are not kept.
const MOST_PACKETS: usize = 20_000;
const MOST_HOSTS: usize = 16;
/// How often it is read meanwhile, so that what waits fits into the socket's buffer.
const SLICES: u32 = 15;

/// A socket that gets the packets of tunnels.
pub(crate) struct Listener {
    socket: Socket,
    fans: Vec<Fan>,
    packets: Vec<Wrapped>,
}

impl Listener {
    /// Begins to listen: packets wait until they are read.
    ///
    /// # Errors
    /// When the kernel refuses, as without `CAP_NET_RAW`.
    pub(crate) fn open(fans: Vec<Fan>) -> io::Result<Self> {
        let ipv4 = i32::from(u16::to_be(0x0800)); // ETH_P_IP, linux/if_ether.h: packets that come in, and none that go out
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(ipv4)))?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&filter(&ports(&fans)))?;
        Ok(Self { socket, fans, packets: Vec::new() })
    }

    /// Listens for so long.
    pub(crate) fn listen(&mut self, time: Duration) {
        for _ in 0..SLICES {
            std::thread::sleep(time / SLICES);
            self.read();
        }
    }

    /// Reads what waits.
    pub(crate) fn read(&mut self) {
        let mut bytes = [0; HEADERS as usize];
        while self.packets.len() < MOST_PACKETS
            && let Ok(len) = self.socket.read(&mut bytes)
        {
            self.packets.extend(Wrapped::read(&bytes[..len]));
        }
    }

    /// What of the packets does not agree with the fans here. `refused` says whether the programs of a tunnel have refused
    /// packets meanwhile.
    pub(crate) fn disagreements(&self, refused: bool) -> Disagreements {
        let mut found = Disagreements::new();
        for packet in &self.packets {
            if let Some((overlay, disagreement)) = packet.disagrees(&self.fans, refused)
                && found.len() < MOST_HOSTS
            {
                found.entry((overlay, packet.source())).or_insert(disagreement);
            }
        }
        found
    }
}

/// Lets by IPIP, and UDP to these ports.
fn filter(ports: &[u16]) -> Vec<SockFilter> {
    // Classic BPF (linux/bpf_common.h).
    const BYTE: u16 = 0x30;
    const HEADER_TO_X: u16 = 0xb1;
    const HALF_BEHIND_X: u16 = 0x48;
    const IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let drop = || SockFilter::new(RETURN, 0, 0, 0);
    let pass = || SockFilter::new(RETURN, 0, 0, HEADERS);
    let mut filter = vec![
        SockFilter::new(BYTE, 0, 0, 9),
        SockFilter::new(IF_EQUAL, 0, 1, libc::IPPROTO_IPIP.unsigned_abs()),
        pass(),
        SockFilter::new(IF_EQUAL, 1, 0, libc::IPPROTO_UDP.unsigned_abs()),
        drop(),
        SockFilter::new(HEADER_TO_X, 0, 0, 0),
        SockFilter::new(HALF_BEHIND_X, 0, 0, 2),
    ];
    for port in ports {
        filter.extend([SockFilter::new(IF_EQUAL, 0, 1, (*port).into()), pass()]);
    }
    filter.push(drop());
    filter
}
