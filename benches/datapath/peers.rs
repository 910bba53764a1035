//! The ways to connect two containers on two hosts.

mod fan;
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
}

/// All of them, in the order in which they are shown.
pub const PEERS: [Peer; 8] = [
    Peer {
        name: "routing",
        title: "plain routing",
        need: Need::Nothing,
        connect: routing::connect,
    },
    Peer {
        name: "fan-ipip",
        title: "fan, IPIP",
        need: Need::Link("ipip", "probe type ipip external"),
        connect: fan::ipip,
    },
    Peer {
        name: "static-ipip",
        title: "static IPIP (flannel, Calico)",
        need: Need::Link("ipip", "probe type ipip local 127.0.0.1"),
        connect: static_ipip::connect,
    },
    Peer {
        name: "fan-vxlan",
        title: "fan, VXLAN",
        need: Need::Link("vxlan", "probe type vxlan external vnifilter dstport 8472"),
        connect: fan::vxlan,
    },
    Peer {
        name: "static-vxlan",
        title: "static VXLAN (flannel)",
        need: Need::Link("vxlan", "probe type vxlan id 1 dstport 8472"),
        connect: static_vxlan::connect,
    },
    Peer {
        name: "openvswitch",
        title: "Open vSwitch, VXLAN",
        need: Need::OpenVSwitch,
        connect: openvswitch::connect,
    },
    Peer {
        name: "wireguard",
        title: "WireGuard",
        need: Need::Link("wireguard", "probe type wireguard"),
        connect: wireguard::connect,
    },
    Peer {
        name: "tun-udp",
        title: "user space, TUN/UDP",
        need: Need::Tun,
        connect: tun_udp::connect,
    },
];

/// What tells where the cost comes from; measured when asked for by name.
pub const VARIANTS: [Peer; 6] = [
    Peer {
        name: "fan-ipip-bare",
        title: "fan, IPIP, no table",
        need: Need::Link("ipip", "probe type ipip external"),
        connect: variants::ipip_bare,
    },
    Peer {
        name: "fan-ipip-untracked",
        title: "fan, IPIP, untracked",
        need: Need::Link("ipip", "probe type ipip external"),
        connect: variants::ipip_untracked,
    },
    Peer {
        name: "static-ipip-masq",
        title: "static IPIP, masquerading",
        need: Need::Link("ipip", "probe type ipip local 127.0.0.1"),
        connect: variants::static_ipip_masq,
    },
    Peer {
        name: "fan-vxlan-bare",
        title: "fan, VXLAN, no table",
        need: Need::Link("vxlan", "probe type vxlan external vnifilter dstport 8472"),
        connect: variants::vxlan_bare,
    },
    Peer {
        name: "fan-vxlan-untracked",
        title: "fan, VXLAN, untracked",
        need: Need::Link("vxlan", "probe type vxlan external vnifilter dstport 8472"),
        connect: variants::vxlan_untracked,
    },
    Peer {
        name: "static-vxlan-masq",
        title: "static VXLAN, masquerading",
        need: Need::Link("vxlan", "probe type vxlan id 1 dstport 8472"),
        connect: variants::static_vxlan_masq,
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
