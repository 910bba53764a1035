//! `fanctl lab`: the fan of 2015 on one machine, with the real program.
//!
//! Hosts and containers are network namespaces, the network between the hosts is a bridge in a namespace of its own, and
//! every host runs `fanctl up` as it would anywhere. Then containers on different hosts ping, connect and send. All
//! links are made inside the namespaces: the machine's own network is never touched.

pub mod args;
mod build;
mod interrupt;
mod measure;
mod namespaces;
mod report;
mod topology;
mod wire;

use std::io::Write;
use std::process::Command;

use serde::Serialize;

use crate::error::Error;
use crate::fan::encap::{Encapsulation, WIREGUARD_PORT};
use crate::fan::json::Document;
use crate::fan::keys::file::port_of;
use crate::kernel::exec;
use crate::lab::args::{LabAction, LabArgs};
use crate::plan::reason::{Reason, ReasonCode};
use interrupt::Interrupt;
use namespaces::Stage;
use report::{LabSetting, Results, Throughput};
use topology::{FanHost, Node};
use wire::Wire;

/// How many times a stream is measured, each time next to one between the hosts.
const TURNS: u8 = 12;

/// Builds a lab and tries it, or removes one that was kept.
///
/// # Errors
/// Why there can be no lab, the step that failed, or the signal that came; nothing of the lab is left then.
pub(crate) fn command(args: &LabArgs, out: &mut dyn Write) -> Result<(), Error> {
    args.says_nothing_idle()?;
    match args.action {
        LabAction::Run => run(args, out),
        LabAction::Down => down(args, out),
    }
}

/// Builds the lab, measures, prints the account, and removes the lab unless it is to be kept.
fn run(args: &LabArgs, out: &mut dyn Write) -> Result<(), Error> {
    let mut reasons: Vec<String> = without_root().into_iter().chain(missing_programs()).collect();
    let standing = namespaces::standing()?.len();
    if standing > 0 {
        reasons.push(format!(
            "lab: one is standing already ({standing} namespaces); remove it with: sudo fanctl lab down"
        ));
    }
    if !reasons.is_empty() {
        return Err(refused(reasons));
    }
    let mut stage = Stage::new(Interrupt::listen()?, args.verbose);
    match perform(&mut stage, args, out) {
        Ok(()) if args.keep => stage.keep(),
        Ok(()) => stage.remove()?,
        Err(error) => {
            return Err(match stage.remove() {
                Ok(()) => error,
                Err(left) => Error::Failed(format!("{error}\nand removing the lab failed too:\n{left}")),
            });
        }
    }
    Ok(())
}

/// That the lab cannot be built or removed.
fn refused(reasons: Vec<String>) -> Error {
    let reasons = reasons.into_iter().map(|text| Reason::new(ReasonCode::LabRefused, text));
    Error::Refused(reasons.collect())
}

/// Removes a lab that was kept, or that was killed.
fn down(args: &LabArgs, out: &mut dyn Write) -> Result<(), Error> {
    if let Some(reason) = without_root() {
        return Err(refused(vec![reason]));
    }
    let stage = Stage::standing(args.verbose)?;
    let count = stage.len();
    stage.remove()?;
    if args.json.is_wanted() {
        let removed = serde_json::json!({ "removed_namespaces": count });
        return Ok(args.json.write(Document::Other, &removed, out)?);
    }
    let sentence = match count {
        0 => "there is no lab".into(),
        _ => format!("removed the lab: {count} namespaces"),
    };
    print(out, &[sentence])
}

fn without_root() -> Option<String> {
    let reason = "lab: it is made of network namespaces, which needs root: sudo fanctl lab";
    (!nix::unistd::geteuid().is_root()).then(|| reason.into())
}

/// The two programs that a lab runs, by what they say their name is: busybox has others by the same names.
fn missing_programs() -> impl Iterator<Item = String> {
    let programs = [
        ("ip", "iproute2", "iproute2 (Debian, Ubuntu, Arch, Alpine) or iproute (Fedora)"),
        ("ping", "iputils", "iputils-ping (Debian, Ubuntu) or iputils (Fedora, Arch, Alpine)"),
    ];
    programs.into_iter().filter_map(|(program, suite, packages)| {
        let version = Command::new(program).env_clear().env("PATH", exec::PATH).arg("-V").output();
        let present = version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(suite));
        (!present).then(|| format!("lab: it needs '{program}' of {suite}; install {packages}"))
    })
}

/// The whole story, in order.
fn perform(stage: &mut Stage, args: &LabArgs, out: &mut dyn Write) -> Result<(), Error> {
    let setting = build::build(stage, args)?;
    let mut say = |lines: Vec<String>| if args.json.is_wanted() { Ok(()) } else { print(out, &lines) };
    say(report::opening(&setting))?;
    let results = measure(stage, &setting, &mut say)?;
    if args.keep {
        say(report::kept(&setting.hosts))?;
    }
    if args.json.is_wanted() {
        #[derive(Serialize)]
        struct Everything<'a> {
            #[serde(flatten)]
            setting: &'a LabSetting,
            #[serde(flatten)]
            results: &'a Results,
        }
        let everything = Everything { setting: &setting, results: &results };
        args.json.write(Document::Other, &everything, out)?;
    }
    stage.interrupt().check() // a signal at the last moment counts too
}

