//! What a fan that comes up would take away from its host: told and refused before anything is touched, unless the word for it
//! is there; and what it takes away from nobody, which is never in the way.

use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::case::{Case, Cases};
use crate::named;
use crate::support::{DEADLINE, Encap, Host, Lan, NOBODY, Namespace};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("cuts")
        .only_ipip_in_tier_3()
        .each(named![
            a_connection_that_would_go_into_the_fan,
            a_connection_through_the_fan_is_its_own,
            a_connection_to_a_container_lets_everything_be_changed,
            resolver_gateway_and_time_server,
            a_line_of_the_legacy_file_only_warns,
            the_key_force_is_the_word_in_a_file,
            a_public_overlay_takes_the_word,
            another_user_is_told_what_could_not_be_looked_at,
        ])
        .once(named![
            a_connection_of_an_ipv6_socket_and_of_one_that_is_bound,
            what_policy_routing_keeps_is_not_taken,
            sockets_of_a_user_are_told_and_escaped,
            what_stands_in_resolv_conf_is_read_and_not_obeyed,
            the_unit_does_not_try_again_what_would_take_something,
        ])
        .list()
}

/// A connection between a host and a server that is not of the underlay, behind its default route; it stays open.
struct Outside {
    host: Host,
    router: Namespace,
    _lan: Lan,
}

impl Outside {
    #[track_caller]
    fn new() -> Self {
        let lan = Lan::new();
        let (host, router) = (lan.host("172.30.0.28"), Namespace::new("router"));
        lan.plug(&router, "eth0", "172.30.0.1/16");
        router.ip("link add dummy0 type bridge\n link set dummy0 up\n addr add 10.9.9.9/32 dev dummy0\n addr add 8.8.8.8/32 dev dummy0");
        host.ip("route add default via 172.30.0.1");
        own_resolver(&host, "");
        Self { host, router, _lan: lan }
    }

    #[track_caller]
    fn connect(&self, address: &'static str) -> [TcpStream; 2] {
        connect(&self.host, &self.router, address)
    }
}

/// The two ends of a connection to this address of the server.
#[track_caller]
fn connect(client: &Namespace, server: &Namespace, address: &'static str) -> [TcpStream; 2] {
    let listener = server.run(move || TcpListener::bind((address, 0))).expect("to listen there");
    let to = listener.local_addr().expect("its address");
    let here = client.run(move || TcpStream::connect_timeout(&to, DEADLINE)).expect("a connection");
    [here, listener.accept().expect("the other end").0]
}

fn up(overlay: &str, encap: Encap, more: &str) -> String {
    format!("up {overlay} eth0/16 {} {more}", encap.words())
}

/// The interface that the kernel routes packets to an address by.
#[track_caller]
fn device(host: &Namespace, to: &str) -> String {
    host.ip_json(&format!("route get {to}"))[0]["dev"].as_str().expect("a way").to_string()
}

fn a_connection_that_would_go_into_the_fan(encap: Encap) {
    let outside = Outside::new();
    let (host, ends) = (&outside.host, outside.connect("10.9.9.9"));
    let own = std::process::id().to_string();
    let port = ends[0].peer_addr().expect("its peer").port().to_string();
    let told = ["10.9.9.9", &port, &own, "'10.0.0.0/8'", "--force"];
    host.unchanged(|| host.fanctl(&up("10", encap, "")).refused().stderr_has(&told));
    host.unchanged(|| host.fanctl(&up("10", encap, "--dry-run")).refused().stderr_has(&told));
    // One overlay beside it takes nothing.
    host.fanctl(&up("250.0.0.0/8", encap, "")).ok();
    assert_eq!(device(host, "10.9.9.9"), "eth0");
    let output = host.fanctl(&up("10", encap, "--force --json")).ok().stderr_has(&["10.9.9.9"]);
    let losses = &output.json()["losses"];
    assert_eq!(losses[0]["code"], "connection");
    assert_eq!(losses[0]["address"], "10.9.9.9");
    assert_ne!(device(host, "10.9.9.9"), "eth0");
    // Now it is the fan's, and a change takes nothing away.
    let output = host.fanctl(&up("10", encap, "--no-nat")).ok();
    assert_eq!(output.stderr, "", "{output}");
}

