//! What is up, and what is written down.

use super::{Facts, Finding, Found};
use crate::fan::mapping::Overlay;
use crate::plan::commands;
use crate::plan::desired;
use crate::plan::diff::diff;
use crate::plan::resolve::resolve;
use crate::plan::state::{Owner, fans};
use crate::shell;

pub(super) fn check(facts: Facts, is_meant: impl Fn(Overlay) -> bool) -> Vec<Finding> {
    let configs = facts.configured.unwrap_or_default();
    let configs = configs.iter().filter(|config| is_meant(config.overlay));
    let mut findings = Vec::new();
    let mut number = 0;
    for config in configs {
        let overlay = config.overlay;
        let is_up = fans(facts.owned).find(|fan| fan.overlay() == overlay);
        let is_left = facts.owned.keys().any(|key| key.owner == Owner::Fan(overlay));
        // Of an address that is gone the fan itself tells; of what is left of one, the remains.
        let is_told = is_up.is_some_and(|fan| {
            let mut addresses = facts.host.links.iter().flat_map(|link| &link.addresses);
            !fan.options.number && !addresses.any(|a| a.address.ip() == fan.host)
        });
        let finding = match (is_up, resolve(config, facts.host, facts.owned)) {
            (None, _) if is_left => continue,
            (None, Err(reason)) => {
                Finding::failed(Found::FanRefused, format!("the fan is configured and not up: {reason}"))
            }
            (None, Ok(_)) => {
                let mut finding = Finding::failed(Found::FanNotUp, "the fan is configured and not up")
                    .mended_by(shell!("fanctl reload{}", facts.config_option));
                finding.fixable = true;
                finding
            }
            (Some(_), _) if is_told => continue,
            (Some(_), Err(reason)) => {
                Finding::warned(Found::FanRefusedAgain, format!("the fan could not be up again: {reason}"))
            }
            (Some(up), Ok(resolved)) => {
                let mut wanted = resolved.fan;
                wanted.auto = up.auto;
                if wanted == *up {
                    number += 1;
                    continue;
                }
                let is = desired::with(facts.owned, up, facts.host);
                let steps = diff(&is, &desired::with(&is, &wanted, facts.host));
                Finding::warned(Found::FanDiffers, "the fan is not as it is configured")
                    .because(steps.iter().flat_map(commands::lines).take(8))
                    .mended_by(shell!("fanctl reload{}", facts.config_option))
            }
        };
        findings.push(Finding { fan: Some(overlay), ..finding });
    }
    if findings.is_empty() && number > 0 {
        let what = super::count(number, "fan is", "fans are");
        findings.push(Finding::passed(Found::FansAsConfigured, format!("{what} written down and up so")));
    }
    findings
}
