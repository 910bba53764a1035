//! One expression of a rule in `nft -j`'s words (libnftables-json(5)).

use ipnetwork::Ipv4Network;
use serde_json::Value as Json;

use crate::diagnose::netfilter::{
    Arp, Entries, Field, FirewallRule, MapEntry, Marking, Match, NewSource, PacketVerdict, Tracking, Value,
};

mod changes;
#[cfg(test)]
mod tests;

/// Adds what an expression says to its rule.
pub fn read(expression: &Json, rule: &mut FirewallRule) {
    let Some((kind, body)) = expression.as_object().and_then(|object| object.iter().next()) else {
        return;
    };
    match kind.as_str() {
        "match" => rule.matches.push(condition(body)),
        "vmap" => rule.matches.push(map(body)),
        "mangle" => changes::mangle(&body["key"], &body["value"], rule),
        "notrack" => rule.tracking = Some(Tracking::Off),
        "counter" => rule.packets = body["packets"].as_u64(),
        // A limit lets the first packets by, and refuses those beyond it: no less and no more than a match.
        kind if LIMITS.contains(&kind) => rule.matches.push(Match::Unknown),
        // The same, kept of each element of a set.
        "set" | "meter" if has_limit(&body["stmt"]) => rule.matches.push(Match::Unknown),
        "xt" => match (body["type"].as_str(), body["name"].as_str()) {
            (Some("match"), Some("comment")) | (Some("target"), Some("LOG" | "NFLOG" | "TCPMSS")) => {}
            (Some("target"), Some("MARK" | "CONNMARK")) => {
                rule.marking = Some(Marking::Unknown);
                rule.tracking = Some(Tracking::Mark);
            }
            (Some("target"), Some("REJECT")) => rule.verdict = Some(PacketVerdict::Drop),
            (Some("target"), _) => rule.verdict = Some(PacketVerdict::Unknown),
            _ => rule.matches.push(Match::Unknown),
        },
        kind if HARMLESS.contains(&kind) => {}
        // What is not known may drop the packet, or send it elsewhere, before a verdict behind it is reached.
        _ if rule.verdict == Some(PacketVerdict::Unknown) => {}
        _ => rule.verdict = Some(verdict_of(kind, body).unwrap_or(PacketVerdict::Unknown)),
    }
}

/// Statements after which a packet goes on as it was: they note it, copy it, or say how its connection is looked after.
const HARMLESS: [&str; 15] = [
    "log",
    "comment",
    "set",
    "map",
    "meter",
    "dup",
    "flow",
    "last",
    "secmark",
    "ct helper",
    "ct timeout",
    "ct expectation",
    "reset",
    "tunnel",
    "nftrace",
];

const LIMITS: [&str; 4] = ["limit", "quota", "connlimit", "ct count"];

/// Whether there is a limit among statements, or in a single one.
fn has_limit(statements: &Json) -> bool {
    match statements {
        Json::Array(list) => list.iter().any(has_limit),
        statement => LIMITS.iter().any(|limit| statement.get(limit).is_some()),
    }
}

fn verdict_of(kind: &str, body: &Json) -> Option<PacketVerdict> {
    let target = || body["target"].as_str().unwrap_or_default().to_string();
    Some(match kind {
        "accept" => PacketVerdict::Accept,
        "masquerade" => PacketVerdict::Source(NewSource::OfInterface),
        "snat" => PacketVerdict::Source(new_source(&body["addr"])),
        "drop" | "reject" => PacketVerdict::Drop,
        "jump" => PacketVerdict::Jump(target()),
        "goto" => PacketVerdict::Goto(target()),
        "return" => PacketVerdict::Return,
        _ => return None,
    })
}

/// The source that `snat` gives a packet.
fn new_source(address: &Json) -> NewSource {
    let address = address.as_str().and_then(|text| text.parse().ok());
    address.map_or(NewSource::Unknown, NewSource::Address)
}

