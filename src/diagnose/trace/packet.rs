//! Packets of IPv4 and ICMP as bytes: those that are sent, and what is read in those that come.

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use crate::fan::encap::Encapsulation;

/// Bytes of an IPv4 header without options, and of ICMP's (RFC 791, RFC 792).
pub(crate) const IPV4_LEN: usize = 20;
/// Bytes of ICMP's header.
pub(crate) const ICMP_LEN: usize = 8;
const UDP_LEN: usize = 8;
const VXLAN_LEN: usize = 8;
const ETHERNET_LEN: usize = 14;

const ICMP: u8 = 1;
const IPIP: u8 = 4;
const UDP: u8 = 17;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const ECHO: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;

/// What marks one echo request among all that a host sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    /// Whose requests they are.
    pub(crate) id: u16,
    /// Which of them it is.
    pub(crate) sequence: u16,
}

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// Nobody there takes this protocol.
    Protocol,
    /// Nobody there listens on this UDP port, or for this protocol inside another.
    Port,
    /// The host does not answer its neighbour, or a route says that it cannot be reached.
    Host,
    /// There is no route.
    Network,
    /// Too large for the next link, which takes this many bytes; 0 where a router does not say.
    TooLarge(u16),
    /// A firewall forbids it.
    Prohibited,
    /// It passed too many routers.
    Expired,
    /// Something else.
    Other {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
}

impl Complaint {
    /// Types and codes are those of RFC 792 and RFC 1812, section 5.2.7.1.
    fn new(kind: u8, code: u8, mtu: u16) -> Self {
        match (kind, code) {
            (UNREACHABLE, 0 | 6 | 11) => Self::Network,
            (UNREACHABLE, 1 | 5 | 7 | 8 | 12) => Self::Host,
            (UNREACHABLE, 2) => Self::Protocol,
            (UNREACHABLE, 3) => Self::Port,
            (UNREACHABLE, 4) => Self::TooLarge(mtu),
            (UNREACHABLE, 9 | 10 | 13) => Self::Prohibited,
            (TIME_EXCEEDED, 0) => Self::Expired,
            _ => Self::Other { kind, code },
        }
    }
}

impl Complaint {
    /// A stable word for it.
    #[must_use]
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Protocol => "protocol_unreachable",
            Self::Port => "port_unreachable",
            Self::Host => "host_unreachable",
            Self::Network => "network_unreachable",
            Self::TooLarge(_) => "too_large",
            Self::Prohibited => "prohibited",
            Self::Expired => "expired",
            Self::Other { .. } => "other",
        }
    }
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Protocol => f.write_str("protocol unreachable"),
            Self::Port => f.write_str("port unreachable"),
            Self::Host => f.write_str("host unreachable"),
            Self::Network => f.write_str("network unreachable"),
            Self::TooLarge(0) => f.write_str("too large"),
            Self::TooLarge(mtu) => write!(f, "too large, {mtu} bytes fit"),
            Self::Prohibited => f.write_str("administratively prohibited"),
            Self::Expired => f.write_str("passed too many routers"),
            Self::Other { kind, code } => write!(f, "icmp type {kind} code {code}"),
        }
    }
}

/// What a packet is wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outer {
    /// IPv4 alone.
    Ipip,
    /// UDP to this port.
    Udp(u16),
}

impl Outer {
    /// What an encapsulation wraps in; `port` is that of VXLAN.
    #[must_use]
    pub(crate) fn of(encapsulation: Encapsulation, port: u16) -> Self {
        match encapsulation {
            Encapsulation::Ipip => Self::Ipip,
            Encapsulation::Vxlan | Encapsulation::Wireguard => Self::Udp(port),
        }
    }
}

/// What a packet of ICMP tells us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A request was answered.
    Answer(Mark),
    /// A request ended in an error.
    Complaint(Mark, Complaint),
    /// What was sent to another host, and may be of a fan, ended in an error.
    AboutWrapped {
        /// That other host.
        host: Ipv4Addr,
        /// What it was wrapped in.
        outer: Outer,
        /// What marks the wrapped packet: the source port of UDP, or the inner packet's identification.
        mark: u16,
        /// The error.
        complaint: Complaint,
    },
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(*bytes.get(at..)?.first_chunk::<4>()?))
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The mark of an echo request or reply.
fn mark(icmp: &[u8]) -> Option<Mark> {
    Some(Mark { id: number(icmp, 4)?, sequence: number(icmp, 6)? })
}

