//! Hosts that may be there, for names: `172.30.0.27,fan-peers.example.net,172.30.0.0/24`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnetwork::Ipv4Network;

/// How many there can be.
const MOST: usize = 64;

/// The widest network that is swept: 4,096 addresses.
const WIDEST: u8 = 20;

/// One or several hosts of the underlay.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// An address.
    Host(Ipv4Addr),
    /// All hosts of a network, a /20 or less.
    Network(Ipv4Network),
    /// Those whose addresses a DNS name has.
    Name(String),
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(host) = text.parse() {
            return Ok(Self::Host(host));
        }
        if text.contains('/') {
            let network: Option<Ipv4Network> = text.parse().ok();
            let network = network.filter(|network| network.ip() == network.network() && network.prefix() >= WIDEST);
            return network.map(Self::Network).ok_or_else(|| {
                format!("peer '{text}' is no network of at most 4096 addresses; write it like 172.30.0.0/24")
            });
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        // A name has a letter; what has none is a misspelled address.
        if text.len() > 253 || !text.chars().all(is_name) || !text.contains(|c: char| c.is_ascii_alphabetic()) {
            return Err(format!("peer '{text}' is no address, network or DNS name; write it like 172.30.0.27"));
        }
        Ok(Self::Name(text.into()))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Network(network) => network.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// The peers of a fan, in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peers(Vec<Peer>);

impl Peers {
    /// Each of them.
    #[must_use]
    pub fn all(&self) -> &[Peer] {
        &self.0
    }

    /// As they are written down; none where there are none.
    #[must_use]
    pub fn given(&self) -> Option<String> {
        let list: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        (!list.is_empty()).then(|| list.join(","))
    }
}

impl FromStr for Peers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let list = text.split(',').map(str::parse).collect::<Result<Vec<Peer>, _>>()?;
        if list.len() > MOST {
            return Err(format!("peers '{text}' are more than {MOST}; one that all hosts name is enough"));
        }
        Ok(Self(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_back_as_written() {
        let text = "172.30.0.27,fan-peers.example.net,172.30.0.0/24";
        assert_eq!(text.parse::<Peers>().unwrap().given().unwrap(), text);
        for text in ["", "172.30.0.0/16", "172.30.0.1/24", "172.30.0.0/33", "a b", "-\n", "172.30.0.256", "a,,b"] {
            assert!(text.parse::<Peers>().is_err(), "{text}");
        }
    }
}
