//! Variants that tell what a part costs. They run when asked for by name.

use super::{fan, masquerading};
use crate::harness::Encap;
use crate::site::{Connected, Site};

/// The fan over IPIP without its nftables tables, and so without connection tracking.
pub fn ipip_bare(site: Site) -> Connected {
    bare(fan::ipip(site))
}

/// The same over VXLAN.
pub fn vxlan_bare(site: Site) -> Connected {
    bare(fan::vxlan(site))
}

fn bare(connected: Connected) -> Connected {
    for host in &connected.site.hosts {
        let tables = "nft list tables | sed -n 's/^table \\(.* fan-.*\\)/delete table \\1/p'";
        let script = host.sh(tables).ok().stdout;
        assert!(!script.is_empty(), "a fan has tables");
        host.sh(&format!("nft -f - <<'END'\n{script}\nEND")).ok();
    }
    connected
}

/// The fan over VXLAN where frames that bridges carry pass the chains of IP too, as on hosts with Kubernetes.
pub fn vxlan_filtered(site: Site) -> Connected {
    site.filter_bridged();
    fan::vxlan(site)
}

/// Its twin there.
pub fn static_vxlan_filtered(site: Site) -> Connected {
    site.filter_bridged();
    masquerading::vxlan(site)
}

/// The fan over IPIP, each packet of which passes all chains.
pub fn ipip_slow(site: Site) -> Connected {
    fan::up(site, Encap::Ipip, "--no-flowtable")
}
