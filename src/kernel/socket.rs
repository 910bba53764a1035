//! Which processes hold a port, or a socket.
//!
//! The kernel lists the sockets of the calling thread's network namespace in /proc/thread-self/net/udp, udp6 and so on (proc(5)).
//! The processes that have one open are found by their descriptors in /proc/PID/fdinfo. Those of other users take
//! `CAP_SYS_PTRACE` (`proc_fdinfo_permission`, fs/proc/fd.c at v6.12), while /proc/PID/fd takes `CAP_DAC_READ_SEARCH` too,
//! which this program gives up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::sockopt::Ipv6V6Only;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt};

use crate::fan::text;

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    /// Its number in the process table.
    pub(crate) pid: u32,
    /// The name of its program (`comm` in proc(5), at most 15 bytes), which the process itself chooses: escaped.
    pub(crate) program: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ('{}')", self.pid, self.program)
    }
}

/// The process that holds a UDP port of this network namespace; the one with the lowest number where there are several. None
/// where no process is known to: the port is free, or the kernel's own, or the process cannot be seen.
#[must_use]
pub(crate) fn holder_of_udp(port: u16) -> Option<Holder> {
    holders_of_udp(port).ok()?.into_iter().next()
}

/// The processes that hold a UDP port of this network namespace at any address, by rising number.
///
/// # Errors
/// When the lists cannot be read.
pub(crate) fn holders_of_udp(port: u16) -> io::Result<Vec<Holder>> {
    Sockets::on(Transport::Udp, port, None)?.holders()
}

/// Whether the kernel could open a UDP port of this network namespace at all addresses, as a VXLAN device does when it goes up
/// (`vxlan_sock_add`, drivers/net/vxlan/vxlan_core.c at v6.12: a socket of each family, which share the port with none). What
/// cannot be tried is taken to be free.
#[must_use]
pub(crate) fn is_udp_port_free(port: u16) -> bool {
    let any4: SockaddrIn = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into();
    let any6: SockaddrIn6 = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0).into();
    let open =
        |family| nix::sys::socket::socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None::<SockProtocol>);
    let is_taken = |bound: nix::Result<()>| bound == Err(Errno::EADDRINUSE);
    let taken4 = open(AddressFamily::Inet).and_then(|socket| bind(socket.as_raw_fd(), &any4));
    let taken6 = open(AddressFamily::Inet6).and_then(|socket| {
        setsockopt(&socket, Ipv6V6Only, &true)?;
        bind(socket.as_raw_fd(), &any6)
    });
    !is_taken(taken4) && !is_taken(taken6)
}

/// The transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// The process that has each of these sockets open, by the sockets' inodes; the one with the lowest number where there are
/// several. A socket of the kernel's own, or of a process that cannot be seen, has none.
#[must_use]
pub(crate) fn holders_of(inodes: BTreeSet<u64>) -> BTreeMap<u64, Holder> {
    let mut holders: BTreeMap<u64, Holder> = BTreeMap::new();
    let (Ok(mount), Ok(processes)) = (socket_mount(), fs::read_dir("/proc")) else {
        return holders;
    };
    let sockets = Sockets { mount, inodes };
    let numbers = processes.filter_map(Result::ok).filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for pid in numbers {
        for inode in held(pid, &sockets) {
            let directory = Path::new("/proc").join(u32::to_string(&pid));
            let found = Holder { pid, program: program(&directory.join("comm")) };
            let holder = holders.entry(inode).or_insert_with(|| found.clone());
            if found < *holder {
                *holder = found;
            }
        }
    }
    holders
}

/// The sockets among these that a process has open. A process that ends meanwhile has none.
fn held(pid: u32, sockets: &Sockets) -> Vec<u64> {
    let descriptors = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fdinfo"));
    let open = descriptors.into_iter().flatten().filter_map(Result::ok);
    open.filter_map(|entry| descriptor(&beginning(&entry.path())))
        .filter(|(mount, inode)| *mount == sockets.mount && sockets.inodes.contains(inode))
        .map(|(_, inode)| inode)
        .collect()
}

/// Sockets: the mount that they are on, and their inodes there.
pub(crate) struct Sockets {
    mount: u64,
    inodes: BTreeSet<u64>,
}

impl Sockets {
    /// The sockets of this network namespace that wait at a port. With an address, only those at it or at all addresses.
    ///
    /// # Errors
    /// When the lists cannot be read.
    pub(crate) fn on(transport: Transport, port: u16, address: Option<Ipv4Addr>) -> io::Result<Self> {
        let [list, list6] = match transport {
            Transport::Udp => ["udp", "udp6"],
            Transport::Tcp => ["tcp", "tcp6"],
        };
        let mut inodes = inodes_of(list, port, address)?;
        // A kernel without IPv6 has no such file.
        inodes.extend(inodes_of(list6, port, address).unwrap_or_default());
        let mount = socket_mount()?;
        Ok(Self { mount, inodes })
    }

    /// Whether there are none.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.inodes.is_empty()
    }

    /// The processes that hold one of them, by rising number.
    ///
    /// # Errors
    /// When the process table cannot be read.
    pub(crate) fn holders(&self) -> io::Result<Vec<Holder>> {
        if self.inodes.is_empty() {
            return Ok(Vec::new());
        }
        let processes = fs::read_dir("/proc")?.filter_map(Result::ok);
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let holders = numbers
            .filter(|pid| self.are_held_by(*pid))
            .map(|pid| Holder { pid, program: program(&directory(pid).join("comm")) });
        let mut holders: Vec<Holder> = holders.collect();
        holders.sort();
        Ok(holders)
    }

    /// Whether a process has one of them open. A process that ends meanwhile has none.
    #[must_use]
    pub(crate) fn are_held_by(&self, pid: u32) -> bool {
        let Ok(descriptors) = fs::read_dir(directory(pid).join("fdinfo")) else {
            return false;
        };
        descriptors.filter_map(Result::ok).any(|entry| {
            descriptor(&beginning(&entry.path()))
                .is_some_and(|(mount, inode)| mount == self.mount && self.inodes.contains(&inode))
        })
    }
}

