//! The DaemonSet of `examples/kubernetes`, as it is written: what it does on two nodes, and that the list of plugins that it
//! writes is one by which pods of both reach each other.

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Cni, Encap, Kubelet, Lan, becomes};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("runtime::kubernetes").each_with(&[Need::Tier2], named![the_daemon_set_brings_nodes_on_the_fan]).list()
}

/// The DaemonSet, with nothing changed but what this kernel cannot do.
fn daemon_set(encap: Encap) -> String {
    let text = include_str!("../../examples/kubernetes/fan.yaml");
    assert_eq!(text.matches("{ name: ENCAP, value: ipip }").count(), 1);
    text.replace("{ name: ENCAP, value: ipip }", &format!("{{ name: ENCAP, value: {encap} }}"))
}

fn the_daemon_set_brings_nodes_on_the_fan(encap: Encap) {
    let lan = Lan::new();
    let hosts = ["172.30.0.28", "172.30.0.27"].map(|address| {
        let host = lan.host(address);
        host.ip(&format!("route add default via {}", lan.gateway()));
        host.exec("iptables -w -P FORWARD DROP").ok();
        // A node forwards, or its kubelet's preflight checks fail.
        host.set_sysctl("ipv4/ip_forward", "1");
        host
    });
    let [a, b] = hosts.each_ref().map(|host| {
        let node = Kubelet::on(host);
        let before = node.files("/etc/cni/net.d");
        node.play(&daemon_set(encap));
        // One file more, whole, and under its name.
        let exported = host.fanctl("export cni 250.0.0.0/8").ok().stdout;
        let mut expected = before;
        expected.push(("10-fan.conflist".into(), exported));
        expected.sort();
        assert_eq!(node.files("/etc/cni/net.d"), expected);
        node
    });
    let list = |node: &Kubelet| {
        let files = node.files("/etc/cni/net.d");
        let (_, text) = files.iter().find(|(name, _)| name == "10-fan.conflist").expect("the list");
        serde_json::from_str(text).expect("JSON")
    };
    let (cni_a, cni_b) = (Cni::new(&hosts[0], list(&a)), Cni::new(&hosts[1], list(&b)));
    let (one, other) = (cni_a.add("one"), cni_b.add("other"));
    assert_eq!([one.address(), other.address()], ["250.0.28.2", "250.0.27.2"]);
    cni_a.check(&one);
    one.ping(&other.address()).arrives();
    other.ping(&one.address()).arrives();

    // A node that starts its pods again finds the fan as it was, with pods on it; and so it stays when the DaemonSet goes.
    a.down();
    let before = hosts[0].dump();
    let files = a.files("/etc/cni/net.d");
    a.play(&daemon_set(encap));
    a.down();
    assert_eq!(a.files("/etc/cni/net.d"), files);
    becomes(&before, &hosts[0], "playing it again");
    one.ping(&other.address()).arrives();
    cni_a.del(&one);
    assert_eq!(cni_a.leases(), Vec::<String>::new());
}
