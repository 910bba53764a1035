//! Packets made by hand, as somebody makes them who does not play by the rules.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket};

use super::Namespace;

const IPPROTO_IPIP: u8 = 4;
const IPPROTO_UDP: u8 = 17;

/// An inner packet: UDP from one address to another, port 7777.
#[derive(Debug, Clone, Copy)]
pub struct Inner {
    source: Ipv4Addr,
    destination: Ipv4Addr,
}

impl Inner {
    /// Port of all these packets, at both ends.
    pub const PORT: u16 = 7777;
    /// tcpdump's words for them.
    pub const FILTER: &str = "udp port 7777";

    /// A packet that says it comes from `source`.
    pub fn new(source: &str, destination: &str) -> Self {
        Self {
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
        }
    }

    /// Its bytes.
    fn packet(self) -> Vec<u8> {
        let payload = b"fan";
        let mut udp = Vec::new();
        udp.extend(Self::PORT.to_be_bytes());
        udp.extend(Self::PORT.to_be_bytes());
        udp.extend(u16::try_from(8 + payload.len()).expect("short").to_be_bytes());
        udp.extend([0, 0]); // no checksum, which IPv4 allows
        udp.extend(payload);
        ipv4(IPPROTO_UDP, self.source, self.destination, &udp)
    }
}

/// Sends an inner packet in IP-in-IP from one underlay address to another.
pub fn inject_ipip(from: &Namespace, outer: (&str, &str), inner: Inner) {
    let (source, destination) = (
        outer.0.parse().expect("an address"),
        outer.1.parse().expect("an address"),
    );
    send_raw(
        from,
        destination,
        ipv4(IPPROTO_IPIP, source, destination, &inner.packet()),
    );
}

/// Sends an inner packet in an Ethernet frame in VXLAN, from the sender's own address.
pub fn inject_vxlan(from: &Namespace, host: &str, vni: u32, mac: [u8; 6], inner: Inner) {
    inject_frame(
        from,
        host,
        vni,
        &[&mac[..], &SENDER, &[0x08, 0x00], &inner.packet()].concat(),
    );
}

/// Sends an inner packet in VXLAN from one underlay address to another, whoever's they are.
pub fn inject_vxlan_from(from: &Namespace, outer: (&str, &str), vni: u32, mac: [u8; 6], inner: Inner) {
    let (source, destination): (Ipv4Addr, Ipv4Addr) = (
        outer.0.parse().expect("an address"),
        outer.1.parse().expect("an address"),
    );
    let frame = [&mac[..], &SENDER, &[0x08, 0x00], &inner.packet()].concat();
    let datagram = [&[0x08, 0, 0, 0][..], &(vni << 8).to_be_bytes(), &frame].concat();
    let length = u16::try_from(8 + datagram.len()).expect("short");
    let mut udp = Vec::new();
    udp.extend(40_000_u16.to_be_bytes());
    udp.extend(8472_u16.to_be_bytes());
    udp.extend(length.to_be_bytes());
    udp.extend([0, 0]); // no checksum, which IPv4 allows
    udp.extend(datagram);
    send_raw(from, destination, ipv4(IPPROTO_UDP, source, destination, &udp));
}

/// Sends an ARP request in VXLAN that says `sender` asks for `target`.
pub fn inject_vxlan_arp(from: &Namespace, host: &str, vni: u32, sender: Ipv4Addr, target: Ipv4Addr) {
    let request = [0, 1, 0x08, 0, 6, 4, 0, 1];
    let addresses = [&SENDER[..], &sender.octets(), &[0; 6], &target.octets()].concat();
    inject_frame(
        from,
        host,
        vni,
        &[&[0xff; 6][..], &SENDER, &[0x08, 0x06], &request, &addresses].concat(),
    );
}

/// The MAC address of frames made by hand.
const SENDER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x66];
/// The same for tcpdump.
pub const FORGER: &str = "02:00:00:00:00:66";

/// Sends an Ethernet frame in VXLAN (RFC 7348).
fn inject_frame(from: &Namespace, host: &str, vni: u32, frame: &[u8]) {
    let datagram = [&[0x08, 0, 0, 0][..], &(vni << 8).to_be_bytes(), frame].concat();
    let host: Ipv4Addr = host.parse().expect("an address");
    from.run(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.send_to(&datagram, SocketAddrV4::new(host, 8472)).expect("sent");
    });
}

/// Sends a packet as it is, by the sender's own routes.
pub fn inject_plain(from: &Namespace, packet: Inner) {
    send_raw(from, packet.destination, packet.packet());
}

/// Sends a packet with the header it has.
fn send_raw(from: &Namespace, destination: Ipv4Addr, packet: Vec<u8>) {
    from.run(move || {
        let raw = socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::Raw,
        );
        let raw = raw.expect("a raw socket");
        let to = SockaddrIn::from(SocketAddrV4::new(destination, 0));
        let sent = sendto(raw.as_raw_fd(), &packet, &to, MsgFlags::empty()).expect("sent");
        assert_eq!(sent, packet.len());
    });
}

/// An IPv4 packet, TTL 64.
fn ipv4(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("short");
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0x12, 0x34, 0, 0, 64, protocol, 0, 0]);
    header.extend(source.octets());
    header.extend(destination.octets());
    let checksum = checksum(&header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header.extend(payload);
    header
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("16 bits")
}
