//! Packets that are meant to confuse, from an attacker on the underlay and from a hostile container: a table of them, with who
//! may see each.
//!
//! The attacked host forwards, and its administrator allows source routes and has no reverse path filter, so that what is
//! stopped is stopped by the fan. Its default route is another interface than its underlay's. A row's packets are known by
//! the identification in their headers.

use std::collections::BTreeSet;
use std::fs;

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{
    Capture, Container, Crafted, Encap, Host, INTERNET, Inner, Lan, Namespace, eventually, inject_plain,
};

pub fn cases() -> Vec<Case> {
    Cases::of("hostile")
        .each(named![
            an_attacker_on_the_underlay_gets_nowhere,
            a_hostile_container_gets_nowhere,
            a_container_cannot_pose_as_another_slice_to_its_host,
            a_container_cannot_pose_as_another_slice_to_its_neighbours,
            a_container_cannot_claim_by_arp_what_no_container_here_has,
        ])
        .each_with(&[Need::Vlan], named![tags_do_not_hide_another_slice])
        .once(named![a_stolen_mac_address_brings_no_packets])
        .list()
}

/// Two hosts of a fan, one of them attacked.
struct Stage {
    /// 172.30.0.28
    host: Host,
    /// 250.0.28.2, on `host`
    victim: Container,
    /// 250.0.28.3, on `host`
    hostile: Container,
    /// 172.30.0.27
    other: Host,
    /// 250.0.27.2, on `other`
    far: Container,
    /// 172.30.0.26, without a fan, whose slice would be 250.0.26.0/24
    mallory: Host,
    _lans: [Lan; 2],
}

impl Stage {
    fn new(encap: Encap) -> Self {
        let (lan, uplink) = (Lan::new(), Lan::of("198.51.100.0/24", 1500));
        let host = lan.host("172.30.0.28");
        uplink.plug(&host, "eth1", "198.51.100.28/24");
        host.ip(&format!("route add default via {}", uplink.gateway()));
        for scope in ["all", "default", "eth0", "eth1"] {
            host.set_sysctl(&format!("ipv4/conf/{scope}/rp_filter"), "0");
            host.set_sysctl(&format!("ipv4/conf/{scope}/accept_source_route"), "1");
        }
        let (other, mallory) = (lan.host("172.30.0.27"), lan.host("172.30.0.26"));
        for host in [&host, &other] {
            host.up(encap);
        }
        mallory.ip("route add 250.0.28.0/24 via 172.30.0.28");
        let (victim, hostile) = (host.container("250.0.28.2"), host.container("250.0.28.3"));
        let far = other.container("250.0.27.2");
        let stage = Self {
            host,
            victim,
            hostile,
            other,
            far,
            mallory,
            _lans: [lan, uplink],
        };
        stage.works();
        stage
    }

    /// The fan does what it is for; every neighbour is known afterwards.
    fn works(&self) {
        self.victim.ping("250.0.27.2").arrives();
        self.hostile.ping("250.0.27.2").arrives();
        self.hostile.ping("250.0.28.2").arrives();
        self.victim.ping(INTERNET).arrives();
    }

    /// Packets that a rule of the fan's on the host has counted.
    fn counted(&self, rule: &str) -> u64 {
        let table = self.host.nft_json("list table bridge fan-250.0.0.0/8");
        let rules = table
            .as_array()
            .expect("objects")
            .iter()
            .filter_map(|object| object.get("rule"));
        let ours = rules.filter(|found| {
            found["comment"]
                .as_str()
                .is_some_and(|comment| comment.starts_with(rule))
        });
        let counters = ours.flat_map(|found| found["expr"].as_array().expect("expressions").clone());
        counters
            .filter_map(|expression| expression["counter"]["packets"].as_u64())
            .sum()
    }
}

fn mac(namespace: &Namespace, device: &str) -> String {
    let link = namespace.ip_json(&format!("link show dev {device}"));
    link[0]["address"].as_str().expect("a MAC address").into()
}

fn octets(mac: &str) -> [u8; 6] {
    let octets: Vec<u8> = mac
        .split(':')
        .map(|octet| u8::from_str_radix(octet, 16).expect("hexadecimal"))
        .collect();
    octets.try_into().expect("six octets")
}

