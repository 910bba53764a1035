//! `watch`: waits until something changes, lets it come to rest, looks at everything and says what it means; and for fans
//! that follow does what `reload` does.
//!
//! It looks when no other `fanctl` is at work, so what it sees is no half-made fan. Its own changes are heard like all
//! others, and the next look finds nothing to do.

pub(super) mod journal;
pub(crate) mod news;
mod pace;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

use ipnetwork::Ipv4Network;
use nix::sys::signal::Signal;
use sd_notify::NotifyState;

use super::change::{By, Change, Plan};
use crate::cli::args::{OutputArgs, WatchArgs};
use crate::cli::watch::news::{Care, Sight, advice, by_hand, is_there, left_off, news};
use crate::cli::watch::pace::{Backoff, Brake};
use crate::config::{Configuration, Entry};
use crate::error::Error;
use crate::fan::Fan;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::fan::request::{Follow, Request};
use crate::kernel::capabilities;
use crate::kernel::lock::{self, Lock};
use crate::kernel::monitor::{Heard, Monitor};
use crate::plan::reason::Reason;
use crate::plan::state::fans;

use super::config::faultless;
use journal::{Journal, Level, tell_systemd};

/// A change is seldom alone: how long nothing must have been heard before the look.
const QUIET: Duration = Duration::from_millis(100);
/// How long to wait for that at most.
const UNREST: Duration = Duration::from_secs(2);
/// While another `fanctl` is at work, how soon to see whether it still is: a lock tells nobody that it is free.
const WORKING: Duration = Duration::from_millis(20);
/// When to look again after a look that failed.
const AGAIN: Duration = Duration::from_secs(10);

/// Watches until it is asked to end.
pub(crate) fn watch(args: &WatchArgs, out: &mut dyn Write) -> Result<(), Error> {
    if !capabilities::is_privileged() {
        return Err(Error::Failed(
            "verb 'watch' looks at the firewall and changes the network, which takes root; try: sudo fanctl watch"
                .into(),
        ));
    }
    let (configuration, _) = args.config.read();
    faultless(&configuration)?;
    let monitor = Monitor::open(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    let mut monitor = monitor.map_err(|error| Error::Failed(format!("cannot listen to the kernel: {error}")))?;
    let mut watcher = Watcher::new(args, configuration, Journal::new(args.json, out));
    watcher.due = Some(watcher.begun);
    let pulse = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    loop {
        let now = Instant::now();
        if watcher.due.is_some_and(|due| due <= now) {
            watcher.look(&mut monitor)?;
        }
        let rest = watcher.due.map(|due| due.saturating_duration_since(Instant::now()));
        let heard = monitor.wait(rest.into_iter().chain(pulse).min());
        if pulse.is_some() {
            tell_systemd(&[NotifyState::Watchdog]);
        }
        match heard.map_err(|error| Error::Failed(format!("cannot wait for the kernel: {error}")))? {
            Heard::Nothing => {}
            Heard::Change => watcher.unrest(),
            Heard::Signal(Signal::SIGHUP) => watcher.start_over(),
            Heard::Signal(_) => break,
        }
    }
    tell_systemd(&[NotifyState::Stopping]);
    Ok(())
}

/// What is remembered of a fan between two looks.
#[derive(Default)]
struct KnownFan {
    sight: Option<Sight>,
    /// As its bridge said.
    fan: Option<Fan>,
    /// What was attached to that.
    ports: Vec<InterfaceName>,
    /// Attempts that failed.
    backoff: Backoff,
    /// What was said last of an attempt.
    said: Option<String>,
    brake: Brake,
}

struct Watcher<'a> {
    args: &'a WatchArgs,
    /// The last that had no fault.
    configuration: Configuration,
    journal: Journal<'a>,
    known: BTreeMap<Overlay, KnownFan>,
    /// Those of the fans that were looked at: a route elsewhere concerns none.
    networks: BTreeSet<Ipv4Network>,
    begun: Instant,
    /// When to look next; none while nothing happens.
    due: Option<Instant>,
    /// When the first was heard of what is to be looked at.
    unrest_since: Option<Instant>,
    /// Since when another `fanctl` has been at work.
    held_since: Option<Instant>,
    /// What went wrong with the last look, or is wrong with the files.
    complaints: BTreeSet<String>,
    is_ready: bool,
    /// What the service manager was told last.
    told: String,
}

impl<'a> Watcher<'a> {
    fn new(args: &'a WatchArgs, configuration: Configuration, journal: Journal<'a>) -> Self {
        Self {
            args,
            configuration,
            journal,
            known: BTreeMap::new(),
            networks: BTreeSet::new(),
            begun: Instant::now(),
            due: None,
            unrest_since: None,
            held_since: None,
            complaints: BTreeSet::new(),
            is_ready: false,
            told: String::new(),
        }
    }

    /// Something was heard.
    fn unrest(&mut self) {
        let now = Instant::now();
        let limit = *self.unrest_since.get_or_insert(now) + UNREST;
        self.due = Some(limit.min(now + QUIET));
    }