/// As after `systemctl restart fan`, or an interface that went and came.
fn a_connection_through_the_fan_is_its_own(encap: Encap) {
    let lan = Lan::new();
    let (a, b) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
    for host in [&a, &b] {
        host.ip(&format!("route add default via {}", lan.gateway()));
        own_resolver(host, "");
        host.fanctl(&up("10.0.0.0/8", encap, "")).ok();
    }
    let container = b.container("10.0.27.2");
    let ends = connect(&a, &container, "10.0.27.2");
    assert_eq!(ends[0].local_addr().expect("an address").ip().to_string(), "10.0.28.1");
    a.fanctl("down 10.0.0.0/8 eth0/16").ok();
    let output = a.fanctl(&up("10.0.0.0/8", encap, "")).ok();
    assert_eq!(output.stderr, "", "{output}");
    a.ping("10.0.27.2").arrives();
}

fn a_connection_to_a_container_lets_everything_be_changed(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.ip(&format!("route add default via {}", lan.gateway()));
    own_resolver(&host, "");
    let write = |more: &str| {
        let text = format!("[[fan]]\noverlay = \"10.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"{encap}\"\n{more}");
        host.write("/run/fan.toml", &text);
    };
    write("");
    host.fanctl("up -a --config /run/fan.toml").ok();
    let container = host.container("10.0.28.2");
    let _ends = connect(&host, &container, "10.0.28.2");
    for more in ["nat = false", "mtu = 1400\nhost-reserve = 1", ""] {
        write(more);
        let output = host.fanctl("reload --config /run/fan.toml").ok();
        assert_eq!(output.stderr, "", "{output}");
        host.ping("10.0.28.2").arrives();
    }
    // Its routes taken away by somebody, they come again.
    host.sh("ip route del 10.0.0.0/8 proto 250").ok();
    let output = host.fanctl("reload --config /run/fan.toml").ok();
    assert_eq!(output.stderr, "", "{output}");
}

fn resolver_gateway_and_time_server(encap: Encap) {
    let outside = Outside::new();
    let host = &outside.host;
    let time = host.run(|| {
        let socket = UdpSocket::bind("172.30.0.28:0").expect("a socket");
        socket.connect("10.9.9.9:123").expect("a route");
        socket
    });
    host.ip("route add 198.51.100.0/24 via 10.1.1.1 dev eth0 onlink");
    host.ip("route add 203.0.113.0/24 nexthop via 172.30.0.1 dev eth0 nexthop via 10.1.1.2 dev eth0 onlink");
    own_resolver(host, "search example\nnameserver 10.255.255.53\n");
    let output = host.unchanged(|| host.fanctl(&up("10", encap, "")).exits(3));
    let lines: Vec<&str> = output.stderr.lines().collect();
    let has = |words: &[&str]| lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(has(&["DNS server 10.255.255.53"]), "{output}");
    assert!(has(&["gateway 10.1.1.1"]), "{output}");
    assert!(has(&["gateway 10.1.1.2"]), "the second way of a route: {output}");
    assert!(has(&["NTP server 10.9.9.9", &std::process::id().to_string()]), "{output}");
    assert_eq!(lines.len(), 4, "{output}");
    // The fan's own resolver is in nobody's way.
    drop(time);
    host.ip("route del 198.51.100.0/24\n route del 203.0.113.0/24");
    own_resolver(host, "nameserver 10.0.28.1\n");
    let output = host.fanctl(&up("10", encap, "")).ok();
    assert_eq!(output.stderr, "", "{output}");
}

