//! `trace`: asks the kernel about the way to an address, sends probes, and tells what they prove.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use crate::cli::args::TraceArgs;
use crate::diagnose::gather::prober::Prober;
use crate::diagnose::trace::hops::{HopFacts, steps};
use crate::diagnose::trace::probe::{Aim, Evidence, Leg, ProbeOutcome, Search};
use crate::diagnose::trace::report::{Trace, VERDICT};
use crate::diagnose::trace::verdict::verdict;
use crate::diagnose::trace::{Location, Target, packet};
use crate::error::Error;
use crate::fan::encap::Encapsulation;
use crate::fan::json::Document;
use crate::fan::text::{Output, Paint};
use crate::kernel::{Machine, Scope};
use crate::plan::host::{Host, Reachability};
use crate::plan::state::{Direction, Slot};

/// Traces an address.
pub(crate) fn trace(args: &TraceArgs, out: &mut dyn Output) -> Result<(), Error> {
    let machine = Machine::connect()?;
    let (owned, host) = machine.look(Scope::All)?;
    let target = Target::find(args.address, &owned, &host).map_err(Error::Failed)?;
    let progress = Progress::new();
    progress.tell(&format!("asking the kernel about the way to {} ...", target.address));
    let mut facts = ask(&machine, &target, &host)?;
    progress.tell("sending test packets ...");
    let mut evidence = prove(&machine, &target, &facts, args.wait())?;
    progress.tell("");
    let (_, after) = machine.look(Scope::All)?;
    evidence.refused = refused(&target, &after).saturating_sub(refused(&target, &host));
    if target.place == Location::Here {
        // Whoever has the address was asked for it by now.
        facts.neighbour = machine.neighbour(&target.fan.bridge, target.address)?;
        if let Some(Reachability::Known(mac)) = facts.neighbour {
            facts.port = machine.port(&target.fan.bridge, mac)?;
        }
    }
    let steps = steps(&target, &facts, (&owned, &host));
    let trace = Trace { verdict: verdict(&target, &steps, &evidence), target, steps, evidence };
    if args.json.is_wanted() {
        args.json.write(Document::Other, &trace.json(), out)?;
    } else {
        let paint = if trace.verdict.works { Paint::Good } else { Paint::Bad };
        out.painted(paint, VERDICT)?;
        write!(out, "{}", trace.text())?;
    }
    if trace.verdict.works { Ok(()) } else { Err(Error::Found) }
}

/// What is being done, on standard error, where a person waits there.
struct Progress {
    is_watched: bool,
}

impl Progress {
    fn new() -> Self {
        Self { is_watched: stderr().is_terminal() }
    }

    /// Says it in the place of what was said before; nothing clears the line for the verdict.
    fn tell(&self, what: &str) {
        if self.is_watched {
            // From the start of the line, and nothing behind it (EL, ECMA-48, 8.3.41). It does not matter if it is not seen.
            let _ = write!(stderr(), "\r{what}\x1b[K");
        }
    }
}

/// Asks which way packets go, and what the program on the tunnel says.
fn ask(machine: &Machine, target: &Target, host: &Host) -> Result<HopFacts, Error> {
    let slot = Slot::Fan(target.fan.overlay());
    let tunnel = host.link(&target.fan.tunnel());
    let egress = tunnel.and_then(|tunnel| tunnel.program(Direction::Egress, slot));
    let frame = packet::frame(target.fan.gateway(), target.address);
    Ok(HopFacts {
        own: machine.route(&target.own_flow())?,
        containers: match target.container_flow() {
            Some(flow) => Some(machine.route(&flow)?),
            None => None,
        },
        outer: match target.outer_flow() {
            Some(flow) => Some(machine.route(&flow)?),
            None => None,
        },
        program: egress.map(|program| {
            let answer = Machine::ask_program(program.id, &frame);
            answer.map_err(|_| "only root may ask the program itself".into())
        }),
        neighbour: None,
        port: None,
    })
}

/// How long the kernel takes to find out that nobody has an address: three questions, a second apart (`mcast_solicit`,
/// `retrans_time_ms`, arp(7)).
const UNANSWERED: Duration = Duration::from_millis(3500);

