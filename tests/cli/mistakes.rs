//! What a tired administrator types: exit status 2, and one line that quotes it and says what to do.

use clap::{Arg, CommandFactory};
use fanctl::cli::args::Cli;
use fanctl::fan::options::{KEYS, OptionKind};

use crate::program::{fanctl, with};

/// What is typed, and all of the answer.
const TRANSCRIPT: &str = "\
$ fanctl
fanctl: the verb is missing; it is one of up, down, reload, status, watch, show, metrics, doctor, trace, export, names, config, map, key, lab, completions; see: fanctl --help
$ fanctl ip
fanctl: verb 'ip' is unknown; it is one of up, down, reload, status, watch, show, metrics, doctor, trace, export, names, config, map, key, lab, completions; see: fanctl --help
$ fanctl -v up
fanctl: option '-v' stands before the command; options follow it; see: fanctl --help
$ fanctl up
fanctl: OVERLAY is missing; for example: fanctl up 250.0.0.0/8 eth0/16
$ fanctl up 250
fanctl: UNDERLAY is missing; for example: fanctl up 250.0.0.0/8 eth0/16
$ fanctl up -u nowhere0
fanctl: OVERLAY is missing; for example: fanctl up 250.0.0.0/8 eth0/16
$ fanctl up nowhere0/16 250
fanctl: overlay 'nowhere0/16' is no network; the overlay comes first: fanctl up 250 nowhere0/16
$ fanctl up 250 nowhere0/16 --dchp
fanctl: option '--dchp' is unknown; did you mean '--dhcp'? see: fanctl up --help
$ fanctl up 250 nowhere0/16 --at-once
fanctl: option '--at-once' is unknown; see: fanctl up --help
$ fanctl up 250 nowhere0/16 host-reserve
fanctl: 'host-reserve' lacks its value, a number from 1 to 254
$ fanctl up 250 nowhere0/16 host-reserve four
fanctl: host-reserve 'four' is no number from 1 to 254
$ fanctl up 250 nowhere0/16 --host-reserve +4
fanctl: host-reserve '+4' is no number from 1 to 254
$ fanctl up +250 nowhere0/16
fanctl: overlay '+250' is no network; write it like 250.0.0.0/8, or 250 for short
$ fanctl up 250.0.0.0/+8 nowhere0/16
fanctl: overlay '250.0.0.0/+8' is no IPv4 network; write it like 250.0.0.0/8
$ fanctl up 250 nowhere0/+16
fanctl: underlay 'nowhere0/+16' has no prefix length from 0 to 32 after the '/'
$ fanctl up 250 nowhere0/16 --host-reserve 0
fanctl: host-reserve '0' is no number from 1 to 254
$ fanctl up 250 nowhere0/16 --host-reserve
fanctl: option '--host-reserve' lacks its value; see: fanctl up --help
$ fanctl up 250 nowhere0/16 --encap gre
fanctl: encapsulation 'gre' is unknown; it is ipip, vxlan or wireguard
$ fanctl up 250 nowhere0/16 --mtu 9000b
fanctl: mtu '9000b' is no number from 576 to 65515
$ fanctl up 250 nowhere0/16 --mtu 500
fanctl: mtu '500' is no number from 576 to 65515
$ fanctl up 250 nowhere0/16 --encap vxlan --port 0
fanctl: port '0' is no number from 1 to 65535
$ fanctl up 250 nowhere0/16 --port 4789
fanctl: port 4789 is for vxlan and wireguard, and this fan is over ipip; choose encap vxlan or wireguard on all hosts, or leave the port out
$ fanctl up 250 nowhere0/16 --table main
fanctl: table 'main' is no number from 1 to 4294967295
$ fanctl up 250 nowhere0/16 --table 254
fanctl: table 254 is the kernel's own; leave the table out for the main one
$ fanctl up 250 nowhere0/16 bridge
fanctl: 'bridge' lacks its value, a name like \"fan0\"
$ fanctl up 250 nowhere0/16 --bridge docker-containers
fanctl: interface name 'docker-containers' is longer than 15 bytes
$ fanctl up 250 nowhere0/16 bridge a/b
fanctl: interface name 'a/b' holds a '/', ':', '%', blank or control character
$ fanctl up 250 nowhere0/16 --dry-run=yes
fanctl: option '--dry-run' takes no value, and 'yes' is one; see: fanctl up --help
$ fanctl up 250 -o 251 -o 252
fanctl: option '--overlay' is given twice; see: fanctl up --help
$ fanctl up 250 nowhere0/33
fanctl: underlay 'nowhere0/33' has no prefix length from 0 to 32 after the '/'
$ fanctl up 250 fd00::1/64
fanctl: underlay 'fd00::1/64' is IPv6; a fan is IPv4 only, like 172.30.0.0/16
$ fanctl down
fanctl: OVERLAY is missing; for example: fanctl down 250.0.0.0/8 eth0/16
$ fanctl down 250 nowhere0/16 dhcp
fanctl: unexpected argument 'dhcp'; down takes OVERLAY UNDERLAY, or a bridge
$ fanctl down 250 nowhere0/16 --dhcp
fanctl: option '--dhcp' is unknown; see: fanctl down --help
$ fanctl down --dry-run -e 250 nowhere0/16
fanctl: option '--everything' and OVERLAY UNDERLAY exclude each other; see: fanctl down --help
$ fanctl up 250 nowhere0/16 -a
fanctl: OVERLAY UNDERLAY and option '--all' exclude each other; see: fanctl up --help
$ fanctl up -a --dhcp
fanctl: option '--all' and option '--dhcp' exclude each other; see: fanctl up --help
$ fanctl up 250 nowhere0/16 --dev nowhere0
fanctl: option '--dev' goes with -a, which is about every fan of the configuration; add -a, or leave it out
$ fanctl up 250 nowhere0/16 --config nowhere.toml
fanctl: option '--config' goes with -a, which is about every fan of the configuration; add -a, or leave it out
$ fanctl down 250 nowhere0/16 --dev nowhere0
fanctl: option '--dev' goes with -a, which is about every fan of the configuration; add -a, or leave it out
$ fanctl down -a -e
fanctl: option '--all' and option '--everything' exclude each other; see: fanctl down --help
$ fanctl reload nowhere.toml
fanctl: unexpected argument 'nowhere.toml'; see: fanctl reload --help
$ fanctl config
fanctl: the verb is missing; it is one of check, list, convert; see: fanctl config --help
$ fanctl config chekc
fanctl: verb 'chekc' is unknown; it is one of check, list, convert; see: fanctl config --help
$ fanctl config check nowhere.toml
fanctl: unexpected argument 'nowhere.toml'; see: fanctl config check --help
$ fanctl config check --config nowhere.toml
fanctl: nowhere.toml: No such file or directory
$ fanctl config check --config /
fanctl: /: Is a directory
$ fanctl completions csh
fanctl: SHELL cannot be 'csh'; it is one of bash, elvish, fish, powershell, zsh; see: fanctl completions --help
$ fanctl show fan-250 fan-251
fanctl: unexpected argument 'fan-251'; see: fanctl show --help
$ fanctl show --json --program
fanctl: option '--json' and option '--program' exclude each other; see: fanctl show --help
$ fanctl map 250 172.30.0.0/16
fanctl: ADDRESS is missing; see: fanctl map --help
$ fanctl lab --hosts 1
fanctl: hosts '1' is no number from 2 to 16
$ fanctl lab down --keep --hosts 3
fanctl: option '--hosts' is about a lab that is to be built; leave it out, or: fanctl lab run
$ fanctl lab down --encap ipip
fanctl: option '--encap' is about a lab that is to be built; leave it out, or: fanctl lab run
$ fanctl lab up
fanctl: ACTION cannot be 'up'; it is one of run, down; see: fanctl lab --help
";

