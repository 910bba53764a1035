//! What a fan that comes up takes away from this host: from then on packets for its overlay go into the fan, wherever they
//! went before.
//!
//! Only what the change takes away counts: not what the fan has already, not its own slice, and not a connection that was
//! made through it, which is known by a local address inside the overlay.

use std::fmt;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::fan::Fan;
use crate::fan::mapping::{Overlay, overlap};
use crate::fan::options::MAIN_TABLE;
use crate::plan::diff::Step;
use crate::plan::host::{Host, Routing};
use crate::plan::lookup::Question;
use crate::plan::rule::{Action, RoutingRule};
use crate::plan::state::{Object, Owner, RULE_PRIORITY};

#[cfg(test)]
mod tests;

/// An address that this host uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use {
    /// What for.
    pub(crate) purpose: Purpose,
    /// The address.
    pub(crate) address: Ipv4Addr,
    /// This host's own address there, where it is known.
    pub(crate) source: Option<Ipv4Addr>,
    /// The process that uses it, where it is known: `process 812 ('sshd')`, escaped.
    pub(crate) process: Option<String>,
}

/// What an address is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// The other end of an established TCP connection, at this port.
    Connection(u16),
    /// A DNS server that this host asks.
    Resolver,
    /// The gateway of a route.
    Gateway,
    /// A server of NTP, by a connected UDP socket.
    TimeServer,
}

impl Use {
    /// Whether a fan's routes are about it. Its own slice holds its own containers and its own DNS server, and what has an
    /// address of the overlay on this side was made through the fan.
    #[must_use]
    pub(crate) fn concerns(&self, fan: &Fan) -> bool {
        let overlay = fan.overlay();
        overlay.contains(self.address)
            && !fan.slice().contains(self.address)
            && self.source.is_none_or(|source| !overlay.contains(source))
    }
}

/// Whether a plan has packets for a fan's overlay go into the fan that did not.
#[must_use]
pub(crate) fn takes_over(fan: &Fan, steps: &[Step]) -> bool {
    let is_way = |object: &Object| {
        matches!(object, Object::Rule(..) | Object::Route(_)) && object.owner() == Owner::Fan(fan.overlay())
    };
    steps.iter().any(|step| matches!(step, Step::Create(object) if is_way(object)))
}

/// Whether packets that are routed like this would go into the fan instead. `rules` are those of others.
#[must_use]
pub(crate) fn is_taken(fan: &Fan, question: &Question, now: &Routing, host: &Host, rules: &[RoutingRule]) -> bool {
    let has_it_already = host.link(&now.device).is_some_and(|link| link.ours);
    if now.local || has_it_already {
        return false;
    }
    let leads = |rule: &&RoutingRule, table: u32| rule.action == Action::Lookup(table);
    // To the table of a VRF no rule leads by its number, and the fan's routes are in none (l3mdev).
    let is_of_rules =
        |table| [MAIN_TABLE, DEFAULT_TABLE].contains(&table) || rules.iter().any(|rule| leads(&rule, table));
    if !is_of_rules(now.table) {
        return false;
    }
    let concerned = || rules.iter().filter(|rule| rule.may_concern(question));
    let first = |table: u32| concerned().filter(|rule| leads(rule, table)).map(|rule| rule.priority).min();
    // Where a rule leads there before any leads to the fan's routes, it goes on doing so.
    let fans = match fan.options.table {
        Some(_) => RULE_PRIORITY,
        None => first(MAIN_TABLE).unwrap_or(MAIN_PRIORITY).min(MAIN_PRIORITY),
    };
    now.table == MAIN_TABLE && fan.options.table.is_none() || first(now.table).unwrap_or(MAIN_PRIORITY) >= fans
}

/// The priority of the kernel's own rule that leads to the main table (`fib_default_rules_init`, net/ipv4/fib_rules.c).
const MAIN_PRIORITY: u32 = 32766;

/// The table behind the main one (`RT_TABLE_DEFAULT`, linux/rtnetlink.h).
const DEFAULT_TABLE: u32 = 253;

/// Something that a fan takes away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loss {
    /// An address that this host uses.
    Used(Overlay, Use),
    /// More such addresses than are worth a line each.
    More(Overlay, usize),
    /// Addresses of the Internet.
    Public(Overlay),
}

/// How many addresses in use are told of a fan, each in a line of its own.
const MOST: usize = 8;

impl Loss {
    /// All that a fan takes away, of these addresses in use, each once.
    #[must_use]
    pub(crate) fn of(fan: &Fan, mut used: Vec<Use>, is_new: bool) -> Vec<Self> {
        let overlay = fan.overlay();
        for one in &mut used {
            one.source = None;
        }
        used.sort();
        used.dedup();
        let more = used.len().saturating_sub(MOST);
        used.truncate(MOST);
        let public = (is_new && is_public(overlay)).then_some(Self::Public(overlay));
        let used = used.into_iter().map(|one| Self::Used(overlay, one));
        let more = (more > 0).then_some(Self::More(overlay, more));
        public.into_iter().chain(used).chain(more).collect()
    }

    /// What it is, for programs.
    #[must_use]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Used(_, used) => match used.purpose {
                Purpose::Connection(_) => "connection",
                Purpose::Resolver => "resolver",
                Purpose::Gateway => "gateway",
                Purpose::TimeServer => "time-server",
            },
            Self::More(..) => "more",
            Self::Public(_) => "public-overlay",
        }
    }

    /// The address, if it is one.
    #[must_use]
    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        match self {
            Self::Used(_, used) => Some(used.address),
            Self::More(..) | Self::Public(_) => None,
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Used(overlay, used) => {
                let address = used.address;
                match used.purpose {
                    Purpose::Connection(port) => write!(f, "TCP connection to {address} port {port}")?,
                    Purpose::Resolver => write!(f, "DNS server {address}")?,
                    Purpose::Gateway => write!(f, "gateway {address}")?,
                    Purpose::TimeServer => write!(f, "NTP server {address}")?,
                }
                if let Some(process) = &used.process {
                    write!(f, " of {process}")?;
                }
                write!(f, " is inside overlay '{overlay}': its packets would go into the fan")
            }
            Self::More(overlay, count) => write!(
                f,
                "{count} more connections and servers are inside overlay '{overlay}': their packets would go into the fan"
            ),
            Self::Public(overlay) => write!(
                f,
                "overlay '{overlay}' holds public addresses: those hosts of the Internet cannot be reached from here while \
                 the fan is up"
            ),
        }
    }
}

/// Networks whose addresses no host of the Internet has: reserved (RFC 1112), private (RFC 1918), shared (RFC 6598), for
/// benchmarks (RFC 2544) and for documentation (RFC 5737).
const NOT_PUBLIC: [(Ipv4Addr, u8); 9] = [
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
];

/// Whether an overlay holds addresses that hosts of the Internet have.
#[must_use]
pub(crate) fn is_public(overlay: Overlay) -> bool {
    let network = overlay.network();
    let holds = |(address, len): &(Ipv4Addr, u8)| {
        let other = Ipv4Network::new(*address, *len).expect("a prefix length");
        other.prefix() <= network.prefix() && overlap(other, network)
    };
    !NOT_PUBLIC.iter().any(holds)
}
