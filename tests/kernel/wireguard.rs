//! A fan over WireGuard: keys that are computed on each host from one file, and nothing on the wire that others can read.

mod findings;
mod issued;
mod secrecy;
mod sites;

use std::process::{Child, Command};

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Capture, Container, Echo, Host, Inner, Lan, eventually, inject_plain, tcp_exchange};
use findings::{clock_port_place_and_epoch_have_a_code, handshakes_that_are_missing_have_a_code};
use issued::{
    a_host_with_issued_keys_is_no_other_host, a_peer_made_by_hand_speaks_with_the_fan,
    what_was_issued_to_another_is_refused,
};
use secrecy::no_secret_is_left_behind;
use sites::{
    a_host_behind_nat_is_reached, two_sites_behind_nat_need_one_forwarded_port,
    where_hosts_are_is_told_again_when_it_changes,
};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("wireguard")
        .once_with(
            &[Need::Wireguard],
            named![
                a_fan_is_encrypted_and_keys_are_those_of_the_vectors,
                what_is_up_is_right_and_goes_whole,
                another_secret_is_silence_and_a_finding,
                secrets_take_turns_and_no_packet_is_lost,
                neither_end_of_a_packet_can_be_another,
                what_others_could_read_is_refused_before_anything_is_touched,
                two_fans_need_four_ports,
                no_secret_is_printed,
                it_is_brought_up_by_a_file,
                a_host_with_issued_keys_is_no_other_host,
                a_peer_made_by_hand_speaks_with_the_fan,
                what_was_issued_to_another_is_refused,
                handshakes_that_are_missing_have_a_code,
                clock_port_place_and_epoch_have_a_code,
                a_lab_shows_that_nothing_can_be_read,
                a_host_behind_nat_is_reached,
                two_sites_behind_nat_need_one_forwarded_port,
                where_hosts_are_is_told_again_when_it_changes,
            ],
        )
        .once_with(&[Need::Wireguard, Need::Tier3], named![no_secret_is_left_behind])
        .once_with(&[Need::NoWireguard], named![without_wireguard_nothing_is_touched])
        .once(named![key_files_are_changed_in_turn])
        .list()
}

/// The secret of the bytes 00 to 1f, whose keys are known from another program.
const COUNTING: &str = "fanctl-secret-1 1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9A6NKW\n";

const UP: &str = "up 250.0.0.0/8 eth0/16 --encap wireguard --hosts 172.30.0.0/24";

/// The device of odd epochs.
const DEVICE: &str = "fan-wb16384000";

/// Two hosts on a fan with a container each.
struct Pair {
    a: Host,
    b: Host,
    ca: Container,
    cb: Container,
    lan: Lan,
}

impl Pair {
    #[track_caller]
    fn new() -> Self {
        let lan = Lan::new();
        let [a, b] = ["172.30.0.28", "172.30.0.27"].map(|address| lan.host(address));
        for host in [&a, &b] {
            give_key(host, COUNTING);
            host.fanctl(UP).ok();
        }
        let (ca, cb) = (a.container("250.0.28.2"), b.container("250.0.27.2"));
        Self { a, b, ca, cb, lan }
    }
}

#[track_caller]
fn give_key(host: &Host, text: &str) {
    host.sh(&format!("umask 077; mkdir -p /etc/fan; printf '%s' '{text}' >/etc/fan/key")).ok();
}

/// The devices but for that which comes with the module ipip.
#[track_caller]
fn devices(host: &Host) -> Vec<String> {
    host.devices().into_iter().filter(|name| name != "tunl0").collect()
}

/// What `wg show DEVICE WORD` prints.
#[track_caller]
fn wg(host: &Host, device: &str, word: &str) -> String {
    host.exec(&format!("wg show {device} {word}")).ok().stdout.trim().to_string()
}

