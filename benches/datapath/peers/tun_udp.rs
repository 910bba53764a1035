//! A tunnel in user space: what flannel's back end udp does, and Weave's slow path. The program is `../tunnel.rs`.

use std::env;
use std::process::Command;

use crate::site::{Connected, Site};

/// The port of flannel's back end udp.
const PORT: u16 = 8285;

pub fn connect(site: Site) -> Connected {
    let mut daemons = vec![];
    let containers = site.sides().map(|side| {
        let container = side.routed(1472);
        let (own, other) = (side.own, side.other);
        side.host.ip(&format!(
            "tuntap add flannel0 mode tun
             link set flannel0 mtu 1472 up
             addr add 250.0.{own}.0/8 dev flannel0"
        ));
        let mut tunnel = Command::new(env::current_exe().expect("our own file"));
        tunnel.args(["tunnel", "flannel0", &format!("172.30.0.{own}:{PORT}")]);
        tunnel.arg(format!("250.0.{other}.0/24=172.30.0.{other}:{PORT}"));
        daemons.push(side.host.spawn(tunnel));
        container
    });
    site.connected(containers, daemons)
}
