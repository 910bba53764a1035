//! What every verb that changes something does: observe, choose the desired set, take the difference, go there and look
//! whether it came out; or print the way.

mod output;

use std::collections::BTreeSet;
use std::slice::from_ref;

use crate::cli::args::OutputArgs;
use crate::cli::warn;
use crate::config::Entry;
use crate::error::Error;
use crate::fan::Fan;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::fan::request::{Follow, Request};
use crate::kernel::lock::Lock;
use crate::kernel::signals;
use crate::kernel::{self, Machine, Scope, capabilities};
use crate::plan::apply::{FailedStep, apply, take_back};
use crate::plan::changes::Changes;
use crate::plan::commands::{self, describe};
use crate::plan::conflicts::{self, Unfit};
use crate::plan::desired;
use crate::plan::diff::{Claim, Step, diff, growths, refusals, renumbering};
use crate::plan::foreign;
use crate::plan::host::Host;
use crate::plan::leftovers::remains;
use crate::plan::losses::{self, Loss};
use crate::plan::reason::{Reason, ReasonCode, reason};
use crate::plan::remarks::remarks;
use crate::plan::resolve::resolve;
use crate::plan::state::{Object, Owner, State, fans};

pub use output::{End, FanOutcome};

/// A change in the making: the machine, locked, and what it was like when last looked at.
pub struct Change {
    machine: Machine,
    /// What is ours.
    pub owned: State,
    /// What is not.
    pub host: Host,
    output: OutputArgs,
    /// Whether fans may take away what this host uses, whatever the configuration says of each.
    force: bool,
    _turn: Option<Lock>,
}

/// Who asks for a fan, which is kept in its flag `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Somebody at a command line, or a script; a fan that configuration brought up stays configuration's.
    Person,
    /// A file whose fans have the key `force`.
    Configuration,
    /// A line of /etc/network/fan, which has no word for it.
    Line,
}

impl By {
    /// Who asks for a fan of the configuration.
    pub fn entry(entry: &Entry) -> Self {
        if entry.is_line() { Self::Line } else { Self::Configuration }
    }

    /// What to do about something that a fan takes away.
    fn advice(self) -> &'static str {
        match self {
            Self::Person => "choose another overlay, or bring it up all the same: --force",
            Self::Configuration | Self::Line => "choose another overlay, or write: force = true",
        }
    }
}

/// A fan as it would be brought up, and the way there.
pub struct Plan {
    /// The fan.
    pub fan: Fan,
    /// Why it must not be done. Every reason there is.
    pub reasons: Vec<Reason>,
    /// Whether the only reason is that something would be taken away.
    only_takes: bool,
    /// Containers on a bridge that would have to go, or to become another.
    pub ports: Vec<InterfaceName>,
    /// What would be done.
    pub done: Done,
    desired: State,
}

/// What was done, or would be.
pub struct Done {
    /// The fan; none where it was every fan.
    pub overlay: Option<Overlay>,
    /// The way that was gone.
    pub steps: Vec<Step>,
    /// The line of what goes with the last of them.
    emptied: Option<String>,
    /// Whether `net.ipv4.ip_forward` was asked for.
    pub ip_forward: bool,
    /// How things are now, for a person.
    pub sentence: String,
    /// What was left as it is, and what of the host matters to the fan, in sentences.
    pub kept: Vec<String>,
    /// What it takes away from this host.
    pub losses: Vec<Loss>,
    /// How the fan differs from what it was.
    pub changes: Changes,
}

impl Done {
    /// Whether there was anything to do.
    pub fn changed(&self) -> bool {
        self.ip_forward || !self.steps.is_empty()
    }

    /// The way, as lines to type.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let requirement = self.ip_forward.then(|| commands::IP_FORWARD.to_string());
        let steps = self.steps.iter().flat_map(commands::lines);
        steps.chain(self.emptied.clone()).chain(requirement)
    }
}

/// Waits for the turn of a command that changes something; with `--dry-run` it is always.
pub fn turn(verb: &str, output: OutputArgs) -> Result<Option<Lock>, Error> {
    if output.dry_run {
        return Ok(None);
    }
    if !capabilities::is_privileged() {
        return Err(Error::Failed(format!(
            "verb '{verb}' changes the network, which takes root; try: sudo fanctl {verb} ..., or --dry-run to look"
        )));
    }
    Lock::take().map(Some)
}

