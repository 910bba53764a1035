//! Names of containers: hosts with a daemon each, dnsmasq in front or not, and busybox's resolver as a witness.

mod engine;

use std::cell::RefCell;
use std::fs;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::case::{Case, Cases};
use crate::json;
use crate::named;
use crate::support::{Container, Encap, Host, Lan, eventually};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("dns")
        .only_ipip_in_tier_3()
        .only_on("6.12")
        .each(named![
            a_name_is_answered_on_every_host,
            a_lease_has_a_name_while_its_port_is_there,
            names_come_and_go_with_their_host,
            dnsmasq_asks_for_the_zones_and_survives_the_daemon,
            containers_cannot_speak_for_a_gateway,
        ])
        .once(named![
            the_daemon_may_bind_ports_and_no_more,
            the_doctor_misses_the_daemon,
            hosts_that_are_written_down_are_waited_for,
            several_of_one_name_are_all_found,
            a_host_that_is_cut_off_keeps_its_own_names,
        ])
        .list()
}

/// A `fanctl names serve`; it ends with this.
struct Server(RefCell<Child>);

impl Server {
    /// Starts it, and waits until it answers.
    #[track_caller]
    fn start(host: &Host, words: &str) -> Self {
        let mut command = Command::new(Host::program());
        command.args(words.split_whitespace()).stdout(Stdio::null());
        let child = host.spawn(command);
        let server = Self(RefCell::new(child));
        eventually("the daemon answers", || answers(host).then_some(()));
        server
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.borrow().id()).expect("a process"))
    }

    /// Has it end, by a signal.
    fn end(self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs");
        self.0.borrow_mut().wait().expect("its end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut child = self.0.borrow_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn answers(host: &Host) -> bool {
    host.fanctl("names hosts --json").json_if_ok().is_some()
}

/// A host whose fan has names, by hand.
#[track_caller]
fn up(lan: &Lan, address: &str, encap: Encap, words: &str) -> Host {
    let host = lan.host(address);
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 --names {} {words}", encap.words())).ok();
    host
}

/// What a container's resolver finds, asking its gateway: addresses, or names.
fn found(from: &Container, gateway: &str, name: &str) -> Vec<String> {
    let output = from.exec(&format!("timeout 10 busybox nslookup {name} {gateway}"));
    let answer = output.stdout.split_once("\n\n").map_or("", |(_, answer)| answer);
    let mut found: Vec<String> = answer
        .lines()
        .filter_map(|line| {
            let address = line.strip_prefix("Address: ").or_else(|| line.split_once("name = ").map(|(_, name)| name));
            address.map(|text| text.trim().to_string())
        })
        .collect();
    found.sort();
    found
}

#[track_caller]
fn finds(from: &Container, gateway: &str, name: &str, expected: &[&str]) {
    let mut last = Vec::new();
    let seen = crate::support::attempts(|| {
        last = found(from, gateway, name);
        (last == expected).then_some(())
    });
    assert!(seen.is_some(), "{name} at {gateway}: {last:?} instead of {expected:?}");
}

/// The states of the other hosts, by their address.
#[track_caller]
fn state(host: &Host, other: &str) -> Option<String> {
    let hosts = host.fanctl("names hosts --json").json_if_ok()?;
    let entry = hosts["hosts"].as_array()?.iter().find(|entry| entry["host"] == other)?;
    entry["state"].as_str().map(String::from)
}

#[track_caller]
fn sees(host: &Host, other: &str, expected: &str) {
    eventually(&format!("{other} is {expected}"), || (state(host, other).as_deref() == Some(expected)).then_some(()));
}

fn a_name_is_answered_on_every_host(encap: Encap) {
    let lan = Lan::new();
    let (here, there) = (up(&lan, "172.30.0.28", encap, ""), up(&lan, "172.30.0.27", encap, ""));
    let _daemons = (Server::start(&here, "names serve"), Server::start(&there, "names serve"));
    let (web, client) = (here.container("250.0.28.9"), there.container("250.0.27.2"));
    // Two hosts on one network find each other by themselves.
    sees(&there, "172.30.0.28", "here");
    here.fanctl("names add web 250.0.28.9").ok().silently();
    here.fanctl("names add web 250.0.27.9").failed().stderr_has(&["'250.0.27.9'", "fanctl show"]);
    finds(&client, "250.0.27.1", "web.fan.internal", &["250.0.28.9"]);
    finds(&client, "250.0.27.1", "web.250-0-28.fan.internal", &["250.0.28.9"]);
    finds(&client, "250.0.27.1", "web.h-172-30-0-28.fan.internal", &["250.0.28.9"]);
    finds(&client, "250.0.27.1", "250-0-200-3.ip.fan.internal", &["250.0.200.3"]);
    finds(&client, "250.0.27.1", "gw.250-0-28.fan.internal", &["250.0.28.1"]);
    finds(&client, "250.0.27.1", "250.0.28.9", &["web.250-0-28.fan.internal"]);
    finds(&client, "250.0.27.1", "250.0.28.7", &["250-0-28-7.ip.fan.internal"]);
    finds(&web, "250.0.28.1", "web.fan.internal", &["250.0.28.9"]);
    finds(&client, "250.0.27.1", "nix.fan.internal", &[]);
    there.fanctl("names list").ok().stdout_has(&["web", "250.0.28.9", "172.30.0.28", "host"]);
    json::is_a("names-list", &there.fanctl("names list --json").ok().json());
    json::is_a("names-hosts", &there.fanctl("names hosts --json=2").ok().json());
    here.fanctl("names list").ok().stdout_has(&["added"]);
    here.fanctl("names remove web").ok().silently();
    here.fanctl("names remove web").failed().stderr_has(&["'web'", "names list"]);
    finds(&client, "250.0.27.1", "web.fan.internal", &[]);
}

fn a_lease_has_a_name_while_its_port_is_there(encap: Encap) {
    let lan = Lan::new();
    let (here, there) = (up(&lan, "172.30.0.28", encap, "dhcp"), up(&lan, "172.30.0.27", encap, ""));
    let _daemons = (Server::start(&here, "names serve"), Server::start(&there, "names serve"));
    let client = there.container("250.0.27.2");
    let web = here.attach("fan-250-0-28", "web", 1400);
    web.exec("timeout 60 busybox udhcpc -i eth0 -f -n -q -t 10 -T 3 -x hostname:web -s /bin/true").ok();
    let leases = eventually("the lease has a name", || {
        let names = here.fanctl("names list web --json").json_if_ok()?;
        let address = names["names"].as_array()?.first()?["address"].as_str()?.to_string();
        Some(address)
    });
    finds(&client, "250.0.27.1", "web.fan.internal", &[&leases]);
    // Behind dnsmasq too.
    web.ip(&format!("addr add {leases}/24 dev eth0"));
    finds(&web, "250.0.28.1", "web.fan.internal", &[&leases]);
    here.detach(&web);
    finds(&client, "250.0.27.1", "web.fan.internal", &[]);
}

fn names_come_and_go_with_their_host(encap: Encap) {
    let lan = Lan::new();
    let (here, there) = (up(&lan, "172.30.0.28", encap, ""), up(&lan, "172.30.0.27", encap, ""));
    let (daemon, _other) = (Server::start(&here, "names serve"), Server::start(&there, "names serve"));
    let (web, client) = (here.container("250.0.28.9"), there.container("250.0.27.2"));
    here.fanctl("names add web 250.0.28.9").ok();
    finds(&client, "250.0.27.1", "web.fan.internal", &["250.0.28.9"]);
    daemon.end(Signal::SIGKILL);
    finds(&client, "250.0.27.1", "web.fan.internal", &[]);
    sees(&there, "172.30.0.28", "gone");
    // What carries packets has not noticed.
    client.ping("250.0.28.9").arrives();
    web.ping("250.0.27.2").arrives();
    let _daemon = Server::start(&here, "names serve");
    here.fanctl("names add db 250.0.28.9").ok();
    finds(&client, "250.0.27.1", "db.fan.internal", &["250.0.28.9"]);
    finds(&client, "250.0.27.1", "web.fan.internal", &[]);
    here.ip("link set eth0 down");
    sees(&there, "172.30.0.28", "gone");
    here.ip("link set eth0 up");
    finds(&client, "250.0.27.1", "db.fan.internal", &["250.0.28.9"]);
}

fn dnsmasq_asks_for_the_zones_and_survives_the_daemon(encap: Encap) {
    let lan = Lan::new();
    let here = up(&lan, "172.30.0.28", encap, "dhcp");
    let daemon = Server::start(&here, "names serve");
    let client = here.container("250.0.28.2");
    here.fanctl("names add web 250.0.28.9").ok();
    finds(&client, "250.0.28.1", "web.fan.internal", &["250.0.28.9"]);
    finds(&client, "250.0.28.1", "250.0.28.9", &["web.250-0-28.fan.internal"]);
    let servers = here.dnsmasqs();
    daemon.end(Signal::SIGTERM);
    finds(&client, "250.0.28.1", "web.fan.internal", &[]);
    // It still answers: of what it knows itself.
    finds(&client, "250.0.28.1", "127.0.0.1", &["localhost"]);
    assert_eq!(here.dnsmasqs(), servers);
    // Without names it is started with other arguments.
    here.fanctl(&format!("up 250.0.0.0/8 eth0/16 dhcp {}", encap.words())).ok();
    assert!(!here.dnsmasqs()[0].1.contains("fan.internal"), "{:?}", here.dnsmasqs());
}

fn containers_cannot_speak_for_a_gateway(encap: Encap) {
    let lan = Lan::new();
    let (here, there) = (up(&lan, "172.30.0.28", encap, ""), up(&lan, "172.30.0.27", encap, ""));
    let _daemons = (Server::start(&here, "names serve"), Server::start(&there, "names serve"));
    sees(&here, "172.30.0.27", "here");
    let hostile = there.container("250.0.27.66");
    // As root in its container, which is nothing on the host: from the port, with its own address and with the gateway's.
    hostile.ip("addr add 250.0.27.1/32 dev eth0");
    for source in ["250.0.27.66", "250.0.27.1"] {
        let says = move || {
            let names = b"fan1\x08\x10\x06\x00\x01\x01\x00\x01\x01\x03web\x42";
            UdpSocket::bind((source, 924))?.send_to(names, ("250.0.28.1", 924))
        };
        hostile.run(says).expect("it may send what it likes");
    }
    let list = here.fanctl("names list --json").ok().json();
    assert_eq!(list["names"], Value::Array(Vec::new()));
    sees(&here, "172.30.0.27", "here");
}

fn the_daemon_may_bind_ports_and_no_more() {
    let lan = Lan::new();
    let here = up(&lan, "172.30.0.28", Encap::Vxlan, "");
    let daemon = Server::start(&here, "names serve");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    let value = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    // CAP_NET_BIND_SERVICE is bit 10 (linux/capability.h).
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(value(set), Some("0000000000000400"), "{set}\n{status}");
    }
    assert_eq!(value("NoNewPrivs:"), Some("1"));
    here.fanctl("names serve").failed().stderr_has(&["another 'fanctl names serve' runs"]);
    here.fanctl_by("setpriv --reuid 65534 --clear-groups", "names list").failed();
    drop(daemon);
    here.fanctl("metrics").ok().stdout_has(&["fanctl_names_served{overlay=\"250.0.0.0/8\"} 0"]);
    here.fanctl("names list").failed().stderr_has(&["systemctl enable --now fan-names"]);
}

