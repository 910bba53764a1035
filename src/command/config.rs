//! The files that the administrator wrote: finding and reading them for every verb that follows them, and the verb
//! `config`, which looks at them and at nothing else.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::{getegid, geteuid};

use super::{json, warn};
use crate::cli::{ConfigAction, ConfigArgs, TargetArgs};
use crate::configuration::{Configuration, Entry, Fault, Source, convert};
use crate::error::Error;
use crate::loss::{Loss, is_public};
use crate::name::InterfaceName;
use crate::report;

/// Our own file.
const FAN_TOML: &str = "/etc/fan.toml";
/// The file of the original.
const NETWORK_FAN: &str = "/etc/network/fan";

/// The files that were looked for.
pub struct Files {
    names: Vec<PathBuf>,
    /// Those that there are; /dev/null is none.
    read: Vec<PathBuf>,
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.names.iter().map(|file| file.display().to_string()).collect();
        f.write_str(&names.join(" and "))
    }
}

impl Files {
    /// What to do about files that are there and hold no fan; none where there is no file.
    pub fn hollow(&self) -> Option<String> {
        let names: Vec<_> = self.read.iter().map(|file| format!("'{}'", file.display())).collect();
        (!names.is_empty()).then(|| {
            format!(
                "{} holds no fan: write the fans there again, or take down those that it brought up: fanctl down -a",
                names.join(" and ")
            )
        })
    }

    /// That there is nothing to be done.
    pub fn no_fan(&self) -> String {
        format!("no fan is to be up by {self}: nothing to do")
    }

    /// That there is nothing to be done, on this interface if one was named.
    pub fn no_fan_on(&self, interface: Option<&InterfaceName>) -> String {
        interface.map_or_else(
            || self.no_fan(),
            |interface| format!("no fan of {self} is over interface '{interface}': nothing to do"),
        )
    }
}

/// Whether there is no fault.
///
/// # Errors
/// All of them.
pub fn faultless(configuration: &Configuration) -> Result<(), Error> {
    if configuration.faults.is_empty() {
        return Ok(());
    }
    Err(faulty(&configuration.faults))
}

fn faulty(faults: &[Fault]) -> Error {
    Error::Faulty(faults.iter().map(Fault::to_string).collect())
}

impl ConfigArgs {
    /// Reads the file that was named, which must be there, or those of the two that are. What cannot be read is a fault.
    #[must_use]
    pub fn read(&self) -> (Configuration, Files) {
        let files = match &self.file {
            Some(file) => vec![file.clone()],
            None => vec![FAN_TOML.into(), NETWORK_FAN.into()],
        };
        let (mut sources, mut faults, mut read) = (Vec::new(), Vec::new(), Vec::new());
        for file in &files {
            match source(file) {
                Ok(source) => {
                    sources.push(source);
                    read.extend(file.is_file().then(|| file.clone()));
                }
                Err(error) if error.kind() == ErrorKind::NotFound && self.file.is_none() && !file.is_symlink() => {}
                Err(error) => faults.push(unreadable(file, &error)),
            }
        }
        let mut configuration = Configuration::read(&sources);
        configuration.faults.splice(0..0, faults);
        let names = files;
        (configuration, Files { names, read })
    }
}

fn unreadable(file: &Path, error: &io::Error) -> Fault {
    let message = match fs::read_link(file) {
        // On the way to where it leads, perhaps: a file system that is not mounted yet.
        Ok(target) if error.kind() == ErrorKind::NotFound => {
            format!("it is a link to '{}', which does not exist", target.display())
        }
        _ if error.kind() == ErrorKind::PermissionDenied && geteuid().is_root() => {
            "only its owner, who is not root, may come there; a configuration belongs where root's files are"
                .to_string()
        }
        _ => error.to_string(),
    };
    let words = message.split(" (os error").next().unwrap_or(&message);
    Fault::new(&file.display(), words)
}

/// A file's text. What others than root may change is no configuration: they would have root's network.
fn source(file: &Path) -> io::Result<Source> {
    let mut opened = File::open(file)?;
    trust(file, &opened.metadata()?).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    opened.read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| io::Error::other(format!("byte {} is no UTF-8 text", error.utf8_error().valid_up_to())))?;
    Ok(Source::new(&file.display().to_string(), &text))
}

