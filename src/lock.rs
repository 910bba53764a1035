//! One change at a time in a network namespace: ifupdown, systemd and a person may all run `fanctl` at once.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use nix::fcntl::{Flock, FlockArg};

use crate::error::Error;

const DIRECTORY: &str = "/run/fan";

/// Held until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock is released when the file is closed")] Flock<File>);

impl Lock {
    /// Waits until no other `fanctl` changes this network namespace.
    ///
    /// # Errors
    /// When the lock's file cannot be made.
    pub fn take() -> Result<Self, Error> {
        let namespace = fs::metadata("/proc/self/ns/net")?.ino();
        let path = format!("{DIRECTORY}/{namespace}.lock");
        let say = |error: &dyn std::fmt::Display| Error::Failed(format!("lock '{path}': {error}"));
        fs::create_dir_all(DIRECTORY).map_err(|error| say(&error))?;
        let file = File::create(&path).map_err(|error| say(&error))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map(Self)
            .map_err(|(_, errno)| say(&errno.desc()))
    }
}
