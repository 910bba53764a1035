//! Who is in the lab, and the `ip` lines that put them there. Pure.

use std::fmt;
use std::net::Ipv4Addr;

use serde::Serialize;

use crate::fan::encap::Encapsulation;
use crate::fan::mapping::{Mapping, Underlay};
use crate::fan::name::InterfaceName;

/// Every namespace of a lab begins with this, and nothing else of ours does.
pub(crate) const PREFIX: &str = "fanlab-";
/// The namespace that stands for the network between the hosts.
pub(crate) const UNDERLAY: &str = "fanlab-underlay";

/// The overlay of the announcement of 2015.
const OVERLAY: &str = "250.0.0.0/8";
/// The first host of the announcement; the others count down from it.
const FIRST_HOST: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 28);
const UNDERLAY_LEN: u8 = 16;
/// Where in the underlay the hosts of every lab are.
const HOSTS: &str = "172.30.0.0/27";
/// The file of the secret of an encrypted lab, which goes with it.
pub(crate) const KEY: &str = "/run/fan/lab-key";

/// One line that a person could type. Words are separated by blanks and none holds one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CommandLine(String);

/// A line for `ip` of iproute2.
macro_rules! ip {
    ($($words:tt)*) => { $crate::lab::topology::CommandLine::new("ip", format_args!($($words)*)) };
}
pub(super) use ip;

impl CommandLine {
    /// A program and its words.
    pub fn new(program: &str, words: fmt::Arguments<'_>) -> Self {
        Self(format!("{program} {words}"))
    }

    /// A program inside a namespace, with its words.
    pub(crate) fn inside(namespace: &str, program: &str) -> Self {
        ip!("netns exec {namespace} {program}")
    }

    /// The words: the program first.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ')
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something with an address in a namespace of its own: a host or a container.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Node {
    /// Its address: a host's on the underlay, a container's in the overlay.
    pub(crate) address: Ipv4Addr,
    /// Its network namespace, as `ip netns` names it.
    pub(crate) namespace: String,
}

/// A host, and the containers on it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LabHost {
    /// The host itself.
    #[serde(flatten)]
    pub(crate) place: Node,
    /// The fan bridge that `fanctl up` makes on it.
    pub(crate) bridge: InterfaceName,
    /// The address of that bridge, which the containers use as their gateway.
    pub(crate) gateway: Ipv4Addr,
    /// Its containers.
    pub(crate) containers: Vec<Node>,
}

/// A host after `fanctl up`, with what was found there.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FanHost {
    #[serde(flatten)]
    pub(crate) host: LabHost,
    /// The prefix length of the bridge's address: the slice's over IPIP, the overlay's over VXLAN.
    pub(crate) prefix: u8,
    /// The MTU of the bridge.
    pub mtu: u32,
}

/// The whole cast.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    /// 250.0.0.0/8 over 172.30.0.0/16.
    pub mapping: Mapping,
    /// 172.30.0.28, 172.30.0.27 and so on.
    pub(crate) hosts: Vec<LabHost>,
}

impl Topology {
    /// A lab of so many hosts, up to 28, with so many containers each, up to 253.
    pub fn new(hosts: u8, containers: u8) -> Self {
        let overlay = OVERLAY.parse().expect("a literal overlay");
        let underlay = Underlay::containing(FIRST_HOST, UNDERLAY_LEN).expect("a literal underlay");
        let mapping = Mapping::new(overlay, underlay).expect("an overlay wider than the underlay");
        let hosts = (0..hosts).map(|index| host(mapping, index, containers)).collect();
        Self { mapping, hosts }
    }

    /// `250.0.0.0/8 eth0/16 [--encap vxlan]`: what every host is told, and the same for all.
    pub(crate) fn up(&self, encapsulation: Encapsulation) -> String {
        let words = format!("fanctl up {} eth0/{UNDERLAY_LEN}", self.mapping.overlay());
        match encapsulation {
            Encapsulation::Ipip => words,
            Encapsulation::Wireguard => words + &format!(" --encap wireguard --key {KEY} --hosts {HOSTS}"),
            other @ Encapsulation::Vxlan => words + &format!(" --encap {other}"),
        }
    }
}

fn host(mapping: Mapping, index: u8, containers: u8) -> LabHost {
    let address = Ipv4Addr::from(u32::from(FIRST_HOST) - u32::from(index));
    let number = address.octets()[3];
    let gateway = mapping.gateway(address);
    let container = |index: u8| {
        let address = Ipv4Addr::from(u32::from(gateway) + 1 + u32::from(index));
        Node { address, namespace: format!("{PREFIX}{number}-{}", address.octets()[3]) }
    };
    LabHost {
        place: Node { address, namespace: format!("{PREFIX}host-{number}") },
        bridge: InterfaceName::of_slice(mapping.slice(address)),
        gateway,
        containers: (0..containers).map(container).collect(),
    }
}