/// Whether nobody can change a file but root and who runs this, with their groups, as ssh has it; the same goes for its
/// directory and for that of a link to it, in which files can be exchanged. It does not go for a device such as /dev/null,
/// nor for the owner of a pipe.
fn trust(file: &Path, metadata: &Metadata) -> Result<(), String> {
    if metadata.file_type().is_char_device() {
        return Ok(());
    }
    let links_to = fs::canonicalize(file).unwrap_or_default();
    if let Some((who, first)) = stranger(metadata).filter(|_| metadata.is_file() || metadata.mode() & OTHERS_WRITE != 0)
    {
        // Of /dev/stdin it is the file behind it.
        let file = if links_to.is_file() { &links_to } else { file }.display();
        return Err(format!(
            "{who} may write to it, and so to this host's network; first: {first} {file}"
        ));
    }
    for directory in [file, &links_to].into_iter().filter_map(Path::parent) {
        let directory = if directory == Path::new("") {
            Path::new(".")
        } else {
            directory
        };
        let found = fs::metadata(directory).ok();
        if let Some((who, first)) = found.as_ref().and_then(stranger) {
            let directory = directory.display();
            return Err(format!(
                "{who} may exchange it, and so this host's network, for its directory is open; first: {first} {directory}"
            ));
        }
    }
    Ok(())
}

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
/// In such a directory, like /tmp, only its owner can exchange a file.
const STICKY: u32 = 0o1000;

/// Who else may write, and what to do about it.
fn stranger(metadata: &Metadata) -> Option<(String, &'static str)> {
    let writes = |bit| metadata.mode() & bit != 0 && !(metadata.is_dir() && metadata.mode() & STICKY != 0);
    let (owner, group) = (metadata.uid(), metadata.gid());
    if writes(OTHERS_WRITE) {
        Some(("everybody".into(), "chmod o-w"))
    } else if ![0, geteuid().as_raw()].contains(&owner) {
        Some((format!("user {owner}"), "chown root"))
    } else if writes(GROUP_WRITES) && ![0, getegid().as_raw()].contains(&group) {
        Some((format!("group {group}"), "chmod g-w"))
    } else {
        None
    }
}

/// Looks at the files.
pub fn config(action: &ConfigAction, out: &mut dyn Write) -> Result<(), Error> {
    match action {
        ConfigAction::Check(args) => check(args, out),
        ConfigAction::List(args) => list(&args.config, args.json, out),
        ConfigAction::Convert(args) => convert(
            args.file.as_deref().unwrap_or(Path::new(NETWORK_FAN)),
            &args.target,
            out,
        ),
    }
}

/// Says that all is well, or everything that is wrong.
fn check(args: &ConfigArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (configuration, files) = args.read();
    faultless(&configuration)?;
    let off = configuration.entries.len() - configuration.enabled().count();
    let fans = match configuration.entries.len() {
        0 => "no fan".to_string(),
        1 => "1 fan".to_string(),
        count => format!("{count} fans"),
    };
    let off = if off == 0 {
        String::new()
    } else {
        format!(", {off} of them off")
    };
    warn(&cautions(&configuration, &files));
    Ok(writeln!(out, "{files}: {fans}{off}, nothing wrong")?)
}

/// What is not wrong and may not be meant.
fn cautions(configuration: &Configuration, files: &Files) -> Vec<String> {
    let public = |entry: &&Entry| !entry.config.force && is_public(entry.config.overlay);
    let entries = configuration.enabled_entries().filter(public);
    let about_overlays = entries.map(|entry| {
        let hint = if entry.is_line() {
            ""
        } else {
            "; if it is meant: force = true"
        };
        format!(
            "{}: {}{hint}",
            entry.place("overlay"),
            Loss::Public(entry.config.overlay)
        )
    });
    let hollow = configuration.entries.is_empty().then(|| files.hollow()).flatten();
    hollow.into_iter().chain(about_overlays).collect()
}

/// Lists the fans that were written down, those that are off too.
fn list(args: &ConfigArgs, as_json: bool, out: &mut dyn Write) -> Result<(), Error> {
    let (configuration, _) = args.read();
    if as_json {
        json(
            &configuration.entries.iter().map(report::entry).collect::<Vec<_>>(),
            out,
        )?;
    } else {
        write!(out, "{}", report::entries(&configuration.entries))?;
    }
    faultless(&configuration)
}

/// Prints the legacy file as TOML, or writes it.
fn convert(file: &Path, target: &TargetArgs, out: &mut dyn Write) -> Result<(), Error> {
    let source = source(file).map_err(|error| vec![unreadable(file, &error)]);
    match source.and_then(|source| convert::legacy_file(&source)) {
        Ok(text) => target.write(
            &text,
            |there| convert::may_replace(there, &text).map(|()| text.clone()),
            out,
        ),
        Err(faults) => Err(faulty(&faults)),
    }
}
