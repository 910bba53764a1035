//! Why a fan cannot stand beside what the host already has. Each reason is a sentence that names the object and says
//! what to do; all reasons are told at once, before anything is touched.

mod encryption;
mod unfit;

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::fan::mapping::overlap;
use crate::fan::name::InterfaceName;
use crate::fan::options::MAIN_TABLE;
use crate::fan::options::MIN_MTU;
use crate::plan::desired::{mtu, underlay_mtu};
use crate::plan::firewall::table_name;
use crate::plan::host::{ForeignRoute, Host, Link, LinkKind};
use crate::plan::leftovers::remains;
use crate::plan::reason::{Reason, reason};
use crate::plan::state::{State, fans};
use crate::shell;

pub(crate) use unfit::Unfit;

/// Everything that stands in the way of a fan; nothing when it can be.
#[must_use]
pub(crate) fn conflicts(fan: &Fan, host: &Host, owned: &State) -> Vec<Reason> {
    let mut reasons = other_fans(fan, host, owned);
    let host = &without_strays(fan, host, owned);
    reasons.extend(names(fan, host, owned));
    reasons.extend(tables(fan, host));
    reasons.extend(tunnels(fan, host));
    reasons.extend(nested(fan, host));
    reasons.extend(elsewhere(fan, host));
    reasons.extend(sizes(fan, host));
    reasons.extend(encryption::reasons(fan, host));
    reasons.extend(fast(fan, host));
    if fan.options.dhcp && !host.dnsmasq {
        reasons.push(reason!(
            DnsmasqMissing,
            "dhcp needs the program 'dnsmasq', which is not installed; on Debian: apt-get install dnsmasq-base"
        ));
    }
    reasons
}

fn other_fans(fan: &Fan, host: &Host, owned: &State) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for other in fans(owned) {
        let down = shell!("fanctl down {} {}", other.overlay(), other.underlay_address());
        if other.overlay() == fan.overlay() {
            let has_it = || host.links.iter().flat_map(|link| &link.addresses).any(|a| a.address.ip() == other.host);
            let stands = other.options.number || has_it();
            if stands && (other.host, other.mapping) != (fan.host, fan.mapping) {
                reasons.push(reason!(
                    OtherUnderlay,
                    "fan {} is already up from {} on {}; a host has one slice of an overlay, so first: {down}",
                    other.overlay(),
                    other.underlay_address(),
                    other.device
                ));
            }
        } else if other.overlay().overlaps(fan.overlay()) {
            reasons.push(reason!(
                OverlayOverlaps,
                "overlay '{}' overlaps fan {}, which is up; choose another overlay, or first: {down}",
                fan.overlay(),
                other.overlay()
            ));
        } else if other.options.encapsulation == Encapsulation::Vxlan
            && fan.options.encapsulation == Encapsulation::Vxlan
            && other.overlay().vni() == fan.overlay().vni()
        {
            reasons.push(reason!(VniShared, "overlay '{}' and fan {} share their upper 24 bits, so they would share the VXLAN identifier {}; choose \
                 another overlay",
                fan.overlay(),
                other.overlay(),
                fan.overlay().vni()
            ));
        }
    }
    reasons.extend(shared_ports(fan, owned));
    for left in remains(owned, host) {
        let overlay = left.overlay;
        if let Some(reason) = left.refusal().filter(|_| overlay.overlaps(fan.overlay())) {
            reasons.push(reason);
        } else if overlay != fan.overlay() && overlay.overlaps(fan.overlay()) {
            reasons.push(reason!(
                OverlayOverlapsRemains,
                "overlay '{}' overlaps what remains of fan {overlay}, whose bridge is gone; take that away: {}",
                fan.overlay(),
                left.removal()
            ));
        }
    }
    reasons
}

/// UDP ports that another fan has: those of WireGuard are one fan's alone.
fn shared_ports(fan: &Fan, owned: &State) -> Vec<Reason> {
    let is_encrypted = |fan: &Fan| fan.options.encapsulation == Encapsulation::Wireguard;
    let others =
        fans(owned).filter(|other| other.overlay() != fan.overlay() && (is_encrypted(fan) || is_encrypted(other)));
    let shared = |other: &Fan| {
        let port = fan.ports().into_iter().find(|port| other.ports().contains(port))?;
        Some(reason!(
            PortTaken,
            "UDP port {port} is one of fan {}, which is up; wireguard takes two ports of its own for each fan: choose others on \
             all hosts: --port N",
            other.overlay()
        ))
    };
    others.filter_map(shared).collect()
}

/// The host without what follows from a fan's bridge whose alias somebody changed: where that stands in the way, it is told
/// once, and not again by its name and its addresses.
fn without_strays(fan: &Fan, host: &Host, owned: &State) -> Host {
    let mut host = host.clone();
    for left in remains(owned, &host) {
        if let Some(stray) = left.bridge.filter(|_| left.overlay.overlaps(fan.overlay())) {
            host.links.retain(|link| link.name != stray.name);
        }
    }
    host
}

