//! Where the kernel sends packets of the fan, and where it should: other people's routes and rules, and the reverse path
//! filter.
//!
//! Routes are looked up for sample addresses: known neighbours, networks of foreign routes and rules, and two computed hosts.

mod fault;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use super::{Facts, Finding, Found};
use crate::diagnose::facts::Health;
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::fan::mapping::overlap;
use crate::fan::name::InterfaceName;
use crate::plan::host::{ForeignRoute, Host};
use crate::plan::lookup::{Answer, Question};
use crate::plan::state::{State, fans};

/// What to ask the kernel.
#[must_use]
pub(crate) fn questions(owned: &State, host: &Host, health: &Health) -> BTreeSet<Question> {
    fans(owned).flat_map(|fan| asked(fan, host, health)).map(|asked| asked.question).collect()
}

/// A question, and what the answer should be.
struct Asked {
    question: Question,
    /// In the middle of a sentence.
    what: String,
    way: ExpectedRoute,
}

/// The way that a packet of a fan should take.
#[derive(Clone, PartialEq, Eq)]
enum ExpectedRoute {
    /// Out by this interface.
    Out(InterfaceName),
    /// To another host, by the interface that holds the underlay address, if it can be.
    Underlay(Standing),
}

/// What is known of another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is a neighbour, or would be one: the interface of the underlay is in its network.
    Near,
    /// Somebody's routes or rules are about it; whether anybody is there is not known.
    Named,
    /// It stands for the underlay beyond the routers.
    Guessed,
}

/// At most so many neighbours are asked about.
const NEIGHBOURS: usize = 16;

fn asked(fan: &Fan, host: &Host, health: &Health) -> Vec<Asked> {
    let mut asked = Vec::new();
    let mut ask = |to, from, incoming: Option<&InterfaceName>, what: String, way| {
        let question = Question { to, from, incoming: incoming.cloned() };
        asked.push(Asked { question, what, way });
    };
    let (bridge, tunnel) = (&fan.bridge, fan.tunnel());
    let container = fan.container_range().0;
    let way_to_others = match fan.options.encapsulation {
        Encapsulation::Ipip | Encapsulation::Wireguard => tunnel.clone(),
        Encapsulation::Vxlan => bridge.clone(),
    };
    ask(container, None, None, format!("packets for {container} of the own slice"), ExpectedRoute::Out(bridge.clone()));
    for to in destinations(fan, host, health) {
        let what = format!("packets for {to} of the overlay");
        ask(to, None, None, what.clone(), ExpectedRoute::Out(way_to_others.clone()));
        // With VXLAN what containers send is bridged, and no route is asked.
        if fan.options.encapsulation.is_routed() {
            ask(to, Some(container), Some(bridge), what, ExpectedRoute::Out(tunnel.clone()));
            let what = format!("packets from {to} of the overlay");
            ask(container, Some(to), Some(&tunnel), what, ExpectedRoute::Out(bridge.clone()));
        }
    }
    for (peer, standing) in peers(fan, host, health) {
        let what = format!("packets for host {peer}");
        ask(peer, Some(fan.host), None, what, ExpectedRoute::Underlay(standing));
    }
    asked
}

/// Other hosts: neighbours, one that would be a neighbour, those that somebody's routes and rules are about, and one beyond
/// the routers.
fn peers(fan: &Fan, host: &Host, health: &Health) -> BTreeMap<Ipv4Addr, Standing> {
    let underlay = fan.mapping.underlay();
    let is_other = |address: &Ipv4Addr| underlay.contains(*address) && !is_own(*address, host);
    let neighbours = health.neighbours.iter().filter(|neighbour| neighbour.device == fan.device);
    let neighbours = neighbours.map(|neighbour| neighbour.address).filter(is_other);
    let is_part = |network: &Ipv4Network| network.prefix() > underlay.network().prefix();
    let routed = host
        .routes
        .iter()
        .filter(|route| is_part(&route.destination) && !is_beside(route, fan, host))
        .map(|route| route.destination);
    let ruled = health.rules.iter().filter_map(|rule| rule.to).filter(is_part);
    let named = routed.chain(ruled).map(|network| an_address(network, host));
    let near = |address: &Ipv4Addr| host.link(&fan.device).is_some_and(|link| link.is_beside(*address));
    let standing = |address: &Ipv4Addr, else_: Standing| if near(address) { Standing::Near } else { else_ };
    let mut peers: BTreeMap<Ipv4Addr, Standing> =
        neighbours.take(NEIGHBOURS).map(|address| (address, Standing::Near)).collect();
    for address in named.filter(is_other) {
        peers.entry(address).or_insert(standing(&address, Standing::Named));
    }
    for address in computed(fan) {
        let is_of_another_network = host.routes.iter().any(|route| {
            is_part(&route.destination) && route.destination.contains(address) && is_beside(route, fan, host)
        });
        if is_other(&address) && !is_of_another_network {
            peers.entry(address).or_insert(standing(&address, Standing::Guessed));
        }
    }
    peers
}

