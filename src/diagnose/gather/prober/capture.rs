//! The underlay as it is: a socket that sees what is wrapped, and how it is read.

use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::time::Instant;

use nix::libc;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::diagnose::trace::Target;
use crate::diagnose::trace::packet::Outer;

/// Bytes that are read of a packet: headers, and what ICMP quotes.
const HEADERS: u16 = 256;

/// Classic BPF on the IPv4 header and what follows it (linux/filter.h, linux/bpf_common.h).
mod classic {
    pub(crate) const BYTE: u16 = 0x30;
    pub(crate) const WORD: u16 = 0x20;
    /// Loads the index register with the length of an IPv4 header.
    pub(crate) const HEADER: u16 = 0xb1;
    /// Loads two bytes that far behind the index.
    pub(crate) const HALF_BEHIND: u16 = 0x48;
    pub(crate) const AND: u16 = 0x54;
    pub(crate) const IF_EQUAL: u16 = 0x15;
    pub(crate) const RETURN: u16 = 0x06;
}

/// Lets by what is wrapped in `outer` between two hosts, or comes to this one.
fn filter(outer: Outer, us: Ipv4Addr, them: Ipv4Addr) -> Vec<SockFilter> {
    use classic::{AND, BYTE, HALF_BEHIND, HEADER, IF_EQUAL, RETURN, WORD};
    let (us, them) = (u32::from(us), u32::from(them));
    let (protocol, port) = match outer {
        Outer::Ipip => (libc::IPPROTO_IPIP, None),
        Outer::Udp(port) => (libc::IPPROTO_UDP, Some(port)),
    };
    let drop = || SockFilter::new(RETURN, 0, 0, 0);
    // Version and protocol; to us, or from us to them.
    let mut filter = vec![
        SockFilter::new(BYTE, 0, 0, 0),
        SockFilter::new(AND, 0, 0, 0xf0),
        SockFilter::new(IF_EQUAL, 0, 7, 0x40),
        SockFilter::new(BYTE, 0, 0, 9),
        SockFilter::new(IF_EQUAL, 0, 5, protocol.unsigned_abs()),
        SockFilter::new(WORD, 0, 0, 16),
        SockFilter::new(IF_EQUAL, 4, 0, us),
        SockFilter::new(IF_EQUAL, 0, 2, them),
        SockFilter::new(WORD, 0, 0, 12),
        SockFilter::new(IF_EQUAL, 1, 0, us),
        drop(),
    ];
    if let Some(port) = port {
        filter.extend([
            SockFilter::new(HEADER, 0, 0, 0),
            SockFilter::new(HALF_BEHIND, 0, 0, 2),
            SockFilter::new(IF_EQUAL, 1, 0, port.into()),
            drop(),
        ]);
    }
    filter.push(SockFilter::new(RETURN, 0, 0, HEADERS.into()));
    filter
}

/// A socket that sees every wrapped packet between the two hosts or to this one, coming before any firewall has and
/// going when all have (packet(7)).
pub(crate) fn watch(target: &Target) -> io::Result<Socket> {
    let all_protocols = i32::from(u16::to_be(0x0003)); // ETH_P_ALL, linux/if_ether.h
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(all_protocols)))?;
    let fan = &target.fan;
    let outer = Outer::of(fan.options.encapsulation, fan.carrier_port());
    socket.attach_filter(&filter(outer, target.source, target.at))?;
    Ok(socket)
}

/// Reads what waits at a socket; none when nothing does, or the time is up, however much waits.
pub(crate) fn receive(mut socket: &Socket, until: Instant) -> Option<Vec<u8>> {
    if Instant::now() >= until {
        return None;
    }
    let mut bytes = vec![0; HEADERS.into()];
    let len = socket.read(&mut bytes).ok()?;
    bytes.truncate(len);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const US: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 28);
    const THEM: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 27);
    const ELSE: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 99);
    const UDP: u8 = 17;
    const IPIP: u8 = 4;

    fn packet(protocol: u8, ends: (Ipv4Addr, Ipv4Addr), port: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 48, 0, 0, 0, 0, 64, protocol, 0, 0];
        packet.extend(ends.0.octets());
        packet.extend(ends.1.octets());
        packet.extend([0x90, 0]);
        packet.extend(port.to_be_bytes());
        packet.extend([0; 24]);
        packet
    }

    /// Two ends of a line that needs no privilege.
    fn line() -> (Socket, Socket) {
        let (here, there) = Socket::pair(Domain::UNIX, Type::DGRAM, None).expect("a pair of sockets");
        there.set_nonblocking(true).expect("not to wait");
        (here, there)
    }

    /// Whether the kernel lets a packet by the filter.
    fn passes(outer: Outer, packet: &[u8]) -> bool {
        let (here, there) = line();
        there.attach_filter(&filter(outer, US, THEM)).expect("a filter");
        here.send(packet).expect("to send");
        receive(&there, Instant::now() + Duration::from_secs(60)).is_some()
    }

    #[test]
    fn only_what_is_wrapped_as_the_fan_does_passes() {
        let vxlan = Outer::Udp(8472);
        for ends in [(THEM, US), (ELSE, US), (US, THEM)] {
            assert!(passes(Outer::Ipip, &packet(IPIP, ends, 8472)), "{ends:?}");
            assert!(!passes(Outer::Ipip, &packet(UDP, ends, 8472)), "{ends:?}");
            assert!(passes(vxlan, &packet(UDP, ends, 8472)), "{ends:?}");
            assert!(!passes(vxlan, &packet(IPIP, ends, 8472)), "{ends:?}");
            assert!(!passes(vxlan, &packet(UDP, ends, 53)), "{ends:?}");
        }
        for ends in [(US, ELSE), (THEM, ELSE), (ELSE, THEM)] {
            assert!(!passes(Outer::Ipip, &packet(IPIP, ends, 8472)), "{ends:?}");
            assert!(!passes(vxlan, &packet(UDP, ends, 8472)), "{ends:?}");
        }
        let mut options = packet(UDP, (THEM, US), 53);
        options[0] = 0x46;
        options.splice(20..20, [1; 4]);
        assert!(!passes(vxlan, &options));
        options[26..28].copy_from_slice(&8472_u16.to_be_bytes());
        assert!(passes(vxlan, &options), "behind the options");
        let mut version_6 = packet(IPIP, (THEM, US), 0);
        version_6[0] = 0x65;
        assert!(!passes(Outer::Ipip, &version_6));
    }

    #[test]
    fn when_the_time_is_up_nothing_is_read_however_much_waits() {
        let (here, there) = line();
        let now = Instant::now();
        here.send(b"waits").expect("to send");
        assert_eq!(receive(&there, now), None);
        let later = now + Duration::from_secs(60);
        assert_eq!(receive(&there, later).as_deref(), Some(&b"waits"[..]));
        assert_eq!(receive(&there, later), None, "nothing waits");
    }
}
