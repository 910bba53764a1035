//! The packets of a hostile container, as root inside it.

use super::{
    FAR, FOREIGN, FRAGMENTATION_NEEDED, GATEWAY, HOST, LOOSE, MALLORY, OTHER, OWN, STRICT, Seen, Stage, Table, VICTIM,
    attack,
};
use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Crafted, Encap, INTERNET};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("hostile").each(named![a_hostile_container_gets_nowhere]).list()
}

/// Its address.
const ME: &str = "250.0.28.3";

/// The encapsulated packet, with an outer header that the container has written.
fn wrap(encap: Encap, inner: Crafted, outer: (&str, &str)) -> Crafted {
    match encap {
        Encap::Ipip => inner.in_ip(outer),
        // No interface has the MAC address; the bridge would flood the frame to all ports.
        Encap::Vxlan => inner.in_vxlan(outer, [0x02, 0, 0, 0, 0, 0x77]),
    }
}

/// A packet from a slice that is not its host's.
fn forged(id: u16, to: &str) -> Crafted {
    Crafted::udp(id, (OWN, to))
}

fn a_hostile_container_gets_nowhere(encap: Encap) {
    let stage = Stage::new(encap);
    let mut table = Table::default();
    table.row("honest", Seen::Far, |id| [Crafted::udp(id, (ME, FAR))]);
    for part in [posing, wrapped, odd] {
        part(&mut table, encap);
    }
    table.row("honest, behind all of them", Seen::Far, |id| [Crafted::udp(id, (ME, FAR))]);
    attack(encap, &stage, &stage.hostile, table);
}

fn posing(table: &mut Table, _: Encap) {
    table.row("another's source, to a neighbour", Seen::Nobody, |id| [forged(id, VICTIM)]);
    table.row("in the name of its host, to a neighbour", Seen::Nobody, |id| [Crafted::udp(id, (GATEWAY, VICTIM))]);
    table.row("another's source, to another host's container", Seen::Nobody, |id| [forged(id, FAR)]);
    table.row("another's source, to the internet", Seen::Nobody, |id| [forged(id, INTERNET)]);
    table.row("another's source, routed on by its host", Seen::Nobody, |id| {
        [(LOOSE, FAR), (STRICT, VICTIM)].map(|(kind, next)| forged(id, GATEWAY).routed_on_to(kind, next))
    });
    let what = "routed on by its host to another host's container and to the internet";
    table.row(what, Seen::Nobody, |id| {
        [FAR, INTERNET].map(|next| Crafted::udp(id, (ME, GATEWAY)).routed_further_to(LOOSE, next))
    });
}

fn wrapped(table: &mut Table, encap: Encap) {
    table.row("wrapped in fragments, in the name of a host", Seen::Nobody, |id| {
        let whole = wrap(encap, forged(id, FAR), (MALLORY, OTHER));
        [(0, 8), (1, 8), (2, 999)].map(|(offset, length)| whole.fragment(offset, length))
    });
    table.row("wrapped in fragments, in the name of its host", Seen::Nobody, |id| {
        let whole = wrap(encap, Crafted::udp(id, (VICTIM, FAR)), (HOST, OTHER));
        [(0, 24), (3, 999)].map(|(offset, length)| whole.fragment(offset, length))
    });
    table.row("wrapped, with options before it", Seen::Nobody, |id| {
        [wrap(encap, forged(id, FAR), (MALLORY, OTHER)).options(&[148, 4, 0, 0])]
    });
    table.row("wrapped for its own host", Seen::Nobody, |id| [wrap(encap, forged(id, VICTIM), (MALLORY, HOST))]);
    let what = "nested, for its own host's address in the overlay";
    table.row(what, Seen::Nobody, |id| [ME, MALLORY].map(|source| forged(id, VICTIM).in_ip((source, GATEWAY))));
    let what = "nested, for the other host's address in the overlay";
    table.row(what, Seen::Nobody, |id| [forged(id, FAR).in_ip((OWN, "250.0.27.1"))]);
}

fn odd(table: &mut Table, _: Encap) {
    table.row("fragments with another's source", Seen::Nobody, |id| {
        let whole = forged(id, FAR);
        [(0, 8), (1, 8), (2, 99)].map(|(offset, length)| whole.fragment(offset, length))
    });
    table.row("an error with another's source", Seen::Nobody, |id| {
        [Crafted::udp(id, (VICTIM, FAR)).quoted(FRAGMENTATION_NEEDED, (FOREIGN, VICTIM))]
    });
    table.row("options that are none", Seen::FarIfBridged, |id| [Crafted::udp(id, (ME, FAR)).options(&[68, 40, 5, 0])]);
}
