//! What should be: the objects a [`Fan`] consists of on this [`Host`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::bpf::fast::{self, FastSpec};
use crate::bpf::program::{self, Program, Spec};
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::fan::label::DOMAIN;
use crate::fan::mapping::{self, Overlay, overlap};
use crate::fan::name::InterfaceName;
use crate::fan::options::MAIN_TABLE;
use crate::fan::options::{MAX_MTU, MIN_MTU};
use crate::plan::firewall::{self, Accept, ForwardDirection};
use crate::plan::host::{Host, Link};
use crate::plan::state::{
    Address, Bridge, Dhcp, Direction, FastPath, Filter, IPV6_MIN_MTU, Identity, Ipv6, Object, ObjectKey, Owner,
    ProgramRef, Route, RoutingTable, Slot, State, Tunnel, TunnelKind, fans,
};

mod encrypted;
#[cfg(test)]
mod tests;

/// The largest packet that fits the fan, in bytes: as asked for, or the underlay's MTU less the encapsulation.
#[must_use]
pub(crate) fn mtu(fan: &Fan, host: &Host) -> u32 {
    let room = underlay_mtu(fan, host).saturating_sub(fan.options.encapsulation.overhead());
    fan.options.mtu.unwrap_or(room.clamp(MIN_MTU, MAX_MTU))
}

/// The smallest MTU, in bytes, of the underlay's interface and of the routes into the underlay. A dummy interface does not count:
/// other interfaces have the routes to the hosts.
#[must_use]
pub(crate) fn underlay_mtu(fan: &Fan, host: &Host) -> u32 {
    let underlay = fan.mapping.underlay().network();
    let Some(own) = host.link(&fan.device) else { return 1500 };
    let is_apart = own.stands_apart();
    let main = || host.routes.iter().filter(|route| route.table == MAIN_TABLE && overlap(route.destination, underlay));
    let is_covered = main().any(|route| {
        let prefix = route.destination.prefix();
        (1..=underlay.prefix()).contains(&prefix)
    });
    let ways = main().filter(|route| route.destination.prefix() > 0 || !is_covered).filter_map(|route| {
        let link = host.link(route.device.as_ref()?)?;
        let counts = !link.ours && (link.name == own.name || is_apart);
        counts.then(|| route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)))
    });
    let smallest = ways.min();
    smallest.map_or(own.mtu, |smallest| if is_apart { smallest } else { smallest.min(own.mtu) })
}

/// What a device of this MTU in bytes takes part in of IPv6: nothing, but for what cannot be written.
fn ipv6(device: &InterfaceName, mtu: u32, host: &Host) -> Option<Ipv6> {
    let facts = host.ipv6.filter(|_| mtu >= IPV6_MIN_MTU)?;
    if !facts.is_read_only {
        return Some(Ipv6::default());
    }
    let now = host.link(device).and_then(|link| link.ipv6);
    Some(Ipv6 { automatic: false, ..now.unwrap_or(facts.defaults) })
}

