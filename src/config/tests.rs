//! Both grammars, what they have in common, and what becomes of nonsense.

use proptest::prelude::*;

use super::{Configuration, Source, convert, legacy, toml};
use crate::fan::encap::Encapsulation;
use crate::fan::mapping::Overlay;
use crate::fan::options::{KEYS, OptionKind};
use crate::fan::request::{Follow, Request, UnderlayPlace, UnderlaySource};

fn of(files: &[(&str, &str)]) -> Configuration {
    let sources: Vec<Source> = files.iter().map(|(name, text)| Source::new(name, text)).collect();
    Configuration::read(&sources)
}

fn fans(configuration: &Configuration) -> Vec<String> {
    let words = |config: &Request| {
        let pair = [config.overlay.to_string(), config.underlay.to_string()];
        let words: Vec<String> = pair.into_iter().chain(config.words().map(|(_, words)| words)).collect();
        words.join(" ")
    };
    configuration.entries.iter().map(|entry| words(&entry.config)).collect()
}

fn faults(configuration: &Configuration) -> Vec<String> {
    configuration.faults.iter().map(ToString::to_string).collect()
}

#[test]
fn each_line_of_the_legacy_file_is_in_one_of_two_grammars() {
    for (line, fan) in [
        ("250.0.0.0/8 eth0/16", "250.0.0.0/8 eth0/16"),
        ("250 eth0", "250.0.0.0/8 eth0/16"),
        ("10.0.0.0/8 eth0/16 dhcp", "10.0.0.0/8 eth0/16 dhcp"),
        ("241.0.0.0/8 eth0/16 dhcp off", "241.0.0.0/8 eth0/16 dhcp off"),
        (
            "250.0.0.0/8 172.30.0.28/16 host-reserve 4 bridge fan0",
            "250.0.0.0/8 172.30.0.28/16 bridge fan0 host-reserve 4",
        ),
        ("172.30.0.0/16 250.0.0.0/8 --dhcp --enable", "250.0.0.0/8 172.30.0.0/16 bridge fan-250 dhcp"),
        ("172.30.0.0/16 250.0.0.0/8 --disable", "250.0.0.0/8 172.30.0.0/16 bridge fan-250 off"),
        ("eth0/16 250.0.0.0/8 --bridge=fan-250", "250.0.0.0/8 eth0/16 bridge fan-250"),
        (
            "default 250 --host-reserve=9 --no-nat --follow",
            "250.0.0.0/8 default/16 bridge fan-250 host-reserve 9 no-nat follow",
        ),
        ("250 eth0 --follow=renumber off", "250.0.0.0/8 eth0/16 follow renumber off"),
        ("10.0.0.0/8 172.16.0.0/16", "10.0.0.0/8 172.16.0.0/16"),
        ("172.16.0.0/16 10.0.0.0/8", "10.0.0.0/8 172.16.0.0/16 bridge fan-10"),
        (
            "10.224.220.0/24 100.64.0.0/10 --encap=vxlan --port 4789",
            "100.64.0.0/10 10.224.220.0/24 encap vxlan bridge fan-100-64 port 4789",
        ),
        ("\t250\teth0 \tdhcp  # the first", "250.0.0.0/8 eth0/16 dhcp"),
        ("250 eth0#1 dhcp", "250.0.0.0/8 eth0#1/16 dhcp"),
    ] {
        let read = of(&[("fan", line)]);
        assert_eq!(fans(&read), [fan], "{line}: {:?}", faults(&read));
    }
}

#[test]
fn the_legacy_file_may_lack_its_last_newline_and_hold_comments_and_blank_lines() {
    let read = of(&[("fan", "# one\n\n250 eth0 dhcp\r\n   \n#251 eth0\n252 eth0")]);
    assert_eq!(fans(&read), ["250.0.0.0/8 eth0/16 dhcp", "252.0.0.0/8 eth0/16"]);
    assert_eq!(read.entries[1].position.to_string(), "fan:6:1");
}

#[test]
fn the_example_of_cloud_init_is_read() {
    let text = "# fan 240\n10.0.0.0/8 eth0/16 dhcp\n10.0.0.0/8 eth1/16 dhcp off\n# fan 241\n241.0.0.0/8 eth0/16 dhcp\n";
    let read = of(&[("/etc/network/fan", text)]);
    assert_eq!(read.entries.len(), 3, "{:?}", faults(&read));
    assert_eq!(read.enabled().count(), 2);
}

