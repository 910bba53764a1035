//! Signals that ask a program to end: holding them while there is something to finish.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// What asks a program to end, from a terminal or from another program.
pub(crate) const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Signals that would end the process, held in this thread until this is dropped; those that were held before stay so.
#[derive(Debug)]
pub(crate) struct Held(Option<SigSet>);

impl Held {
    /// Holds them from now on.
    #[must_use]
    pub(crate) fn hold() -> Self {
        // It fails only for an unknown constant; then signals are simply not held.
        Self(SigSet::from_iter(ENDING).thread_swap_mask(SigmaskHow::SIG_BLOCK).ok())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.map(|before| before.thread_set_mask());
    }
}
