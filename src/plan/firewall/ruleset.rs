//! Tables as text: what of it makes two the same, and what a kernel that can do less is given.

use std::collections::BTreeSet;
use std::fmt;

use super::{BY_INDEX, BY_INDEX_OUT, Deviation, HERE, OFFLOAD, Record};
use crate::fan::name::InterfaceName;

/// A fan's tables as nft reads them. Two are equal when they have the same chains with the same rules in the same order, a
/// rule of ours being its comment and anybody else's its text, their flowtables the same devices, if both have one, and no rule
/// of one asks for the index of a device that none of the other asks for.
#[derive(Clone)]
pub struct Ruleset {
    script: String,
    marks: Vec<String>,
    /// The flowtable's; none where there is none.
    devices: Option<BTreeSet<String>>,
    /// The devices whose index a rule asks for: in quotes, or the index itself, as nft prints one that no device has.
    by_index: BTreeSet<String>,
    /// What stands in the text, and what is to stand there for a kernel that cannot tell bridges apart.
    fallbacks: Vec<(String, String)>,
    /// What is not to be seen in the text.
    deviations: Vec<Deviation>,
    /// Whether a record of what is in the tables lies with them, or need not.
    is_recorded: bool,
}

impl Ruleset {
    /// Tables from text in nft's language: what we write, or what `nft list table` prints.
    #[must_use]
    pub fn new(script: String) -> Self {
        let marks = outside_of_flowtables(&script).filter_map(mark).collect();
        let list = script.lines().find_map(|line| line.trim().strip_prefix("devices = {")?.split_once('}'));
        let names = list.iter().flat_map(|(names, _)| names.split(','));
        let names = names.map(|name| name.trim().trim_matches('"').to_string());
        // nft prints no list where every device is gone.
        let has_flowtable = script.lines().any(|line| line.trim().starts_with("flowtable "));
        let devices = has_flowtable.then(|| names.collect());
        let by_index = script.lines().filter_map(|line| {
            let line = line.trim();
            line.strip_prefix("iif ").or_else(|| line.strip_prefix("oif "))
        });
        let by_index = by_index.filter_map(|rest| rest.split(' ').next().map(String::from)).collect();
        Self { script, marks, devices, by_index, fallbacks: Vec::new(), deviations: Vec::new(), is_recorded: true }
    }

    /// The same with what else is known of them.
    #[must_use]
    pub(crate) fn deviating(self, deviations: Vec<Deviation>) -> Self {
        Self { deviations, ..self }
    }

    /// In what they are not as they were made, beside what the text tells.
    #[must_use]
    pub(crate) fn deviations(&self) -> &[Deviation] {
        &self.deviations
    }

    /// The same, whether or not their record is there.
    #[must_use]
    pub(crate) fn recorded(self, is_recorded: bool) -> Self {
        Self { is_recorded, ..self }
    }

    /// Whether the record of what is in them is to be made: a command was killed before it, or a person typed the tables.
    #[must_use]
    pub(crate) fn lacks_record(&self) -> bool {
        !self.is_recorded
    }

    /// Whether an earlier version made them.
    #[must_use]
    pub(crate) fn is_older(&self) -> bool {
        self.deviations.iter().any(|deviation| matches!(deviation, Deviation::Older(_)))
    }

    /// The same tables, with other text for rules that would touch other bridges where the kernel cannot tell them apart.
    #[must_use]
    pub(crate) fn with_fallbacks(self, fallbacks: Vec<(String, String)>) -> Self {
        Self { fallbacks, ..self }
    }

    /// The text, for `nft -f`.
    #[must_use]
    pub fn script(&self) -> &str {
        &self.script
    }

    /// The links that stand in it as themselves and not as a name: the devices of the flowtable, if it has one, and those whose
    /// index a rule asks for.
    pub(crate) fn links(&self) -> impl Iterator<Item = InterfaceName> {
        let devices = self.devices.iter().flatten().map(String::as_str);
        let by_index = self.by_index.iter().filter_map(|name| name.strip_prefix('"')?.strip_suffix('"'));
        devices.chain(by_index).filter_map(|name| name.parse().ok())
    }

