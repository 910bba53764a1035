//! An hour's changes in short: fans are brought up, changed and taken down beside one that stays and loses no packet. At
//! the end nothing is left: no program, filter, rule, route, process or open file. The kernel's own warnings are looked
//! for when the guest has ended (`judge` in tests/qemu/common).
//!
//! Programs and open files are counted over the whole machine, so this runs where nothing else runs: in tier 3.
//! `tests/qemu/tier --soak ROUNDS` sets its length.

use std::collections::BTreeSet;
use std::env;
use std::fs;

use crate::case::{Case, Cases, Need};
use crate::fixture::Pair;
use crate::named;
use crate::support::{Container, Echo, Encap, Host, assert_same, eventually};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("soak").each_with(&[Need::Tier3], named![fans_come_and_go_beside_one_that_stays]).list()
}

/// How many rounds there are by default.
const ROUNDS: usize = 5;

/// Open files that may come and go with the threads and pipes of the harness, over all rounds together.
const FILES_OF_THE_HARNESS: u64 = 10;

/// As many as `FANCTL_SOAK` says, or these.
pub fn rounds_or(rounds: usize) -> usize {
    env::var("FANCTL_SOAK").map_or(rounds, |rounds| rounds.parse().expect("FANCTL_SOAK, a number of rounds"))
}

fn fans_come_and_go_beside_one_that_stays(encap: Encap) {
    let pair = Pair::new(encap);
    let churned = Churned::new(&pair, encap);
    // One round first makes what is made once and stays: ip_forward, lease files, modules, caches.
    churned.round();
    let before = pair.a.dump();
    let machine = Machine::look(&pair.a);

    let echo = Echo::between(&pair.ca, &pair.cb, "250.0.27.2");
    let rounds = rounds_or(ROUNDS);
    for _ in 0..rounds {
        churned.round();
    }
    let packets = echo.stop();
    assert!(packets >= rounds as u64, "traffic beside the churn: {packets} packets in {rounds} rounds");

    assert_same(&before, &pair.a.dump(), &format!("{rounds} rounds"));
    let after = machine.settles(&pair.a);
    println!(
        "soak: {encap}: {rounds} rounds, {} commands, {packets} packets there and back on the untouched fan; {} programs, {} \
         open files (before {}), {} kB of unreclaimable slab (before {})",
        rounds * Churned::COMMANDS,
        after.programs.len(),
        after.files,
        machine.files,
        after.slab,
        machine.slab
    );
}

/// What is made, used, changed and removed in every round on one of two hosts: a fan of the configuration, which moves to
/// another underlay, and one by hand with a DHCP server and a routing rule.
struct Churned<'a> {
    host: &'a Host,
    peer: Container,
    words: &'static str,
    encap: Encap,
}

impl<'a> Churned<'a> {
    /// Calls of `fanctl` in a round.
    const COMMANDS: usize = 6;

    fn new(pair: &'a Pair, encap: Encap) -> Self {
        let words = encap.words();
        pair.a.ip("addr add 172.31.0.28/16 dev eth0");
        pair.b.fanctl(&format!("up 251.0.0.0/8 eth0/16 {words}")).ok();
        let peer = pair.b.container("251.0.27.2");
        Self { host: &pair.a, peer, words, encap }
    }

    fn round(&self) {
        let (host, words) = (self.host, self.words);
        self.configure("172.30.0.28/16", "");
        host.fanctl("reload --config /run/fan.toml").ok();
        self.peer.ping("251.0.28.1").arrives();
        // A change of the bridge, the routes and the table; and one of the programs, in their places.
        self.configure("172.30.0.28/16", "mtu = 1400\nnat = false");
        host.fanctl("reload --config /run/fan.toml").ok();
        host.ping("251.0.27.2").arrives();
        self.configure("172.31.0.28/16", "host-reserve = 4");
        host.fanctl("reload --config /run/fan.toml").ok();

        host.fanctl(&format!("up 252.0.0.0/8 eth0/16 dhcp --table 52 {words}")).ok();
        host.fanctl("down -a").ok();
        host.fanctl("down 252.0.0.0/8 eth0/16").ok();
    }

    fn configure(&self, underlay: &str, more: &str) {
        let (host, encap) = (self.host, self.encap);
        host.write(
            "/run/fan.toml",
            &format!("[[fan]]\noverlay = \"251.0.0.0/8\"\nunderlay = \"{underlay}\"\nencap = \"{encap}\"\n{more}\n"),
        );
    }
}

/// Counts of the whole kernel.
#[derive(Debug)]
struct Machine {
    /// Ids of loaded programs, attached or held by a process.
    programs: BTreeSet<u64>,
    files: u64,
    /// In kB.
    slab: u64,
}

impl Machine {
    #[track_caller]
    fn look(host: &Host) -> Self {
        let programs = host.exec("bpftool -j prog show").ok().json_or_empty();
        let ids = programs.as_array().expect("programs").iter().map(|program| program["id"].as_u64());
        let first = |file: &str, key: &str| {
            let text = fs::read_to_string(file).expect(file);
            let line = text.lines().find(|line| line.starts_with(key)).expect(key);
            let value = line.trim_start_matches(key).split_whitespace().next();
            value.and_then(|value| value.parse().ok()).expect("a number")
        };
        Self {
            programs: ids.map(|id| id.expect("an id")).collect(),
            files: first("/proc/sys/fs/file-nr", ""),
            slab: first("/proc/meminfo", "SUnreclaim:"),
        }
    }

    /// Waits until there is no more than there was: programs and files are freed a moment after their last use.
    #[track_caller]
    fn settles(&self, host: &Host) -> Self {
        let mut told = None;
        eventually(&format!("no more is in use than {self:?}"), || {
            let now = Self::look(host);
            let (programs, files) = (&now.programs - &self.programs, now.files.saturating_sub(self.files));
            if programs.is_empty() && files <= FILES_OF_THE_HARNESS {
                return Some(now);
            }
            let left = format!("soak: still there: programs {programs:?}, {files} open files more");
            if told.as_ref() != Some(&left) {
                println!("{left}");
                told = Some(left);
            }
            None
        })
    }
}
