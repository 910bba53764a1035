//! What every verb that changes something does: observe, choose the desired set, take the difference, go there and look
//! whether it came out; or print the way.

mod output;
mod walk;

use std::borrow::Cow;

use crate::cli::args::OutputArgs;
use crate::cli::warn;
use crate::config::Entry;
use crate::error::Error;
use crate::fan::Fan;
use crate::fan::keys::Secret;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::fan::request::{Follow, Request};
use crate::kernel::lock::Lock;
use crate::kernel::wireguard::Wireguard;
use crate::kernel::{self, Machine, Scope, capabilities, nft};
use crate::plan::changes::Changes;
use crate::plan::commands;
use crate::plan::conflicts::{self, Unfit};
use crate::plan::desired;
use crate::plan::diff::{Claim, Step, diff, growths, refusals, renumbering};
use crate::plan::foreign;
use crate::plan::host::Host;
use crate::plan::leftovers::remains;
use crate::plan::losses::{self, Loss};
use crate::plan::reason::{Reason, reason};
use crate::plan::remarks::remarks;
use crate::plan::resolve::resolve;
use crate::plan::state::{Object, Owner, State, fans};

pub(crate) use output::{End, FanOutcome};

/// A change in the making: the machine, locked, and what it was like when last looked at.
pub(crate) struct Change {
    machine: Machine,
    /// What is ours.
    pub(crate) owned: State,
    /// What is not.
    pub(crate) host: Host,
    output: OutputArgs,
    /// Whether fans may take away what this host uses, whatever the configuration says of each.
    force: bool,
    /// Whether refusals say who is behind a port.
    names_occupants: bool,
    _turn: Option<Lock>,
}

/// Who asks for a fan, which is kept in its flag `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Somebody at a command line, or a script; a fan that configuration brought up stays configuration's.
    Person,
    /// A file whose fans have the key `force`.
    Configuration,
    /// A line of /etc/network/fan, which has no word for it.
    Line,
}

