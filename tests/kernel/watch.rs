//! `fanctl watch`: what happens to a host is told, and followed where that was asked for.

use std::env;
use std::fmt::Write as _;
use std::fs::File;
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::case::{Case, Cases};
use crate::converge::losses;
use crate::named;
use crate::support::{
    Container, Echo, Encap, Host, Lan, NOBODY, Output, Watcher, assert_same, eventually, is_emulated, own_state,
};

pub fn cases() -> Vec<Case> {
    Cases::of("watch")
        .only_ipip_in_tier_3()
        .only_on("6.12")
        .each(named![
            an_mtu_is_told_and_followed,
            a_new_address_renumbers_a_fan_without_containers,
            containers_keep_a_bridge_from_being_renumbered_unless_told,
            no_container_is_lost_by_who_is_killed_while_renumbering,
            what_somebody_took_away_comes_back,
            what_somebody_took_away_is_told,
            an_underlay_that_goes_down_is_told_and_comes_back,
            traffic_of_another_fan_goes_on,
            what_it_did_not_hear_of_it_sees,
            many_commands_beside_it_end_in_a_right_state,
        ])
        .once(named![
            an_address_that_is_written_out_cannot_be_followed,
            a_dhcp_server_that_ends_is_started_again,
            a_fan_that_was_taken_down_stays_down,
            a_fan_made_by_hand_is_told_of_and_left_alone,
            what_cannot_be_put_right_is_told_once,
            what_is_undone_again_and_again_is_left_alone,
            it_does_nothing_while_nothing_happens,
            it_waits_for_other_commands_and_ends_all_the_same,
            the_configuration_is_read_again,
            whoever_does_not_read_its_lines_holds_nobody_up,
            it_tells_systemd_and_marks_its_lines,
            it_takes_root_and_a_right_configuration,
        ])
        .list()
}

const FILE: &str = "/run/fan.toml";
const CONFIG: &str = "--config /run/fan.toml";
const FAN: &str = "fan 250.0.0.0/8: ";
const OTHER: &str = "fan 251.0.0.0/8: ";
const FOLLOWS: &str = "follow = true";

/// Writes a file of fans over eth0: overlay, and what else their tables hold.
fn write(host: &Host, encap: Encap, fans: &[(&str, &str)]) {
    let mut text = String::new();
    for (overlay, more) in fans {
        let underlay = if more.contains("underlay") {
            ""
        } else {
            "underlay = \"eth0/16\""
        };
        let _ = writeln!(
            text,
            "[[fan]]\noverlay = \"{overlay}\"\n{underlay}\nencap = \"{encap}\"\n{more}"
        );
    }
    host.write(FILE, &text);
}

/// The host of the announcement with a fan that follows and one that does not, both up.
fn two_fans(encap: Encap) -> (Host, Lan) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    write(&host, encap, &[("250.0.0.0/8", FOLLOWS), ("251.0.0.0/8", "")]);
    host.fanctl(&format!("up -a {CONFIG}")).ok();
    (host, lan)
}

/// The host's state, without the processes that look at it.
#[track_caller]
fn dump(host: &Host) -> Vec<String> {
    let mut facts = host.dump();
    facts.retain(|fact| !fact.starts_with("process") || fact.contains("dnsmasq"));
    facts
}

#[track_caller]
fn mtu(host: &Host, device: &str) -> Value {
    host.ip_json(&format!("link show {device}"))[0]["mtu"].clone()
}

/// Whether a device is there.
fn has(host: &Host, device: &str) -> bool {
    host.devices().iter().any(|name| name == device)
}

/// The bridge that a container is attached to.
#[track_caller]
fn bridge_of(host: &Host, container: &Container) -> Value {
    host.ip_json(&format!("link show {}", container.port()))[0]["master"].clone()
}

/// Sets what a bridge forgets of a port that leaves it.
#[track_caller]
fn isolate(host: &Host, container: &Container) -> Vec<Value> {
    let port = container.port();
    host.exec(&format!("bridge link set dev {port} isolated on hairpin on flood off"))
        .ok();
    let settings = port_settings(host, container);
    assert_eq!(settings, [true, true, false], "isolated, hairpin, flood");
    settings
}

