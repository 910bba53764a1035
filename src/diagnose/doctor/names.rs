//! Names of containers: whether anybody answers for them.

use super::{Facts, Finding, Found};
use crate::diagnose::facts::NamesService;
use crate::fan::Fan;
use crate::fan::shell::Line;
use crate::shell;

/// The unit of the daemon.
const UNIT: &str = "fan-names.service";

pub(super) fn check(fan: &Fan, facts: Facts, _: &[Finding]) -> Vec<Finding> {
    if !fan.options.names {
        return Vec::new();
    }
    let finding = match &facts.health.names {
        NamesService::NotAsked => return Vec::new(),
        NamesService::Serves(overlays) if overlays.contains(&fan.overlay().network()) => {
            Finding::passed(Found::NamesServed, format!("the daemon answers for names at {}", fan.gateway()))
        }
        NamesService::Serves(_) => {
            let reason = "the fan has names, and the daemon of names does not serve it";
            let log = format!("its log tells why, as when another program has port 53 or 924 of {}", fan.gateway());
            let restart = shell!("systemctl restart {}", UNIT);
            mended(Finding::failed(Found::NamesNotServed, reason).because([log]), facts, restart)
        }
        NamesService::Silent(reason) => {
            let evidence = [reason.clone(), "containers reach each other by address only".to_string()];
            let reason = "the fan has names, and no daemon answers for them on this host";
            let start = shell!("systemctl enable --now {}", UNIT);
            mended(Finding::failed(Found::NamesNotServed, reason).because(evidence), facts, start)
        }
    };
    vec![finding]
}

/// With the command, where there is what runs it.
fn mended(finding: Finding, facts: Facts, command: Line) -> Finding {
    if facts.health.has_systemd {
        finding.mended_by(command)
    } else {
        finding.because(["systemd does not run here: have the service manager run 'fanctl names serve'".to_string()])
    }
}