impl Change {
    /// Looks, when it is this command's turn.
    pub fn begin(turn: Option<Lock>, output: OutputArgs) -> Result<Self, Error> {
        if !capabilities::is_privileged() {
            let sentence =
                "not root: firewall, DHCP server and programs cannot be looked at, and are taken not to be there";
            warn(&[sentence.into()]);
        }
        let machine = Machine::connect()?;
        let (owned, host) = if turn.is_some() { machine.observe(Scope::All)? } else { machine.look(Scope::All)? };
        if !output.dry_run {
            machine.hold_unknown(&owned, &host)?;
        }
        Ok(Self { machine, owned, host, output, force: false, _turn: turn })
    }

    /// The same, where fans may take away what this host uses.
    pub fn forced(self, force: bool) -> Self {
        Self { force, ..self }
    }

    /// Whether the kernel can carry a fan.
    ///
    /// # Errors
    /// What it lacks.
    pub fn is_fit(&self) -> Result<(), Error> {
        Unfit::of(&self.host.linux).map_or(Ok(()), |unfit| Err(Error::Refused(vec![reason!(KernelUnfit, "{unfit}")])))
    }

    /// Looks for the way to a fan as asked for.
    ///
    /// # Errors
    /// That the host has no place for it.
    pub fn plan(&self, config: &Request, by: By) -> Result<Plan, Error> {
        self.is_fit()?;
        let resolved = resolve(config, &self.host, &self.owned).map_err(|reason| Error::Refused(vec![reason]))?;
        self.output.note(&resolved.choice);
        let (mut fan, by_file) = (resolved.fan, by != By::Person);
        let overlay = Owner::Fan(fan.overlay());
        let is_autos = fans(&self.owned).any(|up| up.auto && up.overlay() == fan.overlay());
        fan.auto = is_autos || by_file;
        // Configuration may move what it brought up to another underlay; a person is asked to say so first.
        let others = (is_autos && by_file).then(|| desired::without(&self.owned, overlay));
        let mut reasons = conflicts::conflicts(&fan, &self.host, others.as_ref().unwrap_or(&self.owned));
        let desired = desired::with(&self.owned, &fan, &self.host);
        let mut steps = diff(&self.owned, &desired);
        let ports = ports(&steps, &self.host);
        // Where the file has the fan follow its host wherever it goes, a bridge with containers that would have to go becomes,
        // with them, the one that comes in its place, whichever verb reads the file: so each goes on where another was killed.
        // What somebody brought up by hand stays where it is.
        if by_file && is_autos && config.options.follow == Follow::Renumber {
            steps = renumbering(&steps);
        }
        reasons.extend(refusals(&steps, &self.host, &self.claims(&steps)?));
        let losses = self.losses(&fan, &steps)?;
        let may_take = self.force || config.options.force || by == By::Line;
        let only_takes = reasons.is_empty();
        if !may_take {
            let counts = |loss: &&Loss| by == By::Person || !matches!(loss, Loss::Public(_));
            let refused = losses.iter().filter(counts);
            reasons.extend(refused.map(|loss| reason!(TakesFromHost, "{loss}; {}", by.advice())));
        }
        let foreign = foreign::on(&fan, &self.host).into_iter();
        let foreign = foreign.filter(|foreign| foreign.is_harmful(&fan));
        let foreign = foreign.map(|foreign| format!("{foreign}, and stays; see: {}", foreign.look()));
        let remarks = remarks(&fan, &self.host);
        let kept = remarks.iter().map(ToString::to_string).chain(foreign).collect();
        let changes = Changes::of(&fan, &self.owned, &self.host);
        let mut done = Done {
            overlay: Some(fan.overlay()),
            emptied: commands::emptied(&steps, &self.owned, &self.host),
            steps,
            ip_forward: fan.options.nat && !self.host.ip_forward,
            sentence: format!("{} is up already: nothing to do", fan.bridge),
            kept,
            losses,
            changes,
        };
        if done.changed() {
            done.sentence = format!(
                "{} is up: slice {}, gateway {}, mtu {}",
                fan.bridge,
                fan.slice(),
                fan.gateway(),
                desired::mtu(&fan, &self.host)
            );
        }
        Ok(Plan { fan, reasons, only_takes, ports, done, desired })
    }

