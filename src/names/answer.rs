//! DNS: a question becomes a [`Meaning`], and what was found becomes an answer.
//!
//! The wire format is the crate `domain`'s. Types A and PTR have data; every other type of a name that exists is NODATA and not
//! NXDOMAIN, for a resolver that asks for AAAA would give up. Names of other zones are refused: who is asked for them stands in front.

use std::net::Ipv4Addr;

use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::message_builder::AnswerBuilder;
use domain::base::name::ToLabelIter;
use domain::base::{Message, MessageBuilder, Name, Rtype, Serial, StaticCompressor, Ttl};
use domain::rdata::{A, Ns, Ptr, Soa};

use super::zone::{Meaning, Zone};

/// The longest question in bytes: a name, and what EDNS adds.
pub const LONGEST_QUESTION: usize = 1_232;
/// The largest answer by UDP to those who ask without EDNS (RFC 1035, section 4.2.1).
const PLAIN: usize = 512;
/// The largest by UDP to others, and what we say that we take.
const LARGE: u16 = 1_232;

/// How long answers hold, in seconds: names change when containers do.
const TTL: Ttl = Ttl::from_secs(1);
/// The same of what is computed and never changes.
const COMPUTED: Ttl = Ttl::from_secs(60);

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// In a stream.
    Tcp,
}

/// A question that is to be answered.
#[derive(Clone, Debug)]
pub struct Query {
    message: Message<Vec<u8>>,
    labels: Vec<String>,
    qtype: Rtype,
    limit: usize,
    edns: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Addresses, in the order in which to tell them; never none.
    Addresses(Vec<Ipv4Addr>),
    /// An address that is computed.
    Computed(Ipv4Addr),
    /// The full names of an address.
    Names(Vec<String>),
    /// The name exists, and has no data.
    Nothing,
    /// There is no such name.
    Missing,
    /// The host that must know does not answer.
    Silence,
    /// Not ours to answer.
    Refused,
}

/// Why there is no [`Query`]: what to answer, if anything.
pub type Unread = Option<Vec<u8>>;

impl Query {
    /// Reads a question.
    ///
    /// # Errors
    /// What to answer instead; nothing to what is no question at all.
    pub fn read(bytes: &[u8], transport: Transport) -> Result<Self, Unread> {
        let message = Message::from_octets(bytes.to_vec()).map_err(|_| None)?;
        if message.header().qr() || bytes.len() > LONGEST_QUESTION {
            return Err(None);
        }
        let refuse = |rcode| Err(refusal(&message, rcode));
        if message.header().opcode() != Opcode::QUERY {
            return refuse(Rcode::NOTIMP);
        }
        let Ok(question) = message.sole_question() else { return refuse(Rcode::FORMERR) };
        if question.qclass() != Class::IN {
            return refuse(Rcode::REFUSED);
        }
        let labels = question.qname().iter_labels().filter(|label| !label.is_root());
        let labels: Vec<String> = labels.map(|label| String::from_utf8_lossy(label.as_slice()).into_owned()).collect();
        let qtype = question.qtype();
        let size = message.opt().map(|opt| opt.udp_payload_size().min(LARGE));
        let limit = match (transport, size) {
            (Transport::Tcp, _) => usize::from(u16::MAX),
            (Transport::Udp, size) => size.map_or(PLAIN, usize::from).max(PLAIN),
        };
        let edns = size.is_some();
        Ok(Self { message, labels, qtype, limit, edns })
    }

    /// What is asked about.
    #[must_use]
    pub fn meaning(&self, zone: &Zone) -> Meaning {
        let labels: Vec<&str> = self.labels.iter().map(String::as_str).collect();
        zone.meaning(&labels)
    }

    /// Whether data of this type is asked for.
    fn asks_for(&self, rtype: Rtype) -> bool {
        [rtype, Rtype::ANY].contains(&self.qtype)
    }

    /// The answer as bytes.
    #[must_use]
    pub fn answer(&self, zone: &Zone, reply: &Reply) -> Vec<u8> {
        self.whole(zone, reply, self.limit).or_else(|| refusal(&self.message, Rcode::SERVFAIL)).unwrap_or_default()
    }

