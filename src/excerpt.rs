//! A piece of a text from outside, as it may stand in a message: short, in one line, and without what a terminal would obey.

use std::fmt::Write as _;

/// The most characters of a text that a message quotes.
pub const EXCERPT: usize = 60;

/// The first [`EXCERPT`] characters of a text, followed by `...` where there are more; of what is no printable character each
/// byte as `\xNN`.
#[must_use]
pub fn excerpt(text: &str) -> String {
    let mut piece = String::new();
    for c in text.chars().take(EXCERPT) {
        // What Rust does not escape in debug output is printable; backslashes and quotes it does.
        if matches!(c, ' '..='~') || (!c.is_ascii() && c.escape_debug().len() == 1) {
            piece.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a string cannot fail.
                let _ = write!(piece, "\\x{byte:02x}");
            }
        }
    }
    if text.chars().nth(EXCERPT).is_some() {
        piece.push_str("...");
    }
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_or_odd_is_cut_and_escaped() {
        assert_eq!(excerpt("eth0/16 'x' \"y\" \\ é"), "eth0/16 'x' \"y\" \\ é");
        assert_eq!(excerpt("a\x1b[2Jb\nc\u{202e}"), "a\\x1b[2Jb\\x0ac\\xe2\\x80\\xae");
        assert_eq!(excerpt(&"x".repeat(100_000)), "x".repeat(EXCERPT) + "...");
    }
}
