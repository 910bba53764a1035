//! What others change of a fan, or put on its devices: `show` and `doctor` name it with a code, and `up` puts right what is the
//! fan's own. A fan takes no part in IPv6.

use serde_json::{Value, json};

use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Encap, Host, Lan};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("sight")
        .only_ipip_in_tier_3()
        .each(named![
            a_fan_takes_no_part_in_ipv6,
            ipv6_that_somebody_switched_on_is_told_and_switched_off,
            an_address_that_somebody_configured_stays_and_is_told,
            settings_that_are_right_are_not_written,
            what_others_put_in_front_is_told_and_stays,
            rules_under_their_old_comments_are_told_and_put_right,
        ])
        .once(
            named![settings_of_the_tunnels_port_are_told_and_put_right, entries_that_a_bridge_did_not_learn_are_told,],
        )
        .list()
}

const BRIDGE: &str = "fan-250-0-28";

#[track_caller]
fn up(encap: Encap) -> (Host, Lan) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    speaks_ipv6(&host);
    host.up(encap);
    (host, lan)
}

/// Namespaces of tests speak none. New devices do after this.
#[track_caller]
fn speaks_ipv6(host: &Host) {
    host.set_sysctl("ipv6/conf/default/disable_ipv6", "0");
}

fn verdict(host: &Host) -> Value {
    host.fanctl("show --json").ok().json()[0]["verdict"].clone()
}

/// The codes in a list of the verdict.
fn codes(host: &Host, list: &str) -> Vec<String> {
    let verdict = verdict(host);
    let list = verdict[list].as_array().expect("a list");
    list.iter().map(|entry| entry["code"].as_str().expect("a code").to_string()).collect()
}

/// What the kernel says that a device takes part in of IPv6: `accept_ra`, `accept_redirects` and its addresses.
fn ipv6(host: &Host, device: &str) -> Value {
    let settings = ["accept_ra", "accept_redirects", "addr_gen_mode"];
    let settings = settings.map(|setting| host.sysctl(&format!("ipv6/conf/{device}/{setting}")));
    let addresses = host.ip_json(&format!("-6 addr show dev {device}"));
    let addresses = addresses.as_array().into_iter().flatten();
    let count: usize = addresses.filter_map(|link| Some(link["addr_info"].as_array()?.len())).sum();
    json!([settings, count])
}

/// Settings off, `addr_gen_mode` none (`IN6_ADDR_GEN_MODE_NONE`), no address.
fn nothing() -> Value {
    json!([["0", "0", "1"], 0])
}

fn a_fan_takes_no_part_in_ipv6(encap: Encap) {
    let (host, _lan) = up(encap);
    for device in [BRIDGE, encap.tunnel()] {
        assert_eq!(ipv6(&host, device), nothing(), "{device}");
    }
}

fn ipv6_that_somebody_switched_on_is_told_and_switched_off(encap: Encap) {
    let (host, _lan) = up(encap);
    for change in [
        "sysctl -qw net/ipv6/conf/fan-250-0-28/accept_ra=1".to_string(),
        format!("sysctl -qw net/ipv6/conf/{}/accept_redirects=1", encap.tunnel()),
        "ip link set fan-250-0-28 addrgenmode eui64".to_string(),
        // With an address at once.
        "sysctl -qw net/ipv6/conf/fan-250-0-28/addr_gen_mode=0".to_string(),
    ] {
        host.exec(&change).ok();
        assert_eq!(codes(&host, "differences"), ["ipv6"], "{change}");
        assert_eq!(verdict(&host)["complete"], false, "{change}");
        host.fanctl("doctor").failed().stdout_has(&["FAIL  ipv6"]);
        host.up(encap);
        for device in [BRIDGE, encap.tunnel()] {
            assert_eq!(ipv6(&host, device), nothing(), "{change}");
        }
        assert_eq!(verdict(&host)["complete"], true, "{change}");
    }
}

fn an_address_that_somebody_configured_stays_and_is_told(encap: Encap) {
    let (host, _lan) = up(encap);
    host.exec("ip -6 addr add 2001:db8::1/64 dev fan-250-0-28 nodad").ok();
    assert_eq!(codes(&host, "foreign"), ["ipv6-address"]);
    host.fanctl("doctor").ok().stdout_has(&["warn  foreign", "2001:db8::1/64"]);
    host.unchanged(|| host.up(encap).stdout_has(&["nothing to do"]));
    assert_eq!(verdict(&host)["complete"], true);
}

