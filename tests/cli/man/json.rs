//! fanctl-json(5) has every field of the schema, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::page::Page;

/// The names of all properties in a schema.
fn properties(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Array(values) => values.iter().for_each(|value| properties(value, found)),
        Value::Object(object) => {
            if let Some(named) = object.get("properties").and_then(Value::as_object) {
                found.extend(named.keys().cloned());
            }
            object.values().for_each(|value| properties(value, found));
        }
        _ => {}
    }
}

#[test]
fn every_field_of_the_schema_is_in_the_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fanctl-json.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).expect("the schema")).expect("JSON");
    let mut fields = BTreeSet::new();
    properties(&schema, &mut fields);
    let page = Page::read("fanctl-json.5");
    let sections = page.subsections("DOCUMENTS");
    let items = sections.iter().flat_map(|section| page.items(section));
    let told: BTreeSet<String> = items.flat_map(|item| item.forms()).map(|(name, _)| name).collect();
    assert_eq!(told, fields, "in fanctl-json.5, and in the schema");
}
