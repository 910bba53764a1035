//! Who else runs in this network namespace, by the process table.

use std::fs;
use std::io;
use std::path::PathBuf;

/// A process of this network namespace.
#[derive(Debug)]
pub struct Process {
    /// Its directory, /proc/PID.
    pub directory: PathBuf,
    /// Its name: at most 15 bytes, as the kernel keeps them.
    pub comm: String,
}

/// The processes of this network namespace that have one of these names.
///
/// # Errors
/// When /proc cannot be read.
pub fn named(names: &[&str]) -> io::Result<Vec<Process>> {
    let namespace = fs::read_link("/proc/self/ns/net")?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let directory = entry?.path();
        // A process may end while it is looked at; then it is none of them.
        let comm = fs::read_to_string(directory.join("comm")).unwrap_or_default();
        let comm = comm.trim_end();
        if names.contains(&comm) && fs::read_link(directory.join("ns/net")).is_ok_and(|found| found == namespace) {
            let comm = comm.to_string();
            found.push(Process { directory, comm });
        }
    }
    Ok(found)
}