    /// The text for a kernel that can do no more than this. The rules keep their digests: it is the same ruleset.
    #[must_use]
    pub fn script_for(&self, abilities: Abilities) -> String {
        let mut script = self.script.clone();
        if !abilities.flowtables {
            script = without_flowtable(&script);
        }
        if !abilities.bridge_names {
            let fallbacks = self.fallbacks.iter();
            script = fallbacks.fold(script, |script, (rule, instead)| script.replace(rule, instead));
            script = for_every_bridge(&script);
        }
        script
    }

    /// The same tables with the text for a kernel that can do no more than this.
    #[must_use]
    pub(crate) fn fitted(&self, abilities: Abilities) -> Self {
        Self { script: self.script_for(abilities), ..self.clone() }
    }

    /// Whether some kernel is given another text.
    #[must_use]
    pub(crate) fn asks_for_abilities(&self) -> bool {
        self.script_for(Abilities { flowtables: false, bridge_names: false }) != self.script
    }

    /// The text where there are these links and no others: nft reads no rule that asks for the index of one that is not there,
    /// so it asks for the name. The rules keep their digests.
    #[must_use]
    pub(crate) fn with_links(&self, exists: impl Fn(&str) -> bool) -> Self {
        let by_name = |line: &str| {
            let asks = [(BY_INDEX, "iifname"), (BY_INDEX_OUT, "oifname")].into_iter();
            let mut asks = asks.filter_map(|(index, name)| Some((line.split_once(index)?, name)));
            match asks.next() {
                Some(((before, rest), name)) if !rest.split('"').next().is_some_and(&exists) => {
                    format!("{before}{name} \"{rest}\n")
                }
                _ => format!("{line}\n"),
            }
        };
        Self::new(self.script.lines().map(by_name).collect()).with_fallbacks(self.fallbacks.clone())
    }
}

/// What not every kernel can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Flowtables (`CONFIG_NFT_FLOW_OFFLOAD`).
    pub flowtables: bool,
    /// Tell bridges apart, by `meta ibrname` (`CONFIG_NFT_BRIDGE_META`).
    pub bridge_names: bool,
}

impl Abilities {
    /// Everything.
    pub(crate) const WHOLE: Self = Self { flowtables: true, bridge_names: true };
}

fn for_every_bridge(script: &str) -> String {
    let everywhere = |line: &str| match line.split_once(HERE) {
        Some((before, rest)) => format!("{before}{}\n", rest.split_once("\" ").map_or(rest, |(_, rule)| rule)),
        None => format!("{line}\n"),
    };
    script.lines().map(everywhere).collect()
}

fn without_flowtable(script: &str) -> String {
    let lines = outside_of_flowtables(script);
    lines.map(|line| line.replace(OFFLOAD, "") + "\n").collect()
}

/// The lines of a script, but for those of flowtables, whose devices nft prints in an order of its own.
fn outside_of_flowtables(script: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    script.lines().filter(move |line| {
        let starts = line.trim().starts_with("flowtable ");
        let was_inside = inside;
        inside = starts || (inside && line.trim() != "}");
        !starts && !was_inside
    })
}

/// What a line of a table contributes to its identity.
fn mark(line: &str) -> Option<String> {
    let line = line.trim();
    if let Some((_, comment)) = line.split_once("comment \"") {
        return Some(comment.split('"').next().unwrap_or(comment).to_string());
    }
    // nft prints a chain's priority as a number or by name, depending on its version.
    let is_record = || {
        let name = line.strip_prefix("chain ")?.strip_suffix(" {")?;
        Record::from_chain(name)
    };
    let layout = is_record().is_some()
        || line.is_empty()
        || line == "}"
        || line.starts_with("table ")
        || line.starts_with("type ");
    (!layout).then(|| line.to_string())
}

impl PartialEq for Ruleset {
    fn eq(&self, other: &Self) -> bool {
        // A kernel that has no flowtables is asked for none.
        let same_devices = match (&self.devices, &other.devices) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        // One that was read where a link was not there asks for its name: see `Ruleset::with_links`.
        let (ours, theirs) = (&self.by_index, &other.by_index);
        let same_links = ours.is_subset(theirs) || theirs.is_subset(ours);
        self.marks == other.marks && same_devices && same_links && self.deviations == other.deviations
    }
}
impl Eq for Ruleset {}