#[test]
fn a_slip_of_the_hand_gets_one_line() {
    let lines: Vec<&str> = TRANSCRIPT.lines().collect();
    for exchange in lines.chunks(2) {
        let words = exchange[0].strip_prefix("$ fanctl").expect("a prompt");
        fanctl(words).misused().prints("").complains(&format!("{}\n", exchange[1]));
    }
}

/// Whatever a single fan can be told, nobody tells all of them; `force` is about bringing up, and no property of a fan.
#[test]
fn no_option_of_one_fan_goes_with_all_of_the_configuration() {
    let cli = Cli::command();
    let up = cli.find_subcommand("up").expect("up");
    let mut told = 0;
    for key in &KEYS {
        let option = match key.kind {
            OptionKind::Switch => format!("no-{}", key.name),
            _ => key.name.to_string(),
        };
        let value = match (key.kind, key.name) {
            (OptionKind::Switch | OptionKind::Flag, _) => "",
            (_, "mtu") => "=1400",
            (_, "encap") => "=vxlan",
            (_, "key") => "=/etc/fan/key",
            (_, "hosts" | "exclude") => "=172.30.0.0/24",
            _ => "=250",
        };
        let is_an_option = |argument: &Arg| argument.get_long() == Some(&option);
        if up.get_arguments().any(is_an_option) && key.name != "force" {
            fanctl(&format!("up -a --{option}{value}")).misused().saying(&[
                "option '--all' and ",
                &option,
                " exclude each other",
            ]);
            told += 1;
        }
    }
    assert_eq!(told, KEYS.len() - ["peers", "follow", "force", "enabled"].len());
}

