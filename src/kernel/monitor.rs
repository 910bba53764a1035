//! Waiting for changes: notifications of the kernel, signals, and the end of DHCP servers.
//!
//! The content of a notification is not read, because the next look sees the whole state; so nothing is lost either
//! when a notification did not fit into the socket's buffer (`ENOBUFS`).

mod concern;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use ipnetwork::Ipv4Network;
use netlink_sys::Socket;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::errno::Errno;
use nix::libc::{ENOBUFS, MSG_DONTWAIT};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use socket2::SockRef;

use super::dnsmasq;

/// Groups of route netlink (linux/rtnetlink.h): links, qdiscs and filters, addresses, routes, rules, settings of devices
/// (`RTNLGRP_IPV4_NETCONF`), and the VXLAN devices' filters of network identifiers (`RTNLGRP_TUNNEL`).
const ROUTE_GROUPS: [u32; 7] = [1, 4, 5, 7, 8, 24, 35];

/// The group of changes to nftables (`NFNLGRP_NFTABLES`, linux/netfilter/nfnetlink.h).
const NFTABLES_GROUPS: [u32; 1] = [7];

/// What ends waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Something changed.
    Change,
    /// A signal came.
    Signal(Signal),
    /// Nothing, for as long as was asked for.
    Nothing,
}

/// The sockets and processes to wait for in the network namespace of the thread that made it.
pub(crate) struct Monitor {
    sockets: [Socket; 2],
    signals: SignalFd,
    /// The DHCP servers of fans.
    servers: Vec<OwnedFd>,
    /// The networks whose routes are heard of; none for all.
    networks: Option<BTreeSet<Ipv4Network>>,
}

impl Monitor {
    /// Begins to listen. From now on these signals are received here, and do nothing else in this thread.
    ///
    /// # Errors
    /// When the kernel refuses: notifications of nftables take root.
    pub(crate) fn open(signals: &[Signal]) -> io::Result<Self> {
        let signals: SigSet = signals.iter().copied().collect();
        signals.thread_block()?;
        Ok(Self {
            sockets: [listen(NETLINK_ROUTE, &ROUTE_GROUPS)?, listen(NETLINK_NETFILTER, &NFTABLES_GROUPS)?],
            signals: SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?,
            servers: Vec::new(),
            networks: None,
        })
    }

    /// From now on hears of routes only if they share an address with these networks, and of default routes. Returns
    /// whether one of the networks is new: then what happened to its routes since the last look may not have been heard.
    ///
    /// # Errors
    /// When the kernel does not take the filter.
    pub(crate) fn narrow(&mut self, networks: BTreeSet<Ipv4Network>) -> io::Result<bool> {
        if self.networks.as_ref() == Some(&networks) {
            return Ok(false);
        }
        let [routes, _] = &self.sockets;
        SockRef::from(routes).attach_filter(&concern::filter(&networks))?;
        let Some(before) = self.networks.replace(networks) else { return Ok(false) };
        Ok(self.networks.iter().flatten().any(|network| !before.contains(network)))
    }

    /// Waits until something is heard, at most this long.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub(crate) fn wait(&mut self, at_most: Option<Duration>) -> io::Result<Heard> {
        // Rounded up to a millisecond: a wait that ends too early is followed by another.
        let limit = at_most.map(|limit| limit + Duration::from_micros(999));
        let limit = limit.map_or(PollTimeout::NONE, |limit| limit.try_into().unwrap_or(PollTimeout::MAX));
        let sockets = self.sockets.iter().map(AsFd::as_fd);
        let servers = self.servers.iter().map(AsFd::as_fd);
        let all = std::iter::once(self.signals.as_fd()).chain(sockets).chain(servers);
        let mut all: Vec<PollFd> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut all, limit) {
            // This process was stopped (SIGSTOP) and continued.
            Err(Errno::EINTR) => return Ok(Heard::Nothing),
            ended => ended?,
        };
        let heard: Vec<bool> = all.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        if let Some(signal) = self.signals.read_signal()? {
            let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
            return Ok(Heard::Signal(Signal::try_from(number)?));
        }
        if !heard.contains(&true) {
            return Ok(Heard::Nothing);
        }
        // The descriptor of a process that has ended stays readable for ever.
        let mut ended = heard[1 + self.sockets.len()..].iter();
        self.servers.retain(|_| ended.next() == Some(&false));
        self.forget();
        Ok(Heard::Change)
    }

    /// Discards the notifications so far, and follows the DHCP servers that there are now: to be called just before a look
    /// at the whole state.
    ///
    /// # Errors
    /// When the servers cannot be looked for.
    pub(crate) fn catch_up(&mut self) -> io::Result<()> {
        self.forget();
        let servers = dnsmasq::observe()?.into_iter();
        self.servers = servers.map(|server| server.process.into_handle()).collect();
        Ok(())
    }

    fn forget(&self) {
        for socket in &self.sockets {
            // An error is ENOBUFS, which is a notification like any other, or says that there are no more.
            let mut sink = [0_u8; 1];
            loop {
                match socket.recv(&mut &mut sink[..], MSG_DONTWAIT) {
                    Err(error) if error.raw_os_error() != Some(ENOBUFS) => break,
                    _ => {}
                }
            }
        }
    }
}

fn listen(protocol: isize, groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    groups.iter().try_for_each(|group| socket.add_membership(*group))?;
    Ok(socket)
}
