//! Who is there, as hosts tell each other: SWIM, by the crate `foca`, tuned, with three things around it.
//!
//! What is learned here is a rumour: [`peers`](super::peers) asks a host itself before it believes that the host came or left.
//! (1) A [digest](Message::Sync) of all that is known goes to some other host, which answers with its list if its own differs, so that
//! a lost datagram delays and never hides. (2) Seeds are called while no other host is known. (3) Every datagram is checked before `foca`
//! gets it: its sender is who it says, and every host in it can exist and began before tomorrow.
//!
//! The settings are measured: see docs/names.md.

use std::net::Ipv4Addr;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{
    Config, Foca, Header, Identity, Member, Message as Swim, NoCustomBroadcast, Notification, PeriodicParams,
    PostcardCodec, Runtime, State, Timer,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::schedule::{MILLISECOND, Out, Rumour, SECOND, Wake};
use super::wire::{LARGEST_GOSSIP, LIST_LEN, Message, Refusal};
use super::zone::Zone;

/// The most hosts, those that are gone included.
pub const MOST_HOSTS: usize = 16_384;

/// How far ahead of ours a host's clock may be, in seconds.
const HORIZON: u32 = 24 * 60 * 60;

/// At most one answer in this long to hosts that take this one for gone.
const UNDEAD: u64 = 200 * MILLISECOND;

/// How long after a start, or after a difference, what is known is compared each second.
const YOUNG: u64 = 12 * SECOND;

/// A host, as of one start of its daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id {
    /// The host bits of its address in the underlay.
    pub host: u32,
    /// When its daemon began, in seconds since 1970.
    pub boot: u32,
    /// How often it has been taken for gone since, and was not.
    pub renewal: u32,
}

impl Identity for Id {
    type Addr = u32;

    fn renew(&self) -> Option<Self> {
        match self.renewal.checked_add(1) {
            Some(renewal) => Some(Self { renewal, ..*self }),
            // No host has been through as many; another host said so. There is always a start behind.
            None => Some(Self { boot: self.boot.checked_add(1)?, renewal: 0, ..*self }),
        }
    }

    fn addr(&self) -> u32 {
        self.host
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        self.start() > other.start()
    }
}

impl Id {
    fn start(self) -> (u32, u32) {
        (self.boot, self.renewal)
    }
}

/// What is known of a member, in a [`Message::List`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// See [`Id`].
    pub host: u32,
    /// See [`Id`].
    pub boot: u32,
    /// See [`Id`].
    pub renewal: u32,
    /// SWIM's incarnation.
    pub incarnation: u16,
    /// 0 alive, 1 suspected, 2 gone.
    pub state: u8,
}

impl Seen {
    fn new(member: &Member<Id>) -> Self {
        let Id { host, boot, renewal } = *member.id();
        let state = match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        };
        Self { host, boot, renewal, incarnation: member.incarnation(), state }
    }

    fn member(self) -> Option<Member<Id>> {
        let state = match self.state {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            _ => return None,
        };
        let id = Id { host: self.host, boot: self.boot, renewal: self.renewal };
        Some(Member::new(id, self.incarnation, state))
    }
}

fn config() -> Config {
    let many = |number| NonZeroUsize::new(number).expect("a literal");
    let every = |milliseconds, number| {
        Some(PeriodicParams { frequency: Duration::from_millis(milliseconds), num_members: many(number) })
    };
    Config {
        probe_period: Duration::from_millis(200),
        probe_rtt: Duration::from_millis(70),
        num_indirect_probes: many(8),
        max_transmissions: NonZeroU8::new(24).expect("a literal"),
        suspect_to_down_after: Duration::from_millis(1_500),
        // Those who were removed would be told of as new for ever.
        remove_down_after: None,
        max_packet_size: many(LARGEST_GOSSIP),
        notify_down_members: true,
        periodic_announce: every(30_000, 1),
        periodic_announce_to_down_members: every(5_000, 3),
        periodic_gossip: every(100, 4),
    }
}

/// What `foca` asks for.
struct Wishes<'a> {
    now: u64,
    out: &'a mut Out,
    is_alone: bool,
}

impl Runtime<Id> for Wishes<'_> {
    fn notify(&mut self, notification: Notification<'_, Id>) {
        match notification {
            Notification::MemberUp(id) | Notification::Rename(_, id) => self.out.rumours.push(Rumour::Up(*id)),
            Notification::MemberDown(id) => self.out.rumours.push(Rumour::Down(*id)),
            Notification::Idle => self.is_alone = true,
            _ => {}
        }
    }

    fn send_to(&mut self, to: Id, data: &[u8]) {
        self.out.send.push((to.host, Message::Gossip(data.to_vec())));
    }

    fn submit_after(&mut self, timer: Timer<Id>, after: Duration) {
        let after = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.out.timers.push((self.now.saturating_add(after), Wake::Foca(timer)));
    }
}

