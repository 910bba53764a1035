//! A page in mdoc, as far as the tests look at it: sections, the entries of lists, and words behind macros.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the pages are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("man")
}

/// A page of ours.
pub struct Page {
    name: String,
    text: String,
}

impl Page {
    #[track_caller]
    pub fn read(name: &str) -> Self {
        let text = fs::read_to_string(directory().join(name)).unwrap_or_else(|error| panic!("man/{name}: {error}"));
        let name = name.to_string();
        Self { name, text }
    }

    /// A section without its subsections, or a subsection: its lines.
    #[track_caller]
    pub fn part(&self, title: &str) -> Vec<&str> {
        let mut lines = self.text.lines().skip_while(|line| heading(line) != Some(title));
        assert!(lines.next().is_some(), "{} has no section '{title}'", self.name);
        lines.take_while(|line| heading(line).is_none()).collect()
    }

    /// The titles of a section's subsections.
    #[track_caller]
    pub fn subsections(&self, title: &str) -> BTreeSet<&str> {
        let mut lines = self.text.lines().skip_while(|line| heading(line) != Some(title));
        assert!(lines.next().is_some(), "{} has no section '{title}'", self.name);
        let inside = lines.take_while(|line| !line.starts_with(".Sh "));
        inside.filter_map(heading).collect()
    }

    /// The entries of the lists of a section.
    #[track_caller]
    pub fn items(&self, title: &str) -> Vec<Item<'_>> {
        let mut items: Vec<Item> = Vec::new();
        for line in self.part(title) {
            match (line.strip_prefix(".It "), items.last_mut()) {
                (Some(head), _) => items.push(Item { head, body: vec![] }),
                (None, Some(item)) => item.body.push(line),
                (None, None) => {}
            }
        }
        items
    }

    /// The calls in the synopsis.
    pub fn calls(&self) -> Vec<Call<'_>> {
        let lines = self.part("SYNOPSIS");
        let calls = lines.split(|line| *line == ".Nm" || line.starts_with(".Nm ")).skip(1);
        calls.map(Call::read).collect()
    }

    /// The words behind a macro, at every place in the page: after `Xr` two words.
    pub fn marked(&self, called: &str, words: usize) -> BTreeSet<String> {
        let lines = self.text.lines().filter_map(|line| line.strip_prefix('.'));
        let all = lines.flat_map(|line| {
            let line: Vec<&str> = line.split(' ').collect();
            let found = line.windows(words + 1).filter(|found| found[0] == called);
            found.map(|found| found[1..].join(" ")).collect::<Vec<_>>()
        });
        all.collect()
    }
}

fn heading(line: &str) -> Option<&str> {
    line.strip_prefix(".Sh ").or_else(|| line.strip_prefix(".Ss "))
}

/// An entry of a list: its `.It` and what follows.
pub struct Item<'a> {
    pub head: &'a str,
    pub body: Vec<&'a str>,
}

impl Item<'_> {
    /// What a command line is made of, as it is typed, and whether a value follows: `Cm bridge Ar name , Fl -bridge Ar
    /// name` is `bridge` and `--bridge`, both with one.
    pub fn forms(&self) -> Vec<(String, bool)> {
        let forms = self.head.split(" , ").map(|form| form.split(' ').collect::<Vec<_>>());
        let read = forms.filter_map(|form| match form[..] {
            ["Fl", name, ref value @ ..] => Some((format!("-{name}"), !value.is_empty())),
            ["Cm" | "Ic", name, ref value @ ..] => Some((name.to_string(), !value.is_empty())),
            _ => None,
        });
        read.collect()
    }
}

/// A call in a synopsis.
#[derive(Debug)]
pub struct Call<'a> {
    /// What comes first.
    pub verb: &'a str,
    /// Words as they are typed, and names of what is to be put in their place.
    pub words: BTreeSet<&'a str>,
    /// With their dashes.
    pub options: BTreeSet<String>,
}

impl<'a> Call<'a> {
    fn read(lines: &[&'a str]) -> Self {
        let (mut words, mut options) = (Vec::new(), BTreeSet::new());
        for line in lines {
            let mut called = "";
            for word in line.trim_start_matches('.').split(' ') {
                match word {
                    "Op" | "Oo" | "Oc" | "|" | "..." => {}
                    "Ar" | "Cm" | "Fl" => called = word,
                    name if called == "Fl" => drop(options.insert(format!("-{name}"))),
                    name => words.push(name),
                }
            }
        }
        let verb = words.first().expect("a verb");
        let words = words.iter().copied().collect();
        Self { verb, words, options }
    }
}
