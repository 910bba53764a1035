//! Programs that we run: always directly and never through a shell, found where only root puts programs and not where the
//! environment says, and with nothing of the environment. Each has the capabilities that it needs, and no others.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use caps::Capability;
use nix::fcntl::OFlag;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::pipe2;

use super::capabilities;
use crate::fan::text::escape;

/// Where programs are looked for: where sudo looks (`secure_path`), and where NixOS and Guix have theirs.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin:\
                        /run/current-system/profile/sbin:/run/current-system/profile/bin";

/// A program by name, in [`PATH`].
#[must_use]
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    PATH.split(':')
        .map(|directory| Path::new(directory).join(program))
        .find(|file| file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0))
}

/// Where a program's file may be: in each directory of [`PATH`], and where a link there leads.
#[must_use]
pub(crate) fn places(program: &str) -> Vec<PathBuf> {
    let directories = PATH.split(':').map(Path::new);
    let places = directories.filter_map(|directory| {
        let file = directory.join(program);
        // One that was removed meanwhile has its place in the directory still.
        let gone = || directory.canonicalize().map(|directory| directory.join(program));
        file.canonicalize().or_else(|_| gone()).ok()
    });
    places.collect()
}

/// Runs a program with some input and returns what it wrote on standard output.
///
/// # Errors
/// A sentence: the program is missing, or what it wrote on standard error when it failed.
pub fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S], input: &str) -> Result<String, String> {
    run_with(capabilities::NFT, program, arguments, input)
}

/// The same, with these capabilities.
///
/// # Errors
/// As above.
pub(crate) fn run_with<S: AsRef<OsStr>>(
    capabilities: &[Capability],
    program: &str,
    arguments: &[S],
    input: &str,
) -> Result<String, String> {
    let file = find(program).ok_or_else(|| missing(program))?;
    let failed = |error: io::Error| format!("cannot run '{program}': {error}");
    let mut command = Command::new(file);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = with_only(capabilities, || command.spawn()).map_err(failed)?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        // It took what it got for all there is.
        written.map_err(failed)?;
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    // A program that fails early closes its input; its own message says more than our broken pipe.
    Err(complaint(program, &output.stderr))
}

/// Does something in a thread that has these capabilities only, and so has the child that it makes.
fn with_only<T: Send>(capabilities: &[Capability], action: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let limited = || {
        capabilities::limit_to(capabilities)?;
        action()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, limited)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs a program that goes to the background by itself, and returns when it has.
///
/// Signals are held while a plan is carried out, and children of [`Command`] inherit that: right for `nft`, which must not
/// be torn away by Ctrl-C, but a daemon would stay deaf to the signal that is to end it. This one hears everything.
///
/// # Errors
/// A sentence: the program is missing, or what it wrote on standard error when it failed.
pub(crate) fn run_daemon(program: &str, arguments: &[String]) -> Result<(), String> {
    let file = find(program).ok_or_else(|| missing(program))?;
    let (ended, said) = with_only(capabilities::DNSMASQ, || spawn_daemon(&file, arguments))
        .map_err(|error| format!("cannot run '{program}': {error}"))?;
    match ended {
        WaitStatus::Exited(_, 0) => Ok(()),
        _ => Err(complaint(program, said.as_bytes())),
    }
}

fn spawn_daemon(file: &Path, arguments: &[String]) -> io::Result<(WaitStatus, String)> {
    let path = CString::new(file.as_os_str().as_bytes())?;
    let words: Vec<CString> = arguments.iter().map(|word| CString::new(word.as_str())).collect::<Result<_, _>>()?;
    let words: Vec<&CString> = std::iter::once(&path).chain(&words).collect();
    let (reading, writing) = pipe2(OFlag::O_CLOEXEC)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let mut actions = PosixSpawnFileActions::init()?;
    for (descriptor, stands_for) in [(null.as_raw_fd(), 0), (null.as_raw_fd(), 1), (writing.as_raw_fd(), 2)] {
        actions.add_dup2(descriptor, stands_for)?;
    }
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)?;
    attributes.set_sigmask(&SigSet::empty())?;
    let child = posix_spawn(path.as_c_str(), &actions, &attributes, &words, &[CString::new(format!("PATH={PATH}"))?])?;
    drop(writing);
    let mut said = String::new();
    File::from(reading).read_to_string(&mut said)?;
    Ok((waitpid(child, None)?, said))
}

/// The sentence for a program that failed: the first line of what it said.
fn complaint(program: &str, said: &[u8]) -> String {
    let mut lines = said.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.find(|line| !line.is_empty()).map(escape);
    let first = first.unwrap_or_else(|| "nothing, but it failed".into());
    format!("'{program}' says: {first}")
}

/// The sentence for a program that is not there.
#[must_use]
pub(crate) fn missing(program: &str) -> String {
    let package = match program {
        "nft" => "nftables",
        "dnsmasq" => "dnsmasq-base",
        "iptables-nft-save" | "iptables-legacy-save" => "iptables",
        other => other,
    };
    format!("the program '{program}' is not installed; on Debian: apt-get install {package}")
}
