//! `up` and `down`: choose the desired set, and go there; or print the way.

use std::collections::BTreeSet;
use std::io::Write;

use nix::sys::signal::{SigSet, Signal};
use serde::Serialize;

use super::{bridges, json};
use crate::apply::{Failed, apply, take_back};
use crate::cli::OutputArgs;
use crate::config::{Config, Place, UnderlaySource};
use crate::conflict;
use crate::desire;
use crate::error::Error;
use crate::fan::Fan;
use crate::host::Host;
use crate::lock::Lock;
use crate::machine::{self, Machine, Scope};
use crate::mapping::Overlay;
use crate::object::{Owner, State, fans};
use crate::plan::{Step, diff, refusals};
use crate::report::Report;
use crate::resolve::resolve;
use crate::transcript::{self, describe};

/// Brings a fan up, or makes one that is up as asked for.
pub fn up(config: &Config, output: OutputArgs, out: &mut dyn Write) -> Result<(), Error> {
    if !config.enabled {
        note(output, &format!("fan {} is off: left alone", config.overlay));
        let nothing = Outcome {
            changed: false,
            fan: None,
        };
        return if output.json { json(&nothing, out) } else { Ok(()) };
    }
    let change = Change::begin("up", output)?;
    let fan = change.resolve(config)?;
    let mut reasons = conflict::conflicts(&fan, &change.host, &change.owned);
    let desired = desire::with(&change.owned, &fan, &change.host);
    let steps = diff(&change.owned, &desired);
    reasons.extend(refusals(&steps, &change.host));
    if !reasons.is_empty() {
        return Err(Error::Refused(reasons));
    }
    let forward = fan.nat && !change.host.ip_forward;
    let changed = change.carry_out(&steps, &desired, forward, out)?;
    if output.dry_run {
        return Ok(());
    }
    let mtu = desire::mtu(&fan, &change.host);
    let sentence = if changed {
        format!(
            "{} is up: slice {}, gateway {}, mtu {mtu}",
            fan.bridge,
            fan.slice(),
            fan.gateway()
        )
    } else {
        format!("{} is up already: nothing to do", fan.bridge)
    };
    change.tell(&sentence, changed, Some(&fan), out)
}

/// Takes one fan down.
pub fn down(overlay: Overlay, underlay: &UnderlaySource, output: OutputArgs, out: &mut dyn Write) -> Result<(), Error> {
    let change = Change::begin("down", output)?;
    if let Some(fan) = fans(&change.owned).find(|fan| fan.overlay() == overlay) {
        is_meant(fan, underlay).map_err(|reason| Error::Refused(vec![reason]))?;
    }
    let rest = desire::without(&change.owned, Owner::Fan(overlay));
    change.take_down(&desire::with_shared(rest, &change.host), &format!("fan {overlay}"), out)
}

/// Takes every fan down.
pub fn down_everything(output: OutputArgs, out: &mut dyn Write) -> Result<(), Error> {
    Change::begin("down", output)?.take_down(&State::new(), "every fan", out)
}

/// Whether the underlay that was written can be that of a fan. Nothing is looked up: a fan must go down also when its
/// interface or address is gone.
fn is_meant(fan: &Fan, underlay: &UnderlaySource) -> Result<(), String> {
    let place = match &underlay.place {
        Place::Default => true,
        Place::Interface(name) => *name == fan.device,
        Place::Address(address) => *address == fan.host,
        Place::Network(network) => *network == fan.mapping.underlay(),
    };
    if place && underlay.len == fan.mapping.underlay().network().prefix() {
        return Ok(());
    }
    Err(format!(
        "fan {0} is over {1} on {2}, not over '{underlay}'; if it is meant: fanctl down {0} {1}",
        fan.overlay(),
        fan.underlay_address(),
        fan.device
    ))
}

/// A change in the making: the machine, locked, and what it was like.
struct Change {
    machine: Machine,
    owned: State,
    host: Host,
    output: OutputArgs,
    _lock: Option<Lock>,
}

impl Change {
    fn begin(verb: &str, output: OutputArgs) -> Result<Self, Error> {
        if !machine::is_privileged() && !output.dry_run {
            return Err(Error::Failed(format!(
                "verb '{verb}' changes the network, which takes root; try: sudo fanctl {verb} ..., or --dry-run to look"
            )));
        }
        if !machine::is_privileged() {
            note(
                output,
                "not root: the firewall cannot be read, and is taken to be empty",
            );
        }
        let lock = if output.dry_run { None } else { Some(Lock::take()?) };
        let machine = Machine::connect()?;
        let (owned, host) = machine.observe(Scope::All)?;
        Ok(Self {
            machine,
            owned,
            host,
            output,
            _lock: lock,
        })
    }

    fn resolve(&self, config: &Config) -> Result<Fan, Error> {
        let resolved = resolve(config, &self.host).map_err(|reason| Error::Refused(vec![reason]))?;
        note(self.output, &resolved.choice);
        Ok(resolved.fan)
    }

