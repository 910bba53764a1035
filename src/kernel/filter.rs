//! clsact and the BPF filters on it, to and from traffic control messages.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption, TcStats2,
};

use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::plan::host::AttachedProgram;
use crate::plan::state::{Direction, Filter, Object, Owner, ProgramRef, Slot};

/// `ETH_P_ALL` in network byte order, as the kernel wants it in the lower half of `tcm_info`.
const ALL_PROTOCOLS: u16 = 0x0003_u16.to_be();

fn parent(direction: Direction) -> TcHandle {
    let minor = match direction {
        Direction::Ingress => TcHandle::MIN_INGRESS,
        Direction::Egress => TcHandle::MIN_EGRESS,
    };
    TcHandle { major: 0xffff, minor }
}

/// The name of a filter: by it, filter and program are known again.
#[must_use]
pub fn label(slot: Slot, digest: &str) -> String {
    match slot {
        Slot::Fan(overlay) => format!("fan {overlay} {digest}"),
        Slot::Refuse => format!("fan refuse {digest}"),
    }
}

fn read_label(label: &str) -> Option<(Slot, String)> {
    let (whose, digest) = label.strip_prefix("fan ")?.split_once(' ')?;
    let slot = if whose == "refuse" { Slot::Refuse } else { Slot::Fan(whose.parse::<Overlay>().ok()?) };
    Some((slot, digest.to_string()))
}

fn header(index: u32, parent: TcHandle) -> TcMessage {
    // The kernel keeps interface indices positive (int ifindex, linux/netdevice.h).
    let mut message = TcMessage::with_index(i32::try_from(index).unwrap_or(i32::MAX));
    message.header.parent = parent;
    message
}

/// The clsact of a device.
#[must_use]
pub(crate) fn encode_clsact(index: u32) -> TcMessage {
    let mut message = header(index, TcHandle::CLSACT);
    message.header.handle = TcHandle { major: 0xffff, minor: 0 };
    message.attributes.push(TcAttribute::Kind("clsact".into()));
    message
}

/// The filter of an object, running a loaded program. Without a program the message names the filter, for deletion.
#[must_use]
pub fn encode(filter: &Filter, index: u32, program: Option<BorrowedFd>) -> TcMessage {
    let program = program.map(|program| (program, label(filter.slot, &filter.program.digest)));
    encode_at(index, filter.direction, filter.slot.place(), program)
}

/// A filter at a preference and under a handle, running a loaded program under a name; without, the message names the place.
#[must_use]
pub(crate) fn encode_at(
    index: u32,
    direction: Direction,
    (preference, handle): (u16, u32),
    program: Option<(impl AsFd, String)>,
) -> TcMessage {
    let mut message = header(index, parent(direction));
    message.header.handle = handle.into();
    message.header.info = u32::from(preference) << 16 | u32::from(ALL_PROTOCOLS);
    message.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.into()));
    if let Some((program, name)) = program {
        let options = [
            TcFilterBpfOption::ProgFd(program.as_fd().as_raw_fd().unsigned_abs()),
            TcFilterBpfOption::ProgName(name),
            TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
        ];
        message.attributes.push(TcAttribute::Options(options.into_iter().map(TcOption::Bpf).collect()));
    }
    message
}

/// A question for the filters of a device in a direction.
#[must_use]
pub(crate) fn question(index: u32, direction: Direction) -> TcMessage {
    header(index, parent(direction))
}

/// Reads a filter on one of our tunnels, if it is ours, and which program the kernel runs there.
#[must_use]
pub fn decode(
    message: &TcMessage,
    link: &InterfaceName,
    owner: Owner,
    direction: Direction,
) -> Option<(Object, AttachedProgram)> {
    let (mut label, mut id) = (None, None);
    for attribute in &message.attributes {
        let TcAttribute::Options(options) = attribute else {
            continue;
        };
        for option in options {
            match option {
                TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => label = Some(name.clone()),
                TcOption::Bpf(TcFilterBpfOption::ProgId(number)) => id = Some(*number),
                _ => {}
            }
        }
    }
    let (slot, digest) = read_label(&label?)?;
    let (preference, handle) = slot.place();
    let found = (message.header.info >> 16, u32::from(message.header.handle));
    if found != (u32::from(preference), handle) {
        return None;
    }
    let owner = match slot {
        Slot::Fan(overlay) => Owner::Fan(overlay),
        Slot::Refuse => owner,
    };
    let program = ProgramRef { digest, program: None, successor: None };
    let filter = Filter { link: link.clone(), direction, slot, owner, program };
    Some((Object::Filter(filter), AttachedProgram { direction, slot, id: id? }))
}

/// A queueing discipline that filters hang on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The device that it stands on.
    pub(crate) index: u32,
    /// Whether it is a clsact, with both directions; else `ingress`, which is never ours.
    pub(crate) is_clsact: bool,
    /// How many packets its filters refused.
    pub(crate) refused: u64,
}

/// Reads a queueing discipline, if filters of packets that come in can hang on it.
#[must_use]
pub fn decode_hook(message: &TcMessage) -> Option<Hook> {
    let kind = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.as_str()),
        _ => None,
    })?;
    let refused = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Stats2(stats) => stats.iter().find_map(|stat| match stat {
            TcStats2::Queue(queue) => Some(u64::from(queue.drops)),
            _ => None,
        }),
        _ => None,
    });
    ["clsact", "ingress"].contains(&kind).then(|| Hook {
        index: message.header.index.unsigned_abs(),
        is_clsact: kind == "clsact",
        refused: refused.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::tests::announced;

    #[test]
    fn labels_are_read_back_as_written_and_others_are_not_ours() {
        for slot in [Slot::Fan(announced().overlay()), Slot::Refuse] {
            assert_eq!(read_label(&label(slot, "0123456789abcdef")), Some((slot, "0123456789abcdef".into())));
        }
        for other in ["", "fan", "fan club", "cilium-eth0", "fan 250.0.0.0/8"] {
            assert_eq!(read_label(other), None, "{other}");
        }
    }
}