    /// Looks as for the first time, at what the files say now.
    fn start_over(&mut self) {
        // systemd(1) wants the time at which it began; it has it from us or goes without.
        let began = NotifyState::monotonic_usec_now().ok();
        tell_systemd(&[NotifyState::Reloading].into_iter().chain(began).collect::<Vec<_>>());
        self.known.clear();
        self.complaints.clear();
        self.is_ready = false;
        self.due = Some(Instant::now());
    }

    /// Looks, unless another `fanctl` is at work, and says what there is to say when the others may go on.
    fn look(&mut self, monitor: &mut Monitor) -> Result<(), Error> {
        let looked = self.turn().is_some_and(|turn| {
            let look = self.attend_all(turn, monitor);
            if let Err(error) = &look {
                self.due = Some(Instant::now() + AGAIN);
                self.complain(&format!("cannot look at the machine: {error}"));
            }
            look.is_ok()
        });
        if looked {
            self.sum_up();
        }
        self.journal.say()?;
        if looked {
            self.tell_how_it_is();
        }
        Ok(())
    }

    /// The lock, if nobody has it.
    fn turn(&mut self) -> Option<Lock> {
        let now = Instant::now();
        match Lock::attempt() {
            Ok(Ok(turn)) => {
                (self.due, self.unrest_since, self.held_since) = (None, None, None);
                return Some(turn);
            }
            Ok(Err(_)) if now - *self.held_since.get_or_insert(now) < lock::PATIENCE => {
                self.due = Some(now + WORKING);
                return None;
            }
            Ok(Err(path)) => self.complain(&lock::held_for_long(&path)),
            Err(error) => self.complain(&error),
        }
        self.due = Some(now + AGAIN);
        None
    }

    /// Looks at everything, and attends to each fan.
    fn attend_all(&mut self, turn: Lock, monitor: &mut Monitor) -> Result<(), Error> {
        monitor.catch_up().map_err(|error| Error::Failed(error.to_string()))?;
        let mut change = Change::begin(Some(turn), self.output())?.with_ports_alone();
        let (configuration, _) = self.args.config.read();
        if configuration.faults.is_empty() {
            self.configuration = configuration;
            self.complaints.clear();
        } else {
            for fault in configuration.faults {
                self.complain(&format_args!("{fault}; until it is mended, the configuration from before is followed"));
            }
        }
        self.networks.clear();
        for overlay in self.overlays(&change) {
            self.attend(overlay, &mut change);
        }
        let networks = std::mem::take(&mut self.networks);
        if monitor.narrow(networks).map_err(|error| Error::Failed(error.to_string()))? {
            self.due = Some(Instant::now());
        }
        Ok(())
    }

    fn output(&self) -> OutputArgs {
        OutputArgs { verbose: self.args.verbose, ..OutputArgs::default() }
    }

    /// Says what is wrong with the watching itself, once.
    fn complain(&mut self, complaint: &dyn fmt::Display) {
        if self.complaints.insert(complaint.to_string()) {
            self.journal.note(Level::Warning, None, complaint);
        }
    }

    /// The fans that are up, that are configured, and that were seen before.
    fn overlays(&self, change: &Change) -> BTreeSet<Overlay> {
        let up = fans(&change.owned).map(Fan::overlay);
        let configured = self.configuration.enabled().map(|config| config.overlay);
        up.chain(configured).chain(self.known.keys().copied()).collect()
    }

    /// Says what is new of a fan, and makes it as configured if it is to follow.
    fn attend(&mut self, overlay: Overlay, change: &mut Change) {
        let entry = self.configuration.enabled_entry(overlay).cloned();
        let config = entry.as_ref().map(|entry| entry.config.clone());
        let mut known = self.known.remove(&overlay).unwrap_or_default();
        let found = fans(&change.owned).find(|fan| fan.overlay() == overlay).cloned();
        if found.is_none() && !is_there(overlay, &change.owned) {
            known.fan = None;
        } else if let Some(fan) = found {
            let ports = change.host.foreign_ports(&fan.bridge);
            known.ports = ports.map(|link| link.name.clone()).collect();
            known.fan = Some(fan);
        }
        let care = care(config.as_ref(), known.fan.as_ref());
        let (sight, plan) = see(overlay, entry.as_ref(), &known, change);
        let planned = plan.as_ref().map(|plan| &plan.fan);
        let underlays = known.fan.iter().chain(planned).map(|fan| fan.mapping.underlay().network());
        self.networks.extend(underlays.chain([overlay.network()]));
        let Some(sight) = sight else { return };
        let level = if sight.is_right() { Level::Info } else { Level::Notice };
        if let Some(line) = news(known.sight.as_ref(), &sight, care) {
            self.journal.note(level, Some(overlay), &line);
        }
        let is_down = sight.down;
        known.sight = Some(sight);
        if let (Some(entry), Some(plan), Care::Followed, false) = (&entry, plan, care, is_down) {
            self.follow(entry, plan, change, &mut known);
        }
        if config.is_some() || !is_down {
            self.known.insert(overlay, known);
        }
    }

