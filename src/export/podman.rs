//! Podman: a network of its `bridge` driver on the fan's bridge.

use super::Network;
use super::text::{command, shell};

/// `podman network create`.
pub fn network(network: &Network, name: &str) -> String {
    let options = [
        format!("--interface-name {}", shell(network.bridge().as_str())),
        format!("--subnet {}", network.subnet),
        format!("--ip-range {}-{}", network.first(), network.last()),
        format!("--gateway {}", network.gateway()),
        format!("--opt mtu={}", network.mtu),
        name.into(),
    ];
    command("podman network create", &options)
}
