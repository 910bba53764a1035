//! The flowtable: what the host's own rules have let pass goes from bridge to tunnel without asking them again.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};

use serde_json::Value;

use crate::case::{Case, Cases, Need};
use crate::fixture::Pair;
use crate::named;
use crate::support::{Capture, Encap, Host, assert_same, eventually, tcp_exchange, udp_exchange};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("flowtable")
        .once_with(
            &[Need::Ipip],
            named![
                a_connection_that_stands_asks_the_hosts_rules_no_more,
                what_the_hosts_rules_refuse_is_refused,
                a_direction_that_is_refused_stays_refused,
                every_packet_loses_a_hop,
                a_device_that_was_made_anew_is_in_the_flowtable_again,
                where_there_was_none_the_doctor_says_so,
            ],
        )
        .list()
}

/// Questions that are asked by UDP, each of which is answered.
const QUESTIONS: u64 = 50;

/// The administrator's own chain where packets are forwarded.
pub fn own_chain(host: &Host, rule: &str) {
    host.exec("nft add table ip mine").ok();
    host.exec("nft add chain ip mine forward { type filter hook forward priority 0 ; }").ok();
    host.exec(&format!("nft add rule ip mine forward {rule}")).ok();
}

/// How many packets that chain has been asked about.
fn asked(host: &Host) -> u64 {
    host.counters("ip mine").iter().sum()
}

/// How many packets the tunnel has sent and received.
pub fn carried(host: &Host) -> u64 {
    let counters = &host.ip_json("-s link show dev fan-ipip")[0]["stats64"];
    let of = |way: &str| counters[way]["packets"].as_u64().expect("a number");
    of("tx") + of("rx")
}

/// A connection that stands: each call asks one question over it, and returns when the answer is there.
pub type Conversation = Box<dyn FnMut()>;

/// Over TCP. It is not closed while it is looked at: the first FIN takes a connection out of the flowtable
/// (`nf_flow_state_check`, net/netfilter/nf_flow_table_ip.c at v6.1).
pub fn tcp_conversation(pair: &Pair) -> Conversation {
    let listener = pair.cb.run(|| TcpListener::bind("250.0.27.2:0")).expect("to listen");
    let to = listener.local_addr().expect("its address");
    let mut near = pair.ca.run(move || TcpStream::connect(to)).expect("a connection");
    let (mut far, _) = listener.accept().expect("a connection");
    let mut word = [0; 8];
    Box::new(move || {
        near.write_all(b"question").expect("to ask");
        far.read_exact(&mut word).expect("a question");
        far.write_all(b"answered").expect("to answer");
        near.read_exact(&mut word).expect("an answer");
    })
}

/// Over UDP.
pub fn udp_conversation(pair: &Pair) -> Conversation {
    let far = pair.cb.run(|| UdpSocket::bind("250.0.27.2:0")).expect("a socket");
    let near = pair.ca.run(|| UdpSocket::bind("250.0.28.2:0")).expect("a socket");
    near.connect(far.local_addr().expect("its address")).expect("the peer");
    let mut word = [0; 8];
    Box::new(move || {
        near.send(b"question").expect("to ask");
        let (_, from) = far.recv_from(&mut word).expect("a question");
        far.send_to(b"answered", from).expect("to answer");
        near.recv(&mut word).expect("an answer");
    })
}

/// Asks questions; returns how many packets the administrator's chain was asked about meanwhile, and how many were carried.
fn asked_and_carried(pair: &Pair, ask: &mut Conversation) -> (u64, u64) {
    let before = (asked(&pair.a), carried(&pair.a));
    for _ in 0..QUESTIONS {
        ask();
    }
    // What was carried by now was asked about, or will be in a moment.
    let carried = carried(&pair.a) - before.1;
    (asked(&pair.a) - before.0, carried)
}

fn a_connection_that_stands_asks_the_hosts_rules_no_more() {
    let pair = Pair::new(Encap::Ipip);
    own_chain(&pair.a, "ip saddr 250.0.0.0/8 ip daddr 250.0.0.0/8 counter");
    for conversation in [tcp_conversation, udp_conversation] {
        let before = asked(&pair.a);
        let mut ask = conversation(&pair);
        // The kernel puts a connection into the flowtable when it finds the time.
        eventually("the connection is in the flowtable", || {
            let (asked, carried) = asked_and_carried(&pair, &mut ask);
            (asked == 0 && carried >= 2 * QUESTIONS).then_some(())
        });
        assert!(asked(&pair.a) > before, "the first packets are asked about");
        pair.a.fanctl("up 250.0.0.0/8 eth0/16 --no-flowtable").ok();
        let (asked, carried) = asked_and_carried(&pair, &mut conversation(&pair));
        assert!(carried > 40 && asked >= carried, "{asked} of {carried}");
        pair.a.up(Encap::Ipip);
    }
}

