//! Other hosts, first-hand: each is asked whether it is there, and tells itself which names it has.
//!
//! A host that others report is asked at once. Afterwards all are asked in turn, and one that others report as gone at once. After
//! several unanswered questions in a row its names are withdrawn, but kept for ten minutes: a host that is back and confirms them
//! has them again after one round trip.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::facts::{Entry, Facts, Version};
use super::roll::{Id, address};
use super::schedule::{Change, MILLISECOND, Out, Rumour, SECOND, Wake};
use super::wire::{MOST_WANTED, Message, Refusal};
use super::zone::Zone;

/// How long an answer may take, where others say that the host is there: longer than any round trip of an underlay.
const ANSWER: u64 = 200 * MILLISECOND;
/// The same where they say that it is gone.
const LAST_ANSWER: u64 = 150 * MILLISECOND;
/// How often a host is asked before it counts as gone: eight lost in a row are no accident.
const TRIES: u8 = 8;
/// The same where others say so too.
const LAST_TRIES: u8 = 5;
/// How long the names of a host that is gone are kept.
const KEPT: u64 = 600 * SECOND;
/// At most this many are checked in a second, each at most once in two.
const CHECKS: u64 = 8;
/// The pause before a host is asked again that did not answer, at first and at most.
const PAUSE: (u64, u64) = (SECOND, 60 * SECOND);

/// How things stand with a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contact {
    /// It has never answered.
    New,
    /// It answers.
    Here,
    /// It did not answer; the pause before it is asked again, in microseconds.
    Silent(u64),
}

/// Why the names of a host are not published, or that they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// They are.
    Here,
    /// It has not answered yet.
    Asked,
    /// Others say that it is there, and it does not answer us.
    Unreachable,
    /// It is gone.
    Gone,
}

impl Standing {
    /// A stable word.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Asked => "asked",
            Self::Unreachable => "unreachable",
            Self::Gone => "gone",
        }
    }
}

/// Names in parts, as far as they have come.
#[derive(Debug)]
struct Partial {
    version: Version,
    parts: Vec<Option<Vec<Entry>>>,
    /// How often they were asked for in vain.
    tries: u8,
}

#[derive(Debug, Default)]
struct Known {
    told: Option<(Version, Facts)>,
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Peer {
    /// Whether others say that it is there, and since which of its starts.
    listed: bool,
    start: (u32, u32),
    contact: Contact,
    /// Of the question under way; 0 for none.
    nonce: u32,
    tries: u8,
    /// When the question was sent last.
    asked: u64,
    /// Since when it has been here, or gone.
    since: u64,
    /// Round trip in microseconds; 0 while unknown.
    rtt: u32,
    known: Box<Known>,
}

/// What is known of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Its address in the underlay.
    pub host: Ipv4Addr,
    /// Whether it is there.
    pub standing: Standing,
    /// Since when, in microseconds since the mesh began.
    pub since: u64,
    /// Round trip in microseconds, once there was one.
    pub rtt: Option<u32>,
    /// How many names it has, each counted with each of its addresses.
    pub names: usize,
}

/// All other hosts.
pub(crate) struct Peers {
    zone: Zone,
    rng: SmallRng,
    all: BTreeMap<u32, Peer>,
    here: usize,
    /// Whom the last turn was at.
    turn: u32,
    version: Version,
    /// Our names in parts.
    parts: Vec<Vec<Entry>>,
}

impl Peers {
    pub(crate) fn new(now: u64, zone: Zone, version: Version, rng: SmallRng, out: &mut Out) -> Self {
        out.timers.push((now + 2 * SECOND, Wake::Round));
        Self { zone, rng, all: BTreeMap::new(), here: 0, turn: 0, version, parts: vec![Vec::new()] }
    }

    /// Has our names be these.
    pub(crate) fn tell(&mut self, version: Version, parts: Vec<Vec<Entry>>) {
        (self.version, self.parts) = (version, parts);
    }

    /// Those who answer.
    pub(crate) fn here(&self) -> impl Iterator<Item = u32> {
        self.all.iter().filter(|(_, peer)| peer.contact == Contact::Here).map(|(host, _)| *host)
    }

