use super::super::roll::host_bits;
use super::super::schedule::Schedule;
use super::super::zone::DOMAIN;
use super::*;
use crate::fan::tests::announced;
use rand::SeedableRng;

/// A host among many, of which those answer that are let.
struct Alone {
    now: u64,
    peers: Peers,
    schedule: Schedule,
    /// Questions to each host, and to all in each spell.
    asked: BTreeMap<u32, u64>,
    spells: BTreeMap<u64, u64>,
}

impl Alone {
    fn new(others: u32) -> Self {
        let (mut out, host) = (Out::default(), announced().host);
        let zone = Zone::new(announced().mapping, DOMAIN);
        let me = host_bits(&zone, host);
        let version = Version { boot: 1, count: 0 };
        let peers = Peers::new(0, zone, version, SmallRng::seed_from_u64(1), &mut out);
        let (schedule, asked, spells) = (Schedule::default(), BTreeMap::new(), BTreeMap::new());
        let mut alone = Self { now: 0, peers, schedule, asked, spells };
        alone.settle(out, |_| true);
        for host in (1..).filter(|host| *host != me).take(others as usize) {
            let mut out = Out::default();
            alone.peers.rumour(0, Rumour::Up(Id { host, boot: 1, renewal: 0 }), &mut out);
            alone.settle(out, |_| true);
        }
        alone
    }

    fn settle(&mut self, out: Out, answers: impl Fn(u32) -> bool + Copy) {
        for (when, wake) in out.timers {
            self.schedule.at(when, wake);
        }
        for (host, message) in out.send {
            let Message::Check { nonce, .. } = message else { continue };
            *self.asked.entry(host).or_default() += 1;
            *self.spells.entry(self.now / SPELL).or_default() += 1;
            if answers(host) {
                let mut out = Out::default();
                self.peers.is_here(self.now, host, nonce, &mut out);
                self.settle(out, answers);
            }
        }
    }

    /// Lets time pass, until there is as much as that.
    fn run(&mut self, until: u64, answers: impl Fn(u32) -> bool + Copy) {
        while let Some(when) = self.schedule.next().filter(|when| *when <= until) {
            self.now = when;
            let mut out = Out::default();
            match self.schedule.pop(when) {
                Some(Wake::Check(host, nonce)) => self.peers.unanswered(when, host, nonce, &mut out),
                Some(Wake::Begin(host)) => self.peers.begin(when, host, &mut out),
                Some(Wake::Round) => self.peers.round(when, &mut out),
                _ => {}
            }
            self.settle(out, answers);
        }
        self.now = until;
    }
}

#[test]
fn a_host_that_nobody_answers_asks_all_soon_and_not_at_once() {
    for (others, seconds) in [(2, 5), (12, 5), (999, 5), (5_000, 10)] {
        let mut alone = Alone::new(others);
        alone.run(10 * SECOND, |_| true);
        assert_eq!(alone.peers.here().count(), others as usize);
        alone.asked.clear();
        alone.spells.clear();
        alone.run((10 + seconds) * SECOND, |_| false);
        assert_eq!(alone.peers.here().count(), 0, "of {others}");
        // None is given up for less.
        assert!(alone.asked.values().all(|asked| *asked >= u64::from(TRIES)));
        let most = alone.spells.values().max().copied().unwrap_or_default();
        // The tries of each, and what is asked of those who are gone, at ever longer pauses.
        assert!(
            most <= u64::from(MORE + 1) * u64::from(TRIES + 3),
            "{most} questions to {others} in a tenth of a second"
        );
    }
}

#[test]
fn those_who_answer_stay_whoever_else_does_not() {
    let mut alone = Alone::new(1_000);
    alone.run(10 * SECOND, |_| true);
    alone.run(20 * SECOND, |host| host % 10 == 0);
    assert!(alone.peers.here().eq((1..=1_001).filter(|host| host % 10 == 0)));
}

#[test]
fn one_that_is_silent_has_few_others_asked() {
    let mut alone = Alone::new(1_000);
    alone.run(10 * SECOND, |_| true);
    alone.spells.clear();
    let mut out = Out::default();
    alone.peers.rumour(alone.now, Rumour::Down(Id { host: 7, boot: 1, renewal: 0 }), &mut out);
    alone.settle(out, |_| false);
    alone.run(20 * SECOND, |host| host != 7);
    let asked: u64 = alone.spells.values().sum();
    assert!(asked < 10 * CHECKS + 4 * u64::from(TRIES), "{asked}");
    assert_eq!(alone.peers.here().count(), 999);
}

#[test]
fn a_host_that_is_silent_and_asks_is_asked_at_once() {
    let mut alone = Alone::new(3);
    alone.run(5 * SECOND, |_| true);
    alone.run(90 * SECOND, |_| false);
    assert_eq!(alone.peers.here().count(), 0);
    let mut out = Out::default();
    alone.peers.answer(alone.now, 2, 77, None, &mut out);
    alone.settle(out, |_| true);
    assert!(alone.peers.here().eq([2]));
}
