//! The files themselves: where they are, when they are read, which users may ask, and a reader that leaves.

use std::fs;
use std::process::{Command, Stdio};

use super::{Configured, FILE};
use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Encap, Host, Lan, NOBODY, eventually};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("configured-files")
        .only_ipip_in_tier_3()
        .once(named![
            without_a_file_there_is_nothing_to_do,
            the_files_of_a_host_are_where_they_belong,
            anybody_may_ask_for_the_status,
            a_reader_who_leaves_does_not_make_it_well,
            a_file_is_read_when_its_readers_turn_has_come,
            a_file_that_others_can_change_is_refused,
            what_is_no_regular_file_is_refused_at_once,
        ])
        .list()
}

fn without_a_file_there_is_nothing_to_do() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.write("/run/empty.toml", "# nothing yet\n");
    for verb in ["up -a", "reload", "status"] {
        let output = host.unchanged(|| host.fanctl(&format!("{verb} --config /run/empty.toml")).ok());
        output.stdout_has(&["nothing is configured: /run/empty.toml holds no fan"]);
    }
    host.fanctl("up -a --config /run/missing.toml")
        .exits(2)
        .stderr_has(&["/run/missing.toml: No such file or directory"]);
}

fn the_files_of_a_host_are_where_they_belong() {
    let configured = Configured::new(Encap::Vxlan);
    let host = &configured.host;
    host.exec("mkdir -p /etc/network").ok();
    for verb in ["up -a", "reload", "down -a"] {
        host.unchanged(|| host.fanctl(verb).ok()).stdout_has(&["nothing to do"]);
    }
    let nothing = "nothing is configured: /etc/fan.toml and /etc/network/fan do not exist\n";
    assert_eq!(host.fanctl("status").ok().stdout, nothing);
    host.fanctl("up 250 eth0 --encap vxlan").ok();
    assert_eq!(host.fanctl("status").ok().stdout, format!("{nothing}1 fan is up by hand: fanctl show\n"));
    host.fanctl("down fan-250-0-28").ok();
    let check = |told: &str| {
        let output = host.fanctl("config check").ok();
        assert_eq!(output.stdout, format!("/etc/fan.toml and /etc/network/fan: {told}\n"));
    };
    check("no fan, nothing wrong");
    // The example of cloud-init, then the same as TOML beside it, then one more fan.
    let legacy =
        "# fan 240\n10.0.0.0/8 eth0/16 dhcp\n10.0.0.0/8 eth1/16 dhcp off\n# fan 241\n241.0.0.0/8 eth0/16 dhcp\n";
    host.write("/etc/network/fan", legacy);
    check("3 fans, 1 of them off, nothing wrong");
    let converted = host.fanctl("config convert").ok().stdout;
    host.write("/etc/fan.toml", &converted);
    check("3 fans, 1 of them off, nothing wrong");
    let more = "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"vxlan\"\n";
    host.write("/etc/fan.toml", more);
    host.write("/etc/network/fan", "250.0.0.0/8 eth0/16 --encap=vxlan\n10.99.0.0/16 251.0.0.0/8 --encap vxlan\n");
    host.fanctl("up -a").ok();
    assert_eq!(configured.bridges(), ["250.0.0.0/8 fan-250-0-28 auto", "251.0.0.0/8 fan-251 auto"]);

    // A dangling symbolic link does not mean that there are no fans.
    host.exec("rm /etc/fan.toml /etc/network/fan").ok();
    host.exec("ln -s /srv/fan.toml /etc/fan.toml").ok();
    for verb in ["up -a", "reload", "status"] {
        let output = host.unchanged(|| host.fanctl(verb).exits(2));
        assert_eq!(output.stderr, "fanctl: /etc/fan.toml: it is a link to '/srv/fan.toml', which does not exist\n");
        assert_eq!(output.stdout, "", "{verb}");
    }
    host.exec("rm /etc/fan.toml").ok();
    host.fanctl("reload").ok();
    assert_eq!(configured.bridges(), [""; 0]);
}

