//! Every fan that the administrator wrote down: /etc/fan.toml, /etc/network/fan, or both together.
//!
//! Knows text and no files. A fault does not hide the fans beside it: what could be read is there, and so is every fault
//! with its place. The two files are read in [`toml`] and [`legacy`], the way from one to the other is
//! [`convert`]; here is what a set of fans must be like.

pub mod convert;
pub mod legacy;
#[cfg(test)]
mod tests;
pub mod toml;

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use crate::config::{Config, KEYS, Key};
use crate::encap::Encapsulation;
use crate::mapping::Overlay;

/// What the administrator wrote down.
#[derive(Debug, Default)]
pub struct Configuration {
    /// The fans, in the order in which they were written; of those that exclude each other, the first.
    pub entries: Vec<Entry>,
    /// Everything that is wrong.
    pub faults: Vec<Fault>,
}

/// A fan that was written down.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is asked for.
    pub config: Config,
    /// Where it begins.
    pub position: Position,
    /// Where the values of its keys stand.
    pub places: BTreeMap<&'static str, Position>,
}

impl Entry {
    /// Where the value of a key stands; where it does not, where the fan begins.
    #[must_use]
    pub fn place(&self, key: &str) -> &Position {
        self.places.get(key).unwrap_or(&self.position)
    }

    /// Whether it is a line of /etc/network/fan, or of a file in its grammar.
    #[must_use]
    pub fn is_line(&self) -> bool {
        !is_toml(&self.position.file)
    }

    fn is_beside(&self, other: &Self) -> bool {
        self.position.file == other.position.file
    }
}

/// Whether a file is read as TOML.
#[expect(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "the manual says how the name ends"
)]
fn is_toml(file: &str) -> bool {
    file.ends_with(".toml")
}

/// A place in a file. Lines and columns (in characters) count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are what they are called")]
pub struct Position {
    pub file: Rc<str>,
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Something wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where: a [`Position`], or the file's name.
    pub place: String,
    /// What, and what to do.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl Fault {
    /// A fault at a place.
    #[must_use]
    pub fn new(place: &impl ToString, message: impl Into<String>) -> Self {
        Self {
            place: place.to_string(),
            message: message.into(),
        }
    }
}

/// A file's name and text.
#[derive(Clone, Debug)]
pub struct Source {
    file: Rc<str>,
    text: String,
}

impl Source {
    /// A text and where it is from. The mark that editors of other systems put in front of it is no part of it.
    #[must_use]
    pub fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.into(),
            text: text.strip_prefix('\u{feff}').unwrap_or(text).into(),
        }
    }

    /// The text before an offset; all of it when there is no character's start.
    fn before(&self, offset: usize) -> &str {
        self.text.get(..offset).unwrap_or(&self.text)
    }

    /// The place of the byte at an offset.
    fn position(&self, offset: usize) -> Position {
        let before = self.before(offset);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl Configuration {
    /// Reads files, each by the grammar that its name asks for: TOML where it ends in `.toml`, else that of
    /// /etc/network/fan.
    #[must_use]
    pub fn read(sources: &[Source]) -> Self {
        let mut whole = Self::default();
        for source in sources {
            let part = if is_toml(&source.file) {
                toml::read(source)
            } else {
                legacy::read(source)
            };
            whole.faults.extend(part.faults);
            for entry in part.entries {
                whole.add(entry);
            }
        }
        whole
    }

    /// The fans to be brought up.
    pub fn enabled(&self) -> impl Iterator<Item = &Config> {
        self.entries
            .iter()
            .map(|entry| &entry.config)
            .filter(|config| config.enabled)
    }

    /// The same, with their places.
    pub fn enabled_entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.config.enabled)
    }

    /// The fan of an overlay that is to be brought up.
    #[must_use]
    pub fn enabled_entry(&self, overlay: Overlay) -> Option<&Entry> {
        self.enabled_entries().find(|entry| entry.config.overlay == overlay)
    }

    /// Adds a fan, unless the other file has it already or one before it stands in its way.
    fn add(&mut self, entry: Entry) {
        let same = |earlier: &Entry| !earlier.is_beside(&entry) && earlier.config == entry.config;
        if self.entries.iter().any(same) {
            return;
        }
        match self.entries.iter().find_map(|earlier| clash(earlier, &entry)) {
            Some(fault) => self.faults.push(fault),
            None => self.entries.push(entry),
        }
    }
}

/// Why two fans cannot both be. One that is off is in nobody's way, unless the other file has it on.
fn clash(earlier: &Entry, entry: &Entry) -> Option<Fault> {
    let (one, two) = (&earlier.config, &entry.config);
    let same_file = earlier.is_beside(entry);
    let there = if same_file {
        format!("line {}", earlier.position.line)
    } else {
        earlier.position.to_string()
    };
    let fault = |key: &str, message: String| Some(Fault::new(entry.place(key), message));
    let both = one.enabled && two.enabled;
    if one.overlay == two.overlay && !same_file && (one.enabled || two.enabled) {
        return fault(
            "overlay",
            format!(
                "fan {} is not as in {there}: {}; let both files agree, or remove it from one",
                two.overlay,
                differences(one, two)
            ),
        );
    }
    if !both {
        return None;
    }
    if one.overlay == two.overlay {
        return fault(
            "overlay",
            format!(
                "overlay '{}' stands already in {there}, and a host has one slice of an overlay; remove one of the two, or \
                 switch it off",
                two.overlay
            ),
        );
    }
    if one.overlay.overlaps(two.overlay) {
        return fault(
            "overlay",
            format!(
                "overlay '{}' overlaps '{}' in {there}; choose another overlay",
                two.overlay, one.overlay
            ),
        );
    }
    if one.encapsulation == Encapsulation::Vxlan && two.encapsulation == Encapsulation::Vxlan {
        let vni = two.overlay.vni();
        if one.overlay.vni() == vni {
            return fault(
                "overlay",
                format!(
                    "overlay '{}' would share the VXLAN identifier {vni} with '{}' in {there}; choose another overlay",
                    two.overlay, one.overlay
                ),
            );
        }
    }
    match &two.bridge {
        Some(bridge) if one.bridge.as_ref() == Some(bridge) => fault(
            "bridge",
            format!("bridge '{bridge}' is that of the fan in {there} already; choose another name"),
        ),
        _ => None,
    }
}

/// What two fans over one overlay say differently: `underlay 'eth1/16' here and 'eth0/16' there`.
fn differences(there: &Config, here: &Config) -> String {
    let value = |key: &Key, config| {
        key.get(config)
            .map_or("the default".into(), |value| format!("'{value}'"))
    };
    let differing = KEYS.iter().filter(|key| key.get(there) != key.get(here));
    let list: Vec<String> = differing
        .map(|key| format!("{} {} here and {} there", key.name, value(key, here), value(key, there)))
        .collect();
    list.join(", ")
}
