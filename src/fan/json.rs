//! The JSON that commands print, in two forms: `--json` has the fields that it always had, `--json=2` objects with their
//! version and one name for one thing. fanctl-json(5) and docs/fanctl-json.schema.json have every field of both.

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::text::write_json;

/// A form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonVersion {
    /// As it was before there were versions.
    First,
    /// What scripts should ask for.
    Second,
}

/// `--json`, `--json=1` or `--json=2`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct JsonArgs {
    /// Print JSON: fanctl-json(5) has its fields, and those of --json=2, which are to stay
    #[arg(long = "json", value_name = "VERSION", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = version)]
    json: Option<JsonVersion>,
}

fn version(text: &str) -> Result<JsonVersion, String> {
    match text {
        "1" => Ok(JsonVersion::First),
        "2" => Ok(JsonVersion::Second),
        _ => Err(format!("json '{text}' is no version; it is 1 or 2")),
    }
}

/// What a document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    /// Fans: of `show`, `config list`, `up`, `down`, `reload`.
    Fans,
    /// Lines to type, of `--dry-run`.
    Steps,
    /// What `doctor` found.
    Findings,
    /// An object of its own.
    Other,
}

impl JsonArgs {
    /// Whether JSON is asked for.
    #[must_use]
    pub(crate) fn is_wanted(self) -> bool {
        self.json.is_some()
    }

    /// Whether it is the second form.
    #[must_use]
    pub(crate) fn is_second(self) -> bool {
        self.json == Some(JsonVersion::Second)
    }

    /// Writes a document, given in its first form, and a line feed.
    ///
    /// # Errors
    /// What writing came to.
    pub(crate) fn write(self, document: Document, value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
        if self.is_second() {
            write_json(&second(document, serde_json::to_value(value)?), out)?;
        } else {
            write_json(value, out)?;
        }
        writeln!(out)
    }
}

/// What the second form calls otherwise, whatever it is in.
const NAMES: [(&str, &str); 12] = [
    ("advice", "next"),
    ("asked", "target"),
    ("decides", "values"),
    ("device", "interface"),
    ("dont_fragment", "df"),
    ("mend", "fix"),
    ("plan", "steps"),
    ("says", "text"),
    ("sentence", "text"),
    ("step", "name"),
    ("underlay_ping", "ping_underlay"),
    ("wrapped", "encapsulated"),
];

/// Fields whose values are words for programs, of which the second form has none with `_`.
const WORDS: [&str; 5] = ["aim", "cause", "check", "code", "outcome"];

/// The second form of a document.
fn second(document: Document, mut value: Value) -> Value {
    rename(&mut value);
    let mut object = match (document, value) {
        (Document::Fans, value) => {
            let mut fans = match value {
                Value::Array(fans) => fans,
                one => vec![one],
            };
            fans.iter_mut().for_each(fan);
            Map::from_iter([("fans".into(), fans.into())])
        }
        (Document::Steps, steps) => Map::from_iter([("steps".into(), steps)]),
        (Document::Findings, Value::Object(mut object)) => {
            for finding in object.get_mut("findings").and_then(Value::as_array_mut).into_iter().flatten() {
                moved(finding, [("fan", "overlay"), ("reason", "text"), ("verdict", "result")]);
            }
            object
        }
        (_, Value::Object(mut object)) => {
            for fan in object.get_mut("fans").and_then(Value::as_array_mut).into_iter().flatten() {
                // Each has a code too.
                moved(fan, [("refusals", "reasons")]);
            }
            object
        }
        (_, value) => Map::from_iter([("value".into(), value)]),
    };
    object.insert("version".into(), 2.into());
    object.into()
}

/// A fan that is up, or what became of one that was asked for.
fn fan(value: &mut Value) {
    if let Some(up) = value.get_mut("fan") {
        return fan(up);
    }
    moved(value, [("verdict", "health")]);
    if let Some(object) = value.as_object_mut()
        && object.contains_key("health")
    {
        // The ports have their names, and each option is a field.
        object.remove("containers");
        object.remove("flags");
    }
}

fn moved<const N: usize>(value: &mut Value, names: [(&str, &str); N]) {
    let Some(object) = value.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = object.remove(from) {
            object.insert(to.into(), value);
        }
    }
}

fn rename(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(rename),
        Value::Object(object) => {
            for (name, mut value) in std::mem::take(object) {
                rename(&mut value);
                let name = NAMES.iter().find(|(from, _)| *from == name).map_or(name, |(_, to)| (*to).to_string());
                if WORDS.contains(&name.as_str())
                    && let Value::String(word) = &value
                    && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
                {
                    value = word.replace('_', "-").into();
                }
                object.insert(name, value);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_second_form_has_one_name_for_one_thing() {
        let show = json!([{ "bridge": "b", "device": "eth0", "containers": ["c"], "flags": "-", "verdict": { "complete": true } }]);
        let shown =
            json!({ "version": 2, "fans": [{ "bridge": "b", "interface": "eth0", "health": { "complete": true } }] });
        assert_eq!(second(Document::Fans, show.clone()), shown);
        let up =
            json!({ "overlay": "250.0.0.0/8", "fan": show[0], "losses": [{ "code": "dns_server", "sentence": "s" }] });
        let fan = shown["fans"][0].clone();
        let wanted =
            json!([{ "overlay": "250.0.0.0/8", "fan": fan, "losses": [{ "code": "dns-server", "text": "s" }] }]);
        assert_eq!(second(Document::Fans, up)["fans"], wanted);
        assert_eq!(second(Document::Steps, json!(["ip"])), json!({ "version": 2, "steps": ["ip"] }));
        let doctor = json!({ "fixed": [], "findings": [{ "check": "rp_filter", "fan": null, "reason": "r", "verdict": "passed", "mend": null }] });
        let finding = json!({ "check": "rp-filter", "overlay": null, "text": "r", "result": "passed", "fix": null });
        assert_eq!(second(Document::Findings, doctor)["findings"][0], finding);
        let status = json!({ "fans": [{ "plan": [], "reasons": ["r"], "refusals": [{ "code": "c", "text": "r" }] }] });
        assert_eq!(
            second(Document::Other, status)["fans"][0],
            json!({ "steps": [], "reasons": [{ "code": "c", "text": "r" }] })
        );
    }
}
