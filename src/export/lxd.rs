//! LXD and Incus: a profile whose network card is a port of the fan's bridge. Addresses are for the fan's DHCP to give.

use super::Network;
use super::text::quoted;

/// A profile, for `lxc profile edit`.
pub(crate) fn profile(network: &Network, name: &str) -> String {
    let lack = if network.fan.options.dhcp {
        ""
    } else {
        "# Without dhcp the fan gives out no addresses: instances need their own.\n"
    };
    let (name, mtu) = (quoted(name), network.mtu);
    let description = quoted(&format!("on the fan {}", network.fan.overlay()));
    let bridge = quoted(network.bridge().as_str());
    format!(
        "{lack}name: {name}
description: {description}
config: {{}}
devices:
  eth0:
    type: nic
    nictype: bridged
    name: eth0
    parent: {bridge}
    mtu: \"{mtu}\"
"
    )
}