    /// Makes a fan as configured, unless that has failed a moment ago.
    fn follow(&mut self, entry: &Entry, plan: Plan, change: &mut Change, known: &mut KnownFan) {
        let config = &entry.config;
        if !plan.done.changed() {
            return known.backoff.clear();
        }
        let (now, steps) = (self.begun.elapsed(), plan.done.steps.clone());
        if !plan.reasons.is_empty() {
            return;
        }
        if let Some(next) = known.backoff.rest(now, &steps) {
            return self.look_again(next);
        }
        if let Some(next) = known.brake.rest(now, &steps) {
            self.look_again(next);
            let line = "another program keeps undoing the repair; the next attempt is in a minute";
            return self.lament(config.overlay, known, line.into());
        }
        let moved = moved(&plan);
        let end = change.follow(plan);
        // To hear of DHCP servers that were started, and for fans that waited for what this one has given up.
        self.due = Some(Instant::now());
        let overlay = config.overlay;
        match end {
            Ok(done) => {
                known.brake.note(now, &steps);
                known.backoff.clear();
                known.said = None;
                for loss in &done.losses {
                    self.journal.note(Level::Warning, Some(overlay), loss);
                }
                known.fan = fans(&change.owned).find(|fan| fan.overlay() == overlay).cloned();
                (known.sight, _) = see(overlay, Some(entry), known, change);
                let bridge = known.fan.as_ref().map(|fan| &fan.bridge);
                let off = bridge.and_then(|bridge| left_off(&known.ports, bridge, &change.host));
                let off = off.unwrap_or_default();
                let line = format_args!("followed: {}{moved}{off}", done.sentence);
                self.journal.note(Level::Notice, Some(overlay), &line);
            }
            Err(error) => {
                known.backoff.fail(now, overlay, &steps);
                self.lament(overlay, known, format!("cannot follow: {error}"));
            }
        }
    }

    /// Looks at this moment, if nothing happens before.
    fn look_again(&mut self, at: Duration) {
        let at = self.begun + at;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Says why a fan is not put right, once.
    fn lament(&mut self, overlay: Overlay, known: &mut KnownFan, line: String) {
        if known.said.as_ref() != Some(&line) {
            self.journal.note(Level::Warning, Some(overlay), &line);
        }
        known.said = Some(line);
    }
}

/// What becomes of containers.
fn moved(plan: &Plan) -> String {
    let ports: Vec<&str> = plan.ports.iter().map(InterfaceName::as_str).collect();
    if ports.is_empty() {
        return String::new();
    }
    format!("; still attached to it, and in need of new addresses: {}", ports.join(", "))
}

fn care(config: Option<&Request>, fan: Option<&Fan>) -> Care {
    match (config, fan) {
        (None, Some(fan)) if fan.auto => Care::Unwanted,
        (None, _) => Care::ByHand,
        (Some(config), _) if config.options.follow == Follow::No => Care::Told,
        (Some(_), Some(fan)) if !fan.auto => Care::NotOurs,
        (Some(_), _) => Care::Followed,
    }
}

/// How a fan stands, and the way to what is configured. No sight is one of a fan that is nobody's concern any more.
fn see(
    overlay: Overlay,
    entry: Option<&Entry>,
    known: &KnownFan,
    change: &mut Change,
) -> (Option<Sight>, Option<Plan>) {
    let was_there = known.sight.as_ref().is_some_and(|sight| !sight.down);
    let planned = entry.map(|entry| {
        let config = &entry.config;
        let plan = change.plan(config, By::entry(entry));
        plan.map(|mut plan| {
            let has_ports = !plan.reasons.is_empty() && !plan.ports.is_empty();
            plan.reasons.extend(advice(config, has_ports, true));
            plan
        })
        .map_err(|error| {
            let advice = advice(config, false, false);
            Reason::joined(error.reasons().into_iter().chain(advice).collect())
        })
    });
    if !is_there(overlay, &change.owned) {
        let sight = (entry.is_some() || was_there).then(Sight::down);
        return (sight, None);
    }
    let fan = known.fan.as_ref();
    let fan = fan.or(planned.as_ref().and_then(|plan| plan.as_ref().ok()).map(|plan| &plan.fan));
    // What is left of a fan that nobody knows is not for us to tell of.
    let Some(fan) = fan.cloned() else { return (None, None) };
    let wanted = match &planned {
        None => by_hand(&fan, &change.host),
        Some(Ok(plan)) => Ok((&plan.fan, plan.reasons.as_slice())),
        Some(Err(reasons)) => Err(reasons.clone()),
    };
    let sight = Sight::new(&fan, &wanted, &change.owned, &change.host);
    (Some(sight), planned.and_then(Result::ok))
}