/// Warnings and worse of the kernel leave a mark (Documentation/admin-guide/tainted-kernels.rst): bits 7 and 9.
fn kernel_complaints() -> u64 {
    let tainted = fs::read_to_string("/proc/sys/kernel/tainted").expect("a number");
    tainted.trim().parse::<u64>().expect("a number") & (1 << 7 | 1 << 9)
}

/// Who sees the packets of a row on a device of theirs. Whatever it is, none leaves the attacked host but back to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    ByNobody,
    ByVictim,
    ByFar,
    /// What has an honest source is bridged as it is, sound or not; routed it must be sound.
    ByVictimIfBridged,
    ByFarIfBridged,
}

struct Row {
    what: &'static str,
    packets: Vec<Crafted>,
    seen: Seen,
}

/// Sends all rows, and looks who saw what.
#[track_caller]
fn attack(encap: Encap, stage: &Stage, from: &Namespace, rows: &[Row]) {
    let complaints = kernel_complaints();
    let victim = Capture::on(&stage.victim, "eth0", "ip and not igmp");
    let far = Capture::on(&stage.far, "eth0", "ip and not igmp");
    let back = "not dst host 172.30.0.26";
    let leaks =
        format!("(net 250.0.0.0/8 or host {INTERNET} or ip proto 4 or udp port 8472 or udp port 7777) and {back}");
    let leaving = |device| format!("ether src {} and {leaks}", mac(&stage.host, device));
    let underlay = Capture::on(&stage.host, "eth0", &leaving("eth0"));
    let default = Capture::on(&stage.host, "eth1", &leaving("eth1"));
    for packet in rows.iter().flat_map(|row| &row.packets) {
        packet.send(from);
    }
    let bridged = encap == Encap::Vxlan;
    let expected = |by: Seen, if_bridged: Seen| -> BTreeSet<&str> {
        let rows = rows
            .iter()
            .filter(|row| row.seen == by || bridged && row.seen == if_bridged);
        rows.map(|row| row.what).collect()
    };
    let seen = |packets: &[String]| -> BTreeSet<&str> {
        let ids = packets.iter().flat_map(|packet| packet.split(" id ").skip(1));
        let ids = ids.filter_map(|rest| rest.split(',').next()?.parse::<usize>().ok());
        ids.filter_map(|id| rows.get(id.checked_sub(FIRST)?))
            .map(|row| row.what)
            .collect()
    };
    // The last row is honest: it comes behind all others on their way.
    let last = |by| rows.last().is_some_and(|row| row.seen == by);
    assert!(last(Seen::ByVictim) || last(Seen::ByFar));
    let number = |capture: &BTreeSet<&str>| capture.len();
    let (to_victim, to_far) = (
        expected(Seen::ByVictim, Seen::ByVictimIfBridged),
        expected(Seen::ByFar, Seen::ByFarIfBridged),
    );
    let (victim, far) = (victim.at_least(number(&to_victim)), far.at_least(number(&to_far)));
    assert_eq!(seen(&victim), to_victim, "the victim: {victim:#?}");
    assert_eq!(seen(&far), to_far, "the container of the other host: {far:#?}");
    let honest = |packet: &String| last(Seen::ByFar) && seen(std::slice::from_ref(packet)).is_subset(&to_far);
    let leaked: Vec<String> = underlay
        .packets()
        .into_iter()
        .filter(|packet| !honest(packet))
        .collect();
    assert_eq!(leaked, Vec::<String>::new(), "on the underlay");
    assert_eq!(default.packets(), Vec::<String>::new(), "on the default route");
    stage.works();
    assert_eq!(kernel_complaints(), complaints, "the kernel warned");
}

/// The identification of the first row.
const FIRST: usize = 0x4000;

/// Rows, each made of its identification.
fn table(rows: Vec<(&'static str, Seen, Box<dyn Fn(u16) -> Vec<Crafted> + '_>)>) -> Vec<Row> {
    let rows = rows.into_iter().enumerate();
    rows.map(|(number, (what, seen, packets))| Row {
        what,
        packets: packets(u16::try_from(FIRST + number).expect("few")),
        seen,
    })
    .collect()
}

/// A row.
macro_rules! row {
    ($what:literal, $seen:ident, $packets:expr) => {
        (
            $what,
            Seen::$seen,
            Box::new($packets) as Box<dyn Fn(u16) -> Vec<Crafted>>,
        )
    };
}

