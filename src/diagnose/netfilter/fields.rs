//! Whether a packet at a hook has what a rule asks of one of its fields.

use super::truth::Truth;
use super::walk::Walk;
use super::{Arp, ConntrackState, Field, Value};

/// A port for any: one that no rule names, among those that connections begin at (RFC 6335, section 6).
const ANY_PORT: u16 = 51_413;

/// The type of ICMP message that says that a destination is unreachable, and its code where that is because fragmentation is
/// needed (RFC 792).
const UNREACHABLE: u32 = 3;
const FRAGMENTATION_NEEDED: u32 = 4;

/// Flags of TCP (RFC 9293, section 3.1).
const FIN: u32 = 1;
const SYN: u32 = 2;
const PUSH: u32 = 8;
const ACK: u32 = 16;

/// The operations of an ARP request and of its reply (RFC 826).
const REQUEST: u32 = 1;
const REPLY: u32 = 2;

impl Walk<'_> {
    /// Whether each of several fields has the value that belongs to it.
    pub(super) fn fit(&self, fields: &[Field], values: &[Value]) -> Truth {
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
    pub(super) fn has(&self, field: Field) -> bool {
        let packet = self.packet;
        let has_connection = packet.state != ConntrackState::Invalid;
        match field {
            Field::In
            | Field::Out
            | Field::Bridge
            | Field::PacketType
            | Field::Mark(_)
            | Field::Family
            | Field::Unknown => true,
            // Of a packet that is not bridged the contrary holds (`physdev_mt`, net/netfilter/xt_physdev.c).
            Field::PortIn | Field::PortOut => !packet.is_arp,
            Field::Arp(_) => packet.is_arp,
            _ if packet.is_arp => false,
            Field::Status => has_connection,
            _ => field.protocol().is_none_or(|protocol| protocol == packet.protocol),
        }
    }

    pub(super) fn fits(&self, field: Field, value: &Value) -> Truth {
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
            Field::DestinationType if packet.destination.is_broadcast() => word("broadcast"),
            Field::DestinationType => word(if packet.is_local { "local" } else { "unicast" }),
            // Nobody's address counts as a broadcast (`inet_addr_type`, net/ipv4/fib_frontend.c).
            Field::SourceType if packet.source.is_unspecified() => word("broadcast"),
            Field::SourceType if packet.incoming.is_some() => word("unicast"),
            Field::SourceType => word("local"),
            Field::PacketType if packet.bridge.is_some() || packet.incoming.is_none() => Truth::Maybe,
            Field::PacketType if packet.destination.is_broadcast() || packet.is_arp => word("broadcast"),
            Field::PacketType => number_or_word(0, "host").or(word("unicast")),
            Field::TcpFlags(mask) => {
                let flags: &[u32] = match packet.state {
                    ConntrackState::New => &[SYN],
                    _ => &[SYN | ACK, ACK, PUSH | ACK, FIN | ACK],
                };
                Truth::all_or_none(flags.iter().map(|flags| number(flags & mask)))
            }
            Field::PortIn | Field::PortOut => {
                let Some([incoming, outgoing]) = &packet.ports else { return Truth::No };
                word(if field == Field::PortIn { incoming } else { outgoing })
            }
            Field::Mark(mask) => self.carried.marks.fits(mask, value),
            Field::ConnectionMark(_) if self.carried.tracked.has_mark(packet.state) => Truth::Maybe,
            Field::ConnectionMark(_) => number(0),
            Field::Family => word(if packet.is_arp { "arp" } else { "ipv4" }),
            Field::Arp(Arp::Operation) if packet.state == ConntrackState::Established => number_or_word(REPLY, "reply"),
            Field::Arp(Arp::Operation) => number_or_word(REQUEST, "request"),
            Field::Arp(Arp::Constant(constant)) => number_or_word(constant, "ip").or(word("ether")),
            Field::Arp(Arp::Other) | Field::Header(_) | Field::Unknown => Truth::Maybe,
        }
    }
}
