//! What a user, a container or another program leaves in the way of `fanctl`: files, directories, names, an environment.

use std::path::Path;

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Host, Lan, NOBODY};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("attacks")
        .only_ipip_in_tier_3()
        .once(named![
            a_bridge_is_not_named_like_an_option,
            the_directory_of_locks_is_closed_to_other_users,
            a_directory_of_locks_that_is_another_users_is_refused,
            files_that_nest_without_end_are_refused,
            a_byte_order_mark_is_no_fault,
            an_export_follows_no_link_of_another_user,
            an_export_writes_into_no_device_and_no_pipe,
            a_command_without_standard_files_writes_into_none_of_its_own,
            a_directory_that_is_gone_is_no_obstacle,
            who_owns_a_user_namespace_changes_nothing,
            no_word_of_the_environment_is_obeyed,
            objects_of_a_daemon_with_our_protocol_stay,
        ])
        .once_with(
            &[Need::Tier2],
            named![hooks_take_no_name_for_an_option_or_a_command, ifupdown_takes_no_option_for_a_command],
        )
        .list()
}

const UP: &str = "up 250.0.0.0/8 eth0/16 --encap vxlan";
const FILE: &str = "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"vxlan\"\n";

#[track_caller]
fn a_host() -> (Host, Lan) {
    let lan = Lan::new();
    (lan.host("172.30.0.28"), lan)
}

fn a_bridge_is_not_named_like_an_option() {
    let (host, _lan) = a_host();
    host.write("/run/fan.toml", &format!("{FILE}bridge = \"-x\"\n"));
    host.unchanged(|| host.fanctl(&format!("{UP} --bridge=-x")).exits(2).stderr_has(&["'-x'", "fan0"]));
    for verb in ["up -a", "config check", "reload --dry-run"] {
        host.fanctl(&format!("{verb} --config /run/fan.toml")).exits(2).stderr_has(&["'-x'", "fan0"]);
    }
}

fn the_directory_of_locks_is_closed_to_other_users() {
    let (host, _lan) = a_host();
    host.sh("mkdir -p /run/fan && chmod 1777 /run/fan").ok();
    host.fanctl(UP).ok();
    assert_eq!(host.sh("stat -c %a /run/fan").ok().stdout.trim(), "700");
    assert_eq!(host.sh("stat -c %a /run/fan/*").ok().stdout.trim(), "600");
}

fn a_directory_of_locks_that_is_another_users_is_refused() {
    let (host, _lan) = a_host();
    for made in ["mkdir /run/fan && chown 65534 /run/fan", "mkdir /run/theirs && ln -s /run/theirs /run/fan"] {
        host.sh(made).ok();
        host.unchanged(|| host.fanctl(UP).failed().stderr_has(&["'/run/fan'", "mv /run/fan /run/fan.odd"]));
        host.sh("mv /run/fan /run/fan.odd").ok();
        host.fanctl(UP).ok();
        host.fanctl("down -e").ok();
        host.sh("rm -rf /run/fan /run/fan.odd").ok();
    }
    assert_eq!(host.sh("ls /run/theirs").ok().stdout, "");
}

fn files_that_nest_without_end_are_refused() {
    let (host, _lan) = a_host();
    for text in [
        format!("a={}", "[".repeat(100_000)),
        format!("a={}", "{b=".repeat(50_000)),
        format!("{}a=1", "a.".repeat(60_000)),
        format!("[{}a]", "a.".repeat(60_000)),
        format!("{FILE}\0"),
    ] {
        host.write("/run/fan.toml", &text);
        let told = host.fanctl("config check --config /run/fan.toml").exits(2);
        assert!(told.stderr.lines().count() == 1 && told.stderr.len() < 400, "{told}");
        host.unchanged(|| host.fanctl("reload --config /run/fan.toml").exits(2));
    }
}

fn a_byte_order_mark_is_no_fault() {
    let (host, _lan) = a_host();
    host.write("/run/fan.toml", &format!("\u{feff}{FILE}"));
    host.fanctl("up -a --config /run/fan.toml").ok();
    host.fanctl("status --config /run/fan.toml").ok();
}

