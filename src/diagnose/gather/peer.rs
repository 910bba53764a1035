//! The other ends of a fan's ports: what a container has on its side, as far as the kernel shows it to us.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_core::NLM_F_ACK;
use netlink_packet_route::link::LinkAttribute;

use super::inside;
use crate::diagnose::facts::Peer;
use crate::fan::name::InterfaceName;
use crate::kernel::netlink::{LINK_HEADER_LEN, LinkReply, Netlink, RTM_GETLINK, Refusal, read_link};
use crate::kernel::occupants::inhabitants;
use crate::kernel::rules;
use crate::plan::host::Host;

/// The other ends of all ports, by the name of the port; and the ports whose other end may not be looked at.
pub(crate) fn observe(
    netlink: &Netlink,
    links: &[LinkReply],
    host: &Host,
) -> (BTreeMap<InterfaceName, Peer>, BTreeSet<InterfaceName>) {
    let is_port = |name: &InterfaceName| host.link(name).is_some_and(|link| link.master.is_some() && !link.ours);
    let ports = links.iter().filter(|link| is_port(&link.name)).filter_map(|link| {
        let name = &link.name;
        let (mut index, mut namespace) = (None, None);
        for attribute in &link.message.attributes {
            match attribute {
                LinkAttribute::Link(number) => index = Some(*number),
                LinkAttribute::LinkNetNsId(number) => namespace = Some(*number),
                _ => {}
            }
        }
        Some((name, index?, namespace?))
    });
    let (mut peers, mut hidden) = (BTreeMap::new(), BTreeSet::new());
    let mut processes = None;
    for (name, index, namespace) in ports {
        let peer = link_elsewhere(netlink, index, namespace).ok().and_then(peer);
        let Some(mut peer) = peer else {
            hidden.insert(name.clone());
            continue;
        };
        let processes = processes.get_or_insert_with(|| inhabitants(netlink));
        peer.process = processes.get(&namespace).copied();
        peer.addresses = inside::addresses(netlink, index, namespace).unwrap_or_default();
        peer.routes = peer.process.and_then(inside::routes);
        peers.insert(name.clone(), peer);
    }
    (peers, hidden)
}

/// Asks for a link of another network namespace, by its index there and the number that this namespace has for that one.
fn link_elsewhere(netlink: &Netlink, index: u32, namespace: i32) -> Result<LinkReply, Refusal> {
    const TARGET_NETNSID: u16 = 46; // IFLA_TARGET_NETNSID, linux/if_link.h
    let mut request = vec![0; LINK_HEADER_LEN];
    request[4..8].copy_from_slice(&index.to_ne_bytes());
    request.extend(8_u16.to_ne_bytes());
    request.extend(TARGET_NETNSID.to_ne_bytes());
    request.extend(namespace.to_ne_bytes());
    let answers = netlink.raw(RTM_GETLINK, NLM_F_ACK, &request)?;
    let answer = answers.first().ok_or(Refusal { errno: nix::libc::ENODEV, sentence: None })?;
    read_link(answer)
}

fn peer(link: LinkReply) -> Option<Peer> {
    let mtu = link.message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(bytes) => Some(*bytes),
        _ => None,
    });
    Some(Peer {
        name: link.name,
        mtu: mtu?,
        mac: rules::mac(&link.message),
        process: None,
        addresses: Vec::new(),
        routes: None,
    })
}
