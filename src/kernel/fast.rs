//! The fast path: made, found again and taken away.
//!
//! Its programs are filters of clsact, as the others are, and by their names known again: a name has the digest of all four, and
//! the interfaces that they lead to, so that one whose interface was made anew is known to be stale. The maps live as long as
//! the programs; nothing is pinned. On the underlay's interface there may be filters of others: ours let all that is not theirs
//! go on to those, and clsact itself goes only with the last filter.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use caps::Capability;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{InfoBridgePort, InfoPortData, InfoPortKind, LinkAttribute, LinkInfo};
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcMessage, TcOption};
use nix::libc;
use rtnetlink::{LinkDummy, LinkUnspec};

use super::bpf::{self, Map, MapKind};
use super::netlink::{LinkReply, Netlink, Refusal};
use super::{KernelError, capabilities, filter, ipv6, link, nft};
use crate::bpf::fast::{self, COUNTS, FLOWS, FastPrograms, FastSpec, KEY_LEN, Places, VALUE_LEN};
use crate::fan::Fan;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::plan::host::{FastPackets, Host, Link, LinkKind};
use crate::plan::state::{Direction, FastPath, Object, Slot};

/// The MTU of the port, which only receives: of the largest packet that there is.
const PORT_MTU: u32 = 65_535;

/// A program of the fast path on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    /// The fan.
    pub(crate) overlay: Overlay,
    /// The interface that it was found on.
    pub(crate) link: InterfaceName,
    /// Which packets it sees.
    pub(crate) direction: Direction,
    /// Of all four programs.
    pub(crate) digest: String,
    /// Where it leads to.
    pub(crate) places: Places,
    /// The kernel's number for it.
    pub(crate) id: u32,
}

impl Attached {
    /// Whether it is one that refers to both maps.
    #[must_use]
    pub(crate) fn counts_all(&self) -> bool {
        // On the bridge, what containers send.
        self.direction == Direction::Ingress
    }
}

/// The fast paths that ports and programs show, whole or not.
#[must_use]
pub(crate) fn observed(
    attached: &[Attached],
    names: &BTreeMap<u32, InterfaceName>,
    host: &Host,
    fans: &[&Fan],
) -> Vec<Object> {
    let ports = host.links.iter().filter_map(|link| match &link.kind {
        LinkKind::FastPort { overlay, device } => Some((*overlay, device, link)),
        _ => None,
    });
    let ports: Vec<_> = ports.collect();
    let overlays: BTreeSet<Overlay> =
        ports.iter().map(|(overlay, ..)| *overlay).chain(attached.iter().map(|found| found.overlay)).collect();
    let path = |overlay: Overlay| {
        let ports: Vec<_> = ports.iter().filter(|(its, ..)| *its == overlay).collect();
        let fan = fans.iter().find(|fan| fan.overlay() == overlay);
        let found: Vec<_> = attached.iter().filter(|found| found.overlay == overlay).collect();
        let on = |which: Direction| found.iter().find(|found| found.direction == which).map(|found| found.link.clone());
        let bridge = fan.map(|fan| fan.bridge.clone());
        let bridge = bridge.or_else(|| ports.iter().find_map(|(.., port)| port.master.clone()));
        let device =
            ports.first().map(|(_, device, _)| (*device).clone()).or_else(|| fan.map(|fan| fan.device.clone()));
        let (bridge, device) = (bridge.or_else(|| on(Direction::Ingress))?, device.or_else(|| on(Direction::Egress))?);
        let mut path = FastPath { overlay, bridge, device, spec: None, digest: None };
        let is_port = |link: &Link| link.name == path.port() && link.up && link.master.as_ref() == Some(&path.bridge);
        let leads = |places: Places| {
            names.get(&places.underlay) == Some(&path.device) && names.get(&places.port) == Some(&path.port())
        };
        let digest = found.first().map(|found| found.digest.clone());
        let are_all_there = path.hooks().into_iter().all(|(name, direction)| {
            found.iter().any(|found| {
                (&found.link, found.direction) == (name, direction)
                    && Some(&found.digest) == digest.as_ref()
                    && leads(found.places)
            })
        });
        let is_whole = are_all_there && found.len() == 4 && ports.len() == 1 && is_port(ports[0].2);
        path.digest = digest.filter(|_| is_whole);
        Some(Object::FastPath(path))
    };
    overlays.into_iter().filter_map(path).collect()
}

/// How many packets have taken a fan's fast path since it was made: sent, and received. None where there is none, and where
/// they may not be read, which takes `CAP_SYS_ADMIN`.
#[must_use]
pub(crate) fn packets(overlay: Overlay, host: &Host) -> Option<FastPackets> {
    let (_, program) = host.fast_programs.iter().find(|(its, _)| *its == overlay)?;
    capabilities::raised(&[Capability::CAP_SYS_ADMIN], || {
        let maps = Map::of_program(*program).ok()?;
        let counts = maps.get(usize::from(fast::COUNTS_MAP.0))?;
        Some(FastPackets { sent: counts.sum(fast::COUNT_SENT).ok()?, received: counts.sum(fast::COUNT_RECEIVED).ok()? })
    })
}

