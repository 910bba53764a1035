//! Walks a plan, and walks back.
//!
//! The kernel is reached through a closure, so that the real one, a replay on a `State` and "fail at step k"
//! are one code path.

use std::slice::from_ref;

use crate::plan::diff::Step;

/// A step that could not be done, and why.
pub(crate) type FailedStep<E> = (Step, E);

/// A step that failed, and what became of those before it.
#[derive(Debug)]
pub(crate) struct Failure<E> {
    /// The step, and why it failed.
    pub(crate) failed: FailedStep<E>,
    /// Steps that could not be taken back; empty when everything is as it was.
    pub(crate) left: Vec<FailedStep<E>>,
}

/// Performs the steps in order, neighbours that can be one transaction as one: a group happens whole or not at all. When a
/// step fails, those before it are taken back. Which step of a group it is, shows when they are done one by one.
///
/// # Errors
/// The step that failed.
pub(crate) fn apply<E>(
    steps: &[Step],
    mut perform: impl FnMut(&[Step]) -> Result<(), E>,
) -> Result<(), Box<Failure<E>>> {
    let mut done = 0;
    for group in steps.chunk_by(|step, next| step.is_of_nftables() && next.is_of_nftables()) {
        if group.len() > 1 && perform(group).is_ok() {
            done += group.len();
            continue;
        }
        for step in group {
            if let Err(cause) = perform(from_ref(step)) {
                let left = take_back(&steps[..done], |step| perform(from_ref(step)));
                let failed = (step.clone(), cause);
                return Err(Box::new(Failure { failed, left }));
            }
            done += 1;
        }
    }
    Ok(())
}

/// Takes steps back in reverse order, as far as that goes, and returns those that stayed.
pub(crate) fn take_back<E>(steps: &[Step], mut perform: impl FnMut(&Step) -> Result<(), E>) -> Vec<FailedStep<E>> {
    let undo = steps.iter().rev().map(|step| step.clone().inverse());
    undo.filter_map(|step| perform(&step).err().map(|cause| (step, cause))).collect()
}
