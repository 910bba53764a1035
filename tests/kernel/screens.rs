//! What commands say to a person: short, the answer first, and with the names of what is meant.

use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::case::{Case, Cases};
use crate::fixture::Pair;
use crate::named;
use crate::support::{Encap, Host, Lan};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("screens")
        .only_ipip_in_tier_3()
        .each(named![
            show_tells_of_a_damaged_fan_on_standard_error,
            show_long_has_what_comes_next,
            down_takes_what_show_takes,
            trace_tells_the_verdict_first,
            up_saves_the_fan,
            metrics_are_in_the_format_of_prometheus,
        ])
        .once(named![bash_offers_what_is_there])
        .list()
}

fn show_tells_of_a_damaged_fan_on_standard_error(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(encap);
    let whole = host.fanctl("show").ok();
    assert_eq!(whole.stderr, "");
    let tunnel = encap.tunnel();
    for (damage, fault) in [
        (format!("tc filter del dev {tunnel} egress"), format!("egress filter of '{tunnel}' is missing")),
        ("nft flush table ip fan-250.0.0.0/8".into(), "nftables tables 'fan-250.0.0.0/8' differs".into()),
        ("ip route del unreachable 250.0.0.0/8".into(), "unreachable route '250.0.0.0/8' is missing".into()),
    ] {
        host.exec(&damage).ok();
        let damaged = host.fanctl("show").ok();
        assert_eq!(damaged.stdout, whole.stdout, "the table is that of 2015");
        assert_eq!(damaged.stderr.lines().count(), 1, "{damaged}");
        damaged.stderr_has(&["fan 250.0.0.0/8 is not as it should be: ", &fault, "see: fanctl doctor fan-250-0-28"]);
        host.fanctl("show -l").ok().stdout_has(&[" broken\n"]).stderr_has(&[&fault]);
        host.fanctl("doctor --fix").ok();
    }
    assert_eq!(host.fanctl("show").ok().stderr, "");
    host.down();
    host.fanctl("show").ok().stderr_has(&["fanctl: no fan is up; begin with: fanctl up --help"]);
}

fn show_long_has_what_comes_next(encap: Encap) {
    let Pair { a, ca, .. } = &Pair::new(encap);
    let mtu = 1500 - encap.overhead();
    let header = "Bridge           Slice                Gateway          MTU    Encap  Containers  Health\n";
    let row = format!(
        "fan-250-0-28     250.0.28.0/24        250.0.28.1       {mtu}   {:6} 1           ok\n",
        encap.to_string()
    );
    let mut command = Command::new("sh");
    // A name that would move the cursor.
    command.args(["-c", "printf 'a\\033[2Jb' >/proc/$$/comm; read wait"]);
    let mut child = ca.spawn_with(command, std::process::Stdio::piped());
    let port = format!("  con0 (pid {} a\\x1b[2Jb)\n", child.id());
    crate::support::eventually("the process has its name", || {
        let shown = a.fanctl("show --long").ok();
        (shown.stdout == format!("{header}{row}{port}")).then_some(())
    });
    // A bridge that cannot go says the same of what keeps it.
    a.fanctl("down 250 eth0").refused().stderr_has(&["a container: ", port.trim()]);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).expect("a process");
    child.wait().expect("its end");
    let vacant = a.fanctl("show -l").ok();
    assert!(!vacant.stdout.contains("1b[2Jb"), "{vacant}");
    a.fanctl("show -l --json").exits(2);
}

fn down_takes_what_show_takes(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let is_up = || host.devices().contains(&"fan-250-0-28".to_string());
    for named in ["fan-250-0-28", "250.0.0.0/8", "250", "-o 250"] {
        host.up(encap);
        host.fanctl("down fan-250-0-27").failed().stderr_has(&["fan 'fan-250-0-27' is not up", "fanctl show"]);
        assert!(is_up());
        host.fanctl(&format!("down {named}")).ok().stdout_has(&["fan 250.0.0.0/8 is down"]);
        assert!(!is_up(), "{named}");
    }
    host.fanctl("down 250").ok().stdout_has(&["down already"]);
}

fn trace_tells_the_verdict_first(encap: Encap) {
    let Pair { a, .. } = &Pair::new(encap);
    let first = |host: &Host, lines: usize| {
        let output = host.fanctl("trace --wait 3 250.0.27.1");
        assert_eq!(output.stderr, "", "{output}");
        output.stdout.lines().take(lines).map(str::to_string).collect::<Vec<_>>()
    };
    assert!(first(a, 1)[0].starts_with("verdict: gateway 250.0.27.1 answers"));
    a.exec(&format!("tc filter del dev {} egress", encap.tunnel())).ok();
    let found = first(a, 3);
    assert!(found[0].starts_with("verdict: ") && found[2].starts_with(" 1  fan "), "{found:#?}");
    // What doctor prints too, and what works.
    assert_eq!(found[1], "next: fanctl doctor fan-250-0-28 --fix");
    a.fanctl("doctor fan-250-0-28").failed().stdout_has(&["fanctl doctor fan-250-0-28 --fix"]);
    a.fanctl("doctor fan-250-0-28 --fix").ok();
    assert!(first(a, 1)[0].starts_with("verdict: gateway 250.0.27.1 answers"));
}

