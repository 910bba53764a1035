//! The kernel, as it is: [`observe`](Machine::observe) what is there, [`perform`](Machine::perform) one step.
//!
//! Nothing in the pure rooms knows netlink, bpf(2), files or processes; nothing here decides. Each file turns one kind of
//! object into the kernel's messages and back, and only `observe` and `perform` send them.

pub mod bpf;
mod bridge;
pub(crate) mod capabilities;
mod claims;
pub mod dnsmasq;
pub mod exec;
pub(crate) mod fast;
pub(crate) mod features;
pub(crate) mod file;
pub mod filter;
pub(crate) mod foreign;
mod held;
mod ipv6;
pub mod link;
pub(crate) mod lock;
pub(crate) mod lookup;
pub(crate) mod monitor;
pub(crate) mod neighbour;
pub mod netlink;
pub mod nexthop;
pub mod nft;
pub mod nftables;
mod observe;
pub(crate) mod occupants;
mod perform;
pub(crate) mod process;
pub mod route;
pub(crate) mod rules;
pub(crate) mod secret;
pub(crate) mod signals;
pub(crate) mod socket;
pub(crate) mod sysctl;
mod uses;
pub mod vni;
pub mod wireguard;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::os::fd::OwnedFd;

use netlink::{Netlink, Refusal};
pub(crate) use observe::read_key;

use crate::fan::name::InterfaceName;
use crate::plan::host::Host;
use crate::plan::state::State;

/// Why observing or a step failed: the kernel's or the program's own words, and what to do where we know.
#[derive(Debug)]
pub(crate) struct KernelError {
    words: String,
    advice: Option<&'static str>,
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)?;
        self.advice.map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

impl std::error::Error for KernelError {}

impl From<Refusal> for KernelError {
    fn from(refusal: Refusal) -> Self {
        let advice = (refusal.errno == nix::libc::EPERM).then_some("run it as root");
        Self { words: refusal.to_string(), advice }
    }
}

impl From<std::io::Error> for KernelError {
    fn from(error: std::io::Error) -> Self {
        error.to_string().into()
    }
}

impl From<String> for KernelError {
    fn from(words: String) -> Self {
        Self { words, advice: None }
    }
}

impl From<bpf::LoadError> for KernelError {
    fn from(error: bpf::LoadError) -> Self {
        error.to_string().into()
    }
}

impl From<KernelError> for crate::error::Error {
    fn from(error: KernelError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl KernelError {
    fn advise(self, advice: &'static str) -> Self {
        Self { advice: Some(advice), ..self }
    }
}

/// How much of the machine to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Interfaces and routes: enough to name the fans, and those of which something remains.
    Fans,
    /// Everything of the fans, and no route of others.
    Own,
    /// Everything a plan needs.
    All,
}

/// A connection to the kernel, in the network namespace of the thread that made it.
pub(crate) struct Machine {
    pub(crate) netlink: Netlink,
    /// Programs whose instructions are not known, by digest, so that a step that replaces or removes one can be taken back.
    held: RefCell<HashMap<String, OwnedFd>>,
}

impl Machine {
    /// Connects.
    ///
    /// # Errors
    /// When there is no netlink.
    pub fn connect() -> Result<Self, KernelError> {
        Ok(Self { netlink: Netlink::connect()?, held: RefCell::default() })
    }

    /// What [`observe`](Self::observe) reads, when no other `fanctl` is in the middle of a change, for which it waits about a
    /// second.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn look(&self, scope: Scope) -> Result<(State, Host), KernelError> {
        let _turn = lock::Lock::to_look();
        self.observe(scope)
    }

    /// The names of all interfaces by index.
    pub(crate) fn names(&self) -> Result<BTreeMap<u32, InterfaceName>, Refusal> {
        Ok(link::names(&self.netlink.dump_links()?))
    }
}

/// Lets packets pass between any two interfaces of the host: asked for by NAT, and never taken back.
///
/// # Errors
/// When the setting may not be written.
pub(crate) fn enable_ip_forward() -> Result<(), KernelError> {
    Ok(sysctl::ensure(sysctl::IP_FORWARD, true)?)
}
