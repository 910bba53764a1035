//! What happens to a fan, in sentences: from how it stood at one look at the machine, and how it stands at the next.
//!
//! A look sees everything, so that what was missed between two looks is seen at the next one. [`Sight`] is what one look
//! sees of one fan; [`news`] is what two of them have to tell.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use crate::fan::Fan;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::fan::request::{Follow, Request, UnderlayPlace};
use crate::plan::host::Host;
use crate::plan::reason::{Reason, ReasonCode, reason};
use crate::plan::state::{Owner, State};
use crate::plan::verdict::verdict;
use crate::shell;

#[cfg(test)]
mod tests;

/// What is to be done about a fan that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// Nothing is written down of it: somebody brought it up.
    ByHand,
    /// Configuration brought it up, and has it no more.
    Unwanted,
    /// It is configured, and that is all.
    Told,
    /// It is configured to follow, but somebody brought it up by hand, with what options ever.
    NotOurs,
    /// It is kept as configured.
    Followed,
}

/// How a fan stands at one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Whether nothing of it is there, which somebody must have wanted: what breaks leaves something.
    pub(crate) down: bool,
    /// What it was built on.
    pub(crate) footing: Option<Footing>,
    /// Its objects that are not there.
    missing: BTreeSet<String>,
    /// Its objects that are not as they should be.
    different: BTreeSet<String>,
    /// What it would be instead.
    wish: Option<String>,
    /// Why it cannot be as asked for.
    pub(crate) reasons: Vec<Reason>,
}

/// What a fan was built on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footing {
    device: InterfaceName,
    /// Whether the interface is up; none when there is no such interface.
    up: Option<bool>,
    /// In bytes; 0 when there is no such interface.
    mtu: u32,
    /// The host's underlay address.
    address: Ipv4Addr,
    /// Whether the interface has it.
    has_address: bool,
    /// The other addresses that it has.
    others: Vec<Ipv4Addr>,
}

impl Footing {
    fn of(fan: &Fan, host: &Host) -> Self {
        let link = host.link(&fan.device);
        let addresses = link.into_iter().flat_map(|link| &link.addresses).map(|a| a.address.ip());
        let (own, others): (Vec<_>, Vec<_>) = addresses.partition(|address| *address == fan.host);
        Self {
            device: fan.device.clone(),
            up: link.map(|link| link.up),
            mtu: link.map_or(0, |link| link.mtu),
            address: fan.host,
            has_address: !own.is_empty(),
            others,
        }
    }

    /// What has changed since then.
    fn changes(&self, before: &Self) -> Vec<FootingChange> {
        if (&self.device, self.address) != (&before.device, before.address) {
            return Vec::new();
        }
        let device = || self.device.clone();
        let mut changes = Vec::new();
        match (before.up, self.up) {
            (then, now) if then == now => {}
            (_, None) => changes.push(FootingChange::Missing(device())),
            (None, Some(_)) => changes.push(FootingChange::Back(device())),
            (_, Some(true)) => changes.push(FootingChange::Up(device())),
            (_, Some(false)) => changes.push(FootingChange::Down(device())),
        }
        if self.up.is_some() && before.up.is_some() && before.mtu != self.mtu {
            changes.push(FootingChange::Mtu { device: device(), is: self.mtu, was: before.mtu });
        }
        match (before.has_address, self.has_address) {
            (true, false) if self.up.is_some() => {
                let (address, others) = (self.address, self.others.clone());
                changes.push(FootingChange::AddressGone { device: device(), address, others });
            }
            (false, true) => changes.push(FootingChange::AddressBack { device: device(), address: self.address }),
            _ => {}
        }
        changes
    }
}

/// What has changed of what a fan was built on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum FootingChange {
    /// There is no such interface any more.
    Missing(InterfaceName),
    /// There is such an interface again.
    Back(InterfaceName),
    /// The interface is up again.
    Up(InterfaceName),
    /// The interface is down.
    Down(InterfaceName),
    /// The interface has another MTU, in bytes.
    Mtu { device: InterfaceName, is: u32, was: u32 },
    /// The interface has not the underlay address any more, but these.
    AddressGone { device: InterfaceName, address: Ipv4Addr, others: Vec<Ipv4Addr> },
    /// The interface has the underlay address again.
    AddressBack { device: InterfaceName, address: Ipv4Addr },
}

