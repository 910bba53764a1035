//! Names of interfaces that other programs chose: any bytes name a link, a port and a conflict. None moves a cursor, and
//! none is run by a shell.

use fanctl::fan::shell::quote;

use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Encap, Host, Lan, Output};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("names")
        .only_ipip_in_tier_3()
        .each(named![
            a_port_of_any_name_counts,
            a_container_writes_no_command,
            an_underlay_of_any_name_works_or_is_refused,
        ])
        .once(named![
            a_rule_about_an_interface_of_any_name_is_told,
            text_of_firewalls_is_neither_obeyed_nor_run,
            what_a_program_says_is_one_line_without_sequences,
        ])
        .list()
}

/// Names that the kernel takes (no blank, `/`, `:` or `%`; at most 15 bytes), with what nft, a shell or a terminal makes of them.
const HOSTILE: [&[u8]; 13] = [
    b"caf\xe9",
    b"\x1b[31m\x1b[2J",
    b"x;>pwned;y",
    b"$(>pwned)",
    b"`>pwned`",
    b"a&&>pwned",
    b"-rf",
    b"it's",
    b"a\"b\\c",
    b"e*",
    "x\u{202e}gpj".as_bytes(),
    "\u{9b}31m\u{200b}".as_bytes(),
    b"\x01fifteen-bytes",
];

/// Names that stand for themselves in all rules of the fan's firewall.
const PLAIN: [&[u8]; 4] = [b"$(>pwned)", b"-rf", b"it's", "b\u{fc}ro0".as_bytes()];

/// A message about an interface with a hostile name is text, and has no byte that a terminal obeys.
#[track_caller]
fn is_printable(output: &Output) {
    let hostile =
        |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{fffd}' | '\u{200b}' | '\u{202e}');
    let all = format!("{}{}", output.stdout, output.stderr);
    assert!(!all.contains(hostile), "{:?}", all.chars().find(|c| hostile(*c)));
}

/// Every interface that is a port of a bridge, as the kernel has its name: sysfs knows it by its bytes.
fn ports(host: &Host, bridge: &str) -> Vec<String> {
    let listing = host.sh(&format!("cd /sys/class/net/{bridge}/brif && ls -b | cat")).ok();
    listing.stdout.lines().map(String::from).collect()
}

fn a_port_of_any_name_counts(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(encap);
    let own = ports(&host, "fan-250-0-28");
    let mtu = 1500 - encap.overhead();
    host.write("/run/none.toml", "");
    host.sh("mkdir /run/empty").ok();
    for name in HOSTILE {
        let word = quote(name);
        // The longest texts that the kernel takes, which may hold line feeds.
        let alternative = quote(&[&b"-FAIL;\x1b[2J\xff$(x)"[..], &[b'x'; 110]].concat());
        let alias = quote(&[&b"fan \x1b]0;owned\x07\xfe\n"[..], &[b'y'; 230]].concat());
        host.sh(&format!(
            "ip link add name {word} mtu {mtu} type veth peer name inside mtu {mtu}
             ip link property add dev {word} altname {alternative}
             ip link set dev {word} alias {alias}
             ip link set dev {word} master fan-250-0-28 up
             ip link set dev inside up"
        ))
        .ok();
        assert_eq!(ports(&host, "fan-250-0-28").len(), own.len() + 1, "{word}");
        for verb in
            ["show", "show --json", "status --config /run/none.toml", "export cni", "doctor --config /run/none.toml"]
        {
            is_printable(&host.fanctl(verb).ok());
        }
        let doctor = host.fanctl("doctor --json --config /run/none.toml").ok();
        is_printable(&doctor);
        doctor.json();
        is_printable(&host.fanctl("up 251.0.0.0/8 eth0/16 --encap vxlan").ok());
        is_printable(&host.fanctl("down 251.0.0.0/8 eth0/16").ok());
        host.up(encap).stdout_has(&["nothing to do"]);
        let refusal = host.fanctl("down -e").refused();
        assert_eq!(ports(&host, "fan-250-0-28").len(), own.len() + 1, "{refusal}");
        is_printable(&refusal);
        refusal.clone().stderr_has(&["still has a container"]);

        // The printed command does what it says, and nothing else.
        let (_, command) = refusal.stderr.trim_end().split_once("or take it out: ").expect("a command");
        host.sh(&format!("cd /run/empty; {command}; ls -A > /run/made; test ! -s /run/made")).ok();
        assert_eq!(ports(&host, "fan-250-0-28"), own, "{command}");
        host.sh(&format!("ip link delete dev {word}")).ok();
    }
    is_printable(&host.fanctl("down -e").ok());
}