fn anybody_may_ask_for_the_status() {
    let configured = Configured::new(Encap::Vxlan);
    configured.write(&[("250.0.0.0/8", "eth0/16", "")]);
    configured.follow("up -a").ok();
    let ask = |words: &str| configured.host.fanctl_by(NOBODY, &format!("{words} --config {FILE}"));
    ask("status").ok().stdout_has(&[
        "fan 250.0.0.0/8 over eth0/16: as configured",
        "unknown: firewall, dhcp server and keys: only root may look at them",
    ]);
    ask("reload").failed().stderr_has(&["takes root"]);
    ask("config check").ok();
    configured.write(&[("250.0.0.0/8", "eth0/16", ""), ("251.0.0.0/8", "eth1/33", "")]);
    ask("up -a").exits(1).stderr_has(&["underlay 'eth1/33'", "takes root"]);
    configured.write(&[("250.0.0.0/8", "eth0/16", "")]);
    configured.host.ip("link set fan-250-0-28 down");
    ask("status").exits(4).stdout_has(&["differs: link 'fan-250-0-28' up is missing", "fanctl reload"]);
}

/// As with `fanctl status | head -1` in a script that checks the exit status.
fn a_reader_who_leaves_does_not_make_it_well() {
    let configured = Configured::new(Encap::Vxlan);
    let overlays: Vec<String> = (11..110).map(|octet| format!("{octet}.0.0.0/8")).collect();
    let fans: Vec<(&str, &str, &str)> = overlays.iter().map(|overlay| (overlay.as_str(), "eth9/16", "")).collect();
    configured.write(&fans);
    for (words, status) in [("up -a --json", 3), ("reload --json", 3), ("status", 4), ("status --json", 4)] {
        let words = format!("{words} --config {FILE}");
        let ended = configured.host.run(move || {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            let mut fanctl = Command::new(Host::program());
            fanctl.args(words.split(' ')).stdout(writer).stderr(Stdio::null());
            fanctl.status().expect("it runs")
        });
        assert_eq!(ended.code(), Some(status));
    }
}

/// Otherwise a hook that waited for a `reload` would bring back the content from before the edit.
fn a_file_is_read_when_its_readers_turn_has_come() {
    let configured = Configured::new(Encap::Vxlan);
    let host = &configured.host;
    configured.write(&[("250.0.0.0/8", "eth0/16", "")]);
    configured.follow("up -a").ok();
    let lock = host.exec("find /run/fan -name *.lock").ok().stdout.trim().to_string();
    for words in ["up -a", "reload"] {
        configured.write(&[("250.0.0.0/8", "eth0/16", "")]);
        let mut other = Command::new("flock");
        other.args(["--no-fork", &lock, "sleep", "1000"]);
        let mut other = host.spawn(other);
        eventually("the lock is held", || (host.exec(&format!("flock -n {lock} true")).code != Some(0)).then_some(()));
        let mut fanctl = Command::new(Host::program());
        fanctl.args(words.split(' ')).args(["--config", FILE]);
        let mut fanctl = host.spawn(fanctl);
        let files = format!("/proc/{}/fd", fanctl.id());
        eventually("fanctl waits for its turn", || {
            let mut files = fs::read_dir(&files).ok()?.filter_map(Result::ok);
            files.find(|file| fs::read_link(file.path()).is_ok_and(|target| target.ends_with(&lock[1..])))
        });
        configured.write(&[("251.0.0.0/8", "eth1/16", "")]);
        other.kill().expect("it runs");
        other.wait().expect("it ends");
        assert!(fanctl.wait().expect("it ends").success());
        assert!(configured.bridges().contains(&"251.0.0.0/8 fan-251-0-28 auto".to_string()), "{words}");
        host.fanctl("down -a").ok();
    }
}

/// The message says what another user than root could do, and the command that prevents it.
/// Has user 1000 write to a file by its access list (acl(5)); its entries are kind, permissions and user.
const LIST: &str = "\
import os, struct, sys
entries = [(1, 7, -1), (2, 7, 1000), (4, 5, -1), (16, 7, -1), (32, 5, -1)]
value = b'\\2\\0\\0\\0' + b''.join(struct.pack('<HHi', *entry) for entry in entries)
os.setxattr(sys.argv[1], 'system.posix_acl_access', value)
";

