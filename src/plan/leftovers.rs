//! What is left of a fan that lost its bridge, which tells all about it: somebody deleted the bridge, a command was killed, or
//! the bridge stands and has another alias than it was given.
//!
//! A bridge without its alias is nothing that we own, and is never taken away by us. While it stands, what hangs on it stays
//! too: containers may be behind it.

use std::collections::BTreeSet;

use crate::bpf::program;
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::fan::options::{KEYS, MAX_MTU, MIN_MTU, Options, ReadBack};
use crate::fan::request::{Request, UnderlayPlace, UnderlaySource};
use crate::fan::shell::Line;
use crate::plan::desired;
use crate::plan::firewall;
use crate::plan::host::{Host, LinkKind};
use crate::plan::reason::{Reason, reason};
use crate::plan::state::{
    Direction, Filter, Object, Owner, ProgramRef, RoutingTable, Slot, State, Tunnel, TunnelKind, fans,
};
use crate::shell;

#[cfg(test)]
mod tests;

/// What is left of one fan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remains {
    /// The fan's overlay.
    pub(crate) overlay: Overlay,
    /// Its bridge, where that stands under another alias.
    pub(crate) bridge: Option<Stray>,
}

/// A fan's bridge that somebody gave another alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stray {
    /// Its name.
    pub name: InterfaceName,
    /// The alias it had, but for `auto`, where the rest of the fan tells it.
    pub(crate) alias: Option<String>,
}

impl Remains {
    /// The command that takes it away. With the bridge the underlay is forgotten, so any will do.
    #[must_use]
    pub(crate) fn removal(&self) -> Line {
        shell!("fanctl down {} default/16", self.overlay)
    }

    /// Why nothing can be done about the fan before its bridge is known again; none where there is no such bridge.
    #[must_use]
    pub fn refusal(&self) -> Option<Reason> {
        let stray = self.bridge.as_ref()?;
        let (name, overlay) = (&stray.name, self.overlay);
        let what = match stray.mend() {
            Some(mend) => format!("give it back: {mend}"),
            None => stray.advice(),
        };
        Some(reason!(
            AliasChanged,
            "bridge '{name}' is that of fan {overlay}, and its alias, by which it was known, was changed; {what}"
        ))
    }
}

impl Stray {
    /// The command that makes a fan of it again. None where nothing tells which fan it was: it may be another's bridge, and no
    /// command that changes it is told.
    #[must_use]
    pub(crate) fn mend(&self) -> Option<Line> {
        let alias = self.alias.as_ref()?;
        Some(shell!("ip link set {} alias {}", self.name, alias))
    }

    /// What to do where there is no such command.
    #[must_use]
    pub(crate) fn advice(&self) -> String {
        let look = shell!("ip -details link show dev {}", self.name);
        format!(
            "the old alias is not known any more: see whose bridge it is ({look}); if it is the fan's, detach its ports and \
             remove it"
        )
    }
}

/// What is left of fans that are not known by a bridge.
#[must_use]
pub(crate) fn remains(state: &State, host: &Host) -> Vec<Remains> {
    let whole: BTreeSet<Overlay> = fans(state).map(Fan::overlay).collect();
    let owners = state.keys().filter_map(|key| match key.owner {
        Owner::Fan(overlay) => Some(overlay),
        Owner::Shared => None,
    });
    let left: BTreeSet<Overlay> = owners.filter(|overlay| !whole.contains(overlay)).collect();
    // Over IPIP the route to the slice leads to the bridge: on one that is not known it looks like a fan of its own.
    let is_slice = |overlay: &Overlay| {
        left.iter().any(|wider| {
            wider != overlay
                && wider.contains(overlay.network().network())
                && wider.network().prefix() < overlay.network().prefix()
        })
    };
    left.iter()
        .filter(|overlay| !is_slice(overlay))
        .map(|overlay| Remains { overlay: *overlay, bridge: stray(*overlay, state, host) })
        .collect()
}

/// The overlays of remains that nobody can miss.
pub(crate) fn loose_remains(state: &State, host: &Host) -> impl Iterator<Item = Overlay> + use<> {
    let loose = remains(state, host).into_iter().filter(|left| left.bridge.is_none());
    loose.map(|left| left.overlay)
}

/// The bridge of a fan without one: it has the Ethernet address that was made from the slice.
fn stray(overlay: Overlay, state: &State, host: &Host) -> Option<Stray> {
    let bridge = host.links.iter().find(|link| {
        let slice = match link.kind {
            LinkKind::Bridge { mac } => mac.slice_of_bridge(),
            _ => None,
        };
        !link.ours && slice.is_some_and(|slice| overlay.contains(slice))
    })?;
    let name = bridge.name.clone();
    let alias = fan(overlay, &name, state, host).map(|fan| fan.label());
    Some(Stray { name, alias })
}

