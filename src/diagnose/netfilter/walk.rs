//! One packet's walk through everybody's chains.

use super::mark::Marks;
use super::tracked::Tracked;
use super::truth::Truth;
use super::{
    Backend, ConntrackState, Entries, FirewallRule, FirewallTable, MapEntry, Match, NewSource, Packet, PacketVerdict,
    Tracking, Value,
};

/// What becomes of a packet at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nobody drops it.
    Passes,
    /// Somebody drops it.
    Lost(Blame),
    /// Somebody may drop it, by a rule that is not understood.
    AtRisk(Blame),
}

/// Who drops a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blame {
    /// Who keeps the table.
    pub(crate) backend: Backend,
    /// The table's family.
    pub(crate) family: String,
    /// The table.
    pub(crate) table: String,
    /// The base chain at whose head the packet could be accepted.
    pub(crate) base: String,
    /// Where packets enter it.
    pub(crate) hook: String,
    /// The chain that decides.
    pub(crate) chain: String,
    /// The rule that drops it; none where that is the policy of the base chain.
    pub(crate) rule: Option<Box<FirewallRule>>,
    /// Whether only the process that made the table can change it.
    pub(crate) is_owned: bool,
}

impl Blame {
    /// The file from which Debian loads such rules at boot: those of iptables keep its names, on top of nftables too.
    #[must_use]
    pub(crate) fn file(&self) -> &'static str {
        let is_of_iptables = ["filter", "nat", "mangle", "raw", "security"].contains(&self.table.as_str())
            && self.family == "ip"
            && self.base.chars().all(|letter| letter.is_ascii_uppercase());
        if self.backend == Backend::Legacy || is_of_iptables { "/etc/iptables/rules.v4" } else { "/etc/nftables.conf" }
    }
}

/// Walks a packet through the chains at its hook.
#[must_use]
pub(crate) fn fate(packet: &Packet, tables: &[FirewallTable]) -> Fate {
    at_hook(packet, tables, &mut Carried::among(tables))
}

/// Walks a packet through the chains at all hooks that it passes, one after the other: what marks and what connection it has
/// at the next one is what rules have made of them.
pub(crate) fn fates<'a>(hooks: &'a [Packet], tables: &'a [FirewallTable]) -> impl Iterator<Item = Fate> + 'a {
    let mut carried = Carried::among(tables);
    hooks.iter().map(move |packet| at_hook(packet, tables, &mut carried))
}

/// What rules have made of a packet so far.
pub(super) struct Carried {
    pub(super) marks: Marks,
    pub(super) tracked: Tracked,
}

impl Carried {
    /// Nothing yet. Connections have marks only where some rule gives them.
    fn among(tables: &[FirewallTable]) -> Self {
        let mut rules = tables.iter().flat_map(|table| table.chains.values()).flat_map(|chain| &chain.rules);
        let are_marked = rules.any(|rule| rule.tracking == Some(Tracking::Mark));
        Self { marks: Marks::default(), tracked: Tracked::among(are_marked) }
    }
}

fn at_hook(packet: &Packet, tables: &[FirewallTable], carried: &mut Carried) -> Fate {
    let mut chains: Vec<(i64, &FirewallTable, &str)> = tables
        .iter()
        .filter(|table| packet.families.contains(&table.family.as_str()))
        .flat_map(|table| table.chains.iter().map(move |(name, chain)| (table, name, chain)))
        .filter_map(|(table, name, chain)| {
            let base = chain.base.as_ref().filter(|base| base.hook == packet.hook)?;
            let of = |device: &Option<String>| device.as_ref().is_some_and(|device| base.devices.contains(device));
            let is_its = match base.hook.as_str() {
                "ingress" => of(&packet.incoming),
                "egress" => of(&packet.outgoing),
                _ => !base.translates || packet.state == ConntrackState::New,
            };
            is_its.then_some((base.priority, table, name.as_str()))
        })
        .collect();
    chains.sort_by_key(|(priority, ..)| *priority);
    let mut risk = Fate::Passes;
    for (priority, table, base) in chains {
        let is_early = matches!(packet.hook, "ingress" | "egress")
            || (matches!(packet.hook, "prerouting" | "output") && priority < TRACKING);
        let mut walk = Walk { packet, table, base, depth: 0, is_here: Truth::Yes, is_early, carried };
        let ends = walk.enter(base);
        match (ends.lost, ends.unknown) {
            (Some(blame), None) if !ends.passes => return Fate::Lost(blame),
            (Some(blame), None) | (_, Some(blame)) => risk = Fate::AtRisk(blame),
            (None, None) => {}
        }
    }
    risk
}

