//! In what an object that is there is not as it should be: each difference with a stable code and in words.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use serde::ser::SerializeStruct;

use crate::fan::name::InterfaceName;
use crate::plan::commands::describe;
use crate::plan::diff::Step;
use crate::plan::firewall::Deviation;
use crate::plan::state::{Bridge, Direction, Ipv6, Object, Setting, Tunnel, TunnelKind};

/// One difference between an object that is there and the one that should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// A device has another MTU in bytes than it should have.
    Mtu {
        /// The device.
        device: InterfaceName,
        /// What it has.
        is: u32,
        /// What it should have.
        should: u32,
    },
    /// A device forwards no packets.
    Forwarding(InterfaceName),
    /// A device of WireGuard has another reverse path filter than the loose one.
    ReversePath(InterfaceName, u8),
    /// A bridge sends redirects.
    Redirects(InterfaceName),
    /// A device takes part in IPv6.
    Ipv6(InterfaceName, Ipv6),
    /// A setting of a bridge or port was changed.
    Setting(InterfaceName, Setting),
    /// A tunnel is no port of its bridge.
    NoPort(InterfaceName),
    /// Another program runs: the digest of that one.
    Program(InterfaceName, Direction, String),
    /// A device of WireGuard has other keys or peers than are computed from the key file.
    Peers {
        /// The device.
        device: InterfaceName,
        /// How many peers it has.
        is: usize,
        /// How many it should have.
        should: usize,
    },
    /// A fan's tables are not as they were made.
    Table(Deviation),
    /// Something else.
    Other(String),
}

impl Difference {
    /// A stable word for it.
    #[must_use]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Mtu { .. } => "mtu",
            Self::Forwarding(_) => "forwarding",
            Self::ReversePath(..) => "rp-filter",
            Self::Redirects(_) => "redirects",
            Self::Ipv6(..) => "ipv6",
            Self::Setting(_, setting) => setting.code(),
            Self::NoPort(_) => "no-port",
            Self::Program(..) => "program",
            Self::Peers { .. } => "peers",
            Self::Table(deviation) => deviation.code(),
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mtu { device, is, should } => write!(f, "'{device}' has mtu {is} and should have {should}"),
            Self::Forwarding(device) => write!(f, "'{device}' forwards no packets"),
            Self::ReversePath(device, is) => write!(f, "'{device}' has rp_filter {is} and should have 2"),
            Self::Redirects(device) => write!(f, "'{device}' sends redirects"),
            Self::Ipv6(device, ipv6) => write!(f, "'{device}' takes IPv6 {}", taken(*ipv6)),
            Self::Setting(device, setting) => write!(f, "'{device}' has been changed: {setting}"),
            Self::NoPort(device) => write!(f, "'{device}' is no port of its bridge"),
            Self::Program(device, direction, digest) => {
                write!(f, "'{device}' runs another {} program ({digest})", direction.as_str())
            }
            Self::Peers { device, is, should } if is == should => {
                write!(f, "'{device}' has another key, port or peer than the key file gives it")
            }
            Self::Peers { device, is, should } => write!(f, "'{device}' has {is} peers and should have {should}"),
            Self::Table(deviation) => write!(f, "nftables: {deviation}"),
            Self::Other(what) => write!(f, "{what} is not as it should be"),
        }
    }
}

/// What a device takes part in of IPv6, in words.
fn taken(ipv6: Ipv6) -> String {
    let parts = [
        (ipv6.accept_ra, "router advertisements (accept_ra)"),
        (ipv6.accept_redirects, "redirects (accept_redirects)"),
        (ipv6.automatic, "addresses that the kernel chooses (addrgenmode)"),
    ];
    let parts: Vec<&str> = parts.iter().filter(|(does, _)| *does).map(|(_, what)| *what).collect();
    parts.join(", ")
}

/// With its code, for JSON.
impl Serialize for Difference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Difference", 2)?;
        fields.serialize_field("code", self.code())?;
        fields.serialize_field("text", &self.to_string())?;
        fields.end()
    }
}

/// In what an object differs that a step changes.
#[must_use]
pub(crate) fn of(step: &Step) -> Vec<Difference> {
    match step {
        Step::Change { from, to } => between(from, to),
        _ => Vec::new(),
    }
}

/// In what an object is not what it should be; at least one where they are not equal.
#[must_use]
pub(crate) fn between(is: &Object, should: &Object) -> Vec<Difference> {
    let mut found = match (is, should) {
        (Object::Bridge(is), Object::Bridge(should)) => of_bridge(is, should),
        (Object::Tunnel(is), Object::Tunnel(should)) => of_tunnel(is, should),
        (Object::Filter(is), Object::Filter(should)) if is != should => {
            vec![Difference::Program(is.link.clone(), is.direction, is.program.digest.clone())]
        }
        (Object::Peers(is), Object::Peers(should)) if is != should => {
            vec![Difference::Peers { device: should.link.clone(), is: is.hosts.len(), should: should.hosts.len() }]
        }
        (Object::Firewall(_, is), Object::Firewall(..)) => {
            is.deviations().iter().cloned().map(Difference::Table).collect()
        }
        _ => Vec::new(),
    };
    if found.is_empty() && is != should {
        found.push(Difference::Other(describe(should)));
    }
    found
}

fn of_bridge(is: &Bridge, should: &Bridge) -> Vec<Difference> {
    let device = &should.fan.bridge;
    let mut found = of_device(device, (is.mtu, is.ipv6), (should.mtu, should.ipv6));
    found.extend((!is.forwarding).then(|| Difference::Forwarding(device.clone())));
    found.extend(is.send_redirects.then(|| Difference::Redirects(device.clone())));
    found.extend(settings(device, &is.changed));
    found
}

fn of_tunnel(is: &Tunnel, should: &Tunnel) -> Vec<Difference> {
    let device = &should.name;
    let mut found = of_device(device, (is.mtu, is.ipv6), (should.mtu, should.ipv6));
    found.extend((!is.forwarding).then(|| Difference::Forwarding(device.clone())));
    let filter = is.kind.rp_filter().filter(|_| is.kind.rp_filter() != should.kind.rp_filter());
    found.extend(filter.map(|filter| Difference::ReversePath(device.clone(), filter)));
    if let TunnelKind::Vxlan { bridge, changed, .. } = &is.kind {
        found.extend(bridge.is_none().then(|| Difference::NoPort(device.clone())));
        found.extend(settings(device, changed));
    }
    found
}

fn of_device(
    device: &InterfaceName,
    (mtu, ipv6): (u32, Option<Ipv6>),
    (should, wanted): (u32, Option<Ipv6>),
) -> Vec<Difference> {
    let device = || device.clone();
    let is = mtu;
    let mtu = (is != should).then(|| Difference::Mtu { device: device(), is, should });
    let ipv6 = ipv6.filter(|ipv6| wanted.is_some_and(|wanted| wanted != *ipv6));
    let ipv6 = ipv6.map(|ipv6| Difference::Ipv6(device(), ipv6));
    mtu.into_iter().chain(ipv6).collect()
}

fn settings(device: &InterfaceName, changed: &BTreeSet<Setting>) -> impl Iterator<Item = Difference> {
    changed.iter().map(|setting| Difference::Setting(device.clone(), *setting))
}