/// The objects of a fan that are its alone.
#[must_use]
pub(crate) fn objects(fan: &Fan, host: &Host) -> State {
    let overlay = fan.overlay();
    let owner = Owner::Fan(overlay);
    let table = RoutingTable(fan.routing_table());
    let mtu = mtu(fan, host);
    let mut state = State::new();
    let mut add = |object: Object| {
        state.insert(object.key(), object);
    };

    // In the main table too when the fan has its own: should the rule go, the overlay must still lead nowhere.
    add(Object::Unreachable(overlay, RoutingTable(MAIN_TABLE)));
    if fan.options.table.is_some() {
        add(Object::Unreachable(overlay, table));
        add(Object::Rule(overlay, table));
    }
    add(Object::Bridge(Bridge {
        fan: fan.clone(),
        mac: fan.bridge_mac(),
        mtu,
        forwarding: true,
        send_redirects: false,
        ipv6: ipv6(&fan.bridge, mtu, host),
        changed: BTreeSet::new(),
    }));
    for address in fan.bridge_addresses() {
        add(Object::Address(Address { overlay, link: fan.bridge.clone(), address }));
    }
    if fan.options.encapsulation == Encapsulation::Vxlan {
        add(Object::Tunnel(Tunnel {
            owner,
            name: fan.tunnel(),
            mtu,
            forwarding: true,
            ipv6: ipv6(&fan.tunnel(), mtu, host),
            kind: TunnelKind::Vxlan {
                port: fan.port(),
                sources: host.source_ports(fan.port(), Some(&fan.tunnel())).range(),
                vnis: [(overlay.vni(), overlay.vni())].into(),
                mac: fan.tunnel_mac(),
                bridge: Some(fan.bridge.clone()),
                changed: BTreeSet::new(),
            },
        }));
        add(Object::Clsact(owner, fan.tunnel()));
        add(Object::Up(owner, fan.tunnel()));
    }
    for epoch in &fan.epochs {
        let name = fan.tunnel_of(*epoch);
        let kind = TunnelKind::Wireguard { epoch: *epoch, rp_filter: 2, address: Some(fan.gateway()) };
        let ipv6 = ipv6(&name, mtu, host);
        add(Object::Tunnel(Tunnel { owner, name: name.clone(), mtu, forwarding: true, ipv6, kind }));
        add(Object::Clsact(owner, name.clone()));
        add(Object::Up(owner, name));
    }
    for peers in encrypted::peers(fan, host) {
        add(Object::Peers(peers));
    }
    let spec = spec(fan, host);
    for link in fan.tunnels() {
        for (direction, program) in
            [(Direction::Ingress, program::ingress(&spec)), (Direction::Egress, program::egress(&spec))]
        {
            add(Object::Filter(Filter {
                link: link.clone(),
                direction,
                slot: Slot::Fan(overlay),
                owner,
                program: program.into(),
            }));
        }
    }
    add(Object::Firewall(overlay, firewall::ruleset(fan, host.source_ports(fan.port(), None))));
    for &chain in &host.forward_chains {
        for way in [ForwardDirection::From, ForwardDirection::To] {
            add(Object::Accept(Accept { overlay, chain, bridge: fan.bridge.clone(), way }));
        }
    }
    add(Object::Up(owner, fan.bridge.clone()));
    for route in routes(fan, mtu) {
        add(Object::Route(route));
    }
    if fan.options.fast {
        add(Object::FastPath(fast_path(fan)));
    }
    if fan.options.dhcp {
        add(Object::Dhcp(dhcp(fan, mtu)));
    }
    state
}

/// The fast path of a fan, as this version makes it.
fn fast_path(fan: &Fan) -> FastPath {
    let spec = FastSpec { mapping: fan.mapping, host: fan.host };
    FastPath {
        overlay: fan.overlay(),
        bridge: fan.bridge.clone(),
        device: fan.device.clone(),
        spec: Some(spec),
        digest: Some(fast::digest_of(&spec)),
    }
}

/// With IPIP and WireGuard the slice is on the bridge and the rest of the overlay behind the tunnel; with VXLAN all of it is on the
/// bridge.
fn routes(fan: &Fan, mtu: u32) -> Vec<Route> {
    let overlay = fan.overlay();
    let route = |destination, device, mtu| Route {
        overlay,
        table: RoutingTable(fan.routing_table()),
        destination,
        device,
        source: fan.gateway(),
        mtu,
    };
    match fan.options.encapsulation {
        Encapsulation::Ipip | Encapsulation::Wireguard => {
            vec![route(fan.slice(), fan.bridge.clone(), None), route(overlay.network(), fan.tunnel(), Some(mtu))]
        }
        Encapsulation::Vxlan => vec![route(overlay.network(), fan.bridge.clone(), None)],
    }
}

/// Where leases are kept: they outlive the fan, so that a container finds its address again.
pub(crate) const LEASE_DIRECTORY: &str = "/var/lib/fan";

/// The lease file of a slice. It names the overlay too, by which a server is known even when its bridge is gone.
#[must_use]
pub(crate) fn lease_file(fan: &Fan) -> String {
    let name = |network: ipnetwork::Ipv4Network| format!("{}-{}", network.network(), network.prefix());
    format!("{LEASE_DIRECTORY}/{}_{}.leases", name(fan.overlay().network()), name(fan.slice()))
}

