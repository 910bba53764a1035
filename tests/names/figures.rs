//! How fast it is known who is there and what is called how, and what it costs: asserted in simulated time.
//!
//! `FANCTL_NAMES_HOSTS` says how many hosts, 12 without it; the limits are those for a thousand. Up to five times as many may take
//! twice as long.

use fanctl::fan::label::Label;

use crate::world::{MILLISECOND, Network, SECOND, Time, World, container};

/// Lost packets of a million, each way.
const LOSSES: [u64; 2] = [5_000, 50_000];

fn hosts() -> usize {
    std::env::var("FANCTL_NAMES_HOSTS").map_or(12, |text| text.parse().expect("FANCTL_NAMES_HOSTS is a number"))
}

/// What a time may be with this many hosts.
fn limit(time: Time) -> Time {
    if hosts() > 1_000 { 2 * time } else { time }
}

fn label(text: &str) -> Label {
    Label::new(text).expect("a label")
}

/// A world in which all know all.
fn settled(network: Network) -> World {
    let mut world = World::new(hosts(), 5 * SECOND, network, 7);
    world.run(5 * SECOND);
    let took = world.until("all know all", limit(10 * SECOND), World::all_know_all);
    println!("{} hosts, loss {}: all know all {} ms after the last start", hosts(), network.loss, took / MILLISECOND);
    world
}

#[test]
fn the_figures_of_the_page() {
    for loss in LOSSES {
        let mut world = settled(Network::lan(loss));
        world.run(world.now + 20 * SECOND);
        world.sent(SECOND);
        let departures = world.left.len();
        let idle = 20 * SECOND;
        world.run(world.now + idle);
        let (packets, bits) = world.sent(idle);
        println!("  idle: {packets} packets/s and {} kbit/s a host, sent", bits / 1_000);
        assert!(packets < 200 && bits < 100_000);
        assert_eq!(world.left.len(), departures, "a host that is there was taken for gone");

        let other = hosts() - 1;
        world.name(other, vec![(label("web"), container(other))]);
        let took = world.until("a changed name is known", limit(SECOND), |world| {
            world.all_publish("web", container(other), true)
                && world.all_publish(&format!("c{other}"), container(other), false)
        });
        println!("  a name that changed is known to all after {} ms", took / MILLISECOND);

        world.stop(other);
        let took = world.until("the names of a dead host are gone", limit(5 * SECOND), |world| {
            world.all_publish("web", container(other), false)
        });
        println!("  the names of a dead host are gone after {} ms", took / MILLISECOND);

        world.start(other);
        let took = world.until("a host that is back is known", limit(5 * SECOND), World::all_know_all);
        println!("  a host that comes is known to all after {} ms", took / MILLISECOND);
    }
}

#[test]
fn halves_keep_what_they_reach_and_become_whole_again() {
    for loss in LOSSES {
        let mut world = settled(Network::lan(loss));
        world.part(|host| u16::from(host % 2 == 0));
        world.run(world.now + 60 * SECOND);
        assert!(world.all_know_all(), "each half knows itself, and no more");
        world.part(|_| 0);
        let took = world.until("it is whole again", limit(65 * SECOND), World::all_know_all);
        println!("loss {loss}: whole {} ms after a minute in halves", took / MILLISECOND);
    }
}

#[test]
fn a_cable_that_was_out_for_half_a_minute_brings_all_names_back() {
    let mut world = settled(Network::lan(5_000));
    world.part(|host| u16::from(host == 3));
    let out = world.now;
    let took = world.until("a host that is cut off knows itself alone", limit(5 * SECOND), |world| {
        world.pairs_of(3) == 0 && world.all_know_all()
    });
    println!("{} hosts: one that is cut off knows itself alone after {} ms", hosts(), took / MILLISECOND);
    world.run(out + 30 * SECOND);
    assert!(world.all_know_all());
    world.part(|_| 0);
    let took = world.until("all know all", limit(5 * SECOND), World::all_know_all);
    println!("  back {} ms after the cable", took / MILLISECOND);
}

#[test]
fn a_few_that_are_cut_off_together_keep_each_other() {
    let mut world = settled(Network::lan(5_000));
    world.part(|host| u16::from((4..7).contains(&host)));
    let took = world.until("each part knows itself", limit(8 * SECOND), World::all_know_all);
    println!("{} hosts: three that are cut off know each other alone after {} ms", hosts(), took / MILLISECOND);
    world.part(|_| 0);
    world.until("all know all", limit(65 * SECOND), World::all_know_all);
}

