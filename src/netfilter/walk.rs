//! One packet's walk through everybody's chains.

use super::{Backend, Field, Match, Packet, Rule, State, Table, Value, Verdict};

/// What becomes of a packet at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nobody drops it.
    Passes,
    /// Somebody drops it.
    Lost(Blame),
    /// Somebody may drop it, by a rule that is not understood.
    AtRisk(Blame),
}

/// Who drops a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blame {
    /// Who keeps the table.
    pub backend: Backend,
    /// The table's family.
    pub family: String,
    /// The table.
    pub table: String,
    /// The base chain at whose head the packet could be accepted.
    pub base: String,
    /// The chain that decides.
    pub chain: String,
    /// The rule that drops it; none where that is the policy of the base chain.
    pub rule: Option<Rule>,
}

/// Walks a packet through the chains at its hook.
#[must_use]
pub fn fate(packet: &Packet, tables: &[Table]) -> Fate {
    let mut chains: Vec<(i64, &Table, &str)> = tables
        .iter()
        .filter(|table| packet.families.contains(&table.family.as_str()))
        .flat_map(|table| table.chains.iter().map(move |(name, chain)| (table, name, chain)))
        .filter_map(|(table, name, chain)| {
            let base = chain.base.as_ref().filter(|base| base.hook == packet.hook)?;
            let is_its = base.hook != "ingress"
                || packet
                    .incoming
                    .as_ref()
                    .is_some_and(|device| base.devices.contains(device));
            is_its.then_some((base.priority, table, name.as_str()))
        })
        .collect();
    chains.sort_by_key(|(priority, ..)| *priority);
    let mut risk = Fate::Passes;
    for (_, table, base) in chains {
        let mut walk = Walk {
            packet,
            table,
            base,
            is_certain: true,
            risk: None,
            depth: 0,
        };
        match walk.enter(base) {
            Way::Lost(blame) if walk.is_certain => return Fate::Lost(blame),
            Way::Lost(blame) => risk = Fate::AtRisk(walk.risk.unwrap_or(blame)),
            Way::Accepted | Way::Undecided => {
                if let Some(blame) = walk.risk {
                    risk = Fate::AtRisk(blame);
                }
            }
        }
    }
    risk
}

/// How a packet leaves a chain.
enum Way {
    Accepted,
    Lost(Blame),
    Undecided,
}

/// Whether a rule fits a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Truth {
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
    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        }
    }

    /// Whether any of several holds.
    fn any(truths: impl Iterator<Item = Self>) -> Self {
        truths.fold(Self::No, |one, other| one.not().and(other.not()).not())
    }
}

/// A packet in a base chain.
struct Walk<'a> {
    packet: &'a Packet,
    table: &'a Table,
    base: &'a str,
    /// Whether everything so far was understood.
    is_certain: bool,
    /// The first rule that would drop the packet if it fits.
    risk: Option<Blame>,
    depth: u8,
}

/// A port for any: one that no rule names, among those that connections begin at (RFC 6335, section 6).
const ANY_PORT: u16 = 51_413;

/// Chains may nest this deep (`NFT_JUMP_STACK_SIZE`, linux/netfilter/nf_tables.h).
const DEEPEST: u8 = 16;

