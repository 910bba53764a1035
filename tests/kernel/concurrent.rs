//! Many commands at once take turns, and the state after them is right.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};

use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Encap, Host, Lan, Output, assert_same, eventually, is_emulated};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("concurrent")
        .only_ipip_in_tier_3()
        .only_on("6.12")
        .each(named![many_at_once_end_in_a_right_state])
        .once(named![
            a_lock_that_was_removed_is_nobodys,
            a_container_attached_meanwhile_keeps_its_bridge,
            a_look_waits_for_a_change_and_holds_it_off,
        ])
        .list()
}

/// Exit statuses that may occur: done, or (`export`) there was no such fan, or (`status`) the host differs.
const ENDS: [i32; 3] = [0, 1, 4];

/// The fan 250.0.0.0/8 was brought up by hand, the fan 251.0.0.0/8 by the configuration.
fn many_at_once_end_in_a_right_state(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.set_sysctl("ipv4/ip_forward", "1");
    let table = |more: &str| {
        format!("[[fan]]\noverlay = \"251.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"{encap}\"\n{more}\n")
    };
    host.write("/run/fan.toml", &table(""));
    host.write("/run/other.toml", &table("nat = false"));
    host.write("/run/none.toml", &table("enabled = false"));

    let before = host.dump();
    let up = format!("up 250.0.0.0/8 eth0/16 {}", encap.words());
    let down = "down 250.0.0.0/8 eth0/16";
    let reload = |file: &str| format!("reload --config /run/{file}.toml");
    // All states that may result.
    let mut right = Vec::new();
    for one in [&up, down] {
        for file in ["fan", "other", "none"] {
            host.fanctl(one).ok();
            host.fanctl(&reload(file)).ok();
            right.push(host.dump());
        }
    }
    let mixed = [
        up.clone(),
        reload("fan"),
        down.to_string(),
        "status --config /run/fan.toml".to_string(),
        reload("other"),
        "show --json".to_string(),
        reload("none"),
        "export docker 250.0.0.0/8".to_string(),
    ];
    let running: Vec<_> = (0..if is_emulated() { 8 } else { 20 })
        .map(|number| {
            let words = &mixed[number % mixed.len()];
            let mut command = Command::new(Host::program());
            command.args(words.split_whitespace());
            (words, host.spawn(command))
        })
        .collect();
    for (words, child) in running {
        let output = Output::of(words.clone(), child);
        let acts = ["up", "down", "reload"].iter().any(|verb| words.starts_with(verb));
        let ends = if acts { &ENDS[..1] } else { &ENDS[..] };
        assert!(output.code.is_some_and(|code| ends.contains(&code)), "{output}");
        assert!(!output.stderr.contains("panicked"), "{output}");
    }
    let now = host.dump();
    if !right.contains(&now) {
        for one in right {
            assert_same(&one, &now, "many at once: as none of these");
        }
    }
    host.fanctl("down -e").ok();
    assert_same(&before, &host.dump(), "many at once, then down -e");
}

/// A new lock's file of the host, locked, by the device and the inode that it has.
#[track_caller]
fn new_lock(host: &Host) -> (Flock<File>, (u64, u64)) {
    let file = host.run(|| {
        fs::create_dir_all("/run/fan").expect("a directory");
        let inode = fs::metadata("/proc/thread-self/ns/net").expect("a namespace").ino();
        let path = format!("/run/fan/{inode}.lock");
        let _ = fs::remove_file(&path);
        File::create(path).expect("a lock")
    });
    let data = file.metadata().expect("a file");
    let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno);
    (lock.expect("it is free"), (data.dev(), data.ino()))
}

