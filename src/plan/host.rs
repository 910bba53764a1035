//! Facts about the machine that planning needs and no plan changes: interfaces, addresses, other people's routes.

mod routing;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use ipnetwork::{Ipv4Network, Ipv6Network};

use crate::fan::encap::SourcePorts;
use crate::fan::keys::Key;
use crate::fan::keys::table::Table;
use crate::fan::mapping::{Overlay, broadcast};
use crate::fan::name::InterfaceName;
use crate::fan::options::MAIN_TABLE;
use crate::fan::{Fan, Mac};
use crate::plan::firewall::{Beside, ForwardChain};
use crate::plan::foreign::Foreign;
use crate::plan::state::{Direction, Heard, Ipv6, Peer, Setting, Slot};

pub use routing::ForeignRoute;
pub(crate) use routing::{Flow, NeighbourEntry, NoRoute, Reachability, Routing};

/// The first version whose tunnels take the outer source address from a program (`local_ipv4` in `struct bpf_tunnel_key`,
/// linux/bpf.h), and whose nftables look up the way back in forward chains (`nft_fib_validate`, net/netfilter/nft_fib.c).
pub(crate) const SOURCE_SINCE: (u32, u32) = (5, 19);

/// The kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Linux {
    /// As `uname -r` has it; empty where it was not looked at.
    pub(crate) release: String,
    /// Whether tunnels take the outer source address from a program; none where that was not tried: the version leaves no
    /// doubt, or it may not be tried.
    pub(crate) takes_source: Option<bool>,
    /// Whether it has nf_tables; none where that was not asked, which takes root.
    pub(crate) has_nf_tables: Option<bool>,
}

impl Linux {
    /// The first two numbers of the release.
    #[must_use]
    pub(crate) fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.split(|other: char| !other.is_ascii_digit()).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

/// What is in a key file, or why there is nothing: a sentence.
pub(crate) type Keys = Result<Vec<Key>, String>;

/// The machine, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Host {
    /// Its kernel.
    pub(crate) linux: Linux,
    /// Every network interface, ours included.
    pub(crate) links: Vec<Link>,
    /// IPv4 unicast routes that are not ours, in any table but the local one.
    pub(crate) routes: Vec<ForeignRoute>,
    /// `net.ipv4.ip_forward`
    pub(crate) ip_forward: bool,
    /// `net.ipv4.ip_unprivileged_port_start`, the first port that a process without capabilities can have; none when it is not
    /// known.
    pub(crate) unprivileged_ports: Option<u16>,
    /// What is in the key files of fans that are encrypted, by the name of each.
    pub(crate) keys: BTreeMap<String, Keys>,
    /// Tables of public keys, by the names of their files, or why there are none.
    pub(crate) tables: BTreeMap<String, Result<Table, String>>,
    /// What was heard of the peers of our WireGuard devices.
    pub(crate) heard: BTreeMap<InterfaceName, Vec<(Peer, Heard)>>,
    /// How the kernel speaks IPv6; none where it does not.
    pub(crate) ipv6: Option<HostIpv6>,
    /// The chains of iptables that need rules to let the fan's traffic pass.
    pub(crate) forward_chains: Vec<ForwardChain>,
    /// What there is beside our rules in the one that is Docker's.
    pub(crate) docker_user: Beside,
    /// Tables of nftables, by family, that have the name of a fan's and none of its chains.
    pub(crate) namesakes: Vec<(&'static str, Overlay)>,
    /// Whether a dnsmasq program was found.
    pub(crate) dnsmasq: bool,
    /// What others put on our devices, but for IPv6 addresses.
    pub(crate) foreign: Vec<Foreign>,
    /// Who is behind ports of bridges, where that was asked for.
    pub(crate) occupants: BTreeMap<InterfaceName, Occupant>,
    /// Of each fast path a program, by the kernel's number for it, that refers to its counters.
    pub(crate) fast_programs: Vec<(Overlay, u32)>,
    /// Whether the firewall, programs and rules could be read, which takes root.
    pub(crate) privileged: bool,
}

/// A process in the network namespace behind a port. All text is as its owner chose it, escaped.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Occupant {
    /// Its number.
    pub(crate) pid: u32,
    /// Its name: at most 15 bytes, as the kernel keeps them.
    pub(crate) program: String,
    /// The container that it runs in.
    pub(crate) container: Option<Container>,
}

