//! `doctor`: what is wrong, what mends it, and, if asked to, mending it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::change::{By, Change, turn};
use super::is_called;
use crate::cli::args::{DoctorArgs, OutputArgs};
use crate::config::Configuration;
use crate::diagnose::doctor::{self, CheckResult, Facts, Finding};
use crate::diagnose::facts::{Health, NamesService};
use crate::diagnose::gather::listener::Listener;
use crate::error::Error;
use crate::fan::Fan;
use crate::fan::json::Document;
use crate::fan::mapping::Overlay;
use crate::fan::request::Request;
use crate::fan::shell::Line;
use crate::fan::text::{Output, Paint};
use crate::kernel::lock::Lock;
use crate::kernel::{Machine, Scope, capabilities};
use crate::names::daemon::control::{self, Response};
use crate::plan::host::Host;
use crate::plan::state::{Owner, State, fans};
use crate::shell;

/// From one look at what is refused to the next: longer than it takes a resolver or ARP to ask again.
const APART: Duration = Duration::from_millis(1500);

/// Examines the fans that are up, or one.
pub(crate) fn doctor(args: &DoctorArgs, out: &mut dyn Output) -> Result<(), Error> {
    let patient = Patient::new(args);
    let (mut findings, chosen) = patient.examine()?;
    let mut fixed = Vec::new();
    if args.fix {
        let (lines, failures) = patient.fix(&findings, &chosen)?;
        fixed = lines;
        (findings, _) = patient.examine()?;
        findings.extend(failures);
    }
    let told = if args.json.is_wanted() {
        let found = Diagnosis { fixed: &fixed, findings: &findings };
        args.json.write(Document::Findings, &found, out).map_err(Error::from)
    } else {
        print(&fixed, &findings, &patient, out)
    };
    let failed: Vec<&Finding> = findings.iter().filter(|finding| finding.verdict == CheckResult::Failed).collect();
    let verdict = (!failed.is_empty()).then(|| {
        let checks = doctor::count(failed.len(), "check", "checks");
        let advice = if failed.iter().any(|finding| finding.mend.is_some()) {
            "; what mends it stands below it, and --fix does what is safe"
        } else {
            ""
        };
        Error::Failed(format!("{checks} failed{advice}"))
    });
    Error::all(told.err().into_iter().chain(verdict).collect())
}

/// What `--json` tells.
#[derive(Serialize)]
struct Diagnosis<'a> {
    /// What `--fix` did, as lines to type.
    fixed: &'a [String],
    findings: &'a [Finding],
}

/// Who is examined.
struct Patient<'a> {
    args: &'a DoctorArgs,
    configuration: Configuration,
    configs: Vec<Request>,
    /// ` --config FILE`, or nothing.
    option: Line,
}

impl<'a> Patient<'a> {
    fn new(args: &'a DoctorArgs) -> Self {
        let (configuration, _) = args.config.read();
        let option = args.config.file.as_ref();
        Self {
            args,
            configs: configuration.enabled().cloned().collect(),
            configuration,
            option: option.map_or_else(Line::default, |file| shell!(" --config {}", file.as_path())),
        }
    }

    /// Looks at everything, and tells what it found and of which fans.
    fn examine(&self) -> Result<(Vec<Finding>, BTreeSet<Overlay>), Error> {
        let machine = Machine::connect()?;
        // Until all is seen: one part of it is compared with another.
        let turn = Lock::to_look();
        let (owned, mut host) = machine.observe(Scope::All)?;
        // It only adds to what is found, so it is done without where the kernel refuses.
        let mut listener = Listener::open(fans(&owned).cloned().collect()).ok();
        let mut health = machine.examine(&owned, &host)?;
        health.answers = machine.answer(doctor::questions(&owned, &host, &health));
        drop(turn);
        if host.privileged {
            health.names = names_service(&owned);
        }
        if host.privileged && doctor::has_refused(&owned, &host, &health) {
            match &mut listener {
                Some(listener) => listener.listen(APART),
                None => std::thread::sleep(APART),
            }
            machine.count_again(&mut host, &mut health)?;
        }
        if let Some(listener) = &mut listener {
            listener.read();
            health.disagreements = listener.disagreements(doctor::refuses(&host, &health));
        }
        let chosen = self.chosen(&owned)?;
        let mut findings = self.findings(&owned, &host, &health, &chosen);
        let faults = &self.configuration.faults;
        if !faults.is_empty() {
            findings.push(Finding::of_faults(faults.iter().map(ToString::to_string)));
        }
        Ok((findings, chosen))
    }

    fn findings(&self, owned: &State, host: &Host, health: &Health, chosen: &BTreeSet<Overlay>) -> Vec<Finding> {
        let facts = Facts {
            owned,
            host,
            health,
            configured: self.configuration.faults.is_empty().then_some(&self.configs),
            config_option: &self.option,
        };
        doctor::examine(facts, |overlay| chosen.contains(&overlay))
    }