fn a_fan_is_encrypted_and_keys_are_those_of_the_vectors() {
    let pair = Pair::new();
    assert_eq!(wg(&pair.a, DEVICE, "public-key"), "wsF5R2iw90DxfxGubLFOKY6SCgIciaOT2FDlHddmO2I=");
    // 172.30.0.1 to .254 without .28: the underlay is a /16, in which .0 and .255 are hosts too.
    assert_eq!(wg(&pair.a, DEVICE, "peers").lines().count(), 254);
    let peer = wg(&pair.b, DEVICE, "public-key");
    let of_peer = |word: &str| {
        let list = wg(&pair.a, DEVICE, word);
        let line = list.lines().find(|line| line.starts_with(&peer)).map(|line| line[peer.len()..].trim().to_string());
        line.unwrap_or_else(|| panic!("{peer} is none of {list}"))
    };
    assert_eq!(of_peer("allowed-ips"), "250.0.27.0/24");
    assert_eq!(of_peer("endpoints"), "172.30.0.27:8474");
    assert_eq!(of_peer("preshared-keys"), "capQfnNUQlYpjl2ZosgT0/taRLrd3qlskGW4oVXaLcM=");

    let clear = Capture::on(&pair.lan, "lan0", "ip and not udp port 8474");
    let hidden = Capture::on(&pair.lan, "lan0", "udp port 8474");
    for (container, other) in [(&pair.ca, "250.0.27.2"), (&pair.cb, "250.0.28.2")] {
        assert_eq!(container.ping_with("-M do -s 1412", other).arrives().ttl(), 62);
    }
    pair.a.ping("250.0.27.1").arrives();
    tcp_exchange(&pair.ca, &pair.cb, "250.0.27.2");
    assert_eq!(clear.packets(), Vec::<String>::new(), "in the clear");
    for packet in hidden.first(6) {
        assert!(packet.contains("172.30.0.28") && !packet.contains("250.0."), "{packet}");
        assert!(packet.contains("offset 0,") && !packet.contains("flags [+"), "{packet}");
    }
}

fn what_is_up_is_right_and_goes_whole() {
    let pair = Pair::new();
    let json = pair.a.fanctl("show --json").ok().json();
    assert_eq!(json[0]["verdict"]["complete"], true, "{json:#}");
    assert_eq!(
        (&json[0]["encap"], &json[0]["port"], &json[0]["mtu"]),
        (&"wireguard".into(), &8473.into(), &1440.into())
    );
    pair.a.fanctl(UP).ok().stdout_has(&["nothing to do"]);
    // What somebody does to the peers is seen, and mended.
    let peer = wg(&pair.b, DEVICE, "public-key");
    pair.a.exec(&format!("wg set {DEVICE} peer {peer} remove")).ok();
    let json = pair.a.fanctl("show --json").ok().json();
    let difference = &json[0]["verdict"]["differences"][0];
    assert_eq!(difference["code"], "peers", "{json:#}");
    assert_eq!(difference["text"], format!("'{DEVICE}' has 253 peers and should have 254"));
    let lines = pair.a.fanctl(&format!("{UP} --dry-run")).ok();
    assert_eq!(lines.stdout.lines().count(), 1, "{lines}");
    pair.a.fanctl(UP).ok();
    pair.ca.ping("250.0.27.2").arrives();
    // A device that went away comes again, with all that stood on it.
    pair.a.ip(&format!("link delete {DEVICE}"));
    pair.ca.exec("ping -n -c 1 -W 1 250.0.27.2").exits(1).stdout_has(&["Unreachable"]);
    pair.a.fanctl(UP).ok();
    pair.ca.ping("250.0.27.2").arrives();
    drop(pair.ca);
    eventually("its port goes with the container", || (!devices(&pair.a).contains(&"con0".to_string())).then_some(()));
    pair.a.fanctl("down 250.0.0.0/8 eth0/16").ok();
    assert_eq!(devices(&pair.a), ["eth0", "lo"]);
    assert_eq!(pair.a.exec("nft list tables").ok().stdout, "");
}

fn another_secret_is_silence_and_a_finding() {
    let pair = Pair::new();
    pair.b.sh("rm /etc/fan/key").ok();
    pair.b.fanctl("key generate").ok().stdout_has(&["epoch 1, fingerprint"]);
    pair.b.fanctl(UP).ok();
    let wire = Capture::on(&pair.lan, "lan0", "src host 172.30.0.27 and udp and not dst port 8474");
    pair.ca.ping_in_vain("250.0.27.2");
    assert_eq!(wire.packets(), Vec::<String>::new(), "without the key there is no answer");
    let trace = pair.a.fanctl("trace 250.0.27.2").exits(1);
    assert!(trace.stdout.contains("fanctl key fingerprint"), "{trace}");
}

