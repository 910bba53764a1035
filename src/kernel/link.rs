//! Bridges and tunnels, to and from link messages.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet, AfSpecUnspec, InetDevConf, InfoData, InfoIpTunnel, InfoKind, InfoVxlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::{LinkBridge, LinkIpIp, LinkMessageBuilder, LinkUnspec, LinkVxlan, LinkWireguard};

use super::netlink::{self, LINK_HEADER_LEN, NLA_F_NESTED};
use super::{bridge, fast, ipv6};
use crate::fan::name::InterfaceName;
use crate::fan::text::escape;
use crate::fan::{Fan, Mac};
use crate::plan::host::{Counters, Link, LinkKind, PortFacts};
use crate::plan::state::{Bridge, FORWARDED_GROUPS, Ipv6, Object, Owner, Setting, Tunnel, TunnelKind, Vnis};

/// The MTU that a device is born with, the smallest that IPv4 allows (RFC 791).
const MTU_AT_BIRTH: u32 = 68;

/// The requests that make a device, label it, set its MTU (in bytes) and keep IPv6 from giving it addresses, to be sent in one datagram: the kernel takes no
/// alias while creating (`rtnl_newlink_create`, net/core/rtnetlink.c at v6.1), and holds on to a bridge's MTU while
/// ports come and go only if it was changed after creation (`br_change_mtu`, net/bridge/br_device.c at v6.1).
fn create(
    name: &InterfaceName,
    device: LinkMessage,
    (mtu, ipv6): (u32, Option<Ipv6>),
    label: &str,
) -> Vec<(RouteNetlinkMessage, u16)> {
    let rest = LinkUnspec::new_with_name(name.as_str()).mtu(mtu).alias(label).build();
    let mut requests = vec![
        (RouteNetlinkMessage::NewLink(device), NLM_F_CREATE | NLM_F_EXCL),
        (RouteNetlinkMessage::SetLink(rest), 0),
    ];
    if ipv6.is_some_and(|ipv6| !ipv6.automatic) {
        requests.push((ipv6::no_addresses(LinkUnspec::new_with_name(name.as_str())), 0));
    }
    requests
}

/// A new bridge.
#[must_use]
pub fn encode_bridge(bridge: &Bridge) -> Vec<(RouteNetlinkMessage, u16)> {
    let name = &bridge.fan.bridge;
    let device = LinkBridge::new(name.as_str()).address(bridge.mac.0.to_vec()).mtu(MTU_AT_BIRTH);
    let device = device.group_fwd_mask(FORWARDED_GROUPS).build();
    create(name, device, (bridge.mtu, bridge.ipv6), &bridge.fan.label())
}

/// A new tunnel. `bridge` is the index of the bridge that a VXLAN device is a port of.
#[must_use]
pub fn encode_tunnel(tunnel: &Tunnel, bridge: Option<u32>) -> Vec<(RouteNetlinkMessage, u16)> {
    let name = tunnel.name.as_str();
    let device = match &tunnel.kind {
        TunnelKind::Ipip => LinkIpIp::new(name).collect_metadata(true).mtu(MTU_AT_BIRTH).build(),
        TunnelKind::Wireguard { .. } => LinkWireguard::new(name).mtu(MTU_AT_BIRTH).build(),
        TunnelKind::Vxlan { port, sources, mac, .. } => {
            // The device's own forwarding table is never asked, so it need not learn.
            let device = LinkMessageBuilder::<LinkVxlan>::new(name)
                .collect_metadata(true)
                .vnifilter(true)
                .learning(false)
                .port(*port)
                .port_range(sources.0, sources.1)
                .address(mac.0.to_vec())
                .mtu(MTU_AT_BIRTH);
            match bridge {
                Some(index) => device.controller(index).build(),
                None => device.build(),
            }
        }
    };
    create(&tunnel.name, device, (tunnel.mtu, tunnel.ipv6), &tunnel.label())
}

/// A request that changes MTU and label of a tunnel.
#[must_use]
pub(crate) fn change(index: u32, mtu: u32, label: &str) -> RouteNetlinkMessage {
    RouteNetlinkMessage::SetLink(LinkUnspec::new_with_index(index).mtu(mtu).alias(label).build())
}

/// A request that makes a bridge another one. A name and an Ethernet address that it has already are not asked for: a device
/// that is up takes no name, be it its own (`dev_change_name`, net/core/dev.c at v6.1).
#[must_use]
pub(crate) fn change_bridge(index: u32, from: &Bridge, to: &Bridge) -> RouteNetlinkMessage {
    let mut link = LinkUnspec::new_with_index(index).mtu(to.mtu).alias(to.fan.label());
    if from.mac != to.mac {
        link = link.address(to.mac.0.to_vec());
    }
    if from.fan.bridge != to.fan.bridge {
        link = link.name(to.fan.bridge.as_str());
    }
    RouteNetlinkMessage::SetLink(link.build())
}

/// A request that makes a device a port of the bridge of an index; 0 is none.
#[must_use]
pub(crate) fn enslave(index: u32, bridge: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::SetLink(LinkUnspec::new_with_index(index).controller(bridge).build())
}