/// An IPv4 packet, taken apart; the content of later fragments is not looked at.
struct Ipv4<'a> {
    protocol: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    content: &'a [u8],
}

impl<'a> Ipv4<'a> {
    fn read(packet: &'a [u8]) -> Option<Self> {
        let first = *packet.first()?;
        let header = usize::from(first & 0xf) * 4;
        let is_later_fragment = number(packet, 6)? & 0x1fff != 0;
        if first >> 4 != 4 || header < IPV4_LEN || is_later_fragment {
            return None;
        }
        Some(Self {
            protocol: *packet.get(9)?,
            source: address(packet, 12)?,
            destination: address(packet, 16)?,
            content: packet.get(header..)?,
        })
    }
}

/// Reads a packet of ICMP with its IPv4 header: who sent it and what it tells.
#[must_use]
pub(crate) fn news(packet: &[u8]) -> Option<(Ipv4Addr, News)> {
    let packet = Ipv4::read(packet).filter(|packet| packet.protocol == ICMP)?;
    let (from, icmp) = (packet.source, packet.content);
    let (kind, code) = (*icmp.first()?, *icmp.get(1)?);
    let news = match kind {
        ECHO_REPLY => News::Answer(mark(icmp)?),
        UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM => {
            let complaint = Complaint::new(kind, code, number(icmp, 6)?);
            let quoted = Ipv4::read(icmp.get(ICMP_LEN..)?)?;
            match quoted.protocol {
                ICMP if quoted.content.first() == Some(&ECHO) => News::Complaint(mark(quoted.content)?, complaint),
                IPIP => News::AboutWrapped {
                    host: quoted.destination,
                    outer: Outer::Ipip,
                    mark: number(quoted.content, 4)?,
                    complaint,
                },
                UDP => News::AboutWrapped {
                    host: quoted.destination,
                    outer: Outer::Udp(number(quoted.content, 2)?),
                    mark: number(quoted.content, 0)?,
                    complaint,
                },
                _ => return None,
            }
        }
        _ => return None,
    };
    Some((from, news))
}

/// What is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// ARP.
    Arp,
    /// An echo request.
    Request(Mark),
    /// The answer to one.
    Answer(Mark),
    /// Bytes that only the two hosts can read.
    Encrypted,
    /// A packet of this protocol of IPv4.
    Other(u8),
}

/// A packet of the fan on the underlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrapped {
    /// The outer source.
    pub(crate) from: Ipv4Addr,
    /// The inner source, or the sender of ARP.
    pub(crate) source: Ipv4Addr,
    /// The inner destination, or the target of ARP.
    pub(crate) destination: Ipv4Addr,
    /// What it is.
    pub(crate) content: Content,
}

/// Reads a packet that is wrapped; `port` is that of UDP.
#[must_use]
pub(crate) fn wrapped(packet: &[u8], encapsulation: Encapsulation, port: u16) -> Option<Wrapped> {
    let outer = Ipv4::read(packet)?;
    let from = outer.source_if(match encapsulation {
        Encapsulation::Ipip => IPIP,
        Encapsulation::Vxlan | Encapsulation::Wireguard => UDP,
    })?;
    let inner = |packet| {
        let inner = Ipv4::read(packet)?;
        Some(Wrapped {
            from,
            source: inner.source,
            destination: inner.destination,
            content: match (inner.protocol, inner.content.first()) {
                (ICMP, Some(&ECHO)) => Content::Request(mark(inner.content)?),
                (ICMP, Some(&ECHO_REPLY)) => Content::Answer(mark(inner.content)?),
                (protocol, _) => Content::Other(protocol),
            },
        })
    };
    match encapsulation {
        Encapsulation::Ipip => inner(outer.content),
        Encapsulation::Wireguard => (number(outer.content, 2)? == port).then_some(Wrapped {
            from,
            source: Ipv4Addr::UNSPECIFIED,
            destination: Ipv4Addr::UNSPECIFIED,
            content: Content::Encrypted,
        }),
        Encapsulation::Vxlan => {
            if number(outer.content, 2)? != port {
                return None;
            }
            let frame = outer.content.get(UDP_LEN + VXLAN_LEN..)?;
            let content = frame.get(ETHERNET_LEN..)?;
            match frame[12..ETHERNET_LEN] {
                [a, b] if [a, b] == ETHERTYPE_IPV4 => inner(content),
                // Sender and target protocol address (RFC 826, for IPv4 over Ethernet).
                [a, b] if [a, b] == ETHERTYPE_ARP => Some(Wrapped {
                    from,
                    source: address(content, 14)?,
                    destination: address(content, 24)?,
                    content: Content::Arp,
                }),
                _ => None,
            }
        }
    }
}

