//! The ways to connect two containers on two hosts.

mod fan;
mod masquerading;
mod openvswitch;
mod routing;
mod static_ipip;
mod static_vxlan;
mod tun_udp;
mod variants;
mod wireguard;

use std::path::Path;

use super::harness::Namespace;
use super::site::{Connected, Site};

/// A way to connect two containers.
pub struct Peer {
    /// For machines and for `--case`.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    need: Need,
    pub connect: fn(Site) -> Connected,
}

/// What a way needs besides a bridge.
enum Need {
    Nothing,
    /// A link that `ip link add` can make, from this module.
    Link(&'static str, &'static str),
    /// The device of the kernel's TUN driver.
    Tun,
    OpenVSwitch,
    /// VXLAN, and `br_netfilter`.
    FilteredVxlan,
}

const FAN_IPIP: Need = Need::Link("ipip", "probe type ipip external");
const STATIC_IPIP: Need = Need::Link("ipip", "probe type ipip local 127.0.0.1");
const FAN_VXLAN: Need = Need::Link("vxlan", "probe type vxlan external vnifilter dstport 8472");
const STATIC_VXLAN: Need = Need::Link("vxlan", "probe type vxlan id 1 dstport 8472");

/// All of them, in the order in which they are shown.
pub const PEERS: [Peer; 10] = [
    Peer { name: "routing", title: "plain routing", need: Need::Nothing, connect: routing::connect },
    Peer { name: "fan-ipip", title: "fan, IPIP", need: FAN_IPIP, connect: fan::ipip },
    Peer { name: "static-ipip", title: "static IPIP, alone", need: STATIC_IPIP, connect: static_ipip::connect },
    Peer {
        name: "static-ipip-nat",
        title: "static IPIP with NAT (flannel, Calico)",
        need: STATIC_IPIP,
        connect: masquerading::ipip,
    },
    Peer { name: "fan-vxlan", title: "fan, VXLAN", need: FAN_VXLAN, connect: fan::vxlan },
    Peer { name: "static-vxlan", title: "static VXLAN, alone", need: STATIC_VXLAN, connect: static_vxlan::connect },
    Peer {
        name: "static-vxlan-nat",
        title: "static VXLAN with NAT (flannel)",
        need: STATIC_VXLAN,
        connect: masquerading::vxlan,
    },
    Peer { name: "openvswitch", title: "Open vSwitch, VXLAN", need: Need::OpenVSwitch, connect: openvswitch::connect },
    Peer {
        name: "wireguard",
        title: "WireGuard",
        need: Need::Link("wireguard", "probe type wireguard"),
        connect: wireguard::connect,
    },
    Peer { name: "tun-udp", title: "user space, TUN/UDP", need: Need::Tun, connect: tun_udp::connect },
];

/// What tells where the cost comes from; measured when asked for by name.
pub const VARIANTS: [Peer; 5] = [
    Peer { name: "fan-ipip-bare", title: "fan, IPIP, no table", need: FAN_IPIP, connect: variants::ipip_bare },
    Peer { name: "fan-ipip-slow", title: "fan, IPIP, no flowtable", need: FAN_IPIP, connect: variants::ipip_slow },
    Peer { name: "fan-vxlan-bare", title: "fan, VXLAN, no table", need: FAN_VXLAN, connect: variants::vxlan_bare },
    Peer {
        name: "fan-vxlan-filtered",
        title: "fan, VXLAN, br_netfilter",
        need: Need::FilteredVxlan,
        connect: variants::vxlan_filtered,
    },
    Peer {
        name: "static-vxlan-filtered",
        title: "static VXLAN with NAT, br_netfilter",
        need: Need::FilteredVxlan,
        connect: variants::static_vxlan_filtered,
    },
];

impl Peer {
    /// Why it cannot run here, if so.
    pub fn missing(&self) -> Option<String> {
        let scratch = Namespace::new("probe");
        match self.need {
            Need::Nothing => None,
            Need::Link(module, link) => {
                load(&scratch, module);
                let said = scratch.exec(&format!("ip link add {link}"));
                let why = said.stderr.trim().trim_end_matches('.').to_string();
                (said.code != Some(0)).then(|| format!("this kernel has no such {module} device ({why})"))
            }
            Need::Tun => (!Path::new("/dev/net/tun").exists()).then(|| "there is no /dev/net/tun".into()),
            Need::FilteredVxlan => {
                load(&scratch, "vxlan");
                load(&scratch, "br_netfilter");
                let there = Path::new("/proc/sys/net/bridge").exists();
                (!there).then(|| "this kernel has no module br_netfilter".into())
            }
            Need::OpenVSwitch => {
                load(&scratch, "openvswitch");
                if !Path::new("/sys/module/openvswitch").exists() {
                    return Some("this kernel has no module openvswitch".into());
                }
                openvswitch::missing_program()
            }
        }
    }
}

/// Loads a module where there is one; what follows tells whether it is there.
fn load(scratch: &Namespace, module: &str) {
    scratch.sh(&format!("modprobe {module} 2>/dev/null || true"));
}