fn condition(body: &Json) -> Match {
    let left = &body["left"];
    if let Some(family) = other_family(left) {
        // Whatever is asked of a field that IPv4 has not: it is asked of no packet of IPv4.
        return Match::Field { field: Field::Family, negated: false, values: vec![Value::Word(family.into())] };
    }
    if let Some(condition) = tcp_flags(body) {
        return condition;
    }
    if is_tiny_segment(body) {
        return Match::Field { field: Field::Family, negated: false, values: Vec::new() };
    }
    let Some(field) = field(left) else {
        return not_understood(left);
    };
    let mut values = values(&body["right"]);
    if field == Field::Family {
        values = values.into_iter().map(family).collect();
    }
    let range = |range: fn(u32) -> Option<(u32, u32)>| match values[..] {
        [Value::Range(number, last)] if number == last => {
            let values = range(number).map(|(first, last)| Value::Range(first, last)).into_iter().collect();
            Match::Field { field, negated: false, values }
        }
        _ => not_understood(left),
    };
    match body["op"].as_str() {
        Some("==" | "in") => Match::Field { field, negated: false, values },
        Some("!=") => Match::Field { field, negated: true, values },
        Some("<") => range(|number| Some((0, number.checked_sub(1)?))),
        Some("<=") => range(|number| Some((0, number))),
        Some(">") => range(|number| Some((number.checked_add(1)?, u32::MAX))),
        Some(">=") => range(|number| Some((number, u32::MAX))),
        _ => not_understood(left),
    }
}

/// A maximum segment size that is smaller than what every host takes (536, RFC 9293, section 3.7.1): no packet that is asked about
/// has it.
fn is_tiny_segment(body: &Json) -> bool {
    let option = &body["left"]["tcp option"];
    let last = &body["right"]["range"][1];
    option["name"] == "maxseg" && option["field"] == "size" && last.as_u64().is_some_and(|last| last < 536)
}

/// A condition on the flags of TCP: behind a mask, or one of several.
fn tcp_flags(body: &Json) -> Option<Match> {
    let (left, right) = (&body["left"], bits(&body["right"])?);
    let is_flags = |json: &Json| json["payload"]["protocol"] == "tcp" && json["payload"]["field"] == "flags";
    let condition = |mask, negated, flags| {
        let values = vec![Value::Range(flags, flags)];
        Some(Match::Field { field: Field::TcpFlags(mask), negated, values })
    };
    let mask = match &left["&"] {
        Json::Array(parts) if parts.len() == 2 && is_flags(&parts[0]) => Some(bits(&parts[1])?),
        _ if is_flags(left) => None,
        _ => return None,
    };
    match (body["op"].as_str()?, mask) {
        ("==", mask) => condition(mask.unwrap_or(0xff), false, right),
        ("!=", mask) => condition(mask.unwrap_or(0xff), true, right),
        // One of them at least.
        ("in", None) => condition(right, true, 0),
        _ => None,
    }
}

/// Flags of TCP by their names (RFC 9293, section 3.1), or a number.
pub(crate) fn bits(json: &Json) -> Option<u32> {
    match json {
        Json::Number(number) => u32::try_from(number.as_u64()?).ok(),
        Json::String(name) => {
            let names = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];
            names.iter().position(|known| known == name).map(|bit| 1 << bit)
        }
        Json::Array(list) => list.iter().map(bits).try_fold(0, |all, some| Some(all | some?)),
        Json::Object(_) => bits(json.get("|")?),
        _ => None,
    }
}

/// A condition that may hold or not, of packets that have what it asks for: nft asks for the protocol of a header too,
/// without saying so.
fn not_understood(left: &Json) -> Match {
    match header(left) {
        Some(protocol) => Match::Field { field: Field::Header(protocol), negated: false, values: vec![Value::Unknown] },
        None => Match::Unknown,
    }
}

/// The protocol whose header an expression reads, or one of several; none if it reads none, or that of an inner packet.
fn header(left: &Json) -> Option<u8> {
    let (kind, body) = left.as_object()?.iter().next()?;
    match kind.as_str() {
        "payload" if body.get("tunnel").is_none() => {
            let named = body["protocol"].as_str()?;
            protocol(named).filter(|_| !matches!(named, "ip" | "ip6" | "arp" | "ether" | "vlan"))
        }
        "tcp option" => Some(6),
        "sctp chunk" => Some(132),
        "dccp option" => Some(33),
        "&" | "|" | "^" | "<<" | ">>" | "concat" => body.as_array()?.iter().find_map(header),
        _ => None,
    }
}

