//! Encryption is the underlay's: a fan over WireGuard, and over IPsec in transport mode, by the commands that
//! docs/encryption.md shows. Somebody on the wire sees that the hosts talk, and nothing else.

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{
    Capture, Container, Encap, Host, Inner, Lan, inject_ipip, inject_vxlan_from, octets, tcp_exchange,
};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("encrypted")
        .each_with(&[Need::Wireguard], named![wireguard_carries_a_fan_that_nobody_reads])
        .each_with(
            &[Need::Ipsec],
            named![ipsec_carries_a_fan_that_nobody_reads, ipsec_refuses_what_comes_in_the_clear,],
        )
        .once_with(&[Need::Ipsec, Need::Ipip], named![ipsec_keeps_all_packets_on_the_slow_path])
        .list()
}

/// The page whose commands these tests run.
const PAGE: &str = include_str!("../../docs/encryption.md");

/// The commands of a section of the page: those that prepare a host, and the words of `fanctl` that follow.
#[track_caller]
fn commands(section: &str) -> (String, String) {
    let found = PAGE.split("\n## ").find_map(|text| text.strip_prefix(section));
    let block = found.and_then(|text| text.split("```sh\n").nth(1)?.split("```").next());
    let (commands, fanctl) = block.and_then(|block| block.split_once("fanctl ")).expect("a block of commands");
    (commands.into(), fanctl.trim().into())
}

/// Two hosts with containers on a fan of this device; nobody has sent anything yet.
struct Pair {
    a: Host,
    ca: Container,
    cb: Container,
    lan: Lan,
    _b: Host,
}

impl Pair {
    #[track_caller]
    fn up((a, b, lan): (Host, Host, Lan), words: &str) -> Self {
        for host in [&a, &b] {
            host.fanctl(words).ok();
        }
        let (ca, cb) = (a.container("250.0.28.2"), b.container("250.0.27.2"));
        Self { a, ca, cb, _b: b, lan }
    }

    /// Uses the fan in all its size, both ways, and a connection, while somebody on the wire listens: packets that
    /// `secret` describes pass there, and no others.
    #[track_caller]
    fn works_unread(&self, encap: Encap, secret: &str, mtu: u64) {
        let link = self.a.ip_json("link show dev fan-250-0-28");
        assert_eq!(link[0]["mtu"], mtu);
        let clear = Capture::on(&self.lan, "lan0", &format!("ip and not ({secret})"));
        let hidden = Capture::on(&self.lan, "lan0", secret);
        let whole = format!("-M do -s {}", mtu - 28);
        for (container, other) in [(&self.ca, "250.0.27.2"), (&self.cb, "250.0.28.2")] {
            assert_eq!(container.ping_with(&whole, other).arrives().ttl(), encap.ttl());
        }
        tcp_exchange(&self.ca, &self.cb, "250.0.27.2");
        assert_eq!(clear.packets(), Vec::<String>::new(), "in the clear");
        // Two pings with their answers; nobody had to cut them in pieces.
        for packet in hidden.first(4) {
            assert!(packet.contains("172.30.0.28") || packet.contains("192.0.2.28"), "{packet}");
            assert!(!packet.contains("250.0."), "{packet}");
            assert!(packet.contains("offset 0,") && !packet.contains("flags [+"), "{packet}");
        }
    }
}

/// Two hosts that reach each other at 192.0.2.28 and .27, and at 172.30.0.28 and .27 through WireGuard.
#[track_caller]
fn hosts_with_wireguard(commands: &str) -> (Host, Host, Lan) {
    let lan = Lan::of("192.0.2.0/24", 1500);
    let [a, b] = [28, 27].map(|number| lan.host(&format!("192.0.2.{number}")));
    let [key_of_a, key_of_b] = [&a, &b].map(|host| {
        let public = host.sh("wg genkey >/run/key; wg pubkey </run/key").ok().stdout;
        public.trim().to_string()
    });
    let commands = commands.replace("/etc/wireguard/key", "/run/key");
    let other = commands
        .replace("172.30.0.28", "ITS-ADDRESS")
        .replace("172.30.0.27", "172.30.0.28")
        .replace("ITS-ADDRESS", "172.30.0.27")
        .replace("192.0.2.27", "192.0.2.28");
    for (host, commands, key) in [(&a, commands, key_of_b), (&b, other, key_of_a)] {
        host.sh(&commands.replace("KEY-OF-THE-OTHER", &key)).ok();
    }
    (a, b, lan)
}

