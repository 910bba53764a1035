//! What a container has on its side of a port: its IPv4 addresses there, and the routes of its main table.

use ipnetwork::Ipv4Network;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};

use std::net::{IpAddr, Ipv4Addr};

use crate::kernel::file::{self, KERNEL_LIMIT};
use crate::kernel::netlink::{Netlink, Refusal, read_address};

/// More addresses of one interface are not looked at: a container can have as many as it likes.
const MOST: usize = 64;

/// The addresses of an interface of another network namespace, by its index there and the number that this namespace has for
/// that one.
pub(super) fn addresses(netlink: &Netlink, index: u32, namespace: i32) -> Result<Vec<Ipv4Network>, Refusal> {
    const RTM_GETADDR: u16 = 22;
    const INET: u8 = 2; // AF_INET
    const TARGET_NETNSID: u16 = 10; // IFA_TARGET_NETNSID, linux/if_addr.h
    // A struct ifaddrmsg, and one attribute.
    let mut request = vec![INET, 0, 0, 0];
    request.extend(index.to_ne_bytes());
    request.extend(8_u16.to_ne_bytes());
    request.extend(TARGET_NETNSID.to_ne_bytes());
    request.extend(namespace.to_ne_bytes());
    let answers = netlink.raw(RTM_GETADDR, NLM_F_DUMP, &request)?;
    let addresses = answers.iter().filter_map(|answer| read_address(answer));
    let here = addresses.filter(|message| message.header.index == index).filter_map(|message| address(&message));
    Ok(here.take(MOST).collect())
}

fn address(message: &AddressMessage) -> Option<Ipv4Network> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(address)) => Ipv4Network::new(*address, message.header.prefix_len).ok(),
        _ => None,
    })
}

/// The destinations of the main table in the network namespace of a process; none where they cannot be read.
pub(super) fn routes(process: u32) -> Option<Vec<Ipv4Network>> {
    let text = file::read_text(format!("/proc/{process}/net/route"), KERNEL_LIMIT).ok()?;
    Some(text.lines().skip(1).filter_map(route).collect())
}

/// The destination in a line of /proc/net/route: interface, destination, gateway, flags, three counters, mask. Numbers are
/// printed as they stand in memory (`fib_route_seq_show`, net/ipv4/fib_trie.c at v6.12). None for a route that refuses packets.
fn route(line: &str) -> Option<Ipv4Network> {
    const REJECT: u16 = 0x200; // RTF_REJECT, linux/route.h
    let words: Vec<&str> = line.split_whitespace().collect();
    let address = |at: usize| u32::from_str_radix(words.get(at)?, 16).ok().map(|n| Ipv4Addr::from(n.to_ne_bytes()));
    let flags = u16::from_str_radix(words.get(3)?, 16).ok()?;
    let network = Ipv4Network::with_netmask(address(1)?, address(7)?).ok()?;
    (flags & REJECT == 0).then_some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_and_refusals_are_none() {
        let number = |text: &str| format!("{:08X}", u32::from_ne_bytes(text.parse::<Ipv4Addr>().unwrap().octets()));
        let line = |to: &str, flags: &str, mask: &str| {
            format!("eth0\t{}\t00000000\t{flags}\t0\t0\t0\t{}\t0\t0\t0", number(to), number(mask))
        };
        let network = |text: &str| text.parse::<Ipv4Network>().ok();
        assert_eq!(route(&line("0.0.0.0", "0003", "0.0.0.0")), network("0.0.0.0/0"));
        assert_eq!(route(&line("250.0.28.0", "0001", "255.255.255.0")), network("250.0.28.0/24"));
        assert_eq!(route(&line("250.0.0.0", "0201", "255.0.0.0")), None);
        for nonsense in ["", "eth0", "eth0 x y", "eth0 0 0 1 0 0 0 FF00FF00"] {
            assert_eq!(route(nonsense), None, "{nonsense}");
        }
    }
}