fn an_export_follows_no_link_of_another_user() {
    let (host, _lan) = a_host();
    host.fanctl(UP).ok();
    host.sh("chmod 755 /run; mkdir -m 1777 /run/open; echo kept >/run/target").ok();
    host.exec(&format!("{NOBODY} ln -s /run/target /run/open/link")).ok();
    host.exec(&format!("{NOBODY} ln -s /run/fresh /run/open/dangling")).ok();
    for link in ["link", "dangling"] {
        for force in ["", "--force"] {
            let output = host.fanctl(&format!("export docker --default-bridge -o /run/open/{link} {force}"));
            assert_ne!(output.code, Some(0), "{output}");
        }
    }
    assert_eq!(host.sh("cat /run/target; ls /run/fresh 2>&1 | wc -l").ok().stdout, "kept\n1\n");
    host.sh("test ! -e /run/fresh").ok();
}

fn an_export_writes_into_no_device_and_no_pipe() {
    let (host, _lan) = a_host();
    host.fanctl(UP).ok();
    host.sh("mkfifo /run/pipe; mkdir /run/place").ok();
    for place in ["/dev/full", "/dev/null", "/run/pipe", "/run/place", "/run/place/none/file"] {
        let output = host.fanctl(&format!("export cni -o {place} --force"));
        assert!(matches!(output.code, Some(1 | 3)) && output.stderr.lines().count() == 1, "{output}");
    }
    host.sh("test -c /dev/null -a -c /dev/full -a -p /run/pipe -a -d /run/place").ok();
}

/// The first files that it opens have the numbers of standard output and error then.
fn a_command_without_standard_files_writes_into_none_of_its_own() {
    let (host, _lan) = a_host();
    let program = Host::program();
    for words in [UP, "show", "doctor", "down -e", UP] {
        host.sh(&format!("{program} {words} <&- >&- 2>&-; true")).ok();
    }
    assert_eq!(host.sh("cat /run/fan/*.lock").ok().stdout, "");
    host.fanctl(UP).ok().stdout_has(&["nothing to do"]);
    let full = host.sh(&format!("{program} show --json >/dev/full"));
    assert_ne!(full.code, Some(0), "{full}");
}

fn a_directory_that_is_gone_is_no_obstacle() {
    let (host, _lan) = a_host();
    let gone = |words: &str| {
        let program = Host::program();
        host.sh(&format!("mkdir /run/gone && cd /run/gone && rmdir /run/gone && exec {program} {words}"))
    };
    gone(UP).ok();
    gone("show").ok().stdout_has(&["fan-250-0-28"]);
    gone("config check --config fan.toml").exits(2);
    gone("down -e").ok();
}

fn who_owns_a_user_namespace_changes_nothing() {
    let (host, _lan) = a_host();
    host.fanctl(UP).ok();
    let owner = format!("{NOBODY} unshare --user --map-root-user");
    for words in ["down -e", "up 250.0.0.0/8 eth0/16 --encap vxlan --mtu 1300", "doctor --fix", "reload"] {
        let output = host.unchanged(|| host.fanctl_by(&owner, words));
        assert!(words == "doctor --fix" || output.code != Some(0), "{output}");
    }
}

fn no_word_of_the_environment_is_obeyed() {
    let (host, _lan) = a_host();
    host.sh("mkdir /run/bin; for tool in nft ip dnsmasq tc sh; do printf '#!/bin/sh\\ntouch /run/obeyed\\n' >/run/bin/$tool; done; chmod +x /run/bin/*")
        .ok();
    let environment = "env PATH=/run/bin COLUMNS=99999999999999999999 TMPDIR=/run/none HOME=/run/none NOTIFY_SOCKET=/run/none \
                       JOURNAL_STREAM=8:1:x RUST_LOG=trace RUST_BACKTRACE=full IFACE=x IF_FAN_OVERLAY=251 LANG=xx_XX.UTF-16";
    host.fanctl_by(environment, UP).ok();
    host.fanctl_by(environment, "up --help").ok();
    host.fanctl_by(environment, &format!("{UP} --mtu 1300")).ok();
    host.sh("test ! -e /run/obeyed").ok();
    assert_eq!(host.ip_json("link show fan-250-0-28")[0]["mtu"], 1300);
}