#[track_caller]
fn port_settings(host: &Host, container: &Container) -> Vec<Value> {
    let links = host.ip_json(&format!("-details link show {}", container.port()));
    let settings = &links[0]["linkinfo"]["info_slave_data"];
    ["isolated", "hairpin", "flood"].map(|key| settings[key].clone()).into()
}

fn an_mtu_is_told_and_followed(encap: Encap) {
    let (host, _lan) = two_fans(encap);
    let mut watcher = Watcher::start(&host, CONFIG);
    watcher.says(&["following 250.0.0.0/8, telling of 251.0.0.0/8; all is as it should be"]);
    for (size, before) in [(1400, 1500), (1500, 1400)] {
        host.ip(&format!("link set eth0 mtu {size}"));
        let told = format!("interface 'eth0' has MTU {size}, no more {before}");
        watcher.says(&[FAN, &told]);
        watcher.says(&[
            FAN,
            "followed: fan-250-0-28 is up",
            &format!("mtu {}", size - encap.overhead()),
        ]);
        watcher.says(&[OTHER, &told]);
        watcher.says_no_more();
        assert_eq!(mtu(&host, "fan-250-0-28"), size - encap.overhead());
        assert_eq!(
            mtu(&host, "fan-251-0-28"),
            1500 - encap.overhead(),
            "it does not follow"
        );
    }
    watcher.ends_by(Signal::SIGTERM);
}

fn a_new_address_renumbers_a_fan_without_containers(encap: Encap) {
    let (host, lan) = two_fans(encap);
    let other = lan.host("172.30.0.27");
    other.up(encap);
    let far = other.container("250.0.27.2");
    let mut watcher = Watcher::start(&host, CONFIG);
    host.ip("addr del 172.30.0.28/16 dev eth0\n addr add 172.30.0.99/16 dev eth0");
    watcher.says(&[FAN, "address 172.30.0.28 is gone from 'eth0'"]);
    watcher.says(&[FAN, "followed: fan-250-0-99 is up: slice 250.0.99.0/24"]);
    watcher.says(&[
        OTHER,
        "its place is 172.30.0.99/16 on 'eth0', with slice 251.0.99.0/24; fanctl reload puts it right",
    ]);
    watcher.rests();
    let addresses = host.ip_json("-4 addr show dev fan-250-0-99");
    assert_eq!(addresses[0]["addr_info"][0]["local"], "250.0.99.1");
    assert!(!has(&host, "fan-250-0-28") && has(&host, "fan-251-0-28") && !has(&host, "fan-251-0-99"));
    let near = host.container("250.0.99.2");
    near.ping("250.0.27.2").arrives();
    far.ping("250.0.99.2").arrives();
    host.fanctl(&format!("reload {CONFIG}")).ok();
    watcher.says(&[OTHER, "it is as it should be"]);
    watcher.says_no_more();
}

fn containers_keep_a_bridge_from_being_renumbered_unless_told(encap: Encap) {
    let (host, lan) = two_fans(encap);
    let other = lan.host("172.30.0.27");
    other.up(encap);
    let _far = other.container("250.0.27.2");
    let container = host.container("250.0.28.2");
    let settings = isolate(&host, &container);
    let mut watcher = Watcher::start(&host, CONFIG);
    host.ip("addr del 172.30.0.28/16 dev eth0\n addr add 172.30.0.99/16 dev eth0");
    let told = watcher.says(&[FAN, "its place is 172.30.0.99/16 on 'eth0', with slice 250.0.99.0/24"]);
    for part in [
        "bridge 'fan-250-0-28' still has a container: con0",
        "follow = \"renumber\"",
    ] {
        assert!(told.contains(part), "{told}");
    }
    watcher.rests();
    assert_eq!(bridge_of(&host, &container), "fan-250-0-28");
    write(
        &host,
        encap,
        &[("250.0.0.0/8", "follow = \"renumber\""), ("251.0.0.0/8", "")],
    );
    watcher.signal(Signal::SIGHUP);
    watcher.says(&[FAN, "followed: fan-250-0-99 is up", "in need of new addresses: con0"]);
    watcher.rests();
    assert_eq!(bridge_of(&host, &container), "fan-250-0-99");
    assert_eq!(port_settings(&host, &container), settings);
    let (len, gateway) = (encap.bridge_len(), "250.0.99.1");
    container.ip(&format!(
        "addr flush dev eth0
         addr add 250.0.99.2/{len} dev eth0
         route add default via {gateway}"
    ));
    container.ping("250.0.27.2").arrives();
    // And from a bridge that has a name of its own.
    write(
        &host,
        encap,
        &[
            ("250.0.0.0/8", "follow = \"renumber\"\nbridge = \"lan0\""),
            ("251.0.0.0/8", ""),
        ],
    );
    watcher.signal(Signal::SIGHUP);
    watcher.says(&[FAN, "followed: lan0 is up"]);
    host.ip("addr del 172.30.0.99/16 dev eth0\n addr add 172.30.0.98/16 dev eth0");
    watcher.says(&[FAN, "followed: lan0 is up: slice 250.0.98.0/24", "con0"]);
    watcher.rests();
    assert_eq!(bridge_of(&host, &container), "lan0");
    assert_eq!(port_settings(&host, &container), settings);
    assert_eq!(mtu(&host, "lan0"), 1500 - encap.overhead());
}

