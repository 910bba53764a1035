//! Processes that pose as a fan's DHCP server, or take its port: none is obeyed, none keeps a fan down, and none counts as
//! the server.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Encap, Host, Lan, Watcher, eventually};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("posed")
        .only_ipip_in_tier_3()
        .only_on("6.12")
        .each(named![
            a_users_process_is_no_remains_of_a_fan,
            a_poser_does_not_stand_in_for_the_server,
            what_a_server_was_started_with_is_not_run_again,
        ])
        .once(named![
            watch_runs_nothing_of_a_users,
            who_holds_the_port_is_named,
            a_lease_file_that_cannot_be_kept_is_told_with_its_cure,
            the_directory_of_lease_files_is_closed_to_other_users,
        ])
        .list()
}

/// A directory of root's, whose programs other users may run.
const PLACE: &str = "/run/posed";
const PROGRAM: &str = "/run/posed/dnsmasq";
/// A script that writes a line to `RAN` each time that it runs.
const SCRIPT: &str = "/run/posed/script";
const RAN: &str = "/run/posed/ran";
const LEASES: &str = "/var/lib/fan/250.0.0.0-8_250.0.28.0-24.leases";

const NOBODY: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups";

/// How a user without privileges may have a process: as an ordinary one, as root of a user namespace (a rootless
/// container), with capabilities that an administrator gave to another program, and with the real dnsmasq.
fn launchers() -> [String; 4] {
    [
        format!("{NOBODY} --inh-caps=-all --bounding-set=-all --no-new-privs {PROGRAM}"),
        format!("{NOBODY} --inh-caps=-all unshare --user --map-root-user --mount --pid --fork {PROGRAM}"),
        format!("{NOBODY} --inh-caps=+net_admin,+net_raw --ambient-caps=+net_admin,+net_raw {PROGRAM}"),
        format!(
            "{NOBODY} --inh-caps=-all --bounding-set=-all --no-new-privs dnsmasq --keep-in-foreground --port=0 --conf-file=/dev/null --pid-file"
        ),
    ]
}

/// A program that takes any arguments and waits for signals: an ELF file of one segment, with `pause` in a loop.
fn idle() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u16 = 64 + 56;
    let code = b"\xb8\x22\0\0\0\x0f\x05\xeb\xf7";
    let size = u64::from(HEADERS) + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for number in [BASE + u64::from(HEADERS), 64, 0] {
        file.extend(number.to_le_bytes());
    }
    file.extend([0; 4]);
    for number in [64_u16, 56, 1, 0, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for number in [0, BASE, BASE, size, size, 0x1000] {
        file.extend(number.to_le_bytes());
    }
    file.extend(code);
    file
}

/// A process of a user that is started again each time that it ends.
struct Poser<'a> {
    host: &'a Host,
    child: Child,
    pid: Pid,
}

impl<'a> Poser<'a> {
    #[track_caller]
    fn start(host: &'a Host, launcher: &str, words: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("while :; do {launcher} {words}; done")]);
        let child = host.spawn(command);
        let mut poser = Self { host, child, pid: Pid::from_raw(0) };
        poser.pid = eventually("it poses", || poser.found());
        poser
    }

    /// The process, once it has executed a program of that name.
    fn found(&self) -> Option<Pid> {
        let shell = Pid::from_raw(self.child.id().cast_signed());
        let others = self.host.processes().into_iter().filter(|(pid, _)| *pid != shell);
        let named = |(pid, _): &(Pid, String)| {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let is_root = status.lines().any(|line| line == "Uid:\t0\t0\t0\t0");
            comm == "dnsmasq\n" && !is_root && self.is_own(*pid)
        };
        others.filter(named).map(|(pid, _)| pid).next()
    }

    /// Whether a process descends from the shell.
    fn is_own(&self, pid: Pid) -> bool {
        let mut pid = pid.to_string();
        loop {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
            match parent {
                None | Some("0" | "1") => return false,
                Some(parent) if parent == self.child.id().to_string() => return true,
                Some(parent) => pid = parent.to_string(),
            }
        }
    }

    /// It runs as before, and was not sent a signal.
    #[track_caller]
    fn is_untouched(&self) {
        let shell = || fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        assert_eq!(self.found(), Some(self.pid), "{:?}, and its shell: {}", self.host.processes(), shell());
    }
}

impl Drop for Poser<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = kill(self.pid, Signal::SIGKILL);
    }
}

