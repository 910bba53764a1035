//! The fan, as `fanctl up` makes it, with its guard and its NAT.

use crate::harness::Encap;
use crate::site::{Connected, Site};

pub fn ipip(site: Site) -> Connected {
    connect(site, Encap::Ipip)
}

pub fn vxlan(site: Site) -> Connected {
    connect(site, Encap::Vxlan)
}

fn connect(site: Site, encap: Encap) -> Connected {
    let containers = site.sides().map(|side| {
        side.host.up(encap);
        side.host.container(&format!("250.0.{}.2", side.own))
    });
    site.connected(containers, vec![])
}
