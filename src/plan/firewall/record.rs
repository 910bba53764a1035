//! How tables are known to be as they were made, and by which version.

use std::fmt;

use crate::fan::text;

/// The format of what this version makes of a fan: tables, programs, settings of devices. It rises with each release that makes
/// something else of the same fan.
pub(crate) const FORMAT: u32 = 2;

/// What was in a fan's tables when they were made, kept as the name of an empty chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The [`FORMAT`] of the version that made them.
    pub(crate) format: u32,
    /// The digest of all that was in them: 16 hexadecimal digits.
    pub digest: String,
}

impl Record {
    /// Reads the name of a chain; none when it is no record.
    #[must_use]
    pub(crate) fn from_chain(name: &str) -> Option<Self> {
        let (format, digest) = name.strip_prefix("made-")?.split_once('-')?;
        let is_digest = digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digest = is_digest.then(|| digest.to_string())?;
        let format = format.parse().ok()?;
        Some(Self { format, digest })
    }
}

/// The name of the chain.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "made-{}-{}", self.format, self.digest)
    }
}

/// In what a fan's tables differ from those that were made, beside what their text tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deviation {
    /// An earlier version made them: its format.
    Older(u32),
    /// Rules, chains or sets are others, though the comments may be the same.
    Rules,
    /// The policy of this chain is to drop.
    Policy(String),
}

impl Deviation {
    /// A stable word for it.
    #[must_use]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Older(_) => "older",
            Self::Rules => "rules-changed",
            Self::Policy(_) => "chain-policy",
        }
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Older(format) => {
                write!(f, "made by an earlier version (format {format}, and this one makes {FORMAT})")
            }
            Self::Rules => f.write_str("rules are not those that were made"),
            Self::Policy(chain) => write!(f, "the policy of chain '{}' is drop", text::escape(chain.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_no_other_chain_is_one() {
        let record = Record { format: 2, digest: "0123456789abcdef".into() };
        assert_eq!(Record::from_chain(&record.to_string()), Some(record));
        for name in ["guard", "made-", "made-2", "made-x-0123456789abcdef", "made-2-0123", "made-2-0123456789abcdeg"] {
            assert_eq!(Record::from_chain(name), None, "{name}");
        }
    }
}