#[track_caller]
fn a_host() -> (Host, Lan) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.run(|| {
        fs::create_dir(PLACE).expect("a directory");
        fs::write(PROGRAM, idle()).expect("a program");
        fs::write(SCRIPT, format!("#!/bin/sh\necho run by $(id -u) >>{RAN}\n")).expect("a script");
        fs::write(RAN, "").expect("a file");
        for (file, mode) in [("/run", 0o755), (PLACE, 0o755), (PROGRAM, 0o755), (SCRIPT, 0o755), (RAN, 0o666)] {
            fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("its mode");
        }
    });
    (host, lan)
}

/// How often the script was run.
fn runs(host: &Host) -> usize {
    host.run(|| fs::read_to_string(RAN).expect("the file")).lines().count()
}

/// The sockets at the port of DHCP servers, as another program (`ss`) lists them.
fn served(host: &Host) -> String {
    host.exec("ss -Hlnup sport = 67").ok().stdout
}

fn up(encap: Encap) -> String {
    format!("up 250.0.0.0/8 eth0/16 dhcp {}", encap.words())
}

/// The command line of the fan's server, as `--dry-run` prints it.
#[track_caller]
fn own_line(host: &Host, encap: Encap) -> String {
    let plan = host.fanctl(&format!("{} --dry-run", up(encap))).ok().stdout;
    let line = plan.lines().find_map(|line| line.strip_prefix("dnsmasq "));
    line.expect("a server").to_string()
}

fn a_users_process_is_no_remains_of_a_fan(encap: Encap) {
    let (host, _lan) = a_host();
    for launcher in launchers() {
        let words = "--dhcp-leasefile=/var/lib/fan/240.0.0.0-4_250.0.28.0-24.leases --interface=fan-x";
        let poser = Poser::start(&host, &launcher, words);
        let shown = host.fanctl("show --json").ok().json();
        assert_eq!(shown, serde_json::json!([]));
        host.up(encap);
        host.fanctl("down -e").ok();
        host.fanctl("down -e").ok().stdout_has(&["nothing to do"]);
        poser.is_untouched();
    }
}

fn a_poser_does_not_stand_in_for_the_server(encap: Encap) {
    let (host, _lan) = a_host();
    let line = own_line(&host, encap);
    for launcher in &launchers()[..3] {
        let poser = Poser::start(&host, launcher, &line);
        host.fanctl(&up(encap)).ok();
        let others = |(pid, _): &(Pid, String)| {
            *pid != poser.pid && !poser.is_own(*pid) && pid.as_raw() != poser.child.id().cast_signed()
        };
        let server = host.dnsmasqs().into_iter().find(others).expect("the fan's own server").0;
        let sockets = served(&host);
        assert!(sockets.contains(&format!("pid={server},")), "{sockets}");
        let complete = || host.fanctl("show --json").exits(0).json()[0]["verdict"].clone();
        assert_eq!(complete()["complete"], true);
        host.fanctl(&up(encap)).ok().stdout_has(&["nothing to do"]);
        // Without its server the fan is not complete, although the other process has its arguments.
        kill(server, Signal::SIGKILL).expect("to end it");
        eventually("no process serves", || served(&host).is_empty().then_some(()));
        let verdict = complete();
        assert!(verdict["complete"] == false && verdict["missing"].to_string().contains("dhcp"), "{verdict}");
        host.fanctl("doctor").exits(1).stdout_has(&["dhcp"]);
        host.fanctl(&up(encap)).ok();
        assert!(!served(&host).is_empty());
        host.fanctl("down -e").ok();
        assert_eq!(served(&host), "");
        poser.is_untouched();
    }
}

/// The arguments of a running server are never used, a user's or root's: `fanctl` computes them.
fn what_a_server_was_started_with_is_not_run_again(encap: Encap) {
    let (host, _lan) = a_host();
    let marks =
        format!("--conf-script={SCRIPT} --dhcp-leasefile={LEASES} --interface=fan-250-0-28 --port=0 --pid-file");
    for launcher in &launchers()[..3] {
        let poser = Poser::start(&host, launcher, &marks);
        host.fanctl("down -e").ok();
        host.fanctl(&up(encap)).ok();
        host.fanctl(&format!("{} --mtu 1300", up(encap))).ok();
        host.fanctl("down -e").ok();
        poser.is_untouched();
    }
    assert_eq!(runs(&host), 0);
    // A server of root's with the fan's marks counts as the fan's, and is replaced; when that fails it is not put back.
    host.up(encap);
    host.sh("mkdir -p /var/lib/fan").ok();
    host.exec(&format!(
        "dnsmasq --conf-file=/dev/null --dhcp-alternate-port=6767 --dhcp-range=250.0.28.2,250.0.28.9 --bind-interfaces {marks}"
    ))
    .ok();
    let before = runs(&host);
    assert!(before > 0, "the script is one that runs");
    let held = host.run(|| UdpSocket::bind("0.0.0.0:67").expect("the port is free"));
    host.fanctl(&up(encap))
        .failed()
        .stderr_has(&["UDP port 67 is held by process", "with other arguments than this fanctl computes"]);
    assert_eq!(host.dnsmasqs(), []);
    drop(held);
    host.fanctl(&up(encap)).ok();
    assert!(!served(&host).is_empty());
    assert_eq!(runs(&host), before);
}

