//! Podman's own containers on the fan: Debian 13's by what `fanctl export podman` prints, and Debian 12's, whose `network
//! create` cannot be told that a bridge is not Podman's own, by the list that `fanctl export cni` prints.

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Encap, Host, Lan, Podman, becomes, cni};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("runtime::podman")
        .each_with(
            &[Need::Tier2],
            named![
                containers_of_netavark_talk_and_leave_nothing,
                names_are_found_where_the_fan_has_no_dhcp,
                containers_of_cni_talk_and_give_back_their_addresses,
            ],
        )
        .list()
}

/// Two hosts on an underlay that leads to the internet. The policy of their FORWARD chains is to drop.
#[track_caller]
fn hosts(lan: &Lan) -> [Host; 2] {
    ["172.30.0.28", "172.30.0.27"].map(|address| {
        let host = lan.host(address);
        host.ip(&format!("route add default via {}", lan.gateway()));
        host.exec("iptables -w -P FORWARD DROP").ok();
        host
    })
}

/// Makes the network by the command that is exported, as it is.
#[track_caller]
fn make_network(host: &Host, podman: &Podman) {
    let command = host.fanctl("export podman").ok();
    assert_eq!(command.stderr, "");
    podman.make_network(&command.stdout);
}

fn containers_of_netavark_talk_and_leave_nothing(encap: Encap) {
    let lan = Lan::new();
    let hosts = hosts(&lan);
    let [a, b] = hosts.each_ref().map(|host| {
        host.fanctl(&format!("up 250.0.0.0/8 eth0/16 --dhcp {}", encap.words())).ok();
        Podman::with_netavark(host)
    });
    let before = hosts[0].dump();
    make_network(&hosts[0], &a);
    make_network(&hosts[1], &b);
    let compare = |network: &str| {
        let inspected = a.podman(&format!("network inspect {network}")).ok();
        hosts[0].write("/run/inspected", &inspected.stdout);
        hosts[0].fanctl("export podman --check /run/inspected")
    };
    compare("fan").ok();
    compare("podman").refused().stderr_has(&[
        "podman's network 'podman' is none for fan 250.0.0.0/8: its bridge is podman0",
        "its subnet is 10.88.0.0/16",
        "mode=unmanaged",
    ]);
    let (ca, cb) = (a.container("web", ""), b.container("web", ""));
    assert_eq!([ca.address.as_str(), cb.address.as_str()], ["250.0.28.2", "250.0.27.2"]);
    ca.all_works(&cb, encap);
    let second = a.container("second", "");
    assert_eq!(second.address, "250.0.28.3");
    second.reaches(&ca);
    second.reaches(&cb);

    // The bridge stays when the last container goes, and an address that was given back is given out again.
    a.remove_all();
    becomes(&before, &hosts[0], "podman rm");
    assert_eq!(a.container("third", "").address, "250.0.28.4");
    a.remove_all();
    a.podman("network rm fan").ok();
    becomes(&before, &hosts[0], "podman network rm");
    hosts[0].down();
}

fn names_are_found_where_the_fan_has_no_dhcp(encap: Encap) {
    let lan = Lan::new();
    let [host, _] = hosts(&lan);
    host.up(encap);
    let podman = Podman::with_netavark(&host);
    make_network(&host, &podman);
    let (one, other) = (podman.container("one", ""), podman.container("other", ""));
    one.exec("ping -c 1 -W 10 other").ok().stdout_has(&[&other.address]);
}

fn containers_of_cni_talk_and_give_back_their_addresses(encap: Encap) {
    let lan = Lan::new();
    let hosts = hosts(&lan);
    let [a, b] = hosts.each_ref().map(|host| {
        host.up(encap);
        let list = host.fanctl("export cni").ok().stdout;
        Podman::with_cni(host, &list)
    });
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