/// Gives the host an /etc/resolv.conf, which may have been a link.
fn own_resolver(host: &Host, text: &str) {
    host.sh("rm -f /etc/resolv.conf").ok();
    host.write("/etc/resolv.conf", text);
}

/// Configuration in the place of the machine's own, which nobody else sees.
fn configure(host: &Host, file: &str, text: &str) {
    host.write("/run/written", text);
    host.sh(&format!("mv /run/written {file}")).ok();
}

fn a_line_of_the_legacy_file_only_warns(encap: Encap) {
    let outside = Outside::new();
    let (host, _ends) = (&outside.host, outside.connect("10.9.9.9"));
    configure(host, "/run/fans", &format!("10.0.0.0/8 eth0/16 {}\n", encap.words()));
    for (verb, words) in [("up -a", "is up"), ("reload", "nothing to do")] {
        let output = host.fanctl(&format!("{verb} --config /run/fans")).ok();
        output.stdout_has(&[words]);
    }
    host.fanctl("down -a").ok();
    let output = host.fanctl("up -a --config /run/fans").ok();
    output.stderr_has(&["10.9.9.9", "'10.0.0.0/8'"]);
    // It has no word for it.
    configure(host, "/run/fans", "10.0.0.0/8 eth0/16 --force\n");
    host.fanctl("config check --config /run/fans").exits(2).stderr_has(&["'--force' is unknown"]);
}

fn the_key_force_is_the_word_in_a_file(encap: Encap) {
    let outside = Outside::new();
    let (host, _ends) = (&outside.host, outside.connect("10.9.9.9"));
    let write = |more: &str| {
        let text = format!("[[fan]]\noverlay = \"10.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"{encap}\"\n{more}");
        configure(host, "/run/fan.toml", &text);
    };
    write("");
    for verb in ["up -a", "reload", "up -a --dev eth0", "reload --dry-run"] {
        let output = host.unchanged(|| host.fanctl(&format!("{verb} --config /run/fan.toml")).refused());
        output.stderr_has(&["10.9.9.9", "force = true"]);
    }
    let status = host.fanctl("status --json --config /run/fan.toml").exits(4).json();
    let reason = status["fans"][0]["reasons"][0].as_str().expect("a reason");
    assert!(reason.contains("10.9.9.9"), "{reason}");
    let refusal = &status["fans"][0]["refusals"][0];
    assert_eq!((&refusal["code"], &refusal["text"]), (&"takes-from-host".into(), &reason.into()));
    for verb in ["up -a --force", "reload --force"] {
        host.fanctl(&format!("{verb} --config /run/fan.toml")).ok().stderr_has(&["10.9.9.9"]);
        host.fanctl("down -a").ok();
    }
    write("force = true\n");
    host.fanctl("reload --config /run/fan.toml").ok().stdout_has(&["fan-10-0-28 is up"]);
    let list = host.fanctl("config list --json --config /run/fan.toml").ok().json();
    assert_eq!(list[0]["force"], Value::Bool(true));
}

fn a_public_overlay_takes_the_word(encap: Encap) {
    let outside = Outside::new();
    let host = &outside.host;
    let refused = |words: &str| {
        let output = host.unchanged(|| host.fanctl(&up(words, encap, "")).refused());
        output.stderr_has(&["public", "--force"]);
    };
    refused("8");
    refused("1.0.0.0/8");
    assert_eq!(device(host, "8.8.8.8"), "eth0");
    let text = format!("[[fan]]\noverlay = \"8.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"{encap}\"\n");
    configure(host, "/run/fan.toml", &text);
    host.fanctl("config check --config /run/fan.toml").ok().stderr_has(&["fan.toml:2:11", "'8.0.0.0/8'", "public"]);
    host.fanctl("up -a --config /run/fan.toml").ok().stderr_has(&["'8.0.0.0/8'", "public"]);
    // It is up: a change of it is no new fan, and nothing is left to be said.
    for verb in ["up -a --config /run/fan.toml", "up 8 eth0/16 --no-nat ENCAP"] {
        let output = host.fanctl(&verb.replace("ENCAP", encap.words())).ok();
        assert_eq!(output.stderr, "", "{output}");
    }
    host.fanctl("down -a").ok();
    host.fanctl(&up("8", encap, "--force")).ok();
    host.fanctl("down 8 eth0/16").ok();
    for overlay in ["240.0.0.0/8", "10", "100.64.0.0/10", "172.16.0.0/13", "192.168.0.0/17", "198.18.0.0/15"] {
        if overlay != "172.16.0.0/13" {
            let output = host.fanctl(&format!("{} --dry-run", up(overlay, encap, "")));
            assert!(!output.stderr.contains("public"), "{output}");
        }
    }
}

