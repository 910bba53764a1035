//! The harness: namespaces, hosts and containers in them, programs run in them, and witnesses.

mod capture;
mod cgroup;
pub mod cni;
mod connections;
mod dockerd;
mod dump;
mod fault;
mod image;
mod instance;
mod interrupt;
mod kubelet;
mod lan;
mod libvirt;
mod lxc;
mod lxd;
mod machine;
mod namespace;
mod output;
mod packet;
mod podman;
mod root;
mod station;
mod traffic;
mod unpacked;
mod waiting;
mod watcher;

use std::fmt;
use std::time::Duration;

pub use capture::Capture;
pub use cni::Cni;
pub use connections::flush_connections;
pub use dockerd::Docker;
pub use dump::{assert_same, becomes};
pub use image::IMAGE;
pub use instance::Instance;
pub use kubelet::Kubelet;
pub use lan::{Container, Host, INTERNET, Lan, NOBODY};
pub use libvirt::Libvirt;
pub use lxc::Lxc;
pub use lxd::Lxd;
pub use machine::{Machine, by_stride, is_emulated, seed};
pub use namespace::{Namespace, SIGNS};
pub use output::Output;
pub use packet::{
    Crafted, FORGER, Inner, inject_ethernet, inject_frames, inject_ipip, inject_plain, inject_vxlan, inject_vxlan_arp,
    inject_vxlan_from, octets,
};
pub use podman::Podman;
pub use root::Root;
pub use station::{Station, Suite};
pub use traffic::{Echo, tcp_exchange, udp_exchange};
pub use waiting::{attempts, eventually};
pub use watcher::Watcher;

use crate::case::Need;

/// How long one system call or program may take: a little less than the watchdog of a case waits (`crate::run`), so that
/// the case can still say what it waited for. No verdict on `fanctl` depends on it.
pub const DEADLINE: Duration = Duration::from_secs(540);

/// How often is looked for something that must happen. Only a failing test looks that often, which takes a minute and a
/// half, and in a guest some minutes: less than the watchdog of a case waits.
pub const ATTEMPTS: u32 = 1000;

/// The two encapsulations, and what the tests know about each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encap {
    Ipip,
    Vxlan,
}

impl Encap {
    /// The words that ask `fanctl` for it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Ipip => "",
            Self::Vxlan => "--encap vxlan",
        }
    }

    /// The tunnel device of the fan 250.0.0.0/8.
    pub fn tunnel(self) -> &'static str {
        match self {
            Self::Ipip => "fan-ipip",
            Self::Vxlan => "fan-vx16384000",
        }
    }

    /// Bytes the encapsulation takes from the underlay's MTU.
    pub fn overhead(self) -> u64 {
        match self {
            Self::Ipip => 20,
            Self::Vxlan => 50,
        }
    }

    /// TTL of a ping from container to container: routed twice, or bridged.
    pub fn ttl(self) -> u64 {
        match self {
            Self::Ipip => 62,
            Self::Vxlan => 64,
        }
    }

    /// Prefix length on the bridge of a fan that lays a /8 over a /16.
    pub fn bridge_len(self) -> u64 {
        match self {
            Self::Ipip => 24,
            Self::Vxlan => 8,
        }
    }

    /// The outer packets, for tcpdump.
    pub fn outer(self) -> &'static str {
        match self {
            Self::Ipip => "ip proto 4",
            Self::Vxlan => "udp port 8472",
        }
    }

    /// What the machine must have for it.
    pub fn need(self) -> Option<Need> {
        (self == Self::Ipip).then_some(Need::Ipip)
    }
}

impl fmt::Display for Encap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipip => "ipip",
            Self::Vxlan => "vxlan",
        })
    }
}