/// The roll of who is there.
pub(crate) struct Roll {
    foca: Foca<Id, PostcardCodec, SmallRng, NoCustomBroadcast>,
    zone: Zone,
    /// Host bits of those to call.
    seeds: Vec<u32>,
    rng: SmallRng,
    /// Seconds since 1970 at time 0.
    epoch: u32,
    /// Until when what is known is compared each second.
    young: u64,
    /// When a list was sent last, and when we took another start for ours.
    listed: Option<u64>,
    renamed: Option<u64>,
    /// When one was heard last that takes us for gone.
    undead: Option<u64>,
}

impl Roll {
    pub(crate) fn new(now: u64, me: Id, zone: Zone, epoch: u32, rng: &mut SmallRng, out: &mut Out) -> Self {
        out.timers.push((now, Wake::Join));
        out.timers.push((now + 100 * MILLISECOND, Wake::Sync));
        let foca = Foca::new(me, config(), SmallRng::seed_from_u64(rng.random()), PostcardCodec);
        let rng = SmallRng::seed_from_u64(rng.random());
        Self {
            foca,
            zone,
            seeds: Vec::new(),
            rng,
            epoch,
            young: now + YOUNG,
            listed: None,
            renamed: None,
            undead: None,
        }
    }

    /// The hosts to call while no other is known.
    pub(crate) fn seeds(&mut self, hosts: impl IntoIterator<Item = u32>) {
        let me = self.foca.identity().host;
        self.seeds = hosts.into_iter().filter(|host| *host != me).collect();
    }

    fn with<R>(
        &mut self,
        now: u64,
        out: &mut Out,
        act: impl FnOnce(&mut Foca<Id, PostcardCodec, SmallRng, NoCustomBroadcast>, &mut Wishes<'_>) -> R,
    ) -> R {
        let mut wishes = Wishes { now, out, is_alone: false };
        let result = act(&mut self.foca, &mut wishes);
        if wishes.is_alone {
            out.timers.push((now + SECOND / 2, Wake::Join));
        }
        result
    }

    pub(crate) fn timer(&mut self, now: u64, timer: Timer<Id>, out: &mut Out) {
        // An error is one of a datagram that cannot be written, and ours can.
        let _ = self.with(now, out, |foca, wishes| foca.handle_timer(timer, wishes));
    }

    /// A datagram of `foca` from a host.
    pub(crate) fn gossip(&mut self, now: u64, from: u32, data: &[u8], out: &mut Out) -> Result<(), Refusal> {
        let (message, ids, own) = self.look_through(now, from, data)?;
        if self.foca.iter_membership_state().len() + ids > MOST_HOSTS {
            return Err(Refusal::TooMany);
        }
        if let Some(own) = own {
            self.outbid(now, own, out);
        }
        if message == Swim::TurnUndead {
            if self.undead.is_some_and(|last| now < last + UNDEAD) {
                return Ok(());
            }
            self.undead = Some(now);
            // `foca` counts up by one, and is told so again as fast as packets travel, for as long as the sender knows of a
            // later start of ours. Its list has that.
            out.send.push((from, Message::Sync(self.digest())));
        }
        // It may still be out of place, like one for an earlier start of ours, and is then dropped.
        let _ = self.with(now, out, |foca, wishes| foca.handle_data(data, wishes));
        Ok(())
    }

    /// What kind of datagram it is, how many members it tells of, and a later start of this host that it tells of.
    fn look_through(&self, now: u64, from: u32, data: &[u8]) -> Result<(Swim<Id>, usize, Option<Id>), Refusal> {
        let (header, mut rest): (Header<Id>, &[u8]) =
            postcard::take_from_bytes(data).map_err(|_| Refusal::Malformed)?;
        if header.src.host != from {
            return Err(Refusal::NoGateway);
        }
        let mut ids = vec![header.src];
        if rest.len() >= 2 {
            let count = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
            for _ in 0..count {
                let (member, after): (Member<Id>, &[u8]) =
                    postcard::take_from_bytes(rest).map_err(|_| Refusal::Malformed)?;
                ids.push(*member.id());
                rest = after;
            }
        }
        ids.iter().try_for_each(|id| self.possible(now, *id))?;
        Ok((header.message, ids.len(), self.later_self(&ids)))
    }

    fn later_self(&self, ids: &[Id]) -> Option<Id> {
        let me = self.foca.identity();
        ids.iter().copied().filter(|id| id.host == me.host && id.start() > me.start()).max()
    }

    /// A host that can be, and that did not begin in times to come.
    fn possible(&self, now: u64, id: Id) -> Result<(), Refusal> {
        let host = address(&self.zone, id.host);
        let seconds = u32::try_from(now / SECOND).unwrap_or(u32::MAX);
        let horizon = self.epoch.saturating_add(seconds).saturating_add(HORIZON);
        let is_possible = id.host == host_bits(&self.zone, host) && self.zone.is_host(host) && id.boot <= horizon;
        is_possible.then_some(()).ok_or(Refusal::ImpossibleMember)
    }

    /// Takes a start time after the one that others know of this host: its clock may have gone back since then.
    fn outbid(&mut self, now: u64, later: Id, out: &mut Out) {
        if self.renamed.is_some_and(|last| now < last + SECOND) {
            return;
        }
        self.renamed = Some(now);
        if let Some(id) = later.renew() {
            let _ = self.with(now, out, |foca, wishes| foca.change_identity(id, wishes));
        }
    }

    pub(crate) fn join(&mut self, now: u64, out: &mut Out) {
        if self.foca.num_members() > 0 {
            return;
        }
        for host in self.seeds.clone() {
            self.call(now, host, out);
        }
        out.timers.push((now + SECOND / 2, Wake::Join));
    }

    /// Tells a host that we are there, if it is.
    pub(crate) fn call(&mut self, now: u64, host: u32, out: &mut Out) {
        let any_start = Id { host, boot: 0, renewal: 0 };
        let _ = self.with(now, out, |foca, wishes| foca.announce(any_start, wishes));
    }

    /// A digest of all that is known, in which order does not matter.
    fn digest(&self) -> u64 {
        let own = Member::alive(*self.foca.identity());
        let all = self.foca.iter_membership_state().chain([&own]);
        all.fold(0, |digest, member| {
            let id = member.id();
            let mut bits = u64::from(id.host) << 40
                ^ u64::from(id.boot) << 16
                ^ u64::from(id.renewal) << 1
                ^ u64::from(member.state() == State::Down);
            // The finalizer of MurmurHash3, by Austin Appleby (public domain).
            bits ^= bits >> 33;
            bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
            bits ^= bits >> 33;
            digest ^ bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53)
        })
    }