/// What another user cannot look at is said, and not taken for what is not there.
fn another_user_is_told_what_could_not_be_looked_at(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let text = format!("[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"{encap}\"\n");
    host.write("/run/fan.toml", &text);
    host.fanctl("up -a --config /run/fan.toml").ok();
    for words in [
        "up -a --dry-run --config /run/fan.toml",
        "reload --dry-run --config /run/fan.toml",
        "status --config /run/fan.toml",
        "status --json --config /run/fan.toml",
        "down -a --dry-run",
    ] {
        let told = ["not root", "firewall", "cannot be looked at"];
        host.unchanged(|| host.fanctl_by(NOBODY, words).ok().stderr_has(&told));
        let output = host.fanctl(words).ok();
        assert_eq!(output.stderr, "", "{output}");
    }
}

fn a_connection_of_an_ipv6_socket_and_of_one_that_is_bound() {
    let outside = Outside::new();
    let host = &outside.host;
    let listener = outside.router.run(|| TcpListener::bind("10.9.9.9:0")).expect("to listen there");
    let to = listener.local_addr().expect("its address");
    let std::net::IpAddr::V4(address) = to.ip() else { unreachable!() };
    let mapped = std::net::SocketAddr::from((address.to_ipv6_mapped(), to.port()));
    let stream = host.run(move || TcpStream::connect_timeout(&mapped, DEADLINE)).expect("a connection");
    host.unchanged(|| host.fanctl(&up("10", Encap::Vxlan, "")).refused().stderr_has(&["10.9.9.9"]));
    drop(stream);
    // What is bound to an interface finds no way into the fan, and its gateway no more: the overlay is unreachable.
    let bound = host.run(move || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind_device(Some(b"eth0")).expect("bound");
        socket.connect_timeout(&to.into(), DEADLINE).expect("a connection");
        socket
    });
    host.unchanged(|| host.fanctl(&up("10", Encap::Vxlan, "")).refused().stderr_has(&["10.9.9.9"]));
    drop(bound);
    let output = host.fanctl(&up("10", Encap::Vxlan, "")).ok();
    assert_eq!(output.stderr, "", "{output}");
}

fn what_policy_routing_keeps_is_not_taken() {
    let outside = Outside::new();
    let (host, _ends) = (&outside.host, outside.connect("10.9.9.9"));
    host.ip("rule add priority 500 to 10.9.0.0/16 lookup 77\n route add default via 172.30.0.1 table 77");
    let output = host.fanctl(&up("10", Encap::Vxlan, "")).ok();
    assert_eq!(output.stderr, "", "{output}");
    assert_eq!(device(host, "10.9.9.9"), "eth0");
    host.fanctl("down 10 eth0/16").ok();
    // Behind the main table it would be.
    host.ip("rule del priority 500\n rule add priority 32766 to 10.9.0.0/16 lookup 77");
    host.unchanged(|| host.fanctl(&up("10", Encap::Vxlan, "")).refused().stderr_has(&["10.9.9.9"]));
}