const VICTIM: &str = "250.0.28.2";
const FAR: &str = "250.0.27.2";
const GATEWAY: &str = "250.0.28.1";
/// Of Mallory's own slice.
const OWN: &str = "250.0.26.9";
/// Of a slice that is the other host's.
const FOREIGN: &str = "250.0.27.9";
/// Underlay addresses of Mallory, the attacked host, and the other.
const MALLORY: &str = "172.30.0.26";
const HOST: &str = "172.30.0.28";
const OTHER: &str = "172.30.0.27";

const LOOSE: u8 = 131;
const STRICT: u8 = 137;
const FRAGMENTATION_NEEDED: (u8, u8) = (3, 4);
const HOST_UNREACHABLE: (u8, u8) = (3, 1);
const REDIRECT: (u8, u8) = (5, 1);

fn an_attacker_on_the_underlay_gets_nowhere(encap: Encap) {
    let stage = Stage::new(encap);
    let (to_victim, to_host) = (
        octets(&mac(&stage.victim, "eth0")),
        octets(&mac(&stage.host, "fan-250-0-28")),
    );
    let wrap_as = move |source, inner: Crafted| match encap {
        Encap::Ipip => inner.in_ip((source, HOST)),
        Encap::Vxlan => inner.in_vxlan((source, HOST), to_victim),
    };
    let wrap = move |inner| wrap_as(MALLORY, inner);
    let wrap_for_host = move |inner: Crafted| match encap {
        Encap::Ipip => inner.in_ip((MALLORY, HOST)),
        Encap::Vxlan => inner.in_vxlan((MALLORY, HOST), to_host),
    };
    let honest = |id| Crafted::udp(id, (OWN, VICTIM));
    let forged = |id| Crafted::udp(id, (FOREIGN, VICTIM));
    // A conversation that conntrack knows, for errors to quote.
    inject_plain(&stage.victim, Inner::new(VICTIM, FAR));
    let conversation = |id| Crafted::udp(id, (VICTIM, FAR));
    let rows = table(vec![
        row!("honest", ByVictim, move |id| vec![wrap(honest(id))]),
        row!("another's source", ByNobody, move |id| vec![wrap(forged(id))]),
        row!("the victim's own source", ByNobody, move |id| vec![wrap(Crafted::udp(
            id,
            (VICTIM, VICTIM)
        ))]),
        row!("honest inside, another's outside", ByNobody, move |id| vec![wrap_as(
            OTHER,
            honest(id)
        )]),
        row!("in the name of the host itself", ByNobody, move |id| vec![wrap_as(
            HOST,
            forged(id)
        )]),
        row!("cut to nothing", ByNobody, move |id| vec![
            wrap(honest(id).cut(0)),
            wrap(honest(id).cut(8))
        ]),
        row!("cut in the header", ByNobody, move |id| vec![
            wrap(honest(id).cut(16)),
            wrap(honest(id).cut(19))
        ]),
        row!("longer than it is", ByVictimIfBridged, move |id| vec![wrap(
            honest(id).cut(40)
        )]),
        row!("a header longer than it is", ByVictimIfBridged, move |id| vec![wrap(
            honest(id).cut(40).patched(0, &[0x4f])
        )]),
        row!("nested, from an underlay address", ByNobody, move |id| {
            vec![wrap(forged(id).in_ip((OTHER, HOST)))]
        }),
        row!("nested, for the host's address in the overlay", ByNobody, move |id| {
            vec![
                wrap_for_host(forged(id).in_ip((OWN, GATEWAY))),
                wrap_for_host(honest(id).in_ip((OWN, GATEWAY))),
            ]
        }),
        row!("nested, for the victim to take apart", ByVictim, move |id| {
            vec![wrap(forged(id).in_ip((OWN, VICTIM)))]
        }),
        row!("routed on by the host to the internet", ByNobody, move |id| {
            let through = Crafted::udp(id, (OWN, GATEWAY));
            vec![
                wrap_for_host(through.clone().routed_on_to(LOOSE, INTERNET)),
                wrap_for_host(through.routed_on_to(STRICT, "198.51.100.254")),
            ]
        }),
        row!("routed on by the host to another's container", ByNobody, move |id| {
            vec![wrap_for_host(Crafted::udp(id, (OWN, GATEWAY)).routed_on_to(LOOSE, FAR))]
        }),
        row!("plain, routed on by the host to the victim", ByNobody, move |id| {
            let through = Crafted::udp(id, (MALLORY, HOST));
            vec![
                through.clone().routed_on_to(LOOSE, VICTIM),
                through.routed_on_to(STRICT, VICTIM),
            ]
        }),
        row!(
            "plain, routed on by the host's address in the overlay",
            ByNobody,
            move |id| { vec![Crafted::udp(id, (MALLORY, GATEWAY)).routed_on_to(LOOSE, VICTIM)] }
        ),
        row!("fragments with another's source", ByNobody, move |id| {
            let whole = forged(id);
            vec![
                wrap(whole.fragment(0, 8)),
                wrap(whole.fragment(1, 8)),
                wrap(whole.fragment(2, 99)),
            ]
        }),
        row!("overlapping fragments", ByVictimIfBridged, move |id| {
            let whole = honest(id);
            vec![
                wrap(whole.fragment(0, 24)),
                wrap(whole.fragment(1, 16)),
                wrap(whole.fragment(2, 99)),
            ]
        }),
        row!("wrapped in tiny fragments", ByVictim, move |id| {
            let whole = wrap(honest(id));
            vec![whole.fragment(0, 8), whole.fragment(1, 8), whole.fragment(2, 999)]
        }),
        row!("wrapped in tiny fragments, another's source", ByNobody, move |id| {
            let whole = wrap(forged(id));
            vec![whole.fragment(0, 8), whole.fragment(1, 8), whole.fragment(2, 999)]
        }),
        row!(
            "wrapped in fragments of which one writes over the source",
            ByNobody,
            move |id| {
                let (one, two) = (wrap(honest(id)), wrap(forged(id)));
                vec![one.fragment(0, 80), two.fragment(1, 999)]
            }
        ),
        row!("a fragment that has no beginning", ByNobody, move |id| vec![
            wrap(forged(id)).fragment(3, 999)
        ]),
        row!(
            "an error about a conversation, from a slice of its own",
            ByVictim,
            move |id| { vec![wrap(conversation(id).quoted(FRAGMENTATION_NEEDED, (OWN, VICTIM)))] }
        ),
        row!(
            "an error about a conversation, from another's slice",
            ByNobody,
            move |id| { vec![wrap(conversation(id).quoted(FRAGMENTATION_NEEDED, (FOREIGN, VICTIM)))] }
        ),
        row!("plain errors about a conversation", ByNobody, move |id| {
            let error = |kind| conversation(id).quoted(kind, (MALLORY, VICTIM));
            vec![error(FRAGMENTATION_NEEDED), error(HOST_UNREACHABLE), error(REDIRECT)]
        }),
        row!("errors about what the host wrapped", ByNobody, move |id| {
            let wrapped = move || match encap {
                Encap::Ipip => conversation(id).in_ip((HOST, OTHER)),
                Encap::Vxlan => conversation(id).in_vxlan((HOST, OTHER), to_victim),
            };
            vec![
                wrapped().quoted(FRAGMENTATION_NEEDED, (MALLORY, HOST)),
                wrapped().quoted(HOST_UNREACHABLE, (MALLORY, HOST)),
                wrapped().cut(28).quoted(FRAGMENTATION_NEEDED, (MALLORY, HOST)),
                wrapped().cut(44).quoted(HOST_UNREACHABLE, (OTHER, HOST)),
            ]
        }),
        row!("options that are none", ByVictimIfBridged, move |id| {
            vec![
                wrap(honest(id).options(&[131, 3, 4, 0])),
                wrap(honest(id).options(&[68, 40, 5, 0])),
            ]
        }),
        row!("for everybody", ByNobody, move |id| {
            let ends = ["250.0.255.255", "250.255.255.255", "255.255.255.255", "224.0.0.1"].map(|all| (OWN, all));
            ends.map(|ends| wrap(Crafted::udp(id, ends))).into()
        }),
        row!("honest, behind all of them", ByVictim, move |id| vec![wrap(honest(id))]),
    ]);
    attack(encap, &stage, &stage.mallory, &rows);
}

