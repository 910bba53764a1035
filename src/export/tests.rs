use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fan::encap::Encapsulation;
use crate::fan::mapping::tests::any_mapping;
use crate::fan::options::Options;
use crate::fan::tests::announced;

pub(super) fn ipip() -> Network {
    Network::new(announced(), 1480)
}

pub(super) fn vxlan() -> Network {
    let encapsulation = Encapsulation::Vxlan;
    Network::new(Fan { options: Options { encapsulation, ..Options::default() }, ..announced() }, 1450)
}

/// The same, with addresses that the host keeps.
pub(super) fn reserving(network: Network, host_reserve: u8) -> Network {
    let fan = Fan { options: Options { host_reserve, ..network.fan.options }, ..network.fan };
    Network { fan, ..network }
}

fn on_bridge(network: Network, bridge: &str) -> Network {
    let bridge = bridge.parse().unwrap();
    let fan = Fan { bridge, ..network.fan };
    Network { fan, ..network }
}

fn with_dhcp(network: Network) -> Network {
    let fan = Fan { options: Options { dhcp: true, ..network.fan.options }, ..network.fan };
    Network { fan, ..network }
}

#[test]
fn docker_over_ipip_has_the_slice() {
    let text = ipip().render(Runtime::Docker, "fan").unwrap();
    assert!(include_str!("../../docs/docker.md").contains(&text), "the example of docs/docker.md");
    assert_eq!(
        text,
        "\
docker network create \\
  --subnet 250.0.28.0/24 \\
  --gateway 250.0.28.1 \\
  -o com.docker.network.bridge.name=fan-250-0-28 \\
  -o com.docker.network.bridge.enable_ip_masquerade=false \\
  -o com.docker.network.bridge.trusted_host_interfaces=fan-ipip \\
  -o com.docker.network.driver.mtu=1480 \\
  fan
"
    );
}

#[test]
fn a_swarm_has_one_network_and_each_node_its_own_part() {
    let text = ipip().docker_swarm("fan");
    assert!(include_str!("../../docs/docker.md").contains(&text), "the example of docs/docker.md");
    let node = ipip().render(Runtime::Docker, "fan-node").unwrap();
    let (node, manager) =
        (node.replace("create ", "create --config-only "), &text[node.len() + "--config-only ".len()..]);
    assert!(text.starts_with(&node), "{text}");
    assert_eq!(
        manager,
        "\
if [ \"$(docker info --format '{{.Swarm.ControlAvailable}}')\" = true ] && ! docker network inspect fan >/dev/null 2>&1; then
  docker network create --driver bridge --scope swarm --attachable --config-from fan-node fan
fi
"
    );
    assert_eq!(may_replace(Runtime::Docker, "fan", &text), Ok(()));
    assert!(may_replace(Runtime::Docker, "node", &text).is_err());
}

#[test]
fn docker_over_vxlan_has_the_overlay_and_gives_out_the_slice() {
    assert_eq!(
        reserving(vxlan(), 3).render(Runtime::Docker, "blue").unwrap(),
        "\
docker network create \\
  --subnet 250.0.0.0/8 \\
  --gateway 250.0.28.1 \\
  --ip-range 250.0.28.0/24 \\
  --aux-address network=250.0.28.0 \\
  --aux-address broadcast=250.0.28.255 \\
  --aux-address reserved1=250.0.28.2 \\
  --aux-address reserved2=250.0.28.3 \\
  -o com.docker.network.bridge.name=fan-250-0-28 \\
  -o com.docker.network.bridge.enable_ip_masquerade=false \\
  -o com.docker.network.driver.mtu=1450 \\
  blue
"
    );
}

