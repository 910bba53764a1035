//! The README and the pages of docs/: every call of `fanctl` in them is one that the program takes, every link leads somewhere,
//! and every test that docs/security.md names is there.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use fanctl::cli::args::Cli;

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// The pages, by path and text.
fn pages() -> Vec<(PathBuf, String)> {
    let (mut pages, mut rest) = (Vec::new(), vec![root().join("docs"), root().join("README.md")]);
    while let Some(path) = rest.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(path).expect("a directory");
            rest.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.extension() == Some(OsStr::new("md")) {
            let text = fs::read_to_string(&path).expect("text");
            pages.push((path, text));
        }
    }
    pages
}

/// What is typed in the blocks of a page: each line of a shell, up to a pipe, a redirection or a comment.
fn calls(page: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2);
    let shells = blocks.filter(|block| block.starts_with("sh\n") || block.starts_with("console\n"));
    let lines = shells.flat_map(str::lines).map(|line| line.trim_start_matches("# "));
    let calls = lines.filter(|line| line.starts_with("fanctl ") && !line.starts_with("fanctl: "));
    calls.map(|call| call.split(['|', '>', '#', '&']).next().unwrap_or_default().trim().into()).collect()
}

#[test]
fn calls_are_those_that_the_program_takes() {
    let mut count = 0;
    for (page, text) in pages() {
        for call in calls(&text) {
            let parsed = Cli::try_parse_from(call.split(' ').filter(|word| !word.is_empty()));
            assert!(parsed.is_ok(), "{}: {call}: {}", page.display(), parsed.unwrap_err());
            count += 1;
        }
    }
    assert!(count > 20, "{count} calls in all pages");
}

#[test]
fn links_lead_to_files() {
    for (page, text) in pages() {
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let file = page.parent().unwrap_or(Path::new("/")).join(target);
            assert!(file.exists(), "{}: {target}", page.display());
        }
    }
}

/// What most people open first stays short: details have pages of their own.
#[test]
fn the_first_pages_are_short() {
    for (name, most) in [("README.md", 250), ("man/fanctl.8", 450)] {
        let lines = fs::read_to_string(root().join(name)).expect("text").lines().count();
        assert!(lines <= most, "{name}: {lines} lines, at most {most}");
    }
}

/// Screen readers read the title of a drawing, and a dark page shows it in light colours on no background.
#[test]
fn the_drawing_has_a_title_and_colours_for_dark_pages() {
    let drawing = fs::read_to_string(root().join("docs/packet.svg")).expect("the drawing");
    for part in ["role=\"img\"", "<title", "prefers-color-scheme: dark"] {
        assert!(drawing.contains(part), "docs/packet.svg lacks {part}");
    }
}

/// The Rust files below a directory, by path and text.
fn sources(directory: PathBuf) -> Vec<(PathBuf, String)> {
    let (mut files, mut rest) = (Vec::new(), vec![directory]);
    while let Some(path) = rest.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(path).expect("a directory");
            rest.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.extension() == Some(OsStr::new("rs")) {
            let text = fs::read_to_string(&path).expect("text");
            files.push((path, text));
        }
    }
    files
}

/// The words between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether a file has the tests of a module: by its path or that of the folder it is in, or by the name of its cases.
fn is_of_module((path, text): &(PathBuf, String), module: &str) -> bool {
    let mut parts = path.iter().filter_map(OsStr::to_str);
    parts.any(|part| part.strip_suffix(".rs").unwrap_or(part) == module)
        || text.contains(&format!("Cases::of(\"{module}\")"))
        || text.contains(&format!("mod {module} {{"))
}

#[test]
fn tests_that_the_page_on_security_names_are_there() {
    let page = fs::read_to_string(root().join("docs/security.md")).expect("the page");
    let files: Vec<(PathBuf, String)> =
        ["src", "tests", "fuzz"].into_iter().flat_map(|directory| sources(root().join(directory))).collect();
    let mut count = 0;
    for name in quoted(&page).filter(|word| word.contains("::") && !word.contains([' ', '\n'])) {
        let words: Vec<&str> = name.split("::").collect();
        let (test, modules) = words.split_last().expect("a name has words");
        let module = modules.last().copied().unwrap_or_default();
        // A prefix alone stands for all tests of a module, or of an encapsulation.
        if test.is_empty() {
            let is_known = ["PREFIX", "ipip", "vxlan"].contains(&module);
            assert!(is_known || files.iter().any(|file| is_of_module(file, module)), "{name}: no such module");
            continue;
        }
        let function = format!("fn {test}(");
        let is_there = |file: &&(PathBuf, String)| file.1.contains(&function) && is_of_module(file, module);
        assert!(files.iter().any(|file| is_there(&file)), "{name}: no such test");
        count += 1;
    }
    assert!(count > 50, "{count} tests in all");
}

/// Each row of what is read has a test that writes something hostile.
#[test]
fn what_is_read_is_shown_by_tests() {
    let page = fs::read_to_string(root().join("docs/security.md")).expect("the page");
    let (_, section) = page.split_once("## What is read").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("one behind it");
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in rows {
        let [read, who, decides, bounds, tests] = row[..] else { panic!("five cells: {row:?}") };
        assert!([read, who, decides, bounds].iter().all(|cell| !cell.is_empty()), "{read}");
        assert!(quoted(tests).next().is_some(), "{read}: no test");
    }
}
