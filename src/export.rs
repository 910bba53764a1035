//! What a container runtime has to be told to put its containers on a fan's bridge, in the runtime's own language.
//!
//! The two kinds of fan are two kinds of network. Over IPIP the slice is the network, and all else goes by way of the
//! gateway. Over VXLAN the whole overlay is on link, and what is given out must be kept to the slice, or two hosts
//! would give out the same address. Both are a [`Network`]; every runtime renders it in a file of its own.
//!
//! Masquerading by the runtime is off: the fan masquerades.
//!
//! What a runtime has already is read the other way round, as a [`Given`], and compared with what it should have.

mod check;
mod cni;
mod docker;
mod flannel;
mod libvirt;
mod lxd;
mod podman;
mod replace;
mod runtime_network;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;
use std::net::Ipv4Addr;

use clap::ValueEnum;
use ipnetwork::Ipv4Network;

use crate::fan::Fan;
use crate::fan::name::InterfaceName;

pub(crate) use replace::may_replace;
pub(crate) use runtime_network::{Given, networks};
pub(crate) use text::network_name;

/// A language that a fan can be told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Runtime {
    /// The command that makes a Docker network
    Docker,
    /// The command that makes a Podman network
    Podman,
    /// A list of CNI plugins (.conflist), for Kubernetes and its like
    Cni,
    /// A profile of LXD or Incus, in YAML
    Lxd,
    /// A libvirt network, in XML
    Libvirt,
    /// The environment that flannel writes to subnet.env
    FlannelEnv,
}

impl fmt::Display for Runtime {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("none is hidden");
        f.write_str(value.get_name())
    }
}

/// A fan as its containers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// Everything about the fan.
    pub fan: Fan,
    /// Bytes.
    pub mtu: u32,
}

impl Network {
    /// The network of a fan whose bridge has this MTU in bytes.
    #[must_use]
    pub fn new(fan: Fan, mtu: u32) -> Self {
        Self { fan, mtu }
    }

    /// What a runtime is to be told; `name` is what it will call the network.
    ///
    /// # Errors
    /// A sentence: the runtime has no words for something that this fan needs.
    pub(crate) fn render(&self, runtime: Runtime, name: &str) -> Result<String, String> {
        Ok(match runtime {
            Runtime::Docker => docker::network(self, name),
            Runtime::Podman => podman::network(self, name),
            Runtime::Cni => cni::list(self, name),
            Runtime::Lxd => lxd::profile(self, name),
            Runtime::Libvirt => libvirt::network(self, name),
            Runtime::FlannelEnv => return flannel::environment(self),
        })
    }

    /// The commands that make a network of a swarm on a node of it.
    #[must_use]
    pub(crate) fn docker_swarm(&self, name: &str) -> String {
        docker::swarm(self, name)
    }

    /// Docker's daemon.json, with the fan's bridge in place of docker0.
    #[must_use]
    pub(crate) fn docker_daemon(&self) -> String {
        docker::daemon(self)
    }

    /// The same, with the other keys of the daemon.json that is there.
    ///
    /// # Errors
    /// A sentence: that is none, or has a key that Docker does not take beside ours. With `force` it goes.
    pub(crate) fn merged_docker_daemon(&self, there: &str, force: bool) -> Result<String, String> {
        docker::merged_daemon(self, there, force)
    }

    fn bridge(&self) -> &InterfaceName {
        &self.fan.bridge
    }

    fn slice(&self) -> Ipv4Network {
        self.fan.slice()
    }

    /// What is on link: the slice or the whole overlay.
    fn subnet(&self) -> Ipv4Network {
        self.fan.on_link()
    }

    fn gateway(&self) -> Ipv4Addr {
        self.fan.gateway()
    }

    /// Whether the slice is only a part of what is on link.
    fn is_flat(&self) -> bool {
        self.subnet() != self.slice()
    }

    fn first(&self) -> Ipv4Addr {
        self.fan.container_range().0
    }

    fn last(&self) -> Ipv4Addr {
        self.fan.container_range().1
    }

    /// The addresses that the bridge holds besides the gateway.
    fn reserved(&self) -> impl Iterator<Item = Ipv4Addr> {
        (u32::from(self.gateway()) + 1..u32::from(self.first())).map(Ipv4Addr::from)
    }

    /// The largest network in the slice that holds none of [`Self::reserved`]. The gateway need not be kept out of it:
    /// every runtime knows that one.
    fn unreserved(&self) -> Ipv4Network {
        if self.fan.options.host_reserve == 1 {
            return self.slice();
        }
        let (first, end) = (u32::from(self.first()), u32::from(self.slice().broadcast()));
        let fits = |len: &u8| {
            let start = Ipv4Network::new(end.into(), *len).expect("a prefix length").network();
            u32::from(start) >= first
        };
        let len = (self.slice().prefix()..=32).find(fits).expect("a /32 at the end");
        let start = Ipv4Network::new(end.into(), len).expect("a prefix length").network();
        Ipv4Network::new(start, len).expect("a prefix length")
    }
}