/// What the doctor says of names: verdict, code and what mends it.
#[track_caller]
fn diagnosis(host: &Host, status: i32) -> Option<(String, String, Value)> {
    let found = host.fanctl("doctor --json").exits(status).json();
    let finding = found["findings"].as_array()?.iter().find(|finding| finding["check"] == "names")?;
    let text = |key: &str| finding[key].as_str().map(String::from);
    Some((text("verdict")?, text("code")?, finding["mend"].clone()))
}

fn the_doctor_misses_the_daemon() {
    let lan = Lan::new();
    let here = up(&lan, "172.30.0.28", Encap::Vxlan, "");
    let missed = |mend: Value| Some(("failed".to_string(), "names-not-served".to_string(), mend));
    // The command is printed where there is what runs it.
    assert_eq!(diagnosis(&here, 1), missed(Value::Null));
    here.fanctl("doctor").exits(1).stdout_has(&["no daemon answers", "fanctl names serve"]);
    here.sh("mkdir -p /run/systemd/system").ok();
    assert_eq!(diagnosis(&here, 1), missed("systemctl enable --now fan-names.service".into()));

    let daemon = Server::start(&here, "names serve");
    let served = Some(("passed".to_string(), "names-served".to_string(), Value::Null));
    assert_eq!(diagnosis(&here, 0), served);
    // Its file alone is no daemon.
    daemon.end(Signal::SIGKILL);
    here.exec("test -S /run/fan/names.socket").ok();
    assert_eq!(diagnosis(&here, 1), missed("systemctl enable --now fan-names.service".into()));

    // A daemon that cannot have the port serves no name.
    let other = here.run(|| UdpSocket::bind(("250.0.28.1", 924))).expect("the port is free");
    let _daemon = Server::start(&here, "names serve");
    assert_eq!(diagnosis(&here, 1), missed("systemctl restart fan-names.service".into()));
    drop(other);
    eventually("the daemon has the port", || (diagnosis_code(&here).as_deref() == Some("names-served")).then_some(()));

    // A fan without names asks for no daemon.
    here.fanctl(&format!("up 250.0.0.0/8 eth0/16 {}", Encap::Vxlan.words())).ok();
    assert_eq!(diagnosis(&here, 0), None);
}

