//! /etc/fan.toml: an array of `[[fan]]` tables with the keys of [`KEYS`], and one of `[[name]]` tables. Everything wrong with it is found in one reading.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::too_long;
use super::{Configuration, Entry, Fault, NameEntry, Source};
use crate::fan::label::Label;
use crate::fan::options::{KEYS, OptionKey, OptionKind};
use crate::fan::request::Request;
use crate::fan::text::excerpt;

/// Said once of a file, at its first such line.
const LEGACY: &str = "this is a line of /etc/network/fan; to have such a file as TOML: fanctl config convert FILE";

/// Reads the file. One that is no TOML has no fans.
#[must_use]
pub fn read(source: &Source) -> Configuration {
    let (document, errors) = DeTable::parse_recoverable(source.text());
    let mut reader = Reader {
        source,
        entries: Vec::new(),
        names: Vec::new(),
        faults: Vec::new(),
        broken_lines: BTreeSet::new(),
        is_legacy: false,
    };
    for error in &errors {
        reader.slip(error.span().unwrap_or_default().start, error.message());
    }
    // After a slip in its syntax, what the rest of a file means is guesswork.
    if errors.is_empty() {
        reader.document(document.get_ref());
    }
    reader.faults.sort_by_key(|(offset, _)| *offset);
    let faults = reader.faults.into_iter();
    Configuration {
        entries: reader.entries,
        names: reader.names,
        faults: faults.map(|(offset, message)| Fault::new(&source.position(offset), message)).collect(),
    }
}

struct Reader<'a> {
    source: &'a Source,
    entries: Vec<Entry>,
    names: Vec<NameEntry>,
    /// With their offset.
    faults: Vec<(usize, String)>,
    /// Where the lines begin whose syntax has a slip.
    broken_lines: BTreeSet<usize>,
    /// Whether one of them is a line of the other file.
    is_legacy: bool,
}

impl Reader<'_> {
    fn fault(&mut self, span: &Range<usize>, message: impl Into<String>) {
        self.faults.push((span.start, message.into()));
    }

    /// A slip in the syntax; the first of its line, for the others follow from it.
    fn slip(&mut self, offset: usize, message: &str) {
        let (start, line) = self.source.line(offset);
        if !self.broken_lines.insert(start) {
            return;
        }
        let is_legacy = super::legacy::is_fan(line);
        let told = if is_legacy {
            LEGACY.to_string()
        } else {
            slip_of_value(line, offset.saturating_sub(start))
                .unwrap_or_else(|| format!("this is no TOML: '{}': {message}", excerpt(line.trim())))
        };
        if !is_legacy || !self.is_legacy {
            self.faults.push((offset, told));
        }
        self.is_legacy |= is_legacy;
    }

    fn document(&mut self, document: &DeTable) {
        for (name, value) in document {
            match name.get_ref().as_ref() {
                "fan" => self.fans(value),
                "name" => self.names(value),
                other => {
                    let message =
                        format!("'{}' is unknown; the file consists of [[fan]] and [[name]] tables", excerpt(other));
                    self.fault(&name.span(), message);
                }
            }
        }
    }

    fn fans(&mut self, fans: &Spanned<DeValue>) {
        let Some(list) = fans.get_ref().as_array() else {
            return self.fault(&fans.span(), "'fan' is one of several, so it takes two brackets: write [[fan]]");
        };
        for fan in list {
            match fan.get_ref().as_table() {
                Some(table) => self.fan(&fan.span(), table),
                None => self
                    .fault(&fan.span(), "a fan is a table, like { overlay = \"250.0.0.0/8\", underlay = \"eth0/16\" }"),
            }
        }
    }

    fn names(&mut self, names: &Spanned<DeValue>) {
        let Some(list) = names.get_ref().as_array() else {
            return self.fault(&names.span(), "'name' is one of several, so it takes two brackets: write [[name]]");
        };
        for name in list {
            match name.get_ref().as_table() {
                Some(table) => self.name(&name.span(), table),
                None => self.fault(&name.span(), "a name is a table, like { name = \"db\", address = \"250.0.28.9\" }"),
            }
        }
    }

    /// A name of a container, and its address.
    fn name(&mut self, header: &Range<usize>, table: &DeTable) {
        let (mut label, mut address) = (None, None);
        let before = self.faults.len();
        for (key, value) in table {
            let text = value.get_ref().as_str();
            match (key.get_ref().as_ref(), text) {
                ("name", Some(text)) => match Label::new(text) {
                    Ok(read) => label = Some(read),
                    Err(fault) => self.fault(&value.span(), format!("name '{}': {fault}", excerpt(text))),
                },
                ("address", Some(text)) => {
                    address = text.parse().ok();
                    if address.is_none() {
                        let message =
                            format!("address '{}' is no IPv4 address; write it like 250.0.28.9", excerpt(text));
                        self.fault(&value.span(), message);
                    }
                }
                (key @ ("name" | "address"), None) => {
                    self.fault(&value.span(), format!("{key} is a string, not {}", kind(value.get_ref())));
                }
                (other, _) => {
                    let message = format!("key '{}' is unknown; a name has name, address", excerpt(other));
                    self.fault(&key.span(), message);
                }
            }
        }
        match (label, address) {
            (Some(label), Some(address)) => {
                self.names.push(NameEntry { label, address, position: self.source.position(header.start) });
            }
            _ if self.faults.len() > before => {}
            (None, _) => self.fault(header, "the name lacks its 'name', a string like \"db\""),
            (_, None) => self.fault(header, "the name lacks its 'address', a string like \"250.0.28.9\""),
        }
    }

    fn fan(&mut self, header: &Range<usize>, table: &DeTable) {
        let before = self.faults.len();
        let mut values = BTreeMap::new();
        let mut spans = BTreeMap::new();
        for (name, value) in table {
            let Some(key) = OptionKey::named(name.get_ref()) else {
                self.fault(&name.span(), unknown(name.get_ref()));
                continue;
            };
            spans.insert(key.name, value.span());
            if let Some(text) = text(key, value.get_ref()) {
                if let Some(message) = too_long(&text) {
                    self.fault(&value.span(), message);
                } else {
                    values.insert(key.name, text);
                }
            } else {
                let message = format!("{} is {}, not {}", key.name, key.values, kind(value.get_ref()));
                self.fault(&value.span(), message);
            }
        }
        let config = match Request::from_values(|key| values.get(key.name).map(String::as_str)) {
            Ok(config) => config,
            Err(reasons) => {
                // A key of the wrong kind is there, if not as it should be.
                for (key, reason) in
                    reasons.into_iter().filter(|(key, _)| values.contains_key(key) || !spans.contains_key(key))
                {
                    self.fault(spans.get(key).unwrap_or(header), reason);
                }
                return;
            }
        };
        if self.faults.len() == before {
            let places = spans.iter().map(|(key, span)| (*key, self.source.position(span.start)));
            self.entries.push(Entry { config, places: places.collect(), position: self.source.position(header.start) });
        }
    }
}

