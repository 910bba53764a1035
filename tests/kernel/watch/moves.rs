//! The underlay of a host moves, and its fans with it: another MTU, another address.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{CONFIG, FAN, OTHER, dump, has, mtu, two_fans, write};
use crate::case::Case;
use crate::named;
use crate::support::{Container, Encap, Host, Lan, Watcher, assert_same, by_stride};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    super::none_yet()
        .each(named![
            an_mtu_is_told_and_followed,
            a_new_address_renumbers_a_fan_without_containers,
            containers_keep_a_bridge_from_being_renumbered_unless_told,
            an_underlay_of_another_name_is_moved_to,
            no_container_is_lost_by_who_is_killed_while_renumbering,
        ])
        .once(named![an_address_that_is_written_out_cannot_be_followed,])
        .list()
}

/// The bridge that a container is attached to.
#[track_caller]
fn bridge_of(host: &Host, container: &Container) -> Value {
    host.ip_json(&format!("link show {}", container.port()))[0]["master"].clone()
}

/// Changes settings of a port that are lost when the port leaves its bridge.
#[track_caller]
fn isolate(host: &Host, container: &Container) -> Vec<Value> {
    let port = container.port();
    host.exec(&format!("bridge link set dev {port} isolated on hairpin on flood off")).ok();
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
        let told = format!("the MTU of interface 'eth0' changed from {before} to {size}");
        watcher.says(&[FAN, &told]);
        watcher.says(&[FAN, "followed: fan-250-0-28 is up", &format!("mtu {}", size - encap.overhead())]);
        watcher.says(&[OTHER, &told]);
        watcher.says_no_more();
        assert_eq!(mtu(&host, "fan-250-0-28"), size - encap.overhead());
        assert_eq!(mtu(&host, "fan-251-0-28"), 1500 - encap.overhead(), "it does not follow");
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
    watcher
        .says(&[OTHER, "this host's address is now 172.30.0.99/16 on 'eth0'; its slice would be 251.0.99.0/24; fanctl reload puts it right"]);
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
    let told =
        watcher.says(&[FAN, "this host's address is now 172.30.0.99/16 on 'eth0'; its slice would be 250.0.99.0/24"]);
    for part in ["bridge 'fan-250-0-28' still has a container: con0", "follow = \"renumber\""] {
        assert!(told.contains(part), "{told}");
    }
    watcher.rests();
    assert_eq!(bridge_of(&host, &container), "fan-250-0-28");
    write(&host, encap, &[("250.0.0.0/8", "follow = \"renumber\""), ("251.0.0.0/8", "")]);
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
    // And from a bridge with a name from the configuration.
    write(&host, encap, &[("250.0.0.0/8", "follow = \"renumber\"\nbridge = \"lan0\""), ("251.0.0.0/8", "")]);
    watcher.signal(Signal::SIGHUP);
    watcher.says(&[FAN, "followed: lan0 is up"]);
    host.ip("addr del 172.30.0.99/16 dev eth0\n addr add 172.30.0.98/16 dev eth0");
    watcher.says(&[FAN, "followed: lan0 is up: slice 250.0.98.0/24", "con0"]);
    watcher.rests();
    assert_eq!(bridge_of(&host, &container), "lan0");
    assert_eq!(port_settings(&host, &container), settings);
    assert_eq!(mtu(&host, "lan0"), 1500 - encap.overhead());
}

/// The old tables are rebuilt on the way without the device that is gone.
fn an_underlay_of_another_name_is_moved_to(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let fan = "underlay = \"172.30.0.0/16\"\nfollow = \"renumber\"";
    write(&host, encap, &[("250.0.0.0/8", fan)]);
    host.fanctl(&format!("up -a {CONFIG}")).ok();
    let container = host.container("250.0.28.2");
    host.ip("link set eth0 down\n link set eth0 name lan0\n addr flush dev lan0\n addr add 172.30.0.99/16 dev lan0\n \
         link set lan0 up");
    host.fanctl(&format!("reload {CONFIG}")).ok();
    assert_eq!(bridge_of(&host, &container), "fan-250-0-99");
    let again = host.fanctl(&format!("reload {CONFIG}")).ok();
    assert!(again.stdout.contains("nothing to do"), "{again}");
}

/// For each system call: when it fails, the host is as it was; when `fanctl` is killed at it, the next one puts the port
/// on the right bridge. Meanwhile the port is always on one of the two. A stride chooses the calls.
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
        host.ip(&format!("addr del 172.30.0.{from}/16 dev eth0\n addr add 172.30.0.{to}/16 dev eth0"));
    };
    let at_home = dump(&host);
    go("28", "99");
    let mut acts = host.acts_of(&reload);
    let wholes = [at_home, dump(&host)];
    acts.retain(|act| !act.is_reading());
    assert!(acts.len() > 10, "so few calls: {acts:?}");
    let mut place = 1;
    for (number, act) in by_stride(&acts) {
        let (from, to) = (places[place], places[1 - place]);
        place = 1 - place;
        go(from, to);
        let (old, new) = (format!("fan-250-0-{from}"), format!("fan-250-0-{to}"));
        let before = dump(&host);
        let output = host.fails_at(&reload, act);
        if output.code == Some(0) {
            // The library tried another call (`clone` for `clone3`).
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
