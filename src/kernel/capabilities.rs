//! What this process may do, and giving up the rest.
//!
//! Of the capabilities that a command came with, it keeps those that its verb can need ([`Needs`]), and of these only two
//! are in effect: for looking. A step that takes more [raises](raised) it for as long as it lasts. Nothing that we start
//! may gain any (`no_new_privs`), and what is started is started by a thread that has given up whatever that program does
//! not need ([`limit_to`]): capabilities are a thread's own, and a child has those of the thread that made it.

use std::collections::HashSet;
use std::io;

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;

/// What a verb can need at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// The arithmetic and the files.
    Nothing,
    /// To read what there is.
    Looking,
    /// To read what there is, the counters of programs included.
    Counting,
    /// The same, and to write a file with the owner that it had.
    Recording,
    /// To read what there is, and to write a file with the owner that it had.
    Writing,
    /// To read what there is, to ask a program that runs, and to send probes.
    Probing,
    /// To read what only a diagnosis asks for, and to try whether a program can be loaded.
    Examining,
    /// To serve ports below 1024.
    Serving,
    /// To change this network namespace.
    Changing,
    /// To make network namespaces, and to do in each what the others do.
    Namespaces,
}

/// The firewall is shown to those only who may change it (`nfnetlink_rcv`, net/netfilter/nfnetlink.c at v6.12), and in which
/// network namespace a server runs to those only who may trace it (`ptrace_may_access`; namespaces(7)).
const LOOKING: [Capability; 2] = [Capability::CAP_NET_ADMIN, Capability::CAP_SYS_PTRACE];

/// Loading a program takes `CAP_BPF` beside `CAP_NET_ADMIN`; `CAP_PERFMON` is for programs that do more with pointers than
/// ours. A server of another user is ended with `CAP_KILL`. `CAP_SYS_ADMIN` is given up before the first step.
const CHANGING: [Capability; 3] = [Capability::CAP_BPF, Capability::CAP_KILL, Capability::CAP_SYS_ADMIN];

/// A program that runs is opened with `CAP_SYS_ADMIN` (`bpf_prog_get_fd_by_id`, kernel/bpf/syscall.c at v6.12), and so are its
/// maps. Before the first probe it is given up.
const PROBING: [Capability; 2] = [Capability::CAP_NET_RAW, Capability::CAP_SYS_ADMIN];

/// A file that is there may belong to somebody else than root: it is read, and its successor given to them.
const WRITING: [Capability; 2] = [Capability::CAP_CHOWN, Capability::CAP_DAC_READ_SEARCH];

/// For `nft`: what it has from us.
pub(crate) const NFT: &[Capability] = &[Capability::CAP_NET_ADMIN];

/// For `iptables-save`, whose older kind asks by a raw socket (iptables, libiptc/libiptc.c, `TC_INIT`).
pub(crate) const IPTABLES: &[Capability] = &[Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW];

/// For `dnsmasq`: to become a user of its own, to serve ports 53 and 67, to ping an address before it gives it out, and to
/// answer to those that have no address yet.
pub(crate) const DNSMASQ: &[Capability] = &[
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_NET_RAW,
    Capability::CAP_NET_ADMIN,
];

impl Needs {
    fn capabilities(self) -> CapsHashSet {
        let looking = LOOKING.into_iter();
        match self {
            Self::Nothing => HashSet::new(),
            Self::Serving => [Capability::CAP_NET_BIND_SERVICE].into(),
            Self::Looking => looking.collect(),
            Self::Counting => looking.chain([Capability::CAP_SYS_ADMIN]).collect(),
            Self::Recording => looking.chain(WRITING).chain([Capability::CAP_SYS_ADMIN]).collect(),
            Self::Writing => looking.chain(WRITING).collect(),
            Self::Examining => looking.chain([Capability::CAP_NET_RAW, Capability::CAP_BPF]).collect(),
            Self::Probing => looking.chain(PROBING).collect(),
            Self::Changing | Self::Namespaces => looking.chain(CHANGING).chain(DNSMASQ.iter().copied()).collect(),
        }
    }
}

/// Keeps what a verb can need, for this process and all that it starts; what it did not have it does not get.
///
/// # Errors
/// When the kernel does not let go.
pub(crate) fn drop_to(needs: Needs) -> io::Result<()> {
    prctl::set_no_new_privs()?;
    let keep = needs.capabilities();
    drop_bounding(&keep).map_err(io::Error::other)?;
    limit(&keep).map_err(io::Error::other)?;
    if matches!(needs, Needs::Changing | Needs::Counting | Needs::Recording) {
        let effective = read(CapSet::Effective).map_err(io::Error::other)?;
        let looking = effective.intersection(&LOOKING.into()).copied().collect();
        caps::set(None, CapSet::Effective, &looking).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Limits the calling thread, and what it starts, to these capabilities, of those that it has.
///
/// # Errors
/// When the kernel does not let go.
pub(crate) fn limit_to(capabilities: &[Capability]) -> io::Result<()> {
    limit(&capabilities.iter().copied().collect()).map_err(io::Error::other)
}

/// Gives up a capability for good.
///
/// # Errors
/// When the kernel does not let go.
pub(crate) fn give_up(capability: Capability) -> io::Result<()> {
    let mut keep = read(CapSet::Permitted).map_err(io::Error::other)?;
    keep.remove(&capability);
    limit(&keep).map_err(io::Error::other)
}

/// Does something with capabilities in effect that are not otherwise, as far as this process may have them.
pub(crate) fn raised<T>(capabilities: &[Capability], action: impl FnOnce() -> T) -> T {
    let set = |set: &CapsHashSet| caps::set(None, CapSet::Effective, set);
    let before = read(CapSet::Effective).unwrap_or_default();
    let permitted = read(CapSet::Permitted).unwrap_or_default();
    let wanted = capabilities.iter().filter(|capability| permitted.contains(capability));
    // Where it cannot be, the action itself fails, and says so in words of its own.
    let _ = set(&before.iter().chain(wanted).copied().collect());
    let result = action();
    let _ = set(&before);
    result
}

/// Whether this process may change the network (`CAP_NET_ADMIN` in its effective set).
#[must_use]
pub(crate) fn is_privileged() -> bool {
    caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN).unwrap_or(false)
}

fn read(set: CapSet) -> Result<CapsHashSet, CapsError> {
    caps::read(None, set)
}

/// All three sets, the effective one first, for it must stay within the permitted one; what is ambient is in both others, and
/// the kernel takes it away with them.
fn limit(keep: &CapsHashSet) -> Result<(), CapsError> {
    for set in [CapSet::Effective, CapSet::Inheritable, CapSet::Permitted] {
        let kept = read(set)?.intersection(keep).copied().collect();
        caps::set(None, set, &kept)?;
    }
    Ok(())
}

/// Whoever may not do this starts nothing that gains any: `no_new_privs` has seen to it.
fn drop_bounding(keep: &CapsHashSet) -> Result<(), CapsError> {
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        return Ok(());
    }
    for capability in caps::all().difference(keep) {
        // An older kernel does not know the newest.
        if caps::has_cap(None, CapSet::Bounding, *capability).unwrap_or(false) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    Ok(())
}
