//! The packets of an attacker on the underlay to a host, from an address of its own unless the row says otherwise.

use super::{
    FAR, FOREIGN, FRAGMENTATION_NEEDED, GATEWAY, HOST, HOST_UNREACHABLE, LOOSE, MALLORY, OTHER, OWN, REDIRECT, STRICT,
    Seen, Stage, Table, VICTIM, attack,
};
use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Crafted, Encap, INTERNET, Inner, inject_plain, octets};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("hostile").each(named![an_attacker_on_the_underlay_gets_nowhere]).list()
}

/// How Mallory encapsulates packets for the attacked host.
struct Wrapping {
    encap: Encap,
    /// MAC addresses, which over VXLAN say which port of the bridge gets the packet.
    victim: [u8; 6],
    bridge: [u8; 6],
}

impl Wrapping {
    /// With this outer source, for the victim's port.
    fn named(&self, source: &str, inner: Crafted) -> Crafted {
        match self.encap {
            Encap::Ipip => inner.in_ip((source, HOST)),
            Encap::Vxlan => inner.in_vxlan((source, HOST), self.victim),
        }
    }

    /// With Mallory's own outer source.
    fn own(&self, inner: Crafted) -> Crafted {
        self.named(MALLORY, inner)
    }

    /// For the host itself.
    fn for_host(&self, inner: Crafted) -> Crafted {
        match self.encap {
            Encap::Ipip => inner.in_ip((MALLORY, HOST)),
            Encap::Vxlan => inner.in_vxlan((MALLORY, HOST), self.bridge),
        }
    }
}

fn honest(id: u16) -> Crafted {
    Crafted::udp(id, (OWN, VICTIM))
}

fn forged(id: u16) -> Crafted {
    Crafted::udp(id, (FOREIGN, VICTIM))
}

/// A packet that the victim has sent to the other host's container.
fn conversation(id: u16) -> Crafted {
    Crafted::udp(id, (VICTIM, FAR))
}

fn an_attacker_on_the_underlay_gets_nowhere(encap: Encap) {
    let stage = Stage::new(encap);
    let wrap =
        Wrapping { encap, victim: octets(&stage.victim.mac("eth0")), bridge: octets(&stage.host.mac("fan-250-0-28")) };
    // Connection tracking has an entry for the conversation then.
    inject_plain(&stage.victim, Inner::new(VICTIM, FAR));
    let mut table = Table::default();
    for part in [sources, lengths, nested, routed_on, fragments, errors] {
        part(&mut table, &wrap);
    }
    table.row("honest, behind all of them", Seen::Victim, |id| [wrap.own(honest(id))]);
    attack(encap, &stage, &stage.mallory, table);
}

fn sources(table: &mut Table, wrap: &Wrapping) {
    table.row("honest", Seen::Victim, |id| [wrap.own(honest(id))]);
    table.row("another's source", Seen::Nobody, |id| [wrap.own(forged(id))]);
    table.row("the victim's own source", Seen::Nobody, |id| [wrap.own(Crafted::udp(id, (VICTIM, VICTIM)))]);
    table.row("honest inside, another's outside", Seen::Nobody, |id| [wrap.named(OTHER, honest(id))]);
    table.row("in the name of the host itself", Seen::Nobody, |id| [wrap.named(HOST, forged(id))]);
    table.row("for everybody", Seen::Nobody, |id| {
        ["250.0.255.255", "250.255.255.255", "255.255.255.255", "224.0.0.1"]
            .map(|everybody| wrap.own(Crafted::udp(id, (OWN, everybody))))
    });
}

fn lengths(table: &mut Table, wrap: &Wrapping) {
    table.row("cut to nothing, and in the header", Seen::Nobody, |id| {
        [0, 8, 16, 19].map(|length| wrap.own(honest(id).cut(length)))
    });
    // Neither a bridge nor a flowtable compares the lengths; the victim's own kernel drops the packet.
    table.row("longer than it is", Seen::Victim, |id| [wrap.own(honest(id).cut(40))]);
    table.row("a header longer than it is", Seen::VictimIfBridged, |id| {
        [wrap.own(honest(id).cut(40).patched(0, &[0x4f]))]
    });
    table.row("options that are none", Seen::VictimIfBridged, |id| [wrap.own(honest(id).options(&[68, 40, 5, 0]))]);
    table.row("a source route that has come to its end", Seen::Victim, |id| {
        [wrap.own(honest(id).options(&[LOOSE, 3, 4, 0]))]
    });
}

