//! What the kernel knows of ways: routes, what it decides about a packet, and neighbours.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use super::Host;
use crate::fan::name::InterfaceName;
use crate::fan::options::MAIN_TABLE;
use crate::fan::{Fan, Mac};

/// A route that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignRoute {
    /// The routing table.
    pub(crate) table: u32,
    /// The destination; 0.0.0.0/0 for a default route.
    pub(crate) destination: Ipv4Network,
    /// The interface it leads to; none for `unreachable`, `blackhole` and the like.
    pub(crate) device: Option<InterfaceName>,
    /// Whether it leads on to the next rule (`throw`).
    pub(crate) is_throw: bool,
    /// The gateway, if it has one.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// Lower wins.
    pub(crate) metric: u32,
    /// The largest packet in bytes that it takes, where that is written on it.
    pub(crate) mtu: Option<u32>,
}

/// A packet whose way is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Where it comes from.
    pub(crate) source: Ipv4Addr,
    /// Where it goes.
    pub(crate) destination: Ipv4Addr,
    /// The interface it has come in by, where it is not this host's own.
    pub(crate) forwarded_from: Option<InterfaceName>,
    /// The interface that it must leave by, where its socket is bound to one.
    pub(crate) bound_to: Option<InterfaceName>,
}

/// What the kernel's routing decides about a [`Flow`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Routing {
    /// Delivered on this host.
    pub(crate) local: bool,
    /// The interface it leaves by.
    pub device: InterfaceName,
    /// The router it is handed to; none when the destination is on link.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// The table that had the route.
    pub(crate) table: u32,
    /// The route's destination.
    pub(crate) route: Ipv4Network,
    /// Who made the route (`rtm_protocol`, rtnetlink(7)).
    pub(crate) protocol: u8,
    /// The largest packet in bytes that the route takes, where it knows: written on it, or learned from a router.
    pub(crate) mtu: Option<u32>,
}

impl Routing {
    /// Whether an encapsulated packet to another host is misrouted: to this host, into the fan, or by a foreign rule to the default
    /// route of that rule's table. A route of another interface for a part of the underlay may be a second way to it, and so may
    /// an interface in the other host's network.
    #[must_use]
    pub(crate) fn is_astray(&self, fan: &Fan, to: Ipv4Addr, host: &Host) -> bool {
        let is_by_rule = self.table != MAIN_TABLE && self.route.prefix() < fan.mapping.underlay().network().prefix();
        let is_there = || host.link(&self.device).is_some_and(|link| link.is_beside(to));
        self.local
            || self.device == fan.bridge
            || fan.tunnels().any(|tunnel| self.device == tunnel)
            || (self.device != fan.device && is_by_rule && !is_there())
    }
}

/// Why the kernel routes a packet nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoRoute {
    /// errno(3): `ENETUNREACH` without a route, `EHOSTUNREACH` at an unreachable one, `EINVAL` for a source that is not ours,
    /// `EXDEV` for one that came in by the wrong interface.
    pub(crate) errno: i32,
    /// The kernel's words.
    pub(crate) words: String,
}

/// An entry of a neighbour table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NeighbourEntry {
    /// The interface.
    pub device: InterfaceName,
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Whether it was confirmed lately: an old entry may be about an address that the neighbour had once.
    pub(crate) confirmed: bool,
}

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reachability {
    /// Its Ethernet address.
    Known(Mac),
    /// It is asked for, or was, and has not answered.
    Silent,
}
