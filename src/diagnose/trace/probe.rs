//! Which packets are sent to test the way, and the outcome of each.

use std::net::Ipv4Addr;

use serde::Serialize;

use super::packet::Complaint;
use super::{Location, Target};
use crate::fan::name::InterfaceName;
use crate::plan::host::Reachability;

/// A part of the way that is tested by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Leg {
    /// To the other host, not encapsulated.
    Underlay,
    /// To the other host's gateway.
    Gateway,
    /// To the address itself.
    Address,
}

impl Leg {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Underlay => "underlay",
            Self::Gateway => "gateway",
            Self::Address => "address",
        }
    }
}

/// What a probe is to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Aim {
    /// Whether anything arrives at all.
    Small,
    /// Whether the largest packet of the fan arrives whole.
    Full,
    /// Whether it arrives where routers may fragment it.
    FullMayFragment,
    /// Whether a packet arrives that this host fragments, and an answer that the other host fragments.
    Fragments,
    /// How large a packet arrives whole.
    Measure,
    /// Whether UDP arrives whose checksum the interface may compute. The error about a closed port is sent only where the checksum
    /// is right (`__udp4_lib_rcv`, net/ipv4/udp.c, Linux 6.12).
    Datagram,
    /// Whether UDP arrives that has no checksum.
    Unsummed,
}

impl Aim {
    /// Whether no host may fragment the packet (DF).
    #[must_use]
    pub(crate) fn dont_fragment(self) -> bool {
        matches!(self, Self::Full | Self::Measure)
    }

    /// Whether it is UDP to a port where nobody listens, which is answered by an error.
    #[must_use]
    pub(crate) fn is_udp(self) -> bool {
        matches!(self, Self::Datagram | Self::Unsummed)
    }
}

/// An echo request to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Which part of the way.
    pub(crate) leg: Leg,
    /// What for.
    pub(crate) aim: Aim,
    /// One of this host's addresses.
    pub(crate) source: Ipv4Addr,
    /// Whose answer is wanted.
    pub(crate) destination: Ipv4Addr,
    /// Of the IPv4 packet, in bytes.
    pub(crate) size: u32,
}

/// The outcome of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProbeOutcome {
    /// It was answered after this many microseconds.
    Answered(u64),
    /// A host or router sent an ICMP error.
    Complaint(Ipv4Addr, Complaint),
    /// Nothing came.
    Silence,
    /// It could not be sent: the kernel's words, and whether a firewall of this host forbade it (`EPERM`).
    NotSent {
        /// The kernel's words.
        words: String,
        /// Whether a firewall of this host forbade it.
        forbidden: bool,
    },
}

/// The size of a small probe, that of ping(8) without options.
const SMALL: u32 = 84;

impl Target {
    /// The probes that are sent at first, all at once.
    #[must_use]
    pub(crate) fn probes(&self) -> Vec<Probe> {
        let sizes = [
            (Aim::Small, SMALL),
            (Aim::Full, self.mtu),
            (Aim::FullMayFragment, self.mtu),
            (Aim::Fragments, self.fragmented_size()),
            (Aim::Datagram, SMALL),
            (Aim::Unsummed, SMALL),
        ];
        let mut probes = Vec::new();
        for leg in self.legs() {
            for (aim, size) in sizes {
                let is_asked = match leg {
                    Leg::Underlay => matches!(aim, Aim::Small | Aim::Full),
                    // A container may do with UDP what it likes; the other host's gateway has the fan's own rules.
                    Leg::Address if aim.is_udp() => self.place == Location::There && self.address == self.gateway,
                    Leg::Gateway | Leg::Address => true,
                };
                let size = if leg == Leg::Underlay && aim == Aim::Full { self.wrapped_mtu() } else { size };
                if is_asked {
                    probes.push(self.probe(leg, aim, size));
                }
            }
        }
        probes
    }