/// How a packet may leave a chain: several ways, where not every rule is understood.
#[derive(Default)]
struct Ends {
    /// It may be accepted.
    passes: bool,
    /// The chain may have nothing to say, or the next rule decides.
    goes_on: bool,
    /// It may be dropped: by the first rule of which that is so.
    lost: Option<Blame>,
    /// A rule may do anything to it.
    unknown: Option<Blame>,
}

impl Ends {
    /// One of these or one of those.
    fn or(&mut self, other: Self) {
        self.passes |= other.passes;
        self.goes_on |= other.goes_on;
        self.lost = self.lost.take().or(other.lost);
        self.unknown = self.unknown.take().or(other.unknown);
    }
}

/// A packet in a base chain.
pub(super) struct Walk<'a> {
    pub(super) packet: &'a Packet,
    pub(super) table: &'a FirewallTable,
    base: &'a str,
    depth: u8,
    /// Whether the packet is in this chain at all: the rules that led here may fit or not.
    is_here: Truth,
    /// Whether connections have not been looked for yet.
    pub(super) is_early: bool,
    pub(super) carried: &'a mut Carried,
}

/// The priority at which the connection of a packet is looked for (`NF_IP_PRI_CONNTRACK`, linux/netfilter_ipv4.h).
const TRACKING: i64 = -200;

/// Chains may nest this deep (`NFT_JUMP_STACK_SIZE`, linux/netfilter/nf_tables.h).
const DEEPEST: u8 = 16;

