//! The way from what is to what should be.
//!
//! `diff` subtracts one [`State`] from another and orders what is left: deletions first, in falling order of
//! [identity](crate::plan::state::Identity), then creations and changes in rising order. A replaced object takes its dependants with it.
//! Laws, tested on generated states below: `diff(s, s)` is empty; replaying `diff(s, d)` on `s` gives `d`; any prefix
//! of a plan followed by its inverse gives back the start; nothing is created before what it depends on, or
//! deleted after it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::fan::Fan;
use crate::fan::name::InterfaceName;
use crate::fan::shell::Line;
use crate::plan::host::Host;
use crate::plan::reason::{Reason, reason};
use crate::plan::state::{Bridge, Identity, Object, ObjectKey, State};
use crate::shell;

#[cfg(test)]
mod tests;

/// One thing to do to the kernel.
#[allow(clippy::large_enum_variant, reason = "a plan is a few dozen of them, and each is walked once")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make an object that is not there.
    Create(Object),
    /// Turn an object into another of the same key, or a bridge into one of another name.
    Change {
        /// As it is.
        from: Object,
        /// As it will be.
        to: Object,
    },
    /// Remove an object.
    Delete(Object),
    /// Keep an object while the objects that it references are deleted and made again.
    Hold(Object),
    /// Make an unchanged object again, because one that it references was made again.
    Remake(Object),
}

impl Step {
    /// The step that takes this one back.
    #[must_use]
    pub(crate) fn inverse(self) -> Self {
        match self {
            Self::Create(object) => Self::Delete(object),
            Self::Change { from, to } => Self::Change { from: to, to: from },
            Self::Delete(object) => Self::Create(object),
            Self::Hold(object) => Self::Remake(object),
            Self::Remake(object) => Self::Hold(object),
        }
    }

    /// Whether it is one that nftables does, together with others in one transaction.
    #[must_use]
    pub(crate) fn is_of_nftables(&self) -> bool {
        match self {
            Self::Create(object) | Self::Delete(object) => matches!(object, Object::Firewall(..) | Object::Accept(_)),
            Self::Change { to: object, .. } | Self::Hold(object) | Self::Remake(object) => {
                matches!(object, Object::Firewall(..))
            }
        }
    }

    /// The object that the step is about, as it is afterwards or, when deleted, was before.
    #[must_use]
    pub(crate) fn object(&self) -> &Object {
        match self {
            Self::Create(object)
            | Self::Delete(object)
            | Self::Change { to: object, .. }
            | Self::Hold(object)
            | Self::Remake(object) => object,
        }
    }
}

/// The steps from one state to another, in order. What stood on an object that somebody took away is made anew with it, though
/// it may look as it should. A fan's tables stay while what they hold on to is replaced, so that nobody is without the guard
/// meanwhile, and are made anew with it.
#[must_use]
pub(crate) fn diff(observed: &State, desired: &State) -> Vec<Step> {
    let replaced = replaced(observed, desired);
    let stays =
        |key: &ObjectKey, present: &Object| matches!(present, Object::Firewall(..)) && desired.contains_key(key);
    let gone = |key: &ObjectKey| !desired.contains_key(key) || replaced.contains(key);
    let deletions = observed.iter().rev().filter(|(key, _)| gone(key)).map(|(key, present)| {
        let step = if stays(key, present) { Step::Hold } else { Step::Delete };
        step(present.clone())
    });
    let made: Vec<&Identity> =
        desired.keys().filter(|key| !observed.contains_key(*key)).map(|key| &key.identity).collect();
    let is_stale = |present: &Object, wanted: &Object| {
        present.can_become(wanted) && made.iter().any(|identity| present.depends_on(identity))
    };
    let rest = desired.iter().filter_map(|(key, wanted)| match observed.get(key) {
        Some(present) if !replaced.contains(key) => {
            (present != wanted || is_stale(present, wanted)).then(|| remade(present, wanted))
        }
        Some(present) if stays(key, present) => Some(remade(present, wanted)),
        _ => Some(Step::Create(wanted.clone())),
    });
    deletions.chain(rest).collect()
}

/// One made anew that is there, as it should be.
fn remade(present: &Object, wanted: &Object) -> Step {
    let (from, to) = (present.clone(), wanted.clone());
    if from == to { Step::Remake(to) } else { Step::Change { from, to } }
}

/// Objects on both sides that must go and come again: those that cannot become what is wanted, and whatever depends on
/// an object that goes.
fn replaced(observed: &State, desired: &State) -> BTreeSet<ObjectKey> {
    let mut going: BTreeSet<ObjectKey> = observed
        .iter()
        .filter(|(key, present)| {
            desired.get(*key).is_none_or(|wanted| present != &wanted && !present.can_become(wanted))
        })
        .map(|(key, _)| key.clone())
        .collect();
    loop {
        let dependants: Vec<ObjectKey> = observed
            .iter()
            .filter(|(key, object)| !going.contains(*key) && going.iter().any(|g| object.depends_on(&g.identity)))
            .map(|(key, _)| key.clone())
            .collect();
        if dependants.is_empty() {
            break;
        }
        going.extend(dependants);
    }
    going.retain(|key| desired.contains_key(key));
    going
}

