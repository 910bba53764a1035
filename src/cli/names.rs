//! `names`: the daemon that answers for names, and what there is to ask it.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use serde::Serialize;

use super::config::faultless;
use super::watch::journal::{Journal, Level, tell_systemd};
use crate::cli::args::{ConfigArgs, NamesAction, NamesHostsArgs, NamesListArgs, NamesServeArgs};
use crate::config::Configuration;
use crate::error::Error;
use crate::fan::json::{Document, JsonArgs};
use crate::fan::label::Label;
use crate::fan::mapping::Overlay;
use crate::names::daemon::control::{self, HostEntry, NameEntry, Request, Response};
use crate::names::daemon::engine;
use crate::names::daemon::station::News;
use crate::names::daemon::{Daemon, Listener, Written};

/// How often is asked while waiting for hosts.
const AGAIN: Duration = Duration::from_millis(100);

/// Does what the words after `names` say.
pub(crate) fn names(action: &NamesAction, out: &mut dyn Write) -> Result<(), Error> {
    match action {
        NamesAction::Serve(args) => serve(args, out),
        NamesAction::Engine(args) => {
            let socket = args.socket.as_deref().unwrap_or(args.engine.socket());
            engine::pass_on(socket).map_err(|error| Error::Failed(error.to_string()))
        }
        NamesAction::List(args) => list(args, out),
        NamesAction::Hosts(args) => hosts(args, out),
        NamesAction::Add(args) => {
            let (name, address) = (label(&args.name)?, args.address);
            match ask(&Request::Add { name, address })? {
                Response::Done => Ok(()),
                Response::Full => {
                    Err(Error::Failed("this host has 1024 names, and can have no more; remove one first".into()))
                }
                _ => Err(Error::Failed(format!(
                    "address '{address}' is not of this host's slice of a fan with names; see: fanctl show"
                ))),
            }
        }
        NamesAction::Remove(args) => {
            let (name, address) = (label(&args.name)?, args.address);
            match ask(&Request::Remove { name, address })? {
                Response::Done => Ok(()),
                _ => Err(Error::Failed(format!(
                    "name '{}' was not added by 'fanctl names add'; see: fanctl names list",
                    args.name
                ))),
            }
        }
    }
}

fn label(text: &str) -> Result<Label, Error> {
    Label::new(text).map_err(|fault| Error::Usage(format!("name '{}': {fault}", crate::fan::text::excerpt(text))))
}

/// Asks the daemon.
fn ask(request: &Request) -> Result<Response, Error> {
    control::ask(request).map_err(|error| {
        Error::Failed(match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                "names are not served on this host; first: systemctl enable --now fan-names".into()
            }
            ErrorKind::PermissionDenied => "the daemon of names answers to root only; try it with sudo".into(),
            _ => format!("the daemon of names does not answer: {error}"),
        })
    })
}

/// What `names list --json` prints, in the second form only.
#[derive(Serialize)]
struct NamesDocument {
    version: u8,
    names: Vec<NameEntry>,
}

/// What `names hosts --json` prints, in the second form only.
#[derive(Serialize)]
struct HostsDocument {
    version: u8,
    hosts: Vec<HostEntry>,
}

fn list(args: &NamesListArgs, out: &mut dyn Write) -> Result<(), Error> {
    let Response::Names(mut entries) = ask(&Request::List)? else { return Err(unexpected()) };
    if let Some(name) = &args.name {
        let name = label(name)?;
        entries.retain(|entry| entry.name == name.as_str());
    }
    if args.json.is_wanted() {
        return Ok(args.json.write(Document::Other, &NamesDocument { version: 2, names: entries }, out)?);
    }
    let width = entries.iter().map(|entry| entry.name.len()).chain([4]).max().unwrap_or(4);
    writeln!(out, "{:width$} {:16} {:16} Source", "Name", "Address", "Host")?;
    for NameEntry { name, address, host, source, .. } in &entries {
        writeln!(out, "{name:width$} {address:<16} {host:<16} {source}")?;
    }
    Ok(())
}

fn unexpected() -> Error {
    Error::Failed("the daemon of names answered something else; restart it: systemctl restart fan-names".into())
}