#[test]
fn a_wrong_word_is_answered_with_the_right_ones() {
    fanctl("up 250 nowhere0/16 dchp")
        .misused()
        .saying(&["word 'dchp' is unknown", "dhcp, host-reserve N, bridge NAME, off"]);
}

#[test]
fn a_word_and_an_option_that_differ_are_refused() {
    for words in ["host-reserve 4 --host-reserve 5", "bridge fan0 --bridge fan1"] {
        fanctl(&format!("up 250 nowhere0/16 {words}"))
            .misused()
            .saying(&["given twice, as a word and as an option, with different values"]);
    }
}

#[test]
fn a_mapping_that_cannot_be_is_found_before_the_host_is_looked_at() {
    for verb in ["up", "down"] {
        for (words, reason) in [
            ("172.30.0.0/16 250.0.0.0/8", "not wider"),
            ("250.0.0.0/8 172.30.0.28/8", "not wider"),
            ("250.0.0.0/8 nowhere0/8", "not wider"),
            ("250.0.0.0/15 default/16", "a /31, which has no room"),
            ("172.0.0.0/8 172.30.0.28/16", "overlap"),
        ] {
            fanctl(&format!("{verb} {words}")).misused().saying(&[reason]);
        }
    }
}

#[test]
fn what_the_host_keeps_must_leave_room_in_every_slice() {
    for (words, prefix, room) in [
        ("250.0.0.0/8 nowhere0/16 host-reserve 254", 24, 254),
        ("10.0.0.0/20 172.30.0.28/24 --host-reserve 14", 28, 14),
        ("10.0.0.0/20 default/22 host-reserve 2", 30, 2),
    ] {
        let words = format!("up {words} --dry-run");
        fanctl(&words)
            .misused()
            .saying(&["leaves no address for containers", &format!("is a /{prefix}, which has {room}")]);
    }
}

#[test]
fn whatever_is_quoted_the_complaint_is_one_line() {
    with(["up", "250\n251", "nowhere0"]).misused().saying(&["'250 251'"]);
    with(["up", "250", "nowhere0", "d\x1b[31mhcp"]).misused();
    with(["show", "\n"]).fails();
}

#[test]
fn a_fan_that_is_not_up_cannot_be_shown() {
    fanctl("show no-such-fan")
        .fails()
        .prints("")
        .complains("fanctl: fan 'no-such-fan' is not up; see which are: fanctl show\n");
    for form in ["--json", "--program"] {
        fanctl(&format!("show 203.0.113.0/24 {form}")).fails().saying(&["fan '203.0.113.0/24' is not up"]);
    }
}
