//! What a WireGuard device knows: its own key, and the hosts that it may speak with.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ipnetwork::IpNetwork;

use crate::fan::keys::{PublicKey, SecretKey};
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;

/// Key, port and peers of a WireGuard device: one object, since no part of it is of use without the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    /// The fan.
    pub(crate) overlay: Overlay,
    /// The device.
    pub link: InterfaceName,
    /// Which of the fan's secrets it is by; 0 where that is not known.
    pub(crate) epoch: u32,
    /// This host's private key.
    pub(crate) private: SecretKey,
    /// The UDP port that it listens on.
    pub(crate) port: u16,
    /// The other hosts.
    pub(crate) hosts: BTreeMap<PublicKey, Peer>,
}

/// Another host.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The key that both have beside those of the handshake; all zeros for none.
    pub(crate) preshared: SecretKey,
    /// Where it is reached. Not compared, because WireGuard follows a host that moves; set when the peer is made or the port
    /// changes.
    pub(crate) endpoint: Option<SocketAddr>,
    /// Seconds between packets that keep a way through NAT open; 0 for none.
    pub(crate) keepalive: u16,
    /// Inner addresses that are its own.
    pub(crate) allowed: BTreeSet<IpNetwork>,
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        (&self.preshared, self.keepalive, &self.allowed) == (&other.preshared, other.keepalive, &other.allowed)
    }
}

impl Eq for Peer {}

/// What was heard of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// When a handshake last succeeded, in seconds since 1970; none if never.
    pub(crate) handshake: Option<u64>,
    /// Bytes that came from it.
    pub(crate) received: u64,
    /// Bytes that went to it.
    pub(crate) sent: u64,
}

impl Peers {
    /// How many peers there are, in words: `254 peers`.
    #[must_use]
    pub(crate) fn count(&self) -> String {
        match self.hosts.len() {
            1 => "1 peer".to_string(),
            count => format!("{count} peers"),
        }
    }

    /// The peers that these have and the others have not.
    pub(crate) fn without<'a>(&'a self, others: &'a Self) -> impl Iterator<Item = &'a PublicKey> {
        self.hosts.keys().filter(|key| !others.hosts.contains_key(*key))
    }

    /// The peers that are not as the others have them. With another port all are reached by another.
    pub(crate) fn unlike<'a>(&'a self, others: &'a Self) -> impl Iterator<Item = (&'a PublicKey, &'a Peer)> {
        let all = self.port != others.port;
        self.hosts.iter().filter(move |(key, peer)| all || others.hosts.get(*key) != Some(*peer))
    }
}
