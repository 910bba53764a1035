//! One request, one answer: route netlink on a plain socket, with the kernel's own sentence in every error.
//!
//! The messages are rtnetlink's and netlink-packet-route's. rtnetlink's own connection is not used: it does not outlive a
//! request that could not be sent, after which no step could be taken back; nor does it send several requests in one
//! datagram ([`Netlink::batch`]), or know the messages of VXLAN's VNI filter ([`Netlink::raw`]).

use std::cell::Cell;
use std::fmt;
use std::io;

use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable, Parseable,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::{RouteMessage, RouteProtocol};
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use zeroize::{Zeroize, Zeroizing};

use crate::fan::name::InterfaceName;
use crate::fan::text::{errno_words, escape};

/// What the kernel said to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error number, positive (errno(3)).
    pub errno: i32,
    /// The sentence that came with it, if any: the extended acknowledgement (`NLMSGERR_ATTR_MSG`).
    pub sentence: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&errno_words(self.errno))?;
        match &self.sentence {
            Some(sentence) => write!(f, " ({})", sentence.trim_end_matches('.')),
            None => Ok(()),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self { errno, sentence: None },
            None => Self { errno: nix::libc::EIO, sentence: Some(error.to_string()) },
        }
    }
}

/// The error number and sentence of an error message; none when it is an acknowledgement.
#[must_use]
pub fn refusal(error: &ErrorMessage) -> Option<Refusal> {
    const HEADER_LEN: usize = 16;
    const ATTRIBUTE_MESSAGE: u16 = 1; // NLMSGERR_ATTR_MSG, linux/netlink.h
    let errno = error.code?.get().wrapping_neg();
    // The payload is our own request, and then attributes (netlink_ack, net/netlink/af_netlink.c).
    let request_len =
        error.header.get(..4).map_or(HEADER_LEN, |len| u32::from_ne_bytes([len[0], len[1], len[2], len[3]]) as usize);
    let mut rest = error.header.get(request_len.next_multiple_of(4)..).unwrap_or_default();
    let mut sentence = None;
    while let Some(&[a, b, c, d]) = rest.first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let (Some(value), kind) = (rest.get(4..len), u16::from_ne_bytes([c, d])) else {
            break;
        };
        if kind == ATTRIBUTE_MESSAGE {
            sentence = Some(escape(text(value)));
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Refusal { errno, sentence })
}

impl Refusal {
    fn interrupted() -> Self {
        Self { errno: nix::libc::EAGAIN, sentence: Some("the network changed each time it was read".into()) }
    }
}

/// How often a list is read again when it changed in the meantime (`NLM_F_DUMP_INTR`, linux/netlink.h).
const DUMP_ATTEMPTS: usize = 10;
const NLM_F_DUMP_INTR: u16 = 0x10;

/// The request for links (linux/rtnetlink.h).
pub const RTM_GETLINK: u16 = 18;

/// Bytes of a `struct ifinfomsg`, in front of a link's attributes.
pub const LINK_HEADER_LEN: usize = 16;

/// A link as the kernel tells of it.
#[derive(Debug)]
pub struct LinkReply {
    /// What is read of it, without its texts.
    pub message: LinkMessage,
    /// Its name.
    pub name: InterfaceName,
    /// Its alias: any bytes, none if it has none.
    pub alias: Vec<u8>,
    /// Its alternative names: any bytes, line feeds among them.
    pub other_names: Vec<Vec<u8>>,
}

/// Reads a link message. Of attributes only those are read that somebody here asks for, so that no other can be one that the
/// library does not understand; texts are taken as bytes.
///
/// # Errors
/// When it cannot be read.
pub fn read_link(payload: &[u8]) -> Result<LinkReply, Refusal> {
    let unreadable = |sentence| Refusal { errno: nix::libc::EBADMSG, sentence: Some(sentence) };
    let (header, rest) = payload.split_at(LINK_HEADER_LEN.min(payload.len()));
    let (mut readable, mut name, mut alias, mut other_names) = (header.to_vec(), None, Vec::new(), Vec::new());
    for (kind, value) in attributes(rest) {
        match kind {
            IFLA_IFNAME => name = Some(InterfaceName::from_kernel(text(value))),
            IFLA_IFALIAS => alias = text(value).to_vec(),
            IFLA_PROP_LIST => other_names.extend(attributes(value).map(|(_, name)| text(name).to_vec())),
            kind if IFLA_READ.contains(&kind) => attribute(&mut readable, kind, value),
            _ => {}
        }
    }
    let message =
        LinkMessage::parse(&readable[..]).map_err(|error| unreadable(format!("a link cannot be read: {error}")))?;
    Ok(LinkReply { message, name: name.ok_or_else(|| unreadable("a link has no name".into()))?, alias, other_names })
}

