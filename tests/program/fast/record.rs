//! What is known of a flow, and what that means for its packets, said without programs.

use fanctl::bpf::fast::{FastSpec, Places};

use super::oracle::{Flow, Half, Hook, NOT_OFFLOADED, Shown, of_fan};

pub fn flow(value: &[u8; 48]) -> Flow {
    [0, 24].map(|at| Half {
        time: u64::from_ne_bytes(value[at..at + 8].try_into().unwrap()),
        longest: u16::from_ne_bytes(value[at + 8..at + 10].try_into().unwrap()),
        addresses: value[at + 10..at + 22].try_into().unwrap(),
    })
}

/// Ages are known to the half of a second, about: this many units are fresh, and after this many a record is renewed.
const UNIT: u32 = 29;
const FRESH: u64 = 9;
const RENEWED: u64 = 2;

fn age(half: Half, now: u64) -> Option<u64> {
    (half.time != 0).then(|| now.wrapping_sub(half.time) >> UNIT)
}

fn is_fresh(half: Half, now: u64) -> bool {
    age(half, now).is_some_and(|age| age < FRESH)
}

/// What a recording program makes of what is known of the flow; none where that stays.
pub fn recorded(hook: Hook, packet: Shown<'_>, length: u32, known: Option<Flow>, now: u64) -> Option<Flow> {
    let mut flow = known.unwrap_or_default();
    let half = &mut flow[usize::from(!hook.is_outward())];
    let longest = u32::from(half.longest);
    let stays = is_fresh(*half, now)
        && (length < longest || length == longest && age(*half, now).is_some_and(|age| age <= RENEWED));
    let addresses = packet.bytes[..12].try_into().unwrap();
    *half = Half { time: now, longest: u16::try_from(length & 0xffff).unwrap(), addresses };
    (!stays).then_some(flow)
}

/// Whether the packet takes the fast path by what is known of its flow.
pub fn is_fast(hook: Hook, length: u32, known: Flow, now: u64) -> bool {
    let half = known[usize::from(!hook.is_outward())];
    known.iter().all(|half| is_fresh(*half, now)) && length <= half.longest.into()
}

/// Where the packet goes on: interface and flags.
pub fn way(hook: Hook, places: Places) -> (u64, u64) {
    if hook == Hook::Send { (places.underlay.into(), 0) } else { (places.port.into(), 1) }
}

/// The packet's priority behind a program.
pub fn priority_after(spec: &FastSpec, hook: Hook, packet: Shown<'_>) -> u32 {
    let is_recorder = hook.is_recording() && of_fan(spec, hook, packet).is_some();
    packet.priority & if is_recorder { !NOT_OFFLOADED } else { u32::MAX }
}
