//! The man pages have all that the program has, and nothing else.
//!
//! The program's side is taken from the program: clap's declarations, the keys and what reads them, exit statuses, the
//! texts of messages. The pages' side is their mdoc: documented is what is an entry of the list of the right section.

mod json;
mod messages;
mod page;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use clap::builder::PossibleValue;
use clap::{Arg, CommandFactory};
use fanctl::cli::args::Cli;
use fanctl::error::Error;
use fanctl::fan::options::KEYS;
use fanctl::fan::request::Request;

use page::{Call, Item, Page, directory};

const PAGES: [&str; 9] = [
    "fan.5",
    "fan.7",
    "fan.toml.5",
    "fanctl-doctor.8",
    "fanctl-json.5",
    "fanctl-key.8",
    "fanctl-names.8",
    "fanctl-trace.8",
    "fanctl.8",
];

/// Verbs with a page of their own.
const OWN_PAGES: [(&str, &str); 2] = [("doctor", "fanctl-doctor.8"), ("trace", "fanctl-trace.8")];

/// Verbs that consist of others, with a page of their own.
const OWN_FAMILIES: [(&str, &str); 2] = [("key", "fanctl-key.8"), ("names", "fanctl-names.8")];

/// Other people's pages that ours refer to.
const SYSTEM_PAGES: &[&str] = &[
    "NetworkManager-dispatcher 8",
    "capabilities 7",
    "dnsmasq 8",
    "ifdown 8",
    "ifup 8",
    "interfaces 5",
    "resolv.conf 5",
    "ip 8",
    "ip-address 8",
    "ip-link 8",
    "ip-rule 8",
    "iptables 8",
    "networkd.conf 5",
    "nft 8",
    "ping 8",
    "sysctl 8",
    "wg 8",
    "systemd 1",
    "systemd-networkd 8",
    "tc 8",
    "tc-bpf 8",
    "udev 7",
    "unshare 1",
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
    /// The page and the section with its options.
    fn place(&self) -> (&str, &str) {
        let own = OWN_PAGES.into_iter().find(|(verb, _)| *verb == self.name);
        own.map_or((self.page(), &self.name), |(_, page)| (page, "OPTIONS"))
    }

    /// The page with its call in the synopsis.
    fn page(&self) -> &'static str {
        let first = self.name.split(' ').next();
        let own = OWN_FAMILIES.into_iter().find(|(family, _)| Some(*family) == first);
        own.map_or("fanctl.8", |(_, page)| page)
    }

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
    let of = |page: &'static str| verbs.iter().filter(move |verb| verb.page() == page).map(|verb| verb.name.as_str());
    let known = of("fanctl.8").chain(OWN_FAMILIES.map(|(family, _)| family)).collect();
    assert_eq!(Page::read("fanctl.8").subsections("COMMANDS"), known, "in fanctl.8, and in the program");
    for (_, page) in OWN_FAMILIES {
        assert_eq!(Page::read(page).subsections("COMMANDS"), of(page).collect(), "in {page}, and in the program");
    }
}

