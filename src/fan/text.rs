//! Text from outside, made safe to print: the one escaping of names, aliases, messages and all other text from outside.
//!
//! A byte that is not part of a printable character is written `\xNN`: control characters and with them the sequences that
//! terminals obey, bytes that are not UTF-8, characters that change the direction of text or are invisible.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter, Serializer};

/// Some bytes from outside as printable text. A backslash is escaped too, so that no two texts look the same and
/// [`unescape`] gives the bytes back.
#[must_use]
pub(crate) fn escape(bytes: &[u8]) -> String {
    escape_but(bytes, |c| c != '\\' && is_printable(c))
}

/// One line of text that quotes what others wrote, for a terminal or the journal. Line feeds and tabs become blanks; a
/// text that was [escaped](escape) stays as it is.
#[must_use]
pub fn line(text: &str) -> String {
    screen(text.replace(['\n', '\r', '\t'], " ").as_bytes())
}

/// The most characters of a text from outside that a message quotes.
pub(crate) const EXCERPT: usize = 60;

/// The beginning of a text, as a message quotes it: at most [`EXCERPT`] characters of one [`line()`], and `...` where there
/// are more.
#[must_use]
pub(crate) fn excerpt(text: &str) -> String {
    let end = text.char_indices().nth(EXCERPT).map(|(end, _)| end);
    end.map_or_else(|| line(text), |end| line(&text[..end]) + "...")
}

/// The same of several lines.
fn screen(bytes: &[u8]) -> String {
    escape_but(bytes, |c| matches!(c, '\n' | '\t') || is_printable(c))
}

fn escape_but(bytes: &[u8], is_kept: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    let escaped = |text: &mut String, bytes: &[u8]| {
        for byte in bytes {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_kept(c) {
                text.push(c);
            } else {
                escaped(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        escaped(&mut text, chunk.invalid());
    }
    text
}

/// The bytes that [`escape`] made a text from.
#[must_use]
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let escaped = rest.strip_prefix(b"\\x").and_then(|digits| digits.get(..2));
        let byte = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &rest[4..] } else { others };
    }
    bytes
}

/// Whether a character is shown as itself and changes nothing around it. What Rust does not escape in debug output is
/// neither control nor format character, nor private, unassigned, or a separator other than the blank.
fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~') || (!c.is_ascii() && c.escape_debug().len() == 1)
}

/// How a word stands out where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// All is well: green.
    Good,
    /// To be looked at: yellow.
    Warning,
    /// Wrong: bold red.
    Bad,
}

impl Paint {
    /// Its parameters of SGR (ECMA-48, 8.3.117).
    fn parameters(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "1;31",
        }
    }
}

/// Where a command writes its result.
pub trait Output: Write {
    /// Writes a word, in colour where there are colours.
    ///
    /// # Errors
    /// What writing came to.
    fn painted(&mut self, paint: Paint, word: &str) -> io::Result<()>;
}

