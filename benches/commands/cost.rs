//! What a command cost: time, processor, memory.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::figures::commands::Cost;

/// The word that makes this program measure one command and print the result.
pub const ONCE: &str = "--measure-once";

/// Runs a command in a process that runs nothing else, because the kernel tells the memory of all children together.
pub fn measure(words: &[&str], input: Option<&Path>) -> Result<Cost, Box<dyn Error>> {
    let mut command = Command::new(env::current_exe()?);
    command.arg(ONCE).args(words);
    if let Some(input) = input {
        command.stdin(File::open(input)?);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{} failed", words.join(" ")).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The other half: runs a command and prints what it cost.
pub fn measure_here(words: &[&str]) -> Result<(), Box<dyn Error>> {
    let [program, arguments @ ..] = words else {
        return Err("there is nothing to measure".into());
    };
    let start = Instant::now();
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status()?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    if !status.success() {
        return Err(format!("{program} failed").into());
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    #[expect(clippy::cast_precision_loss, reason = "no command takes centuries")]
    let cpu_milliseconds = (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e3;
    let cost = Cost { milliseconds, cpu_milliseconds, kib: usage.max_rss() };
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&cost)?)?;
    Ok(())
}
