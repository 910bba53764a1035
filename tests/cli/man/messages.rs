//! What the pages and docs/messages.md quote from inside the program, its messages and its files, against the texts in the
//! source.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::page::{Item, Page};
use crate::program::fanctl;

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
    let holds = |name: &str, head: &str| {
        // Two thirds may be values.
        let is_text = |text: &String| agreement(text, head).is_some_and(|same| 3 * same >= head.len());
        let is_there = texts.iter().any(is_text) || faults.contains(&format!(": {head}"));
        assert!(is_there, "{name}: no message of the program begins with: {head}");
    };
    for name in ["fan.5", "fan.toml.5"] {
        let page = Page::read(name);
        for Item { head, .. } in page.items("DIAGNOSTICS") {
            holds(name, head);
        }
    }
    let name = "docs/messages.md";
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("the page");
    let heads: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("- `")?.split('`').next()).collect();
    assert!(heads.len() > 40, "{} messages in {name}", heads.len());
    for head in heads {
        holds(name, head);
    }
}

#[test]
fn files_are_those_that_the_program_uses() {
    let paths = |name: &str| -> BTreeSet<String> {
        let page = Page::read(name);
        let path = |item: &Item| item.head.strip_prefix("Pa ").expect("a path").to_string();
        page.items("FILES").iter().map(path).collect()
    };
    let documented = &(&paths("fanctl.8") | &paths("fanctl-names.8")) | &paths("fanctl-key.8");
    for name in ["fan.5", "fan.7", "fan.toml.5"] {
        assert!(paths(name).is_subset(&documented), "files of {name}: {:?}", paths(name));
    }
    let is_file = |text: &String| ["/etc/", "/run/", "/var/"].iter().any(|root| text.starts_with(root));
    let texts = source("src").into_iter().flat_map(|source| literals(&source)).filter(is_file);
    // Of `fanctl lab`, which uses the namespaces of ip(8); a path that a test finds to be none of ours; and what is of
    // other software.
    let others = [
        "/run/netns",
        "/run/fan/lab-key",
        "/var/lib/misc/dnsmasq.leases",
        "/etc/nftables.conf",
        "/etc/iptables/rules.v4",
        "/etc/NetworkManager/conf.d/50-fan.conf",
        "/etc/systemd/network/05-fan-by-name.network",
    ];
    let plain = texts.filter(|text| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/.-".contains(&byte)));
    let used = plain.filter(|text| !others.contains(&text.as_str())).collect();
    assert_eq!(documented, used, "in fanctl.8, fanctl-names.8 and fanctl-key.8, and in the program");
}

#[test]
fn chains_are_those_of_the_tables() {
    let page = Page::read("fan.7");
    let documented: Vec<&str> = page
        .items("Chains")
        .iter()
        .filter_map(|item| item.head.strip_prefix("Li "))
        .flat_map(|head| head.split(" , "))
        .collect();
    assert!(documented.len() > 10, "{documented:?}");
    let texts: BTreeSet<String> = source("src/plan").into_iter().flat_map(|source| literals(&source)).collect();
    let jumps: BTreeSet<&str> = texts.iter().flat_map(|text| jumps(text)).collect();
    for chain in &documented {
        assert!(texts.contains(*chain), "fan.7: no chain of the tables is called '{chain}'");
    }
    for chain in jumps {
        assert!(documented.contains(&chain), "fan.7 lacks chain '{chain}'");
    }
}

/// The chains that the text of a rule goes to.
fn jumps(text: &str) -> impl Iterator<Item = &str> {
    let words: Vec<&str> = text.split(' ').collect();
    let pairs: Vec<_> =
        words.windows(2).filter(|pair| ["goto", "jump"].contains(&pair[0])).map(|pair| pair[1]).collect();
    pairs.into_iter().filter(|chain| chain.bytes().all(|byte| byte.is_ascii_lowercase()))
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
