//! The grammar of 2015, the later one with dashes, and every mixture of the two ask for the same fan. Only the bridge that nobody
//! names has another name in the later one.

use clap::Parser;
use fanctl::cli::args::{Cli, Command};
use fanctl::config::{Configuration, Source};
use fanctl::fan::request::Request;

use crate::program::fanctl;

#[track_caller]
fn asked(words: &str) -> Request {
    let words = ["fanctl", "up"].into_iter().chain(words.split_whitespace());
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    let Command::Up(args) = cli.command else {
        panic!("up is up");
    };
    args.config().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn all_ways_to_write_a_fan_mean_the_same() {
    for ways in [
        &["250.0.0.0/8 eth0/16", "250 eth0", "250 eth0 host-reserve 1", "250 eth0 --encap ipip"][..],
        &[
            "-o 250.0.0.0/8 -u eth0/16",
            "-u eth0/16 -o 250.0.0.0/8",
            "--overlay=250.0.0.0/8 --underlay=eth0/16",
            "-o 250 eth0",
            "250 -u eth0",
            "-o 250 -u eth0 host-reserve 1",
            "-o 250 -u eth0 --encap ipip",
        ],
        &[
            "250.0.0.0/8 172.30.0.28/16 dhcp host-reserve 4 bridge fan0",
            "250.0.0.0/8 172.30.0.28/16 bridge fan0 host-reserve 4 dhcp",
            "-u 172.30.0.28/16 -o 250.0.0.0/8 --dhcp --host-reserve 4 --bridge fan0",
            "-u 172.30.0.28/16 -o 250.0.0.0/8 --dhcp --host-reserve=4 --bridge=fan0",
            "250 172.30.0.28 dhcp --host-reserve 4 bridge fan0",
            "250 172.30.0.28 --host-reserve 4 dhcp --bridge fan0",
            "-o 250 -u 172.30.0.28 dhcp host-reserve 4 bridge fan0",
            "250 172.30.0.28 dhcp --dhcp host-reserve 4 --host-reserve 4 bridge fan0 --bridge fan0",
        ],
        &[
            "250 eth0 --encap vxlan --mtu 1400 --port 4789 --table 99 --no-nat",
            "250 eth0 --encap=vxlan --no-nat -- --mtu=1400 --port 4789 --table=99",
            "-- 250 eth0 --encap vxlan --mtu 1400 --port 4789 --table 99 --no-nat",
        ],
        &["250 default/16 off", "250 default off"],
        &["-o 250 -u default/16 off", "off -o 250 -u default/16", "-o 250 -u default off"],
    ] {
        for way in ways {
            assert_eq!(asked(way), asked(ways[0]), "{way}");
        }
    }
}

/// A line of a file and a command line of one grammar are the same fan, its name included.
#[test]
fn a_bridge_that_nobody_names_is_named_as_its_grammar_names_it() {
    for (words, line, bridge) in [
        ("-o 250.0.0.0/8 -u 172.30.0.0/16 --encap vxlan", "172.30.0.0/16 250.0.0.0/8 --encap vxlan", Some("fan-250")),
        ("--underlay eth0/16 10.64.0.0/10", "eth0/16 10.64.0.0/10", Some("fan-10-64")),
        ("-o 250 -u eth0/16 --bridge fan0", "eth0/16 250 --bridge fan0", Some("fan0")),
        ("250.0.0.0/8 172.30.0.0/16 --encap vxlan", "250.0.0.0/8 172.30.0.0/16 --encap vxlan", None),
    ] {
        let found = asked(words);
        assert_eq!(found.options.bridge.as_ref().map(ToString::to_string).as_deref(), bridge, "{words}");
        let configuration = Configuration::read(&[Source::new("fan", line)]);
        let [entry] = &configuration.entries[..] else { panic!("one fan: {line}") };
        assert_eq!(entry.config, found, "{line}");
    }
}

#[test]
fn each_word_and_option_is_heard() {
    let plain = asked("250 eth0/16");
    assert!(!plain.options.dhcp && plain.options.nat && plain.options.flowtable && plain.options.enabled);
    assert!(!asked("250 eth0/16 --no-flowtable").options.flowtable);
    assert!(asked("250 eth0/16 --fast").options.fast);
    assert_eq!(plain.options.routed.given(), None);
    for way in ["--routed 10.9.0.0/16,10.8.0.0/24", "-- --routed=10.8.0.0/24,10.9.0.0/16"] {
        let routed = asked(&format!("250 eth0/16 {way}")).options.routed;
        assert_eq!(routed.given().as_deref(), Some("10.8.0.0/24,10.9.0.0/16"), "{way}");
    }
    assert_eq!((plain.options.host_reserve, plain.options.port), (1, None));
    assert_eq!((plain.options.mtu, plain.options.table, &plain.options.bridge), (None, None, &None));
    assert_eq!(plain.options.encapsulation.as_str(), "ipip");

    let all = asked(
        "250 bond0.100/24 dhcp host-reserve 4 bridge fan0 --encap vxlan --mtu 1400 --port 4789 --table 99 --no-nat",
    );
    assert!(all.options.dhcp && !all.options.nat && all.options.enabled);
    assert_eq!((all.options.host_reserve, all.options.port), (4, Some(4789)));
    assert_eq!((all.options.mtu, all.options.table), (Some(1400), Some(99)));
    assert_eq!(all.options.bridge.map(|name| name.to_string()).as_deref(), Some("fan0"));
    assert_eq!(all.options.encapsulation.as_str(), "vxlan");
    assert_eq!(all.underlay.to_string(), "bond0.100/24");
    assert!(!asked("250 eth0 off").options.enabled);
}

#[test]
fn off_is_left_alone() {
    fanctl("up 250 nowhere0/16 off").succeeds().prints("");
    fanctl("up 250 nowhere0/16 off --json")
        .succeeds()
        .prints("{\n  \"overlay\": \"250.0.0.0/8\",\n  \"changed\": false,\n  \"fan\": null\n}\n");
    fanctl("up 250 nowhere0/16 off --json --dry-run").succeeds().prints("[]\n");
}
