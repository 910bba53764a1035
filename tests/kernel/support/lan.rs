//! Underlays, hosts on them and containers on the hosts.

use std::cell::Cell;
use std::fs;
use std::net::Ipv4Addr;
use std::ops::Deref;

use ipnetwork::Ipv4Network;
use nix::unistd::Pid;
use serde_json::Value;

use super::{Encap, Namespace, Output, eventually};

/// An address outside every overlay and underlay: a host with this address is "the internet".
pub const INTERNET: &str = "203.0.113.1";

/// Runs a command as the user `nobody`, without any capability.
pub const NOBODY: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups";

/// An underlay: a namespace with a bridge that hosts plug into. The bridge has the last address of the network, so
/// that it can be a default gateway; it has no route to any overlay. It does no multicast snooping: a bridge that
/// does sends reports at unknown times, which a test would capture.
pub struct Lan {
    namespace: Namespace,
    network: Ipv4Network,
    mtu: u32,
    ports: Cell<u32>,
}

impl Lan {
    /// The underlay of the announcement, 172.30.0.0/16.
    pub fn new() -> Self {
        Self::of("172.30.0.0/16", 1500)
    }

    /// An underlay of this network and MTU.
    pub fn of(network: &str, mtu: u32) -> Self {
        let network: Ipv4Network = network.parse().expect("a network");
        let namespace = Namespace::new(&format!("lan {network}"));
        let lan = Self { namespace, network, mtu, ports: Cell::new(0) };
        let (gateway, len) = (lan.gateway(), network.prefix());
        lan.ip(&format!(
            "link set lo up
             link add lan0 type bridge mcast_snooping 0
             link set lan0 mtu {mtu} up
             addr add {gateway}/{len} dev lan0
             addr add {INTERNET}/32 dev lo"
        ));
        lan
    }

    /// The address of the underlay's gateway, the last of its network.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network.broadcast()) - 1)
    }

    /// A host with this address on eth0, `fanctl` not yet run.
    #[track_caller]
    pub fn host(&self, address: &str) -> Host {
        self.host_on("eth0", address)
    }

    /// A host with this address on a device of this name.
    #[track_caller]
    pub fn host_on(&self, device: &str, address: &str) -> Host {
        let host = Host::new(address);
        self.plug(&host, device, &format!("{address}/{}", self.network.prefix()));
        host
    }

    /// Gives a namespace a device on this underlay, with an address.
    #[track_caller]
    pub fn plug(&self, namespace: &Namespace, device: &str, address: &str) {
        let port = self.wire(namespace, device);
        namespace.ip(&format!(
            "link set lo up
             link set {device} up
             addr add {address} dev {device}"
        ));
        self.forwards(&port);
    }

    /// Gives a namespace a device on this underlay, down and without an address. Returns the name of its port.
    #[track_caller]
    pub fn wire(&self, namespace: &Namespace, device: &str) -> String {
        let port = format!("port{}", self.ports.get());
        self.ports.set(self.ports.get() + 1);
        let (id, mtu) = (namespace.id(), self.mtu);
        self.ip(&format!(
            "link add {port} mtu {mtu} type veth peer name {device} mtu {mtu} netns {id}
             link set {port} master lan0 up"
        ));
        port
    }
}

impl Deref for Lan {
    type Target = Namespace;
    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

impl Namespace {
    /// Waits until a bridge forwards packets from this port and to it. It drops them until the kernel, some time later,
    /// has told it that the other end is up (`linkwatch_event`, net/core/link_watch.c, and `br_port_carrier_check`,
    /// net/bridge/br_if.c at v6.12).
    #[track_caller]
    pub fn forwards(&self, port: &str) {
        const FORWARDING: &str = "3\n"; // BR_STATE_FORWARDING, linux/if_bridge.h
        let file = format!("/sys/class/net/{port}/brport/state");
        eventually(&format!("port {port} forwards"), || {
            let file = file.clone();
            let state = self.run(|| fs::read_to_string(file)).expect("a port of a bridge");
            (state == FORWARDING).then_some(())
        });
    }
}

/// A machine on one or several underlays.
pub struct Host {
    namespace: Namespace,
    containers: Cell<u32>,
}

impl Deref for Host {
    type Target = Namespace;
    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

impl Host {
    /// One with no network at all.
    pub fn new(name: &str) -> Self {
        Self { namespace: Namespace::new(name), containers: Cell::new(0) }
    }

    /// Runs `fanctl`.
    #[track_caller]
    pub fn fanctl(&self, words: &str) -> Output {
        self.fanctl_by("", words)
    }

    /// Runs `fanctl` by way of another program, as in `setpriv --reuid 65534 … fanctl`.
    #[track_caller]
    pub fn fanctl_by(&self, launcher: &str, words: &str) -> Output {
        self.exec(&format!("{launcher} {} {words}", Self::program()))
    }

