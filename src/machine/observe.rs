//! What is: our objects, and the facts that planning needs.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::tc::TcMessage;
use rtnetlink::RouteMessageBuilder;

use super::{Error, Machine, Scope, dnsmasq, filter, kernel, link, nft, privilege, route, sysctl, tool, vni};
use crate::desire;
use crate::fan::Fan;
use crate::host::{Host, LinkKind};
use crate::name::InterfaceName;
use crate::object::{Bridge, Direction, Object, State, Tunnel};

impl Machine {
    /// Reads what we own, and the facts that planning needs.
    ///
    /// # Errors
    /// What the kernel or a program said.
    pub fn observe(&self, scope: Scope) -> Result<(State, Host), Error> {
        let mut objects = Vec::new();
        let mut host = Host {
            privileged: privilege::is_privileged(),
            ..Host::default()
        };
        let links = self.links(&mut objects, &mut host)?;
        self.routes(&links, &mut objects, &mut host)?;
        if scope == Scope::All {
            self.addresses(&links, &mut objects, &mut host)?;
            self.rules(&mut objects)?;
            self.filters(&links, &mut objects, &mut host)?;
            host.linux = kernel::observe();
            host.ip_forward = sysctl::read(sysctl::IP_FORWARD)?;
            host.unprivileged_ports = sysctl::unprivileged_ports();
            host.dnsmasq = tool::find("dnsmasq").is_some();
            let servers = dnsmasq::observe()?;
            let servers: Vec<Object> = servers.iter().map(|server| recognise(server, &objects)).collect();
            objects.extend(servers);
            if host.privileged {
                let firewall = nft::observe(&fans(&objects))?;
                host.linux.has_nf_tables = Some(firewall.is_some());
                let firewall = firewall.unwrap_or_default();
                host.forward_chains = firewall.forward.chains(tool::find("dockerd").is_some());
                host.docker_user = firewall.forward.beside;
                host.namesakes = firewall.namesakes;
                objects.extend(firewall.objects);
            }
        }
        let mut state = objects.into_iter().map(|object| (object.key(), object)).collect();
        desire::recognise(&mut state, &host);
        Ok((state, host))
    }

    fn links(&self, objects: &mut Vec<Object>, host: &mut Host) -> Result<BTreeMap<u32, InterfaceName>, Error> {
        let messages = self.netlink.dump_links()?;
        let names = link::names(&messages);
        let mut decoded: Vec<_> = messages
            .iter()
            .map(|m| link::decode(m, &names, &BTreeMap::new()))
            .collect();
        if decoded
            .iter()
            .any(|(link, _)| link.ours && matches!(link.kind, LinkKind::Vxlan { .. }))
        {
            let vni = vni::list(&self.netlink)?;
            decoded = messages.iter().map(|m| link::decode(m, &names, &vni)).collect();
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
    ) -> Result<(), Error> {
        for message in self.netlink.dump_addresses()? {
            let Some((index, address)) = route::decode_address(&message) else {
                continue;
            };
            let Some(link) = names
                .get(&index)
                .and_then(|name| host.links.iter_mut().find(|link| link.name == *name))
            else {
                continue;
            };
            link.addresses.push(address);
            let fan = objects.iter().find_map(|object| match object {
                Object::Bridge(bridge) if bridge.fan.bridge == link.name => Some(&bridge.fan),
                _ => None,
            });
            objects.extend(fan.and_then(|fan| route::own_address(fan, address.address)));
        }
        Ok(())
    }

    fn routes(
        &self,
        names: &BTreeMap<u32, InterfaceName>,
        objects: &mut Vec<Object>,
        host: &mut Host,
    ) -> Result<(), Error> {
        let devices = devices(objects, host);
        let question = RouteMessageBuilder::<Ipv4Addr>::new().build();
        for answer in self.netlink.dump(&Message::GetRoute(question))? {
            let Message::NewRoute(message) = answer else { continue };
            match route::decode_route(&message, names, &devices) {
                Some(route::Decoded::Own(object)) => objects.push(object),
                Some(route::Decoded::Foreign(route)) => host.routes.push(route),
                None => {}
            }
        }
        Ok(())
    }

    fn rules(&self, objects: &mut Vec<Object>) -> Result<(), Error> {
        objects.extend(self.netlink.dump_rules()?.iter().filter_map(route::decode_rule));
        Ok(())
    }

    /// Reads clsact and filters of our tunnels.
    fn filters(
        &self,
        names: &BTreeMap<u32, InterfaceName>,
        objects: &mut Vec<Object>,
        host: &mut Host,
    ) -> Result<(), Error> {
        let tunnels: Vec<_> = objects
            .iter()
            .filter_map(|object| match object {
                Object::Tunnel(Tunnel { owner, name, .. }) => Some((name.clone(), *owner)),
                _ => None,
            })
            .collect();
        if tunnels.is_empty() {
            return Ok(());
        }
        let qdiscs = self.netlink.dump(&Message::GetQueueDiscipline(TcMessage::default()))?;
        let clsacts: Vec<_> = qdiscs
            .iter()
            .filter_map(|message| match message {
                Message::NewQueueDiscipline(message) => filter::decode_clsact(message),
                _ => None,
            })
            .collect();
        for (name, owner) in tunnels {
            let clsact = clsacts.iter().find(|(index, _)| names.get(index) == Some(&name));
            let Some((index, refused)) = clsact else { continue };
            objects.push(Object::Clsact(owner, name.clone()));
            let Some(link) = host.links.iter_mut().find(|link| link.name == name) else {
                continue;
            };
            link.counters.refused = *refused;
            for direction in [Direction::Ingress, Direction::Egress] {
                let question = Message::GetTrafficFilter(filter::question(*index, direction));
                for answer in self.netlink.dump(&question)? {
                    let Message::NewTrafficFilter(message) = answer else {
                        continue;
                    };
                    if let Some((object, program)) = filter::decode(&message, &name, owner, direction) {
                        objects.push(object);
                        link.programs.push(program);
                    }
                }
            }
        }
        Ok(())
    }
}

/// A server that was found, as an object. One that does not serve is none that was started as it should be.
fn recognise(server: &dnsmasq::Server, objects: &[Object]) -> Object {
    let bridges = objects.iter().filter_map(|object| match object {
        Object::Bridge(bridge) => Some(bridge),
        _ => None,
    });
    let arguments: &[String] = if server.serves { &server.arguments } else { &[] };
    Object::Dhcp(desire::recognise_dhcp(
        server.overlay,
        &server.bridge,
        arguments,
        bridges,
    ))
}

/// The devices that routes of ours lead to.
fn devices(objects: &[Object], host: &Host) -> route::Devices {
    let fans = fans(objects).into_iter().map(|fan| (fan.bridge.clone(), fan.clone()));
    let tunnels = objects.iter().filter_map(|object| match object {
        Object::Tunnel(tunnel) => Some(tunnel.name.clone()),
        _ => None,
    });
    let strays = host
        .links
        .iter()
        .filter(|link| !link.ours)
        .filter_map(|link| match link.kind {
            LinkKind::Bridge { mac } => Some((link.name.clone(), mac.slice_of_bridge()?)),
            _ => None,
        });
    route::Devices {
        fans: fans.collect(),
        tunnels: tunnels.collect(),
        strays: strays.collect(),
    }
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