/// As in a container whose manager has set them; those of IPv6 it has not.
fn settings_that_are_right_are_not_written(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    speaks_ipv6(&host);
    for setting in ["ipv4/ip_forward", "ipv4/conf/all/forwarding", "ipv4/conf/default/forwarding"] {
        host.set_sysctl(setting, "1");
    }
    for setting in ["all", "default"] {
        host.set_sysctl(&format!("ipv4/conf/{setting}/send_redirects"), "0");
    }
    let read_only =
        "mount -t proc proc /proc && mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys";
    let run = |words: &str| host.sh(&format!("unshare -m sh -c '{read_only} && {} {words}'", Host::program()));
    let words = format!("up 250.0.0.0/8 eth0/16 {}", encap.words());
    run(&words).ok().stdout_has(&["is up"]);
    run(&words).ok().stdout_has(&["nothing to do"]);
    run("doctor").failed().stdout_has(&["ipv6-settings", "accept_ra"]);
    // What can be written is written: no address comes by itself.
    assert_eq!(ipv6(&host, BRIDGE)[1], 0);
    host.fanctl("down -e").ok();
    // Netlink sets what a device starts with otherwise.
    host.set_sysctl("ipv4/conf/default/forwarding", "0");
    run(&words).ok();
    assert_eq!(host.sysctl(&format!("ipv4/conf/{BRIDGE}/forwarding")).as_deref(), Some("1"));
    host.fanctl("down -e").ok();
    // What is not right, and cannot be written, is told with what to set.
    host.set_sysctl("ipv4/ip_forward", "0");
    run(&words).failed().stderr_has(&["net.ipv4.ip_forward=1", "everything is as it was"]);
}

fn what_others_put_in_front_is_told_and_stays(encap: Encap) {
    let (host, _lan) = up(encap);
    let tunnel = encap.tunnel();
    for direction in ["ingress", "egress"] {
        let add = format!("tc filter add dev {tunnel} {direction} pref 1 protocol all bpf da bytecode 1,6 0 0 0");
        let add = add.replace("1,6 0 0 0", "'1,6 0 0 0'");
        host.sh(&add).ok();
        assert_eq!(codes(&host, "foreign"), ["filter-in-front"], "{direction}");
        assert_eq!(verdict(&host)["complete"], false);
        let look = format!("tc filter show dev {tunnel} {direction}");
        host.fanctl("doctor").failed().stdout_has(&["FAIL  foreign", &look]);
        let told = host.unchanged(|| host.up(encap));
        told.stderr_has(&["in front of the fan's, and stays", &look]);
        host.exec(&format!("tc filter del dev {tunnel} {direction} pref 1")).ok();
        assert_eq!(verdict(&host)["complete"], true);
    }
    // Behind the fan's, and on the bridge, it takes nothing from the checks.
    host.sh(&format!(
        "tc filter add dev {tunnel} ingress pref 200 protocol all bpf da bytecode '1,6 0 0 0'
         tc qdisc add dev {BRIDGE} clsact
         tc filter add dev {BRIDGE} ingress pref 1 protocol all bpf da bytecode '1,6 0 0 0'"
    ))
    .ok();
    let mut found = codes(&host, "foreign");
    found.sort();
    assert_eq!(found, ["filter", "filter-in-front"]);
    assert_eq!(verdict(&host)["complete"], true);
    host.fanctl("doctor").ok().stdout_has(&["warn  foreign"]);
}

