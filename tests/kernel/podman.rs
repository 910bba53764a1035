//! Podman's own containers on the fan, by the list that `fanctl export cni` prints: Debian 12 has Podman 4.3, whose
//! `network create` cannot be told the name of a bridge.

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Encap, Host, Lan, Podman, cni};

pub fn cases() -> Vec<Case> {
    Cases::of("runtime::podman")
        .each_with(&[Need::Tier2], named![containers_talk_and_give_back_their_addresses])
        .list()
}

/// Podman on a host with a fan.
#[track_caller]
fn podman(host: &Host, encap: Encap) -> Podman<'_> {
    host.exec("iptables -w -P FORWARD DROP").ok();
    host.up(encap);
    let list = host.fanctl("export cni").ok().stdout;
    Podman::on(host, &list)
}

fn containers_talk_and_give_back_their_addresses(encap: Encap) {
    let lan = Lan::new();
    let hosts = ["172.30.0.28", "172.30.0.27"].map(|address| lan.host(address));
    for host in &hosts {
        host.ip(&format!("route add default via {}", lan.gateway()));
    }
    let [a, b] = hosts.each_ref().map(|host| podman(host, encap));
    let (ca, cb) = (a.container("web", "--publish 8080:7"), b.container("web", ""));
    assert_eq!([ca.address.as_str(), cb.address.as_str()], ["250.0.28.2", "250.0.27.2"]);
    ca.all_works(&cb, encap);

    ca.serve_echo();
    let client = lan.host("172.30.9.9");
    let answer = client.sh("echo hello | nc -N -w 10 172.30.0.28 8080").ok();
    assert_eq!(answer.stdout, "hello\n");

    assert_eq!(cni::leases(&hosts[0], "fan"), ["250.0.28.2"]);
    a.remove_all();
    assert_eq!(cni::leases(&hosts[0], "fan"), Vec::<String>::new());
    hosts[0].down();
}
