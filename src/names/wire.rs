//! Datagrams between gateways: UDP from port 924 to port 924, so that no user without privileges can send one.
//!
//! `fan1`, the prefix lengths of overlay and underlay (one byte each), and a [`Message`] in the encoding of the crate `postcard`.
//! The source address is not in it: it is that of the packet, which the fan's programs have checked.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::facts::{Entry, Version};
use super::roll::Seen;
use crate::fan::label::Label;
use crate::fan::mapping::Mapping;

/// The UDP port of gateways for each other, unassigned at IANA.
pub const PORT: u16 = 924;

/// The largest datagram in bytes: with the headers of UDP and IPv4 it fits the MTU of every encapsulation over 1,500 bytes.
pub const LARGEST: usize = 1_232;

/// The largest of what [`roll`](super::roll) sends, in bytes.
pub const LARGEST_GOSSIP: usize = 1_200;

/// Entries of a [`Message::List`]: none takes more than 20 bytes.
pub const LIST_LEN: usize = 60;

/// The most bytes of names in one [`Message::Tell`].
const PART_LEN: usize = 1_150;

/// The most parts that what a host says of itself has: 1,024 names of 63 letters, and some.
pub const MOST_PARTS: u8 = 96;

/// The most parts that are asked for at once.
pub const MOST_WANTED: usize = 16;

/// The most names or addresses in the answer to a question.
pub const MOST_ANSWERS: usize = 16;

const MAGIC: [u8; 4] = *b"fan1";
const HEADER: usize = MAGIC.len() + 2;

/// The number of [`Message::Check`]: it and those behind it are about the sender and the receiver alone.
const FIRST_HAND: u8 = 4;

/// What one gateway says to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A datagram of `foca`.
    Gossip(Vec<u8>),
    /// A digest of all that the sender knows of who is there.
    Sync(u64),
    /// It is the receiver's too.
    Same,
    /// Part of what the sender knows of who is there, because it is not.
    List(Vec<Seen>),
    /// Are you there? With what is known of the receiver's names.
    Check {
        /// To be repeated in the answer.
        nonce: u32,
        /// The names that are known.
        known: Option<Version>,
    },
    /// Yes, and what is known is right.
    Here {
        /// Of the question.
        nonce: u32,
    },
    /// The sender's names, or a part of them.
    Tell {
        /// Of the question; 0 without one.
        nonce: u32,
        /// Which of the sender's statements it is.
        version: Version,
        /// Number of this part, from 0.
        part: u8,
        /// Number of all parts, at least 1.
        parts: u8,
        /// The names.
        names: Vec<Entry>,
    },
    /// Parts of the receiver's names that did not come.
    Want {
        /// Which statement.
        version: Version,
        /// Which parts.
        parts: Vec<u8>,
    },
    /// The receiver's names came.
    Got(Version),
    /// What do you call so?
    Ask {
        /// To be repeated in the answer.
        id: u32,
        /// The question.
        question: Question,
    },
    /// An answer of the sender's own.
    Answer {
        /// Of the question.
        id: u32,
        /// The answer.
        answer: Answer,
    },
}

/// A question to the host that must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// The addresses of a name.
    Addresses(Label),
    /// The names at an offset of the slice.
    Names(u32),
}

/// What a host answers of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Offsets into its slice.
    Addresses(Vec<u32>),
    /// Names.
    Names(Vec<Label>),
}

/// Why a datagram is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Not of this protocol, or not whole.
    Malformed,
    /// Not from the gateway of another host of the fan.
    NoGateway,
    /// The sender lays its overlay over an underlay of another width.
    OtherMapping,
    /// It names an address outside of the sender's slice, or more than a host may say.
    OutOfBounds,
    /// More than a host may send in a second.
    TooMany,
    /// A member that no host can be, or of a time to come.
    ImpossibleMember,
}

impl Refusal {
    /// A stable word for JSON and counters.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoGateway => "no-gateway",
            Self::OtherMapping => "other-mapping",
            Self::OutOfBounds => "out-of-bounds",
            Self::TooMany => "too-many",
            Self::ImpossibleMember => "impossible-member",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "a datagram that is none of this protocol",
            Self::NoGateway => "a datagram from an address that is no other host's gateway",
            Self::OtherMapping => "its underlay has another prefix length than ours",
            Self::OutOfBounds => "it named an address outside of its slice, or more names than a host may have",
            Self::TooMany => "it sends more than a host may in a second",
            Self::ImpossibleMember => "it told of a host that cannot be",
        })
    }
}

/// Writes a datagram.
#[must_use]
pub fn encode(mapping: Mapping, message: &Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    bytes.extend(MAGIC);
    bytes.extend(widths(mapping));
    postcard::to_extend(message, bytes).expect("memory takes what it is given")
}