fn settings_of_the_tunnels_port_are_told_and_put_right() {
    let (host, _lan) = up(Encap::Vxlan);
    let tunnel = Encap::Vxlan.tunnel();
    let all = |host: &Host| {
        let mut links = host.ip_json("-d link show type vxlan")[0]["linkinfo"].clone();
        let bridge = host.ip_json("-d link show type bridge")[0]["linkinfo"]["info_data"].clone();
        let port = links["info_slave_data"].take();
        let pick = |from: &Value, keys: &[&str]| keys.iter().map(|key| from[*key].clone()).collect::<Vec<_>>();
        json!([
            pick(
                &port,
                &["learning", "flood", "mcast_flood", "bcast_flood", "hairpin", "isolated", "neigh_suppress", "locked"]
            ),
            pick(&bridge, &["vlan_filtering", "stp_state", "group_fwd_mask"]),
        ])
    };
    let before = all(&host);
    for (change, code) in [
        (format!("bridge link set dev {tunnel} learning off"), "port-learning"),
        (format!("bridge link set dev {tunnel} flood off"), "port-flood"),
        (format!("bridge link set dev {tunnel} mcast_flood off"), "port-mcast-flood"),
        (format!("bridge link set dev {tunnel} bcast_flood off"), "port-bcast-flood"),
        (format!("bridge link set dev {tunnel} hairpin on"), "port-hairpin"),
        (format!("bridge link set dev {tunnel} isolated on"), "port-isolated"),
        (format!("bridge link set dev {tunnel} neigh_suppress on"), "port-neigh-suppress"),
        (format!("bridge link set dev {tunnel} locked on"), "port-locked"),
        (format!("ip link set {BRIDGE} type bridge vlan_filtering 1"), "bridge-vlan-filtering"),
        (format!("ip link set {BRIDGE} type bridge stp_state 1"), "bridge-stp"),
        (format!("ip link set {BRIDGE} type bridge group_fwd_mask 8"), "bridge-group-forwarding"),
    ] {
        let changed = host.exec(&change);
        // Not every kernel has VLANs on bridges.
        if code == "bridge-vlan-filtering" && changed.stderr.contains("not supported") {
            continue;
        }
        changed.ok();
        assert_ne!(all(&host), before, "{change}");
        assert_eq!(codes(&host, "differences"), [code], "{change}");
        host.fanctl("doctor").failed().stdout_has(&["has been changed"]);
        host.up(Encap::Vxlan);
        assert_eq!(all(&host), before, "{change}");
        assert_eq!(verdict(&host)["complete"], true, "{change}");
    }
}

fn entries_that_a_bridge_did_not_learn_are_told() {
    let (host, _lan) = up(Encap::Vxlan);
    let container = host.container("250.0.28.2");
    container.ping("250.0.28.1").arrives();
    assert_eq!(codes(&host, "foreign"), [""; 0], "what it learned, and its own, is not told");
    for add in [
        "bridge fdb add 02:fa:fa:00:1b:00 dev fan-vx16384000 master static",
        "bridge fdb add 02:fa:fa:00:1b:01 dev fan-250-0-28 self local",
    ] {
        host.exec(add).ok();
        assert_eq!(codes(&host, "foreign"), ["fdb-entry"], "{add}");
        assert_eq!(verdict(&host)["complete"], false, "{add}");
        host.fanctl("doctor").failed().stdout_has(&["bridge fdb show br fan-250-0-28"]);
        host.unchanged(|| host.up(Encap::Vxlan));
        let delete = add.replace("add", "del").replace(" static", "").replace(" local", "");
        host.exec(&delete).ok();
        assert_eq!(verdict(&host)["complete"], true, "{delete}");
    }
}

fn rules_under_their_old_comments_are_told_and_put_right(encap: Encap) {
    let (host, _lan) = up(encap);
    let right = host.nft_json("list ruleset");
    let table = "fan-250.0.0.0/8";
    let other = format!(
        "nft list table ip {table} > /run/rules && sed -i 's|ip saddr 250.0.0.0/8 counter|ip saddr 251.0.0.0/8 counter|' /run/rules \
         && nft delete table ip {table} && nft -f /run/rules"
    );
    for (change, code) in [
        (other.as_str(), "rules-changed"),
        ("nft 'chain ip fan-250.0.0.0/8 guard { policy drop; }'", "chain-policy"),
        ("nft 'chain bridge fan-250.0.0.0/8 ports { policy drop; }'", "chain-policy"),
        ("nft add chain ip fan-250.0.0.0/8 mine", "rules-changed"),
        ("nft insert rule ip fan-250.0.0.0/8 guard accept", "rules-changed"),
    ] {
        host.sh(change).ok();
        let found = codes(&host, "differences");
        assert!(found.iter().any(|found| found == code), "{change}: {found:?}");
        assert_eq!(verdict(&host)["complete"], false, "{change}");
        host.fanctl("doctor").failed().stdout_has(&["FAIL  table"]);
        host.up(encap);
        assert_eq!(shape(&host.nft_json("list ruleset")), shape(&right), "{change}");
        assert_eq!(verdict(&host)["complete"], true, "{change}");
    }
}

/// Rules without what changes with each making of them.
fn shape(ruleset: &Value) -> Vec<String> {
    let objects = ruleset.as_array().expect("objects").iter();
    let mut shape: Vec<String> = objects
        .filter_map(|object| {
            let rule = object.get("rule")?;
            Some(format!("{} {} {}", rule["family"], rule["chain"], rule["comment"]))
        })
        .collect();
    shape.sort();
    shape
}
