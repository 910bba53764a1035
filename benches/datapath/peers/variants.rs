//! Variants that tell what a part costs. They run when asked for by name.

use super::{fan, static_ipip, static_vxlan};
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

/// The fan over IPIP, its tables there, but neither what stays in the overlay tracked nor what carries it.
pub fn ipip_untracked(site: Site) -> Connected {
    untracked(fan::ipip(site))
}

/// The same over VXLAN.
pub fn vxlan_untracked(site: Site) -> Connected {
    untracked(fan::vxlan(site))
}

fn untracked(connected: Connected) -> Connected {
    let rules = "ip saddr 250.0.0.0/8 ip daddr 250.0.0.0/8 notrack; ip protocol 4 notrack; udp dport 8472 notrack;";
    let chain = |hook| format!("chain {hook} {{ type filter hook {hook} priority raw; {rules} }}");
    let chains = ["prerouting", "output"].map(chain).join("\n");
    on_both(connected, &format!("table ip untracked {{\n{chains}\n}}"))
}

/// Static IPIP with the rules of flannel's `--ip-masq` (flannel, pkg/trafficmngr), which have every packet tracked too.
pub fn static_ipip_masq(site: Site) -> Connected {
    masquerading(static_ipip::connect(site))
}

/// The same over VXLAN.
pub fn static_vxlan_masq(site: Site) -> Connected {
    masquerading(static_vxlan::connect(site))
}

fn masquerading(connected: Connected) -> Connected {
    on_both(
        connected,
        "table ip nat {
           chain postrouting {
             type nat hook postrouting priority srcnat;
             ip saddr 250.0.0.0/8 ip daddr 250.0.0.0/8 counter return
             ip saddr 250.0.0.0/8 ip daddr != 224.0.0.0/4 counter masquerade
             ip saddr != 250.0.0.0/8 ip daddr 250.0.0.0/8 counter masquerade
           }
         }",
    )
}

fn on_both(connected: Connected, rules: &str) -> Connected {
    for host in &connected.site.hosts {
        host.sh(&format!("nft -f - <<'END'\n{rules}\nEND")).ok();
    }
    connected
}
