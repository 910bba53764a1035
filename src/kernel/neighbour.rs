//! Who is behind which interface: the neighbours that this host has asked for, and the Ethernet addresses that its bridges have
//! heard, both in the kernel's messages about neighbours.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use super::netlink::{Netlink, Refusal};
use super::{KernelError, Machine, route};
use crate::fan::Mac;
use crate::fan::mapping;
use crate::fan::name::InterfaceName;
use crate::plan::host::{NeighbourEntry, Reachability};

/// The neighbours whose Ethernet address is known.
///
/// # Errors
/// What the kernel said.
pub(crate) fn observe(netlink: &Netlink, names: &BTreeMap<u32, InterfaceName>) -> Result<Vec<NeighbourEntry>, Refusal> {
    let neighbour = |message: &NeighbourMessage| {
        Some(NeighbourEntry {
            device: names.get(&message.header.ifindex)?.clone(),
            address: address(message)?,
            mac: mac(message)?,
        })
    };
    let entries = entries(netlink, AddressFamily::Inet)?;
    Ok(entries.iter().filter_map(neighbour).collect())
}

impl Machine {
    /// Asks for the neighbour that has an address on an interface; none when nobody has asked for it lately.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn neighbour(
        &self,
        device: &InterfaceName,
        meant: Ipv4Addr,
    ) -> Result<Option<Reachability>, KernelError> {
        let names = self.names()?;
        let entries = entries(&self.netlink, AddressFamily::Inet)?;
        let mut there = entries
            .iter()
            .filter(|message| names.get(&message.header.ifindex) == Some(device) && address(message) == Some(meant));
        Ok(there.find_map(state))
    }

    /// The addresses that this host has spoken to on an interface.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn neighbours(&self, device: &InterfaceName) -> Result<Vec<Ipv4Addr>, KernelError> {
        let entries = observe(&self.netlink, &self.names()?)?.into_iter();
        Ok(entries.filter(|entry| entry.device == *device).map(|entry| entry.address).collect())
    }

    /// The Ethernet addresses that a bridge has heard, each with the index of its port.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn heard(&self, bridge: &InterfaceName) -> Result<Vec<(Mac, u32)>, KernelError> {
        let names = self.names()?;
        let entries = entries(&self.netlink, AddressFamily::Bridge)?;
        let heard = entries
            .iter()
            .filter(|message| controller(message).and_then(|index| names.get(&index)) == Some(bridge))
            .filter_map(|message| Some((mac(message)?, message.header.ifindex)));
        Ok(heard.collect())
    }

    /// The indices of a bridge's ports.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn ports(&self, bridge: &InterfaceName) -> Result<Vec<u32>, KernelError> {
        let links = self.netlink.dump_links()?;
        let own = links.iter().find(|link| link.name == *bridge).map(|link| link.message.header.index);
        let is_port =
            |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::Controller(index) if Some(*index) == own);
        let ports = links.iter().filter(|link| link.message.attributes.iter().any(is_port));
        Ok(ports.map(|link| link.message.header.index).collect())
    }

    /// The broadcast address of the network that an address of an interface is in; none where it has none.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn broadcast(&self, device: &InterfaceName, own: Ipv4Addr) -> Result<Option<Ipv4Addr>, KernelError> {
        let names = self.names()?;
        let addresses = self.netlink.dump_addresses()?;
        let found = addresses
            .iter()
            .filter_map(route::decode_address)
            .find(|(index, found)| names.get(index) == Some(device) && found.address.ip() == own);
        Ok(found.and_then(|(_, found)| mapping::broadcast(found.address)))
    }

    /// Asks by which port a bridge reaches an Ethernet address; none when it has heard nothing from there lately.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn port(&self, bridge: &InterfaceName, meant: Mac) -> Result<Option<InterfaceName>, KernelError> {
        let names = self.names()?;
        let entries = entries(&self.netlink, AddressFamily::Bridge)?;
        let mut heard = entries.iter().filter(|message| {
            mac(message) == Some(meant) && controller(message).and_then(|index| names.get(&index)) == Some(bridge)
        });
        Ok(heard.find_map(|message| names.get(&message.header.ifindex).cloned()))
    }
}

/// The entries of a family's table.
pub(super) fn entries(netlink: &Netlink, family: AddressFamily) -> Result<Vec<NeighbourMessage>, Refusal> {
    let mut question = NeighbourMessage::default();
    question.header.family = family;
    let answers = netlink.dump(&Message::GetNeighbour(question))?.into_iter();
    let entries = answers.filter_map(|answer| match answer {
        Message::NewNeighbour(message) => Some(message),
        _ => None,
    });
    Ok(entries.collect())
}

fn address(message: &NeighbourMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
        _ => None,
    })
}

/// The Ethernet address in an entry.
pub(super) fn mac(message: &NeighbourMessage) -> Option<Mac> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok().map(Mac),
        _ => None,
    })
}

/// The index of the bridge that an address was heard on.
fn controller(message: &NeighbourMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Controller(index) => Some(*index),
        _ => None,
    })
}

/// What an entry says of a neighbour; none when it was never asked for (`NUD_NONE`, `NUD_NOARP`).
fn state(message: &NeighbourMessage) -> Option<Reachability> {
    match message.header.state {
        NeighbourState::Incomplete | NeighbourState::Failed => Some(Reachability::Silent),
        NeighbourState::None | NeighbourState::Noarp => None,
        _ => mac(message).map(Reachability::Known),
    }
}
