//! One step, done: an object created, changed or deleted. A step happens whole or not at all.

mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;

use caps::Capability;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage as Message;
use nix::errno::Errno;

use super::netlink::Refusal;
use super::wireguard::Wireguard;
use super::{KernelError, Machine, bpf, capabilities, dnsmasq, fast, filter, link, nft, route, socket};
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::plan::diff::{Step, still_has};
use crate::plan::host::{Host, Link, LinkKind};
use crate::plan::state::{Bridge, Filter, Object, Tunnel, TunnelKind};

impl Machine {
    /// Does one step, or several that are [nftables'](Step::is_of_nftables), in one transaction. Deleting what is gone succeeds;
    /// creating what is there fails, since the plan saw none.
    ///
    /// # Errors
    /// What the kernel or a program said.
    pub(crate) fn perform(&self, steps: &[Step]) -> Result<(), KernelError> {
        if steps.iter().all(Step::is_of_nftables) {
            return Ok(nft::carry_out(steps)?);
        }
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&self, step: &Step) -> Result<(), KernelError> {
        match step {
            Step::Create(object) => self.create(object),
            Step::Change { from, to } => self.change(from, to).inspect_err(|_| {
                // The error that left it half changed is the one to tell.
                if matches!(to, Object::Tunnel(_) | Object::Peers(_) | Object::FastPath(_)) {
                    let _ = self.change(to, from);
                }
            }),
            Step::Delete(object) => match self.delete(object) {
                Err(DeleteError::Gone) => Ok(()),
                other => other.map_err(KernelError::from),
            },
            Step::Hold(_) => Ok(()),
            Step::Remake(object) => self.change(object, object),
        }
    }

    fn create(&self, object: &Object) -> Result<(), KernelError> {
        const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
        match object {
            Object::Unreachable(overlay, table) => {
                self.netlink.send(&Message::NewRoute(route::encode_unreachable(*overlay, *table)), NEW)?;
            }
            Object::Rule(overlay, table) => {
                self.netlink.send(&Message::NewRule(route::encode_rule(*overlay, *table)), NEW)?;
            }
            Object::Bridge(bridge) => self.create_bridge(bridge)?,
            Object::Tunnel(tunnel) => self.create_tunnel(tunnel)?,
            Object::Address(address) => {
                let message = route::encode_address(address.address, index(&address.link)?);
                self.netlink.send(&Message::NewAddress(message), NEW)?;
            }
            Object::Clsact(_, link) => {
                self.netlink.send(&Message::NewQueueDiscipline(filter::encode_clsact(index(link)?)), NEW)?;
            }
            Object::Filter(filter) => self.attach(filter, NEW)?,
            Object::Firewall(..) | Object::Accept(_) => nft::carry_out(&[Step::Create(object.clone())])?,
            Object::Peers(peers) => Wireguard::connect()?.create(index(&peers.link)?, peers)?,
            Object::Up(_, link) => {
                let sent = self.netlink.send(&link::set_up(index(link)?, true), 0);
                sent.map_err(|refusal| self.cannot_go_up(link, refusal))?;
            }
            Object::Route(route) => {
                let message = route::encode_route(route, index(&route.device)?);
                self.netlink.send(&Message::NewRoute(message), NEW)?;
            }
            Object::FastPath(path) => fast::create(&self.netlink, path)?,
            Object::Dhcp(dhcp) => dnsmasq::start(dhcp)?,
        }
        Ok(())
    }