/// Writes text for a terminal: what is not printable in it is escaped, but for line feeds and tabs. Each write must end
/// with a whole character, as those of [`write!`] do.
pub struct Screen<W> {
    /// Where it goes.
    pub inner: W,
    /// Whether words are painted; no text that is written can do so.
    pub has_colours: bool,
}

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write_all(screen(bytes).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Write> Output for Screen<W> {
    fn painted(&mut self, paint: Paint, word: &str) -> io::Result<()> {
        if !self.has_colours {
            return self.write_all(word.as_bytes());
        }
        write!(self.inner, "\x1b[{}m", paint.parameters())?;
        self.write_all(word.as_bytes())?;
        self.inner.write_all(b"\x1b[0m")
    }
}

/// Writes a value as indented JSON whose strings are escaped as text on a terminal is.
///
/// # Errors
/// What writing came to.
pub(crate) fn write_json(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let format = Escaped(PrettyFormatter::new());
    Ok(value.serialize(&mut Serializer::with_formatter(out, format))?)
}

/// JSON in the form of another formatter, with escaped strings.
struct Escaped<F>(F);

macro_rules! delegated {
    ($($name:ident($($argument:ident: $kind:ty),*)),+ $(,)?) => {
        $(fn $name<W: ?Sized + Write>(&mut self, writer: &mut W $(, $argument: $kind)*) -> io::Result<()> {
            self.0.$name(writer $(, $argument)*)
        })+
    };
}

impl<F: Formatter> Formatter for Escaped<F> {
    delegated!(
        begin_array(),
        end_array(),
        begin_array_value(first: bool),
        end_array_value(),
        begin_object(),
        end_object(),
        begin_object_key(first: bool),
        end_object_key(),
        begin_object_value(),
        end_object_value(),
    );

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // The backslash of an escape is one in a string of JSON.
        let safe = |text: &str| {
            let plain = text.chars().all(is_printable);
            if plain { text.to_string() } else { screen(text.as_bytes()).replace('\\', r"\\") }
        };
        writer.write_all(safe(fragment).as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        match escape {
            CharEscape::AsciiControl(byte) => write!(writer, r"\\x{byte:02x}"),
            CharEscape::Backspace => writer.write_all(br"\\x08"),
            CharEscape::FormFeed => writer.write_all(br"\\x0c"),
            CharEscape::CarriageReturn => writer.write_all(br"\\x0d"),
            other => self.0.write_char_escape(writer, other),
        }
    }
}

/// The words for an error number, as strerror(3) has them.
#[must_use]
pub(crate) fn errno_words(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    // The standard library writes the number behind them.
    text.strip_suffix(&format!(" (os error {errno})")).map(String::from).unwrap_or(text)
}

/// The words for an error, without its number.
#[must_use]
pub(crate) fn error_words(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), errno_words)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&[u8]; 9] = [
        b"caf\xe9",
        b"a\x1b[2Jb",
        b"a\nok  fine",
        "x\u{202e}y".as_bytes(),
        "\u{200b}\u{9b}31m".as_bytes(),
        b"a\\x41",
        b"\\",
        b"\\x",
        "caf\u{e9} \u{4e2d}".as_bytes(),
    ];

    #[test]
    fn what_is_escaped_is_printable_and_comes_back() {
        for bytes in HOSTILE {
            let text = escape(bytes);
            assert!(text.chars().all(is_printable), "{text}");
            assert_eq!(unescape(&text), bytes, "{text}");
            assert_eq!(line(&text), text, "a line that quotes it is the same");
        }
        assert_eq!(escape(b"caf\xe9"), r"caf\xe9");
        assert_eq!(escape("x\u{202e}y".as_bytes()), r"x\xe2\x80\xaey");
        assert_eq!(escape(b"a\\x41"), r"a\x5cx41");
        assert_eq!(escape("caf\u{e9}".as_bytes()), "caf\u{e9}");
    }

    #[test]
    fn of_a_long_text_a_piece_is_quoted() {
        assert_eq!(excerpt("eth0/16 'x' \"y\" \\ é"), "eth0/16 'x' \"y\" \\ é");
        assert_eq!(excerpt("a\x1b[2Jb\nc\u{202e}"), r"a\x1b[2Jb c\xe2\x80\xae");
        assert_eq!(excerpt(&"é".repeat(EXCERPT)), "é".repeat(EXCERPT));
        assert_eq!(excerpt(&"é".repeat(100_000)), "é".repeat(EXCERPT) + "...");
    }

    #[test]
    fn a_line_is_one_and_moves_no_cursor() {
        assert_eq!(line("a\x1b[2J\nb\tc\u{9b}m"), r"a\x1b[2J b c\xc2\x9bm");
        let mut out = Screen { inner: Vec::new(), has_colours: false };
        out.write_all(b"a\x1b[2J\n\tb\rc").unwrap();
        out.painted(Paint::Bad, "FAIL").unwrap();
        assert_eq!(out.inner, b"a\\x1b[2J\n\tb\\x0dcFAIL");
        let mut out = Screen { inner: Vec::new(), has_colours: true };
        out.write_all(b"a\x1b[31mb").unwrap();
        out.painted(Paint::Bad, "FAIL\x1b").unwrap();
        assert_eq!(out.inner, b"a\\x1b[31mb\x1b[1;31mFAIL\\x1b\x1b[0m");
    }

    #[test]
    fn json_says_the_same_and_is_json() {
        for bytes in HOSTILE {
            let Ok(text) = std::str::from_utf8(bytes) else { continue };
            let mut out = Vec::new();
            write_json(&[text, "a \"b\" \\ c"], &mut out).unwrap();
            let read: Vec<String> = serde_json::from_slice(&out).unwrap();
            assert_eq!(read, [screen(bytes), "a \"b\" \\ c".to_string()]);
            assert!(!out.iter().any(|byte| byte.is_ascii_control() && *byte != b'\n'));
        }
    }
}
