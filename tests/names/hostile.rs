//! A hostile host of the fan against the whole protocol. The law: **no name is ever published whose address does not map to the host
//! that said so**, and what others say takes no name away.
//!
//! The host can send any bytes from its own gateway, and from no other: the fan's programs see to that (tests/program).
//! `FANCTL_NAMES_MESSAGES` says how many messages of its making are tried, 3,000 without it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use fanctl::fan::label::Label;
use fanctl::names::facts::Version;
use fanctl::names::mesh::{Event, Mesh};
use fanctl::names::roll::Seen;
use fanctl::names::wire::{Answer, Message, Question, Refusal, decode, encode};

use crate::world::{MILLISECOND, Network, Random, SECOND, Time, World, address, container, mapping};

/// The hostile host, and how many there are in all.
const HOSTILE: usize = 7;
const HOSTS: usize = 8;

fn label(text: &str) -> Label {
    Label::new(text).expect("a label")
}

/// Arithmetic of its own: the third octet and the second tell the host, as they do in the underlay.
fn is_of(host: usize, address: Ipv4Addr) -> bool {
    let ([_, b, c, d], [_, _, y, z]) = (address.octets(), crate::world::address(host).octets());
    (b, c) == (y, z) && (1..=254).contains(&d)
}

/// Every address that is published for a name is of the slice of a host that said so itself.
fn assert_lawful(mesh: &Mesh, said: &BTreeMap<String, usize>) {
    for (name, addresses) in mesh.book().names() {
        for found in addresses {
            let host = said.get(name.as_str()).copied().unwrap_or(HOSTILE);
            assert!(is_of(host, *found), "{name} is {found}");
        }
    }
}

/// Any message, with a preference for what does harm.
fn message(random: &mut Random, seen: &[u8]) -> Vec<u8> {
    let number = |random: &mut Random| match random.below(4) {
        0 => u32::try_from(random.below(300)).expect("small"),
        1 => u32::MAX,
        2 => 1_800_000_000 + u32::try_from(random.below(200_000)).expect("small"),
        _ => u32::try_from(random.next() >> 32).expect("32 bits"),
    };
    let name = |random: &mut Random| match random.below(3) {
        0 => label(&format!("c{}", random.below(8))),
        1 => label("web"),
        _ => label(&format!("x{}", random.next())),
    };
    let version = |random: &mut Random| Version { boot: number(random), count: number(random) };
    let id = |random: &mut Random| (u32::try_from(random.below(9)).expect("small"), number(random), number(random));
    let message = match random.below(12) {
        0 => Message::Sync(random.next()),
        1 => {
            let seen = |random: &mut Random| {
                let (host, boot, renewal) = id(random);
                Seen {
                    host,
                    boot,
                    renewal,
                    incarnation: u16::MAX,
                    state: u8::try_from(random.below(3)).expect("small"),
                }
            };
            Message::List((0..random.below(20)).map(|_| seen(random)).collect())
        }
        2 => Message::Check { nonce: number(random), known: Some(version(random)) },
        3 => Message::Here { nonce: number(random) },
        4..=6 => {
            let parts = 1 + u8::try_from(random.below(3)).expect("small");
            let names = (0..random.below(8)).map(|_| (name(random), number(random))).collect();
            Message::Tell { nonce: number(random), version: version(random), part: 0, parts, names }
        }
        7 => Message::Want { version: version(random), parts: vec![0, 1, 255] },
        8 => Message::Got(version(random)),
        9 => Message::Ask { id: number(random), question: Question::Names(number(random)) },
        10 => Message::Answer { id: number(random), answer: Answer::Addresses(vec![number(random)]) },
        _ => {
            // A datagram of foca that was seen, with one slip.
            let mut data = seen.to_vec();
            if !data.is_empty() {
                let at = usize::try_from(random.below(data.len() as u64)).expect("small");
                data[at] ^= 1 << random.below(8);
            }
            Message::Gossip(data)
        }
    };
    let mut bytes = encode(mapping(), &message);
    if random.below(4) == 0 {
        let at = usize::try_from(random.below(bytes.len() as u64)).expect("small");
        bytes[at] ^= 1 << random.below(8);
    }
    bytes
}

/// A datagram of foca as the hostile host has sent one: it knows how they are made.
fn seen(world: &World, known: &mut Vec<u8>) {
    if let Ok(Message::Gossip(data)) = decode(mapping(), world.last_sent(HOSTILE)) {
        *known = data;
    }
}

