//! The man pages have all that the program has, and nothing else.
//!
//! The program's side is taken from the program: clap's declarations, the keys and what reads them, exit statuses, the
//! texts of messages. The pages' side is their mdoc: documented is what is an entry of the list of the right section.

mod page;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use clap::{Arg, CommandFactory};
use fanctl::cli::Cli;
use fanctl::config::{Config, KEYS};
use fanctl::error::Error;

use crate::program::fanctl;
use page::{Item, Page, directory};

const PAGES: [&str; 4] = ["fan.5", "fan.7", "fan.toml.5", "fanctl.8"];

/// Other people's pages that ours refer to.
const SYSTEM_PAGES: [&str; 17] = [
    "NetworkManager-dispatcher 8",
    "dnsmasq 8",
    "fuser 1",
    "interfaces 5",
    "ip 8",
    "ip-address 8",
    "ip-link 8",
    "ip-rule 8",
    "iptables 8",
    "networkd.conf 5",
    "nft 8",
    "ping 8",
    "sysctl 8",
    "systemd-networkd 8",
    "tc 8",
    "tc-bpf 8",
    "udev 7",
];

/// A command that ends in no other: `up`, or `config check`.
struct Verb {
    name: String,
    command: clap::Command,
}

fn verbs() -> Vec<Verb> {
    fn add(found: &mut Vec<Verb>, before: &str, command: &clap::Command) {
        for command in command.get_subcommands() {
            let name = format!("{before}{}", command.get_name());
            if command.has_subcommands() {
                add(found, &format!("{name} "), command);
            } else {
                let command = command.clone();
                found.push(Verb { name, command });
            }
        }
    }
    let mut found = Vec::new();
    add(&mut found, "", &Cli::command());
    found
}

impl Verb {
    fn options(&self) -> impl Iterator<Item = &Arg> {
        self.command.get_arguments().filter(|argument| !argument.is_positional())
    }
}

/// The forms of an option, `-o` and `--overlay`, and whether a value follows. In a page the value stands behind the
/// last one only.
fn forms(option: &Arg) -> Vec<(String, bool)> {
    let value = option.get_action().takes_values();
    let short = option.get_short().map(|letter| (format!("-{letter}"), false));
    let long = option.get_long().map(|name| (format!("--{name}"), value));
    short.into_iter().chain(long).collect()
}

fn is_option((form, _): &(String, bool)) -> bool {
    form.starts_with('-')
}

/// The numbers that stand by themselves, and not in an address.
fn numbers(text: &str) -> BTreeSet<&str> {
    let words = text.split([' ', '\n']).map(|word| word.trim_matches(['(', ')', '[', ']', ',', '.', ';', ':']));
    words.filter(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())).collect()
}

#[test]
fn every_verb_has_its_section() {
    let verbs = verbs();
    let known = verbs.iter().map(|verb| verb.name.as_str()).collect();
    assert_eq!(Page::read("fanctl.8").subsections("COMMANDS"), known, "in fanctl.8, and in the program");
}

#[test]
fn every_option_stands_in_the_section_of_its_verb() {
    let page = Page::read("fanctl.8");
    for verb in verbs() {
        let items = page.items(&verb.name);
        let documented: BTreeSet<_> = items.iter().flat_map(|item| item.forms()).filter(is_option).collect();
        let known: BTreeSet<_> = verb.options().flat_map(forms).collect();
        assert_eq!(documented, known, "options of fanctl {}: in fanctl.8, and in the program", verb.name);
    }
}

#[test]
fn options_of_the_program_itself_are_told_at_the_start() {
    let mut cli = Cli::command();
    cli.build();
    let start = Page::read("fanctl.8").part("DESCRIPTION").join("\n");
    for option in cli.get_arguments() {
        for (form, _) in forms(option) {
            assert!(start.contains(&format!("\n.Fl {}\n", &form[1..])), "fanctl.8 lacks {form}");
        }
    }
}

