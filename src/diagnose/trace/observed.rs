//! What is seen of the probes on the underlay, and what is heard of them, among all that goes by there for others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::Target;
use super::packet::{Complaint, Content, Mark, News, Outer, Wrapped};

/// What was seen and heard of one process's probes.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    target: Target,
    id: u16,
    left: bool,
    heard_encrypted: bool,
    /// Each wrapped answer that was seen coming, and its outer source.
    came: BTreeMap<Mark, Ipv4Addr>,
    arp_came: BTreeSet<Ipv4Addr>,
    /// The answers that came out of the fan.
    heard: BTreeSet<Mark>,
    complaints: Vec<(Ipv4Addr, Complaint)>,
}

impl Seen {
    /// Nothing yet; `id` marks the requests of this process.
    #[must_use]
    pub fn new(target: &Target, id: u16) -> Self {
        Self {
            target: target.clone(),
            id,
            left: false,
            heard_encrypted: false,
            came: BTreeMap::new(),
            arp_came: BTreeSet::new(),
            heard: BTreeSet::new(),
            complaints: Vec::new(),
        }
    }

    /// Notes a wrapped packet that goes by on the underlay, if it is a probe, an answer to one, or ARP.
    pub(crate) fn see(&mut self, wrapped: &Wrapped) {
        let fan = &self.target.fan;
        let is_theirs = |inner: Ipv4Addr| inner == self.target.address || inner == self.target.gateway;
        let goes =
            wrapped.from == self.target.source && wrapped.source == fan.gateway() && is_theirs(wrapped.destination);
        let comes = wrapped.destination == fan.gateway() && is_theirs(wrapped.source);
        match wrapped.content {
            Content::Request(mark) if goes && mark.id == self.id => self.left = true,
            Content::Answer(mark) if comes && mark.id == self.id => {
                self.came.insert(mark, wrapped.from);
            }
            Content::Encrypted if wrapped.from == self.target.source => self.left = true,
            Content::Encrypted if wrapped.from == self.target.at => self.heard_encrypted = true,
            // Who asks is this host's kernel; without an answer no probe leaves.
            Content::Arp if goes => self.left = true,
            Content::Arp if comes => {
                self.arp_came.insert(wrapped.from);
            }
            _ => {}
        }
    }

    /// Notes what somebody told this host by ICMP; whether it is about a probe, or about what the fan wraps for the
    /// other host.
    pub(crate) fn hear(&mut self, from: Ipv4Addr, news: News) -> bool {
        let fan = &self.target.fan;
        match news {
            News::Answer(mark) if mark.id == self.id => {
                self.heard.insert(mark);
                true
            }
            News::Answer(_) => false,
            News::Complaint(mark, _) => mark.id == self.id,
            News::AboutWrapped { host, outer, complaint, .. } => {
                let is_ours =
                    host == self.target.at && outer == Outer::of(fan.options.encapsulation, fan.carrier_port());
                let is_new =
                    is_ours && complaint != Complaint::Expired && !self.complaints.contains(&(from, complaint));
                if is_new {
                    self.complaints.push((from, complaint));
                }
                is_ours
            }
        }
    }

    /// Errors about what the fan wraps for the other host, and who sent them; that a packet passed too many routers is
    /// none.
    #[must_use]
    pub(crate) fn complaints(&self) -> &[(Ipv4Addr, Complaint)] {
        &self.complaints
    }

    /// Whether a wrapped probe was seen leaving, or the ARP before it.
    #[must_use]
    pub(crate) fn left(&self) -> bool {
        self.left
    }

    /// Whether packets that only the two hosts can read came from the other host.
    #[must_use]
    pub(crate) fn heard_encrypted(&self) -> bool {
        self.heard_encrypted
    }

    /// The outer sources of wrapped answers that were seen coming.
    #[must_use]
    pub(crate) fn came(&self) -> BTreeSet<Ipv4Addr> {
        self.came.values().copied().collect()
    }

    /// The same for ARP.
    #[must_use]
    pub(crate) fn arp_came(&self) -> &BTreeSet<Ipv4Addr> {
        &self.arp_came
    }