/// A request that brings a device up or down.
#[must_use]
pub(crate) fn set_up(index: u32, up: bool) -> RouteNetlinkMessage {
    let link = LinkUnspec::new_with_index(index);
    RouteNetlinkMessage::SetLink(if up { link.up() } else { link.down() }.build())
}

/// A request that removes a device.
#[must_use]
pub(crate) fn delete(index: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::DelLink(LinkUnspec::new_with_index(index).build())
}

/// The names of devices by their index.
#[must_use]
pub fn names(links: &[netlink::LinkReply]) -> BTreeMap<u32, InterfaceName> {
    let entries = links.iter().map(|link| (link.message.header.index, link.name.clone()));
    entries.collect()
}

/// What a link message says that we care for.
#[derive(Default)]
struct LinkFacts {
    mtu: u32,
    mac: Option<Mac>,
    master: Option<u32>,
    lower: Option<u32>,
    /// Whether what it stands on is in another network namespace.
    is_elsewhere: bool,
    kind: Option<InfoKind>,
    data: Option<InfoData>,
    conf: Option<InetDevConf>,
    ipv6: Option<Ipv6>,
    changed: BTreeSet<Setting>,
    stopped: Option<&'static str>,
    counters: Counters,
}

impl LinkFacts {
    fn read(message: &LinkMessage) -> Self {
        let mut facts = Self::default();
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => facts.mtu = *mtu,
                LinkAttribute::Address(address) => facts.mac = address.as_slice().try_into().ok().map(Mac),
                LinkAttribute::Controller(index) => facts.master = Some(*index),
                LinkAttribute::Link(index) => facts.lower = Some(*index),
                LinkAttribute::LinkNetNsId(_) => facts.is_elsewhere = true,
                LinkAttribute::LinkInfo(infos) => {
                    facts.changed = bridge::changed(infos);
                    facts.stopped = bridge::stopped(infos);
                    for info in infos {
                        match info {
                            LinkInfo::Kind(kind) => facts.kind = Some(kind.clone()),
                            LinkInfo::Data(data) => facts.data = Some(data.clone()),
                            _ => {}
                        }
                    }
                }
                LinkAttribute::AfSpecUnspec(families) => {
                    facts.conf = families.iter().find_map(device_configuration);
                    facts.ipv6 = ipv6::decode(families);
                }
                LinkAttribute::Stats64(stats) => {
                    facts.counters = Counters { received: stats.rx_packets, sent: stats.tx_packets, refused: 0 };
                }
                _ => {}
            }
        }
        facts
    }

    /// The UDP ports that a VXLAN device sends from, the first and the last.
    fn source_ports(&self) -> (u16, u16) {
        let Some(InfoData::Vxlan(infos)) = &self.data else {
            return (0, 0);
        };
        let range = infos.iter().find_map(|info| match info {
            InfoVxlan::PortRange(range) => Some(*range),
            _ => None,
        });
        range.unwrap_or_default()
    }

    fn kind(&self, loopback: bool) -> LinkKind {
        match (&self.kind, &self.data) {
            (Some(InfoKind::IpIp), Some(InfoData::IpTunnel(infos))) => {
                let address = |pick: fn(&InfoIpTunnel) -> Option<IpAddr>| match infos.iter().find_map(pick) {
                    Some(IpAddr::V4(address)) => address,
                    _ => Ipv4Addr::UNSPECIFIED,
                };
                if infos.contains(&InfoIpTunnel::CollectMetadata) {
                    LinkKind::IpipExternal
                } else {
                    LinkKind::Ipip {
                        local: address(|info| if let InfoIpTunnel::Local(a) = info { Some(*a) } else { None }),
                        remote: address(|info| if let InfoIpTunnel::Remote(a) = info { Some(*a) } else { None }),
                    }
                }
            }
            (Some(InfoKind::Vxlan), Some(InfoData::Vxlan(infos))) => LinkKind::Vxlan {
                sources: self.source_ports(),
                port: infos
                    .iter()
                    .find_map(|info| if let InfoVxlan::Port(port) = info { Some(*port) } else { None })
                    .unwrap_or_default(),
                shares_port: infos.contains(&InfoVxlan::CollectMetadata(true))
                    && infos.contains(&InfoVxlan::Vnifilter(true)),
            },
            (Some(InfoKind::Wireguard), _) => LinkKind::Wireguard,
            (Some(InfoKind::Vrf), _) => LinkKind::Vrf,
            (Some(InfoKind::Bridge), _) => self.mac.map_or(LinkKind::Other, |mac| LinkKind::Bridge { mac }),
            _ if loopback => LinkKind::Loopback,
            _ => LinkKind::Other,
        }
    }
}

fn device_configuration(family: &AfSpecUnspec) -> Option<InetDevConf> {
    let AfSpecUnspec::Inet(specifics) = family else {
        return None;
    };
    specifics.iter().find_map(|specific| if let AfSpecInet::DevConf(conf) = specific { Some(*conf) } else { None })
}

