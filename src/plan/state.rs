//! The vocabulary: what the kernel holds of a fan.
//!
//! [`State`] is used on both sides: observed and desired objects are the same complete values, so equality is the whole
//! meaning of "it is right".

mod fast;
mod filter;
mod ipv6;
mod peers;
mod setting;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::fan::mapping::{Overlay, digits};
use crate::fan::name::InterfaceName;
use crate::fan::{Fan, Mac};
use crate::plan::firewall::{Accept, ForwardChain, ForwardDirection, Ruleset};

pub use fast::FastPath;
pub use filter::{Direction, Filter, ProgramRef, Slot};
pub use ipv6::{IPV6_MIN_MTU, Ipv6};
pub(crate) use peers::{Heard, Peer, Peers};
pub(crate) use setting::{FORWARDED_GROUPS, Setting};

/// The protocol number of our routes and rules, by which they are known again (`rtm_protocol`; 250 is not taken in
/// linux/rtnetlink.h or iproute2's rt_protos).
pub(crate) const PROTOCOL: u8 = 250;

/// The metric of the unreachable route behind the overlay, so that any other route to it wins.
pub(crate) const UNREACHABLE_METRIC: u32 = 4_278_198_272;

/// The priority of our routing rule: after `local` (0), before VPN clients (5000 and up) and `main` (32766).
pub(crate) const RULE_PRIORITY: u32 = 1000;

/// To whom an object belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// All IPIP fans of the host together.
    Shared,
    /// The fan with this overlay.
    Fan(Overlay),
}

/// The identity of an object in the kernel. The order of the variants is the order in which objects come into being;
/// they go in the reverse order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Identity {
    /// The last resort comes first and goes last, so that nothing leaks in between.
    Unreachable {
        table: u32,
        overlay: Overlay,
    },
    Rule {
        overlay: Overlay,
        table: u32,
    },
    Bridge(InterfaceName),
    Tunnel(InterfaceName),
    Address {
        link: InterfaceName,
        address: Ipv4Network,
    },
    Clsact(InterfaceName),
    /// Filters come before their link is up: without one, the tunnel would accept anything.
    Filter {
        link: InterfaceName,
        direction: Direction,
        slot: Slot,
    },
    Firewall(Overlay),
    Accept {
        chain: ForwardChain,
        bridge: InterfaceName,
        way: ForwardDirection,
    },
    /// A device gets its key before it is up, and loses its peers before it goes.
    Peers(InterfaceName),
    Up(InterfaceName),
    Route {
        table: u32,
        destination: Ipv4Network,
    },
    /// Behind all that packets pass on the slow path.
    FastPath(Overlay),
    Dhcp(InterfaceName),
}

/// Identity and owner: the key of a [`State`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectKey {
    /// What it is to the kernel.
    pub(crate) identity: Identity,
    /// Whose it is.
    pub owner: Owner,
}

/// What we own, or want to.
pub(crate) type State = BTreeMap<ObjectKey, Object>;

/// One object of the kernel, as a complete value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// `unreachable OVERLAY` at the worst metric.
    Unreachable(Overlay, RoutingTable),
    /// `to OVERLAY lookup TABLE`.
    Rule(Overlay, RoutingTable),
    /// The bridge that containers attach to.
    Bridge(Bridge),
    /// The device that wraps packets.
    Tunnel(Tunnel),
    /// An address of the bridge.
    Address(Address),
    /// The queueing discipline that filters hang on.
    Clsact(Owner, InterfaceName),
    /// A generated program in its place.
    Filter(Filter),
    /// The fan's nftables table.
    Firewall(Overlay, Ruleset),
    /// A rule in somebody else's forward chain.
    Accept(Accept),
    /// Key, port and peers of a WireGuard device.
    Peers(Peers),
    /// A link that is up.
    Up(Owner, InterfaceName),
    /// A route of the fan.
    Route(Route),
    /// The programs past tunnel, routing and netfilter.
    FastPath(FastPath),
    /// The DHCP server of a bridge.
    Dhcp(Dhcp),
}

/// A routing table number; 254 is the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoutingTable(pub u32);

