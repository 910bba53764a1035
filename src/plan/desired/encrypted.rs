//! Keys and peers of a fan over WireGuard. Every other host has its place in the mapping, so that what a peer may send, where it
//! is reached and which key it has are computed alike on all hosts.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnetwork::{IpNetwork, Ipv4Network};

use crate::fan::Fan;
use crate::fan::keys::{Key, PublicKey};
use crate::plan::desired::spec;
use crate::plan::host::Host;
use crate::plan::state::{Peer, Peers};

/// The keys that a fan's devices should have, as far as their secrets can be read.
pub(super) fn peers(fan: &Fan, host: &Host) -> Vec<Peers> {
    fan.epochs.iter().filter_map(|epoch| of_key(fan, host, key(fan, host, *epoch)?)).collect()
}

/// The epochs of a fan whose keys cannot be computed.
pub(super) fn unknown(fan: &Fan, host: &Host) -> impl Iterator<Item = u32> {
    let is_known = |epoch| match key(fan, host, epoch) {
        Some(Key::Shared(_)) => true,
        Some(Key::Issued(_)) => public_keys(fan, host, epoch).is_some(),
        None => false,
    };
    fan.epochs.iter().copied().filter(move |epoch| !is_known(*epoch))
}

fn key<'a>(fan: &Fan, host: &'a Host, epoch: u32) -> Option<&'a Key> {
    let keys = host.keys.get(fan.key_file()?)?.as_ref().ok()?;
    keys.iter().find(|key| key.epoch() == epoch)
}

/// The public keys of the hosts in the table.
fn public_keys<'a>(fan: &Fan, host: &'a Host, epoch: u32) -> Option<&'a BTreeMap<Ipv4Addr, PublicKey>> {
    host.tables.get(fan.options.table_file())?.as_ref().ok()?.hosts(epoch)
}

/// What a device has by a key; none where it was issued, and there is no table.
fn of_key(fan: &Fan, host: &Host, key: &Key) -> Option<Peers> {
    let (mapping, epoch) = (fan.mapping, key.epoch());
    let public: Box<dyn Fn(Ipv4Addr) -> Option<PublicKey>>;
    let (private, preshared) = match key {
        Key::Shared(secret) => {
            public = Box::new(move |host| Some(secret.private(mapping, host).public()));
            (secret.private(mapping, fan.host), secret.preshared(mapping))
        }
        Key::Issued(issued) => {
            let table = public_keys(fan, host, epoch)?;
            public = Box::new(|host| table.get(&host).copied());
            (issued.private.clone(), issued.preshared.clone())
        }
    };
    let peer = |host: Ipv4Addr| {
        let peer = Peer {
            preshared: preshared.clone(),
            endpoint: fan.place(host, epoch),
            keepalive: keepalive(fan, host),
            allowed: [IpNetwork::V4(mapping.slice(host))].into(),
        };
        Some((public(host)?, peer))
    };
    Some(Peers {
        overlay: fan.overlay(),
        link: fan.tunnel_of(epoch),
        epoch,
        private: private.clamped(),
        port: fan.port_of(epoch),
        endpoints: fan.options.endpoints.clone(),
        hosts: hosts(fan, host).filter_map(peer).collect(),
    })
}

/// Seconds between packets that keep the way back from a host open; 0 for none. Those that are listed are who can be reached.
fn keepalive(fan: &Fan, host: Ipv4Addr) -> u16 {
    let endpoints = &fan.options.endpoints;
    let is_meant = endpoints.is_empty() || endpoints.hold(host);
    fan.options.keepalive.filter(|_| is_meant).unwrap_or_default()
}

/// The other hosts that there may be: not this one, none that is excluded, and no address that no host can have.
fn hosts(fan: &Fan, host: &Host) -> impl Iterator<Item = Ipv4Addr> {
    let underlay = fan.mapping.underlay().network();
    let listed: Vec<Ipv4Network> = fan.options.hosts.subnets().copied().collect();
    let networks = if listed.is_empty() { vec![underlay] } else { listed };
    let nobodys = spec(fan, host).broadcasts;
    let all = networks.into_iter().flat_map(Ipv4Network::iter);
    all.filter(move |address| {
        *address != fan.host
            && !nobodys.contains(address)
            && !fan.options.exclude.hold(Ipv4Network::new(*address, 32).expect("a prefix length"))
    })
}
