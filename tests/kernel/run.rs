//! A run of cases: each in a thread of its own, watched; what fails is run once more, alone, after all others.
//!
//! A case that passes the second time is *unsteady*. It is named and counted, and is a failure where `FANCTL_STRICT=1`. A case
//! that does nothing on any host for longer than the watchdog allows is *stuck*, which ends the run: what it holds may be what
//! others wait for.

use std::collections::BTreeMap;
use std::env;
use std::process::{self, ExitCode};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::case::{self, Case};
use crate::support::{DEADLINE, Machine};

/// How long one case may do nothing. It is no deadline: what a case does takes seconds, and this is for one that will never end.
/// The whole case may take longer: one that lets every call fail does, on a busy machine.
const WATCHDOG: Duration = Duration::from_secs(600);

/// What became of the cases.
#[derive(Debug, Default)]
struct Tally {
    passed: u64,
    durations: Vec<(Duration, String)>,
    /// Why cases did not run here, and how many.
    reasons: BTreeMap<String, u64>,
    /// Those that failed when they ran beside others.
    failed: Vec<String>,
    unsteady: Vec<String>,
}

type Shared = Arc<Mutex<Tally>>;

fn lock(tally: &Shared) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the cases that the arguments ask for, and those that failed once more. Prints how it went.
pub fn run(arguments: &Arguments, machine: &Machine) -> ExitCode {
    let cases = case::all();
    let wanted = names_wanted();
    for name in wanted.iter().flatten() {
        if !cases.iter().any(|case| case.name == *name) {
            eprintln!("FANCTL_CASES names {name:?}, which is no case");
            return ExitCode::FAILURE;
        }
    }
    if !arguments.list {
        machine.announce();
    }
    let tally = Shared::default();
    let asked_for = |case: &&Case| wanted.as_ref().is_none_or(|wanted| wanted.contains(&case.name));
    let trials = cases.iter().filter(asked_for).map(|case| first(case, machine, &tally));
    let conclusion = libtest_mimic::run(arguments, trials.collect());
    if arguments.list {
        return ExitCode::SUCCESS;
    }
    let failed = lock(&tally).failed.clone();
    let remaining = if failed.is_empty() {
        0
    } else {
        println!("== {} failed beside others; once more, alone", failed.len());
        let alone = Arguments { test_threads: Some(1), ..Arguments::default() };
        let trials = cases.iter().filter(|case| failed.contains(&case.name));
        let trials = trials.map(|case| again(case, &tally)).collect();
        libtest_mimic::run(&alone, trials).num_failed
    };
    sum_up(machine, &lock(&tally), remaining, conclusion.num_filtered_out);
    let strict = env::var("FANCTL_STRICT").is_ok_and(|value| value == "1");
    let unsteady = strict && !lock(&tally).unsteady.is_empty();
    if remaining > 0 || unsteady || machine.is_incomplete() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The cases of `FANCTL_CASES`, names between blanks, if it is set.
fn names_wanted() -> Option<Vec<String>> {
    let names = env::var("FANCTL_CASES").ok()?;
    Some(names.split_whitespace().map(String::from).collect())
}

/// The case as one of many. One that fails counts as ignored until it has been run alone.
fn first(case: &Case, machine: &Machine, tally: &Shared) -> Trial {
    let (case, missing, tally) = (case.clone(), machine.missing(&case.needs), Arc::clone(tally));
    Trial::ignorable_test(case.name.clone(), move || {
        if let Some(reason) = missing {
            *lock(&tally).reasons.entry(reason.clone()).or_default() += 1;
            return Ok(Completion::ignored_with(reason));
        }
        let begun = Instant::now();
        let passed = watched(&case, &tally).is_ok();
        let mut tally = lock(&tally);
        tally.durations.push((begun.elapsed(), case.name.clone()));
        if passed {
            tally.passed += 1;
            return Ok(Completion::Completed);
        }
        tally.failed.push(case.name);
        Ok(Completion::ignored_with("it failed, and is run once more"))
    })
}

/// The case alone, which has the last word.
fn again(case: &Case, tally: &Shared) -> Trial {
    let (case, tally) = (case.clone(), Arc::clone(tally));
    Trial::test(case.name.clone(), move || {
        watched(&case, &tally)?;
        let mut tally = lock(&tally);
        tally.passed += 1;
        tally.unsteady.push(case.name);
        Ok(())
    })
}

/// Runs a case in a thread of its name, which a panic names.
fn watched(case: &Case, tally: &Shared) -> Result<(), Failed> {
    let (to_watchdog, signs) = mpsc::channel::<()>();
    let run = Arc::clone(&case.run);
    let job = move || {
        crate::support::SIGNS.set(Some(to_watchdog));
        run();
    };
    let thread = thread::Builder::new().name(case.name.clone()).spawn(job).expect("a thread");
    let mut last = Instant::now();
    // The channel has no end to send from when the thread has ended.
    loop {
        match signs.recv_timeout(WATCHDOG) {
            Ok(()) => last = Instant::now(),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => stuck(case, tally),
        }
    }
    thread.join().map_err(|panic| {
        if last.elapsed() >= DEADLINE {
            stuck(case, tally);
        }
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Failed::from(text.unwrap_or("it panicked"))
    })
}

/// Ends the run, for a case does not end.
fn stuck(case: &Case, tally: &Shared) -> ! {
    let tally = lock(tally);
    println!("\nstuck: {}, which did nothing for {} s", case.name, WATCHDOG.as_secs());
    for name in &tally.failed {
        println!("failed, and not run again: {name}");
    }
    println!("the run ends: {} passed, {} failed, 1 of them stuck", tally.passed, tally.failed.len() + 1);
    process::exit(101)
}

/// The lines at the end of a run.
fn sum_up(machine: &Machine, tally: &Tally, failed: u64, not_asked_for: u64) {
    let mut slowest = tally.durations.clone();
    slowest.sort_by(|one, other| other.cmp(one));
    let slowest = slowest.iter().take(10).map(|(duration, name)| format!("{name} {:.1} s", duration.as_secs_f32()));
    println!("slowest: {}", slowest.collect::<Vec<_>>().join(", "));
    for name in &tally.unsteady {
        println!("unsteady: {name}");
    }
    let mut parts = vec![format!("{}: {} passed", machine.title(), tally.passed), format!("{failed} failed")];
    if !tally.unsteady.is_empty() {
        parts.push(format!("{} unsteady", tally.unsteady.len()));
    }
    let not_run: u64 = tally.reasons.values().sum();
    if not_run > 0 {
        let reasons = tally.reasons.iter().map(|(reason, count)| format!("{count}: {reason}"));
        parts.push(format!("{not_run} not run ({})", reasons.collect::<Vec<_>>().join("; ")));
    }
    if not_asked_for > 0 {
        parts.push(format!("{not_asked_for} not asked for"));
    }
    println!("{}", parts.join(", "));
}
