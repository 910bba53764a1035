//! The way from what is to what should be.
//!
//! `diff` subtracts one [`State`] from another and orders what is left: deletions first, in falling order of
//! [identity](crate::object::Identity), then creations and changes in rising order. A replaced object takes its dependants with it.
//! Laws, tested on generated states below: `diff(s, s)` is empty; replaying `diff(s, d)` on `s` gives `d`; any prefix
//! of a plan followed by its inverse gives back the start; nothing is created before what it depends on, or
//! deleted after it.

use std::collections::BTreeSet;
use std::mem::discriminant;

use crate::host::Host;
use crate::mapping::Overlay;
use crate::object::{Bridge, Key, Object, State};

#[cfg(test)]
mod tests;

/// One thing to do to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
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
}

impl Step {
    /// The step that takes this one back.
    #[must_use]
    pub fn inverse(self) -> Self {
        match self {
            Self::Create(object) => Self::Delete(object),
            Self::Change { from, to } => Self::Change { from: to, to: from },
            Self::Delete(object) => Self::Create(object),
        }
    }

    /// Whether it is one that nftables does, together with others in one transaction.
    #[must_use]
    pub fn is_of_nftables(&self) -> bool {
        match self {
            Self::Create(object) | Self::Delete(object) => matches!(object, Object::Firewall(..) | Object::Accept(_)),
            Self::Change { to, .. } => matches!(to, Object::Firewall(..)),
        }
    }

    /// The object that the step is about, as it is afterwards or, when deleted, was before.
    #[must_use]
    pub fn object(&self) -> &Object {
        match self {
            Self::Create(object) | Self::Delete(object) | Self::Change { to: object, .. } => object,
        }
    }
}

/// The steps from one state to another, in order.
#[must_use]
pub fn diff(observed: &State, desired: &State) -> Vec<Step> {
    let replaced = replaced(observed, desired);
    let gone = |key: &Key| !desired.contains_key(key) || replaced.contains(key);
    let deletions = observed
        .iter()
        .rev()
        .filter(|(key, _)| gone(key))
        .map(|(_, object)| Step::Delete(object.clone()));
    let rest = desired.iter().filter_map(|(key, wanted)| match observed.get(key) {
        Some(present) if !replaced.contains(key) => (present != wanted).then(|| Step::Change {
            from: present.clone(),
            to: wanted.clone(),
        }),
        _ => Some(Step::Create(wanted.clone())),
    });
    deletions.chain(rest).collect()
}

/// Objects on both sides that must go and come again: those that cannot become what is wanted, and whatever depends on
/// an object that goes.
fn replaced(observed: &State, desired: &State) -> BTreeSet<Key> {
    let mut going: BTreeSet<Key> = observed
        .iter()
        .filter(|(key, present)| {
            desired
                .get(*key)
                .is_none_or(|wanted| present != &wanted && !present.can_become(wanted))
        })
        .map(|(key, _)| key.clone())
        .collect();
    loop {
        let dependants: Vec<Key> = observed
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

/// The same way, but a bridge that would go and one of the same fan that would come are one that is renamed and
/// renumbered in place: its ports never leave it, and keep what was set of them. And the fan's tables are changed in place too,
/// so that nobody is without the guard meanwhile.
///
/// By then everything else that stood on it is deleted, so that it is down, as the kernel wants it for a new name
/// (`dev_change_name`, net/core/dev.c at v6.1).
#[must_use]
pub fn renumbering(steps: &[Step]) -> Vec<Step> {
    let renumbered = |overlay: Overlay| {
        let has = |which: fn(&Step) -> Option<&Bridge>| {
            let mut bridges = steps.iter().filter_map(which);
            bridges.any(|bridge| bridge.fan.overlay() == overlay)
        };
        has(created) && has(deleted)
    };
    let kept = |object: &Object| {
        let overlay = match object {
            Object::Bridge(bridge) => bridge.fan.overlay(),
            Object::Firewall(overlay, _) => *overlay,
            _ => return None,
        };
        renumbered(overlay).then(|| (discriminant(object), overlay))
    };
    let before = |wanted| {
        let is_made = |step: &Step| matches!(step, Step::Create(object) if kept(object) == Some(wanted));
        steps.iter().find_map(|step| match step {
            Step::Delete(object) if kept(object) == Some(wanted) && steps.iter().any(is_made) => Some(object),
            _ => None,
        })
    };
    let step = |step: &Step| match step {
        Step::Delete(object) if kept(object).and_then(before) == Some(object) => None,
        Step::Create(to) => Some(kept(to).and_then(before).map_or_else(
            || step.clone(),
            |from| Step::Change {
                from: from.clone(),
                to: to.clone(),
            },
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

/// What a state becomes by a step.
pub fn replay(state: &mut State, step: &Step) {
    match step {
        Step::Delete(object) => {
            state.remove(&object.key());
        }
        Step::Create(object) => {
            state.insert(object.key(), object.clone());
        }
        Step::Change { from, to } => {
            state.remove(&from.key());
            state.insert(to.key(), to.clone());
        }
    }
}

/// Why the steps must not be taken: they would pull the bridge from under somebody's containers.
#[must_use]
pub fn refusals(steps: &[Step], host: &Host) -> Vec<String> {
    steps
        .iter()
        .filter_map(deleted)
        .map(|bridge| &bridge.fan.bridge)
        .filter_map(|bridge| {
            let ports: Vec<&str> = host.foreign_ports(bridge).map(|link| link.name.as_str()).collect();
            (!ports.is_empty()).then(|| {
                format!(
                    "bridge '{bridge}' still has {}: {}; stop what is attached, or take it out: ip link set {} nomaster",
                    if ports.len() == 1 { "a container".to_string() } else { format!("{} containers", ports.len()) },
                    ports.join(", "),
                    ports[0]
                )
            })
        })
        .collect()
}
