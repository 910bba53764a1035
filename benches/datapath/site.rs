//! Two hosts on an underlay, 172.30.0.28 and 172.30.0.27, on each of which a container will live.

use std::process::Child;

use super::harness::{Container, Host, Lan};

/// The last octet of each host's address, which is also the third of its container's.
pub const HOSTS: [u8; 2] = [28, 27];

/// Two hosts and the wire between them. What is started on a host ends with its namespace.
pub struct Site {
    pub hosts: [Host; 2],
    lan: Lan,
}

/// Two connected containers.
pub struct Connected {
    pub containers: [Container; 2],
    pub site: Site,
    _daemons: Vec<Child>,
}

impl Connected {
    /// With more rules on both hosts, in nft's language.
    pub fn rules(self, rules: &str) -> Self {
        for host in &self.site.hosts {
            host.sh(&format!("nft -f - <<'END'\n{rules}\nEND")).ok();
        }
        self
    }
}

/// One of the two hosts, and what it must know of the other.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    pub host: &'a Host,
    /// The host's number.
    pub own: u8,
    /// The other's.
    pub other: u8,
}

impl Site {
    pub fn new() -> Self {
        let lan = Lan::new();
        let hosts = HOSTS.map(|number| lan.host(&format!("172.30.0.{number}")));
        Self { hosts, lan }
    }

    /// Has what bridges of the hosts carry pass the chains of IP too (`br_netfilter`), which a namespace of the harness has
    /// switched off.
    pub fn filter_bridged(&self) {
        for host in &self.hosts {
            host.set_sysctl("bridge/bridge-nf-call-iptables", "1");
        }
    }

    /// Both hosts, each from its own point of view.
    pub fn sides(&self) -> [Side<'_>; 2] {
        [(0, 1), (1, 0)].map(|(own, other)| Side { host: &self.hosts[own], own: HOSTS[own], other: HOSTS[other] })
    }

    /// Tells all ends of the wire, the hosts' and those of the bridge between them, what they do for tunnels. One end merges
    /// what it receives only if the other segments nothing (`veth_skb_is_eligible_for_gro`, drivers/net/veth.c at v6.12).
    pub fn set_wire(&self, features: &str) {
        for host in &self.hosts {
            host.exec(&format!("ethtool -K eth0 {features}")).ok();
        }
        for port in ["port0", "port1"] {
            self.lan.exec(&format!("ethtool -K {port} {features}")).ok();
        }
    }

    pub fn connected(self, containers: [Container; 2], daemons: Vec<Child>) -> Connected {
        Connected { containers, site: self, _daemons: daemons }
    }
}

impl Side<'_> {
    /// A routed slice as flannel's and Calico's: a bridge with 250.0.OWN.1/24 and a container on it, the way to the
    /// other host left to the caller. The MTU is the container's.
    pub fn routed(&self, mtu: u64) -> Container {
        let own = self.own;
        self.host.ip(&format!(
            "link add cni0 type bridge
             link set cni0 up
             addr add 250.0.{own}.1/24 dev cni0"
        ));
        self.host.set_sysctl("ipv4/ip_forward", "1");
        let container = self.host.attach("cni0", &format!("250.0.{own}.2"), mtu);
        container.ip(&format!(
            "addr add 250.0.{own}.2/24 dev eth0
             route add default via 250.0.{own}.1"
        ));
        container
    }
}
