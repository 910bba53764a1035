//! libvirt's own guests on the fan, by the network that `fanctl export libvirt` prints, with addresses by its DHCP.

use std::net::Ipv4Addr;

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Encap, Lan, Libvirt, becomes};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("runtime::libvirt").each_with(&[Need::Tier2], named![guests_of_the_network_talk_and_leave_nothing]).list()
}

fn guests_of_the_network_talk_and_leave_nothing(encap: Encap) {
    let lan = Lan::new();
    let hosts = ["172.30.0.28", "172.30.0.27"].map(|address| {
        let host = lan.host(address);
        host.ip(&format!("route add default via {}", lan.gateway()));
        host.fanctl(&format!("up 250.0.0.0/8 eth0/16 dhcp {}", encap.words())).ok();
        host
    });
    let [a, b] = hosts.each_ref().map(Libvirt::start);
    let before = hosts[0].dump();
    for (libvirt, host) in [&a, &b].into_iter().zip(&hosts) {
        let network = host.fanctl("export libvirt").ok();
        assert_eq!(network.stderr, "");
        libvirt.define("net-define", &network.stdout).ok();
        libvirt.virsh("network", "net-start fan").ok();
    }
    a.virsh("network", "net-dumpxml fan")
        .ok()
        .stdout_has(&["<forward mode='bridge'/>", "<bridge name='fan-250-0-28'/>"]);
    let [ca, cb] = [&a, &b].map(|libvirt| libvirt.guest("web", "fan"));
    for (guest, third) in [(&ca, 28), (&cb, 27)] {
        let address: Ipv4Addr = guest.address.parse().expect("an address");
        assert_eq!(address.octets()[..3], [250, 0, third], "{address}");
    }
    ca.all_works(&cb, encap);
    a.virsh("lxc", "destroy web").ok();
    a.virsh("network", "net-destroy fan").ok();
    becomes(&before, &hosts[0], "net-destroy");
    hosts[0].down();
}
