//! Key, port and peers of a WireGuard device, to and from generic netlink (linux/wireguard.h; drivers/net/wireguard/netlink.c at
//! v6.12).
//!
//! The messages are made and read here and not by a library: those of netlink-packet-wireguard 0.5 print private keys when they
//! are debugged, leave copies of them that nobody can wipe, and panic at an attribute without a byte.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_sys::protocols::NETLINK_GENERIC;
use zeroize::Zeroizing;

use super::netlink::{NLA_F_NESTED, Netlink, Refusal, attributes};
use crate::fan::keys::{PublicKey, SecretKey};
use crate::plan::state::{Heard, Peer, Peers};

// Generic netlink: the controller (linux/genetlink.h), and the header in front of attributes.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// `struct genlmsghdr`: command, version, two reserved bytes.
const HEADER_LEN: usize = 4;

const GET_DEVICE: u8 = 0;
const SET_DEVICE: u8 = 1;

const DEVICE_INDEX: u16 = 1;
const DEVICE_PRIVATE_KEY: u16 = 3;
const DEVICE_FLAGS: u16 = 5;
const DEVICE_PORT: u16 = 6;
const DEVICE_PEERS: u16 = 8;
const REPLACE_PEERS: u32 = 1;

const PEER_PUBLIC_KEY: u16 = 1;
const PEER_PRESHARED_KEY: u16 = 2;
const PEER_FLAGS: u16 = 3;
const PEER_ENDPOINT: u16 = 4;
const PEER_KEEPALIVE: u16 = 5;
const PEER_LAST_HANDSHAKE: u16 = 6;
const PEER_RECEIVED: u16 = 7;
const PEER_SENT: u16 = 8;
const PEER_ALLOWED: u16 = 9;
const REMOVE_ME: u32 = 1;
const REPLACE_ALLOWED: u32 = 2;

const ALLOWED_FAMILY: u16 = 1;
const ALLOWED_ADDRESS: u16 = 2;
const ALLOWED_LEN: u16 = 3;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// How many bytes of peers one request has, some 140 each: an attribute has at most 65,535, and the kernel works through a request
/// while it holds the lock of all interfaces.
const AT_ONCE: usize = 16 << 10;
/// How many addresses of a peer one request has.
const ADDRESSES_AT_ONCE: usize = 128;

/// A connection to the kernel's WireGuard, in the network namespace of the thread that made it.
pub(crate) struct Wireguard {
    netlink: Netlink,
    family: u16,
}

/// A device as the kernel tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its private key, if it has one and we may see it.
    pub(crate) private: Option<SecretKey>,
    /// The UDP port that it listens on; 0 for none yet.
    pub(crate) port: u16,
    /// Its peers, and what was heard of each.
    pub peers: BTreeMap<PublicKey, (Peer, Heard)>,
}

impl Wireguard {
    /// Connects. The kernel loads its module for that, if it has one.
    ///
    /// # Errors
    /// What the kernel said: `ENOENT` without WireGuard.
    pub(crate) fn connect() -> Result<Self, Refusal> {
        let netlink = Netlink::connect_to(NETLINK_GENERIC)?;
        let request = [header(CTRL_CMD_GETFAMILY), attribute(CTRL_ATTR_FAMILY_NAME, b"wireguard\0")].concat();
        let answers = netlink.raw(GENL_ID_CTRL, NLM_F_ACK, &request)?;
        let family = answers.iter().find_map(|answer| {
            let (_, value) = attributes(answer.get(HEADER_LEN..)?).find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID)?;
            Some(u16::from_ne_bytes(*value.first_chunk()?))
        });
        let family = family.ok_or(Refusal { errno: nix::libc::ENOENT, sentence: None })?;
        Ok(Self { netlink, family })
    }

    /// Reads a device, by its index. It takes `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn device(&self, index: u32) -> Result<Device, Refusal> {
        let answers = self.netlink.raw(self.family, NLM_F_DUMP, &request(GET_DEVICE, index))?;
        let answers: Vec<Zeroizing<Vec<u8>>> = answers.into_iter().map(Zeroizing::new).collect();
        let mut device = Device::default();
        for answer in &answers {
            device.read(answer);
        }
        Ok(device)
    }

    /// Gives a device that is down, and has none, its key, port and peers.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn create(&self, index: u32, peers: &Peers) -> Result<(), Refusal> {
        self.set(&[request(SET_DEVICE, index), number(DEVICE_FLAGS, REPLACE_PEERS), own(peers)].concat())?;
        self.send_peers(index, peers.hosts.iter().flat_map(|(key, peer)| encode(key, peer)))
    }

    /// Makes key, port and peers of a device others.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn change(&self, index: u32, from: &Peers, to: &Peers) -> Result<(), Refusal> {
        if (&from.private, from.port) != (&to.private, to.port) {
            self.set(&[request(SET_DEVICE, index), own(to)].concat())?;
        }
        let remove = |key: &PublicKey| nested(0, &[attribute(PEER_PUBLIC_KEY, &key.0), number(PEER_FLAGS, REMOVE_ME)]);
        self.send_peers(index, from.without(to).map(remove))?;
        self.send_peers(index, to.unlike(from).flat_map(|(key, peer)| encode(key, peer)))
    }

    /// Takes all peers from a device. Without that the kernel waits a while for each as the device goes
    /// (`peer_remove_after_dead`, drivers/net/wireguard/peer.c at v6.12).
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn empty(&self, index: u32) -> Result<(), Refusal> {
        self.set(&[request(SET_DEVICE, index), number(DEVICE_FLAGS, REPLACE_PEERS)].concat())
    }

    fn send_peers(&self, index: u32, entries: impl Iterator<Item = Zeroizing<Vec<u8>>>) -> Result<(), Refusal> {
        let send = |list: &[Zeroizing<Vec<u8>>]| {
            self.set(&Zeroizing::new([request(SET_DEVICE, index), nested(DEVICE_PEERS, list).to_vec()].concat()))
        };
        let (mut list, mut len) = (Vec::new(), 0);
        for entry in entries {
            len += entry.len();
            list.push(entry);
            if len >= AT_ONCE {
                send(&list)?;
                list.clear();
                len = 0;
            }
        }
        if list.is_empty() { Ok(()) } else { send(&list) }
    }

    fn set(&self, request: &[u8]) -> Result<(), Refusal> {
        self.netlink.raw(self.family, NLM_F_ACK, request).map(drop)
    }
}