fn a_hostile_container_gets_nowhere(encap: Encap) {
    const ME: &str = "250.0.28.3";
    let stage = Stage::new(encap);
    let wrap = move |inner: Crafted, outer| match encap {
        Encap::Ipip => inner.in_ip(outer),
        Encap::Vxlan => inner.in_vxlan(outer, [0x02, 0, 0, 0, 0, 0x77]),
    };
    let forged = |id, to| Crafted::udp(id, (OWN, to));
    let rows = table(vec![
        row!("honest", ByFar, move |id| vec![Crafted::udp(id, (ME, FAR))]),
        row!("another's source, to a neighbour", ByNobody, move |id| vec![forged(
            id, VICTIM
        )]),
        row!("in the name of its host, to a neighbour", ByNobody, move |id| vec![
            Crafted::udp(id, (GATEWAY, VICTIM))
        ]),
        row!(
            "another's source, to another host's container",
            ByNobody,
            move |id| vec![forged(id, FAR)]
        ),
        row!("another's source, to the internet", ByNobody, move |id| vec![forged(
            id, INTERNET
        )]),
        row!("wrapped in fragments, in the name of a host", ByNobody, move |id| {
            let whole = wrap(forged(id, FAR), (MALLORY, OTHER));
            vec![whole.fragment(0, 8), whole.fragment(1, 8), whole.fragment(2, 999)]
        }),
        row!("wrapped in fragments, in the name of its host", ByNobody, move |id| {
            let whole = wrap(Crafted::udp(id, (VICTIM, FAR)), (HOST, OTHER));
            vec![whole.fragment(0, 24), whole.fragment(3, 999)]
        }),
        row!("wrapped, with options before it", ByNobody, move |id| {
            vec![wrap(forged(id, FAR), (MALLORY, OTHER)).options(&[148, 4, 0, 0])]
        }),
        row!("wrapped for its own host", ByNobody, move |id| vec![wrap(
            forged(id, VICTIM),
            (MALLORY, HOST)
        )]),
        row!(
            "nested, for its own host's address in the overlay",
            ByNobody,
            move |id| {
                vec![
                    forged(id, VICTIM).in_ip((ME, GATEWAY)),
                    forged(id, VICTIM).in_ip((MALLORY, GATEWAY)),
                ]
            }
        ),
        row!(
            "nested, for the other host's address in the overlay",
            ByNobody,
            move |id| { vec![forged(id, FAR).in_ip((OWN, "250.0.27.1"))] }
        ),
        row!("another's source, routed on by its host", ByNobody, move |id| {
            vec![
                forged(id, GATEWAY).routed_on_to(LOOSE, FAR),
                forged(id, GATEWAY).routed_on_to(STRICT, VICTIM),
            ]
        }),
        row!("fragments with another's source", ByNobody, move |id| {
            let whole = forged(id, FAR);
            vec![whole.fragment(0, 8), whole.fragment(1, 8), whole.fragment(2, 99)]
        }),
        row!("an error with another's source", ByNobody, move |id| {
            vec![Crafted::udp(id, (VICTIM, FAR)).quoted(FRAGMENTATION_NEEDED, (FOREIGN, VICTIM))]
        }),
        row!("options that are none", ByFarIfBridged, move |id| {
            vec![Crafted::udp(id, (ME, FAR)).options(&[131, 3, 4, 0])]
        }),
        row!("honest, behind all of them", ByFar, move |id| vec![Crafted::udp(
            id,
            (ME, FAR)
        )]),
    ]);
    attack(encap, &stage, &stage.hostile, &rows);
}