    pub(crate) fn sync(&mut self, now: u64, out: &mut Out) {
        let members = self.foca.num_members();
        if members > 0 {
            let any = self.rng.random_range(0..members);
            if let Some(member) = self.foca.iter_members().nth(any) {
                out.send.push((member.id().host, Message::Sync(self.digest())));
            }
        }
        let gap = match members {
            0 => 100 * MILLISECOND,
            _ if now < self.young => SECOND,
            _ => 10 * SECOND,
        };
        out.timers.push((now + gap + self.rng.random_range(0..gap / 5), Wake::Sync));
    }

    /// Another host's digest. One list in 100 milliseconds is enough for all.
    pub(crate) fn compare(&mut self, now: u64, from: u32, digest: u64, out: &mut Out) {
        if digest == self.digest() {
            out.send.push((from, Message::Same));
            return;
        }
        if self.listed.is_some_and(|last| now < last + 100 * MILLISECOND) {
            return;
        }
        self.listed = Some(now);
        let own = Member::alive(*self.foca.identity());
        let all: Vec<Seen> = self.foca.iter_membership_state().chain([&own]).map(Seen::new).collect();
        out.send.extend(all.chunks(LIST_LEN).map(|part| (from, Message::List(part.to_vec()))));
    }

    /// Part of another host's list.
    pub(crate) fn apply(&mut self, now: u64, list: &[Seen], out: &mut Out) -> Result<(), Refusal> {
        let members: Option<Vec<Member<Id>>> = list.iter().map(|seen| seen.member()).collect();
        let mut members = members.ok_or(Refusal::Malformed)?;
        // The sender's clock may be ahead of ours, and have let it believe what we do not: the others count all the same.
        members.retain(|member| self.possible(now, *member.id()).is_ok());
        let ids: Vec<Id> = members.iter().map(|member| *member.id()).collect();
        if self.foca.iter_membership_state().len() + ids.len() > MOST_HOSTS {
            return Err(Refusal::TooMany);
        }
        self.young = self.young.max(now + 3 * SECOND);
        if let Some(own) = self.later_self(&ids) {
            self.outbid(now, own, out);
        }
        let are_possible = ids.len() == list.len();
        let _ = self.with(now, out, |foca, wishes| foca.apply_many(members.into_iter(), false, wishes));
        are_possible.then_some(()).ok_or(Refusal::ImpossibleMember)
    }
}

/// The host bits of an address in the underlay.
pub(crate) fn host_bits(zone: &Zone, host: Ipv4Addr) -> u32 {
    u32::from(host) & !u32::from(zone.mapping().underlay().network().mask())
}

/// The address in the underlay with these host bits.
pub(crate) fn address(zone: &Zone, bits: u32) -> Ipv4Addr {
    let underlay = zone.mapping().underlay().network();
    (u32::from(underlay.network()) | bits & !u32::from(underlay.mask())).into()
}
