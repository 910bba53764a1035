//! Settings of bridges and their ports, from and to link messages.

use std::collections::BTreeSet;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgePortState, BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind,
    LinkAttribute, LinkInfo,
};
use rtnetlink::LinkUnspec;

use crate::plan::state::{FORWARDED_GROUPS, Setting};

/// The settings in a link message that are not those of a fan.
pub(crate) fn changed(infos: &[LinkInfo]) -> BTreeSet<Setting> {
    let mut settings = BTreeSet::new();
    for info in infos {
        match info {
            LinkInfo::Data(InfoData::Bridge(list)) => settings.extend(list.iter().filter_map(of_bridge)),
            LinkInfo::PortData(InfoPortData::BridgePort(list)) => settings.extend(list.iter().filter_map(of_port)),
            _ => {}
        }
    }
    settings
}

/// The state of a port in which it forwards no frames, as bridge(8) calls it; none where it does.
pub(crate) fn stopped(infos: &[LinkInfo]) -> Option<&'static str> {
    let of_port = |info: &LinkInfo| match info {
        LinkInfo::PortData(InfoPortData::BridgePort(list)) => list.iter().find_map(stops),
        _ => None,
    };
    infos.iter().find_map(of_port)
}

fn stops(info: &InfoBridgePort) -> Option<&'static str> {
    match info {
        InfoBridgePort::State(BridgePortState::Disabled) => Some("disabled"),
        InfoBridgePort::State(BridgePortState::Listening) => Some("listening"),
        InfoBridgePort::State(BridgePortState::Learning) => Some("learning"),
        InfoBridgePort::State(BridgePortState::Blocking) => Some("blocking"),
        _ => None,
    }
}

fn of_bridge(info: &InfoBridge) -> Option<Setting> {
    match info {
        InfoBridge::VlanFiltering(true) => Some(Setting::VlanFiltering),
        InfoBridge::StpState(state) if *state != BridgeStpState::Disabled => Some(Setting::SpanningTree),
        InfoBridge::GroupFwdMask(mask) if *mask != FORWARDED_GROUPS => Some(Setting::GroupForwarding(*mask)),
        _ => None,
    }
}

fn of_port(info: &InfoBridgePort) -> Option<Setting> {
    let (setting, on) = match info {
        InfoBridgePort::Learning(on) => (Setting::Learning, on),
        InfoBridgePort::UnicastFlood(on) => (Setting::Flood, on),
        InfoBridgePort::MulticastFlood(on) => (Setting::MulticastFlood, on),
        InfoBridgePort::BroadcastFlood(on) => (Setting::BroadcastFlood, on),
        InfoBridgePort::HairpinMode(on) => (Setting::Hairpin, on),
        InfoBridgePort::Isolated(on) => (Setting::Isolated, on),
        InfoBridgePort::NeighSupress(on) => (Setting::NeighbourSuppression, on),
        InfoBridgePort::Locked(on) => (Setting::Locked, on),
        _ => return None,
    };
    (*on != setting.is_on_at_first()).then_some(setting)
}

/// A request that gives a bridge of an index other settings; none where they are the same.
pub(crate) fn encode_bridge(
    index: u32,
    from: &BTreeSet<Setting>,
    to: &BTreeSet<Setting>,
) -> Option<RouteNetlinkMessage> {
    let list: Vec<InfoBridge> = differing(from, to)
        .map(|(setting, changed)| match setting {
            Setting::SpanningTree if changed => InfoBridge::StpState(BridgeStpState::KernelStp),
            Setting::SpanningTree => InfoBridge::StpState(BridgeStpState::Disabled),
            Setting::GroupForwarding(mask) => InfoBridge::GroupFwdMask(if changed { mask } else { FORWARDED_GROUPS }),
            _ => InfoBridge::VlanFiltering(changed),
        })
        .collect();
    request(index, list.is_empty(), vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(InfoData::Bridge(list))])
}

/// A request that gives a port of an index other settings; none where they are the same.
pub(crate) fn encode_port(index: u32, from: &BTreeSet<Setting>, to: &BTreeSet<Setting>) -> Option<RouteNetlinkMessage> {
    let list: Vec<InfoBridgePort> = differing(from, to)
        .filter_map(|(setting, changed)| {
            let on = setting.is_on_at_first() != changed;
            Some(match setting {
                Setting::Learning => InfoBridgePort::Learning(on),
                Setting::Flood => InfoBridgePort::UnicastFlood(on),
                Setting::MulticastFlood => InfoBridgePort::MulticastFlood(on),
                Setting::BroadcastFlood => InfoBridgePort::BroadcastFlood(on),
                Setting::Hairpin => InfoBridgePort::HairpinMode(on),
                Setting::Isolated => InfoBridgePort::Isolated(on),
                Setting::NeighbourSuppression => InfoBridgePort::NeighSupress(on),
                Setting::Locked => InfoBridgePort::Locked(on),
                Setting::VlanFiltering | Setting::SpanningTree | Setting::GroupForwarding(_) => return None,
            })
        })
        .collect();
    let data = LinkInfo::PortData(InfoPortData::BridgePort(list.clone()));
    request(index, list.is_empty(), vec![LinkInfo::PortKind(InfoPortKind::Bridge), data])
}

/// The settings of one set alone, and whether it is the second that has them changed. Those to take back come first.
fn differing<'a>(from: &'a BTreeSet<Setting>, to: &'a BTreeSet<Setting>) -> impl Iterator<Item = (Setting, bool)> + 'a {
    let gone = from.difference(to).map(|setting| (*setting, false));
    gone.chain(to.difference(from).map(|setting| (*setting, true)))
}

/// Only a message of this type reaches the driver of a device that is there (`rtnl_changelink`, net/core/rtnetlink.c at v6.12).
fn request(index: u32, is_empty: bool, infos: Vec<LinkInfo>) -> Option<RouteNetlinkMessage> {
    let link = LinkUnspec::new_with_index(index).append_extra_attribute(LinkAttribute::LinkInfo(infos));
    (!is_empty).then(|| RouteNetlinkMessage::NewLink(link.build()))
}
