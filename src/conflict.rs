//! Why a fan cannot stand beside what the host already has. Each reason is a sentence that names the object and says
//! what to do; all reasons are told at once, before anything is touched.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::desire::{MIN_MTU, mtu};
use crate::encap::Encapsulation;
use crate::fan::{Fan, MAIN_TABLE};
use crate::host::{ForeignRoute, Host, Link, LinkKind};
use crate::name::InterfaceName;
use crate::object::{Identity, Owner, State, fans};

/// Everything that stands in the way of a fan; nothing when it can be.
#[must_use]
pub fn conflicts(fan: &Fan, host: &Host, owned: &State) -> Vec<String> {
    let mut reasons = Vec::new();
    reasons.extend(other_fans(fan, host, owned));
    reasons.extend(names(fan, host, owned));
    reasons.extend(tunnels(fan, host));
    reasons.extend(addresses(fan, host));
    reasons.extend(host.routes.iter().filter_map(|route| routed_elsewhere(fan, route)));
    reasons.extend(sizes(fan, host));
    if fan.dhcp && !host.dnsmasq {
        reasons.push(
            "dhcp needs the program 'dnsmasq', which is not installed; on Debian: apt-get install dnsmasq-base".into(),
        );
    }
    reasons
}

fn overlap(a: Ipv4Network, b: Ipv4Network) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}

fn other_fans(fan: &Fan, host: &Host, owned: &State) -> Vec<String> {
    let mut reasons = Vec::new();
    for other in fans(owned) {
        let down = format!("fanctl down {} {}", other.overlay(), other.underlay_address());
        if other.overlay() == fan.overlay() {
            let stands = host
                .links
                .iter()
                .flat_map(|link| &link.addresses)
                .any(|a| a.address.ip() == other.host);
            if stands && (other.host, other.mapping) != (fan.host, fan.mapping) {
                reasons.push(format!(
                    "fan {} is already up from {} on {}; a host has one slice of an overlay, so first: {down}",
                    other.overlay(),
                    other.underlay_address(),
                    other.device
                ));
            }
        } else if other.overlay().overlaps(fan.overlay()) {
            reasons.push(format!(
                "overlay '{}' overlaps fan {}, which is up; choose another overlay, or first: {down}",
                fan.overlay(),
                other.overlay()
            ));
        } else if other.encapsulation == Encapsulation::Vxlan
            && fan.encapsulation == Encapsulation::Vxlan
            && other.overlay().vni() == fan.overlay().vni()
        {
            reasons.push(format!(
                "overlay '{}' and fan {} share their upper 24 bits, so they would share the VXLAN identifier {}; choose \
                 another overlay",
                fan.overlay(),
                other.overlay(),
                fan.overlay().vni()
            ));
        }
    }
    reasons
}

/// Interface names that are taken by somebody else, or by another fan.
fn names(fan: &Fan, host: &Host, owned: &State) -> Vec<String> {
    let taken = |name: &InterfaceName| {
        let link = host.link(name)?;
        let mine = owned.keys().any(|key| {
            matches!(&key.identity, Identity::Bridge(n) | Identity::Tunnel(n) if n == name)
                && matches!(key.owner, Owner::Shared | Owner::Fan(_) if key.owner != Owner::Fan(fan.overlay()))
        });
        (!link.ours || (mine && *name != InterfaceName::shared_tunnel())).then_some(link)
    };
    let mut reasons = Vec::new();
    if taken(&fan.bridge).is_some() {
        reasons.push(format!(
            "bridge name '{}' is taken by another interface; remove that one, or choose a name: bridge NAME",
            fan.bridge
        ));
    }
    if taken(&fan.tunnel()).is_some() {
        reasons.push(format!(
            "tunnel name '{0}' is taken by another interface; remove it: ip link delete {0}",
            fan.tunnel()
        ));
    }
    reasons
}

fn tunnels(fan: &Fan, host: &Host) -> Vec<String> {
    host.links
        .iter()
        .filter(|link| !link.ours)
        .filter_map(|link| tunnel(fan, link))
        .collect()
}