#[test]
fn every_option_stands_in_the_section_of_its_verb() {
    for verb in verbs() {
        let (name, section) = verb.place();
        let page = Page::read(name);
        let items = page.items(section);
        let documented: BTreeSet<_> = items.iter().flat_map(Item::forms).filter(is_option).collect();
        let known: BTreeSet<_> = verb.options().flat_map(forms).collect();
        assert_eq!(documented, known, "options of fanctl {}: in {name}, and in the program", verb.name);
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
    for verb in verbs() {
        let (name, section) = verb.place();
        let page = Page::read(name);
        let items = page.items(section);
        for option in verb.options() {
            let form = forms(option).pop().expect("a name");
            let item = items.iter().find(|item| item.forms().contains(&form)).expect("an entry");
            let told = item.body.join("\n");
            let help = option.get_help().map(ToString::to_string).unwrap_or_default();
            let defaults: Vec<_> = option.get_default_values().iter().filter_map(|value| value.to_str()).collect();
            let missing: Vec<_> =
                numbers(&help).into_iter().chain(defaults).filter(|number| !numbers(&told).contains(number)).collect();
            assert!(missing.is_empty(), "fanctl {} {}: {name} lacks {missing:?} of '{help}'", verb.name, form.0);
        }
    }
}

#[test]
fn the_synopsis_has_every_verb_and_what_it_takes() {
    for name in ["fanctl.8"].into_iter().chain(OWN_FAMILIES.map(|(_, page)| page)) {
        assert_synopsis(name);
    }
}

fn assert_synopsis(name: &str) {
    let page = Page::read(name);
    let is_family = |call: &Call| OWN_FAMILIES.iter().any(|(family, _)| call.verb == *family);
    let mut calls = page.calls();
    calls.retain(|call| name != "fanctl.8" || !is_family(call));
    for Verb { name, command } in verbs().into_iter().filter(|verb| verb.page() == name) {
        let verb: Vec<&str> = name.split(' ').collect();
        let is_its = |call: &Call| call.verb == verb[0] && verb.iter().all(|word| call.words.contains(word));
        let (its, others): (Vec<Call>, Vec<Call>) = calls.into_iter().partition(is_its);
        calls = others;
        assert!(!its.is_empty(), "the synopsis lacks {name}");
        let has = |word: &str| its.iter().any(|call| call.words.contains(word));
        let section = page.part(&name).join(" ");
        for argument in command.get_positionals() {
            let values = argument.get_possible_values();
            for value in values.iter().map(PossibleValue::get_name) {
                let told = has(value) || section.split(' ').any(|word| word == value);
                assert!(told, "fanctl {name}: fanctl.8 lacks '{value}'");
            }
            let names = argument.get_value_names().expect("a name").join(" ").to_lowercase();
            for word in names.split([' ', '|']).filter(|_| values.is_empty()) {
                assert!(has(word), "fanctl {name}: the synopsis lacks '{word}'");
            }
        }
        let known: BTreeSet<String> = command.get_arguments().flat_map(forms).map(|(form, _)| form).collect();
        for call in its {
            assert!(call.options.is_subset(&known), "fanctl {name} has no such option: {:?}", call.options);
        }
    }
    assert!(calls.is_empty(), "the program has no such calls: {calls:?}");
}

#[test]
fn a_page_of_one_verb_has_its_call_and_its_exit_statuses() {
    let statuses: BTreeSet<String> = texts(&Page::read("fanctl.8").items("EXIT STATUS"));
    for verb in verbs() {
        let (name, _) = verb.place();
        if !OWN_PAGES.iter().any(|(_, page)| *page == name) {
            continue;
        }
        let page = Page::read(name);
        assert!(texts(&page.items("EXIT STATUS")).is_subset(&statuses), "{name}");
        let calls = page.calls();
        let [call] = &calls[..] else { panic!("{name}: {calls:?}") };
        assert_eq!(call.verb, verb.name, "{name}");
        // In a synopsis stands one form of an option, in its section all.
        let longest: BTreeSet<String> =
            verb.options().filter_map(|option| forms(option).pop()).map(|(form, _)| form).collect();
        assert_eq!(call.options, longest, "{name}: in its synopsis, and in the program");
        for argument in verb.command.get_positionals() {
            let names = argument.get_value_names().expect("a name").join(" ").to_lowercase();
            assert!(names.split([' ', '|']).all(|word| call.words.contains(word)), "{name} lacks '{names}'");
        }
    }
}

fn texts(items: &[Item]) -> BTreeSet<String> {
    items.iter().map(|item| item.head.to_string()).collect()
}

/// Whether a word or option can follow overlay and underlay, in a file or on a command line, with a value or without.
fn is_read(word: &str, value: bool) -> bool {
    let mut config = Request::new("250".parse().unwrap(), "eth0".parse().unwrap());
    let values = ["4", "600", "fan0", "vxlan", "10.8.0.0/24", "/etc/fan/key", "172.30.0.5=10.1.0.5"];
    if value {
        values.iter().any(|value| config.apply_words(&[word, value]).is_ok())
    } else {
        config.apply_words(&[word]).is_ok()
    }
}

/// All that might be read: every key as a word, an option, and its contrary.
fn candidates() -> BTreeSet<(String, bool)> {
    let keys = KEYS.iter().flat_map(|key| [key.name.to_string(), format!("no-{}", key.name)]);
    let names = keys.chain(["off", "on", "auto", "enable", "disable", "debug"].map(String::from));
    let words = names.flat_map(|name| [format!("--{name}"), name]);
    words.flat_map(|word| [(word.clone(), false), (word, true)]).collect()
}

#[test]
fn the_words_of_the_legacy_file_are_those_that_are_read() {
    let page = Page::read("fan.5");
    let items = ["Words", "Options"].map(|title| page.items(title));
    let documented: BTreeSet<_> = items.iter().flatten().flat_map(Item::forms).collect();
    let read = candidates().into_iter().filter(|(word, value)| is_read(word, *value)).collect();
    assert_eq!(documented, read, "in fan.5, and in the program");
}

#[test]
fn the_words_of_2015_stand_beside_the_options_of_up() {
    let page = Page::read("fanctl.8");
    let documented: BTreeSet<_> = page.items("up").iter().flat_map(Item::forms).collect();
    let words = |forms: BTreeSet<(String, bool)>| -> BTreeSet<_> {
        forms.into_iter().filter(|form| !is_option(form)).collect()
    };
    let read = candidates().into_iter().filter(|(word, value)| is_read(word, *value)).collect();
    assert_eq!(words(documented), words(read), "in fanctl.8, and in the program");
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let page = Page::read("fan.toml.5");
    let items = page.items("Keys");
    let documented: Vec<String> = items.iter().flat_map(Item::forms).map(|(key, _)| key).collect();
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
        Error::Unread
        | Error::Failed(_)
        | Error::Usage(_)
        | Error::Faulty(_)
        | Error::Refused(_)
        | Error::Takes(_)
        | Error::Later(_)
        | Error::Differs
        | Error::Found => true,
        Error::Several(_) | Error::Interrupted(..) => false,
    };
    let none = String::new;
    let errors = [
        Error::Unread,
        Error::Failed(none()),
        Error::Usage(none()),
        Error::Faulty(vec![]),
        Error::Refused(vec![]),
        Error::Takes(vec![]),
        Error::Later(Box::new(Error::Refused(vec![]))),
        Error::Differs,
        Error::Found,
    ];
    assert!(errors.iter().all(is_one));
    assert_eq!(documented, errors.iter().map(Error::exit_status).collect());
    assert_eq!(Error::Interrupted(2, String::new()).exit_status(), 128 + 2, "as fanctl.8 has it");
}

