//! What is: our objects, and the facts that planning needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::tc::TcMessage;
use nix::net::if_::if_nametoindex;

use super::nexthop::Hops;
use super::wireguard::{Device, Wireguard};
use super::{
    KernelError, Machine, Scope, capabilities, dnsmasq, exec, fast, features, filter, foreign, ipv6, link, neighbour,
    netlink, nexthop, nft, route, rules, secret, sysctl, vni,
};
use crate::fan::Fan;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::fan::options::Options;
use crate::plan::desired;
use crate::plan::foreign::Foreign;
use crate::plan::host::{Host, LinkKind};
use crate::plan::state::{Bridge, Direction, Object, Owner, PROTOCOL, Peers, State, Tunnel, TunnelKind};

impl Machine {
    /// Reads what we own, and the facts that planning needs.
    ///
    /// # Errors
    /// What the kernel or a program said.
    pub(crate) fn observe(&self, scope: Scope) -> Result<(State, Host), KernelError> {
        let mut objects = Vec::new();
        let mut host = Host { privileged: capabilities::is_privileged(), ..Host::default() };
        let messages = self.netlink.dump_links()?;
        let links = self.links(&messages, &mut objects, &mut host)?;
        self.routes(scope, &links, &mut objects, &mut host)?;
        if scope != Scope::Fans {
            self.addresses(&links, &mut objects, &mut host)?;
            self.ipv6(&links, &mut objects, &mut host)?;
            self.rules(&mut objects)?;
            self.filters(&links, &mut objects, &mut host)?;
            self.foreign(&links, &messages, &mut host)?;
            host.linux = features::observe();
            host.ip_forward = sysctl::read(sysctl::IP_FORWARD)?;
            host.unprivileged_ports = sysctl::number(sysctl::UNPRIVILEGED_PORTS).ok();
            host.dnsmasq = exec::find("dnsmasq").is_some();
            let servers = dnsmasq::observe()?;
            let servers: Vec<Object> = servers.iter().map(|server| recognise(server, &objects)).collect();
            objects.extend(servers);
            if host.privileged {
                Self::keys(&mut objects, &mut host);
                let firewall = nft::observe(&fans(&objects))?;
                host.linux.has_nf_tables = Some(firewall.is_some());
                let firewall = firewall.unwrap_or_default();
                host.forward_chains = firewall.forward.chains(exec::find("dockerd").is_some());
                host.docker_user = firewall.forward.beside;
                host.namesakes = firewall.namesakes;
                objects.extend(firewall.objects);
            }
        }
        let mut state = objects.into_iter().map(|object| (object.key(), object)).collect();
        desired::recognise(&mut state, &host);
        Ok((state, host))
    }

    fn links(
        &self,
        messages: &[netlink::LinkReply],
        objects: &mut Vec<Object>,
        host: &mut Host,
    ) -> Result<BTreeMap<u32, InterfaceName>, KernelError> {
        let names = link::names(messages);
        let mut decoded: Vec<_> = messages.iter().map(|m| link::decode(m, &names, &BTreeMap::new())).collect();
        if decoded.iter().any(|(link, _)| link.ours && matches!(link.kind, LinkKind::Vxlan { .. })) {
            let vnis = vni::list(&self.netlink)?;
            decoded = messages.iter().map(|m| link::decode(m, &names, &vnis)).collect();
        }
        for (link, found) in decoded {
            host.links.push(link);
            objects.extend(found);
        }
        Ok(names)
    }

    fn addresses(
        &self,
        names: &BTreeMap<u32, InterfaceName>,
        objects: &mut Vec<Object>,
        host: &mut Host,
    ) -> Result<(), KernelError> {
        for message in self.netlink.dump_addresses()? {
            let Some((index, address)) = route::decode_address(&message) else {
                continue;
            };
            let Some(link) = names.get(&index).and_then(|name| host.links.iter_mut().find(|link| link.name == *name))
            else {
                continue;
            };
            link.addresses.push(address);
            for object in objects.iter_mut() {
                if let Object::Tunnel(tunnel) = object {
                    route::note_address(tunnel, &link.name, address.address);
                }
            }
            let fan = objects.iter().find_map(|object| match object {
                Object::Bridge(bridge) if bridge.fan.bridge == link.name => Some(&bridge.fan),
                _ => None,
            });
            objects.extend(fan.and_then(|fan| route::own_address(fan, address.address)));
        }
        Ok(())
    }

