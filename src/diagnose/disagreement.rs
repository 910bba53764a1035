//! Encapsulated packets of hosts whose fan is another than the one here: another encapsulation, port, overlay or width.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use crate::fan::Fan;
use crate::fan::encap::{Encapsulation, VXLAN_PORT};
use crate::fan::mapping::Overlay;

/// What does not agree, as a packet shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Disagreement {
    /// It came over this encapsulation, and the fan here has another one.
    Encapsulation(Encapsulation),
    /// It came to this UDP port, and the fan here has another one.
    Port(u16),
    /// Its inner source is in no overlay here.
    Overlay(Ipv4Addr),
    /// By the fan here, its inner source belongs to this other host.
    Source(Ipv4Addr, Ipv4Addr),
    /// By the fan here, its inner destination is not in this host's slice.
    Destination(Ipv4Addr),
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encapsulation(encapsulation) => write!(f, "they come over {encapsulation}"),
            Self::Port(port) => write!(f, "they come to UDP port {port}"),
            Self::Overlay(source) => write!(f, "their inner source {source} is in no overlay here"),
            Self::Source(source, host) => write!(f, "their inner source {source} belongs to host {host} here"),
            Self::Destination(to) => write!(f, "their inner destination {to} is not in the slice here"),
        }
    }
}

/// Disagreements, with what they are about: the fan here, and the host that sent the packet.
pub(crate) type Disagreements = BTreeMap<(Overlay, Ipv4Addr), Disagreement>;

/// An encapsulated packet, as far as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrapped {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    /// The UDP port; none over IPIP.
    port: Option<u16>,
    inner_source: Ipv4Addr,
    inner_destination: Ipv4Addr,
}

impl Wrapped {
    /// Reads a packet from its IPv4 header on. None for what is no encapsulated packet with an IPv4 packet or ARP in it.
    #[must_use]
    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        let (header, rest) = ipv4(packet)?;
        let (port, inner) = match header.get(9)? {
            4 => (None, rest),
            17 => (Some(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?])), rest.get(16..)?),
            _ => return None,
        };
        let (inner_source, inner_destination) = match port {
            None => ends(ipv4(inner)?.0)?,
            Some(_) => match inner.get(12..14)? {
                [8, 0] => ends(ipv4(inner.get(14..)?)?.0)?,
                // The addresses of the sender and the target of ARP (RFC 826).
                [8, 6] => (address(inner, 28)?, address(inner, 38)?),
                _ => return None,
            },
        };
        let (source, destination) = ends(header)?;
        Some(Self { source, destination, port, inner_source, inner_destination })
    }

    /// What does not agree with the fans here; none for what they accept, and for what is no fan's. A packet of an unknown
    /// overlay counts where the programs have refused some: another tunnel of the host may be meant.
    #[must_use]
    pub(crate) fn disagrees(&self, fans: &[Fan], refused: bool) -> Option<(Overlay, Disagreement)> {
        let is_between =
            |fan: &&Fan| fan.host == self.destination && fan.mapping.underlay().network().contains(self.source);
        let here: Vec<&Fan> = fans.iter().filter(is_between).collect();
        let carries = |fan: &Fan| match (fan.options.encapsulation, self.port) {
            (Encapsulation::Ipip, None) => true,
            (Encapsulation::Vxlan, Some(port)) => fan.port() == port,
            _ => false,
        };
        let Some(fan) = here.iter().find(|fan| fan.overlay().network().contains(self.inner_source)) else {
            let fan = here.iter().find(|fan| carries(fan) && self.port.is_none())?;
            return refused.then_some((fan.overlay(), Disagreement::Overlay(self.inner_source)));
        };
        let host = fan.mapping.host(self.inner_source);
        let disagreement = match (fan.options.encapsulation, self.port) {
            (Encapsulation::Vxlan | Encapsulation::Wireguard, None) => Disagreement::Encapsulation(Encapsulation::Ipip),
            (Encapsulation::Ipip | Encapsulation::Wireguard, Some(_)) => {
                Disagreement::Encapsulation(Encapsulation::Vxlan)
            }
            (Encapsulation::Vxlan, Some(port)) if port != fan.port() => Disagreement::Port(port),
            _ if host != self.source => Disagreement::Source(self.inner_source, host),
            _ if !fan.slice().contains(self.inner_destination) => Disagreement::Destination(self.inner_destination),
            _ => return None,
        };
        Some((fan.overlay(), disagreement))
    }

    /// The host that sent it.
    #[must_use]
    pub(crate) fn source(&self) -> Ipv4Addr {
        self.source
    }
}

/// The port of VXLAN (RFC 7348).
const IANA_PORT: u16 = 4789;

