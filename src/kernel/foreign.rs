//! What others put on our devices: filters, programs, entries of a bridge's forwarding table.

use std::collections::BTreeMap;

use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::tc::{TcAttribute, TcMessage};

use super::{bpf, neighbour};
use crate::fan::name::InterfaceName;
use crate::fan::{Mac, text};
use crate::plan::foreign::Foreign;
use crate::plan::state::Direction;

/// A filter that is not ours.
#[must_use]
pub fn filter(message: &TcMessage, device: &InterfaceName, direction: Direction) -> Foreign {
    let (mut kind, mut chain) = ("filter".to_string(), 0);
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(name) => kind = text::escape(name.chars().take(16).collect::<String>().as_bytes()),
            TcAttribute::Chain(number) => chain = *number,
            _ => {}
        }
    }
    Foreign::Filter {
        device: device.clone(),
        direction,
        // The kernel keeps 16 bits of it there (`TC_H_MAJ`).
        preference: u16::try_from(message.header.info >> 16).unwrap_or(u16::MAX),
        chain,
        kind,
    }
}

/// The XDP program on a device.
#[must_use]
pub(crate) fn xdp(message: &LinkMessage, device: &InterfaceName) -> Option<Foreign> {
    let program = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(list) => list.iter().find_map(|xdp| match xdp {
            LinkXdp::ProgId(number)
            | LinkXdp::DrvProgId(number)
            | LinkXdp::SkbProgId(number)
            | LinkXdp::HwProgId(number) => Some(*number),
            _ => None,
        }),
        _ => None,
    })?;
    let device = device.clone();
    Some(Foreign::Xdp { device, program })
}

/// The programs on a device that stand in front of all filters. A kernel before 6.6 knows of none, and refuses the question.
#[must_use]
pub(crate) fn tcx(index: u32, device: &InterfaceName) -> Vec<Foreign> {
    let directions = [Direction::Ingress, Direction::Egress].into_iter();
    let programs = directions.flat_map(|direction| {
        let programs = bpf::tcx(index, direction).unwrap_or_default();
        programs.into_iter().map(move |program| (direction, program))
    });
    let tcx = |(direction, program)| Foreign::Tcx { device: device.clone(), direction, program };
    programs.map(tcx).collect()
}

/// An entry of a forwarding table that somebody made. The kernel makes those of the bridge's own address and its ports', which
/// are in `macs`.
#[must_use]
pub(crate) fn entry(
    message: &NeighbourMessage,
    names: &BTreeMap<u32, InterfaceName>,
    macs: &BTreeMap<InterfaceName, Mac>,
) -> Option<Foreign> {
    let bridge = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Controller(index) => names.get(index),
        _ => None,
    })?;
    let (device, mac) = (names.get(&message.header.ifindex)?, neighbour::mac(message)?);
    let is_made = match message.header.state {
        NeighbourState::Noarp => true,
        NeighbourState::Permanent => !macs.values().any(|known| *known == mac),
        _ => message.header.flags.contains(NeighbourFlags::ExtLearned),
    };
    is_made.then(|| Foreign::Entry { bridge: bridge.clone(), device: device.clone(), mac })
}
