//! Values that are known by a stable word each.

/// Values with a stable word each.
pub(crate) trait Words: Sized + 'static {
    /// All of them.
    const ALL: &[Self];
}

/// Declares an enum whose values have a stable word each, and are printed and serialised as that.
macro_rules! words {
    ($(#[$about:meta])* $enum:ident { $($(#[$doc:meta])* $name:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $enum { $($(#[$doc])* $name,)* }

        impl crate::fan::words::Words for $enum {
            const ALL: &[Self] = &[$(Self::$name,)*];
        }

        impl $enum {
            /// Its stable word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

pub(crate) use words;
