//! LXD's own containers on the fan, by the profile that `fanctl export lxd` prints, with addresses by its DHCP.

use std::net::Ipv4Addr;

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Encap, Lan, Lxd, becomes};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("runtime::lxd").each_with(&[Need::Tier2], named![containers_of_the_profile_talk_and_leave_nothing]).list()
}

fn containers_of_the_profile_talk_and_leave_nothing(encap: Encap) {
    let lan = Lan::new();
    let hosts = ["172.30.0.28", "172.30.0.27"].map(|address| {
        let host = lan.host(address);
        host.ip(&format!("route add default via {}", lan.gateway()));
        let words = format!("up 250.0.0.0/8 eth0/16 dhcp host-reserve 9 {}", encap.words());
        host.fanctl(&words).ok();
        host
    });
    let [a, b] = hosts.each_ref().map(|host| {
        let lxd = Lxd::start(host);
        lxd.lxc("profile create fan").ok();
        let profile = host.fanctl("export lxd").ok();
        assert_eq!(profile.stderr, "");
        lxd.edit_profile("fan", &profile.stdout).ok();
        lxd
    });
    let before = hosts[0].dump();
    let [ca, cb] = [&a, &b].map(|lxd| lxd.container("web", "-p default -p fan"));
    for (container, third) in [(&ca, 28), (&cb, 27)] {
        let address: Ipv4Addr = container.address.parse().expect("an address");
        let [first, second, slice, last] = address.octets();
        assert_eq!([first, second, slice], [250, 0, third], "{address}");
        assert!((10..=254).contains(&last), "after the reserved ones: {address}");
    }
    ca.all_works(&cb, encap);
    a.lxc("delete --force web").ok();
    becomes(&before, &hosts[0], "lxc delete");
    hosts[0].down();
}