impl Walk<'_> {
    /// Walks the base chain, and then its policy.
    fn enter(&mut self, name: &str) -> Way {
        match self.chain(name) {
            Way::Undecided => {
                let chain = self.table.chains.get(name).and_then(|chain| chain.base.as_ref());
                if chain.is_some_and(|base| base.drops) {
                    Way::Lost(self.blame(name, None))
                } else {
                    Way::Undecided
                }
            }
            decided => decided,
        }
    }

    fn chain(&mut self, name: &str) -> Way {
        let Some(chain) = self.table.chains.get(name) else {
            self.is_certain = false;
            return Way::Undecided;
        };
        self.depth += 1;
        let way = if self.depth > DEEPEST {
            Way::Undecided
        } else {
            self.rules(name, &chain.rules)
        };
        self.depth -= 1;
        way
    }

    fn rules(&mut self, name: &str, rules: &[Rule]) -> Way {
        for rule in rules {
            for (truth, verdict) in self.verdicts(rule) {
                let fits = truth == Truth::Yes;
                let way = match &verdict {
                    Verdict::Drop => Way::Lost(self.blame(name, Some(rule))),
                    Verdict::Accept => Way::Accepted,
                    Verdict::Return if fits => return Way::Undecided,
                    Verdict::Return | Verdict::Unknown => Way::Undecided,
                    Verdict::Jump(target) | Verdict::Goto(target) => self.chain(target),
                };
                let leaves = matches!(verdict, Verdict::Return | Verdict::Unknown | Verdict::Goto(_));
                match way {
                    Way::Undecided if fits && matches!(verdict, Verdict::Goto(_)) => return Way::Undecided,
                    Way::Undecided => self.is_certain &= !leaves,
                    Way::Lost(blame) if !fits => {
                        self.risk.get_or_insert(blame);
                    }
                    Way::Accepted if !fits => self.is_certain = false,
                    decided => return decided,
                }
            }
        }
        Way::Undecided
    }

    fn blame(&self, chain: &str, rule: Option<&Rule>) -> Blame {
        Blame {
            backend: self.table.backend,
            family: self.table.family.clone(),
            table: self.table.name.clone(),
            base: self.base.to_string(),
            chain: chain.to_string(),
            rule: rule.cloned(),
        }
    }

    /// What a rule says of the packet, those that do not concern it left out.
    fn verdicts(&self, rule: &Rule) -> Vec<(Truth, Verdict)> {
        let mut truth = Truth::Yes;
        let mut found = Vec::new();
        for condition in &rule.matches {
            match condition {
                Match::Field { field, negated, values } => {
                    let fits = Truth::any(values.iter().map(|value| self.fits(*field, value)));
                    truth = truth.and(if *negated { fits.not() } else { fits });
                }
                Match::Map(field, entries) => {
                    let own = entries
                        .iter()
                        .map(|(value, verdict)| (truth.and(self.fits(*field, value)), verdict.clone()));
                    found.extend(own);
                }
                Match::Unknown => truth = truth.and(Truth::Maybe),
            }
        }
        found.extend(rule.verdict.iter().map(|verdict| (truth, verdict.clone())));
        found.retain(|(truth, _)| *truth != Truth::No);
        found
    }

    fn fits(&self, field: Field, value: &Value) -> Truth {
        if let Value::Set(name) = value {
            return match self.table.sets.get(name) {
                Some(values) => Truth::any(values.iter().map(|value| self.fits(field, value))),
                None => Truth::Maybe,
            };
        }
        let packet = self.packet;
        let number = |number: u32| match value {
            Value::Range(first, last) => Truth::from((*first..=*last).contains(&number)),
            _ => Truth::Maybe,
        };
        let word = |word: &str| match value {
            Value::Word(pattern) => Truth::from(
                pattern
                    .strip_suffix('*')
                    .map_or(pattern == word, |start| word.starts_with(start)),
            ),
            _ => Truth::Maybe,
        };
        let device = |name: &Option<String>| name.as_ref().map_or(Truth::No, |name| word(name));
        match field {
            Field::In => device(&packet.incoming),
            Field::Out => device(&packet.outgoing),
            Field::Bridge => device(&packet.bridge),
            Field::Source => number(packet.source.into()),
            Field::Destination => number(packet.destination.into()),
            Field::Protocol => number(packet.protocol.into()),
            Field::SourcePort(protocol) | Field::DestinationPort(protocol)
                if protocol != 0 && protocol != packet.protocol =>
            {
                Truth::No
            }
            Field::DestinationPort(_) => number(packet.port.unwrap_or(ANY_PORT).into()),
            Field::SourcePort(_) => number(ANY_PORT.into()),
            Field::State => word(match packet.state {
                State::New => "new",
                State::Established => "established",
                State::Invalid => "invalid",
            }),
            Field::Status => Truth::No,
            Field::DestinationType => word(if packet.is_local { "local" } else { "unicast" }),
            Field::Mark => number(0),
            Field::Family => word("ipv4"),
        }
    }
}