fn map(body: &Json) -> Match {
    let key = &body["key"];
    if other_family(key).is_some() {
        return Match::Map(vec![Field::Family], Entries::Own(vec![]));
    }
    let keys = key["concat"].as_array().map_or(std::slice::from_ref(key), Vec::as_slice);
    let is_named = body["data"].is_string();
    let fields = keys.iter().map(|key| match field(key) {
        // The values of a named map are not known to be families.
        Some(Field::Family) if is_named => Field::Unknown,
        found => found.unwrap_or(Field::Unknown),
    });
    let fields: Vec<Field> = fields.collect();
    let found = match &body["data"] {
        Json::String(name) => name.strip_prefix('@').map(|name| Entries::Named(name.into())),
        data => data["set"].as_array().map(|list| {
            let of_fields = |(values, verdict): MapEntry| {
                let fields = fields.iter().zip(values);
                let values = fields.map(|(field, value)| match (field, value) {
                    (Field::Family, value) if value != Value::Any => family(value),
                    (_, value) => value,
                });
                (values.collect(), verdict)
            };
            Entries::Own(entries(list).into_iter().map(of_fields).collect())
        }),
    };
    Match::Map(fields, found.unwrap_or(Entries::Unknown))
}

/// The elements of a verdict map, each a value, or several in a row, and a verdict.
pub(crate) fn entries(list: &[Json]) -> Vec<MapEntry> {
    let entry = |entry: &Json| {
        let key = entry[0].get("elem").map_or(&entry[0], |element| &element["val"]);
        let values = match key["concat"].as_array() {
            Some(parts) => parts.iter().map(value).collect(),
            None => vec![value(key)],
        };
        let verdict = entry[1].as_object().and_then(|object| object.iter().next());
        let verdict = verdict.and_then(|(kind, body)| verdict_of(kind, body));
        (values, verdict.unwrap_or(PacketVerdict::Unknown))
    };
    list.iter().map(entry).collect()
}

/// The family whose header an expression reads, if that is not IPv4's: nft asks for the family too, without saying so.
fn other_family(left: &Json) -> Option<&'static str> {
    let (kind, body) = left.as_object()?.iter().next()?;
    match kind.as_str() {
        "payload" => match body["protocol"].as_str()? {
            _ if body.get("tunnel").is_some() => None,
            "ip6" | "icmpv6" => Some("ipv6"),
            _ => None,
        },
        // Headers of extension are those of IPv6 (nft(8)).
        "exthdr" | "rt" if body["name"].is_string() => Some("ipv6"),
        // A part of a field, and several fields.
        "&" | "|" | "^" | "<<" | ">>" | "concat" => body.as_array()?.iter().find_map(other_family),
        _ => None,
    }
}

/// The family that is meant by its name, or by that of a protocol in an Ethernet header or its number (linux/if_ether.h,
/// `ETH_P_*`).
fn family(value: Value) -> Value {
    let name = match value {
        // The name is one of a protocol too.
        Value::Range(41, 41) => "ipv6".into(),
        Value::Word(name) => name,
        Value::Range(number, last) if number == last => format!("{number:#06x}"),
        _ => return Value::Unknown,
    };
    Value::Word(match name.as_str() {
        "ip" | "0x0800" => "ipv4".into(),
        "ip6" | "0x86dd" => "ipv6".into(),
        _ => name,
    })
}

fn field(left: &Json) -> Option<Field> {
    let (kind, body) = left.as_object()?.iter().next()?;
    let key = body["key"].as_str().unwrap_or_default();
    Some(match (kind.as_str(), key) {
        ("meta", "iif" | "iifname") => Field::In,
        ("meta", "oif" | "oifname") => Field::Out,
        ("meta", "ibrname" | "obrname") => Field::Bridge,
        ("meta", "l4proto") => Field::Protocol,
        ("meta", "mark") => Field::Mark(u32::MAX),
        ("meta", "nfproto" | "protocol") => Field::Family,
        ("ct", "state") => Field::State,
        ("ct", "status") => Field::Status,
        ("ct", "mark") => Field::ConnectionMark(u32::MAX),
        ("&", _) if body[0]["meta"]["key"] == "mark" => Field::Mark(body[1].as_u64()?.try_into().ok()?),
        ("meta", "pkttype") => Field::PacketType,
        ("fib", _) if body["result"] == "type" && body["flags"] == "saddr" => Field::SourceType,
        ("fib", _) if body["result"] == "type" && body["flags"] == "daddr" => Field::DestinationType,
        ("payload", _) if body.get("tunnel").is_some() => return None,
        ("payload", _) if body.get("base").is_some() => return raw(body),
        ("payload", _) => {
            let (protocol, field) = (body["protocol"].as_str()?, body["field"].as_str()?);
            match (protocol, field) {
                ("ip", "saddr") => Field::Source,
                ("ip", "daddr") => Field::Destination,
                ("ip", "protocol") => Field::Protocol,
                ("tcp", "dport") => Field::DestinationPort(6),
                ("udp", "dport") => Field::DestinationPort(17),
                ("th", "dport") => Field::DestinationPort(0),
                ("tcp", "sport") => Field::SourcePort(6),
                ("udp", "sport") => Field::SourcePort(17),
                ("th", "sport") => Field::SourcePort(0),
                ("icmp", "type") => Field::IcmpType,
                ("icmp", "code") => Field::IcmpCode,
                ("ether", "type") => Field::Family,
                ("arp", "operation") => Field::Arp(Arp::Operation),
                ("arp", "saddr ip") => Field::Arp(Arp::Source),
                ("arp", "daddr ip") => Field::Arp(Arp::Target),
                ("arp", "htype") => Field::Arp(Arp::Constant(1)),
                ("arp", "ptype") => Field::Arp(Arp::Constant(0x0800)),
                ("arp", "hlen") => Field::Arp(Arp::Constant(6)),
                ("arp", "plen") => Field::Arp(Arp::Constant(4)),
                ("arp", _) => Field::Arp(Arp::Other),
                _ => return None,
            }
        }
        _ => return None,
    })
}