/// How often a packet is sent.
const MANY: u64 = 20;

/// The hostile container sends with another's source, and a rule counts all of it.
#[track_caller]
fn is_counted(stage: &Stage, rule: &str, to: &str) {
    let before = stage.counted(rule);
    for _ in 0..MANY {
        inject_plain(&stage.hostile, Inner::new(FOREIGN, to));
    }
    eventually("the rule counts the packets", || {
        (stage.counted(rule) >= before + MANY).then_some(())
    });
}

fn a_container_cannot_pose_as_another_slice_to_its_host(encap: Encap) {
    let stage = Stage::new(encap);
    let bridge = Capture::on(&stage.host, "fan-250-0-28", Inner::FILTER);
    is_counted(&stage, "posing", GATEWAY);
    // What the kernel drops before the bridge has it, the bridge does not show.
    assert_eq!(bridge.packets(), Vec::<String>::new());
}

fn a_container_cannot_pose_as_another_slice_to_its_neighbours(encap: Encap) {
    let stage = Stage::new(encap);
    let victim = Capture::on(&stage.victim, "eth0", Inner::FILTER);
    is_counted(&stage, "posing", VICTIM);
    assert_eq!(victim.packets(), Vec::<String>::new());
}

fn a_container_cannot_claim_by_arp_what_no_container_here_has(encap: Encap) {
    let stage = Stage::new(encap);
    for (claimed, deceived) in [(FOREIGN, &[VICTIM, GATEWAY][..]), (GATEWAY, &[VICTIM])] {
        stage
            .hostile
            .ip(&format!("addr add {claimed}/32 dev eth0\n neigh flush dev eth0"));
        let filter = format!("arp host {claimed} and ether src {}", mac(&stage.hostile, "eth0"));
        let devices = [(&*stage.victim, "eth0"), (&*stage.host, "fan-250-0-28")];
        let captures = devices.map(|(who, device)| Capture::on(who, device, &filter));
        for asked in deceived {
            let before = stage.counted("posing by arp");
            stage.hostile.exec(&format!("ping -n -c 1 -W 0.5 -I {claimed} {asked}"));
            eventually("the rule counts the question", || {
                (stage.counted("posing by arp") > before).then_some(())
            });
        }
        for capture in captures {
            assert_eq!(capture.packets(), Vec::<String>::new());
        }
        stage
            .hostile
            .ip(&format!("addr del {claimed}/32 dev eth0\n neigh flush dev eth0"));
    }
    // Its own address it may use as before.
    stage.works();
    stage.other.ping("250.0.28.3").arrives();
}