/// Two addresses of the underlay: beside this host's own, and in the middle.
fn computed(fan: &Fan) -> [Ipv4Addr; 2] {
    let underlay = fan.mapping.underlay().network();
    let middle = u32::from(underlay.network()) + underlay.size() / 2;
    [(u32::from(fan.host) ^ 1).into(), middle.into()]
}

/// Whether a route is about a network in which this host stands by another interface: where the underlay is wide, those of
/// libvirt (192.168.122.0/24) and Docker (172.17.0.0/16) are more specific parts of it, with no hosts of the fan in them.
fn is_beside(route: &ForeignRoute, fan: &Fan, host: &Host) -> bool {
    let link = route.device.as_ref().and_then(|device| host.link(device));
    link.is_some_and(|link| {
        let mut addresses = link.addresses.iter().map(|a| a.address.ip());
        link.name != fan.device && addresses.any(|address| route.destination.contains(address))
    })
}

fn is_own(address: Ipv4Addr, host: &Host) -> bool {
    let mut addresses = host.links.iter().flat_map(|link| &link.addresses);
    addresses.any(|own| own.address.ip() == address)
}

/// Addresses of the overlay: on the hosts above, in the slices of two others, and where somebody's routes and rules lead.
fn destinations(fan: &Fan, host: &Host, health: &Health) -> BTreeSet<Ipv4Addr> {
    let (overlay, slice) = (fan.overlay(), fan.slice());
    let is_other = |address: &Ipv4Addr| overlay.contains(*address) && !slice.contains(*address);
    let underlay = fan.mapping.underlay();
    let hosts = peers(fan, host, health).into_keys().chain(computed(fan)).filter(|peer| underlay.contains(*peer));
    let gateways: Vec<Ipv4Addr> = hosts.map(|peer| fan.mapping.gateway(peer)).collect();
    let routed = host.routes.iter().map(|route| route.destination);
    let ruled = health.rules.iter().filter_map(|rule| rule.to);
    let exact = routed
        .chain(ruled)
        .filter(|network| overlap(*network, overlay.network()))
        .map(|network| an_address(network, host));
    gateways.into_iter().chain(exact).filter(is_other).collect()
}

/// The first address of a network for somebody else, where there is one: for its own the kernel asks no such route.
fn an_address(network: Ipv4Network, host: &Host) -> Ipv4Addr {
    let first = u32::from(network.network()) + u32::from(network.prefix() < 31);
    let last = u32::from(network.broadcast());
    let mut others = (first..=last).map(Ipv4Addr::from);
    others.find(|address| !is_own(*address, host)).unwrap_or(first.into())
}

pub(super) fn check(fan: &Fan, facts: Facts, _: &[Finding]) -> Vec<Finding> {
    let asked = asked(fan, facts.host, facts.health);
    let answered: Vec<(&Asked, &Answer)> =
        asked.iter().filter_map(|asked| Some((asked, facts.health.answers.get(&asked.question)?))).collect();
    let findings = fault::findings(fan, &answered, facts);
    if !findings.is_empty() {
        return findings;
    }
    vec![Finding::passed(
        Found::RoutingRight,
        format!("the kernel was asked about {} packets, and sends them as it should", answered.len()),
    )]
}
