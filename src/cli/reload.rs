//! `reload`: what we own without what configuration brought up, and with what it asks for now.

use std::io::Write;

use super::change::{Change, End};
use super::config::{Files, faultless};
use crate::cli::args::ReloadArgs;
use crate::config::Configuration;
use crate::error::Error;
use crate::fan::Fan;
use crate::fan::mapping::Overlay;
use crate::plan::leftovers::loose_remains;
use crate::plan::reason::{Reason, ReasonCode};
use crate::plan::state::fans;

/// Makes the machine match the configuration, fan by fan. With a fault in a file nothing is touched: the fan that it is
/// about would seem to be wanted no more.
pub(crate) fn reload(args: &ReloadArgs, out: &mut dyn Write) -> Result<(), Error> {
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
pub(crate) fn follow(change: &mut Change, configuration: &Configuration, files: &Files) -> Vec<End> {
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
