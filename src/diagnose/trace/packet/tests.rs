//! Packets as bytes: what is sent is what is read.

use proptest::prelude::*;

use super::*;

const US: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 28);
const THEM: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 27);
const MARK: Mark = Mark { id: 0x1234, sequence: 7 };

/// An IPv4 packet with this protocol and content.
fn around(protocol: u8, content: &[u8]) -> Vec<u8> {
    let mut packet = ipv4(THEM, US, MARK)[..IPV4_LEN].to_vec();
    packet[9] = protocol;
    packet.extend(content);
    packet
}

fn error(kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    let mut content = vec![kind, code, 0, 0, 0, 0, 0x05, 0x78];
    content.extend(&quoted[..IPV4_LEN + 8]);
    around(ICMP, &content)
}

#[test]
fn requests_have_the_size_that_was_asked_for_and_a_right_checksum() {
    for size in [0, 28, 84, 1480, 1481] {
        let message = echo(MARK, size);
        assert_eq!(message.len(), usize::try_from(size.max(28)).unwrap() - 20);
        assert_eq!(checksum(&message), 0);
    }
    assert_eq!(checksum(&ipv4(US, THEM, MARK)[..IPV4_LEN]), 0);
}

#[test]
fn answers_and_complaints_are_read() {
    let mut answer = ipv4(THEM, US, MARK);
    answer[IPV4_LEN] = ECHO_REPLY;
    assert_eq!(news(&answer), Some((THEM, News::Answer(MARK))));
    let request = ipv4(US, THEM, MARK);
    assert_eq!(news(&request), None, "our own request is no news");
    for (kind, code, complaint) in [
        (3, 1, Complaint::Host),
        (3, 4, Complaint::TooLarge(1400)),
        (3, 13, Complaint::Prohibited),
        (11, 0, Complaint::Expired),
    ] {
        assert_eq!(news(&error(kind, code, &request)), Some((THEM, News::Complaint(MARK, complaint))));
    }
}

#[test]
fn complaints_about_what_was_wrapped_say_about_which() {
    let mut outer = ipv4(US, THEM, MARK)[..IPV4_LEN].to_vec();
    outer[9] = IPIP;
    outer.extend(ipv4(US, THEM, Mark { sequence: 99, ..MARK }));
    let about = |complaint, outer, mark| {
        let host = THEM;
        Some((THEM, News::AboutWrapped { host, outer, mark, complaint }))
    };
    assert_eq!(news(&error(3, 2, &outer)), about(Complaint::Protocol, Outer::Ipip, 99));
    outer[9] = UDP;
    outer[IPV4_LEN..IPV4_LEN + 2].copy_from_slice(&40000_u16.to_be_bytes());
    outer[IPV4_LEN + 2..IPV4_LEN + 4].copy_from_slice(&53_u16.to_be_bytes());
    assert_eq!(news(&error(3, 3, &outer)), about(Complaint::Port, Outer::Udp(53), 40000));
}

#[test]
fn what_is_wrapped_is_read_with_its_inner_addresses_and_mark() {
    let (source, destination) = (Ipv4Addr::new(250, 0, 27, 1), Ipv4Addr::new(250, 0, 28, 1));
    let expected = Some(Wrapped { from: THEM, source, destination, content: Content::Request(MARK) });
    let inner = ipv4(source, destination, MARK);
    for (at, byte, content) in [
        (IPV4_LEN, ECHO_REPLY, Content::Answer(MARK)),
        (IPV4_LEN, UNREACHABLE, Content::Other(ICMP)),
        (9, 6, Content::Other(6)),
    ] {
        let mut inner = inner.clone();
        inner[at] = byte;
        let found = wrapped(&around(IPIP, &inner), Encapsulation::Ipip, 8472);
        assert_eq!(found.map(|found| found.content), Some(content));
    }
    assert_eq!(wrapped(&around(IPIP, &inner), Encapsulation::Ipip, 8472), expected);
    assert_eq!(wrapped(&around(UDP, &inner), Encapsulation::Ipip, 8472), None);

    let mut datagram = vec![0x90, 0, 0x21, 0x18, 0, 0, 0, 0, 8, 0, 0, 0, 0xfa, 0, 0, 0];
    datagram.extend(&frame(source, destination)[..ETHERNET_LEN]);
    datagram.extend(&inner);
    let packet = around(UDP, &datagram);
    assert_eq!(wrapped(&packet, Encapsulation::Vxlan, 8472), expected);
    assert_eq!(wrapped(&packet, Encapsulation::Vxlan, 4789), None);

    datagram.truncate(16 + 12);
    datagram.extend(ETHERTYPE_ARP);
    datagram.extend([0; 14]);
    datagram.extend(source.octets());
    datagram.extend([0; 6]);
    datagram.extend(destination.octets());
    let expected = expected.map(|expected| Wrapped { content: Content::Arp, ..expected });
    assert_eq!(wrapped(&around(UDP, &datagram), Encapsulation::Vxlan, 8472), expected);
}

proptest! {
    #[test]
    fn nothing_that_comes_is_a_surprise(bytes in proptest::collection::vec(any::<u8>(), 0..200), start in any::<bool>()) {
        let mut bytes = bytes;
        if start && !bytes.is_empty() {
            bytes[0] = 0x45;
        }
        let _ = news(&bytes);
        for encapsulation in Encapsulation::ALL {
            let _ = wrapped(&bytes, encapsulation, 8472);
        }
    }
}

#[test]
fn the_codes_of_errors_are_stable_and_in_the_manual() {
    let words: std::collections::BTreeSet<&str> =
        include_str!("../../../../man/fanctl-trace.8").split_whitespace().collect();
    for (complaint, code) in [
        (Complaint::Protocol, "protocol_unreachable"),
        (Complaint::Port, "port_unreachable"),
        (Complaint::Host, "host_unreachable"),
        (Complaint::Network, "network_unreachable"),
        (Complaint::TooLarge(0), "too_large"),
        (Complaint::Prohibited, "prohibited"),
        (Complaint::Expired, "expired"),
        (Complaint::Other { kind: 12, code: 0 }, "other"),
    ] {
        assert_eq!(complaint.code(), code);
        assert!(words.contains(code), "man/fanctl-trace.8 does not list '{code}'");
    }
}
