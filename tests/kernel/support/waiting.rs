//! Waiting for what must happen. A wait ends after a number of attempts and not at a time, so that a busy machine, on which
//! each attempt takes longer, is given longer.

use std::thread;
use std::time::Duration;

use super::ATTEMPTS;

/// From one attempt to the next: short at first, for most of what is waited for has nearly happened.
fn pause(attempt: u32) -> Duration {
    Duration::from_millis(if attempt < 100 { 10 } else { 100 })
}

/// Waits until an attempt gives something, and fails the test when there have been [`ATTEMPTS`].
#[track_caller]
pub fn eventually<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    attempts(attempt).unwrap_or_else(|| panic!("looked {ATTEMPTS} times in vain: {what}"))
}

/// The same for one who says what was found instead.
pub fn attempts<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    (0..ATTEMPTS).find_map(|number| {
        let found = attempt();
        if found.is_none() {
            thread::sleep(pause(number));
        }
        found
    })
}
