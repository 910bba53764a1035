//! What is left of a fan whose bridge was deleted is found, named and removed; and a `fanctl` that is killed in the middle
//! of a change leaves no process that still changes the host when the next one starts.

use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Encap, Host, Lan, Output, assert_same, eventually};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("remains")
        .only_ipip_in_tier_3()
        .only_on("6.12")
        .each(named![
            what_remains_of_a_fan_is_named_and_goes,
            what_remains_is_brought_up_again,
            what_remains_keeps_an_overlapping_fan_down,
            a_bridge_that_lost_its_label_is_left_alone,
            a_bridge_that_lost_its_label_gets_it_back,
        ])
        .once(named![what_a_killed_command_runs_is_waited_for])
        .list()
}

const FILE: &str = "/run/fan.toml";

struct Configured {
    host: Host,
    before: Vec<String>,
    _lan: Lan,
}

impl Configured {
    fn new() -> Self {
        let lan = Lan::new();
        let host = lan.host("172.30.0.28");
        host.set_sysctl("ipv4/ip_forward", "1");
        let before = host.dump();
        host.write("/run/none.toml", "");
        Self { host, before, _lan: lan }
    }

    #[track_caller]
    fn up_a(&self, encap: Encap) -> Vec<String> {
        let table =
            format!("[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"{encap}\"\ndhcp = true\n");
        self.host.write(FILE, &table);
        self.host.fanctl(&format!("up -a --config {FILE}")).ok();
        self.host.dump()
    }
}

fn what_remains_of_a_fan_is_named_and_goes(encap: Encap) {
    let configured = Configured::new();
    let host = &configured.host;
    for removal in ["down -a", "reload --config /run/none.toml", "down 250.0.0.0/8 default/16", "down -e"] {
        configured.up_a(encap);
        host.ip("link del fan-250-0-28");
        let said = "fanctl: fan 250.0.0.0/8 has lost its bridge; bring it up again, or take away what remains: \
                    fanctl down 250.0.0.0/8 default/16\n";
        for show in ["show", "show --json"] {
            assert_eq!(host.fanctl(show).ok().stderr, said);
        }
        let status = host.fanctl("status --config /run/none.toml").exits(4);
        status.stdout_has(&["fan 250.0.0.0/8: not up, but parts of it are there, and not configured\n", "--dry-run"]);
        let output = host.fanctl(removal).ok();
        assert_same(&configured.before, &host.dump(), &output.to_string());
        let nothing = "fanctl: no fan is up; begin with: fanctl up --help\n";
        assert_eq!(host.fanctl("show").ok().stderr, nothing);
    }
    // A command that is killed before its last step leaves this route.
    host.ip("route add unreachable 250.0.0.0/8 metric 4278198272 proto 250");
    host.fanctl("show").ok().stderr_has(&["fan 250.0.0.0/8 has lost its bridge"]);
    host.fanctl("down -a").ok();
    assert_same(&configured.before, &host.dump(), "down -a");
}

fn what_remains_is_brought_up_again(encap: Encap) {
    let configured = Configured::new();
    let host = &configured.host;
    // A DHCP server that lost its bridge is started again, as a new process.
    let without_processes = |mut facts: Vec<String>| {
        facts.retain(|fact| !fact.starts_with("process "));
        facts
    };
    let whole = without_processes(configured.up_a(encap));
    for repair in ["reload", "up -a"] {
        host.ip("link del fan-250-0-28");
        let output = host.fanctl(&format!("{repair} --config {FILE}")).ok();
        assert_same(&whole, &without_processes(host.dump()), &output.to_string());
        assert_eq!(host.dnsmasqs().len(), 1, "its DHCP server");
    }
}

fn what_remains_keeps_an_overlapping_fan_down(encap: Encap) {
    let configured = Configured::new();
    let host = &configured.host;
    configured.up_a(encap);
    host.ip("link del fan-250-0-28");
    let up = format!("up 250.0.0.0/9 eth0/16 {}", encap.words());
    let refusal = host.unchanged(|| host.fanctl(&up).refused());
    refusal.stderr_has(&[
        "overlay '250.0.0.0/9' overlaps what remains of fan 250.0.0.0/8",
        "fanctl down 250.0.0.0/8 default/16",
    ]);
    host.fanctl("down 250.0.0.0/8 default/16").ok();
    host.fanctl(&up).ok();
}

/// Containers may be attached to it.
fn a_bridge_that_lost_its_label_is_left_alone(encap: Encap) {
    let configured = Configured::new();
    let host = &configured.host;
    configured.up_a(encap);
    let container = host.container("250.0.28.2");
    host.ip("link set fan-250-0-28 alias mine");
    for careful in ["down -a", "reload --config /run/none.toml"] {
        host.unchanged(|| host.fanctl(careful).ok());
    }
    for show in ["show", "show --json"] {
        let said = host.fanctl(show).ok();
        said.stderr_has(&[
            "fan 250.0.0.0/8 has a bridge whose alias, by which it was known, was changed",
            "fanctl doctor",
        ]);
    }
    let status = host.fanctl(&format!("status --config {FILE}")).exits(4);
    status.stdout_has(&["cannot be as configured: ", "ip link set fan-250-0-28 alias 'fan 250.0.0.0/8 "]);
    let given_back =
        format!("ip link set fan-250-0-28 alias 'fan 250.0.0.0/8 172.30.0.28/16 dev eth0 {encap} host-reserve 1 dhcp'");
    for verb in [
        "down 250.0.0.0/8 default/16".to_string(),
        "down -e".to_string(),
        format!("reload --config {FILE}"),
        format!("up 250.0.0.0/9 eth0/16 {}", encap.words()),
    ] {
        let refusal = host.unchanged(|| host.fanctl(&verb).refused());
        assert_eq!(mend(&refusal.stderr), given_back, "{refusal}");
    }
    container.ping("250.0.28.1").arrives();
}

