//! The privileges of `fanctl`: it works with those that it needs, and keeps no others. The programs that it starts have no
//! more, and its environment has no effect.

mod started;
mod status;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use fanctl::bpf::program;
use fanctl::kernel::netlink::Netlink;
use fanctl::kernel::{bpf, filter};
use fanctl::plan::state::{Direction, Filter, Owner, ProgramRef, Slot};
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::RouteNetlinkMessage;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Uid, chown};

use crate::case::{Case, Cases, Need};
use crate::fixture::Pair;
use crate::named;
use crate::support::{Encap, Host, Lan, Output, assert_same, eventually};
use status::{Status, bit};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("privileges")
        .each(named![two_capabilities_suffice_for_root, two_capabilities_suffice_for_somebody_else,])
        .only_ipip_in_tier_3()
        .each(named![
            a_program_of_another_version_is_replaced_by_root,
            a_program_of_another_version_is_replaced_without_sys_admin,
            looking_takes_nothing,
            those_of_the_service_suffice_for_dhcp,
        ])
        .once_with(&[Need::Tier2], named![a_command_keeps_what_its_verb_needs, a_step_has_what_it_takes,])
        .list()
}

/// Runs a command as root with two capabilities.
const ROOT: &str = "setpriv --bounding-set -all,+net_admin,+bpf";
/// Runs a command as the user `nobody` with the same.
const SOMEBODY: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all,+net_admin,+bpf \
                        --inh-caps -all,+net_admin,+bpf --ambient-caps -all,+net_admin,+bpf";

/// A fan is brought up, changes its MTU, moves, carries packets and is taken down, all by this launcher.
#[track_caller]
fn all_works_by(launcher: &str, pair: &Pair, encap: Encap) {
    let words = encap.words();
    pair.b.fanctl(&format!("up 251.0.0.0/8 eth0/16 {words}")).ok();
    let peer = pair.b.container("251.0.27.2");
    pair.a.ip("addr add 172.31.0.28/16 dev eth0");
    let before = pair.a.dump();

    let by = |words: &str| pair.a.fanctl_by(launcher, words).ok();
    by(&format!("up 251.0.0.0/8 eth0/16 {words}"));
    peer.ping("251.0.28.1").arrives();
    by(&format!("up 251.0.0.0/8 eth0/16 --mtu 1400 --table 52 {words}"));
    peer.ping("251.0.28.1").arrives();
    assert_eq!(by("show --json").json()[1]["verdict"]["complete"], true);
    by("down 251.0.0.0/8 eth0/16");
    assert_same(&before, &pair.a.dump(), "all was taken back");

    // A program in the place of another.
    let fan = |underlay: &str| {
        format!("[[fan]]\noverlay = \"251.0.0.0/8\"\nunderlay = \"{underlay}\"\nencap = \"{encap}\"\n")
    };
    for underlay in ["172.30.0.28/16", "172.31.0.28/16", "172.30.0.28/16"] {
        pair.a.write("/run/fan.toml", &fan(underlay));
        by("reload --config /run/fan.toml");
        by("status --config /run/fan.toml");
    }
    peer.ping("251.0.28.1").arrives();
    by("down -a");
    assert_same(&before, &pair.a.dump(), "all was taken back again");
    pair.ca.ping("250.0.27.2").arrives();
}

fn two_capabilities_suffice_for_root(encap: Encap) {
    let pair = Pair::new(encap);
    all_works_by(ROOT, &pair, encap);
}

fn two_capabilities_suffice_for_somebody_else(encap: Encap) {
    let pair = Pair::new(encap);
    let nobody = Some(Uid::from_raw(65534));
    // As systemd's RuntimeDirectory= does. The lock of root is there.
    pair.a.run(move || {
        for entry in fs::read_dir("/run/fan").expect("root's locks") {
            chown(&entry.expect("a lock").path(), nobody, None).expect("to give it away");
        }
        chown("/run/fan", nobody, None).expect("to give it away");
    });
    all_works_by(SOMEBODY, &pair, encap);
}

/// A host with a fan whose egress program is of no known version: it refuses all packets.
#[track_caller]
fn a_host_of_another_version(encap: Encap) -> (Host, Lan) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(encap);
    let overlay = "250.0.0.0/8".parse().expect("an overlay");
    let link: fanctl::fan::name::InterfaceName = encap.tunnel().parse().expect("a name");
    host.run(move || {
        let program = bpf::load(&program::refuse()).expect("a program");
        let index = nix::net::if_::if_nametoindex(link.as_str()).expect("the tunnel");
        let filter = Filter {
            link,
            direction: Direction::Egress,
            slot: Slot::Fan(overlay),
            owner: Owner::Fan(overlay),
            program: ProgramRef { digest: "0123456789abcdef".into(), program: None, successor: None },
        };
        let message = filter::encode(&filter, index, Some(program.as_fd()));
        Netlink::connect()
            .expect("netlink")
            .send(&RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE)
            .expect("a filter");
    });
    (host, lan)
}

fn a_program_of_another_version_is_replaced_by_root(encap: Encap) {
    let (host, _lan) = a_host_of_another_version(encap);
    let old = host.dump();
    // A step fails after the program was replaced: the program is put back, although its instructions are not known.
    let up = format!("up 250.0.0.0/8 eth0/16 --dhcp {}", encap.words());
    host.sh("mkdir -p /var/lib && touch /var/lib/fan");
    host.fanctl(&up).failed().stderr_has(&["/var/lib/fan", "everything is as it was"]);
    assert_same(&old, &host.dump(), "a step that failed");

    host.up(encap);
    let new = host.dump();
    assert_ne!(old, new);
    host.unchanged(|| host.up(encap));
    host.down();
}