fn tags_do_not_hide_another_slice(encap: Encap) {
    let stage = Stage::new(encap);
    let mac = mac(&stage.victim, "eth0");
    stage.hostile.ip("link add link eth0 name once type vlan id 0
         link add link once name twice type vlan id 0
         link set once up
         link set twice up");
    let victim = Capture::on(&stage.victim, "eth0", "udp port 7777 or vlan");
    for (device, rule) in [("once", "posing"), ("twice", "hidden by tags")] {
        stage.hostile.ip(&format!(
            "route replace {VICTIM}/32 dev {device}
             neigh replace {VICTIM} lladdr {mac} dev {device}"
        ));
        is_counted(&stage, rule, VICTIM);
    }
    assert_eq!(victim.packets(), Vec::<String>::new());
}

/// What is not promised is that nobody takes a MAC address; what is promised is that nothing is read that way.
fn a_stolen_mac_address_brings_no_packets() {
    let stage = Stage::new(Encap::Vxlan);
    let (own, stolen) = (mac(&stage.far, "eth0"), mac(&stage.victim, "eth0"));
    let port = |mac: &str| {
        let answer = stage.host.exec("bridge -j fdb show br fan-250-0-28").ok().json();
        let entries = answer.as_array().expect("entries").clone();
        let learnt = entries
            .into_iter()
            .find(|entry| entry["mac"] == mac && entry["state"] != "permanent");
        learnt.and_then(|entry| Some(entry["ifname"].as_str()?.to_string()))
    };
    let thief = |mac: &str| stage.far.ip(&format!("link set eth0 address {mac}"));
    thief(&stolen);
    stage.far.exec("ping -n -c 1 -W 0.5 250.0.28.1");
    assert_eq!(port(&stolen).as_deref(), Some(Encap::Vxlan.tunnel()), "the theft");
    let seen = Capture::on(&stage.far, "eth0", "host 250.0.28.2");
    let wire = Capture::on(&stage.host, "eth0", "udp port 8472 and src 172.30.0.28");
    inject_plain(&stage.hostile, Inner::new("250.0.28.3", VICTIM));
    inject_plain(&stage.host, Inner::new(GATEWAY, VICTIM));
    assert_eq!(seen.packets(), Vec::<String>::new());
    let left: Vec<String> = wire
        .packets()
        .into_iter()
        .filter(|packet| packet.contains("7777"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    // Its next packet brings it back.
    thief(&own);
    stage.victim.ping(GATEWAY).arrives();
    assert_ne!(port(&stolen).as_deref(), Some(Encap::Vxlan.tunnel()));
    stage.works();
}
