//! Each verb as a choice of the desired set: observe, desire, diff, print or apply, and look again.

use std::io::{BufRead, Write};
use std::net::Ipv4Addr;

use nix::sys::signal::{SigSet, Signal};
use serde::Serialize;

use crate::apply::{Failure, apply};
use crate::cli::{Cli, Command, MapArgs, OutputArgs, ShowArgs};
use crate::config::{Config, Place, UnderlaySource};
use crate::desire;
use crate::error::Error;
use crate::fan::Fan;
use crate::lock::Lock;
use crate::machine::{self, Machine, Scope};
use crate::mapping::{Mapping, Overlay};
use crate::name::InterfaceName;
use crate::object::{Bridge, Host, Object, Owner, State, fans};
use crate::plan::{Step, diff, refusals};
use crate::report::{self, Report};
use crate::transcript::{self, describe};
use crate::{conflict, lab};

/// Does what the command line says, and writes what was asked for to `out`.
///
/// # Errors
/// How it ended otherwise.
pub fn run(cli: &Cli, out: &mut dyn Write) -> Result<(), Error> {
    match &cli.command {
        Command::Up(args) => up(&args.config()?, args.output, out),
        Command::Down(args) if args.everything => down_everything(args.output, out),
        Command::Down(args) => {
            let (overlay, underlay) = args.pair()?;
            down(overlay, &underlay, args.output, out)
        }
        Command::Show(args) => show(args, out),
        Command::Map(args) => map(args, out),
        Command::Lab(args) => lab::command(args, out),
    }
}