    /// What the fan takes away from this host by these steps.
    fn losses(&self, fan: &Fan, steps: &[Step]) -> Result<Vec<Loss>, Error> {
        if !losses::takes_over(fan, steps) {
            return Ok(Vec::new());
        }
        let (used, unseen) = self.machine.taken_by(fan, &self.host)?;
        warn(&unseen);
        let is_new = !fans(&self.owned).any(|up| up.overlay() == fan.overlay());
        Ok(Loss::of(fan, used, is_new))
    }

    /// Which of the addresses that bridges take by these steps a container has. A plan that is only shown asks no container.
    fn claims(&self, steps: &[Step]) -> Result<Vec<Claim>, Error> {
        let mut claims = Vec::new();
        for (bridge, addresses) in growths(steps) {
            let ports: Vec<&InterfaceName> = self.host.foreign_ports(bridge).map(|link| &link.name).collect();
            claims.extend(self.machine.claims(bridge, &ports, &addresses, !self.output.dry_run)?);
        }
        Ok(claims)
    }

    /// Brings a fan up, or makes one that is up as asked for.
    pub fn bring_up(&mut self, config: &Request, by: By) -> Result<Done, Error> {
        let plan = self.plan(config, by)?;
        self.follow(plan)
    }

    /// Does what was planned, if nothing stands in the way.
    pub fn follow(&mut self, plan: Plan) -> Result<Done, Error> {
        if !plan.reasons.is_empty() {
            let kind = if plan.only_takes { Error::Takes } else { Error::Refused };
            return Err(kind(plan.reasons));
        }
        self.carry_out(&plan.done, plan.desired)?;
        Ok(plan.done)
    }

