//! Signals that ask a program to end: holding them while there is something to finish.

use nix::sys::signal::{SigSet, Signal};

/// What asks a program to end, from a terminal or from another program.
pub const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Signals that would end the process, held in this thread until this is dropped.
#[derive(Debug)]
pub struct Held(SigSet);

impl Held {
    /// Holds them from now on.
    #[must_use]
    pub fn hold() -> Self {
        let set = SigSet::from_iter(ENDING);
        // It fails only for an unknown constant; then signals are simply not held.
        let _ = set.thread_block();
        Self(set)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.thread_unblock();
    }
}