    /// A probe of a size in bytes.
    #[must_use]
    pub(crate) fn probe(&self, leg: Leg, aim: Aim, size: u32) -> Probe {
        let (source, destination) = match leg {
            Leg::Underlay => (self.fan.host, self.host),
            Leg::Gateway => (self.fan.gateway(), self.gateway),
            Leg::Address => (self.fan.gateway(), self.address),
        };
        Probe { leg, aim, source, destination, size }
    }

    fn legs(&self) -> Vec<Leg> {
        match self.place {
            Location::There if self.address == self.gateway => vec![Leg::Underlay, Leg::Address],
            Location::There => vec![Leg::Underlay, Leg::Gateway, Leg::Address],
            Location::Here | Location::Own => vec![Leg::Address],
        }
    }
}

/// A search for the largest packet that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Search {
    /// On which part of the way.
    pub(crate) leg: Leg,
    /// Bytes that arrived.
    pub(crate) fits: u32,
    /// Bytes that did not.
    pub(crate) fails: u32,
}

/// How many sizes are tried at once.
const AT_ONCE: u32 = 32;

impl Search {
    /// The sizes to try next, in bytes; none when the largest that arrives is known.
    #[must_use]
    pub(crate) fn sizes(&self) -> Vec<u32> {
        let open = self.fails.saturating_sub(self.fits);
        let parts = open.min(AT_ONCE + 1);
        (1..parts).map(|part| self.fits + open * part / parts).collect()
    }

    /// The same search when these sizes arrived, of those that were tried.
    #[must_use]
    pub(crate) fn narrowed(self, arrived: &[u32]) -> Self {
        let fits = arrived.iter().copied().max().unwrap_or(self.fits).max(self.fits);
        let fails = self.sizes().into_iter().find(|size| *size > fits).unwrap_or(self.fails);
        Self { fits, fails, ..self }
    }
}

/// How far packets with a given TTL get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Hop {
    /// The TTL.
    pub(crate) ttl: u8,
    /// The router that sent the error, for packets that were not encapsulated.
    pub(crate) plain: Option<Ipv4Addr>,
    /// The same for encapsulated packets.
    pub(crate) wrapped: Option<Ipv4Addr>,
}

/// All outcomes of the probes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// Each probe and its outcome.
    pub(crate) probes: Vec<(Probe, ProbeOutcome)>,
    /// Why no probe could be sent at all.
    pub(crate) unproven: Option<String>,
    /// Whether an encapsulated probe was seen leaving; none where none has to.
    pub(crate) left: Option<bool>,
    /// Whether the other host's gateway or the address answered ARP on the fan's bridge.
    pub(crate) knows: bool,
    /// How the handshake of WireGuard with the other host stands; none without encryption, or where it cannot be asked.
    pub(crate) handshake: Option<Handshake>,
    /// Whether the neighbour table has one of them from before, when the answer could not be captured this time.
    pub(crate) knew: bool,
    /// The outer sources of encapsulated answers that were seen coming.
    pub(crate) came: Vec<Ipv4Addr>,
    /// ICMP errors about encapsulated packets, and their senders.
    pub(crate) complaints: Vec<(Ipv4Addr, Complaint)>,
    /// The outer sources of the answers that came and did not come out of the fan, one for each.
    pub(crate) lost: Vec<Ipv4Addr>,
    /// How many packets this host's programs refused meanwhile, the probes' and others.
    pub(crate) refused: u64,
    /// The interface by which the kernel sends encapsulated packets.
    pub(crate) way_out: Option<InterfaceName>,
    /// The router that encapsulated packets are sent to; none when the other host is on link.
    pub(crate) router: Option<Ipv4Addr>,
    /// What is known of the next hop on the underlay.
    pub(crate) next_hop: Option<Reachability>,
    /// What is known of the address on the fan's bridge.
    pub(crate) on_bridge: Option<Reachability>,
    /// The largest packets that arrive whole, where that had to be measured, in bytes.
    pub(crate) measured: Vec<(Leg, u32)>,
    /// How far packets get, where that had to be looked for.
    pub(crate) hops: Vec<Hop>,
}