fn own(overlay: Overlay, state: &State) -> impl Iterator<Item = &Object> {
    let objects = state.iter().filter(move |(key, _)| key.owner == Owner::Fan(overlay));
    objects.map(|(_, object)| object)
}

/// The fan that a stray bridge is of. Overlay, underlay and the host's address are those of which its programs are made, so
/// that with programs of another version, or none, nobody knows; the rest is what its other objects show.
fn fan(overlay: Overlay, bridge: &InterfaceName, state: &State, host: &Host) -> Option<Fan> {
    let mut plain = plain(overlay, bridge, state, host)?;
    let held = host.link(bridge).map_or(&[][..], |link| link.addresses.as_slice());
    let mut all = plain.clone();
    all.options.host_reserve = u8::MAX - 1;
    let reserved = all.bridge_addresses().take_while(|own| held.iter().any(|a| a.address == *own));
    plain.options.host_reserve = u8::try_from(reserved.count()).ok()?.max(1);
    let mut ruleset = None;
    for object in own(overlay, state) {
        match object {
            Object::Dhcp(_) => plain.options.dhcp = true,
            Object::FastPath(_) => plain.options.fast = true,
            Object::Rule(_, RoutingTable(table)) => plain.options.table = Some(*table),
            Object::Firewall(_, found) => ruleset = Some(found),
            _ => {}
        }
    }
    let mtu = host.link(bridge)?.mtu;
    // One that nobody can ask for is somebody else's doing.
    let is_asked_for = (MIN_MTU..=MAX_MTU).contains(&mtu) && mtu != desired::mtu(&plain, host);
    plain.options.mtu = is_asked_for.then_some(mtu);
    // What is switched off shows in the tables.
    let sources = host.source_ports(plain.port(), None);
    let is_found = |fan: &Fan| ruleset.is_some_and(|found| *found == firewall::ruleset(fan, sources));
    Some(switched(&plain).find(is_found).unwrap_or(plain))
}

/// The fan as it is, then with each of its switches off, and with all that can be off together.
fn switched(fan: &Fan) -> impl Iterator<Item = Fan> + use<> {
    let mut configs = vec![fan.config()];
    for key in KEYS.iter().filter(|key| key.read_back == ReadBack::Effect) {
        let mut without = configs.clone();
        for config in &mut without {
            config.set(key, "false").expect("a switch");
        }
        configs.extend(without);
    }
    let (host, device) = (fan.host, fan.device.clone());
    configs.into_iter().filter_map(move |config| Fan::new(&config, host, device.clone()).ok())
}

/// The plain fan whose programs are those that run: one from an address of this host, over an underlay of any width.
fn plain(overlay: Overlay, bridge: &InterfaceName, state: &State, host: &Host) -> Option<Fan> {
    // Its key file and hosts are written in the alias alone.
    let is_encrypted = |object: &Object| {
        matches!(object, Object::Tunnel(Tunnel { kind: TunnelKind::Wireguard { .. }, .. }) | Object::Peers(_))
    };
    if own(overlay, state).any(is_encrypted) {
        return None;
    }
    let port = own(overlay, state).find_map(|object| match object {
        Object::Tunnel(Tunnel { kind: TunnelKind::Vxlan { port, .. }, .. }) => Some(*port),
        _ => None,
    });
    let (encapsulation, port) = port.map_or((Encapsulation::Ipip, None), |port| (Encapsulation::Vxlan, Some(port)));
    let running = |fan: &Fan| {
        let runs = |wanted: Direction, program: ProgramRef| {
            own(overlay, state).any(|object| {
                matches!(object, Object::Filter(Filter { direction, slot, program: found, .. })
                    if *direction == wanted && *slot == Slot::Fan(overlay) && *found == program)
            })
        };
        let spec = desired::spec(fan, host);
        runs(Direction::Ingress, program::ingress(&spec).into())
            && runs(Direction::Egress, program::egress(&spec).into())
    };
    let addresses = host
        .links
        .iter()
        .filter(|link| !link.ours && link.name != *bridge)
        .flat_map(|link| link.addresses.iter().map(move |a| (link, a.address.ip())));
    let candidates = addresses.flat_map(|(link, address)| {
        (0..=32).filter_map(move |len| {
            let place = UnderlayPlace::Address(address);
            let options = Options { encapsulation, port, bridge: Some(bridge.clone()), ..Options::default() };
            let config = Request { options, ..Request::new(overlay, UnderlaySource { place, len }) };
            Fan::new(&config, address, link.name.clone()).ok()
        })
    });
    candidates.into_iter().find(running)
}