/// The link that a message describes, and the objects of ours that it is: a labelled device, and its being up.
/// `vnis` tells the network identifiers that a VXLAN device filters for, by the device's index.
#[must_use]
pub fn decode(
    reply: &netlink::LinkReply,
    names: &BTreeMap<u32, InterfaceName>,
    vnis: &BTreeMap<u32, Vnis>,
) -> (Link, Vec<Object>) {
    let netlink::LinkReply { message, name, alias, other_names } = reply;
    let facts = LinkFacts::read(message);
    // What is no text is no label of ours.
    let alias = std::str::from_utf8(alias).unwrap_or_default();
    let [up, carrier] = [LinkFlags::Up, LinkFlags::LowerUp].map(|flag| message.header.flags.contains(flag));
    let kind = match fast::port_of(reply) {
        Some((overlay, device)) => LinkKind::FastPort { overlay, device },
        None => facts.kind(message.header.flags.contains(LinkFlags::Loopback)),
    };
    let master = facts.master.and_then(|index| names.get(&index).cloned());
    let conf = facts.conf.unwrap_or_default();
    let device = if facts.kind == Some(InfoKind::Bridge) {
        let both = Fan::from_label(name, alias).zip(facts.mac);
        both.map(|(fan, mac)| {
            Object::Bridge(Bridge {
                fan,
                mac,
                mtu: facts.mtu,
                forwarding: conf.forwarding != 0,
                send_redirects: conf.send_redirects != 0,
                ipv6: facts.ipv6,
                changed: facts.changed.clone(),
            })
        })
    } else {
        // The alias alone makes no device ours: it may be that of a device of another kind.
        let owner = Tunnel::owner_of_label(alias).filter(|_| name.is_plain());
        let tunnel = match (owner, &kind, facts.mac) {
            (Some(Owner::Shared), LinkKind::IpipExternal, _) => Some((Owner::Shared, TunnelKind::Ipip)),
            (Some(owner @ Owner::Fan(_)), LinkKind::Wireguard, _) => {
                let rp_filter = conf.rp_filter.try_into().unwrap_or_default();
                Tunnel::epoch_of_label(alias)
                    .map(|epoch| (owner, TunnelKind::Wireguard { epoch, rp_filter, address: None }))
            }
            (Some(owner @ Owner::Fan(_)), LinkKind::Vxlan { port, sources, shares_port: true }, Some(mac)) => {
                let kind = TunnelKind::Vxlan {
                    port: *port,
                    sources: *sources,
                    vnis: vnis.get(&message.header.index).cloned().unwrap_or_default(),
                    mac,
                    bridge: master.clone(),
                    changed: facts.changed.clone(),
                };
                Some((owner, kind))
            }
            _ => None,
        };
        tunnel.map(|(owner, kind)| {
            Object::Tunnel(Tunnel {
                owner,
                name: name.clone(),
                mtu: facts.mtu,
                forwarding: conf.forwarding != 0,
                ipv6: facts.ipv6,
                kind,
            })
        })
    };
    let mut objects: Vec<Object> = device.into_iter().collect();
    let ours = objects.first().map(Object::owner);
    if let (Some(owner), true) = (ours, up) {
        objects.push(Object::Up(owner, name.clone()));
    }
    let link = Link {
        name: name.clone(),
        other_names: other_names.iter().map(|name| escape(name)).collect(),
        up,
        carrier,
        mtu: facts.mtu,
        ours: ours.is_some() || matches!(kind, LinkKind::FastPort { .. }),
        is_ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        master,
        port: PortFacts { changed: facts.changed, stopped: facts.stopped },
        lower: facts.lower.filter(|_| !facts.is_elsewhere).and_then(|index| names.get(&index).cloned()),
        kind,
        addresses: Vec::new(),
        ipv6: facts.ipv6,
        ipv6_addresses: Vec::new(),
        counters: facts.counters,
        programs: Vec::new(),
    };
    (link, objects)
}
/// The request that changes a link (linux/rtnetlink.h).
pub(crate) const RTM_SETLINK: u16 = 19;

/// The payload that sets one of a link's own IPv4 settings, by its number (`IPV4_DEVCONF_*`, linux/ip.h).
#[must_use]
pub(crate) fn ipv4_setting(index: u32, setting: u16, value: u8) -> Vec<u8> {
    const AF_SPEC: u16 = 26; // IFLA_AF_SPEC, linux/if_link.h
    const AF_INET: u16 = 2;
    const CONF: u16 = 1; // IFLA_INET_CONF
    let mut attribute = u32::from(value).to_ne_bytes().to_vec();
    for kind in [setting, CONF | NLA_F_NESTED, AF_INET | NLA_F_NESTED, AF_SPEC | NLA_F_NESTED] {
        let len = u16::try_from(attribute.len() + 4).expect("a few bytes");
        attribute = [len.to_ne_bytes().to_vec(), kind.to_ne_bytes().to_vec(), attribute].concat();
    }
    let mut request = vec![0; LINK_HEADER_LEN];
    request[4..8].copy_from_slice(&index.to_ne_bytes());
    request.extend(attribute);
    request
}