    /// The fans that are meant: the one that was named, or all that are up, configured or left over.
    fn chosen(&self, owned: &State) -> Result<BTreeSet<Overlay>, Error> {
        let known = owned.keys().filter_map(|key| match key.owner {
            Owner::Fan(overlay) => Some(overlay),
            Owner::Shared => None,
        });
        let known = known.chain(self.configs.iter().map(|config| config.overlay));
        let Some(text) = &self.args.fan else {
            return Ok(known.collect());
        };
        let is_meant = |overlay: Overlay| {
            let fan = fans(owned).find(|fan| fan.overlay() == overlay);
            fan.is_some_and(|fan| is_called(fan, text)) || text.parse().is_ok_and(|named: Overlay| named == overlay)
        };
        known.into_iter().find(|overlay| is_meant(*overlay)).map_or_else(
            || {
                Err(Error::Failed(format!(
                    "fan '{text}' is neither up nor configured; see which are: fanctl show, fanctl config list"
                )))
            },
            |overlay| Ok([overlay].into()),
        )
    }

    /// Mends what can be mended without harm: objects of the fans. Returns what was done, and what could not be.
    fn fix(&self, findings: &[Finding], chosen: &BTreeSet<Overlay>) -> Result<(Vec<String>, Vec<Finding>), Error> {
        if !capabilities::is_privileged() {
            return Err(Error::Failed(
                "option '--fix' changes the network, which takes root; try: sudo fanctl doctor --fix".into(),
            ));
        }
        let (mut lines, mut failures) = (Vec::new(), Vec::new());
        let is_to_fix = |overlay: Overlay| {
            let mut own = findings.iter().filter(|finding| finding.fan == Some(overlay));
            own.any(|finding| finding.fixable && finding.verdict != CheckResult::Passed)
        };
        let ill: Vec<Overlay> = chosen.iter().copied().filter(|overlay| is_to_fix(*overlay)).collect();
        if ill.is_empty() {
            return Ok((lines, failures));
        }
        let output = OutputArgs::default();
        let mut change = Change::begin(turn("doctor", output)?, output)?;
        for overlay in ill {
            let up: Option<Fan> = fans(&change.owned).find(|fan| fan.overlay() == overlay).cloned();
            let config = self.configs.iter().find(|config| config.overlay == overlay);
            let done = match (up, config) {
                (Some(fan), _) => change.repair(&fan),
                (None, Some(config)) => change.bring_up(config, By::Configuration),
                (None, None) => continue,
            };
            match done {
                Ok(done) => lines.extend(done.lines()),
                Err(error) => failures.push(Finding::of_failure(overlay, &error.lines())),
            }
        }
        Ok((lines, failures))
    }
}

/// Asks the daemon of names which fans it serves. One that was brought up just now is served soon.
fn names_service(owned: &State) -> NamesService {
    let mut meant = fans(owned).filter(|fan| fan.options.names).map(|fan| fan.overlay().network()).peekable();
    if meant.peek().is_none() {
        return NamesService::NotAsked;
    }
    let meant: Vec<_> = meant.collect();
    let ask = || match control::ask(&control::Request::Hosts) {
        Ok(Response::Hosts(hosts)) => NamesService::Serves(hosts.into_iter().map(|host| host.overlay).collect()),
        Ok(_) => NamesService::Silent("the daemon answers something else".into()),
        Err(error) => NamesService::Silent(format!("{}: {error}", control::SOCKET)),
    };
    match ask() {
        NamesService::Serves(overlays) if !meant.iter().all(|overlay| overlays.contains(overlay)) => {
            std::thread::sleep(APART);
            ask()
        }
        answer => answer,
    }
}

fn print(fixed: &[String], findings: &[Finding], patient: &Patient, out: &mut dyn Output) -> Result<(), Error> {
    for line in fixed {
        writeln!(out, "fixed {line}")?;
    }
    for finding in findings {
        let (word, text) = (finding.verdict.word(), finding.to_string());
        let paint = match finding.verdict {
            CheckResult::Passed => Paint::Good,
            CheckResult::Warned => Paint::Warning,
            CheckResult::Failed => Paint::Bad,
        };
        out.painted(paint, word)?;
        writeln!(out, "{}", &text[word.len()..])?;
    }
    let has_fan = findings.iter().any(|finding| finding.fan.is_some());
    if !has_fan && patient.configs.is_empty() {
        writeln!(
            out,
            "no fan is up and none is configured, so this is all there is to examine; begin with: fanctl up --help"
        )?;
    } else if findings.iter().all(|finding| finding.verdict != CheckResult::Failed) {
        writeln!(out, "to prove the way to another host: fanctl trace ADDRESS")?;
    }
    Ok(())
}