/// Whatever call fails, the host is as it was; wherever it is killed, the next one ends on the bridge that is wanted.
/// Meanwhile the port is always on one of the two. It is
/// every third call unless `FANCTL_EVERY_CALL` is set, and in an emulated machine every seventh.
fn no_container_is_lost_by_who_is_killed_while_renumbering(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    write(&host, encap, &[("250.0.0.0/8", "follow = \"renumber\"")]);
    host.fanctl(&format!("up -a {CONFIG}")).ok();
    let container = host.container("250.0.28.2");
    let settings = isolate(&host, &container);
    let reload = format!("reload {CONFIG}");
    let places = ["28", "99"];
    let go = |from: &str, to: &str| {
        host.ip(&format!(
            "addr del 172.30.0.{from}/16 dev eth0\n addr add 172.30.0.{to}/16 dev eth0"
        ));
    };
    let at_home = dump(&host);
    go("28", "99");
    let mut acts = host.acts_of(&reload);
    let wholes = [at_home, dump(&host)];
    acts.retain(|act| !act.is_reading());
    assert!(acts.len() > 10, "so few calls: {acts:?}");
    let mut place = 1;
    let stride = match env::var_os("FANCTL_EVERY_CALL") {
        _ if is_emulated() => 7,
        None => 3,
        Some(_) => 1,
    };
    for (number, act) in acts.iter().enumerate().step_by(stride) {
        let (from, to) = (places[place], places[1 - place]);
        place = 1 - place;
        go(from, to);
        let (old, new) = (format!("fan-250-0-{from}"), format!("fan-250-0-{to}"));
        let before = dump(&host);
        let output = host.fails_at(&reload, act);
        if output.code == Some(0) {
            // It was tried in another way (`clone` for `clone3`).
            assert_same(&wholes[place], &dump(&host), &format!("failed at {act}\n{output}"));
            go(to, from);
            host.fanctl(&reload).ok();
            go(from, to);
        } else {
            assert_same(&before, &dump(&host), &format!("failed at {act}\n{output}"));
        }
        assert_eq!(port_settings(&host, &container), settings, "failed at {act}");
        host.killed_entering(&reload, act);
        let bridge = bridge_of(&host, &container);
        assert!(bridge == old || bridge == new, "killed at {act}: {bridge}");
        if number % 5 == 0 {
            let mut watcher = Watcher::start(&host, CONFIG);
            // At the last calls all was done already.
            watcher.says(&["following 250.0.0.0/8"]);
            watcher.rests();
        } else {
            host.fanctl(&reload).ok();
        }
        assert_eq!(bridge_of(&host, &container), new, "killed at {act}");
        assert_eq!(port_settings(&host, &container), settings, "killed at {act}");
        assert_same(&wholes[place], &dump(&host), &format!("killed at {act}"));
    }
}

