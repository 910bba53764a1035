//! The fan on every Linux.
pub mod mapping;
pub mod name;