#[test]
fn docker_keeps_the_ends_of_the_overlay_to_itself() {
    for (host, aux) in [("10.5.0.0", "broadcast=250.0.0.255"), ("10.5.255.255", "network=250.255.255.0")] {
        let label = format!("fan 250.0.0.0/8 {host}/16 dev eth0 vxlan host-reserve 1");
        let fan = Fan::from_label(&"fan7".parse().unwrap(), &label).unwrap();
        let text = Network::new(fan, 1450).render(Runtime::Docker, "fan").unwrap();
        let told: Vec<&str> = text.lines().filter(|line| line.contains("--aux-address")).collect();
        assert_eq!(told, [format!("  --aux-address {aux} \\")], "{text}");
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn dockers_own_bridge_is_the_fans() {
    assert_eq!(
        parsed(&ipip().docker_daemon()),
        json!({ "bridge": "fan-250-0-28", "fixed-cidr": "250.0.28.0/24", "ip-masq": false, "mtu": 1480 })
    );
    for (host_reserve, range) in [
        (1, "250.0.28.0/24"),
        (2, "250.0.28.128/25"),
        (127, "250.0.28.128/25"),
        (128, "250.0.28.192/26"),
        (250, "250.0.28.252/30"),
        (253, "250.0.28.254/31"),
    ] {
        let daemon = parsed(&reserving(vxlan(), host_reserve).docker_daemon());
        assert_eq!(daemon["fixed-cidr"], range, "host-reserve {host_reserve}");
    }
}

#[test]
fn podman_is_given_the_range() {
    assert_eq!(
        reserving(vxlan(), 4).render(Runtime::Podman, "fan").unwrap(),
        "\
unshare --net podman network create \\
  --interface-name fan-250-0-28 \\
  --subnet 250.0.0.0/8 \\
  --ip-range 250.0.28.5-250.0.28.254 \\
  --gateway 250.0.28.1 \\
  --opt mode=unmanaged \\
  --opt mtu=1450 \\
  fan
"
    );
}

#[test]
fn the_page_shows_what_podman_is_told() {
    let text = ipip().render(Runtime::Podman, "fan").unwrap();
    assert!(include_str!("../../docs/podman.md").contains(&text), "{text}");
}

#[test]
fn podman_leaves_names_to_the_server_that_is_there() {
    for (network, is_told) in [(ipip(), false), (with_dhcp(ipip()), true)] {
        let text = network.render(Runtime::Podman, "fan").unwrap();
        assert_eq!(text.contains("--disable-dns"), is_told, "{text}");
    }
}

#[test]
fn who_can_be_told_of_names_is() {
    let network = ipip();
    let options = Options { names: true, ..network.fan.options.clone() };
    let network = Network { fan: Fan { options, ..network.fan }, ..network };
    let told = |runtime| network.render(runtime, "fan").unwrap();
    let words = "--network fan --dns 250.0.28.1 --dns-search fan.internal --dns-option ndots:1 ...\n";
    assert!(told(Runtime::Docker).ends_with(&format!("# Names are an option of each container: docker run {words}")));
    let podman = told(Runtime::Podman);
    assert!(podman.contains("--disable-dns") && podman.ends_with(&format!("podman run {words}")), "{podman}");
    let dns = json!({ "nameservers": ["250.0.28.1"], "search": ["fan.internal"], "options": ["ndots:1"] });
    assert_eq!(parsed(&told(Runtime::Cni))["plugins"][0]["dns"], dns);
    let swarm = network.docker_swarm("fan");
    let (_, setting) = swarm.rsplit_once("# Names are a setting of each node's daemon.json: ").unwrap();
    let keys = json!({ "dns": ["250.0.28.1"], "dns-search": ["fan.internal"], "dns-opts": ["ndots:1"] });
    assert_eq!(parsed(setting), keys);
    for (runtime, text) in
        [(Runtime::Docker, swarm), (Runtime::Docker, told(Runtime::Docker)), (Runtime::Podman, podman)]
    {
        assert_eq!(may_replace(runtime, "fan", &text), Ok(()));
    }
    let daemon = parsed(&network.docker_daemon());
    assert_eq!((&daemon["dns"], &daemon["dns-search"]), (&json!(["250.0.28.1"]), &json!(["fan.internal"])));
}

#[test]
fn cni_is_given_the_range() {
    let list = parsed(&ipip().render(Runtime::Cni, "fan").unwrap());
    assert_eq!((&list["name"], &list["cniVersion"]), (&json!("fan"), &json!("0.4.0")));
    let bridge = &list["plugins"][0];
    assert_eq!((&bridge["bridge"], &bridge["mtu"]), (&json!("fan-250-0-28"), &json!(1480)));
    assert_eq!(
        bridge["ipam"]["ranges"],
        json!([[{
            "subnet": "250.0.28.0/24",
            "rangeStart": "250.0.28.2",
            "rangeEnd": "250.0.28.254",
            "gateway": "250.0.28.1",
        }]])
    );
    let flat = parsed(&vxlan().render(Runtime::Cni, "fan").unwrap());
    assert_eq!(flat["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "250.0.0.0/8");
}

#[test]
fn flannel_is_told_that_nobody_else_masquerades() {
    assert_eq!(
        vxlan().render(Runtime::FlannelEnv, "fan").unwrap(),
        "FLANNEL_NETWORK=250.0.0.0/8\nFLANNEL_SUBNET=250.0.28.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    );
    let reason = reserving(ipip(), 2).render(Runtime::FlannelEnv, "fan").unwrap_err();
    assert!(reason.contains("reserves 250.0.28.2"), "{reason}");
}

#[test]
fn where_dhcp_gives_out_addresses_its_lack_is_told() {
    for runtime in [Runtime::Lxd, Runtime::Libvirt] {
        for (network, is_told) in [(ipip(), true), (with_dhcp(ipip()), false)] {
            let text = network.render(runtime, "fan").unwrap();
            assert_eq!(text.contains("Without dhcp"), is_told, "{text}");
        }
    }
}

#[test]
fn a_bridge_of_an_odd_name_is_quoted() {
    let odd = on_bridge(with_dhcp(vxlan()), r#"a'b"$&<c"#);
    let render = |runtime| odd.render(runtime, "fan").unwrap();
    assert!(render(Runtime::Docker).contains(r#"bridge.name='a'\''b"$&<c'"#));
    assert!(render(Runtime::Podman).contains(r#"--interface-name 'a'\''b"$&<c'"#));
    assert!(render(Runtime::Lxd).contains(r#"parent: "a'b\"$&<c""#));
    assert!(render(Runtime::Libvirt).contains(r#"<bridge name='a&apos;b"$&amp;&lt;c'/>"#));
    assert_eq!(parsed(&render(Runtime::Cni))["plugins"][0]["bridge"], r#"a'b"$&<c"#);
}

#[test]
fn names_are_those_that_every_runtime_takes() {
    for name in ["fan", "f7", "Fan_2.blue-green"] {
        assert_eq!(network_name(name).as_deref(), Ok(name));
    }
    for name in ["", "f", "-fan", ".fan", "a b", "a;b", "a/b", "ä", &"x".repeat(64)] {
        let reason = network_name(name).unwrap_err();
        assert!(reason.starts_with(&format!("name '{name}'")), "{reason}");
    }
}

/// Any fan with room for a container.
pub(super) fn any_network() -> impl Strategy<Value = Network> {
    let parts = (any_mapping(), any::<u32>(), 1_u8.., any::<bool>());
    parts.prop_filter_map("no room for a container", |(mapping, bits, host_reserve, flat)| {
        let underlay = mapping.underlay().network();
        let host = Ipv4Addr::from(u32::from(underlay.network()) | (bits & !u32::from(underlay.mask())));
        let encapsulation = if flat { Encapsulation::Vxlan } else { Encapsulation::Ipip };
        let fan = Fan {
            mapping,
            host,
            options: Options { encapsulation, host_reserve, ..Options::default() },
            ..announced()
        };
        (u32::from(host_reserve) < fan.slice().size() - 2).then(|| Network::new(fan, 1400))
    })
}

proptest! {
    /// Nothing outside of the slice is given out, nor what the bridge holds, and something always is.
    #[test]
    fn what_is_given_out_is_the_slices_and_not_the_hosts(network in any_network()) {
        let slice = network.slice();
        prop_assert!(network.first() <= network.last() && slice.contains(network.first()) && slice.contains(network.last()));
        let held: Vec<_> = network.fan.bridge_addresses().map(Ipv4Network::ip).collect();
        let reserved: Vec<_> = std::iter::once(network.gateway()).chain(network.reserved()).collect();
        prop_assert_eq!(&held, &reserved);
        prop_assert!(held.iter().all(|held| *held < network.first()));
        let range = network.unreserved();
        prop_assert!(slice.contains(range.network()) && slice.contains(range.broadcast()));
        prop_assert!(range.contains(network.last()));
        prop_assert!(network.fan.options.host_reserve == 1 || network.reserved().all(|reserved| !range.contains(reserved)));
    }
}
