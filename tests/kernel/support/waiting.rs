//! Waiting for what must happen. A wait ends after a number of attempts and not at a time, so that a busy machine, on which
//! each attempt takes longer, is given longer.

use std::thread;
use std::time::Duration;

use super::ATTEMPTS;

/// From one attempt to the next.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until an attempt gives something, and fails the test when there have been [`ATTEMPTS`].
#[track_caller]
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    for _ in 0..ATTEMPTS {
        if let Some(found) = attempt() {
            return found;
        }
        thread::sleep(PAUSE);
    }
    panic!("looked {ATTEMPTS} times in vain: {what}");
}
