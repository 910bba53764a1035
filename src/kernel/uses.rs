//! Which addresses this host uses: the other ends of its TCP connections, its DNS and NTP servers, its gateways; and how packets
//! to them are routed.
//!
//! The sockets are those of this network namespace, as the kernel lists them (sock_diag(7)). Whoever may open a socket has a
//! say in that list: it can refuse a fan, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::NLM_F_DUMP;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use nix::libc;

use super::file::{self, FILE_LIMIT};
use super::netlink::{Netlink, Refusal};
use super::{KernelError, Machine, nexthop, route, rules, socket};
use crate::fan::Fan;
use crate::fan::options::MAIN_TABLE;
use crate::plan::host::{Flow, Host};
use crate::plan::lookup::Question;
use crate::plan::losses::{Purpose, Use, is_taken};

/// `SOCK_DIAG_BY_FAMILY`, linux/sock_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// Bytes of a `struct inet_diag_req_v2`, and of a `struct inet_diag_msg` (linux/inet_diag.h).
const REQUEST_LEN: usize = 56;
const MESSAGE_LEN: usize = 72;
/// A connected socket, of UDP too (`TCP_ESTABLISHED`, net/tcp_states.h).
const ESTABLISHED: u32 = 1;
/// The port of NTP (RFC 5905).
const NTP_PORT: u16 = 123;

/// The files in which resolvers are written down, and the addresses in one for which the next counts: those at which
/// systemd-resolved serves (systemd-resolved.service(8)).
const RESOLV_CONF: &str = "/etc/resolv.conf";
const RESOLVED_CONF: &str = "/run/systemd/resolve/resolv.conf";
const RESOLVED: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 53), Ipv4Addr::new(127, 0, 0, 54)];

/// A connected socket.
#[derive(Debug, PartialEq, Eq)]
struct Connected {
    source: Ipv4Addr,
    address: Ipv4Addr,
    port: u16,
    inode: u64,
    /// The index of the interface that it is bound to.
    bound: Option<u32>,
}

/// An address in use, and the socket that uses it.
struct Found {
    one: Use,
    inode: Option<u64>,
    bound: Option<u32>,
}

impl Machine {
    /// The addresses in use whose packets would go into a fan that comes up; and what could not be looked at.
    ///
    /// # Errors
    /// What the kernel said when it was asked for a way.
    pub(crate) fn taken_by(&self, fan: &Fan, host: &Host) -> Result<(Vec<Use>, Vec<String>), KernelError> {
        let (mut found, mut unseen) = (Vec::new(), Vec::new());
        for (protocol, name) in [(libc::IPPROTO_TCP, "TCP"), (libc::IPPROTO_UDP, "UDP")] {
            match connected(protocol) {
                Ok(sockets) => found.extend(sockets.iter().filter_map(|socket| purpose(protocol, socket))),
                Err(refusal) => unseen.push(format!("{name} sockets of this host cannot be listed: {refusal}")),
            }
        }
        let plain = |purpose, address| Use { purpose, address, source: None, process: None };
        let resolvers = resolvers().into_iter().map(|address| plain(Purpose::Resolver, address));
        let gateways = self.gateways()?.into_iter().map(|address| plain(Purpose::Gateway, address));
        found.extend(resolvers.chain(gateways).map(|one| Found { one, inode: None, bound: None }));
        found.retain(|found| found.one.concerns(fan));
        if found.is_empty() {
            return Ok((Vec::new(), unseen));
        }
        let names = self.names()?;
        let mut rules = None;
        let mut taken = Vec::new();
        for Found { one, inode, bound } in found {
            let bound_to = bound.and_then(|index| names.get(&index).cloned());
            let flow = Flow {
                source: one.source.unwrap_or(Ipv4Addr::UNSPECIFIED),
                destination: one.address,
                forwarded_from: None,
                bound_to,
            };
            // What has no way now loses none.
            let Ok(now) = self.route_among(&names, &flow)? else {
                continue;
            };
            if rules.is_none() && (now.table != MAIN_TABLE || fan.options.table.is_some()) {
                rules = Some(rules::rules(&self.netlink)?);
            }
            let question = Question { to: one.address, from: one.source, incoming: None };
            if is_taken(fan, &question, &now, host, rules.as_deref().unwrap_or_default()) {
                taken.push((one, inode));
            }
        }
        Ok((with_processes(taken), unseen))
    }

    /// The gateways of all IPv4 routes, whichever way of several they are.
    fn gateways(&self) -> Result<BTreeSet<Ipv4Addr>, Refusal> {
        let messages = self.netlink.dump_routes(None)?;
        let hops = nexthop::list(&self.netlink).unwrap_or_default();
        Ok(messages.iter().flat_map(|message| route::gateways(message, &hops)).collect())
    }
}

/// The same, with the processes that have the sockets open.
fn with_processes(taken: Vec<(Use, Option<u64>)>) -> Vec<Use> {
    let inodes = taken.iter().filter_map(|(_, inode)| *inode).collect();
    let holders: BTreeMap<_, _> = socket::holders_of(inodes);
    let named = |(one, inode): (Use, Option<u64>)| Use {
        process: inode.and_then(|inode| holders.get(&inode)).map(ToString::to_string),
        ..one
    };
    taken.into_iter().map(named).collect()
}

