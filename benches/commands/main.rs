//! What the commands cost: wall time, processor time, memory and processes of `up`, `show`, `down` and `map`, with 1, 10 and
//! 100 fans on a host, beside a script that makes the same with a process for each object. All of it in a network namespace
//! that ends with the measurement. Numbers, not a test: nothing fails for being slow. Run as root: `make bench`. As a
//! test (`cargo test --bench commands`) it only sees whether everything runs.

mod cost;
mod object;
mod processes;
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
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use fanctl::fan::mapping::{Mapping, Overlay, Underlay};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use cost::measure;
use figures::commands::{Commands, MAP, Row};
use script::Kit;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const FANCTL: &str = env!("CARGO_BIN_EXE_fanctl");

/// How much to do.
#[derive(Clone, Copy)]
struct Plan {
    /// Fans on the host, besides the one that comes and goes.
    others: &'static [usize],
    /// How often each command is measured.
    runs: usize,
    /// What `map` gets to read.
    addresses: u32,
    /// How often the mapping is asked.
    mappings: u32,
}

const WHOLE: Plan = Plan { others: &[0, 9, 99], runs: 20, addresses: 1_000_000, mappings: 100_000_000 };
const SMOKE: Plan = Plan { others: &[0, 2], runs: 1, addresses: 1000, mappings: 1000 };

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    // `cargo bench` passes --bench; `cargo test` passes what it was told to look for.
    let is_test = !words.iter().any(|word| word == "--bench");
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "--bench").collect();
    let done = match &words[..] {
        [first, command @ ..] if *first == cost::ONCE => cost::measure_here(command),
        _ if is_test => smoke(),
        [] => bench(WHOLE, None),
        ["--smoke"] => bench(SMOKE, None),
        ["--smoke", directory] => bench(SMOKE, Some(Path::new(directory))),
        [directory] => bench(WHOLE, Some(Path::new(directory))),
        [directory, runs, ..] => match runs.parse() {
            Ok(runs) => bench(Plan { runs, ..WHOLE }, Some(Path::new(directory))),
            Err(_) => {
                Err(format!("'{runs}' is no number of runs; usage: commands [--smoke] [DIRECTORY [RUNS]]").into())
            }
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

/// Whether everything runs, the figures being nobody's.
fn smoke() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return bench(SMOKE, None);
    }
    println!("commands: not run: needs root");
    Ok(())
}

fn bench(plan: Plan, directory: Option<&Path>) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err("measuring up and down takes root; try: sudo make bench".into());
    }
    enter_a_namespace()?;
    let (scratch, encap) = (Path::new(env!("CARGO_TARGET_TMPDIR")), encap()?);
    let kit = Kit { directory: scratch };
    let mut rows = vec![];
    let mut there = 0;
    for &others in plan.others {
        eprintln!("commands: {} fans", others + 1);
        for number in there..others {
            fanctl(&format!("up {}.0.0.0/8 eth0/16 {encap} --force", overlay(number)))?;
        }
        there = others;
        rows.extend(measure_with(others, plan.runs, encap, &kit)?);
    }
    fanctl("down -e")?;
    rows.push(map(plan, &addresses(scratch, plan.addresses)?)?);

    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?.stdout;
    let commands = Commands {
        taken: String::from_utf8(date)?.trim().into(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().into(),
        rows,
        addresses: plan.addresses,
        mapping: nanoseconds_of_mapping(plan.mappings)?,
    };
    let page = commands.page("commands.svg");
    print!("{page}");
    if let Some(directory) = directory {
        fs::write(directory.join("commands.json"), serde_json::to_string_pretty(&commands)? + "\n")?;
        fs::write(directory.join("commands.svg"), commands.plot())?;
        fs::write(directory.join("commands.md"), page)?;
    }
    Ok(())
}

/// An overlay for each of the other fans; none is the underlay's, loopback or multicast. Some hold public addresses, which
/// takes `--force`.
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
    let ipip = Command::new("ip").args(["link", "add", "probe", "type", "ipip", "external"]).output()?;
    if !ipip.status.success() && !Command::new("ip").args(["link", "show", "fan-ipip"]).output()?.status.success() {
        return Ok("--encap vxlan");
    }
    let _ = Command::new("ip").args(["link", "del", "probe"]).output()?;
    Ok("--encap ipip")
}