fn hosts(args: &NamesHostsArgs, out: &mut dyn Write) -> Result<(), Error> {
    let limit = Instant::now() + Duration::from_secs(args.wait.unwrap_or(0));
    let entries = loop {
        let Response::Hosts(entries) = ask(&Request::Hosts)? else { return Err(unexpected()) };
        if is_complete(&entries) || Instant::now() >= limit {
            break entries;
        }
        thread::sleep(AGAIN);
    };
    let is_complete = is_complete(&entries);
    if args.json.is_wanted() {
        args.json.write(Document::Other, &HostsDocument { version: 2, hosts: entries }, out)?;
    } else {
        writeln!(out, "{:16} {:19} {:12} {:>8} {:>10} {:>6}", "Host", "Slice", "State", "For", "Round trip", "Names")?;
        for HostEntry { host, slice, state, seconds, round_trip, names, .. } in &entries {
            let round_trip =
                round_trip.map_or_else(|| "-".into(), |time| format!("{}.{:03} ms", time / 1000, time % 1000));
            let slice = slice.to_string();
            writeln!(out, "{host:<16} {slice:19} {state:12} {seconds:>7}s {round_trip:>10} {names:>6}")?;
        }
    }
    // Without --wait it is only told.
    if args.wait.is_some() && !is_complete { Err(Error::Differs) } else { Ok(()) }
}

/// Whether every host that is written down as a peer answers.
fn is_complete(entries: &[HostEntry]) -> bool {
    entries.iter().filter(|entry| entry.peer).all(control::is_here)
}

/// What of the files is for the daemon.
fn written(configuration: &Configuration) -> Written {
    let peers = configuration.enabled().map(|request| (request.overlay, request.options.peers.all().to_vec()));
    let names = configuration.names.iter().map(|name| (name.label.clone(), name.address));
    Written { names: names.collect(), peers: peers.collect() }
}

fn serve(args: &NamesServeArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (configuration, _) = args.config.read();
    faultless(&configuration)?;
    let mut daemon = Daemon::start(written(&configuration))
        .map_err(|error| Error::Failed(format!("names cannot be served: {error}")))?;
    let journal = Journal::new(JsonArgs::default(), out);
    let mut teller = Teller { config: &args.config, journal, served: BTreeSet::new(), is_ready: false };
    let end = daemon.serve(&mut teller);
    tell_systemd(&[NotifyState::Stopping]);
    Ok(end?)
}

/// Tells the journal and the service manager.
struct Teller<'a> {
    config: &'a ConfigArgs,
    journal: Journal<'a>,
    served: BTreeSet<Overlay>,
    is_ready: bool,
}

impl Teller<'_> {
    fn say(&mut self, level: Level, line: &dyn std::fmt::Display) {
        self.journal.note(level, None, line);
        // Who does not listen is not waited for.
        let _ = self.journal.say();
    }

    fn tell_state(&self) {
        let overlays: Vec<String> = self.served.iter().map(ToString::to_string).collect();
        let fans = if overlays.is_empty() { "no fan with names is up".into() } else { overlays.join(", ") };
        tell_systemd(&[NotifyState::Status(&format!("serving: {fans}"))]);
    }
}

impl Listener for Teller<'_> {
    fn ready(&mut self) {
        self.is_ready = true;
        self.tell_state();
        tell_systemd(&[NotifyState::Ready]);
    }

    fn news(&mut self, overlay: Overlay, news: &News) {
        let level = match news {
            News::Failed(_) | News::Unresolved(_) => Level::Warning,
            News::Left(_) | News::Ended => Level::Notice,
            News::Began(_) | News::Came(_) | News::Resolved => Level::Info,
        };
        self.say(level, &format_args!("fan {overlay}: {news}"));
        match news {
            News::Began(_) => drop(self.served.insert(overlay)),
            News::Ended | News::Failed(_) => drop(self.served.remove(&overlay)),
            News::Came(_) | News::Left(_) | News::Resolved | News::Unresolved(_) => return,
        }
        if self.is_ready {
            self.tell_state();
        }
    }

    fn reload(&mut self) -> Option<Written> {
        let began = NotifyState::monotonic_usec_now().ok();
        tell_systemd(&[NotifyState::Reloading].into_iter().chain(began).collect::<Vec<_>>());
        let (configuration, _) = self.config.read();
        for fault in &configuration.faults {
            let line = format!("{fault}; until it is mended, the configuration from before is in use");
            self.say(Level::Warning, &line);
        }
        tell_systemd(&[NotifyState::Ready]);
        configuration.faults.is_empty().then(|| written(&configuration))
    }
}
