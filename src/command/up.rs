//! `up`: what we own, with a fan as wanted, or with every fan of the configuration.

use std::io::Write;

use super::change::{By, Change, Outcome, turn};
use super::config::faultless;
use super::json;
use crate::cli::{OutputArgs, UpAllArgs};
use crate::config::Config;
use crate::error::Error;
use crate::resolve::is_on;

/// Brings a fan up, or makes one that is up as asked for.
pub fn one(config: &Config, output: OutputArgs, out: &mut dyn Write) -> Result<(), Error> {
    if !config.enabled {
        output.note(&format!("fan {} is off: left alone", config.overlay));
        return match output {
            OutputArgs { json: false, .. } => Ok(()),
            OutputArgs { dry_run: true, .. } => json(&[(); 0], out),
            OutputArgs { dry_run: false, .. } => json(&Outcome::untouched(config.overlay), out),
        };
    }
    let mut change = Change::begin(turn("up", output)?, output)?;
    let done = change.bring_up(config, By::Person)?;
    change.tell(&done, out)
}

/// Brings up every fan of the configuration, or those of one interface. One that cannot be, or is written down wrongly,
/// does not keep the others down.
pub fn all(args: &UpAllArgs, output: OutputArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (turn, configuration, files) = args.config.read_in_turn("up", output);
    let faults = faultless(&configuration).err();
    let told = if configuration.enabled().next().is_some() {
        turn.and_then(|turn| {
            let mut change = Change::begin(turn, output)?;
            change.is_fit()?;
            let dev = args.dev.as_ref();
            let on = |config: &&Config| dev.is_none_or(|dev| is_on(config, dev, &change.host));
            let wanted: Vec<&Config> = configuration.enabled().filter(on).collect();
            let ends = change.bring_up_all(wanted);
            change.tell_all(ends, &files.no_fan_on(dev), out)
        })
    } else if faults.is_some() && !output.json {
        Ok(())
    } else {
        output.tell_nothing(&files.no_fan(), out)
    };
    Error::all([faults, told.err()].into_iter().flatten().collect())
}
