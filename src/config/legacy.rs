//! /etc/network/fan, a fan a line, in both grammars that existed: `OVERLAY UNDERLAY WORD...` of 2015, which cloud-init
//! still writes, and `UNDERLAY OVERLAY --OPTION...` of later. Which one a line is in, the line tells: just one order of
//! its two networks makes a fan. Bridges of the later grammar were named after the overlay (`fan-250`), and what refers to one
//! finds it by that name.

use std::collections::BTreeMap;
use std::fmt;

use super::source::too_long;
use super::{Configuration, Entry, Fault, Source};
use crate::fan::mapping::{Mapping, Overlay};
use crate::fan::request::{Request, UnderlaySource};

/// What is wrong with a line.
enum LineFault {
    /// It is TOML: said once of a file, at its first such line.
    Toml,
    /// Something else.
    Other(String),
}

impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Toml => f.write_str(
                "this looks like TOML, where a line like 250.0.0.0/8 eth0/16 should be; TOML belongs into a file whose name \
                 ends in .toml",
            ),
            Self::Other(message) => f.write_str(message),
        }
    }
}

/// Reads the file.
#[must_use]
pub fn read(source: &Source) -> Configuration {
    let mut configuration = Configuration::default();
    let mut seems_toml = false;
    for line in lines(source.text()) {
        match fan(&line.words) {
            None => {}
            Some(Ok(config)) => configuration.entries.push(Entry {
                config,
                position: source.position(line.words[0].offset),
                places: BTreeMap::new(),
            }),
            Some(Err((_, LineFault::Toml))) if seems_toml => {}
            Some(Err((word, fault))) => {
                seems_toml |= matches!(fault, LineFault::Toml);
                let offset = line.words[word].offset;
                configuration.faults.push(Fault::new(&source.position(offset), fault.to_string()));
            }
        }
    }
    configuration
}

/// Whether a line is a fan.
#[must_use]
pub(crate) fn is_fan(line: &str) -> bool {
    lines(line).any(|line| matches!(fan(&line.words), Some(Ok(_))))
}

/// A line of the file.
pub(super) struct LegacyLine<'a> {
    /// The fan's; none on a line that has none.
    pub(crate) words: Vec<LegacyWord<'a>>,
    /// From its `#` to the end of the line.
    pub(crate) comment: Option<&'a str>,
}

/// A word and its place.
pub(super) struct LegacyWord<'a> {
    text: &'a str,
    /// In bytes, from the start of the file.
    offset: usize,
}

impl AsRef<str> for LegacyWord<'_> {
    fn as_ref(&self) -> &str {
        self.text
    }
}

/// The file, line by line.
pub(super) fn lines(text: &str) -> impl Iterator<Item = LegacyLine<'_>> {
    let offset = move |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
    text.lines().map(move |line| {
        // A comment begins a line or follows a blank; interface names may hold a '#'.
        let begins = |at: usize| at == 0 || line[..at].ends_with([' ', '\t']);
        let comment = line.match_indices('#').map(|(at, _)| at).find(|at| begins(*at));
        let (fan, comment) = match comment {
            Some(at) => (&line[..at], Some(line[at..].trim_end())),
            None => (line, None),
        };
        let words = fan.split_whitespace().map(|word| LegacyWord { text: word, offset: offset(word) });
        LegacyLine { words: words.collect(), comment }
    })
}

/// The fan of a line, if there is one, or the index of the word that is wrong, and why.
fn fan(words: &[LegacyWord]) -> Option<Result<Request, (usize, LineFault)>> {
    let (first, rest) = words.split_first()?;
    let too_long = |(index, word): (usize, &LegacyWord)| Some((index, LineFault::Other(too_long(word.text)?)));
    if let Some(fault) = words.iter().enumerate().find_map(too_long) {
        return Some(Err(fault));
    }
    Some(match rest.split_first() {
        None if first.text.starts_with('[') || first.text.contains('=') => Err((0, LineFault::Toml)),
        Some((equals, _)) if equals.text.starts_with('=') => Err((0, LineFault::Toml)),
        None => {
            let message =
                format!("'{}' stands alone; a line is OVERLAY UNDERLAY, like 250.0.0.0/8 eth0/16", first.text);
            Err((0, LineFault::Other(message)))
        }
        Some((second, options)) => pair_with_options(first.text, second.text, options)
            .map_err(|(word, message)| (word, LineFault::Other(message))),
    })
}

/// Overlay and underlay, and the options behind them.
fn pair_with_options(first: &str, second: &str, options: &[LegacyWord]) -> Result<Request, (usize, String)> {
    let (mut config, grammar) = pair(first, second)?;
    config.apply_words(options).map_err(|(index, reason)| (index + 2, reason))?;
    if let Some((_, reason)) = config.contradictions().into_iter().next() {
        return Err((0, reason));
    }
    Ok(match grammar {
        Grammar::Of2015 => config,
        Grammar::Later => config.of_later_grammar(),
    })
}

/// In which grammar a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grammar {
    /// The overlay comes first.
    Of2015,
    /// The underlay comes first.
    Later,
}

/// Overlay and underlay, in whichever order.
fn pair(first: &str, second: &str) -> Result<(Request, Grammar), (usize, String)> {
    let in_order = |overlay: &str, underlay: &str| -> Option<Request> {
        let overlay: Overlay = overlay.parse().ok()?;
        let underlay: UnderlaySource = underlay.parse().ok()?;
        let legal = underlay.underlay().is_none_or(|network| Mapping::new(overlay, network).is_ok());
        legal.then(|| Request::new(overlay, underlay))
    };
    if let Some(config) = in_order(first, second) {
        return Ok((config, Grammar::Of2015));
    }
    if let Some(config) = in_order(second, first) {
        return Ok((config, Grammar::Later));
    }
    // Neither: say what is wrong with the order that is nearer to being one.
    let later = first.parse::<Overlay>().is_err() && second.parse::<Overlay>().is_ok();
    let ((overlay, overlay_at), (underlay, underlay_at)) =
        if later { ((second, 1), (first, 0)) } else { ((first, 0), (second, 1)) };
    let overlay: Overlay = overlay.parse().map_err(|reason| (overlay_at, reason))?;
    let underlay: UnderlaySource = underlay.parse().map_err(|reason| (underlay_at, reason))?;
    let reasons = Request::new(overlay, underlay).contradictions();
    let reason = reasons.into_iter().next().map(|(_, reason)| reason);
    Err((underlay_at, reason.unwrap_or_default()))
}
