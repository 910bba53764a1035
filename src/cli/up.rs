//! `up`: what we own, with a fan as wanted, or with every fan of the configuration.

use std::io::{self, Write};

use super::change::{By, Change, FanOutcome, turn};
use super::config::faultless;
use super::warn;
use crate::cli::args::{ConfigArgs, OutputArgs, UpAllArgs};
use crate::config::{Entry, Position};
use crate::error::Error;
use crate::fan::json::Document;
use crate::fan::mapping::Overlay;
use crate::fan::request::Request;
use crate::plan::changes::{differences, list};
use crate::plan::desired::mtu;
use crate::plan::resolve::{is_on, resolve};
use crate::plan::state::bridges;

/// Brings a fan up, or makes one that is up as asked for; with `save` it also becomes the configuration's.
pub(crate) fn one(
    config: &Request,
    save: Option<&ConfigArgs>,
    output: OutputArgs,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let place = save.map(|files| files.place_of(config)).transpose()?;
    if !config.options.enabled {
        output.note(&format!("fan {} is off: left alone", config.overlay));
        return match output {
            OutputArgs { json, .. } if !json.is_wanted() => Ok(()),
            OutputArgs { dry_run: true, json, .. } => Ok(json.write(Document::Steps, &[(); 0], out)?),
            OutputArgs { json, .. } => Ok(json.write(Document::Fans, &FanOutcome::untouched(config.overlay), out)?),
        };
    }
    let mut change = Change::begin(turn("up", output)?, output)?;
    let done = change.bring_up(config, By::Person)?;
    if let Some(place) = place {
        change.tell(&done, out)?;
        let config = &as_named(config, &change);
        // Of JSON there is one document.
        if output.json.is_wanted() { place.write(config, &mut io::sink()) } else { place.write(config, out) }?;
        // The flag of a fan that configuration brought up, by which `reload` knows it.
        return change.bring_up(config, By::Configuration).map(drop);
    }
    change.tell(&done, out)?;
    warn(differs_from_file(config.overlay, &change).as_slice());
    Ok(())
}

/// The fan as it is to be written down: where its bridge kept another name than its grammar gives, with that one.
fn as_named(config: &Request, change: &Change) -> Request {
    let mut written = config.as_written();
    let up = bridges(&change.owned).find(|bridge| bridge.fan.overlay() == config.overlay);
    if let (true, Some(up)) = (config.bridge_gives_way, up) {
        let name = &up.fan.bridge;
        written.options.bridge = (*name != up.fan.default_bridge()).then(|| name.clone());
    }
    written
}

/// That a fan is not as the files have it, which the next `reload` or boot makes of it.
fn differs_from_file(overlay: Overlay, change: &Change) -> Option<String> {
    let files = ConfigArgs { file: None };
    // What is wrong with a file is told by the verbs that follow it.
    let (configuration, _) = files.read();
    let entry = configuration.enabled_entry(overlay)?;
    let up = bridges(&change.owned).find(|bridge| bridge.fan.overlay() == overlay)?;
    let there = resolve(&entry.config, &change.host, &change.owned).ok()?.fan;
    let differing = differences((&up.fan, up.mtu), (&there, mtu(&there, &change.host)));
    let Position { file, line, .. } = &entry.position;
    (!differing.is_empty()).then(|| {
        format!("fan {overlay} differs from {file}:{line}: {}; to apply the file: fanctl reload", list(&differing))
    })
}

/// Brings up every fan of the configuration, or those of one interface. One that cannot be, or is written down wrongly,
/// does not keep the others down.
pub(crate) fn all(args: &UpAllArgs, force: bool, output: OutputArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (turn, configuration, files) = args.config.read_in_turn("up", output);
    let faults = faultless(&configuration).err();
    let told = if configuration.enabled().next().is_some() {
        turn.and_then(|turn| {
            let mut change = Change::begin(turn, output)?.forced(force);
            change.is_fit()?;
            let dev = args.dev.as_ref();
            let on = |entry: &&Entry| dev.is_none_or(|dev| is_on(&entry.config, dev, &change.host));
            let wanted: Vec<&Entry> = configuration.enabled_entries().filter(on).collect();
            let ends = change.bring_up_all(wanted);
            change.tell_all(ends, &files.no_fan_on(dev), out)
        })
    } else if faults.is_some() && !output.json.is_wanted() {
        Ok(())
    } else {
        output.tell_nothing(&files.no_fan(), out)
    };
    Error::all([faults, told.err()].into_iter().flatten().collect())
}