impl Device {
    /// Adds what a message tells. The kernel tells of a device in as many messages as it takes, and a peer's addresses may go on in
    /// the next.
    pub fn read(&mut self, message: &[u8]) {
        for (kind, value) in attributes(message.get(HEADER_LEN..).unwrap_or_default()) {
            match kind {
                DEVICE_PRIVATE_KEY => self.private = key(value).filter(|key| *key.bytes() != [0; 32]),
                DEVICE_PORT => self.port = value.first_chunk().map_or(0, |bytes| u16::from_ne_bytes(*bytes)),
                DEVICE_PEERS => attributes(value).for_each(|(_, peer)| self.read_peer(peer)),
                _ => {}
            }
        }
    }

    fn read_peer(&mut self, bytes: &[u8]) {
        let find = |kind| attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value);
        let Some(public) = find(PEER_PUBLIC_KEY).and_then(|value| <[u8; 32]>::try_from(value).ok()) else {
            return;
        };
        let long =
            |kind| find(kind).and_then(|value| value.first_chunk()).map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let new = || {
            let seconds = long(PEER_LAST_HANDSHAKE);
            let heard = Heard {
                handshake: (seconds > 0).then_some(seconds),
                received: long(PEER_RECEIVED),
                sent: long(PEER_SENT),
            };
            let keepalive = find(PEER_KEEPALIVE).and_then(|value| value.first_chunk());
            let peer = Peer {
                preshared: find(PEER_PRESHARED_KEY).and_then(key).unwrap_or(SecretKey::new([0; 32])),
                endpoint: find(PEER_ENDPOINT).and_then(endpoint),
                keepalive: keepalive.map_or(0, |bytes| u16::from_ne_bytes(*bytes)),
                allowed: [].into(),
            };
            (peer, heard)
        };
        let (peer, _) = self.peers.entry(PublicKey(public)).or_insert_with(new);
        let list = find(PEER_ALLOWED).into_iter().flat_map(attributes);
        peer.allowed.extend(list.filter_map(|(_, entry)| network(entry)));
    }
}

fn header(command: u8) -> Vec<u8> {
    vec![command, 1, 0, 0]
}

fn request(command: u8, index: u32) -> Vec<u8> {
    [header(command), number(DEVICE_INDEX, index)].concat()
}

/// The device's own key and port, the key first: it is mixed with that of each peer that is there (`wg_set_device`).
fn own(peers: &Peers) -> Vec<u8> {
    [attribute(DEVICE_PRIVATE_KEY, peers.private.bytes()), attribute(DEVICE_PORT, &peers.port.to_ne_bytes())].concat()
}

/// A peer, and as many entries more as its addresses take.
fn encode(key: &PublicKey, peer: &Peer) -> Vec<Zeroizing<Vec<u8>>> {
    let addresses: Vec<_> = peer.allowed.iter().map(|network| nested(0, &encode_network(*network))).collect();
    let (first, rest) = addresses.split_at(addresses.len().min(ADDRESSES_AT_ONCE));
    let mut parts = vec![
        attribute(PEER_PUBLIC_KEY, &key.0),
        attribute(PEER_PRESHARED_KEY, peer.preshared.bytes()),
        number(PEER_FLAGS, REPLACE_ALLOWED),
    ];
    parts.extend(peer.endpoint.map(|endpoint| attribute(PEER_ENDPOINT, &sockaddr(endpoint))));
    parts.push(attribute(PEER_KEEPALIVE, &peer.keepalive.to_ne_bytes()));
    parts.push(nested(PEER_ALLOWED, first).to_vec());
    let more = rest
        .chunks(ADDRESSES_AT_ONCE)
        .map(|some| nested(0, &[attribute(PEER_PUBLIC_KEY, &key.0), nested(PEER_ALLOWED, some).to_vec()]));
    std::iter::once(nested(0, &parts)).chain(more).collect()
}

