//! The kernel's VXLAN with a route, a neighbour and a forwarding entry for each host, and no learning: what flannel's back
//! end vxlan does (flannel, pkg/backend/vxlan), and on the wire Weave's fast data path.

use crate::site::{Connected, Site};

pub fn connect(site: Site) -> Connected {
    let containers = site.sides().map(|side| {
        let container = side.routed(1450);
        let (own, other) = (side.own, side.other);
        side.host.ip(&format!(
            "link add flannel.1 address 02:00:00:00:00:{own} type vxlan id 1 local 172.30.0.{own} dev eth0 dstport 8472 nolearning
             link set flannel.1 mtu 1450 up
             addr add 250.0.{own}.0/32 dev flannel.1
             neigh add 250.0.{other}.0 lladdr 02:00:00:00:00:{other} dev flannel.1 nud permanent
             route add 250.0.{other}.0/24 via 250.0.{other}.0 dev flannel.1 onlink"
        ));
        let entry = format!("fdb add 02:00:00:00:00:{other} dev flannel.1 dst 172.30.0.{other} self permanent");
        side.host.batch("bridge", &entry).ok();
        container
    });
    site.connected(containers, vec![])
}