#[test]
fn conversion_keeps_comments_and_order() {
    let text = "# the first\n250 eth0 dhcp # here\n\n# off\n172.31.0.0/16 251.0.0.0/8 --disable";
    let expected = "# the first\n# here\n[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\ndhcp = true\n\n# off\n\
                    [[fan]]\noverlay = \"251.0.0.0/8\"\nunderlay = \"172.31.0.0/16\"\nbridge = \"fan-251\"\nenabled = false\n";
    assert_eq!(convert::legacy_file(&Source::new("fan", text)).unwrap(), expected);
}

#[test]
fn a_fan_in_both_files_must_be_the_same() {
    let legacy = ("/etc/network/fan", "172.30.0.0/16 250.0.0.0/8 --dhcp --enable\n");
    let same = "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"172.30.0.0/16\"\ndhcp = true\n";
    let read = of(&[("/etc/fan.toml", same), legacy]);
    assert_eq!((fans(&read).len(), faults(&read).len()), (1, 0));

    let other = same.replace("dhcp = true", "mtu = 1400");
    let read = of(&[("/etc/fan.toml", &other), legacy]);
    assert_eq!(fans(&read), ["250.0.0.0/8 172.30.0.0/16 mtu 1400"], "the first stands");
    assert_eq!(
        faults(&read),
        [
            "/etc/network/fan:1:1: fan 250.0.0.0/8 is not as in /etc/fan.toml:1:1: dhcp 'true' here and 'false' there, mtu \
          the default here and '1400' there; let both files agree, or remove it from one"
        ]
    );

    let off = same.replace("dhcp = true", "dhcp = true\nenabled = false");
    let read = of(&[("/etc/fan.toml", &off), legacy]);
    assert!(faults(&read)[0].contains("enabled 'true' here and 'false' there"));
}

#[test]
fn a_file_agrees_with_what_it_was_converted_to() {
    let text = "10.0.0.0/8 eth0/16 dhcp\n10.0.0.0/8 eth1/16 dhcp off\n10.0.0.0/8 eth2/16 off\n";
    let legacy = ("/etc/network/fan", text);
    let converted = convert::legacy_file(&Source::new(legacy.0, text)).unwrap();
    let read = of(&[("/etc/fan.toml", &converted), legacy]);
    assert_eq!(faults(&read), Vec::<String>::new());
    assert_eq!(read.entries.len(), 3);
}

#[test]
fn a_fault_does_not_hide_its_neighbours() {
    let text = "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = 3\n[[fan]]\noverlay = \"251.0.0.0/8\"\nunderlay = \"eth0/16\"\n";
    let read = of(&[("fan.toml", text), ("fan", "250 eth0 dchp\n252 eth0\n")]);
    assert_eq!(fans(&read), ["251.0.0.0/8 eth0/16", "252.0.0.0/8 eth0/16"]);
    assert_eq!(read.faults.len(), 2);
}

#[test]
fn a_mark_of_byte_order_is_no_part_of_a_file() {
    for (name, text) in [
        ("fan", "\u{feff}250 eth0\r\n"),
        ("fan.toml", "\u{feff}fan = [{ overlay = \"250\", underlay = \"eth0\" }]\r\n"),
    ] {
        let read = of(&[(name, text)]);
        assert_eq!(fans(&read), ["250.0.0.0/8 eth0/16"], "{:?}", faults(&read));
    }
}

#[test]
fn columns_count_characters() {
    let read = of(&[("fan.toml", "fan = [{ bridge = \"ä\", \u{fc}berlay = 1 }]\n")]);
    assert!(
        faults(&read)
            .iter()
            .any(|fault| fault.starts_with("fan.toml:1:24: key 'überlay'") || fault.starts_with("fan.toml:1:24: ")),
        "{:?}",
        faults(&read)
    );
}