#[test]
fn ranges_and_defaults_are_those_of_the_help() {
    let page = Page::read("fanctl.8");
    for verb in verbs() {
        let items = page.items(&verb.name);
        for option in verb.options() {
            let form = forms(option).pop().expect("a name");
            let item = items.iter().find(|item| item.forms().contains(&form)).expect("an entry");
            let told = item.body.join("\n");
            let help = option.get_help().map(ToString::to_string).unwrap_or_default();
            let defaults: Vec<_> = option.get_default_values().iter().filter_map(|value| value.to_str()).collect();
            let missing: Vec<_> = numbers(&help)
                .into_iter()
                .chain(defaults)
                .filter(|number| !numbers(&told).contains(number))
                .collect();
            assert!(missing.is_empty(), "fanctl {} {}: fanctl.8 lacks {missing:?} of '{help}'", verb.name, form.0);
        }
    }
}

/// A call in the synopsis: its words without macros.
fn synopsis(page: &Page) -> Vec<Vec<String>> {
    let lines = page.part("SYNOPSIS");
    let calls = lines.split(|line| *line == ".Nm").skip(1);
    let is_macro = |word: &&str| !matches!(word.trim_start_matches('.'), "Cm" | "Ar" | "Op" | "|" | "...");
    let words = calls.map(|lines| lines.iter().flat_map(|line| line.split(' ')).filter(is_macro));
    words.map(|words| words.map(String::from).collect()).collect()
}

#[test]
fn the_synopsis_has_every_verb_and_what_it_takes() {
    let page = Page::read("fanctl.8");
    let calls = synopsis(&page);
    let mut used = BTreeSet::new();
    for verb in verbs() {
        let words: Vec<&str> = verb.name.split(' ').collect();
        let has = |call: &[String], word: &str| call.iter().any(|known| known == word);
        let is_its = |call: &Vec<String>| call[0] == words[0] && words.iter().all(|word| has(call, word));
        let its: Vec<String> = calls.iter().filter(|call| is_its(call)).flatten().cloned().collect();
        assert!(!its.is_empty(), "the synopsis lacks {}", verb.name);
        used.extend(calls.iter().filter(|call| is_its(call)).cloned());
        let section = page.part(&verb.name).join(" ");
        for argument in verb.command.get_positionals() {
            let values = argument.get_possible_values();
            let names: Vec<String> = if values.is_empty() {
                let names = argument.get_value_names().expect("a name").join(" ");
                names.split([' ', '|']).map(str::to_lowercase).collect()
            } else {
                values.iter().map(|value| value.get_name().to_string()).collect()
            };
            for name in names {
                let told = has(&its, &name) || section.split(' ').any(|word| word == name);
                assert!(told, "fanctl {}: fanctl.8 lacks '{name}'", verb.name);
            }
        }
        for (at, _) in its.iter().enumerate().filter(|(_, word)| *word == "Fl" || *word == ".Fl") {
            let form = format!("-{}", its[at + 1]);
            let known = verb.options().flat_map(forms).any(|(option, _)| option == form);
            let others = words.len() > 1; // Commands of `config` share a call.
            assert!(known || others, "the synopsis of fanctl {} has {form}, the program not", verb.name);
        }
    }
    let unknown: Vec<_> = calls.iter().filter(|call| !used.contains(*call)).collect();
    assert!(unknown.is_empty(), "the synopsis has calls that the program has not: {unknown:?}");
}

/// Whether a word or option can follow overlay and underlay, in a file or on a command line, with a value or without.
fn is_read(word: &str, value: bool) -> bool {
    let mut config = Config::new("250".parse().unwrap(), "eth0".parse().unwrap());
    let values = ["4", "600", "fan0", "vxlan"];
    if value {
        values.iter().any(|value| config.apply_words(&[word, value]).is_ok())
    } else {
        config.apply_words(&[word]).is_ok()
    }
}

/// All that might be read: every key as a word, an option, and its contrary.
fn candidates() -> BTreeSet<(String, bool)> {
    let keys = KEYS.iter().map(|key| key.name);
    let names = keys.chain(["off", "on", "auto", "enable", "disable", "no-dhcp", "no-nat", "debug"]);
    let words = names.flat_map(|name| [name.to_string(), format!("--{name}")]);
    words.flat_map(|word| [(word.clone(), false), (word, true)]).collect()
}

