//! `key`: the file of the secrets that a fan over WireGuard is encrypted by. No verb prints a secret.

use std::io::Write;
use std::path::Path;

use crate::cli::args::{EpochArgs, KeyAction};
use crate::error::Error;
use crate::fan::keys::file::{KeyFault, KeyFile};
use crate::fan::keys::{Secret, SecretKey};
use crate::kernel::secret::{self, NoKey};
use crate::plan::reason::reason;

/// Does what is asked for.
pub(crate) fn key(action: &KeyAction, out: &mut dyn Write) -> Result<(), Error> {
    match action {
        KeyAction::Generate(args) => {
            let file = KeyFile::new(Secret::new(1, new_secret()?));
            secret::create(&args.file, &file).map_err(|why| refused(&why))?;
            tell(&args.file, &file, out)
        }
        KeyAction::Fingerprint(args) => tell(&args.file, &secret::read(&args.file).map_err(|why| refused(&why))?, out),
        KeyAction::Add(args) => {
            let new = new_secret()?;
            edit(&args.file, |file| file.add(new).map(drop), out)
        }
        KeyAction::Prefer(EpochArgs { epoch, file }) => edit(&file.file, |file| file.prefer(*epoch), out),
        KeyAction::Remove(EpochArgs { epoch, file }) => edit(&file.file, |file| file.remove(*epoch), out),
    }
}

fn new_secret() -> Result<SecretKey, Error> {
    secret::generate().map_err(|error| Error::Failed(format!("the kernel gives no random bytes: {error}")))
}

fn edit(
    path: &Path,
    change: impl FnOnce(&mut KeyFile) -> Result<(), KeyFault>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut file = secret::read(path).map_err(|why| refused(&why))?;
    change(&mut file).map_err(|fault| refused(&NoKey::Faulty(path.to_path_buf(), fault)))?;
    secret::replace(path, &file).map_err(|why| refused(&why))?;
    tell(path, &file, out)
}

/// Prints what people compare, a line for each secret, the one that hosts send by first.
fn tell(path: &Path, file: &KeyFile, out: &mut dyn Write) -> Result<(), Error> {
    for secret in file.secrets() {
        writeln!(out, "{}: epoch {}, fingerprint {}", path.display(), secret.epoch, secret.fingerprint())?;
    }
    Ok(())
}

fn refused(why: &NoKey) -> Error {
    Error::Refused(vec![reason!(NoKey, "{why}")])
}
