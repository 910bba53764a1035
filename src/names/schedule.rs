//! What is to happen when, and what happens because of an event. Times are microseconds since the mesh began.

use std::collections::BTreeMap;

use foca::Timer;

use super::roll::Id;
use super::wire::Message;

/// A second.
pub(crate) const SECOND: u64 = 1_000_000;
/// A millisecond.
pub(crate) const MILLISECOND: u64 = 1_000;

/// What a time brings.
#[derive(Debug)]
pub(crate) enum Wake {
    /// A timer of `foca`.
    Foca(Timer<Id>),
    /// To call the seeds, while no other host is known.
    Join,
    /// To compare what is known of who is there.
    Sync,
    /// The check of a host, by its nonce, is unanswered.
    Check(u32, u32),
    /// A host is to be checked.
    Begin(u32),
    /// The next host in turn is to be checked.
    Round,
    /// Parts of a host's names did not all come.
    Parts(u32),
    /// To send our names on.
    Push,
    /// The question with this number is unanswered.
    Ask(u32),
}

/// All that is to happen, by time and, at one time, in the order in which it was put down.
#[derive(Default)]
pub(crate) struct Schedule {
    due: BTreeMap<(u64, u64), Wake>,
    order: u64,
}

impl Schedule {
    pub(crate) fn at(&mut self, when: u64, what: Wake) {
        self.order += 1;
        self.due.insert((when, self.order), what);
    }

    /// When something is to happen next.
    pub(crate) fn next(&self) -> Option<u64> {
        self.due.first_key_value().map(|((when, _), _)| *when)
    }

    /// What is due.
    pub(crate) fn pop(&mut self, now: u64) -> Option<Wake> {
        self.next().filter(|next| *next <= now)?;
        self.due.pop_first().map(|(_, what)| what)
    }
}

/// Who is there, according to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rumour {
    /// This one is.
    Up(Id),
    /// This one is not.
    Down(Id),
}

/// What becomes of a host's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It has said for itself that it is there.
    Came(u32),
    /// It does not answer any more; its names are gone.
    Left(u32),
    /// Its names are others, or there again.
    Names(u32),
}

/// What an event leads to.
#[derive(Default)]
pub(crate) struct Out {
    /// Messages to hosts, by the host bits of their address.
    pub(crate) send: Vec<(u32, Message)>,
    /// What is to happen, and when.
    pub(crate) timers: Vec<(u64, Wake)>,
    /// What others say of who is there.
    pub(crate) rumours: Vec<Rumour>,
    /// What is new of hosts.
    pub(crate) changes: Vec<Change>,
}