const AF_INET: u8 = 2;

/// Bytes of a `struct ifaddrmsg`, in front of an address's attributes.
const ADDRESS_HEADER_LEN: usize = 8;

/// Reads an address message without its label, which is the name of the interface and may be any bytes; none when it cannot be
/// read.
#[must_use]
pub fn read_address(payload: &[u8]) -> Option<AddressMessage> {
    const IFA_LABEL: u16 = 3; // linux/if_addr.h
    let (header, rest) = payload.split_at_checked(ADDRESS_HEADER_LEN)?;
    let mut readable = header.to_vec();
    for (kind, value) in attributes(rest).filter(|(kind, _)| *kind != IFA_LABEL) {
        attribute(&mut readable, kind, value);
    }
    AddressMessage::parse(&readable[..]).ok()
}

/// Bytes of a `struct fib_rule_hdr`, in front of a rule's attributes.
const RULE_HEADER_LEN: usize = 12;

/// Reads a rule message, with names of interfaces escaped; none when it cannot be read.
#[must_use]
pub fn read_rule(payload: &[u8]) -> Option<RuleMessage> {
    const NAMES: [u16; 2] = [3, 17]; // FRA_IIFNAME, FRA_OIFNAME, linux/fib_rules.h
    let (header, rest) = payload.split_at_checked(RULE_HEADER_LEN)?;
    let mut readable = header.to_vec();
    for (kind, value) in attributes(rest) {
        if NAMES.contains(&kind) {
            let name = [escape(text(value)).as_bytes(), &[0]].concat();
            attribute(&mut readable, kind, &name);
        } else {
            attribute(&mut readable, kind, value);
        }
    }
    RuleMessage::parse(&readable[..]).ok()
}

/// Adds an attribute to a message.
fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // What came in an attribute fits one (16 bits, struct nlattr); a longer one would not be read.
    message.extend(u16::try_from(value.len() + 4).unwrap_or_default().to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

// Attributes of a link (linux/if_link.h).
const IFLA_IFNAME: u16 = 3;
const IFLA_IFALIAS: u16 = 20;
const IFLA_PROP_LIST: u16 = 52;
/// Those that are read by the library: address, MTU, the device below, controller, kind and its data, counters, settings, the
/// namespace of the device below.
const IFLA_READ: [u16; 8] = [1, 4, 5, 10, 18, 23, 26, 37];

/// A text of the kernel's without the zero behind it.
fn text(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Set in the kind of an attribute that holds others (linux/netlink.h).
pub const NLA_F_NESTED: u16 = 1 << 15;

/// The attributes in some bytes: kind without that flag, and value.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let &[a, b, c, d] = bytes.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & !NLA_F_NESTED, value))
    })
}

/// A connection to netlink in the network namespace of the thread that made it.
pub struct Netlink {
    socket: Socket,
    /// The number of the last request. What answers another one is late, and nobody waits for it.
    sequence: Cell<u32>,
}

impl Netlink {
    /// Connects to route netlink. The kernel checks requests strictly (`NETLINK_GET_STRICT_CHK`, netlink(7)): it heeds what a
    /// request for a list asks for, and leaves learned exceptions (`RTM_F_CLONED`) out of a list of routes
    /// (`ip_valid_fib_dump_req`, net/ipv4/fib_frontend.c at v6.12).
    ///
    /// # Errors
    /// When the kernel gives no netlink socket, which it does to anybody unless a sandbox forbids, or is older than Linux 4.20.
    pub fn connect() -> io::Result<Self> {
        let netlink = Self::connect_to(NETLINK_ROUTE)?;
        netlink.socket.set_netlink_get_strict_chk(true)?;
        Ok(netlink)
    }

