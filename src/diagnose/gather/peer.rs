//! The other ends of a fan's ports: what a container has on its side, as far as the kernel shows it to us.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use netlink_packet_core::NLM_F_ACK;
use netlink_packet_route::link::LinkAttribute;

use crate::diagnose::facts::Peer;
use crate::fan::name::InterfaceName;
use crate::kernel::netlink::{LINK_HEADER_LEN, LinkReply, Netlink, RTM_GETLINK, Refusal, read_link};
use crate::kernel::rules;
use crate::plan::host::Host;

/// The other ends of all ports, by the name of the port; and the ports whose other end may not be looked at.
pub fn observe(
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

/// The number that this network namespace has for that of a process.
fn namespace_of(netlink: &Netlink, process: u32) -> Result<Option<i32>, Refusal> {
    const RTM_GETNSID: u16 = 90;
    const NSID: u16 = 1; // NETNSA_NSID, linux/net_namespace.h
    const PID: u16 = 2; // NETNSA_PID
    // A struct rtgenmsg, padded, and one attribute.
    let mut request = vec![0; 4];
    request.extend(8_u16.to_ne_bytes());
    request.extend(PID.to_ne_bytes());
    request.extend(process.to_ne_bytes());
    let answers = netlink.raw(RTM_GETNSID, NLM_F_ACK, &request)?;
    let id = answers.first().and_then(|answer| match answer.get(4..)?.first_chunk::<8>()? {
        [_, _, a, b, id @ ..] if u16::from_ne_bytes([*a, *b]) == NSID => Some(i32::from_ne_bytes(*id)),
        _ => None,
    });
    Ok(id.filter(|id| *id >= 0))
}

fn peer(link: LinkReply) -> Option<Peer> {
    let mtu = link.message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(bytes) => Some(*bytes),
        _ => None,
    });
    Some(Peer { name: link.name, mtu: mtu?, mac: rules::mac(&link.message), process: None })
}

/// A process of every network namespace that this one has a number for.
fn inhabitants(netlink: &Netlink) -> BTreeMap<i32, u32> {
    let (mut seen, mut found) = (BTreeSet::new(), BTreeMap::new());
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while it is looked at.
        let Ok(namespace) = fs::read_link(Path::new(&entry.path()).join("ns/net")) else {
            continue;
        };
        if seen.insert(namespace)
            && let Ok(Some(number)) = namespace_of(netlink, process)
        {
            found.insert(number, process);
        }
    }
    found
}