fn nested(table: &mut Table, wrap: &Wrapping) {
    table.row("nested, from an underlay address", Seen::Nobody, |id| [wrap.own(forged(id).in_ip((OTHER, HOST)))]);
    table.row("nested, for the host's address in the overlay", Seen::Nobody, |id| {
        [forged(id), honest(id)].map(|inner| wrap.for_host(inner.in_ip((OWN, GATEWAY))))
    });
    table.row("nested, for the victim to take apart", Seen::Victim, |id| [wrap.own(forged(id).in_ip((OWN, VICTIM)))]);
}

fn routed_on(table: &mut Table, wrap: &Wrapping) {
    table.row("routed on by the host to the internet", Seen::Nobody, |id| {
        [(LOOSE, INTERNET), (STRICT, "198.51.100.254")]
            .map(|(kind, next)| wrap.for_host(Crafted::udp(id, (OWN, GATEWAY)).routed_on_to(kind, next)))
    });
    table.row("routed on by the host to another's container", Seen::Nobody, |id| {
        [wrap.for_host(Crafted::udp(id, (OWN, GATEWAY)).routed_on_to(LOOSE, FAR))]
    });
    table.row("plain, routed on by the host to the victim", Seen::Nobody, |id| {
        [LOOSE, STRICT].map(|kind| Crafted::udp(id, (MALLORY, HOST)).routed_on_to(kind, VICTIM))
    });
    let what = "plain, a part of its way behind it, routed on by the host to the victim";
    table.row(what, Seen::Nobody, |id| {
        [LOOSE, STRICT].map(|kind| Crafted::udp(id, (MALLORY, HOST)).routed_further_to(kind, VICTIM))
    });
    let what = "a part of its way behind it, routed on by the host to another's container";
    table.row(what, Seen::Nobody, |id| [wrap.for_host(Crafted::udp(id, (OWN, GATEWAY)).routed_further_to(LOOSE, FAR))]);
    let what = "plain, routed on by the host's address in the overlay";
    table.row(what, Seen::Nobody, |id| [Crafted::udp(id, (MALLORY, GATEWAY)).routed_on_to(LOOSE, VICTIM)]);
}

fn fragments(table: &mut Table, wrap: &Wrapping) {
    let tiny = |whole: &Crafted| [whole.fragment(0, 8), whole.fragment(1, 8), whole.fragment(2, 999)];
    table.row("fragments with another's source", Seen::Nobody, |id| {
        tiny(&forged(id)).map(|fragment| wrap.own(fragment))
    });
    table.row("overlapping fragments", Seen::VictimIfBridged, |id| {
        let whole = honest(id);
        [(0, 24), (1, 16), (2, 99)].map(|(offset, length)| wrap.own(whole.fragment(offset, length)))
    });
    table.row("wrapped in tiny fragments", Seen::Victim, |id| tiny(&wrap.own(honest(id))));
    table.row("wrapped in tiny fragments, another's source", Seen::Nobody, |id| tiny(&wrap.own(forged(id))));
    let what = "wrapped in fragments of which one writes over the source";
    table.row(what, Seen::Nobody, |id| [wrap.own(honest(id)).fragment(0, 56), wrap.own(forged(id)).fragment(1, 999)]);
    table.row("a fragment that has no beginning", Seen::Nobody, |id| [wrap.own(forged(id)).fragment(3, 999)]);
}

fn errors(table: &mut Table, wrap: &Wrapping) {
    let about = |id, source| conversation(id).quoted(FRAGMENTATION_NEEDED, (source, VICTIM));
    let what = "an error about a conversation, from a slice of its own";
    table.row(what, Seen::Victim, |id| [wrap.own(about(id, OWN))]);
    let what = "an error about a conversation, from another's slice";
    table.row(what, Seen::Nobody, |id| [wrap.own(about(id, FOREIGN))]);
    table.row("plain errors about a conversation", Seen::Nobody, |id| {
        [FRAGMENTATION_NEEDED, HOST_UNREACHABLE, REDIRECT].map(|kind| conversation(id).quoted(kind, (MALLORY, VICTIM)))
    });
    table.row("errors about what the host wrapped", Seen::Nobody, |id| {
        let wrapped = || match wrap.encap {
            Encap::Ipip => conversation(id).in_ip((HOST, OTHER)),
            Encap::Vxlan => conversation(id).in_vxlan((HOST, OTHER), wrap.victim),
        };
        [
            wrapped().quoted(FRAGMENTATION_NEEDED, (MALLORY, HOST)),
            wrapped().quoted(HOST_UNREACHABLE, (MALLORY, HOST)),
            wrapped().cut(28).quoted(FRAGMENTATION_NEEDED, (MALLORY, HOST)),
            wrapped().cut(44).quoted(HOST_UNREACHABLE, (OTHER, HOST)),
        ]
    });
}