    /// Connects to another part of the kernel that speaks netlink, by its number (`NETLINK_*`, linux/netlink.h).
    ///
    /// # Errors
    /// As above.
    pub fn connect_to(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_ext_ack(true)?;
        Ok(Self { socket, sequence: Cell::new(0) })
    }

    /// Sends one request and waits for its acknowledgement. `flags` are those beyond `NLM_F_REQUEST | NLM_F_ACK`.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn send(&self, message: &RouteNetlinkMessage, flags: u16) -> Result<(), Refusal> {
        self.exchange(message, NLM_F_ACK | flags).map(drop)
    }

    /// Asks one question, which has one answer.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn ask(&self, message: &RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Refusal> {
        self.exchange(message, NLM_F_ACK)
    }

    /// Asks for all objects of a kind. What cannot be read is somebody else's, and left out.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn dump(&self, message: &RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Refusal> {
        self.exchange(message, NLM_F_DUMP)
    }

    /// Asks for all links. Names and aliases may be any bytes, and one that is no UTF-8 must not hide the interface that has
    /// it, so each message is read by itself.
    ///
    /// # Errors
    /// What the kernel said, or that a link could not be read.
    pub fn dump_links(&self) -> Result<Vec<LinkReply>, Refusal> {
        const HEADER: [u8; LINK_HEADER_LEN] = [0; LINK_HEADER_LEN];
        self.raw(RTM_GETLINK, NLM_F_DUMP, &HEADER)?.iter().map(|payload| read_link(payload)).collect()
    }

    /// Asks for all routing rules of IPv4. The names of interfaces in them may be any bytes, and stand
    /// [escaped](crate::fan::text::escape) in the messages.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn dump_rules(&self) -> Result<Vec<RuleMessage>, Refusal> {
        const RTM_GETRULE: u16 = 34;
        let mut header = [0; RULE_HEADER_LEN];
        header[0] = AF_INET;
        let answers = self.raw(RTM_GETRULE, NLM_F_DUMP, &header)?;
        Ok(answers.iter().filter_map(|payload| read_rule(payload)).collect())
    }

    /// Asks for all addresses of IPv4.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn dump_addresses(&self) -> Result<Vec<AddressMessage>, Refusal> {
        const RTM_GETADDR: u16 = 22;
        let mut header = [0; ADDRESS_HEADER_LEN];
        header[0] = AF_INET;
        let answers = self.raw(RTM_GETADDR, NLM_F_DUMP, &header)?;
        Ok(answers.iter().filter_map(|payload| read_address(payload)).collect())
    }

    /// Asks for the routes of IPv4, in all tables; where a protocol is given, only for those that it made.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn dump_routes(&self, protocol: Option<RouteProtocol>) -> Result<Vec<RouteMessage>, Refusal> {
        let mut question = RouteMessage::default();
        question.header.address_family = AddressFamily::Inet;
        question.header.protocol = protocol.unwrap_or_default();
        let answers = self.dump(&RouteNetlinkMessage::GetRoute(question))?.into_iter();
        let routes = answers.filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(message) => Some(message),
            _ => None,
        });
        Ok(routes.collect())
    }

    fn exchange(&self, message: &RouteNetlinkMessage, flags: u16) -> Result<Vec<RouteNetlinkMessage>, Refusal> {
        let mut payload = vec![0; message.buffer_len()];
        message.serialize(&mut payload);
        let answers = self.request(message.message_type(), flags, &payload)?;
        Ok(answers.iter().filter_map(Raw::read).collect())
    }

    /// Numbers for so many requests, the first of them.
    fn number(&self, count: u32) -> u32 {
        let first = self.sequence.get().wrapping_add(1);
        self.sequence.set(self.sequence.get().wrapping_add(count));
        first
    }

    /// Sends several requests in one datagram. The kernel works through a datagram before it returns to us, so that being
    /// killed cannot come between them: a device never exists without the label that makes it ours.
    ///
    /// # Errors
    /// Which request the kernel refused first, counted from 0, and what it said. Those before it have been done.
    pub fn batch(&self, requests: Vec<(RouteNetlinkMessage, u16)>) -> Result<(), (usize, Refusal)> {
        let broken = |refusal| (0, refusal);
        let mut datagram = Vec::new();
        let count = requests.len();
        let first = self.number(u32::try_from(count).unwrap_or(u32::MAX));
        for (sequence, (message, flags)) in (first..).zip(requests) {
            let mut request = NetlinkMessage::from(message);
            request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
            request.header.sequence_number = sequence;
            request.finalize();
            let start = datagram.len();
            datagram.resize(start + request.buffer_len().next_multiple_of(4), 0);
            request.serialize(&mut datagram[start..]);
        }
        self.socket.send(&datagram, 0).map_err(|error| broken(error.into()))?;
        let (mut refused, mut answered) = (Vec::new(), 0);
        while answered < count {
            for answer in self.receive().map_err(broken)? {
                let place = answer.header.sequence_number.wrapping_sub(first) as usize;
                if place >= count {
                    continue;
                }
                answered += 1;
                if let NetlinkPayload::Error(error) = answer.payload {
                    refused.extend(refusal(&error).map(|refusal| (place, refusal)));
                }
            }
        }
        refused.into_iter().min_by_key(|(place, _)| *place).map_or(Ok(()), Err)
    }

    /// Sends a request as payload bytes, of a kind that the library does not know or reads too strictly, and returns the
    /// payloads that came back before the acknowledgement or the end of the dump.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn raw(&self, kind: u16, flags: u16, payload: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
        let answers = self.request(kind, flags, payload)?;
        Ok(answers.into_iter().map(|answer| answer.payload).collect())
    }

    fn request(&self, kind: u16, flags: u16, payload: &[u8]) -> Result<Vec<Raw>, Refusal> {
        for _ in 0..DUMP_ATTEMPTS {
            let sequence = self.number(1);
            let mut header = NetlinkHeader::default();
            header.message_type = kind;
            header.flags = NLM_F_REQUEST | flags;
            header.sequence_number = sequence;
            let content = NetlinkPayload::InnerMessage(Raw { kind, payload: payload.to_vec() });
            let mut request = NetlinkMessage::new(header, content);
            request.finalize();
            // It may have a key in it.
            let mut datagram = Zeroizing::new(vec![0; request.buffer_len()]);
            request.serialize(&mut datagram);
            if let NetlinkPayload::InnerMessage(message) = &mut request.payload {
                message.payload.zeroize();
            }
            self.socket.send(&datagram, 0)?;
            if let Some(answers) = self.answers(sequence)? {
                return Ok(answers);
            }
        }
        Err(Refusal::interrupted())
    }

    /// The messages up to the end of an answer; none when the kernel's list changed while it was read.
    fn answers(&self, sequence: u32) -> Result<Option<Vec<Raw>>, Refusal> {
        let (mut messages, mut interrupted) = (Vec::new(), false);
        loop {
            for answer in self.receive()? {
                if answer.header.sequence_number != sequence {
                    continue;
                }
                interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => messages.push(message),
                    NetlinkPayload::Error(error) => return refusal(&error).map_or(Ok(Some(messages)), Err),
                    // A list that the kernel could not finish ends with a number too (netlink_dump_done, af_netlink.c).
                    NetlinkPayload::Done(end) if end.code < 0 => {
                        return Err(Refusal { errno: end.code.wrapping_neg(), sentence: None });
                    }
                    NetlinkPayload::Done(_) => return Ok((!interrupted).then_some(messages)),
                    _ => {}
                }
            }
        }
    }

    /// The messages of the next datagram.
    fn receive(&self) -> Result<Vec<NetlinkMessage<Raw>>, Refusal> {
        let datagram = Zeroizing::new(self.socket.recv_from_full()?.0);
        messages(&datagram).map_err(|error| Refusal { errno: nix::libc::EBADMSG, sentence: Some(error) })
    }
}

