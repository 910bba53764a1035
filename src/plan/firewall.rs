//! The fan's nftables tables: what they refuse, what they masquerade, and how a table is known to be ours.
//!
//! There are two of one name, in family `ip` for what is routed and in family `bridge` for what enters a bridge by a port. A
//! table is written in nft's own language, because that is what a person would type and what `--dry-run` shows:
//! see [`ruleset()`]. Every rule carries a comment with a digest of its text. nft prints rules in ways that differ between its
//! versions, so a table is compared by the order of its chains and comments: see [`Ruleset`]. Where another tool drops what
//! is forwarded, rules among its own let the fan's traffic pass: see [`Accept`].

mod chains;
mod forward;
mod guard;
mod record;
pub mod ruleset;

use crate::fan::mapping::Overlay;

pub use chains::ruleset;
pub use forward::{Accept, Beside, Forward, ForwardChain, ForwardDirection};
pub(crate) use guard::GuardRule;
pub(crate) use record::{Deviation, FORMAT, Record};
pub use ruleset::{Abilities, Ruleset};

/// The families in which a fan has a table.
pub(crate) const FAMILIES: [&str; 2] = ["ip", "bridge"];

/// The name of a fan's tables.
#[must_use]
pub(crate) fn table_name(overlay: Overlay) -> String {
    format!("fan-{overlay}")
}

/// The overlay of a table with exactly such a name. The name alone makes no table ours: see [`is_chain_of_ours`].
#[must_use]
pub(crate) fn table_overlay(name: &str) -> Option<Overlay> {
    let overlay = name.strip_prefix("fan-")?.parse().ok()?;
    (table_name(overlay) == name).then_some(overlay)
}

/// Whether a table that has the name of a fan's is one, because it is of this family and has this chain: each of ours has one.
#[must_use]
pub(crate) fn is_chain_of_ours(family: &str, chain: &str) -> bool {
    [("ip", "guard"), ("bridge", "ports")].contains(&(family, chain))
}

/// The name of the flowtable.
pub(crate) const FLOWTABLE: &str = "between";

/// The chain whose rule hands connections to it.
pub(crate) const ESTABLISHED: &str = "established";

/// What that rule does.
pub(crate) const OFFLOAD: &str = "flow add @between ";

/// How a rule begins that asks for a device's index, the device's name following. nft looks the index up as it reads the rule.
const BY_INDEX: &str = "iif \"";

/// The same of the device by which a packet leaves.
const BY_INDEX_OUT: &str = "oif \"";

/// How a rule of the bridge family begins that is for one bridge, whose name follows.
const HERE: &str = "meta ibrname \"";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::tests::announced;

    #[test]
    fn a_table_is_known_by_its_name() {
        let overlay = announced().overlay();
        assert_eq!(table_name(overlay), "fan-250.0.0.0/8");
        assert_eq!(table_overlay("fan-250.0.0.0/8"), Some(overlay));
        assert_eq!(table_overlay("fan-250"), None, "nft would not find it by the full name");
        assert_eq!(table_overlay("fan-club"), None);
        assert_eq!(table_overlay("filter"), None);
    }
}