impl FootingChange {
    /// Whether a reason says the same, and more.
    fn is_told_by(&self, reason: &Reason) -> bool {
        match self {
            Self::Missing(device) => reason.is(ReasonCode::InterfaceMissing, device),
            Self::Down(device) => reason.is(ReasonCode::InterfaceDown, device),
            _ => false,
        }
    }
}

impl fmt::Display for FootingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(device) => write!(f, "interface '{device}' does not exist"),
            Self::Back(device) => write!(f, "interface '{device}' is there again"),
            Self::Up(device) => write!(f, "interface '{device}' is up again"),
            Self::Down(device) => write!(f, "interface '{device}' is down"),
            Self::Mtu { device, is, was } => write!(f, "the MTU of interface '{device}' changed from {was} to {is}"),
            Self::AddressGone { device, address, others } => {
                write!(f, "address {address} is gone from '{device}'")?;
                let others: Vec<String> = others.iter().map(ToString::to_string).collect();
                if others.is_empty() { Ok(()) } else { write!(f, ", which has {} now", others.join(", ")) }
            }
            Self::AddressBack { device, address } => write!(f, "address {address} is on '{device}' again"),
        }
    }
}

/// What is asked for instead of what is up, or why it cannot be looked for.
pub(crate) type Wanted<'a> = Result<(&'a Fan, &'a [Reason]), Option<Reason>>;

impl Sight {
    /// A fan that is down.
    #[must_use]
    pub(crate) fn down() -> Self {
        Self { down: true, ..Self::default() }
    }

    /// A fan that is up, or of which something is left. `fan` is what its bridge says, or said when there was one; then the
    /// losses are those of that fan, and what is wanted instead is one wish.
    #[must_use]
    pub fn new(fan: &Fan, wanted: &Wanted, owned: &State, host: &Host) -> Self {
        let mut verdict = verdict(fan, owned, host);
        let footing = Footing::of(fan, host);
        // What goes and comes again is not missing.
        verdict.missing.retain(|name| !verdict.different.contains(name));
        // Without the interface there is no telling what sizes should be.
        let different = verdict.different.into_iter().filter(|_| footing.up.is_some());
        let (wish, reasons) = match wanted {
            Ok((wanted, reasons)) => (wish(fan, wanted), reasons.to_vec()),
            Err(reason) => (None, reason.iter().cloned().collect()),
        };
        Self {
            down: false,
            missing: verdict.missing.into_iter().collect(),
            different: different.collect(),
            footing: Some(footing),
            wish,
            reasons,
        }
    }

    /// Whether there is nothing to be done.
    #[must_use]
    pub(crate) fn is_right(&self) -> bool {
        !self.down
            && self.missing.is_empty()
            && self.different.is_empty()
            && self.wish.is_none()
            && self.reasons.is_empty()
    }
}

fn wish(fan: &Fan, wanted: &Fan) -> Option<String> {
    if (wanted.host, wanted.mapping) != (fan.host, fan.mapping) {
        return Some(format!(
            "this host's address is now {} on '{}'; its slice would be {}",
            wanted.underlay_address(),
            wanted.device,
            wanted.slice()
        ));
    }
    if wanted.device != fan.device {
        return Some(format!("{} is on '{}' now", wanted.host, wanted.device));
    }
    let auto = fan.auto;
    let same = *fan == Fan { auto, ..wanted.clone() };
    (!same).then(|| "the configuration has it otherwise".to_string())
}

/// The fan that somebody brought up, as what is wanted: there is nothing else to want.
///
/// # Errors
/// That the host has its address no more.
pub(crate) fn by_hand<'a>(fan: &'a Fan, host: &Host) -> Wanted<'a> {
    let mut addresses = host.links.iter().flat_map(|link| &link.addresses);
    if addresses.any(|a| a.address.ip() == fan.host) {
        return Ok((fan, &[]));
    }
    let down = shell!("fanctl down {} {}", fan.overlay(), fan.underlay_address());
    Err(Some(reason!(
        NoSuchAddress,
        "no interface has its address {}; take it down and bring it up from another: {down}",
        fan.host
    )))
}

