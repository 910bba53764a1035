//! Lines to type into a shell: words of ours as they are written here, and words of others, quoted.
//!
//! A [`Line`] is made by [`shell!`](crate::shell!) only. What is not written in the source is a [`Word`], and each word is
//! quoted, so that no name can be a command, an option of the shell, or two words.

use std::fmt;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ipnetwork::Ipv4Network;
use serde::Serialize;

use crate::fan::Mac;
use crate::fan::mapping::{Overlay, Underlay};
use crate::fan::name::InterfaceName;
use crate::fan::text::line;

/// A command, or several one after the other, that a shell takes as it is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Line(String);

/// What a [`Line`] may have in the place of a `{}`.
pub trait Word {
    /// The word, quoted where that is needed.
    fn quoted(&self) -> String;
}

/// Some bytes as one word of a shell (POSIX.1-2017, 2.2): as they are, in single quotes, or, where they are not printable, by
/// printf(1), whose octal escapes every shell knows.
#[must_use]
pub fn quote(bytes: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-/:=".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && line(text) == text
    {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let octal = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        byte => format!(r"\{byte:03o}"),
    };
    format!("\"$(printf '{}')\"", bytes.iter().map(octal).collect::<String>())
}

impl Line {
    /// Puts quoted words in the places of `{}`; [`shell!`](crate::shell!) is the way to call it.
    #[must_use]
    pub fn new(ours: &'static str, words: &[&dyn Word]) -> Self {
        let mut parts = ours.split("{}");
        let mut text = parts.next().unwrap_or_default().to_string();
        let mut words = words.iter();
        for part in parts {
            text += &words.next().map_or_else(|| "{}".into(), Word::quoted);
            text += part;
        }
        Self(text)
    }

    /// The commands in one line, each if those before it succeeded.
    #[must_use]
    pub(crate) fn all_of(lines: impl IntoIterator<Item = Self>) -> Self {
        let lines: Vec<String> = lines.into_iter().map(|line| line.0).collect();
        Self(lines.join(" && "))
    }

    /// This line with more words behind it.
    #[must_use]
    pub(crate) fn then(self, more: &Self) -> Self {
        Self(self.0 + &more.0)
    }

    /// A program with these arguments.
    #[must_use]
    pub(crate) fn command(program: &'static str, arguments: &[String]) -> Self {
        let words = arguments.iter().map(|word| quote(word.as_bytes()));
        let words: Vec<String> = std::iter::once(program.to_string()).chain(words).collect();
        Self(words.join(" "))
    }

    /// The lines of a program that reads a text. The shell changes nothing in it (POSIX.1-2017, 2.7.4), and a line of it that
    /// would end it is not printed.
    #[must_use]
    pub(crate) fn here_document(program: &'static str, text: &str) -> Vec<Self> {
        let mut lines = vec![Self(format!("{program} <<'END'"))];
        let inner = text.lines().filter(|line| *line != "END");
        lines.extend(inner.map(|line| Self(line.to_string())));
        lines.push(Self("END".into()));
        lines
    }

    /// The words of a text of ours that has blanks between them, each quoted.
    #[must_use]
    pub(crate) fn words(text: &str) -> Self {
        let words: Vec<String> = text.split(' ').map(|word| quote(word.as_bytes())).collect();
        Self(words.join(" "))
    }
}

impl Deref for Line {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Line> for String {
    fn from(line: Line) -> Self {
        line.0
    }
}

/// A part of a line is quoted already.
impl Word for Line {
    fn quoted(&self) -> String {
        self.0.clone()
    }
}

impl Word for InterfaceName {
    fn quoted(&self) -> String {
        quote(&self.bytes())
    }
}

impl<W: Word + ?Sized> Word for &W {
    fn quoted(&self) -> String {
        (**self).quoted()
    }
}

impl Word for str {
    fn quoted(&self) -> String {
        quote(self.as_bytes())
    }
}

impl Word for [u8] {
    fn quoted(&self) -> String {
        quote(self)
    }
}

impl Word for Vec<u8> {
    fn quoted(&self) -> String {
        quote(self)
    }
}

impl Word for Path {
    fn quoted(&self) -> String {
        quote(self.as_os_str().as_bytes())
    }
}

impl Word for String {
    fn quoted(&self) -> String {
        quote(self.as_bytes())
    }
}

macro_rules! printed {
    ($($kind:ty),+) => {
        $(impl Word for $kind {
            fn quoted(&self) -> String {
                quote(self.to_string().as_bytes())
            }
        })+
    };
}

printed!(u8, u16, u32, u64, Mac, Overlay, Underlay, Ipv4Network, std::net::Ipv4Addr);

/// A [`Line`]: a text written here, in which each `{}` is the place of a [`Word`].
#[macro_export]
macro_rules! shell {
    ($ours:literal $(, $word:expr)* $(,)?) => {
        $crate::fan::shell::Line::new($ours, &[$(&$word as &dyn $crate::fan::shell::Word),*])
    };
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_a_word_as_it_was() {
        let words: [&[u8]; 12] = [
            b"eth0",
            b"x;>advpwn;y",
            b"$(reboot)",
            b"`id`",
            b"it's",
            b"a b",
            b"",
            b"caf\xe9",
            b"a\x1b[2J'b",
            b"-n",
            "x\u{202e}y".as_bytes(),
            b"100%d\\n\x07",
        ];
        for word in words {
            let line = format!("printf %s {}", quote(word));
            assert!(line.chars().all(|c| !c.is_control()), "{line}");
            let output = Command::new("sh").args(["-c", &line]).output().expect("a shell");
            assert_eq!(output.stdout, word, "{line}");
        }
    }

    #[test]
    fn what_is_not_written_in_the_source_is_one_word() {
        let name: InterfaceName = "x;reboot;y".parse().unwrap();
        let line = shell!("ip link set dev {} mtu {}", name, 1450_u32);
        assert_eq!(&*line, "ip link set dev 'x;reboot;y' mtu 1450");
        let both = Line::all_of([line.clone(), shell!("true")]);
        assert_eq!(both.to_string(), format!("{line} && true"));
    }
}
