//! What `up` tells of a host that it leaves as it is: settings of the administrator that matter to the fan.

use std::fmt;

use ipnetwork::Ipv4Network;

use crate::fan::Fan;
use crate::fan::encap::{Encapsulation, SOURCE_PORTS, SourcePorts};
use crate::fan::name::InterfaceName;
use crate::plan::host::{Host, Link};

/// Such a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remark {
    /// A network is routed behind a container, and the fan does not list it.
    NotListed {
        /// The network.
        network: Ipv4Network,
        /// The bridge that the route leads to.
        bridge: InterfaceName,
    },
    /// An earlier version made a VXLAN device on the fan's port, which sends from source ports that any process can have.
    OlderTunnel(InterfaceName),
    /// `net.ipv4.ip_unprivileged_port_start` lets processes without capabilities have the source ports of VXLAN, or the port
    /// from which gateways tell each other names.
    PortsForAll(u16),
}

impl Remark {
    /// A word for programs.
    #[must_use]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotListed { .. } => "route-not-listed",
            Self::OlderTunnel(_) => "source-ports-older",
            Self::PortsForAll(_) => "source-ports-unprivileged",
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListed { network, bridge } => write!(
                f,
                "network '{network}' is routed to '{bridge}', but packets from it are dropped there: list it with --routed \
                 {network}"
            ),
            Self::OlderTunnel(device) => write!(
                f,
                "interface '{device}' was made by an earlier version and is kept, so that no packet is lost; until it is \
                 made anew, by down and up or at the next boot, any process can send in the name of this host's containers"
            ),
            Self::PortsForAll(start) => write!(
                f,
                "net.ipv4.ip_unprivileged_port_start is {start}, so any process can send in the name of this host's \
                 containers: set it to {} or more",
                SOURCE_PORTS.1 + 1
            ),
        }
    }
}

/// What there is to tell about a fan on this host.
#[must_use]
pub(crate) fn remarks(fan: &Fan, host: &Host) -> Vec<Remark> {
    let overlay = fan.overlay().network();
    let leads_here =
        host.routes.iter().filter(|route| route.device.as_ref() == Some(&fan.bridge) && route.gateway.is_some());
    let networks = leads_here.map(|route| route.destination);
    let networks = networks
        .filter(|network| network.prefix() > 0 && !network.overlaps(overlay) && !fan.options.routed.hold(*network));
    let mut remarks: Vec<Remark> =
        networks.map(|network| Remark::NotListed { network, bridge: fan.bridge.clone() }).collect();
    remarks.dedup();
    if fan.options.encapsulation == Encapsulation::Vxlan {
        let is_older = |link: &&Link| host.source_ports(fan.port(), Some(&link.name)) == SourcePorts::Any;
        let older = host.links.iter().find(is_older);
        remarks.extend(older.map(|link| Remark::OlderTunnel(link.name.clone())));
    }
    let start = host.unprivileged_ports.filter(|start| *start <= SOURCE_PORTS.1);
    let matters = fan.options.encapsulation == Encapsulation::Vxlan || fan.options.names;
    remarks.extend(start.filter(|_| matters).map(Remark::PortsForAll));
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::options::Options;
    use crate::fan::tests::announced;
    use crate::plan::host::ForeignRoute;

    #[test]
    fn what_is_routed_behind_containers_is_listed_or_told() {
        let route = |destination: &str| ForeignRoute {
            table: 254,
            destination: destination.parse().unwrap(),
            device: Some("fan-250-0-28".parse().unwrap()),
            is_throw: false,
            gateway: Some("250.0.28.2".parse().unwrap()),
            metric: 0,
            mtu: None,
        };
        let host = Host {
            routes: vec![route("10.8.0.0/24"), route("10.9.0.0/24"), route("250.0.28.128/25")],
            unprivileged_ports: Some(1024),
            ..Host::default()
        };
        let fan =
            Fan { options: Options { routed: "10.8.0.0/16".parse().unwrap(), ..Options::default() }, ..announced() };
        let told = remarks(&fan, &host);
        assert_eq!(told.iter().map(Remark::code).collect::<Vec<_>>(), ["route-not-listed"]);
        assert!(told[0].to_string().contains("--routed 10.9.0.0/24"));
    }

    #[test]
    fn ports_that_any_process_can_have_matter_over_vxlan_and_for_names() {
        let over_vxlan =
            Fan { options: Options { encapsulation: Encapsulation::Vxlan, ..Options::default() }, ..announced() };
        let host = |start| Host { unprivileged_ports: Some(start), ..Host::default() };
        assert_eq!(remarks(&over_vxlan, &host(1024)), []);
        assert_eq!(remarks(&over_vxlan, &host(1023)), [Remark::PortsForAll(1023)]);
        assert_eq!(remarks(&announced(), &host(0)), []);
        let with_names = Fan { options: Options { names: true, ..Options::default() }, ..announced() };
        assert_eq!(remarks(&with_names, &host(0)), [Remark::PortsForAll(0)]);
    }
}
