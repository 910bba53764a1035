//! Hosts in other networks and behind NAT: numbers that are no addresses, and where their holders are.

use super::{COUNTING, DEVICE, devices, give_key, wg};
use crate::support::{Capture, Host, Lan, Namespace, eventually, tcp_exchange};

/// A network of its own, the same one everywhere, behind a router that masquerades.
struct Site {
    router: Namespace,
    lan: Lan,
}

impl Site {
    /// Its router has this address outside.
    #[track_caller]
    fn new(outside: &Lan, address: &str) -> Self {
        let lan = Lan::of("192.168.7.0/24", 1500);
        let router = Namespace::new(&format!("router {address}"));
        outside.plug(&router, "eth0", &format!("{address}/16"));
        lan.plug(&router, "eth1", "192.168.7.1/24");
        router.set_sysctl("ipv4/ip_forward", "1");
        let masquerade = "add table ip site
             add chain ip site out { type nat hook postrouting priority 100; }
             add rule ip site out oifname eth0 masquerade random
             add chain ip site in { type nat hook prerouting priority -100; }
             add chain ip site pass { type filter hook forward priority 0; }
             add rule ip site pass ct status dnat accept
             add rule ip site pass iifname eth0 ct state new drop";
        router.sh(&format!("nft -f - <<'END'\n{masquerade}\nEND")).ok();
        Self { router, lan }
    }

    /// A host that only the router knows.
    #[track_caller]
    fn host(&self) -> Host {
        let host = self.lan.host("192.168.7.28");
        host.ip("route add default via 192.168.7.1");
        give_key(&host, COUNTING);
        host
    }
}

const ENCRYPTED: &str = "--encap wireguard --hosts 172.30.0.0/24,172.30.7.0/24 --number";

/// Waits until a host has heard of another.
#[track_caller]
fn has_heard(host: &Host) {
    eventually("a handshake", || {
        wg(host, DEVICE, "latest-handshakes").lines().any(|line| !line.ends_with("\t0")).then_some(())
    });
}

fn a_host_of_a_number(lan: &Lan) -> Host {
    let b = lan.host("172.30.0.27");
    give_key(&b, COUNTING);
    b
}

pub(super) fn a_host_behind_nat_is_reached() {
    let lan = Lan::new();
    let b = a_host_of_a_number(&lan);
    let site = Site::new(&lan, "172.30.0.99");
    let a = site.host();
    let number = "up 250.0.0.0/8 172.30.7.9/16";
    a.fanctl(&format!("{number} --encap wireguard --hosts 172.30.0.0/16")).exits(2);
    a.fanctl(&format!("{number} {}", ENCRYPTED.replace(" --number", ""))).refused().stderr_has(&["no interface has"]);
    a.fanctl(&format!("up 250.0.0.0/8 eth0/16 {ENCRYPTED}"))
        .exits(2)
        .stderr_has(&["number needs an underlay that names"]);
    b.fanctl(&format!("up 250.0.0.0/8 172.30.0.27/16 {ENCRYPTED}")).ok();
    // Nobody has heard of it, and nobody says where it is.
    let cb = b.container("250.0.27.2");
    let trace = b.fanctl("trace 250.7.9.1").exits(1);
    assert!(trace.stdout.contains("endpoints does not say where it is"), "{trace}");

    let keepalive = "--endpoints 172.30.0.27=172.30.0.27 --keepalive 1";
    a.fanctl(&format!("{number} {ENCRYPTED} {keepalive}")).ok().stdout_has(&["mtu 1380"]);
    let clear = Capture::on(&lan, "lan0", "ip and not udp port 8474");
    let ca = a.container("250.7.9.2");
    has_heard(&b);
    cb.ping_with("-M do -s 1352", "250.7.9.2").arrives();
    ca.ping("250.0.27.2").arrives();
    tcp_exchange(&cb, &ca, "250.7.9.2");
    let peer = wg(&a, DEVICE, "public-key");
    let endpoints = wg(&b, DEVICE, "endpoints");
    let learned = endpoints.lines().find(|line| line.starts_with(&peer)).expect("a peer");
    assert!(learned.contains("172.30.0.99:"), "{learned}");
    assert_eq!(clear.packets_with("250."), Vec::<String>::new());
    // It is whole, known again, and shown.
    a.fanctl(&format!("{number} {ENCRYPTED} {keepalive}")).ok().stdout_has(&["nothing to do"]);
    b.fanctl(&format!("up 250.0.0.0/8 172.30.0.27/16 {ENCRYPTED}")).ok().stdout_has(&["nothing to do"]);
    let json = a.fanctl("show --json").ok().json();
    assert_eq!(json[0]["verdict"]["complete"], true, "{json:#}");
    assert_eq!(json[0]["endpoints"][0], "172.30.0.27=172.30.0.27");
    assert_eq!((&json[0]["number"], &json[0]["keepalive"]), (&true.into(), &1.into()));
    for (host, to) in [(&a, "250.0.27.2"), (&b, "250.7.9.2")] {
        host.fanctl(&format!("trace {to}")).ok();
        host.fanctl("doctor").ok();
    }
    a.ip("link set con0 nomaster");
    a.fanctl("down 250.0.0.0/8 172.30.7.9/16").ok();
    assert!(!devices(&a).contains(&DEVICE.to_string()));
}

