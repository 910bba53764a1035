//! Hosts that have their own keys and not the secret.

use super::{COUNTING, DEVICE, UP, devices, give_key, wg};
use crate::support::{Capture, Host, Inner, Lan, inject_plain, tcp_exchange};

const NETWORKS: &str = "--networks 250.0.0.0/8 172.30.0.0/16";

/// Gives a host what the administrator, who has the secret, issues to an address; returns the file.
#[track_caller]
fn issue(host: &Host, administrator: &Host, address: &str) -> String {
    let out = format!("/etc/fan/of-{address}");
    administrator
        .fanctl(&format!("key issue {address} -o {out} {NETWORKS}"))
        .ok()
        .stdout_has(&[&format!("epoch 1 of host {address}, fingerprint 4d21 4241 b161 7ee2")]);
    let file = administrator.sh(&format!("cat {out}; rm {out}")).ok().stdout;
    give_key(host, &file);
    let table = administrator.fanctl(&format!("key table {NETWORKS} --hosts 172.30.0.0/24")).ok().stdout;
    host.write("/etc/fan/hosts.pub", &table);
    file
}

#[track_caller]
fn administrator(lan: &Lan) -> Host {
    let host = lan.host("172.30.0.1");
    give_key(&host, COUNTING);
    host
}

/// Host 28 has its keys, the preshared key and the table, and root there does what it likes with them.
pub(super) fn a_host_with_issued_keys_is_no_other_host() {
    let lan = Lan::new();
    let admin = administrator(&lan);
    let [a, b, c] = ["172.30.0.26", "172.30.0.27", "172.30.0.28"].map(|address| lan.host(address));
    // One has the secret, the others have theirs.
    give_key(&a, COUNTING);
    a.fanctl(UP).ok();
    for (host, address) in [(&b, "172.30.0.27"), (&c, "172.30.0.28")] {
        issue(host, &admin, address);
        host.fanctl(UP).ok().stdout_has(&["encrypted (epoch 1, 4d21 4241 b161 7ee2), 254 peers"]);
        assert_eq!(host.fanctl("show --json").ok().json()[0]["verdict"]["complete"], true);
    }
    let (ca, cb, cc) = (a.container("250.0.26.2"), b.container("250.0.27.2"), c.container("250.0.28.2"));
    tcp_exchange(&ca, &cb, "250.0.27.2");
    tcp_exchange(&cb, &cc, "250.0.28.2");
    cc.ping("250.0.26.2").arrives();

    // 28 says that a packet is of 27.
    c.exec(&format!("tc qdisc delete dev {DEVICE} clsact")).ok();
    c.sh("nft flush ruleset").ok();
    let taken = Capture::on(&ca, "eth0", Inner::FILTER);
    inject_plain(&c, Inner::new("250.0.27.2", "250.0.26.2"));
    inject_plain(&c, Inner::new("250.0.28.2", "250.0.26.2"));
    assert_eq!(taken.at_least(1).len(), 1, "a source of another slice");

    // It takes 27's address while 27 is away, and its keys do not open what is for 27, nor are they those that a heeds there.
    b.ip("link set eth0 down");
    c.ip("addr add 172.30.0.27/16 dev eth0");
    let key = wg(&a, DEVICE, "public-key");
    c.exec(&format!("wg set {DEVICE} peer {key} allowed-ips 250.0.26.0/24")).ok();
    c.ip("addr add 250.0.27.2/32 dev lo");
    c.sh("nft 'add table ip seen; add chain ip seen seen { type filter hook prerouting priority -400; }; \
          add rule ip seen seen ip daddr 250.0.27.2 counter'")
        .ok();
    a.sh("ip neigh flush all").ok();
    ca.ping_in_vain("250.0.27.2");
    assert_eq!(c.counters("ip seen"), [0], "a packet for another host was read");
}