/// Each of these steps is done on all hosts, in any order, before the next. In between packets come by one device and answers go
/// by the other, on hosts whose new interfaces filter reverse paths strictly.
fn secrets_take_turns_and_no_packet_is_lost() {
    let pair = Pair::new();
    assert_eq!(pair.a.exec("sysctl -n net.ipv4.conf.default.rp_filter").ok().stdout, "1\n");
    let echo = Echo::between(&pair.ca, &pair.cb, "250.0.27.2");
    let turn = |words: &str, hosts: [&Host; 2]| {
        let [first, second] = hosts;
        first.fanctl(&format!("key {words}")).ok();
        let text = first.exec("cat /etc/fan/key").ok().stdout;
        first.fanctl(UP).ok();
        give_key(second, &text);
        second.fanctl(UP).ok();
    };
    turn("add", [&pair.a, &pair.b]);
    assert!(devices(&pair.b).contains(&"fan-wa16384000".to_string()));
    turn("prefer 2", [&pair.b, &pair.a]);
    pair.a.fanctl("show --json").ok().stdout_has(&["\"complete\": true"]);
    let route = pair.a.ip_json("route get 250.0.27.2");
    assert_eq!(route[0]["dev"], "fan-wa16384000");
    turn("remove 1", [&pair.a, &pair.b]);
    assert!(echo.stop() > 10);
    assert!(!devices(&pair.b).contains(&DEVICE.to_string()));
    pair.a.fanctl(UP).ok().stdout_has(&["nothing to do"]);
}

/// `WireGuard` looks at the source of what comes, and the program at its destination; of what goes the program looks at both.
fn neither_end_of_a_packet_can_be_another() {
    let pair = Pair::new();
    pair.ca.ping("250.0.27.2").arrives();
    // A root that plays with its own host's fan: the program is gone, and a source of a third slice passes out.
    pair.b.exec(&format!("tc qdisc delete dev {DEVICE} clsact")).ok();
    pair.b.sh("nft flush ruleset").ok();
    let taken = Capture::on(&pair.ca, "eth0", Inner::FILTER);
    inject_plain(&pair.b, Inner::new("250.0.26.2", "250.0.28.2"));
    inject_plain(&pair.b, Inner::new("250.0.27.2", "250.0.28.2"));
    assert_eq!(taken.at_least(1).len(), 1, "a source of another slice");
    // An address of the host outside of the fan.
    pair.a.ip("addr add 10.77.0.1/32 dev lo");
    let peer = wg(&pair.a, DEVICE, "public-key");
    pair.b.exec(&format!("wg set {DEVICE} peer {peer} allowed-ips 250.0.28.0/24,10.77.0.1/32")).ok();
    pair.b.ip(&format!("route add 10.77.0.1/32 dev {DEVICE} src 250.0.27.1"));
    let refused = pair.a.refused_packets(DEVICE);
    pair.b.ping_in_vain("10.77.0.1");
    assert!(pair.a.refused_packets(DEVICE) > refused, "the program refuses what is not for the slice");
    pair.cb.ping("250.0.28.2").arrives();
}

fn what_others_could_read_is_refused_before_anything_is_touched() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let refused = |host: &Host, words: &str| {
        host.fanctl(UP).refused().stderr_has(&[words]);
        assert_eq!(devices(host), ["eth0", "lo"]);
    };
    refused(&host, "does not exist");
    give_key(&host, COUNTING);
    host.sh("chmod 644 /etc/fan/key").ok();
    refused(&host, "mode 0644, so that others can read it");
    host.sh("chmod 600 /etc/fan/key; chown 65534 /etc/fan/key").ok();
    refused(&host, "belongs to user 65534");
    host.sh("chown 0 /etc/fan/key; chmod 777 /etc/fan").ok();
    refused(&host, "'/etc/fan', on the path of the key file, has mode 0777");
    host.sh(
        "chmod 755 /etc/fan; mkdir -p /run/secret; mv /etc/fan/key /run/secret; ln -s /run/secret/key /etc/fan/key",
    )
    .ok();
    host.fanctl(UP).ok();
    host.down();
    host.sh("chown -h 65534 /etc/fan/key").ok();
    refused(&host, "belongs to user 65534");
    host.sh("rm /etc/fan/key; mv /run/secret/key /etc/fan/key; sed -i s/AAEC/AAED/ /etc/fan/key").ok();
    refused(&host, "line 1 is damaged");
    host.sh("rm /etc/fan/key; mkfifo -m 600 /etc/fan/key").ok();
    refused(&host, "only a regular file is read");
    host.sh("rm /etc/fan/key").ok();
    give_key(&host, COUNTING);
    host.fanctl("up 250.0.0.0/8 eth0/16 --encap wireguard").exits(2).stderr_has(&["say where hosts are"]);
    host.fanctl(&UP.replace("172.30.0.0/24", "172.30.7.0/24")).refused().stderr_has(&["not in hosts"]);
    host.fanctl(&format!("{UP} --exclude 172.30.0.28/32")).refused().stderr_has(&["in exclude"]);
    assert_eq!(devices(&host), ["eth0", "lo"]);
    // A service has its key from its manager.
    let credentials = "env CREDENTIALS_DIRECTORY=/etc/fan";
    host.fanctl_by(credentials, &format!("{UP} --key $CREDENTIALS_DIRECTORY/key")).ok();
}

