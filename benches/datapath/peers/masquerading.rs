//! The static tunnels as they are used: with NAT for what leaves the overlay, by the rules of flannel's `--ip-masq` (flannel,
//! pkg/trafficmngr); Calico's `natOutgoing` has rules like them. They have every packet tracked.

use super::{static_ipip, static_vxlan};
use crate::site::{Connected, Site};

pub fn ipip(site: Site) -> Connected {
    masquerading(static_ipip::connect(site))
}

pub fn vxlan(site: Site) -> Connected {
    masquerading(static_vxlan::connect(site))
}

fn masquerading(connected: Connected) -> Connected {
    connected.rules(
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
