//! The way to the desired set, looked over at its end, and back where it cannot be gone.

use std::collections::BTreeSet;
use std::slice::from_ref;

use super::{Change, Done};
use crate::error::Error;
use crate::kernel::{self, Machine, Scope, nft, signals};
use crate::plan::apply::{FailedStep, apply, take_back};
use crate::plan::commands::{self, describe};
use crate::plan::diff::{Step, diff};
use crate::plan::reason::{Reason, ReasonCode};
use crate::plan::state::{Object, Owner, State};

impl Change {
    /// Goes the way to the desired set and looks whether that is where it led. With `--dry-run` only what is known of the
    /// machine goes there.
    pub(super) fn carry_out(&mut self, done: &Done, desired: State) -> Result<(), Error> {
        if self.output.dry_run {
            self.owned = desired;
            self.host.ip_forward |= done.ip_forward;
            return Ok(());
        }
        let mut reasons = self.machine.irretrievable(&done.steps);
        let taken = Machine::taken_ports(&done.steps, &self.host).into_iter();
        reasons.extend(taken.map(|text| Reason::new(ReasonCode::PortTaken, text)));
        if !reasons.is_empty() {
            return Err(Error::Refused(reasons));
        }
        if let Err(error) = self.go(done, &desired) {
            // What could not be taken back is what the next fan finds.
            if let Ok(found) = self.machine.observe(Scope::All) {
                (self.owned, self.host) = found;
            }
            return Err(error);
        }
        self.host.ip_forward |= done.ip_forward;
        Ok(())
    }

    fn go(&mut self, done: &Done, desired: &State) -> Result<(), Error> {
        // A plan takes milliseconds. A signal that comes meanwhile is heard when it is done.
        let _held = signals::Held::hold();
        apply(&done.steps, |steps| {
            if self.output.verbose {
                for line in nft::as_taken(steps).iter().flat_map(commands::lines) {
                    self.output.note(&format!("# {line}"));
                }
            }
            self.machine.perform(steps)
        })
        .map_err(|failure| Error::Failed(format!("{}; {}", sentence(&failure.failed), outcome(&failure.left))))?;
        if let Some(line) = &done.emptied {
            self.output.note(&format!("# {line}"));
        }
        if !done.steps.is_empty() {
            self.verify(&done.steps, desired)?;
        }
        let unrecorded = self.owned.values().filter_map(|object| match object {
            Object::Firewall(overlay, ruleset) if ruleset.lacks_record() => Some(*overlay),
            _ => None,
        });
        Machine::record(&unrecorded.collect::<Vec<_>>());
        if done.ip_forward {
            // Last, because it is never taken back: a plan that fails must not leave it behind.
            self.output.note(&format!("# {}", commands::IP_FORWARD));
            kernel::enable_ip_forward().map_err(|error| {
                let end = self.take_back(&done.steps);
                Error::Failed(format!("cannot {}: {error}; {end}", commands::IP_FORWARD))
            })?;
        }
        Ok(())
    }

    /// Looks whether the kernel holds what was asked of it; if it does not, takes the plan back.
    fn verify(&mut self, steps: &[Step], desired: &State) -> Result<(), Error> {
        let found = self.machine.observe(Scope::All).map_err(|error| {
            let end = self.take_back(steps);
            Error::Failed(format!("cannot look whether all is as asked for: {error}; {end}"))
        })?;
        (self.owned, self.host) = found;
        let touched: BTreeSet<Owner> = steps.iter().map(|step| step.object().owner()).collect();
        let rest = diff(&self.owned, desired);
        let Some(first) = rest.iter().find(|step| touched.contains(&step.object().owner())) else {
            return Ok(());
        };
        let end = self.take_back(steps);
        Err(Error::Failed(format!(
            "{} is not as asked for after all steps succeeded: something else manages it; {end}",
            describe(first.object())
        )))
    }

    /// Takes back steps that succeeded, and tells how that went.
    fn take_back(&self, steps: &[Step]) -> String {
        outcome(&take_back(steps, |step| self.machine.perform(from_ref(step))))
    }
}

/// What was tried and why it failed: `cannot create tunnel 'fan-ipip': Operation not permitted`.
fn sentence((step, cause): &FailedStep<kernel::KernelError>) -> String {
    format!("cannot {} {}: {cause}", commands::verb(step), describe(step.object()))
}

/// How things stand after steps were taken back, but for some.
fn outcome(left: &[FailedStep<kernel::KernelError>]) -> String {
    if left.is_empty() {
        return "everything is as it was".to_string();
    }
    let left: Vec<String> = left.iter().map(sentence).collect();
    format!("not everything could be taken back, try fanctl down: {}", left.join("; "))
}
