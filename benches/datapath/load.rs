//! Traffic from one container to the other, and its cost.

pub mod packets;
pub mod round_trip;
pub mod stream;

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use super::cpu;
use super::harness::Namespace;

/// How long a socket or a counter may make no progress.
const PATIENCE: Duration = Duration::from_secs(30);

/// From where to where, and for how long.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    pub client: &'a Namespace,
    pub server: &'a Namespace,
    pub address: Ipv4Addr,
    pub time: Duration,
}

/// A rate of packets or bytes that arrived, and the processor time for each.
pub struct Rate {
    /// Bytes or packets a second.
    pub per_second: f64,
    /// Processor seconds for each of them.
    pub cpu: f64,
}

/// Watches a counter for a given time, after a first tenth that does not count. It goes on while the counter stands
/// still, as when the processes that it counts have had no processor.
fn watch(time: Duration, counter: impl Fn() -> u64) -> Rate {
    thread::sleep(time / 10);
    let (before, begun, idle) = (counter(), Instant::now(), cpu::idle());
    thread::sleep(time);
    while counter() == before && begun.elapsed() < PATIENCE {
        thread::sleep(time / 10);
    }
    let (count, elapsed) = (counter() - before, begun.elapsed().as_secs_f64());
    let busy = (elapsed * cpu::count_f64() - (cpu::idle() - idle)).max(0.0);
    #[expect(clippy::cast_precision_loss, reason = "no run counts 2^52")]
    let count = count as f64;
    Rate { per_second: count / elapsed, cpu: busy / count }
}
