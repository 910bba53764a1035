//! The programs that version 0.1.0 put on the tunnel of the fan 250.0.0.0/8, as they were recorded, with the filters that ran
//! them. The scripts beside this file make the rest of that fan.

use std::os::fd::{AsFd, OwnedFd};

use fanctl::fan::name::InterfaceName;
use fanctl::kernel::netlink::Netlink;
use fanctl::kernel::{bpf, filter};
use fanctl::plan::state::{Direction, Filter, Owner, ProgramRef, Slot};
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::RouteNetlinkMessage;

/// Attaches them to the tunnel `link` of this network namespace. A panic where that cannot be done.
pub fn attach(link: &InterfaceName, encap: &str) {
    let overlay = "250.0.0.0/8".parse().expect("an overlay");
    let (own, shared) = (Slot::Fan(overlay), Slot::Refuse);
    let refuse = include_str!("refuse");
    let programs = match encap {
        "ipip" => vec![
            (own, Direction::Ingress, include_str!("ipip.ingress")),
            (own, Direction::Egress, include_str!("ipip.egress")),
            (shared, Direction::Ingress, refuse),
            (shared, Direction::Egress, refuse),
        ],
        "vxlan" => vec![
            (own, Direction::Ingress, include_str!("vxlan.ingress")),
            (own, Direction::Egress, include_str!("vxlan.egress")),
        ],
        _ => panic!("no encapsulation '{encap}' was recorded"),
    };
    let index = nix::net::if_::if_nametoindex(link.as_str()).expect("the tunnel");
    let netlink = Netlink::connect().expect("netlink");
    for (slot, direction, recorded) in programs {
        let (program, digest) = load(recorded);
        let filter = Filter {
            link: link.clone(),
            direction,
            slot,
            owner: Owner::Fan(overlay),
            program: ProgramRef { digest, program: None, successor: None },
        };
        let message = filter::encode(&filter, index, Some(program.as_fd()));
        netlink.send(&RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE).expect("a filter");
    }
}

/// A recorded program: its name and digest, then its instructions in hexadecimal digits.
fn load(recorded: &str) -> (OwnedFd, String) {
    let mut lines = recorded.lines();
    let (name, digest) = lines.next().and_then(|line| line.split_once(' ')).expect("a name");
    let byte = |instruction: &str, at: usize| u8::from_str_radix(&instruction[at..at + 2], 16).expect("digits");
    let code: Vec<u8> = lines.flat_map(|line| (0..8).map(move |number| byte(line, 2 * number))).collect();
    let program = bpf::load_encoded(name, &code, &mut []).expect("a program");
    (program, digest.to_string())
}
