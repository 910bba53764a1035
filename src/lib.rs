//! The fan on every Linux: a guided tour.
//!
//! Every host has an address in the *underlay*; every host owns a *slice* of the *overlay*, computed from that address
//! alone. From an overlay address one can compute the host behind which it lives. The kernel is given this arithmetic
//! as a generated program on a tunnel device, so nothing has to be discovered, stored or agreed on.
//!
//! The rooms. Each may use those above it in this table, and nothing below.
//!
//! | room | what it knows |
//! |---|---|
//! | [`fan`] | what a fan is: the mapping both ways, names, encapsulations, options, its label in the kernel |
//! | [`bpf`] | instructions, an assembler, and the mapping as programs |
//! | [`config`] | /etc/fan.toml and /etc/network/fan: the fans that the administrator wrote down |
//! | [`export`] | a fan in the languages of container runtimes |
//! | [`plan`] | objects and facts as values; which objects a fan needs, what is in the way, the steps, their order |
//! | [`kernel`] | netlink, bpf(2), nftables, processes: observe, and perform one step |
//! | [`diagnose`] | what is wrong, and what mends it; the way to one address; firewalls of other programs |
//! | [`lab`] | hosts, and a network between them, on one machine |
//! | [`cli`] | the command line: words, verbs, tables and JSON |
//!
//! `fan`, `bpf`, `config`, `export` and `plan` are pure: no I/O, no clock, no environment. `kernel` and `diagnose::gather`
//! touch the machine. Only `cli` uses `export`, `diagnose` and `lab`. `tests/cli/rooms.rs` checks this.
//!
//! The way of `fanctl up`, from the other end: [`cli::args`] makes a [`fan::request::Request`] of the words, and [`cli`] waits
//! for its turn. [`kernel::Machine::observe`] gives the [`plan::state::State`] that is ours and the [`plan::host::Host`] around
//! it; [`plan::resolve`] makes a [`fan::Fan`] of the two, [`plan::conflicts`] says why it cannot be, [`plan::desired`] which
//! state it means, and [`plan::diff`] the steps there. [`plan::apply`] takes them by [`kernel::Machine::perform`], and back if
//! one fails.

pub mod bpf;
pub mod cli;
pub mod config;
pub mod diagnose;
pub mod error;
pub mod export;
pub mod fan;
pub mod kernel;
pub mod lab;
pub mod plan;