    /// Reads whether our devices have IPv6 addresses, and whose.
    fn ipv6(
        &self,
        names: &BTreeMap<u32, InterfaceName>,
        objects: &mut [Object],
        host: &mut Host,
    ) -> Result<(), KernelError> {
        if host.links.iter().all(|link| link.ipv6.is_none()) {
            return Ok(());
        }
        host.ipv6 = Some(ipv6::host());
        if !host.links.iter().any(|link| link.ours) {
            return Ok(());
        }
        for message in ipv6::addresses(&self.netlink)? {
            let Some(name) = names.get(&message.header.index) else {
                continue;
            };
            let Some(link) = host.links.iter_mut().find(|link| link.ours && link.name == *name) else {
                continue;
            };
            if !ipv6::is_automatic(&message) {
                link.ipv6_addresses.extend(ipv6::address(&message));
                continue;
            }
            let of_device = objects.iter_mut().filter_map(|object| match object {
                Object::Bridge(bridge) if bridge.fan.bridge == *name => bridge.ipv6.as_mut(),
                Object::Tunnel(tunnel) if tunnel.name == *name => tunnel.ipv6.as_mut(),
                _ => None,
            });
            of_device.for_each(|ipv6| ipv6.automatic = true);
        }
        Ok(())
    }

    /// Reads the keys of our WireGuard devices, and the files that they are computed from.
    fn keys(objects: &mut Vec<Object>, host: &mut Host) {
        for fan in fans(objects) {
            read_key(&fan.options, host);
        }
        let devices: Vec<(InterfaceName, Overlay, u32)> = objects
            .iter()
            .filter_map(|object| match object {
                Object::Tunnel(Tunnel {
                    owner: Owner::Fan(overlay),
                    name,
                    kind: TunnelKind::Wireguard { epoch, .. },
                    ..
                }) => Some((name.clone(), *overlay, *epoch)),
                _ => None,
            })
            .collect();
        if devices.is_empty() {
            return;
        }
        secret::keep_out_of_dumps();
        // A device that goes meanwhile has no keys.
        let Ok(wireguard) = Wireguard::connect() else { return };
        for (link, overlay, epoch) in devices {
            let found = if_nametoindex(link.as_str()).ok().and_then(|index| wireguard.device(index).ok());
            let Some(Device { private: Some(private), port, peers }) = found else { continue };
            let heard = peers.values().map(|(peer, heard)| (peer.clone(), *heard)).collect();
            host.heard.insert(link.clone(), heard);
            let peers = peers.into_iter().map(|(key, (peer, _))| (key, peer)).collect();
            let fan = fans(objects).into_iter().find(|fan| fan.overlay() == overlay);
            let endpoints = fan.map(|fan| fan.options.endpoints.clone()).unwrap_or_default();
            objects.push(Object::Peers(Peers { overlay, link, epoch, private, port, endpoints, hosts: peers }));
        }
    }

    /// Reads routes: ours only where no others are asked for, since a router has a million of them.
    fn routes(
        &self,
        scope: Scope,
        names: &BTreeMap<u32, InterfaceName>,
        objects: &mut Vec<Object>,
        host: &mut Host,
    ) -> Result<(), KernelError> {
        let devices = devices(objects, host);
        let messages = self.netlink.dump_routes((scope != Scope::All).then_some(RouteProtocol::Other(PROTOCOL)))?;
        let hops =
            if messages.iter().any(nexthop::is_by_number) { nexthop::list(&self.netlink)? } else { Hops::default() };
        for message in messages {
            match route::decode_route(&message, names, &devices, &hops) {
                Some(route::Decoded::Own(object)) => objects.push(object),
                Some(route::Decoded::Foreign(route)) => host.routes.push(route),
                None => {}
            }
        }
        Ok(())
    }

    fn rules(&self, objects: &mut Vec<Object>) -> Result<(), KernelError> {
        objects.extend(self.netlink.dump_rules()?.iter().filter_map(route::decode_rule));
        Ok(())
    }

    /// Reads clsact and filters of our devices. All filters of ours are on tunnels.
    fn filters(
        &self,
        names: &BTreeMap<u32, InterfaceName>,
        objects: &mut Vec<Object>,
        host: &mut Host,
    ) -> Result<(), KernelError> {
        let devices: Vec<_> = objects
            .iter()
            .filter_map(|object| match object {
                Object::Tunnel(Tunnel { owner, name, .. }) => Some((name.clone(), Some(*owner))),
                Object::Bridge(bridge) => Some((bridge.fan.bridge.clone(), None)),
                _ => None,
            })
            .collect();
        // Programs of fast paths are on interfaces of the underlay too.
        let underlays = host.links.iter().filter_map(|link| match &link.kind {
            LinkKind::FastPort { device, .. } => Some(device.clone()),
            _ => None,
        });
        let underlays: BTreeSet<_> =
            fans(objects).into_iter().map(|fan| fan.device.clone()).chain(underlays).map(|name| (name, None)).collect();
        let devices: Vec<_> = devices.into_iter().chain(underlays).collect();
        if devices.is_empty() {
            return Ok(());
        }
        let mut attached = Vec::new();
        let qdiscs = self.netlink.dump(&Message::GetQueueDiscipline(TcMessage::default()))?;
        let hooks: Vec<_> = qdiscs
            .iter()
            .filter_map(|message| match message {
                Message::NewQueueDiscipline(message) => filter::decode_hook(message),
                _ => None,
            })
            .collect();
        for (name, owner) in devices {
            let Some(hook) = hooks.iter().find(|hook| names.get(&hook.index) == Some(&name)) else {
                continue;
            };
            if let Some(owner) = owner.filter(|_| hook.is_clsact) {
                objects.push(Object::Clsact(owner, name.clone()));
            }
            let Some(link) = host.links.iter_mut().find(|link| link.name == name) else {
                continue;
            };
            if link.ours {
                link.counters.refused = hook.refused;
            }
            for direction in [Direction::Ingress, Direction::Egress] {
                if direction == Direction::Egress && !hook.is_clsact {
                    continue;
                }
                let question = Message::GetTrafficFilter(filter::question(hook.index, direction));
                for answer in self.netlink.dump(&question)? {
                    let Message::NewTrafficFilter(message) = answer else {
                        continue;
                    };
                    let own = owner.and_then(|owner| filter::decode(&message, &name, owner, direction));
                    if let Some((object, program)) = own {
                        objects.push(object);
                        link.programs.push(program);
                    } else if let Some(found) = fast::decode(&message, &name, direction) {
                        attached.push(found);
                    } else if link.ours && u32::from(message.header.handle) != 0 {
                        // The kernel tells of each preference too, without a handle.
                        host.foreign.push(foreign::filter(&message, &name, direction));
                    }
                }
            }
        }
        objects.extend(fast::observed(&attached, names, host, &fans(objects)));
        host.fast_programs = attached.iter().filter(|found| found.counts_all()).map(|a| (a.overlay, a.id)).collect();
        Ok(())
    }