fn directory(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// The inodes of the sockets that wait at a port in a list of the kernel's.
fn inodes_of(list: &str, port: u16, address: Option<Ipv4Addr>) -> io::Result<BTreeSet<u64>> {
    // Users can open many sockets, so only one line at a time is in memory.
    let lines = BufReader::new(File::open(Path::new("/proc/thread-self/net").join(list))?).lines();
    let found = lines.map_while(Result::ok).filter_map(|line| socket(&line));
    let is_meant = |found: &Socket| {
        let is_there = address.is_none_or(|address| found.address.is_none_or(|own| own == address));
        found.port == port && is_there
    };
    Ok(found.filter(is_meant).map(|found| found.inode).collect())
}

/// A socket that waits for packets of any sender.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    /// None for all addresses.
    address: Option<Ipv4Addr>,
    port: u16,
    inode: u64,
}

/// The socket in a line: `NUMBER: ADDRESS:PORT ADDRESS:PORT STATE QUEUES TIMER RETRANSMITS UID TIMEOUT INODE`
/// (`udp4_format_sock`, net/ipv4/udp.c at v6.12). None where it has a peer, or an address of IPv6.
fn socket(line: &str) -> Option<Socket> {
    let mut words = line.split_ascii_whitespace();
    let (address, port) = words.nth(1)?.rsplit_once(':')?;
    let is_zero = |text: &str| text.bytes().all(|digit| matches!(digit, b'0' | b':'));
    let peer = words.next()?;
    let address = match address {
        all if is_zero(all) => None,
        // The four bytes are printed as a number in the byte order of this machine.
        one => Some(u32::from_str_radix(one, 16).ok()?.to_ne_bytes().into()),
    };
    is_zero(peer).then_some(Socket {
        address,
        port: u16::from_str_radix(port, 16).ok()?,
        inode: words.nth(6)?.parse().ok()?,
    })
}

/// The mount and the inode of what a descriptor is open on, from its file in fdinfo (`seq_show`, fs/proc/fd.c at v5.14).
fn descriptor(info: &[u8]) -> Option<(u64, u64)> {
    let info = String::from_utf8_lossy(info);
    let number = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some((number("mnt_id:")?, number("ino:")?))
}

/// The mount that all sockets are on, read from a socket of this process.
fn socket_mount() -> io::Result<u64> {
    let socket = UnixDatagram::unbound()?;
    let info = beginning(Path::new(&format!("/proc/thread-self/fdinfo/{}", socket.as_raw_fd())));
    let (mount, _) = descriptor(&info).ok_or(io::ErrorKind::Unsupported)?;
    Ok(mount)
}

fn program(comm: &Path) -> String {
    let bytes = beginning(comm);
    text::escape(bytes.strip_suffix(b"\n").unwrap_or(&bytes))
}

/// The beginning of a file, as far as it could be read.
fn beginning(file: &Path) -> Vec<u8> {
    const MOST: u64 = 256;
    let mut bytes = Vec::new();
    let _ = File::open(file).and_then(|file| file.take(MOST).read_to_end(&mut bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn lines_of_the_kernels_lists_are_read() {
        let v4 = "  402: 1C001EAC:2118 00000000:0000 07 00000000:00000000 00:00000000 00000000 65534        0 81234 2 0000000000000000 0";
        let v6 = " 9110: 00000000000000000000000000000000:0043 00000000000000000000000000000000:0000 07 00000000:00000000 \
                  00:00000000 00000000     0        0 5 2 0000000000000000 0";
        let heading =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref";
        let found = |address, port, inode| Some(Socket { address, port, inode });
        let host = u32::from_str_radix("1C001EAC", 16).expect("a number").to_ne_bytes();
        assert_eq!(socket(v4), found(Some(host.into()), 8472, 81234));
        assert_eq!(socket(v6), found(None, 67, 5));
        assert_eq!(socket(&v4.replace("00000000:0000", "0100007F:0035")), None, "it has a peer");
        assert_eq!(socket(heading), None);
        assert_eq!(socket(""), None);
    }

    #[test]
    fn the_process_that_holds_a_port_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine may have no IPv6.
            let Ok(socket) = UdpSocket::bind(address) else { continue };
            let port = socket.local_addr().unwrap().port();
            let own = std::process::id();
            assert!(holders_of_udp(port).unwrap().iter().any(|holder| holder.pid == own), "{address}");
            assert!(holder_of_udp(port).is_some());
            assert!(!is_udp_port_free(port), "{address}");
            drop(socket);
            assert!(is_udp_port_free(port), "{address}");
        }
    }

    #[test]
    fn what_a_descriptor_is_open_on_is_read() {
        let info = b"pos:\t0\nflags:\t02000002\nmnt_id:\t9\nino:\t81234\nmore:\tino:\t7\n";
        assert_eq!(descriptor(info), Some((9, 81234)));
        assert_eq!(descriptor(b"pos:\t0\nflags:\t02\nmnt_id:\t9\n"), None);
    }

    #[test]
    fn a_name_is_escaped() {
        let file = std::env::temp_dir().join(format!("fanctl-comm-{}", std::process::id()));
        fs::write(&file, b"a\x1b[2J\n'\xff\n").unwrap();
        let name = program(&file);
        fs::remove_file(&file).unwrap();
        assert_eq!(name, r"a\x1b[2J\x0a'\xff");
    }
}
