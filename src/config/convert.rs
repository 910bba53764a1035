//! The way to /etc/fan.toml: one fan as its table, and a whole file of another program.

use std::fmt::Write as _;

use super::foreign::Foreign;
use super::{Fault, Source, legacy, toml as own};
use crate::fan::options::OptionKind;
use crate::fan::request::Request;

/// A fan as its table.
#[must_use]
pub fn table(config: &Request) -> String {
    let mut text = String::from("[[fan]]\n");
    for (key, value) in config.values() {
        let value = match key.kind {
            OptionKind::Text => toml::Value::String(value).to_string(),
            OptionKind::List => toml::Value::from(value.split(',').collect::<Vec<_>>()).to_string(),
            OptionKind::FlagOrText if value.parse::<bool>().is_err() => toml::Value::String(value).to_string(),
            OptionKind::Number | OptionKind::Flag | OptionKind::Switch | OptionKind::FlagOrText => value,
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} = {value}", key.name);
    }
    text
}

/// Whether a TOML file may be replaced by another: it has no fan that the other lacks.
///
/// # Errors
/// A sentence: it has, or cannot be read.
pub(crate) fn may_replace(there: &str, text: &str) -> Result<(), String> {
    let fans = |text: &str| own::read(&Source::new("", text));
    let (before, after) = (fans(there), fans(text));
    if !before.faults.is_empty() {
        return Err("is no configuration that can be read".into());
    }
    let has = |config: &Request| after.entries.iter().any(|entry| entry.config == *config);
    match before.entries.iter().find(|entry| !has(&entry.config)) {
        Some(entry) => Err(format!("has a fan that would be lost, {}", entry.config.overlay)),
        None => Ok(()),
    }
}

/// A file as TOML: an /etc/network/fan, the output of `lxc network show`, or the value of Juju's `fan-config`. Which one it is,
/// the text tells.
///
/// # Errors
/// Every fault of the file.
pub fn file(source: &Source) -> Result<String, Vec<Fault>> {
    match Foreign::of(source.text()) {
        Some(foreign) => foreign.convert(source),
        None => legacy_file(source),
    }
}

/// The file as TOML: every fan, and every comment and blank line between them.
///
/// # Errors
/// Every fault of the file.
pub fn legacy_file(source: &Source) -> Result<String, Vec<Fault>> {
    let mut fans = {
        let read = legacy::read(source);
        if !read.faults.is_empty() {
            return Err(read.faults);
        }
        read.entries.into_iter()
    };
    let mut text = String::new();
    for line in legacy::lines(source.text()) {
        if let Some(comment) = line.comment {
            // TOML has no other control character than the tabulator, not even in a comment.
            let is_allowed = |c: char| c == '\t' || !c.is_control();
            text.extend(comment.chars().map(|c| if is_allowed(c) { c } else { ' ' }));
            text.push('\n');
        }
        if !line.words.is_empty() {
            text.extend(fans.next().map(|entry| table(&entry.config)));
        } else if line.comment.is_none() {
            text.push('\n');
        }
    }
    Ok(text)
}
