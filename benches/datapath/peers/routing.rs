//! Plain routing: each host has a route to the other's slice, and nothing is encapsulated. The limit.

use crate::site::{Connected, Site};

pub fn connect(site: Site) -> Connected {
    let containers = site.sides().map(|side| {
        let container = side.routed(1500);
        let other = side.other;
        side.host.ip(&format!("route add 250.0.{other}.0/24 via 172.30.0.{other}"));
        container
    });
    site.connected(containers, vec![])
}
