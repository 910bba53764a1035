//! Tier 1: the command line as people and scripts meet it. No privilege, and no network is touched: what is asked for
//! here ends before the machine is looked at, and where it might not, it names an interface that does not exist.
//!
//! Expected values are written out, or computed by other means than the library's.

mod chart;
mod config;
mod docs;
mod export;
mod grammar;
mod help;
mod man;
mod map;
mod mistakes;
mod program;
mod rooms;
mod streams;