    fn change(&self, from: &Object, to: &Object) -> Result<(), KernelError> {
        match to {
            Object::Bridge(bridge) => {
                if let Object::Bridge(from) = from {
                    self.change_bridge(from, bridge)?;
                }
            }
            Object::Tunnel(tunnel) => {
                let index = index(&tunnel.name)?;
                self.netlink.send(&link::change(index, tunnel.mtu, &tunnel.label()), 0)?;
                self.tunnel_settings(tunnel, index)?;
                if let Object::Tunnel(from) = from {
                    self.undo_settings(from, tunnel, index)?;
                }
                self.port_settings(from, tunnel, index)?;
            }
            Object::Filter(filter) => self.attach(filter, NLM_F_CREATE)?,
            Object::Peers(peers) => {
                if let Object::Peers(from) = from {
                    Wireguard::connect()?.change(index(&peers.link)?, from, peers)?;
                }
            }
            Object::Route(route) => {
                let message = route::encode_route(route, index(&route.device)?);
                self.netlink.send(&Message::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)?;
            }
            Object::FastPath(path) => {
                if let Object::FastPath(from) = from {
                    fast::delete(&self.netlink, from)?;
                }
                fast::create(&self.netlink, path)?;
            }
            other => return Err(format!("{:?} cannot be changed in place", other.key().identity).into()),
        }
        Ok(())
    }

    fn delete(&self, object: &Object) -> Result<(), DeleteError> {
        match object {
            Object::Unreachable(overlay, table) => {
                self.netlink.send(&Message::DelRoute(route::encode_unreachable(*overlay, *table)), 0)?;
            }
            Object::Rule(overlay, table) => {
                self.netlink.send(&Message::DelRule(route::encode_rule(*overlay, *table)), 0)?;
            }
            Object::Bridge(Bridge { fan, .. }) => {
                // Somebody may have attached a container since the plan was made.
                let index = index(&fan.bridge)?;
                let ports = self.foreign_ports(&fan.bridge)?;
                if let Some(sentence) = still_has(&fan.bridge, &ports, ToString::to_string) {
                    return Err(DeleteError::from(sentence.to_string()));
                }
                self.netlink.send(&link::delete(index), 0)?;
            }
            Object::Tunnel(tunnel) => self.netlink.send(&link::delete(index(&tunnel.name)?), 0)?,
            Object::Address(address) => {
                let message = route::encode_address(address.address, index(&address.link)?);
                self.netlink.send(&Message::DelAddress(message), 0)?;
            }
            Object::Clsact(_, link) => {
                self.netlink.send(&Message::DelQueueDiscipline(filter::encode_clsact(index(link)?)), 0)?;
            }
            Object::Filter(filter) => self.detach(filter)?,
            Object::Firewall(..) | Object::Accept(_) => nft::carry_out(&[Step::Delete(object.clone())])?,
            Object::Peers(peers) => Wireguard::connect()?.empty(index(&peers.link)?)?,
            Object::Up(_, link) => self.netlink.send(&link::set_up(index(link)?, false), 0)?,
            Object::Route(route) => {
                let message = route::encode_route(route, index(&route.device)?);
                self.netlink.send(&Message::DelRoute(message), 0)?;
            }
            Object::FastPath(path) => fast::delete(&self.netlink, path)?,
            Object::Dhcp(dhcp) => {
                for server in dnsmasq::observe()?.iter().filter(|server| server.bridge == dhcp.bridge) {
                    capabilities::raised(&[Capability::CAP_KILL], || dnsmasq::stop(server))?;
                }
            }
        }
        Ok(())
    }

    /// The ports that a bridge has now, without our own.
    fn foreign_ports(&self, bridge: &InterfaceName) -> Result<Vec<InterfaceName>, Refusal> {
        let messages = self.netlink.dump_links()?;
        let names = link::names(&messages);
        let links = messages.iter().map(|m| link::decode(m, &names, &BTreeMap::new()));
        let ports = links.filter(|(link, _)| !link.ours && link.master.as_ref() == Some(bridge));
        Ok(ports.map(|(link, _)| link.name).collect())
    }

    /// Makes a bridge, or nothing at all.
    fn create_bridge(&self, bridge: &Bridge) -> Result<(), KernelError> {
        let name = &bridge.fan.bridge;
        self.create_device(name, link::encode_bridge(bridge))?;
        let set = || -> Result<(), KernelError> { self.bridge_settings(bridge, index(name)?, &BTreeSet::new()) };
        set().or_else(|error| self.remove_half_made(name, error))
    }

