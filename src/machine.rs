//! The door to the machine: what reads or changes the kernel is in here, and nothing else of the crate does.

pub mod bpf;