/// The code of what the doctor says of names, whatever else it finds.
fn diagnosis_code(host: &Host) -> Option<String> {
    let found = host.fanctl("doctor --json").json();
    let finding = found["findings"].as_array()?.iter().find(|finding| finding["check"] == "names")?.clone();
    finding["code"].as_str().map(String::from)
}

fn hosts_that_are_written_down_are_waited_for() {
    let lan = Lan::new();
    let text = "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"vxlan\"\nnames = true\n\
                peers = [\"172.30.0.27\"]\n\n[[name]]\nname = \"db\"\naddress = \"250.0.28.9\"\n\n\
                [[name]]\nname = \"db\"\naddress = \"250.0.27.9\"\n";
    let here = lan.host("172.30.0.28");
    here.write("/run/fan.toml", text);
    here.fanctl("up -a --config /run/fan.toml").ok();
    let _daemon = Server::start(&here, "names serve --config /run/fan.toml");
    here.fanctl("names hosts --wait 0").exits(4).stdout_has(&["172.30.0.27", "unknown"]);
    here.fanctl("names list").ok().stdout_has(&["db", "250.0.28.9", "config"]);
    let there = up(&lan, "172.30.0.27", Encap::Vxlan, "");
    let _other = Server::start(&there, "names serve");
    eventually("it is there", || (here.fanctl("names hosts --wait 1").code == Some(0)).then_some(()));
    here.fanctl("names hosts --wait 0").ok().stdout_has(&["172.30.0.27", "here"]);
    here.fanctl("metrics").ok().stdout_has(&[
        "fanctl_names_served{overlay=\"250.0.0.0/8\"} 1",
        "fanctl_names_hosts{overlay=\"250.0.0.0/8\",state=\"here\"} 1",
        "fanctl_names_hosts{overlay=\"250.0.0.0/8\",state=\"self\"} 1",
        "fanctl_names{overlay=\"250.0.0.0/8\"} 1",
    ]);
    // Each host takes the names of its own slice.
    let client = there.container("250.0.27.2");
    finds(&client, "250.0.27.1", "db.fan.internal", &["250.0.28.9"]);
}