    /// Makes a bridge another one, with all that hangs on it, or leaves it as it was.
    fn change_bridge(&self, from: &Bridge, to: &Bridge) -> Result<(), KernelError> {
        // The number stays what it is when the name is another.
        let device = index(&from.fan.bridge)?;
        let turn = |from: &Bridge, to: &Bridge| -> Result<(), KernelError> {
            self.netlink.send(&link::change_bridge(device, from, to), 0)?;
            self.bridge_settings(to, device, &from.changed)
        };
        turn(from, to).inspect_err(|_| {
            // The error that left it half changed is the one to tell.
            let _ = turn(to, from);
        })
    }

    /// Makes a tunnel, or nothing at all.
    fn create_tunnel(&self, tunnel: &Tunnel) -> Result<(), KernelError> {
        let bridge = match &tunnel.kind {
            TunnelKind::Vxlan { bridge: Some(bridge), .. } => Some(index(bridge)?),
            _ => None,
        };
        self.create_device(&tunnel.name, link::encode_tunnel(tunnel, bridge)).map_err(|refusal| {
            let unknown = refusal.errno == nix::libc::EOPNOTSUPP;
            match tunnel.kind {
                TunnelKind::Ipip if unknown => {
                    KernelError::from(refusal).advise("this kernel has no ipip; use --encap vxlan, on all hosts")
                }
                TunnelKind::Wireguard { .. } if unknown => {
                    KernelError::from(refusal).advise("this kernel has no wireguard")
                }
                TunnelKind::Vxlan { .. } if unknown => KernelError::from(refusal)
                    .advise("this kernel has no vxlan with vnifilter, which Linux 5.18 brought"),
                _ => refusal.into(),
            }
        })?;
        index(&tunnel.name)
            .map_err(KernelError::from)
            .and_then(|index| {
                self.tunnel_settings(tunnel, index)?;
                self.new_port_settings(tunnel, index)
            })
            .or_else(|error| self.remove_half_made(&tunnel.name, error))
    }

    /// Makes a device and labels it. A device that was made and then refused its label or MTU is removed again; one that
    /// could not be made may be somebody else's.
    fn create_device(&self, name: &InterfaceName, requests: Vec<(Message, u16)>) -> Result<(), Refusal> {
        self.netlink
            .batch(requests)
            .or_else(|(place, refusal)| if place == 0 { Err(refusal) } else { self.remove_half_made(name, refusal) })
    }

    /// Records what is in the tables of these fans. It is tried again by the next command.
    pub(crate) fn record(overlays: &[Overlay]) {
        if !overlays.is_empty() {
            let _ = nft::record(overlays);
        }
    }

    /// Why the steps must not be taken: a device that they bring up could not have its UDP port. Asked before anything is
    /// taken down.
    #[must_use]
    pub(crate) fn taken_ports(steps: &[Step], host: &Host) -> Vec<String> {
        let opened = steps.iter().filter_map(|step| match step {
            Step::Create(Object::Tunnel(Tunnel { kind: TunnelKind::Vxlan { port, .. }, .. })) => Some(*port),
            Step::Create(Object::Peers(peers)) => Some(peers.port),
            Step::Change { from: Object::Peers(from), to: Object::Peers(to) } if from.port != to.port => Some(to.port),
            Step::Create(Object::Up(_, name)) => match host.link(name)?.kind {
                LinkKind::Vxlan { port, .. } => Some(port),
                _ => None,
            },
            _ => None,
        });
        // VXLAN devices share one socket; with those that cannot, there is a conflict.
        let is_shared = |port: u16| {
            let has = |link: &Link| link.up && matches!(link.kind, LinkKind::Vxlan { port: its, .. } if its == port);
            host.links.iter().any(has)
        };
        let ports: BTreeSet<u16> = opened.filter(|port| !is_shared(*port)).collect();
        ports.into_iter().filter(|port| !socket::is_udp_port_free(*port)).map(port_is_taken).collect()
    }

