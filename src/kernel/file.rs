//! Reading files: a regular file of bounded size, at once, or a reason. A pipe, a device or an endless file that another
//! user may have put in its place is not waited for, and not even opened for reading.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::{EISDIR, O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, O_PATH};
use nix::sys::stat::makedev;

/// The most that is read of a file that an administrator or a program wrote, in bytes: 60,000 fans.
pub(crate) const FILE_LIMIT: u64 = 4 << 20;

/// The most that is read of a file of the kernel's (/proc, /sys), or of its list of modules, in bytes.
pub(crate) const KERNEL_LIMIT: u64 = 4 << 20;

/// A file that was found, and is not open for reading yet.
pub(crate) struct Found {
    place: File,
    /// What it is.
    pub(crate) metadata: Metadata,
}

impl Found {
    /// Looks at a regular file without opening it for reading, which alone would wait for the other end of a pipe, or rewind a
    /// tape.
    ///
    /// # Errors
    /// When there is none, or it is no regular file. The null device is taken for an empty one.
    pub fn new(path: &Path) -> io::Result<Self> {
        let found = Self::at(path, 0)?;
        match found.irregular() {
            None => Ok(found),
            Some(_) if is_null(&found.metadata) => Ok(found),
            Some(_) if found.metadata.is_dir() => Err(io::Error::from_raw_os_error(EISDIR)),
            Some(what) => {
                Err(io::Error::new(ErrorKind::InvalidInput, format!("it is a {what}; only a regular file is read")))
            }
        }
    }

    /// Looks at what a name itself stands for, a file of any kind: a link is not followed.
    ///
    /// # Errors
    /// When there is nothing of that name.
    pub(crate) fn unfollowed(path: &Path) -> io::Result<Self> {
        Self::at(path, O_NOFOLLOW)
    }

    fn at(path: &Path, flags: i32) -> io::Result<Self> {
        let place = File::options().read(true).custom_flags(O_PATH | O_CLOEXEC | flags).open(path)?;
        let metadata = place.metadata()?;
        Ok(Self { place, metadata })
    }

    /// What it is if it is no regular file.
    #[must_use]
    pub(crate) fn irregular(&self) -> Option<&'static str> {
        let kind = self.metadata.file_type();
        match () {
            () if kind.is_file() => None,
            () if kind.is_dir() => Some("directory"),
            () if kind.is_symlink() => Some("link"),
            () if kind.is_fifo() => Some("pipe"),
            () if kind.is_socket() => Some("socket"),
            () => Some("device"),
        }
    }

    /// Reads it all.
    ///
    /// # Errors
    /// When it may not be read, or is longer than `limit`, in bytes.
    pub fn read(&self, limit: u64) -> io::Result<Vec<u8>> {
        let is_long = || Err(too_long(limit));
        if is_null(&self.metadata) {
            return Ok(Vec::new());
        }
        if self.metadata.len() > limit {
            return is_long();
        }
        let file = File::options()
            .read(true)
            .custom_flags(O_NONBLOCK)
            .open(format!("/proc/self/fd/{}", self.place.as_raw_fd()))?;
        let expected = usize::try_from(self.metadata.len().min(limit)).unwrap_or_default();
        bounded_into(Vec::with_capacity(expected + 1), file, limit)
    }
}

/// Reads a regular file.
///
/// # Errors
/// When it cannot be read, is no regular file, or is longer than `limit`, in bytes.
pub fn read(path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
    Found::new(path.as_ref())?.read(limit)
}

/// The same, of a file of text.
///
/// # Errors
/// As above, or when it is no UTF-8.
pub(crate) fn read_text(path: impl AsRef<Path>, limit: u64) -> io::Result<String> {
    text(read(path, limit)?)
}

/// Reads what comes, be it a pipe, up to its end.
///
/// # Errors
/// When that cannot be read, or is longer than `limit`, in bytes.
pub(crate) fn bounded(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    bounded_into(Vec::new(), from, limit)
}

/// The same, into this memory, which is not moved while the content has room in it: what is read may be secret.
fn bounded_into(mut bytes: Vec<u8>, from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    from.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_long(limit));
    }
    Ok(bytes)
}

/// Bytes as text.
///
/// # Errors
/// When they are no UTF-8.
pub fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes)
        .map_err(|error| io::Error::other(format!("byte {} is no UTF-8 text", error.utf8_error().valid_up_to())))
}

fn too_long(limit: u64) -> io::Error {
    io::Error::new(
        ErrorKind::FileTooLarge,
        format!("it is longer than {limit} bytes, the most that is read of such a file"),
    )
}

/// Whether it is /dev/null, by which an administrator says that there is nothing.
fn is_null(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == makedev(1, 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that counts what is asked of it.
    struct Endless(u64);

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += buffer.len() as u64;
            Ok(buffer.len())
        }
    }

    #[test]
    fn no_more_is_read_than_the_limit() {
        let mut endless = Endless(0);
        let error = bounded(&mut endless, 1000).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(endless.0 <= 2048, "{}", endless.0);
        assert_eq!(bounded(&b"1234"[..], 4).unwrap(), b"1234");
        assert!(bounded(&b"12345"[..], 4).is_err());
    }

    #[test]
    fn a_device_is_not_read_and_the_null_device_is_empty() {
        assert_eq!(read("/dev/zero", 4).unwrap_err().to_string(), "it is a device; only a regular file is read");
        assert_eq!(read("/dev/null", 4).unwrap(), b"");
        assert_eq!(read("/", 4).unwrap_err().kind(), ErrorKind::IsADirectory);
        assert!(!read("/proc/self/stat", KERNEL_LIMIT).unwrap().is_empty(), "its size is 0");
        assert!(read("/proc/self/stat", 4).is_err());
    }
}
