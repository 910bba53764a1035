//! What is wrong with a fan: `doctor` examines it, `trace` follows the way to one address.
//!
//! `gather` reads from the kernel what only a diagnosis needs, and is the one impure part; [`facts`] are what it brings back.
//! [`netfilter`] walks a packet through the firewalls of other programs. Without this room a fan would still come up.

pub(crate) mod disagreement;
pub(crate) mod doctor;
pub(crate) mod facts;
pub(crate) mod gather;
pub(crate) mod netfilter;
pub(crate) mod trace;
mod wire;
