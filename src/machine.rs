//! The door to the machine: [`observe`](Machine::observe) what is, [`perform`](Machine::perform) one step.
//!
//! Nothing above this module knows of netlink, bpf(2), files or processes; nothing in it decides. Each file below turns
//! one kind of object into the kernel's messages and back, and only this one sends them. Asynchrony ends here: one
//! current-thread runtime inside, plain functions outside.

pub mod bpf;
pub mod dnsmasq;
pub mod filter;
pub mod link;
pub mod netlink;
pub mod nft;
pub mod route;
pub mod sysctl;
pub mod tool;
pub mod vni;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::tc::TcMessage;
use nix::errno::Errno;
use rtnetlink::RouteMessageBuilder;

use crate::mapping::Overlay;
use crate::name::InterfaceName;
use crate::object::{Bridge, Direction, Filter, Host, LinkKind, Object, State, Tunnel, TunnelKind};
use crate::plan::Step;

use netlink::{Netlink, Refusal};

/// Why observing or a step failed: the kernel's or the program's own words, and what to do where we know.
#[derive(Debug)]
pub struct Error {
    words: String,
    advice: Option<&'static str>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)?;
        self.advice.map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

impl std::error::Error for Error {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let advice = (refusal.errno == nix::libc::EPERM).then_some("run it as root");
        Self {
            words: refusal.to_string(),
            advice,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self {
            words: error.to_string(),
            advice: None,
        }
    }
}

impl From<String> for Error {
    fn from(words: String) -> Self {
        Self { words, advice: None }
    }
}

impl From<bpf::LoadError> for Error {
    fn from(error: bpf::LoadError) -> Self {
        Self {
            words: error.to_string(),
            advice: None,
        }
    }
}

impl Error {
    fn advise(self, advice: &'static str) -> Self {
        Self {
            advice: Some(advice),
            ..self
        }
    }
}

/// How much of the machine to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Interfaces and addresses: enough to name the fans.
    Links,
    /// Everything a plan needs.
    All,
}

/// A connection to the kernel, in the network namespace of the thread that made it.
pub struct Machine {
    netlink: Netlink,
    /// Programs that a filter ran before this process replaced or removed it, by digest, so that a step can be taken back
    /// without knowing their instructions.
    replaced: RefCell<HashMap<String, OwnedFd>>,
}

impl Machine {
    /// Connects.
    ///
    /// # Errors
    /// When there is no netlink.
    pub fn connect() -> Result<Self, Error> {
        Ok(Self {
            netlink: Netlink::connect()?,
            replaced: RefCell::default(),
        })
    }

    /// Reads what we own, and the facts that planning needs.
    ///
    /// # Errors
    /// What the kernel or a program said.
    pub fn observe(&self, scope: Scope) -> Result<(State, Host), Error> {
        let mut objects = Vec::new();
        let mut host = Host {
            privileged: is_privileged(),
            ..Host::default()
        };
        let links = self.links(&mut objects, &mut host)?;
        self.addresses(&links, &mut objects, &mut host)?;
        if scope == Scope::All {
            self.routes(&links, &mut objects, &mut host)?;
            self.rules(&mut objects)?;
            self.filters(&links, &mut objects, &mut host)?;
            host.ip_forward = sysctl::read(sysctl::IP_FORWARD)?;
            host.dnsmasq = tool::find("dnsmasq").is_some();
            objects.extend(dnsmasq::observe()?.into_iter().map(|server| Object::Dhcp(server.dhcp)));
            if host.privileged {
                let firewall = nft::observe()?;
                objects.extend(firewall.objects);
                host.forward_chain = firewall.forward_chain;
            }
        }
        Ok((objects.into_iter().map(|object| (object.key(), object)).collect(), host))
    }

