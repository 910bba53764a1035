//! The kernel's IPIP with a route for each host, the host's address being the next hop: what flannel's back end ipip and
//! Calico do (flannel, pkg/backend/ipip/ipip.go).

use crate::site::{Connected, Site};

pub fn connect(site: Site) -> Connected {
    let containers = site.sides().map(|side| {
        let container = side.routed(1480);
        let (own, other) = (side.own, side.other);
        side.host.ip(&format!(
            "link add flannel.ipip type ipip local 172.30.0.{own}
             link set flannel.ipip mtu 1480 up
             addr add 250.0.{own}.0/32 dev flannel.ipip
             route add 250.0.{other}.0/24 via 172.30.0.{other} dev flannel.ipip onlink"
        ));
        container
    });
    site.connected(containers, vec![])
}