fn encode_network(network: IpNetwork) -> Vec<Vec<u8>> {
    let (family, address) = match network.ip() {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    };
    vec![
        attribute(ALLOWED_FAMILY, &family.to_ne_bytes()),
        attribute(ALLOWED_ADDRESS, &address),
        attribute(ALLOWED_LEN, &[network.prefix()]),
    ]
}

fn network(bytes: &[u8]) -> Option<IpNetwork> {
    let find = |kind| attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value);
    let address = find(ALLOWED_ADDRESS)?;
    let address: IpAddr = match address.len() {
        4 => Ipv4Addr::from(*address.first_chunk::<4>()?).into(),
        16 => Ipv6Addr::from(*address.first_chunk::<16>()?).into(),
        _ => return None,
    };
    IpNetwork::new(address, *find(ALLOWED_LEN)?.first()?).ok()
}

/// A `struct sockaddr_in` or `sockaddr_in6`.
fn sockaddr(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address {
        SocketAddr::V4(v4) => [&AF_INET.to_ne_bytes()[..], &port, &v4.ip().octets(), &[0; 8]].concat(),
        SocketAddr::V6(v6) => [
            &AF_INET6.to_ne_bytes()[..],
            &port,
            &v6.flowinfo().to_be_bytes(),
            &v6.ip().octets(),
            &v6.scope_id().to_ne_bytes(),
        ]
        .concat(),
    }
}

fn endpoint(bytes: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    let address: IpAddr = match u16::from_ne_bytes(*bytes.first_chunk()?) {
        AF_INET => Ipv4Addr::from(*bytes.get(4..)?.first_chunk::<4>()?).into(),
        AF_INET6 => Ipv6Addr::from(*bytes.get(8..)?.first_chunk::<16>()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

fn key(bytes: &[u8]) -> Option<SecretKey> {
    let mut key = SecretKey::new([0; 32]);
    key.bytes_mut().copy_from_slice(bytes.get(..32).filter(|_| bytes.len() == 32)?);
    Some(key)
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_ne_bytes())
}

fn nested(kind: u16, parts: &[impl AsRef<[u8]>]) -> Zeroizing<Vec<u8>> {
    let parts: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
    Zeroizing::new(attribute(kind | NLA_F_NESTED, &parts.concat()))
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len() + 4).expect("AT_ONCE peers fit an attribute");
    let mut bytes = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> (PublicKey, Peer) {
        let allowed = format!("250.0.{number}.0/24");
        let peer = Peer {
            preshared: SecretKey::new([9; 32]),
            endpoint: Some(format!("172.30.0.{number}:8473").parse().unwrap()),
            keepalive: 25,
            allowed: [allowed.parse().unwrap(), "fd00::/64".parse().unwrap()].into(),
        };
        (PublicKey([number; 32]), peer)
    }

    /// A message of the kernel's with these peers.
    fn message(peers: &[Zeroizing<Vec<u8>>]) -> Vec<u8> {
        let device = [request(GET_DEVICE, 7), attribute(DEVICE_PRIVATE_KEY, &[5; 32])].concat();
        [device, nested(DEVICE_PEERS, peers).to_vec()].concat()
    }

    #[test]
    fn a_peer_that_goes_on_in_the_next_message_is_one() {
        let ((one, first), (two, mut second)) = (peer(1), peer(2));
        let many = (0..300_u16)
            .map(|number| format!("10.{}.{}.0/24", number / 256, number % 256).parse::<IpNetwork>().unwrap());
        second.allowed.extend(many);
        let entries = encode(&two, &second);
        assert_eq!(entries.len(), 3);
        let mut device = Device::default();
        device.read(&message(&[&encode(&one, &first)[..], &entries[..1]].concat()));
        device.read(&message(&entries[1..]));
        assert_eq!(device.private, Some(SecretKey::new([5; 32])));
        for (key, peer) in [(one, first), (two, second)] {
            let (found, _) = &device.peers[&key];
            assert_eq!((found, found.endpoint), (&peer, peer.endpoint));
        }
    }

    #[test]
    fn a_message_that_is_cut_is_no_panic() {
        let (key, peer) = peer(1);
        let whole = message(&encode(&key, &peer));
        for len in 0..whole.len() {
            Device::default().read(&whole[..len]);
        }
        let cut =
            nested(PEER_ALLOWED, &[nested(0, &[attribute(ALLOWED_LEN, b""), attribute(ALLOWED_ADDRESS, b"abcd")])]);
        Device::default().read(&message(&[nested(0, &[attribute(PEER_PUBLIC_KEY, &key.0), cut.to_vec()])]));
    }
}
