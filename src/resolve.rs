//! From what was asked for to a fan on this host: which address, on which interface, the underlay means.

use std::net::Ipv4Addr;

use crate::config::{Config, Place, UnderlaySource};
use crate::encap::VXLAN_PORT;
use crate::fan::Fan;
use crate::host::{Host, HostAddress, Link, LinkKind};
use crate::mapping::{Mapping, Underlay};
use crate::name::InterfaceName;

#[cfg(test)]
pub(crate) mod tests;

/// A fan, and how its underlay address was found.
#[derive(Debug)]
pub struct Resolved {
    /// The fan.
    pub fan: Fan,
    /// A sentence for `--verbose`.
    pub choice: String,
}

/// Resolves what was asked for against the host's addresses.
///
/// # Errors
/// A sentence: the interface is unknown, down or leads nowhere, no address fits, or several do.
pub fn resolve(config: &Config, host: &Host) -> Result<Resolved, String> {
    let found = find(&config.underlay, host)?;
    leads_to_others(found.link, host)?;
    let mapping = Mapping::new(
        config.overlay,
        Underlay::containing(found.address, config.underlay.len)?,
    )?;
    let slice = mapping.slice(found.address);
    let room = slice.size() - 2;
    if u32::from(config.host_reserve) >= room {
        return Err(format!(
            "host-reserve {} leaves no address for containers in slice '{slice}', which has {room}",
            config.host_reserve
        ));
    }
    let fan = Fan {
        mapping,
        host: found.address,
        device: found.link.name.clone(),
        encapsulation: config.encapsulation,
        port: config.port.unwrap_or(VXLAN_PORT),
        bridge: config.bridge.clone().unwrap_or_else(|| InterfaceName::of_slice(slice)),
        dhcp: config.dhcp,
        host_reserve: config.host_reserve,
        mtu: config.mtu,
        table: config.table,
        nat: config.nat,
        flowtable: config.flowtable,
        auto: false,
    };
    let Found { link, address, choice } = found;
    let choice = format!(
        "underlay '{}' is {address} on {} ({choice})",
        config.underlay, link.name
    );
    Ok(Resolved { fan, choice })
}

/// Whether what was asked for can be on an interface: whether the interface, or an address that it has, is what the underlay
/// means. Asked before [`resolve`], so that what is wrong there is news of that interface, and of no other.
#[must_use]
pub fn is_on(config: &Config, interface: &InterfaceName, host: &Host) -> bool {
    match &config.underlay.place {
        Place::Interface(name) => name == interface,
        Place::Default => host.default_device() == Some(interface),
        Place::Address(wanted) => addresses(host).any(|(link, a)| link.name == *interface && a.address.ip() == *wanted),
        Place::Network(underlay) => inside(*underlay, host).any(|(link, _)| link.name == *interface),
    }
}

/// An address on an interface, and why it was chosen.
struct Found<'a> {
    link: &'a Link,
    address: Ipv4Addr,
    choice: String,
}

fn find<'a>(source: &UnderlaySource, host: &'a Host) -> Result<Found<'a>, String> {
    match &source.place {
        Place::Interface(name) => on_interface(name, source, host),
        Place::Default => {
            let device = host.default_device().ok_or_else(|| {
                let len = source.len;
                format!("underlay '{source}': this host has no default route; name an interface like eth0/{len}")
            })?;
            let found = on_interface(device, source, host)?;
            let choice = format!("{}; {device} has the default route", found.choice);
            Ok(Found { choice, ..found })
        }
        Place::Address(wanted) => addresses(host)
            .find(|(_, a)| a.address.ip() == *wanted)
            .map(|(link, _)| Found {
                link,
                address: *wanted,
                choice: "as written".into(),
            })
            .ok_or_else(|| format!("underlay '{source}': no interface has the address {wanted}; see: ip -4 address")),
        Place::Network(underlay) => in_network(*underlay, source, host),
    }
}

/// Of an interface's addresses the first that is global, primary and no /32, in the kernel's order, which is that of
/// their being added; if there is none such, the first that is global; then the first.
fn on_interface<'a>(name: &InterfaceName, source: &UnderlaySource, host: &'a Host) -> Result<Found<'a>, String> {
    let link = host
        .link(name)
        .ok_or_else(|| format!("interface '{name}' does not exist; see: ip link"))?;
    let ranks: [fn(&HostAddress) -> bool; 3] = [
        |a| a.global && !a.secondary && a.address.prefix() < 32,
        |a| a.global,
        |_| true,
    ];
    let chosen = ranks
        .into_iter()
        .find_map(|rank| link.addresses.iter().find(|a| rank(a)))
        .ok_or_else(|| {
            format!("interface '{name}' has no IPv4 address in the underlay; give it one, or name another interface")
        })?;
    let choice = match link.addresses.len() {
        1 => "its only address".to_string(),
        count => format!(
            "the first primary address of {count}; name another like 172.30.0.28/{}",
            source.len
        ),
    };
    Ok(Found {
        link,
        address: chosen.address.ip(),
        choice,
    })
}

/// The host's one address in a network.
fn in_network<'a>(underlay: Underlay, source: &UnderlaySource, host: &'a Host) -> Result<Found<'a>, String> {
    let inside: Vec<_> = inside(underlay, host).collect();
    match inside[..] {
        [] => Err(format!(
            "underlay '{source}': no interface has an address in it; see: ip -4 address"
        )),
        [(link, a)] => Ok(Found {
            link,
            address: a.address.ip(),
            choice: "the only address in it".into(),
        }),
        [(_, first), ..] => {
            let list: Vec<_> = inside
                .iter()
                .map(|(link, a)| format!("{} on {}", a.address.ip(), link.name))
                .collect();
            Err(format!(
                "underlay '{source}' holds several addresses of this host: {}; write the one that is meant, like {}/{}",
                list.join(", "),
                first.address.ip(),
                source.len
            ))
        }
    }
}

/// The host's addresses in a network by which others can be reached.
fn inside(underlay: Underlay, host: &Host) -> impl Iterator<Item = (&Link, &HostAddress)> {
    addresses(host).filter(move |(link, a)| link.kind != LinkKind::Loopback && underlay.contains(a.address.ip()))
}

/// Every address of the host but those on a fan's own devices.
fn addresses(host: &Host) -> impl Iterator<Item = (&Link, &HostAddress)> {
    host.links
        .iter()
        .filter(|link| !link.ours)
        .flat_map(|link| link.addresses.iter().map(move |address| (link, address)))
}

/// Refuses an interface that the other hosts cannot be reached by.
fn leads_to_others(link: &Link, host: &Host) -> Result<(), String> {
    let name = &link.name;
    if link.kind == LinkKind::Loopback {
        return Err(format!(
            "interface '{name}' is the loopback, which leads to no other host; give the address to the interface that does"
        ));
    }
    if !link.up {
        return Err(format!(
            "interface '{name}' is down; bring it up first: ip link set {name} up"
        ));
    }
    let master = link.master.as_ref().and_then(|master| host.link(master));
    match master {
        Some(vrf) if vrf.kind == LinkKind::Vrf => Err(format!(
            "interface '{name}' is in VRF '{}', and the fan's packets are routed by the main table; name an interface \
             outside of it",
            vrf.name
        )),
        _ => Ok(()),
    }
}