/// The handshake of WireGuard with the other host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// The other host is no peer.
    NoPeer,
    /// None has succeeded.
    Never,
    /// The last one that succeeded was so many seconds ago.
    Ago(u64),
}

/// How long the keys of a handshake are used, in seconds (`REJECT_AFTER_TIME`, drivers/net/wireguard/messages.h).
const KEYS_LAST: u64 = 180;

impl Handshake {
    /// Whether there are keys to encrypt with.
    #[must_use]
    pub(crate) fn is_good(self) -> bool {
        matches!(self, Self::Ago(seconds) if seconds < KEYS_LAST)
    }
}

impl Evidence {
    fn probe(&self, leg: Leg, aim: Aim) -> Option<&(Probe, ProbeOutcome)> {
        let mut probes = self.probes.iter();
        probes.find(|(probe, _)| (probe.leg, probe.aim) == (leg, aim))
    }

    /// The outcome of a probe; none where there was none.
    #[must_use]
    pub(crate) fn outcome(&self, leg: Leg, aim: Aim) -> Option<&ProbeOutcome> {
        self.probe(leg, aim).map(|(_, outcome)| outcome)
    }

    /// Whether a probe was answered.
    #[must_use]
    pub(crate) fn answered(&self, leg: Leg, aim: Aim) -> bool {
        matches!(self.outcome(leg, aim), Some(ProbeOutcome::Answered(_)))
    }

    /// Whether the other host answers, and its fan does not.
    #[must_use]
    pub(crate) fn is_lost(&self) -> bool {
        self.answered(Leg::Underlay, Aim::Small) && !self.arrives() && self.came.is_empty()
    }

    /// Whether anything is answered on the fan.
    #[must_use]
    pub(crate) fn arrives(&self) -> bool {
        self.answered(Leg::Gateway, Aim::Small) || self.answered(Leg::Address, Aim::Small)
    }

    /// The leg on which UDP without a checksum is answered, and UDP with one is not. A firewall there drops both.
    #[must_use]
    pub(crate) fn spoilt(&self) -> Option<Leg> {
        let is_silent = |leg| self.outcome(leg, Aim::Datagram) == Some(&ProbeOutcome::Silence);
        [Leg::Gateway, Leg::Address].into_iter().find(|leg| self.answered(*leg, Aim::Unsummed) && is_silent(*leg))
    }

    /// The largest packet that arrives whole, in bytes, where it was measured.
    #[must_use]
    pub(crate) fn measured(&self, leg: Leg) -> Option<u32> {
        let found = self.measured.iter().find(|(measured, _)| *measured == leg);
        found.map(|(_, size)| *size)
    }

    /// What is to be measured: the legs that small packets pass and full ones do not.
    #[must_use]
    pub(crate) fn searches(&self) -> Vec<Search> {
        let size = |leg, aim| self.probe(leg, aim).map(|(probe, _)| probe.size);
        [Leg::Underlay, Leg::Gateway, Leg::Address]
            .into_iter()
            .filter(|&leg| self.answered(leg, Aim::Small) && !self.answered(leg, Aim::Full))
            .filter_map(|leg| Some(Search { leg, fits: size(leg, Aim::Small)?, fails: size(leg, Aim::Full)? }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_search_finds_the_largest_that_arrives(fits in 68_u32..500, room in 1_u32..65000, found in 0_u32..65000) {
            let limit = fits + found.min(room - 1);
            let mut search = Search { leg: Leg::Underlay, fits, fails: fits + room };
            let mut rounds = 0;
            while !search.sizes().is_empty() {
                let sizes = search.sizes();
                prop_assert!(sizes.len() <= 32 && sizes.iter().all(|size| (search.fits + 1..search.fails).contains(size)));
                let arrived: Vec<u32> = sizes.into_iter().filter(|size| *size <= limit).collect();
                search = search.narrowed(&arrived);
                rounds += 1;
            }
            prop_assert_eq!(search.fits, limit);
            prop_assert!(rounds <= 4, "{} rounds", rounds);
        }
    }
}