/// A bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// The fan, which the bridge's alias spells out; its `bridge` is the bridge's name.
    pub fan: Fan,
    /// Ethernet address.
    pub mac: Mac,
    /// In bytes.
    pub mtu: u32,
    /// `net.ipv4.conf.BRIDGE.forwarding`
    pub forwarding: bool,
    /// `net.ipv4.conf.BRIDGE.send_redirects`
    pub send_redirects: bool,
    /// None where the kernel speaks no IPv6 on it.
    pub ipv6: Option<Ipv6>,
    /// Settings of the bridge that are not as the kernel makes them.
    pub changed: BTreeSet<Setting>,
}

/// A tunnel device: in collect-metadata ("external") mode, or one of WireGuard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Whose it is, which its alias says.
    pub owner: Owner,
    /// The device's name.
    pub name: InterfaceName,
    /// In bytes.
    pub mtu: u32,
    /// `net.ipv4.conf.TUNNEL.forwarding`
    pub forwarding: bool,
    /// None where the kernel speaks no IPv6 on it.
    pub ipv6: Option<Ipv6>,
    /// What it is.
    pub kind: TunnelKind,
}

impl Tunnel {
    /// The alias of the device, which makes it ours.
    #[must_use]
    pub fn label(&self) -> String {
        match self.owner {
            Owner::Shared => SHARED_TUNNEL_LABEL.to_string(),
            Owner::Fan(overlay) => match self.kind {
                TunnelKind::Wireguard { epoch, .. } => format!("{TUNNEL_LABEL}{overlay}{EPOCH_LABEL}{epoch}"),
                TunnelKind::Ipip | TunnelKind::Vxlan { .. } => format!("{TUNNEL_LABEL}{overlay}"),
            },
        }
    }

    /// The epoch that an alias tells, beside the owner.
    #[must_use]
    pub(crate) fn epoch_of_label(label: &str) -> Option<u32> {
        digits(label.split_once(EPOCH_LABEL)?.1).filter(|epoch| *epoch > 0)
    }

    /// The owner that an alias tells; none when it is not one of ours.
    #[must_use]
    pub fn owner_of_label(label: &str) -> Option<Owner> {
        if label == SHARED_TUNNEL_LABEL {
            return Some(Owner::Shared);
        }
        let rest = label.strip_prefix(TUNNEL_LABEL)?;
        rest.split_once(EPOCH_LABEL).map_or(rest, |(overlay, _)| overlay).parse().ok().map(Owner::Fan)
    }
}

const TUNNEL_LABEL: &str = "fan tunnel ";
const EPOCH_LABEL: &str = " epoch ";
const SHARED_TUNNEL_LABEL: &str = "fan tunnel of all ipip fans";

/// Network identifiers of VXLAN, as ranges from first to last.
pub(crate) type Vnis = BTreeSet<(u32, u32)>;

/// The ranges of identifiers that are in these and not in the others.
#[must_use]
pub(crate) fn vnis_but(these: &Vnis, others: &Vnis) -> Vnis {
    let mut rest = these.clone();
    for &(first, last) in others {
        let parts = |(from, to): (u32, u32)| {
            let before = (from, to.min(first.wrapping_sub(1)));
            let behind = (from.max(last + 1), to);
            [(first > from).then_some(before), (last < to).then_some(behind)].into_iter().flatten()
        };
        rest = rest.into_iter().flat_map(parts).collect();
    }
    rest
}

