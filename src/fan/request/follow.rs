//! Whether a fan is kept as configured while its host changes.

use std::fmt;
use std::str::FromStr;

/// What `fanctl watch` does with a fan when the host is no longer as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Follow {
    /// It tells.
    #[default]
    No,
    /// It also makes the fan as configured, unless the bridge of containers had to go for it.
    Yes,
    /// Also then: the bridge becomes the new one with its containers on it.
    Renumber,
}

impl FromStr for Follow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "false" => Ok(Self::No),
            "true" => Ok(Self::Yes),
            "renumber" => Ok(Self::Renumber),
            _ => Err(format!("follow '{text}' is neither true nor false nor renumber")),
        }
    }
}

impl fmt::Display for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "false",
            Self::Yes => "true",
            Self::Renumber => "renumber",
        })
    }
}