fn the_unit_does_not_try_again_what_would_take_something() {
    let outside = Outside::new();
    let (host, _ends) = (&outside.host, outside.connect("10.9.9.9"));
    let unit = include_str!("../../systemd/fan.service");
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).expect("a line");
    let command = value("ExecStart=fanctl ");
    let given_up: Vec<i32> =
        value("RestartPreventExitStatus=").split(' ').map(|status| status.parse().expect("a status")).collect();
    let fan =
        |underlay: &str| format!("[[fan]]\noverlay = \"10.0.0.0/8\"\nunderlay = \"{underlay}\"\nencap = \"vxlan\"\n");
    let run = |text: &str| {
        configure(host, "/run/fan.toml", text);
        let output = host.unchanged(|| host.fanctl(&format!("{command} --config /run/fan.toml")));
        output.code.expect("a status")
    };
    assert!(given_up.contains(&run(&fan("eth0/16"))), "it would take the connection");
    assert!(given_up.contains(&run("[[fan]]\n")), "it is written down wrongly");
    let later = run(&fan("eth9/16"));
    assert!(later != 0 && !given_up.contains(&later), "the interface may come: {later}");
}

/// Of a process whose name is what a terminal would obey.
fn sockets_of_a_user_are_told_and_escaped() {
    let outside = Outside::new();
    let host = &outside.host;
    host.sh("chmod 755 /run; mkdir /run/user; cp \"$(command -v bash)\" \"$(printf '/run/user/x\\033[2J\\n;reboot')\"")
        .ok();
    let mut command = Command::new("sh");
    let script = "exec 3<>/dev/udp/10.9.9.9/123; echo; read";
    command.args(["-c", &format!("exec {NOBODY} /run/user/* -c '{script}'")]).stdout(Stdio::piped());
    let mut child = host.spawn_with(command, Stdio::piped());
    let mut started = [0];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut started).expect("a line");
    let output = host.unchanged(|| host.fanctl(&up("10", Encap::Vxlan, "")).exits(3));
    let escaped = r"x\x1b[2J\x0a;reboot";
    assert_eq!(output.stderr.lines().count(), 1, "{output}");
    assert!(!output.stderr.contains(|c: char| c.is_control() && c != '\n'), "{output}");
    output.stderr_has(&["NTP server 10.9.9.9", escaped, &child.id().to_string()]);
    child.kill().expect("to end it");
    child.wait().expect("its end");
    host.fanctl(&up("10", Encap::Vxlan, "")).ok();
}

fn what_stands_in_resolv_conf_is_read_and_not_obeyed() {
    let outside = Outside::new();
    let host = &outside.host;
    // Neither a pipe nor a device is waited for.
    for place in ["mkfifo /etc/resolv.conf", "ln -s /dev/zero /etc/resolv.conf"] {
        host.sh(&format!("rm -f /etc/resolv.conf; {place}")).ok();
        host.fanctl(&up("10", Encap::Vxlan, "--dry-run")).ok();
    }
    host.sh(
        "rm /etc/resolv.conf; { printf 'nameserver 10.1.1.1\\033[2J\\nnameserver 10.255.255.53;reboot\\n\\377\\000\\n'
             printf 'nameserver 10.9.9.8 \\033]0;owned\\007\\n'; head -c 200000 /dev/zero; } >/etc/resolv.conf",
    )
    .ok();
    let output = host.unchanged(|| host.fanctl(&up("10", Encap::Vxlan, "")).exits(3));
    assert_eq!(output.stderr.lines().count(), 1, "what is no address is no server: {output}");
    assert!(!output.stderr.contains(|c: char| c.is_control() && c != '\n'), "{output}");
    output.stderr_has(&["DNS server 10.9.9.8"]);
    // A file of more than 4 MiB is no resolv.conf, and nothing of it is read.
    host.sh("head -c 5000000 /dev/zero >>/etc/resolv.conf").ok();
    host.fanctl(&up("10", Encap::Vxlan, "--dry-run")).ok();
}
