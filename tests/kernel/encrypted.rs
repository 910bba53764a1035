//! Encryption is the underlay's: a fan over WireGuard, and over IPsec in transport mode, by the commands that
//! docs/encryption.md shows. Somebody on the wire sees that the hosts talk, and nothing else.

use std::fs;

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Capture, Container, Encap, Host, Inner, Lan, inject_ipip, inject_vxlan_from, tcp_exchange};

pub fn cases() -> Vec<Case> {
    Cases::of("encrypted")
        .each_with(&[Need::Wireguard], named![wireguard_carries_a_fan_that_nobody_reads])
        .each_with(
            &[Need::Ipsec],
            named![
                ipsec_carries_a_fan_that_nobody_reads,
                ipsec_refuses_what_comes_in_the_clear,
            ],
        )
        .list()
}

/// What MTU docs/encryption.md tells to give a fan over IPsec, and WireGuard's device.
const MTU: u64 = 1400;

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
            host.fanctl(&format!("up 250.0.0.0/8 {words}")).ok();
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
            assert!(
                packet.contains("172.30.0.28") || packet.contains("192.0.2.28"),
                "{packet}"
            );
            assert!(!packet.contains("250.0."), "{packet}");
            assert!(packet.contains("offset 0,") && !packet.contains("flags [+"), "{packet}");
        }
    }
}

/// Two hosts that reach each other at 192.0.2.28 and .27, and at 172.30.0.28 and .27 through WireGuard.
#[track_caller]
fn hosts_with_wireguard() -> (Host, Host, Lan) {
    let lan = Lan::of("192.0.2.0/24", 1500);
    let [a, b] = [28, 27].map(|number| {
        let host = lan.host(&format!("192.0.2.{number}"));
        let private = host.exec("wg genkey").ok().stdout;
        host.run(move || fs::write("/run/key", private)).expect("a file");
        host.ip("link add wg0 mtu 1400 type wireguard");
        host.exec("wg set wg0 listen-port 51820 private-key /run/key").ok();
        host
    });
    let [key_of_a, key_of_b] = [&a, &b].map(|host| host.exec("wg show wg0 public-key").ok().stdout);
    for (host, own, peer, key) in [(&a, 28, 27, key_of_b), (&b, 27, 28, key_of_a)] {
        let key = key.trim();
        host.exec(&format!(
            "wg set wg0 peer {key} allowed-ips 172.30.0.{peer}/32 endpoint 192.0.2.{peer}:51820"
        ))
        .ok();
        host.ip(&format!("addr add 172.30.0.{own}/16 dev wg0\n link set wg0 up"));
    }
    (a, b, lan)
}

fn wireguard_carries_a_fan_that_nobody_reads(encap: Encap) {
    let words = format!("wg0/16 {}", encap.words());
    let pair = Pair::up(hosts_with_wireguard(), &words);
    // The tunnel's own witness, on the device that encrypts: what WireGuard got was the fan's.
    let inside = Capture::on(&pair.a, "wg0", encap.outer());
    pair.works_unread(encap, "udp port 51820", MTU - encap.overhead());
    assert!(inside.first(2).iter().all(|packet| packet.contains("250.0.")));
}

/// The words by which `ip xfrm` knows the outer packets of a fan.
fn selector(encap: Encap) -> &'static str {
    match encap {
        Encap::Ipip => "proto 4",
        Encap::Vxlan => "proto udp dport 8472",
    }
}

/// Two hosts on 172.30.0.0/16 that send each other a fan's packets in ESP only, and take no others.
#[track_caller]
fn hosts_with_ipsec(encap: Encap) -> (Host, Host, Lan) {
    let lan = Lan::new();
    let [a, b] = ["172.30.0.28", "172.30.0.27"].map(|address| lan.host(address));
    let selector = selector(encap);
    // 16 bytes of key and 4 of salt, for each direction.
    let keys = [
        (
            "172.30.0.28",
            "172.30.0.27",
            "0x1001",
            "0x000102030405060708090a0b0c0d0e0f10111213",
        ),
        (
            "172.30.0.27",
            "172.30.0.28",
            "0x1002",
            "0x202122232425262728292a2b2c2d2e2f30313233",
        ),
    ];
    for (host, own) in [(&a, "172.30.0.28"), (&b, "172.30.0.27")] {
        for (from, to, spi, key) in keys {
            let direction = if from == own { "out" } else { "in" };
            host.ip(&format!(
                "xfrm state add src {from} dst {to} proto esp spi {spi} mode transport aead rfc4106(gcm(aes)) {key} 128
                 xfrm policy add src {from} dst {to} {selector} dir {direction} tmpl proto esp mode transport"
            ));
        }
    }
    (a, b, lan)
}

fn ipsec_carries_a_fan_that_nobody_reads(encap: Encap) {
    let words = format!("eth0/16 --mtu {MTU} {}", encap.words());
    let pair = Pair::up(hosts_with_ipsec(encap), &words);
    pair.works_unread(encap, "esp", MTU);
}

/// Who only knows the addresses can no longer speak for a host.
fn ipsec_refuses_what_comes_in_the_clear(encap: Encap) {
    let words = format!("eth0/16 --mtu {MTU} {}", encap.words());
    let pair = Pair::up(hosts_with_ipsec(encap), &words);
    let mallory = pair.lan.host("172.30.0.26");
    // The neighbour is known, and the real one is heard.
    pair.cb.ping("250.0.28.2").arrives();
    let arrived = Capture::on(&pair.a, "eth0", encap.outer());
    let taken = Capture::on(&pair.ca, "eth0", Inner::FILTER);
    let (outer, inner) = (("172.30.0.27", "172.30.0.28"), Inner::new("250.0.27.2", "250.0.28.2"));
    match encap {
        Encap::Ipip => inject_ipip(&mallory, outer, inner),
        Encap::Vxlan => inject_vxlan_from(&mallory, outer, 16_384_000, mac(&pair.ca), inner),
    }
    assert_eq!(arrived.at_least(1).len(), 1, "it came");
    // What comes later is heard, and what was sent before is not.
    pair.cb.ping("250.0.28.2").arrives();
    assert_eq!(taken.packets(), Vec::<String>::new(), "and was let in");
    // The kernel's own reason: there is a policy, and nothing had been decrypted.
    let counters = pair.a.exec("cat /proc/net/xfrm_stat").ok().stdout;
    let mismatches = counters
        .lines()
        .find_map(|line| line.strip_prefix("XfrmInTmplMismatch"));
    assert_eq!(mismatches.map(str::trim), Some("1"), "{counters}");
}

/// The Ethernet address of a container.
#[track_caller]
fn mac(container: &Container) -> [u8; 6] {
    let link = container.ip_json("link show dev eth0");
    let text = link[0]["address"].as_str().expect("an address");
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
        .collect();
    bytes.try_into().expect("six")
}