fn up_saves_the_fan(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let words = encap.words();
    let text = || host.run(|| std::fs::read_to_string("/run/fan.toml")).expect("a file");
    host.write("/run/fan.toml", "# mine\n");
    let save = |more: &str| host.fanctl(&format!("up 250 eth0 {words} {more} --save --config /run/fan.toml"));
    save("").ok().stdout_has(&["fan-250-0-28 is up", "/run/fan.toml is written"]);
    assert!(text().starts_with("# mine\n\n[[fan]]\noverlay = \"250.0.0.0/8\"\n"), "{}", text());
    host.fanctl("status --config /run/fan.toml").ok();
    host.fanctl("show").ok().stdout_has(&[" auto"]);
    host.write("/run/fan.toml", &format!("{}follow = true # kept\n", text()));
    save("--mtu 1400").ok();
    assert!(text().contains("mtu = 1400") && text().contains("follow = true # kept"), "{}", text());
    host.fanctl("status --config /run/fan.toml").ok();
    save("--mtu 1400").ok().stdout_has(&["nothing to do", "/run/fan.toml is as it should be"]);
    // What cannot be written is told before anything is touched.
    host.write("/run/fan.toml", "[[fan]\n");
    host.unchanged(|| save("--mtu 1300").exits(2));
    host.fanctl("up 251 eth0 --save --config /run/fan").exits(2).stderr_has(&["no TOML file"]);
    host.fanctl("up 251 eth0 --save --dry-run").exits(2);
}

fn metrics_are_in_the_format_of_prometheus(encap: Encap) {
    let Pair { a, .. } = &Pair::new(encap);
    let page = a.fanctl("metrics").ok().stdout;
    let overlay = "{overlay=\"250.0.0.0/8\"}";
    for line in [
        format!("fanctl_complete{overlay} 1"),
        format!("fanctl_mtu_bytes{overlay} {}", 1500 - encap.overhead()),
        format!("fanctl_ports{overlay} 1"),
    ] {
        assert!(page.lines().any(|found| found == line), "no {line}: {page}");
    }
    // Each line is a comment, or a name, labels and a number, and each name has its type once.
    let mut types = std::collections::BTreeSet::new();
    for line in page.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(types.insert(name.to_string()) && ["gauge", "counter"].contains(&kind), "{line}");
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let name = name.split('{').next().unwrap_or_default();
            assert!(types.contains(name) && value.parse::<u64>().is_ok(), "{line}");
        }
    }
    let ca = a.attach("fan-250-0-28", "con9", 1400);
    ca.ip("addr add 250.0.99.9/8 dev eth0");
    ca.exec("ping -c 1 -W 0.2 -I 250.0.99.9 250.0.28.1");
    let page = a.fanctl("metrics").ok().stdout;
    assert!(page.contains("fanctl_refused_packets_total{overlay=\"250.0.0.0/8\",rule=\""), "{page}");
    // Into a file: in silence, and in no other's place.
    for _ in 0..2 {
        a.fanctl("metrics -o /run/fan.prom").ok().silently();
    }
    assert!(a.run(|| std::fs::read_to_string("/run/fan.prom")).expect("a file").starts_with("# HELP fanctl_"));
    a.write("/run/other.prom", "node_load1 3\n");
    a.fanctl("metrics -o /run/other.prom").refused().stderr_has(&["holds no metrics of fanctl"]);
}

/// What bash would offer. A name that a shell could take for a command is not offered, and not run.
fn bash_offers_what_is_there() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(Encap::Vxlan).ok();
    host.write("/run/complete", &host.fanctl("completions bash").ok().stdout);
    host.ip("link add name $(id>x) type bridge");
    let offered = |words: &[&str]| {
        let [.., before, current] = words else { panic!("too few words") };
        let line = format!("'{}'", words.join("' '"));
        let last = words.len() - 1;
        let script = format!(
            "cd /run; . /run/complete; COMP_WORDS=({line}); COMP_CWORD={last}; _fanctl_with_names fanctl '{current}' '{before}'; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        host.write("/run/asks", &script);
        let output = host.exec("bash /run/asks").ok();
        output.stdout.lines().map(String::from).collect::<Vec<_>>()
    };
    for verb in ["show", "doctor", "down"] {
        assert_eq!(offered(&["fanctl", verb, "f"]), ["fan-250-0-28"], "{verb}");
    }
    assert_eq!(offered(&["fanctl", "up", "250.0.0.0/8", "et"]), ["eth0"]);
    assert_eq!(offered(&["fanctl", "up", "-a", "--dev", "et"]), ["eth0"]);
    assert_eq!(offered(&["fanctl", "up", "--encap", ""]), ["ipip", "vxlan", "wireguard"]);
    assert!(offered(&["fanctl", "up", "250", ""]).iter().all(|word| !word.contains('$')));
    assert_ne!(host.exec("test -e /run/x").code, Some(0), "a name was run");
}