/// A switch begins anew: for three seconds nobody reaches anybody.
#[test]
fn a_network_that_is_back_after_seconds_brings_all_names_back() {
    let mut world = settled(Network::lan(5_000));
    world.part(|host| u16::try_from(host).expect("few"));
    world.sent(SECOND);
    world.run(world.now + 3 * SECOND);
    let (packets, bits) = world.sent(3 * SECOND);
    println!("{} hosts, each alone: {packets} packets/s and {} kbit/s a host", hosts(), bits / 1_000);
    world.part(|_| 0);
    let took = world.until("all know all", limit(10 * SECOND), World::all_know_all);
    println!("  back {} ms after that", took / MILLISECOND);
}

#[test]
fn a_host_that_is_back_within_a_second_has_no_old_names() {
    let mut world = settled(Network::lan(5_000));
    world.stop(5);
    world.run(world.now + 900 * MILLISECOND);
    world.set_clock(5, 1);
    world.start(5);
    world.name(5, vec![(label("new"), container(5))]);
    world.until("its old name is gone", limit(5 * SECOND), |world| {
        world.all_publish("new", container(5), true) && world.all_publish("c5", container(5), false)
    });
}

#[test]
fn clocks_that_differ_do_no_harm() {
    for ahead in [-3_600, 3_600] {
        let mut world = World::new(hosts(), 5 * SECOND, Network::lan(5_000), 9);
        world.set_clock(4, ahead);
        world.run(5 * SECOND);
        world.until("all know all", limit(10 * SECOND), World::all_know_all);
        world.stop(4);
        world.run(world.now + 10 * SECOND);
        // Its clock has gone back since it was last seen, or forth.
        world.set_clock(4, -ahead);
        world.start(4);
        world.until("all know all again", limit(10 * SECOND), World::all_know_all);
    }
}

/// An hour in which nothing happens but lost packets. The whole hour with `FANCTL_NAMES_HOUR`; else five minutes.
#[test]
fn no_host_that_is_there_is_taken_for_gone() {
    let minutes = if std::env::var("FANCTL_NAMES_HOUR").is_ok_and(|hour| !hour.is_empty()) { 60 } else { 5 };
    let mut world = settled(Network::lan(5_000));
    world.left.clear();
    let end = world.now + minutes * 60 * SECOND;
    while world.now < end {
        world.run(world.now + 60 * SECOND);
        assert_eq!(world.left, []);
    }
    assert!(world.all_know_all());
    assert_eq!(world.pairs_here(), hosts() * (hosts() - 1));
    println!("{} hosts, {minutes} minutes: no host was taken for gone", hosts());
}

/// Hosts come, go and change, and at the end of each quiet spell exactly what they say is published.
#[test]
fn hosts_that_come_and_go_leave_no_stale_name() {
    let minutes = if std::env::var("FANCTL_NAMES_HOUR").is_ok_and(|hour| !hour.is_empty()) { 60 } else { 5 };
    let few = hosts().min(40);
    let mut world = World::new(few, 5 * SECOND, Network::lan(5_000), 11);
    let mut random = crate::world::Random::new(3);
    world.run(5 * SECOND);
    let mut stopped = Vec::new();
    for round in 0..minutes * 3 {
        for _ in 0..3 {
            let host = usize::try_from(2 + random.below(few as u64 - 2)).expect("few");
            match random.below(3) {
                0 if !stopped.contains(&host) => {
                    world.stop(host);
                    stopped.push(host);
                }
                1 if !stopped.is_empty() => world.start(stopped.remove(0)),
                _ if !stopped.contains(&host) => {
                    world.name(host, vec![(label(&format!("n{round}")), container(host))]);
                }
                _ => {}
            }
            world.run(world.now + random.below(2_000) * MILLISECOND);
        }
        world.until("no name is stale", 20 * SECOND, World::all_know_all);
    }
}

/// A host has more names than fit a datagram.
#[test]
fn many_names_go_in_parts() {
    for loss in [0, 50_000, 200_000] {
        let mut world = World::new(6, SECOND, Network::lan(loss), 5);
        let names = (0..600).map(|number| (label(&format!("a-name-that-is-long-{number}")), container(2)));
        let names: Vec<_> = names.collect();
        world.run(SECOND);
        world.name(2, names);
        let took = world.until("all know all", 20 * SECOND, World::all_know_all);
        println!("loss {loss}: 600 names are known after {} ms", took / MILLISECOND);
    }
}
