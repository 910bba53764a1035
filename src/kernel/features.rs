//! The kernel itself: which it is, and whether it can carry a fan.

use std::net::Ipv4Addr;
use std::sync::OnceLock;

use caps::Capability;

use super::file::{self, KERNEL_LIMIT};
use super::{bpf, capabilities};
use crate::bpf::program::{self, ACCEPTED, Spec};
use crate::fan::encap::Encapsulation;
use crate::fan::mapping::{Mapping, Underlay};
use crate::plan::host::{Linux, SOURCE_SINCE};

/// Which kernel it is, and what [`try_source`] found if that was asked before.
#[must_use]
pub(crate) fn observe() -> Linux {
    let release = file::read_text("/proc/sys/kernel/osrelease", KERNEL_LIMIT).unwrap_or_default();
    Linux { release: release.trim().into(), takes_source: TAKES_SOURCE.get().copied().flatten(), has_nf_tables: None }
}

static TAKES_SOURCE: OnceLock<Option<bool>> = OnceLock::new();

/// Tries whether the kernel takes the outer source address from a program, if its version leaves a doubt: what came with a
/// version may have been brought to an older one. It takes `CAP_BPF`, so it is asked before that is given up.
pub(crate) fn try_source() {
    if observe().version().is_some_and(|version| version < SOURCE_SINCE) {
        TAKES_SOURCE.get_or_init(|| capabilities::raised(&[Capability::CAP_BPF], takes_source));
    }
}

/// What a program for packets that leave says of one to another slice, without any device: it drops what it cannot hand to
/// the tunnel. None where it cannot be tried.
fn takes_source() -> Option<bool> {
    let host = Ipv4Addr::new(172, 30, 0, 28);
    let underlay = Underlay::containing(host, 16).ok()?;
    let mapping = Mapping::new("250.0.0.0/8".parse().ok()?, underlay).ok()?;
    let spec = Spec { mapping, host, broadcasts: [].into(), encapsulation: Encapsulation::Ipip };
    let ethernet = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0];
    let ip = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 1, 0, 0, 250, 0, 28, 2, 250, 0, 27, 2];
    let packet = [&ethernet[..], &ip].concat();
    let program = bpf::load(&program::egress(&spec)).ok()?;
    Some(bpf::test_run(&program, &packet).ok()?.verdict == ACCEPTED)
}