    fn whole(&self, zone: &Zone, reply: &Reply, limit: usize) -> Option<Vec<u8>> {
        let rcode = match reply {
            Reply::Missing => Rcode::NXDOMAIN,
            Reply::Silence => Rcode::SERVFAIL,
            Reply::Refused => Rcode::REFUSED,
            _ => Rcode::NOERROR,
        };
        let target = StaticCompressor::new(Vec::new());
        let mut builder = MessageBuilder::from_target(target).ok()?;
        // What EDNS adds is put last, and must fit too.
        builder.set_push_limit(limit.saturating_sub(11));
        let mut answer = builder.start_answer(&self.message, rcode).ok()?;
        answer.header_mut().set_aa(*reply != Reply::Refused);
        let has_data = match reply {
            Reply::Addresses(addresses) if self.asks_for(Rtype::A) => {
                addresses.iter().try_for_each(|address| self.push(&mut answer, TTL, A::new(*address)))
            }
            Reply::Computed(address) if self.asks_for(Rtype::A) => self.push(&mut answer, COMPUTED, A::new(*address)),
            Reply::Names(names) if self.asks_for(Rtype::PTR) => names
                .iter()
                .filter_map(|name| parsed(name))
                .try_for_each(|name| self.push(&mut answer, TTL, Ptr::new(name))),
            Reply::Nothing => self.push_apex(&mut answer, zone),
            _ => Ok(()),
        };
        if has_data.is_err() {
            answer.header_mut().set_tc(true);
        }
        let is_empty = answer.counts().ancount() == 0;
        let mut authority = answer.authority();
        if is_empty && rcode != Rcode::SERVFAIL && rcode != Rcode::REFUSED {
            let _ = authority.push((parsed(&self.apex(zone))?, Class::IN, TTL, soa(zone)?));
        }
        let mut additional = authority.additional();
        additional.clear_push_limit();
        if self.edns {
            additional
                .opt(|opt| {
                    opt.set_udp_payload_size(LARGE);
                    Ok(())
                })
                .ok()?;
        }
        Some(additional.finish().into_target())
    }

    fn push<D>(&self, answer: &mut Answer, ttl: Ttl, data: D) -> Result<(), ()>
    where
        D: domain::base::RecordData + domain::base::rdata::ComposeRecordData,
    {
        let question = self.message.sole_question().map_err(|_| ())?;
        answer.push((question.qname(), Class::IN, ttl, data)).map_err(|_| ())
    }

    /// The zone that the question is in.
    fn apex(&self, zone: &Zone) -> String {
        let is_reverse = self.labels.last().is_some_and(|label| label.eq_ignore_ascii_case("arpa"));
        if is_reverse { zone.reverse_domain() } else { zone.domain() }
    }

    /// What a zone has to have at its top.
    fn push_apex(&self, answer: &mut Answer, zone: &Zone) -> Result<(), ()> {
        if !self.labels.join(".").eq_ignore_ascii_case(&self.apex(zone)) {
            return Ok(());
        }
        let soa = soa(zone).ok_or(())?;
        match self.qtype {
            Rtype::SOA => self.push(answer, TTL, soa),
            Rtype::NS => self.push(answer, TTL, Ns::new(soa.mname().clone())),
            _ => Ok(()),
        }
    }
}

type Answer = AnswerBuilder<StaticCompressor<Vec<u8>>>;

fn parsed(name: &str) -> Option<Name<Vec<u8>>> {
    name.parse().ok()
}

/// The start of authority of a zone: negative answers hold as long as the others (RFC 2308).
fn soa(zone: &Zone) -> Option<Soa<Name<Vec<u8>>>> {
    const DAY: Ttl = Ttl::from_secs(86_400);
    let server = parsed(&format!("gw.{}", zone.domain()))?;
    let person = parsed(&format!("hostmaster.{}", zone.domain()))?;
    Some(Soa::new(server, person, Serial(1), DAY, DAY, DAY, TTL))
}