fn what_the_hosts_rules_refuse_is_refused() {
    let pair = Pair::new(Encap::Ipip);
    tcp_exchange(&pair.ca, &pair.cb, "250.0.27.2");
    own_chain(&pair.a, "tcp dport 9999 counter drop");
    let server = pair.cb.run(|| TcpListener::bind("250.0.27.2:9999"));
    let _server = server.expect("to listen there");
    let connect = |seconds| pair.ca.exec(&format!("nc -z -w {seconds} 250.0.27.2 9999"));
    assert_ne!(connect(1).code, Some(0));
    assert!(asked(&pair.a) > 0);
    pair.a.exec("nft delete table ip mine").ok();
    connect(10).ok();
}

/// Packets one way, which nobody may answer: the flowtable would carry the answers too.
fn a_direction_that_is_refused_stays_refused() {
    let pair = Pair::new(Encap::Ipip);
    own_chain(&pair.a, "iifname fan-ipip oifname fan-250-0-28 ip protocol udp counter drop");
    let [near, far] = [(&pair.ca, "250.0.28.2:7001"), (&pair.cb, "250.0.27.2:7002")]
        .map(|(container, address)| container.run(move || UdpSocket::bind(address)).expect("a socket"));
    let seen = Capture::on(&pair.ca, "eth0", "udp or icmp");
    for _ in 0..QUESTIONS {
        near.send_to(b"question", "250.0.27.2:7002").expect("to ask");
        far.send_to(b"answer", "250.0.28.2:7001").expect("to answer");
    }
    eventually("all answers have met the rule", || (asked(&pair.a) >= QUESTIONS).then_some(()));
    pair.ca.ping("250.0.27.2").arrives();
    let packets = seen.until("echo reply");
    let answers = packets.iter().filter(|packet| packet.contains("250.0.27.2.7002 >"));
    assert_eq!(answers.count(), 0, "{packets:#?}");
    assert_eq!(asked(&pair.a), QUESTIONS);
}

fn every_packet_loses_a_hop() {
    let pair = Pair::new(Encap::Ipip);
    let seen = Capture::on(&pair.cb, "eth0", "udp and dst host 250.0.27.2");
    udp_exchange(&pair.ca, &pair.cb, "250.0.27.2", QUESTIONS);
    let packets = seen.at_least(usize::try_from(QUESTIONS).expect("a number"));
    let hops = |packet: &&String| packet.contains(&format!("ttl {},", Encap::Ipip.ttl()));
    assert_eq!(packets.iter().filter(hops).count(), packets.len(), "{packets:#?}");
}

fn a_device_that_was_made_anew_is_in_the_flowtable_again() {
    let pair = Pair::new(Encap::Ipip);
    let devices = |host: &Host| {
        let tables = host.nft_json("list flowtables");
        let tables = tables.as_array().expect("objects").iter();
        let mut names: Vec<Value> =
            tables.filter_map(|object| object["flowtable"]["dev"].as_array()).flatten().cloned().collect();
        names.sort_by_key(Value::to_string);
        names
    };
    let before = pair.a.dump();
    assert_eq!(devices(&pair.a), ["fan-250-0-28", "fan-ipip"]);
    pair.a.ip("link del fan-ipip");
    assert_eq!(pair.a.nft_json("list flowtables").to_string().matches("fan-ipip").count(), 0);
    let output = pair.a.up(Encap::Ipip);
    assert_eq!(devices(&pair.a), ["fan-250-0-28", "fan-ipip"]);
    assert_same(&before, &pair.a.dump(), &output.to_string());
    tcp_exchange(&pair.ca, &pair.cb, "250.0.27.2");
}

/// The tables as they are made where the kernel knows no flowtables.
fn where_there_was_none_the_doctor_says_so() {
    const WORDS: &str = "had no flowtables";
    let pair = Pair::new(Encap::Ipip);
    assert!(!pair.a.fanctl("doctor").ok().stdout.contains(WORDS));
    let tables = pair.a.exec("nft list table ip fan-250.0.0.0/8").ok().stdout;
    let rule = tables.lines().find(|line| line.contains("flow add")).expect("the rule");
    let rule = rule.replace("flow add @between ", "");
    let mut chains = tables.lines().filter_map(|line| line.trim().strip_prefix("chain ")?.strip_suffix(" {"));
    let record = chains.find(|chain| chain.starts_with("made-")).expect("the record of what was made");
    pair.a
        .sh(&format!(
            "nft -f - <<'END'
         flush chain ip fan-250.0.0.0/8 established
         delete flowtable ip fan-250.0.0.0/8 between
         add rule ip fan-250.0.0.0/8 established {rule}
         delete chain ip fan-250.0.0.0/8 {record}\nEND"
        ))
        .ok();
    // The record of what was made is made anew with the table as it would be there.
    pair.a.fanctl("up 250.0.0.0/8 eth0/16").ok();
    let said = pair.a.fanctl("doctor").ok().stdout;
    assert!(said.contains("has all that a fan needs") && said.contains(WORDS), "{said}");
    // It is the same fan, and one that nobody wants faster needs no flowtable.
    pair.a.unchanged(|| pair.a.fanctl("up 250.0.0.0/8 eth0/16").ok());
    pair.a.fanctl("up 250.0.0.0/8 eth0/16 --no-flowtable").ok();
    assert!(!pair.a.fanctl("doctor").ok().stdout.contains(WORDS));
}
