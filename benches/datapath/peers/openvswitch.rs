//! Open vSwitch's VXLAN: its kernel module, with the entries that ovs-vswitchd puts there when it has seen the first packet
//! of a flow. The daemon itself, which only sees first packets, is not run.

use std::process::Command;

use crate::harness::Container;
use crate::site::{Connected, Side, Site};

/// The ports of the datapath in the order in which they are added; 0 is its own.
const CONTAINER: u8 = 1;
const TUNNEL: u8 = 2;

/// Why the program that configures the module cannot be used, if so.
pub fn missing_program() -> Option<String> {
    let said = Command::new("ovs-dpctl").arg("--version").output();
    let there = said.is_ok_and(|output| output.status.success());
    (!there).then(|| "there is no ovs-dpctl (Debian's openvswitch-common)".into())
}

pub fn connect(site: Site) -> Connected {
    let containers = site.sides().map(|side| {
        let container = attach(&side);
        let (own, other) = (side.own, side.other);
        for line in [
            "add-dp dp0".to_string(),
            "add-if dp0 con0".into(),
            "add-if dp0 vxlan0,type=vxlan,remote_ip=flow,key=flow".into(),
        ] {
            side.host.exec(&format!("ovs-dpctl {line}")).ok();
        }
        let wrap = format!("set(tunnel(tun_id=0x1,dst=172.30.0.{other},ttl=64,tp_dst=4789,flags(df|key))),{TUNNEL}");
        let wrapped =
            format!("tunnel(tun_id=0x1,src=172.30.0.{other},dst=172.30.0.{own},ttl=64,flags(+key)),in_port({TUNNEL})");
        for kind in ["eth_type(0x0800),ipv4(frag=no)", "eth_type(0x0806),arp()"] {
            flow(&side, &format!("in_port({CONTAINER}),eth(),{kind}"), &wrap);
            flow(&side, &format!("{wrapped},eth(),{kind}"), &CONTAINER.to_string());
        }
        container
    });
    site.connected(containers, vec![])
}

/// A container whose port is in no bridge: the whole overlay is one Ethernet.
fn attach(side: &Side) -> Container {
    let own = side.own;
    side.host.ip("link add scaffold type bridge");
    let container = side.host.attach("scaffold", &format!("250.0.{own}.2"), 1450);
    side.host.ip("link del scaffold");
    container.ip(&format!("addr add 250.0.{own}.2/8 dev eth0"));
    container
}

fn flow(side: &Side, key: &str, actions: &str) {
    let mut command = Command::new("ovs-dpctl");
    command.args(["add-flow", "dp0", key, actions]);
    side.host.execute(command).ok();
}
