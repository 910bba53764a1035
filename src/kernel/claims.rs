//! Which addresses containers have: those of the network namespaces behind a bridge's ports, and those that ARP requests
//! on the bridge are answered for, as the addresses of a virtual machine or of a container in a container.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use rtnetlink::packet_core::NLM_F_CREATE;

use super::netlink::{Netlink, attributes};
use super::{KernelError, Machine, link};
use crate::fan::name::InterfaceName;
use crate::plan::diff::Claim;
use crate::plan::host::Reachability;

/// The kernel asks three times, a second apart (`mcast_solicit` and `retrans_time`, arp(7)), and a little later gives up.
const PATIENCE: Duration = Duration::from_secs(5);
const PACE: Duration = Duration::from_millis(20);

impl Machine {
    /// Which of these addresses a container behind a bridge has. With `ask`, the kernel sends ARP requests for the
    /// addresses that no namespace has.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn claims(
        &self,
        bridge: &InterfaceName,
        ports: &[&InterfaceName],
        addresses: &[Ipv4Addr],
        ask: bool,
    ) -> Result<Vec<Claim>, KernelError> {
        let messages = self.netlink.dump_links()?;
        let names = link::names(&messages);
        let mut claims = Vec::new();
        for message in &messages {
            let Some(port) = names.get(&message.message.header.index).filter(|name| ports.contains(name)) else {
                continue;
            };
            let namespace = message.message.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::LinkNetNsId(number) => Some(*number),
                _ => None,
            });
            let Some(found) = namespace.and_then(addresses_in) else {
                continue;
            };
            let claimed = addresses.iter().filter(|address| found.contains(address));
            claims.extend(claimed.map(|address| Claim { address: *address, port: Some(port.clone()) }));
        }
        if ask && !ports.is_empty() {
            let known: BTreeSet<Ipv4Addr> = claims.iter().map(|claim| claim.address).collect();
            let open: Vec<Ipv4Addr> = addresses.iter().filter(|address| !known.contains(address)).copied().collect();
            claims.extend(self.answered(bridge, &open)?);
        }
        Ok(claims)
    }

    /// Has the kernel send ARP requests for addresses, and waits until each is answered or given up.
    fn answered(&self, bridge: &InterfaceName, addresses: &[Ipv4Addr]) -> Result<Vec<Claim>, KernelError> {
        let names = self.names()?;
        let index = names.iter().find(|(_, name)| *name == bridge).map(|(index, _)| *index);
        let index = index.ok_or_else(|| KernelError::from(format!("interface '{bridge}' is gone")))?;
        for address in addresses {
            // An old entry may no longer be true.
            let _ = self.netlink.send(&Message::DelNeighbour(entry(index, *address)), 0);
            let mut question = entry(index, *address);
            question.header.flags = NeighbourFlags::Use;
            self.netlink.send(&Message::NewNeighbour(question), NLM_F_CREATE)?;
        }
        let until = Instant::now() + PATIENCE;
        let mut open: Vec<Ipv4Addr> = addresses.to_vec();
        let mut claims = Vec::new();
        while !open.is_empty() && Instant::now() < until {
            let mut left = Vec::new();
            for address in open {
                match self.neighbour(bridge, address)? {
                    Some(Reachability::Known(mac)) => claims.push(Claim { address, port: self.port(bridge, mac)? }),
                    Some(Reachability::Silent) if self.is_asking(index, address)? => left.push(address),
                    Some(Reachability::Silent) | None => {}
                }
            }
            open = left;
            thread::sleep(PACE);
        }
        Ok(claims)
    }

    /// Whether the kernel still sends ARP requests for an address.
    fn is_asking(&self, index: u32, address: Ipv4Addr) -> Result<bool, KernelError> {
        let mut question = NeighbourMessage::default();
        question.header.family = AddressFamily::Inet;
        let answers = self.netlink.dump(&Message::GetNeighbour(question))?;
        let destination = NeighbourAttribute::Destination(NeighbourAddress::Inet(address));
        Ok(answers.iter().any(|answer| {
            matches!(answer, Message::NewNeighbour(message)
                if message.header.ifindex == index
                    && message.header.state == NeighbourState::Incomplete
                    && message.attributes.contains(&destination))
        }))
    }
}

fn entry(index: u32, address: Ipv4Addr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = index;
    let destination = NeighbourAddress::Inet(address);
    message.attributes.push(NeighbourAttribute::Destination(destination));
    message
}

/// The IPv4 addresses in another network namespace, by the number that this one has for it; none where it may not be looked at.
fn addresses_in(namespace: i32) -> Option<BTreeSet<Ipv4Addr>> {
    const RTM_GETADDR: u16 = 22; // linux/rtnetlink.h
    const HEADER_LEN: usize = 8; // struct ifaddrmsg, linux/if_addr.h
    const ADDRESS: u16 = 1; // IFA_ADDRESS
    const LOCAL: u16 = 2; // IFA_LOCAL
    const TARGET_NETNSID: u16 = 10; // IFA_TARGET_NETNSID
    let netlink = Netlink::connect().ok()?;
    let mut request = vec![0; HEADER_LEN];
    request[0] = u8::try_from(nix::libc::AF_INET).ok()?;
    request.extend(8_u16.to_ne_bytes());
    request.extend(TARGET_NETNSID.to_ne_bytes());
    request.extend(namespace.to_ne_bytes());
    let answers = netlink.raw(RTM_GETADDR, NLM_F_DUMP, &request).ok()?;
    let address = |answer: &Vec<u8>| {
        let own = attributes(answer.get(HEADER_LEN..)?).filter(|(kind, _)| [ADDRESS, LOCAL].contains(kind));
        let (_, value) = own.max_by_key(|(kind, _)| *kind)?;
        Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?))
    };
    Some(answers.iter().filter_map(address).collect())
}
