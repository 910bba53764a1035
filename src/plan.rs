//! What is to change: the state that a command wants, less the state that is there.
//!
//! Everything here is a pure function of values: no I/O, no clock, no environment. [`state`] and [`host`] are the
//! vocabulary; [`resolve`] makes a fan of a request, [`desired`] its objects, [`conflicts`] the reasons why it cannot be,
//! [`diff`] the steps, and [`apply`] walks them, and back if one fails.

pub(crate) mod apply;
pub(crate) mod changes;
pub(crate) mod commands;
pub(crate) mod conflicts;
pub(crate) mod desired;
pub(crate) mod diff;
pub(crate) mod difference;
pub mod firewall;
pub(crate) mod foreign;
pub mod host;
pub(crate) mod leftovers;
pub(crate) mod lookup;
pub(crate) mod losses;
pub(crate) mod reason;
pub(crate) mod remarks;
pub(crate) mod resolve;
pub(crate) mod rule;
pub mod state;
pub(crate) mod verdict;
