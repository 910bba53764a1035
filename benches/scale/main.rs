//! What a network of 2, 256, 4,096 and 65,534 hosts costs one of them: kernel objects, memory, time to make them, time
//! for one more host to join, and time for a packet to find its way. The fan beside the kernel's static tunnels, which take
//! a route, and over VXLAN a neighbour and a forwarding entry too, for each host.
//!
//! There is one host; the others are addresses. No host is at the other end of its wire.

#[path = "../datapath/harness.rs"]
mod harness;

#[path = "../figures/mod.rs"]
#[allow(unused_imports, dead_code, reason = "its unit tests run as a test of their own")]
mod figures;

mod host;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};

use figures::campaign::Instrument;
use figures::scale::{Row, Scale};
use host::{Way, count_objects, kernel_memory, time_of_a_packet, underlay};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Measure on this kernel, as root, and print a line of JSON with each row, which has those before it and what was not run too
    Measure {
        #[arg(long, value_delimiter = ',', default_value = "2,256,4096,65534")]
        hosts: Vec<u32>,
        /// The static tunnels of no more hosts than these: the time to make their routes grows with the square
        #[arg(long, default_value_t = 65_534)]
        most_static: u32,
        /// The processor is emulated at one instruction a nanosecond
        #[arg(long)]
        instructions: bool,
        /// What was typed to get here
        #[arg(long, default_value = "make bench")]
        command: String,
    },
    /// Make tables and plots of files with such lines
    Render { directory: PathBuf, files: Vec<PathBuf> },
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let has_verb = words.get(1).is_some_and(|word| Verb::has_subcommand(word) || word == "help");
    if !has_verb && !words.iter().any(|word| word == "--bench") {
        return smoke();
    }
    // `cargo bench` adds that flag, also to the words it was given.
    let arguments = Arguments::parse_from(words.into_iter().filter(|word| word != "--bench"));
    let done = match arguments.verb {
        Verb::Measure { hosts, most_static, instructions, command } => {
            measure(&hosts, most_static, instructions, command)
        }
        Verb::Render { directory, files } => render(&directory, &files),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scale: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What `cargo test` does with this program: sees whether everything runs, and discards the figures.
fn smoke() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        println!("scale: not run: needs root");
        return ExitCode::SUCCESS;
    }
    match measure(&[2, 16], 16, false, "cargo test".into()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scale: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(hosts: &[u32], most_static: u32, instructions: bool, command: String) -> Result<(), Box<dyn Error>> {
    if !nix::unistd::geteuid().is_root() {
        return Err("making namespaces takes root; try: sudo make bench".into());
    }
    let mut scale = Scale {
        taken: String::from_utf8(Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?.stdout)?.trim().into(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().into(),
        instrument: if instructions { Instrument::Instructions } else { Instrument::Wall },
        command,
        rows: vec![],
        not_run: vec![],
    };
    let tell = |scale: &Scale| serde_json::to_string(scale).map(|line| println!("{line}"));
    for way in Way::ALL {
        if let Some(reason) = way.missing() {
            scale.not_run.push(format!("{}: {reason}", way.title()));
            tell(&scale)?;
            continue;
        }
        // The first call loads the kernel's modules, which must not count.
        way.make(&underlay(), 2);
        for &hosts in hosts {
            if way.is_static() && hosts > most_static {
                scale
                    .not_run
                    .push(format!("{} with {hosts} hosts: making its routes takes too long here", way.title()));
                tell(&scale)?;
                continue;
            }
            eprintln!("scale: {}, {hosts} hosts", way.title());
            scale.rows.push(row(way, hosts));
            tell(&scale)?;
        }
    }
    Ok(())
}

fn row(way: Way, hosts: u32) -> Row {
    let host = underlay();
    let (objects, memory) = (count_objects(&host), kernel_memory());
    let setup = way.make(&host, hosts);
    let (objects, kib) = (count_objects(&host) - objects, kernel_memory() - memory);
    let packet = time_of_a_packet(&host, way, hosts);
    Row {
        title: way.title().into(),
        hosts,
        objects,
        kib,
        setup: setup.as_secs_f64(),
        join: way.join(&host, hosts).as_secs_f64(),
        packet: packet.as_secs_f64(),
    }
}

fn render(directory: &Path, files: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    let mut page = "# Many hosts\n\nWhat a network of so many hosts costs one of them. The fan has the same few objects \
                    for any number; static tunnels\nhave a route, and over VXLAN a neighbour and a forwarding entry \
                    too, for each host. A packet goes from a process on\nthe host to the wire, to 256 of the hosts in turn \
                    (to one where there are two). The fan stands with its guard and \
                    its NAT, the static\ntunnels without, as few use them.\n"
        .to_string();
    for file in files {
        let scale: Scale = serde_json::from_str(&fs::read_to_string(file)?)?;
        let series: Vec<&str> = scale.kernel.split('.').take(2).collect();
        let plot = format!("scale-{}.svg", series.join("."));
        fs::write(directory.join(&plot), scale.plot())?;
        page += "\n";
        page += &scale.page(&plot);
        println!("Linux {}, many hosts\n\n{}", scale.kernel, scale.table());
    }
    fs::write(directory.join("scale.md"), page)?;
    Ok(())
}