    /// What a host said of itself, if it stands.
    pub(crate) fn facts(&self, host: u32) -> Option<&Facts> {
        let peer = self.all.get(&host).filter(|peer| peer.contact == Contact::Here)?;
        peer.known.told.as_ref().map(|(_, facts)| facts)
    }

    /// What is known of every host.
    pub(crate) fn sights(&self) -> impl Iterator<Item = Sight> {
        self.all.iter().map(|(host, peer)| Sight {
            host: address(&self.zone, *host),
            standing: match peer.contact {
                Contact::Here => Standing::Here,
                Contact::New => Standing::Asked,
                Contact::Silent(_) if peer.listed => Standing::Unreachable,
                Contact::Silent(_) => Standing::Gone,
            },
            since: peer.since,
            rtt: (peer.rtt > 0).then_some(peer.rtt),
            names: peer.known.told.as_ref().map_or(0, |(_, facts)| facts.entries().len()),
        })
    }

    /// What others say.
    pub(crate) fn rumour(&mut self, now: u64, rumour: Rumour, out: &mut Out) {
        match rumour {
            Rumour::Up(id) => self.up(now, id, out),
            Rumour::Down(id) => {
                let Some(peer) = self.all.get_mut(&id.host) else { return };
                // What is said of an earlier start may come late.
                if peer.listed && (id.boot, id.renewal) >= peer.start {
                    peer.listed = false;
                    self.check(now, id.host, out);
                }
            }
        }
    }

    fn up(&mut self, now: u64, id: Id, out: &mut Out) {
        let start = (id.boot, id.renewal);
        let peer = self.all.entry(id.host).or_insert_with(|| Peer {
            listed: false,
            start,
            contact: Contact::New,
            nonce: 0,
            tries: 0,
            asked: 0,
            since: now,
            rtt: 0,
            known: Box::default(),
        });
        if peer.listed && start <= peer.start {
            return;
        }
        let is_known_start = peer.start.0 == start.0;
        peer.start = peer.start.max(start);
        peer.listed = true;
        match peer.contact {
            Contact::Here if is_known_start => return,
            // It is asked with patience again, like one that was never asked.
            Contact::Silent(_) => peer.contact = Contact::New,
            Contact::Here | Contact::New => {}
        }
        // Many come at once after a partition: ten thousand a second are asked.
        let spread = self.all.len() as u64 * 100;
        out.timers.push((now + self.rng.random_range(0..=spread), Wake::Begin(id.host)));
    }

    /// Asks a host whether it is there, if it is not being asked.
    pub(crate) fn begin(&mut self, now: u64, host: u32, out: &mut Out) {
        let Some(peer) = self.all.get(&host) else { return };
        if matches!(peer.contact, Contact::Silent(_)) && !peer.listed && now > peer.since + KEPT {
            self.all.remove(&host);
        } else if peer.nonce == 0 {
            self.check(now, host, out);
        }
    }

    /// Begins to ask, or begins anew.
    fn check(&mut self, now: u64, host: u32, out: &mut Out) {
        let nonce = self.rng.random_range(1..=u32::MAX);
        if let Some(peer) = self.all.get_mut(&host) {
            (peer.nonce, peer.tries) = (nonce, 0);
            self.ask(now, host, out);
        }
    }

    fn ask(&mut self, now: u64, host: u32, out: &mut Out) {
        let Some(peer) = self.all.get_mut(&host) else { return };
        peer.tries += 1;
        peer.asked = now;
        let known = peer.known.told.as_ref().map(|(version, _)| *version);
        out.send.push((host, Message::Check { nonce: peer.nonce, known }));
        let patience = if peer.listed { ANSWER } else { LAST_ANSWER };
        out.timers.push((now + patience, Wake::Check(host, peer.nonce)));
    }