/// The name of a filter.
fn label(overlay: Overlay, digest: &str, places: Places) -> String {
    format!("fan-fast {overlay} {digest} {} {}", places.underlay, places.port)
}

fn read_label(label: &str) -> Option<(Overlay, String, Places)> {
    let words: Vec<&str> = label.split(' ').collect();
    let ["fan-fast", overlay, digest, underlay, port] = words[..] else { return None };
    let places = Places { underlay: underlay.parse().ok()?, port: port.parse().ok()? };
    Some((overlay.parse().ok()?, digest.to_string(), places))
}

/// Reads a filter, if it is one of a fast path.
#[must_use]
pub(crate) fn decode(message: &TcMessage, link: &InterfaceName, direction: Direction) -> Option<Attached> {
    let (mut label, mut id) = (None, None);
    for attribute in &message.attributes {
        let TcAttribute::Options(options) = attribute else { continue };
        for option in options {
            match option {
                TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => label = read_label(name),
                TcOption::Bpf(TcFilterBpfOption::ProgId(number)) => id = Some(*number),
                _ => {}
            }
        }
    }
    let (overlay, digest, places) = label?;
    let (preference, handle) = Slot::Fan(overlay).place();
    let is_there = (message.header.info >> 16, u32::from(message.header.handle)) == (preference.into(), handle);
    is_there.then_some(Attached { overlay, link: link.clone(), direction, digest, places, id: id? })
}

/// Makes a fast path, or nothing at all.
///
/// # Errors
/// What the kernel said.
pub(crate) fn create(netlink: &Netlink, path: &FastPath) -> Result<(), KernelError> {
    let Some(spec) = &path.spec else {
        return Err(format!("fan {}, which the fast path was made for, is not known any more", path.overlay).into());
    };
    // Only what a flowtable carries is recorded.
    if !nft::has_flowtables() {
        return Err(KernelError::from("this kernel has no flowtables (CONFIG_NFT_FLOW_OFFLOAD)".to_string())
            .advise("leave 'fast' out"));
    }
    make(netlink, path, spec).inspect_err(|_| {
        // The error that left it half made is the one to tell.
        let _ = delete(netlink, path);
    })
}

fn make(netlink: &Netlink, path: &FastPath, spec: &FastSpec) -> Result<(), KernelError> {
    let port = make_port(netlink, path)?;
    let places = Places { underlay: index(&path.device)?, port };
    let digest = fast::digest_of(spec);
    let programs = capabilities::raised(&[Capability::CAP_BPF], || -> Result<_, KernelError> {
        let maps = [
            Map::create("fast_flows", MapKind::LruHash, (KEY_LEN, VALUE_LEN), FLOWS)?,
            Map::create("fast_counts", MapKind::ArrayForEachProcessor, (4, 8), COUNTS)?,
        ];
        let FastPrograms { send, record_out, receive, record_in } = fast::programs(spec, places);
        let loaded = [record_in, record_out, receive, send].map(|program| bpf::load_with(&program, &maps));
        Ok(loaded.into_iter().collect::<Result<Vec<_>, _>>()?)
    })?;
    for name in [&path.bridge, &path.device] {
        let request = Message::NewQueueDiscipline(filter::encode_clsact(index(name)?));
        match netlink.send(&request, NLM_F_CREATE | NLM_F_EXCL) {
            // Somebody's, or that of another fan.
            Err(refusal) if refusal.errno == libc::EEXIST => {}
            sent => sent?,
        }
    }
    let label = label(path.overlay, &digest, places);
    for ((name, direction), program) in path.hooks().into_iter().zip(&programs) {
        let place = Slot::Fan(path.overlay).place();
        let message = filter::encode_at(index(name)?, direction, place, Some((program, label.clone())));
        netlink.send(&Message::NewTrafficFilter(message), NLM_F_CREATE | NLM_F_EXCL)?;
    }
    Ok(())
}

