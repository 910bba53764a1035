//! Names, in a world that is simulated: hosts, a network that delays and loses, and time that passes as fast as it is computed.
//!
//! Few hosts here; `make names` asserts the figures of docs/names.md, for a thousand.

mod figures;
mod hostile;
mod world;