impl Walk<'_> {
    /// Walks the base chain, and then its policy.
    fn enter(&mut self, name: &str) -> Ends {
        let mut ends = self.chain(name);
        if ends.goes_on {
            let chain = self.table.chains.get(name).and_then(|chain| chain.base.as_ref());
            if chain.is_some_and(|base| base.drops) {
                ends.lost.get_or_insert_with(|| self.blame(name, None));
            } else {
                ends.passes = true;
            }
        }
        ends
    }

    fn chain(&mut self, name: &str) -> Ends {
        let undecided = || Ends { goes_on: true, ..Ends::default() };
        let Some(chain) = self.table.chains.get(name) else {
            return undecided();
        };
        self.depth += 1;
        let ends = if self.depth > DEEPEST { undecided() } else { self.rules(name, &chain.rules) };
        self.depth -= 1;
        ends
    }

    /// Whether a verdict is none that is understood: an iptables target of which nothing is known looks like a chain that is
    /// not there.
    fn is_unknown(&self, verdict: &PacketVerdict) -> bool {
        match verdict {
            PacketVerdict::Unknown => true,
            PacketVerdict::Jump(target) | PacketVerdict::Goto(target) => !self.table.chains.contains_key(target),
            // Whoever receives it drops it then.
            PacketVerdict::Source(new) => self.packet.masqueraded.is_some_and(|address| {
                let new = match new {
                    NewSource::Address(new) => Some(*new),
                    NewSource::OfInterface => Some(address),
                    NewSource::Unknown => None,
                };
                new != Some(self.packet.source)
            }),
            PacketVerdict::Accept | PacketVerdict::Drop | PacketVerdict::Return => false,
        }
    }

    fn rules(&mut self, name: &str, rules: &[FirewallRule]) -> Ends {
        let mut ends = Ends::default();
        for rule in rules {
            let (fits, verdicts) = self.verdicts(rule);
            if let Some(marking) = rule.marking.filter(|_| fits != Truth::No) {
                let has_mark = self.carried.tracked.has_mark(self.packet.state);
                self.carried.marks.change(marking, has_mark, fits.and(self.is_here));
                if self.is_diverted() {
                    ends.unknown.get_or_insert_with(|| self.blame(name, Some(rule)));
                }
            }
            if let Some(tracking) = rule.tracking.filter(|_| fits != Truth::No) {
                let is_lost = matches!(tracking, Tracking::Off | Tracking::Zone) && self.is_early;
                if is_lost && self.packet.needs_connection {
                    ends.unknown.get_or_insert_with(|| self.blame(name, Some(rule)));
                }
                self.carried.tracked.change(tracking, self.is_early, fits.and(self.is_here));
            }
            for (truth, verdict) in verdicts {
                let is_here = self.is_here;
                self.is_here = is_here.and(truth);
                let mut these = self.ends_of(name, rule, &verdict);
                self.is_here = is_here;
                let leaves = matches!(verdict, PacketVerdict::Return | PacketVerdict::Goto(_));
                // Whether this rule decides, in this chain, whatever the way.
                let decides = truth == Truth::Yes && (leaves || !these.goes_on);
                these.goes_on &= leaves;
                ends.or(these);
                if decides {
                    return ends;
                }
            }
        }
        ends.goes_on = true;
        ends
    }

    /// Whether the packet is routed by its mark when it has passed this hook, and not as one without a mark.
    fn is_diverted(&self) -> bool {
        let has = |(mark, mask): &(u32, u32)| {
            let mark = mark & mask;
            self.carried.marks.fits(*mask, &Value::Range(mark, mark)) != Truth::No
        };
        matches!(self.packet.hook, "prerouting" | "output") && self.packet.diverting.iter().any(has)
    }

    /// What becomes of a packet that fits a rule.
    fn ends_of(&mut self, name: &str, rule: &FirewallRule, verdict: &PacketVerdict) -> Ends {
        // Whatever it does, it may be to drop the packet.
        if self.is_unknown(verdict) {
            return Ends { goes_on: true, unknown: Some(self.blame(name, Some(rule))), ..Ends::default() };
        }
        match verdict {
            PacketVerdict::Drop => Ends { lost: Some(self.blame(name, Some(rule))), ..Ends::default() },
            PacketVerdict::Accept | PacketVerdict::Source(_) => Ends { passes: true, ..Ends::default() },
            PacketVerdict::Return | PacketVerdict::Unknown => Ends { goes_on: true, ..Ends::default() },
            PacketVerdict::Jump(target) | PacketVerdict::Goto(target) => self.chain(target),
        }
    }

    fn blame(&self, chain: &str, rule: Option<&FirewallRule>) -> Blame {
        Blame {
            backend: self.table.backend,
            family: self.table.family.clone(),
            table: self.table.name.clone(),
            base: self.base.to_string(),
            hook: self.packet.hook.to_string(),
            chain: chain.to_string(),
            rule: rule.cloned().map(Box::new),
            is_owned: self.table.is_owned,
        }
    }

    /// Whether a rule fits the packet, and what it says of it, verdicts that do not concern it left out.
    fn verdicts(&self, rule: &FirewallRule) -> (Truth, Vec<(Truth, PacketVerdict)>) {
        let mut truth = Truth::Yes;
        let mut found = Vec::new();
        for condition in &rule.matches {
            match condition {
                Match::Field { field, .. } if !self.has(*field) => truth = Truth::No,
                Match::Field { field, negated, values } => {
                    let fits = Truth::any(values.iter().map(|value| self.fits(*field, value)));
                    truth = truth.and(if *negated { fits.not() } else { fits });
                }
                Match::Map(fields, _) if !fields.iter().all(|field| self.has(*field)) => truth = Truth::No,
                Match::Map(fields, entries) => {
                    let entries = self.entries(entries).into_iter();
                    found.extend(entries.map(|(values, verdict)| (truth.and(self.fit(fields, &values)), verdict)));
                }
                Match::Tuples { fields, .. } if !fields.iter().all(|field| self.has(*field)) => truth = Truth::No,
                Match::Tuples { fields, negated, tuples } => {
                    let fits = Truth::any(tuples.iter().map(|values| self.fit(fields, values)));
                    truth = truth.and(if *negated { fits.not() } else { fits });
                }
                Match::Unknown => truth = truth.and(Truth::Maybe),
            }
        }
        found.extend(rule.verdict.iter().map(|verdict| (truth, verdict.clone())));
        found.retain(|(truth, _)| *truth != Truth::No);
        (truth, found)
    }

    /// The entries of a map. Of one that is not known, any may fit and say anything.
    fn entries(&self, entries: &Entries) -> Vec<MapEntry> {
        match entries {
            Entries::Own(entries) => Some(entries),
            Entries::Named(name) => self.table.maps.get(name),
            Entries::Unknown => None,
        }
        .cloned()
        .unwrap_or_else(|| vec![(vec![], PacketVerdict::Unknown)])
    }
}
