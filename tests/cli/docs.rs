//! The README and the pages of docs/: every call of `fanctl` in them is one that the program takes, and every link leads
//! somewhere.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use fanctl::cli::Cli;

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// The pages, by path and text.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).expect("docs/");
    let mut pages: Vec<PathBuf> = docs.map(|entry| entry.expect("an entry").path()).collect();
    pages.retain(|page| page.is_file());
    pages.push(root().join("README.md"));
    pages
        .into_iter()
        .map(|page| {
            let text = fs::read_to_string(&page).expect("text");
            (page, text)
        })
        .collect()
}

/// What is typed in the blocks of a page: each line of a shell, up to a pipe, a redirection or a comment.
fn calls(page: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2);
    let shells = blocks.filter(|block| block.starts_with("sh\n") || block.starts_with("console\n"));
    let lines = shells.flat_map(str::lines).map(|line| line.trim_start_matches("# "));
    let calls = lines.filter(|line| line.starts_with("fanctl ") && !line.starts_with("fanctl: "));
    calls
        .map(|call| {
            call.split(['|', '>', '#', '&'])
                .next()
                .unwrap_or_default()
                .trim()
                .into()
        })
        .collect()
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
