//! Where a text goes: to standard output, or into a file that is at every moment whole, the old one or the new.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::cli::args::TargetArgs;
use crate::error::Error;
use crate::fan::text::error_words;
use crate::kernel::file::Found;
use crate::plan::reason::reason;

/// The most that is read of a file to see whether it may be replaced, in bytes.
const LIMIT: u64 = 1 << 20;

impl TargetArgs {
    /// Writes a text to where it is to go. `replace` gives what comes in the place of a file that holds something, or a
    /// sentence why nothing may; with `--force` all of the file goes then.
    pub(in crate::cli) fn write(
        &self,
        text: &str,
        replace: impl Fn(&str) -> Result<String, String>,
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        let Some(file) = &self.output else {
            return Ok(out.write_all(text.as_bytes())?);
        };
        let name = file.display();
        let failed = |error: io::Error| Error::Failed(format!("file '{name}': {}", error_words(&error)));
        let refused = |reason: &str| Error::Refused(vec![reason!(FileKept, "file '{name}' {reason}")]);
        let target = followed(file).map_err(|reason| refused(&reason))?;
        let there = match Found::unfollowed(&target) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                write_new(&target, None, text).map_err(failed)?;
                return Ok(writeln!(out, "{name} is written")?);
            }
            found => found.map_err(failed)?,
        };
        if let Some(what) = there.irregular() {
            return Err(refused(&format!("is a {what}, and only a regular file can be written whole")));
        }
        let bytes = match there.read(LIMIT) {
            Err(error) if error.kind() == ErrorKind::FileTooLarge => None,
            read => Some(read.map_err(failed)?),
        };
        let old = bytes.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let new = match old {
            Some(old) if old.trim().is_empty() => Ok(text.to_string()),
            Some(old) => replace(old),
            None => Err("is no text of at most 1 MiB".into()),
        };
        let new = match new {
            Err(_) if self.force => text.to_string(),
            Err(reason) => {
                return Err(refused(&format!("{reason}; write another file, or replace it: --force")));
            }
            Ok(new) => new,
        };
        if old == Some(new.as_str()) {
            return Ok(writeln!(out, "{name} is as it should be: nothing to do")?);
        }
        write_new(&target, Some(&there.metadata), &new).map_err(failed)?;
        Ok(writeln!(out, "{name} is written")?)
    }
}

/// The file that a name leads to. A link of another user may lead anywhere.
fn followed(file: &Path) -> Result<PathBuf, String> {
    match fs::symlink_metadata(file) {
        Ok(metadata) if metadata.is_symlink() => {
            if ![0, geteuid().as_raw()].contains(&metadata.uid()) {
                return Err(format!("is a link of user {}, which is not followed", metadata.uid()));
            }
            fs::canonicalize(file).map_err(|_| "is a link that leads to no file".into())
        }
        _ => Ok(file.to_path_buf()),
    }
}

/// Puts a file in its place, with the owner and mode of the one that was there.
fn write_new(file: &Path, there: Option<&fs::Metadata>, text: &str) -> io::Result<()> {
    let directory = match file.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    };
    let name = file.file_name().ok_or(ErrorKind::InvalidInput)?;
    let draft = directory.join(format!(".{}.{}.new", name.display(), std::process::id()));
    let mut options = File::options();
    // What was secret stays so meanwhile.
    let mode = if there.is_some() { 0o600 } else { 0o644 };
    options.write(true).create_new(true).mode(mode);
    let mut new = options.open(&draft)?;
    let finished = (|| {
        new.write_all(text.as_bytes())?;
        if let Some(there) = there {
            // In this order: the mode of another's file is not for us to change.
            new.set_permissions(fs::Permissions::from_mode(there.mode() & 0o777))?;
            let own = new.metadata()?;
            if (own.uid(), own.gid()) != (there.uid(), there.gid()) {
                fchown(&new, Some(there.uid()), Some(there.gid()))?;
            }
        }
        new.sync_all()?;
        fs::rename(&draft, file)
    })();
    if finished.is_err() {
        // The error is the one to tell.
        let _ = fs::remove_file(&draft);
        return finished;
    }
    File::open(directory)?.sync_all()
}
