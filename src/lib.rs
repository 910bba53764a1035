//! The fan on every Linux.