/// A short answer to what will not be read further.
fn refusal(message: &Message<Vec<u8>>, rcode: Rcode) -> Option<Vec<u8>> {
    let builder = MessageBuilder::from_target(Vec::new()).ok()?;
    let mut builder = builder.question();
    let header = builder.header_mut();
    header.set_id(message.header().id());
    header.set_opcode(message.header().opcode());
    header.set_rd(message.header().rd());
    header.set_qr(true);
    header.set_rcode(rcode);
    if let Ok(question) = message.sole_question() {
        builder.push(question).ok()?;
    }
    Some(builder.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::tests::announced;
    use crate::names::zone::DOMAIN;

    fn zone() -> Zone {
        Zone::new(announced().mapping, DOMAIN)
    }

    fn question(name: &str, qtype: Rtype, size: Option<u16>) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec().question();
        builder.header_mut().set_id(28);
        builder.header_mut().set_rd(true);
        builder.push((parsed(name).unwrap(), qtype)).unwrap();
        let mut builder = builder.additional();
        if let Some(size) = size {
            builder
                .opt(|opt| {
                    opt.set_udp_payload_size(size);
                    Ok(())
                })
                .unwrap();
        }
        builder.finish()
    }

    fn answered(name: &str, qtype: Rtype, size: Option<u16>, reply: &Reply) -> Message<Vec<u8>> {
        let query = Query::read(&question(name, qtype, size), Transport::Udp).unwrap();
        Message::from_octets(query.answer(&zone(), reply)).unwrap()
    }

    fn addresses(message: &Message<Vec<u8>>) -> Vec<Ipv4Addr> {
        let records = message.answer().unwrap().limit_to::<A>();
        records.map(|record| record.unwrap().data().addr()).collect()
    }

    #[test]
    fn a_name_has_addresses_and_nothing_else() {
        let all: Vec<Ipv4Addr> = vec![[250, 0, 28, 3].into(), [250, 0, 27, 9].into()];
        let reply = Reply::Addresses(all.clone());
        let message = answered("web.fan.internal", Rtype::A, Some(1_232), &reply);
        assert_eq!(addresses(&message), all);
        assert!(message.header().aa() && message.header().rd() && message.opt().is_some());
        let record = message.answer().unwrap().next().unwrap().unwrap();
        assert_eq!(record.ttl(), TTL);
        let aaaa = answered("web.fan.internal", Rtype::AAAA, None, &reply);
        assert_eq!((aaaa.header().rcode(), aaaa.header_counts().ancount()), (Rcode::NOERROR, 0));
        assert_eq!(aaaa.header_counts().nscount(), 1, "how long that holds");
        assert!(aaaa.opt().is_none());
    }

    #[test]
    fn what_is_not_there_is_told_as_that() {
        for (reply, rcode, authority) in [
            (Reply::Missing, Rcode::NXDOMAIN, 1),
            (Reply::Nothing, Rcode::NOERROR, 1),
            (Reply::Silence, Rcode::SERVFAIL, 0),
            (Reply::Refused, Rcode::REFUSED, 0),
        ] {
            let message = answered("nix.fan.internal", Rtype::A, None, &reply);
            assert_eq!((message.header().rcode(), message.header_counts().nscount()), (rcode, authority), "{reply:?}");
        }
        let soa = answered(DOMAIN, Rtype::SOA, None, &Reply::Nothing);
        assert_eq!(soa.header_counts().ancount(), 1);
    }

    #[test]
    fn an_address_has_names() {
        let names = vec!["web.250-0-28.fan.internal".to_string()];
        let message = answered("3.28.0.250.in-addr.arpa", Rtype::PTR, None, &Reply::Names(names));
        let record = message.answer().unwrap().limit_to::<Ptr<_>>().next().unwrap().unwrap();
        assert_eq!(record.data().to_string(), "web.250-0-28.fan.internal.");
    }

    #[test]
    fn what_does_not_fit_a_datagram_is_asked_for_by_tcp() {
        let all: Vec<Ipv4Addr> = (1..=250).map(|n| Ipv4Addr::new(250, 0, 28, n)).collect();
        let reply = Reply::Addresses(all.clone());
        for size in [None, Some(4_096)] {
            let message = answered("web.fan.internal", Rtype::A, size, &reply);
            let limit = if size.is_none() { PLAIN } else { usize::from(LARGE) };
            assert!(message.header().tc() && message.as_slice().len() <= limit, "{}", message.as_slice().len());
        }
        let query = Query::read(&question("web.fan.internal", Rtype::A, None), Transport::Tcp).unwrap();
        let message = Message::from_octets(query.answer(&zone(), &reply)).unwrap();
        assert!(!message.header().tc());
        assert_eq!(addresses(&message), all);
    }

    #[test]
    fn what_is_no_question_gets_no_answer_or_a_short_one() {
        assert_eq!(Query::read(b"short", Transport::Udp).unwrap_err(), None);
        let mut answer = question("a.fan.internal", Rtype::A, None);
        answer[2] |= 0x80;
        assert_eq!(Query::read(&answer, Transport::Udp).unwrap_err(), None);
        let mut update = question("a.fan.internal", Rtype::A, None);
        update[2] |= 5 << 3;
        let refused = Message::from_octets(Query::read(&update, Transport::Udp).unwrap_err().unwrap()).unwrap();
        assert_eq!((refused.header().rcode(), refused.header().id()), (Rcode::NOTIMP, 28));
    }
}
