//! Which notifications of routes are received: those about the networks of fans, and default routes. The kernel drops the
//! others before they wake this process or take room in the socket's buffer, so a routing daemon costs nothing here.

use std::collections::BTreeSet;

use ipnetwork::Ipv4Network;
use nix::libc::AF_INET;
use socket2::SockFilter;

/// More networks than these are not compared, and all routes are received: the kernel takes 4096 instructions (`BPF_MAXINSNS`,
/// linux/bpf_common.h).
const MOST: usize = 256;

/// Numbers of messages (linux/rtnetlink.h).
const ROUTES: [u16; 2] = [24, 25]; // RTM_NEWROUTE, RTM_DELROUTE
/// Where the header of a route begins, behind `struct nlmsghdr`, and its attributes, behind `struct rtmsg`.
const ROUTE: u32 = 16;
const ATTRIBUTES: u32 = ROUTE + 12;
/// The attribute with the destination (`RTA_DST`, linux/rtnetlink.h).
const DESTINATION: u32 = 1;
/// Loads the place of the attribute that the index register names, from the place in the accumulator on; 0 without one
/// (`SKF_AD_OFF + SKF_AD_NLATTR`, linux/filter.h).
const FIND_ATTRIBUTE: u32 = 0xffff_f00c;

/// Classic BPF (linux/bpf_common.h). `A` is the accumulator, `X` the index register.
mod classic {
    pub(super) const LOAD_WORD: u16 = 0x20;
    pub(super) const LOAD_HALF: u16 = 0x28;
    pub(super) const LOAD_BYTE: u16 = 0x30;
    pub(super) const LOAD_WORD_BEHIND_X: u16 = 0x40;
    pub(super) const LOAD: u16 = 0x00;
    pub(super) const LOAD_X: u16 = 0x01;
    pub(super) const FETCH: u16 = 0x60;
    pub(super) const FETCH_X: u16 = 0x61;
    pub(super) const STORE: u16 = 0x02;
    pub(super) const A_TO_X: u16 = 0x07;
    pub(super) const MINUS_X: u16 = 0x1c;
    pub(super) const AND: u16 = 0x54;
    pub(super) const AND_X: u16 = 0x5c;
    pub(super) const SHIFT_LEFT_X: u16 = 0x6c;
    pub(super) const XOR: u16 = 0xa4;
    pub(super) const IF_EQUAL: u16 = 0x15;
    pub(super) const RETURN: u16 = 0x06;
}

