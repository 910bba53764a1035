//! Packets made by hand, as somebody makes them who does not play by the rules.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket};

use super::Namespace;

const IPPROTO_ICMP: u8 = 1;
const IPPROTO_IPIP: u8 = 4;
const IPPROTO_UDP: u8 = 17;

/// An Ethernet address in bytes.
#[track_caller]
pub fn octets(mac: &str) -> [u8; 6] {
    let octets: Vec<u8> = mac.split(':').map(|octet| u8::from_str_radix(octet, 16).expect("hexadecimal")).collect();
    octets.try_into().expect("six octets")
}

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
        Self { source: source.parse().expect("an address"), destination: destination.parse().expect("an address") }
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
    let (source, destination) = (outer.0.parse().expect("an address"), outer.1.parse().expect("an address"));
    send_raw(from, destination, ipv4(IPPROTO_IPIP, source, destination, &inner.packet()));
}

/// Sends an inner packet in an Ethernet frame in VXLAN, from the sender's own address.
pub fn inject_vxlan(from: &Namespace, host: &str, vni: u32, mac: [u8; 6], inner: Inner) {
    inject_frame(from, host, vni, &[&mac[..], &SENDER, &[0x08, 0x00], &inner.packet()].concat());
}

/// Sends an inner packet in VXLAN from one underlay address to another, whoever's they are.
pub fn inject_vxlan_from(from: &Namespace, outer: (&str, &str), vni: u32, mac: [u8; 6], inner: Inner) {
    let (source, destination): (Ipv4Addr, Ipv4Addr) =
        (outer.0.parse().expect("an address"), outer.1.parse().expect("an address"));
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
    inject_frame(from, host, vni, &[&[0xff; 6][..], &SENDER, &[0x08, 0x06], &request, &addresses].concat());
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

/// An IPv4 packet as somebody makes it who knows the format and means harm. It stays whole and its checksum right unless it is
/// told otherwise.
#[derive(Debug, Clone)]
pub struct Crafted {
    id: u16,
    bytes: Vec<u8>,
}

impl Crafted {
    /// A packet with this payload, known by the identification that all its fragments and wrappings share.
    pub fn new(id: u16, protocol: u8, (source, destination): (&str, &str), payload: &[u8]) -> Self {
        let address = |text: &str| text.parse().expect("an address");
        let mut packet = ipv4(protocol, address(source), address(destination), payload);
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        Self { id, bytes: packet }.sealed()
    }

    /// A UDP packet with a few bytes in it.
    pub fn udp(id: u16, ends: (&str, &str)) -> Self {
        let header = [0x1e, 0x61, 0x1e, 0x61, 0, 40, 0, 0];
        Self::new(id, IPPROTO_UDP, ends, &[&header[..], &[0x66; 32]].concat())
    }

    /// With IP options, four bytes or more of them.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.bytes.splice(20..20, options.iter().copied());
        self.bytes[0] += u8::try_from(options.len() / 4).expect("few");
        self.measured()
    }

    /// With a source route by way of its destination (RFC 791): 131 is a loose one, 137 a strict one.
    pub fn routed_on_to(self, kind: u8, address: &str) -> Self {
        let next: Ipv4Addr = address.parse().expect("an address");
        self.options(&[&[kind, 7, 4][..], &next.octets(), &[0]].concat())
    }

    /// The same, when it has come by one place already.
    pub fn routed_further_to(self, kind: u8, address: &str) -> Self {
        let next: Ipv4Addr = address.parse().expect("an address");
        self.options(&[&[kind, 11, 8, 198, 51, 100, 9][..], &next.octets(), &[0]].concat())
    }

    /// Some bytes of it, as they are in the middle of a larger packet: those from eight times `offset` on.
    pub fn fragment(&self, offset: u16, len: usize) -> Self {
        let begin = 20 + usize::from(offset) * 8;
        let end = self.bytes.len().min(begin + len);
        let more = if end < self.bytes.len() { 0x2000 } else { 0 };
        let mut packet = [&self.bytes[..20], &self.bytes[begin..end]].concat();
        packet[6..8].copy_from_slice(&(more | offset).to_be_bytes());
        let id = self.id;
        Self { id, bytes: packet }.measured()
    }

    /// With other bytes in a place, its checksum made right again.
    pub fn patched(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.sealed()
    }

    /// Its first bytes only; the header does not know.
    pub fn cut(mut self, len: usize) -> Self {
        self.bytes.truncate(len);
        self
    }

    /// Inside another packet, without anything between them.
    pub fn in_ip(self, ends: (&str, &str)) -> Self {
        Self::new(self.id, IPPROTO_IPIP, ends, &self.bytes)
    }

    /// Inside a VXLAN packet of the announced fan, for a MAC address of its bridge.
    pub fn in_vxlan(self, ends: (&str, &str), mac: [u8; 6]) -> Self {
        let frame = [&mac[..], &SENDER, &[0x08, 0x00], &self.bytes].concat();
        let datagram = [&[0x08, 0, 0, 0, 0xfa, 0, 0, 0][..], &frame].concat();
        let length = u16::try_from(8 + datagram.len()).expect("short").to_be_bytes();
        let ports = [40_000_u16.to_be_bytes(), 8472_u16.to_be_bytes()].concat();
        Self::new(self.id, IPPROTO_UDP, ends, &[&ports[..], &length, &[0, 0], &datagram].concat())
    }

    /// Inside an ICMP error of this type and code.
    pub fn quoted(self, kind: (u8, u8), ends: (&str, &str)) -> Self {
        self.quoted_with(kind, 576, ends)
    }

    /// Inside an ICMP error that says that it was too large, for a way that takes so many bytes.
    pub fn too_large(self, mtu: u16, ends: (&str, &str)) -> Self {
        self.quoted_with((3, 4), mtu, ends)
    }

    fn quoted_with(self, (kind, code): (u8, u8), mtu: u16, ends: (&str, &str)) -> Self {
        let [high, low] = mtu.to_be_bytes();
        let mut message = vec![kind, code, 0, 0, 0, 0, high, low];
        message.extend(&self.bytes);
        let checksum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&checksum);
        Self::new(self.id, IPPROTO_ICMP, ends, &message)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn measured(mut self) -> Self {
        let length = u16::try_from(self.bytes.len()).expect("short").to_be_bytes();
        self.bytes[2..4].copy_from_slice(&length);
        self.sealed()
    }

    fn sealed(mut self) -> Self {
        let end = (usize::from(self.bytes[0] & 15) * 4).clamp(20, self.bytes.len().max(20));
        self.bytes[10..12].copy_from_slice(&[0, 0]);
        let checksum = checksum(&self.bytes[..end]).to_be_bytes();
        self.bytes[10..12].copy_from_slice(&checksum);
        self
    }

    /// Sends it by the sender's own routes.
    pub fn send(&self, from: &Namespace) {
        let destination = <[u8; 4]>::try_from(&self.bytes[16..20]).expect("four octets");
        send_raw(from, destination.into(), self.bytes.clone());
    }
}

/// Sends an Ethernet frame by eth0 as it is: destination, source, type and what follows.
#[track_caller]
pub fn inject_ethernet(from: &Namespace, frame: &[u8]) {
    inject_frames(from, vec![frame.to_vec()]);
}

/// The same with several, one after the other.
#[track_caller]
pub fn inject_frames(from: &Namespace, frames: Vec<Vec<u8>>) {
    from.run(move || {
        let raw = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).expect("a raw socket");
        let mut interfaces = getifaddrs().expect("interfaces");
        let found = interfaces.find_map(|one| {
            let address = one.address.filter(|_| one.interface_name == "eth0")?;
            address.as_link_addr().copied()
        });
        let to = found.expect("eth0");
        for frame in frames {
            let sent = sendto(raw.as_raw_fd(), &frame, &to, MsgFlags::empty()).expect("sent");
            assert_eq!(sent, frame.len());
        }
    });
}

/// Sends a packet with the header it has.
fn send_raw(from: &Namespace, destination: Ipv4Addr, packet: Vec<u8>) {
    from.run(move || {
        let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw);
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
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("16 bits")
}
