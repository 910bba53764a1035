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
mod support;

mod cni;
mod concurrent;
mod configured;
mod converge;
mod dhcp;
mod docker;
mod doctor;
mod encrypted;
mod export;
mod faults;
mod firewall;
mod flowtable;
mod forged;
mod hostile;
mod ifupdown;
mod interop;
mod kubernetes;
mod lab;
mod leak;
mod libvirt;
mod lxc;
mod lxd;
mod mtu;
mod nat;
mod objects;
mod older;
mod options;
mod podman;
mod privileges;
mod program;
mod refusals;
mod remains;
mod several;
mod show;
mod sight;
mod soak;
mod trace;
mod underlay;
mod watch;
mod wire;
mod wrapped;

use std::process::ExitCode;

use case::{Case, Cases};
use libtest_mimic::Arguments;
use support::Machine;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let machine = Machine::probe();
    let modules: &[fn() -> Vec<Case>] = &[
        cni::cases,
        concurrent::cases,
        configured::cases,
        configured::files::cases,
        converge::cases,
        dhcp::cases,
        docker::cases,
        doctor::cases,
        encrypted::cases,
        export::cases,
        faults::cases,
        firewall::cases,
        flowtable::cases,
        forged::cases,
        hostile::cases,
        ifupdown::cases,
        interop::cases,
        kubernetes::cases,
        lab::cases,
        leak::cases,
        libvirt::cases,
        lxc::cases,
        lxd::cases,
        mtu::cases,
        nat::cases,
        objects::cases,
        older::cases,
        options::cases,
        podman::cases,
        privileges::cases,
        || Cases::of("program").under_their_names(program::all()).list(),
        refusals::cases,
        remains::cases,
        several::cases,
        sight::cases,
        show::cases,
        trace::cases,
        soak::cases,
        underlay::cases,
        watch::cases,
        wire::cases,
        wrapped::cases,
    ];
    let cases = modules.iter().flat_map(|cases| cases());
    if !arguments.list {
        machine.announce();
    }
    let trials = cases.map(|case| case.into_trial(&machine)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        machine.sum_up(&conclusion);
    }
    if machine.is_incomplete() {
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
