//! The way a packet takes to an address of a fan, step by step, and what proves it.
//!
//! From what the kernel holds and answers follow the [`hops`]; from what came of the [`probe`]s follows the
//! [`verdict`]: one sentence that names who is to blame, and what to do next. Nothing here asks or sends anything.

pub(crate) mod cause;
pub(crate) mod hops;
pub(crate) mod observed;
pub(crate) mod packet;
pub(crate) mod probe;
pub(crate) mod report;
pub(crate) mod round;
pub(crate) mod verdict;

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;

use crate::fan::Fan;
use crate::plan::desired;
use crate::plan::host::Host;
use crate::plan::state::{Object, Peers, State, bridges};

/// Where an address lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// Behind another host.
    There,
    /// Behind this host.
    Here,
    /// On this host's bridge.
    Own,
}

/// An address and the fan that leads to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The fan.
    pub fan: Fan,
    /// The largest packet of the fan in bytes, as its bridge has it.
    pub mtu: u32,
    /// What the user wrote.
    pub(crate) asked: Ipv4Addr,
    /// The same, or the gateway of the host that was meant.
    pub(crate) address: Ipv4Addr,
    /// The host it lives behind.
    pub host: Ipv4Addr,
    /// That host's gateway.
    pub(crate) gateway: Ipv4Addr,
    /// The address by which that host is reached: its own, but where the fan says or has learned otherwise.
    pub(crate) at: Ipv4Addr,
    /// The address of this host on the way there.
    pub(crate) source: Ipv4Addr,
    /// Where it lives.
    pub(crate) place: Location,
    /// Whether no host can have the slice: it would have the address by which all neighbours are meant.
    pub(crate) is_of_nobody: bool,
}

impl Target {
    /// Finds the fan that an address is of. An address of an underlay stands for that host's gateway.
    ///
    /// # Errors
    /// A sentence: no fan that is up has it, or several.
    pub(crate) fn find(asked: Ipv4Addr, owned: &State, host: &Host) -> Result<Self, String> {
        let bridges: Vec<_> = bridges(owned).collect();
        let of_overlay = bridges.iter().find(|bridge| bridge.fan.overlay().contains(asked));
        let of_underlay = bridges.iter().filter(|bridge| bridge.fan.mapping.underlay().contains(asked));
        let found: Vec<_> = match of_overlay {
            Some(bridge) => vec![bridge],
            None => of_underlay.collect(),
        };
        match found[..] {
            [bridge] => {
                let target = Self::new(asked, &bridge.fan, bridge.mtu);
                if let Some(reason) = target.nobody() {
                    return Err(reason);
                }
                let heard_by_all = desired::spec(&bridge.fan, host).broadcasts;
                let at = target.endpoint(owned).unwrap_or(target.host);
                let source = host.outer_address(&target.fan);
                Ok(Self { is_of_nobody: heard_by_all.contains(&target.host), at, source, ..target })
            }
            [] if bridges.is_empty() => {
                Err(format!("address '{asked}' cannot be traced, because no fan is up; bring one up: fanctl up"))
            }
            [] => {
                let fans: Vec<String> = bridges.iter().map(|bridge| over(&bridge.fan)).collect();
                Err(format!("address '{asked}' is of no fan that is up; these are: {}", fans.join(", ")))
            }
            _ => {
                let gateways: Vec<String> =
                    found.iter().map(|bridge| bridge.fan.mapping.gateway(asked).to_string()).collect();
                Err(format!(
                    "address '{asked}' is in the underlay of several fans; trace one of its gateways: {}",
                    gateways.join(", ")
                ))
            }
        }
    }