/// Every container pings one on another host, and the first containers of all hosts ping and connect to each other.
/// The first two are compared with their hosts.
fn measure(
    stage: &Stage,
    setting: &LabSetting,
    say: &mut dyn FnMut(Vec<String>) -> Result<(), Error>,
) -> Result<Results, Error> {
    let mut results = Results::default();
    let hosts = &setting.hosts[..];
    let [one, two, ..] = hosts else { return Ok(results) };
    let is_encrypted = setting.encapsulation == Encapsulation::Wireguard;
    let wire = is_encrypted.then(Wire::tap).transpose()?;
    for (from, to, count) in ping_pairs(hosts) {
        results.ping.push(measure::ping(stage, from, to, count)?);
    }
    say(report::pings(&results.ping))?;
    for (from, to) in first_pairs(hosts) {
        stage.interrupt().check()?;
        results.tcp.push(measure::connection(from, to)?);
    }
    say(report::connections(&results.tcp))?;
    if let Some(wire) = wire {
        let port = WIREGUARD_PORT + port_of(1);
        let overheard = wire.overheard(hosts, port)?.proven()?;
        results.overheard = Some(overheard);
        say(report::overheard(overheard))?;
    }
    for (from, to) in [(one, two), (two, one)] {
        results.underlay_ping.push(measure::ping(stage, &from.host.place, &to.host.place, 10)?);
    }
    for (from, to) in [(one, two), (two, one)] {
        results.throughput.push(throughput(stage, from, to)?);
    }
    say(report::throughputs(&results.throughput))?;
    say(report::scale(&results.underlay_ping))?;
    Ok(results)
}

fn throughput(stage: &Stage, from: &FanHost, to: &FanHost) -> Result<Throughput, Error> {
    let inside = (&from.host.containers[0], &to.host.containers[0]);
    let outside = (&from.host.place, &to.host.place);
    let (mut fan, mut underlay) = (0.0, 0.0);
    // In short turns, so that a machine that is busy meanwhile favours neither.
    for _ in 0..TURNS {
        fan += measure::throughput(stage.interrupt(), inside.0, inside.1)?;
        underlay += measure::throughput(stage.interrupt(), outside.0, outside.1)?;
    }
    let (bits_per_second, underlay_bits_per_second) = (fan / f64::from(TURNS), underlay / f64::from(TURNS));
    let ratio = bits_per_second / underlay_bits_per_second;
    Ok(Throughput { from: inside.0.address, to: inside.1.address, bits_per_second, underlay_bits_per_second, ratio })
}

/// The first containers of all hosts, each with each, both ways.
fn first_pairs(hosts: &[FanHost]) -> Vec<(&Node, &Node)> {
    let firsts: Vec<&Node> = hosts.iter().filter_map(|host| host.host.containers.first()).collect();
    let mut pairs = Vec::new();
    for (index, one) in firsts.iter().enumerate() {
        for two in &firsts[index + 1..] {
            pairs.extend([(*one, *two), (*two, *one)]);
        }
    }
    pairs
}

/// Who pings whom, and how often: the first containers each with each, every other with its namesake on the next host.
fn ping_pairs(hosts: &[FanHost]) -> Vec<(&Node, &Node, u32)> {
    let firsts = first_pairs(hosts).into_iter().enumerate();
    let mut pairs: Vec<_> = firsts.map(|(index, (from, to))| (from, to, if index < 2 { 10 } else { 1 })).collect();
    for (here, next) in hosts.iter().zip(hosts.iter().cycle().skip(1)) {
        let namesakes = here.host.containers.iter().zip(&next.host.containers).skip(1);
        pairs.extend(namesakes.map(|(from, to)| (from, to, 1)));
    }
    pairs
}

fn print(out: &mut dyn Write, lines: &[String]) -> Result<(), Error> {
    let printed = lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    printed.map_err(|error| Error::Failed(format!("cannot print the account: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use topology::Topology;

    #[test]
    fn every_container_pings_a_container_on_another_host_and_every_host_every_other() {
        let fan = |host| FanHost { host, prefix: 24, mtu: 1480 };
        let hosts: Vec<FanHost> = Topology::new(4, 3).hosts.into_iter().map(fan).collect();
        let mapping = Topology::new(4, 3).mapping;
        let pairs = ping_pairs(&hosts);
        assert_eq!(pairs.len(), 4 * 3 + 4 * 2);
        let ends = pairs.iter().map(|(from, to, _)| (mapping.host(from.address), mapping.host(to.address)));
        let ends: std::collections::BTreeSet<_> = ends.collect();
        assert_eq!(ends.len(), 4 * 3);
        assert!(ends.iter().all(|(from, to)| from != to));
        for container in hosts.iter().flat_map(|host| &host.host.containers) {
            assert!(pairs.iter().any(|(from, ..)| from.address == container.address), "{}", container.address);
        }
    }
}