fn measure_with(others: usize, runs: usize, encap: &str, kit: &Kit) -> Result<Vec<Row>> {
    let up = format!("up 250.0.0.0/8 eth0/16 {encap}");
    let down = "down 250.0.0.0/8 eth0/16";
    let make = kit.script(&dry_run(&up)?)?;
    fanctl(&up)?;
    let unmake = kit.script(&dry_run(down)?)?;
    let made = witness()?;
    fanctl(down)?;
    let of_fanctl = |words: &'static str| std::iter::once(FANCTL).chain(words.split(' ')).collect();
    let up: Vec<&str> = std::iter::once(FANCTL).chain(up.split(' ')).collect();
    // What one makes the next takes away.
    let commands: [(&str, Vec<&str>); 6] = [
        ("up", up.clone()),
        ("up again", up),
        ("show", of_fanctl("show")),
        ("down", of_fanctl(down)),
        ("up by script", vec!["sh", "-c", &make]),
        ("down by script", vec!["sh", "-c", &unmake]),
    ];
    let mut rows = vec![];
    for (name, words) in &commands {
        rows.push(Row { command: (*name).into(), fans: others + 1, processes: processes::count(words)?, runs: vec![] });
        if *name == "up by script" {
            let found = witness()?;
            let (script, ours) = (without(&found, &made), without(&made, &found));
            if found != made {
                return Err(
                    format!("what the script alone makes:\n{script}\nand what fanctl alone makes:\n{ours}").into()
                );
            }
        }
    }
    for _ in 0..runs {
        for (row, (_, words)) in rows.iter_mut().zip(&commands) {
            row.runs.push(measure(words, None)?);
        }
    }
    Ok(rows)
}

/// What there is, as `ip`, `tc`, `bridge` and `nft` see it, without counters, what the kernel numbers, and the empty chain in
/// which `fanctl` keeps a digest of its tables: no command computes that.
fn witness() -> Result<Vec<String>> {
    let questions = "ip -br link; ip -br -4 address; ip -4 route show table all; ip rule; bridge vni; nft list ruleset
        for d in fan-ipip fan-vx16384000; do tc filter show dev $d ingress; tc filter show dev $d egress; done 2>/dev/null
        sysctl -a --pattern 'net.ipv4.conf.fan.*(forwarding|send_redirects)'";
    let output = Command::new("sh").args(["-c", questions]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let words = |line: &str| -> Option<String> {
        let is_program = line.contains("direct-action");
        let kept: Vec<&str> = line.split_whitespace().map(|word| word.split('@').next().unwrap_or(word)).collect();
        let line = if is_program { "a program".to_string() } else { kept.join(" ") };
        let counted = line.contains("counter packets ").then(|| {
            let (before, rest) = line.split_once("counter packets ").unwrap_or_default();
            format!("{before}counter {}", rest.splitn(4, ' ').nth(3).unwrap_or_default())
        });
        Some(counted.unwrap_or(line)).filter(|line| !line.is_empty() && !line.starts_with("filter "))
    };
    let mut inside_record = false;
    let without_record = text.lines().filter(|line| {
        let was_inside = inside_record;
        inside_record = line.trim().starts_with("chain made-") || (inside_record && line.trim() != "}");
        !inside_record && !was_inside
    });
    let mut lines: Vec<String> = without_record.filter_map(words).collect();
    lines.sort_unstable();
    Ok(lines)
}

/// The lines of one list that are not in another.
fn without(lines: &[String], others: &[String]) -> String {
    let alone = lines.iter().filter(|line| !others.contains(line)).map(String::as_str);
    alone.collect::<Vec<_>>().join("\n")
}

fn map(plan: Plan, addresses: &Path) -> Result<Row> {
    let words = [FANCTL, "map", "250.0.0.0/8", "172.30.0.0/16", "-"];
    let runs = (0..plan.runs.div_ceil(4)).map(|_| measure(&words, Some(addresses)));
    Ok(Row { command: MAP.into(), fans: 0, processes: 1, runs: runs.collect::<Result<_>>()? })
}

/// Nanoseconds that `Mapping::host` takes, over so many addresses.
fn nanoseconds_of_mapping(count: u32) -> Result<f64> {
    let overlay = Overlay::new("250.0.0.0/8".parse()?)?;
    let mapping = Mapping::new(overlay, Underlay::containing("172.30.0.0".parse()?, 16)?)?;
    let begun = Instant::now();
    for number in 0..count {
        black_box(mapping.host(Ipv4Addr::from(black_box(0xfa00_0000 | (number & 0x00ff_ffff)))));
    }
    Ok(begun.elapsed().as_secs_f64() / f64::from(count) * 1e9)
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
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed").into()) }
}

/// A file of addresses, half of hosts and half of containers.
fn addresses(directory: &Path, count: u32) -> Result<PathBuf> {
    let path = directory.join("addresses");
    let mut file = BufWriter::new(File::create(&path)?);
    for number in 0..count / 2 {
        let [_, a, b, c] = number.to_be_bytes();
        writeln!(file, "172.30.{b}.{c}\n250.{a}.{b}.{c}")?;
    }
    file.flush()?;
    Ok(path)
}