    fn links(&self, objects: &mut Vec<Object>, host: &mut Host) -> Result<BTreeMap<u32, InterfaceName>, Error> {
        let answers = self.netlink.dump(Message::GetLink(LinkMessage::default()))?;
        let messages: Vec<LinkMessage> = answers
            .into_iter()
            .filter_map(|m| {
                if let Message::NewLink(link) = m {
                    Some(link)
                } else {
                    None
                }
            })
            .collect();
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
        for answer in self.netlink.dump(Message::GetAddress(question))? {
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

    fn routes(
        &self,
        names: &BTreeMap<u32, InterfaceName>,
        objects: &mut Vec<Object>,
        host: &mut Host,
    ) -> Result<(), Error> {
        let bridges: BTreeMap<InterfaceName, Overlay> = objects
            .iter()
            .filter_map(|object| match object {
                Object::Bridge(Bridge { fan, .. }) => Some((fan.bridge.clone(), fan.overlay())),
                _ => None,
            })
            .collect();
        let question = RouteMessageBuilder::<std::net::Ipv4Addr>::new().build();
        for answer in self.netlink.dump(Message::GetRoute(question))? {
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
        for answer in self.netlink.dump(Message::GetRule(question))? {
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
        let qdiscs = self.netlink.dump(Message::GetQueueDiscipline(TcMessage::default()))?;
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
                for answer in self.netlink.dump(question)? {
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

    /// Does one step. Deleting what is gone succeeds; creating what is there fails, since the plan saw none.
    ///
    /// # Errors
    /// What the kernel or a program said.
    pub fn perform(&self, step: &Step) -> Result<(), Error> {
        match step {
            Step::Create(object) => self.create(object),
            Step::Change { to, .. } => self.change(to),
            Step::Delete(object) => match self.delete(object) {
                Err(Failed::Gone) => Ok(()),
                other => other.map_err(Error::from),
            },
        }
    }

    fn create(&self, object: &Object) -> Result<(), Error> {
        const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
        match object {
            Object::Unreachable(overlay, table) => {
                self.netlink
                    .send(Message::NewRoute(route::encode_unreachable(*overlay, *table)), NEW)?;
            }
            Object::Rule(overlay, table) => {
                self.netlink
                    .send(Message::NewRule(route::encode_rule(*overlay, *table)), NEW)?;
            }
            Object::Bridge(bridge) => self.create_bridge(bridge)?,
            Object::Tunnel(tunnel) => self.create_tunnel(tunnel)?,
            Object::Address(address) => {
                let message = route::encode_address(address, index(&address.link)?);
                self.netlink.send(Message::NewAddress(message), NEW)?;
            }
            Object::Clsact(_, link) => {
                self.netlink
                    .send(Message::NewQueueDiscipline(filter::encode_clsact(index(link)?)), NEW)?;
            }
            Object::Filter(filter) => self.attach(filter, NEW)?,
            Object::Firewall(overlay, ruleset) => nft::create_table(*overlay, ruleset)?,
            Object::Accept(accept) => nft::create_accept(accept)?,
            Object::Up(_, link) => self
                .netlink
                .send(link::set_up(index(link)?, true), 0)
                .map_err(|refusal| {
                    let taken = refusal.errno == nix::libc::EADDRINUSE;
                    let error = Error::from(refusal);
                    if taken {
                        error.advise("its UDP port is taken; choose another on all hosts: --port N")
                    } else {
                        error
                    }
                })?,
            Object::Route(route) => {
                let message = route::encode_route(route, index(&route.device)?);
                self.netlink.send(Message::NewRoute(message), NEW)?;
            }
            Object::Dhcp(dhcp) => dnsmasq::start(dhcp)?,
        }
        Ok(())
    }

    fn change(&self, to: &Object) -> Result<(), Error> {
        match to {
            Object::Bridge(bridge) => {
                let index = index(&bridge.fan.bridge)?;
                self.netlink
                    .send(link::change(index, bridge.mtu, &bridge.fan.label()), 0)?;
                bridge_settings(bridge)?;
            }
            Object::Tunnel(tunnel) => {
                let index = index(&tunnel.name)?;
                self.netlink.send(link::change(index, tunnel.mtu, &tunnel.label()), 0)?;
                self.tunnel_settings(tunnel, index)?;
            }
            Object::Filter(filter) => self.attach(filter, NLM_F_CREATE)?,
            Object::Firewall(overlay, ruleset) => nft::create_table(*overlay, ruleset)?,
            Object::Route(route) => {
                let message = route::encode_route(route, index(&route.device)?);
                self.netlink
                    .send(Message::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)?;
            }
            other => return Err(format!("{:?} cannot be changed in place", other.key().identity).into()),
        }
        Ok(())
    }

    fn delete(&self, object: &Object) -> Result<(), Failed> {
        match object {
            Object::Unreachable(overlay, table) => {
                self.netlink
                    .send(Message::DelRoute(route::encode_unreachable(*overlay, *table)), 0)?;
            }
            Object::Rule(overlay, table) => {
                self.netlink
                    .send(Message::DelRule(route::encode_rule(*overlay, *table)), 0)?;
            }
            Object::Bridge(Bridge { fan, .. }) => self.netlink.send(link::delete(index(&fan.bridge)?), 0)?,
            Object::Tunnel(tunnel) => self.netlink.send(link::delete(index(&tunnel.name)?), 0)?,
            Object::Address(address) => {
                let message = route::encode_address(address, index(&address.link)?);
                self.netlink.send(Message::DelAddress(message), 0)?;
            }
            Object::Clsact(_, link) => {
                self.netlink
                    .send(Message::DelQueueDiscipline(filter::encode_clsact(index(link)?)), 0)?;
            }
            Object::Filter(filter) => self.detach(filter)?,
            Object::Firewall(overlay, _) => nft::delete_table(*overlay)?,
            Object::Accept(accept) => nft::delete_accept(accept)?,
            Object::Up(_, link) => self.netlink.send(link::set_up(index(link)?, false), 0)?,
            Object::Route(route) => {
                let message = route::encode_route(route, index(&route.device)?);
                self.netlink.send(Message::DelRoute(message), 0)?;
            }
            Object::Dhcp(dhcp) => {
                for server in dnsmasq::observe()?
                    .iter()
                    .filter(|server| server.dhcp.bridge == dhcp.bridge)
                {
                    dnsmasq::stop(server)?;
                }
            }
        }
        Ok(())
    }

    /// Makes a bridge, or nothing at all.
    fn create_bridge(&self, bridge: &Bridge) -> Result<(), Error> {
        let (device, label) = link::encode_bridge(bridge);
        let name = &bridge.fan.bridge;
        self.netlink.batch(link::create(name, device, &label))?;
        bridge_settings(bridge).or_else(|error| self.remove_half_made(name, error))
    }

    /// Makes a tunnel, or nothing at all.
    fn create_tunnel(&self, tunnel: &Tunnel) -> Result<(), Error> {
        let bridge = match &tunnel.kind {
            TunnelKind::Vxlan {
                bridge: Some(bridge), ..
            } => Some(index(bridge)?),
            _ => None,
        };
        let (device, label) = link::encode_tunnel(tunnel, bridge);
        self.netlink
            .batch(link::create(&tunnel.name, device, &label))
            .map_err(|refusal| {
                let unknown = refusal.errno == nix::libc::EOPNOTSUPP;
                match tunnel.kind {
                    TunnelKind::Ipip if unknown => {
                        Error::from(refusal).advise("this kernel has no ipip; use --encap vxlan, on all hosts")
                    }
                    TunnelKind::Vxlan { .. } if unknown => {
                        Error::from(refusal).advise("this kernel has no vxlan with vnifilter, which Linux 5.18 brought")
                    }
                    _ => refusal.into(),
                }
            })?;
        index(&tunnel.name)
            .map_err(Error::from)
            .and_then(|index| self.tunnel_settings(tunnel, index))
            .or_else(|error| self.remove_half_made(&tunnel.name, error))
    }

    fn tunnel_settings(&self, tunnel: &Tunnel, device: u32) -> Result<(), Error> {
        sysctl::write(&sysctl::of_interface(&tunnel.name, "forwarding"), tunnel.forwarding)?;
        if let TunnelKind::Vxlan { vni, bridge, .. } = &tunnel.kind {
            if let Some(bridge) = bridge {
                self.netlink.send(link::enslave(device, index(bridge)?), 0)?;
            }
            if let Some(vni) = vni {
                match vni::add(&self.netlink, device, *vni) {
                    Err(refusal) if refusal.errno != nix::libc::EEXIST => return Err(refusal.into()),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn remove_half_made(&self, name: &InterfaceName, error: Error) -> Result<(), Error> {
        // The error that made it half is the one to tell.
        let _ = index(name).map(|index| self.netlink.send(link::delete(index), 0));
        Err(error)
    }

    /// Puts a program in its place, new or in place of another at once.
    fn attach(&self, filter: &Filter, flags: u16) -> Result<(), Error> {
        self.keep_program_of(filter)?;
        let kept = self.replaced.borrow();
        let loaded;
        let program = match (&filter.program.program, kept.get(&filter.program.digest)) {
            (Some(program), _) => {
                loaded = bpf::load(program)?;
                loaded.as_fd()
            }
            (None, Some(kept)) => kept.as_fd(),
            (None, None) => return Err(format!("program {} is gone", filter.program.digest).into()),
        };
        let message = filter::encode(filter, index(&filter.link)?, Some(program));
        Ok(self.netlink.send(Message::NewTrafficFilter(message), flags)?)
    }

    fn detach(&self, filter: &Filter) -> Result<(), Failed> {
        self.keep_program_of(filter)?;
        let message = filter::encode(filter, index(&filter.link)?, None);
        Ok(self.netlink.send(Message::DelTrafficFilter(message), 0)?)
    }

    /// Keeps the program that runs in a filter's place now, if we do not know its instructions.
    fn keep_program_of(&self, place: &Filter) -> Result<(), Refusal> {
        let question = Message::GetTrafficFilter(filter::question(index(&place.link)?, place.direction));
        for answer in self.netlink.dump(question)? {
            let Message::NewTrafficFilter(message) = answer else {
                continue;
            };
            let Some((Object::Filter(found), attached)) =
                filter::decode(&message, &place.link, place.owner, place.direction)
            else {
                continue;
            };
            if found.slot == place.slot {
                // Without the privilege to take hold of it, replacing it fails too, and says so better.
                if let Ok(program) = bpf::fd_by_id(attached.id) {
                    self.replaced.borrow_mut().insert(found.program.digest, program);
                }
            }
        }
        Ok(())
    }
}

/// Why a deletion did not happen.
enum Failed {
    /// There was nothing to delete.
    Gone,
    Other(Error),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        match Errno::from_raw(refusal.errno) {
            // Devices, addresses, routes (ESRCH), rules and filters, each in its own words.
            Errno::ENODEV | Errno::ENXIO | Errno::EADDRNOTAVAIL | Errno::ESRCH | Errno::ENOENT => Self::Gone,
            _ => Self::Other(refusal.into()),
        }
    }
}

impl From<String> for Failed {
    fn from(words: String) -> Self {
        Self::Other(words.into())
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Gone => Self {
                words: "it is gone".into(),
                advice: None,
            },
            Failed::Other(error) => error,
        }
    }
}

/// The index of an interface in this thread's network namespace.
fn index(name: &InterfaceName) -> Result<u32, Refusal> {
    nix::net::if_::if_nametoindex(name.as_str()).map_err(|errno| Refusal {
        errno: errno as i32,
        sentence: Some(format!("interface '{name}'")),
    })
}

fn bridge_settings(bridge: &Bridge) -> Result<(), Error> {
    let name = &bridge.fan.bridge;
    sysctl::write(&sysctl::of_interface(name, "forwarding"), bridge.forwarding)?;
    sysctl::write(&sysctl::of_interface(name, "send_redirects"), bridge.send_redirects)?;
    Ok(())
}

/// Lets packets pass between any two interfaces of the host: asked for by NAT, and never taken back.
///
/// # Errors
/// When the setting may not be written.
pub fn enable_ip_forward() -> Result<(), Error> {
    Ok(sysctl::write(sysctl::IP_FORWARD, true)?)
}

/// Whether this process may change the network (`CAP_NET_ADMIN` in its effective set).
#[must_use]
pub fn is_privileged() -> bool {
    const CAP_NET_ADMIN: u32 = 12;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = effective
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .unwrap_or_default();
    set >> CAP_NET_ADMIN & 1 == 1
}
