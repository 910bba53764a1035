//! libvirt: the fan's bridge as a network. A guest's address is for the fan's DHCP to give, and so is its MTU: libvirt takes
//! none for a network whose bridge is not its own ("mtu size only allowed in open, route, nat, and isolated mode").

use super::Network;
use super::text::xml;

/// A network, for `virsh net-define`.
pub fn network(network: &Network, name: &str) -> String {
    let lack = if network.fan.options.dhcp {
        ""
    } else {
        "<!-- Without dhcp the fan gives out no addresses: guests need their own. -->\n"
    };
    let bridge = xml(network.bridge().as_str());
    format!(
        "{lack}<network>
  <name>{name}</name>
  <forward mode='bridge'/>
  <bridge name='{bridge}'/>
</network>
"
    )
}
