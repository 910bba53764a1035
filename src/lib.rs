//! The fan on every Linux.
pub mod bpf;
pub mod encap;
pub mod machine;
pub mod mapping;
pub mod name;
pub mod program;
