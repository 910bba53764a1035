//! `--help` tells every word and form.

use crate::program::fanctl;

#[track_caller]
fn help_of(verb: &str, parts: &[&str]) {
    for words in [format!("{verb} --help"), format!("help {verb}"), format!("{verb} -h")] {
        fanctl(&words).succeeds().prints_all_of(parts);
    }
}

#[test]
fn the_program_tells_its_verbs() {
    for words in ["--help", "help", "-h"] {
        fanctl(words)
            .succeeds()
            .prints_all_of(&["  up ", "  down ", "  reload ", "  status ", "  watch ", "  show "])
            .prints_all_of(&[
                "  metrics ",
                "  doctor ",
                "  trace ",
                "  export ",
                "  config ",
                "  map ",
                "  lab ",
                "  completions ",
            ]);
    }
    fanctl("--version").succeeds().prints("fanctl 0.1.0\n");
}

#[test]
fn up_tells_its_words_options_and_forms() {
    help_of(
        "up",
        &[
            "OVERLAY UNDERLAY [WORD]...",
            "250.0.0.0/8, or 250",
            "eth0/16 ",
            "172.30.0.28/16 ",
            "172.30.0.0/16 ",
            "default/16 ",
            "16 if not written",
            "  dhcp ",
            "  host-reserve N ",
            "  bridge NAME ",
            "  off ",
            "-o, --overlay",
            "-u, --underlay",
            "--dhcp",
            "--host-reserve <N>",
            "--bridge <NAME>",
            "--encap <ENCAP>",
            "ipip, vxlan or wireguard",
            "--mtu <N>",
            "--port <N>",
            "8472",
            "--table <N>",
            "--no-nat",
            "--routed <NETWORKS>",
            "--no-flowtable",
            "--fast",
            "--names",
            "--dry-run",
            "--json",
            "-v, --verbose",
            "-a, --all",
            "--dev <INTERFACE>",
            "--config <FILE>",
            "Exit status: 0 done, 1 failed",
            "2 usage or configuration, 3 refused",
        ],
    );
}

#[test]
fn the_verbs_of_the_configuration_tell_theirs() {
    help_of("reload", &["--config <FILE>", "--dry-run", "--json", "/etc/network/fan", "Exit status"]);
    help_of("status", &["--config <FILE>", "--json", "4 it is not"]);
    help_of("watch", &["--config <FILE>", "-v, --verbose", "follow", "SIGHUP", "Exit status"]);
    help_of("names", &["serve", "list", "hosts", "add", "remove", "Exit status"]);
    fanctl("names hosts --help").succeeds().prints_all_of(&["--wait <SECONDS>", "--json"]);
    help_of("config", &["check", "list", "convert", "/etc/fan.toml", "Exit status"]);
    fanctl("config list --help").succeeds().prints_all_of(&["--config <FILE>", "--json"]);
    fanctl("config convert --help").succeeds().prints_all_of(&["[FILE]", "/etc/network/fan"]);
    help_of("completions", &["bash", "zsh", "fish"]);
}

#[test]
fn doctor_tells_its_options_and_what_it_leaves_alone() {
    help_of(
        "doctor",
        &[
            "[BRIDGE|OVERLAY]",
            "--fix",
            "--json",
            "--config <FILE>",
            "It sends no packet",
            "Somebody else's firewall",
            "Exit status: 0 no check failed, 1 one did",
        ],
    );
}

#[test]
fn down_tells_its_options_and_forms() {
    help_of(
        "down",
        &[
            "fanctl down OVERLAY UNDERLAY",
            "fanctl down -a",
            "fanctl down -e",
            "-a, --all",
            "--dev <INTERFACE>",
            "-o, --overlay",
            "-u, --underlay",
            "-e, --everything",
            "--dry-run",
            "--json",
            "-v, --verbose",
            "Exit status",
        ],
    );
}

#[test]
fn export_tells_its_runtimes_and_options() {
    help_of(
        "export",
        &[
            "docker",
            "podman",
            "cni",
            "lxd",
            "libvirt",
            "flannel-env",
            "BRIDGE|OVERLAY",
            "--default-bridge",
            "--name <NAME>",
            "--config <FILE>",
            "-v, --verbose",
            "/etc/docker/daemon.json",
            "Exit status",
        ],
    );
}

#[test]
fn show_map_and_lab_tell_theirs() {
    help_of("show", &["BRIDGE|OVERLAY", "--json", "--program", "Exit status"]);
    help_of("map", &["<OVERLAY>", "<UNDERLAY>", "<ADDRESS>", "standard input", "--json", "Exit status"]);
    help_of(
        "lab",
        &["--hosts <N>", "2 to 16", "--containers <M>", "--encap <ENCAP>", "--keep", "--json", "-v, --verbose"],
    );
}
