//! One change at a time in a network namespace: ifupdown, systemd and a person may all run `fanctl` at once.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
        let path = path(Path::new("/proc/self/ns/net"))?;
        let say = |error: &dyn std::fmt::Display| Error::Failed(format!("lock '{path}': {error}"));
        fs::create_dir_all(DIRECTORY).map_err(|error| say(&error))?;
        let file = File::create(&path).map_err(|error| say(&error))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map(Self)
            .map_err(|(_, errno)| say(&errno.desc()))
    }
}

/// Removes the lock's file of a network namespace that is about to be deleted, if there is one.
pub fn forget(namespace: &Path) {
    let _ = path(namespace).and_then(fs::remove_file);
}

/// The lock's file of a network namespace, which is known by its inode.
fn path(namespace: &Path) -> io::Result<String> {
    fs::metadata(namespace).map(|metadata| format!("{DIRECTORY}/{}.lock", metadata.ino()))
}