/// The same steps, with the deletion and creation of one fan's bridge replaced by a new name and address, so that its ports stay
/// attached and keep their settings.
///
/// All other objects on the bridge are deleted before, so that it is down, as the kernel requires for a new name
/// (`dev_change_name`, net/core/dev.c at v6.1).
#[must_use]
pub(crate) fn renumbering(steps: &[Step]) -> Vec<Step> {
    let first = |which: fn(&Step) -> Option<&Bridge>, fan: &Fan| {
        let mut bridges = steps.iter().filter_map(which);
        bridges.find(|bridge| bridge.fan.overlay() == fan.overlay())
    };
    let step = |step: &Step| match step {
        Step::Delete(Object::Bridge(from))
            if first(created, &from.fan).is_some() && first(deleted, &from.fan) == Some(from) =>
        {
            None
        }
        Step::Create(Object::Bridge(to)) => Some(first(deleted, &to.fan).map_or_else(
            || step.clone(),
            |from| Step::Change { from: Object::Bridge(from.clone()), to: Object::Bridge(to.clone()) },
        )),
        _ => Some(step.clone()),
    };
    steps.iter().filter_map(step).collect()
}

fn created(step: &Step) -> Option<&Bridge> {
    match step {
        Step::Create(Object::Bridge(bridge)) => Some(bridge),
        _ => None,
    }
}

fn deleted(step: &Step) -> Option<&Bridge> {
    match step {
        Step::Delete(Object::Bridge(bridge)) => Some(bridge),
        _ => None,
    }
}

/// An address that a container answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The address.
    pub(crate) address: Ipv4Addr,
    /// The port that it is behind; none where only the bridge is known.
    pub(crate) port: Option<InterfaceName>,
}

/// Why the steps must not be taken: they would pull the bridge from under somebody's containers, or take the address that one
/// of them claims.
#[must_use]
pub(crate) fn refusals(steps: &[Step], host: &Host, claims: &[Claim]) -> Vec<Reason> {
    steps.iter().filter_map(|step| refusal(step, host, claims)).collect()
}

fn refusal(step: &Step, host: &Host, claims: &[Claim]) -> Option<Reason> {
    match step {
        Step::Delete(Object::Bridge(bridge)) => {
            let name = &bridge.fan.bridge;
            let ports: Vec<InterfaceName> = host.foreign_ports(name).map(|link| link.name.clone()).collect();
            still_has(name, &ports, |port| host.port(port))
        }
        Step::Change { from: Object::Bridge(from), to: Object::Bridge(to) } => {
            let taken = growth(&from.fan, &to.fan);
            let (first, last) = (taken.first()?, taken.last()?);
            let claim = |claim: &Claim| {
                let port = claim.port.as_ref().map_or(String::new(), |port| format!(" behind port '{port}'"));
                format!("{}{port}", claim.address)
            };
            let claimed: Vec<String> =
                claims.iter().filter(|claim| taken.contains(&claim.address)).map(claim).collect();
            let taken = if first == last { first.to_string() } else { format!("{first} to {last}") };
            (!claimed.is_empty()).then(|| {
                reason!(
                    ContainerHasAddress,
                    "host-reserve {} takes more than {} did, {taken}, and a container of bridge '{}' answers for: {}; give it \
                     another address, or stop it",
                    to.fan.options.host_reserve,
                    from.fan.options.host_reserve,
                    to.fan.bridge,
                    claimed.join(", ")
                )
            })
        }
        _ => None,
    }
}

/// The bridges that stay and take addresses which were containers' to have, with those.
pub(crate) fn growths(steps: &[Step]) -> impl Iterator<Item = (&InterfaceName, Vec<Ipv4Addr>)> {
    steps.iter().filter_map(|step| match step {
        Step::Change { from: Object::Bridge(from), to: Object::Bridge(to) } => {
            let taken = growth(&from.fan, &to.fan);
            (!taken.is_empty()).then_some((&from.fan.bridge, taken))
        }
        _ => None,
    })
}

/// Why a bridge with these foreign ports, which are called so, must stay; none when it has none.
#[must_use]
pub(crate) fn still_has(
    bridge: &InterfaceName,
    ports: &[InterfaceName],
    called: impl Fn(&InterfaceName) -> String,
) -> Option<Reason> {
    let (list, port) = containers(ports, called)?;
    Some(reason!(
        BridgeInUse,
        "bridge '{bridge}' still has {list}; stop what is attached, or take it out: {}",
        take_out(port)
    ))
}

fn take_out(port: &InterfaceName) -> Line {
    shell!("ip link set dev {} nomaster", port)
}

/// The containers behind some ports in words, and the first port; none when there is none.
fn containers(ports: &[InterfaceName], called: impl Fn(&InterfaceName) -> String) -> Option<(String, &InterfaceName)> {
    let first = ports.first()?;
    let count = match ports.len() {
        1 => "a container".to_string(),
        count => format!("{count} containers"),
    };
    let names: Vec<String> = ports.iter().map(called).collect();
    Some((format!("{count}: {}", names.join(", ")), first))
}

/// The addresses that a fan takes from its containers as it becomes another in its place.
fn growth(from: &Fan, to: &Fan) -> Vec<Ipv4Addr> {
    // In another slice all have another address anyway.
    if from.slice() != to.slice() {
        return Vec::new();
    }
    let gateway = u32::from(from.gateway());
    let taken = u32::from(from.options.host_reserve)..u32::from(to.options.host_reserve);
    taken.map(|offset| Ipv4Addr::from(gateway + offset)).collect()
}
