//! Which way one packet is routed: a question to the kernel.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType};

use super::netlink::Refusal;
use super::{KernelError, Machine};
use crate::fan::name::InterfaceName;
use crate::plan::host::{Flow, NoRoute, Routing};

/// What is asked about a flow; `from` is the index of the interface it came in by, `by` of the one it must leave by.
fn question(flow: &Flow, from: Option<u32>, by: Option<u32>, flags: RouteFlags) -> Message {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = 32;
    message.header.source_prefix_length = 32;
    message.header.flags = flags;
    message.attributes = vec![
        RouteAttribute::Destination(RouteAddress::Inet(flow.destination)),
        RouteAttribute::Source(RouteAddress::Inet(flow.source)),
    ];
    message.attributes.extend(from.map(RouteAttribute::Iif));
    message.attributes.extend(by.map(RouteAttribute::Oif));
    Message::GetRoute(message)
}

/// What an answer says.
#[derive(Default)]
struct RouteReply {
    kind: RouteType,
    table: u32,
    route: Option<Ipv4Network>,
    protocol: u8,
    device: Option<u32>,
    gateway: Option<Ipv4Addr>,
    mtu: Option<u32>,
}

impl RouteReply {
    fn read(message: &RouteMessage) -> Self {
        let header = &message.header;
        let mut answer =
            Self { kind: header.kind, table: header.table.into(), protocol: header.protocol.into(), ..Self::default() };
        let mut destination = Ipv4Addr::UNSPECIFIED;
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
                RouteAttribute::Table(table) => answer.table = *table,
                RouteAttribute::Oif(index) => answer.device = Some(*index),
                RouteAttribute::Gateway(RouteAddress::Inet(address)) => answer.gateway = Some(*address),
                RouteAttribute::Metrics(metrics) => {
                    answer.mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        answer.route = Ipv4Network::new(destination, header.destination_prefix_length).ok();
        answer
    }
}

impl From<Refusal> for NoRoute {
    fn from(refusal: Refusal) -> Self {
        Self { errno: refusal.errno, words: refusal.to_string() }
    }
}

impl Machine {
    /// Asks which way a packet goes. That takes two questions: what the kernel decides, and which route it found.
    ///
    /// # Errors
    /// The outer one is an error of the connection; the inner one is the kernel's answer that there is no route.
    pub(crate) fn route(&self, flow: &Flow) -> Result<Result<Routing, NoRoute>, KernelError> {
        self.route_among(&self.names()?, flow)
    }

    /// The same for a caller that has many questions and knows the names of the interfaces.
    pub(crate) fn route_among(
        &self,
        names: &BTreeMap<u32, InterfaceName>,
        flow: &Flow,
    ) -> Result<Result<Routing, NoRoute>, KernelError> {
        let index = |name: &InterfaceName| names.iter().find(|(_, found)| *found == name).map(|(index, _)| *index);
        let numbered = |interface: &Option<InterfaceName>| match interface {
            None => Ok(None),
            Some(name) => match index(name) {
                None => Err(KernelError::from(format!("interface '{name}' is gone"))),
                found => Ok(found),
            },
        };
        let (from, by) = (numbered(&flow.forwarded_from)?, numbered(&flow.bound_to)?);
        let ask = |flags| -> Result<RouteReply, Refusal> {
            let answers = self.netlink.ask(&question(flow, from, by, flags))?;
            let read = answers.iter().find_map(|answer| match answer {
                Message::NewRoute(message) => Some(RouteReply::read(message)),
                _ => None,
            });
            Ok(read.unwrap_or_default())
        };
        let both = ask(RouteFlags::LookupTable).and_then(|decided| Ok((decided, ask(RouteFlags::FibMatch)?)));
        let (decided, found) = match both {
            Ok(both) => both,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        let device = decided.device.and_then(|index| names.get(&index).cloned());
        let Some(device) = device else {
            return Err(KernelError::from(format!("the way to {} leads to no interface", flow.destination)));
        };
        Ok(Ok(Routing {
            local: decided.kind == RouteType::Local,
            device,
            gateway: decided.gateway,
            table: decided.table,
            route: found.route.unwrap_or_else(|| flow.destination.into()),
            protocol: found.protocol,
            mtu: decided.mtu.or(found.mtu),
        }))
    }
}