    /// Reads what others put on our devices beside filters.
    fn foreign(
        &self,
        names: &BTreeMap<u32, InterfaceName>,
        messages: &[netlink::LinkReply],
        host: &mut Host,
    ) -> Result<(), KernelError> {
        let ours = |name: &InterfaceName| host.links.iter().any(|link| link.ours && link.name == *name);
        let devices: Vec<_> = messages
            .iter()
            .filter_map(|message| Some((message, names.get(&message.message.header.index).filter(|name| ours(name))?)))
            .collect();
        if devices.is_empty() {
            return Ok(());
        }
        let mut found = Vec::new();
        for (message, name) in devices {
            found.extend(foreign::xdp(&message.message, name));
            if host.privileged {
                found.extend(foreign::tcx(message.message.header.index, name));
            }
        }
        let macs = rules::macs(messages);
        let entries = neighbour::entries(&self.netlink, AddressFamily::Bridge)?;
        let entries = entries.iter().filter_map(|entry| foreign::entry(entry, names, &macs));
        found.extend(entries.filter(|entry| matches!(entry, Foreign::Entry { bridge, .. } if ours(bridge))));
        host.foreign.extend(found);
        Ok(())
    }
}

/// Reads the key file of a fan that is encrypted.
pub(crate) fn read_key(options: &Options, host: &mut Host) {
    let is_read = |file: &&str| host.keys.contains_key(*file) && host.tables.contains_key(options.table_file());
    let Some(file) = options.key_file().filter(|file| !is_read(file)) else { return };
    let read = secret::read(Path::new(file));
    let keys = read.map(|found| found.keys().to_vec()).map_err(|why| why.to_string());
    let is_issued = keys.as_ref().is_ok_and(|keys| keys.iter().any(|key| key.holder().is_some()));
    host.keys.insert(file.to_string(), keys);
    let table = options.table_file();
    if is_issued && !host.tables.contains_key(table) {
        let read = secret::read_table(Path::new(table)).map_err(|why| why.to_string());
        host.tables.insert(table.to_string(), read);
    }
}

/// A server that was found, as an object. One that does not serve is none that was started as it should be.
fn recognise(server: &dnsmasq::Server, objects: &[Object]) -> Object {
    let bridges = objects.iter().filter_map(|object| match object {
        Object::Bridge(bridge) => Some(bridge),
        _ => None,
    });
    let arguments: &[String] = if server.serves { &server.arguments } else { &[] };
    Object::Dhcp(desired::recognise_dhcp(server.overlay, &server.bridge, arguments, bridges))
}

/// The devices that routes of ours lead to.
fn devices(objects: &[Object], host: &Host) -> route::Devices {
    let fans = fans(objects).into_iter().map(|fan| (fan.bridge.clone(), fan.clone()));
    let tunnels = objects.iter().filter_map(|object| match object {
        Object::Tunnel(tunnel) => Some(tunnel.name.clone()),
        _ => None,
    });
    let strays = host.links.iter().filter(|link| !link.ours).filter_map(|link| match link.kind {
        LinkKind::Bridge { mac } => Some((link.name.clone(), mac.slice_of_bridge()?)),
        _ => None,
    });
    route::Devices { fans: fans.collect(), tunnels: tunnels.collect(), strays: strays.collect() }
}

/// The fans that are up, by their bridges.
fn fans(objects: &[Object]) -> Vec<&Fan> {
    objects
        .iter()
        .filter_map(|object| match object {
            Object::Bridge(Bridge { fan, .. }) => Some(fan),
            _ => None,
        })
        .collect()
}