fn wireguard_carries_a_fan_that_nobody_reads(encap: Encap) {
    let (commands, fanctl) = commands("WireGuard");
    let pair = Pair::up(hosts_with_wireguard(&commands), &format!("{fanctl} {}", encap.words()));
    // What the device got to encrypt was the fan's.
    let inside = Capture::on(&pair.a, "wg0", encap.outer());
    pair.works_unread(encap, "udp port 51820", 1400 - encap.overhead());
    assert!(inside.first(2).iter().all(|packet| packet.contains("250.0.")));
}

/// Two hosts on 172.30.0.0/16 that send each other a fan's packets in ESP only, and take no others; the fan is up.
#[track_caller]
fn a_fan_over_ipsec(encap: Encap) -> Pair {
    a_fan_over_ipsec_with(encap, "")
}

#[track_caller]
fn a_fan_over_ipsec_with(encap: Encap, words: &str) -> Pair {
    let (mut commands, fanctl) = commands("IPsec");
    if encap == Encap::Vxlan {
        assert!(PAGE.contains("Over VXLAN the policies say `proto udp dport 8472` instead of `proto 4`"));
        commands = commands.replace(" proto 4 ", " proto udp dport 8472 ");
    }
    let lan = Lan::new();
    let [a, b] = ["172.30.0.28", "172.30.0.27"].map(|address| lan.host(address));
    a.sh(&commands).ok();
    let other = commands.replace("dir out", "dir OTHER").replace("dir in", "dir out");
    b.sh(&other.replace("dir OTHER", "dir in")).ok();
    Pair::up((a, b, lan), &format!("{fanctl} {}{words}", encap.words()))
}

/// A packet of the fast path would leave in clear: none is one, since none of the slow path does.
fn ipsec_keeps_all_packets_on_the_slow_path() {
    let pair = a_fan_over_ipsec_with(Encap::Ipip, " --fast");
    let clear = Capture::on(&pair.lan, "lan0", "ip and not esp");
    for _ in 0..3 {
        tcp_exchange(&pair.ca, &pair.cb, "250.0.27.2");
    }
    assert_eq!(clear.packets(), Vec::<String>::new(), "in the clear");
    let counters = &pair.a.fanctl("show --json").ok().json()[0]["counters"]["fast_path"];
    assert_eq!(*counters, serde_json::json!({ "sent": 0, "received": 0 }));
}

fn ipsec_carries_a_fan_that_nobody_reads(encap: Encap) {
    a_fan_over_ipsec(encap).works_unread(encap, "esp", 1400);
}

/// Who only knows the addresses can no longer speak for a host.
fn ipsec_refuses_what_comes_in_the_clear(encap: Encap) {
    let pair = a_fan_over_ipsec(encap);
    let mallory = pair.lan.host("172.30.0.26");
    // The neighbour is known, and the real one is heard.
    pair.cb.ping("250.0.28.2").arrives();
    let arrived = Capture::on(&pair.a, "eth0", encap.outer());
    let taken = Capture::on(&pair.ca, "eth0", Inner::FILTER);
    let (outer, inner) = (("172.30.0.27", "172.30.0.28"), Inner::new("250.0.27.2", "250.0.28.2"));
    match encap {
        Encap::Ipip => inject_ipip(&mallory, outer, inner),
        Encap::Vxlan => inject_vxlan_from(&mallory, outer, 16_384_000, octets(&pair.ca.mac("eth0")), inner),
    }
    assert_eq!(arrived.at_least(1).len(), 1, "it came");
    // What comes later is heard, and what was sent before is not.
    pair.cb.ping("250.0.28.2").arrives();
    assert_eq!(taken.packets(), Vec::<String>::new(), "and was let in");
    // The kernel's own reason: there is a policy, and nothing had been decrypted.
    let counters = pair.a.exec("cat /proc/net/xfrm_stat").ok().stdout;
    let mismatches = counters.lines().find_map(|line| line.strip_prefix("XfrmInTmplMismatch"));
    assert_eq!(mismatches.map(str::trim), Some("1"), "{counters}");
}
