//! A tunnel in user space, as flannel's back end udp is one (flannel, pkg/backend/udp): a process with one thread reads a
//! packet from a TUN device, looks up the host of its destination, lowers its TTL and sends it in a UDP datagram; and the
//! other way round. As long as there is something to read it does not wait.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use ipnetwork::Ipv4Network;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tappers::{Interface, Tun};

/// The slice of another host, and where that host listens.
pub struct Route {
    slice: Ipv4Network,
    host: SocketAddr,
}

/// Runs until it is killed. Words: the device, where to listen, then `SLICE=HOST:PORT` for each other host.
pub fn run(words: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [device, listen, routes @ ..] = words else {
        return Err("usage: tunnel DEVICE ADDRESS:PORT SLICE=HOST:PORT...".into());
    };
    let routes = routes.iter().map(|route| Route::parse(route)).collect::<Result<Vec<_>, _>>()?;
    let mut tun = Tun::new_named(Interface::new(device)?)?;
    tun.set_nonblocking(true)?;
    let socket = UdpSocket::bind(listen)?;
    socket.set_nonblocking(true)?;
    let mut buffer = vec![0; 65536];
    loop {
        let ready = PollFlags::POLLIN;
        poll(&mut [PollFd::new(tun.as_fd(), ready), PollFd::new(socket.as_fd(), ready)], PollTimeout::NONE)?;
        while wrap(&tun, &socket, &routes, &mut buffer)? | unwrap(&tun, &socket, &mut buffer)? {}
    }
}

impl Route {
    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let (slice, host) = text.split_once('=').ok_or("a route is SLICE=HOST:PORT")?;
        Ok(Self { slice: slice.parse()?, host: host.parse()? })
    }
}

/// Takes one packet from the device to the host of its destination. False when there was none.
fn wrap(tun: &Tun, socket: &UdpSocket, routes: &[Route], buffer: &mut [u8]) -> io::Result<bool> {
    let Some(length) = unless_empty(tun.recv(buffer))? else {
        return Ok(false);
    };
    let packet = &mut buffer[..length];
    let Some(destination) = destination(packet) else {
        return Ok(true);
    };
    let route = routes.iter().find(|route| route.slice.contains(destination));
    if let Some(route) = route
        && lower_ttl(packet)
    {
        // A full queue drops, as it does in a kernel.
        let _ = socket.send_to(packet, route.host);
    }
    Ok(true)
}

/// Takes one packet from the other host to the device. False when there was none.
fn unwrap(tun: &Tun, socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<bool> {
    let Some(length) = unless_empty(socket.recv(buffer))? else {
        return Ok(false);
    };
    let packet = &mut buffer[..length];
    if destination(packet).is_some() && lower_ttl(packet) {
        let _ = tun.send(packet);
    }
    Ok(true)
}

fn unless_empty(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where an IPv4 packet goes (RFC 791, 3.1).
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let is_ipv4 = packet.len() >= 20 && packet[0] >> 4 == 4;
    is_ipv4.then(|| Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]))
}

/// Lowers the TTL and updates the checksum (RFC 1624, eqn. 3). False when the TTL has run out.
fn lower_ttl(packet: &mut [u8]) -> bool {
    if packet[8] <= 1 {
        return false;
    }
    packet[8] -= 1;
    let checksum = u16::from_be_bytes([packet[10], packet[11]]);
    let (sum, carry) = checksum.overflowing_add(0x0100);
    packet[10..12].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
    true
}