/// Interface names that are taken by somebody else, or by another fan.
fn names(fan: &Fan, host: &Host, owned: &State) -> Vec<Reason> {
    let foreign = |name: &InterfaceName| host.link(name).is_some_and(|link| !link.ours);
    let mut reasons = Vec::new();
    let other = fans(owned).find(|other| other.bridge == fan.bridge && other.overlay() != fan.overlay());
    if let Some(other) = other {
        reasons.push(reason!(
            BridgeNameOfFan,
            "bridge name '{}' is that of fan {}, which is up; choose another name: bridge NAME",
            fan.bridge,
            other.overlay()
        ));
    } else if foreign(&fan.bridge) {
        reasons.push(reason!(
            BridgeNameTaken,
            "bridge name '{}' is taken by another interface; remove that one, or choose a name: bridge NAME",
            fan.bridge
        ));
    }
    for tunnel in fan.tunnels().filter(foreign) {
        reasons.push(reason!(TunnelNameTaken, "tunnel name '{tunnel}' is taken by another interface; see which it is ({}), and remove it or give it another name",
            shell!("ip -details link show dev {}", tunnel)
        ));
    }
    reasons
}

/// Why packets of this fan cannot take a fast path.
fn fast(fan: &Fan, host: &Host) -> Option<Reason> {
    let link = host.link(&fan.device).filter(|link| fan.options.fast && !link.is_ethernet)?;
    let name = &link.name;
    Some(reason!(
        FastNeedsEthernet,
        "interface '{name}' is not an Ethernet, and fast writes Ethernet headers; leave fast out"
    ))
}

/// Tables of nftables that have the name of the fan's.
fn tables(fan: &Fan, host: &Host) -> impl Iterator<Item = Reason> {
    let overlay = fan.overlay();
    let its = host.namesakes.iter().filter(move |(_, other)| *other == overlay);
    its.map(move |(family, _)| {
        let name = table_name(overlay);
        let look = shell!("nft list table {} {}", *family, name);
        reason!(TableNameTaken, "table '{family} {name}' has the name of the fan's and none of its chains; see whose it is ({look}), and remove it")
    })
}

fn tunnels(fan: &Fan, host: &Host) -> Vec<Reason> {
    host.links.iter().filter(|link| !link.ours).filter_map(|link| tunnel(fan, link)).collect()
}

/// Devices that receive the fan's packets, or keep its own device from doing so.
fn tunnel(fan: &Fan, link: &Link) -> Option<Reason> {
    match (fan.options.encapsulation, &link.kind) {
        (Encapsulation::Ipip, LinkKind::IpipExternal) => Some(reason!(
            IpipExternalTaken,
            "interface '{0}' is an 'ipip external' device and the kernel allows one; remove it ({1}), or \
             use --encap vxlan on all hosts",
            link.name,
            shell!("ip link delete dev {}", link.name)
        )),
        (Encapsulation::Ipip, LinkKind::Ipip { .. }) => takes_from(fan, link).map(|peer| {
            reason!(
                TunnelTakesPackets,
                "interface '{0}' is an ipip tunnel that would take the fan's packets from {peer} in front of its \
                 checks; remove it ({1}), or use --encap vxlan on all hosts",
                link.name,
                shell!("ip link delete dev {}", link.name)
            )
        }),
        (Encapsulation::Vxlan, LinkKind::Vxlan { port, shares_port: false, .. }) if *port == fan.port() => {
            Some(reason!(
                PortTaken,
                "UDP port {port} is taken by VXLAN interface '{}', which cannot share it; choose another on all hosts: \
             --port N",
                link.name
            ))
        }
        _ => None,
    }
}

/// From whom an interface takes the packets of an IPIP fan: the kernel prefers a device with matching endpoints to one in
/// external mode (`ip_tunnel_lookup`, net/ipv4/ip_tunnel.c), so that the packets pass our checks by.
#[must_use]
pub(crate) fn takes_from(fan: &Fan, link: &Link) -> Option<String> {
    let LinkKind::Ipip { local, remote } = link.kind else {
        return None;
    };
    let any = Ipv4Addr::UNSPECIFIED;
    let of_a_host = fan.mapping.underlay().contains(remote) && (local == fan.host || local == any);
    let of_all = remote == any && local == fan.host;
    let peer = if of_all { "any host".to_string() } else { remote.to_string() };
    (fan.options.encapsulation == Encapsulation::Ipip && link.up && (of_a_host || of_all)).then_some(peer)
}

/// An underlay that is a fan itself.
fn nested(fan: &Fan, host: &Host) -> Option<Reason> {
    let link = host.link(&fan.device).filter(|link| link.ours)?;
    Some(reason!(UnderlayOfFan, "interface '{}' belongs to a fan and cannot be the underlay of another", link.name))
}

