//! The way to /etc/fan.toml: one fan as its table, and a whole /etc/network/fan.

use std::fmt::Write as _;

use super::{Fault, Source, legacy};
use crate::config::{Config, Kind};

/// A fan as its table.
#[must_use]
pub fn table(config: &Config) -> String {
    let mut text = String::from("[[fan]]\n");
    for (key, value) in config.values() {
        let value = match key.kind {
            Kind::Text => toml::Value::String(value).to_string(),
            Kind::FlagOrText if value.parse::<bool>().is_err() => toml::Value::String(value).to_string(),
            Kind::Number | Kind::Flag | Kind::Switch | Kind::FlagOrText => value,
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} = {value}", key.name);
    }
    text
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
