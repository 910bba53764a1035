//! Hosts, the network between them, and time.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use fanctl::fan::label::Label;
use fanctl::fan::mapping::{Mapping, Underlay};
use fanctl::names::mesh::{Action, Event, Mesh, Settings};
use fanctl::names::peers::Standing;
use fanctl::names::zone::{DOMAIN, Zone};

/// Microseconds.
pub type Time = u64;
pub const SECOND: Time = 1_000_000;
pub const MILLISECOND: Time = 1_000;

/// Bytes of the headers of IPv4 and UDP, and of the encapsulation's.
const HEADERS: u64 = 20 + 8 + 20;

/// The seconds since 1970 at which a world begins.
const EPOCH: u32 = 1_800_000_000;

pub fn mapping() -> Mapping {
    let underlay = Underlay::containing([172, 30, 0, 0].into(), 16).expect("an underlay");
    Mapping::new("250".parse().expect("an overlay"), underlay).expect("a mapping")
}

pub fn address(host: usize) -> Ipv4Addr {
    Ipv4Addr::from(0xac1e_0001 + u32::try_from(host).expect("few"))
}

/// Every host has a container, at the third address of its slice.
pub fn container(host: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(mapping().slice(address(host)).network()) + 3)
}

fn index(gateway: Ipv4Addr) -> usize {
    usize::try_from(u32::from(mapping().host(gateway)) - 0xac1e_0001).expect("small")
}

/// A stream of numbers from a seed (SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What the network is like.
#[derive(Clone, Copy)]
pub struct Network {
    /// Latency of one way, from and to.
    pub latency: (Time, Time),
    /// Packets lost of a million, each way.
    pub loss: u64,
}

impl Network {
    pub fn lan(loss: u64) -> Self {
        Self { latency: (300, 700), loss }
    }
}

enum What {
    Arrives { to: usize, from: Ipv4Addr, bytes: Vec<u8> },
    Wakes(usize),
    Starts(usize),
}

struct Host {
    /// While it runs, with the time at which it began.
    mesh: Option<(Mesh, Time)>,
    /// When it will be woken.
    wakes: Time,
    /// What its clock is ahead of the others', in seconds.
    ahead: i64,
    names: Vec<(Label, Ipv4Addr)>,
    /// Those that are reached: of the same part.
    part: u16,
    packets: u64,
    bytes: u64,
}

/// A world.
pub struct World {
    pub now: Time,
    hosts: Vec<Host>,
    network: Network,
    /// By time and, at one time, in the order in which it was put down.
    queue: BTreeMap<(Time, u64), What>,
    order: u64,
    random: Random,
    /// Those that were taken for gone: by whom, who, when.
    pub left: Vec<(usize, usize, Time)>,
    pub answers: Vec<(usize, Action)>,
    /// What each host sent last.
    last: Vec<Vec<u8>>,
}

impl World {
    /// Hosts that start within so long, each with a container `cN`; each knows the first one.
    pub fn new(hosts: usize, within: Time, network: Network, seed: u64) -> Self {
        let mut world = Self {
            now: 0,
            hosts: Vec::new(),
            network,
            queue: BTreeMap::new(),
            order: 0,
            random: Random::new(seed),
            left: Vec::new(),
            answers: Vec::new(),
            last: vec![Vec::new(); hosts],
        };
        for host in 0..hosts {
            let label = Label::new(&format!("c{host}")).expect("a label");
            let names = vec![(label, container(host))];
            world.hosts.push(Host { mesh: None, wakes: Time::MAX, ahead: 0, names, part: 0, packets: 0, bytes: 0 });
            let at = world.random.below(within.max(1));
            world.put(at, What::Starts(host));
        }
        world
    }

    fn put(&mut self, at: Time, what: What) {
        self.order += 1;
        self.queue.insert((at, self.order), what);
    }

    /// Sets what a host's clock is ahead, before it starts.
    pub fn set_clock(&mut self, host: usize, ahead: i64) {
        self.hosts[host].ahead = ahead;
    }

    pub fn start(&mut self, host: usize) {
        let clock = i64::from(EPOCH) + i64::try_from(self.now / SECOND).expect("a short time") + self.hosts[host].ahead;
        let settings = Settings {
            zone: Zone::new(mapping(), DOMAIN),
            host: address(host),
            epoch: u32::try_from(clock).expect("a time"),
            seed: self.random.next(),
        };
        self.hosts[host].mesh = Some((Mesh::new(settings), self.now));
        self.hosts[host].wakes = Time::MAX;
        self.step(host, Event::Seeds(vec![address(0), address(1)]));
        let names = self.hosts[host].names.clone();
        self.step(host, Event::Names(names));
    }

    pub fn stop(&mut self, host: usize) {
        self.hosts[host].mesh = None;
    }

    /// Who reaches whom: hosts of the same part.
    pub fn part(&mut self, of: impl Fn(usize) -> u16) {
        for (number, host) in self.hosts.iter_mut().enumerate() {
            host.part = of(number);
        }
    }

    pub fn name(&mut self, host: usize, names: Vec<(Label, Ipv4Addr)>) {
        self.hosts[host].names.clone_from(&names);
        self.step(host, Event::Names(names));
    }

