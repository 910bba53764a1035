//! Waiting for what must happen.

use std::thread;
use std::time::{Duration, Instant};

use super::DEADLINE;

/// Waits until an attempt gives something, and fails the test when the deadline has passed.
#[track_caller]
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