/// `wg` alone, by the recipe of docs/encryption.md.
pub(super) fn a_peer_made_by_hand_speaks_with_the_fan() {
    let lan = Lan::new();
    let admin = administrator(&lan);
    let a = lan.host("172.30.0.26");
    give_key(&a, COUNTING);
    a.fanctl(UP).ok();
    let ca = a.container("250.0.26.2");
    let hand = lan.host("172.30.0.28");
    issue(&hand, &admin, "172.30.0.28");
    hand.sh("cd /etc/fan; umask 077
        awk '$1 == \"fanctl-host-1\" { print $6 }' key | base64 -d >bytes
        head -c 32 bytes | base64 >private
        tail -c +33 bytes | head -c 32 | base64 >preshared
        peer=$(awk '$1 == \"172.30.0.26\" { print $2 }' hosts.pub)
        ip link add wg0 mtu 1440 type wireguard
        wg set wg0 listen-port 8474 private-key private
        wg set wg0 peer $peer preshared-key preshared allowed-ips 250.0.26.0/24 endpoint 172.30.0.26:8474
        ip addr add 250.0.28.1/24 dev wg0
        ip link set wg0 up
        ip route add 250.0.0.0/8 dev wg0 src 250.0.28.1")
        .ok();
    hand.ping("250.0.26.2").arrives();
    ca.ping("250.0.28.1").arrives();
}

pub(super) fn what_was_issued_to_another_is_refused() {
    let lan = Lan::new();
    let admin = administrator(&lan);
    let host = lan.host("172.30.0.27");
    let refused = |words: &[&str]| {
        host.fanctl(UP).refused().stderr_has(words);
        assert_eq!(devices(&host), ["eth0", "lo"]);
    };
    let table = "/etc/fan/hosts.pub";
    issue(&host, &admin, "172.30.0.28");
    refused(&["was issued to host 172.30.0.28, and this host is 172.30.0.27"]);
    let file = issue(&host, &admin, "172.30.0.27");
    give_key(&host, &file.replace("172.30.0.27", "172.30.0.28"));
    refused(&["line 1 is damaged"]);
    give_key(&host, &file);
    // Who could change the table could stand between two hosts.
    host.sh(&format!("chmod 666 {table}")).ok();
    refused(&[table, "has mode 0666"]);
    host.sh(&format!("chmod 644 {table}; cp {table} /run/whole; sed -i s/^172.30.0.26/172.30.0.25/ {table}")).ok();
    refused(&["none of a table"]);
    host.sh(&format!("sed '$d' /run/whole >{table}")).ok();
    refused(&["is damaged"]);
    let other = admin.fanctl("key table --networks 251.0.0.0/8 172.30.0.0/16 --hosts 172.30.0.0/24").ok().stdout;
    host.write(table, &other);
    refused(&["is for overlay '251.0.0.0/8'"]);
    host.sh(&format!("rm {table}")).ok();
    refused(&["fanctl key table, where the secret is"]);
    host.sh(&format!("cp /run/whole {table}")).ok();
    host.fanctl(UP).ok();
    host.fanctl(UP).ok().stdout_has(&["nothing to do"]);
    // What the host has makes no keys for others.
    host.fanctl(&format!("key issue 172.30.0.28 -o /run/28 {NETWORKS}")).refused().stderr_has(&["and not the secret"]);
    host.fanctl(&format!("key table {NETWORKS} --hosts 172.30.0.0/24")).refused().stderr_has(&["and not the secret"]);
    host.fanctl("key add").refused().stderr_has(&["and not the secret"]);
    // Keys are written to a file that was not there, for its owner alone, and nowhere else.
    admin.fanctl(&format!("key issue 172.30.0.28 -o /run/28 {NETWORKS}")).ok();
    assert_eq!(admin.exec("stat -c %a /run/28").ok().stdout.trim(), "600");
    for file in ["/run/28", "/dev/tty", "/dev/null"] {
        admin
            .fanctl(&format!("key issue 172.30.0.28 -o {file} {NETWORKS}"))
            .refused()
            .stderr_has(&["is there already"]);
    }
    admin.fanctl(&format!("key issue 172.30.0.28 -o - {NETWORKS}")).exits(2);
    admin.fanctl(&format!("key issue 172.31.0.28 -o /run/29 {NETWORKS}")).exits(2).stderr_has(&["is no host's"]);
    admin.fanctl("key issue 172.30.0.28 -o /run/29").exits(2).stderr_has(&["--networks OVERLAY UNDERLAY"]);
    admin.write("/etc/fan.toml", "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"wireguard\"\nhosts = [\"172.30.0.0/24\"]\n");
    admin.fanctl("key issue 172.30.0.28 -o /run/29").ok();
    assert_eq!(admin.exec("cat /run/29").ok().stdout, admin.exec("cat /run/28").ok().stdout);
    assert_eq!(admin.fanctl("key table").ok().stdout, host.exec(&format!("cat {table}")).ok().stdout);
}