    /// Why a link does not go up. A VXLAN device opens its UDP port only then (`vxlan_open`, drivers/net/vxlan/vxlan_core.c at
    /// v6.12).
    fn cannot_go_up(&self, name: &InterfaceName, refusal: Refusal) -> KernelError {
        match self.udp_port(name) {
            Some(port) if refusal.errno == nix::libc::EADDRINUSE => {
                format!("{refusal}: {}", port_is_taken(port)).into()
            }
            _ => refusal.into(),
        }
    }

    /// The UDP port of a VXLAN device.
    fn udp_port(&self, name: &InterfaceName) -> Option<u16> {
        let messages = self.netlink.dump_links().ok()?;
        let (names, vni) = (link::names(&messages), BTreeMap::new());
        let mut links = messages.iter().map(|message| link::decode(message, &names, &vni));
        match links.find(|(link, _)| link.name == *name)?.0.kind {
            LinkKind::Vxlan { port, .. } => Some(port),
            _ => None,
        }
    }

    fn remove_half_made<E>(&self, name: &InterfaceName, error: E) -> Result<(), E> {
        // The error that made it half is the one to tell.
        let _ = index(name).map(|index| self.netlink.send(&link::delete(index), 0));
        Err(error)
    }

    /// Puts a program in its place, new or in place of another at once.
    fn attach(&self, filter: &Filter, flags: u16) -> Result<(), KernelError> {
        let held = self.held.borrow();
        let loaded;
        let wanted = &filter.program;
        let mut filter = filter.clone();
        let program = match (&wanted.program, held.get(&wanted.digest), &wanted.successor) {
            (None, Some(held), _) => held.as_fd(),
            (Some(program), ..) | (None, None, Some(program)) => {
                filter.program = program.clone().into();
                loaded = capabilities::raised(&[Capability::CAP_BPF], || bpf::load(program))?;
                loaded.as_fd()
            }
            (None, None, None) => return Err(format!("program {} is gone", wanted.digest).into()),
        };
        let message = filter::encode(&filter, index(&filter.link)?, Some(program));
        Ok(self.netlink.send(&Message::NewTrafficFilter(message), flags)?)
    }

    fn detach(&self, filter: &Filter) -> Result<(), DeleteError> {
        let message = filter::encode(filter, index(&filter.link)?, None);
        Ok(self.netlink.send(&Message::DelTrafficFilter(message), 0)?)
    }
}

/// Why a deletion did not happen.
enum DeleteError {
    /// There was nothing to delete.
    Gone,
    Other(KernelError),
}

impl From<Refusal> for DeleteError {
    fn from(refusal: Refusal) -> Self {
        match Errno::from_raw(refusal.errno) {
            // Devices, addresses, routes (ESRCH), rules and filters, each in its own words.
            Errno::ENODEV | Errno::ENXIO | Errno::EADDRNOTAVAIL | Errno::ESRCH | Errno::ENOENT => Self::Gone,
            _ => Self::Other(refusal.into()),
        }
    }
}

impl From<String> for DeleteError {
    fn from(words: String) -> Self {
        Self::Other(words.into())
    }
}

impl From<std::io::Error> for DeleteError {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<KernelError> for DeleteError {
    fn from(error: KernelError) -> Self {
        Self::Other(error)
    }
}

impl From<DeleteError> for KernelError {
    fn from(failed: DeleteError) -> Self {
        match failed {
            DeleteError::Gone => Self { words: "it is gone".into(), advice: None },
            DeleteError::Other(error) => error,
        }
    }
}

/// The index of an interface in this thread's network namespace.
fn index(name: &InterfaceName) -> Result<u32, Refusal> {
    nix::net::if_::if_nametoindex(name.os().as_os_str())
        .map_err(|errno| Refusal { errno: errno as i32, sentence: Some(format!("interface '{name}'")) })
}

fn port_is_taken(port: u16) -> String {
    let holder = socket::holder_of_udp(port);
    let (is_held, end) = match holder {
        Some(holder) => (format!("held by {holder}"), "end it, or "),
        None => ("taken".to_string(), ""),
    };
    format!("UDP port {port} is {is_held}; {end}choose another port on all hosts: --port N")
}
