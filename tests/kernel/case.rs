//! What a test is here: a name that reads as a sentence, what it needs of the machine, and a function.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Trial};

use crate::support::{Encap, Machine};

/// What became of the cases so far, besides what the harness counts.
static TALLY: Mutex<Tally> = Mutex::new(Tally {
    durations: Vec::new(),
    reasons: BTreeMap::new(),
});

/// How long each case took, and why others could not run.
#[derive(Debug, Clone)]
pub struct Tally {
    durations: Vec<(Duration, String)>,
    reasons: BTreeMap<String, usize>,
}

impl Tally {
    /// The tally of this process up to now.
    pub fn get() -> Self {
        TALLY.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(change: impl FnOnce(&mut Self)) {
        change(&mut TALLY.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Why cases did not run here, with their number: "3 of them: this".
    pub fn not_run(&self) -> String {
        let reasons: Vec<String> = self
            .reasons
            .iter()
            .map(|(reason, count)| format!("{count}: {reason}"))
            .collect();
        reasons.join("; ")
    }

    /// The cases that took longest.
    pub fn slowest(mut self) -> String {
        self.durations.sort_by(|one, other| other.cmp(one));
        let names: Vec<String> = self
            .durations
            .iter()
            .take(10)
            .map(|(duration, name)| format!("{name} {:.1} s", duration.as_secs_f32()))
            .collect();
        names.join(", ")
    }
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
    /// `meta ibrname` in nftables.
    BridgeNames,
    /// VLAN devices (802.1q).
    Vlan,
    /// Bonds, without loading a module for them on a machine that is not ours.
    Bonding,
    /// `WireGuard` devices.
    Wireguard,
    /// IPsec with AES in GCM.
    Ipsec,
    /// Docker; where tier 2 runs it is installed, and a guest has it if it was given it.
    Docker,
    /// The reference plugins of CNI, likewise.
    Cni,
    /// To be in tier 2: what does not depend on the kernel's age is not repeated on emulated ones.
    Tier2,
    /// In tier 3, a kernel of this series: what is about the program more than about the kernel is shared out among them.
    Series(&'static str),
    /// To be in tier 3: what counts all that a kernel holds needs one to itself.
    Tier3,
}

/// A test function with one parameter (an encapsulation) or none, under its own name.
type Named<F> = (&'static str, F);

/// One test.
pub struct Case {
    name: String,
    needs: Vec<Need>,
    run: Box<dyn FnOnce() + Send>,
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
        Self {
            module,
            without_ipip: None,
            series: None,
            list: Vec::new(),
        }
    }

    /// In tier 3 only what needs IPIP runs of the cases that follow: tier 2 has the others.
    pub fn only_ipip_in_tier_3(mut self) -> Self {
        self.without_ipip = Some(Need::Tier2);
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

    fn push(&mut self, name: String, mut needs: Vec<Need>, run: Box<dyn FnOnce() + Send>) {
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
                self.push(name, needs.clone(), Box::new(move || test(encap)));
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
            self.push(name, needs.to_vec(), Box::new(test));
        }
        self
    }

    /// Tests that run once and bring their full names.
    pub fn under_their_names(mut self, tests: Vec<Named<fn()>>) -> Self {
        for (name, test) in tests {
            self.push(name.into(), Vec::new(), Box::new(test));
        }
        self
    }

    /// The list.
    pub fn list(self) -> Vec<Case> {
        self.list
    }
}

impl Case {
    /// The test as the harness wants it: ignored with the reason where the machine lacks something.
    pub fn into_trial(self, machine: &Machine) -> Trial {
        let missing = machine.missing(&self.needs);
        let name = self.name.clone();
        Trial::ignorable_test(self.name, move || {
            if let Some(reason) = missing {
                Tally::update(|tally| *tally.reasons.entry(reason.clone()).or_default() += 1);
                return Ok(Completion::ignored_with(reason));
            }
            let begun = Instant::now();
            (self.run)();
            Tally::update(|tally| tally.durations.push((begun.elapsed(), name)));
            Ok(Completion::Completed)
        })
    }
}
