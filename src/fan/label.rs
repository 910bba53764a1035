//! What a container can be called: one label of a DNS name.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::mapping::digits;

/// The zone of every fan. `internal` is for private use (ICANN, SAC113).
pub const DOMAIN: &str = "fan.internal";

/// Labels under the fan's zone that are no names of containers.
const RESERVED: [&str; 3] = ["ip", "gw", "host"];

/// The longest label in bytes (RFC 1035, section 2.3.4).
pub const LONGEST: usize = 63;

/// One label, in lower case: letters, digits, `-` and `_`, a letter or digit first and last, and nothing that the fan's zone
/// means otherwise.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(Box<str>);

/// Why a text is no label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelFault {
    /// Empty, or longer than 63 bytes.
    Length,
    /// Another character than a letter, a digit, `-` or `_`; or one of the latter two at an end.
    Character,
    /// It means something else: `ip`, `gw`, `host`, a slice like `250-0-28`, a host like `h-172-30-0-28`.
    Reserved,
}

impl LabelFault {
    /// A stable word for JSON.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Length => "label-length",
            Self::Character => "label-character",
            Self::Reserved => "label-reserved",
        }
    }
}

impl fmt::Display for LabelFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "a name has 1 to 63 bytes",
            Self::Character => "a name has letters, digits, '-' and '_', and begins and ends with a letter or digit",
            Self::Reserved => "this name has another meaning in the fan's zone",
        })
    }
}

impl Label {
    /// Reads a label; upper case becomes lower case (RFC 4343).
    ///
    /// # Errors
    /// Why the text is none.
    pub fn new(text: &str) -> Result<Self, LabelFault> {
        if text.is_empty() || text.len() > LONGEST {
            return Err(LabelFault::Length);
        }
        let bytes = text.as_bytes();
        let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let (first, last) = (bytes[0], bytes[bytes.len() - 1]);
        if !bytes.iter().all(is_inner) || !first.is_ascii_alphanumeric() || !last.is_ascii_alphanumeric() {
            return Err(LabelFault::Character);
        }
        let text = text.to_ascii_lowercase();
        if is_reserved(&text) {
            return Err(LabelFault::Reserved);
        }
        Ok(Self(text.into()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Label {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match Self::new(&text) {
            // One spelling, so that equal facts are equal bytes.
            Ok(label) if label.as_str() == text => Ok(label),
            Ok(_) => Err("a name in upper case".into()),
            Err(fault) => Err(fault.to_string()),
        }
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0.into()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Whether a label under the zone has a meaning of its own: see [`names::zone`](crate::names::zone).
fn is_reserved(label: &str) -> bool {
    let is_host = label.strip_prefix("h-").and_then(octets).is_some_and(|octets| octets.len() == 4);
    RESERVED.contains(&label) || octets(label).is_some() || is_host
}

/// One to four octets with dashes between them, each written in one way: 250-0-28.
#[must_use]
pub fn octets(label: &str) -> Option<Vec<u8>> {
    let octet = |text: &str| digits::<u8>(text).filter(|octet| octet.to_string() == text);
    let octets: Option<Vec<u8>> = label.split('-').take(5).map(octet).collect();
    octets.filter(|octets| octets.len() <= 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_lower_case_and_mean_one_thing() {
        assert_eq!(Label::new("Web-1_a").unwrap().as_str(), "web-1_a");
        for (text, fault) in [
            ("", LabelFault::Length),
            (&"a".repeat(64), LabelFault::Length),
            ("a.b", LabelFault::Character),
            ("_dmarc", LabelFault::Character),
            ("a-", LabelFault::Character),
            ("caf\u{e9}", LabelFault::Character),
            ("a\0b", LabelFault::Character),
            ("GW", LabelFault::Reserved),
            ("ip", LabelFault::Reserved),
            ("250-0-28", LabelFault::Reserved),
            ("7", LabelFault::Reserved),
            ("h-172-30-0-28", LabelFault::Reserved),
        ] {
            assert_eq!(Label::new(text), Err(fault), "{text}");
        }
        assert!(Label::new("h-2").is_ok() && Label::new("250-0-281").is_ok() && Label::new("a1").is_ok());
    }
}