/// What is wrong with `KEY = VALUE` where the value is a bare word, or in quotes that are none, which the parser of TOML
/// cannot tell as well. `at` is the byte at which it gave up: before the value, it is about something else.
fn slip_of_value(line: &str, at: usize) -> Option<String> {
    let (name, value) = line.split_once('=').filter(|(name, _)| at > name.len())?;
    let (name, value) = (name.trim(), value.split('#').next()?.trim());
    let word = value.trim_matches(['"', '\'', '“', '”', '„', '‘', '’']);
    if word.is_empty() || !word.chars().all(|c| c.is_ascii_alphanumeric() || "./-_@:".contains(c)) {
        return None;
    }
    let takes = |key: &OptionKey| key.kind == OptionKind::Text || key.values.ends_with(&format!("or \"{word}\""));
    Some(match OptionKey::named(name) {
        Some(key) if takes(key) => {
            format!("'{name} = {value}' needs plain quotes: write {name} = \"{word}\"")
        }
        Some(key) => format!("{name} is {}, not '{value}'", key.values),
        None => unknown(name),
    })
}

fn unknown(key: &str) -> String {
    let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    format!("key '{}' is unknown; a fan has {}", excerpt(key), names.join(", "))
}

/// The value as text, if it is of the key's kind.
fn text(key: &OptionKey, value: &DeValue) -> Option<String> {
    match key.kind {
        OptionKind::Text => value.as_str().map(str::to_string),
        OptionKind::Flag | OptionKind::Switch => value.as_bool().map(|flag| flag.to_string()),
        OptionKind::List => match value.as_array() {
            Some(list) => {
                let list: Option<Vec<&str>> = list.iter().map(|value| value.get_ref().as_str()).collect();
                Some(list?.join(","))
            }
            None => value.as_str().map(str::to_string),
        },
        // One in quotes is none of the two words.
        OptionKind::FlagOrText => match value.as_bool() {
            Some(flag) => Some(flag.to_string()),
            None => value.as_str().filter(|text| text.parse::<bool>().is_err()).map(str::to_string),
        },
        // Hexadecimal and the like have a meaning of their own that our reader of numbers does not know.
        OptionKind::Number => {
            let number = value.as_integer()?;
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
    }
}

/// What a value is instead.
fn kind(value: &DeValue) -> String {
    match value {
        DeValue::String(text) => format!("the string '{}'", excerpt(text)),
        DeValue::Integer(number) => format!("the number {}", excerpt(number.as_str())),
        DeValue::Float(number) => format!("the number {}", excerpt(number.as_str())),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => format!("the time {time}"),
        DeValue::Array(_) => "an array".into(),
        DeValue::Table(_) => "a table".into(),
    }
}
