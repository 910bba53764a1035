//! `show`: the fans that are up, from the kernel alone.

use std::io::Write;

use super::{is_called, warn};
use crate::cli::args::ShowArgs;
use crate::cli::report::{self, Report};
use crate::error::Error;
use crate::fan::Fan;
use crate::fan::json::Document;
use crate::kernel::{Machine, Scope, fast};
use crate::plan::leftovers::remains;
use crate::plan::state::{Bridge, bridges};
use crate::plan::verdict::{Completeness, verdict};

/// Shows the fans that are up.
pub(crate) fn show(args: &ShowArgs, out: &mut dyn Write) -> Result<(), Error> {
    let machine = Machine::connect()?;
    let (owned, mut host) = machine.look(Scope::Own)?;
    let wanted = |fan: &Fan| args.fan.as_deref().is_none_or(|text| is_called(fan, text));
    let chosen: Vec<&Bridge> = bridges(&owned).filter(|bridge| wanted(&bridge.fan)).collect();
    if let (Some(text), true) = (&args.fan, chosen.is_empty()) {
        return Err(Error::Failed(format!("fan '{text}' is not up; see which are: fanctl show")));
    }
    let left = remains(&owned, &host);
    warn(&left.iter().map(report::remains).collect::<Vec<_>>());
    if args.json.is_wanted() {
        machine.occupy(&mut host)?;
        let report = |bridge: &&Bridge| {
            Report::new(bridge, &owned, &host).with_fast_path(fast::packets(bridge.fan.overlay(), &host))
        };
        let reports: Vec<Report> = chosen.iter().map(report).collect();
        return Ok(args.json.write(Document::Fans, &reports, out)?);
    }
    if args.program {
        return chosen
            .iter()
            .try_for_each(|bridge| Ok(write!(out, "{}", report::programs(&bridge.fan, &owned, &host))?));
    }
    let verdicts: Vec<Completeness> = chosen.iter().map(|bridge| verdict(&bridge.fan, &owned, &host)).collect();
    if args.long {
        machine.occupy(&mut host)?;
        let fast = |overlay| fast::packets(overlay, &host);
        write!(out, "{}", report::long(chosen.iter().copied().zip(&verdicts), &host, fast))?;
    } else {
        write!(out, "{}", report::table(chosen.iter().map(|bridge| &bridge.fan)))?;
    }
    let faults = chosen.iter().zip(&verdicts).filter_map(|(bridge, verdict)| report::fault(&bridge.fan, verdict));
    let nothing = chosen.is_empty() && left.is_empty();
    warn(&faults.chain(nothing.then(|| "no fan is up; begin with: fanctl up --help".into())).collect::<Vec<_>>());
    Ok(())
}
