//! Killed half way, or damaged by other programs: the next `up` or `down` converges.

use crate::case::{Case, Cases};
use crate::fixture::Pair;
use crate::named;
use crate::support::{Encap, Lan, assert_same};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("converge")
        .only_ipip_in_tier_3()
        .each(named![
            up_repairs_whatever_is_missing,
            up_repairs_whatever_is_wrong,
            tables_ask_for_the_underlay_that_is_there,
            up_finishes_what_was_begun,
            down_removes_what_is_left,
            show_says_what_is_missing,
            a_repaired_fan_carries_packets_again,
        ])
        .once(named![network_identifiers_of_others_go])
        .list()
}

/// Ways to lose one object each.
pub fn losses(encap: Encap) -> Vec<String> {
    let tunnel = encap.tunnel();
    let mut losses: Vec<String> = [
        "ip link del fan-250-0-28",
        "ip addr del 250.0.28.1/LEN dev fan-250-0-28",
        "ip link set fan-250-0-28 down",
        "ip route del unreachable 250.0.0.0/8 metric 4278198272",
        "ip link del TUNNEL",
        "ip link set TUNNEL down",
        "tc qdisc del dev TUNNEL clsact",
        "tc filter del dev TUNNEL ingress",
        "tc filter del dev TUNNEL egress",
        "nft delete table ip fan-250.0.0.0/8",
        "nft delete table bridge fan-250.0.0.0/8",
    ]
    .map(String::from)
    .to_vec();
    losses.extend(match encap {
        Encap::Ipip => {
            ["ip route del 250.0.0.0/8 dev fan-ipip", "ip route del 250.0.28.0/24 dev fan-250-0-28"].map(String::from)
        }
        Encap::Vxlan => ["ip link set TUNNEL nomaster", "bridge vni delete vni 16384000 dev TUNNEL"].map(String::from),
    });
    let len = encap.bridge_len().to_string();
    losses.into_iter().map(|loss| loss.replace("TUNNEL", tunnel).replace("LEN", &len)).collect()
}

fn up_repairs_whatever_is_missing(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(encap);
    let whole = host.dump();
    for loss in losses(encap) {
        host.exec(&loss).ok();
        let output = host.up(encap);
        assert_same(&whole, &host.dump(), &format!("{loss}\n{output}"));
    }
}

fn up_repairs_whatever_is_wrong(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(encap);
    let whole = host.dump();
    for wrong in [
        "ip link set fan-250-0-28 mtu 1300",
        "ip link set TUNNEL mtu 1300",
        "ip link set fan-250-0-28 address 02:00:00:00:00:01",
        "nft flush table ip fan-250.0.0.0/8",
        "nft flush table bridge fan-250.0.0.0/8",
        "nft insert rule ip fan-250.0.0.0/8 guard accept",
        "sysctl -q -w net.ipv4.conf.fan-250-0-28.forwarding=0",
        "sysctl -q -w net.ipv4.conf.fan-250-0-28.send_redirects=1",
    ] {
        let wrong = wrong.replace("TUNNEL", encap.tunnel());
        host.exec(&wrong).ok();
        let output = host.up(encap);
        assert_same(&whole, &host.dump(), &format!("{wrong}\n{output}"));
    }
}

/// The tables match the underlay that has the name now, and not a renamed device.
fn tables_ask_for_the_underlay_that_is_there(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(encap);
    let asked_for = || {
        let tables = host.exec("nft list chain ip fan-250.0.0.0/8 underlay").ok().stdout;
        let rule = tables.lines().find_map(|line| line.trim().strip_prefix("iif "));
        rule.and_then(|rule| rule.split(' ').next()).map(String::from)
    };
    assert_eq!(asked_for().as_deref(), Some("\"eth0\""));
    host.ip(
        "link set eth0 down\n link set eth0 name old0\n addr flush dev old0\n link set old0 up\n link add eth0 type bridge\n \
         addr add 172.30.0.28/16 dev eth0\n link set eth0 up",
    );
    assert_eq!(asked_for().as_deref(), Some("\"old0\""));
    let verdict = host.fanctl("show --json").ok().json()[0]["verdict"].to_string();
    assert!(verdict.contains("nftables tables"), "{verdict}");
    host.up(encap);
    assert_eq!(asked_for().as_deref(), Some("\"eth0\""));
    assert!(host.up(encap).stdout.contains("nothing to do"));
}

fn up_finishes_what_was_begun(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(encap);
    let whole = host.dump();
    // An `up` that was killed has made only the first objects; so the last ones of its plan are removed first here.
    for loss in losses(encap).iter().rev() {
        host.exec(loss);
    }
    let output = host.up(encap);
    assert_same(&whole, &host.dump(), &output.to_string());
}

fn down_removes_what_is_left(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.set_sysctl("ipv4/ip_forward", "1");
    let before = host.dump();
    for (number, loss) in losses(encap).into_iter().enumerate() {
        host.up(encap);
        host.exec(&loss).ok();
        let output = if number % 2 == 1 { host.fanctl("down -e").ok() } else { host.down() };
        assert_same(&before, &host.dump(), &format!("{loss}\n{output}"));
    }
}

fn show_says_what_is_missing(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(encap);
    let verdict = || host.fanctl("show --json").ok().json()[0]["verdict"].clone();
    let whole = verdict();
    host.exec("nft delete table ip fan-250.0.0.0/8").ok();
    let without_table = verdict();
    assert_ne!(without_table, whole);
    assert!(without_table.to_string().contains("nft"), "{without_table:#}");
    host.up(encap);
    assert_eq!(verdict(), whole);
}

fn a_repaired_fan_carries_packets_again(encap: Encap) {
    let pair = Pair::new(encap);
    pair.ca.ping("250.0.27.2").arrives();
    pair.a.ip(&format!("link del {}", encap.tunnel()));
    pair.a.up(encap);
    pair.ca.ping("250.0.27.2").arrives();
    pair.cb.ping("250.0.28.2").arrives();
}

/// The kernel lists consecutive identifiers as a range, which may include the fan's own.
fn network_identifiers_of_others_go() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(Encap::Vxlan).ok();
    let whole = host.dump();
    let listed = || host.exec("bridge -j vni show dev fan-vx16384000").ok().json()[0]["vnis"].clone();
    let own = listed();
    assert_eq!(own.as_array().map(Vec::len), Some(1), "{own}");
    for added in ["77", "16383990-16384009", "16384001-16384100", "5-6"] {
        host.exec(&format!("bridge vni add vni {added} dev fan-vx16384000")).ok();
        assert_ne!(listed(), own, "{added}");
        let shown = host.fanctl("show --json").ok().json();
        assert_eq!(shown[0]["verdict"]["different"][0], "tunnel 'fan-vx16384000'", "{shown}");
        host.up(Encap::Vxlan).ok();
        assert_eq!(listed(), own, "{added}");
    }
    assert_same(&whole, &host.dump(), "only what was added is gone");
}
