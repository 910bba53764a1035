//! How it runs: it costs nothing, waits for other commands and blocks none, and reports to systemd.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{CONFIG, FAN, FILE, FOLLOWS, OTHER, two_fans, write};
use crate::case::Case;
use crate::named;
use crate::support::{Encap, Host, Lan, NOBODY, Namespace, Watcher, eventually, is_emulated};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    super::none_yet()
        .once(named![
            it_does_nothing_while_nothing_happens,
            routes_of_others_do_not_wake_it,
            it_waits_for_other_commands_and_ends_all_the_same,
            the_configuration_is_read_again,
            whoever_does_not_read_its_lines_holds_nobody_up,
            it_tells_systemd_and_marks_its_lines,
            it_takes_root_and_a_right_configuration,
            what_failed_is_tried_again_when_nothing_is_heard,
            a_port_that_is_held_takes_no_tunnel_down,
        ])
        .list()
}

/// Its time and that of its children, and how often it ran.
fn cost(watcher: &Watcher) -> Vec<String> {
    let file = format!("/proc/{}/", watcher.pid());
    let stat = std::fs::read_to_string(file.clone() + "stat").expect("it runs");
    let status = std::fs::read_to_string(file + "status").expect("it runs");
    let switches = status.lines().filter(|line| line.contains("ctxt_switches"));
    let times = stat.split(' ').skip(13).take(4).map(String::from);
    times.chain(switches.map(String::from)).collect()
}

/// A routing daemon's table comes and goes: it does not even run, and so dumps nothing. Routes that concern a fan wake it.
fn routes_of_others_do_not_wake_it() {
    let (host, _lan) = two_fans(Encap::Vxlan);
    let watcher = Watcher::start(&host, CONFIG);
    watcher.rests();
    let number = if is_emulated() { 5_000 } else { 50_000 };
    let table = |verb: &str| {
        let routes = (0..number).map(|n| format!("route {verb} 10.{}.{}.0/24 dev eth0 proto 250\n", n / 250, n % 250));
        routes.collect::<String>()
    };
    let before = cost(&watcher);
    host.ip(&table("add"));
    host.ip(&table("del"));
    host.ip("route add unreachable 198.51.100.0/24 proto bgp\n route del unreachable 198.51.100.0/24");
    assert_eq!(cost(&watcher), before, "it ran for routes of others");
    assert_eq!(watcher.missed(), 0, "they did not even take room");
    for route in ["172.30.0.27/32", "172.30.9.0/24", "250.0.27.0/24", "251.9.9.9/32", "240.0.0.0/4", "default"] {
        for verb in ["add", "del"] {
            watcher.rests();
            let before = cost(&watcher);
            host.ip(&format!("route {verb} {route} dev eth0 metric 77"));
            eventually("it looks", || (cost(&watcher) != before).then_some(()));
        }
    }
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
        let mut ids: Vec<String> = links.map(|link| format!("{} {}", link["ifname"], link["ifindex"])).collect();
        for direction in ["ingress", "egress"] {
            let filters = host.tc_json(&format!("filter show dev fan-vx16384000 {direction}"));
            ids.extend(
                filters.as_array().expect("filters").iter().map(|filter| filter["options"]["prog"]["id"].to_string()),
            );
        }
        let objects = host.nft_json("list ruleset");
        let objects = objects.as_array().expect("objects").iter().filter_map(|object| object.as_object());
        ids.extend(objects.flat_map(|object| object.values().map(|value| value["handle"].to_string())));
        ids
    };
    let (before, spent) = (ids(&host), cost(&watcher));
    let container = host.container("251.0.28.2");
    watcher.rests();
    assert_ne!(spent, cost(&watcher), "it looked, because a port came");
    // It does not run for packets, or for commands that only read. The kernel's notification of a carrier comes late.
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
    assert_eq!(before, ids(&host), "every object is the same as before, not another of the same name");
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
            Flock::lock(file, FlockArg::LockExclusive).expect("no process holds it")
        })
    };
    let held = hold();
    // As in the middle of another command.
    host.ip("link set fan-250-0-28 down");
    // It tries to get the lock, and neither looks nor rests.
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
    // A mistake is reported once, and the configuration from before stays in effect.
    host.write(FILE, "[[fun]]\n");
    host.exec("ip link del fan-251-0-28").ok();
    watcher.says(&["/run/fan.toml:1:", "'fun' is unknown", "the configuration from before is followed"]);
    watcher.says(&[OTHER, "followed: fan-251-0-28 is up"]);
    watcher.says_no_more();
    // A fan that is new in the file is brought up by `reload`, and followed then.
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
    host.fanctl(&format!("watch {CONFIG}")).exits(2).stderr_has(&["the fan lacks its 'underlay'"]);
    host.fanctl_by(NOBODY, "watch").failed().stderr_has(&["verb 'watch'", "takes root"]);
}