/// Makes the port: one that nothing is sent to, and that learns nothing, as containers are behind other ports.
fn make_port(netlink: &Netlink, path: &FastPath) -> Result<u32, KernelError> {
    let name = path.port();
    let device = LinkDummy::new(name.as_str()).mtu(PORT_MTU).address(path_mac(path)).build();
    let rest = LinkUnspec::new_with_name(name.as_str()).alias(path.label()).build();
    let requests = vec![
        (Message::NewLink(device), NLM_F_CREATE | NLM_F_EXCL),
        (Message::SetLink(rest), 0),
        (ipv6::no_addresses(LinkUnspec::new_with_name(name.as_str())), 0),
    ];
    netlink.batch(requests).map_err(|(place, refusal)| {
        let is_unknown = place == 0 && refusal.errno == libc::EOPNOTSUPP;
        let error = KernelError::from(refusal);
        if is_unknown { error.advise("this kernel has no dummy devices; leave 'fast' out") } else { error }
    })?;
    let port = index(&name)?;
    netlink.send(&link::enslave(port, index(&path.bridge)?), 0)?;
    let settings = vec![
        InfoBridgePort::Learning(false),
        InfoBridgePort::UnicastFlood(false),
        InfoBridgePort::MulticastFlood(false),
        InfoBridgePort::BroadcastFlood(false),
    ];
    let infos = vec![LinkInfo::PortKind(InfoPortKind::Bridge), LinkInfo::PortData(InfoPortData::BridgePort(settings))];
    let link = LinkUnspec::new_with_index(port).append_extra_attribute(LinkAttribute::LinkInfo(infos));
    netlink.send(&Message::NewLink(link.build()), 0)?;
    netlink.send(&link::set_up(port, true), 0)?;
    Ok(port)
}

/// An Ethernet address that is locally administered and the fan's alone on this host.
fn path_mac(path: &FastPath) -> Vec<u8> {
    [&[0x0a, 0xfa], &path.overlay.network().network().octets()[..]].concat()
}

/// Takes away whatever there is of a fast path, first what packets go by.
///
/// # Errors
/// What the kernel said.
pub(crate) fn delete(netlink: &Netlink, path: &FastPath) -> Result<(), KernelError> {
    for (name, direction) in path.hooks().into_iter().rev() {
        let Ok(index) = index(name) else { continue };
        for attached in filters(netlink, index, direction)?.iter().filter_map(|m| decode(m, name, direction)) {
            if attached.overlay == path.overlay {
                let message =
                    filter::encode_at(index, direction, Slot::Fan(path.overlay).place(), None::<(OwnedFd, String)>);
                gone(netlink.send(&Message::DelTrafficFilter(message), 0))?;
            }
        }
    }
    for name in [&path.bridge, &path.device] {
        let Ok(index) = index(name) else { continue };
        let both = [Direction::Ingress, Direction::Egress].into_iter();
        let left = both.map(|direction| filters(netlink, index, direction)).collect::<Result<Vec<_>, _>>()?;
        if left.iter().all(Vec::is_empty) {
            gone(netlink.send(&Message::DelQueueDiscipline(filter::encode_clsact(index)), 0))?;
        }
    }
    for message in netlink.dump_links()? {
        if port_of(&message).is_some_and(|(overlay, _)| overlay == path.overlay) {
            gone(netlink.send(&link::delete(message.message.header.index), 0))?;
        }
    }
    Ok(())
}

/// The fan and the underlay's interface of a device that is a port of a fast path.
#[must_use]
pub(crate) fn port_of(LinkReply { message, alias, .. }: &LinkReply) -> Option<(Overlay, InterfaceName)> {
    // The alias alone makes no device ours: it may be that of a device of another kind.
    let is_dummy = message.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(netlink_packet_route::link::InfoKind::Dummy)),
        _ => false,
    });
    FastPath::of_label(std::str::from_utf8(alias).unwrap_or_default()).filter(|_| is_dummy)
}

/// The filters of a device; none where it has no clsact.
fn filters(netlink: &Netlink, index: u32, direction: Direction) -> Result<Vec<TcMessage>, Refusal> {
    let question = Message::GetTrafficFilter(filter::question(index, direction));
    let answers = netlink.dump(&question)?;
    let filters = answers.into_iter().filter_map(|answer| match answer {
        // The kernel tells of each preference too, without a handle.
        Message::NewTrafficFilter(message) if u32::from(message.header.handle) != 0 => Some(message),
        _ => None,
    });
    Ok(filters.collect())
}

/// What was gone already is gone.
fn gone(sent: Result<(), Refusal>) -> Result<(), Refusal> {
    match sent {
        Err(refusal) if [libc::ENODEV, libc::ENOENT, libc::EINVAL].contains(&refusal.errno) => Ok(()),
        other => other,
    }
}

fn index(name: &InterfaceName) -> Result<u32, Refusal> {
    nix::net::if_::if_nametoindex(name.os().as_os_str())
        .map_err(|errno| Refusal { errno: errno as i32, sentence: Some(format!("interface '{name}'")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_back_as_written_and_others_are_not_ours() {
        let (overlay, places) = ("250.0.0.0/8".parse().unwrap(), Places { underlay: 2, port: 7 });
        let label = label(overlay, "0123456789abcdef", places);
        assert_eq!(label, "fan-fast 250.0.0.0/8 0123456789abcdef 2 7");
        assert_eq!(read_label(&label), Some((overlay, "0123456789abcdef".into(), places)));
        for other in ["", "fan 250.0.0.0/8 0123456789abcdef", "fan-fast 250.0.0.0/8 0123456789abcdef 2 x"] {
            assert_eq!(read_label(other), None, "{other}");
        }
    }
}