/// A command that waits for a lock, whose file is replaced meanwhile, waits for the new file.
fn a_lock_that_was_removed_is_nobodys() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let (first, inode) = new_lock(&host);
    let mut command = Command::new(Host::program());
    command.args("up 250.0.0.0/8 eth0/16 --encap vxlan".split(' '));
    let fanctl = host.spawn(command);
    let files = format!("/proc/{}/fd", fanctl.id());
    let waits_for = |inode: (u64, u64)| {
        eventually("it waits for the lock", || {
            let open = fs::read_dir(&files).ok()?.flatten();
            let mut open = open.filter_map(|entry| fs::metadata(entry.path()).ok());
            open.any(|file| (file.dev(), file.ino()) == inode).then_some(())
        });
    };
    waits_for(inode);
    let (second, inode) = new_lock(&host);
    drop(first);
    waits_for(inode);
    assert!(!host.devices().contains(&"fan-250-0-28".to_string()), "it has not begun");
    drop(second);
    Output::of("fanctl up".into(), fanctl).ok();
    assert!(host.devices().contains(&"fan-250-0-28".to_string()));
    let locks = host.exec("find /run/fan -name *.lock").ok().stdout;
    host.down();
    assert_eq!(host.exec("find /run/fan -name *.lock").ok().stdout, locks, "it stays");
}

/// `down` looks at the ports again before the bridge goes, and puts everything back.
fn a_container_attached_meanwhile_keeps_its_bridge() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let up = "up 250.0.0.0/8 eth0/16 dhcp --encap vxlan";
    host.fanctl(up).ok();
    let (server, _) = host.dnsmasqs()[0].clone();
    // The first step is to end the server. A stopped server ends only when it is killed, which takes a while.
    kill(server, Signal::SIGSTOP).expect("to stop it");
    let mut command = Command::new(Host::program());
    command.args("down 250.0.0.0/8 eth0/16".split(' '));
    let fanctl = host.spawn(command);
    eventually("it ends the server", || {
        let status = fs::read_to_string(format!("/proc/{server}/status")).ok()?;
        let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"))?;
        let pending = u64::from_str_radix(pending.trim(), 16).ok()?;
        (pending & (1 << (Signal::SIGTERM as u32 - 1)) != 0).then_some(())
    });
    host.ip("link add con9 type veth peer name other\n link set con9 master fan-250-0-28 up");
    Output::of("fanctl down".into(), fanctl)
        .failed()
        .stderr_has(&["bridge 'fan-250-0-28' still has a container: con9", "everything is as it was"]);
    let links = host.ip_json("link show dev con9");
    assert_eq!(links[0]["master"], "fan-250-0-28");
    // All that was taken down by then is made again, and the server is started as a new process.
    host.fanctl(up).ok().stdout_has(&["nothing to do"]);
    assert_eq!(host.dnsmasqs().len(), 1);
    host.fanctl("down 250.0.0.0/8 eth0/16").refused().stderr_has(&["con9"]);
    host.ip("link del con9");
    host.down();
}

/// Its own shared lock is there before the first question to the kernel; where it cannot be had, it is asked for again, and not
/// for ever.
fn a_look_waits_for_a_change_and_holds_it_off() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(Encap::Vxlan).ok();
    let lock = host.exec("find /run/fan -name *.lock").ok().stdout.trim().to_string();
    let calls = |words: &str| {
        let program = Host::program();
        host.exec(&format!("strace -e trace=flock,sendto,sendmsg -o /run/calls {program} {words}")).ok();
        let calls = host.exec("cat /run/calls").ok().stdout;
        let asks: Vec<&str> = calls.lines().take_while(|call| !call.contains("RTM_GETLINK")).collect();
        let locks = asks.iter().filter(|call| call.contains("LOCK_SH|LOCK_NB"));
        let (had, missed): (Vec<&str>, Vec<&str>) = locks.partition(|call| call.ends_with("= 0"));
        assert!(calls.contains("RTM_GETLINK"), "{calls}");
        (had.len(), missed.len())
    };
    for words in ["show --json", "doctor", "export docker", "up 250.0.0.0/8 eth0/16 --encap vxlan --dry-run"] {
        assert_eq!(calls(words), (1, 0), "{words}");
        let mut other = Command::new("flock");
        other.args(["--no-fork", &lock, "sleep", "1000"]);
        let mut other = host.spawn(other);
        eventually("the lock is held", || (host.exec(&format!("flock -n {lock} true")).code != Some(0)).then_some(()));
        let (had, missed) = calls(words);
        assert!(had == 0 && missed > 1, "{words}: {missed}");
        other.kill().expect("it runs");
        other.wait().expect("it ends");
    }
}