/// Lets pass every message but those about a route whose destination shares no address with any of these networks.
pub(super) fn filter(networks: &BTreeSet<Ipv4Network>) -> Vec<SockFilter> {
    use classic::{
        A_TO_X, AND, AND_X, FETCH, FETCH_X, IF_EQUAL, LOAD, LOAD_BYTE, LOAD_HALF, LOAD_WORD, LOAD_WORD_BEHIND_X,
        LOAD_X, MINUS_X, RETURN, SHIFT_LEFT_X, STORE, XOR,
    };
    /// The places in memory of the destination and its mask.
    const TO: u32 = 0;
    const MASK: u32 = 1;
    let instruction = |code, number| SockFilter::new(code, 0, 0, number);
    let pass = || instruction(RETURN, u32::MAX);
    if networks.len() > MOST {
        return vec![pass()];
    }
    // Numbers are in this machine's order, and loaded as if they were in the network's.
    let [new, old] = ROUTES.map(|number| u32::from(u16::to_be(number)));
    let mut filter = vec![
        instruction(LOAD_HALF, 4),
        SockFilter::new(IF_EQUAL, 2, 0, new),
        SockFilter::new(IF_EQUAL, 1, 0, old),
        pass(),
        instruction(LOAD_BYTE, ROUTE),
        SockFilter::new(IF_EQUAL, 1, 0, AF_INET.unsigned_abs()),
        pass(),
        // The length of the prefix; 0 is a default route.
        instruction(LOAD_BYTE, ROUTE + 1),
        SockFilter::new(IF_EQUAL, 0, 1, 0),
        pass(),
        instruction(A_TO_X, 0),
        instruction(LOAD, 32),
        instruction(MINUS_X, 0),
        instruction(A_TO_X, 0),
        instruction(LOAD, u32::MAX),
        instruction(SHIFT_LEFT_X, 0),
        instruction(STORE, MASK),
        instruction(LOAD_X, DESTINATION),
        instruction(LOAD, ATTRIBUTES),
        instruction(LOAD_WORD, FIND_ATTRIBUTE),
        SockFilter::new(IF_EQUAL, 0, 1, 0),
        pass(),
        instruction(A_TO_X, 0),
        instruction(LOAD_WORD_BEHIND_X, 4),
        instruction(STORE, TO),
    ];
    for network in networks {
        // Two networks share an address where they are the same under both masks.
        filter.extend([
            instruction(FETCH, TO),
            instruction(XOR, network.network().into()),
            instruction(AND, network.mask().into()),
            instruction(FETCH_X, MASK),
            instruction(AND_X, 0),
            SockFilter::new(IF_EQUAL, 0, 1, 0),
            pass(),
        ]);
    }
    filter.push(instruction(RETURN, 0));
    filter
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn networks(words: &[&str]) -> BTreeSet<Ipv4Network> {
        words.iter().map(|word| word.parse().expect("a network")).collect()
    }

    /// A notification of a route, with an attribute before the destination.
    fn route(kind: u16, family: u8, to: &str) -> Vec<u8> {
        let to: Ipv4Network = to.parse().expect("a network");
        let mut message = vec![0; 4];
        message.extend(kind.to_ne_bytes());
        message.resize(16, 0);
        message.extend([family, to.prefix(), 0, 0, 254, 186, 0, 1, 0, 0, 0, 0]);
        let mut attribute = |number: u16, value: [u8; 4]| {
            message.extend(8_u16.to_ne_bytes());
            message.extend(number.to_ne_bytes());
            message.extend(value);
        };
        attribute(15, 254_u32.to_ne_bytes()); // RTA_TABLE
        if to.prefix() > 0 {
            attribute(1, to.network().octets());
        }
        message
    }

    /// Whether the kernel lets a message pass, on a line that needs no privilege.
    fn passes(networks: &BTreeSet<Ipv4Network>, message: &[u8]) -> bool {
        let (here, mut there) = Socket::pair(Domain::UNIX, Type::DGRAM, None).expect("a pair of sockets");
        there.set_nonblocking(true).expect("not to wait");
        there.attach_filter(&filter(networks)).expect("a filter");
        here.send(message).expect("to send");
        there.read(&mut [0; 64]).is_ok()
    }

    #[test]
    fn routes_that_share_an_address_with_a_network_pass() {
        let fan = networks(&["250.0.0.0/8", "172.30.0.0/16"]);
        let inet = 2;
        for kind in ROUTES {
            for to in ["250.0.0.0/8", "250.7.0.0/16", "250.0.28.1/32", "240.0.0.0/4", "128.0.0.0/1", "0.0.0.0/0"] {
                assert!(passes(&fan, &route(kind, inet, to)), "{to}");
            }
            for to in ["172.30.0.27/32", "172.16.0.0/12"] {
                assert!(passes(&fan, &route(kind, inet, to)), "{to}");
            }
            for to in
                ["10.0.0.0/8", "251.0.0.0/8", "0.0.0.0/1", "172.31.0.0/16", "198.51.100.0/24", "249.255.255.255/32"]
            {
                assert!(!passes(&fan, &route(kind, inet, to)), "{to}");
                assert!(passes(&fan, &route(kind, 10, to)), "not of IPv4");
                assert!(passes(&fan, &route(16, inet, to)), "of a link");
            }
        }
        assert!(!passes(&networks(&[]), &route(24, inet, "250.0.0.0/8")));
        assert!(passes(&networks(&[]), &route(24, inet, "0.0.0.0/0")));
    }

    #[test]
    fn as_many_networks_as_there_are_make_a_filter_that_the_kernel_takes() {
        for number in [MOST, MOST + 1] {
            let many = (0..number).map(|number| format!("10.{}.{}.0/24", number / 256, number % 256));
            let many: BTreeSet<Ipv4Network> = many.map(|word| word.parse().expect("a network")).collect();
            assert!(passes(&many, &route(24, 2, "10.0.255.7/32")));
            assert_eq!(passes(&many, &route(24, 2, "192.0.2.0/24")), number > MOST);
        }
    }
}
