//! `reload`: what we own without what configuration brought up, and with what it asks for now. `status`: how far the
//! machine is from there.

use std::io::Write;

use serde::Serialize;

use super::change::{Change, End};
use super::config::{Files, faultless};
use super::json;
use crate::cli::args::{OutputArgs, ReloadArgs, StatusArgs};
use crate::config::Configuration;
use crate::error::Error;
use crate::fan::Fan;
use crate::fan::mapping::Overlay;
use crate::plan::difference::{self, Difference};
use crate::plan::host::Host;
use crate::plan::leftovers::loose_remains;
use crate::plan::reason::{Reason, ReasonCode};
use crate::plan::state::fans;

/// Makes the machine match the configuration, fan by fan. With a fault in a file nothing is touched: the fan that it is
/// about would seem to be wanted no more.
pub fn reload(args: &ReloadArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (turn, configuration, files) = args.config.read_in_turn("reload", args.output);
    faultless(&configuration)?;
    let mut change = Change::begin(turn?, args.output)?.forced(args.force.force);
    if configuration.enabled().next().is_some() {
        change.is_fit()?;
    }
    let ends = follow(&mut change, &configuration, &files);
    change.tell_all(ends, &files.no_fan(), out)
}

/// Goes from what is up to what is configured: first those that are wanted no more, which may be in the way, and what
/// remains of others.
fn follow(change: &mut Change, configuration: &Configuration, files: &Files) -> Vec<End> {
    let wanted = |overlay: &Overlay| configuration.enabled().any(|config| config.overlay == *overlay);
    let autos = fans(&change.owned).filter(|fan| fan.auto).map(Fan::overlay);
    let unwanted: Vec<Overlay> =
        autos.chain(loose_remains(&change.owned, &change.host)).filter(|overlay| !wanted(overlay)).collect();
    // An empty file is more likely an accident than a wish: of an editor, or of a redirection that came to nothing. What remains
    // of a fan carries nothing.
    let hollow = configuration.entries.is_empty().then(|| files.hollow()).flatten();
    let is_up = |change: &Change, overlay| fans(&change.owned).any(|fan| fan.overlay() == overlay);
    let mut take_down = |overlay| match &hollow {
        Some(sentence) if is_up(change, overlay) => {
            Err(Error::Refused(vec![Reason::new(ReasonCode::ConfigurationEmpty, sentence.as_str())]))
        }
        _ => change.take_down(Some(overlay)),
    };
    let mut ends: Vec<End> = unwanted.into_iter().map(|overlay| (overlay, take_down(overlay))).collect();
    ends.extend(change.bring_up_all(configuration.enabled_entries()));
    ends
}

/// Tells how far the machine is from its configuration. Nothing is changed.
pub fn status(args: &StatusArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (configuration, files) = args.config.read();
    faultless(&configuration)?;
    let look = OutputArgs { dry_run: true, json: args.json, verbose: args.verbose };
    let mut change = Change::begin(None, look)?;
    let ends = follow(&mut change, &configuration, &files);
    let fans = ends.into_iter().map(|end| FanStatus::new(end, &configuration, &change.host));
    let status = Status { unknown: crate::plan::verdict::unknown(&change.host), fans: fans.collect() };
    let differs = status.fans.iter().any(|fan| !fan.matches).then_some(Error::Differs);
    let told = if args.json {
        json(&status, out)
    } else if status.fans.is_empty() {
        writeln!(out, "{}", files.no_fan()).map_err(Error::from)
    } else {
        status.print(out)
    };
    Error::all(told.err().into_iter().chain(differs).collect())
}

/// What `status --json` tells.
#[derive(Serialize)]
struct Status {
    fans: Vec<FanStatus>,
    /// What could not be looked at, and why.
    unknown: Vec<String>,
}

impl Status {
    fn print(&self, out: &mut dyn Write) -> Result<(), Error> {
        self.fans.iter().try_for_each(|fan| fan.print(out))?;
        let mut unknown = self.unknown.iter();
        Ok(unknown.try_for_each(|what| writeln!(out, "unknown: {what}"))?)
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
}

impl FanStatus {
    fn new((overlay, result): End, configuration: &Configuration, host: &Host) -> Self {
        let config = configuration.enabled().find(|config| config.overlay == overlay);
        let (mut older, mut differences) = (false, Vec::new());
        let (plan, refusals): (Vec<String>, Vec<Reason>) = match result {
            Ok(mut done) => {
                done.steps.retain(|step| !crate::plan::verdict::is_hidden(step.object(), host));
                older = !done.ip_forward && crate::plan::verdict::is_only_older(&done.steps);
                differences.extend(done.steps.iter().flat_map(difference::of));
                (done.lines().collect(), vec![])
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
        }
    }

    fn print(&self, out: &mut dyn Write) -> Result<(), Error> {
        let Self { overlay, underlay, plan, reasons, .. } = self;
        let over = underlay.as_ref().map_or(String::new(), |underlay| format!(" over {underlay}"));
        if self.older {
            writeln!(
                out,
                "fan {overlay}{over}: as configured, made by an earlier version; to make it anew without losing a packet: fanctl \
                 reload"
            )?;
            return Ok(());
        }
        let state = match (underlay, self.matches) {
            (_, true) => "as configured",
            (Some(_), false) if reasons.is_empty() => "not as configured; fanctl reload would:",
            (None, false) if reasons.is_empty() => "wanted no more; fanctl reload would:",
            (_, false) => "cannot be as configured:",
        };
        writeln!(out, "fan {overlay}{over}: {state}")?;
        plan.iter().chain(reasons).try_for_each(|line| writeln!(out, "  {line}"))?;
        Ok(())
    }
}