    /// The `fanctl` under test: in a guest, where the binary was put; else the one cargo built.
    pub fn program() -> String {
        std::env::var("FANCTL_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_fanctl").into())
    }

    /// Brings up the fan of the announcement.
    #[track_caller]
    pub fn up(&self, encap: Encap) -> Output {
        self.fanctl(&format!("up 250.0.0.0/8 eth0/16 {}", encap.words())).ok()
    }

    /// Takes it down.
    #[track_caller]
    pub fn down(&self) -> Output {
        self.fanctl("down 250.0.0.0/8 eth0/16").ok()
    }

    /// A container on the fan bridge whose network holds the address; it takes width, gateway and MTU from the bridge.
    #[track_caller]
    pub fn container(&self, address: &str) -> Container {
        let bridge = self.bridge_of(address.parse().expect("an address"));
        let addressing = format!(
            "addr add {address}/{} dev eth0
             route add default via {}",
            bridge.address.prefix(),
            bridge.address.ip()
        );
        self.attach_with(&bridge.name, address, bridge.mtu, &addressing)
    }

    /// A namespace on a bridge, its eth0 up, without an address.
    #[track_caller]
    pub fn attach(&self, bridge: &str, name: &str, mtu: u64) -> Container {
        self.attach_with(bridge, name, mtu, "")
    }

    #[track_caller]
    fn attach_with(&self, bridge: &str, name: &str, mtu: u64, addressing: &str) -> Container {
        let namespace = Namespace::new(name);
        let port = format!("con{}", self.containers.get());
        self.containers.set(self.containers.get() + 1);
        let id = namespace.id();
        self.ip(&format!(
            "link add {port} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {id}
             link set {port} master {bridge} up"
        ));
        namespace.ip(&format!("link set lo up\n link set eth0 up\n {addressing}"));
        self.forwards(&port);
        Container { namespace, port }
    }

    /// Removes a container's port at once, and does not wait until the kernel removes it.
    #[track_caller]
    pub fn detach(&self, container: &Container) {
        self.ip(&format!("link del {}", container.port));
    }

    /// The fan bridge for a container's address: of the bridges named `fan-…` whose network holds it, the one whose
    /// slice is closest (several /8 fans may hold it, as may none).
    #[track_caller]
    fn bridge_of(&self, container: Ipv4Addr) -> Bridge {
        let links = self.exec("ip -j addr show type bridge").ok().json_or_empty();
        let bridges = links.as_array().expect("links").iter().filter_map(Bridge::of);
        bridges
            .filter(|bridge| bridge.address.contains(container))
            .min_by_key(|bridge| u32::from(bridge.address.ip()).abs_diff(u32::from(container)))
            .unwrap_or_else(|| panic!("no bridge for {container}: {links:#}"))
    }

    /// Packets that the programs on this device refused, as the clsact qdisc counts them.
    #[track_caller]
    pub fn refused_packets(&self, device: &str) -> u64 {
        let qdiscs = self.tc_json(&format!("qdisc show dev {device}"));
        let clsact = qdiscs.as_array().expect("qdiscs").iter().find(|qdisc| qdisc["kind"] == "clsact");
        let clsact = clsact.unwrap_or_else(|| panic!("no clsact on {device}: {qdiscs:#}"));
        clsact["drops"].as_u64().unwrap_or_else(|| panic!("no counter: {clsact:#}"))
    }

    /// Packets that rules of the fan 250.0.0.0/8 have counted in its tables of these families: those whose comment begins
    /// like this.
    #[track_caller]
    pub fn counted_packets(&self, families: &[&str], rule: &str) -> u64 {
        let tables = families.iter().map(|family| format!("{family} fan-250.0.0.0/8"));
        tables.flat_map(|table| self.counters_of(&table, rule)).sum()
    }

    /// The dnsmasqs that run here, by id and command line.
    pub fn dnsmasqs(&self) -> Vec<(Pid, String)> {
        self.processes().into_iter().filter(|(_, line)| line.contains("dnsmasq")).collect()
    }
}

/// A bridge with an address.
struct Bridge {
    name: String,
    address: Ipv4Network,
    mtu: u64,
}

impl Bridge {
    fn of(link: &Value) -> Option<Self> {
        let address = link["addr_info"].as_array()?.iter().find(|address| address["family"] == "inet")?;
        let len = u8::try_from(address["prefixlen"].as_u64()?).ok()?;
        Some(Self {
            name: link["ifname"].as_str()?.into(),
            address: Ipv4Network::new(address["local"].as_str()?.parse().ok()?, len).ok()?,
            mtu: link["mtu"].as_u64()?,
        })
    }
}

/// A container: a namespace whose eth0 is a port of a fan bridge.
pub struct Container {
    namespace: Namespace,
    /// The other end of eth0, on the host.
    pub port: String,
}

impl Container {
    /// The name of its port on the host.
    pub fn port(&self) -> &str {
        &self.port
    }
}

impl Deref for Container {
    type Target = Namespace;
    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}
