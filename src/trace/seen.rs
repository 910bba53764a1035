//! What is seen of the probes on the underlay, and what is heard of them, among all that goes by there for others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::Target;
use super::packet::{Content, Mark, News, Wrapped};

/// What was seen and heard of one process's probes.
#[derive(Clone, Debug)]
pub struct Seen {
    target: Target,
    id: u16,
    left: bool,
    /// Each wrapped answer that was seen coming, and its outer source.
    came: BTreeMap<Mark, Ipv4Addr>,
    arp_came: BTreeSet<Ipv4Addr>,
    /// The answers that came out of the fan.
    heard: BTreeSet<Mark>,
}

impl Seen {
    /// Nothing yet; `id` marks the requests of this process.
    #[must_use]
    pub fn new(target: &Target, id: u16) -> Self {
        Self {
            target: target.clone(),
            id,
            left: false,
            came: BTreeMap::new(),
            arp_came: BTreeSet::new(),
            heard: BTreeSet::new(),
        }
    }

    /// Notes a wrapped packet that goes by on the underlay, if it is a probe, an answer to one, or ARP.
    pub fn see(&mut self, wrapped: &Wrapped) {
        let fan = &self.target.fan;
        let is_theirs = |inner: Ipv4Addr| inner == self.target.address || inner == self.target.gateway;
        let goes = wrapped.from == fan.host && wrapped.source == fan.gateway() && is_theirs(wrapped.destination);
        let comes = wrapped.destination == fan.gateway() && is_theirs(wrapped.source);
        match wrapped.content {
            Content::Request(mark) if goes && mark.id == self.id => self.left = true,
            Content::Answer(mark) if comes && mark.id == self.id => {
                self.came.insert(mark, wrapped.from);
            }
            // Who asks is this host's kernel; without an answer no probe leaves.
            Content::Arp if goes => self.left = true,
            Content::Arp if comes => {
                self.arp_came.insert(wrapped.from);
            }
            _ => {}
        }
    }

    /// Notes what ICMP told this host.
    pub fn hear(&mut self, news: News) {
        if let News::Answer(mark) = news {
            self.heard.insert(mark);
        }
    }

    /// Whether a wrapped probe was seen leaving, or the ARP before it.
    #[must_use]
    pub fn left(&self) -> bool {
        self.left
    }

    /// The outer sources of wrapped answers that were seen coming.
    #[must_use]
    pub fn came(&self) -> BTreeSet<Ipv4Addr> {
        self.came.values().copied().collect()
    }

    /// The same for ARP.
    #[must_use]
    pub fn arp_came(&self) -> &BTreeSet<Ipv4Addr> {
        &self.arp_came
    }

    /// The outer sources of the answers that came and did not come out of the fan, one for each.
    #[must_use]
    pub fn lost(&self) -> Vec<Ipv4Addr> {
        let lost = self.came.iter().filter(|(mark, _)| !self.heard.contains(mark));
        lost.map(|(_, from)| *from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        Wrapped {
            from: fan.host,
            source: fan.gateway(),
            destination: GATEWAY,
            content,
        }
    }

    fn comes(content: Content) -> Wrapped {
        Wrapped {
            from: THERE,
            source: GATEWAY,
            destination: announced().gateway(),
            content,
        }
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
        assert!(
            !seen.left() && seen.came().is_empty() && seen.lost().is_empty(),
            "{seen:?}"
        );
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
        seen.hear(News::Answer(late));
        assert_eq!(seen.lost(), [THERE], "seen twice, it is one");
        seen.hear(News::Answer(OURS));
        assert!(seen.lost().is_empty());
        assert_eq!(seen.came(), BTreeSet::from([THERE]));
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
