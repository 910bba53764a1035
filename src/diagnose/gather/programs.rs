//! Filters and programs of others on interfaces that are not the fan's: what they do with a packet is not known.

use std::collections::BTreeMap;

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::tc::TcMessage;

use crate::fan::name::InterfaceName;
use crate::kernel::netlink::{LinkReply, Netlink};
use crate::kernel::{KernelError, filter, foreign};
use crate::plan::foreign::Foreign;
use crate::plan::host::Host;
use crate::plan::state::Direction;

/// At most so many interfaces are looked at.
const INTERFACES: usize = 256;

/// Reads them.
///
/// # Errors
/// What the kernel said.
pub(crate) fn observe(
    netlink: &Netlink,
    messages: &[LinkReply],
    names: &BTreeMap<u32, InterfaceName>,
    host: &Host,
) -> Result<Vec<Foreign>, KernelError> {
    let is_ours = |name: &InterfaceName| host.links.iter().any(|link| link.ours && link.name == *name);
    let mut found = Vec::new();
    let disciplines = netlink.dump(&Message::GetQueueDiscipline(TcMessage::default()))?;
    let hooks: Vec<filter::Hook> = disciplines
        .iter()
        .filter_map(|message| match message {
            Message::NewQueueDiscipline(message) => filter::decode_hook(message),
            _ => None,
        })
        .collect();
    for message in messages.iter().map(|reply| &reply.message).take(INTERFACES) {
        let index = message.header.index;
        let Some(name) = names.get(&index).filter(|name| !is_ours(name)) else { continue };
        found.extend(foreign::xdp(message, name));
        if host.privileged {
            found.extend(foreign::tcx(index, name));
        }
        let Some(hook) = hooks.iter().find(|hook| hook.index == index) else { continue };
        for direction in [Direction::Ingress, Direction::Egress] {
            if direction == Direction::Egress && !hook.is_clsact {
                continue;
            }
            for answer in netlink.dump(&Message::GetTrafficFilter(filter::question(index, direction)))? {
                if let Message::NewTrafficFilter(message) = answer
                    && u32::from(message.header.handle) != 0
                {
                    found.push(foreign::filter(&message, name, direction));
                }
            }
        }
    }
    Ok(found)
}
