//! Sets that rules of iptables ask, as `ipset save` prints them (ipset(8)).

use std::collections::BTreeMap;

use super::nft_json::{protocol, text};
use crate::diagnose::netfilter::{Field, Match, Value};

/// Sets by their names; of one that is not understood there is nothing.
pub(crate) type IpSets = BTreeMap<String, IpSet>;

/// A set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IpSet {
    /// What an element consists of.
    parts: Vec<Part>,
    /// Its elements.
    rows: Vec<Vec<Value>>,
}

/// A part of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Address,
    /// A protocol and a port of it.
    Port,
    /// A port of any protocol.
    BarePort,
    Interface,
    /// Something that is not understood.
    Unknown,
}

/// Of a set with more elements it is not asked which they are.
const ROWS: usize = 16_384;

/// Reads the sets of IPv4.
#[must_use]
pub fn read(saved: &str) -> IpSets {
    let mut sets = IpSets::new();
    for line in saved.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["create", name, kind, ..] => {
                sets.insert(name.to_string(), IpSet { parts: parts(kind), rows: Vec::new() });
            }
            ["add", name, element, ref options @ ..] => {
                let Some(set) = sets.get_mut(name) else { continue };
                // An exception, or too many.
                if options.contains(&"nomatch") || set.rows.len() == ROWS {
                    sets.remove(name);
                } else {
                    let row = row(&set.parts, element);
                    set.rows.push(row);
                }
            }
            _ => {}
        }
    }
    sets
}

fn parts(kind: &str) -> Vec<Part> {
    let (method, parts) = kind.split_once(':').unwrap_or((kind, ""));
    let part = |part| match part {
        "ip" | "net" => Part::Address,
        "port" if method == "bitmap" => Part::BarePort,
        "port" => Part::Port,
        "iface" => Part::Interface,
        _ => Part::Unknown,
    };
    if method == "list" { vec![Part::Unknown] } else { parts.split(',').map(part).collect() }
}

fn row(parts: &[Part], element: &str) -> Vec<Value> {
    let mut words = element.split(',');
    let values = parts.iter().flat_map(|part| {
        let word = words.next().unwrap_or_default();
        match part {
            Part::Address => vec![address(word)],
            Part::Interface if !word.contains(':') => vec![Value::Word(word.to_string())],
            Part::BarePort => vec![port(word)],
            Part::Port => {
                let (name, number) = word.split_once(':').unwrap_or(("tcp", word));
                let number_of =
                    protocol(name).map_or(Value::Unknown, |number| Value::Range(number.into(), number.into()));
                vec![number_of, port(number)]
            }
            Part::Interface | Part::Unknown => vec![Value::Unknown],
        }
    });
    values.collect()
}

fn address(word: &str) -> Value {
    match text(word) {
        range @ Value::Range(..) => range,
        _ => Value::Unknown,
    }
}

fn port(word: &str) -> Value {
    word.parse::<u16>().map_or(Value::Unknown, |number| Value::Range(number.into(), number.into()))
}

/// The condition of a rule that asks a set about parts of a packet, as in `dst,dst,src`.
#[must_use]
pub(crate) fn condition(set: Option<&IpSet>, directions: &str, negated: bool) -> Match {
    let Some(set) = set else { return Match::Unknown };
    let mut directions = directions.split(',');
    let fields = set.parts.iter().flat_map(|part| {
        let is_source = directions.next() == Some("src");
        let port = if is_source { Field::SourcePort(0) } else { Field::DestinationPort(0) };
        match part {
            Part::Address => vec![if is_source { Field::Source } else { Field::Destination }],
            Part::Port => vec![Field::Protocol, port],
            Part::BarePort => vec![port],
            Part::Interface => vec![if is_source { Field::In } else { Field::Out }],
            Part::Unknown => vec![Field::Unknown],
        }
    });
    Match::Tuples { fields: fields.collect(), negated, tuples: set.rows.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_with_their_parts() {
        let saved = "create web hash:ip,port family inet hashsize 1024 maxelem 65536\nadd web 10.96.0.10,udp:53\ncreate ports \
                     bitmap:port range 0-65535\nadd ports 30080\ncreate nets hash:net family inet\nadd nets 10.0.0.0/8 timeout \
                     7\ncreate but hash:net family inet\nadd but 10.1.0.0/16 nomatch\ncreate all list:set size 8\nadd all nets\n";
        let sets = read(saved);
        let range = |number| Value::Range(number, number);
        let address = |text: &str| Value::from(text.parse::<std::net::Ipv4Addr>().unwrap());
        let tuples = |name: &str, directions| match condition(sets.get(name), directions, false) {
            Match::Tuples { fields, tuples, .. } => (fields, tuples),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            tuples("web", "dst,dst"),
            (
                vec![Field::Destination, Field::Protocol, Field::DestinationPort(0)],
                vec![vec![address("10.96.0.10"), range(17), range(53)]]
            )
        );
        assert_eq!(tuples("ports", "src"), (vec![Field::SourcePort(0)], vec![vec![range(30080)]]));
        let net = Value::from("10.0.0.0/8".parse::<ipnetwork::Ipv4Network>().unwrap());
        assert_eq!(tuples("nets", "src"), (vec![Field::Source], vec![vec![net]]));
        assert_eq!(tuples("all", "src"), (vec![Field::Unknown], vec![vec![Value::Unknown]]));
        for unknown in ["but", "none"] {
            assert_eq!(condition(sets.get(unknown), "src", false), Match::Unknown, "{unknown}");
        }
    }
}
