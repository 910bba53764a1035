//! Networks that an administrator routes behind containers: `10.8.0.0/24,10.9.0.0/24`.

use std::fmt;
use std::str::FromStr;

use ipnetwork::Ipv4Network;

/// How many there can be: they stand in the bridge's alias, which takes 255 bytes.
const MOST: usize = 4;

/// A few IPv4 networks, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subnets(Vec<Ipv4Network>);

impl Subnets {
    /// Each of them.
    pub(crate) fn subnets(&self) -> impl Iterator<Item = &Ipv4Network> {
        self.0.iter()
    }

    /// The networks with the addresses of hosts outside of an underlay: a sentence when there is one.
    #[must_use]
    pub(crate) fn outside(&self, what: &str, underlay: Ipv4Network) -> Option<String> {
        let found = self.0.iter().find(|own| !own.is_subnet_of(underlay))?;
        Some(format!(
            "{what} '{found}' is not inside of underlay '{underlay}'; list networks in which hosts have addresses"
        ))
    }

    /// How many addresses they have.
    #[must_use]
    pub(crate) fn size(&self) -> u64 {
        self.0.iter().map(|own| u64::from(own.size())).sum()
    }

    /// Whether a network lies in one of them.
    #[must_use]
    pub(crate) fn hold(&self, network: Ipv4Network) -> bool {
        self.0.iter().any(|own| network.is_subnet_of(*own))
    }

    /// As they are written down; none where there are none.
    #[must_use]
    pub fn given(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.to_string())
    }

    /// As nft reads them; none where there are none.
    #[must_use]
    pub(crate) fn set(&self) -> Option<String> {
        let list: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        (!list.is_empty()).then(|| format!("{{ {} }}", list.join(", ")))
    }

    /// A sentence when one of them shares addresses with a network.
    #[must_use]
    pub(crate) fn overlap(&self, network: Ipv4Network) -> Option<String> {
        let found = self.0.iter().find(|own| own.overlaps(network))?;
        Some(format!(
            "routed '{found}' overlaps '{network}', which is the fan's own; list networks outside of overlay and underlay"
        ))
    }
}

impl FromStr for Subnets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read("routed", text)
    }
}

impl Subnets {
    /// Reads a list; a sentence when it is none names what it is for.
    ///
    /// # Errors
    /// That sentence.
    pub fn read(what: &str, text: &str) -> Result<Self, String> {
        let mut list = text.split(',').map(|text| network(what, text)).collect::<Result<Vec<_>, _>>()?;
        list.sort_unstable();
        let twice = list.windows(2).find(|pair| pair[0].overlaps(pair[1]));
        if let Some([one, two]) = twice {
            return Err(format!("{what} '{one}' and '{two}' overlap; list each network once"));
        }
        if list.len() > MOST {
            return Err(format!("{what} '{text}' has more than {MOST} networks; write wider ones"));
        }
        Ok(Self(list))
    }
}

/// One network that hosts can have addresses in.
fn network(what: &str, text: &str) -> Result<Ipv4Network, String> {
    let parsed = text.split_once('/').and_then(|_| text.parse::<Ipv4Network>().ok());
    let network = parsed.ok_or_else(|| format!("{what} '{text}' is no IPv4 network; write it like 10.8.0.0/24"))?;
    if network.ip() != network.network() {
        let right = Ipv4Network::new(network.network(), network.prefix()).expect("a prefix length");
        return Err(format!("{what} '{text}' has host bits set; write {right}"));
    }
    if is_of_hosts(network) && network.prefix() > 0 {
        Ok(network)
    } else {
        Err(format!("{what} '{text}' has addresses that no host can have; write it like 10.8.0.0/24"))
    }
}

/// Whether hosts can have the first and the last address of a network.
pub(super) fn is_of_hosts(network: Ipv4Network) -> bool {
    [network.network(), network.broadcast()].into_iter().all(|address| {
        !address.is_multicast() && !address.is_loopback() && !address.is_broadcast() && address.octets()[0] != 0
    })
}

impl fmt::Display for Subnets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.pad(&list.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_order_and_written_again() {
        let list: Subnets = "10.9.0.0/16,10.8.0.0/24".parse().unwrap();
        assert_eq!(list.to_string(), "10.8.0.0/24,10.9.0.0/16");
        assert_eq!(list.set().unwrap(), "{ 10.8.0.0/24, 10.9.0.0/16 }");
        assert!(list.hold("10.9.7.0/24".parse().unwrap()) && !list.hold("10.0.0.0/8".parse().unwrap()));
        assert!(list.overlap("10.0.0.0/8".parse().unwrap()).is_some());
        assert_eq!(list.overlap("11.0.0.0/8".parse().unwrap()), None);
        assert_eq!(Subnets::default().given(), None);
    }

    #[test]
    fn what_is_no_list_of_networks_is_refused() {
        for (text, reason) in [
            ("", "is no IPv4 network"),
            ("10.8.0.0", "is no IPv4 network"),
            ("10.8.0.0/24,", "is no IPv4 network"),
            ("10.8.0.1/24", "write 10.8.0.0/24"),
            ("0.0.0.0/0", "no host can have"),
            ("224.0.0.0/4", "no host can have"),
            ("127.0.0.0/8", "no host can have"),
            ("10.8.0.0/24,10.8.0.0/16", "overlap"),
            ("10.1.0.0/24,10.2.0.0/24,10.3.0.0/24,10.4.0.0/24,10.5.0.0/24", "more than 4"),
        ] {
            let error = text.parse::<Subnets>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
