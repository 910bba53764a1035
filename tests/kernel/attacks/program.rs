//! What a user, a container or another program leaves in the way of `fanctl`: files, directories, names, an environment.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Host, Lan, NOBODY, eventually};

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
            what_has_some_of_our_marks_stays,
            another_users_daemon_of_names_is_not_believed,
            what_is_replaced_is_a_name_and_no_other_file,
            an_engine_that_says_anything_gives_no_name_that_is_none,
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

/// Beside a fan and without one: each has a mark of ours, or our shape, and not all of both.
fn what_has_some_of_our_marks_stays() {
    let (host, _lan) = a_host();
    host.ip(
        "link add br7 type bridge\n link set br7 up alias 'fan 250.0.0.0/8 172.30.0.28/16 dev eth0 vxlan host-reserve 1 auto x'\n \
         address add 10.77.0.1/24 dev br7\n link add vx7 type vxlan external dstport 5556\n \
         link set vx7 up alias 'fan tunnel 252.0.0.0/8'\n link add fan-252-0-28 address 02:fa:fc:00:1c:00 type bridge\n \
         route add 252.9.0.0/16 dev br7 proto 250\n route add blackhole 10.79.0.0/16 metric 4278198272 proto 250\n \
         route add unreachable 251.0.0.0/8 metric 4278198272 proto static\n route add 251.1.0.0/16 dev br7 table 88\n \
         rule add pref 1000 to 251.0.0.0/8 lookup 88\n rule add pref 999 to 251.0.0.0/8 lookup 88 proto 250\n \
         rule add pref 1000 to 251.0.0.0/8 fwmark 1 lookup 88 proto 250",
    );
    host.exec("tc qdisc add dev vx7 clsact").ok();
    for line in [
        "table inet fan-251.0.0.0/8",
        "chain inet fan-251.0.0.0/8 guard",
        "table ip fan-251.0.0.0/8x",
        "table ip filter",
    ] {
        host.exec(&format!("nft add {line}")).ok();
    }
    host.exec("nft add chain ip filter FORWARD { type filter hook forward priority 0 ; }").ok();
    let rule = "iifname fan-250-0-28 ip saddr 192.0.2.1 accept comment \"fan 250.0.0.0/8\"";
    host.sh(&format!("nft 'add rule ip filter FORWARD {rule}'")).ok();
    let seen = || {
        let listed = host.sh(
            "for device in br7 vx7 fan-252-0-28; do ip -j -d link show $device; done | grep -o '\"ifalias[^,]*\\|\"ifname[^,]*\\|\"mtu[^,]*'; \
             ip -4 address show br7; tc qdisc show dev vx7; ip route show table 88; \
             ip route | grep '252.9\\|10.79\\|unreachable 251'; ip rule | grep 88; nft list ruleset inet; nft list table ip fan-251.0.0.0/8x; \
             nft list table ip filter | grep 192.0.2.1",
        );
        listed.ok().stdout
    };
    let before = seen();
    for words in [
        "down -e",
        "down -a",
        "doctor --fix",
        "down 252.0.0.0/8",
        "down br7",
        "down 251.0.0.0/8",
        UP,
        "doctor --fix",
        "reload",
        "up 250.0.0.0/8 eth0/16 --encap vxlan --mtu 1300",
        "up 251.0.0.0/8 eth0/16 --encap vxlan --force",
        "up 252.0.0.0/8 eth0/16 --encap vxlan --force",
        "down -e",
    ] {
        let output = host.fanctl(words);
        assert_eq!(seen(), before, "{words}: {output}");
    }
    assert!(before.contains("252.9.0.0/16") && before.contains("192.0.2.1"), "{before}");
}

fn another_users_daemon_of_names_is_not_believed() {
    let (host, _lan) = a_host();
    host.fanctl(&format!("{UP} --names")).ok();
    let program = Host::program();
    for made in ["mkdir /run/fan && chown 65534 /run/fan", "mkdir /run/theirs && ln -s /run/theirs /run/fan"] {
        host.sh(&format!("rm -rf /run/fan && {made}")).ok();
        host.sh(&format!("timeout 300 {program} names serve")).exits(1).stderr_has(&["'/run/fan'", "mv /run/fan"]);
        for words in ["names list", "names hosts", "names add web 250.0.28.9"] {
            host.fanctl(words).failed().stderr_has(&["'/run/fan'", "mv /run/fan"]);
        }
        let told = host.fanctl("doctor").exits(1);
        assert!(told.stdout.contains("'/run/fan'"), "{told}");
    }
    assert_eq!(host.sh("ls /run/theirs").ok().stdout, "");
}

