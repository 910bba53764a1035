//! The files that the administrator wrote: finding and reading them for every verb that follows them, and the verb
//! `config`, which looks at them and at nothing else.

mod trust;

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use serde::Serialize;

use self::trust::trust;
use super::change::turn;
use super::warn;
use crate::cli::args::{ConfigAction, ConfigArgs, OutputArgs, TargetArgs};
use crate::cli::report;
use crate::config::{Configuration, Entry, Fault, Source, convert, save};
use crate::error::Error;
use crate::fan::json::{Document, JsonArgs};
use crate::fan::name::InterfaceName;
use crate::fan::request::Request;
use crate::fan::text::error_words;
use crate::kernel::file::{self, FILE_LIMIT, Found};
use crate::kernel::lock::Lock;
use crate::plan::losses::{Loss, is_public};
use crate::plan::reason::reason;

/// Our own file.
const FAN_TOML: &str = "/etc/fan.toml";
/// The file of the original.
const NETWORK_FAN: &str = "/etc/network/fan";

/// The files that were looked for.
pub struct Files {
    names: Vec<PathBuf>,
    /// Those that there are; /dev/null is none.
    read: Vec<PathBuf>,
    /// How many fans they hold, disabled ones too.
    fans: usize,
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.names.iter().map(|file| file.display().to_string()).collect();
        f.write_str(&names.join(" and "))
    }
}

impl Files {
    /// What to do about files that are there and hold no fan; none where there is no file.
    pub(crate) fn hollow(&self) -> Option<String> {
        let names: Vec<_> = self.read.iter().map(|file| format!("'{}'", file.display())).collect();
        (!names.is_empty()).then(|| {
            format!(
                "{} holds no fan: write the fans there again, or take down those that it brought up: fanctl down -a",
                names.join(" and ")
            )
        })
    }

    /// That no fan is configured, and why.
    pub(crate) fn nothing(&self) -> String {
        let list = |files: &[PathBuf], word: [&str; 2]| {
            let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
            format!("{} {}", names.join(" and "), word[usize::from(files.len() > 1)])
        };
        if self.fans > 0 {
            format!("every fan of {self} is disabled")
        } else if self.read.is_empty() && self.names.iter().all(|file| !file.exists()) {
            format!("nothing is configured: {}", list(&self.names, ["does not exist", "do not exist"]))
        } else {
            let files = if self.read.is_empty() { &self.names } else { &self.read };
            format!("nothing is configured: {}", list(files, ["holds no fan", "hold no fan"]))
        }
    }

    /// That there is nothing to be done.
    pub(crate) fn no_fan(&self) -> String {
        format!("{}; nothing to do", self.nothing())
    }