/// What a connected socket is for, with its inode; none where that says nothing of this host's needs.
fn purpose(protocol: i32, socket: &Connected) -> Option<Found> {
    let purpose = match protocol {
        libc::IPPROTO_TCP => Purpose::Connection(socket.port),
        _ if socket.port == NTP_PORT => Purpose::TimeServer,
        _ => return None,
    };
    let one = Use { purpose, address: socket.address, source: Some(socket.source), process: None };
    Some(Found { one, inode: Some(socket.inode), bound: socket.bound })
}

/// The connected sockets of a protocol, with those of IPv6 that speak IPv4.
fn connected(protocol: i32) -> Result<Vec<Connected>, Refusal> {
    let netlink = Netlink::connect_to(NETLINK_SOCK_DIAG)?;
    let mut sockets = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut request = vec![0; REQUEST_LEN];
        request[0] = u8::try_from(family).expect("a small number");
        request[1] = u8::try_from(protocol).expect("a small number");
        request[4..8].copy_from_slice(&(1_u32 << ESTABLISHED).to_ne_bytes());
        let answers = netlink.raw(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &request)?;
        sockets.extend(answers.iter().filter_map(|answer| decode(answer)));
    }
    Ok(sockets)
}

/// A connected socket in a `struct inet_diag_msg`. None where it speaks IPv6. One that is bound to an interface finds no route to
/// another, but it finds that the overlay is unreachable (`fib_table_lookup`, net/ipv4/fib_trie.c at v6.12, asks for the interface
/// last), and then looks for its peer on the link.
fn decode(message: &[u8]) -> Option<Connected> {
    let message: &[u8; MESSAGE_LEN] = message.first_chunk()?;
    let address = |at: usize| -> Option<Ipv4Addr> {
        let bytes: [u8; 16] = message[at..at + 16].try_into().ok()?;
        match i32::from(message[0]) {
            libc::AF_INET => Some(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
            libc::AF_INET6 => Ipv6Addr::from(bytes).to_ipv4_mapped(),
            _ => None,
        }
    };
    let number = |at: usize| u32::from_ne_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]]);
    Some(Connected {
        port: u16::from_be_bytes([message[6], message[7]]),
        source: address(8)?,
        address: address(24)?,
        inode: number(68).into(),
        bound: Some(number(40)).filter(|index| *index != 0),
    })
}

/// The DNS servers that this host asks.
fn resolvers() -> Vec<Ipv4Addr> {
    let mut found = servers(&text(RESOLV_CONF));
    if found.iter().any(|address| RESOLVED.contains(address)) {
        found.extend(servers(&text(RESOLVED_CONF)));
    }
    found
}

/// The servers in a file as resolv.conf(5) has it.
fn servers(text: &str) -> Vec<Ipv4Addr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = (words.next() == Some("nameserver")).then(|| words.next()).flatten()?;
        match address.parse().ok()? {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(address) => address.to_ipv4_mapped(),
        }
    };
    text.lines().filter_map(server).collect()
}

/// A file's text; nothing where there is none that can be read.
fn text(file: &str) -> String {
    let bytes = file::read(file, FILE_LIMIT).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_sockets_of_this_namespace_are_listed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = connected(libc::IPPROTO_TCP).unwrap();
        let ours = found.iter().find(|socket| socket.port == port).expect("the client's end");
        assert_eq!([ours.source, ours.address], [Ipv4Addr::LOCALHOST; 2]);
        let holder = &socket::holders_of([ours.inode].into())[&ours.inode];
        assert!(holder.to_string().contains(&std::process::id().to_string()), "{holder}");
        drop(stream);
    }

    #[test]
    fn what_the_kernel_says_of_a_socket_is_read() {
        let mut message = [0; MESSAGE_LEN];
        message[0] = u8::try_from(libc::AF_INET6).unwrap();
        message[6..8].copy_from_slice(&22_u16.to_be_bytes());
        for (at, last) in [(8, 99), (24, 9)] {
            message[at + 10..at + 16].copy_from_slice(&[0xff, 0xff, 10, 9, 9, last]);
        }
        message[68..].copy_from_slice(&812_u32.to_ne_bytes());
        let expected = |bound| {
            let (source, address) = ([10, 9, 9, 99].into(), [10, 9, 9, 9].into());
            Some(Connected { source, address, port: 22, inode: 812, bound })
        };
        assert_eq!(decode(&message), expected(None));
        let mut of_ipv6 = message;
        of_ipv6[24] = 0x20;
        assert_eq!(decode(&of_ipv6), None);
        let mut bound = message;
        bound[40] = 2;
        assert_eq!(decode(&bound), expected(Some(2)));
        for len in 0..MESSAGE_LEN {
            assert_eq!(decode(&message[..len]), None);
        }
    }

    #[test]
    fn the_servers_of_resolv_conf_are_read() {
        let text = "# nameserver 10.0.0.1\nsearch example\nnameserver 10.255.255.53\n nameserver\t::ffff:10.0.0.2 \n\
                    nameserver fe80::1%eth0\nnameserver\noptions edns0\n";
        assert_eq!(servers(text), [Ipv4Addr::new(10, 255, 255, 53), Ipv4Addr::new(10, 0, 0, 2)]);
    }
}
