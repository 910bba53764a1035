//! Names: which containers are called what, on which hosts, and who is there at all.
//!
//! Most of it is arithmetic: `web.250-0-28.fan.internal` names the host that knows, and `250-0-28-3.ip.fan.internal` its own
//! answer ([`zone`]). For flat names, `web.fan.internal`, every host tells every other which names it has. Which hosts there are
//! is learned by gossip ([`roll`], by the crate `foca`). Names come from the host itself, and it counts as gone when it stops
//! answering ([`peers`]).
//!
//! **A host speaks only for addresses of its own slice.** A datagram's source is a gateway that the fan's programs have checked;
//! addresses travel as offsets into the sender's slice ([`facts`]), so that another host's cannot even be written.
//!
//! Pure but for the daemon at its edge: [`mesh::Mesh::step`] takes an event and gives actions, and knows no clock and no socket.

pub mod answer;
pub mod book;
pub mod daemon;
pub mod facts;
pub mod mesh;
pub mod peers;
pub mod roll;
pub mod schedule;
pub mod wire;
pub mod zone;
