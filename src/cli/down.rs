//! `down`: what we own without one fan, without those that configuration brought up, or nothing.

use std::io::Write;

use super::change::{Change, turn};
use crate::cli::args::{Named, OutputArgs};
use crate::cli::is_called;
use crate::error::Error;
use crate::fan::Fan;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::fan::request::{UnderlayPlace, UnderlaySource};
use crate::fan::text::excerpt;
use crate::plan::leftovers::loose_remains;
use crate::plan::reason::{Reason, ReasonCode};
use crate::plan::state::fans;
use crate::shell;

/// Takes one fan down.
pub(crate) fn one(named: &Named, output: OutputArgs, out: &mut dyn Write) -> Result<(), Error> {
    let mut change = Change::begin(turn("down", output)?, output)?;
    let overlay = match named {
        Named::Pair(overlay, underlay) => {
            if let Some(fan) = fans(&change.owned).find(|fan| fan.overlay() == *overlay) {
                is_meant(fan, underlay)
                    .map_err(|reason| Error::Refused(vec![Reason::new(ReasonCode::OtherUnderlay, reason)]))?;
            }
            *overlay
        }
        Named::Word(word) => {
            let up = fans(&change.owned).find(|fan| is_called(fan, word)).map(Fan::overlay);
            // A fan that is down can be named only by its overlay.
            up.or_else(|| word.parse().ok()).ok_or_else(|| {
                Error::Failed(format!("fan '{}' is not up; see which are: fanctl show", excerpt(word)))
            })?
        }
    };
    let done = change.take_down(Some(overlay))?;
    change.tell(&done, out)
}

/// Takes down every fan that configuration brought up and what remains of others, or those of one interface. A fan that
/// cannot be taken down does not keep the others up.
pub(crate) fn all(interface: Option<&InterfaceName>, output: OutputArgs, out: &mut dyn Write) -> Result<(), Error> {
    let mut change = Change::begin(turn("down", output)?, output)?;
    let chosen = |fan: &&Fan| fan.auto && interface.is_none_or(|interface| *interface == fan.device);
    // The interface that the remains belonged to is not known any more.
    let remains = loose_remains(&change.owned, &change.host).filter(|_| interface.is_none());
    let overlays: Vec<Overlay> = fans(&change.owned).filter(chosen).map(Fan::overlay).chain(remains).collect();
    let ends = overlays.into_iter().map(|overlay| (overlay, change.take_down(Some(overlay)))).collect();
    let over = interface.map_or(String::new(), |interface| format!(" over interface '{interface}'"));
    let nothing = format!("no fan{over} that configuration brought up is up: nothing to do");
    change.tell_all(ends, &nothing, out)
}

/// Takes every fan down, those of the configuration and those brought up by hand.
pub(crate) fn everything(output: OutputArgs, out: &mut dyn Write) -> Result<(), Error> {
    let mut change = Change::begin(turn("down", output)?, output)?;
    let up = fans(&change.owned).map(Fan::overlay);
    let there: Vec<Overlay> = up.chain(loose_remains(&change.owned, &change.host)).collect();
    let done = change.take_down(None)?;
    change.tell_everything(&done, &there, out)
}

/// Whether the underlay that was written can be that of a fan. Nothing is looked up: a fan must go down also when its
/// interface or address is gone.
fn is_meant(fan: &Fan, underlay: &UnderlaySource) -> Result<(), String> {
    let place = match &underlay.place {
        UnderlayPlace::Default => true,
        UnderlayPlace::Interface(name) => *name == fan.device,
        UnderlayPlace::Address(address) => *address == fan.host,
        UnderlayPlace::Network(network) => *network == fan.mapping.underlay(),
    };
    if place && underlay.len == fan.mapping.underlay().network().prefix() {
        return Ok(());
    }
    Err(format!(
        "fan {0} is over {1} on {2}, not over '{underlay}'; if it is meant: {3}",
        fan.overlay(),
        fan.underlay_address(),
        fan.device,
        shell!("fanctl down {} {}", fan.overlay(), fan.underlay_address())
    ))
}
