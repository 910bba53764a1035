//! One gateway among the gateways: takes an event and gives actions.
//!
//! Time is given, in microseconds since the mesh began; chance comes from a seed. So the same events lead to the same actions, and a
//! thousand hosts can be simulated.

mod ask;
mod push;

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use ask::Asks;
pub use ask::{Found, Ticket};
use push::Push;

use super::book::Book;
use super::facts::{Facts, Version, offset};
use super::peers::{Peers, Sight, Tell};
use super::roll::{Id, Roll, address, host_bits};
use super::schedule::{Change, Out, SECOND, Schedule, Wake};
use super::wire::{self, Answer, Message, Question, Refusal};
use super::zone::Zone;
use crate::fan::label::Label;

/// The most datagrams that are read of one host in a second: of those about who is there, and of those about itself, each. A
/// third host can have it send many of the former, and none of the latter.
const MOST_OF_ONE: u32 = 500;
/// The most of all hosts, likewise.
const MOST_OF_ALL: u32 = 20_000;

/// What a mesh begins with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The fan's zones.
    pub zone: Zone,
    /// This host's address in the underlay.
    pub host: Ipv4Addr,
    /// Seconds since 1970 at time 0.
    pub epoch: u32,
    /// The source of all chance.
    pub seed: u64,
}

/// What happens to a mesh.
#[derive(Debug)]
pub enum Event<'a> {
    /// A datagram came, from this address and port [`wire::PORT`].
    Datagram(Ipv4Addr, &'a [u8]),
    /// Time has passed. Datagrams that have come are to be given before.
    Time,
    /// This host's names are these.
    Names(Vec<(Label, Ipv4Addr)>),
    /// Hosts that may be there.
    Seeds(Vec<Ipv4Addr>),
    /// A host may be there, and is to be called.
    Call(Ipv4Addr),
    /// A host is to be asked.
    Ask(Ticket, Ipv4Addr, Wanted),
}

/// What a host is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The addresses of a name.
    Addresses(Label),
    /// The names of an address of its slice.
    Names(Ipv4Addr),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this to a gateway, to and from [`wire::PORT`].
    Send(Ipv4Addr, Vec<u8>),
    /// What was asked for.
    Answer(Ticket, Found),
    /// A host has come.
    Came(Ipv4Addr),
    /// A host has gone.
    Left(Ipv4Addr),
}

/// How many datagrams were read, of each host and of all.
#[derive(Default)]
struct Counts {
    of_one: HashMap<u32, u32>,
    of_all: u32,
}

/// One gateway among the others.
pub struct Mesh {
    zone: Zone,
    host: Ipv4Addr,
    own: Facts,
    version: Version,
    roll: Roll,
    peers: Peers,
    push: Push,
    asks: Asks,
    book: Book,
    schedule: Schedule,
    /// Which second it is, and what was read in it: about who is there, and first-hand.
    second: u64,
    read: [Counts; 2],
    refusals: BTreeMap<Refusal, u64>,
}

