//! Keys and peers of a fan over WireGuard. Every other host has its place in the mapping, so that what a peer may send, where it
//! is reached and which key it has are computed alike on all hosts.

use std::net::Ipv4Addr;

use ipnetwork::{IpNetwork, Ipv4Network};

use crate::fan::Fan;
use crate::fan::keys::Secret;
use crate::plan::desired::spec;
use crate::plan::host::Host;
use crate::plan::state::{Peer, Peers};

/// The keys that a fan's devices should have, as far as their secrets can be read.
pub(super) fn peers(fan: &Fan, host: &Host) -> Vec<Peers> {
    fan.epochs.iter().filter_map(|epoch| Some(of_secret(fan, host, secret(fan, host, *epoch)?))).collect()
}

/// The epochs of a fan whose secrets cannot be read.
pub(super) fn unknown(fan: &Fan, host: &Host) -> impl Iterator<Item = u32> {
    fan.epochs.iter().copied().filter(|epoch| secret(fan, host, *epoch).is_none())
}

fn secret<'a>(fan: &Fan, host: &'a Host, epoch: u32) -> Option<&'a Secret> {
    let secrets = host.keys.get(fan.key_file()?)?.as_ref().ok()?;
    secrets.iter().find(|secret| secret.epoch == epoch)
}

fn of_secret(fan: &Fan, host: &Host, secret: &Secret) -> Peers {
    let (mapping, port) = (fan.mapping, fan.port_of(secret.epoch));
    let preshared = secret.preshared(mapping);
    let peer = |host: Ipv4Addr| {
        let peer = Peer {
            preshared: preshared.clone(),
            endpoint: fan.place(host, secret.epoch),
            keepalive: keepalive(fan, host),
            allowed: [IpNetwork::V4(mapping.slice(host))].into(),
        };
        (secret.private(mapping, host).public(), peer)
    };
    Peers {
        overlay: fan.overlay(),
        link: fan.tunnel_of(secret.epoch),
        epoch: secret.epoch,
        private: secret.private(mapping, fan.host).clamped(),
        port,
        endpoints: fan.options.endpoints.clone(),
        hosts: hosts(fan, host).map(peer).collect(),
    }
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
