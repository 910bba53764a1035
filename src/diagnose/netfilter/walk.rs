//! One packet's walk through everybody's chains.

use super::mark::Marks;
use super::tracked::Tracked;
use super::truth::Truth;
use super::{
    Arp, Backend, ConntrackState, Entries, Field, FirewallRule, FirewallTable, MapEntry, Match, Packet, PacketVerdict,
    Value,
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

/// Walks a packet through the chains at its hook.
#[must_use]
pub(crate) fn fate(packet: &Packet, tables: &[FirewallTable]) -> Fate {
    at_hook(packet, tables, &mut Carried::default())
}

/// Walks a packet through the chains at all hooks that it passes, one after the other: what marks and what connection it has
/// at the next one is what rules have made of them.
pub(crate) fn fates<'a>(hooks: &'a [Packet], tables: &'a [FirewallTable]) -> impl Iterator<Item = Fate> + 'a {
    let mut carried = Carried::default();
    hooks.iter().map(move |packet| at_hook(packet, tables, &mut carried))
}

/// What rules have made of a packet so far.
#[derive(Default)]
struct Carried {
    marks: Marks,
    tracked: Tracked,
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
        let mut walk = Walk { packet, table, base, is_certain: true, risk: None, depth: 0, is_early, carried };
        match walk.enter(base) {
            ChainExit::Lost(blame) if walk.is_certain => return Fate::Lost(blame),
            ChainExit::Lost(blame) => risk = Fate::AtRisk(walk.risk.unwrap_or(blame)),
            ChainExit::Accepted | ChainExit::Undecided => {
                if let Some(blame) = walk.risk {
                    risk = Fate::AtRisk(blame);
                }
            }
        }
    }
    risk
}

/// How a packet leaves a chain.
enum ChainExit {
    Accepted,
    Lost(Blame),
    Undecided,
}

/// A packet in a base chain.
struct Walk<'a> {
    packet: &'a Packet,
    table: &'a FirewallTable,
    base: &'a str,
    /// Whether everything so far was understood.
    is_certain: bool,
    /// The first rule that would drop the packet if it fits.
    risk: Option<Blame>,
    depth: u8,
    /// Whether connections have not been looked for yet.
    is_early: bool,
    carried: &'a mut Carried,
}

/// The priority at which the connection of a packet is looked for (`NF_IP_PRI_CONNTRACK`, linux/netfilter_ipv4.h).
const TRACKING: i64 = -200;

/// A port for any: one that no rule names, among those that connections begin at (RFC 6335, section 6).
const ANY_PORT: u16 = 51_413;

/// The type of ICMP message that says that a destination is unreachable, and its code where that is because fragmentation is
/// needed (RFC 792).
const UNREACHABLE: u32 = 3;
const FRAGMENTATION_NEEDED: u32 = 4;

/// The operations of an ARP request and of its reply (RFC 826).
const REQUEST: u32 = 1;
const REPLY: u32 = 2;

/// Chains may nest this deep (`NFT_JUMP_STACK_SIZE`, linux/netfilter/nf_tables.h).
const DEEPEST: u8 = 16;

