//! What is wrong with an interface of the underlay. It is checked before any other host is blamed.

use std::net::Ipv4Addr;

use crate::fan::shell::Line;
use crate::plan::host::{Host, Link, LinkKind};
use crate::shell;

/// Kinds of what keeps an interface from carrying packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkFaultKind {
    /// The address is on a port of another interface.
    Port,
    /// The interface is down.
    Down,
    /// It is up and has no carrier.
    NoCarrier,
}

/// What keeps an interface from carrying packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkFault {
    /// Its kind.
    pub(crate) kind: LinkFaultKind,
    /// A sentence without its end.
    pub(crate) says: String,
    /// What to do, likewise.
    pub(crate) advice: String,
    /// The command that does it; none where no command can, or where the administrator has to decide.
    pub(crate) mend: Option<Line>,
}

/// What keeps an interface from carrying packets of an address: it is a port of another, is down, or has no carrier.
/// The cause may be the interface below it, or one of those that it consists of. None if nothing does.
#[must_use]
pub(crate) fn fault(link: &Link, address: Ipv4Addr, host: &Host) -> Option<LinkFault> {
    let name = &link.name;
    if let Some(master) = host.links.iter().find(|other| link.master.as_ref() == Some(&other.name)) {
        // The ports of a VRF keep their addresses. Other ports hand what they receive to their controller.
        if master.kind != LinkKind::Vrf && link.addresses.iter().any(|own| own.address.ip() == address) {
            return Some(LinkFault {
                kind: LinkFaultKind::Port,
                says: format!(
                    "interface '{name}' is a port of '{}', so its address {address} receives nothing",
                    master.name
                ),
                advice: format!("move the address to '{}', then bring the fan up from there", master.name),
                mend: None,
            });
        }
    }
    let lower = link.lower.as_ref().and_then(|lower| host.link(lower)).filter(|lower| !lower.up);
    if !link.up {
        let up = shell!("ip link set dev {} up", name);
        return Some(match lower {
            None => LinkFault {
                kind: LinkFaultKind::Down,
                says: format!("interface '{name}' is down"),
                advice: "bring it up".into(),
                mend: Some(up),
            },
            Some(lower) => LinkFault {
                kind: LinkFaultKind::Down,
                says: format!("interface '{name}' is down, and so is '{}', on which it stands", lower.name),
                advice: "bring both up".into(),
                mend: Some(Line::all_of([shell!("ip link set dev {} up", lower.name), up])),
            },
        });
    }
    if link.carrier {
        return None;
    }
    let says = format!("interface '{name}' has no carrier");
    if let Some(lower) = lower {
        return Some(LinkFault {
            kind: LinkFaultKind::NoCarrier,
            says: format!("{says}, because '{}', on which it stands, is down", lower.name),
            advice: "bring that up".into(),
            mend: Some(shell!("ip link set dev {} up", lower.name)),
        });
    }
    let ports: Vec<&Link> = host.links.iter().filter(|port| port.master.as_ref() == Some(name)).collect();
    if !ports.is_empty() {
        let state = |port: &&Link| {
            let state = if !port.up {
                "down"
            } else if port.carrier {
                "up"
            } else {
                "without carrier"
            };
            format!("'{}' is {state}", port.name)
        };
        let states: Vec<String> = ports.iter().map(state).collect();
        let down = ports.iter().filter(|port| !port.up).map(|port| shell!("ip link set dev {} up", port.name));
        let down: Vec<Line> = down.collect();
        return Some(LinkFault {
            kind: LinkFaultKind::NoCarrier,
            says: format!("{says}: of its ports {}", states.join(", ")),
            advice: "bring one of them up, or look at its cable".into(),
            mend: (!down.is_empty()).then(|| Line::all_of(down)),
        });
    }
    let stands = link.lower.as_ref().map_or(String::new(), |lower| format!(", or at '{lower}', on which it stands"));
    Some(LinkFault {
        kind: LinkFaultKind::NoCarrier,
        says,
        advice: format!("look at its cable and at the other end{stands}"),
        mend: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::resolve::tests::{host, link};

    const ADDRESS: &str = "172.30.0.28/16";

    fn fault_of(device: &Link, others: Vec<Link>) -> Option<LinkFault> {
        let mut links = others;
        links.push(device.clone());
        fault(device, Ipv4Addr::new(172, 30, 0, 28), &host(links))
    }

    #[test]
    fn a_port_of_a_bridge_is_no_underlay_and_one_of_a_vrf_is() {
        let port = Link { master: Some("br-lan".parse().unwrap()), ..link("eth0", &[ADDRESS]) };
        let found = fault_of(&port, vec![link("br-lan", &[])]).unwrap();
        assert!(found.says.contains("port of 'br-lan'") && found.mend.is_none(), "{found:?}");
        let vrf = Link { kind: LinkKind::Vrf, ..link("br-lan", &[]) };
        assert_eq!(fault_of(&port, vec![vrf]), None);
    }

    #[test]
    fn what_is_down_below_is_brought_up_first() {
        let below = Link { up: false, carrier: false, ..link("eth0", &[]) };
        let vlan = Link { lower: Some(below.name.clone()), carrier: false, ..link("eth0.100", &[ADDRESS]) };
        let found = fault_of(&vlan, vec![below.clone()]).unwrap();
        assert_eq!(found.mend.unwrap().to_string(), "ip link set dev eth0 up");
        let found = fault_of(&Link { up: false, ..vlan }, vec![below]).unwrap();
        assert_eq!(found.mend.unwrap().to_string(), "ip link set dev eth0 up && ip link set dev eth0.100 up");
    }

    #[test]
    fn a_bond_without_carrier_is_told_with_its_ports() {
        let bond = Link { carrier: false, ..link("bond0", &[ADDRESS]) };
        let port = |name: &str, up| Link { master: Some(bond.name.clone()), carrier: false, up, ..link(name, &[]) };
        let found = fault_of(&bond, vec![port("eth0", false), port("eth1", true)]).unwrap();
        assert!(found.says.contains("'eth0' is down, 'eth1' is without carrier"), "{found:?}");
        assert_eq!(found.mend.unwrap().to_string(), "ip link set dev eth0 up");
        assert_eq!(fault_of(&link("eth0", &[ADDRESS]), vec![]), None);
    }
}
