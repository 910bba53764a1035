//! Questions to the host that must know, over the fan: it answers for itself, and asks no other host.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::super::facts::at_offset;
use super::super::roll::address;
use super::super::schedule::{MILLISECOND, Out, Wake};
use super::super::wire::{Answer, Message, Question, Refusal};
use super::super::zone::Zone;
use super::Action;
use crate::fan::label::Label;
use crate::fan::mapping::Mapping;

/// What an answer is known by to those who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Addresses of the asked host's slice; none if it has no such name.
    Addresses(Vec<Ipv4Addr>),
    /// Names; none if it has none for the address.
    Names(Vec<Label>),
    /// The host does not answer, or too much is being asked.
    Silence,
}

impl Found {
    /// There can be none.
    pub(super) fn nothing() -> Self {
        Self::Names(Vec::new())
    }

    /// A host's answer; none if it names an address outside of its slice.
    pub(super) fn read(mapping: Mapping, host: Ipv4Addr, answer: &Answer) -> Option<Self> {
        match answer {
            Answer::Addresses(offsets) => {
                let addresses = offsets.iter().map(|offset| at_offset(mapping, host, *offset));
                addresses.collect::<Option<_>>().map(Self::Addresses)
            }
            Answer::Names(labels) => Some(Self::Names(labels.clone())),
        }
    }
}

/// The most questions under way to one host, and to all.
const MOST_TO_ONE: usize = 64;
const MOST: usize = 1_024;
/// How often is asked, and how long an answer may take.
const TRIES: u8 = 3;
const ANSWER: u64 = 250 * MILLISECOND;

struct Ask {
    ticket: Ticket,
    host: u32,
    question: Question,
    tries: u8,
}

/// Questions under way.
pub(super) struct Asks {
    rng: SmallRng,
    asks: BTreeMap<u32, Ask>,
}

impl Asks {
    pub(super) fn new(rng: SmallRng) -> Self {
        Self { rng, asks: BTreeMap::new() }
    }

    /// Asks a host, or gives the answer that there will be none.
    pub(super) fn begin(
        &mut self,
        now: u64,
        ticket: Ticket,
        host: u32,
        question: Question,
        out: &mut Out,
    ) -> Option<Found> {
        let to_one = self.asks.values().filter(|ask| ask.host == host).count();
        if self.asks.len() >= MOST || to_one >= MOST_TO_ONE {
            return Some(Found::Silence);
        }
        let id = loop {
            let id: u32 = self.rng.random();
            if !self.asks.contains_key(&id) {
                break id;
            }
        };
        self.asks.insert(id, Ask { ticket, host, question, tries: 0 });
        self.send(now, id, out);
        None
    }

    fn send(&mut self, now: u64, id: u32, out: &mut Out) {
        if let Some(ask) = self.asks.get_mut(&id) {
            ask.tries += 1;
            out.send.push((ask.host, Message::Ask { id, question: ask.question.clone() }));
            out.timers.push((now + ANSWER, Wake::Ask(id)));
        }
    }

    pub(super) fn unanswered(&mut self, now: u64, id: u32, out: &mut Out) -> Option<Action> {
        if self.asks.get(&id)?.tries < TRIES {
            self.send(now, id, out);
            return None;
        }
        let ask = self.asks.remove(&id)?;
        Some(Action::Answer(ask.ticket, Found::Silence))
    }

    /// An answer of a host; it counts if that host was asked, and for what.
    pub(super) fn answered(
        &mut self,
        zone: &Zone,
        from: u32,
        id: u32,
        answer: &Answer,
    ) -> Result<Option<Action>, Refusal> {
        let fits = |ask: &Ask| {
            let is_kind = matches!(
                (&ask.question, answer),
                (Question::Addresses(_), Answer::Addresses(_)) | (Question::Names(_), Answer::Names(_))
            );
            ask.host == from && is_kind
        };
        if !self.asks.get(&id).is_some_and(fits) {
            return Ok(None);
        }
        let found = Found::read(zone.mapping(), address(zone, from), answer).ok_or(Refusal::OutOfBounds)?;
        let ask = self.asks.remove(&id);
        Ok(ask.map(|ask| Action::Answer(ask.ticket, found)))
    }
}
