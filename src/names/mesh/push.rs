//! Our names go to all others when they change: at a bounded rate, and again to those who do not say that they came.

use std::collections::BTreeSet;

use super::super::facts::Version;
use super::super::peers::Peers;
use super::super::schedule::{MILLISECOND, Out, Wake};

/// Changes are seldom alone: how long to wait for more.
const REST: u64 = 50 * MILLISECOND;
/// This many hosts are told in each of these: 5,000 a second.
const BATCH: usize = 50;
const BEAT: u64 = 10 * MILLISECOND;
/// How long the answer may take.
const ANSWER: u64 = 120 * MILLISECOND;
/// How often all is told. Whom it does not reach learns of it by the next check.
const ROUNDS: u8 = 6;

#[derive(Default)]
pub(super) struct Push {
    version: Version,
    is_due: bool,
    rounds: u8,
    /// Those who are to be told in this round.
    queue: Vec<u32>,
    /// Those who have not said that it came.
    waiting: BTreeSet<u32>,
    /// Whether a wake is under way.
    runs: bool,
}

impl Push {
    /// Our names have changed.
    pub(super) fn begin(&mut self, now: u64, version: Version, out: &mut Out) {
        self.version = version;
        self.is_due = true;
        if !self.runs {
            self.runs = true;
            out.timers.push((now + REST, Wake::Push));
        }
    }

    pub(super) fn got(&mut self, from: u32, version: Version) {
        if version == self.version {
            self.waiting.remove(&from);
        }
    }

    /// The next batch, or the next round.
    pub(super) fn go_on(&mut self, now: u64, peers: &Peers, out: &mut Out) {
        if self.is_due {
            self.is_due = false;
            self.queue = peers.here().collect();
            self.waiting = self.queue.iter().copied().collect();
            self.rounds = 1;
        } else if self.queue.is_empty() && self.rounds < ROUNDS {
            self.queue = self.waiting.iter().copied().collect();
            self.rounds += 1;
        }
        if self.queue.is_empty() {
            self.runs = false;
            return;
        }
        let rest = self.queue.split_off(self.queue.len().saturating_sub(BATCH));
        let told = rest.into_iter().filter(|host| self.waiting.contains(host));
        out.send.extend(told.map(|host| (host, peers.part(0, 0))));
        out.timers.push((now + if self.queue.is_empty() { ANSWER } else { BEAT }, Wake::Push));
    }
}