    /// Where WireGuard has the other host, or will have it.
    fn endpoint(&self, owned: &State) -> Option<Ipv4Addr> {
        let epoch = self.fan.epochs.first()?;
        let has_it = |peers: &&Peers| peers.link == self.fan.tunnel();
        let peers =
            owned.values().filter_map(|object| if let Object::Peers(peers) = object { Some(peers) } else { None });
        let is_its = |network: &IpNetwork| network.contains(self.gateway.into());
        let known = peers.filter(has_it).flat_map(|peers| peers.hosts.values());
        let known = known.filter(|peer| peer.allowed.iter().any(is_its)).find_map(|peer| peer.endpoint);
        match known.or_else(|| self.fan.place(self.host, *epoch))?.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    /// Why no container can have the address: it stands for a slice, or for all in it (RFC 1122, section 3.2.1.3).
    fn nobody(&self) -> Option<String> {
        let slice = self.fan.mapping.slice(self.host);
        let what = match self.address {
            address if address == slice.network() => "network",
            address if address == slice.broadcast() => "broadcast",
            _ => return None,
        };
        let (address, gateway) = (self.address, self.gateway);
        Some(format!(
            "address '{address}' is the {what} address of slice {slice}, which no container has; trace its gateway: fanctl trace \
             {gateway}"
        ))
    }

    fn new(asked: Ipv4Addr, fan: &Fan, mtu: u32) -> Self {
        let mapping = fan.mapping;
        let is_container = mapping.overlay().contains(asked);
        let host = if is_container { mapping.host(asked) } else { asked };
        let gateway = mapping.gateway(host);
        let address = if is_container { asked } else { gateway };
        let place = if fan.bridge_addresses().any(|own| own.ip() == address) {
            Location::Own
        } else if host == fan.host {
            Location::Here
        } else {
            Location::There
        };
        let (at, source) = (host, fan.host);
        Self { fan: fan.clone(), mtu, asked, address, host, gateway, at, source, place, is_of_nobody: false }
    }

    /// Bytes of the fan's largest packet when it is wrapped.
    #[must_use]
    pub(crate) fn wrapped_mtu(&self) -> u32 {
        self.mtu + self.fan.options.encapsulation.overhead()
    }

    /// Bytes of a packet that is too large for the fan, and is cut up by whoever sends it.
    #[must_use]
    pub(crate) fn fragmented_size(&self) -> u32 {
        self.wrapped_mtu().min(u16::MAX.into())
    }

    /// The address as it is called in sentences: `container 250.0.27.2`, `gateway 250.0.27.1`.
    #[must_use]
    pub fn name(&self) -> String {
        let what = if self.address == self.gateway { "gateway" } else { "container" };
        format!("{what} {}", self.address)
    }

    /// How wrapped packets are called: `protocol 4`, `udp port 8472`.
    #[must_use]
    pub(crate) fn carrier(&self) -> String {
        match self.fan.options.encapsulation {
            crate::fan::encap::Encapsulation::Ipip => "protocol 4".into(),
            crate::fan::encap::Encapsulation::Vxlan | crate::fan::encap::Encapsulation::Wireguard => {
                format!("udp port {}", self.fan.carrier_port())
            }
        }
    }
}

/// Overlay and underlay of a fan: `250.0.0.0/8 over 172.30.0.28/16`.
fn over(fan: &Fan) -> String {
    format!("{} over {}", fan.overlay(), fan.underlay_address())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::tests::announced;

    fn find(asked: &str, fans: &[Fan]) -> Result<Target, String> {
        let host = Host::default();
        let owned = fans.iter().fold(State::new(), |state, fan| desired::with(&state, fan, &host));
        Target::find(asked.parse().unwrap(), &owned, &host)
    }

    #[test]
    fn an_address_is_there_here_or_our_own() {
        let places = [
            ("250.0.27.2", Location::There, "250.0.27.2", "172.30.0.27"),
            ("172.30.0.27", Location::There, "250.0.27.1", "172.30.0.27"),
            ("250.0.28.2", Location::Here, "250.0.28.2", "172.30.0.28"),
            ("250.0.28.1", Location::Own, "250.0.28.1", "172.30.0.28"),
            ("172.30.0.28", Location::Own, "250.0.28.1", "172.30.0.28"),
        ];
        for (asked, place, address, host) in places {
            let target = find(asked, &[announced()]).unwrap();
            let found = (target.place, target.address.to_string(), target.host.to_string());
            assert_eq!(found, (place, address.into(), host.into()), "{asked}");
        }
    }

    #[test]
    fn an_address_of_no_container_is_refused() {
        for (asked, what) in [("250.0.27.255", "broadcast"), ("250.0.27.0", "network"), ("250.0.28.255", "broadcast")] {
            let error = find(asked, &[announced()]).unwrap_err();
            assert!(error.contains(what) && error.contains(".1"), "{error}");
        }
    }

    #[test]
    fn an_address_of_no_fan_is_told_which_are_up() {
        let error = find("8.8.8.8", &[announced()]).unwrap_err();
        assert_eq!(error, "address '8.8.8.8' is of no fan that is up; these are: 250.0.0.0/8 over 172.30.0.28/16");
        assert!(find("250.0.27.2", &[]).unwrap_err().contains("no fan is up"));
    }

    #[test]
    fn of_several_fans_the_one_that_has_the_address_is_taken() {
        let label = "fan 251.0.0.0/8 172.30.0.28/16 dev eth0 vxlan host-reserve 1";
        let other = Fan::from_label(&"fan-251-0-28".parse().unwrap(), label).unwrap();
        let fans = [announced(), other.clone()];
        assert_eq!(find("251.0.27.2", &fans).unwrap().fan, other);
        assert!(find("172.30.0.27", &fans).unwrap_err().contains("250.0.27.1, 251.0.27.1"));
    }
}
