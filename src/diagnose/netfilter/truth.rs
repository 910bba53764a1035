//! Three-valued logic: what is not understood may hold or not.

/// Whether a rule, or what it asks, fits a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    Maybe,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl Truth {
    /// Of the contrary.
    pub(crate) fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
        }
    }

    /// Of both.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        }
    }

    /// Of one of both.
    pub(crate) fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    /// Of a thing that is one of several, and it is not known which.
    pub(crate) fn all_or_none(truths: impl Iterator<Item = Self>) -> Self {
        truths.reduce(|one, other| if one == other { one } else { Self::Maybe }).unwrap_or(Self::Maybe)
    }

    /// Of any of several.
    pub(crate) fn any(truths: impl Iterator<Item = Self>) -> Self {
        truths.fold(Self::No, Self::or)
    }
}
