//! `fanctl lab`: the fan of 2015 on one machine, with the real program.
//!
//! Hosts and containers are network namespaces, the network between the hosts is a bridge in a namespace of its own, and
//! every host runs `fanctl up` as it would anywhere. Then containers on different hosts ping, connect and send. All
//! links are made inside the namespaces: the machine's own network is never touched.

mod build;
mod interrupt;
mod measure;
mod report;
mod stage;
mod topology;

use std::fmt::{self, Display};
use std::io::Write;
use std::process::Command;

use serde::Serialize;

use crate::encap::Encapsulation;
use interrupt::Interrupt;
use report::{Results, Setting, Throughput};
use stage::Stage;
use topology::{FanHost, Place, Topology};

/// How many times a stream is measured, each time next to one between the hosts.
const TURNS: u8 = 12;

/// What lab is wanted.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many hosts, 2 to 16.
    pub hosts: u8,
    /// How many containers each host has, 1 to 100.
    pub containers: u8,
    /// The encapsulation; without one IPIP, or VXLAN on a kernel that has no IPIP.
    pub encapsulation: Option<Encapsulation>,
    /// Leave the lab standing.
    pub keep: bool,
    /// Print each command to standard error as it runs.
    pub verbose: bool,
    /// Print the results as JSON, and no account.
    pub json: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hosts: 2,
            containers: 2,
            encapsulation: None,
            keep: false,
            verbose: false,
            json: false,
        }
    }
}

/// Why there is no account, or no whole one.
#[derive(Debug)]
pub enum Error {
    /// The number of the signal that asked the lab to end.
    Interrupted(i32),
    /// Why there can be no lab, in a sentence; nothing was touched.
    Refused(String),
    /// What failed, in a sentence; the lab is removed.
    Failed(String),
}

impl Error {
    fn failed(sentence: impl Into<String>) -> Self {
        Self::Failed(sentence.into())
    }

    fn refused(sentence: impl Into<String>) -> Self {
        Self::Refused(sentence.into())
    }

    /// The exit code of the program: 128 and the signal, as a shell has it; 3 when refused, 1 when failed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
            Self::Refused(_) => 3,
            Self::Failed(_) => 1,
        }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted(_) => f.write_str("interrupted; the lab is removed"),
            Self::Refused(sentence) | Self::Failed(sentence) => f.write_str(sentence),
        }
    }
}

impl std::error::Error for Error {}

/// Builds the lab, measures, prints the account, and removes the lab unless it is to be kept.
///
/// # Errors
/// What was refused before anything was made, or the step that failed or the signal that came; the lab is removed then.
pub fn run(options: &Options, out: &mut dyn Write) -> Result<(), Error> {
    let topology = Topology::new(options)?;
    require_root()?;
    require_programs()?;
    let standing = stage::standing()?.len();
    if standing > 0 {
        return Err(Error::refused(format!(
            "a lab is standing already ({standing} namespaces); remove it with: sudo fanctl lab down"
        )));
    }
    let mut stage = Stage::new(Interrupt::listen()?, options.verbose);
    match perform(&mut stage, topology, options, out) {
        Ok(()) if options.keep => stage.keep(),
        Ok(()) => stage.remove()?,
        Err(error) => {
            return Err(match stage.remove() {
                Ok(()) => error,
                Err(left) => Error::failed(format!("{error}\nand removing the lab failed too:\n{left}")),
            });
        }
    }
    Ok(())
}

/// Removes a lab that was kept, or that was killed.
///
/// # Errors
/// What could not be removed.
pub fn down(verbose: bool, out: &mut dyn Write) -> Result<(), Error> {
    require_root()?;
    let stage = Stage::standing(verbose)?;
    let count = stage.len();
    stage.remove()?;
    let sentence = if count == 0 {
        "there is no lab".into()
    } else {
        format!("removed the lab: {count} namespaces")
    };
    print(out, &[sentence])
}

fn require_root() -> Result<(), Error> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::refused(
        "the lab is made of network namespaces, which needs root: sudo fanctl lab",
    ))
}

