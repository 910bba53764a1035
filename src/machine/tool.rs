//! Programs that we run: found in the system's own directories, never through a shell or the caller's PATH alone.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program by name: in PATH, and in the directories where Debian keeps such programs but a user's PATH may not look.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    find_in(program, std::env::split_paths(&path))
}

fn find_in(program: &str, directories: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    directories
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// Runs a program with some input and returns what it wrote on standard output.
///
/// # Errors
/// A sentence: the program is missing, or what it wrote on standard error when it failed.
pub fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S], input: &str) -> Result<String, String> {
    let file = find(program).ok_or_else(|| missing(program))?;
    let failed = |error: io::Error| format!("cannot run '{program}': {error}");
    let mut child = Command::new(file)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that fails early closes its input; its own message says more than our broken pipe.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint: Vec<&str> = complaint
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    Err(format!(
        "'{program}' says: {}",
        complaint.first().copied().unwrap_or("nothing, but it failed")
    ))
}

/// The sentence for a program that is not there.
#[must_use]
pub fn missing(program: &str) -> String {
    let package = match program {
        "nft" => "nftables",
        "dnsmasq" => "dnsmasq-base",
        other => other,
    };
    format!("the program '{program}' is not installed; on Debian: apt-get install {package}")
}