/// A process that holds a port at an address, until it is killed.
#[track_caller]
fn holder(host: &Host, options: &[&str], address: &str, port: u16) -> Child {
    let mut nc = Command::new("nc");
    nc.args(options).args(["-l", address, &port.to_string()]).stdin(Stdio::null());
    let nc = host.spawn(nc);
    eventually("the port is held", || {
        let sockets = host.exec(&format!("ss -H -t -u -l -n -p sport = :{port}")).ok().stdout;
        sockets.contains(&format!("pid={},", nc.id())).then_some(())
    });
    nc
}

#[track_caller]
fn ends(mut child: Child) {
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

/// The kernel sends no notification when a port is free again.
fn what_failed_is_tried_again_when_nothing_is_heard() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    write(&host, Encap::Vxlan, &[("250.0.0.0/8", "follow = true\ndhcp = true")]);
    host.fanctl(&format!("up -a {CONFIG}")).ok();
    let mut watcher = Watcher::start(&host, CONFIG);
    watcher.says(&["following"]);
    watcher.rests();
    watcher.signal(Signal::SIGSTOP);
    let (server, _) = host.dnsmasqs()[0].clone();
    kill(server, Signal::SIGKILL).expect("it runs");
    eventually("the server has ended", || Namespace::has_ended(server).then_some(()));
    let nc = holder(&host, &[], "250.0.28.1", 53);
    watcher.signal(Signal::SIGCONT);
    watcher.says(&[FAN, "gone: dhcp server"]);
    watcher.says(&[FAN, "cannot follow: ", "TCP port 53 is held by process"]);
    ends(nc);
    watcher.says(&[FAN, "followed: "]);
    assert_eq!(host.dnsmasqs().len(), 1);
    watcher.says_no_more();
}

/// Neither the attempt nor other changes on the host affect the tunnel that is there.
fn a_port_that_is_held_takes_no_tunnel_down() {
    let (host, _lan) = two_fans(Encap::Vxlan);
    let before = host.ip_json("link show fan-vx16384000")[0]["ifindex"].clone();
    let nc = holder(&host, &["-u"], "0.0.0.0", 4789);
    let mut watcher = Watcher::start(&host, CONFIG);
    watcher.says(&["following"]);
    write(&host, Encap::Vxlan, &[("250.0.0.0/8", "follow = true\nport = 4789"), ("251.0.0.0/8", "")]);
    // Events of the fan's devices among them.
    let mut monitor = Command::new("ip");
    monitor.args(["monitor", "link"]).stdout(Stdio::piped());
    let mut monitor = host.spawn(monitor);
    let owner = Pid::from_raw(monitor.id().try_into().expect("a process"));
    eventually("ip monitor hears of links", || {
        let groups = u32::from_str_radix(&host.rtnetlink_socket(owner)?[3], 16).expect("a set");
        (groups & 1 != 0).then_some(())
    });
    host.ip("link add noise0 type veth peer name noise1");
    watcher.says(&[FAN, "the configuration has it otherwise"]);
    watcher.says(&[FAN, "cannot follow: UDP port 4789 is held by process"]);
    // A change of the other fan is noticed by a look after the other events.
    for (mtu, told) in [(1300, "changed: "), (1450, "it is as it should be"), (1300, "changed: ")] {
        host.ip("link add noise2 type veth peer name noise3");
        host.ip(&format!("link delete noise2\n link set fan-251-0-28 mtu {mtu}"));
        watcher.says(&[OTHER, told]);
    }
    monitor.kill().expect("it runs");
    let seen = monitor.wait_with_output().expect("it ends").stdout;
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.contains("noise0") && !seen.contains("fan-vx16384000"), "{seen}");
    assert_eq!(host.ip_json("link show fan-vx16384000")[0]["ifindex"], before);
    ends(nc);
    watcher.says(&[FAN, "followed: "]);
    let link = host.ip_json("-d link show fan-vx16384000");
    assert_eq!(link[0]["linkinfo"]["info_data"]["port"], 4789, "{link}");
}
