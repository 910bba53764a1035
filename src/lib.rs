//! The fan on every Linux: a guided tour.
//!
//! Every host has an address in the *underlay*; every host owns a *slice* of the *overlay*, computed from that address
//! alone. From an overlay address one can compute the host behind which it lives. The kernel is given this arithmetic
//! as a generated program on a tunnel device, so nothing has to be discovered, stored or agreed on.
//!
//! The rooms. Each may use those earlier in this table, and none that is later.
//!
//! | room | what it knows |
//! |---|---|
//! | [`fan`] | what a fan is: the mapping both ways, names, encapsulations, options, its label in the kernel |
//! | [`bpf`] | instructions, an assembler, and the programs that choose outer addresses and drop spoofed packets |
//! | [`config`] | /etc/fan.toml and /etc/network/fan: the fans that the administrator wrote down |
//! | [`export`] | a fan in the languages of container runtimes |
//! | [`plan`] | objects and facts as values; which objects a fan needs, what is in the way, the steps, their order |
//! | [`error`] | how a command ends: its message and its exit status |
//! | [`kernel`] | netlink, bpf(2), nftables, processes: observe, and perform one step |
//! | [`diagnose`] | what is wrong, and what mends it; the way to one address; firewalls of other programs |
//! | [`lab`] | hosts, and a network between them, on one machine |
//! | [`names`] | names of containers: who is there, what each host says of itself, DNS; the daemon that answers |
//! | [`cli`] | the command line: words, verbs, tables and JSON |
//!
//! `fan`, `bpf`, `config`, `export` and `plan` are pure: no I/O, no clock, no environment. `kernel`, `diagnose::gather`, `lab`,
//! `names::daemon` and `cli` touch the machine. Only `cli` uses `export`, `diagnose`, `lab` and `names`. `tests/cli/rooms.rs` checks this.
//!
//! How `fanctl up` runs: [`cli::args`] parses the words into a [`fan::request::Request`], and [`cli`] takes the lock.
//! [`kernel::Machine::observe`] reads the [`plan::state::State`] that is ours and the [`plan::host::Host`] around it.
//! [`plan::resolve`] computes the [`fan::Fan`], [`plan::conflicts`] the reasons against it, [`plan::desired`] its state, and
//! [`plan::diff`] the steps. [`plan::apply`] applies them by [`kernel::Machine::perform`], and rolls back if one fails.

pub mod bpf;
pub mod cli;
pub mod config;
pub mod diagnose;
pub mod error;
pub mod export;
pub mod fan;
pub mod kernel;
pub mod lab;
pub mod names;
pub mod plan;
