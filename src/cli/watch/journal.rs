//! Who listens: the journal or a person at a terminal, and the service manager.

use std::fmt;
use std::io::{Write, stdout};

use nix::sys::stat::fstat;
use sd_notify::NotifyState;
use serde::Serialize;

use crate::error::Error;
use crate::fan::json::JsonArgs;
use crate::fan::mapping::Overlay;
use crate::fan::text;

/// Tells the service manager, if there is one that wants to know; it does not matter if it cannot be told.
pub(crate) fn tell_systemd(state: &[NotifyState]) {
    let _ = sd_notify::notify(state);
}

/// How much a line matters, in the numbers of syslog(3).
#[derive(Clone, Copy)]
pub(crate) enum Level {
    /// Something cannot be as asked for.
    Warning = 4,
    /// Something changed.
    Notice = 5,
    /// All is well.
    Info = 6,
}

impl Level {
    /// Its name in syslog(3).
    fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
        }
    }
}

/// How a line is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    /// For the journal: with its level.
    Levelled,
    Json,
}

/// A line of `watch --json`.
#[derive(Serialize)]
struct Event {
    version: u8,
    level: &'static str,
    /// None for what is about no fan alone.
    overlay: Option<Overlay>,
    text: String,
}

/// Where lines go.
pub(crate) struct Journal<'a> {
    out: &'a mut dyn Write,
    form: Form,
    lines: Vec<String>,
}

impl<'a> Journal<'a> {
    /// Standard output is the journal's where `JOURNAL_STREAM` has its device and inode (systemd.exec(5)).
    pub(crate) fn new(json: JsonArgs, out: &'a mut dyn Write) -> Self {
        let stream = std::env::var("JOURNAL_STREAM").ok();
        let own = fstat(stdout()).map(|file| format!("{}:{}", file.st_dev, file.st_ino));
        let form = match stream {
            _ if json.is_wanted() => Form::Json,
            Some(stream) if own.as_ref() == Ok(&stream) => Form::Levelled,
            _ => Form::Plain,
        };
        Self { out, form, lines: Vec::new() }
    }

    /// Keeps something to say, in one line: whoever is to read it may be slow, and must not keep others from the lock.
    pub(crate) fn note(&mut self, level: Level, overlay: Option<Overlay>, what: &dyn fmt::Display) {
        let text = text::line(&what.to_string());
        let line = match (self.form, overlay) {
            (Form::Json, overlay) => {
                // A value of these types is always JSON.
                serde_json::to_string(&Event { version: 2, level: level.as_str(), overlay, text }).unwrap_or_default()
            }
            (_, Some(overlay)) => format!("fan {overlay}: {text}"),
            (_, None) => text,
        };
        self.lines.push(if self.form == Form::Levelled { format!("<{}>{line}", level as u8) } else { line });
    }

    /// Says what was kept.
    pub(crate) fn say(&mut self) -> Result<(), Error> {
        for line in self.lines.drain(..) {
            writeln!(self.out, "{line}")?;
        }
        Ok(self.out.flush()?)
    }
}
