//! What the commands cost: wall time and memory of `up`, `show`, `down` and `map`, in a network namespace that ends with
//! the measurement. Numbers, not a test: nothing fails for being slow. Run as root: `make bench`.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{UsageWho, getrusage};

/// How often each command is measured.
const RUNS: usize = 50;
/// The word that makes this program measure one command and print the result.
const ONCE: &str = "--measure-once";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match &arguments[..] {
        [first, command @ ..] if first == ONCE => measure_here(command),
        // `cargo bench` passes --bench, and may pass a filter, which has nothing to choose from here.
        _ => bench(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err("measuring up and down takes root; try: sudo make bench".into());
    }
    unshare(CloneFlags::CLONE_NEWNET)?;
    for line in [
        "link add eth0 type veth peer name peer0",
        "address add 172.30.0.28/16 dev eth0",
        "link set eth0 up",
        "link set peer0 up",
    ] {
        succeed(Command::new("ip").args(line.split(' ')))?;
    }
    let has_ipip = run("up 250.0.0.0/8 eth0/16").output()?.status.success();
    let encap = if has_ipip { "ipip" } else { "vxlan" };
    let up = format!("up 250.0.0.0/8 eth0/16 --encap {encap}");
    let up = up.as_str();
    let down = "down 250.0.0.0/8 eth0/16";
    succeed(&mut run("down -e"))?;

    let mut rows = [
        Row::new("up", "a new fan", "50 ms, 30 MiB"),
        Row::new("up", "one that is right", ""),
        Row::new("show", "", "10 ms"),
        Row::new("show --json", "", ""),
        Row::new("down", "", ""),
    ];
    for _ in 0..RUNS {
        for (row, words) in rows.iter_mut().zip([up, up, "show", "show --json", down]) {
            row.runs.push(measure(words, None)?);
        }
    }
    let addresses = a_million_addresses()?;
    let mut map = Row::new("map", "a million lines", "a second or two");
    for _ in 0..RUNS / 10 {
        map.runs
            .push(measure("map 250.0.0.0/8 172.30.0.0/16 -", Some(addresses))?);
    }

    fanctl::lock::forget(Path::new("/proc/self/ns/net"));

    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    println!("fanctl {}, {encap}, Linux {}", env!("CARGO_PKG_VERSION"), kernel.trim());
    println!("memory is the largest resident set of fanctl and of the programs it runs (nft)");
    println!();
    println!(
        "{:12} {:18} {:>5} {:>10} {:>10} {:>10} {:>10}  asked for, at most",
        "command", "", "runs", "median", "fastest", "slowest", "memory"
    );
    for row in rows.iter().chain([&map]) {
        println!("{}", row.line());
    }
    Ok(())
}

/// A command and what was measured.
struct Row {
    command: &'static str,
    what: &'static str,
    limit: &'static str,
    runs: Vec<Measured>,
}

/// One run of a command.
#[derive(Clone, Copy)]
struct Measured {
    time: Duration,
    kib: i64,
}

impl Row {
    fn new(command: &'static str, what: &'static str, limit: &'static str) -> Self {
        Self {
            command,
            what,
            limit,
            runs: vec![],
        }
    }

    fn line(&self) -> String {
        let mut times: Vec<f64> = self.runs.iter().map(|run| run.time.as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        let (fastest, median, slowest) = (times[0], times[times.len() / 2], times[times.len() - 1]);
        let kib = self.runs.iter().map(|run| run.kib).max().unwrap_or_default();
        let (mib, tenths) = (kib / 1024, kib % 1024 * 10 / 1024);
        let line = format!(
            "{:12} {:18} {:5} {median:7.1} ms {fastest:7.1} ms {slowest:7.1} ms {mib:4}.{tenths} MiB  {}",
            self.command,
            self.what,
            times.len(),
            self.limit
        );
        line.trim_end().to_string()
    }
}

/// Runs a command in a process that runs nothing else, because the kernel tells the memory of all children together.
fn measure(words: &str, input: Option<&str>) -> Result<Measured> {
    let mut command = Command::new(env::current_exe()?);
    command.arg(ONCE).args(words.split(' '));
    if let Some(input) = input {
        command.stdin(File::open(input)?);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("fanctl {words} failed").into());
    }
    let told = String::from_utf8(output.stdout)?;
    let (nanoseconds, kib) = told.trim().split_once(' ').ok_or("a measurement is two numbers")?;
    Ok(Measured {
        time: Duration::from_nanos(nanoseconds.parse()?),
        kib: kib.parse()?,
    })
}

/// Runs a command, and prints its time in nanoseconds and its memory in KiB.
fn measure_here(words: &[String]) -> Result<()> {
    let mut command = run(&words.join(" "));
    let start = Instant::now();
    succeed(command.stdin(Stdio::inherit()).stdout(Stdio::null()))?;
    let time = start.elapsed();
    let memory = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    println!("{} {memory}", time.as_nanos());
    Ok(())
}

fn run(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanctl"));
    command.args(words.split(' '));
    command
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} failed").into())
    }
}

/// A file of addresses, half of hosts and half of containers.
fn a_million_addresses() -> Result<&'static str> {
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/addresses");
    let mut file = BufWriter::new(File::create(path)?);
    for number in 0..500_000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        writeln!(file, "172.30.{b}.{c}\n250.{a}.{b}.{c}")?;
    }
    file.flush()?;
    Ok(path)
}
