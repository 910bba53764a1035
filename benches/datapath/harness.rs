//! The hosts, containers and namespaces of the tests, which are as good for measuring.
#![allow(dead_code, unused_imports, reason = "the tests use more of it")]

#[path = "../../tests/kernel/support/lan.rs"]
mod lan;
#[path = "../../tests/kernel/support/namespace.rs"]
mod namespace;
#[path = "../../tests/kernel/support/output.rs"]
mod output;
#[path = "../../tests/kernel/support/waiting.rs"]
mod waiting;

use std::time::Duration;

pub use lan::{Container, Host, Lan};
pub use namespace::Namespace;
pub use output::Output;
pub use waiting::eventually;

/// How often to look for something that must happen, and how long a program may take.
const ATTEMPTS: u32 = 18_000;
const DEADLINE: Duration = Duration::from_secs(1800);

/// The two encapsulations, which `Host::up` takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Encap {
    Ipip,
    Vxlan,
}

impl Encap {
    /// As `fanctl up` has it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Ipip => "--encap ipip",
            Self::Vxlan => "--encap vxlan",
        }
    }
}