/// The printed command makes it the same fan again, with each set of options.
fn a_bridge_that_lost_its_label_gets_it_back(encap: Encap) {
    let configured = Configured::new();
    let host = &configured.host;
    for options in ["", "host-reserve 3 --dhcp --no-nat --mtu 1400 --table 77"] {
        let up = format!("up 250.0.0.0/8 eth0/16 {} {options}", encap.words());
        host.fanctl(&up).ok();
        let whole = host.dump();
        let container = host.container("250.0.28.9");
        host.ip("link set fan-250-0-28 alias mine");
        let refusal = host.unchanged(|| host.fanctl("down -e").refused());
        let diagnosis = host.fanctl("doctor").exits(1).stdout_has(&[
            "FAIL  bridge of 250.0.0.0/8: the alias of bridge 'fan-250-0-28', by which it was known, was changed",
            "attached to it: ",
        ]);
        let told = mend(&refusal.stderr);
        assert_eq!(mend(&diagnosis.stdout), told);
        host.sh(&told).ok();
        let refusal = host.unchanged(|| host.fanctl("down -e").refused());
        refusal.stderr_has(&["bridge 'fan-250-0-28' still has a container"]);
        drop(container);
        eventually("the kernel has taken the container's port away", || {
            let ports = host.exec("ip link show master fan-250-0-28 type veth").ok().stdout;
            ports.is_empty().then_some(())
        });
        assert_same(&whole, &host.dump(), &told);

        // Without a container, and without its routes.
        host.ip("link set fan-250-0-28 alias mine down");
        let refusal = host.unchanged(|| host.fanctl("down 250.0.0.0/8 default/16").refused());
        host.sh(&mend(&refusal.stderr)).ok();
        let output = host.fanctl("down 250.0.0.0/8 default/16").ok();
        assert_same(&configured.before, &host.dump(), &output.to_string());
    }
    // Without its programs, the options of the fan are not known.
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {}", encap.words())).ok();
    host.ip("link set fan-250-0-28 alias mine");
    host.exec(&format!("tc qdisc del dev {} clsact", encap.tunnel())).ok();
    let refusal = host.unchanged(|| host.fanctl("down -e").refused());
    let refusal_text = refusal.stderr.clone();
    // The bridge may belong to another program, so no command that changes it is printed.
    refusal.stderr_has(&["see whose bridge it is (ip -details link show dev fan-250-0-28)"]);
    let diagnosis = host.fanctl("doctor").exits(1);
    for told in [&refusal_text, &diagnosis.stdout] {
        assert!(!told.contains("delete") && !told.contains("link set"), "{told}");
    }
    host.ip("link delete fan-250-0-28");
    let output = host.fanctl("down -e").ok();
    assert_same(&configured.before, &host.dump(), &output.to_string());
}

/// The command that a message ends with.
#[track_caller]
fn mend(told: &str) -> String {
    let mut commands = told.lines().filter_map(|line| Some(&line[line.find("ip link ")?..]));
    commands.next().expect("a command").to_string()
}

/// An `nft` that waits stands for one that runs long.
fn what_a_killed_command_runs_is_waited_for() {
    let configured = Configured::new();
    let host = &configured.host;
    let nft = "#!/bin/sh\nPATH=${PATH#*:}\nif [ \"$1\" = -f ] && [ ! -e /run/busy ]; then echo $$ >/run/busy; read line </run/go; fi\n\
               exec nft \"$@\"\n";
    host.sh("mount -t tmpfs tmpfs /usr/local/sbin; mkfifo /run/go").ok();
    host.write("/usr/local/sbin/nft", nft);
    host.sh("chmod 755 /usr/local/sbin/nft").ok();
    let mut up = Command::new(Host::program());
    up.args("up 250.0.0.0/8 eth0/16 --encap vxlan".split(' '));
    let up = host.spawn(up);
    eventually("nft is at work", || host.exec("test -s /run/busy").code.filter(|code| *code == 0));
    kill(Pid::from_raw(up.id().cast_signed()), Signal::SIGKILL).expect("it lives");
    assert_eq!(Output::of("up".into(), up).code, None, "it was killed");

    let mut down = Command::new(Host::program());
    down.args(["down", "-e"]);
    let mut down = host.spawn(down);
    let is_locked = "for lock in /run/fan/*.lock; do flock --nonblock $lock true && exit 1; done; true";
    host.sh(is_locked).ok();
    assert!(down.try_wait().expect("a child").is_none(), "it waits");
    host.sh("echo >/run/go").ok();
    Output::of("down -e".into(), down).ok();
    assert_same(&configured.before, &host.dump(), "up killed, then down -e");

    // A DHCP server keeps running, and is not waited for.
    host.fanctl("up 250.0.0.0/8 eth0/16 --encap vxlan dhcp").ok();
    assert_eq!(host.dnsmasqs().len(), 1);
    host.sh(is_locked).exits(1);
}