fn watch_runs_nothing_of_a_users() {
    let (host, _lan) = a_host();
    host.write(
        "/run/fan.toml",
        "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"vxlan\"\ndhcp = true\nfollow = true\n",
    );
    host.fanctl("up -a --config /run/fan.toml").ok();
    let (server, _) = host.dnsmasqs()[0].clone();
    let marks = format!("--conf-script={SCRIPT} --dhcp-leasefile={LEASES} --interface=fan-250-0-28 --port=0");
    let launchers = launchers();
    let posers = launchers[..3].iter().map(|launcher| Poser::start(&host, launcher, &marks));
    let posers: Vec<Poser> = posers.collect();
    let ran = runs(&host);
    let mut watcher = Watcher::start(&host, "--config /run/fan.toml");
    kill(server, Signal::SIGKILL).expect("to end it");
    watcher.says(&["250.0.0.0/8", "followed: fan-250-0-28 is up"]);
    assert!(!served(&host).is_empty());
    watcher.rests();
    // Another loss is repaired beside it, too.
    host.exec("nft flush ruleset").ok();
    watcher.says(&["250.0.0.0/8", "followed: fan-250-0-28 is up"]);
    watcher.rests();
    for poser in &posers {
        assert!(poser.is_own(poser.pid), "it was not touched");
    }
    let by_root = host.run(|| fs::read_to_string(RAN).expect("the file").contains("run by 0"));
    assert!(!by_root && runs(&host) == ran);
    assert!(!watcher.lines().iter().any(|line| line.contains("cannot")), "{:#?}", watcher.lines());
}

fn who_holds_the_port_is_named() {
    let (host, _lan) = a_host();
    let held = |address: &'static str| host.run(move || UdpSocket::bind(address).expect("the port is free"));
    let this = std::process::id();
    for port in [67, 53] {
        let address = if port == 67 { "0.0.0.0:67" } else { "0.0.0.0:53" };
        let socket = held(address);
        let told = format!("UDP port {port} is held by process {this} (");
        host.unchanged(|| host.fanctl(&up(Encap::Vxlan)).failed().stderr_has(&[&told, "leave dhcp out"]));
        drop(socket);
    }
    host.fanctl(&up(Encap::Vxlan)).ok();
}

fn a_lease_file_that_cannot_be_kept_is_told_with_its_cure() {
    let (host, _lan) = a_host();
    host.sh("mkdir -p /var/lib/fan").ok();
    for (made, told) in [
        (format!("touch {LEASES}; chown 1000 {LEASES}"), format!("chown 0 {LEASES}")),
        (format!("touch {LEASES}; chmod o+w {LEASES}"), format!("chmod o-w {LEASES}")),
        ("chown 1000 /var/lib/fan".into(), "chown 0 /var/lib/fan".into()),
        (format!("mkfifo {LEASES}"), format!("mv {LEASES} ")),
        (format!("ln -s /etc/passwd {LEASES}"), format!("mv {LEASES} ")),
    ] {
        host.sh(&made).ok();
        let output = host.unchanged(|| host.fanctl(&up(Encap::Vxlan)).failed().stderr_has(&[&told]));
        let cure = output.stderr.split(": ").filter_map(|part| {
            let part = part.trim().split(';').next()?;
            ["chown ", "chmod ", "mv "].iter().any(|verb| part.starts_with(verb)).then(|| part.to_string())
        });
        let cure = cure.last().expect("a command");
        host.sh(&cure).ok();
        host.fanctl(&up(Encap::Vxlan)).ok();
        host.fanctl("down -e").ok();
        host.sh(&format!("rm -rf {LEASES} {LEASES}.odd")).ok();
    }
}

fn the_directory_of_lease_files_is_closed_to_other_users() {
    let (host, _lan) = a_host();
    host.sh("mkdir -p /var/lib/fan; chmod 1777 /var/lib/fan").ok();
    host.fanctl(&up(Encap::Vxlan)).ok();
    assert_eq!(host.sh("stat -c %a /var/lib/fan").ok().stdout.trim(), "755");
    host.fanctl("down -e").ok();
}