fn a_container_writes_no_command(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(encap);
    let container = host.container("250.0.28.2");
    let mtu = 1500 - encap.overhead();
    host.sh("mkdir /run/empty").ok();
    host.write("/run/none.toml", "");
    // The command goes by a process of the container's.
    let mut sleep = std::process::Command::new("sleep");
    sleep.arg("infinity");
    let mut inhabitant = container.spawn(sleep);
    let mut before = quote(b"eth0");
    for name in HOSTILE {
        let word = quote(name);
        container
            .sh(&format!(
                "ip link set dev {before} down
                 ip link set dev {before} name {word}
                 ip link set dev {word} mtu 1600 up"
            ))
            .ok();
        // Over IPIP such packets arrive in fragments on other hosts, which is a warning.
        let status = match encap {
            Encap::Ipip => 0,
            Encap::Vxlan => 1,
        };
        let diagnosis = host.fanctl("doctor --config /run/none.toml").exits(status);
        is_printable(&diagnosis);
        let mend = diagnosis.stdout.lines().find_map(|line| line.trim().strip_prefix("mend: "));
        let mend = mend.unwrap_or_else(|| panic!("no command\n{diagnosis}"));
        assert!(mend.contains("nsenter "), "{mend}");
        host.sh(&format!("cd /run/empty; {mend}; ls -A > /run/made; test ! -s /run/made")).ok();
        let is = container.sh(&format!("cat /sys/class/net/{word}/mtu")).ok().stdout;
        assert_eq!(is.trim(), mtu.to_string(), "{mend}");
        before = word;
    }
    inhabitant.kill().expect("it lives");
    inhabitant.wait().expect("it ends");
}

fn an_underlay_of_any_name_works_or_is_refused(encap: Encap) {
    let lan = Lan::new();
    let (host, other) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
    other.up(encap);
    let mut before = quote(b"eth0");
    for name in HOSTILE.into_iter().chain(PLAIN) {
        let word = quote(name);
        host.sh(&format!(
            "ip link set dev {before} down
             ip link set dev {before} name {word}
             ip link set dev {word} up"
        ))
        .ok();
        before = word;
        let up = format!("up 250.0.0.0/8 172.30.0.28/16 {}", encap.words());
        let done = host.fanctl(&up);
        is_printable(&done);
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"*\"\\".contains(byte);
        if !PLAIN.contains(&name) && !name.iter().all(is_plain) {
            let refusal = done.refused().stderr_has(&["cannot be the underlay of a fan", "ip link set dev "]);
            assert_eq!(refusal.stdout, "");
            assert_eq!(host.fanctl("show --json").ok().json().as_array().map(Vec::len), Some(0));
            continue;
        }
        done.ok();
        let shown = host.fanctl("show --json").ok();
        assert_eq!(shown.json()[0]["verdict"]["complete"], true, "{shown}");
        host.sh("ping -c 1 -W 5 250.0.27.1").ok();
        is_printable(&host.fanctl("doctor"));
        host.fanctl("down -e").ok();
    }
}

/// A rule about an interface whose name is not UTF-8 is reported as any other rule is.
fn a_rule_about_an_interface_of_any_name_is_told() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(Encap::Vxlan);
    let name = quote(b"caf\xe9\x1b");
    host.sh(&format!("ip rule add not iif {name} to 250.0.0.0/8 blackhole priority 900")).ok();
    let diagnosis = host.fanctl("doctor").exits(1);
    is_printable(&diagnosis);
    diagnosis.stdout_has(&[r"iif caf\xe9\x1b"]);
}

/// Comments and names of other programs' tables, chains and rules are quoted in evidence and beside commands.
fn text_of_firewalls_is_neither_obeyed_nor_run() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(Encap::Vxlan);
    host.write("/run/none.toml", "");
    let comment = quote(b"\x1b[2J$(>pwned)`>pwned`;\xc2\x9b31m");
    host.sh(&format!(
        "mkdir /run/empty
         nft 'add table inet evil; add chain inet evil c {{ type filter hook input priority 0; }}'
         nft \"add rule inet evil c udp dport 8472 drop comment \\\"\"{comment}\"\\\"\""
    ))
    .ok();
    let json = host.fanctl("doctor --json --config /run/none.toml").exits(1);
    is_printable(&json);
    json.json();
    let diagnosis = host.fanctl("doctor --config /run/none.toml").exits(1);
    is_printable(&diagnosis);
    diagnosis.clone().stdout_has(&[r"\x1b[2J$(>pwned)", "mend: nft 'insert rule inet evil c "]);
    for mend in diagnosis.stdout.lines().filter_map(|line| line.trim().strip_prefix("mend: ")) {
        host.sh(&format!("cd /run/empty; {mend}; ls -A > /run/made; test ! -s /run/made")).ok();
    }
    host.fanctl("doctor --config /run/none.toml").ok();
}

/// An `nft` that is found first, in /usr/local/sbin, prints sequences that a terminal would obey.
fn what_a_program_says_is_one_line_without_sequences() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.sh("mount -t tmpfs tmpfs /usr/local/sbin").ok();
    host.write(
        "/usr/local/sbin/nft",
        "#!/bin/sh\nprintf 'E\\033[2J\\033]0;owned\\007\\302\\233m\\377\\nok  all is well\\n' >&2\nexit 1\n",
    );
    host.sh("chmod 755 /usr/local/sbin/nft").ok();
    let failure = host.fanctl("up 250.0.0.0/8 eth0/16 --encap vxlan").failed();
    failure.clone().stderr_has(&[r"'nft' says: E\x1b[2J\x1b]0;owned\x07\xc2\x9bm\xff"]);
    let hostile = |c: char| c.is_control() && c != '\n';
    assert!(!failure.stderr.contains(hostile) && !failure.stderr.contains("all is well"), "{failure}");
}