fn what_somebody_took_away_comes_back(encap: Encap) {
    let (host, _lan) = two_fans(encap);
    let whole = dump(&host);
    let mut watcher = Watcher::start(&host, CONFIG);
    for loss in losses(encap) {
        host.exec(&loss).ok();
        watcher.says(&[FAN, "followed: fan-250-0-28 is up"]);
        watcher.rests();
        // Of the tunnel that they share the other fan had to be told, too, which it is not by itself.
        host.fanctl(&format!("reload {CONFIG}")).ok();
        watcher.rests();
        assert_same(&whole, &dump(&host), &format!("{loss}\n{:#?}", watcher.lines()));
    }
    let lines = watcher.lines();
    assert!(!lines.iter().any(|line| line.contains("cannot")), "{lines:#?}");
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
        (
            format!("tc filter del dev {tunnel} ingress"),
            format!("ingress filter of '{tunnel}'"),
        ),
        (
            "ip link del fan-250-0-28".to_string(),
            "bridge 'fan-250-0-28'".to_string(),
        ),
        (
            "ip route del unreachable 250.0.0.0/8 metric 4278198272".to_string(),
            "unreachable route '250.0.0.0/8'".to_string(),
        ),
        (
            "ip rule del to 250.0.0.0/8".to_string(),
            "rule 'to 250.0.0.0/8'".to_string(),
        ),
        (
            "nft flush ruleset".to_string(),
            "nftables tables 'fan-250.0.0.0/8'".to_string(),
        ),
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
    // A part that goes meanwhile cannot come back yet.
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

/// The kernel drops what does not fit into a socket's buffer, and says so (`ENOBUFS`).
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
    // It hears again.
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
            let config = if verb == "up -a" || verb == "reload" {
                CONFIG
            } else {
                ""
            };
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
    let is_known = |line: &&String| {
        ["it is down", "it is up", "following "]
            .iter()
            .any(|part| line.contains(part))
    };
    let others: Vec<&String> = lines.iter().filter(|line| !is_known(line)).collect();
    assert!(others.is_empty(), "it saw half-made fans: {others:#?}");
}

fn an_address_that_is_written_out_cannot_be_followed() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let fans = [("250.0.0.0/8", "underlay = \"172.30.0.28/16\"\nfollow = \"renumber\"")];
    write(&host, Encap::Vxlan, &fans);
    host.fanctl(&format!("up -a {CONFIG}")).ok();
    let mut watcher = Watcher::start(&host, CONFIG);
    host.ip("addr del 172.30.0.28/16 dev eth0\n addr add 172.30.0.99/16 dev eth0");
    watcher.says(&[
        FAN,
        "address 172.30.0.28 is gone from 'eth0', which has 172.30.0.99 now",
        "no interface has the address 172.30.0.28",
        "an address that is written out cannot be followed",
    ]);
    watcher.says_no_more();
    assert!(has(&host, "fan-250-0-28"));
    host.ip("addr add 172.30.0.28/16 dev eth0");
    watcher.says(&[FAN, "address 172.30.0.28 is on 'eth0' again; it is as it should be"]);
    watcher.says_no_more();
}

fn a_dhcp_server_that_ends_is_started_again() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    own_state(&host);
    let fans = [
        ("250.0.0.0/8", "dhcp = true\nfollow = true"),
        ("251.0.0.0/8", "dhcp = true"),
    ];
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
    watcher.says(&[
        OTHER,
        "gone: dhcp server on 'fan-251-0-28'; fanctl reload puts it right",
    ]);
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
    watcher.says(&[
        OTHER,
        "gone: nftables table",
        "it is not followed, because somebody brought it up by hand",
    ]);
    watcher.says_no_more();
    host.ip("addr del 172.30.0.28/16 dev eth0\n addr add 172.30.0.99/16 dev eth0");
    watcher.says(&[FAN, "no interface has its address 172.30.0.28; take it down"]);
    host.fanctl("down 250.0.0.0/8 172.30.0.28/16").ok();
    watcher.says(&[FAN, "it is down"]);
    watcher.says_no_more();
}

