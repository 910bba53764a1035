//! Probes that are on their way, and which answer or error belongs to which.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use super::packet::{Complaint, News};
use super::probe::{Probe, ProbeOutcome};

/// Probes that are sent at once, each until it has an outcome.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    probes: &'a [Probe],
    /// Which probe each request was for, by its sequence, and when it was sent.
    sent: BTreeMap<u16, (usize, Instant)>,
    /// The destinations of the requests of earlier rounds, by their sequences.
    earlier: &'a BTreeMap<u16, Ipv4Addr>,
    outcomes: Vec<Option<ProbeOutcome>>,
}

impl<'a> Round<'a> {
    /// A round in which nothing is sent yet.
    #[must_use]
    pub fn new(probes: &'a [Probe], earlier: &'a BTreeMap<u16, Ipv4Addr>) -> Self {
        Self { probes, sent: BTreeMap::new(), earlier, outcomes: vec![None; probes.len()] }
    }

    /// The probes without an outcome, and their places.
    #[must_use]
    pub(crate) fn open(&self) -> Vec<(usize, Probe)> {
        let all = self.probes.iter().copied().enumerate();
        all.filter(|(index, _)| self.outcomes[*index].is_none()).collect()
    }

    /// Whether each probe has its outcome.
    #[must_use]
    pub(crate) fn is_settled(&self) -> bool {
        !self.outcomes.contains(&None)
    }

    /// Notes that a request is sent for the probe at a place.
    pub fn send(&mut self, sequence: u16, index: usize, at: Instant) {
        self.sent.insert(sequence, (index, at));
    }

    /// Notes that the probe at a place could not be sent.
    pub(crate) fn fail(&mut self, index: usize, outcome: ProbeOutcome) {
        self.outcomes[index] = Some(outcome);
    }

    /// Notes the outcome of a request, if it is one of these. Only its destination can answer; any host on the way can
    /// send an error.
    pub(crate) fn take(&mut self, from: Ipv4Addr, news: News, at: Instant) {
        let (News::Answer(mark) | News::Complaint(mark, _)) = news else {
            return;
        };
        let Some((index, sent)) = self.sent.get(&mark.sequence) else {
            return self.take_late(from, news);
        };
        let outcome = match news {
            News::Complaint(_, complaint) if !(self.probes[*index].aim.is_udp() && complaint == Complaint::Port) => {
                ProbeOutcome::Complaint(from, complaint)
            }
            _ if from == self.probes[*index].destination => {
                let taken = at.saturating_duration_since(*sent).as_micros();
                ProbeOutcome::Answered(u64::try_from(taken).unwrap_or(u64::MAX))
            }
            _ => return,
        };
        self.outcomes[*index].get_or_insert(outcome);
    }

    /// The error that no host has an address comes seconds later, and for the first requests only (`icmp_ratelimit`,
    /// icmp(7)).
    fn take_late(&mut self, from: Ipv4Addr, news: News) {
        let News::Complaint(mark, Complaint::Host) = news else {
            return;
        };
        let whom = self.earlier.get(&mark.sequence);
        for (index, _) in self.open().iter().filter(|(_, probe)| Some(&probe.destination) == whom) {
            self.outcomes[*index] = Some(ProbeOutcome::Complaint(from, Complaint::Host));
        }
    }

    /// The outcome of each probe.
    #[must_use]
    pub(crate) fn outcomes(self) -> Vec<ProbeOutcome> {
        let silence = |outcome: Option<ProbeOutcome>| outcome.unwrap_or(ProbeOutcome::Silence);
        self.outcomes.into_iter().map(silence).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::diagnose::trace::Target;
    use crate::diagnose::trace::packet::Mark;
    use crate::diagnose::trace::probe::{Aim, Leg};
    use crate::fan::tests::announced;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(250, 0, 27, 1);
    const ROUTER: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 1);

    #[test]
    fn only_whoever_was_asked_answers_and_anybody_complains() {
        let target = Target::new(GATEWAY, &announced(), 1480);
        let probes = [Leg::Underlay, Leg::Address, Leg::Address].map(|leg| target.probe(leg, Aim::Small, 84));
        let earlier = BTreeMap::from([(3, GATEWAY)]);
        let (mut round, begun) = (Round::new(&probes, &earlier), Instant::now());
        for (index, sequence) in [(0, 10), (1, 11), (2, 12)] {
            round.send(sequence, index, begun);
        }
        let mark = |sequence| Mark { id: 7, sequence };
        let later = begun + Duration::from_micros(250);
        for stranger in [ROUTER, target.host, target.fan.host] {
            round.take(stranger, News::Answer(mark(11)), later);
        }
        assert_eq!(round.open().len(), 3, "{round:?}");
        round.take(target.host, News::Answer(mark(10)), later);
        round.take(GATEWAY, News::Answer(mark(11)), later);
        round.take(GATEWAY, News::Answer(mark(99)), later);
        assert!(!round.is_settled());
        round.take(ROUTER, News::Complaint(mark(12), Complaint::Host), later);
        round.take(GATEWAY, News::Answer(mark(12)), later);
        assert!(round.is_settled());
        let answered = ProbeOutcome::Answered(250);
        let expected = [answered.clone(), answered, ProbeOutcome::Complaint(ROUTER, Complaint::Host)];
        assert_eq!(round.outcomes(), expected);

        // An error about an earlier request counts for all probes to the same address, and for no other.
        let mut round = Round::new(&probes, &earlier);
        round.take(ROUTER, News::Complaint(mark(4), Complaint::Host), later);
        round.take(ROUTER, News::Complaint(mark(3), Complaint::TooLarge(1400)), later);
        assert_eq!(round.open().len(), 3, "{round:?}");
        round.take(ROUTER, News::Complaint(mark(3), Complaint::Host), later);
        assert_eq!(round.open().len(), 1, "{round:?}");
    }
}