fn several_of_one_name_are_all_found() {
    let lan = Lan::new();
    let (here, there) = (up(&lan, "172.30.0.28", Encap::Vxlan, ""), up(&lan, "172.30.0.27", Encap::Vxlan, ""));
    let _daemons = (Server::start(&here, "names serve"), Server::start(&there, "names serve"));
    let client = there.container("250.0.27.2");
    here.fanctl("names add web 250.0.28.9").ok();
    there.fanctl("names add web 250.0.27.9").ok();
    // Over VXLAN a question has one answer, and many questions have all of them.
    for expected in ["250.0.28.9", "250.0.27.9"] {
        eventually(expected, || {
            let found = found(&client, "250.0.27.1", "web.fan.internal");
            (found == [expected]).then_some(())
        });
    }
}

fn a_host_that_is_cut_off_keeps_its_own_names() {
    let lan = Lan::new();
    let hosts = ["172.30.0.28", "172.30.0.27", "172.30.0.26"].map(|address| up(&lan, address, Encap::Vxlan, ""));
    let _daemons = hosts.each_ref().map(|host| Server::start(host, "names serve"));
    let clients = [28, 27, 26].map(|third| (format!("250.0.{third}.1"), format!("250.0.{third}.9")));
    let containers: Vec<Container> = hosts.iter().zip(&clients).map(|(host, (_, own))| host.container(own)).collect();
    for (host, (_, own)) in hosts.iter().zip(&clients) {
        host.fanctl(&format!("names add web{} {own}", own.split('.').nth(2).expect("a third octet"))).ok();
    }
    // Who finds whom: by their numbers.
    let all_find = |found: &[(usize, [bool; 3])]| {
        for (asker, answers) in found {
            for (number, is_found) in answers.iter().enumerate() {
                let (gateway, name) = (&clients[*asker].0, format!("web{}.fan.internal", 28 - number));
                let expected: Vec<&str> = is_found.then_some(clients[number].1.as_str()).into_iter().collect();
                finds(&containers[*asker], gateway, &name, &expected);
            }
        }
    };
    all_find(&[(0, [true; 3]), (1, [true; 3]), (2, [true; 3])]);
    hosts[0].ip("link set eth0 down");
    all_find(&[(0, [true, false, false]), (1, [false, true, true]), (2, [false, true, true])]);
    hosts[0].ip("link set eth0 up");
    all_find(&[(0, [true; 3]), (1, [true; 3]), (2, [true; 3])]);
}
