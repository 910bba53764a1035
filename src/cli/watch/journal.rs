//! Who listens: the journal or a person at a terminal, and the service manager.

use std::fmt;
use std::io::{Write, stdout};

use nix::sys::stat::fstat;
use sd_notify::NotifyState;

use crate::error::Error;
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

/// Where lines go.
pub(crate) struct Journal<'a> {
    out: &'a mut dyn Write,
    /// Whether the reader is the journal, which takes levels.
    takes_levels: bool,
    lines: Vec<String>,
}

impl<'a> Journal<'a> {
    /// Standard output is the journal's where `JOURNAL_STREAM` has its device and inode (systemd.exec(5)).
    pub fn new(out: &'a mut dyn Write) -> Self {
        let stream = std::env::var("JOURNAL_STREAM").ok();
        let own = fstat(stdout()).map(|file| format!("{}:{}", file.st_dev, file.st_ino));
        let takes_levels = stream.is_some_and(|stream| own == Ok(stream));
        Self { out, takes_levels, lines: Vec::new() }
    }

    /// Keeps something to say, in one line: whoever is to read it may be slow, and must not keep others from the lock.
    pub(crate) fn note(&mut self, level: Level, line: &dyn fmt::Display) {
        let line = text::line(&line.to_string());
        self.lines.push(if self.takes_levels { format!("<{}>{line}", level as u8) } else { line });
    }

    /// Says what was kept.
    pub(crate) fn say(&mut self) -> Result<(), Error> {
        for line in self.lines.drain(..) {
            writeln!(self.out, "{line}")?;
        }
        Ok(self.out.flush()?)
    }
}
