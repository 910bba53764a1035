//! LXC's own containers on the fan, with addresses by its DHCP.

use std::net::Ipv4Addr;

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Encap, Host, Lan, Lxc};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("runtime::lxc").each_with(&[Need::Tier2], named![containers_have_leases_of_their_hosts_and_talk]).list()
}

/// The last octet of an address of this slice.
#[track_caller]
fn in_slice(address: &str, third: u8) -> u8 {
    let [a, b, c, d] = address.parse::<Ipv4Addr>().expect("an address").octets();
    assert_eq!([a, b, c], [250, 0, third], "{address}");
    d
}

fn containers_have_leases_of_their_hosts_and_talk(encap: Encap) {
    let lan = Lan::new();
    let hosts = ["172.30.0.28", "172.30.0.27"].map(|address| lan.host(address));
    let up = |host: &Host| {
        let words = format!("up 250.0.0.0/8 eth0/16 dhcp host-reserve 9 {}", encap.words());
        host.fanctl(&words).ok();
    };
    for host in &hosts {
        host.ip(&format!("route add default via {}", lan.gateway()));
        up(host);
    }
    let [a, b] = hosts.each_ref().map(Lxc::on);
    let mtu = 1500 - encap.overhead();
    let (ca, cb) = (a.container("web", "fan-250-0-28", mtu), b.container("db", "fan-250-0-27", mtu));
    for (container, third) in [(&ca, 28), (&cb, 27)] {
        let last = in_slice(&container.address, third);
        assert!((10..=254).contains(&last), "after the reserved ones: {last}");
    }
    ca.all_works(&cb, encap);

    // Its lease outlives container and fan.
    a.stop("web");
    hosts[0].down();
    up(&hosts[0]);
    let again = a.container("web", "fan-250-0-28", mtu);
    assert_eq!(again.address, ca.address);
    again.reaches(&cb);
}
