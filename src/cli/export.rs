//! `export`: a fan in the language of a container runtime, as the kernel has it; where it is not up, as it is configured.

use std::io::{self, Write};

use serde::Serialize;

use super::config::faultless;
use super::is_called;
use crate::cli::args::ExportArgs;
use crate::error::Error;
use crate::export::{self, Given, Network};
use crate::fan::json::Document;
use crate::fan::mapping::Overlay;
use crate::fan::shell::Line;
use crate::fan::text::excerpt;
use crate::kernel::file::{self, FILE_LIMIT};
use crate::kernel::{Machine, Scope};
use crate::plan::desired;
use crate::plan::host::Host;
use crate::plan::reason::{Reason, ReasonCode, reason};
use crate::plan::resolve::resolve;
use crate::plan::state::{State, bridges};
use crate::shell;

/// Prints what a runtime has to be told.
pub(crate) fn export(args: &ExportArgs, out: &mut dyn Write) -> Result<(), Error> {
    args.says_nothing_idle()?;
    let (owned, host) = Machine::connect()?.look(Scope::All)?;
    let network = match choose(up(&owned, args), args)? {
        Some(network) => network,
        None => configured(&owned, &host, args)?,
    };
    if let Some(file) = &args.check {
        return check(&network, file, args, out);
    }
    let name = args.name.as_deref().unwrap_or("fan");
    let text = if args.default_bridge {
        network.docker_daemon()
    } else if args.swarm {
        network.docker_swarm(name)
    } else {
        network
            .render(args.runtime, name)
            .map_err(|reason| Error::Refused(vec![Reason::new(ReasonCode::RuntimeRefused, reason)]))?
    };
    let replace = |there: &str| {
        if args.default_bridge {
            network.merged_docker_daemon(there, args.target.force)
        } else {
            export::may_replace(args.runtime, name, there).map(|()| text.clone())
        }
    };
    args.target.write(&text, replace, out)
}

/// Compares what a runtime has with what it should have.
fn check(network: &Network, name: &str, args: &ExportArgs, out: &mut dyn Write) -> Result<(), Error> {
    let read = match name {
        "-" => file::bounded(io::stdin(), FILE_LIMIT).and_then(file::text),
        _ => file::read_text(name, FILE_LIMIT),
    };
    let text = read.map_err(|error| Error::Failed(format!("file '{name}': {error}")))?;
    let (runtime, overlay, bridge) = (args.runtime, network.fan.overlay(), &network.fan.bridge);
    let given = export::networks(runtime, &text, args.default_bridge)
        .map_err(|reason| Error::Failed(format!("file '{name}' {reason}")))?;
    let refusal = |given: &Given| {
        let wrong = network.disagreements(given).join("; ");
        let again = if args.default_bridge { shell!(" --default-bridge") } else { Line::default() };
        (!wrong.is_empty()).then(|| {
            reason!(
                RuntimeRefused,
                "{runtime}'s network '{}' is none for fan {overlay}: {wrong}; make it anew, by: {}",
                excerpt(&given.name),
                shell!("fanctl export {}{} {}", runtime.to_string(), again, bridge)
            )
        })
    };
    let refusals: Vec<Reason> = given.iter().filter_map(refusal).collect();
    if args.json.is_wanted() {
        let networks = given.iter().map(|given| Judged::new(network, given));
        let told = Checked { version: 2, overlay, networks: networks.collect() };
        args.json.write(Document::Other, &told, out)?;
        return if refusals.is_empty() { Ok(()) } else { Err(Error::Refused(refusals)) };
    }
    if !refusals.is_empty() {
        return Err(Error::Refused(refusals));
    }
    for given in given {
        writeln!(out, "{runtime}'s network '{}' is as fan {overlay} has it", excerpt(&given.name))?;
    }
    Ok(())
}

/// What `export --check --json` tells.
#[derive(Serialize)]
struct Checked {
    version: u8,
    overlay: Overlay,
    networks: Vec<Judged>,
}

/// A network of a runtime.
#[derive(Serialize)]
struct Judged {
    name: String,
    fits: bool,
    /// In what it is not as the fan has it.
    errors: Vec<String>,
}

impl Judged {
    fn new(network: &Network, given: &Given) -> Self {
        let errors = network.disagreements(given);
        Self { name: excerpt(&given.name), fits: errors.is_empty(), errors }
    }
}

/// The fans that are up and may be meant.
fn up(owned: &State, args: &ExportArgs) -> Vec<Network> {
    let networks = bridges(owned).map(|bridge| Network::new(bridge.fan.clone(), bridge.mtu));
    networks.filter(|network| is_meant(network, args)).collect()
}

/// The fan of the configuration that is meant, as it would be brought up.
fn configured(owned: &State, host: &Host, args: &ExportArgs) -> Result<Network, Error> {
    let (configuration, files) = args.config.read();
    faultless(&configuration)?;
    let (mut networks, mut reasons) = (Vec::new(), Vec::new());
    for config in configuration.enabled() {
        match resolve(config, host, owned) {
            Ok(resolved) => {
                let mtu = desired::mtu(&resolved.fan, host);
                networks.push(Network::new(resolved.fan, mtu));
            }
            Err(reason) => reasons.push(reason.about(&format!("fan {}", config.overlay))),
        }
    }
    networks.retain(|network| is_meant(network, args));
    if let Some(network) = choose(networks, args)? {
        if args.verbose {
            let overlay = network.fan.overlay();
            writeln!(io::stderr(), "fan {overlay} is not up: this is what {files} has of it")?;
        }
        return Ok(network);
    }
    if !reasons.is_empty() {
        return Err(Error::Refused(reasons));
    }
    Err(Error::Failed(match &args.fan {
        Some(text) => format!("fan '{text}' is neither up nor configured; see: fanctl show"),
        None => "no fan is up, and none is configured; first: fanctl up 250.0.0.0/8 eth0/16".into(),
    }))
}

fn is_meant(network: &Network, args: &ExportArgs) -> bool {
    args.fan.as_deref().is_none_or(|text| is_called(&network.fan, text))
}

/// The only one, if there is one.
fn choose(mut networks: Vec<Network>, args: &ExportArgs) -> Result<Option<Network>, Error> {
    if networks.len() < 2 {
        return Ok(networks.pop());
    }
    let names: Vec<_> = networks.iter().map(|network| network.fan.bridge.as_str()).collect();
    let one = shell!("fanctl export {} {}", args.runtime.to_string(), networks[0].fan.bridge);
    Err(Error::Usage(format!("several fans could be meant: {}; name one: {one}", names.join(", "))))
}
