//! WireGuard between the hosts, each the other's peer for its slice: what flannel's back end wireguard does. It encrypts,
//! and so it is here for what it costs, not as an equal.

use crate::site::{Connected, Site};

pub fn connect(site: Site) -> Connected {
    let sides = site.sides();
    let keys = sides.map(|side| {
        side.host.ip("link add flannel-wg mtu 1420 type wireguard");
        let script = "umask 077; wg genkey >/run/key; wg pubkey </run/key";
        side.host.sh(script).ok().stdout.trim().to_string()
    });
    let [first, second] = keys;
    let containers = [(sides[0], second), (sides[1], first)].map(|(side, key)| {
        let container = side.routed(1420);
        let (own, other) = (side.own, side.other);
        side.host.exec(&format!(
            "wg set flannel-wg listen-port 51820 private-key /run/key \
             peer {key} endpoint 172.30.0.{other}:51820 allowed-ips 250.0.{other}.0/24"
        ));
        side.host.ip(&format!(
            "link set flannel-wg up
             addr add 250.0.{own}.0/32 dev flannel-wg
             route add 250.0.{other}.0/24 dev flannel-wg"
        ));
        container
    });
    site.connected(containers, vec![])
}
