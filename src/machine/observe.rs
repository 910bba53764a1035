//! What is: our objects, and the facts that planning needs.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::tc::TcMessage;
use rtnetlink::RouteMessageBuilder;

use super::{Error, Machine, Scope, dnsmasq, filter, ipv6, link, nft, privilege, route, sysctl, tool, vni};
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
            self.ipv6(&links, &mut objects, &mut host)?;
            self.rules(&mut objects)?;
            self.filters(&links, &mut objects, &mut host)?;
            host.ip_forward = sysctl::read(sysctl::IP_FORWARD)?;
            host.dnsmasq = tool::find("dnsmasq").is_some();
            objects.extend(dnsmasq::observe()?.into_iter().map(|server| Object::Dhcp(server.dhcp)));
            if host.privileged {
                let firewall = nft::observe(&fans(&objects))?;
                host.forward_chains = firewall.forward.chains(tool::find("dockerd").is_some());
                host.docker_user = firewall.forward.beside;
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
            .filter_map(|m| link::decode(m, &names, &BTreeMap::new()))
            .collect();
        if decoded
            .iter()
            .any(|(link, _)| link.ours && matches!(link.kind, LinkKind::Vxlan { .. }))
        {
            let vni = vni::list(&self.netlink)?;
            decoded = messages.iter().filter_map(|m| link::decode(m, &names, &vni)).collect();
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
        let mut question = AddressMessage::default();
        question.header.family = AddressFamily::Inet;
        for answer in self.netlink.dump(&Message::GetAddress(question))? {
            let Message::NewAddress(message) = answer else { continue };
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

    /// Reads whether our devices have IPv6 addresses, and whose.
    fn ipv6(&self, names: &BTreeMap<u32, InterfaceName>, objects: &mut [Object], host: &mut Host) -> Result<(), Error> {
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

    fn routes(
        &self,
        names: &BTreeMap<u32, InterfaceName>,
        objects: &mut Vec<Object>,
        host: &mut Host,
    ) -> Result<(), Error> {
        let bridges = fans(objects)
            .into_iter()
            .map(|fan| (fan.bridge.clone(), fan.overlay()))
            .collect();
        let question = RouteMessageBuilder::<Ipv4Addr>::new().build();
        for answer in self.netlink.dump(&Message::GetRoute(question))? {
            let Message::NewRoute(message) = answer else { continue };
            match route::decode_route(&message, names, &bridges) {
                Some(route::Decoded::Own(object)) => objects.push(object),
                Some(route::Decoded::Foreign(route)) => host.routes.push(route),
                None => {}
            }
        }
        Ok(())
    }

    fn rules(&self, objects: &mut Vec<Object>) -> Result<(), Error> {
        let mut question = RuleMessage::default();
        question.header.family = AddressFamily::Inet;
        for answer in self.netlink.dump(&Message::GetRule(question))? {
            let Message::NewRule(message) = answer else { continue };
            objects.extend(route::decode_rule(&message));
        }
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
