//! Words in other languages: XML's and JSON's, and names that mean the same in all of them.

use super::Network;
use crate::fan::label::DOMAIN;

/// An option of resolvers, for Docker sets 0: with that, a single word is not looked for in the domain to search (resolv.conf(5)).
pub const NDOTS: &str = "ndots:1";

/// The options by which a container of Docker or Podman finds names; none where the fan has none.
pub fn names(network: &Network) -> Option<String> {
    let gateway = network.gateway();
    network.fan.options.names.then(|| format!("--dns {gateway} --dns-search {DOMAIN} --dns-option {NDOTS}"))
}

/// Reads the name of a network: one that every runtime takes.
///
/// # Errors
/// A sentence.
pub(crate) fn network_name(text: &str) -> Result<String, String> {
    let rest_is_fine = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    let begins_well = text.starts_with(|first: char| first.is_ascii_alphanumeric());
    if begins_well && rest_is_fine(text) && (2..=63).contains(&text.len()) {
        return Ok(text.into());
    }
    Err(format!(
        "name '{}' is none for a network: a letter or digit, then 1 to 62 letters, digits, '_', '.' or '-'",
        crate::fan::text::escape(text.as_bytes())
    ))
}

/// A text between single quotes of XML.
pub(crate) fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&apos;")
}

/// A text in double quotes, as JSON and YAML have it.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A command, an option a line.
pub(crate) fn command(words: &str, options: &[String]) -> String {
    let mut text = words.to_string();
    for option in options {
        text.push_str(" \\\n  ");
        text.push_str(option);
    }
    text.push('\n');
    text
}
