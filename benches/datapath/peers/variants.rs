//! Variants that tell what a part costs. They run when asked for by name.

use super::fan;
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

/// The fan over IPIP, each packet of which passes all chains.
pub fn ipip_slow(site: Site) -> Connected {
    fan::up(site, Encap::Ipip, "--no-flowtable")
}

/// The fan over IPIP, what carries it not tracked.
pub fn ipip_untracked(site: Site) -> Connected {
    untracked(fan::ipip(site), "ip protocol 4")
}

/// The same over VXLAN.
pub fn vxlan_untracked(site: Site) -> Connected {
    untracked(fan::vxlan(site), "udp dport 8472")
}

fn untracked(connected: Connected, what: &str) -> Connected {
    let chain = |hook| format!("chain {hook} {{\n type filter hook {hook} priority -301\n {what} notrack\n }}");
    let chains = ["prerouting", "output"].map(chain).join("\n");
    connected.rules(&format!("table ip untracked {{\n{chains}\n}}"))
}