/// Addresses of the host inside the overlay that are not the fan's, and routes that lead the overlay elsewhere. The
/// route that comes with such an address is not told apart from it.
fn elsewhere(fan: &Fan, host: &Host) -> Vec<Reason> {
    let overlay = fan.overlay();
    let foreign: Vec<(&Link, Ipv4Network)> = host
        .links
        .iter()
        .filter(|link| !link.ours)
        .flat_map(|link| link.addresses.iter().map(move |a| (link, a.address)))
        .filter(|(_, address)| overlay.contains(address.ip()))
        .collect();
    let comes_with_address = |route: &ForeignRoute| {
        let same = |(link, address): &(&Link, Ipv4Network)| {
            route.device.as_ref() == Some(&link.name) && route.destination.contains(address.ip())
        };
        route.gateway.is_none() && foreign.iter().any(same)
    };
    let addresses = foreign.iter().map(|(link, address)| {
        reason!(
            OverlayHasAddress,
            "overlay '{overlay}' holds the address {address} of interface '{}'; choose another overlay",
            link.name
        )
    });
    let routes = host.routes.iter().filter(|route| !comes_with_address(route));
    addresses.chain(routes.filter_map(|route| routed_elsewhere(fan, route))).collect()
}

fn routed_elsewhere(fan: &Fan, route: &ForeignRoute) -> Option<Reason> {
    let (destination, overlay) = (route.destination, fan.overlay().network());
    let ours = route.table == MAIN_TABLE || route.table == fan.routing_table();
    // What is wider takes nothing from the overlay: the default route, its two halves of a VPN, all of 10.0.0.0/8.
    let is_wider = destination.prefix() < overlay.prefix();
    if !ours || is_wider || !overlap(destination, overlay) {
        return None;
    }
    // Somebody gave our bridge an address, and the kernel a route that leads where ours does.
    let on_link = |own: Ipv4Network| own.contains(destination.network()) && own.prefix() <= destination.prefix();
    if route.device.as_ref() == Some(&fan.bridge) && fan.bridge_addresses().any(on_link) {
        return None;
    }
    let (way, remove) = match (&route.device, route.gateway) {
        (Some(device), Some(gateway)) => {
            (format!("by {gateway} on {device}"), shell!("ip route delete {} dev {}", destination, device))
        }
        (Some(device), None) => (format!("to {device}"), shell!("ip route delete {} dev {}", destination, device)),
        (None, _) => ("nowhere".to_string(), shell!("ip route delete {}", destination)),
    };
    Some(reason!(
        OverlayRouted,
        "overlay '{overlay}' is already routed elsewhere: {destination} {way}; choose another overlay, or remove the \
         route: {remove}"
    ))
}

fn sizes(fan: &Fan, host: &Host) -> Option<Reason> {
    let link = host.link(&fan.device)?;
    let takes = underlay_mtu(fan, host);
    let room = takes.saturating_sub(fan.options.encapsulation.overhead());
    if room < MIN_MTU {
        return Some(reason!(
            MtuTooSmall,
            "interface '{}' has MTU {takes}, which leaves less than {MIN_MTU} bytes for {} packets",
            link.name,
            fan.options.encapsulation
        ));
    }
    (mtu(fan, host) > room).then(|| {
        reason!(
            MtuTooLarge,
            "mtu {} is more than interface '{}' can carry: its MTU {takes} less {} bytes of {} is {room}",
            mtu(fan, host),
            link.name,
            fan.options.encapsulation.overhead(),
            fan.options.encapsulation
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::tests::announced;

    fn is_refused(destination: &str, device: &str) -> bool {
        let route = ForeignRoute {
            is_throw: false,
            table: MAIN_TABLE,
            destination: destination.parse().unwrap(),
            device: Some(device.parse().unwrap()),
            gateway: None,
            metric: 0,
            mtu: None,
        };
        routed_elsewhere(&announced(), &route).is_some()
    }

    #[test]
    fn a_route_that_takes_from_the_overlay_is_refused() {
        for destination in ["250.0.0.0/8", "250.7.0.0/16", "250.0.28.0/25"] {
            assert!(is_refused(destination, "eth0"), "{destination}");
        }
        for destination in ["251.0.0.0/8", "240.0.0.0/4", "128.0.0.0/1", "0.0.0.0/0"] {
            assert!(!is_refused(destination, "tun0"), "{destination}");
        }
    }

    #[test]
    fn the_slice_on_our_own_bridge_is_where_it_belongs() {
        assert!(!is_refused("250.0.28.0/24", "fan-250-0-28"));
        assert!(is_refused("250.0.0.0/8", "fan-250-0-28"), "the rest belongs in the tunnel");
    }
}
