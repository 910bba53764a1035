//! The reference plugins of CNI on the fan, by the list that `fanctl export cni` prints.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use serde_json::json;

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Cni, DEADLINE, Encap, Host, INTERNET, Lan, assert_same, tcp_exchange};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("runtime::cni")
        .each_with(
            &[Need::Cni],
            named![containers_are_added_checked_and_deleted, a_published_port_reaches_its_container,],
        )
        // Too slow where every instruction is emulated.
        .each_with(&[Need::Tier2], named![a_slice_is_given_out_to_the_last_address])
        .list()
}

/// A host with a fan.
#[track_caller]
fn host(lan: &Lan, address: &str, encap: Encap) -> Host {
    let host = lan.host(address);
    host.ip(&format!("route add default via {}", lan.gateway()));
    host.exec("iptables -w -P FORWARD DROP").ok();
    host.up(encap);
    host
}

#[track_caller]
fn cni(host: &Host) -> Cni<'_> {
    Cni::new(host, host.fanctl("export cni").ok().json())
}

fn containers_are_added_checked_and_deleted(encap: Encap) {
    let lan = Lan::new();
    let (a, b) = (host(&lan, "172.30.0.28", encap), host(&lan, "172.30.0.27", encap));
    let before = a.dump();
    let (cni_a, cni_b) = (cni(&a), cni(&b));
    let (one, other) = (cni_a.add("one"), cni_b.add("other"));
    assert_eq!([one.address(), other.address()], ["250.0.28.2", "250.0.27.2"]);
    cni_a.check(&one);
    cni_b.check(&other);
    assert_eq!(one.ip_json("link show eth0")[0]["mtu"], 1500 - encap.overhead());
    for (from, to) in [(&one, &other), (&other, &one)] {
        from.ping(&to.address()).arrives();
        from.ping(INTERNET).arrives();
        let peer = tcp_exchange(from, to, &to.address());
        assert_eq!(peer.ip().to_string(), from.address(), "no host masquerades inside the overlay");
    }
    cni_a.del(&one);
    cni_a.del(&one);
    assert_eq!(cni_a.leases(), Vec::<String>::new());
    drop(one);
    assert_same(&before, &a.dump(), "DEL");
    a.down();
}

fn a_published_port_reaches_its_container(encap: Encap) {
    let lan = Lan::new();
    let host = host(&lan, "172.30.0.28", encap);
    let cni = cni(&host);
    let ports = json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 7, "protocol": "tcp" }] });
    let pod = cni.try_add("web", &ports).unwrap_or_else(|output| panic!("{output}"));
    let client = lan.host("172.30.9.9");
    let listener = pod.run(|| TcpListener::bind("0.0.0.0:7")).expect("to listen");
    let published = "172.30.0.28:8080".parse().expect("an address");
    let stream = client.run(move || TcpStream::connect_timeout(&published, DEADLINE));
    let stream = stream.unwrap_or_else(|error| panic!("no connection: {error}"));
    let (_, peer) = listener.accept().expect("a connection");
    assert_eq!(peer, stream.local_addr().expect("an address"), "as who it is");
    // No CHECK: portmap 1.1.1 looks for rules of IPv6 even where it made none.
    cni.del(&pod);
}

fn a_slice_is_given_out_to_the_last_address(encap: Encap) {
    let lan = Lan::new();
    let (a, b) = (host(&lan, "172.30.0.28", encap), host(&lan, "172.30.0.27", encap));
    let (cni_a, cni_b) = (cni(&a), cni(&b));
    let remote = cni_b.add("remote");
    let pods: Vec<_> = (2..255).map(|count| cni_a.add(&format!("pod{count}"))).collect();
    let given: BTreeSet<Ipv4Addr> = pods.iter().map(|pod| pod.address().parse().expect("an address")).collect();
    let all: BTreeSet<Ipv4Addr> = (2..255).map(|last| Ipv4Addr::new(250, 0, 28, last)).collect();
    assert_eq!(given, all);
    match cni_a.try_add("one-too-many", &json!({})) {
        Ok(pod) => panic!("{} is given twice", pod.address()),
        Err(output) => drop(output.stdout_has(&["no IP addresses available"])),
    }
    for pod in &pods {
        remote.ping(&pod.address()).arrives();
    }
    for pod in &pods {
        cni_a.del(pod);
    }
    assert_eq!(cni_a.leases(), Vec::<String>::new());
    drop(pods);
    a.down();
}
