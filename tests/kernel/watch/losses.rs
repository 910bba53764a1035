//! Objects of a fan that another program removes: they are made again where that was asked for.

use std::process::Command;

use nix::sys::signal::{Signal, kill};

use super::{CONFIG, FAN, FOLLOWS, OTHER, dump, has, two_fans, write};
use crate::case::Case;
use crate::converge::losses;
use crate::named;
use crate::support::{Echo, Encap, Host, Lan, Output, Watcher, assert_same, is_emulated};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    super::none_yet()
        .each(named![
            what_somebody_took_away_comes_back,
            what_somebody_took_away_is_told,
            containers_that_lost_their_bridge_are_told_of,
            an_underlay_that_goes_down_is_told_and_comes_back,
            traffic_of_another_fan_goes_on,
            what_it_did_not_hear_of_it_sees,
            many_commands_beside_it_end_in_a_right_state,
        ])
        .once(named![
            a_dhcp_server_that_ends_is_started_again,
            a_fan_that_was_taken_down_stays_down,
            a_fan_made_by_hand_is_told_of_and_left_alone,
            what_cannot_be_put_right_is_told_once,
            what_is_undone_again_and_again_is_left_alone,
        ])
        .list()
}

fn what_somebody_took_away_comes_back(encap: Encap) {
    let (host, _lan) = two_fans(encap);
    let whole = dump(&host);
    let mut watcher = Watcher::start(&host, CONFIG);
    for loss in losses(encap) {
        host.exec(&loss).ok();
        watcher.says(&[FAN, "followed: fan-250-0-28 is up"]);
        watcher.rests();
        // The tunnel is shared: the other fan needs a reload, too, because it is not followed.
        host.fanctl(&format!("reload {CONFIG}")).ok();
        watcher.rests();
        assert_same(&whole, &dump(&host), &format!("{loss}\n{:#?}", watcher.lines()));
    }
    let lines = watcher.lines();
    assert!(!lines.iter().any(|line| line.contains("cannot")), "{lines:#?}");
}

fn containers_that_lost_their_bridge_are_told_of(encap: Encap) {
    let (host, _lan) = two_fans(encap);
    let containers = ["250.0.28.2", "250.0.28.3"].map(|address| host.container(address));
    let mut watcher = Watcher::start(&host, CONFIG);
    host.ip("link del fan-250-0-28");
    let [one, other] = [containers[0].port(), containers[1].port()];
    watcher.says(&[
        FAN,
        "followed: fan-250-0-28 is up",
        &format!("to be put back: {one}, {other}, like: ip link set dev {one} master fan-250-0-28"),
    ]);
    // A port that was put back is not reported, and stays when something else is made again.
    for port in [one, other] {
        host.ip(&format!("link set {port} master fan-250-0-28"));
    }
    watcher.rests();
    containers[0].ping("250.0.28.1").arrives();
    host.ip("route del unreachable 250.0.0.0/8 metric 4278198272");
    let line = watcher.says(&[FAN, "followed: fan-250-0-28 is up"]);
    assert!(!line.contains("put back"), "{line}");
}

fn what_somebody_took_away_is_told(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    write(&host, encap, &[("250.0.0.0/8", "table = 77")]);
    host.fanctl(&format!("up -a {CONFIG}")).ok();
    let whole = dump(&host);
    let mut watcher = Watcher::start(&host, CONFIG);
    let (tunnel, remedy) = (encap.tunnel(), "fanctl reload puts it right");
    for (loss, told) in [
        (format!("tc filter del dev {tunnel} ingress"), format!("ingress filter of '{tunnel}'")),
        ("ip link del fan-250-0-28".to_string(), "bridge 'fan-250-0-28'".to_string()),
        (
            "ip route del unreachable 250.0.0.0/8 metric 4278198272".to_string(),
            "unreachable route '250.0.0.0/8'".to_string(),
        ),
        ("ip rule del to 250.0.0.0/8".to_string(), "rule 'to 250.0.0.0/8'".to_string()),
        ("nft flush ruleset".to_string(), "nftables tables 'fan-250.0.0.0/8'".to_string()),
    ] {
        host.exec(&loss).ok();
        let damaged = dump(&host);
        watcher.says(&[FAN, "gone: ", &told, remedy]);
        watcher.says_no_more();
        assert_same(&damaged, &dump(&host), &loss);
        host.fanctl(&format!("reload {CONFIG}")).ok();
        watcher.says(&[FAN, "it is as it should be"]);
        watcher.says_no_more();
        assert_same(&whole, &dump(&host), &loss);
    }
}

