//! The fan on every Linux.
#[cfg(test)]
extern crate self as fanctl;

pub mod bpf;
pub mod encap;
pub mod machine;
pub mod mapping;
pub mod name;
pub mod program;