/// The overlay of a lease file; none when the file is not one of ours.
#[must_use]
pub(crate) fn lease_file_overlay(file: &str) -> Option<Overlay> {
    let name = file.strip_prefix(LEASE_DIRECTORY)?.strip_prefix('/')?;
    name.split_once('_')?.0.replace('-', "/").parse().ok()
}

/// The DHCP server of a fan whose bridge has this MTU, with dnsmasq's whole configuration. It serves DNS too, on the bridge's
/// address.
#[must_use]
pub(crate) fn dhcp(fan: &Fan, mtu: u32) -> Dhcp {
    let (slice, gateway) = (fan.slice(), fan.gateway());
    let (first, last) = fan.container_range();
    let mask = fan.on_link().mask();
    // dnsmasq reserves memory for this many leases only as they are given.
    let leases = slice.size().min(1 << 16);
    let mut arguments = vec![
        "--conf-file=/dev/null".into(),
        "--pid-file".into(),
        "--strict-order".into(),
        "--bind-interfaces".into(),
        "--except-interface=lo".into(),
        format!("--interface={}", fan.bridge),
        format!("--listen-address={gateway}"),
        format!("--dhcp-range={first},{last},{mask},12h"),
        format!("--dhcp-option=option:router,{gateway}"),
        format!("--dhcp-option=option:mtu,{mtu}"),
        format!("--dhcp-leasefile={}", lease_file(fan)),
        format!("--dhcp-lease-max={leases}"),
        // Clones of one image send one identifier, and have Ethernet addresses of their own.
        "--dhcp-ignore-clid".into(),
        "--dhcp-no-override".into(),
        "--dhcp-authoritative".into(),
    ];
    if fan.options.names {
        arguments.extend(names(fan));
    }
    Dhcp { overlay: fan.overlay(), bridge: fan.bridge.clone(), arguments: Some(arguments) }
}

/// The port of the daemon of names, behind the fan's dnsmasq. Users without privileges cannot have it.
pub const NAMES_PORT: u16 = 925;

/// What dnsmasq does for names: it asks the daemon for the fan's zones, and tells clients which domain to search.
fn names(fan: &Fan) -> [String; 5] {
    let daemon = format!("{}#{NAMES_PORT}", fan.gateway());
    [
        format!("--server=/{DOMAIN}/{daemon}"),
        format!("--rev-server={},{daemon}", fan.overlay()),
        format!("--dhcp-option=option:domain-name,{DOMAIN}"),
        format!("--dhcp-option=option:domain-search,{DOMAIN}"),
        // What is not there may be there in a second.
        "--no-negcache".into(),
    ]
}

/// The object that a server is which runs with these arguments: the one computed for its fan, if that has just them, so that it
/// can be started again when a step is taken back; else one that can only be stopped.
#[must_use]
pub(crate) fn recognise_dhcp<'a>(
    overlay: Overlay,
    bridge: &InterfaceName,
    arguments: &[String],
    mut bridges: impl Iterator<Item = &'a Bridge>,
) -> Dhcp {
    let own = bridges.find(|found| found.fan.overlay() == overlay && found.fan.bridge == *bridge);
    let computed = own.map(|found| dhcp(&found.fan, found.mtu));
    computed.filter(|dhcp| dhcp.arguments.as_deref() == Some(arguments)).unwrap_or_else(|| Dhcp {
        overlay,
        bridge: bridge.clone(),
        arguments: None,
    })
}

/// The objects that all IPIP fans of the host have in common; nothing when there is no such fan.
#[must_use]
pub(crate) fn shared<'a>(fans: impl IntoIterator<Item = &'a Fan>, host: &Host) -> State {
    let largest =
        fans.into_iter().filter(|fan| fan.options.encapsulation == Encapsulation::Ipip).map(|fan| mtu(fan, host)).max();
    let Some(mtu) = largest else {
        return State::new();
    };
    let (owner, name) = (Owner::Shared, InterfaceName::shared_tunnel());
    let refuse = |direction| {
        let program = program::refuse().into();
        Object::Filter(Filter { link: name.clone(), direction, slot: Slot::Refuse, owner, program })
    };
    [
        Object::Tunnel(Tunnel {
            owner,
            name: name.clone(),
            mtu,
            forwarding: true,
            ipv6: ipv6(&name, mtu, host),
            kind: TunnelKind::Ipip,
        }),
        Object::Clsact(owner, name.clone()),
        refuse(Direction::Ingress),
        refuse(Direction::Egress),
        Object::Up(owner, name.clone()),
    ]
    .into_iter()
    .map(|object| (object.key(), object))
    .collect()
}

