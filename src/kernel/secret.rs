//! Reading and writing key files. One is read only where nobody but root, or the user who reads, could read it or put another in
//! its place.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::prctl;
use nix::unistd::geteuid;
use zeroize::Zeroizing;

use super::file::Found;
use super::lock::is_at;
use crate::fan::keys::SecretKey;
use crate::fan::keys::file::{KEY_FILE_LIMIT, KeyFault, KeyFile};
use crate::fan::keys::table::{TABLE_LIMIT, Table, TableFault};
use crate::fan::text::error_words;

/// The most symbolic links that are followed (`MAXSYMLINKS`, linux/namei.h).
const MOST_LINKS: usize = 40;

/// In front of the name of a file that systemd hands to a unit (`LoadCredential=`, systemd.exec(5)).
const CREDENTIALS: &str = "$CREDENTIALS_DIRECTORY/";

/// Why there is no key.
#[derive(Debug)]
pub(crate) enum NoKey {
    /// The file, or something on its path, cannot be looked at.
    Unreadable(PathBuf, io::Error),
    /// A user other than root owns this.
    OwnedBy(PathBuf, u32),
    /// Others may write here: permission bits.
    Writable(PathBuf, u32),
    /// Others may read the file: permission bits.
    Readable(PathBuf, u32),
    /// Its links go in a circle.
    TooManyLinks(PathBuf),
    /// It is named after a credential, and there are none.
    NoCredentials(PathBuf),
    /// What is in it is wrong.
    Faulty(PathBuf, KeyFault),
    /// A file is there already.
    There(PathBuf),
    /// A file for another host is there already.
    IssuedThere(PathBuf),
    /// The table of public keys cannot be looked at.
    NoTable(PathBuf, io::Error),
    /// What is in the table is wrong.
    TableFaulty(PathBuf, TableFault),
}

impl fmt::Display for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) if error.kind() == io::ErrorKind::NotFound => write!(
                f,
                "key file '{}' does not exist; copy it from another host, or make the first: fanctl key generate",
                path.display()
            ),
            Self::Unreadable(path, error) => write!(f, "key file '{}': {}", path.display(), error_words(error)),
            Self::OwnedBy(path, user) => write!(
                f,
                "'{}', on the path of the key file, belongs to user {user}, who could replace it; give it to root, or move the file",
                path.display()
            ),
            Self::Writable(path, mode) => write!(
                f,
                "'{}', on the path of the key file, has mode {mode:04o}, so that others could replace it; take that away, or \
                 move the file",
                path.display()
            ),
            Self::Readable(path, mode) => write!(
                f,
                "key file '{0}' has mode {mode:04o}, so that others can read it; take that away (chmod 600), and change the \
                 secret if they may have: fanctl key add {0}",
                path.display()
            ),
            Self::TooManyLinks(path) => write!(f, "key file '{}' is behind too many symbolic links", path.display()),
            Self::NoCredentials(path) => write!(
                f,
                "key file '{}' is a credential, and CREDENTIALS_DIRECTORY is not set; it is in a unit with LoadCredential=",
                path.display()
            ),
            Self::Faulty(path, fault) => write!(f, "key file '{}' {fault}", path.display()),
            Self::IssuedThere(path) => {
                write!(
                    f,
                    "'{}' is there already, and is not written over; remove it, or name another file",
                    path.display()
                )
            }
            Self::NoTable(path, error) => write!(
                f,
                "table '{}' of public keys: {}; a host with issued keys needs it: fanctl key table, where the secret is",
                path.display(),
                error_words(error)
            ),
            Self::TableFaulty(path, fault) => write!(f, "table '{}' {fault}", path.display()),
            Self::There(path) => write!(
                f,
                "key file '{}' is there already, and what it encrypts would be lost; to change the secret: fanctl key add",
                path.display()
            ),
        }
    }
}

/// Reads a key file, and keeps what this process holds out of core dumps.
///
/// # Errors
/// Why there is no key.
pub fn read(path: &Path) -> Result<KeyFile, NoKey> {
    keep_out_of_dumps();
    let (real, _) = place(path)?;
    let unreadable = |error| NoKey::Unreadable(path.to_path_buf(), error);
    let found = Found::new(&real).map_err(unreadable)?;
    let metadata = &found.metadata;
    owned(&real, metadata)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(NoKey::Writable(real, mode));
    }
    if mode & 0o044 != 0 {
        return Err(NoKey::Readable(real, mode));
    }
    let bytes = Zeroizing::new(found.read(KEY_FILE_LIMIT).map_err(unreadable)?);
    KeyFile::read(&bytes).map_err(|fault| NoKey::Faulty(path.to_path_buf(), fault))
}

