//! Whether each case still runs: what `cargo test` does with this program. Nothing is timed.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use nix::unistd::geteuid;

use crate::figures::metric::Metric;
use crate::measure::{measure, mtu};
use crate::peers::{PEERS, Peer};
use crate::site::Site;

/// Builds each case, sends everything once, and says by name what this kernel cannot do.
pub fn run() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They share processors, and in a guest there is one.
    arguments.test_threads.get_or_insert(1);
    let trials = PEERS.iter().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(peer: &'static Peer) -> Trial {
    match missing(peer) {
        Some(reason) => Trial::test(format!("{}: {reason}", peer.name), || Ok(())).with_ignored_flag(true),
        None => Trial::test(peer.name, || {
            attempt(peer);
            Ok(())
        }),
    }
}

/// Debian's kernels can do everything, so there nothing is missing: what cannot run fails.
fn missing(peer: &Peer) -> Option<String> {
    if !geteuid().is_root() {
        return Some("needs root".into());
    }
    peer.missing().filter(|_| !in_a_guest())
}

fn in_a_guest() -> bool {
    env::var("FANCTL_TIER").as_deref() == Ok("3")
}

fn attempt(peer: &Peer) {
    let connected = (peer.connect)(Site::new());
    assert!(mtu(&connected) > 1400, "less is left for the container than any of them takes");
    // Long enough for a first packet in an emulated machine that has many others beside it.
    let time = Duration::from_millis(if in_a_guest() { 300 } else { 20 });
    let samples = measure(&connected, time);
    for metric in Metric::ALL {
        let sample = samples.iter().find(|(name, _)| *name == metric).expect("a sample of each").1;
        // A processor's ticks are too coarse for so short a time.
        let is_cpu = matches!(metric, Metric::CpuPerGigabyte | Metric::CpuPerMegapacket);
        assert!(sample.is_finite() && (sample > 0.0 || is_cpu), "{metric:?} is {sample}");
    }
}
