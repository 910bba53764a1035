//! What is to change: the state that a command wants, less the state that is there.
//!
//! Everything here is a pure function of values: no I/O, no clock, no environment. [`state`] and [`host`] are the
//! vocabulary; [`resolve`] makes a fan of a request, [`desired`] its objects, [`conflicts`] the reasons why it cannot be,
//! [`diff`] the steps, and [`apply`] walks them, and back if one fails.

pub mod apply;
pub mod changes;
pub mod commands;
pub mod conflicts;
pub mod desired;
pub mod diff;
pub mod difference;
pub mod firewall;
pub mod foreign;
pub mod host;
pub mod leftovers;
pub mod lookup;
pub mod losses;
pub mod reason;
pub mod remarks;
pub mod resolve;
pub mod rule;
pub mod state;
pub mod verdict;