    /// The outer sources of the answers that came and did not come out of the fan, one for each.
    #[must_use]
    pub(crate) fn lost(&self) -> Vec<Ipv4Addr> {
        let lost = self.came.iter().filter(|(mark, _)| !self.heard.contains(mark));
        lost.map(|(_, from)| *from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::Fan;
    use crate::fan::encap::Encapsulation;
    use crate::fan::options::Options;
    use crate::fan::tests::announced;

    const THERE: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 27);
    const GATEWAY: Ipv4Addr = Ipv4Addr::new(250, 0, 27, 1);
    const OURS: Mark = Mark { id: 7, sequence: 1 };
    const ANOTHERS: Mark = Mark { id: 8, sequence: 1 };

    fn seen() -> Seen {
        Seen::new(&Target::new(GATEWAY, &announced(), 1480), OURS.id)
    }

    fn goes(content: Content) -> Wrapped {
        let fan = announced();
        Wrapped { from: fan.host, source: fan.gateway(), destination: GATEWAY, content }
    }

    fn comes(content: Content) -> Wrapped {
        Wrapped { from: THERE, source: GATEWAY, destination: announced().gateway(), content }
    }

    #[test]
    fn what_others_send_is_no_probe_and_no_answer() {
        let mut seen = seen();
        for content in [Content::Other(6), Content::Request(ANOTHERS), Content::Answer(OURS)] {
            seen.see(&goes(content));
        }
        for content in [Content::Other(6), Content::Answer(ANOTHERS), Content::Request(OURS)] {
            seen.see(&comes(content));
        }
        assert!(!seen.left() && seen.came().is_empty() && seen.lost().is_empty(), "{seen:?}");
        seen.see(&goes(Content::Request(OURS)));
        seen.see(&comes(Content::Answer(OURS)));
        assert!(seen.left());
        assert_eq!((seen.came(), seen.lost()), (BTreeSet::from([THERE]), vec![THERE]));
    }

    #[test]
    fn an_answer_that_is_heard_is_not_lost() {
        let mut seen = seen();
        let late = Mark { sequence: 2, ..OURS };
        for mark in [OURS, OURS, late] {
            seen.see(&comes(Content::Answer(mark)));
        }
        assert_eq!(seen.lost(), [THERE, THERE]);
        assert!(!seen.hear(GATEWAY, News::Answer(Mark { id: 8, ..late })));
        assert!(seen.hear(GATEWAY, News::Answer(late)));
        assert_eq!(seen.lost(), [THERE], "seen twice, it is one");
        assert!(seen.hear(GATEWAY, News::Answer(OURS)));
        assert!(seen.lost().is_empty());
        assert_eq!(seen.came(), BTreeSet::from([THERE]));
    }

    #[test]
    fn an_error_about_others_packets_is_none_about_the_fan() {
        let about = |host, outer, complaint| News::AboutWrapped { host, outer, mark: 1, complaint };
        for (encapsulation, outer, others) in [
            (Encapsulation::Ipip, Outer::Ipip, Outer::Udp(8472)),
            (Encapsulation::Vxlan, Outer::Udp(8472), Outer::Ipip),
        ] {
            let fan = Fan { options: Options { encapsulation, port: Some(8472), ..Options::default() }, ..announced() };
            let mut seen = Seen::new(&Target::new(GATEWAY, &fan, 1480), OURS.id);
            for complaint in [Complaint::Port, Complaint::TooLarge(1400)] {
                for (host, outer) in [(THERE, others), (THERE, Outer::Udp(53)), (GATEWAY, outer)] {
                    assert!(!seen.hear(THERE, about(host, outer, complaint)));
                }
            }
            assert!(!seen.hear(THERE, News::Complaint(ANOTHERS, Complaint::Host)));
            assert!(seen.hear(THERE, News::Complaint(OURS, Complaint::Host)));
            assert!(seen.hear(THERE, about(THERE, outer, Complaint::Expired)));
            assert_eq!(seen.complaints(), []);
            for _ in 0..2 {
                assert!(seen.hear(THERE, about(THERE, outer, Complaint::Port)));
            }
            assert_eq!(seen.complaints(), [(THERE, Complaint::Port)]);
        }
    }

    #[test]
    fn arp_is_noted_both_ways() {
        let mut seen = seen();
        seen.see(&comes(Content::Arp));
        assert_eq!(seen.arp_came(), &BTreeSet::from([THERE]));
        assert!(!seen.left() && seen.came().is_empty());
        seen.see(&goes(Content::Arp));
        assert!(seen.left());
    }
}