/// A container, as its runtime names it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Container {
    /// `docker`, `podman`, `containerd` or `lxc`.
    pub(crate) runtime: &'static str,
    /// Its identifier.
    pub(crate) id: String,
    /// Its name, where that is known and another.
    pub(crate) name: Option<String>,
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} {}", self.pid, self.program)?;
        self.container.as_ref().map_or(Ok(()), |Container { runtime, id, name }| {
            // As long as `docker ps` shows them.
            let id = if runtime == &"lxc" { id } else { id.get(..12).unwrap_or(id) };
            write!(f, ", {runtime} {}", name.as_deref().unwrap_or(id))
        })
    }
}

/// How the kernel speaks IPv6 in this network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostIpv6 {
    /// What a new device takes part in (`net.ipv6.conf.default`).
    pub(crate) defaults: Ipv6,
    /// Whether the settings cannot be written: they are in a file system that is mounted for reading only.
    pub(crate) is_read_only: bool,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the kernel tells each by itself")]
pub struct Link {
    /// Its name.
    pub name: InterfaceName,
    /// Other names that `ip` takes for it (`IFLA_ALT_IFNAME`, linux/if_link.h).
    pub(crate) other_names: Vec<String>,
    /// Whether it is administratively up.
    pub(crate) up: bool,
    /// Whether there is somebody at the other end of its wire, if it has one (`IFF_LOWER_UP`, netdevice(7)); never while down.
    pub(crate) carrier: bool,
    /// In bytes.
    pub mtu: u32,
    /// Whether its alias says that it is ours.
    pub ours: bool,
    /// The bridge or bond it is a port of.
    pub(crate) master: Option<InterfaceName>,
    /// How the bridge treats it, if it is a port of one.
    pub(crate) port: PortFacts,
    /// The interface of this host that it stands on, as a VLAN does (`IFLA_LINK`, linux/if_link.h).
    pub(crate) lower: Option<InterfaceName>,
    /// Whether it carries Ethernet frames (`ARPHRD_ETHER`, linux/if_arp.h).
    pub(crate) is_ethernet: bool,
    /// What it is, where that matters here.
    pub(crate) kind: LinkKind,
    /// Its IPv4 addresses in the kernel's order.
    pub(crate) addresses: Vec<HostAddress>,
    /// What it takes part in of IPv6; none where the kernel speaks none on it.
    pub ipv6: Option<Ipv6>,
    /// The IPv6 addresses that somebody configured; only of interfaces that are ours.
    pub(crate) ipv6_addresses: Vec<Ipv6Network>,
    /// Traffic counters.
    pub(crate) counters: Counters,
    /// Programs attached to it, by direction and filter handle.
    pub(crate) programs: Vec<AttachedProgram>,
}

/// How a bridge treats one of its ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortFacts {
    /// Settings that are not as the kernel makes them.
    pub(crate) changed: BTreeSet<Setting>,
    /// The state in which it forwards no frames, as bridge(8) calls it; none where it does.
    pub(crate) stopped: Option<&'static str>,
}

/// An IPv4 address of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// Address and prefix length.
    pub address: Ipv4Network,
    /// Added after another address of the same network (`IFA_F_SECONDARY`).
    pub(crate) secondary: bool,
    /// Valid beyond the host itself (scope `global` or `site`).
    pub(crate) global: bool,
}

/// What an interface is, where that decides whether a fan can stand beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkKind {
    /// Nothing that matters here.
    Other,
    /// The loopback interface.
    Loopback,
    /// A bridge, ours or somebody else's.
    Bridge {
        /// Ethernet address.
        mac: Mac,
    },
    /// A port of a fan's bridge by which packets of its fast path enter.
    FastPort {
        /// The fan.
        overlay: Overlay,
        /// The interface that the programs on the underlay are on.
        device: InterfaceName,
    },
    /// A routing domain of its own, whose ports are routed by another table.
    Vrf,
    /// IP in IP in collect-metadata mode.
    IpipExternal,
    /// IP in IP between these addresses; unspecified stands for any.
    Ipip {
        /// Local endpoint.
        local: Ipv4Addr,
        /// Remote endpoint.
        remote: Ipv4Addr,
    },
    /// VXLAN on a UDP port.
    Vxlan {
        /// UDP port.
        port: u16,
        /// The first and the last UDP source port; zeros where the device has no range of its own.
        sources: (u16, u16),
        /// In collect-metadata mode with a filter of network identifiers, so that several can share the port.
        shares_port: bool,
    },
    /// WireGuard.
    Wireguard,
}