    /// Brings up several fans. What one gives up, a bridge's name or a part of the overlay, another may be waiting for: those
    /// that were refused are asked again as long as that helps.
    pub fn bring_up_all<'a>(&mut self, entries: impl IntoIterator<Item = &'a Entry>) -> Vec<End> {
        let mut waiting: Vec<&Entry> = entries.into_iter().collect();
        let mut ends = Vec::new();
        loop {
            let mut refused = Vec::new();
            let mut changed = false;
            for entry in waiting {
                match self.bring_up(&entry.config, By::entry(entry)) {
                    Err(error @ Error::Refused(_)) => refused.push((entry, error)),
                    end => {
                        changed |= end.as_ref().is_ok_and(Done::changed);
                        ends.push((entry.config.overlay, end));
                    }
                }
            }
            if !changed {
                let left = refused.into_iter().map(|(entry, error)| (entry.config.overlay, Err(error)));
                ends.extend(left);
                return ends;
            }
            waiting = refused.into_iter().map(|(entry, _)| entry).collect();
        }
    }

    /// Makes the objects of a fan that is up what they should be, on the host as it is now.
    pub fn repair(&mut self, fan: &Fan) -> Result<Done, Error> {
        let desired = desired::with(&self.owned, fan, &self.host);
        let steps = diff(&self.owned, &desired);
        let reasons = refusals(&steps, &self.host, &self.claims(&steps)?);
        if !reasons.is_empty() {
            return Err(Error::Refused(reasons));
        }
        let done = Done {
            overlay: Some(fan.overlay()),
            emptied: commands::emptied(&steps, &self.owned, &self.host),
            steps,
            ip_forward: fan.options.nat && !self.host.ip_forward,
            sentence: format!("{} is mended", fan.bridge),
            kept: Vec::new(),
            losses: Vec::new(),
            changes: Changes::default(),
        };
        self.carry_out(&done, desired)?;
        Ok(done)
    }

    /// Takes down one fan, or all. What carries containers stays, and so does what hangs on a bridge that is not known to be a
    /// fan's any more.
    pub fn take_down(&mut self, overlay: Option<Overlay>) -> Result<Done, Error> {
        let (desired, what) = match overlay {
            Some(overlay) => {
                let rest = desired::without(&self.owned, Owner::Fan(overlay));
                (desired::with_shared(rest, &self.host), format!("fan {overlay}"))
            }
            None => (State::new(), "every fan".to_string()),
        };
        let steps = diff(&self.owned, &desired);
        let mut reasons = refusals(&steps, &self.host, &[]);
        let left = remains(&self.owned, &self.host).into_iter();
        let going = left.filter(|left| overlay.is_none_or(|overlay| overlay == left.overlay));
        reasons.extend(going.filter_map(|left| left.refusal()));
        if !reasons.is_empty() {
            return Err(Error::Refused(reasons));
        }
        let state = if steps.is_empty() { "down already: nothing to do" } else { "down" };
        let done = Done {
            overlay,
            emptied: commands::emptied(&steps, &self.owned, &self.host),
            steps,
            ip_forward: false,
            sentence: format!("{what} is {state}"),
            kept: Vec::new(),
            losses: Vec::new(),
            changes: Changes::default(),
        };
        self.carry_out(&done, desired)?;
        Ok(done)
    }

    /// Goes the way to the desired set and looks whether that is where it led. With `--dry-run` only what is known of the
    /// machine goes there.
    fn carry_out(&mut self, done: &Done, desired: State) -> Result<(), Error> {
        if self.output.dry_run {
            self.owned = desired;
            self.host.ip_forward |= done.ip_forward;
            return Ok(());
        }
        let mut reasons = self.machine.irretrievable(&done.steps);
        let taken = self.machine.taken_ports(&done.steps, &self.host).into_iter();
        reasons.extend(taken.map(|text| Reason::new(ReasonCode::PortTaken, text)));
        if !reasons.is_empty() {
            return Err(Error::Refused(reasons));
        }
        if let Err(error) = self.go(done, &desired) {
            // What could not be taken back is what the next fan finds.
            if let Ok(found) = self.machine.observe(Scope::All) {
                (self.owned, self.host) = found;
            }
            return Err(error);
        }
        self.host.ip_forward |= done.ip_forward;
        Ok(())
    }

    fn go(&mut self, done: &Done, desired: &State) -> Result<(), Error> {
        // A plan takes milliseconds. A signal that comes meanwhile is heard when it is done.
        let _held = signals::Held::hold();
        apply(&done.steps, |steps| {
            for line in steps.iter().flat_map(commands::lines) {
                self.output.note(&format!("# {line}"));
            }
            self.machine.perform(steps)
        })
        .map_err(|failure| Error::Failed(format!("{}; {}", sentence(&failure.failed), outcome(&failure.left))))?;
        if let Some(line) = &done.emptied {
            self.output.note(&format!("# {line}"));
        }
        if !done.steps.is_empty() {
            self.verify(&done.steps, desired)?;
        }
        let unrecorded = self.owned.values().filter_map(|object| match object {
            Object::Firewall(overlay, ruleset) if ruleset.lacks_record() => Some(*overlay),
            _ => None,
        });
        self.machine.record(&unrecorded.collect::<Vec<_>>());
        if done.ip_forward {
            // Last, because it is never taken back: a plan that fails must not leave it behind.
            self.output.note(&format!("# {}", commands::IP_FORWARD));
            kernel::enable_ip_forward().map_err(|error| {
                let end = self.take_back(&done.steps);
                Error::Failed(format!("cannot {}: {error}; {end}", commands::IP_FORWARD))
            })?;
        }
        Ok(())
    }

    /// Looks whether the kernel holds what was asked of it; if it does not, takes the plan back.
    fn verify(&mut self, steps: &[Step], desired: &State) -> Result<(), Error> {
        let found = self.machine.observe(Scope::All).map_err(|error| {
            let end = self.take_back(steps);
            Error::Failed(format!("cannot look whether all is as asked for: {error}; {end}"))
        })?;
        (self.owned, self.host) = found;
        let touched: BTreeSet<Owner> = steps.iter().map(|step| step.object().owner()).collect();
        let rest = diff(&self.owned, desired);
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
        outcome(&take_back(steps, |step| self.machine.perform(from_ref(step))))
    }
}

/// Containers on the bridges that would go.
fn ports(steps: &[Step], host: &Host) -> Vec<InterfaceName> {
    let bridges = steps.iter().filter_map(|step| match step {
        Step::Delete(Object::Bridge(bridge)) => Some(&bridge.fan.bridge),
        _ => None,
    });
    let ports = bridges.flat_map(|bridge| host.foreign_ports(bridge));
    ports.map(|link| link.name.clone()).collect()
}

/// What was tried and why it failed: `cannot create tunnel 'fan-ipip': Operation not permitted`.
fn sentence((step, cause): &FailedStep<kernel::KernelError>) -> String {
    format!("cannot {} {}: {cause}", commands::verb(step), describe(step.object()))
}

/// How things stand after steps were taken back, but for some.
fn outcome(left: &[FailedStep<kernel::KernelError>]) -> String {
    if left.is_empty() {
        return "everything is as it was".to_string();
    }
    let left: Vec<String> = left.iter().map(sentence).collect();
    format!("not everything could be taken back, try fanctl down: {}", left.join("; "))
}