#[test]
fn the_words_of_the_legacy_file_are_those_that_are_read() {
    let page = Page::read("fan.5");
    let items = ["Words", "Options"].map(|title| page.items(title));
    let documented: BTreeSet<_> = items.iter().flatten().flat_map(|item| item.forms()).collect();
    let read = candidates().into_iter().filter(|(word, value)| is_read(word, *value)).collect();
    assert_eq!(documented, read, "in fan.5, and in the program");
}

#[test]
fn the_words_of_2015_stand_beside_the_options_of_up() {
    let page = Page::read("fanctl.8");
    let documented: BTreeSet<_> = page.items("up").iter().flat_map(|item| item.forms()).collect();
    let words = |forms: BTreeSet<(String, bool)>| -> BTreeSet<_> { forms.into_iter().filter(|form| !is_option(form)).collect() };
    let read = candidates().into_iter().filter(|(word, value)| is_read(word, *value)).collect();
    assert_eq!(words(documented), words(read), "in fanctl.8, and in the program");
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let page = Page::read("fan.toml.5");
    let items = page.items("Keys");
    let documented: Vec<String> = items.iter().flat_map(|item| item.forms()).map(|(key, _)| key).collect();
    let known: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(documented, known, "in fan.toml.5, and in the program");
    for (key, item) in KEYS.iter().zip(&items) {
        let told = item.body.join("\n");
        assert!(numbers(key.values).is_subset(&numbers(&told)), "{}: fan.toml.5 lacks '{}'", key.name, key.values);
        assert_eq!(told.contains("Required."), key.is_required(), "{}", key.name);
        assert!(told.contains("Required.") || told.contains("default"), "{}: fan.toml.5 lacks the default", key.name);
    }
}

#[test]
fn exit_statuses_are_those_that_there_are() {
    let documented: BTreeSet<u8> =
        Page::read("fanctl.8").items("EXIT STATUS").iter().map(|item| item.head.parse().expect("a number")).collect();
    // Of a new kind of error the compiler tells that it is missing here.
    let is_one = |error: &Error| match error {
        Error::Unread | Error::Failed(_) | Error::Usage(_) | Error::Faulty(_) | Error::Refused(_) | Error::Differs => true,
        Error::Several(_) | Error::Interrupted(..) => false,
    };
    let none = String::new;
    let errors = [
        Error::Unread,
        Error::Failed(none()),
        Error::Usage(none()),
        Error::Faulty(vec![]),
        Error::Refused(vec![]),
        Error::Differs,
    ];
    assert!(errors.iter().all(is_one));
    assert_eq!(documented, errors.iter().map(Error::exit_status).collect());
    assert_eq!(Error::Interrupted(2, String::new()).exit_status(), 128 + 2, "as fanctl.8 has it");
}

/// A file of one line in which much is wrong, for messages that are put together of several texts.
const BROKEN: &str = concat!(
    r#"fan = [{ overlay = "250", underlay = "eth0", bridge = "fan0" }, { overlay = "250", underlay = "eth1" }, "#,
    r#"{ overlay = "250.1.0.0/16", underlay = "eth1/24" }, { overlay = "252", underlay = "eth0", mtu = "1400" }]"#,
);

#[test]
fn messages_are_those_of_the_program() {
    let texts: Vec<String> = source("src").iter().flat_map(|source| literals(source)).collect();
    let file = std::env::temp_dir().join(format!("fanctl-man-{}.toml", std::process::id()));
    fs::write(&file, BROKEN).expect("a file");
    let faults = fanctl(&format!("config check --config {}", file.display())).finds_faults().stderr;
    fs::remove_file(&file).expect("the file");
    for name in ["fan.5", "fan.toml.5", "fanctl.8"] {
        let page = Page::read(name);
        for Item { head, .. } in page.items("DIAGNOSTICS") {
            // Two thirds may be values.
            let is_text = |text: &String| agreement(text, head).is_some_and(|same| 3 * same >= head.len());
            let is_there = texts.iter().any(is_text) || faults.contains(&format!(": {head}"));
            assert!(is_there, "{name}: no message of the program begins with: {head}");
        }
    }
}