    /// A check is unanswered, if it is still the one.
    pub(crate) fn unanswered(&mut self, now: u64, host: u32, nonce: u32, out: &mut Out) {
        let Some(peer) = self.all.get_mut(&host).filter(|peer| peer.nonce == nonce) else { return };
        let tries = match (peer.contact, peer.listed) {
            (Contact::Silent(_), _) => 1,
            (_, true) => TRIES,
            (_, false) => LAST_TRIES,
        };
        if peer.tries < tries {
            return self.ask(now, host, out);
        }
        peer.nonce = 0;
        let pause = match peer.contact {
            Contact::Silent(pause) => (pause * 2).min(PAUSE.1),
            Contact::Here | Contact::New => PAUSE.0,
        };
        if !matches!(peer.contact, Contact::Silent(_)) {
            peer.since = now;
        }
        let was = std::mem::replace(&mut peer.contact, Contact::Silent(pause));
        if was == Contact::Here {
            self.here -= 1;
            out.changes.push(Change::Left(host));
        }
        out.timers.push((now + pause, Wake::Begin(host)));
    }

    /// The next of those who answer is asked whether it still does.
    pub(crate) fn round(&mut self, now: u64, out: &mut Out) {
        // One that others take for gone is asked each second as it is.
        let due = |(_, peer): &(&u32, &Peer)| peer.contact == Contact::Here && peer.listed && peer.nonce == 0;
        let after = self.all.range(self.turn.saturating_add(1)..).find(due);
        let next = after.or_else(|| self.all.range(..=self.turn).find(due)).map(|(host, _)| *host);
        if let Some(host) = next {
            self.turn = host;
            self.check(now, host, out);
        }
        let gap = (2 * SECOND / self.here.max(1) as u64).max(SECOND / CHECKS);
        out.timers.push((now + gap + self.rng.random_range(0..gap / 5), Wake::Round));
    }

    /// Another host asks whether we are there.
    pub(crate) fn answer(&self, from: u32, nonce: u32, known: Option<Version>, out: &mut Out) {
        let answer = if known == Some(self.version) { Message::Here { nonce } } else { self.part(nonce, 0) };
        out.send.push((from, answer));
    }

    /// A part of our names.
    pub(crate) fn part(&self, nonce: u32, part: u8) -> Message {
        let parts = u8::try_from(self.parts.len()).expect("names are bounded");
        let names = self.parts[usize::from(part)].clone();
        Message::Tell { nonce, version: self.version, part, parts, names }
    }

    /// Parts of our names did not come.
    pub(crate) fn wanted(&self, from: u32, version: Version, parts: &[u8], out: &mut Out) {
        if version == self.version {
            let are_there = parts.iter().filter(|part| usize::from(**part) < self.parts.len());
            out.send.extend(are_there.map(|part| (from, self.part(0, *part))));
        }
    }

    /// A host is there, and says that what we know is right.
    pub(crate) fn is_here(&mut self, now: u64, from: u32, nonce: u32, out: &mut Out) {
        if self.proved(now, from, nonce, out) && self.facts(from).is_some() {
            out.changes.push(Change::Names(from));
        }
    }

    /// Whether this answers our question. If so the host is there.
    fn proved(&mut self, now: u64, from: u32, nonce: u32, out: &mut Out) -> bool {
        let Some(peer) = self.all.get_mut(&from).filter(|peer| nonce != 0 && peer.nonce == nonce) else {
            return false;
        };
        peer.nonce = 0;
        peer.rtt = u32::try_from((now - peer.asked).max(1)).unwrap_or(u32::MAX);
        if !peer.listed {
            // Others are wrong, or it will not answer for long.
            out.timers.push((now + SECOND, Wake::Begin(from)));
        }
        if peer.contact != Contact::Here {
            peer.contact = Contact::Here;
            peer.since = now;
            self.here += 1;
            out.changes.push(Change::Came(from));
            return true;
        }
        false
    }

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

/// Names as they come.
pub(crate) struct Tell {
    pub(crate) nonce: u32,
    pub(crate) version: Version,
    pub(crate) part: u8,
    pub(crate) parts: u8,
    pub(crate) names: Vec<Entry>,
}

/// Asks for parts that have not come.
fn want(partial: &Partial, from: u32, out: &mut Out) {
    let missing = partial.parts.iter().zip(0..).filter(|(part, _)| part.is_none()).map(|(_, number)| number);
    let parts = missing.take(MOST_WANTED).collect();
    out.send.push((from, Message::Want { version: partial.version, parts }));
}