/// The UDP port is taken by somebody whom no notification tells of, so that the tunnel cannot go up again.
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
    watcher.says(&[FAN, "cannot follow: ", "its UDP port is taken"]);
    watcher.says_no_more();
    let damaged = dump(&host);
    // It is tried again when something changes, and the same is not said again.
    host.ip("link add dummy7 type veth peer name dummy8");
    watcher.says_no_more();
    host.ip("link del dummy7");
    watcher.says_no_more();
    assert_same(&damaged, &dump(&host), "nothing is left of the attempts");
    drop(taken);
    host.ip("link add dummy7 type veth peer name dummy8");
    watcher.says(&[FAN, "followed: "]);
    watcher.says_no_more();
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
    watcher.says(&[FAN, "it is not left as it was put right"]);
    host.exec(undo).exits(2);
    // What is different is put right all the same.
    host.ip("link set fan-250-0-28 down");
    watcher.says(&[FAN, "followed: "]);
    watcher.says_no_more();
    host.exec(undo).ok();
}

fn it_does_nothing_while_nothing_happens() {
    let (host, _lan) = two_fans(Encap::Vxlan);
    let mut watcher = Watcher::start(&host, CONFIG);
    host.exec("ip link del fan-250-0-28").ok();
    watcher.says(&[FAN, "followed: "]);
    watcher.says_no_more();
    let ids = |host: &Host| {
        let links = host.ip_json("link show");
        let links = links.as_array().expect("links").iter();
        let mut ids: Vec<String> = links
            .map(|link| format!("{} {}", link["ifname"], link["ifindex"]))
            .collect();
        for direction in ["ingress", "egress"] {
            let filters = host.tc_json(&format!("filter show dev fan-vx16384000 {direction}"));
            ids.extend(
                filters
                    .as_array()
                    .expect("filters")
                    .iter()
                    .map(|filter| filter["options"]["prog"]["id"].to_string()),
            );
        }
        let objects = host.nft_json("list ruleset");
        let objects = objects
            .as_array()
            .expect("objects")
            .iter()
            .filter_map(|object| object.as_object());
        ids.extend(objects.flat_map(|object| object.values().map(|value| value["handle"].to_string())));
        ids
    };
    // What it costs: its time and that of its children, and how often it had anything to do.
    let cost = |watcher: &Watcher| {
        let file = format!("/proc/{}/", watcher.pid());
        let stat = std::fs::read_to_string(file.clone() + "stat").expect("it runs");
        let status = std::fs::read_to_string(file + "status").expect("it runs");
        let switches = status.lines().filter(|line| line.contains("ctxt_switches"));
        let times = stat.split(' ').skip(13).take(4).map(String::from);
        times.chain(switches.map(String::from)).collect::<Vec<_>>()
    };
    let (before, spent) = (ids(&host), cost(&watcher));
    let container = host.container("251.0.28.2");
    watcher.rests();
    assert_ne!(spent, cost(&watcher), "it looked, because a port came");
    // Packets are none of its business, nor are those who only look. What the kernel says of a carrier comes late.
    eventually("it does nothing", || {
        watcher.says_no_more();
        let before = cost(&watcher);
        for _ in 0..20 {
            container.ping("251.0.28.1").arrives();
        }
        host.fanctl("show --json").ok();
        host.fanctl(&format!("status {CONFIG}")).ok();
        watcher.says_no_more();
        (before == cost(&watcher)).then_some(())
    });
    host.detach(&container);
    watcher.says_no_more();
    assert_eq!(
        before,
        ids(&host),
        "every object is the same as before, not another of the same name"
    );
}

fn it_waits_for_other_commands_and_ends_all_the_same() {
    let (host, _lan) = two_fans(Encap::Vxlan);
    let mut watcher = Watcher::start(&host, CONFIG);
    watcher.says(&["following"]);
    watcher.rests();
    let hold = || {
        host.run(|| {
            let mut files = std::fs::read_dir("/run/fan").expect("the lock's directory");
            let file = files.next().expect("a lock").expect("an entry").path();
            let file = File::options().write(true).open(file).expect("the lock");
            Flock::lock(file, FlockArg::LockExclusive).expect("nobody has it")
        })
    };
    let held = hold();
    // As it is in the middle of some command.
    host.ip("link set fan-250-0-28 down");
    // It tries for the lock, and neither looks nor rests.
    eventually("it waits for the lock", || {
        let files = std::fs::read_to_string(format!("/proc/{}/syscall", watcher.pid())).expect("it runs");
        (!files.contains("ffffffff ")).then_some(())
    });
    host.ip(
        "link set fan-250-0-28 up\n route replace 250.0.0.0/8 dev fan-250-0-28 proto 250 scope link src 250.0.28.1",
    );
    drop(held);
    watcher.says_no_more();
    let _held = hold();
    host.ip("link set fan-250-0-28 down");
    watcher.ends_by(Signal::SIGINT);
}