/// Sends probes, and what more it takes to understand what came of them.
fn prove(machine: &Machine, target: &Target, facts: &HopFacts, wait: Duration) -> Result<Evidence, Error> {
    let mut evidence = Evidence::default();
    let mut prober = match Prober::open(target) {
        Ok(prober) => prober,
        Err(error) => {
            evidence.unproven = Some(error.to_string());
            return Ok(evidence);
        }
    };
    let probes = target.probes();
    let outcomes = prober.run(&probes, wait);
    evidence.probes = probes.into_iter().zip(outcomes).collect();
    if target.place != Location::There || evidence.answered(Leg::Gateway, Aim::Small) {
        wait_for_an_error(&mut prober, &mut evidence, UNANSWERED);
    }
    if target.place == Location::There && !prober.seen().left() && !evidence.arrives() {
        // Whoever was asked for a moment ago is asked for again only when that has failed (arp(7)).
        let again: Vec<_> = target.probes().into_iter().filter(|probe| probe.aim == Aim::Small).collect();
        prober.run(&again, wait);
    }
    confirm(&mut prober, &mut evidence, wait);
    measure(&mut prober, target, &mut evidence, wait / 2);
    evidence.on_bridge = machine.neighbour(&target.fan.bridge, target.address)?;
    let gateway = machine.neighbour(&target.fan.bridge, target.gateway)?;
    let is_known = [evidence.on_bridge, gateway].iter().any(|found| matches!(found, Some(Reachability::Known(_))));
    // Whoever was known a moment ago may not be heard from any more.
    evidence.knows = is_known && !prober.seen().arp_came().is_empty();
    evidence.knew = is_known && !evidence.knows;
    if let Some(Ok(outer)) = &facts.outer {
        let seen = prober.seen();
        // WireGuard keeps packets back until a handshake, so that none may leave where nothing drops them.
        let is_kept = target.fan.options.encapsulation == Encapsulation::Wireguard && !seen.left();
        evidence.left = (!is_kept).then_some(seen.left());
        evidence.came.extend(seen.came());
        evidence.lost = seen.lost();
        // Answers of ARP that nobody heeded are lost here as well.
        if !is_known {
            evidence.came.extend(seen.arp_came());
            evidence.lost.extend(seen.arp_came());
        }
        evidence.way_out = Some(outer.device.clone());
        evidence.router = outer.gateway;
        evidence.next_hop = machine.neighbour(&outer.device, outer.gateway.unwrap_or(target.host))?;
        let is_unexplained = evidence.is_lost() && !evidence.knows && seen.complaints().is_empty();
        if is_unexplained && outer.gateway.is_some() {
            evidence.hops = prober.hops(wait);
        }
    }
    evidence.complaints = prober.seen().complaints().to_vec();
    evidence.handshake = Machine::handshake(target);
    Ok(evidence)
}

/// How many packets the programs on the tunnel have refused.
fn refused(target: &Target, host: &Host) -> u64 {
    host.link(&target.fan.tunnel()).map_or(0, |link| link.counters.refused)
}

/// Asks for the address once more, if it is silent, and gives whoever is in charge of it the time to say that nobody has
/// it.
fn wait_for_an_error(prober: &mut Prober, evidence: &mut Evidence, wait: Duration) {
    let asked = evidence.probes.iter_mut().find(|(probe, outcome)| {
        (probe.leg, probe.aim) == (Leg::Address, Aim::Small) && *outcome == ProbeOutcome::Silence
    });
    if let Some((probe, outcome)) = asked {
        *outcome = prober.run(&[*probe], wait).remove(0);
    }
}

/// How often checksums have to be found spoilt.
const CONFIRMATIONS: u32 = 2;

/// Sends UDP again where only that without a checksum was answered: a packet that was lost, or the limit of ICMP errors
/// (`icmp_ratelimit`, icmp(7)), looks the same, but not each time.
fn confirm(prober: &mut Prober, evidence: &mut Evidence, wait: Duration) {
    for _ in 0..CONFIRMATIONS {
        let Some(leg) = evidence.spoilt() else { return };
        let mut again: Vec<_> =
            evidence.probes.iter_mut().filter(|(probe, _)| probe.leg == leg && probe.aim.is_udp()).collect();
        let probes: Vec<_> = again.iter().map(|(probe, _)| *probe).collect();
        for ((_, outcome), found) in again.iter_mut().zip(prober.run(&probes, wait)) {
            *outcome = found;
        }
    }
}

/// Finds out how large packets may be where full ones do not arrive.
fn measure(prober: &mut Prober, target: &Target, evidence: &mut Evidence, wait: Duration) {
    let mut searches = evidence.searches();
    while searches.iter().any(|search| !search.sizes().is_empty()) {
        let probes = |search: &Search| {
            let leg = search.leg;
            let sizes = search.sizes().into_iter();
            sizes.map(move |size| target.probe(leg, Aim::Measure, size))
        };
        let probes: Vec<_> = searches.iter().flat_map(probes).collect();
        let outcomes = prober.run(&probes, wait);
        let arrived = |leg| -> Vec<u32> {
            let answers = probes.iter().zip(&outcomes);
            let arrived =
                answers.filter(|(probe, outcome)| probe.leg == leg && matches!(outcome, ProbeOutcome::Answered(_)));
            arrived.map(|(probe, _)| probe.size).collect()
        };
        searches = searches.into_iter().map(|search| search.narrowed(&arrived(search.leg))).collect();
    }
    evidence.measured = searches.iter().map(|search| (search.leg, search.fits)).collect();
}
