//! How a command can end without having done what it was asked to, and the exit status that says so.

use std::fmt;

/// What went wrong. Each message is one line that names the object first and says what to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// The kernel or a program would not.
    Failed(String),
    /// The command line makes no sense.
    Usage(String),
    /// The machine is not in a state in which it could be done; nothing was touched. Every reason there is.
    Refused(Vec<String>),
    /// A signal ended it: its number, and what became of what was begun.
    Interrupted(i32, String),
}

impl Error {
    /// The exit status: 1 failed, 2 usage, 3 refused; for a signal 128 and its number, as shells have it.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 3,
            Self::Interrupted(signal, _) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }

    /// The lines to print.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        match self {
            Self::Failed(line) | Self::Usage(line) | Self::Interrupted(_, line) => std::slice::from_ref(line),
            Self::Refused(lines) => lines,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<crate::machine::Error> for Error {
    fn from(error: crate::machine::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
