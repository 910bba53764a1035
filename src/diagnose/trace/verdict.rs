//! The hop that is to blame: one sentence from the steps and from the outcomes of the probes.

mod judge;
#[cfg(test)]
mod tests;

use self::judge::Judge;
use super::cause::{Cause, Conclusion, THIS_HOST};
use super::hops::PathStep;
use super::probe::{Aim, Evidence, Leg};
use super::{Location, Target};

/// Gives the verdict about the way to an address.
#[must_use]
pub(crate) fn verdict(target: &Target, steps: &[PathStep], evidence: &Evidence) -> Conclusion {
    let judge = Judge { target, evidence };
    if target.is_of_nobody {
        return judge.nobody();
    }
    let faults = || steps.iter().filter_map(|step| step.fault.as_ref());
    let fault = faults().find(|fault| fault.cause != Cause::Narrow);
    let blamed = |says: String| {
        let fault = fault.expect("it is asked for only where there is one");
        Conclusion::new(fault.cause, THIS_HOST, says).advise(&fault.advice)
    };
    if evidence.answered(Leg::Address, Aim::Small) {
        return match fault {
            Some(fault) if fault.cause == Cause::HereForward => {
                blamed(format!("{} answers this host, but not its containers: {}", target.name(), fault.says))
            }
            Some(fault) => blamed(format!("{} answers, although {}", target.name(), fault.says)).but_works(),
            None => judge.answered(),
        };
    }
    if let Some(fault) = fault {
        return blamed(fault.says.clone());
    }
    if let Some(why) = &evidence.unproven {
        let says = format!("nothing is wrong on this host, and nothing is proven: {why}");
        return Conclusion::new(Cause::Unproven, THIS_HOST, says).advise("run it as root");
    }
    match target.place {
        Location::There => judge.there(),
        Location::Here => judge.here(),
        Location::Own => Conclusion::new(
            Cause::HereFirewallIn,
            THIS_HOST,
            format!("this host's own {} does not answer: a firewall here drops ping", target.name()),
        )
        .advise("see nft list ruleset, chains with the hooks input and output"),
    }
}
