//! Statements that change something of a packet.

use serde_json::Value as Json;

use crate::diagnose::netfilter::{FirewallRule, Marking, PacketVerdict, Tracking};

/// A statement that changes something of a packet.
pub(super) fn mangle(key: &Json, value: &Json, rule: &mut FirewallRule) {
    let of = |kind: &str| key[kind]["key"].as_str();
    match (of("meta"), of("ct")) {
        (Some("mark"), _) => rule.marking = Some(marking(value)),
        (Some("priority" | "nftrace" | "secmark" | "pkttype"), _)
        | (_, Some("label" | "event" | "secmark" | "helper")) => {}
        (_, Some("mark")) => rule.tracking = Some(Tracking::Mark),
        (_, Some("zone")) => rule.tracking = Some(Tracking::Zone),
        _ if matches!(key["payload"]["field"].as_str(), Some("dscp" | "ecn" | "id")) => {}
        _ if key.get("tcp option").is_some() => {}
        // Another address or port, and whatever else is not known.
        _ => rule.verdict = Some(PacketVerdict::Unknown),
    }
}

/// What becomes of a mark: a number, or its own bits with others.
pub(super) fn marking(value: &Json) -> Marking {
    let number = |json: &Json| json.as_u64().and_then(|number| u32::try_from(number).ok());
    if let Some(flip) = number(value) {
        return Marking::Bits { keep: 0, flip };
    }
    let Some((kind, body)) = value.as_object().and_then(|object| object.iter().next()) else {
        return Marking::Unknown;
    };
    match (kind.as_str(), body["key"].as_str()) {
        ("meta", Some("mark")) => {
            return Marking::Bits { keep: u32::MAX, flip: 0 };
        }
        ("ct", Some("mark")) => return Marking::OfConnection { keep: 0 },
        _ => {}
    }
    let Some(bits) = number(&body[1]) else {
        return Marking::Unknown;
    };
    match (marking(&body[0]), kind.as_str()) {
        (Marking::Bits { keep, flip }, "&") => Marking::Bits { keep: keep & bits, flip: flip & bits },
        (Marking::Bits { keep, flip }, "|") => Marking::Bits { keep: keep & !bits, flip: flip & !bits | bits },
        (Marking::Bits { keep, flip }, "^") => Marking::Bits { keep, flip: flip ^ bits },
        _ => Marking::Unknown,
    }
}