/// A fan with any values that can be written down.
fn any_config() -> impl Strategy<Value = Request> {
    let place = prop_oneof![
        Just("eth0/16"),
        Just("enp0s31f6/20"),
        Just("default/24"),
        Just("172.30.0.28/16"),
        Just("172.30.0.0/16"),
        Just("wl\"an\\0/16"),
    ];
    let options = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        1_u8..=254,
        any::<bool>(),
        prop::option::of("[a-z][a-z0-9._-]{0,10}"),
    );
    let routed = prop::sample::select(vec!["", "198.18.0.0/24", "198.18.0.0/24,198.18.2.0/24"]);
    let numbers = (
        routed,
        prop::option::of(576_u32..=65515),
        prop::option::of(1_u16..),
        prop::option::of(256_u32..),
        prop::sample::select(vec![Follow::No, Follow::Yes, Follow::Renumber]),
    );
    (1_u8..=126, place, options, numbers).prop_filter_map("names with a meaning", |(octet, place, options, numbers)| {
        let overlay: Overlay = octet.to_string().parse().ok()?;
        let underlay: UnderlaySource = place.parse().ok()?;
        let mut config = Request::new(overlay, underlay);
        let (dhcp, nat, flowtable, enabled, host_reserve, vxlan, bridge) = options;
        (config.options.dhcp, config.options.nat) = (dhcp, nat);
        (config.options.enabled, config.options.host_reserve) = (enabled, host_reserve);
        let routed;
        (routed, config.options.mtu, config.options.port, config.options.table, config.options.follow) = numbers;
        config.options.routed =
            if routed.is_empty() { crate::fan::request::Subnets::default() } else { routed.parse().ok()? };
        if vxlan {
            config.options.encapsulation = Encapsulation::Vxlan;
        } else {
            config.options.port = None;
            config.options.flowtable = flowtable;
        }
        config.options.bridge = match bridge {
            Some(name) => Some(crate::fan::options::bridge_name(&name).ok()?),
            None => None,
        };
        config.contradictions().is_empty().then_some(config)
    })
}

/// A fan as a line of /etc/network/fan, in the grammar of 2015 or of later.
fn line(config: &Request, later: bool) -> String {
    let pair = if later {
        format!("{} {}", config.underlay, config.overlay)
    } else {
        format!("{} {}", config.overlay, config.underlay)
    };
    let options = config.values().into_iter().filter(|(key, _)| !key.is_required());
    let words = options.map(|(key, value)| match (key.name, later) {
        (name, _) if key.kind == OptionKind::Switch => format!(" --no-{name}"),
        ("dhcp", false) => " dhcp".to_string(),
        ("enabled", false) => " off".to_string(),
        (name @ ("host-reserve" | "bridge"), false) => format!(" {name} {value}"),
        ("dhcp", true) => " --dhcp".to_string(),
        ("enabled", true) => " --disable".to_string(),
        ("follow", _) => format!(" --follow={value}").replace("=true", ""),
        (name, true) => format!(" --{name}={value}"),
        (name, false) => format!(" --{name} {value}"),
    });
    words.fold(pair, |line, word| line + &word)
}

proptest! {
    #[test]
    fn what_is_written_is_read(config in any_config()) {
        let read = toml::read(&Source::new("fan.toml", &convert::table(&config)));
        prop_assert_eq!(faults(&read), Vec::<String>::new());
        prop_assert_eq!(&read.entries[0].config, &config);
    }

    #[test]
    fn conversion_changes_nothing(config in any_config(), later: bool) {
        let source = Source::new("fan", &line(&config, later));
        let read = legacy::read(&source);
        prop_assert_eq!(faults(&read), Vec::<String>::new());
        let found = &read.entries[0].config;
        // A line of the later grammar has another name for a new bridge, which its table says.
        prop_assert!(found.agrees_with(&config) && (later || *found == config));
        let converted = toml::read(&Source::new("fan.toml", &convert::legacy_file(&source).unwrap()));
        prop_assert!(converted.entries[0].config.agrees_with(found));
        prop_assert_eq!(&converted.entries[0].config.options.bridge, &found.options.bridge);
    }

    #[test]
    fn nonsense_is_a_fault_and_no_panic(text in "\\PC*", lines in "([a-z0-9./#=\"\\[\\]{} é-]{0,20}\n){0,5}") {
        for text in [text, lines] {
            for name in ["fan.toml", "fan"] {
                let read = of(&[(name, &text)]);
                for fault in &read.faults {
                    prop_assert!(fault.place.starts_with(name) && !fault.message.is_empty());
                }
            }
        }
    }
}

