//! Tiers 2 and 3: `fanctl` on a real kernel, as root.
//!
//! Every "host" is a network namespace made for the test, with an underlay bridge between them and containers, which
//! are namespaces too, behind each fan bridge. The tests act through the program and look through another witness:
//! `ip -j`, `tc -j`, `nft -j`, tcpdump. Tier 2 is this kernel; tier 3 is the same binary inside QEMU on kernels that
//! have IPIP (`tests/qemu/tier`), with `FANCTL_TIER=3` and `FANCTL_BIN` set.
//!
//! What cannot run here is reported as ignored by name, with the reason, and never passes.

mod case;
mod fixture;
mod run;
mod support;
mod untouched;

mod addresses;
mod attacks;
mod cni;
mod concurrent;
mod configured;
mod converge;
mod cuts;
mod dhcp;
mod dns;
mod docker;
mod doctor;
mod encap;
mod encrypted;
mod export;
mod fast;
mod faults;
mod firewall;
mod flowtable;
mod forged;
mod hostile;
mod ifupdown;
mod interop;
mod json;
mod kubernetes;
mod lab;
mod leak;
mod libvirt;
mod lxc;
mod lxd;
mod mtu;
mod names;
mod nat;
mod objects;
mod older;
mod options;
mod owned;
mod podman;
mod posed;
mod privileges;
mod program;
mod refusals;
mod remains;
mod routes;
mod rulesets;
mod screens;
mod several;
mod show;
mod sight;
mod soak;
mod trace;
mod underlay;
mod watch;
mod wire;
mod wireguard;
mod wrapped;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use support::Machine;

fn main() -> ExitCode {
    // The files that tests write are read by other users, too.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    untouched::begin();
    let outcome = run::run(&Arguments::from_args(), &Machine::probe());
    let touched = untouched::touched();
    if touched.is_empty() {
        return outcome;
    }
    println!("FAILED a test wrote outside of its hosts: {touched:?}");
    ExitCode::FAILURE
}
