//! How the values of options are read.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::fan::mapping::digits;
use crate::fan::name::InterfaceName;
use crate::fan::text::excerpt;

/// Reads a name for a bridge: letters, digits, `.`, `_` and `-`, since it also stands in firewall rules, where `*` is a
/// wildcard, and in paths below /proc/sys/net/ipv4/conf, where `all` and `default` mean something else. It does not begin with
/// `-`, with which ip(8) and others take it for an option.
///
/// # Errors
/// A sentence when it is no such name, or one that the fan's other devices have.
pub fn bridge_name(text: &str) -> Result<InterfaceName, String> {
    let name: InterfaceName = text.parse()?;
    if !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
        return Err(format!("bridge '{text}': a name is made of letters, digits, '.', '_' and '-'"));
    }
    if text.starts_with('-') {
        return Err(format!(
            "bridge '{text}': programs take a name that begins with '-' for an option; choose one like fan0"
        ));
    }
    let is_number = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    let of_tunnel = |prefix: &&str| text.strip_prefix(*prefix).is_some_and(is_number);
    let tunnel =
        name == InterfaceName::shared_tunnel() || ["fan-vx", "fan-wa", "fan-wb", "fan-in"].iter().any(of_tunnel);
    if tunnel || matches!(text, "all" | "default" | "lo") {
        return Err(format!("bridge '{text}': that name has another meaning; choose one like fan0"));
    }
    Ok(name)
}

/// Reads a routing table that a fan can have for itself: not 0, and not the kernel's 253 to 255.
pub(super) fn table(text: &str) -> Result<u32, String> {
    match number("table", text, 1..=u32::MAX)? {
        253..=255 => Err(format!("table {text} is the kernel's own; leave the table out for the main one")),
        number => Ok(number),
    }
}

/// Reads a number in a range; a sentence when it is none names what it is for.
///
/// # Errors
/// That sentence.
pub fn number<T>(what: &str, text: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    let number = digits(text).filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{what} '{text}' is no number from {} to {}", range.start(), range.end()))
}

/// Reads the name of a file of keys: a whole path, or one of systemd's credentials. It stands in the bridge's alias, where a blank ends
/// a word.
pub(super) fn file_name(what: &str, text: &str) -> Result<String, String> {
    const MOST: usize = 100;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && text.len() <= MOST;
    if is_plain && (text.starts_with('/') || text.starts_with("$CREDENTIALS_DIRECTORY/")) {
        return Ok(text.to_string());
    }
    Err(format!(
        "{what} '{}' is no path of at most {MOST} printable characters without blanks; write it like /etc/fan/key",
        excerpt(text)
    ))
}

/// Reads `true` or `false`.
pub(super) fn flag(what: &str, text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{what} '{text}' is neither true nor false"))
}