/// A field by its place in a header (RFC 791, RFC 768).
fn raw(body: &Json) -> Option<Field> {
    Some(match (body["base"].as_str()?, body["offset"].as_u64()?, body["len"].as_u64()?) {
        ("nh", 72, 8) => Field::Protocol,
        ("nh", 96, 32) => Field::Source,
        ("nh", 128, 32) => Field::Destination,
        ("th", 0, 16) => Field::SourcePort(0),
        ("th", 16, 16) => Field::DestinationPort(0),
        _ => return None,
    })
}

fn values(right: &Json) -> Vec<Value> {
    match right {
        Json::Array(list) => list.iter().map(value).collect(),
        Json::Object(object) if object.contains_key("set") => match &object["set"] {
            Json::Array(list) => list.iter().map(value).collect(),
            one => vec![value(one)],
        },
        one => vec![value(one)],
    }
}

/// A number, an address, a network, a word, or a range of these.
pub(crate) fn value(json: &Json) -> Value {
    match json {
        Json::Number(number) => number
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .map_or(Value::Unknown, |number| Value::Range(number, number)),
        Json::String(word) => text(word),
        Json::Object(object) => {
            if let Some(prefix) = object.get("prefix") {
                let len = prefix["len"].as_u64().and_then(|len| u8::try_from(len).ok());
                let network = prefix["addr"].as_str().and_then(|a| a.parse().ok());
                let network = network.zip(len).and_then(|(a, len)| Ipv4Network::new(a, len).ok());
                network.map_or(Value::Unknown, Value::from)
            } else if let Some([first, last]) = object.get("range").and_then(Json::as_array).map(Vec::as_slice) {
                match (value(first), value(last)) {
                    (Value::Range(first, _), Value::Range(_, last)) => Value::Range(first, last),
                    _ => Value::Unknown,
                }
            } else if let Some(element) = object.get("elem") {
                value(&element["val"])
            } else {
                Value::Unknown
            }
        }
        _ => Value::Unknown,
    }
}

/// A value in words: an address, the name of a protocol or of anything else.
pub fn text(word: &str) -> Value {
    if word == "*" {
        return Value::Any;
    }
    if let Some(set) = word.strip_prefix('@') {
        return Value::Set(set.into());
    }
    if let Ok(address) = word.parse::<std::net::Ipv4Addr>() {
        return address.into();
    }
    if let Ok(network) = word.parse::<Ipv4Network>() {
        return network.into();
    }
    if let Ok(number) = word.parse::<u32>() {
        return Value::Range(number, number);
    }
    protocol(word).map_or_else(|| Value::Word(word.to_string()), |number| Value::Range(number.into(), number.into()))
}

/// The number of a protocol by its name in /etc/protocols, of those that firewalls speak of.
pub(crate) fn protocol(word: &str) -> Option<u8> {
    Some(match word {
        "icmp" => 1,
        "igmp" => 2,
        "ipencap" | "ipip" => 4,
        "tcp" => 6,
        "udp" => 17,
        "dccp" => 33,
        "ipv6" => 41,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "icmpv6" | "ipv6-icmp" => 58,
        "comp" | "ipcomp" => 108,
        "vrrp" => 112,
        "sctp" => 132,
        "udplite" => 136,
        _ => return None,
    })
}
