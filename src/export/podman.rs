//! Podman: a network of its `bridge` driver on the fan's bridge, which it is told not to manage: it would remove the bridge
//! with the last container, and masquerade what goes to other slices (netavark 1.14 and Podman 5.4 know the option). It makes
//! the network where it sees no addresses of the host's: it would refuse a subnet that the bridge already has, though not
//! managing the bridge (containers/common issue 2322).

use super::Network;
use super::text::{command, names};
use crate::fan::shell::quote;

/// `podman network create`.
pub fn network(network: &Network, name: &str) -> String {
    let mut options = vec![
        format!("--interface-name {}", quote(&network.bridge().bytes())),
        format!("--subnet {}", network.subnet()),
        format!("--ip-range {}-{}", network.first(), network.last()),
        format!("--gateway {}", network.gateway()),
        "--opt mode=unmanaged".into(),
        format!("--opt mtu={}", network.mtu),
    ];
    if network.fan.options.dhcp || network.fan.options.names {
        // The fan has the port at the gateway where Podman's name server would be.
        options.push("--disable-dns".into());
    }
    options.push(name.into());
    let created = command("unshare --net podman network create", &options);
    match names(network) {
        Some(options) => {
            format!("{created}# Names are an option of each container: podman run --network {name} {options} ...\n")
        }
        None => created,
    }
}