/// Writes no core dump of this process from now on, and lets no other user trace it. It comes before any secret is read, from a file
/// or from a device.
pub(crate) fn keep_out_of_dumps() {
    // Where that is not allowed, nobody could trace this process anyway.
    let _ = prctl::set_dumpable(false);
}

/// Reads a table of public keys, which anybody may read, and nobody but root replace.
///
/// # Errors
/// Why there is none.
pub(crate) fn read_table(path: &Path) -> Result<Table, NoKey> {
    let unreadable = |error| NoKey::NoTable(path.to_path_buf(), error);
    let missing = |why| match why {
        NoKey::Unreadable(_, error) => unreadable(error),
        other => other,
    };
    let (real, _) = place(path).map_err(missing)?;
    let found = Found::new(&real).map_err(unreadable)?;
    owned(&real, &found.metadata)?;
    let mode = found.metadata.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(NoKey::Writable(real, mode));
    }
    let bytes = found.read(TABLE_LIMIT).map_err(unreadable)?;
    Table::read(&bytes).map_err(|fault| NoKey::TableFaulty(path.to_path_buf(), fault))
}

/// A new secret from the kernel.
///
/// # Errors
/// When it gives none.
pub(crate) fn generate() -> io::Result<SecretKey> {
    let mut key = SecretKey::new([0; 32]);
    let mut filled = 0;
    while filled < key.bytes().len() {
        filled += rustix::rand::getrandom(&mut key.bytes_mut()[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(key)
}

/// Writes a key file that was not there, for its owner alone. Directories that lack are made.
///
/// # Errors
/// Why not; what is there stays.
pub(crate) fn create(path: &Path, file: &KeyFile) -> Result<(), NoKey> {
    keep_out_of_dumps();
    let path = &named(path)?;
    let unwritable = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => NoKey::There(path.clone()),
        _ => NoKey::Unreadable(path.clone(), error),
    };
    let directory = directory_of(path);
    DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(unwritable)?;
    resolve(directory)?;
    // Of this process alone: nobody can lock a file that is not there yet.
    let draft = draft_of(path, &std::process::id().to_string());
    let _ = fs::remove_file(&draft);
    write(&draft, file).map_err(unwritable)?;
    // A link is made at once, with all of the content, and not over a file that is there.
    let end = fs::hard_link(&draft, path).and_then(|()| File::open(directory)?.sync_all());
    let _ = fs::remove_file(&draft);
    end.map_err(unwritable)
}

/// Where a path's file is.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where a file is written before it has its name. A killed command may leave one there, which is no key file.
fn draft_of(path: &Path, suffix: &str) -> PathBuf {
    path.with_file_name(format!(".{}.{suffix}", path.file_name().unwrap_or_default().display()))
}

/// Writes the key file of another host, which was not there, for its owner alone.
///
/// # Errors
/// Why not; what is there stays.
pub(crate) fn issue(path: &Path, file: &KeyFile) -> Result<(), NoKey> {
    keep_out_of_dumps();
    resolve(directory_of(path))?;
    write(path, file).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => NoKey::IssuedThere(path.to_path_buf()),
        _ => NoKey::Unreadable(path.to_path_buf(), error),
    })
}

/// Changes a key file and gives what it has then. Commands that change it take turns: each reads what the one before has written.
///
/// # Errors
/// Why not; the old one then stays.
pub(crate) fn edit(path: &Path, change: impl FnOnce(&mut KeyFile) -> Result<(), KeyFault>) -> Result<KeyFile, NoKey> {
    let _turn = turn(path)?;
    let mut file = read(path)?;
    change(&mut file).map_err(|fault| NoKey::Faulty(path.to_path_buf(), fault))?;
    replace(path, &file)?;
    Ok(file)
}

