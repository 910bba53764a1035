//! Debian packages that tests use without installing them, since they would start something or exclude each other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The directory in which the packages are unpacked, which goes by the name of the first. A test that needs them fails
/// where they cannot be had.
#[track_caller]
pub fn unpacked(packages: &[&'static str]) -> PathBuf {
    static DIRECTORIES: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut directories = DIRECTORIES.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = directories.entry(packages[0]).or_insert_with(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/unpack");
        let output = Command::new(script).args(packages).output().expect(script);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().into()
    });
    directory.clone()
}