/// The kinds of tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelKind {
    /// `ipip external`, one for all fans.
    Ipip,
    /// `vxlan external vnifilter`, one for each fan and a port of its bridge.
    Vxlan {
        /// UDP port.
        port: u16,
        /// The first and the last UDP port that packets are sent from; both 0 for the kernel's choice among those that any process
        /// may have.
        sources: (u16, u16),
        /// The network identifiers (24 bits) it receives, as ranges from first to last: of a fan's own, that one alone.
        vnis: Vnis,
        /// Ethernet address.
        mac: Mac,
        /// The bridge it is a port of; none when it was taken out.
        bridge: Option<InterfaceName>,
        /// Settings of the port that are not as the kernel makes them.
        changed: BTreeSet<Setting>,
    },
    /// `wireguard`, one for each secret of a fan.
    Wireguard {
        /// Which secret its keys are computed from, from 1.
        epoch: u32,
        /// `net.ipv4.conf.TUNNEL.rp_filter`: 0 none, 1 strict, 2 loose. While secrets change, packets come by one device and
        /// answers go by another, which a strict filter takes for spoofing (RFC 3704). The larger of this and `all` counts.
        rp_filter: u8,
        /// The gateway's address, on this device too: of one without an address the kernel takes a loose filter for a strict one
        /// (`__fib_validate_source`, net/ipv4/fib_frontend.c at v6.12).
        address: Option<Ipv4Addr>,
    },
}

impl TunnelKind {
    /// The reverse path filter of a device of WireGuard.
    pub(crate) fn rp_filter(&self) -> Option<u8> {
        if let Self::Wireguard { rp_filter, .. } = self { Some(*rp_filter) } else { None }
    }

    /// The address of a device of WireGuard, where it has one.
    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        if let Self::Wireguard { address, .. } = self { *address } else { None }
    }
}

/// An address of a bridge inside the overlay, without a route of the kernel's own making (`noprefixroute`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The fan.
    pub(crate) overlay: Overlay,
    /// The bridge.
    pub link: InterfaceName,
    /// Address and on-link prefix length.
    pub address: Ipv4Network,
}

/// A route to the slice or to the overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The fan.
    pub(crate) overlay: Overlay,
    /// Where it stands.
    pub(crate) table: RoutingTable,
    /// Slice or overlay.
    pub(crate) destination: Ipv4Network,
    /// Bridge or tunnel.
    pub device: InterfaceName,
    /// The bridge's address, so that the host itself speaks from inside its slice.
    pub(crate) source: Ipv4Addr,
    /// In bytes, on routes into the shared tunnel, whose own MTU is that of its largest fan.
    pub(crate) mtu: Option<u32>,
}

/// A DHCP server: dnsmasq with arguments that are its whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dhcp {
    /// The fan.
    pub(crate) overlay: Overlay,
    /// The bridge it serves.
    pub(crate) bridge: InterfaceName,
    /// Its arguments, the program's name not included, as [computed](crate::plan::desired::dhcp) for its fan. None for a server that
    /// runs with others, or does not serve: it is only ever stopped. What was observed never stands here.
    pub(crate) arguments: Option<Vec<String>>,
}

impl Object {
    /// The object's key.
    #[must_use]
    pub(crate) fn key(&self) -> ObjectKey {
        let identity = match self {
            Self::Unreachable(overlay, RoutingTable(table)) => {
                Identity::Unreachable { table: *table, overlay: *overlay }
            }
            Self::Rule(overlay, RoutingTable(table)) => Identity::Rule { overlay: *overlay, table: *table },
            Self::Bridge(bridge) => Identity::Bridge(bridge.fan.bridge.clone()),
            Self::Tunnel(tunnel) => Identity::Tunnel(tunnel.name.clone()),
            Self::Address(a) => Identity::Address { link: a.link.clone(), address: a.address },
            Self::Clsact(_, link) => Identity::Clsact(link.clone()),
            Self::Filter(f) => Identity::Filter { link: f.link.clone(), direction: f.direction, slot: f.slot },
            Self::Firewall(overlay, _) => Identity::Firewall(*overlay),
            Self::Accept(a) => Identity::Accept { chain: a.chain, bridge: a.bridge.clone(), way: a.way },
            Self::Peers(peers) => Identity::Peers(peers.link.clone()),
            Self::Up(_, link) => Identity::Up(link.clone()),
            Self::Route(r) => Identity::Route { table: r.table.0, destination: r.destination },
            Self::FastPath(path) => Identity::FastPath(path.overlay),
            Self::Dhcp(dhcp) => Identity::Dhcp(dhcp.bridge.clone()),
        };
        ObjectKey { identity, owner: self.owner() }
    }

