//! Ctrl-C at any moment: the signal is noted, the lab is taken down, and only then does the program end.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use nix::sys::signal::SigSet;

use crate::error::Error;
use crate::kernel::signals::ENDING;

/// The number of the signal that came first; 0 for none.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicI32>);

impl Interrupt {
    /// Blocks the signals in this thread, hence in all that it starts, and has one thread wait for them until the
    /// program ends.
    pub(crate) fn listen() -> Result<Self, Error> {
        let failed = |error: &dyn Display| Error::Failed(format!("cannot listen for signals: {error}"));
        let signals = SigSet::from_iter(ENDING);
        signals.thread_block().map_err(|error| failed(&error))?;
        let interrupt = Self::default();
        let note = Arc::clone(&interrupt.0);
        let listen = move || {
            while let Ok(signal) = signals.wait() {
                let _ = note.compare_exchange(0, signal as i32, Ordering::SeqCst, Ordering::SeqCst);
            }
        };
        let thread = thread::Builder::new().name("signals".into());
        thread.spawn(listen).map_err(|error| failed(&error))?;
        Ok(interrupt)
    }

    /// An error once a signal has come.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.0.load(Ordering::SeqCst) {
            0 => Ok(()),
            signal => Err(Error::Interrupted(signal, "interrupted; the lab is removed".into())),
        }
    }
}