impl By {
    /// Who asks for a fan of the configuration.
    pub(crate) fn entry(entry: &Entry) -> Self {
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
pub(crate) struct Plan {
    /// The fan.
    pub fan: Fan,
    /// Why it must not be done. Every reason there is.
    pub(crate) reasons: Vec<Reason>,
    /// Whether the only reason is that something would be taken away.
    only_takes: bool,
    /// Containers on a bridge that would have to go, or to become another.
    pub(crate) ports: Vec<InterfaceName>,
    /// What would be done.
    pub(crate) done: Done,
    desired: State,
}

/// What was done, or would be.
pub(crate) struct Done {
    /// The fan; none where it was every fan.
    pub(crate) overlay: Option<Overlay>,
    /// The way that was gone.
    pub(crate) steps: Vec<Step>,
    /// The line of what goes with the last of them.
    emptied: Option<String>,
    /// Whether `net.ipv4.ip_forward` was asked for.
    pub(crate) ip_forward: bool,
    /// How things are now, for a person.
    pub(crate) sentence: String,
    /// What was left as it is, and what of the host matters to the fan, in sentences.
    pub(crate) kept: Vec<String>,
    /// What it takes away from this host.
    pub(crate) losses: Vec<Loss>,
    /// How the fan differs from what it was.
    pub(crate) changes: Changes,
}

impl Done {
    /// Whether there was anything to do.
    pub(crate) fn changed(&self) -> bool {
        self.ip_forward || !self.steps.is_empty()
    }

    /// The way, as lines to type.
    pub fn lines(&self) -> Vec<String> {
        let requirement = self.ip_forward.then(|| commands::IP_FORWARD.to_string());
        let steps = nft::as_taken(&self.steps);
        steps.iter().flat_map(commands::lines).chain(self.emptied.clone()).chain(requirement).collect()
    }
}

/// Waits for the turn of a command that changes something; with `--dry-run` it is always.
pub(crate) fn turn(verb: &str, output: OutputArgs) -> Result<Option<Lock>, Error> {
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
    pub(crate) fn begin(turn: Option<Lock>, output: OutputArgs) -> Result<Self, Error> {
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
        Ok(Self { machine, owned, host, output, force: false, names_occupants: true, _turn: turn })
    }

    /// The same, where fans may take away what this host uses.
    pub(crate) fn forced(self, force: bool) -> Self {
        Self { force, ..self }
    }

    /// The same, whose refusals name ports alone, and so stay the same while containers come and go.
    pub(crate) fn with_ports_alone(self) -> Self {
        Self { names_occupants: false, ..self }
    }

    /// Why these steps must not be taken.
    fn refusals(&self, steps: &[Step]) -> Result<Vec<Reason>, Error> {
        let claims = self.claims(steps)?;
        let mut host = Cow::Borrowed(&self.host);
        if self.names_occupants && !ports(steps, &self.host).is_empty() {
            self.machine.occupy(host.to_mut())?;
        }
        Ok(refusals(steps, &host, &claims))
    }

    /// Whether the kernel can carry a fan.
    ///
    /// # Errors
    /// What it lacks.
    pub(crate) fn is_fit(&self) -> Result<(), Error> {
        Unfit::of(&self.host.linux).map_or(Ok(()), |unfit| Err(Error::Refused(vec![reason!(KernelUnfit, "{unfit}")])))
    }

    /// Looks for the way to a fan as asked for.
    ///
    /// # Errors
    /// That the host has no place for it.
    pub(crate) fn plan(&mut self, config: &Request, by: By) -> Result<Plan, Error> {
        self.is_fit()?;
        kernel::read_key(&config.options, &mut self.host);
        let resolved = resolve(config, &self.host, &self.owned).map_err(|reason| Error::Refused(vec![reason]))?;
        self.output.note(&resolved.choice);
        let (mut fan, by_file) = (resolved.fan, by != By::Person);
        let overlay = Owner::Fan(fan.overlay());
        let is_autos = fans(&self.owned).any(|up| up.auto && up.overlay() == fan.overlay());
        fan.auto = is_autos || by_file;
        // Configuration may move what it brought up to another underlay; a person is asked to say so first.
        let others = (is_autos && by_file).then(|| desired::without(&self.owned, overlay));
        let mut reasons = conflicts::conflicts(&fan, &self.host, others.as_ref().unwrap_or(&self.owned));
        reasons.extend(kernel_lacks(&fan));
        let desired = desired::with(&self.owned, &fan, &self.host);
        let mut steps = diff(&self.owned, &desired);
        let ports = ports(&steps, &self.host);
        // Where the file has the fan follow its host wherever it goes, a bridge with containers that would have to go becomes,
        // with them, the one that comes in its place, whichever verb reads the file: so each goes on where another was killed.
        // What somebody brought up by hand stays where it is.
        if by_file && is_autos && config.options.follow == Follow::Renumber {
            steps = renumbering(&steps);
        }
        reasons.extend(self.refusals(&steps)?);
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
                "{} is up: slice {}, gateway {}, mtu {}{}",
                fan.bridge,
                fan.slice(),
                fan.gateway(),
                desired::mtu(&fan, &self.host),
                encrypted(&fan, &desired, &self.host)
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
    pub(crate) fn bring_up(&mut self, config: &Request, by: By) -> Result<Done, Error> {
        let plan = self.plan(config, by)?;
        self.follow(plan)
    }

    /// Does what was planned, if nothing stands in the way.
    pub(crate) fn follow(&mut self, plan: Plan) -> Result<Done, Error> {
        if !plan.reasons.is_empty() {
            let kind = if plan.only_takes { Error::Takes } else { Error::Refused };
            return Err(kind(plan.reasons));
        }
        self.carry_out(&plan.done, plan.desired)?;
        Ok(plan.done)
    }

    /// Brings up several fans. One may free a bridge's name or a part of the overlay that another needs: those that were refused
    /// are tried again until nothing changes.
    pub(crate) fn bring_up_all<'a>(&mut self, entries: impl IntoIterator<Item = &'a Entry>) -> Vec<End> {
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
    pub(crate) fn repair(&mut self, fan: &Fan) -> Result<Done, Error> {
        let desired = desired::with(&self.owned, fan, &self.host);
        let steps = diff(&self.owned, &desired);
        let reasons = self.refusals(&steps)?;
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
    pub(crate) fn take_down(&mut self, overlay: Option<Overlay>) -> Result<Done, Error> {
        let (desired, what) = match overlay {
            Some(overlay) => {
                let rest = desired::without(&self.owned, Owner::Fan(overlay));
                (desired::with_shared(rest, &self.host), format!("fan {overlay}"))
            }
            None => (State::new(), "every fan".to_string()),
        };
        let steps = diff(&self.owned, &desired);
        let mut reasons = self.refusals(&steps)?;
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
}

/// By which secret a fan is encrypted, and for how many hosts: `, encrypted (epoch 1, 9f3a 61c2 07de 4b58), 253 peers`.
fn encrypted(fan: &Fan, desired: &State, host: &Host) -> String {
    let secrets = fan.key_file().and_then(|file| host.keys.get(file)?.as_ref().ok());
    let (Some(secrets), Some(first)) = (secrets, fan.epochs.first()) else { return String::new() };
    let fingerprint = secrets.iter().find(|secret| secret.epoch == *first).map(Secret::fingerprint);
    let peers = desired.values().find_map(|object| match object {
        Object::Peers(peers) if peers.link == fan.tunnel() => Some(peers.count()),
        _ => None,
    });
    match (fingerprint, peers) {
        (Some(fingerprint), Some(peers)) => format!(", encrypted (epoch {first}, {fingerprint}), {peers}"),
        _ => String::new(),
    }
}

/// That the kernel has no WireGuard, if the fan takes it.
fn kernel_lacks(fan: &Fan) -> Option<Reason> {
    fan.key_file()?;
    let refusal = Wireguard::connect().err()?;
    Some(reason!(
        KernelUnfit,
        "the kernel has no wireguard ({refusal}), and nothing travels unencrypted in its place; it is a module of Linux since 5.6, \
         which some systems have in a package of its own"
    ))
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