pub(super) fn two_sites_behind_nat_need_one_forwarded_port() {
    let lan = Lan::new();
    let [one, two] = ["172.30.0.98", "172.30.0.99"].map(|address| Site::new(&lan, address));
    let (a, c) = (one.host(), two.host());
    one.router.exec("nft add rule ip site in iifname eth0 udp dport 9474 dnat to 192.168.7.28:8474").ok();
    a.fanctl(&format!("up 250.0.0.0/8 172.30.7.9/16 {ENCRYPTED}")).ok();
    c.fanctl(&format!(
        "up 250.0.0.0/8 172.30.7.10/16 {ENCRYPTED} --endpoints 172.30.7.9=172.30.0.98:9473 --keepalive 1"
    ))
    .ok();
    let (ca, cc) = (a.container("250.7.9.2"), c.container("250.7.10.2"));
    has_heard(&a);
    ca.ping("250.7.10.2").arrives();
    cc.ping("250.7.9.2").arrives();
    tcp_exchange(&ca, &cc, "250.7.10.2");
}

pub(super) fn where_hosts_are_is_told_again_when_it_changes() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    give_key(&host, COUNTING);
    let up = "up 250.0.0.0/8 eth0/16 --encap wireguard --hosts 172.30.0.26/31,172.30.0.28/32";
    let places = |endpoints: &str| {
        host.fanctl(&format!("{up}{endpoints}")).ok();
        let list = wg(&host, DEVICE, "endpoints");
        let mut places: Vec<_> =
            list.lines().map(|line| line.split('\t').nth(1).unwrap_or_default().to_string()).collect();
        places.sort();
        host.fanctl(&format!("{up}{endpoints}")).ok().stdout_has(&["nothing to do"]);
        places
    };
    host.fanctl(&format!("{up} --endpoints 172.31.0.26=10.1.0.26"))
        .refused()
        .stderr_has(&["is not inside of underlay"]);
    assert_eq!(places(" --endpoints 172.30.0.26/31=10.1.0.26/31"), ["10.1.0.26:8474", "10.1.0.27:8474"]);
    assert_eq!(places(" --endpoints 172.30.0.27=10.2.0.7:9000"), ["10.2.0.7:9001", "172.30.0.26:8474"]);
    assert_eq!(places(""), ["172.30.0.26:8474", "172.30.0.27:8474"]);
    let text = "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"wireguard\"\n\
        hosts = [\"172.30.0.26/31\", \"172.30.0.28/32\"]\nendpoints = [\"172.30.0.27=10.2.0.7:9000\"]\nkeepalive = 25\n";
    host.write("/etc/fan.toml", text);
    host.fanctl("reload").ok();
    let keepalives = wg(&host, DEVICE, "persistent-keepalive");
    assert_eq!(keepalives.lines().filter(|line| line.ends_with("\t25")).count(), 1, "{keepalives}");
}