/// The two programs that a lab runs, by what they say their name is: busybox has others by the same names.
fn require_programs() -> Result<(), Error> {
    for (program, suite, packages) in [
        (
            "ip",
            "iproute2",
            "iproute2 (Debian, Ubuntu, Arch, Alpine) or iproute (Fedora)",
        ),
        (
            "ping",
            "iputils",
            "iputils-ping (Debian, Ubuntu) or iputils (Fedora, Arch, Alpine)",
        ),
    ] {
        let version = Command::new(program).arg("-V").output();
        let ours = version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(suite));
        if !ours {
            return Err(Error::refused(format!(
                "the lab needs '{program}' of {suite}; install {packages}"
            )));
        }
    }
    Ok(())
}

/// The whole story, in order.
fn perform(stage: &mut Stage, topology: Topology, options: &Options, out: &mut dyn Write) -> Result<(), Error> {
    let setting = build::build(stage, topology, options)?;
    let mut say = |lines: Vec<String>| if options.json { Ok(()) } else { print(out, &lines) };
    say(report::opening(&setting))?;
    let results = measure(stage, &setting.hosts, &mut say)?;
    if options.keep {
        say(report::kept(&setting.hosts))?;
    }
    if options.json {
        #[derive(Serialize)]
        struct Everything<'a> {
            #[serde(flatten)]
            setting: &'a Setting,
            #[serde(flatten)]
            results: &'a Results,
        }
        let everything = Everything {
            setting: &setting,
            results: &results,
        };
        let text = serde_json::to_string_pretty(&everything).map_err(|error| Error::failed(error.to_string()))?;
        print(out, &[text])?;
    }
    Ok(())
}

/// Every container pings one on another host, and the first containers of all hosts ping and connect to each other.
/// The first two are compared with their hosts.
fn measure(
    stage: &Stage,
    hosts: &[FanHost],
    say: &mut dyn FnMut(Vec<String>) -> Result<(), Error>,
) -> Result<Results, Error> {
    let mut results = Results::default();
    let [one, two, ..] = hosts else { return Ok(results) };
    for (from, to, count) in ping_pairs(hosts) {
        results.ping.push(measure::ping(stage, from, to, count)?);
    }
    say(report::pings(&results.ping))?;
    for (from, to) in [(one, two), (two, one)] {
        results
            .underlay_ping
            .push(measure::ping(stage, &from.host.place, &to.host.place, 10)?);
    }
    for (from, to) in first_pairs(hosts) {
        stage.interrupt().check()?;
        results.tcp.push(measure::connection(from, to)?);
    }
    say(report::connections(&results.tcp))?;
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
    Ok(Throughput {
        from: inside.0.address,
        to: inside.1.address,
        bits_per_second,
        underlay_bits_per_second,
        ratio,
    })
}

/// The first containers of all hosts, each with each, both ways.
fn first_pairs(hosts: &[FanHost]) -> Vec<(&Place, &Place)> {
    let firsts: Vec<&Place> = hosts.iter().filter_map(|host| host.host.containers.first()).collect();
    let mut pairs = Vec::new();
    for (index, one) in firsts.iter().enumerate() {
        for two in &firsts[index + 1..] {
            pairs.extend([(*one, *two), (*two, *one)]);
        }
    }
    pairs
}

/// Who pings whom, and how often: the first containers each with each, every other with its namesake on the next host.
fn ping_pairs(hosts: &[FanHost]) -> Vec<(&Place, &Place, u32)> {
    let firsts = first_pairs(hosts).into_iter().enumerate();
    let mut pairs: Vec<_> = firsts
        .map(|(index, (from, to))| (from, to, if index < 2 { 10 } else { 1 }))
        .collect();
    for (here, next) in hosts.iter().zip(hosts.iter().cycle().skip(1)) {
        let namesakes = here.host.containers.iter().zip(&next.host.containers).skip(1);
        pairs.extend(namesakes.map(|(from, to)| (from, to, 1)));
    }
    pairs
}

fn print(out: &mut dyn Write, lines: &[String]) -> Result<(), Error> {
    let printed = lines
        .iter()
        .try_for_each(|line| writeln!(out, "{line}"))
        .and_then(|()| out.flush());
    printed.map_err(|error| Error::failed(format!("cannot print the account: {error}")))
}
