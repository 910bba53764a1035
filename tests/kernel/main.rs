//! Tiers 2 and 3: `fanctl` on a real kernel, as root.
//!
//! Every "host" is a network namespace made for the test, with an underlay bridge between them and containers, which
//! are namespaces too, behind each fan bridge. The tests act through the program and look through another witness:
//! `ip -j`, `tc -j`, `nft -j`, tcpdump. Tier 2 is this kernel; tier 3 is the same binary inside QEMU on kernels that
//! have IPIP (`tests/qemu/tier`), with `FANCTL_TIER=3` and `FANCTL_BIN` set.
//!
//! What cannot run here is reported as ignored by name, with the reason, and never passes.

mod case;
mod support;

mod objects;

use std::process::ExitCode;

use case::Case;
use libtest_mimic::Arguments;
use support::Machine;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let machine = Machine::probe();
    let cases: Vec<Case> = [objects::cases()].into_iter().flatten().collect();
    if !arguments.list {
        machine.announce();
    }
    let trials = cases.into_iter().map(|case| case.into_trial(&machine)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if machine.is_incomplete() {
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