/// Reads a datagram.
///
/// # Errors
/// Why it is refused.
pub fn decode(mapping: Mapping, bytes: &[u8]) -> Result<Message, Refusal> {
    if bytes.len() > LARGEST || bytes.len() <= HEADER || bytes[..4] != MAGIC {
        return Err(Refusal::Malformed);
    }
    if bytes[4..HEADER] != widths(mapping) {
        return Err(Refusal::OtherMapping);
    }
    match postcard::take_from_bytes(&bytes[HEADER..]) {
        Ok((message, [])) => is_bounded(&message).then_some(message).ok_or(Refusal::OutOfBounds),
        _ => Err(Refusal::Malformed),
    }
}

/// Whether a datagram is, by its first byte, about who is there: of that others may say anything.
pub(crate) fn is_hearsay(bytes: &[u8]) -> bool {
    bytes.get(HEADER).is_some_and(|kind| *kind < FIRST_HAND)
}

fn widths(mapping: Mapping) -> [u8; 2] {
    [mapping.overlay().network().prefix(), mapping.underlay().network().prefix()]
}

fn is_bounded(message: &Message) -> bool {
    match message {
        Message::Gossip(bytes) => bytes.len() <= LARGEST_GOSSIP,
        Message::List(list) => list.len() <= LIST_LEN,
        Message::Tell { part, parts, .. } => part < parts && *parts <= MOST_PARTS,
        Message::Want { parts, .. } => parts.len() <= MOST_WANTED,
        Message::Answer { answer: Answer::Addresses(offsets), .. } => offsets.len() <= MOST_ANSWERS,
        Message::Answer { answer: Answer::Names(names), .. } => names.len() <= MOST_ANSWERS,
        Message::Sync(_)
        | Message::Same
        | Message::Check { .. }
        | Message::Here { .. }
        | Message::Got(_)
        | Message::Ask { .. } => true,
    }
}

/// Names in parts that fit a datagram each; one empty part for none.
#[must_use]
pub fn in_parts(entries: &[Entry]) -> Vec<Vec<Entry>> {
    /// Of the length before a label, and of an offset.
    const BESIDES: usize = 1 + 5;
    let mut parts = vec![Vec::new()];
    let mut room = PART_LEN;
    for entry in entries {
        let len = entry.0.as_str().len() + BESIDES;
        if len > room {
            parts.push(Vec::new());
            room = PART_LEN;
        }
        room -= len;
        parts.last_mut().expect("one is there").push(entry.clone());
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fan::tests::announced;
    use crate::names::facts::MOST_NAMES;

    #[test]
    fn the_most_that_a_host_says_fits() {
        let mapping = announced().mapping;
        let entries: Vec<Entry> =
            (0..MOST_NAMES).map(|n| (Label::new(&format!("{n:0>62}a")).unwrap(), u32::MAX)).collect();
        let parts = in_parts(&entries);
        assert!(parts.len() <= usize::from(MOST_PARTS), "{}", parts.len());
        let version = Version { boot: u32::MAX, count: u32::MAX };
        for names in parts {
            let tell = Message::Tell { nonce: u32::MAX, version, part: 94, parts: 95, names };
            let bytes = encode(mapping, &tell);
            assert!(bytes.len() <= LARGEST, "{}", bytes.len());
            assert_eq!(decode(mapping, &bytes), Ok(tell));
        }
        let seen = Seen { host: u32::MAX, boot: u32::MAX, renewal: u32::MAX, incarnation: u16::MAX, state: 2 };
        assert!(encode(mapping, &Message::List(vec![seen; LIST_LEN])).len() <= LARGEST);
        assert!(encode(mapping, &Message::Gossip(vec![255; LARGEST_GOSSIP])).len() <= LARGEST);
        let names = vec![entries[0].0.clone(); MOST_ANSWERS];
        assert!(encode(mapping, &Message::Answer { id: u32::MAX, answer: Answer::Names(names) }).len() <= LARGEST);
    }

    #[test]
    fn what_is_about_others_is_told_apart_unread() {
        let mapping = announced().mapping;
        for message in [Message::Gossip(vec![7]), Message::Sync(3), Message::Same, Message::List(Vec::new())] {
            assert!(is_hearsay(&encode(mapping, &message)), "{message:?}");
        }
        for message in [Message::Check { nonce: 1, known: None }, Message::Here { nonce: 0 }] {
            assert!(!is_hearsay(&encode(mapping, &message)), "{message:?}");
        }
        assert!(!is_hearsay(&[]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mapping = announced().mapping;
            let mut whole = encode(mapping, &Message::Same);
            whole.truncate(HEADER);
            whole.extend(&bytes);
            if let Ok(message) = decode(mapping, &whole) {
                prop_assert_eq!(decode(mapping, &encode(mapping, &message)), Ok(message));
            }
            prop_assert!(decode(mapping, &bytes).is_err());
        }
    }
}
