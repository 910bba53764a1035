//! What was done, told to a person, or to a script as JSON.

use std::io::Write;
use std::net::Ipv4Addr;

use serde::Serialize;

use super::{Change, Done};
use crate::cli::args::OutputArgs;
use crate::cli::report::Report;
use crate::cli::warn;
use crate::error::Error;
use crate::fan::json::Document;
use crate::fan::mapping::Overlay;
use crate::fan::text;
use crate::plan::changes::Changes;
use crate::plan::losses::Loss;
use crate::plan::state::bridges;

impl Change {
    /// Tells what was done.
    pub(crate) fn tell(&self, done: &Done, out: &mut dyn Write) -> Result<(), Error> {
        self.warn_of(done);
        if self.output.dry_run {
            return self.tell_way(done.lines().into_iter(), out);
        }
        if self.output.json.is_wanted() {
            return Ok(self.output.json.write(Document::Fans, &self.outcome(done), out)?);
        }
        tell_end(done, out)
    }

    /// Says what is to be seen to. What a plan would change is beside its lines, which are a script.
    fn warn_of(&self, done: &Done) {
        warn(&done.kept);
        warn(&done.losses.iter().map(Loss::to_string).collect::<Vec<_>>());
        if self.output.dry_run {
            warn(&done.changes.sentences());
        }
    }

    /// Tells what was done of several fans; `nothing` is said when there was none.
    pub(crate) fn tell_all(&self, ends: Vec<End>, nothing: &str, out: &mut dyn Write) -> Result<(), Error> {
        if ends.is_empty() {
            return self.output.tell_nothing(nothing, out);
        }
        let (mut done, mut outcomes, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for (overlay, result) in ends {
            match result {
                Ok(end) => {
                    self.warn_of(&end);
                    outcomes.push(self.outcome(&end));
                    done.push(end);
                }
                Err(error) => {
                    let error = error.about(&format!("fan {overlay}"));
                    outcomes.push(FanOutcome::failed(overlay, &error));
                    left.push(error);
                }
            }
        }
        let told = if self.output.dry_run {
            self.tell_way(done.iter().flat_map(Done::lines), out)
        } else if self.output.json.is_wanted() {
            self.output.json.write(Document::Fans, &outcomes, out).map_err(Error::from)
        } else {
            done.iter().try_for_each(|end| tell_end(end, out))
        };
        Error::all(told.err().into_iter().chain(left).collect())
    }

    /// Tells that every fan went, of each of these that it did.
    pub(crate) fn tell_everything(&self, done: &Done, gone: &[Overlay], out: &mut dyn Write) -> Result<(), Error> {
        if self.output.dry_run || !self.output.json.is_wanted() {
            return self.tell(done, out);
        }
        let outcomes: Vec<FanOutcome> = gone
            .iter()
            .map(|overlay| FanOutcome { changed: done.changed(), ..FanOutcome::untouched(*overlay) })
            .collect();
        // What fans share may have been left of fans that are gone already.
        if outcomes.is_empty() && done.changed() {
            return Ok(self.output.json.write(Document::Fans, &[self.outcome(done)], out)?);
        }
        Ok(self.output.json.write(Document::Fans, &outcomes, out)?)
    }

    fn tell_way(&self, mut lines: impl Iterator<Item = String>, out: &mut dyn Write) -> Result<(), Error> {
        if self.output.json.is_wanted() {
            return Ok(self.output.json.write(Document::Steps, &lines.collect::<Vec<_>>(), out)?);
        }
        Ok(lines.try_for_each(|line| writeln!(out, "{line}"))?)
    }

    fn outcome(&self, done: &Done) -> FanOutcome {
        let bridge = bridges(&self.owned).find(|bridge| Some(bridge.fan.overlay()) == done.overlay);
        FanOutcome {
            overlay: done.overlay,
            changed: done.changed(),
            fan: bridge.map(|bridge| Report::new(bridge, &self.owned, &self.host)),
            changes: (!done.changes.is_empty()).then(|| done.changes.clone()),
            losses: done.losses.iter().map(Told::from).collect(),
            error: None,
        }
    }
}

/// How it went with one fan of several.
pub(crate) type End = (Overlay, Result<Done, Error>);

/// What `--json` tells of a fan that was to be changed.
#[derive(Default, Serialize)]
pub(crate) struct FanOutcome {
    /// None for what belongs to no fan alone.
    overlay: Option<Overlay>,
    changed: bool,
    /// The fan as it is up now.
    fan: Option<Report>,
    /// How it differs from what it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Changes>,
    /// What it took away from this host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    losses: Vec<Told>,
    /// Why it is not as asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What a fan took away from this host.
#[derive(Serialize)]
struct Told {
    code: &'static str,
    address: Option<Ipv4Addr>,
    sentence: String,
}

impl From<&Loss> for Told {
    fn from(loss: &Loss) -> Self {
        Self { code: loss.code(), address: loss.address(), sentence: loss.to_string() }
    }
}

fn tell_end(done: &Done, out: &mut dyn Write) -> Result<(), Error> {
    let sentences = done.changes.sentences();
    let mut lines = std::iter::once(&done.sentence).chain(&sentences);
    Ok(lines.try_for_each(|line| writeln!(out, "{line}"))?)
}

impl FanOutcome {
    /// That of a fan that is not up, and was left alone.
    pub(crate) fn untouched(overlay: Overlay) -> Self {
        Self { overlay: Some(overlay), ..Self::default() }
    }

    fn failed(overlay: Overlay, error: &Error) -> Self {
        Self { error: Some(error.to_string()), ..Self::untouched(overlay) }
    }
}

impl OutputArgs {
    /// Tells that of several fans there is none.
    pub(in crate::cli) fn tell_nothing(self, sentence: &str, out: &mut dyn Write) -> Result<(), Error> {
        if self.json.is_wanted() {
            let document = if self.dry_run { Document::Steps } else { Document::Fans };
            return Ok(self.json.write(document, &[(); 0], out)?);
        }
        if self.dry_run {
            return Ok(());
        }
        Ok(writeln!(out, "{sentence}")?)
    }

    /// Tells on standard error, where that was asked for.
    pub(in crate::cli) fn note(self, line: &str) {
        if self.verbose {
            // That nobody listens is no reason to stop in the middle of a plan.
            let _ = writeln!(std::io::stderr(), "{}", text::line(line));
        }
    }
}