/// The messages of a datagram, each with its payload as bytes.
///
/// # Errors
/// When it is cut off.
pub fn messages(datagram: &[u8]) -> Result<Vec<NetlinkMessage<Raw>>, String> {
    let mut messages = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkMessage::<Raw>::deserialize(rest).map_err(|error| error.to_string())?;
        let len = (message.header.length as usize).next_multiple_of(4).min(rest.len());
        rest = &rest[len.max(4).min(rest.len())..];
        messages.push(message);
    }
    Ok(messages)
}

/// A message taken as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Its type, as in `RTM_NEWLINK`.
    pub kind: u16,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl Raw {
    /// The message, if it is one that is known.
    #[must_use]
    pub fn read(&self) -> Option<RouteNetlinkMessage> {
        let mut header = NetlinkHeader::default();
        header.message_type = self.kind;
        RouteNetlinkMessage::deserialize(&header, &self.payload).ok()
    }
}

impl NetlinkSerializable for Raw {
    fn message_type(&self) -> u16 {
        self.kind
    }
    fn buffer_len(&self) -> usize {
        self.payload.len()
    }
    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..self.payload.len()].copy_from_slice(&self.payload);
    }
}

impl NetlinkDeserializable for Raw {
    type Error = std::convert::Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self { kind: header.message_type, payload: payload.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_sentence_is_found_behind_the_request() {
        let mut header = Vec::new();
        header.extend(18_u32.to_ne_bytes()); // our request: 16 bytes of header and 2 of payload, padded to 20
        header.extend([0; 16]);
        let sentence = b"Unknown device type \x1b[2J\n\xff\0";
        header.extend((4 + u16::try_from(sentence.len()).unwrap()).to_ne_bytes());
        header.extend(1_u16.to_ne_bytes());
        header.extend(sentence);
        let mut error = ErrorMessage::default();
        error.code = std::num::NonZeroI32::new(-nix::libc::EOPNOTSUPP);
        error.header = header;
        let refusal = refusal(&error).unwrap();
        assert_eq!(refusal.errno, nix::libc::EOPNOTSUPP);
        assert!(refusal.to_string().ends_with(r"(Unknown device type \x1b[2J\x0a\xff)"), "{refusal}");
    }

    #[test]
    fn texts_that_are_no_text_hide_no_interface() {
        let mut payload = vec![0; LINK_HEADER_LEN];
        payload.extend([10, 0, 20, 0, b'c', b'a', b'f', 0xe9, b' ', 0, 0, 0]); // IFLA_IFALIAS
        payload.extend([9, 0, 3, 0, b'e', b't', b'h', 0xe9, 0, 0, 0, 0]); // IFLA_IFNAME
        payload.extend([12, 0, 52, 128, 7, 0, 53, 0, b'\n', 0xff, 0, 0]); // IFLA_PROP_LIST, IFLA_ALT_IFNAME
        payload.extend([8, 0, 4, 0, 0xdc, 5, 0, 0]); // IFLA_MTU
        let link = read_link(&payload).unwrap();
        assert_eq!(link.name.to_string(), r"eth\xe9");
        assert_eq!((&link.alias[..], &link.other_names[..]), (&b"caf\xe9 "[..], &[b"\n\xff".to_vec()][..]));
        assert_eq!(link.message.attributes.len(), 1, "the MTU");
        for len in 0..payload.len() {
            let _ = read_link(&payload[..len]);
        }
    }

    #[test]
    fn a_rule_about_an_interface_of_any_name_is_read() {
        let mut payload = vec![0; RULE_HEADER_LEN];
        payload[0] = 2;
        payload.extend([9, 0, 3, 0, b'c', b'a', b'f', 0xe9, 0, 0, 0, 0]);
        let rule = read_rule(&payload).unwrap();
        let name = netlink_packet_route::rule::RuleAttribute::Iifname(r"caf\xe9".into());
        assert_eq!(rule.attributes, [name]);
        for len in 0..payload.len() {
            let _ = read_rule(&payload[..len]);
        }
    }

    #[test]
    fn an_acknowledgement_is_no_refusal_and_a_cut_one_no_panic() {
        let mut error = ErrorMessage::default();
        assert_eq!(refusal(&error), None);
        error.code = std::num::NonZeroI32::new(-1);
        for len in 0..24 {
            error.header = vec![0xff; len];
            assert_eq!(refusal(&error).unwrap().errno, 1);
        }
    }
}
