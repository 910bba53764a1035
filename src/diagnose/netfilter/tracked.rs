//! The connection of a packet on its walk: rules may keep it from being looked for, or have it looked for elsewhere.

use super::truth::Truth;
use super::{ConntrackState, Tracking};

/// What rules have made of the connection of a packet.
pub(super) struct Tracked {
    /// Whether it is not looked for.
    off: Truth,
    /// Whether it is looked for in another zone, where another packet of it may never have been.
    is_elsewhere: bool,
    /// Whether it may have got a mark.
    is_marked: bool,
    /// Whether there are rules that give marks.
    are_marked: bool,
}

impl Tracked {
    /// That of a packet of which no rule has made anything yet.
    pub(super) fn among(are_marked: bool) -> Self {
        Self { off: Truth::No, is_elsewhere: false, is_marked: false, are_marked }
    }

    /// What a rule makes of it, if it fits or if it may. Once the connection is found, the first two change nothing
    /// (`nft_notrack_eval`, net/netfilter/nft_ct.c).
    pub(super) fn change(&mut self, tracking: Tracking, is_early: bool, fits: Truth) {
        match tracking {
            Tracking::Off if is_early && self.off != Truth::Yes => self.off = fits,
            Tracking::Zone if is_early => self.is_elsewhere = true,
            Tracking::Mark => self.is_marked = true,
            Tracking::Off | Tracking::Zone => {}
        }
    }

    /// Whether its connection may have a mark: whatever others gave to one that is known.
    pub(super) fn has_mark(&self, state: ConntrackState) -> bool {
        self.is_marked || self.are_marked && matches!(state, ConntrackState::Established | ConntrackState::Related)
    }

    /// Whether its state is one that `is` tells by its word. Before the connection is looked for, there is none
    /// (`nft_ct_get_eval`, net/netfilter/nft_ct.c; `conntrack_mt`, net/netfilter/xt_conntrack.c).
    pub(super) fn fits(&self, state: ConntrackState, is_early: bool, is: impl Fn(&str) -> Truth) -> Truth {
        let word = match state {
            _ if is_early => "invalid",
            ConntrackState::New => "new",
            ConntrackState::Established => "established",
            ConntrackState::Related => "related",
            ConntrackState::Invalid => "invalid",
        };
        let (tracked, untracked) = (is(word), is("untracked"));
        let is_known = matches!(state, ConntrackState::Established | ConntrackState::Related);
        let tracked =
            if self.is_elsewhere && !is_early && is_known && is("new") != tracked { Truth::Maybe } else { tracked };
        match self.off {
            Truth::Yes => untracked,
            Truth::Maybe if tracked != untracked => Truth::Maybe,
            Truth::No | Truth::Maybe => tracked,
        }
    }
}