    /// That there is nothing to be done, on this interface if one was named.
    pub(crate) fn no_fan_on(&self, interface: Option<&InterfaceName>) -> String {
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
pub(crate) fn faultless(configuration: &Configuration) -> Result<(), Error> {
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
        let files = self.files();
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
        let (names, fans) = (files, configuration.entries.len());
        (configuration, Files { names, read, fans })
    }

    /// Where a fan can be written down: our own file, or the one that was named.
    ///
    /// # Errors
    /// That the file cannot be followed, or that the fan stands in one of the other grammar.
    pub(crate) fn place_of(&self, config: &Request) -> Result<Place, Error> {
        let file = self.file.clone().unwrap_or_else(|| FAN_TOML.into());
        if file.extension().is_none_or(|extension| extension != "toml") {
            let name = file.display();
            return Err(Error::Usage(format!(
                "file '{name}' is no TOML file; --save takes one whose name ends in .toml"
            )));
        }
        // One that is not there yet has no fault.
        if self.file.is_none() || file.exists() {
            let (configuration, _) = self.read();
            faultless(&configuration)?;
            let mut entries = configuration.entries.iter();
            if let Some(entry) = entries.find(|entry| entry.is_line() && entry.config.overlay == config.overlay) {
                let reason =
                    reason!(FileKept, "fan {} stands in {}; change it there", config.overlay, entry.place("overlay"));
                return Err(Error::Refused(vec![reason]));
            }
        }
        Ok(Place { file })
    }

    /// Reads the files, and waits for the turn of a command that changes something. Nothing is read while others wait for it;
    /// but of two commands the later one has the later file: when that changed meanwhile, it is read again.
    pub(crate) fn read_in_turn(
        &self,
        verb: &str,
        output: OutputArgs,
    ) -> (Result<Option<Lock>, Error>, Configuration, Files) {
        /// How often, at most: somebody may write without an end.
        const READINGS: usize = 10;
        let mut readings = 0;
        loop {
            readings += 1;
            let before = self.stamps();
            let (configuration, files) = self.read();
            let turn = turn(verb, output);
            let has_waited = matches!(turn, Ok(Some(_)));
            if !has_waited || readings == READINGS || self.stamps() == before {
                return (turn, configuration, files);
            }
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        match &self.file {
            Some(file) => vec![file.clone()],
            None => vec![FAN_TOML.into(), NETWORK_FAN.into()],
        }
    }

    /// What tells whether the files are still those that were read: device, inode, size, and when they were changed.
    fn stamps(&self) -> Vec<Option<[i64; 5]>> {
        let stamp = |file: &PathBuf| {
            let data = fs::metadata(file).ok()?;
            let numbers = [data.dev(), data.ino(), data.size()].map(u64::cast_signed);
            Some([numbers[0], numbers[1], numbers[2], data.ctime(), data.ctime_nsec()])
        };
        self.files().iter().map(stamp).collect()
    }
}

/// A file of ours that takes a fan.
pub(crate) struct Place {
    file: PathBuf,
}

impl Place {
    /// Writes the fan there, and nothing that could not be read again.
    pub(crate) fn write(&self, config: &Request, out: &mut dyn Write) -> Result<(), Error> {
        let name = self.file.display().to_string();
        let with = |there: &str| {
            let text = save::with(there, config)?;
            let read = Configuration::read(&[Source::new(&name, &text)]);
            read.faults.first().map_or(Ok(text), |fault| Err(format!("would have an error: {fault}")))
        };
        let text = with("").map_err(Error::Failed)?;
        TargetArgs { output: Some(self.file.clone()), force: false }.write(&text, with, out)
    }
}

fn unreadable(file: &Path, error: &io::Error) -> Fault {
    let message = match fs::read_link(file) {
        // On the way to where it leads, perhaps: a file system that is not mounted yet.
        Ok(target) if error.kind() == ErrorKind::NotFound => {
            format!("it is a link to '{}', which does not exist", target.display())
        }
        _ if error.kind() == ErrorKind::PermissionDenied && geteuid().is_root() => {
            "another user decides who may come there: it is that user's directory, or a link of that user's in one for everybody; \
             a configuration belongs where root's files are"
                .to_string()
        }
        _ => error_words(error),
    };
    Fault::new(&file.display(), message)
}

/// A file's text. What others than root may change is no configuration: they would have root's network.
fn source(file: &Path) -> io::Result<Source> {
    let found = Found::new(file)?;
    trust(file, &found.metadata).map_err(io::Error::other)?;
    let text = file::text(found.read(FILE_LIMIT)?)?;
    Ok(Source::new(&file.display().to_string(), &text))
}

/// Looks at the files.
pub fn config(action: &ConfigAction, out: &mut dyn Write) -> Result<(), Error> {
    match action {
        ConfigAction::Check(args) => check(&args.config, args.json, out),
        ConfigAction::List(args) => list(&args.config, args.json, out),
        ConfigAction::Convert(args) => {
            convert(args.file.as_deref().unwrap_or(Path::new(NETWORK_FAN)), &args.target, out)
        }
    }
}

/// Says that all is well, or everything that is wrong.
fn check(args: &ConfigArgs, form: JsonArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (configuration, files) = args.read();
    if form.is_wanted() {
        form.write(Document::Other, &Checked::new(&configuration, &files), out)?;
        return faultless(&configuration);
    }
    faultless(&configuration)?;
    let off = configuration.entries.len() - configuration.enabled().count();
    let fans = match configuration.entries.len() {
        0 => "no fan".to_string(),
        1 => "1 fan".to_string(),
        count => format!("{count} fans"),
    };
    let off = if off == 0 { String::new() } else { format!(", {off} of them off") };
    warn(&cautions(&configuration, &files));
    for config in configuration.enabled().filter(|config| config.bridge_gives_way) {
        let (overlay, bridge) = (config.overlay, config.options.bridge.as_ref().map_or("", InterfaceName::as_str));
        writeln!(
            out,
            "fan {overlay}: a new bridge is named '{bridge}', as by Ubuntu's later fan; one that is up keeps its name"
        )?;
    }
    Ok(writeln!(out, "{files}: {fans}{off}, nothing wrong")?)
}

/// What `config check --json` tells.
#[derive(Serialize)]
struct Checked {
    version: u8,
    /// Those that were looked for.
    files: Vec<String>,
    /// How many fans they hold, and how many of them are disabled.
    fans: usize,
    disabled: usize,
    errors: Vec<String>,
    warnings: Vec<String>,
}

impl Checked {
    fn new(configuration: &Configuration, files: &Files) -> Self {
        Self {
            version: 2,
            files: files.names.iter().map(|file| file.display().to_string()).collect(),
            fans: configuration.entries.len(),
            disabled: configuration.entries.len() - configuration.enabled().count(),
            errors: configuration.faults.iter().map(ToString::to_string).collect(),
            warnings: cautions(configuration, files),
        }
    }
}

/// What is not wrong and may not be meant.
fn cautions(configuration: &Configuration, files: &Files) -> Vec<String> {
    let public = |entry: &&Entry| !entry.config.options.force && is_public(entry.config.overlay);
    let entries = configuration.enabled_entries().filter(public);
    let about_overlays = entries.map(|entry| {
        let hint = if entry.is_line() { "" } else { "; if it is meant: force = true" };
        format!("{}: {}{hint}", entry.place("overlay"), Loss::Public(entry.config.overlay))
    });
    let hollow = configuration.entries.is_empty().then(|| files.hollow()).flatten();
    hollow.into_iter().chain(about_overlays).collect()
}

/// Lists the fans that were written down, those that are off too.
fn list(args: &ConfigArgs, form: JsonArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (configuration, _) = args.read();
    if form.is_wanted() {
        let entries: Vec<_> = configuration.entries.iter().map(report::entry).collect();
        form.write(Document::Fans, &entries, out)?;
    } else {
        write!(out, "{}", report::entries(&configuration.entries))?;
    }
    faultless(&configuration)
}

/// Prints a file of another program as TOML, or writes it.
fn convert(file: &Path, target: &TargetArgs, out: &mut dyn Write) -> Result<(), Error> {
    let source = source(file).map_err(|error| vec![unreadable(file, &error)]);
    match source.and_then(|source| convert::file(&source)) {
        Ok(text) => target.write(&text, |there| convert::may_replace(there, &text).map(|()| text.clone()), out),
        Err(faults) => Err(faulty(&faults)),
    }
}
