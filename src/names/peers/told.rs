//! What a host tells of itself, in one part or many.

use super::super::facts::{Entry, Facts, Version};
use super::super::roll::address;
use super::super::schedule::{Change, Out, Wake};
use super::super::wire::{MOST_WANTED, Message, Refusal};
use super::{ANSWER, Contact, Peers, TRIES};

/// Names in parts, as far as they have come.
#[derive(Debug)]
pub(super) struct Partial {
    version: Version,
    parts: Vec<Option<Vec<Entry>>>,
    /// How often they were asked for in vain.
    tries: u8,
}

/// Names as they come.
pub(crate) struct Tell {
    pub(crate) nonce: u32,
    pub(crate) version: Version,
    pub(crate) part: u8,
    pub(crate) parts: u8,
    pub(crate) names: Vec<Entry>,
}

impl Peers {
    /// A host told its names, or a part of them.
    pub(crate) fn told(&mut self, now: u64, from: u32, tell: Tell, out: &mut Out) -> Result<(), Refusal> {
        let is_answer = tell.nonce != 0 && self.all.get(&from).is_some_and(|peer| peer.nonce == tell.nonce);
        let came = self.proved(now, from, tell.nonce, out);
        let Some(peer) = self.all.get_mut(&from) else { return Ok(()) };
        if peer.contact != Contact::Here {
            // It can reach us. Whether we can reach it is to be seen.
            self.begin(now, from, out);
            return Ok(());
        }
        let known = &mut peer.known;
        let told = known.told.as_ref().map(|(version, _)| *version);
        if told == Some(tell.version) {
            out.send.push((from, Message::Got(tell.version)));
            if came {
                out.changes.push(Change::Names(from));
            }
            return Ok(());
        }
        // What was overtaken on the way is no news; the answer to our question always is.
        if !is_answer && told.is_some_and(|told| told > tell.version) {
            return Ok(());
        }
        // It has begun anew: nothing that it said before stands.
        if told.is_some_and(|told| told.boot != tell.version.boot) {
            known.told = None;
            out.changes.push(Change::Names(from));
        }
        if known.partial.as_ref().is_none_or(|partial| partial.version != tell.version) {
            let parts = vec![None; usize::from(tell.parts)];
            known.partial = Some(Partial { version: tell.version, parts, tries: 0 });
            if tell.parts > 1 {
                out.timers.push((now + ANSWER, Wake::Parts(from)));
            }
        }
        let Some(partial) = known.partial.as_mut() else { return Ok(()) };
        let Some(place) = partial.parts.get_mut(usize::from(tell.part)) else { return Err(Refusal::OutOfBounds) };
        *place = Some(tell.names);
        partial.tries = 0;
        if partial.parts.iter().all(Option::is_some) {
            return self.complete(from, out);
        }
        if tell.part == 0 {
            want(partial, from, out);
        }
        Ok(())
    }

    /// All parts have come.
    fn complete(&mut self, from: u32, out: &mut Out) -> Result<(), Refusal> {
        let host = address(&self.zone, from);
        let Some(peer) = self.all.get_mut(&from) else { return Ok(()) };
        let Some(Partial { version, parts, .. }) = peer.known.partial.take() else { return Ok(()) };
        let entries = parts.into_iter().flatten().flatten();
        let facts = Facts::told(self.zone.mapping(), host, entries).ok_or(Refusal::OutOfBounds)?;
        peer.known.told = Some((version, facts));
        out.changes.push(Change::Names(from));
        out.send.push((from, Message::Got(version)));
        Ok(())
    }

    /// Asks again for the parts of a host's names that have not come.
    pub(crate) fn parts(&mut self, now: u64, from: u32, out: &mut Out) {
        let Some(peer) = self.all.get_mut(&from) else { return };
        let Some(partial) = peer.known.partial.as_mut() else { return };
        partial.tries += 1;
        if partial.tries > TRIES {
            peer.known.partial = None;
            return;
        }
        want(partial, from, out);
        out.timers.push((now + ANSWER, Wake::Parts(from)));
    }
}

/// Asks for parts that have not come.
fn want(partial: &Partial, from: u32, out: &mut Out) {
    let missing = partial.parts.iter().zip(0..).filter(|(part, _)| part.is_none()).map(|(_, number)| number);
    let parts = missing.take(MOST_WANTED).collect();
    out.send.push((from, Message::Want { version: partial.version, parts }));
}
