//! What a test is here: a name that reads as a sentence, what it needs of the machine, and a function.

use libtest_mimic::{Completion, Trial};

use crate::support::{Encap, Machine};

/// Something a test needs and a machine may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// `ip link add type ipip external` works.
    Ipip,
    /// It does not, which is what the test is about.
    NoIpip,
    /// The module `br_netfilter`.
    BridgeNetfilter,
    /// VLAN devices (802.1q).
    Vlan,
    /// `WireGuard` devices.
    Wireguard,
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
    cases: Vec<Case>,
}

impl Cases {
    /// No cases yet.
    pub fn of(module: &'static str) -> Self {
        Self {
            module,
            cases: Vec::new(),
        }
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
                self.cases.push(Case {
                    name,
                    needs: needs.clone(),
                    run: Box::new(move || test(encap)),
                });
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
            self.cases.push(Case {
                name,
                needs: needs.to_vec(),
                run: Box::new(test),
            });
        }
        self
    }

    /// Tests that run once and bring their full names.
    pub fn under_their_names(mut self, tests: Vec<Named<fn()>>) -> Self {
        for (name, test) in tests {
            self.cases.push(Case {
                name: name.into(),
                needs: Vec::new(),
                run: Box::new(test),
            });
        }
        self
    }

    /// The list.
    pub fn list(self) -> Vec<Case> {
        self.cases
    }
}

impl Case {
    /// The test as the harness wants it: ignored with the reason where the machine lacks something.
    pub fn into_trial(self, machine: &Machine) -> Trial {
        let missing = machine.missing(&self.needs);
        Trial::ignorable_test(self.name, move || {
            if let Some(reason) = missing {
                return Ok(Completion::ignored_with(reason));
            }
            (self.run)();
            Ok(Completion::Completed)
        })
    }
}
