//! A file's text, and where in it something stands.

use std::fmt;
use std::rc::Rc;

use crate::fan::text::excerpt;

/// The longest word or value that can be one, in bytes: no name or network is longer.
const WORD_LIMIT: usize = 255;

/// How many bytes lie between two places of a text of which it is known how many characters precede them.
const STRIDE: usize = 64;

/// A place in a file. Lines and columns (in characters) count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub(crate) file: Rc<str>,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A file's name and text. A place in it is found without reading the text before it.
#[derive(Clone, Debug)]
pub struct Source {
    file: Rc<str>,
    text: String,
    /// Where lines begin, in bytes.
    lines: Vec<usize>,
    /// How many characters precede each byte whose offset is a multiple of [`STRIDE`].
    characters: Vec<usize>,
}

impl Source {
    /// A text and where it is from. The mark that editors of other systems put in front of it is no part of it.
    #[must_use]
    pub fn new(file: &str, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let after = text.match_indices('\n').map(|(newline, _)| newline + 1);
        let mut count = 0;
        let characters = text.as_bytes().chunks(STRIDE).map(|chunk| {
            let before = count;
            count += starts(chunk);
            before
        });
        Self {
            file: file.into(),
            lines: std::iter::once(0).chain(after).collect(),
            characters: characters.collect(),
            text: text.into(),
        }
    }

    /// The file's name.
    pub(super) fn file(&self) -> &Rc<str> {
        &self.file
    }

    /// The text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The line of the byte at an offset: where it begins, and its text without its end. Past the end it is the last one.
    pub(super) fn line(&self, offset: usize) -> (usize, &str) {
        let next = self.next_line(offset);
        let start = self.lines[next - 1];
        let end = self.lines.get(next).map_or(self.text.len(), |next| next - 1);
        let line = &self.text[start..end];
        (start, line.strip_suffix('\r').unwrap_or(line))
    }

    /// The place of the byte at an offset.
    pub(super) fn position(&self, offset: usize) -> Position {
        let line = self.next_line(offset);
        Position {
            file: self.file.clone(),
            line,
            column: self.characters_before(offset) - self.characters_before(self.lines[line - 1]) + 1,
        }
    }

    /// The index of the line behind the one of an offset.
    fn next_line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset)
    }

    fn characters_before(&self, offset: usize) -> usize {
        let offset = offset.min(self.text.len());
        let block = (offset / STRIDE).min(self.characters.len().saturating_sub(1));
        let known = self.characters.get(block).copied().unwrap_or_default();
        known + starts(&self.text.as_bytes()[block * STRIDE..offset])
    }
}

/// How many characters begin in some bytes of UTF-8.
fn starts(bytes: &[u8]) -> usize {
    super::work(bytes.len());
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

/// What is wrong with a word or value for its length alone.
pub(super) fn too_long(word: &str) -> Option<String> {
    (word.len() > WORD_LIMIT).then(|| {
        format!("no name or network is longer than {WORD_LIMIT} bytes, and '{}' has {}", excerpt(word), word.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_what_counting_gives() {
        for text in
            [String::new(), "a".into(), "\n".into(), "é\r\nüü x\n\n".into(), "ä€𝄞\n".repeat(50), "x é ".repeat(100)]
        {
            let source = Source::new("file", &text);
            for offset in (0..=text.len()).filter(|offset| text.is_char_boundary(*offset)) {
                let before = &text[..offset];
                let start = before.rfind('\n').map_or(0, |newline| newline + 1);
                let found = source.position(offset);
                assert_eq!(found.line, before.matches('\n').count() + 1, "{offset} of {text:?}");
                assert_eq!(found.column, before[start..].chars().count() + 1, "{offset} of {text:?}");
                let line = text[start..].lines().next().unwrap_or_default();
                assert_eq!(source.line(offset), (start, line), "{offset} of {text:?}");
            }
            assert_eq!(source.position(usize::MAX), source.position(text.len()), "{text:?}");
        }
    }
}
