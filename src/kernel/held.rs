//! Programs of another version, whose instructions are not known here: held for as long as this process lives, so that a step
//! that replaces or removes one can be taken back. Where they cannot be held, which takes `CAP_SYS_ADMIN`, the program that this
//! version makes for the same fan comes in their place when a step is taken back.

use caps::Capability;

use super::{KernelError, Machine, bpf, capabilities};
use crate::plan::diff::Step;
use crate::plan::host::Host;
use crate::plan::reason::{Reason, reason};
use crate::plan::state::{Filter, Object, State};

impl Machine {
    /// Opens the programs whose instructions this version does not know, for as long as this process lives, so that they can
    /// be put back when a step is taken back. Only `CAP_SYS_ADMIN` can open a program by its number: a process without it
    /// holds none. No later step needs it, so it is given up.
    ///
    /// # Errors
    /// When the privilege cannot be given up.
    pub(crate) fn hold_unknown(&self, state: &State, host: &Host) -> Result<(), KernelError> {
        let mut held = self.held.borrow_mut();
        for filter in state.values().filter_map(unknown) {
            let link = host.link(&filter.link);
            let attached = link.and_then(|link| link.program(filter.direction, filter.slot));
            let program = attached.and_then(|attached| {
                capabilities::raised(&[Capability::CAP_SYS_ADMIN], || bpf::fd_by_id(attached.id)).ok()
            });
            held.extend(program.map(|program| (filter.program.digest.clone(), program)));
        }
        Ok(capabilities::give_up(Capability::CAP_SYS_ADMIN)?)
    }

    /// Why the steps must not be taken: what they replace or remove could not be put back if one of them failed.
    #[must_use]
    pub(crate) fn irretrievable(&self, steps: &[Step]) -> Vec<Reason> {
        let goes = steps.iter().filter_map(|step| match step {
            Step::Delete(object) | Step::Change { from: object, .. } => Some(object),
            Step::Create(_) | Step::Hold(_) | Step::Remake(_) => None,
        });
        goes.filter_map(|object| self.cannot_be_put_back(object))
            .map(|filter| {
                reason!(
                    ProgramIrretrievable,
                    "{}, and without CAP_SYS_ADMIN it could not be put back if a step failed; do this as root, not through a \
                     service",
                    foreign(filter)
                )
            })
            .collect()
    }

    /// A filter whose program is not known and not held, and for which there is no other: that of a fan whose bridge is gone.
    fn cannot_be_put_back<'a>(&self, object: &'a Object) -> Option<&'a Filter> {
        let is_held = |filter: &&Filter| self.held.borrow().contains_key(&filter.program.digest);
        unknown(object).filter(|filter| filter.program.successor.is_none() && !is_held(filter))
    }
}

/// A filter whose program's instructions are not known.
fn unknown(object: &Object) -> Option<&Filter> {
    match object {
        Object::Filter(filter) if filter.program.program.is_none() => Some(filter),
        _ => None,
    }
}

/// How a sentence about one begins.
fn foreign(filter: &Filter) -> String {
    format!(
        "the {} program of tunnel '{}' is not one that this version of fanctl makes",
        filter.direction.as_str(),
        filter.link
    )
}