/// A lock on a key file, which only its owner can open. A file that was replaced meanwhile is not the key file any more.
fn turn(path: &Path) -> Result<Flock<File>, NoKey> {
    let unreadable = |error| NoKey::Unreadable(path.to_path_buf(), error);
    loop {
        let (real, there) = place(path)?;
        // A FIFO would wait for a writer; `read` says that it is none of ours.
        if !there.is_file() {
            return Err(unreadable(io::Error::other("it is no regular file")));
        }
        let file = File::open(&real).map_err(unreadable)?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| unreadable(errno.into()))?;
        if is_at(&lock, &real) {
            return Ok(lock);
        }
    }
}

/// Replaces a key file, at once.
fn replace(path: &Path, file: &KeyFile) -> Result<(), NoKey> {
    let (real, there) = place(path)?;
    let unwritable = |error| NoKey::Unreadable(path.to_path_buf(), error);
    let draft = draft_of(&real, "new");
    let _ = fs::remove_file(&draft);
    write(&draft, file).map_err(unwritable)?;
    let end = (|| {
        let new = File::open(&draft)?;
        let own = new.metadata()?;
        if (own.uid(), own.gid()) != (there.uid(), there.gid()) {
            std::os::unix::fs::fchown(&new, Some(there.uid()), Some(there.gid()))?;
        }
        fs::rename(&draft, &real)?;
        File::open(real.parent().unwrap_or(Path::new("/")))?.sync_all()
    })();
    if end.is_err() {
        // The error is the one to tell.
        let _ = fs::remove_file(&draft);
    }
    end.map_err(unwritable)
}

fn write(path: &Path, file: &KeyFile) -> io::Result<()> {
    let mut new = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    let end = new.write_all(file.text().as_bytes()).and_then(|()| new.sync_all());
    if end.is_err() {
        let _ = fs::remove_file(path);
    }
    end
}

/// Where a key file is, and what it is like.
fn place(path: &Path) -> Result<(PathBuf, Metadata), NoKey> {
    let named = named(path)?;
    let real = resolve(&named)?;
    let metadata = fs::symlink_metadata(&real).map_err(|error| NoKey::Unreadable(path.to_path_buf(), error))?;
    Ok((real, metadata))
}

/// The path that a name stands for: one of systemd's credentials, or itself.
fn named(path: &Path) -> Result<PathBuf, NoKey> {
    let Some(credential) = path.to_str().and_then(|text| text.strip_prefix(CREDENTIALS)) else {
        return Ok(path.to_path_buf());
    };
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|directory| !directory.is_empty());
    directory.map(|directory| Path::new(&directory).join(credential)).ok_or(NoKey::NoCredentials(path.to_path_buf()))
}

/// The path without links, of which nobody but root, or the user who reads, could replace a part.
fn resolve(path: &Path) -> Result<PathBuf, NoKey> {
    let unreadable = |error| NoKey::Unreadable(path.to_path_buf(), error);
    let mut rest: Vec<OsString> = parts(&std::path::absolute(path).map_err(unreadable)?);
    let (mut real, mut links) = (PathBuf::from("/"), 0);
    check_directory(&real)?;
    while let Some(part) = rest.pop() {
        if part == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&part);
        let metadata = fs::symlink_metadata(&next).map_err(unreadable)?;
        owned(&next, &metadata)?;
        if metadata.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(NoKey::TooManyLinks(path.to_path_buf()));
            }
            let target = fs::read_link(&next).map_err(unreadable)?;
            if target.is_absolute() {
                real = PathBuf::from("/");
            }
            rest.extend(parts(&target));
            continue;
        }
        if metadata.is_dir() {
            check_directory(&next)?;
        }
        real = next;
    }
    Ok(real)
}

/// The parts of a path, the last first, without those that say nothing.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_os_string()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    parts.rev().collect()
}

/// In a directory with the sticky bit, as /tmp, only the owner of a file replaces it (inode(7)).
fn check_directory(path: &Path) -> Result<(), NoKey> {
    let metadata = fs::symlink_metadata(path).map_err(|error| NoKey::Unreadable(path.to_path_buf(), error))?;
    owned(path, &metadata)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        return Err(NoKey::Writable(path.to_path_buf(), mode));
    }
    Ok(())
}

fn owned(path: &Path, metadata: &Metadata) -> Result<(), NoKey> {
    match metadata.uid() {
        0 => Ok(()),
        user if user == geteuid().as_raw() => Ok(()),
        user => Err(NoKey::OwnedBy(path.to_path_buf(), user)),
    }
}