/// What a fan's programs are made for on this host.
#[must_use]
pub(crate) fn spec(fan: &Fan, host: &Host) -> Spec {
    let heard_by_all = host.link(&fan.device).into_iter().flat_map(Link::broadcasts);
    let heard_by_all = heard_by_all.chain(mapping::of_no_host(fan.mapping.underlay().network()));
    let is_another_host = |address: &Ipv4Addr| fan.mapping.underlay().contains(*address) && *address != fan.host;
    Spec {
        mapping: fan.mapping,
        host: fan.host,
        broadcasts: heard_by_all.filter(is_another_host).collect(),
        encapsulation: fan.options.encapsulation,
    }
}

/// The program of a place, as this version makes it: a fan's own, or the refusal, which is the same for all.
fn program_at(place: (Slot, Direction), specs: &BTreeMap<Overlay, Spec>) -> Option<Program> {
    match place {
        (Slot::Refuse, _) => Some(program::refuse()),
        (Slot::Fan(overlay), Direction::Ingress) => Some(program::ingress(specs.get(&overlay)?)),
        (Slot::Fan(overlay), Direction::Egress) => Some(program::egress(specs.get(&overlay)?)),
    }
}

/// Completes what was observed. The kernel does not return a program's instructions. If the digest is that of the program which
/// this version generates for the fan, these are its instructions, for a roll-back. A program of another version stays unknown,
/// and the one of this version is its successor; that of a fan without bridge has none.
pub(crate) fn recognise(state: &mut State, host: &Host) {
    let specs: BTreeMap<Overlay, Spec> = fans(state).map(|fan| (fan.overlay(), spec(fan, host))).collect();
    for object in state.values_mut() {
        let filter = match object {
            Object::Filter(filter) => filter,
            Object::FastPath(path) => {
                path.spec = specs.get(&path.overlay).map(|spec| FastSpec { mapping: spec.mapping, host: spec.host });
                continue;
            }
            _ => continue,
        };
        let made = program_at((filter.slot, filter.direction), &specs).map(ProgramRef::from);
        match made {
            Some(made) if made == filter.program => filter.program = made,
            Some(made) => filter.program.successor = made.program,
            None => {}
        }
    }
}

/// What we own, without one fan.
#[must_use]
pub(crate) fn without(owned: &State, owner: Owner) -> State {
    owned.iter().filter(|(key, _)| key.owner != owner).map(|(key, object)| (key.clone(), object.clone())).collect()
}

/// What we own, with a fan's objects as they should be. Of keys that cannot be read nobody knows what they should be, and they stay.
#[must_use]
pub(crate) fn with(owned: &State, fan: &Fan, host: &Host) -> State {
    let mut state = without(owned, Owner::Fan(fan.overlay()));
    state.extend(objects(fan, host));
    for epoch in encrypted::unknown(fan, host) {
        let key = ObjectKey { identity: Identity::Peers(fan.tunnel_of(epoch)), owner: Owner::Fan(fan.overlay()) };
        state.extend(owned.get(&key).map(|object| (key, object.clone())));
    }
    with_shared(state, host)
}

/// The same state with the shared objects that its fans need, and no others. Where somebody removed or renamed the shared
/// tunnel, what stood on it is made anew.
#[must_use]
pub(crate) fn with_shared(mut state: State, host: &Host) -> State {
    let shared = shared(fans(&state), host);
    if !shared.keys().any(|key| matches!(key.identity, Identity::Tunnel(_)) && state.contains_key(key)) {
        let homeless: Vec<Fan> =
            fans(&state).filter(|fan| fan.options.encapsulation == Encapsulation::Ipip).cloned().collect();
        for fan in homeless {
            state.retain(|key, _| key.owner != Owner::Fan(fan.overlay()));
            state.extend(objects(&fan, host));
        }
    }
    state.retain(|key, _| key.owner != Owner::Shared);
    state.extend(shared);
    state
}