/// Then the program cannot be held. When a step fails after it was replaced, the program of this version stays.
fn a_program_of_another_version_is_replaced_without_sys_admin(encap: Encap) {
    let (host, _lan) = a_host_of_another_version(encap);
    let up = format!("up 250.0.0.0/8 eth0/16 {}", encap.words());
    host.sh("mkdir -p /var/lib && touch /var/lib/fan");
    host.fanctl_by(ROOT, &format!("{up} --dhcp")).failed().stderr_has(&["/var/lib/fan", "everything is as it was"]);
    host.unchanged(|| host.fanctl_by(ROOT, &up).ok().stdout_has(&["nothing to do"]));
    host.fanctl_by(ROOT, "down -e").ok();

    let (host, _lan) = a_host_of_another_version(encap);
    host.fanctl_by(ROOT, "down 250.0.0.0/8 eth0/16").ok();
    assert!(!host.exec("ip link show").ok().stdout.contains("fan-"));
}

fn looking_takes_nothing(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(encap);
    let none = "setpriv --bounding-set -all";
    for words in ["show", "show --json", "map 250.0.0.0/8 172.30.0.0/16 250.0.27.3", "export cni"] {
        host.unchanged(|| host.fanctl_by(none, words).ok());
    }
}

/// The capabilities of fan.service suffice to find and end the dnsmasq of another user too.
fn those_of_the_service_suffice_for_dhcp(encap: Encap) {
    let unit = include_str!("../../systemd/fan-sandbox.conf");
    let lines = unit.lines().filter_map(|line| line.strip_prefix("CapabilityBoundingSet=CAP_"));
    let names: Vec<&str> = lines.flat_map(|line| line.split(" CAP_")).collect();
    assert!(names.contains(&"BPF") && !names.contains(&"SYS_ADMIN"), "{names:?}");
    let set = names.join(",+").to_lowercase();
    let launcher = format!("setpriv --no-new-privs --bounding-set -all,+{set}");
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.set_sysctl("ipv4/ip_forward", "1");
    let before = host.dump();
    let up = format!("up 250.0.0.0/8 eth0/16 {}", encap.words());
    host.fanctl_by(&launcher, &format!("{up} --dhcp")).ok();
    let servers = host.dnsmasqs();
    host.fanctl_by(&launcher, &format!("{up} --dhcp")).ok().stdout_has(&["up already"]);
    assert!(servers.len() == 1 && servers == host.dnsmasqs(), "{servers:?}");
    host.fanctl_by(&launcher, &up).ok();
    assert_eq!(host.dnsmasqs(), []);
    host.fanctl_by(&launcher, &format!("{up} --dhcp --mtu 1400")).ok();
    host.fanctl_by(&launcher, "down -e").ok();
    assert_same(&before, &host.dump(), "down");
}

/// Starts `fanctl` and looks at it while it waits for the lock, which this test holds.
#[track_caller]
fn while_it_waits(host: &Host, words: &str, look: impl FnOnce(&Status)) {
    let lock = host.run(|| {
        fs::create_dir_all("/run/fan").expect("a directory");
        let inode = fs::metadata("/proc/thread-self/ns/net").expect("a namespace").ino();
        let file = File::create(format!("/run/fan/{inode}.lock")).expect("a lock");
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).expect("free")
    });
    let mut command = Command::new(Host::program());
    command.args(words.split_whitespace());
    let child = host.spawn(command);
    let pid = child.id();
    let lock_of = |file: &fs::Metadata| (file.dev(), file.ino());
    let awaited = lock_of(&lock.metadata().expect("a file"));
    let status = eventually("it has come to the lock", || {
        let status = Status::of(pid);
        // Before it executes `fanctl`, the process has the open files of the test.
        let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let mut files = open.filter_map(|entry| fs::metadata(entry.path()).ok());
        let waits = files.any(|file| lock_of(&file) == awaited);
        (waits && status.field("NoNewPrivs") == "1").then_some(status)
    });
    look(&status);
    drop(lock);
    Output::of(words.into(), child).ok();
}

fn a_command_keeps_what_its_verb_needs() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    for words in ["up 250.0.0.0/8 eth0/16 --encap vxlan", "down 250.0.0.0/8 eth0/16"] {
        while_it_waits(&host, words, |status| {
            status.has(bit::CHANGING | bit::SYS_ADMIN, bit::LOOKING);
        });
    }
}

/// At each step of an `up` and a `down`. Each step is announced by a line, and the next line is read only after the look.
fn a_step_has_what_it_takes() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    for words in ["up 250.0.0.0/8 eth0/16 --encap vxlan", "down 250.0.0.0/8 eth0/16"] {
        let (child, announced) = host.announcing(words);
        let mut steps = 0;
        for said in announced {
            // It is at this step, or waits until the line of the next step is read, or has ended.
            let Ok(status) = fs::read_to_string(format!("/proc/{}/status", child.id())).map(Status) else {
                continue;
            };
            if said.starts_with("# ") && !status.field("State").starts_with('Z') {
                steps += 1;
                assert_eq!(status.set("CapPrm"), bit::CHANGING, "{said}{}", status.0);
                let beyond = status.set("CapEff") & !bit::LOOKING;
                assert!([0, bit::BPF, bit::KILL].contains(&beyond), "{said}{}", status.0);
                status.gains_nothing();
            }
        }
        Output::of(words.into(), child).ok();
        assert!(steps > 5, "{words}: {steps} steps");
    }
}