fn two_fans_need_four_ports() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    give_key(&host, COUNTING);
    host.fanctl(UP).ok();
    let other = UP.replace("250.0.0.0", "251.0.0.0");
    host.fanctl(&other).refused().stderr_has(&["UDP port 8473 is one of fan 250.0.0.0/8"]);
    host.fanctl(&format!("{other} --port 8474")).refused().stderr_has(&["UDP port 8474"]);
    host.fanctl(&format!("{other} --port 8475")).ok();
    assert_ne!(wg(&host, DEVICE, "public-key"), wg(&host, "fan-wb16449536", "public-key"));
    assert_eq!(wg(&host, "fan-wb16449536", "listen-port"), "8476");
}

/// The secret, or a key that was computed from it, in any form that a program prints.
fn no_secret_is_printed() {
    let pair = Pair::new();
    let [private, preshared] = ["private-key", "preshared-keys"].map(|word| wg(&pair.a, DEVICE, word));
    let preshared = preshared.split_whitespace().nth(1).expect("a key").to_string();
    let again = format!("{UP} --port 9000");
    let commands = [
        "key fingerprint",
        "show --json",
        "show --program",
        &format!("{again} --dry-run"),
        &format!("{again} -v"),
        &format!("{again} --json"),
        "doctor --json",
        "trace 250.0.27.2 --json",
        "config list",
        "status --json",
        "down 250.0.0.0/8 eth0/16 --dry-run --json",
    ];
    for words in commands {
        let said = pair.a.fanctl(words).to_string();
        for secret in [&private, &preshared, "AAECAwQF", "000102030405", "0, 1, 2, 3, 4, 5"] {
            assert!(!said.contains(secret), "{secret} is in\n{said}");
        }
    }
    let lines = pair.a.fanctl(&format!("{UP} --port 9100 --dry-run")).ok();
    lines.stdout_has(&["key and 254 peers computed from epoch 1"]);
}

fn it_is_brought_up_by_a_file() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    give_key(&host, COUNTING);
    let text = "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"wireguard\"\nhosts = [\"172.30.0.0/24\"]\n";
    host.write("/etc/fan.toml", text);
    host.fanctl("config check").ok();
    host.fanctl("up -a").ok();
    host.fanctl("status").ok();
    host.fanctl("key add").ok();
    host.fanctl("status").exits(4);
    host.fanctl("reload").ok();
    host.fanctl("status").ok();
    host.write("/etc/fan.toml", &format!("{text}exclude = [\"172.30.0.66/32\"]\n"));
    host.fanctl("reload").ok();
    assert_eq!(wg(&host, DEVICE, "peers").lines().count(), 253);
    host.fanctl("down -a").ok();
    assert_eq!(devices(&host), ["eth0", "lo"]);
}

fn a_lab_shows_that_nothing_can_be_read() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let lab = host.fanctl("lab --json --encap wireguard").ok();
    crate::json::is_a("lab-1", &lab.json());
    let seen = lab.json()["overheard"].clone();
    assert_eq!((&seen["readable"], &seen["port"]), (&0.into(), &8474.into()), "{lab}");
    assert!(seen["packets"].as_u64() > Some(50), "{lab}");
    host.fanctl("lab --encap wireguard --keep")
        .ok()
        .stdout_has(&["all of UDP port 8474: no ping, greeting or address"]);
    host.sh("test -f /run/fan/lab-key").ok();
    host.fanctl("lab down").ok();
    host.sh("test ! -e /run/fan/lab-key").ok();
}

fn without_wireguard_nothing_is_touched() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    give_key(&host, COUNTING);
    host.fanctl(UP).refused().stderr_has(&["the kernel has no wireguard"]);
    assert_eq!(devices(&host), ["eth0", "lo"]);
}

/// Of several commands at once one makes the file, and one adds a secret: it prints what the file then has.
fn key_files_are_changed_in_turn() {
    const FILE: &str = "/run/keys/key";
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    for verb in ["generate", "add"] {
        let start = |_| {
            let mut command = Command::new(Host::program());
            command.args(["key", verb, FILE]);
            host.spawn(command)
        };
        let all: Vec<Child> = (0..8).map(start).collect();
        let ends = all.into_iter().map(|child| child.wait_with_output().expect("it ends"));
        let done: Vec<_> = ends.filter(|end| end.status.success()).map(|end| end.stdout).collect();
        let has = host.fanctl(&format!("key fingerprint {FILE}")).ok().stdout;
        assert_eq!(done, [has.into_bytes()], "{verb}");
    }
}
