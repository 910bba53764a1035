//! Walks a plan, and walks back when a step fails.
//!
//! The kernel is reached through a closure, so that the real one, a [replay](crate::plan::replay) and "fail at step k"
//! are one code path.

use crate::plan::Step;

/// A step that failed, and what became of those before it.
#[derive(Debug)]
pub struct Failure<E> {
    /// The step.
    pub step: Step,
    /// Why it failed.
    pub cause: E,
    /// Steps that could not be taken back, and why; empty when everything is as it was.
    pub left: Vec<(Step, E)>,
}

/// Performs the steps in order. When one fails, those before it are taken back in reverse, as far as that goes.
///
/// # Errors
/// The step that failed.
pub fn apply<E>(steps: &[Step], mut perform: impl FnMut(&Step) -> Result<(), E>) -> Result<(), Box<Failure<E>>> {
    for (index, step) in steps.iter().enumerate() {
        if let Err(cause) = perform(step) {
            let undo = steps[..index].iter().rev().map(|step| step.clone().inverse());
            let left = undo
                .filter_map(|step| perform(&step).err().map(|cause| (step, cause)))
                .collect();
            return Err(Box::new(Failure {
                step: step.clone(),
                cause,
                left,
            }));
        }
    }
    Ok(())
}
