//! Facts that only a diagnosis asks for: settings, neighbours, what containers have on their side, other people's rules, and
//! where the kernel says that packets go.

use crate::plan::lookup::{Answer, Question};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ipnetwork::Ipv4Network;

use crate::diagnose::disagreement::Disagreements;
use crate::diagnose::netfilter::FirewallTable;
use crate::fan::Mac;
use crate::fan::name::InterfaceName;
use crate::plan::foreign::Foreign;
use crate::plan::host::NeighbourEntry;

use crate::plan::rule::RoutingRule;

/// What a diagnosis knows beyond [`Host`](crate::plan::host::Host).
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    /// The kernel, and what this process may do.
    pub(crate) kernel: Kernel,
    /// Settings of interfaces, those of `all` under that name.
    pub(crate) settings: BTreeMap<String, Settings>,
    /// `net.bridge.bridge-nf-call-iptables`: bridged packets pass through iptables too.
    pub(crate) bridged_packets_are_filtered: bool,
    /// Ethernet addresses of interfaces.
    pub(crate) macs: BTreeMap<InterfaceName, Mac>,
    /// Whom the kernel has talked to lately.
    pub(crate) neighbours: Vec<NeighbourEntry>,
    /// The other ends of ports that lead into other network namespaces, where those can be seen.
    pub(crate) peers: BTreeMap<InterfaceName, Peer>,
    /// Ports whose other end is in a network namespace that cannot be looked into.
    pub(crate) hidden_peers: BTreeSet<InterfaceName>,
    /// Every firewall's tables, ours included.
    pub(crate) tables: Vec<FirewallTable>,
    /// Filters and programs of others on interfaces that are not the fan's.
    pub(crate) programs: Vec<Foreign>,
    /// The counters of an earlier look, where something had been refused.
    pub(crate) earlier: Option<EarlierLook>,
    /// Packets of hosts that came meanwhile and that no fan here takes.
    pub(crate) disagreements: Disagreements,
    /// Routing rules that are neither the kernel's nor ours.
    pub(crate) rules: Vec<RoutingRule>,
    /// Where packets go.
    pub(crate) answers: BTreeMap<Question, Answer>,
    /// Programs in this network namespace that configure interfaces.
    pub(crate) managers: Vec<Manager>,
    /// Who answers for names of containers.
    pub(crate) names: NamesService,
    /// Whether systemd starts services here.
    pub(crate) has_systemd: bool,
    /// What VXLAN tunnels leave to hardware that is known to get it wrong, by tunnel.
    pub(crate) offloads: BTreeMap<InterfaceName, Offload>,
    /// UDP packets that came with a wrong checksum since the host began (`Udp: InCsumErrors`).
    pub(crate) bad_checksums: u64,
    /// The clock of this host, in seconds since 1970; none where nobody looked.
    pub(crate) now: Option<u64>,
    /// Files that were written in the past, and when: a clock that is before is behind.
    pub(crate) written: Vec<(String, u64)>,
    /// What could not be looked at, and why.
    pub(crate) unseen: Vec<String>,
}

/// The kernel, and what this process may do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kernel {
    /// Whether it has devices of a kind, built in, loaded or as a module; none where that cannot be told.
    pub(crate) has_ipip: Option<bool>,
    /// Likewise.
    pub(crate) has_vxlan: Option<bool>,
    /// Whether it has WireGuard; none when that is not known.
    pub(crate) has_wireguard: Option<bool>,
    /// What the kernel said to a program that was loaded and thrown away; none when that was not tried.
    pub(crate) loads_programs: Option<Result<(), String>>,
    /// Whether `nft` was found.
    pub(crate) has_nft: bool,
    /// Whether programs are compiled (`net.core.bpf_jit_enable`); none where that cannot be seen.
    pub(crate) compiles_programs: Option<bool>,
}

/// Settings of an interface under net.ipv4.conf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// 0 off, 1 strict, 2 loose.
    pub(crate) rp_filter: u8,
    /// Whether packets that it receives may go on to another.
    pub forwarding: bool,
}

/// The other end of a port, in a network namespace of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its name there.
    pub name: InterfaceName,
    /// In bytes.
    pub mtu: u32,
    /// Its Ethernet address.
    pub(crate) mac: Option<Mac>,
    /// A process in that namespace; none where none was found.
    pub(crate) process: Option<u32>,
    /// The file of that namespace, if somebody gave it a name (ip-netns(8)).
    pub(crate) file: Option<PathBuf>,
    /// Its IPv4 addresses, each with the length of its network.
    pub(crate) addresses: Vec<Ipv4Network>,
    /// Destinations of the main table in that namespace; none where it could not be read, as without a process.
    pub(crate) routes: Option<Vec<Ipv4Network>>,
}

/// What was counted at a look before this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EarlierLook {
    /// Every firewall's tables.
    pub(crate) tables: Vec<FirewallTable>,
    /// Packets that the programs on a tunnel had refused.
    pub(crate) tunnels: BTreeMap<InterfaceName, u64>,
}

/// Who answers for names of containers on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum NamesService {
    /// Nobody was asked: no fan has names, or this process may not ask.
    #[default]
    NotAsked,
    /// No daemon answers, for this reason.
    Silent(String),
    /// A daemon answers, for fans of these overlays.
    Serves(BTreeSet<Ipv4Network>),
}

/// A program that configures interfaces, and may take ours for its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manager {
    /// What it is called.
    pub name: &'static str,
    /// The file that would tell it to leave fans alone; none where it is told.
    pub(crate) lacks: Option<&'static str>,
}

/// Drivers of underlays that are known to spoil the checksums of packets that a VXLAN device left to the hardware
/// (flannel-io/flannel#2152, replicatedhq/kURL#5041).
pub(crate) const FAULTY_DRIVERS: [&str; 1] = ["vmxnet3"];

/// What a VXLAN tunnel leaves to the hardware below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offload {
    /// The driver of the underlay's interface, one of [`FAULTY_DRIVERS`].
    pub(crate) driver: String,
    /// Whether that is checksums (`tx-checksum-ip-generic`); none where it could not be read.
    pub(crate) checksums: Option<bool>,
}
