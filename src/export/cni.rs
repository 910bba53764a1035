//! CNI: the reference plugins `bridge` and `host-local`, and `portmap` for published ports.

use serde_json::json;

use super::Network;
use super::text::NDOTS;
use crate::fan::label::DOMAIN;

/// A list of plugins, for /etc/cni/net.d.
pub(crate) fn list(network: &Network, name: &str) -> String {
    let range = json!({
        "subnet": network.subnet().to_string(),
        "rangeStart": network.first(),
        "rangeEnd": network.last(),
        "gateway": network.gateway(),
    });
    let mut list = json!({
        "cniVersion": "0.4.0",
        "name": name,
        "plugins": [
            {
                "type": "bridge",
                "bridge": network.bridge().as_str(),
                "mtu": network.mtu,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[range]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    if network.fan.options.names {
        list["plugins"][0]["dns"] = json!({
            "nameservers": [network.gateway()], "search": [DOMAIN], "options": [NDOTS],
        });
    }
    format!("{list:#}\n")
}
