//! The path of packets: what the fan costs, beside plain routing and other ways to connect containers on two hosts.
//!
//! Hosts and containers are namespaces, those of the tests. All cases are built at once and take turns in each repetition,
//! so that other load on the machine affects them all. Each case has its file (`peers`), and each kind of traffic
//! (`load`); `../figures` makes tables and plots of it. `benches/run` runs it on this kernel and on Debian's; `cargo test`
//! and `tests/qemu/tier --benches` only see whether each case runs (`smoke`).

mod count;
mod cpu;
mod harness;
mod load;
mod measure;
mod peers;
mod site;
mod smoke;
mod tunnel;

#[path = "../figures/mod.rs"]
#[allow(unused_imports, dead_code, reason = "its unit tests run as a test of their own")]
mod figures;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use figures::campaign::{Campaign, Instrument};
use figures::{plot, table};
use measure::Plan;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Measure on this kernel, as root, and print one line of JSON
    Measure {
        /// Seconds for each figure
        #[arg(long, default_value_t = 1.0)]
        seconds: f64,
        #[arg(long, default_value_t = 5)]
        repetitions: usize,
        /// Only these, separated by commas; plain routing is always there
        #[arg(long, value_delimiter = ',')]
        case: Vec<String>,
        /// The processor is emulated at one instruction a nanosecond
        #[arg(long)]
        instructions: bool,
        /// What was typed to get here
        #[arg(long, default_value = "make bench")]
        command: String,
    },
    /// Make tables and plots of files with such lines
    Render { directory: PathBuf, files: Vec<PathBuf> },
    /// Send small packets in a guest that counts instructions, and print the kernel's functions
    Count {
        #[arg(long, value_delimiter = ',', required = true)]
        case: Vec<String>,
        #[arg(long, default_value_t = 3200)]
        packets: u32,
    },
    /// The tunnel in user space that is one of the cases
    #[command(hide = true)]
    Tunnel { words: Vec<String> },
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let has_verb = words.get(1).is_some_and(|word| Verb::has_subcommand(word) || word == "help");
    if !has_verb && !words.iter().any(|word| word == "--bench") {
        return smoke::run();
    }
    // `cargo bench` adds that flag, also to the words it was given.
    let words = words.into_iter().filter(|word| word != "--bench");
    match run(Arguments::parse_from(words).verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("datapath: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<(), Box<dyn Error>> {
    match verb {
        Verb::Measure { seconds, repetitions, case, instructions, command } => {
            let instrument = if instructions { Instrument::Instructions } else { Instrument::Wall };
            let plan = Plan { time: Duration::from_secs_f64(seconds), repetitions, cases: case, instrument, command };
            println!("{}", serde_json::to_string(&plan.carry_out()?)?);
            Ok(())
        }
        Verb::Render { directory, files } => render(&directory, &files),
        Verb::Count { case, packets } => count::run(&case, packets),
        Verb::Tunnel { words } => tunnel::run(&words),
    }
}

/// Writes a page with a plot for each campaign, and prints the ratios.
fn render(directory: &Path, files: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    let mut page = format!("# The path of packets\n\n{}\n", include_str!("preface.md"));
    for file in files {
        let campaign: Campaign = serde_json::from_str(&fs::read_to_string(file)?)?;
        fs::write(directory.join(format!("{}.svg", campaign.slug())), plot::ratios(&campaign))?;
        page += &table::page(&campaign);
        page.push('\n');
        println!("{}, as multiples of plain routing\n\n{}", table::title(&campaign), table::ratios(&campaign));
        for case in &campaign.not_run {
            println!("not run: {}: {}", case.title, case.reason);
        }
    }
    fs::write(directory.join("datapath.md"), page.trim_end().to_string() + "\n")?;
    Ok(())
}
