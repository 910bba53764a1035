//! Docker: a network of its `bridge` driver on the fan's bridge, or the fan's bridge in place of docker0.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::Network;
use super::text::{NDOTS, command, names};
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::fan::label::DOMAIN;
use crate::fan::shell::quote;

/// `docker network create`.
pub fn network(network: &Network, name: &str) -> String {
    let mut options = options(network);
    options.push(name.into());
    let created = command("docker network create", &options);
    match names(network) {
        Some(options) => {
            format!("{created}# Names are an option of each container: docker run --network {name} {options} ...\n")
        }
        None => created,
    }
}

/// The commands of a node of a swarm. A swarm gives each node the same network, and each node has a slice of its own: settings
/// of the node go into a config-only network, which the network of the swarm refers to.
pub(crate) fn swarm(network: &Network, name: &str) -> String {
    let node = format!("{name}-node");
    let mut options = options(network);
    options.push(node.clone());
    let manager = "docker info --format '{{.Swarm.ControlAvailable}}'";
    let mut commands = command("docker network create --config-only", &options)
        + &format!(
            "if [ \"$({manager})\" = true ] && ! docker network inspect {name} >/dev/null 2>&1; then\n  \
             docker network create --driver bridge --scope swarm --attachable --config-from {node} {name}\nfi\n"
        );
    // A stack has one text for all nodes, and each node a server of its own.
    let keys = names_keys(network);
    if !keys.is_empty() {
        // Writing to a string cannot fail.
        let _ = writeln!(commands, "# Names are a setting of each node's daemon.json: {}", Value::Object(keys));
    }
    commands
}

/// What tells Docker of the fan.
fn options(network: &Network) -> Vec<String> {
    let mut options = vec![format!("--subnet {}", network.subnet()), format!("--gateway {}", network.gateway())];
    if network.is_flat() {
        // Docker keeps out the first and last address of the subnet, of which it takes no aux-address, and not those of the
        // range.
        let (subnet, slice) = (network.subnet(), network.slice());
        options.push(format!("--ip-range {slice}"));
        let ends = [("network", slice.network()), ("broadcast", slice.broadcast())];
        let kept_out = [subnet.network(), subnet.broadcast()];
        let others = ends.iter().filter(|(_, address)| !kept_out.contains(address));
        options.extend(others.map(|(name, address)| format!("--aux-address {name}={address}")));
    }
    for (index, address) in network.reserved().enumerate() {
        options.push(format!("--aux-address reserved{}={address}", index + 1));
    }
    let mut option =
        |key: &str, value: &str| options.push(format!("-o com.docker.network.{key}={}", quote(value.as_bytes())));
    option("bridge.name", network.bridge().as_str());
    option("bridge.enable_ip_masquerade", "false");
    if network.fan.options.encapsulation.is_routed() {
        // Since release 28 Docker drops what comes for a container by another way than the bridge; before, it does not
        // know the option and passes over it.
        option("bridge.trusted_host_interfaces", &tunnels(&network.fan));
    }
    option("driver.mtu", &network.mtu.to_string());
    options
}

/// Every device by which packets of other hosts may come, with colons between them: those of both kinds of epochs over WireGuard.
fn tunnels(fan: &Fan) -> String {
    match fan.options.encapsulation {
        Encapsulation::Wireguard => format!("{}:{}", fan.tunnel_of(0), fan.tunnel_of(1)),
        Encapsulation::Ipip | Encapsulation::Vxlan => fan.tunnel().to_string(),
    }
}

/// daemon.json.
pub(crate) fn daemon(network: &Network) -> String {
    format!("{:#}\n", Value::Object(daemon_keys(network)))
}

fn daemon_keys(network: &Network) -> Map<String, Value> {
    let mut keys = Map::new();
    keys.insert("bridge".into(), network.bridge().as_str().into());
    keys.insert("fixed-cidr".into(), network.unreserved().to_string().into());
    keys.insert("ip-masq".into(), false.into());
    keys.insert("mtu".into(), network.mtu.into());
    keys.extend(names_keys(network));
    keys
}

/// The keys by which containers find names; none where the fan has none.
fn names_keys(network: &Network) -> Map<String, Value> {
    let mut keys = Map::new();
    if network.fan.options.names {
        keys.insert("dns".into(), json!([network.gateway()]));
        keys.insert("dns-search".into(), json!([DOMAIN]));
        keys.insert("dns-opts".into(), json!([NDOTS]));
    }
    keys
}

/// daemon.json with the other keys of the one that is there.
///
/// # Errors
/// A sentence: that is none, or names a bridge's address beside the bridge, with which Docker does not start ("bip" and
/// "bridge" are mutually exclusive). With `force` it goes.
pub(crate) fn merged_daemon(network: &Network, there: &str, force: bool) -> Result<String, String> {
    const EXCLUDED: &str = "bip";
    let mut daemon = match serde_json::from_str(there) {
        Ok(Value::Object(daemon)) => daemon,
        _ if force => Map::new(),
        Ok(_) => return Err("is no daemon.json, which is an object".into()),
        Err(error) => return Err(format!("is no daemon.json: {error}")),
    };
    if daemon.contains_key(EXCLUDED) && !force {
        return Err(format!("has the key '{EXCLUDED}', which Docker does not take beside 'bridge'; remove it"));
    }
    daemon.remove(EXCLUDED);
    daemon.extend(daemon_keys(network));
    Ok(format!("{:#}\n", Value::Object(daemon)))
}