/// The wire between the hosts: a bridge.
pub(crate) fn underlay_lines() -> Vec<CommandLine> {
    vec![ip!("-n {UNDERLAY} link add underlay type bridge"), ip!("-n {UNDERLAY} link set underlay up")]
}

/// A host's eth0, plugged into the underlay.
pub(crate) fn host_lines(host: &LabHost) -> Vec<CommandLine> {
    let Node { address, namespace } = &host.place;
    let port = format!("host-{}", address.octets()[3]);
    vec![
        ip!("-n {UNDERLAY} link add {port} type veth peer name eth0 netns {namespace}"),
        ip!("-n {UNDERLAY} link set {port} master underlay up"),
        ip!("-n {namespace} link set lo up"),
        ip!("-n {namespace} address add {address}/{UNDERLAY_LEN} dev eth0"),
        ip!("-n {namespace} link set eth0 up"),
    ]
}

/// A container's eth0, plugged into its host's fan bridge, with the bridge's prefix length and MTU.
pub(crate) fn container_lines(host: &FanHost, container: &Node) -> Vec<CommandLine> {
    let FanHost { host, prefix, mtu } = host;
    let LabHost { place: Node { namespace: outside, .. }, bridge, gateway, .. } = host;
    let Node { address, namespace } = container;
    let port = format!("veth-{}", address.octets()[3]);
    vec![
        ip!("-n {outside} link add {port} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {namespace}"),
        ip!("-n {outside} link set {port} master {bridge} up"),
        ip!("-n {namespace} link set lo up"),
        ip!("-n {namespace} address add {address}/{prefix} dev eth0"),
        ip!("-n {namespace} link set eth0 up"),
        ip!("-n {namespace} route add default via {gateway}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cast_is_that_of_2015() {
        let topology = Topology::new(2, 2);
        let [one, two] = &topology.hosts[..] else { panic!("two hosts") };
        assert_eq!(one.place.address.to_string(), "172.30.0.28");
        assert_eq!(one.place.namespace, "fanlab-host-28");
        assert_eq!(one.bridge.as_str(), "fan-250-0-28");
        assert_eq!(one.containers[0].address.to_string(), "250.0.28.2");
        assert_eq!(one.containers[1].namespace, "fanlab-28-3");
        assert_eq!(two.containers[0].address.to_string(), "250.0.27.2");
        assert_eq!(topology.up(Encapsulation::Ipip), "fanctl up 250.0.0.0/8 eth0/16");
        assert_eq!(topology.up(Encapsulation::Vxlan), "fanctl up 250.0.0.0/8 eth0/16 --encap vxlan");
        let encrypted = "fanctl up 250.0.0.0/8 eth0/16 --encap wireguard --key /run/fan/lab-key --hosts 172.30.0.0/27";
        assert_eq!(topology.up(Encapsulation::Wireguard), encrypted);
    }

    #[test]
    fn the_largest_lab_has_names_and_addresses_that_fit() {
        let topology = Topology::new(16, 100);
        let last = topology.hosts.last().unwrap();
        let listed: ipnetwork::Ipv4Network = HOSTS.parse().unwrap();
        assert!(topology.hosts.iter().all(|host| listed.contains(host.place.address)));
        assert_eq!(last.place.address.to_string(), "172.30.0.13");
        assert_eq!(last.containers.last().unwrap().address.to_string(), "250.0.13.101");
        assert_eq!(last.containers.last().unwrap().namespace, "fanlab-13-101");
    }

    #[test]
    fn a_container_gets_the_prefix_length_and_the_mtu_of_its_bridge() {
        let host = FanHost { host: Topology::new(2, 1).hosts.remove(0), prefix: 8, mtu: 1450 };
        let lines = container_lines(&host, &host.host.containers[0]);
        let lines: Vec<String> = lines.iter().map(CommandLine::to_string).collect();
        assert_eq!(
            lines,
            [
                "ip -n fanlab-host-28 link add veth-2 mtu 1450 type veth peer name eth0 mtu 1450 netns fanlab-28-2",
                "ip -n fanlab-host-28 link set veth-2 master fan-250-0-28 up",
                "ip -n fanlab-28-2 link set lo up",
                "ip -n fanlab-28-2 address add 250.0.28.2/8 dev eth0",
                "ip -n fanlab-28-2 link set eth0 up",
                "ip -n fanlab-28-2 route add default via 250.0.28.1",
            ]
        );
    }

    #[test]
    fn every_link_is_made_inside_a_namespace_of_the_lab() {
        let topology = Topology::new(3, 3);
        let mut lines = underlay_lines();
        for host in topology.hosts {
            lines.extend(host_lines(&host));
            let host = FanHost { host, prefix: 24, mtu: 1480 };
            lines.extend(host.host.containers.iter().flat_map(|container| container_lines(&host, container)));
        }
        for line in lines {
            assert!(line.to_string().starts_with("ip -n fanlab-"), "{line}");
        }
    }
}
