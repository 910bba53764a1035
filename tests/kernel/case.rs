//! What a test is here: a name that reads as a sentence, what it needs of the machine, and a function.

use std::sync::Arc;

use crate::support::Encap;

/// The list of a module's cases. It is registered by the line in front of it, `inventory::submit!(Module(cases));`, and
/// nowhere else; a test that no list names is dead code, which the compiler reports.
pub struct Module(pub fn() -> Vec<Case>);
inventory::collect!(Module);

/// All cases, sorted by name.
pub fn all() -> Vec<Case> {
    let mut cases: Vec<Case> = inventory::iter::<Module>().flat_map(|module| module.0()).collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

/// Something a test needs and a machine may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// `ip link add type ipip external` works.
    Ipip,
    /// It does not, which is what the test is about.
    NoIpip,
    /// The module `br_netfilter`.
    BridgeNetfilter,
    /// The rule set of iptables that is older than nftables, and the program for it.
    LegacyIptables,
    /// Sets of the kind that iptables asks, and the program for them.
    Ipset,
    /// `meta ibrname` in nftables.
    BridgeNames,
    /// VLAN devices (802.1q).
    Vlan,
    /// Bonds, without loading a module for them on a machine that is not ours.
    Bonding,
    /// `WireGuard` devices.
    Wireguard,
    /// None of those, which is what the test is about.
    NoWireguard,
    /// IPsec with AES in GCM.
    Ipsec,
    /// Docker; where tier 2 runs it is installed, and a guest has it if it was given it.
    Docker,
    /// The reference plugins of CNI, likewise.
    Cni,
    /// To be in tier 2: too slow where every instruction is emulated, or what a guest does not have.
    Tier2,
    /// To be in tier 2, or in a guest that runs every case: it does not depend on the kernel's age.
    Once,
    /// In tier 3, a kernel of this series, or a guest that runs every case: it is about the program more than about the kernel.
    Series(&'static str),
    /// To be in tier 3: what counts all that a kernel holds needs one to itself.
    Tier3,
}

/// A test function with one parameter (an encapsulation) or none, under its own name.
type Named<F> = (&'static str, F);

/// One test.
#[derive(Clone)]
pub struct Case {
    pub name: String,
    pub needs: Vec<Need>,
    pub run: Arc<dyn Fn() + Send + Sync>,
}

/// A list of functions under their own names.
#[macro_export]
macro_rules! named {
    ($($test:ident),+ $(,)?) => { &[$((stringify!($test), $test)),+] };
}

/// The cases of one module.
pub struct Cases {
    module: &'static str,
    /// What every case needs that does without IPIP.
    without_ipip: Option<Need>,
    /// The series of kernels that has them, where not each has.
    series: Option<Need>,
    list: Vec<Case>,
}

impl Cases {
    /// No cases yet.
    pub fn of(module: &'static str) -> Self {
        Self { module, without_ipip: None, series: None, list: Vec::new() }
    }

    /// In tier 3 only what needs IPIP runs of the cases that follow: tier 2 has the others.
    pub fn only_ipip_in_tier_3(mut self) -> Self {
        self.without_ipip = Some(Need::Once);
        self
    }

    /// In tier 3 too all of the cases that follow run.
    pub fn in_both_tiers(mut self) -> Self {
        self.without_ipip = None;
        self
    }

    /// In tier 3 the cases that follow run on this series of kernels only.
    pub fn only_on(mut self, series: &'static str) -> Self {
        self.series = Some(Need::Series(series));
        self
    }

    fn push(&mut self, name: String, mut needs: Vec<Need>, run: Arc<dyn Fn() + Send + Sync>) {
        if !needs.contains(&Need::Ipip) {
            needs.extend(self.without_ipip);
        }
        needs.extend(self.series);
        self.list.push(Case { name, needs, run });
    }

    /// Tests that run once with each encapsulation.
    pub fn each(self, tests: &[Named<fn(Encap)>]) -> Self {
        self.each_with(&[], tests)
    }

    /// Tests that run once with each encapsulation, where the machine has more.
    pub fn each_with(mut self, needs: &[Need], tests: &[Named<fn(Encap)>]) -> Self {
        for encap in [Encap::Ipip, Encap::Vxlan] {
            let needs: Vec<Need> = needs.iter().copied().chain(encap.need()).collect();
            for &(name, test) in tests {
                let name = format!("{encap}::{}::{name}", self.module);
                self.push(name, needs.clone(), Arc::new(move || test(encap)));
            }
        }
        self
    }

    /// Tests that run once.
    pub fn once(self, tests: &[Named<fn()>]) -> Self {
        self.once_with(&[], tests)
    }

    /// Tests that run once, where the machine has what they need.
    pub fn once_with(mut self, needs: &[Need], tests: &[Named<fn()>]) -> Self {
        for &(name, test) in tests {
            let tier = if needs.contains(&Need::Ipip) { "ipip::" } else { "" };
            let name = format!("{tier}{}::{name}", self.module);
            self.push(name, needs.to_vec(), Arc::new(test));
        }
        self
    }

    /// Tests that run once and bring their full names.
    pub fn under_their_names(mut self, tests: Vec<Named<fn()>>) -> Self {
        for (name, test) in tests {
            self.push(name.into(), Vec::new(), Arc::new(test));
        }
        self
    }

    /// The list.
    pub fn list(self) -> Vec<Case> {
        self.list
    }
}
