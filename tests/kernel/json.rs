//! What commands print with `--json` and `--json=2` is what docs/fanctl-json.schema.json says.

use serde_json::{Value, json};

use crate::case::{Case, Cases};
use crate::fixture::Pair;
use crate::named;
use crate::support::{Encap, Host, Lan, Output};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("json")
        .only_ipip_in_tier_3()
        .each(named![every_document_is_as_the_schema_has_it])
        .once(named![the_second_form_names_things_once])
        .list()
}

const SCHEMA: &str = include_str!("../../docs/fanctl-json.schema.json");

/// The document is one of this definition.
#[track_caller]
pub fn is_a(definition: &str, document: &Value) {
    let mut schema: Value = serde_json::from_str(SCHEMA).expect("the schema");
    assert!(schema["$defs"].get(definition).is_some(), "no {definition}");
    schema["$ref"] = json!(format!("#/$defs/{definition}"));
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path)).collect();
    assert!(errors.is_empty(), "{definition}: {errors:#?}\n{document:#}");
}

/// Both forms of what a command prints, however it ends.
#[track_caller]
fn both(host: &Host, definition: &str, words: &str) {
    for (form, option) in [(1, "--json"), (1, "--json=1"), (2, "--json=2")] {
        is_a(&format!("{definition}-{form}"), &host.fanctl(&format!("{words} {option}")).json());
    }
}

#[track_caller]
fn one(output: &Output, definition: &str) -> Value {
    let document = output.json();
    is_a(definition, &document);
    document
}

fn every_document_is_as_the_schema_has_it(encap: Encap) {
    let pair = Pair::new(encap);
    let Pair { a, ca, .. } = &pair;
    let words = encap.words();
    let file = "--config /run/fan.toml";
    both(a, "show", "show");
    both(a, "trace", "trace --wait 3 250.0.27.2");
    both(a, "trace", "trace 250.0.28.2");
    both(a, "trace", "trace 250.0.99.2");
    both(a, "doctor", "doctor");
    both(a, "up", &format!("up 250 eth0 {words}"));
    both(a, "dry-run", &format!("up 251 eth0 {words} --dry-run"));
    both(a, "up", &format!("up 250 eth0 {words} --mtu 1400 --no-nat"));
    a.write(
        "/run/fan.toml",
        &format!("[[fan]]\noverlay = \"250\"\nunderlay = \"eth0/16\"\nencap = \"{encap}\"\nfollow = \"renumber\"\n"),
    );
    both(a, "config-list", &format!("config list {file}"));
    both(a, "status", &format!("status {file}"));
    both(a, "up", &format!("up -a {file}"));
    both(a, "dry-run", &format!("reload {file} --dry-run"));
    both(a, "up", &format!("reload {file}"));
    one(&a.fanctl(&format!("config check {file} --json")).ok(), "config-check");
    a.write("/run/bad.toml", "[[fan]]\noverlay = 3\n");
    let bad = one(&a.fanctl("config check --config /run/bad.toml --json=2").exits(2), "config-check");
    assert!(bad["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{bad:#}");
    // What is damaged has more to tell.
    a.exec(&format!("tc filter del dev {} egress", encap.tunnel())).ok();
    a.ip("link set fan-250-0-28 mtu 1300");
    a.exec("nft flush table ip fan-250.0.0.0/8").ok();
    for (definition, words) in [("show", "show"), ("doctor", "doctor"), ("trace", "trace 250.0.27.2")] {
        both(a, definition, words);
    }
    both(a, "status", &format!("status {file}"));
    both(a, "doctor", "doctor --fix");
    a.write("/run/conflist", &a.fanctl("export cni").ok().stdout);
    one(&a.fanctl("export cni --check /run/conflist --json").ok(), "export-check");
    a.write("/run/conflist", &a.fanctl("export cni").ok().stdout.replace("fan-250-0-28", "other0"));
    let other = one(&a.fanctl("export cni --check /run/conflist --json=2").exits(3), "export-check");
    assert_eq!(other["networks"][0]["fits"], false, "{other:#}");
    both(a, "map", "map 250 172.30.0.0/16 172.30.0.28 250.0.27.3");
    a.detach(ca);
    both(a, "dry-run", "down 250 --dry-run");
    both(a, "up", "down 250");
    both(a, "up", "down -e");
    both(a, "doctor", "doctor");
    both(a, "show", "show");
}

fn the_second_form_names_things_once() {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(Encap::Vxlan);
    let shown = host.fanctl("show --json=2").ok().json();
    let fan = &shown["fans"][0];
    assert_eq!(
        (&shown["version"], &fan["interface"], &fan["health"]["complete"]),
        (&json!(2), &json!("eth0"), &json!(true))
    );
    host.fanctl("show --json=3").exits(2).stderr_has(&["json '3' is no version; it is 1 or 2"]);
    host.fanctl("watch --json=3").exits(2);
}
