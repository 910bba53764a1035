//! What the commands cost: wall time, processor time and memory of `up`, `show`, `down` and `map`, with 1, 10 and 100 fans
//! on a host, beside a script that makes the same with a process for each object. All of it in a network namespace that
//! ends with the measurement. Numbers, not a test: nothing fails for being slow. Run as root: `make bench`.

mod cost;
mod script;

#[path = "../figures/mod.rs"]
#[allow(unused_imports, dead_code, reason = "its unit tests run as a test of their own")]
mod figures;

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use fanctl::mapping::{Mapping, Overlay, Underlay};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use cost::{Cost, measure};
use figures::sample::Summary;
use figures::table::{digits, markdown};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const FANCTL: &str = env!("CARGO_BIN_EXE_fanctl");
/// Fans on the host, besides the one that comes and goes.
const OTHERS: [usize; 3] = [0, 9, 99];
/// How often each command is measured.
const RUNS: usize = 20;
const ADDRESSES: u32 = 1_000_000;

fn main() -> ExitCode {
    // `cargo bench` passes --bench.
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let done = match &words[..] {
        [first, command @ ..] if first == cost::ONCE => cost::measure_here(command),
        [] => bench(None, RUNS),
        [directory] => bench(Some(Path::new(directory)), RUNS),
        [directory, runs, ..] => match runs.parse() {
            Ok(runs) => bench(Some(Path::new(directory)), runs),
            Err(_) => Err(format!("'{runs}' is no number of runs; usage: commands [DIRECTORY [RUNS]]").into()),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("commands: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A row of the table.
struct Row {
    command: String,
    fans: usize,
    processes: usize,
    runs: Vec<Cost>,
}

fn bench(directory: Option<&Path>, runs: usize) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err("measuring up and down takes root; try: sudo make bench".into());
    }
    enter_a_namespace()?;
    let mut rows = vec![];
    let mut there = 0;
    for others in OTHERS {
        for number in there..others {
            fanctl(&format!("up {}.0.0.0/8 eth0/16 {}", overlay(number), encap()?))?;
        }
        there = others;
        rows.extend(measure_with(others, runs)?);
    }
    fanctl("down -e")?;
    let addresses = addresses()?;
    rows.push(Row {
        command: format!("map, {ADDRESSES} addresses from a file"),
        fans: 0,
        processes: 1,
        runs: (0..runs.div_ceil(4))
            .map(|_| measure(&[FANCTL, "map", "250.0.0.0/8", "172.30.0.0/16", "-"], Some(&addresses)))
            .collect::<Result<_>>()?,
    });
    fanctl::lock::forget(Path::new("/proc/self/ns/net"));

    let page = page(&rows, runs)?;
    print!("{page}");
    if let Some(directory) = directory {
        fs::write(directory.join("commands.md"), page)?;
    }
    Ok(())
}

/// An overlay for each of the other fans; none is the underlay's, loopback or multicast.
fn overlay(number: usize) -> usize {
    number + 11
}

/// A network and a /run of our own, with the underlay of the announcement.
fn enter_a_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none)?;
    for line in [
        "link add eth0 type veth peer name peer0",
        "address add 172.30.0.28/16 dev eth0",
        "link set eth0 up",
        "link set peer0 up",
    ] {
        succeed(Command::new("ip").args(line.split(' ')))?;
    }
    Ok(())
}

/// The words for the encapsulation that this kernel has.
fn encap() -> Result<&'static str> {
    let ipip = Command::new("ip")
        .args(["link", "add", "probe", "type", "ipip", "external"])
        .output()?;
    if !ipip.status.success()
        && !Command::new("ip")
            .args(["link", "show", "fan-ipip"])
            .output()?
            .status
            .success()
    {
        return Ok("--encap vxlan");
    }
    let _ = Command::new("ip").args(["link", "del", "probe"]).output()?;
    Ok("--encap ipip")
}