#[test]
fn a_hostile_host_can_name_only_what_is_its_own_and_takes_nothing_away() {
    let messages: u64 = std::env::var("FANCTL_NAMES_MESSAGES").map_or(3_000, |text| text.parse().expect("a number"));
    let mut world = World::new(HOSTS, SECOND, Network::lan(0), 13);
    world.run(2 * SECOND);
    world.until("all know all", 10 * SECOND, World::all_know_all);
    let said: BTreeMap<String, usize> = (0..HOSTS).map(|host| (format!("c{host}"), host)).collect();
    let mut random = Random::new(17);
    let gateway = mapping().gateway(address(HOSTILE));
    let mut known = Vec::new();
    for number in 0..messages {
        seen(&world, &mut known);
        let bytes = message(&mut random, &known);
        let to = usize::try_from(random.below(7)).expect("small");
        world.deliver(gateway, to, bytes);
        world.run(world.now + 5 * MILLISECOND);
        let mesh = world.mesh(to);
        // It may say that c0 is here, with an address of its own slice: that is what balancing is.
        for (name, addresses) in mesh.book().names() {
            for found in addresses {
                let home = said.get(name.as_str()).copied();
                assert!(home.is_some_and(|home| is_of(home, *found)) || is_of(HOSTILE, *found), "{name} is {found}");
            }
        }
        // What the others said stands.
        for other in (0..HOSTILE).filter(|other| *other != to) {
            let mut found = mesh.book().addresses(&label(&format!("c{other}")));
            assert!(found.any(|found| found == container(other)), "message {number} took c{other} away at {to}");
        }
    }
    println!("{messages} messages; refused: {:?}", world.mesh(0).refusals());
    assert!(world.mesh(0).refusals().len() >= 3);
    assert!(world.left.iter().all(|(_, who, _)| *who == HOSTILE), "{:?}", world.left);
}

/// A host that says of another that it began later, and is gone: the other takes a start behind that, and no packet follows packet
/// as fast as they travel. A host that starts meanwhile finds it all the same.
#[test]
fn a_start_that_never_was_makes_no_storm_and_hides_no_host() {
    let mut world = World::new(HOSTS, SECOND, Network::lan(0), 29);
    world.stop(4);
    world.run(2 * SECOND);
    world.until("all know all", 10 * SECOND, World::all_know_all);
    world.run(world.now + 20 * SECOND);
    let gateway = mapping().gateway(address(HOSTILE));
    let victim = address(2).octets();
    let host = u32::from(u16::from_be_bytes([victim[2], victim[3]]));
    for renewal in [0, 1_000_000, u32::MAX] {
        world.sent(SECOND);
        let said: u32 = 20;
        for ahead in 0..said {
            let now = u32::try_from(world.now / SECOND).expect("a short time");
            let boot = 1_800_000_000 + 86_400 + now;
            for (to, state) in (0..HOSTILE).flat_map(|to| [(to, 0), (to, 2)]) {
                let seen = Seen { host, boot, renewal, incarnation: 0, state };
                world.deliver(gateway, to, encode(mapping(), &Message::List(vec![seen])));
            }
            if ahead == 10 {
                world.start(4);
            }
            world.run(world.now + SECOND);
        }
        let (packets, _) = world.sent(Time::from(said) * SECOND);
        println!("a start with renewal {renewal}: {packets} packets/s a host");
        assert!(packets < 200, "{packets} packets/s a host");
        assert!(world.all_know_all(), "what others say hides no host");
        assert_eq!(world.left.iter().filter(|(_, who, _)| *who != 4).count(), 0, "{:?}", world.left);
        world.stop(4);
        world.run(world.now + 10 * SECOND);
    }
}

#[test]
fn only_gateways_of_other_hosts_are_heard() {
    let mut world = World::new(3, SECOND, Network::lan(0), 19);
    world.run(4 * SECOND);
    let version = Version { boot: 1_800_000_009, count: 9 };
    let names = vec![(label("db"), 9)];
    let tell = encode(mapping(), &Message::Tell { nonce: 0, version, part: 0, parts: 1, names });
    let own = mapping().gateway(address(0));
    for from in [[250, 0, 2, 9], [250, 0, 0, 1], [250, 255, 255, 1], [172, 30, 0, 2], [251, 0, 2, 1], own.octets()] {
        world.step(0, Event::Datagram(from.into(), &tell));
    }
    assert_eq!(world.mesh(0).refusals().get(&Refusal::NoGateway), Some(&6));
    world.step(0, Event::Datagram(mapping().gateway(address(1)), &tell));
    assert_eq!(world.mesh(0).book().addresses(&label("db")).collect::<Vec<_>>(), [Ipv4Addr::new(250, 0, 2, 9)]);
}

#[test]
fn an_offset_beyond_the_slice_refuses_the_whole_message() {
    let mut world = World::new(3, SECOND, Network::lan(0), 23);
    world.run(4 * SECOND);
    let said: BTreeMap<String, usize> = (0..3).map(|host| (format!("c{host}"), host)).collect();
    let version = Version { boot: 1_800_000_009, count: 9 };
    for offset in [0, 255, 256, 513, u32::MAX] {
        let names = vec![(label("c1"), 3), (label("c0"), offset)];
        let tell = encode(mapping(), &Message::Tell { nonce: 0, version, part: 0, parts: 1, names });
        world.step(0, Event::Datagram(mapping().gateway(address(1)), &tell));
        assert_lawful(world.mesh(0), &said);
    }
    assert_eq!(world.mesh(0).refusals().get(&Refusal::OutOfBounds), Some(&5));
}