#[test]
fn files_are_those_that_the_program_uses() {
    let page = Page::read("fanctl.8");
    let path = |item: &Item| item.head.strip_prefix("Pa ").expect("a path").to_string();
    let documented: BTreeSet<String> = page.items("FILES").iter().map(path).collect();
    let is_file = |text: &String| ["/etc/", "/run/", "/var/"].iter().any(|root| text.starts_with(root));
    let texts = source("src").into_iter().flat_map(|source| literals(&source)).filter(is_file);
    // Of `fanctl lab`, which uses the namespaces of ip(8); and a path that a test finds to be none of ours.
    let others = ["/run/netns", "/var/lib/misc/dnsmasq.leases"];
    let plain = texts.filter(|text| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/.".contains(&byte)));
    let used = plain.filter(|text| !others.contains(&text.as_str())).collect();
    assert_eq!(documented, used, "in fanctl.8, and in the program");
}

#[test]
fn options_of_a_stanza_are_those_that_the_hook_reads() {
    let documented: BTreeSet<String> =
        Page::read("fanctl.8").items("IFUPDOWN").iter().flat_map(Item::forms).map(|(option, _)| option).collect();
    let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("ifupdown/fanctl");
    let hook = fs::read_to_string(&hook).unwrap_or_else(|error| panic!("{}: {error}", hook.display()));
    let words = hook.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let read = words.filter_map(|word| word.strip_prefix("IF_")).map(|name| name.to_lowercase().replace('_', "-"));
    assert_eq!(documented, read.collect(), "in fanctl.8, and in ifupdown/fanctl");
}

/// The Rust files below a directory.
fn source(directory: impl AsRef<Path>) -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(source(&path));
        } else if path.extension() == Some(OsStr::new("rs")) {
            found.push(fs::read_to_string(&path).expect("a file"));
        }
    }
    found
}

/// The string literals of a file, near enough: those that are none match no message.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, _) in source.match_indices('"') {
        let mut text = String::new();
        let mut rest = source[start + 1..].chars();
        while let Some(c) = rest.next() {
            match c {
                '"' => break,
                '\\' => match rest.next() {
                    Some('\n') => rest = rest.as_str().trim_start().chars(),
                    Some(escaped) => text.push(escaped),
                    None => {}
                },
                c => text.push(c),
            }
        }
        found.push(text);
    }
    found
}

/// How many characters of a text a format string has itself, if what it makes can begin with that text. A text may end
/// in a value, if that is one word.
fn agreement(format: &str, text: &str) -> Option<usize> {
    let Some(first) = text.chars().next() else {
        return Some(0);
    };
    if let Some(rest) = format.strip_prefix('{') {
        let rest = &rest[rest.find('}')? + 1..];
        let ends = text.char_indices().map(|(at, _)| at).skip(1);
        let within = ends.filter_map(|end| agreement(rest, &text[end..])).max();
        return within.or((!text.contains(' ')).then_some(0));
    }
    let rest = format.strip_prefix(first)?;
    Some(1 + agreement(rest, &text[first.len_utf8()..])?)
}

#[test]
fn every_reference_leads_to_a_page() {
    let mut unused: BTreeSet<&str> = SYSTEM_PAGES.into_iter().collect();
    for name in PAGES {
        for reference in Page::read(name).marked("Xr", 2) {
            let ours = PAGES.contains(&reference.replace(' ', ".").as_str());
            assert!(ours || SYSTEM_PAGES.contains(&reference.as_str()), "{name} refers to {reference}");
            unused.remove(reference.as_str());
        }
    }
    assert!(unused.is_empty(), "no page refers to {unused:?}");
    let files = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.collect::<BTreeSet<_>>(), PAGES.map(String::from).into());
}

#[test]
fn mandoc_finds_nothing_wrong() {
    let output = Command::new("mandoc")
        .args(["-T", "lint", "-W", "style"])
        .args(PAGES)
        .current_dir(directory())
        .output()
        .unwrap_or_else(|error| panic!("mandoc cannot be run ({error}); install it: tests/setup"));
    let text = String::from_utf8_lossy(&output.stdout);
    // Whether other pages are installed here says nothing about ours.
    let findings: Vec<&str> = text.lines().filter(|line| !line.contains("referenced manual not found")).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}
