//! One change at a time in a network namespace: ifupdown, systemd and a person may all run `fanctl` at once.

use std::fmt;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};

use crate::error::Error;

const DIRECTORY: &str = "/run/fan";

/// How long to wait for another `fanctl`, whose plan takes milliseconds, or a second with a slow dnsmasq.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long a command that only reads waits: longer than a plan takes, and short for a user at a terminal.
const LOOKERS_PATIENCE: Duration = Duration::from_secs(1);
const LOOKERS_FLAGS: i32 = O_NOFOLLOW | O_NONBLOCK | nix::libc::O_CLOEXEC;

/// The lock, held until it is dropped, or until this process and all that it started have ended. `nft` continues when
/// this process is killed, and the next `fanctl` must wait for that.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock is released when the file is closed")] Flock<File>);

impl Lock {
    /// Waits until no other `fanctl` changes this network namespace.
    ///
    /// # Errors
    /// When the lock's file cannot be made, or another holds it for a minute.
    pub(crate) fn take() -> Result<Self, Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut open = Unlocked::open()?;
        loop {
            open = match open.lock()? {
                Ok(lock) => return Ok(lock),
                Err(open) if Instant::now() < deadline => open,
                Err(open) => return Err(held_for_long(&open.path)),
            };
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits, about a second, until no other `fanctl` is in the middle of a change, and keeps one from beginning: for
    /// commands that only read. None where there is no lock yet, where it is not free in that time, or where this user
    /// may not open it.
    #[must_use]
    pub(crate) fn to_look() -> Option<Self> {
        let path = path(Path::new("/proc/self/ns/net")).ok()?;
        let deadline = Instant::now() + LOOKERS_PATIENCE;
        loop {
            let file = File::options().read(true).custom_flags(LOOKERS_FLAGS).open(&path).ok()?;
            match Flock::lock(file, FlockArg::LockSharedNonblock) {
                Ok(lock) if is_at(&lock, &path) => return Some(Self(lock)),
                _ if Instant::now() >= deadline => return None,
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Takes it, or gives its file's name while another `fanctl` has it.
    ///
    /// # Errors
    /// When the lock's file cannot be made.
    pub(crate) fn attempt() -> Result<Result<Self, String>, Error> {
        Ok(Unlocked::open()?.lock()?.map_err(|open| open.path))
    }
}

/// The lock's file, open.
struct Unlocked {
    path: String,
    file: File,
}

impl Unlocked {
    fn open() -> Result<Self, Error> {
        let namespace = Path::new("/proc/self/ns/net");
        let path = path(namespace).map_err(|error| Error::Failed(format!("{}: {error}", namespace.display())))?;
        let file = open(&path).map_err(|error| failed(&path, &error))?;
        Ok(Self { path, file })
    }

    /// Locks it, or gives it back while another `fanctl` has it. The lock is on a file, and other processes open it by its
    /// path: a file that was removed or replaced meanwhile does not stop them, so the file at the path now is tried.
    fn lock(self) -> Result<Result<Lock, Self>, Error> {
        let Self { path, file } = self;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) if !is_at(&lock, &path) => Ok(Err(Self::open()?)),
            Ok(lock) => {
                // Inherited by what we run. A dnsmasq, which stays, closes what it did not open (main, src/dnsmasq.c).
                fcntl(&*lock, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|errno| failed(&path, &errno.desc()))?;
                Ok(Ok(Lock(lock)))
            }
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(Err(Self { path, file })),
            Err((_, errno)) => Err(failed(&path, &errno.desc())),
        }
    }
}

fn failed(path: &str, error: &dyn fmt::Display) -> Error {
    Error::Failed(format!("lock '{path}': {error}"))
}

/// The error that another `fanctl` does not end.
#[must_use]
pub(crate) fn held_for_long(path: &str) -> Error {
    failed(path, &"another fanctl has held it for a minute; see which: fuser /run/fan/*.lock")
}

/// Only root may open the file: each process that can open it can hold the lock. The file is never removed. Otherwise a
/// `fanctl` that waits for it would get the lock of the removed file, and another one that of a new file.
fn open(path: &str) -> io::Result<File> {
    make_directory()?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK)
        .open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("it is no regular file"))
}

/// Makes the directory of the locks, and of what else is root's alone while the host runs.
///
/// # Errors
/// When it is another user's, or cannot be made.
pub(crate) fn make_directory() -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(DIRECTORY)?;
    close_to_others(Path::new(DIRECTORY))
}

/// Whether only root, or who runs this, can have put what is in that directory there.
///
/// # Errors
/// Why not.
pub(crate) fn is_closed() -> io::Result<()> {
    let found = fs::symlink_metadata(DIRECTORY)?;
    let is_ours = found.is_dir() && [0, nix::unistd::geteuid().as_raw()].contains(&found.uid());
    if !is_ours || found.mode() & 0o022 != 0 {
        return Err(io::Error::other(format!(
            "'{DIRECTORY}' is no directory that only root can write to; move it away: mv {DIRECTORY} {DIRECTORY}.odd"
        )));
    }
    Ok(())
}

/// Takes the directory of the locks from other users, where another program made it: a user who can write there can put
/// a locked file in the place of a lock.
fn close_to_others(directory: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(directory)?;
    let us = nix::unistd::geteuid().as_raw();
    if !found.is_dir() || found.uid() != us {
        let place = directory.display();
        return Err(io::Error::other(format!(
            "'{place}' is no directory of user {us}; move it away: mv {place} {place}.odd"
        )));
    }
    if found.mode() & 0o022 != 0 {
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Whether an open file is the one at a path.
pub(super) fn is_at(file: &File, path: impl AsRef<Path>) -> bool {
    let identity = |data: fs::Metadata| (data.dev(), data.ino());
    let open = file.metadata().map(identity);
    open.is_ok_and(|open| fs::symlink_metadata(path).map(identity).is_ok_and(|found| found == open))
}

/// The lock's file of a network namespace, which is known by its inode.
fn path(namespace: &Path) -> io::Result<String> {
    fs::metadata(namespace).map(|metadata| format!("{DIRECTORY}/{}.lock", metadata.ino()))
}
