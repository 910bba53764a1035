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
            .prints_all_of(&["  up ", "  down ", "  show ", "  map ", "  lab "]);
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
            "ipip or vxlan",
            "--mtu <N>",
            "--port <N>",
            "8472",
            "--table <N>",
            "--no-nat",
            "--dry-run",
            "--json",
            "-v, --verbose",
            "Exit status: 0 done, 1 failed",
            "2 usage, 3 refused",
        ],
    );
}

#[test]
fn down_tells_its_options_and_forms() {
    help_of(
        "down",
        &[
            "fanctl down OVERLAY UNDERLAY",
            "fanctl down -e",
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
fn show_map_and_lab_tell_theirs() {
    help_of("show", &["BRIDGE|OVERLAY", "--json", "--program", "Exit status"]);
    help_of(
        "map",
        &[
            "<OVERLAY>",
            "<UNDERLAY>",
            "<ADDRESS>",
            "standard input",
            "--json",
            "Exit status",
        ],
    );
    help_of(
        "lab",
        &[
            "--hosts <N>",
            "2 to 16",
            "--containers <M>",
            "--encap <ENCAP>",
            "--keep",
            "--json",
            "-v, --verbose",
        ],
    );
}