/// Devices that receive the fan's packets, or keep its own device from doing so.
fn tunnel(fan: &Fan, link: &Link) -> Option<String> {
    match (fan.encapsulation, &link.kind) {
        (Encapsulation::Ipip, LinkKind::IpipExternal) => Some(format!(
            "interface '{0}' is an 'ipip external' device and the kernel allows one; remove it (ip link delete {0}), or \
             use --encap vxlan on all hosts",
            link.name
        )),
        // The kernel prefers a device with matching endpoints to one in external mode (ip_tunnel_lookup,
        // net/ipv4/ip_tunnel.c), so that the packets pass our checks by.
        (Encapsulation::Ipip, LinkKind::Ipip { local, remote }) if link.up => {
            let any = Ipv4Addr::UNSPECIFIED;
            let of_a_host = fan.mapping.underlay().contains(*remote) && (*local == fan.host || *local == any);
            let of_all = *remote == any && *local == fan.host;
            (of_a_host || of_all).then(|| {
                let peer = if of_all {
                    "any host".to_string()
                } else {
                    remote.to_string()
                };
                format!(
                    "interface '{0}' is an ipip tunnel that would take the fan's packets from {peer} in front of its \
                     checks; remove it (ip link delete {0}), or use --encap vxlan on all hosts",
                    link.name
                )
            })
        }
        (
            Encapsulation::Vxlan,
            LinkKind::Vxlan {
                port,
                shares_port: false,
            },
        ) if *port == fan.port => Some(format!(
            "UDP port {port} is taken by VXLAN interface '{}', which cannot share it; choose another on all hosts: \
             --port N",
            link.name
        )),
        _ => None,
    }
}

/// Addresses of the host inside the overlay that are not the fan's, and an underlay that is a fan itself.
fn addresses(fan: &Fan, host: &Host) -> Vec<String> {
    let foreign = host.links.iter().filter(|link| !link.ours).flat_map(|link| {
        link.addresses
            .iter()
            .filter(|a| fan.overlay().contains(a.address.ip()))
            .map(move |a| {
                format!(
                    "overlay '{}' holds the address {} of interface '{}'; choose another overlay",
                    fan.overlay(),
                    a.address,
                    link.name
                )
            })
    });
    let nested = host.link(&fan.device).filter(|link| link.ours).map(|link| {
        format!(
            "interface '{}' belongs to a fan and cannot be the underlay of another",
            link.name
        )
    });
    foreign.chain(nested).collect()
}

fn routed_elsewhere(fan: &Fan, route: &ForeignRoute) -> Option<String> {
    let (destination, overlay) = (route.destination, fan.overlay().network());
    let ours = route.table == MAIN_TABLE || route.table == fan.routing_table();
    // Some VPN clients write the default route as two halves; like it, they give way to what is longer.
    let default = destination.prefix() <= 1;
    if !ours || default || !overlap(destination, overlay) {
        return None;
    }
    let (way, remove) = match (&route.device, route.gateway) {
        (Some(device), Some(gateway)) => (
            format!("by {gateway} on {device}"),
            format!("{destination} dev {device}"),
        ),
        (Some(device), None) => (format!("to {device}"), format!("{destination} dev {device}")),
        // A last resort that is wider than the overlay takes nothing from it.
        (None, _) if destination.prefix() < overlay.prefix() => return None,
        (None, _) => ("nowhere".to_string(), destination.to_string()),
    };
    Some(format!(
        "overlay '{overlay}' is already routed elsewhere: {destination} {way}; choose another overlay, or remove the \
         route: ip route delete {remove}"
    ))
}

fn sizes(fan: &Fan, host: &Host) -> Option<String> {
    let link = host.link(&fan.device)?;
    let room = link.mtu.saturating_sub(fan.encapsulation.overhead());
    if room < MIN_MTU {
        return Some(format!(
            "interface '{}' has MTU {}, which leaves less than {MIN_MTU} bytes for {} packets",
            link.name, link.mtu, fan.encapsulation
        ));
    }
    (mtu(fan, host) > room).then(|| {
        format!(
            "mtu {} is more than interface '{}' can carry: its MTU {} less {} bytes of {} is {room}",
            mtu(fan, host),
            link.name,
            link.mtu,
            fan.encapsulation.overhead(),
            fan.encapsulation
        )
    })
}
