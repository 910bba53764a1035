//! The fan, as `fanctl up` makes it, with its guard and its NAT.

use crate::harness::Encap;
use crate::site::{Connected, Site};

pub fn ipip(site: Site) -> Connected {
    up(site, Encap::Ipip, "")
}

pub fn vxlan(site: Site) -> Connected {
    up(site, Encap::Vxlan, "")
}

/// With more options.
pub fn up(site: Site, encap: Encap, options: &str) -> Connected {
    let containers = site.sides().map(|side| {
        let words = encap.words();
        side.host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {words} {options}")).ok();
        side.host.container(&format!("250.0.{}.2", side.own))
    });
    site.connected(containers, vec![])
}