fn the_configuration_is_read_again() {
    let (host, _lan) = two_fans(Encap::Vxlan);
    let mut watcher = Watcher::start(&host, CONFIG);
    // It takes effect with the next change.
    write(&host, Encap::Vxlan, &[("250.0.0.0/8", ""), ("251.0.0.0/8", FOLLOWS)]);
    host.exec("nft flush ruleset").ok();
    watcher.says(&[FAN, "gone: ", "fanctl reload puts it right"]);
    watcher.says(&[OTHER, "followed: fan-251-0-28 is up"]);
    // A mistake is told once, and what was there before it goes on.
    host.write(FILE, "[[fun]]\n");
    host.exec("ip link del fan-251-0-28").ok();
    watcher.says(&[
        "/run/fan.toml:1:",
        "'fun' is unknown",
        "the configuration from before is followed",
    ]);
    watcher.says(&[OTHER, "followed: fan-251-0-28 is up"]);
    watcher.says_no_more();
    // A fan that is new in the file is brought up by those who do that, and seen then.
    write(&host, Encap::Vxlan, &[("251.0.0.0/8", ""), ("252.0.0.0/8", FOLLOWS)]);
    watcher.signal(Signal::SIGHUP);
    watcher.notifies("RELOADING=1");
    watcher.notifies("READY=1");
    watcher.says(&[FAN, "the configuration has it no more: fanctl reload takes it down"]);
    watcher.says(&["fan 252.0.0.0/8: it is down, and stays so until: fanctl up -a"]);
    watcher.says(&["following 252.0.0.0/8, telling of 250.0.0.0/8, 251.0.0.0/8"]);
    host.fanctl(&format!("reload {CONFIG}")).ok();
    watcher.says(&[FAN, "it is down"]);
    watcher.says(&["fan 252.0.0.0/8: it is up"]);
    watcher.says_no_more();
}

fn whoever_does_not_read_its_lines_holds_nobody_up() {
    let (host, _lan) = two_fans(Encap::Vxlan);
    let mut watcher = Watcher::start(&host, CONFIG);
    watcher.says(&["following"]);
    watcher.rests();
    watcher.fill_its_output();
    host.exec("nft flush ruleset").ok();
    watcher.blocks();
    host.fanctl(&format!("reload {CONFIG}")).ok();
    watcher.says(&[FAN, "followed: "]);
    watcher.says(&[OTHER, "it is as it should be"]);
    watcher.says_no_more();
}

fn it_tells_systemd_and_marks_its_lines() {
    let (host, _lan) = two_fans(Encap::Vxlan);
    let mut watcher = Watcher::start_by_systemd(&host, CONFIG);
    host.exec("nft flush ruleset").ok();
    watcher.notifies("STATUS=not as it should be: 251.0.0.0/8");
    watcher.says_no_more_than(&[
        "<6>following ",
        "<5>fan 250.0.0.0/8: gone: ",
        "<5>fan 250.0.0.0/8: followed: ",
        "<5>fan 251.0.0.0/8: gone: ",
    ]);
    host.ip("link set eth0 down");
    watcher.says(&["<5>fan 250.0.0.0/8: interface 'eth0' is down"]);
    host.fanctl("down -e").ok();
    watcher.says(&["<5>fan 250.0.0.0/8: it is down"]);
    watcher.ends_by(Signal::SIGTERM);
}

fn it_takes_root_and_a_right_configuration() {
    let host = Host::new("alone");
    host.write(FILE, "[[fan]]\noverlay = \"250\"\n");
    host.fanctl(&format!("watch {CONFIG}"))
        .exits(2)
        .stderr_has(&["the fan lacks its 'underlay'"]);
    host.fanctl_by(NOBODY, "watch")
        .failed()
        .stderr_has(&["verb 'watch'", "takes root"]);
}