/// What is new since the look before, if anything, and what to do about it: one line.
#[must_use]
pub(crate) fn news(before: Option<&Sight>, now: &Sight, care: Care) -> Option<String> {
    let was_down = before.is_some_and(|before| before.down);
    if now.down {
        let again = match care {
            Care::ByHand | Care::Unwanted => "",
            Care::Told | Care::NotOurs | Care::Followed => ", and stays so until: fanctl up -a",
        };
        return (!was_down).then(|| format!("it is down{again}"));
    }
    let nothing = Sight::default();
    let then = before.unwrap_or(&nothing);
    let mut parts = Vec::new();
    if was_down {
        parts.push("it is up".to_string());
    }
    let reasons: Vec<&Reason> = now.reasons.iter().filter(|reason| !then.reasons.contains(reason)).collect();
    let mut changes = match (&then.footing, &now.footing) {
        (Some(then), Some(now)) => now.changes(then),
        _ => Vec::new(),
    };
    changes.retain(|change| !reasons.iter().any(|reason| change.is_told_by(reason)));
    // Sizes follow from that one.
    let resized = changes.iter().any(|change| matches!(change, FootingChange::Mtu { .. }));
    parts.extend(changes.iter().map(ToString::to_string));
    parts.extend(list("gone", now.missing.difference(&then.missing)));
    if !resized {
        parts.extend(list("changed", now.different.difference(&then.different)));
    }
    if now.wish != then.wish {
        parts.extend(now.wish.clone());
    }
    parts.extend(reasons.into_iter().map(ToString::to_string));
    if parts.is_empty() && !now.is_right() {
        // It is better than it was, if anything.
        return None;
    }
    if now.is_right() {
        let worth_telling = !parts.is_empty() || before.is_some_and(|before| !before.is_right());
        if worth_telling && !was_down {
            parts.push("it is as it should be".into());
        }
    } else if now.reasons.is_empty() {
        parts.extend(remedy(care).map(str::to_string));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn list<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Option<String> {
    let names: Vec<&str> = names.map(String::as_str).collect();
    (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
}

fn remedy(care: Care) -> Option<&'static str> {
    match care {
        Care::ByHand => Some("the fanctl up that made it puts it right"),
        Care::Unwanted => Some("the configuration has it no more: fanctl reload takes it down"),
        Care::Told => Some("fanctl reload puts it right"),
        Care::NotOurs => Some("it is not followed, because somebody brought it up by hand; fanctl reload changes that"),
        Care::Followed => None,
    }
}

/// What to say beside the reasons for which a fan cannot follow, where another configuration would let it.
#[must_use]
pub(crate) fn advice(config: &Request, has_ports: bool, resolved: bool) -> Option<Reason> {
    if has_ports && config.options.follow == Follow::Yes {
        return Some(reason!(FollowAdvice, "or have it renumbered all the same: follow = \"renumber\""));
    }
    let written = matches!(config.underlay.place, UnderlayPlace::Address(_));
    (written && !resolved && config.options.follow != Follow::No).then(|| {
        reason!(
            FollowAdvice,
            "an address that is written out cannot be followed, an interface can, like eth0/{}",
            config.underlay.len
        )
    })
}

/// What to say beside a bridge that is there again: its ports of before are still there, and on no bridge.
#[must_use]
pub(crate) fn left_off(ports: &[InterfaceName], bridge: &InterfaceName, host: &Host) -> Option<String> {
    let is_off = |port: &&InterfaceName| host.link(port).is_some_and(|link| link.master.is_none());
    let first = ports.iter().find(is_off)?;
    let off: Vec<&str> = ports.iter().filter(is_off).map(InterfaceName::as_str).collect();
    Some(format!(
        "; off it since its bridge went, and to be put back: {}, like: {}",
        off.join(", "),
        shell!("ip link set dev {} master {}", first, bridge)
    ))
}

/// Whether anything of a fan is there.
#[must_use]
pub(crate) fn is_there(overlay: Overlay, owned: &State) -> bool {
    owned.keys().any(|key| key.owner == Owner::Fan(overlay))
}
