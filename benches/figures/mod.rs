//! Figures: what was measured, what follows from it, and how it is shown. Pure; the programs beside it measure.
//!
//! As a test of its own (`cargo test --test figures`) this file is its own crate.

#![allow(clippy::must_use_candidate, reason = "as a test of its own this is no library")]

pub mod campaign;
pub mod commands;
pub mod kallsyms;
pub mod metric;
pub mod plot;
pub mod sample;
pub mod scale;
pub mod table;
