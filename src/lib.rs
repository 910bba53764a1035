//! The fan on every Linux: a guided tour.
//!
//! Every host has an address in the *underlay*; every host owns a *slice* of the *overlay*, computed from that address
//! alone. Whoever sees an overlay address can compute the host it lives behind. The kernel is given this arithmetic
//! as a generated program on a tunnel device, so nothing has to be discovered, stored or agreed on.
//!
//! Read in this order; each module may use those above it and nothing below.
//!
//! | module | what it knows |
//! |---|---|
//! | [`mapping`] | the arithmetic, both ways |
//! | [`text`] | the one escaping of what others wrote |
//! | [`name`], [`encap`], [`digest`] | interface names, the two encapsulations, short names for long texts |
//! | [`bpf`], [`program`] | an assembler; the mapping as instructions |
//! | [`config`], [`configuration`] | one fan as asked for; all that the administrator wrote down, in three grammars |
//! | [`shell`] | lines to type, in which each word from outside is quoted |
//! | [`fan`] | a fan with nothing left open, and its label in the kernel |
//! | [`firewall`] | the fan's nftables tables, and its rules in other people's chains |
//! | [`object`], [`host`] | the vocabulary: what we own or want; everything else on the machine that matters |
//! | [`foreign`] | what others put on a fan's devices |
//! | [`resolve`], [`desire`], [`remains`], [`conflict`] | which fan is meant; its objects; what is left of one; why it cannot be |
//! | [`plan`], [`apply`] | the difference of two states, in order; walking it, and back |
//! | [`export`] | a fan in the languages of container runtimes |
//! | [`trace`] | the way to an address, what proves it, and who is to blame |
//! | [`difference`] | in what an object is not as it should be |
//! | [`transcript`], [`report`] | a step as the line a person would type; fans as table and JSON |
//! | [`watch`] | what happens to a fan, in sentences |
//! | [`netfilter`], [`health`] | other people's firewalls, and one packet's walk through them; what only a diagnosis asks for |
//! | [`changes`] | how a fan differs from the one that is up |
//! | [`loss`] | what a fan that comes up takes away from this host |
//! | [`doctor`] | what is wrong, and what mends it |
//! | [`machine`] | the door to the kernel: observe, perform |
//! | [`signals`], [`error`], [`lock`] | who asks a command to end; how it ends otherwise than well; whose turn it is |
//! | [`cli`], [`usage`] | the command line; what is wrong with one, in a sentence |
//! | [`lab`] | hosts, and a network between them, on one machine |
//! | [`command`] | the verbs, each a choice of the desired state |
//!
//! Everything above [`machine`] is pure: no I/O, no clock, no environment.
//!
//! The way of `fanctl up`, from the other end: [`cli`] makes a [`config::Config`] of the words, and [`command`] waits for
//! its turn. [`machine::Machine::observe`] gives the [`object::State`] that is ours and the [`host::Host`] around it;
//! [`resolve`] makes a [`fan::Fan`] of the two, [`conflict`] says why it cannot be, [`desire`] which state it means, and
//! [`plan::diff`] the steps there. [`apply`] takes them by [`machine::Machine::perform`], and back if one fails.

// The oracle of the programs is one file, compiled into the unit tests here and into tests/kernel.
#[cfg(test)]
extern crate self as fanctl;

pub mod apply;
pub mod bpf;
pub mod changes;
pub mod cli;
pub mod command;
pub mod config;
pub mod configuration;
pub mod conflict;
pub mod desire;
pub mod difference;
pub mod digest;
pub mod doctor;
pub mod encap;
pub mod error;
pub mod export;
pub mod fan;
pub mod firewall;
pub mod foreign;
pub mod health;
pub mod host;
pub mod lab;
pub mod lock;
pub mod loss;
pub mod machine;
pub mod mapping;
pub mod name;
pub mod netfilter;
pub mod object;
pub mod plan;
pub mod program;
pub mod remains;
pub mod remark;
pub mod report;
pub mod resolve;
pub mod shell;
pub mod signals;
pub mod text;
pub mod trace;
pub mod transcript;
pub mod usage;
pub mod watch;