fn a_file_that_others_can_change_is_refused() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let fan = "[[fan]]\\noverlay = \"250.0.0.0/8\"\\nunderlay = \"eth0/16\"\\nencap = \"vxlan\"\\n";
    let file = "/run/ours/fan.toml";
    host.write("/run/list.py", LIST);
    let links_are_protected = host.exec("cat /proc/sys/fs/protected_symlinks").ok().stdout.trim() != "0";
    for (given_away, complaint) in [
        ("chown 1000 FILE", "user 1000 may write to it, "),
        ("chgrp 100 FILE; chmod g+w FILE", "group 100 may write to it, "),
        ("chmod o+w FILE", "everybody may write to it, "),
        ("python3 /run/list.py FILE", "who is in its access list may write to it, "),
        ("python3 /run/list.py /run/ours", "who is in its access list may replace it, "),
        ("chown 1000 /run/ours", "user 1000 may replace it, "),
        ("chgrp 100 /run/ours; chmod g+w /run/ours", "group 100 may replace it, "),
        ("chmod o+w /run/ours", "everybody may replace it, "),
        ("mv FILE /run/link.toml; ln -s /run/link.toml FILE; chown 1000 /run/ours", "user 1000 may replace it, "),
        ("mkdir -m 777 /run/far; mv FILE /run/far; ln -s /run/far/fan.toml FILE", "everybody may replace it, "),
        (
            "mkdir -m 755 /run/far; mv FILE /run/link.toml; ln -s /run/link.toml /run/far/over; ln -s /run/far/over FILE; \
             chown 1000 /run/far",
            "user 1000 may replace it, ",
        ),
        (
            "mkdir -m 755 /run/far /run/ours/real; mv FILE /run/ours/real; ln -s /run/ours/real /run/far/over; \
             ln -s ../far/over/fan.toml FILE; chgrp 100 /run/far; chmod g+w /run/far",
            "group 100 may replace it, ",
        ),
        (
            "mkdir -m 1777 /run/far; mv FILE /run/link.toml; ln -s /run/link.toml /run/far/over; ln -s /run/far/over FILE; \
             chown -h 1000 /run/far/over",
            "user 1000 may replace it, ",
        ),
    ] {
        host.sh("rm -rf /run/ours /run/far /run/link.toml; mkdir -m 755 /run/ours").ok();
        host.sh(&format!("printf '{fan}' >{file}; chmod 644 {file}")).ok();
        host.fanctl(&format!("config check --config {file}")).ok();
        host.sh(&given_away.replace("FILE", file)).ok();
        // With fs.protected_symlinks, root follows no link of another user in a sticky directory: the file cannot be read.
        if given_away.contains("-m 1777") && links_are_protected {
            host.fanctl(&format!("up -a --config {file}")).exits(2).stderr_has(&[file, "a link of that user's"]);
            continue;
        }
        for verb in ["up -a", "reload", "status", "config check", "config list"] {
            let words = format!("{verb} --config {file}");
            let output = host.unchanged(|| host.fanctl(&words).exits(2));
            output.stderr_has(&[file, complaint, "network"]);
        }
        let told = host.fanctl(&format!("config check --config {file}")).stderr;
        let advice = told.trim().rsplit("first: ").next().expect("advice");
        host.exec(advice).ok();
        host.fanctl(&format!("config check --config {file}")).ok();
    }
    // In a sticky directory only the owner can replace a file; and a user may read a configuration of their own.
    host.sh("rm -rf /run/ours; mkdir -m 1777 /run/ours").ok();
    host.sh(&format!("printf '{fan}' >{file}; chmod 644 {file}")).ok();
    host.fanctl(&format!("config check --config {file}")).ok();
    host.sh(&format!("chown 65534 {file}")).ok();
    host.fanctl_by(NOBODY, &format!("config check --config {file}")).ok();
}

/// No command waits for the other end of a pipe, or reads a device to its end: it could hold the lock.
fn what_is_no_regular_file_is_refused_at_once() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(Encap::Vxlan);
    host.sh("mkfifo /run/pipe.toml; truncate -s 100M /run/long.toml; mkdir /run/directory.toml").ok();
    for (file, told) in [
        ("/run/pipe.toml", "it is a pipe; only a regular file is read"),
        ("/dev/zero", "it is a device; only a regular file is read"),
        ("/run/directory.toml", "Is a directory"),
        ("/run/long.toml", "it is longer than 4194304 bytes"),
    ] {
        for verb in ["up -a", "reload", "status", "config check", "watch", "export docker 251"] {
            let output = host.unchanged(|| host.fanctl(&format!("{verb} --config {file}")).exits(2));
            assert_eq!(output.stderr, output.stderr.lines().next().expect("a line").to_string() + "\n");
            output.stderr_has(&[file, told]);
        }
        let checked = host.fanctl(&format!("export docker fan-250-0-28 --check {file}")).exits(1);
        checked.stderr_has(&[file, told]);
    }
    // Standard input may be a pipe, and is read up to a limit.
    let long = format!("head -c 104857600 /dev/zero | {} export docker fan-250-0-28 --check -", Host::program());
    host.sh(&long).exits(1).stderr_has(&["it is longer than 4194304 bytes"]);
}