fn an_underlay_that_goes_down_is_told_and_comes_back(encap: Encap) {
    let (host, _lan) = two_fans(encap);
    let whole = dump(&host);
    let mut watcher = Watcher::start(&host, CONFIG);
    host.ip("link set eth0 down");
    watcher.says(&[FAN, "interface 'eth0' is down; bring it up first"]);
    // An object that is lost meanwhile cannot be made again yet.
    host.ip("link set fan-250-0-28 down");
    watcher.says(&[FAN, "gone: link 'fan-250-0-28' up"]);
    watcher.rests();
    host.ip("link set eth0 up");
    watcher.says(&[FAN, "interface 'eth0' is up again"]);
    watcher.says(&[FAN, "followed: fan-250-0-28 is up"]);
    watcher.says(&[OTHER, "interface 'eth0' is up again; it is as it should be"]);
    watcher.says_no_more();
    assert_same(&whole, &dump(&host), &format!("{:#?}", watcher.lines()));
}

fn traffic_of_another_fan_goes_on(encap: Encap) {
    let (host, lan) = two_fans(encap);
    let other = lan.host("172.30.0.27");
    other.fanctl(&format!("up 251 eth0/16 {}", encap.words())).ok();
    let (near, far) = (host.container("251.0.28.2"), other.container("251.0.27.2"));
    let mut watcher = Watcher::start(&host, CONFIG);
    let echo = Echo::between(&near, &far, "251.0.27.2");
    for loss in [
        "ip link del fan-250-0-28",
        "ip route del unreachable 250.0.0.0/8 metric 4278198272",
        "nft delete table ip fan-250.0.0.0/8",
        "ip addr add 172.30.0.99/16 dev eth0",
        "ip link set fan-250-0-28 mtu 1300",
    ] {
        host.exec(loss).ok();
        if !loss.contains("addr add") {
            watcher.says(&[FAN, "followed: "]);
        }
        watcher.rests();
    }
    assert!(echo.stop() > 10);
    let lines = watcher.lines();
    assert!(!lines.iter().any(|line| line.starts_with(OTHER)), "{lines:#?}");
}

/// The kernel drops notifications that do not fit into a socket's buffer, and says so (`ENOBUFS`).
fn what_it_did_not_hear_of_it_sees(encap: Encap) {
    let (host, _lan) = two_fans(encap);
    let whole = dump(&host);
    let mut watcher = Watcher::start(&host, CONFIG);
    watcher.rests();
    watcher.signal(Signal::SIGSTOP);
    let flood = "addr add 10.7.7.7/32 dev lo\n addr del 10.7.7.7/32 dev lo\n".repeat(2000);
    host.ip(&flood);
    assert!(watcher.missed() > 0, "all of it fits into the buffer");
    host.exec("ip route del unreachable 250.0.0.0/8 metric 4278198272").ok();
    watcher.signal(Signal::SIGCONT);
    watcher.says(&[FAN, "gone: unreachable route"]);
    watcher.says(&[FAN, "followed: "]);
    watcher.says_no_more();
    assert_same(&whole, &dump(&host), &format!("{:#?}", watcher.lines()));
    // It receives notifications again.
    host.exec("ip link set fan-250-0-28 down").ok();
    watcher.says(&[FAN, "followed: "]);
}

fn many_commands_beside_it_end_in_a_right_state(encap: Encap) {
    let (host, _lan) = two_fans(encap);
    let whole = dump(&host);
    host.fanctl("down -a").ok();
    let before = dump(&host);
    let mut watcher = Watcher::start(&host, CONFIG);
    let mixed = ["up -a", "down -a", "reload", "show --json", "up -a", "down -a"];
    let running: Vec<_> = (0..if is_emulated() { 8 } else { 20 })
        .map(|number| {
            let verb = mixed[number % mixed.len()];
            let config = if verb == "up -a" || verb == "reload" { CONFIG } else { "" };
            let mut command = Command::new(Host::program());
            command.args(verb.split(' ')).args(config.split_whitespace());
            (verb, host.spawn(command))
        })
        .collect();
    for (verb, child) in running {
        Output::of(verb.to_string(), child).ok();
    }
    host.fanctl(&format!("up -a {CONFIG}")).ok();
    watcher.rests();
    assert_same(&whole, &dump(&host), &format!("up at last\n{:#?}", watcher.lines()));
    host.fanctl("down -a").ok();
    watcher.says(&[OTHER, "it is down"]);
    watcher.rests();
    assert_same(&before, &dump(&host), &format!("down at last\n{:#?}", watcher.lines()));
    let lines = watcher.lines();
    let is_known = |line: &&String| ["it is down", "it is up", "following "].iter().any(|part| line.contains(part));
    let others: Vec<&String> = lines.iter().filter(|line| !is_known(line)).collect();
    assert!(others.is_empty(), "it saw half-made fans: {others:#?}");
}