impl Walk<'_> {
    /// Walks the base chain, and then its policy.
    fn enter(&mut self, name: &str) -> ChainExit {
        match self.chain(name) {
            ChainExit::Undecided => {
                let chain = self.table.chains.get(name).and_then(|chain| chain.base.as_ref());
                if chain.is_some_and(|base| base.drops) {
                    ChainExit::Lost(self.blame(name, None))
                } else {
                    ChainExit::Undecided
                }
            }
            decided => decided,
        }
    }

    fn chain(&mut self, name: &str) -> ChainExit {
        let Some(chain) = self.table.chains.get(name) else {
            return ChainExit::Undecided;
        };
        self.depth += 1;
        let way = if self.depth > DEEPEST { ChainExit::Undecided } else { self.rules(name, &chain.rules) };
        self.depth -= 1;
        way
    }

    /// Whether a verdict is none that is understood: an iptables target of which nothing is known looks like a chain that is
    /// not there.
    fn is_unknown(&self, verdict: &PacketVerdict) -> bool {
        match verdict {
            PacketVerdict::Unknown => true,
            PacketVerdict::Jump(target) | PacketVerdict::Goto(target) => !self.table.chains.contains_key(target),
            PacketVerdict::Accept | PacketVerdict::Drop | PacketVerdict::Return => false,
        }
    }

    fn rules(&mut self, name: &str, rules: &[FirewallRule]) -> ChainExit {
        for rule in rules {
            let (fits, verdicts) = self.verdicts(rule);
            if let Some(marking) = rule.marking.filter(|_| fits != Truth::No) {
                self.carried.marks.change(marking, self.packet.state, fits);
            }
            if let Some(tracking) = rule.tracking.filter(|_| fits != Truth::No) {
                self.carried.tracked.change(tracking, self.is_early, fits);
            }
            for (truth, verdict) in verdicts {
                let fits = truth == Truth::Yes;
                // Whatever it does, it may be to drop the packet.
                if self.is_unknown(&verdict) {
                    let blame = self.blame(name, Some(rule));
                    self.risk.get_or_insert(blame);
                    self.is_certain = false;
                    continue;
                }
                let way = match &verdict {
                    PacketVerdict::Drop => ChainExit::Lost(self.blame(name, Some(rule))),
                    PacketVerdict::Accept => ChainExit::Accepted,
                    PacketVerdict::Return if fits => return ChainExit::Undecided,
                    PacketVerdict::Return | PacketVerdict::Unknown => ChainExit::Undecided,
                    PacketVerdict::Jump(target) | PacketVerdict::Goto(target) => self.chain(target),
                };
                let leaves = matches!(verdict, PacketVerdict::Return | PacketVerdict::Goto(_));
                match way {
                    ChainExit::Undecided if fits && matches!(verdict, PacketVerdict::Goto(_)) => {
                        return ChainExit::Undecided;
                    }
                    ChainExit::Undecided => self.is_certain &= !leaves,
                    ChainExit::Lost(blame) if !fits => {
                        self.risk.get_or_insert(blame);
                    }
                    ChainExit::Accepted if !fits => self.is_certain = false,
                    decided => return decided,
                }
            }
        }
        ChainExit::Undecided
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

    /// Whether each of several fields has the value that belongs to it.
    fn fit(&self, fields: &[Field], values: &[Value]) -> Truth {
        if *values == [Value::Any] {
            return Truth::Yes;
        }
        if fields.len() != values.len() {
            return Truth::Maybe;
        }
        let each = fields.iter().zip(values).map(|(field, value)| self.fits(*field, value));
        each.fold(Truth::Yes, Truth::and)
    }

    /// Whether a packet has a field: if not, neither a condition on it holds nor its contrary. What no connection is known of
    /// has none that was translated.
    fn has(&self, field: Field) -> bool {
        let packet = self.packet;
        let has_connection = packet.state != ConntrackState::Invalid;
        match field {
            Field::In | Field::Out | Field::Bridge | Field::Mark(_) | Field::Family | Field::Unknown => true,
            Field::Arp(_) => packet.is_arp,
            _ if packet.is_arp => false,
            Field::Status => has_connection,
            _ => field.protocol().is_none_or(|protocol| protocol == packet.protocol),
        }
    }

    fn fits(&self, field: Field, value: &Value) -> Truth {
        if *value == Value::Any {
            return Truth::Yes;
        }
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
            Value::Word(pattern) => {
                Truth::from(pattern.strip_suffix('*').map_or(pattern == word, |start| word.starts_with(start)))
            }
            _ => Truth::Maybe,
        };
        let number_or_word = |value_of: u32, name: &str| match value {
            Value::Range(..) => number(value_of),
            _ => word(name),
        };
        let device = |name: &Option<String>| name.as_ref().map_or(Truth::No, |name| word(name));
        match field {
            Field::In => device(&packet.incoming),
            Field::Out => device(&packet.outgoing),
            Field::Bridge => device(&packet.bridge),
            Field::Source | Field::Arp(Arp::Source) => number(packet.source.into()),
            Field::Destination | Field::Arp(Arp::Target) => number(packet.destination.into()),
            Field::Protocol => number(packet.protocol.into()),
            Field::DestinationPort(_) => number(packet.port.unwrap_or(ANY_PORT).into()),
            Field::SourcePort(_) => number(packet.source_port.unwrap_or(ANY_PORT).into()),
            Field::IcmpType => number_or_word(UNREACHABLE, "destination-unreachable"),
            Field::IcmpCode => number_or_word(FRAGMENTATION_NEEDED, "frag-needed"),
            Field::State => self.carried.tracked.fits(packet.state, self.is_early, word),
            Field::Status => match value {
                Value::Word(status) if matches!(status.as_str(), "snat" | "dnat") => Truth::No,
                _ if packet.state == ConntrackState::New => Truth::No,
                _ => Truth::Maybe,
            },
            Field::DestinationType => word(if packet.is_local { "local" } else { "unicast" }),
            Field::Mark(mask) => self.carried.marks.fits(mask, value),
            Field::ConnectionMark(_) if self.carried.tracked.has_mark(packet.state) => Truth::Maybe,
            Field::ConnectionMark(_) => number(0),
            Field::Family => word(if packet.is_arp { "arp" } else { "ipv4" }),
            Field::Arp(Arp::Operation) if packet.state == ConntrackState::Established => number_or_word(REPLY, "reply"),
            Field::Arp(Arp::Operation) => number_or_word(REQUEST, "request"),
            Field::Arp(Arp::Other) | Field::Header(_) | Field::Unknown => Truth::Maybe,
        }
    }
}
