//! `status`: how far the machine is from its configuration, a line for each fan.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use super::change::{Change, Done, End};
use super::config::faultless;
use super::reload::follow;
use crate::cli::args::{OutputArgs, StatusArgs};
use crate::config::Configuration;
use crate::error::Error;
use crate::fan::Fan;
use crate::fan::json::Document;
use crate::fan::mapping::Overlay;
use crate::fan::shell::Line;
use crate::plan::changes::OptionChange;
use crate::plan::commands::describe;
use crate::plan::diff::Step;
use crate::plan::difference::{self, Difference};
use crate::plan::host::Host;
use crate::plan::reason::Reason;
use crate::plan::state::{Object, fans};
use crate::plan::verdict;
use crate::shell;

/// Tells how far the machine is from its configuration. Nothing is changed.
pub(crate) fn status(args: &StatusArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (configuration, files) = args.config.read();
    faultless(&configuration)?;
    let look = OutputArgs { dry_run: true, json: args.json, verbose: args.verbose };
    let mut change = Change::begin(None, look)?;
    let up: BTreeMap<Overlay, Fan> = fans(&change.owned).map(|fan| (fan.overlay(), fan.clone())).collect();
    let ends = follow(&mut change, &configuration, &files);
    let fans = ends.into_iter().map(|end| FanStatus::new(end, &configuration, &up, &change.host));
    let status = Status { unknown: verdict::unknown(&change.host), fans: fans.collect() };
    let differs = status.fans.iter().any(|fan| !fan.matches).then_some(Error::Differs);
    let told = if args.json.is_wanted() {
        args.json.write(Document::Other, &status, out).map_err(Error::from)
    } else if status.fans.is_empty() {
        nothing(&files.nothing(), up.len(), out)
    } else {
        let option = args.config.file.as_ref();
        let option = option.map_or_else(Line::default, |file| shell!(" --config {}", file.as_path()));
        status.print(&option, out)
    };
    Error::all(told.err().into_iter().chain(differs).collect())
}

/// Tells that nothing is configured, and which fans are up all the same.
fn nothing(sentence: &str, up: usize, out: &mut dyn Write) -> Result<(), Error> {
    writeln!(out, "{sentence}")?;
    let fans = match up {
        0 => return Ok(()),
        1 => "1 fan is up by hand".to_string(),
        number => format!("{number} fans are up by hand"),
    };
    Ok(writeln!(out, "{fans}: fanctl show")?)
}

/// What `status --json` tells.
#[derive(Serialize)]
struct Status {
    fans: Vec<FanStatus>,
    /// What could not be looked at, and why.
    unknown: Vec<String>,
}

impl Status {
    fn print(&self, option: &Line, out: &mut dyn Write) -> Result<(), Error> {
        self.fans.iter().try_for_each(|fan| writeln!(out, "{}", fan.line()))?;
        self.unknown.iter().try_for_each(|what| writeln!(out, "unknown: {what}"))?;
        if self.fans.iter().any(|fan| !fan.matches && fan.refusals.is_empty()) {
            let steps = shell!("fanctl reload{} --dry-run", option);
            writeln!(out, "to do this: {}; to see every step: {steps}", shell!("fanctl reload{}", option))?;
        }
        Ok(())
    }
}

/// How far one fan is from what is configured.
#[derive(Serialize)]
struct FanStatus {
    overlay: Overlay,
    /// As configured; none for a fan that is wanted no more.
    underlay: Option<String>,
    /// Also of a fan that an earlier version made, which goes on working.
    matches: bool,
    /// Whether an earlier version made it, and nothing else differs.
    older: bool,
    /// What `reload` would do, as lines to type.
    plan: Vec<String>,
    /// Why it cannot be done.
    reasons: Vec<String>,
    /// The same, each with a code.
    refusals: Vec<Reason>,
    /// In what its objects differ, each with a code.
    differences: Vec<Difference>,
    /// The same for a person, options first.
    #[serde(skip)]
    words: Vec<String>,
    /// Whether it is up, as `show` has it.
    #[serde(skip)]
    is_up: bool,
}

impl FanStatus {
    fn new((overlay, result): End, configuration: &Configuration, up: &BTreeMap<Overlay, Fan>, host: &Host) -> Self {
        let config = configuration.enabled().find(|config| config.overlay == overlay);
        let fan = up.get(&overlay);
        let (mut older, mut differences, mut words) = (false, Vec::new(), Vec::new());
        let (plan, refusals): (Vec<String>, Vec<Reason>) = match result {
            Ok(mut done) => {
                done.steps.retain(|step| !verdict::is_hidden(step.object(), host));
                older = !done.ip_forward && verdict::is_only_older(&done.steps);
                differences.extend(done.steps.iter().flat_map(difference::of));
                words = what_differs(&done, fan);
                (done.lines(), vec![])
            }
            Err(error) => (vec![], error.reasons()),
        };
        Self {
            overlay,
            underlay: config.map(|config| config.underlay.to_string()),
            matches: older || plan.is_empty() && refusals.is_empty(),
            older,
            plan,
            reasons: refusals.iter().map(ToString::to_string).collect(),
            refusals,
            differences,
            words,
            is_up: fan.is_some(),
        }
    }

    /// For a person: one line.
    fn line(&self) -> String {
        let Self { overlay, underlay, words, reasons, .. } = self;
        let over = underlay.as_ref().map_or(String::new(), |underlay| format!(" over {underlay}"));
        let state = if self.older {
            "as configured, made by an earlier version; to make it anew without losing a packet: fanctl reload".into()
        } else if self.matches {
            "as configured".into()
        } else if !reasons.is_empty() {
            format!("cannot be as configured: {}", reasons.join("; "))
        } else if underlay.is_none() {
            let there = if self.is_up { "up" } else { "not up, but parts of it are there" };
            format!("{there}, and not configured")
        } else if !self.is_up {
            "not up".into()
        } else {
            format!("differs: {}", words.join("; "))
        };
        format!("fan {overlay}{over}: {state}")
    }
}

/// In what a fan that is up is not as configured. Of options that differ it tells those; what follows from them at its objects
/// it leaves out.
fn what_differs(done: &Done, up: Option<&Fan>) -> Vec<String> {
    let option = |OptionChange { option, from, to }: &OptionChange| format!("{option} {from}, should be {to}");
    let mut words: Vec<String> = done.changes.options.iter().map(option).collect();
    if words.is_empty() {
        words.extend(up.is_some_and(|fan| !fan.auto).then(|| "brought up by hand".to_string()));
        words.extend(done.steps.iter().flat_map(but_for_auto).map(|difference| difference.to_string()));
        words.extend(done.steps.iter().filter_map(|step| match step {
            Step::Create(object) => Some(format!("{} is missing", describe(object))),
            Step::Delete(object) => Some(format!("{} should not be there", describe(object))),
            Step::Change { .. } | Step::Hold(_) | Step::Remake(_) => None,
        }));
    }
    words.extend(done.ip_forward.then(|| "net.ipv4.ip_forward is 0, and NAT needs 1".to_string()));
    words
}

/// In what an object differs that a step changes, but for the flag that tells who brought its fan up.
fn but_for_auto(step: &Step) -> Vec<Difference> {
    match step {
        Step::Change { from: Object::Bridge(from), to: Object::Bridge(to) } => {
            let mut to = to.clone();
            to.fan.auto = from.fan.auto;
            difference::between(&Object::Bridge(from.clone()), &Object::Bridge(to))
        }
        _ => difference::of(step),
    }
}
