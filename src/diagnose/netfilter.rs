//! What other people's firewalls do with a packet: their rules as far as they can be understood, and the walk of one
//! packet through them.
//!
//! Knows tables, chains, rules and verdicts as netfilter walks them (`nft_do_chain`, net/netfilter/nf_tables_core.c;
//! `ipt_do_table`, net/ipv4/netfilter/ip_tables.c), and not where they were read. What is not understood is neither a
//! match nor none: a packet that only such a rule would drop is [at risk](Fate::AtRisk), not lost.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

mod fields;
mod mark;
#[cfg(test)]
mod tests;
mod tracked;
mod truth;
mod walk;

pub(crate) use walk::{Blame, Fate, fate, fates};

/// The protocol number of ICMP (RFC 792).
const ICMP: u8 = 1;

/// That of TCP (RFC 9293).
const TCP: u8 = 6;

/// Who keeps a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Backend {
    /// nftables, or iptables on top of it.
    Nftables,
    /// The rule set of iptables that is older than nftables, and invisible to it.
    Legacy,
}

/// A table with chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FirewallTable {
    /// Who keeps it.
    pub(crate) backend: Backend,
    /// `ip`, `inet`, `bridge`, `arp` or `netdev`.
    pub(crate) family: String,
    /// As it is called.
    pub name: String,
    /// By name.
    pub(crate) chains: BTreeMap<String, Chain>,
    /// Named sets, by name.
    pub(crate) sets: BTreeMap<String, Vec<Value>>,
    /// Named verdict maps, by name.
    pub(crate) maps: BTreeMap<String, Vec<MapEntry>>,
    /// Whether only the process that made it can change it (`flags owner`, nft(8)).
    pub(crate) is_owned: bool,
}

/// A chain. One with a hook is where packets enter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Where packets enter it; none for one that is only jumped to.
    pub(crate) base: Option<Base>,
    /// In the order in which they are asked.
    pub(crate) rules: Vec<FirewallRule>,
}

/// What makes a chain one that packets enter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// `ingress`, `prerouting`, `input`, `forward`, `output`, `postrouting` or `egress`.
    pub(crate) hook: String,
    /// Lower comes first.
    pub(crate) priority: i64,
    /// Whether it drops what no rule decides about.
    pub(crate) drops: bool,
    /// For `ingress` and `egress`: the interfaces whose packets enter.
    pub(crate) devices: Vec<String>,
    /// Whether it is of type `nat`: only the first packet of a connection enters.
    pub(crate) translates: bool,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FirewallRule {
    /// As a person would read it.
    pub(crate) text: String,
    /// All of these must hold.
    pub(crate) matches: Vec<Match>,
    /// What becomes of a packet then; none where the rule only counts or marks.
    pub(crate) verdict: Option<PacketVerdict>,
    /// What becomes of the packet's mark.
    pub(crate) marking: Option<Marking>,
    /// What becomes of its connection.
    pub(crate) tracking: Option<Tracking>,
    /// Packets that it has met, where it counts.
    pub(crate) packets: Option<u64>,
}

/// What a rule makes of the mark of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marking {
    /// The bits of `keep` stay as they are, and then those of `flip` change: so all of `and`, `or`, `xor` and constants.
    Bits {
        /// These stay.
        keep: u32,
        /// These change.
        flip: u32,
    },
    /// But for these bits it is that of the connection, which has none at first.
    OfConnection {
        /// These stay.
        keep: u32,
    },
    /// Something that is not understood.
    Unknown,
}

/// What a rule makes of the connection of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracking {
    /// It is not looked for (`notrack`).
    Off,
    /// It is looked for in another zone.
    Zone,
    /// It gets a mark.
    Mark,
}

/// Values, one for each field that is asked for, and what becomes of a packet that has them.
pub(crate) type MapEntry = (Vec<Value>, PacketVerdict);

/// The entries of a verdict map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entries {
    /// They stand in the rule.
    Own(Vec<MapEntry>),
    /// They are those of the map of this name.
    Named(String),
    /// They are not understood.
    Unknown,
}

/// What a rule asks of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// A field has, or with `negated` has none, of these values.
    Field {
        /// What is looked at.
        field: Field,
        /// Whether none may fit.
        negated: bool,
        /// One of these.
        values: Vec<Value>,
    },
    /// Fields lead to verdicts of their own (nft's verdict maps).
    Map(Vec<Field>, Entries),
    /// Several fields together have, or with `negated` have none, of these rows of values (a set of iptables).
    Tuples {
        /// What is looked at.
        fields: Vec<Field>,
        /// Whether none may fit.
        negated: bool,
        /// One of these: values, one for each field.
        tuples: Vec<Vec<Value>>,
    },
    /// Something that is not understood.
    Unknown,
}

/// A property of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    /// The interface it came in by.
    In,
    /// The interface it goes out by.
    Out,
    /// The bridge it came in by or goes out by, for one that is bridged.
    Bridge,
    /// Its source.
    Source,
    /// Its destination.
    Destination,
    /// Its protocol number in the IP header.
    Protocol,
    /// The source port of this protocol, or of any if 0.
    SourcePort(u8),
    /// The destination port, likewise.
    DestinationPort(u8),
    /// The type of an ICMP message; that of ours is 3, destination unreachable (RFC 792).
    IcmpType,
    /// Its code; that of ours is 4, fragmentation needed.
    IcmpCode,
    /// The state of its connection.
    State,
    /// Whether its connection was translated, `snat` or `dnat`.
    Status,
    /// The type of its destination, as in `fib daddr type`.
    DestinationType,
    /// The type of its source, likewise.
    SourceType,
    /// To whom the frame was sent: `host` or `unicast`, `broadcast`, `multicast`, `other`.
    PacketType,
    /// Of a packet that is bridged and shown to rules about routed packets: the port it came in by.
    PortIn,
    /// The port it goes out by.
    PortOut,
    /// The flags of TCP behind this mask.
    TcpFlags(u32),
    /// Its mark behind this mask. Packets have none until a rule gives them one.
    Mark(u32),
    /// That of its connection behind this mask, of which there is none.
    ConnectionMark(u32),
    /// The network protocol: IPv4 or ARP.
    Family,
    /// A part of an ARP message.
    Arp(Arp),
    /// A part of the header of this protocol that is not understood: any value may fit.
    Header(u8),
    /// Something that is not understood: any value may fit.
    Unknown,
}