impl Ipv4<'_> {
    fn source_if(&self, protocol: u8) -> Option<Ipv4Addr> {
        (self.protocol == protocol).then_some(self.source)
    }
}

/// The checksum of RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or_default())).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

/// An echo request that makes an IPv4 packet of `size` bytes, without the IPv4 header.
#[must_use]
pub(crate) fn echo(mark: Mark, size: u32) -> Vec<u8> {
    let len = usize::try_from(size).unwrap_or(usize::MAX).max(IPV4_LEN + ICMP_LEN) - IPV4_LEN;
    let mut message = vec![b'f'; len];
    message[..4].copy_from_slice(&[ECHO, 0, 0, 0]);
    message[4..6].copy_from_slice(&mark.id.to_be_bytes());
    message[6..8].copy_from_slice(&mark.sequence.to_be_bytes());
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// A UDP datagram (RFC 768) from one port to another that looks like VXLAN to those on the way: without the flag for a network
/// identifier, VXLAN at its end drops it (RFC 7348, section 5).
#[must_use]
pub(crate) fn no_vxlan(from: u16, to: u16) -> Vec<u8> {
    const LEN: u16 = 8 + 64;
    let mut datagram: Vec<u8> = [from, to, LEN, 0].into_iter().flat_map(u16::to_be_bytes).collect();
    datagram.resize(LEN.into(), 0);
    datagram
}

/// The payload of a UDP datagram that makes an IPv4 packet of `size` bytes.
#[must_use]
pub(crate) fn payload(size: u32) -> Vec<u8> {
    let len = usize::try_from(size).unwrap_or(usize::MAX).max(IPV4_LEN + UDP_LEN) - IPV4_LEN - UDP_LEN;
    vec![b'f'; len]
}

/// A UDP datagram (RFC 768) without a checksum that makes an IPv4 packet of `size` bytes.
#[must_use]
pub(crate) fn unsummed(from: u16, to: u16, size: u32) -> Vec<u8> {
    let payload = payload(size);
    let len = u16::try_from(UDP_LEN + payload.len()).unwrap_or(u16::MAX);
    let mut datagram: Vec<u8> = [from, to, len, 0].into_iter().flat_map(u16::to_be_bytes).collect();
    datagram.extend(payload);
    datagram
}

/// An IPv4 packet with an echo request, to be wrapped by hand: its identification is the mark's sequence.
#[must_use]
pub(crate) fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, mark: Mark) -> Vec<u8> {
    const SIZE: u8 = 84;
    let mut packet = vec![0x45, 0, 0, SIZE, 0, 0, 0, 0, 64, ICMP, 0, 0];
    packet[4..6].copy_from_slice(&mark.sequence.to_be_bytes());
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(echo(mark, SIZE.into()));
    packet
}

/// The same packet in an Ethernet frame without addresses, for a program to be asked about.
#[must_use]
pub(crate) fn frame(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let mark = Mark { id: 0, sequence: 0 };
    let mut frame = vec![0; 12];
    frame.extend(ETHERTYPE_IPV4);
    frame.extend(ipv4(source, destination, mark));
    frame
}
