//! Networks as runtimes have them, by what the runtimes say: `docker network inspect`, daemon.json, `podman network inspect`,
//! a list of CNI plugins. All of it is JSON.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use serde_json::Value;

use super::Runtime;

/// A network of a runtime's, as far as a fan cares. What the runtime does not say is none or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    /// What the runtime calls it.
    pub name: String,
    /// The bridge; none where the runtime makes one of its own.
    pub(crate) bridge: Option<String>,
    /// What containers have on link.
    pub(crate) subnet: Option<Ipv4Network>,
    /// The first and the last address that may be given out, if not to be kept out.
    pub(crate) range: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Where containers send what is not on link.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// Addresses in the range that are not given out.
    pub(crate) kept_out: BTreeSet<Ipv4Addr>,
    /// Bytes.
    pub(crate) mtu: Option<u32>,
    /// Whether the runtime sees to the bridge, and removes it.
    pub(crate) manages_bridge: bool,
}

/// A text of a field that may not be there, read as what it stands for.
fn read<T: std::str::FromStr>(value: &Value) -> Option<T> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

fn whole(network: Ipv4Network) -> (Ipv4Addr, Ipv4Addr) {
    (network.network(), network.broadcast())
}

/// The first in a list whose subnet, under this key, is of IPv4.
fn of_ipv4<'a>(configs: &'a Value, key: &str) -> &'a Value {
    let found = list(configs).iter().find(|config| read::<Ipv4Network>(&config[key]).is_some());
    found.unwrap_or(&Value::Null)
}

/// The addresses of a subnet that no container can have.
fn ends(subnet: Option<Ipv4Network>) -> impl Iterator<Item = Ipv4Addr> {
    subnet.into_iter().flat_map(|subnet| [subnet.network(), subnet.broadcast()])
}

/// From the one address to the other, or where one is not said, that end of the subnet.
fn range(first: &Value, last: &Value, subnet: Option<Ipv4Network>) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let whole = subnet.map(whole).unzip();
    read(first).or(whole.0).zip(read(last).or(whole.1))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The networks that a runtime says it has. `is_daemon` tells of Docker that the text is its daemon.json.
///
/// # Errors
/// A sentence: this is nothing that the runtime would say.
pub(crate) fn networks(runtime: Runtime, text: &str, is_daemon: bool) -> Result<Vec<Given>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    let networks: Vec<Given> = match runtime {
        Runtime::Docker if is_daemon => value.is_object().then(|| docker_daemon(&value)).into_iter().collect(),
        Runtime::Docker => list(&value).iter().filter_map(docker).collect(),
        Runtime::Podman => list(&value).iter().filter_map(podman).collect(),
        _ => list(&value["plugins"]).iter().filter_map(|plugin| cni(&value, plugin)).collect(),
    };
    if networks.is_empty() {
        return Err(format!("names no network of {runtime}"));
    }
    Ok(networks)
}

/// One of `docker network inspect`.
fn docker(network: &Value) -> Option<Given> {
    let option = |key: &str| &network["Options"][format!("com.docker.network.{key}")];
    let config = of_ipv4(&network["IPAM"]["Config"], "Subnet");
    let subnet: Option<Ipv4Network> = read(&config["Subnet"]);
    let others = config["AuxiliaryAddresses"].as_object().into_iter().flatten();
    let mut kept_out: BTreeSet<Ipv4Addr> = others.filter_map(|(_, address)| read(address)).collect();
    kept_out.extend(ends(subnet));
    Some(Given {
        name: read(&network["Name"])?,
        bridge: read(option("bridge.name")),
        subnet,
        range: read(&config["IPRange"]).or(subnet).map(whole),
        gateway: read(&config["Gateway"]),
        kept_out,
        mtu: read(option("driver.mtu")),
        manages_bridge: false,
    })
}

/// Docker's daemon.json, whose subnet and gateway are what the bridge has.
fn docker_daemon(daemon: &Value) -> Given {
    Given {
        name: "bridge".into(),
        bridge: read(&daemon["bridge"]),
        range: read(&daemon["fixed-cidr"]).map(whole),
        mtu: read(&daemon["mtu"]),
        ..Given::default()
    }
}

/// One of `podman network inspect`.
fn podman(network: &Value) -> Option<Given> {
    let config = of_ipv4(&network["subnets"], "subnet");
    let subnet: Option<Ipv4Network> = read(&config["subnet"]);
    let (first, last) = (&config["lease_range"]["start_ip"], &config["lease_range"]["end_ip"]);
    Some(Given {
        name: read(&network["name"])?,
        bridge: read(&network["network_interface"]),
        subnet,
        range: range(first, last, subnet),
        gateway: read(&config["gateway"]),
        kept_out: ends(subnet).collect(),
        mtu: read(&network["options"]["mtu"]),
        manages_bridge: network["options"]["mode"] != "unmanaged",
    })
}

/// A plugin of a list, if it is one that puts containers on a bridge.
fn cni(list_of: &Value, plugin: &Value) -> Option<Given> {
    (plugin["type"] == "bridge").then_some(())?;
    let ipam = &plugin["ipam"];
    // Before there were ranges, there was one.
    let pool = if ipam["ranges"][0][0].is_object() { &ipam["ranges"][0][0] } else { ipam };
    let subnet: Option<Ipv4Network> = read(&pool["subnet"]);
    let (first, last) = (&pool["rangeStart"], &pool["rangeEnd"]);
    Some(Given {
        name: read(&list_of["name"])?,
        bridge: read(&plugin["bridge"]),
        subnet,
        range: range(first, last, subnet),
        // host-local takes the first address where none is named.
        gateway: read(&pool["gateway"]).or(subnet.map(|subnet| Ipv4Addr::from(u32::from(subnet.network()) + 1))),
        kept_out: ends(subnet).collect(),
        mtu: read(&plugin["mtu"]),
        manages_bridge: false,
    })
}