/// A part of an ARP message (RFC 826); that of ours is a request, or a reply where the packet is of a known connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Arp {
    /// What it is for.
    Operation,
    /// Who asks.
    Source,
    /// Whose Ethernet address is asked for.
    Target,
    /// The kind of addresses or their length, which is this number between Ethernet and IPv4.
    Constant(u32),
    /// Something else.
    Other,
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Numbers and addresses from the first to the last.
    Range(u32, u32),
    /// A word or a name; at its end `*` stands for anything.
    Word(String),
    /// A named set.
    Set(String),
    /// Whatever fits none of the others (nft's `*`).
    Any,
    /// Something that is not understood.
    Unknown,
}

/// What a rule decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PacketVerdict {
    /// It may pass this base chain.
    Accept,
    /// It is lost, with or without a word to its sender.
    Drop,
    /// Another chain decides, and if it does not, the next rule.
    Jump(String),
    /// Another chain decides, and if it does not, the policy.
    Goto(String),
    /// The chain has nothing to say.
    Return,
    /// It may pass, and gets another source.
    Source(NewSource),
    /// Something that is not understood.
    Unknown,
}

/// The source that a rule gives a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewSource {
    /// This one.
    Address(Ipv4Addr),
    /// The address of the interface that it leaves by.
    OfInterface,
    /// One of several, or something that is not understood.
    Unknown,
}

/// The state of a packet's connection, in the words of both kinds of firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConntrackState {
    /// The first of its connection.
    New,
    /// A reply, or later.
    Established,
    /// An ICMP error about a connection that is known.
    Related,
    /// Of no connection that is known.
    Invalid,
}

impl Field {
    /// The number of the protocol whose header has it, if it is not that of IP. A packet of another protocol does not have
    /// the field: neither a condition nor its contrary holds of it.
    #[must_use]
    pub(crate) fn protocol(self) -> Option<u8> {
        match self {
            Self::SourcePort(protocol) | Self::DestinationPort(protocol) => {
                Some(protocol).filter(|number| *number != 0)
            }
            Self::IcmpType | Self::IcmpCode => Some(ICMP),
            Self::TcpFlags(_) => Some(TCP),
            Self::Header(protocol) => Some(protocol),
            _ => None,
        }
    }
}

impl FirewallRule {
    /// Whether it is about packets of no connection that is known, and about no others.
    #[must_use]
    pub(crate) fn asks_for_invalid(&self) -> bool {
        let invalid = [Value::Word("invalid".into())];
        self.matches.iter().any(|condition| match condition {
            Match::Field { field: Field::State, negated: false, values } => *values == invalid,
            Match::Map(fields, _) => *fields == [Field::State],
            _ => false,
        })
    }
}

/// A packet at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// The hook.
    pub(crate) hook: &'static str,
    /// The families whose chains see it.
    pub(crate) families: &'static [&'static str],
    /// Whether it is a request of ARP, from `source` for `destination`, and not IPv4.
    pub(crate) is_arp: bool,
    /// The interface it came in by.
    pub(crate) incoming: Option<String>,
    /// The interface it goes out by.
    pub(crate) outgoing: Option<String>,
    /// The bridge it is bridged by.
    pub(crate) bridge: Option<String>,
    /// Of one that is bridged and shown to rules about routed packets: the ports it comes in and goes out by.
    pub(crate) ports: Option<[String; 2]>,
    /// Its source.
    pub(crate) source: Ipv4Addr,
    /// Of one that is refused where it arrives when its source is another: the address of the interface that it leaves by, which
    /// masquerading gives it.
    pub(crate) masqueraded: Option<Ipv4Addr>,
    /// Of one that this host routes: marks, each behind a mask, by which rules of others route packets elsewhere.
    pub(crate) diverting: Vec<(u32, u32)>,
    /// Whether it is lost where its connection is not looked for, or looked for in another zone: it is one that is translated.
    pub(crate) needs_connection: bool,
    /// Its destination.
    pub(crate) destination: Ipv4Addr,
    /// Whether the destination is this host's own.
    pub(crate) is_local: bool,
    /// The protocol number.
    pub(crate) protocol: u8,
    /// The port it is from; none for what has none, or where any is meant that nobody's rule is about.
    pub(crate) source_port: Option<u16>,
    /// The port it is for, likewise.
    pub(crate) port: Option<u16>,
    /// The state of its connection.
    pub(crate) state: ConntrackState,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nftables => "nftables",
            Self::Legacy => "iptables-legacy",
        })
    }
}

impl From<Ipv4Addr> for Value {
    fn from(address: Ipv4Addr) -> Self {
        let number = u32::from(address);
        Self::Range(number, number)
    }
}

impl From<ipnetwork::Ipv4Network> for Value {
    fn from(network: ipnetwork::Ipv4Network) -> Self {
        Self::Range(network.network().into(), network.broadcast().into())
    }
}
