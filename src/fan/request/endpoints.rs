//! Where hosts are reached over WireGuard whose number in the underlay is not their address, or not for this host:
//! `172.30.0.0/24=10.1.0.0/24,172.30.0.5=198.51.100.7:8473`.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::str::FromStr;

use ipnetwork::Ipv4Network;

use super::subnets::is_of_hosts;
use crate::fan::text::excerpt;

/// How many there can be: they stand in the bridge's alias, which takes 255 bytes.
const MOST: usize = 8;

/// Where the hosts of one network are, or one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Endpoint {
    /// Numbers in the underlay.
    numbers: Ipv4Network,
    /// As many addresses, in the same order.
    addresses: Ipv4Network,
    /// The first of its two UDP ports, where it is not that of the fan; of one host alone.
    port: Option<u16>,
}

/// Where some hosts are, the narrower network first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoints(Vec<Endpoint>);

impl Endpoints {
    /// Where a host is reached that is listed. The ports given are the first of a host's two; `port` is that of the fan, and `second`
    /// is 1 where the second is meant.
    #[must_use]
    pub(crate) fn of(&self, number: Ipv4Addr, port: u16, second: u16) -> Option<SocketAddr> {
        let found = self.0.iter().find(|own| own.numbers.contains(number))?;
        let offset = u32::from(number) - u32::from(found.numbers.network());
        let address = Ipv4Addr::from(u32::from(found.addresses.network()) + offset);
        Some(SocketAddr::new(address.into(), found.port.unwrap_or(port).saturating_add(second)))
    }

    /// Whether a host is listed.
    #[must_use]
    pub(crate) fn hold(&self, number: Ipv4Addr) -> bool {
        self.0.iter().any(|own| own.numbers.contains(number))
    }

    /// Whether none is listed.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A sentence when numbers are listed that are not of the underlay.
    #[must_use]
    pub(crate) fn outside(&self, underlay: Ipv4Network) -> Option<String> {
        let found = self.0.iter().find(|own| !own.numbers.is_subnet_of(underlay))?;
        Some(format!(
            "endpoints '{found}': '{}' is not inside of underlay '{underlay}'; what stands before the '=' are numbers of hosts there",
            found.numbers
        ))
    }

    /// A sentence when hosts are said to be in a network of the fan itself.
    #[must_use]
    pub(crate) fn inside(&self, overlay: Ipv4Network) -> Option<String> {
        let found = self.0.iter().find(|own| own.addresses.overlaps(overlay))?;
        Some(format!(
            "endpoints '{found}': '{}' is in overlay '{overlay}', which is reached by the tunnel alone; name addresses outside of it",
            found.addresses
        ))
    }

    /// As they are written down; none where there are none.
    #[must_use]
    pub fn given(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.to_string())
    }
}

impl FromStr for Endpoints {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut list = text.split(',').map(endpoint).collect::<Result<Vec<_>, _>>()?;
        if list.len() > MOST {
            return Err(format!("endpoints '{}' are more than {MOST}; write wider networks", excerpt(text)));
        }
        list.sort_unstable_by_key(|own| (u8::MAX - own.numbers.prefix(), *own));
        if let Some([one, two]) = list.windows(2).find(|pair| pair[0].numbers == pair[1].numbers) {
            return Err(format!("endpoints '{one}' and '{two}' are of the same hosts; list each once"));
        }
        Ok(Self(list))
    }
}

/// `NETWORK=NETWORK`, or `ADDRESS=ADDRESS[:PORT]`.
fn endpoint(text: &str) -> Result<Endpoint, String> {
    let wrong = |what: &str| {
        let text = excerpt(text);
        format!("endpoint '{text}' {what}; write it like 172.30.0.0/24=10.1.0.0/24 or 172.30.0.5=198.51.100.7:8473")
    };
    let (numbers, addresses) = text.split_once('=').ok_or_else(|| wrong("has no '='"))?;
    let network = |text: &str| text.parse::<Ipv4Network>().ok().filter(|network| network.ip() == network.network());
    let numbers = network(numbers).ok_or_else(|| wrong("has no network or address before the '='"))?;
    let (addresses, port) = match addresses.parse::<SocketAddrV4>() {
        Ok(one) if numbers.prefix() == 32 => (Some(Ipv4Network::from(*one.ip())), Some(one.port())),
        Ok(_) => return Err(wrong("has a port, which one host alone can have")),
        Err(_) => (network(addresses), None),
    };
    let addresses = addresses.ok_or_else(|| wrong("has no network or address behind the '='"))?;
    if addresses.prefix() != numbers.prefix() {
        return Err(wrong("has networks of two sizes"));
    }
    if !is_of_hosts(addresses) {
        return Err(wrong("has addresses that no host can have"));
    }
    // The second of the two ports is the next.
    if port.is_some_and(|port| port == 0 || port == u16::MAX) {
        return Err(wrong("has no port from 1 to 65534"));
    }
    Ok(Endpoint { numbers, addresses, port })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { numbers, addresses, port } = self;
        match (numbers.prefix(), port) {
            (32, None) => write!(f, "{}={}", numbers.ip(), addresses.ip()),
            (32, Some(port)) => write!(f, "{}={}:{port}", numbers.ip(), addresses.ip()),
            _ => write!(f, "{numbers}={addresses}"),
        }
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.pad(&list.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_where_the_narrowest_network_says() {
        let list: Endpoints = "172.30.0.0/24=10.1.0.0/24,172.30.0.5=198.51.100.7:9000".parse().unwrap();
        assert_eq!(list.to_string(), "172.30.0.5=198.51.100.7:9000,172.30.0.0/24=10.1.0.0/24");
        assert_eq!(list.to_string().parse(), Ok(list.clone()));
        let at = |number: [u8; 4], second| list.of(number.into(), 8473, second).map(|found| found.to_string());
        assert_eq!(at([172, 30, 0, 28], 1).unwrap(), "10.1.0.28:8474");
        assert_eq!(at([172, 30, 0, 5], 0).unwrap(), "198.51.100.7:9000");
        assert_eq!(at([172, 30, 0, 5], 1).unwrap(), "198.51.100.7:9001");
        assert_eq!(at([172, 30, 1, 5], 0), None);
        assert!(list.hold([172, 30, 0, 9].into()) && !list.hold([172, 30, 1, 9].into()));
        assert!(list.outside("172.30.0.0/25".parse().unwrap()).is_some());
        assert_eq!(list.outside("172.30.0.0/16".parse().unwrap()), None);
        assert!(list.inside("10.0.0.0/8".parse().unwrap()).is_some());
    }

    #[test]
    fn what_is_no_list_of_endpoints_is_refused() {
        for (text, reason) in [
            ("", "has no '='"),
            ("172.30.0.0/24", "has no '='"),
            ("172.30.0.5/24=10.1.0.0/24", "before the '='"),
            ("172.30.0.0/24=10.1.0.5/24", "behind the '='"),
            ("172.30.0.0/24=fan.example.net", "behind the '='"),
            ("172.30.0.0/24=10.1.0.0/25", "of two sizes"),
            ("172.30.0.0/24=10.1.0.0:8473", "one host alone"),
            ("172.30.0.5=10.1.0.5:65535", "no port from 1"),
            ("172.30.0.5=10.1.0.5:0", "no port from 1"),
            ("172.30.0.5=127.0.0.1", "no host can have"),
            ("172.30.0.0/24=224.0.0.0/24", "no host can have"),
            ("172.30.0.5=10.1.0.5,172.30.0.5=10.1.0.6", "of the same hosts"),
        ] {
            let error = text.parse::<Endpoints>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