/// Brings a fan up, or makes one that is up as asked for.
fn up(config: &Config, output: OutputArgs, out: &mut dyn Write) -> Result<(), Error> {
    if !config.enabled {
        return Ok(note(output, &format!("fan {} is off: left alone", config.overlay)));
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
fn down(overlay: Overlay, underlay: &UnderlaySource, output: OutputArgs, out: &mut dyn Write) -> Result<(), Error> {
    let change = Change::begin("down", output)?;
    if let Some(fan) = fans(&change.owned).find(|fan| fan.overlay() == overlay) {
        is_meant(fan, underlay).map_err(|reason| Error::Refused(vec![reason]))?;
    }
    let rest = desire::without(&change.owned, Owner::Fan(overlay));
    change.take_down(desire::with_shared(rest, &change.host), &format!("fan {overlay}"), out)
}

/// Takes every fan down.
fn down_everything(output: OutputArgs, out: &mut dyn Write) -> Result<(), Error> {
    Change::begin("down", output)?.take_down(State::new(), "every fan", out)
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
                "fanctl {verb} changes the network, which takes root; try: sudo fanctl {verb} ..., or --dry-run to look"
            )));
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
        let resolved = desire::resolve(config, &self.host).map_err(|reason| Error::Refused(vec![reason]))?;
        note(self.output, &resolved.choice);
        Ok(resolved.fan)
    }

    fn take_down(&self, desired: State, what: &str, out: &mut dyn Write) -> Result<(), Error> {
        let steps = diff(&self.owned, &desired);
        let reasons = refusals(&steps, &self.host);
        if !reasons.is_empty() {
            return Err(Error::Refused(reasons));
        }
        let changed = self.carry_out(&steps, &desired, false, out)?;
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
            requirement.into_iter().chain(steps.iter().flat_map(transcript::lines))
        };
        if self.output.dry_run {
            if self.output.json {
                serde_json::to_writer_pretty(&mut *out, &lines().collect::<Vec<_>>()).map_err(std::io::Error::from)?;
                writeln!(out)?;
            } else {
                lines().try_for_each(|line| writeln!(out, "{line}"))?;
            }
            return Ok(!steps.is_empty());
        }
        // A plan takes milliseconds. A signal that comes meanwhile is heard when it is done.
        let _held = HeldSignals::hold();
        if ip_forward {
            note(self.output, &format!("# {}", transcript::IP_FORWARD));
            machine::enable_ip_forward()?;
        }
        if steps.is_empty() {
            return Ok(ip_forward);
        }
        apply(steps, |step| {
            transcript::lines(step)
                .iter()
                .for_each(|line| note(self.output, &format!("# {line}")));
            self.machine.perform(step)
        })
        .map_err(|failure| failed(&failure))?;
        self.verify(steps, desired)?;
        Ok(true)
    }

    /// Looks whether the kernel holds what was asked of it; if it does not, takes the plan back.
    fn verify(&self, steps: &[Step], desired: &State) -> Result<(), Error> {
        let (found, _) = self.machine.observe(Scope::All)?;
        let rest = diff(&found, desired);
        let Some(first) = rest.first() else { return Ok(()) };
        let undo: Vec<Step> = steps.iter().rev().map(|step| step.clone().inverse()).collect();
        let end = match apply(&undo, |step| self.machine.perform(step)) {
            Ok(()) => "everything was taken back".to_string(),
            Err(failure) => format!("taking it back: {}", failed(&failure)),
        };
        Err(Error::Failed(format!(
            "{} is not as asked for after all steps succeeded: something else manages it; {end}",
            describe(first.object())
        )))
    }

    fn tell(&self, sentence: &str, changed: bool, fan: Option<&Fan>, out: &mut dyn Write) -> Result<(), Error> {
        if !self.output.json {
            return Ok(writeln!(out, "{sentence}")?);
        }
        #[derive(Serialize)]
        struct Outcome {
            changed: bool,
            fan: Option<Report>,
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

/// The sentence for a step that failed: what, on which object, the reason, and how things stand now.
fn failed(failure: &Failure<machine::Error>) -> Error {
    let step = |step: &Step| format!("{} {}", transcript::verb(step), describe(step.object()));
    let after = if failure.left.is_empty() {
        "everything is as it was".to_string()
    } else {
        let left: Vec<String> = failure
            .left
            .iter()
            .map(|(undo, cause)| format!("cannot {}: {cause}", step(undo)))
            .collect();
        format!("and taking back failed: {}", left.join("; "))
    };
    Error::Failed(format!("cannot {}: {}; {after}", step(&failure.step), failure.cause))
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
        eprintln!("{line}");
    }
}

fn json(value: &impl Serialize, out: &mut dyn Write) -> Result<(), Error> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

fn bridges(state: &State) -> impl Iterator<Item = &Bridge> {
    state.values().filter_map(|object| {
        if let Object::Bridge(bridge) = object {
            Some(bridge)
        } else {
            None
        }
    })
}

/// Shows the fans that are up.
fn show(args: &ShowArgs, out: &mut dyn Write) -> Result<(), Error> {
    let scope = if args.json || args.program {
        Scope::All
    } else {
        Scope::Links
    };
    let (owned, host) = Machine::connect()?.observe(scope)?;
    let wanted = |fan: &Fan| args.fan.as_deref().is_none_or(|text| is_selected(fan, text));
    let chosen: Vec<&Bridge> = bridges(&owned).filter(|bridge| wanted(&bridge.fan)).collect();
    if let (Some(text), true) = (&args.fan, chosen.is_empty()) {
        return Err(Error::Failed(format!(
            "fan '{text}' is not up; see which are: fanctl show"
        )));
    }
    if args.json {
        let reports: Vec<Report> = chosen.iter().map(|bridge| Report::new(bridge, &owned, &host)).collect();
        json(&reports, out)
    } else if args.program {
        chosen
            .iter()
            .try_for_each(|bridge| Ok(write!(out, "{}", report::programs(&bridge.fan, &owned, &host))?))
    } else {
        Ok(write!(
            out,
            "{}",
            report::table(chosen.iter().map(|bridge| &bridge.fan))
        )?)
    }
}

fn is_selected(fan: &Fan, text: &str) -> bool {
    text == fan.bridge.as_str() || text.parse::<Overlay>().is_ok_and(|overlay| overlay == fan.overlay())
}

/// What `map` tells of an address.
#[derive(Serialize)]
struct Mapped {
    address: Ipv4Addr,
    kind: &'static str,
    overlay: Overlay,
    underlay: crate::mapping::Underlay,
    slice: ipnetwork::Ipv4Network,
    host: Ipv4Addr,
    gateway: Ipv4Addr,
    bridge: InterfaceName,
}

impl Mapped {
    fn new(mapping: Mapping, text: &str) -> Result<Self, Error> {
        let (overlay, underlay) = (mapping.overlay(), mapping.underlay());
        let address: Ipv4Addr = text.parse().map_err(|_| {
            Error::Usage(format!(
                "address '{text}' is no IPv4 address; write one of {overlay} or {underlay}"
            ))
        })?;
        let (kind, host) = if underlay.contains(address) {
            ("host", address)
        } else if overlay.contains(address) {
            ("overlay", mapping.host(address))
        } else {
            return Err(Error::Usage(format!(
                "address '{address}' is neither in overlay {overlay} nor in underlay {underlay}"
            )));
        };
        let slice = mapping.slice(host);
        let (gateway, bridge) = (mapping.gateway(host), InterfaceName::of_slice(slice));
        Ok(Self {
            address,
            kind,
            overlay,
            underlay,
            slice,
            host,
            gateway,
            bridge,
        })
    }
}

/// Tells slices and hosts. Addresses are taken one by one and answered at once, however many there are.
fn map(args: &MapArgs, out: &mut dyn Write) -> Result<(), Error> {
    let underlay = args.underlay.underlay().ok_or_else(|| {
        Error::Usage(format!(
            "underlay '{}' is no network; map looks at no host: write it like 172.30.0.0/16",
            args.underlay
        ))
    })?;
    let mapping = Mapping::new(args.overlay, underlay).map_err(Error::Usage)?;
    let mut separator = "[\n";
    if !args.json {
        writeln!(
            out,
            "{:16} {:8} {:19} {:16} {:16} Bridge",
            "Address", "Kind", "Slice", "Host", "Gateway"
        )?;
    }
    let mut one = |text: &str, out: &mut dyn Write| -> Result<(), Error> {
        let Mapped {
            address,
            kind,
            slice,
            host,
            gateway,
            bridge,
            ..
        } = &match Mapped::new(mapping, text)? {
            mapped if args.json => {
                out.write_all(separator.as_bytes())?;
                separator = ",\n";
                return Ok(serde_json::to_writer(&mut *out, &mapped).map_err(std::io::Error::from)?);
            }
            mapped => mapped,
        };
        let slice = slice.to_string();
        Ok(writeln!(
            out,
            "{address:16} {kind:8} {slice:19} {host:16} {gateway:16} {bridge}"
        )?)
    };
    for text in &args.addresses {
        if text != "-" {
            one(text, out)?;
            continue;
        }
        let mut input = std::io::stdin().lock();
        let mut line = String::new();
        for number in 1_u64.. {
            line.clear();
            if input.read_line(&mut line)? == 0 {
                break;
            }
            match line.trim() {
                "" => {}
                text => one(text, out).map_err(|error| match error {
                    Error::Usage(reason) => Error::Usage(format!("standard input, line {number}: {reason}")),
                    other => other,
                })?,
            }
        }
    }
    if args.json {
        out.write_all(if separator == "[\n" { b"[" } else { b"" })?;
        writeln!(out, "\n]")?;
    }
    Ok(())
}