#[test]
fn options_of_a_stanza_are_those_that_the_hook_reads() {
    let documented: BTreeSet<String> =
        Page::read("fan.toml.5").items("IFUPDOWN").iter().flat_map(Item::forms).map(|(option, _)| option).collect();
    let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("ifupdown/fanctl");
    let hook = fs::read_to_string(&hook).unwrap_or_else(|error| panic!("{}: {error}", hook.display()));
    let words = hook.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let read = words.filter_map(|word| word.strip_prefix("IF_")).map(|name| name.to_lowercase().replace('_', "-"));
    // What else there is, like the address, is told in interfaces(5).
    let read = read.filter(|name| name.starts_with("fan-"));
    assert_eq!(documented, read.collect(), "in fan.toml.5, and in ifupdown/fanctl");
}

#[test]
fn every_reference_leads_to_a_page() {
    let mut unused: BTreeSet<&str> = SYSTEM_PAGES.iter().copied().collect();
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

fn mandoc(arguments: &[&str]) -> String {
    let output = Command::new("mandoc")
        .args(arguments)
        .current_dir(directory())
        .output()
        .unwrap_or_else(|error| panic!("mandoc cannot be run ({error}); install it: tests/setup"));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn mandoc_finds_nothing_wrong() {
    let text = mandoc(&[&["-T", "lint", "-W", "style"], &PAGES[..]].concat());
    // Whether other pages are installed here says nothing about ours.
    let findings: Vec<&str> = text.lines().filter(|line| !line.contains("referenced manual not found")).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn nothing_is_wider_than_a_terminal() {
    for name in PAGES {
        let text = mandoc(&["-T", "utf8", "-O", "width=80", name]);
        assert!(text.contains("S\u{8}SE\u{8}EE\u{8}E"), "{name} is rendered");
        for line in text.lines() {
            // What is bold or underlined is printed twice, with a step back between.
            let width = line.chars().count() - 2 * line.matches('\u{8}').count();
            assert!(width <= 80, "{name}: {width} columns: {line}");
        }
    }
}