fn a_dhcp_server_that_ends_is_started_again() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let fans = [("250.0.0.0/8", "dhcp = true\nfollow = true"), ("251.0.0.0/8", "dhcp = true")];
    write(&host, Encap::Vxlan, &fans);
    host.fanctl(&format!("up -a {CONFIG}")).ok();
    let mut watcher = Watcher::start(&host, CONFIG);
    let servers = || host.dnsmasqs().len();
    for _ in 0..3 {
        let of_fan = |(_, line): &&(_, String)| line.contains("--interface=fan-250-0-28");
        let server = host.dnsmasqs().iter().find(of_fan).expect("a server").0;
        kill(server, Signal::SIGKILL).expect("to end it");
        watcher.says(&[FAN, "gone: dhcp server on 'fan-250-0-28'"]);
        watcher.says(&[FAN, "followed: "]);
        watcher.says_no_more();
        assert_eq!(servers(), 2);
    }
    let of_other = |(_, line): &&(_, String)| line.contains("--interface=fan-251-0-28");
    let server = host.dnsmasqs().iter().find(of_other).expect("a server").0;
    kill(server, Signal::SIGKILL).expect("to end it");
    watcher.says(&[OTHER, "gone: dhcp server on 'fan-251-0-28'; fanctl reload puts it right"]);
    watcher.says_no_more();
    watcher.ends_by(Signal::SIGTERM);
    assert_eq!(servers(), 1, "the server outlives it");
}

fn a_fan_that_was_taken_down_stays_down() {
    let (host, _lan) = two_fans(Encap::Vxlan);
    let whole = dump(&host);
    let mut watcher = Watcher::start(&host, CONFIG);
    host.fanctl("down 250.0.0.0/8 eth0/16").ok();
    watcher.says(&[FAN, "it is down, and stays so until: fanctl up -a"]);
    watcher.says_no_more();
    host.ip("link set eth0 mtu 1400\n link set eth0 mtu 1500");
    watcher.rests();
    assert!(!has(&host, "fan-250-0-28"));
    host.fanctl(&format!("up -a {CONFIG}")).ok();
    watcher.says(&[FAN, "it is up"]);
    watcher.says_no_more();
    assert_same(&whole, &dump(&host), &format!("{:#?}", watcher.lines()));
    host.exec("ip link del fan-250-0-28").ok();
    watcher.says(&[FAN, "followed: "]);
}

fn a_fan_made_by_hand_is_told_of_and_left_alone() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    write(&host, Encap::Vxlan, &[("251.0.0.0/8", FOLLOWS)]);
    host.fanctl("up 250 eth0 --encap vxlan").ok();
    host.fanctl("up 251 eth0 --encap vxlan").ok();
    let mut watcher = Watcher::start(&host, CONFIG);
    host.exec("nft flush ruleset").ok();
    watcher.says(&[FAN, "gone: nftables table", "the fanctl up that made it puts it right"]);
    watcher.says(&[OTHER, "gone: nftables table", "it is not followed, because somebody brought it up by hand"]);
    watcher.says_no_more();
    host.ip("addr del 172.30.0.28/16 dev eth0\n addr add 172.30.0.99/16 dev eth0");
    watcher.says(&[FAN, "no interface has its address 172.30.0.28; take it down"]);
    host.fanctl("down 250.0.0.0/8 172.30.0.28/16").ok();
    watcher.says(&[FAN, "it is down"]);
    watcher.says_no_more();
}

/// Another process takes the UDP port, without a notification, so that the tunnel cannot go up again.
fn what_cannot_be_put_right_is_told_once() {
    let (host, _lan) = two_fans(Encap::Vxlan);
    host.fanctl("down 251.0.0.0/8 eth0/16").ok();
    let mut watcher = Watcher::start(&host, CONFIG);
    host.ip("link set fan-vx16384000 down");
    watcher.says(&[FAN, "followed: "]);
    watcher.rests();
    watcher.signal(Signal::SIGSTOP);
    host.ip("link set fan-vx16384000 down");
    let taken = host.run(|| std::net::UdpSocket::bind(("0.0.0.0", 8472)).expect("the port"));
    watcher.signal(Signal::SIGCONT);
    watcher.says(&[FAN, "gone: link 'fan-vx16384000' up"]);
    watcher.says(&[FAN, "cannot follow: ", "UDP port 8472 is held by process "]);
    let damaged = dump(&host);
    // Changes elsewhere cause no attempt, and the same line is not printed again.
    host.ip("link add dummy7 type veth peer name dummy8");
    host.ip("link del dummy7");
    assert_same(&damaged, &dump(&host), "nothing is left of the attempts");
    drop(taken);
    watcher.says(&[FAN, "followed: "]);
    watcher.says_no_more();
    let said = watcher.lines();
    assert_eq!(said.iter().filter(|line| line.contains("cannot follow")).count(), 1, "{said:?}");
}

fn what_is_undone_again_and_again_is_left_alone() {
    let (host, _lan) = two_fans(Encap::Vxlan);
    let mut watcher = Watcher::start(&host, CONFIG);
    let undo = "ip route del unreachable 250.0.0.0/8 metric 4278198272";
    for _ in 0..5 {
        host.exec(undo).ok();
        watcher.says(&[FAN, "followed: "]);
    }
    host.exec(undo).ok();
    watcher.says(&[FAN, "another program keeps undoing the repair"]);
    host.exec(undo).exits(2);
    // Another difference is repaired all the same.
    host.ip("link set fan-250-0-28 down");
    watcher.says(&[FAN, "followed: "]);
    watcher.says_no_more();
    host.exec(undo).ok();
}