/// Also those that are no routes of ours: a next hop, another table, a rule.
fn objects_of_a_daemon_with_our_protocol_stay() {
    let (host, _lan) = a_host();
    host.ip("route add 251.0.0.0/8 dev eth0 proto 250
         route add default dev eth0 table 77 proto 250
         rule add to 253.0.0.0/8 table 99 proto 250 prio 4000
         nexthop add id 7 dev eth0 proto 250
         route add 254.0.0.0/24 nhid 7 proto 250");
    let look = || host.sh("ip nexthop; ip rule; ip route show table all").ok().stdout;
    let theirs = |text: String| -> Vec<String> {
        let ours = |line: &&str| !line.contains("250.") && !line.contains("fan-") && line.contains("250");
        text.lines().filter(ours).map(String::from).collect()
    };
    let before = theirs(look());
    assert_eq!(before.len(), 5, "{before:#?}");
    host.fanctl(UP).ok();
    host.fanctl("doctor --fix");
    host.fanctl("down -e").ok();
    assert_eq!(theirs(look()), before);
}

/// A directory of programs that write down their arguments, one a line.
#[track_caller]
fn recorders(host: &Host, programs: &[&str]) -> &'static str {
    host.sh("mkdir -p /run/bin").ok();
    for program in programs {
        let path = format!("/run/bin/{program}");
        host.write(&path, "#!/bin/sh\nprintf '%s\\n' \"${0##*/}\" \"$@\" >>/run/said\n");
        host.sh(&format!("chmod +x {path}")).ok();
    }
    "PATH=/run/bin:$PATH"
}

/// A hook of this repository.
fn hook(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

const NAMES: [&str; 5] = ["-x", "--version", "$(>/run/ran)", "`>/run/ran`", ";>/run/ran;"];

fn hooks_take_no_name_for_an_option_or_a_command() {
    let (host, _lan) = a_host();
    let path = recorders(&host, &["systemctl", "systemd-escape", "logger"]);
    for name in NAMES {
        for run in [
            format!("{path} IFACE='{name}' sh {}", hook("systemd/networkd-dispatcher")),
            format!("{path} sh {} '{name}' up", hook("NetworkManager/dispatcher")),
        ] {
            // The first call is asked whether the unit is active.
            host.sh("rm -f /run/said; printf '#!/bin/sh\\n[ $1 = is-active ] && echo active\\n' >/run/bin/systemctl")
                .ok();
            host.sh(&run).ok();
            let said = host.sh("cat /run/said").ok().stdout;
            let escaped = format!("systemd-escape\n--template=fan@.service\n--\n{name}\n");
            assert!(said.contains(&escaped), "{said}");
        }
    }
    host.sh("test ! -e /run/ran").ok();
}

fn ifupdown_takes_no_option_for_a_command() {
    let (host, _lan) = a_host();
    let path = recorders(&host, &["fanctl"]);
    for name in NAMES {
        host.sh("rm -f /run/said").ok();
        let overlay = "250.0.0.0/8 $(>/run/ran) * `>/run/ran`";
        host.sh(&format!(
            "cd / && {path} MODE=start IFACE='{name}' IF_FAN_OVERLAY='{overlay}' IF_FAN_OPTIONS='--mtu 1300 ;>/run/ran' sh {}",
            hook("ifupdown/fanctl")
        ))
        .ok();
        let said = host.sh("cat /run/said").ok().stdout;
        let first = format!("fanctl\nup\n250.0.0.0/8\n{name}/16\n--force\n--mtu\n1300\n;>/run/ran\n");
        assert!(said.starts_with(&first) && said.contains("\nup\n*\n"), "{said}");
        assert!(said.ends_with(&format!("fanctl\nup\n--all\n--dev\n{name}\n")), "{said}");
    }
    host.sh("test ! -e /run/ran").ok();
}
