//! How a command can end without having done what it was asked to, and the exit status that says so.

use std::fmt;

use crate::plan::reason::{Reason, ReasonCode};

/// The exit status that asks a service manager to try again (`EX_TEMPFAIL`, sysexits.h).
const TEMPFAIL: u8 = 75;

/// What went wrong. Each message is one line that names the object first and says what to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// The kernel or a program refused.
    Failed(String),
    /// The command line makes no sense.
    Usage(String),
    /// Configuration files have faults: all of them.
    Faulty(Vec<String>),
    /// The machine is not in a state in which it could be done; nothing was changed. All reasons.
    Refused(Vec<Reason>),
    /// It was refused only because it would take something away from this host; nothing was changed.
    Takes(Vec<Reason>),
    /// Some of it was refused and may be possible later: a service manager tries again.
    Later(Box<Error>),
    /// Some of several steps failed, with these errors; the others were done.
    Several(Vec<Error>),
    /// The kernel differs from the configuration (`fanctl status`).
    Differs,
    /// Something is wrong with what was looked at, and the output says what.
    Found,
    /// A signal ended it: its number, and what became of what was begun.
    Interrupted(i32, String),
    /// The reader of standard output closed it early, as `head` does. This is no failure.
    Unread,
}

impl Error {
    /// The exit status: 0 after all, 1 failed, 2 usage or configuration, 3 refused, 4 not as configured; for a signal 128
    /// and its number, as shells have it. Of several, 1 goes before 3 and 3 before 2.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Unread => 0,
            Self::Failed(_) | Self::Found => 1,
            Self::Usage(_) | Self::Faulty(_) => 2,
            Self::Refused(_) | Self::Takes(_) => 3,
            Self::Later(_) => TEMPFAIL,
            Self::Differs => 4,
            Self::Interrupted(signal, _) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
            Self::Several(errors) => {
                let statuses: Vec<u8> = errors.iter().map(Self::exit_status).collect();
                let worst = [1, 3, 2].into_iter().find(|status| statuses.contains(status));
                worst.or(statuses.into_iter().max()).unwrap_or(0)
            }
        }
    }

    /// One error for all the steps that failed.
    ///
    /// # Errors
    /// The errors, if there are any.
    pub(crate) fn all(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }

    /// The same for a service manager: with the status of [`Self::Later`] where a fan was refused for another reason than
    /// that it would take something away, which no later attempt changes.
    #[must_use]
    pub(crate) fn for_a_service(self) -> Self {
        let is_refused = |error: &Self| matches!(error, Self::Refused(_));
        let is_later = self.exit_status() == 3
            && match &self {
                Self::Several(errors) => errors.iter().any(is_refused),
                error => is_refused(error),
            };
        if is_later { Self::Later(Box::new(self)) } else { self }
    }

    /// The lines to print.
    #[must_use]
    pub fn lines(&self) -> Vec<&str> {
        match self {
            Self::Failed(line) | Self::Usage(line) | Self::Interrupted(_, line) => vec![line],
            Self::Faulty(lines) => lines.iter().map(String::as_str).collect(),
            Self::Refused(reasons) | Self::Takes(reasons) => reasons.iter().map(Reason::as_str).collect(),
            Self::Several(errors) => errors.iter().flat_map(Self::lines).collect(),
            Self::Later(error) => error.lines(),
            Self::Differs | Self::Found | Self::Unread => vec![],
        }
    }

    /// Why it was not done, each with a code.
    #[must_use]
    pub(crate) fn reasons(&self) -> Vec<Reason> {
        match self {
            Self::Refused(reasons) | Self::Takes(reasons) => reasons.clone(),
            Self::Later(error) => error.reasons(),
            Self::Several(errors) => errors.iter().flat_map(Self::reasons).collect(),
            error => error.lines().into_iter().map(|line| Reason::new(ReasonCode::Failed, line)).collect(),
        }
    }

    /// The same, with what it is about in front of every line.
    #[must_use]
    pub(crate) fn about(self, what: &str) -> Self {
        let about = |line: String| format!("{what}: {line}");
        let all = |lines: Vec<String>| lines.into_iter().map(about).collect();
        let of_all = |reasons: Vec<Reason>| reasons.into_iter().map(|reason| reason.about(what)).collect();
        match self {
            Self::Failed(line) => Self::Failed(about(line)),
            Self::Usage(line) => Self::Usage(about(line)),
            Self::Faulty(lines) => Self::Faulty(all(lines)),
            Self::Refused(reasons) => Self::Refused(of_all(reasons)),
            Self::Takes(reasons) => Self::Takes(of_all(reasons)),
            Self::Later(error) => Self::Later(Box::new(error.about(what))),
            Self::Interrupted(signal, line) => Self::Interrupted(signal, about(line)),
            Self::Several(errors) => Self::Several(errors.into_iter().map(|error| error.about(what)).collect()),
            Self::Differs | Self::Found | Self::Unread => self,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl std::error::Error for Error {}

/// An error of writing standard output. All other errors name what failed themselves.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::Unread;
        }
        Self::Failed(format!("standard output: {error}"))
    }
}