/// Packets since the interface was made, and those its clsact refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counters {
    /// Packets received.
    pub(crate) received: u64,
    /// Packets sent.
    pub(crate) sent: u64,
    /// Packets that a program refused, both ways.
    pub(crate) refused: u64,
}

/// Packets that have taken a fan's fast path since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct FastPackets {
    /// Encapsulated and sent.
    pub(crate) sent: u64,
    /// Decapsulated and given to the bridge.
    pub(crate) received: u64,
}

/// A program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedProgram {
    /// Received or sent packets.
    pub direction: Direction,
    /// Its place.
    pub slot: Slot,
    /// The kernel's number for it, as in `bpftool prog show id N`.
    pub id: u32,
}

impl Link {
    /// The program in a place.
    #[must_use]
    pub fn program(&self, direction: Direction, slot: Slot) -> Option<&AttachedProgram> {
        let mut programs = self.programs.iter();
        programs.find(|program| (program.direction, program.slot) == (direction, slot))
    }

    /// Whether it is in the network of an address, which then is a neighbour's.
    #[must_use]
    pub(crate) fn is_beside(&self, address: Ipv4Addr) -> bool {
        let mut networks = self.addresses.iter().map(|own| own.address);
        networks.any(|network| network.contains(address) && network.prefix() < 31)
    }

    /// Whether it is in no network with another host: its addresses are for it alone, and routes on other interfaces lead to
    /// the hosts of the underlay.
    #[must_use]
    pub(crate) fn stands_apart(&self) -> bool {
        let mut addresses = self.addresses.iter().filter(|own| own.global);
        addresses.all(|own| own.address.prefix() == 32)
    }

    /// The broadcast addresses of its networks: what the kernel sends there goes to all neighbours (`fib_add_ifaddr`,
    /// net/ipv4/fib_frontend.c at v6.12).
    pub(crate) fn broadcasts(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.addresses.iter().filter_map(|own| broadcast(own.address))
    }
}

impl Host {
    /// The address of this host in packets to and from other hosts: that in the underlay, or of a host with a number one of the
    /// interface by which it sends.
    #[must_use]
    pub(crate) fn outer_address(&self, fan: &Fan) -> Ipv4Addr {
        let link = self.link(&fan.device).filter(|_| fan.options.number);
        let addresses: Vec<Ipv4Addr> =
            link.into_iter().flat_map(|link| &link.addresses).map(|own| own.address.ip()).collect();
        let has_it = addresses.contains(&fan.host);
        addresses.first().copied().filter(|_| !has_it).unwrap_or(fan.host)
    }

    /// The interface of a name.
    #[must_use]
    pub(crate) fn link(&self, name: &InterfaceName) -> Option<&Link> {
        self.links.iter().find(|link| link.name == *name)
    }

    /// Which source ports our VXLAN devices on a UDP port have, or one of them.
    #[must_use]
    pub(crate) fn source_ports(&self, port: u16, device: Option<&InterfaceName>) -> SourcePorts {
        let has_any = |link: &Link| {
            let is_asked_about = device.is_none_or(|name| link.name == *name);
            let kind = LinkKind::Vxlan { port, sources: SourcePorts::Any.range(), shares_port: true };
            is_asked_about && link.ours && link.kind == kind
        };
        if self.links.iter().any(has_any) { SourcePorts::Any } else { SourcePorts::Privileged }
    }

    /// The ports of a bridge that are not ours: somebody's containers.
    pub(crate) fn foreign_ports<'a>(&'a self, bridge: &'a InterfaceName) -> impl Iterator<Item = &'a Link> {
        self.links.iter().filter(move |link| link.master.as_ref() == Some(bridge) && !link.ours)
    }

    /// A port with who is behind it: `veth1 (pid 812 httpd, docker web)`.
    #[must_use]
    pub(crate) fn port(&self, name: &InterfaceName) -> String {
        self.occupants.get(name).map_or_else(|| name.to_string(), |occupant| format!("{name} ({occupant})"))
    }

    /// The interface of the best default route in the main table.
    #[must_use]
    pub(crate) fn default_device(&self) -> Option<&InterfaceName> {
        self.routes
            .iter()
            .filter(|route| route.table == MAIN_TABLE && route.destination.prefix() == 0)
            .filter_map(|route| Some((route.metric, route.device.as_ref()?)))
            .min_by_key(|(metric, _)| *metric)
            .map(|(_, device)| device)
    }
}