    /// Whose the object is.
    #[must_use]
    pub(crate) fn owner(&self) -> Owner {
        match self {
            Self::Clsact(owner, _) | Self::Up(owner, _) => *owner,
            Self::Tunnel(tunnel) => tunnel.owner,
            Self::Filter(filter) => filter.owner,
            Self::Bridge(bridge) => Owner::Fan(bridge.fan.overlay()),
            Self::Unreachable(overlay, _)
            | Self::Rule(overlay, _)
            | Self::Firewall(overlay, _)
            | Self::Address(Address { overlay, .. })
            | Self::Accept(Accept { overlay, .. })
            | Self::Peers(Peers { overlay, .. })
            | Self::Route(Route { overlay, .. })
            | Self::FastPath(FastPath { overlay, .. })
            | Self::Dhcp(Dhcp { overlay, .. }) => Owner::Fan(*overlay),
        }
    }

    /// Whether this object cannot be without the one of that identity: what goes when the other goes.
    #[must_use]
    pub(crate) fn depends_on(&self, other: &Identity) -> bool {
        let on_link = |name: &InterfaceName| matches!(other, Identity::Bridge(n) | Identity::Tunnel(n) if n == name);
        match self {
            Self::Unreachable(..)
            | Self::Rule(..)
            | Self::Bridge(_)
            | Self::Accept(_)
            | Self::Tunnel(Tunnel { kind: TunnelKind::Ipip | TunnelKind::Wireguard { .. }, .. }) => false,
            Self::Tunnel(Tunnel { kind: TunnelKind::Vxlan { bridge, .. }, .. }) => bridge.as_ref().is_some_and(on_link),
            // A device that goes takes itself out of the flowtable and its index with it; one that comes has another.
            Self::Firewall(_, ruleset) => ruleset.links().any(|link| on_link(&link)),
            Self::Address(Address { link, .. })
            | Self::Clsact(_, link)
            | Self::Peers(Peers { link, .. })
            | Self::Up(_, link) => on_link(link),
            Self::Filter(Filter { link, .. }) => *other == Identity::Clsact(link.clone()),
            Self::FastPath(FastPath { bridge, .. }) => on_link(bridge),
            Self::Dhcp(Dhcp { bridge, .. }) => *other == Identity::Up(bridge.clone()),
            // The kernel takes a route away with the address that it names as its source, whatever device that is on.
            Self::Route(Route { device, source, .. }) => match other {
                Identity::Up(link) => link == device,
                Identity::Address { address, .. } => address.ip() == *source,
                _ => false,
            },
        }
    }

    /// Whether the kernel can turn this object into `other`, of the same key, without a moment in which there is none.
    #[must_use]
    pub(crate) fn can_become(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bridge(now), Self::Bridge(then)) => now.mac == then.mac,
            (Self::Tunnel(now), Self::Tunnel(then)) => match (&now.kind, &then.kind) {
                (TunnelKind::Ipip, TunnelKind::Ipip) | (TunnelKind::Wireguard { .. }, TunnelKind::Wireguard { .. }) => {
                    true
                }
                (
                    TunnelKind::Vxlan { port: a, sources: s, mac: m, .. },
                    TunnelKind::Vxlan { port: b, sources: t, mac: n, .. },
                ) => (a, s, m) == (b, t, n),
                _ => false,
            },
            (Self::Filter(_), Self::Filter(_))
            | (Self::Firewall(..), Self::Firewall(..))
            | (Self::Peers(_), Self::Peers(_))
            | (Self::FastPath(_), Self::FastPath(_))
            | (Self::Route(_), Self::Route(_)) => true,
            _ => false,
        }
    }
}

/// The bridges of a state, one for each fan.
pub(crate) fn bridges(state: &State) -> impl Iterator<Item = &Bridge> {
    state.values().filter_map(|object| match object {
        Object::Bridge(bridge) => Some(bridge),
        _ => None,
    })
}

/// The fans of a state, by their bridges.
pub(crate) fn fans(state: &State) -> impl Iterator<Item = &Fan> {
    bridges(state).map(|bridge| &bridge.fan)
}
