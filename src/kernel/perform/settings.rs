//! What is set on a tunnel and on a bridge once they are there.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage as Message;

use super::index;
use crate::fan::name::InterfaceName;
use crate::kernel::{KernelError, Machine, bridge, ipv6, link, route, sysctl, vni};
use crate::plan::state::{Bridge, Object, Setting, Tunnel, TunnelKind, vnis_but};

impl Machine {
    /// Sets an interface's own IPv4 setting. Where /proc/sys is read-only, as in a container, netlink sets it. Netlink
    /// comes second, because it sends no notification (`inet_set_link_af`, net/ipv4/devinet.c at v6.12).
    fn set(&self, name: &InterfaceName, setting: Ipv4Setting, value: u8) -> Result<(), KernelError> {
        match sysctl::ensure_number(&sysctl::of_interface(name, setting.name()), value) {
            Err(error) if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => {
                let request = link::ipv4_setting(index(name)?, setting as u16, value);
                self.netlink.raw(link::RTM_SETLINK, NLM_F_ACK, &request)?;
                Ok(())
            }
            written => Ok(written?),
        }
    }

    pub(super) fn tunnel_settings(&self, tunnel: &Tunnel, device: u32) -> Result<(), KernelError> {
        ipv6::change(&self.netlink, &tunnel.name, device, tunnel.ipv6)?;
        self.set(&tunnel.name, Ipv4Setting::Forwarding, tunnel.forwarding.into())?;
        if let TunnelKind::Wireguard { rp_filter, address, .. } = tunnel.kind {
            self.set(&tunnel.name, Ipv4Setting::RpFilter, rp_filter)?;
            if let Some(address) = address {
                let message = route::encode_address(address.into(), device);
                match self.netlink.send(&Message::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL) {
                    Err(refusal) if refusal.errno != nix::libc::EEXIST => return Err(refusal.into()),
                    _ => {}
                }
            }
        }
        if let TunnelKind::Vxlan { vnis, bridge, .. } = &tunnel.kind {
            if let Some(bridge) = bridge {
                self.netlink.send(&link::enslave(device, index(bridge)?), 0)?;
            }
            for vnis in vnis {
                match vni::add(&self.netlink, device, *vnis) {
                    Err(refusal) if refusal.errno != nix::libc::EEXIST => return Err(refusal.into()),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Gives a tunnel its settings as a port of its bridge, where it was one before. One that becomes a port has those of the
    /// kernel.
    pub(super) fn port_settings(&self, from: &Object, to: &Tunnel, device: u32) -> Result<(), KernelError> {
        let Object::Tunnel(Tunnel { kind: TunnelKind::Vxlan { bridge: Some(_), changed: before, .. }, .. }) = from
        else {
            return self.new_port_settings(to, device);
        };
        self.turn_port(before, to, device)
    }

    pub(super) fn new_port_settings(&self, tunnel: &Tunnel, device: u32) -> Result<(), KernelError> {
        self.turn_port(&BTreeSet::new(), tunnel, device)
    }

    fn turn_port(&self, before: &BTreeSet<Setting>, to: &Tunnel, device: u32) -> Result<(), KernelError> {
        let request = match &to.kind {
            TunnelKind::Vxlan { bridge: Some(_), changed, .. } => bridge::encode_port(device, before, changed),
            _ => None,
        };
        request.map_or(Ok(()), |request| Ok(self.netlink.send(&request, 0)?))
    }

    pub(super) fn bridge_settings(
        &self,
        bridge: &Bridge,
        device: u32,
        before: &BTreeSet<Setting>,
    ) -> Result<(), KernelError> {
        let name = &bridge.fan.bridge;
        ipv6::change(&self.netlink, name, device, bridge.ipv6)?;
        self.set(name, Ipv4Setting::Forwarding, bridge.forwarding.into())?;
        self.set(name, Ipv4Setting::SendRedirects, bridge.send_redirects.into())?;
        let request = bridge::encode_bridge(device, before, &bridge.changed);
        request.map_or(Ok(()), |request| Ok(self.netlink.send(&request, 0)?))
    }

    /// Takes a tunnel from the bridge that it is to leave, and closes it to the identifiers that it is to have no more.
    pub(super) fn undo_settings(&self, from: &Tunnel, to: &Tunnel, device: u32) -> Result<(), KernelError> {
        if let Some(address) = from.kind.address().filter(|address| to.kind.address() != Some(*address)) {
            self.netlink.send(&Message::DelAddress(route::encode_address(address.into(), device)), 0)?;
        }
        let (TunnelKind::Vxlan { vnis, bridge, .. }, TunnelKind::Vxlan { vnis: then, bridge: to, .. }) =
            (&from.kind, &to.kind)
        else {
            return Ok(());
        };
        if bridge.is_some() && to.is_none() {
            self.netlink.send(&link::enslave(device, 0), 0)?;
        }
        for vnis in vnis_but(vnis, then) {
            match vni::delete(&self.netlink, device, vnis) {
                Err(refusal) if refusal.errno != nix::libc::ENOENT => return Err(refusal.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// An interface's own IPv4 settings, by their numbers (`IPV4_DEVCONF_*`, linux/ip.h).
#[derive(Clone, Copy)]
enum Ipv4Setting {
    Forwarding = 1,
    SendRedirects = 6,
    RpFilter = 8,
}

impl Ipv4Setting {
    /// Its file under /proc/sys/net/ipv4/conf.
    fn name(self) -> &'static str {
        match self {
            Self::Forwarding => "forwarding",
            Self::SendRedirects => "send_redirects",
            Self::RpFilter => "rp_filter",
        }
    }
}
