//! `show`: the fans that are up, from the kernel alone.

use std::io::Write;

use super::{is_called, json, warn};
use crate::cli::args::ShowArgs;
use crate::cli::report::{self, Report};
use crate::error::Error;
use crate::fan::Fan;
use crate::kernel::{Machine, Scope};
use crate::plan::leftovers::remains;
use crate::plan::state::{Bridge, bridges};

/// Shows the fans that are up.
pub fn show(args: &ShowArgs, out: &mut dyn Write) -> Result<(), Error> {
    let scope = if args.json || args.program { Scope::Own } else { Scope::Fans };
    let machine = Machine::connect()?;
    let (owned, host) = machine.look(scope)?;
    let wanted = |fan: &Fan| args.fan.as_deref().is_none_or(|text| is_called(fan, text));
    let chosen: Vec<&Bridge> = bridges(&owned).filter(|bridge| wanted(&bridge.fan)).collect();
    if let (Some(text), true) = (&args.fan, chosen.is_empty()) {
        return Err(Error::Failed(format!("fan '{text}' is not up; see which are: fanctl show")));
    }
    let left = remains(&owned, &host);
    warn(&left.iter().map(report::remains).collect::<Vec<_>>());
    if args.json {
        let report = |bridge: &&Bridge| {
            let fast = machine.fast_packets(bridge.fan.overlay(), &host);
            Report::new(bridge, &owned, &host).with_fast_path(fast)
        };
        let reports: Vec<Report> = chosen.iter().map(report).collect();
        json(&reports, out)
    } else if args.program {
        chosen.iter().try_for_each(|bridge| Ok(write!(out, "{}", report::programs(&bridge.fan, &owned, &host))?))
    } else {
        Ok(write!(out, "{}", report::table(chosen.iter().map(|bridge| &bridge.fan)))?)
    }
}
