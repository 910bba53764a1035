//! Waiting for a condition. A wait ends after a number of attempts and not at a time, so that a busy machine, on which
//! each attempt takes longer, gets more time.

use std::thread;
use std::time::Duration;

use super::ATTEMPTS;

/// The time from one attempt to the next: short at first, because most conditions become true soon.
fn pause(attempt: u32) -> Duration {
    Duration::from_millis(if attempt < 100 { 10 } else { 100 })
}

/// Waits until an attempt gives something, and fails the test when there have been [`ATTEMPTS`].
#[track_caller]
pub fn eventually<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    attempts(attempt).unwrap_or_else(|| panic!("looked {ATTEMPTS} times, and it did not happen: {what}"))
}

/// The same for a caller that reports what was found instead.
pub fn attempts<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    (0..ATTEMPTS).find_map(|number| {
        let found = attempt();
        if found.is_none() {
            thread::sleep(pause(number));
        }
        found
    })
}
