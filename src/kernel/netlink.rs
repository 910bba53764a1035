//! One request, one answer: route netlink on a plain socket, with the kernel's own sentence in every error.
//!
//! The messages are rtnetlink's and netlink-packet-route's. rtnetlink's own connection is not used: it does not outlive a
//! request that could not be sent, after which no step could be taken back; nor does it send several requests in one
//! datagram ([`Netlink::batch`]), or know the messages of VXLAN's VNI filter ([`Netlink::raw`]).

mod read;
mod refusal;

use std::cell::Cell;
use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::route::{RouteMessage, RouteProtocol};
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use zeroize::{Zeroize, Zeroizing};

use read::{ADDRESS_HEADER_LEN, RULE_HEADER_LEN};
pub use read::{LINK_HEADER_LEN, LinkReply, NLA_F_NESTED, RTM_GETLINK, attributes, read_address, read_link, read_rule};
pub use refusal::{Refusal, refusal};

const AF_INET: u8 = 2;

/// How often a list is read again when it changed in the meantime (`NLM_F_DUMP_INTR`, linux/netlink.h).
const DUMP_ATTEMPTS: usize = 10;
const NLM_F_DUMP_INTR: u16 = 0x10;

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
    pub(crate) fn connect_to(protocol: isize) -> io::Result<Self> {
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
    pub(crate) fn ask(&self, message: &RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Refusal> {
        self.exchange(message, NLM_F_ACK)
    }

    /// Asks for all objects of a kind. What cannot be read is somebody else's, and left out.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn dump(&self, message: &RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Refusal> {
        self.exchange(message, NLM_F_DUMP)
    }

    /// Asks for all links. Names and aliases may be any bytes, and one that is no UTF-8 must not hide the interface that has
    /// it, so each message is read by itself.
    ///
    /// # Errors
    /// What the kernel said, or that a link could not be read.
    pub(crate) fn dump_links(&self) -> Result<Vec<LinkReply>, Refusal> {
        const HEADER: [u8; LINK_HEADER_LEN] = [0; LINK_HEADER_LEN];
        self.raw(RTM_GETLINK, NLM_F_DUMP, &HEADER)?.iter().map(|payload| read_link(payload)).collect()
    }

    /// Asks for all routing rules of IPv4. The names of interfaces in them may be any bytes, and stand
    /// [escaped](crate::fan::text::escape) in the messages.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn dump_rules(&self) -> Result<Vec<RuleMessage>, Refusal> {
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
    pub(crate) fn dump_addresses(&self) -> Result<Vec<AddressMessage>, Refusal> {
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
    pub(crate) fn dump_routes(&self, protocol: Option<RouteProtocol>) -> Result<Vec<RouteMessage>, Refusal> {
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
    pub(crate) fn batch(&self, requests: Vec<(RouteNetlinkMessage, u16)>) -> Result<(), (usize, Refusal)> {
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
    pub(crate) fn raw(&self, kind: u16, flags: u16, payload: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
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