impl fmt::Debug for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.marks).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::Fan;
    use crate::fan::encap::SourcePorts;
    use crate::fan::options::Options;
    use crate::fan::tests::announced;
    use crate::plan::firewall::ruleset;

    #[test]
    fn a_table_is_the_same_however_nft_prints_it() {
        let ours = ruleset(&announced(), SourcePorts::Privileged);
        let printed = ours
            .script()
            .replace("priority -300", "priority raw")
            .replace("priority -90", "priority dstnat + 10")
            .replace("\"fan-250-0-28\", \"fan-ipip\" }\n", "fan-ipip, fan-250-0-28 }\n")
            .replace("counter drop", "counter packets 7 bytes 420 drop")
            .replace("table ip fan-250.0.0.0/8", "table ip fan-250.0.0.0/8 ");
        assert_eq!(Ruleset::new(printed), ours);
        let [all, slow, everywhere, least] = [(true, true), (false, true), (true, false), (false, false)]
            .map(|(flowtables, bridge_names)| ours.script_for(Abilities { flowtables, bridge_names }));
        assert_eq!(all, ours.script());
        assert!(ours.script().contains("\t\tmeta ibrname \"fan-250-0-28\" ip saddr 250.0.0.0/8"));
        assert!(everywhere.contains("\t\tip saddr 250.0.0.0/8") && !everywhere.contains("ibrname"));
        assert!(slow.contains("ibrname") && !slow.contains("flow") && slow.contains("chain established"));
        assert!(everywhere.contains("flow add @between comment") && !least.contains("flow add"));
        for text in [slow, everywhere, least] {
            assert_eq!(Ruleset::new(text), ours);
        }
    }

    #[test]
    fn links_stand_in_it_as_themselves() {
        let links = |fan: Fan| {
            ruleset(&fan, SourcePorts::Privileged).links().map(|link| link.to_string()).collect::<BTreeSet<_>>()
        };
        let over_vxlan = Fan {
            options: Options { encapsulation: crate::fan::encap::Encapsulation::Vxlan, ..Options::default() },
            ..announced()
        };
        let names = |names: [&str; 3]| BTreeSet::from(names.map(String::from));
        assert_eq!(links(announced()), names(["eth0", "fan-250-0-28", "fan-ipip"]));
        assert_eq!(links(over_vxlan), names(["eth0", "fan-250-0-28", "fan-vx16384000"]));
    }

    #[test]
    fn a_table_that_somebody_changed_differs() {
        let ours = ruleset(&announced(), SourcePorts::Privileged);
        let lines: Vec<&str> = ours.script().lines().collect();
        let without = |index: usize| {
            let mut lines = lines.clone();
            lines.remove(index);
            lines.join("\n")
        };
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("comment")) {
            assert_ne!(Ruleset::new(without(index)), ours, "without {line}");
        }
        let opened = ours.script().replacen("\t\tiifname", "\t\taccept\n\t\tiifname", 1);
        assert_ne!(Ruleset::new(opened), ours);
        let others = [
            Fan { options: Options { nat: false, ..Options::default() }, ..announced() },
            Fan { options: Options { flowtable: false, ..Options::default() }, ..announced() },
        ];
        for other in others {
            assert_ne!(ruleset(&other, SourcePorts::Privileged), ours);
        }
        // A device that is gone takes itself out of the flowtable.
        let lost = ours.script().replace("\"fan-250-0-28\", \"fan-ipip\" }\n", "fan-250-0-28 }\n");
        assert_ne!(Ruleset::new(lost), ours);
        let all_lost = ours.script().replace("\t\tdevices = { \"fan-250-0-28\", \"fan-ipip\" }\n", "");
        assert_ne!(Ruleset::new(all_lost), ours);
        for stale in ["iif 3 goto", "iif \"veth1\" goto"] {
            let stale = ours.script().replace("iif \"fan-250-0-28\" goto", stale);
            assert_ne!(Ruleset::new(stale), ours);
        }
    }

    #[test]
    fn a_link_that_is_not_there_is_asked_for_by_name() {
        let ours = ruleset(&announced(), SourcePorts::Privileged);
        let there = |name: &str| name != "eth0";
        let without = ours.with_links(there);
        assert!(ours.script().contains("\t\tiif \"eth0\" accept comment"));
        assert!(
            !without.script().contains("iif \"eth0\"") && without.script().contains("\t\tiif \"fan-ipip\" goto others")
        );
        assert_eq!(without.script().matches("\t\tiifname \"eth0\" accept comment").count(), 2);
        assert_eq!(without, ours);
        assert_eq!(ours.with_links(|_| true).script(), ours.script());
    }
}