    fn take_down(&self, desired: &State, what: &str, out: &mut dyn Write) -> Result<(), Error> {
        let steps = diff(&self.owned, desired);
        let reasons = refusals(&steps, &self.host);
        if !reasons.is_empty() {
            return Err(Error::Refused(reasons));
        }
        let changed = self.carry_out(&steps, desired, false, out)?;
        if self.output.dry_run {
            return Ok(());
        }
        let sentence = if changed {
            format!("{what} is down")
        } else {
            format!("{what} is down already: nothing to do")
        };
        self.tell(&sentence, changed, None, out)
    }

    /// Prints the plan, or carries it out and looks whether the machine is as wanted. Whether there was anything to do.
    fn carry_out(&self, steps: &[Step], desired: &State, ip_forward: bool, out: &mut dyn Write) -> Result<bool, Error> {
        let lines = || {
            let requirement = ip_forward.then(|| transcript::IP_FORWARD.to_string());
            steps.iter().flat_map(transcript::lines).chain(requirement)
        };
        if self.output.dry_run {
            if self.output.json {
                json(&lines().collect::<Vec<_>>(), out)?;
            } else {
                lines().try_for_each(|line| writeln!(out, "{line}"))?;
            }
            return Ok(!steps.is_empty());
        }
        // A plan takes milliseconds. A signal that comes meanwhile is heard when it is done.
        let _held = HeldSignals::hold();
        apply(steps, |step| {
            for line in transcript::lines(step) {
                note(self.output, &format!("# {line}"));
            }
            self.machine.perform(step)
        })
        .map_err(|failure| Error::Failed(format!("{}; {}", sentence(&failure.failed), outcome(&failure.left))))?;
        if !steps.is_empty() {
            self.verify(steps, desired)?;
        }
        if ip_forward {
            // Last, because it is never taken back: a plan that fails must not leave it behind.
            note(self.output, &format!("# {}", transcript::IP_FORWARD));
            machine::enable_ip_forward().map_err(|error| {
                let end = self.take_back(steps);
                Error::Failed(format!("cannot {}: {error}; {end}", transcript::IP_FORWARD))
            })?;
        }
        Ok(ip_forward || !steps.is_empty())
    }

    /// Looks whether the kernel holds what was asked of it; if it does not, takes the plan back.
    fn verify(&self, steps: &[Step], desired: &State) -> Result<(), Error> {
        let (found, _) = self.machine.observe(Scope::All)?;
        let touched: BTreeSet<Owner> = steps.iter().map(|step| step.object().owner()).collect();
        let rest = diff(&found, desired);
        let Some(first) = rest.iter().find(|step| touched.contains(&step.object().owner())) else {
            return Ok(());
        };
        let end = self.take_back(steps);
        Err(Error::Failed(format!(
            "{} is not as asked for after all steps succeeded: something else manages it; {end}",
            describe(first.object())
        )))
    }

    /// Takes back steps that succeeded, and tells how that went.
    fn take_back(&self, steps: &[Step]) -> String {
        outcome(&take_back(steps, |step| self.machine.perform(step)))
    }

    fn tell(&self, sentence: &str, changed: bool, fan: Option<&Fan>, out: &mut dyn Write) -> Result<(), Error> {
        if !self.output.json {
            return Ok(writeln!(out, "{sentence}")?);
        }
        let report = match fan {
            Some(fan) => {
                let (owned, host) = self.machine.observe(Scope::All)?;
                bridges(&owned)
                    .find(|b| b.fan.overlay() == fan.overlay())
                    .map(|b| Report::new(b, &owned, &host))
            }
            None => None,
        };
        json(&Outcome { changed, fan: report }, out)
    }
}

/// What `up --json` and `down --json` tell.
#[derive(Serialize)]
struct Outcome {
    changed: bool,
    /// The fan that is up now.
    fan: Option<Report>,
}

/// What was tried and why it failed: `cannot create tunnel 'fan-ipip': Operation not permitted`.
fn sentence((step, cause): &Failed<machine::Error>) -> String {
    format!("cannot {} {}: {cause}", transcript::verb(step), describe(step.object()))
}

/// How things stand after steps were taken back, but for some.
fn outcome(left: &[Failed<machine::Error>]) -> String {
    if left.is_empty() {
        return "everything is as it was".to_string();
    }
    let left: Vec<String> = left.iter().map(sentence).collect();
    format!(
        "not everything could be taken back, try fanctl down: {}",
        left.join("; ")
    )
}

/// Signals that would end the process, held until this is dropped.
struct HeldSignals(SigSet);

impl HeldSignals {
    fn hold() -> Self {
        let ending = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
        let set: SigSet = ending.into_iter().collect();
        // It fails only for an unknown constant; then signals are simply not held.
        let _ = set.thread_block();
        Self(set)
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        let _ = self.0.thread_unblock();
    }
}

fn note(output: OutputArgs, line: &str) {
    if output.verbose {
        // That nobody listens is no reason to stop in the middle of a plan.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}
