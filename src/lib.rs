//! The fan on every Linux.
pub mod encap;
pub mod lab;
pub mod mapping;
pub mod name;