impl Mesh {
    /// A mesh that knows no other host, at time 0.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let Settings { zone, host, epoch, seed } = settings;
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut out = Out::default();
        let me = Id { host: host_bits(&zone, host), boot: epoch, renewal: 0 };
        let version = Version { boot: epoch, count: 0 };
        let roll = Roll::new(0, me, zone.clone(), epoch, &mut rng, &mut out);
        let peers = Peers::new(0, zone.clone(), version, SmallRng::seed_from_u64(rng.random()), &mut out);
        let mut mesh = Self {
            host,
            own: Facts::default(),
            version,
            roll,
            peers,
            push: Push::default(),
            asks: Asks::new(SmallRng::seed_from_u64(rng.random())),
            book: Book::new(zone.mapping()),
            schedule: Schedule::default(),
            second: 0,
            read: Default::default(),
            refusals: BTreeMap::new(),
            zone,
        };
        mesh.settle(0, out);
        mesh
    }

    /// When it has something to do, in microseconds since it began.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.schedule.next()
    }

    /// Takes an event, and gives what is to be done.
    pub fn step(&mut self, now: u64, event: Event<'_>) -> Vec<Action> {
        let mut out = Out::default();
        let mut actions = Vec::new();
        match event {
            Event::Datagram(from, bytes) => {
                if let Err(refusal) = self.datagram(now, from, bytes, &mut out, &mut actions) {
                    *self.refusals.entry(refusal).or_default() += 1;
                }
            }
            Event::Time => {
                while let Some(wake) = self.schedule.pop(now) {
                    self.wake(now, wake, &mut out, &mut actions);
                    actions.extend(self.settle(now, std::mem::take(&mut out)));
                }
            }
            Event::Names(names) => self.names(now, names, &mut out),
            Event::Seeds(hosts) => {
                let hosts = hosts.into_iter().filter(|host| self.zone.is_host(*host));
                self.roll.seeds(hosts.map(|host| host_bits(&self.zone, host)));
            }
            Event::Call(host) if self.zone.is_host(host) && host != self.host => {
                self.roll.call(now, host_bits(&self.zone, host), &mut out);
            }
            Event::Call(_) => {}
            Event::Ask(ticket, host, wanted) => self.ask(now, ticket, host, wanted, &mut out, &mut actions),
        }
        actions.extend(self.settle(now, out));
        actions
    }

    fn wake(&mut self, now: u64, wake: Wake, out: &mut Out, actions: &mut Vec<Action>) {
        match wake {
            Wake::Foca(timer) => self.roll.timer(now, timer, out),
            Wake::Join => self.roll.join(now, out),
            Wake::Sync => self.roll.sync(now, out),
            Wake::Check(host, nonce) => self.peers.unanswered(now, host, nonce, out),
            Wake::Begin(host) => self.peers.begin(now, host, out),
            Wake::Round => self.peers.round(now, out),
            Wake::Parts(host) => self.peers.parts(now, host, out),
            Wake::Push => self.push.go_on(now, &self.peers, out),
            Wake::Ask(id) => actions.extend(self.asks.unanswered(now, id, out)),
        }
    }

    /// The host whose gateway this is: another than ours.
    fn sender(&self, from: Ipv4Addr) -> Result<u32, Refusal> {
        let mapping = self.zone.mapping();
        let host = mapping.host(from);
        let is_gateway = mapping.overlay().contains(from) && mapping.gateway(host) == from;
        let is_other = host != self.host && self.zone.is_host(host);
        if is_gateway && is_other { Ok(host_bits(&self.zone, host)) } else { Err(Refusal::NoGateway) }
    }

    /// Whether this host has not sent too much yet.
    fn allow(&mut self, now: u64, from: u32, bytes: &[u8]) -> Result<(), Refusal> {
        if now / SECOND != self.second {
            self.second = now / SECOND;
            self.read = Default::default();
        }
        let Counts { of_one, of_all } = &mut self.read[usize::from(wire::is_hearsay(bytes))];
        let of_one = of_one.entry(from).or_default();
        if *of_one >= MOST_OF_ONE || *of_all >= MOST_OF_ALL {
            return Err(Refusal::TooMany);
        }
        *of_one += 1;
        *of_all += 1;
        Ok(())
    }

    fn datagram(
        &mut self,
        now: u64,
        from: Ipv4Addr,
        bytes: &[u8],
        out: &mut Out,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        let from = self.sender(from)?;
        self.allow(now, from, bytes)?;
        match wire::decode(self.zone.mapping(), bytes)? {
            Message::Gossip(data) => self.roll.gossip(now, from, &data, out)?,
            Message::Sync(digest) => self.roll.compare(now, from, digest, out),
            Message::Same => {}
            Message::List(list) => self.roll.apply(now, &list, out)?,
            Message::Check { nonce, known } => self.peers.answer(now, from, nonce, known, out),
            Message::Here { nonce } => self.peers.is_here(now, from, nonce, out),
            Message::Tell { nonce, version, part, parts, names } => {
                self.told(now, from, Tell { nonce, version, part, parts, names }, out)?;
            }
            Message::Want { version, parts } => self.peers.wanted(from, version, &parts, out),
            Message::Got(version) => self.push.got(from, version),
            Message::Ask { id, question } => {
                let answer = self.own_answer(&question);
                out.send.push((from, Message::Answer { id, answer }));
            }
            Message::Answer { id, answer } => {
                actions.extend(self.asks.answered(&self.zone, from, id, &answer)?);
            }
        }
        Ok(())
    }

    /// Names of a host: each address is one of its slice, or nothing of it counts.
    fn told(&mut self, now: u64, from: u32, tell: Tell, out: &mut Out) -> Result<(), Refusal> {
        let (mapping, host) = (self.zone.mapping(), address(&self.zone, from));
        Facts::told(mapping, host, tell.names.iter().cloned()).ok_or(Refusal::OutOfBounds)?;
        self.peers.told(now, from, tell, out)
    }

    /// This host's names are these from now on.
    fn names(&mut self, now: u64, names: Vec<(Label, Ipv4Addr)>, out: &mut Out) {
        let facts = Facts::own(self.zone.mapping(), self.host, names);
        if facts == self.own {
            return;
        }
        self.version.count += 1;
        self.peers.tell(self.version, wire::in_parts(facts.entries()));
        self.book.publish(self.host, facts.clone());
        self.own = facts;
        self.push.begin(now, self.version, out);
    }

    /// What this host answers of itself.
    fn own_answer(&self, question: &Question) -> Answer {
        match question {
            Question::Addresses(label) => Answer::Addresses(self.own.offsets(label).take(wire::MOST_ANSWERS).collect()),
            Question::Names(offset) => {
                Answer::Names(self.own.labels(*offset).take(wire::MOST_ANSWERS).cloned().collect())
            }
        }
    }

    /// Asks a host, or ourselves.
    fn ask(
        &mut self,
        now: u64,
        ticket: Ticket,
        host: Ipv4Addr,
        wanted: Wanted,
        out: &mut Out,
        actions: &mut Vec<Action>,
    ) {
        let mapping = self.zone.mapping();
        let question = match wanted {
            Wanted::Addresses(label) => Some(Question::Addresses(label)),
            Wanted::Names(address) => offset(mapping, host, address).map(Question::Names),
        };
        let found = match question {
            None => Some(Found::nothing()),
            Some(question) if host == self.host => {
                Found::read(mapping, host, &self.own_answer(&question)).or_else(|| Some(Found::nothing()))
            }
            Some(question) => self.asks.begin(now, ticket, host_bits(&self.zone, host), question, out),
        };
        actions.extend(found.map(|found| Action::Answer(ticket, found)));
    }

    /// Puts down what is to happen, and gives what is to be done at once.
    fn settle(&mut self, now: u64, mut out: Out) -> Vec<Action> {
        while !out.rumours.is_empty() {
            for rumour in std::mem::take(&mut out.rumours) {
                self.peers.rumour(now, rumour, &mut out);
            }
        }
        let mut actions = Vec::new();
        for change in out.changes {
            let (Change::Came(bits) | Change::Left(bits) | Change::Names(bits)) = change;
            let host = address(&self.zone, bits);
            match self.peers.facts(bits) {
                Some(facts) => self.book.publish(host, facts.clone()),
                None => self.book.withdraw(host),
            }
            match change {
                Change::Came(_) => actions.push(Action::Came(host)),
                Change::Left(_) => actions.push(Action::Left(host)),
                Change::Names(_) => {}
            }
        }
        for (when, wake) in out.timers {
            self.schedule.at(when, wake);
        }
        let mapping = self.zone.mapping();
        actions.extend(out.send.into_iter().map(|(to, message)| {
            let gateway = mapping.gateway(address(&self.zone, to));
            Action::Send(gateway, wire::encode(mapping, &message))
        }));
        actions
    }

    /// The names of all hosts that are there.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// The zones.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// This host.
    #[must_use]
    pub fn host(&self) -> Ipv4Addr {
        self.host
    }

    /// Every other host that was ever heard of, except those that are long gone.
    pub fn hosts(&self) -> impl Iterator<Item = Sight> {
        self.peers.sights()
    }

    /// How many datagrams were refused, by reason.
    #[must_use]
    pub fn refusals(&self) -> &BTreeMap<Refusal, u64> {
        &self.refusals
    }
}