#[test]
fn every_key_has_a_value_it_takes_and_one_it_does_not() {
    let config = Request::new("250".parse().unwrap(), "eth0".parse().unwrap());
    assert!(matches!(config.underlay.place, UnderlayPlace::Interface(_)));
    for key in &KEYS {
        let mut config = config.clone();
        let good = match key.name {
            "overlay" => "251.0.0.0/8",
            "underlay" => "eth1/16",
            "encap" => "vxlan",
            "bridge" => "fan0",
            "dhcp" | "fast" | "names" | "number" | "force" => "true",
            "enabled" => "false",
            _ if key.kind == OptionKind::Switch => "false",
            "follow" => "renumber",
            "routed" | "hosts" | "exclude" => "10.8.0.0/24,10.9.0.0/16",
            "endpoints" => "172.30.0.5=198.51.100.7:8473,172.30.0.0/24=10.1.0.0/24",
            "peers" => "172.30.0.27,fan-peers.example.net",
            "key" | "public-keys" => "$CREDENTIALS_DIRECTORY/key",
            _ => "200",
        };
        let good = if key.name == "mtu" { "1400" } else { good };
        config.set(key, good).unwrap();
        assert_eq!(key.get(&config).as_deref(), Some(good));
        assert!(config.values().iter().any(|(differing, _)| differing.name == key.name));
        let reason = config.set(key, "?/?").unwrap_err();
        assert!(reason.contains("?/?"), "{reason}");
        if key.kind == OptionKind::Number {
            let range = key.values.strip_prefix("a ").unwrap();
            assert!(reason.ends_with(range), "{reason}: {range}");
        }
    }
}

/// Files of many fans, of many faults, and of one long line.
#[test]
fn reading_takes_time_that_grows_as_the_file_does() {
    let fan = |n: usize| {
        format!("overlay = \"{}.{}.{}.0/24\"\nunderlay = \"eth0/26\"\n", 11 + n / 65536, n / 256 % 256, n % 256)
    };
    let files: [(&str, &dyn Fn(usize) -> String); 7] = [
        ("fans.toml", &|count| {
            let fans = (0..count).map(|n| format!("[[fan]]\n{}", fan(n)));
            fans.collect::<Vec<_>>().concat()
        }),
        ("off.toml", &|count| format!("[[fan]]\n{}enabled = false\n", fan(7)).repeat(count)),
        ("twice.toml", &|count| format!("[[fan]]\n{}", fan(7)).repeat(count)),
        ("keys.toml", &|count| {
            let keys = (0..count).map(|n| format!("key{n} = 1\n")).collect::<Vec<_>>().concat();
            format!("[[fan]]\n{}{keys}", fan(7))
        }),
        ("line.toml", &|count| {
            let fans: Vec<String> =
                (0..count).map(|n| format!("{{ {} }}", fan(n).trim().replace('\n', ", "))).collect();
            format!("fan = [{}]\n", fans.join(", "))
        }),
        ("fans", &|count| {
            let lines = (0..count).map(|n| format!("11.{}.{}.0/24 eth0/26\n", n / 256, n % 256));
            lines.collect()
        }),
        ("words", &|count| "250.0.0.0/8 eth0/16 dchp # no\n".repeat(count)),
    ];
    for (name, text) in files {
        let cost = |count: usize| {
            let text = text(count);
            super::WORK.set(0);
            let read = of(&[(name, &text)]);
            (super::WORK.get(), text.len(), read.entries.len() + read.faults.len())
        };
        let ((few, _, _), (many, len, found)) = (cost(500), cost(4000));
        assert!(found > 0, "{name}");
        assert!(few > 0 && many <= few * 9, "{name}: {few} for 500, {many} for 4000");
        assert!(many <= len * 20, "{name}: {many} for {len} bytes");
    }
}

/// What stands before a fan that clashes does not decide which of several is named: it is the first.
#[test]
fn the_first_fan_in_the_way_is_named() {
    let line = |overlay: &str, rest: &str| format!("{overlay} eth0/26 {rest}\n");
    let first =
        |text: String, file: &str| faults(&of(&[("a", &text), (file, "11.0.0.0/8 eth0/16 --encap vxlan bridge b\n")]));
    let text = line("11.7.0.0/24", "") + &line("11.3.0.0/24", "") + &line("12.0.0.0/24", "bridge b");
    assert!(first(text, "b")[0].contains("overlaps '11.7.0.0/24' in a:1:1"), "a wider one over two");
    let text = line("12.0.0.0/24", "bridge b") + &line("11.7.0.0/24", "");
    assert!(first(text, "b")[0].contains("bridge 'b' is that of the fan in a:1:1"), "the bridge comes first");
    let text = line("12.0.0.0/24", "bridge b off") + &line("11.7.0.0/24", "off") + &line("11.0.0.0/8", "off");
    let told = first(text, "b");
    assert!(told.len() == 1 && told[0].contains("fan 11.0.0.0/8 is not as in a:3:1"), "{told:?}");
}