fn measure_with(others: usize, runs: usize) -> Result<Vec<Row>> {
    let fans = others + 1;
    let up = format!("up 250.0.0.0/8 eth0/16 {}", encap()?);
    let down = "down 250.0.0.0/8 eth0/16";
    let make = script::of(&dry_run(&up)?);
    fanctl(&up)?;
    let unmake = script::of(&dry_run(down)?);
    fanctl(down)?;
    let row = |command: &str, processes| Row {
        command: command.into(),
        fans,
        processes,
        runs: vec![],
    };
    // `up` and `down` call nft.
    let mut rows = [
        row("up, a new fan", 2),
        row("up, one that is right", 2),
        row("show", 2),
        row("down", 2),
        row("up, by a script", script::processes(&make)),
        row("down, by a script", script::processes(&unmake)),
    ];
    for _ in 0..runs {
        let words = [up.as_str(), up.as_str(), "show", down].map(|words| {
            let words: Vec<&str> = std::iter::once(FANCTL).chain(words.split(' ')).collect();
            words
        });
        for (row, words) in rows.iter_mut().zip(&words) {
            row.runs.push(measure(words, None)?);
        }
        for (row, script) in rows[4..].iter_mut().zip([&make, &unmake]) {
            row.runs.push(measure(&["sh", "-c", script], None)?);
        }
    }
    Ok(rows.into())
}

fn page(rows: &[Row], runs: usize) -> Result<String> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let headings = ["", "fans", "processes", "ms", "± %", "CPU ms", "MiB"].map(String::from);
    let lines = rows.iter().filter_map(|row| {
        let of = |pick: fn(&Cost) -> f64| Summary::of(&row.runs.iter().map(pick).collect::<Vec<_>>());
        let (time, cpu) = (of(|run| run.milliseconds)?, of(|run| run.cpu_milliseconds)?);
        #[expect(clippy::cast_precision_loss, reason = "memory is less than 2^52 KiB")]
        let memory = of(|run| run.kib as f64 / 1024.0)?;
        Some(vec![
            row.command.clone(),
            row.fans.to_string(),
            row.processes.to_string(),
            digits(time.median),
            format!("{:.0}", time.spread()),
            digits(cpu.median),
            digits(memory.most),
        ])
    });
    let table = markdown(&headings, &lines.collect::<Vec<_>>());
    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?.stdout;
    Ok(format!(
        "# The commands\n\nTaken {} on Linux {}, by the clock, `make bench`. Medians of {runs} runs, ± half the range; the \
         most memory of any process. The number of\nfans includes the one that comes and goes. A script makes the same \
         objects with a process each.\n\n{table}\nThe mapping as a function, an address to its host: {:.1} ns.\n",
        String::from_utf8(date)?.trim(),
        kernel.trim(),
        nanoseconds_of_mapping()?,
    ))
}

/// Nanoseconds that `Mapping::host` takes, over a hundred million addresses.
fn nanoseconds_of_mapping() -> Result<f64> {
    const COUNT: u32 = 100_000_000;
    let overlay = Overlay::new("250.0.0.0/8".parse()?)?;
    let mapping = Mapping::new(overlay, Underlay::containing("172.30.0.0".parse()?, 16)?)?;
    let begun = Instant::now();
    for number in 0..COUNT {
        black_box(mapping.host(Ipv4Addr::from(black_box(0xfa00_0000 | (number & 0x00ff_ffff)))));
    }
    Ok(begun.elapsed().as_secs_f64() / f64::from(COUNT) * 1e9)
}

fn fanctl(words: &str) -> Result<()> {
    succeed(Command::new(FANCTL).args(words.split(' ')))
}

fn dry_run(words: &str) -> Result<String> {
    let output = Command::new(FANCTL).args(words.split(' ')).arg("--dry-run").output()?;
    if !output.status.success() {
        return Err(format!("fanctl {words}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
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
fn addresses() -> Result<std::path::PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("addresses");
    let mut file = BufWriter::new(File::create(&path)?);
    for number in 0..ADDRESSES / 2 {
        let [_, a, b, c] = number.to_be_bytes();
        writeln!(file, "172.30.{b}.{c}\n250.{a}.{b}.{c}")?;
    }
    file.flush()?;
    Ok(path)
}
