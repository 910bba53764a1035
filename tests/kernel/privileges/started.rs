//! The programs that `fanctl` starts have the privileges that they need and no more; with every environment it starts no
//! others.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::status::{Status, bit};
use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Host, Lan};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("privileges")
        .once_with(
            &[Need::Tier2],
            named![
                a_server_has_what_it_needs,
                a_tool_has_what_it_needs_and_no_environment,
                programs_are_not_looked_for_where_the_environment_says,
                nothing_else_is_started_and_no_shell,
            ],
        )
        .list()
}

fn a_server_has_what_it_needs() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let mut command = Command::new(Host::program());
    command.args("up 250.0.0.0/8 eth0/16 --encap vxlan --dhcp".split_whitespace());
    command.env("SECRET", "of the caller");
    host.execute(command).ok();
    let servers = host.dnsmasqs();
    assert_eq!(servers.len(), 1, "{servers:?}");
    let pid = servers[0].0.as_raw().unsigned_abs();
    let status = Status::of(pid);
    for set in ["CapPrm", "CapEff"] {
        assert_eq!(status.set(set) & !bit::DNSMASQ, 0, "{}", status.0);
    }
    assert_eq!(status.set("CapBnd"), bit::CHANGING | bit::SYS_ADMIN);
    status.gains_nothing();
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).expect("an environment");
    let variables: Vec<&str> = environment.split_terminator('\0').collect();
    assert!(variables.len() == 1 && variables[0].starts_with("PATH=/usr/local/sbin:"), "{variables:?}");
    host.fanctl("down -e").ok();
}

/// On this host a script stands in the place of `nft`: it writes down its privileges, then executes `nft`.
fn a_tool_has_what_it_needs_and_no_environment() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.sh("nft=$(readlink -f \"$(command -v nft)\")
         touch /run/real /run/wrapper
         mount --bind \"$nft\" /run/real
         printf '#!/bin/sh\\n{ cat /proc/$$/status; cat /proc/$$/environ | tr \"\\\\0\" \"\\\\n\"; } >>/run/said\\n\
exec /run/real \"$@\"\\n' >/run/wrapper
         chmod 755 /run/wrapper
         mount --bind /run/wrapper \"$nft\"")
        .ok();
    let mut command = Command::new(Host::program());
    command.args("up 250.0.0.0/8 eth0/16 --encap vxlan".split_whitespace());
    command.env("SECRET", "of the caller").env("XTABLES_LIBDIR", "/run");
    host.execute(command).ok();
    let said = host.run(|| fs::read_to_string("/run/said")).expect("what nft may do");
    let calls: Vec<&str> = said.split("Name:").skip(1).collect();
    assert!(!calls.is_empty(), "{said}");
    for call in calls {
        let status = Status(call.into());
        assert_eq!(["CapPrm", "CapEff"].map(|set| status.set(set)), [bit::NET_ADMIN; 2], "{call}");
        status.gains_nothing();
        let variables: Vec<&str> = call.lines().filter(|line| line.contains('=')).collect();
        // A shell adds variables of its own.
        let ours = variables.iter().filter(|line| !line.starts_with("PWD=") && !line.starts_with("SHLVL="));
        assert!(ours.eq([&format!("PATH={}", fanctl::kernel::exec::PATH)]), "{variables:?}");
    }
}

fn programs_are_not_looked_for_where_the_environment_says() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.run(|| {
        fs::create_dir("/run/hostile").expect("a directory");
        for program in ["nft", "dnsmasq", "sh", "modprobe"] {
            let file = format!("/run/hostile/{program}");
            fs::write(&file, "#!/bin/bash\necho \"$0 $*\" >>/run/caught\nexit 1\n").expect("a program");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("its mode");
        }
    });
    let run = |path: &str, program: &str, words: &str| {
        let mut command = Command::new(program);
        command.args(words.split_whitespace()).env("PATH", path);
        host.execute(command)
    };
    for path in ["/run/hostile", "/run/hostile:/usr/sbin:/usr/bin", "hostile", ""] {
        for words in ["up 250.0.0.0/8 eth0/16 --encap vxlan --dhcp", "show --json", "down -e"] {
            run(path, &Host::program(), words).ok();
        }
    }
    let caught = || host.run(|| fs::read_to_string("/run/caught").ok());
    assert_eq!(caught(), None);
    // A shell that searches this PATH does run them.
    run("/run/hostile", "/bin/sh", "-c nft").exits(1);
    assert!(caught().is_some_and(|line| line.contains("nft")));
}

fn nothing_else_is_started_and_no_shell() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.write("/run/fan.toml", "[[fan]]\noverlay = \"251.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"vxlan\"\n");
    let verbs = [
        "up 250.0.0.0/8 eth0/16 --encap vxlan --dhcp",
        "show --json",
        "reload --config /run/fan.toml",
        "status --config /run/fan.toml",
        "export docker 251.0.0.0/8",
        "config check --config /run/fan.toml",
        "map 250.0.0.0/8 172.30.0.0/16 250.0.27.3",
        "completions bash",
    ];
    // In a shell that ends the started server in every case: strace waits for all processes.
    let fanctl = Host::program();
    let lines = verbs.map(|words| format!("{fanctl} {words} >/dev/null\n")).concat();
    let script = format!("trap '{fanctl} down -e' EXIT\nset -eu\n{lines}");
    let mut command = Command::new("strace");
    command.args("--follow-forks --quiet=all --trace=execve,execveat --output=/run/trace sh -c".split(' '));
    command.arg(script);
    host.execute(command).ok();
    let trace = host.run(|| fs::read_to_string("/run/trace")).expect("a trace");
    let started = trace.lines().filter_map(|line| line.split_once("exec")?.1.split('"').nth(1));
    let mut started = started.map(|file| file.rsplit('/').next().unwrap_or_default());
    assert_eq!(started.next(), Some("sh"), "{trace}");
    let counted = started.fold(BTreeMap::<&str, usize>::new(), |mut counted, name| {
        *counted.entry(name).or_default() += 1;
        counted
    });
    let names: Vec<&str> = counted.keys().copied().collect();
    assert_eq!(names, ["dnsmasq", "fanctl", "nft"]);
    assert_eq!((counted["dnsmasq"], counted["fanctl"]), (1, verbs.len() + 1));
}
