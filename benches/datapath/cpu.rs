//! How long processors were idle, as the kernel counts it for the whole machine.

use std::fs;
use std::thread;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The unit of /proc/stat, in seconds (proc_stat(5): USER_HZ, which is 100 on x86).
const TICK: f64 = 0.01;

/// Seconds that all processors together were idle, waiting for disks or taken by others, since the machine started.
pub fn idle() -> f64 {
    let stat = fs::read_to_string("/proc/stat").expect("/proc/stat");
    idle_in(&stat).expect("its first line")
}

/// proc_stat(5): `cpu user nice system idle iowait irq softirq steal ...`.
fn idle_in(stat: &str) -> Option<f64> {
    let ticks: Vec<f64> = stat.lines().next()?.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
    Some((ticks.get(3)? + ticks.get(4)? + ticks.get(7)?) * TICK)
}

/// How many processors there are.
pub fn count() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The same, to calculate with.
#[expect(clippy::cast_precision_loss, reason = "a few processors")]
pub fn count_f64() -> f64 {
    count() as f64
}

/// Keeps the calling thread on the first processor it may use, so that no figure depends on where it was put.
pub fn stay_on_one() {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).expect("the processors we may use");
    let first = (0..CpuSet::count()).find(|&cpu| allowed.is_set(cpu).unwrap_or_default());
    let mut one = CpuSet::new();
    one.set(first.expect("one at least")).expect("it is in the set");
    sched_setaffinity(this, &one).expect("to stay there");
}