    pub fn mesh(&self, host: usize) -> &Mesh {
        &self.hosts[host].mesh.as_ref().expect("it runs").0
    }

    pub fn step(&mut self, host: usize, event: Event<'_>) {
        let now = self.now;
        let Some((mesh, began)) = self.hosts[host].mesh.as_mut() else { return };
        let began = *began;
        let actions = mesh.step(now - began, event);
        let next = mesh.next().map(|next| (next + began).max(now));
        if let Some(next) = next.filter(|next| *next < self.hosts[host].wakes || self.hosts[host].wakes <= now) {
            self.hosts[host].wakes = next;
            self.put(next, What::Wakes(host));
        }
        for action in actions {
            match action {
                Action::Send(gateway, bytes) => self.send(host, gateway, bytes),
                Action::Left(who) => self.left.push((host, index(mapping().gateway(who)), now)),
                Action::Came(_) => {}
                answer @ Action::Answer(..) => self.answers.push((host, answer)),
            }
        }
    }

    fn send(&mut self, from: usize, gateway: Ipv4Addr, bytes: Vec<u8>) {
        self.hosts[from].packets += 1;
        self.hosts[from].bytes += HEADERS + bytes.len() as u64;
        let to = index(gateway);
        self.last[from].clone_from(&bytes);
        let is_lost = self.random.below(1_000_000) < self.network.loss;
        if to >= self.hosts.len() || is_lost || self.hosts[from].part != self.hosts[to].part {
            return;
        }
        self.deliver(mapping().gateway(address(from)), to, bytes);
    }

    /// What a host sent last.
    pub fn last_sent(&self, host: usize) -> &[u8] {
        &self.last[host]
    }

    /// Has a datagram arrive.
    pub fn deliver(&mut self, from: Ipv4Addr, to: usize, bytes: Vec<u8>) {
        let (least, most) = self.network.latency;
        let at = self.now + least + self.random.below(most - least + 1);
        self.put(at, What::Arrives { to, from, bytes });
    }

    /// Lets time pass.
    pub fn run(&mut self, until: Time) {
        while let Some(((at, _), _)) = self.queue.first_key_value() {
            if *at > until {
                break;
            }
            let Some(((at, _), what)) = self.queue.pop_first() else { break };
            self.now = at;
            match what {
                What::Arrives { to, from, bytes } => self.step(to, Event::Datagram(from, &bytes)),
                What::Wakes(host) if self.hosts[host].wakes == at => {
                    self.hosts[host].wakes = Time::MAX;
                    self.step(host, Event::Time);
                }
                What::Wakes(_) => {}
                What::Starts(host) => self.start(host),
            }
        }
        self.now = until;
    }

    /// Lets time pass until something is true, which is looked at in steps; the time that it took.
    pub fn until(&mut self, what: &str, limit: Time, is_true: impl Fn(&Self) -> bool) -> Time {
        let began = self.now;
        while !is_true(self) {
            assert!(self.now - began < limit, "{what}: not after {} ms", (self.now - began) / MILLISECOND);
            self.run(self.now + 20 * MILLISECOND);
        }
        self.now - began
    }

    fn running(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.hosts.len()).filter(|host| self.hosts[*host].mesh.is_some())
    }

    /// Whether every host that runs publishes the names of every host of its part that runs, and no others.
    pub fn all_know_all(&self) -> bool {
        self.running().all(|host| {
            let others = self.running().filter(|other| self.hosts[*other].part == self.hosts[host].part);
            let mut wanted: Vec<(&Label, Ipv4Addr)> =
                others.flat_map(|other| self.hosts[other].names.iter()).map(|(label, at)| (label, *at)).collect();
            wanted.sort();
            let book = self.mesh(host).book();
            let mut is_all = wanted.iter();
            book.names()
                .flat_map(|(label, all)| all.iter().map(move |at| (label, *at)))
                .all(|one| is_all.next() == Some(&one))
                && is_all.next().is_none()
        })
    }

    /// Whether every host that runs publishes this name, or none does.
    pub fn all_publish(&self, label: &str, address: Ipv4Addr, does: bool) -> bool {
        let label = Label::new(label).expect("a label");
        self.running().all(|host| self.mesh(host).book().addresses(&label).any(|found| found == address) == does)
    }

    /// What was sent since the last call, a host and second: packets and bits.
    pub fn sent(&mut self, during: Time) -> (u64, u64) {
        let running = self.running().count() as u64;
        let (packets, bytes) =
            self.hosts.iter().fold((0, 0), |(packets, bytes), host| (packets + host.packets, bytes + host.bytes));
        for host in &mut self.hosts {
            (host.packets, host.bytes) = (0, 0);
        }
        let shares = running * (during / SECOND);
        (packets / shares, bytes * 8 / shares)
    }

    /// How many others a host takes for here.
    pub fn pairs_of(&self, host: usize) -> usize {
        self.mesh(host).hosts().filter(|sight| sight.standing == Standing::Here).count()
    }

    /// How many pairs of hosts that run take each other for here.
    pub fn pairs_here(&self) -> usize {
        self.running().map(|host| self.pairs_of(host)).sum()
    }
}
