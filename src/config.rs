//! Every fan that the administrator wrote down: /etc/fan.toml, /etc/network/fan, or both together.
//!
//! Knows text and no files. A fault does not hide the fans beside it: what could be read is there, and so is every fault
//! with its place. The two files are read in [`toml`] and [`legacy`], the way from one to the other is
//! [`convert`]; here is what a set of fans must be like.

mod clash;
pub mod convert;
pub mod legacy;
pub(crate) mod save;
mod source;
#[cfg(test)]
mod tests;
pub mod toml;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use crate::fan::label::Label;
use crate::fan::mapping::Overlay;
use crate::fan::request::Request;

use clash::Known;
pub use source::{Position, Source};

/// What the administrator wrote down.
#[derive(Debug, Default)]
pub struct Configuration {
    /// The fans, in the order in which they were written; of those that exclude each other, the first.
    pub entries: Vec<Entry>,
    /// The names of containers.
    pub names: Vec<NameEntry>,
    /// Everything that is wrong.
    pub faults: Vec<Fault>,
}

/// A fan that was written down.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is asked for.
    pub config: Request,
    /// Where it begins.
    pub(crate) position: Position,
    /// Where the values of its keys stand.
    pub(crate) places: BTreeMap<&'static str, Position>,
}

impl Entry {
    /// Where the value of a key stands; where it does not, where the fan begins.
    #[must_use]
    pub fn place(&self, key: &str) -> &Position {
        self.places.get(key).unwrap_or(&self.position)
    }

    /// Whether it is a line of /etc/network/fan, or of a file in its grammar.
    #[must_use]
    pub(crate) fn is_line(&self) -> bool {
        !is_toml(&self.position.file)
    }

    fn is_beside(&self, other: &Self) -> bool {
        self.position.file == other.position.file
    }
}

/// Whether a file is read as TOML.
#[expect(clippy::case_sensitive_file_extension_comparisons, reason = "the manual says how the name ends")]
fn is_toml(file: &str) -> bool {
    file.ends_with(".toml")
}

/// A name of a container that was written down.
#[derive(Clone, Debug)]
pub struct NameEntry {
    /// The name.
    pub label: Label,
    /// Its address.
    pub address: Ipv4Addr,
    /// Where it stands.
    pub position: Position,
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
        Self { place: place.to_string(), message: message.into() }
    }
}

impl Configuration {
    /// Reads files, each by the grammar that its name asks for: TOML where it ends in `.toml`, else that of
    /// /etc/network/fan.
    #[must_use]
    pub fn read(sources: &[Source]) -> Self {
        let (mut whole, mut known) = (Self::default(), Known::default());
        for source in sources {
            let part = if is_toml(source.file()) { toml::read(source) } else { legacy::read(source) };
            whole.faults.extend(part.faults);
            whole.names.extend(part.names);
            for entry in part.entries {
                match known.add(&whole.entries, &entry) {
                    Ok(true) => whole.entries.push(entry),
                    Ok(false) => {}
                    Err(fault) => whole.faults.push(fault),
                }
            }
        }
        whole.check_names();
        whole
    }

    /// A name is for an address of a fan that is written down.
    fn check_names(&mut self) {
        let is_astray =
            |name: &&NameEntry| !self.entries.iter().any(|entry| entry.config.overlay.contains(name.address));
        let message = |name: &NameEntry| {
            let address = name.address;
            format!("address '{address}' of name '{}' is in the overlay of no fan here; write one that is", name.label)
        };
        let astray = self.names.iter().filter(is_astray);
        let faults: Vec<Fault> = astray.map(|name| Fault::new(&name.position, message(name))).collect();
        self.faults.extend(faults);
    }

    /// The fans to be brought up.
    pub(crate) fn enabled(&self) -> impl Iterator<Item = &Request> {
        self.entries.iter().map(|entry| &entry.config).filter(|config| config.options.enabled)
    }

    /// The same, with their places.
    pub(crate) fn enabled_entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.config.options.enabled)
    }

    /// The fan of an overlay that is to be brought up.
    #[must_use]
    pub(crate) fn enabled_entry(&self, overlay: Overlay) -> Option<&Entry> {
        self.enabled_entries().find(|entry| entry.config.overlay == overlay)
    }
}

/// Counts what the time that reading takes is made of, for a test: bytes and fans that were looked at.
#[cfg(test)]
fn work(amount: usize) {
    WORK.set(WORK.get() + amount);
}

#[cfg(test)]
thread_local! {
    static WORK: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(not(test))]
fn work(_: usize) {}