fn what_is_replaced_is_a_name_and_no_other_file() {
    let (host, _lan) = a_host();
    host.fanctl(UP).ok();
    host.sh("chmod 755 /run; mkdir -m 1777 /run/open; echo kept >/run/target; ln /run/target /run/open/second").ok();
    host.fanctl("export docker -o /run/open/second").refused();
    host.fanctl("export docker -o /run/open/second --force").ok();
    // Where a key is written before it takes its name, another user has left something.
    host.fanctl("key generate /run/open/key").ok();
    host.exec(&format!("{NOBODY} ln -s /run/target /run/open/.key.new")).ok();
    host.fanctl("key add /run/open/key").ok();
    host.exec(&format!("{NOBODY} mkdir /run/open/.key.new")).ok();
    host.unchanged(|| host.fanctl("key add /run/open/key").refused());
    assert_eq!(host.sh("cat /run/target; stat -c %a /run/open/key").ok().stdout, "kept\n600\n");
}

/// Answers as an engine that somebody else writes the answers of: of each kind once, and of the last the names.
const ENGINE: &str = "\
import json, os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind('/run/engine.new')
listener.listen()
os.rename('/run/engine.new', '/run/engine.sock')
odd = [{'Id': '../../info'}, {'Id': ''}, {'Id': 'aa?x'}, {'Id': 'aa\\r\\nX'}, {'Id': 5}, [], None, {'Id': 'aa11'}]
networks = {'f': {'IPAddress': '250.0.28.7', 'Aliases': ['web', '\\n', '$(id)', '\\x1b[31m', 5, None]},
            'g': {'IPAddress': '250.0.27.7', 'Aliases': ['theirs']}, 'h': {'IPAddress': '127.0.0.1', 'Aliases': ['here']}, 'i': 5}
one = {'Id': 'aa11', 'Name': '/\\x1b[2J', 'Config': {'Labels': {'fan.name': 'a b,..,' + 'z' * 70 + ',ok'}},
       'NetworkSettings': {'Networks': networks}}
kind = sys.argv[1]
while True:
    stream, _ = listener.accept()
    request = b''
    while b'\\r\\n\\r\\n' not in request:
        request += stream.recv(4096)
    path = request.decode().split()[1]
    print(path, flush=True)
    head = b'HTTP/1.0 200 OK\\r\\n\\r\\n'
    try:
        if path.startswith('/events'):
            stream.sendall(head)
            events = stream
            continue
        if kind == 'deep':
            stream.sendall(head + b'[' * 1000000)
        elif kind == 'noise':
            stream.sendall(bytes(range(256)) * 100)
        else:
            stream.sendall(head + json.dumps(odd if path == '/containers/json' else one).encode())
    except OSError:
        pass
    stream.close()
";

fn an_engine_that_says_anything_gives_no_name_that_is_none() {
    let (host, _lan) = a_host();
    host.fanctl(&format!("{UP} --names")).ok();
    host.write("/run/engine.py", ENGINE);
    let start = |program: &str, words: &str| {
        let mut command = Command::new(program);
        command.args(words.split_whitespace()).stdout(Stdio::null());
        Running(host.spawn(command))
    };
    let _daemon = start(&Host::program(), "names serve");
    let list = || host.fanctl("names list --json");
    eventually("the daemon answers", || list().json_if_ok());
    for kind in ["deep", "noise", "odd"] {
        host.sh("rm -f /run/engine.sock").ok();
        let _engine = start("python3", &format!("/run/engine.py {kind}"));
        eventually("the engine listens", || host.sh("test -S /run/engine.sock").code.filter(|code| *code == 0));
        if kind != "odd" {
            let told = host.fanctl("names engine docker --socket /run/engine.sock").failed();
            assert!(told.stderr.lines().count() == 1 && told.stderr.len() < 200, "{told}");
            continue;
        }
        let _reader = start(&Host::program(), "names engine docker --socket /run/engine.sock");
        let names = eventually("names are passed on", || {
            let names = list().ok().json()["names"].as_array().expect("a list").clone();
            (!names.is_empty()).then_some(names)
        });
        let names: Vec<&str> = names.iter().map(|name| name["name"].as_str().expect("a name")).collect();
        assert_eq!(names, ["ok", "web"]);
    }
}

/// A process that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
