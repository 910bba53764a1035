//! Who has a port of this network namespace: sockets by /proc/net, and the processes that hold them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;

use super::process;
use crate::excerpt::excerpt;

/// Lists of sockets that a port of IPv4 may stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
}

impl Transport {
    fn files(self) -> [&'static str; 2] {
        match self {
            Self::Udp => ["/proc/net/udp", "/proc/net/udp6"],
            Self::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        }
    }
}

/// The inodes of the sockets that wait at a port, at this address or at every one.
#[must_use]
pub fn at(transport: Transport, address: Ipv4Addr, port: u16) -> BTreeSet<u64> {
    // Users decide how many sockets there are: one line at a time is in memory.
    let lines = transport.files().into_iter().filter_map(|file| File::open(file).ok());
    let lines = lines.flat_map(|file| BufReader::new(file).lines().map_while(Result::ok));
    lines.filter_map(|line| inode(&line, address, port)).collect()
}

/// The inode of a line of /proc/net/udp and the like, if its socket waits there.
fn inode(line: &str, address: Ipv4Addr, port: u16) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (found, number) = fields.next()?.split_once(':')?;
    let peer = fields.next()?;
    let is_any = found.bytes().all(|digit| digit == b'0');
    // The kernel prints the four bytes as a number of this machine (`udp4_format_sock`, net/ipv4/udp.c at v6.12).
    let is_here = u32::from_str_radix(found, 16).is_ok_and(|number| number.to_ne_bytes() == address.octets());
    let waits = peer.bytes().all(|digit| digit == b'0' || digit == b':');
    if u16::from_str_radix(number, 16) != Ok(port) || !(is_any || is_here) || !waits {
        return None;
    }
    fields.nth(6)?.parse().ok()
}

/// Those that hold one of these sockets, in words: `process 4711 'named'`; none when they cannot be told.
#[must_use]
pub fn holders(inodes: &BTreeSet<u64>) -> Option<String> {
    /// More would not fit a line.
    const MOST: usize = 3;
    let found = process::holders(inodes);
    let words = found
        .iter()
        .take(MOST)
        .map(|(pid, comm)| format!("process {pid} '{}'", excerpt(comm)));
    let words: Vec<String> = words.collect();
    let more = if found.len() > MOST { " and others" } else { "" };
    (!found.is_empty()).then(|| words.join(", ") + more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_by_where_it_waits() {
        let gateway = Ipv4Addr::new(250, 0, 28, 1);
        let local = format!("{:08X}", u32::from_ne_bytes(gateway.octets()));
        let line = |local: &str, peer: &str| {
            format!(" 2682: {local} {peer} 07 00000000:00000000 00:00000000 00000000     0        0 39694 2 0 0")
        };
        let nobody = "00000000:0000";
        assert_eq!(inode(&line(&format!("{local}:0035"), nobody), gateway, 53), Some(39694));
        assert_eq!(inode(&line("00000000:0043", nobody), gateway, 67), Some(39694));
        let any6 = "0".repeat(32);
        assert_eq!(
            inode(&line(&format!("{any6}:0043"), &format!("{any6}:0000")), gateway, 67),
            Some(39694)
        );
        assert_eq!(inode(&line("00000000:0044", nobody), gateway, 67), None, "another port");
        assert_eq!(
            inode(&line("0100007F:0035", nobody), gateway, 53),
            None,
            "another address"
        );
        assert_eq!(
            inode(&line("00000000:0043", "0100007F:0044"), gateway, 67),
            None,
            "connected"
        );
        assert_eq!(inode("  sl  local_address rem_address   st", gateway, 67), None);
    }
}