/// The UDP ports at which fans listen: these, and the usual ones.
pub(crate) fn ports(fans: &[Fan]) -> Vec<u16> {
    let mut ports: Vec<u16> = fans.iter().map(Fan::port).chain([VXLAN_PORT, IANA_PORT]).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The header of an IPv4 packet that is no later fragment, and what follows it.
fn ipv4(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = usize::from(packet.first()? & 0x0f) * 4;
    let is_ipv4 = packet[0] >> 4 == 4 && len >= 20;
    let (header, rest) = packet.split_at_checked(len)?;
    // Without the three flags.
    let is_first = u16::from_be_bytes([*header.get(6)?, *header.get(7)?]) << 3 == 0;
    (is_ipv4 && is_first).then_some((header, rest))
}

fn ends(header: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    Some((address(header, 12)?, address(header, 16)?))
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(*bytes.get(at..)?.first_chunk::<4>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::options::Options;
    use crate::fan::tests::announced;

    const THERE: [u8; 4] = [172, 30, 0, 27];

    fn header(protocol: u8, from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
        packet.extend(from);
        packet.extend(to);
        packet
    }

    fn ipip(inner: ([u8; 4], [u8; 4])) -> Vec<u8> {
        [header(4, THERE, [172, 30, 0, 28]), header(1, inner.0, inner.1)].concat()
    }

    fn vxlan(port: u16, inner: ([u8; 4], [u8; 4])) -> Vec<u8> {
        let mut packet = header(17, THERE, [172, 30, 0, 28]);
        packet.extend([3, 0]);
        packet.extend(port.to_be_bytes());
        packet.extend([0; 12 + 12]);
        packet.extend([8, 0]);
        packet.extend(header(1, inner.0, inner.1));
        packet
    }

    fn found(packet: &[u8], encapsulation: Encapsulation, refused: bool) -> Option<Disagreement> {
        let fan = Fan { options: Options { encapsulation, ..Options::default() }, ..announced() };
        let (overlay, found) = Wrapped::read(packet)?.disagrees(std::slice::from_ref(&fan), refused)?;
        assert_eq!(overlay, fan.overlay());
        Some(found)
    }

    #[test]
    fn what_the_fan_accepts_agrees_and_all_else_is_named() {
        use Encapsulation::{Ipip, Vxlan, Wireguard};
        let right = ([250, 0, 27, 2], [250, 0, 28, 2]);
        assert_eq!(found(&ipip(right), Ipip, true), None);
        assert_eq!(found(&vxlan(8472, right), Vxlan, true), None);
        assert_eq!(found(&ipip(right), Vxlan, false), Some(Disagreement::Encapsulation(Ipip)));
        assert_eq!(found(&vxlan(8472, right), Ipip, false), Some(Disagreement::Encapsulation(Vxlan)));
        assert_eq!(found(&ipip(right), Wireguard, false), Some(Disagreement::Encapsulation(Ipip)));
        assert_eq!(found(&vxlan(8472, right), Wireguard, false), Some(Disagreement::Encapsulation(Vxlan)));
        assert_eq!(found(&vxlan(4789, right), Vxlan, false), Some(Disagreement::Port(4789)));
        let wide = ([250, 27, 0, 2], [250, 28, 0, 2]);
        let source = Disagreement::Source(wide.0.into(), [172, 30, 27, 0].into());
        assert_eq!(found(&ipip(wide), Ipip, false), Some(source));
        assert_eq!(found(&vxlan(8472, wide), Vxlan, false), Some(source));
        let elsewhere = ([250, 0, 27, 2], [250, 28, 0, 2]);
        assert_eq!(found(&ipip(elsewhere), Ipip, false), Some(Disagreement::Destination(elsewhere.1.into())));
        let foreign = ([10, 0, 27, 2], [10, 0, 28, 2]);
        assert_eq!(found(&ipip(foreign), Ipip, true), Some(Disagreement::Overlay(foreign.0.into())));
        assert_eq!(found(&ipip(foreign), Ipip, false), None, "another tunnel's");
        assert_eq!(found(&vxlan(8472, foreign), Vxlan, true), None, "flannel's");
    }

    #[test]
    fn what_is_cut_short_or_no_tunnel_is_nothing() {
        let whole = vxlan(8472, ([250, 0, 27, 2], [250, 0, 28, 2]));
        for len in 0..whole.len() {
            assert_eq!(Wrapped::read(&whole[..len]), None, "{len}");
        }
        let mut fragment = whole.clone();
        fragment[7] = 9;
        assert_eq!(Wrapped::read(&fragment), None);
        assert_eq!(Wrapped::read(&header(6, THERE, THERE)), None);
        let mut arp = whole[..48].to_vec();
        arp.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 0, 0, 0, 0, 0, 0, 250, 0, 27, 2, 0, 0, 0, 0, 0, 0, 250, 0, 28, 2]);
        assert_eq!(Wrapped::read(&arp).map(|read| read.inner_source), Some([250, 0, 27, 2].into()));
    }
}
