//! Why a kernel can carry no fan at all, over whichever encapsulation.

use std::fmt;

use crate::plan::host::{Linux, SOURCE_SINCE};

/// What a fan needs and this kernel has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Its tunnels do not take the outer source address from a program, nor do its forward chains look up where a packet
    /// would be answered: both came with Linux 5.19. The `vnifilter` of VXLAN came with 5.18.
    TooOld {
        /// As `uname -r` has it.
        release: String,
    },
    /// It has no nf_tables (`CONFIG_NF_TABLES`), so that no table of the fan can keep foreign packets out.
    NoNfTables {
        /// As above.
        release: String,
    },
}

impl Unfit {
    /// What this kernel lacks, as far as that was seen.
    #[must_use]
    pub(crate) fn of(linux: &Linux) -> Option<Self> {
        let release = linux.release.clone();
        if linux.takes_source == Some(false) {
            Some(Self::TooOld { release })
        } else if linux.has_nf_tables == Some(false) {
            Some(Self::NoNfTables { release })
        } else {
            None
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = SOURCE_SINCE;
        match self {
            Self::TooOld { release } => write!(
                f,
                "kernel {release} is too old: a fan needs Linux {major}.{minor} or newer, over ipip as over vxlan"
            ),
            Self::NoNfTables { release } => write!(
                f,
                "kernel {release} has no nf_tables, and a fan's tables keep foreign packets out; load it: modprobe nf_tables, \
                 or take a kernel with CONFIG_NF_TABLES"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux(release: &str, takes_source: Option<bool>, has_nf_tables: Option<bool>) -> Linux {
        Linux { release: release.into(), takes_source, has_nf_tables }
    }

    #[test]
    fn what_was_tried_decides_and_not_the_version() {
        let of = |takes_source, has_nf_tables| Unfit::of(&linux("5.14.0-570.el9", takes_source, has_nf_tables));
        assert_eq!(of(Some(true), Some(true)), None);
        assert_eq!(of(None, None), None);
        let release = || "5.14.0-570.el9".to_string();
        assert_eq!(of(Some(false), Some(true)), Some(Unfit::TooOld { release: release() }));
        assert_eq!(of(None, Some(false)), Some(Unfit::NoNfTables { release: release() }));
        assert_eq!(of(Some(false), Some(false)), Some(Unfit::TooOld { release: release() }), "one");
    }

    #[test]
    fn the_version_needed_is_named() {
        let too_old = Unfit::of(&linux("5.10.0-32-cloud-amd64", Some(false), Some(true))).unwrap();
        assert_eq!(
            too_old.to_string(),
            "kernel 5.10.0-32-cloud-amd64 is too old: a fan needs Linux 5.19 or newer, over ipip as over vxlan"
        );
    }

    #[test]
    fn a_release_has_a_version() {
        for (release, old) in [
            ("5.10.0-32-cloud-amd64", Some(true)),
            ("5.18.19", Some(true)),
            ("5.19.0-rc1", Some(false)),
            ("6.1.0-41-amd64", Some(false)),
            ("7.3.4+deb13-cloud-amd64", Some(false)),
            ("6.12-generic", Some(false)),
            ("6.12+", Some(false)),
            ("5.4~custom", Some(true)),
            ("", None),
            ("unknown", None),
        ] {
            let version = linux(release, None, None).version();
            assert_eq!(version.map(|version| version < SOURCE_SINCE), old, "{release}");
        }
    }
}
