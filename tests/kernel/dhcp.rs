//! The DHCP server of a fan.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{self, Command};
use std::time::Duration;

use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Container, DEADLINE, Encap, Host, Lan, Namespace, eventually};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("dhcp")
        .only_ipip_in_tier_3()
        .only_on("6.12")
        .each(named![
            a_lease_lies_in_the_slice_and_brings_router_and_mtu,
            down_stops_the_server_and_no_other,
            up_twice_keeps_the_server,
            a_killed_server_is_started_again_by_up,
            up_without_dhcp_stops_the_server,
            a_question_by_tcp_is_no_second_server,
            the_server_hears_signals,
            containers_of_other_hosts_get_no_answer,
        ])
        .list()
}

/// What a DHCP client was told, by the names of udhcpc's script.
#[track_caller]
fn lease(container: &Container) -> BTreeMap<String, String> {
    let directory = std::env::temp_dir().join(format!("fanctl-lease-{}-{}", process::id(), container.id()));
    fs::create_dir_all(&directory).expect("a directory");
    let (script, answer): (PathBuf, PathBuf) = (directory.join("script"), directory.join("answer"));
    fs::write(&script, format!("#!/bin/sh\n[ \"$1\" = bound ] && env > {}\nexit 0\n", answer.display()))
        .expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("an executable script");
    let mut command = Command::new("busybox");
    command.args(["udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "10", "-T", "3", "-O", "mtu", "-s"]).arg(&script);
    let output = container.execute(command).ok();
    let text = fs::read_to_string(&answer).unwrap_or_else(|error| panic!("no lease: {error}\n{output}"));
    fs::remove_dir_all(&directory).expect("the directory");
    text.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
}

#[track_caller]
fn host_with_dhcp(encap: Encap, words: &str) -> (Host, Lan) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 dhcp {} {words}", encap.words())).ok();
    (host, lan)
}

fn a_lease_lies_in_the_slice_and_brings_router_and_mtu(encap: Encap) {
    let (host, _lan) = host_with_dhcp(encap, "host-reserve 9");
    let mtu = 1500 - encap.overhead();
    let container = host.attach("fan-250-0-28", "a client", mtu);
    let lease = lease(&container);
    let address: Ipv4Addr = lease["ip"].parse().expect("an address");
    let [a, b, c, d] = address.octets();
    assert_eq!([a, b, c], [250, 0, 28], "{address}");
    assert!((10..=254).contains(&d), "after the reserved addresses: {address}");
    assert_eq!(lease["router"], "250.0.28.1");
    assert_eq!(lease["mtu"], mtu.to_string());
    assert_eq!(lease["mask"], encap.bridge_len().to_string());
}

fn down_stops_the_server_and_no_other(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.ip("link add br7 type bridge\n addr add 192.0.2.1/24 dev br7\n link set br7 up");
    let other = "dnsmasq --conf-file=/dev/null --interface=br7 --bind-interfaces --except-interface=lo \
        --dhcp-range=192.0.2.10,192.0.2.20 --pid-file=/run/other.pid --dhcp-leasefile=/run/other.leases";
    host.exec(other).ok();
    let others = host.dnsmasqs();
    assert_eq!(others.len(), 1);
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 dhcp {}", encap.words())).ok();
    assert_eq!(host.dnsmasqs().len(), 2);
    host.down();
    assert_eq!(host.dnsmasqs(), others);
}

fn up_twice_keeps_the_server(encap: Encap) {
    let (host, _lan) = host_with_dhcp(encap, "");
    let servers = host.dnsmasqs();
    assert_eq!(servers.len(), 1);
    let output = host.fanctl(&format!("up 250.0.0.0/8 eth0/16 dhcp {}", encap.words())).ok();
    output.stdout_has(&["nothing to do"]);
    assert_eq!(host.dnsmasqs(), servers);
}

fn a_killed_server_is_started_again_by_up(encap: Encap) {
    let (host, _lan) = host_with_dhcp(encap, "");
    let (pid, _) = host.dnsmasqs()[0].clone();
    host.exec(&format!("kill -9 {pid}")).ok();
    eventually("it is dead", || Namespace::has_ended(pid).then_some(()));
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 dhcp {}", encap.words())).ok();
    assert_eq!(host.dnsmasqs().len(), 1);
    lease(&host.attach("fan-250-0-28", "a client", 1400));
}

/// While it is answered: the server has made a process for it that has the same command line and serves nobody else.
fn a_question_by_tcp_is_no_second_server(encap: Encap) {
    let (host, _lan) = host_with_dhcp(encap, "");
    let servers = host.dnsmasqs();
    let container = host.container("250.0.28.2");
    let question = container.run(|| TcpStream::connect("250.0.28.1:53")).expect("a connection");
    eventually("the server has made a process for it", || (host.dnsmasqs().len() == 2).then_some(()));
    let output = host.fanctl(&format!("up 250.0.0.0/8 eth0/16 dhcp {}", encap.words())).ok();
    output.stdout_has(&["nothing to do"]);
    drop(question);
    eventually("it has ended", || (host.dnsmasqs() == servers).then_some(()));
}

fn up_without_dhcp_stops_the_server(encap: Encap) {
    let (host, _lan) = host_with_dhcp(encap, "");
    host.up(encap);
    assert!(host.dnsmasqs().is_empty());
}

fn the_server_hears_signals(encap: Encap) {
    let (host, _lan) = host_with_dhcp(encap, "");
    let (pid, _) = host.dnsmasqs()[0].clone();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    assert_eq!(blocked.map(str::trim), Some("0000000000000000"), "{status}");
    host.exec(&format!("kill -TERM {pid}")).ok();
    eventually("it ends by itself", || host.dnsmasqs().is_empty().then_some(()));
}

/// A question for the address of `fan.example`, and whether anything came back, be it a refusal.
fn is_answered(from: &Container, patience: Duration) -> bool {
    const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03fan\x07example\x00\x00\x01\x00\x01";
    from.run(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.set_read_timeout(Some(patience)).expect("a time limit");
        socket.send_to(QUESTION, "250.0.28.1:53").expect("sent");
        socket.recv(&mut [0; 512]).is_ok()
    })
}

fn containers_of_other_hosts_get_no_answer(encap: Encap) {
    let (host, lan) = host_with_dhcp(encap, "");
    let other = lan.host("172.30.0.27");
    other.up(encap);
    let (here, there) = (host.container("250.0.28.2"), other.container("250.0.27.2"));
    there.ping("250.0.28.1").arrives();
    let refused = || host.counted_packets(&["ip"], "dns of another slice");
    assert!(is_answered(&here, DEADLINE));
    assert_eq!(refused(), 0);
    assert!(!is_answered(&there, Duration::from_millis(200)));
    assert_eq!(refused(), 1);
    there.sh("timeout 1 bash -c 'exec 3<>/dev/tcp/250.0.28.1/53'");
    assert!(refused() > 1, "by TCP");
}
