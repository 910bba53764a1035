//! Rule sets of the kinds that other software makes, each on a host with a fan: what the doctor says of every kind of packet is
//! what happens to it.
//!
//! A set is loaded as its software loads it (`sets/*.sh`), then the fan is brought up, then each kind of packet is sent. A kind
//! that the doctor says is dropped must be lost, and every other must arrive. Then the printed commands are typed, and all must
//! arrive and the doctor find nothing. Of a set whose rules cannot be understood it may say that it cannot tell; which ones is
//! written at their heads, and how many it may be is counted.

mod probes;
mod sets;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Encap, by_stride, is_emulated};
use probes::World;
use sets::{DOCKER, EXPRESSIONS, FILES, FIREWALLD, HOSTS, KUBERNETES, LAYERS, Set, UFW, VIRTUAL};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("rulesets")
        .only_ipip_in_tier_3()
        .each_with(
            &[Need::BridgeNetfilter, Need::LegacyIptables, Need::Ipset],
            named![docker, firewalld, ufw, kubernetes, hosts, virtual_machines, expressions, layers],
        )
        .once(named![there_are_enough_and_the_doctor_understands_them])
        .list()
}

/// So many sets there are at least, and of so many at most the doctor may say that it cannot tell.
const SETS: usize = 67;
const UNSURE: usize = 4;

/// Each set says at its head whether the doctor can tell, and is compared with that.
fn there_are_enough_and_the_doctor_understands_them() {
    let sets: Vec<Set> = FILES.into_iter().flat_map(sets::of).collect();
    assert!(sets.len() >= SETS, "{} sets", sets.len());
    let unsure: Vec<&str> = sets.iter().filter(|set| set.may_be_unsure).map(|set| set.name.as_str()).collect();
    assert!(unsure.len() <= UNSURE, "{unsure:?}");
    let known = [DOCKER, FIREWALLD, UFW].into_iter().flat_map(sets::of);
    assert_eq!(known.filter(|set| set.may_be_unsure).count(), 0);
}

fn docker(encap: Encap) {
    the_doctor_says_what_happens_to_packets(encap, DOCKER);
}

fn firewalld(encap: Encap) {
    the_doctor_says_what_happens_to_packets(encap, FIREWALLD);
}

fn ufw(encap: Encap) {
    the_doctor_says_what_happens_to_packets(encap, UFW);
}

fn kubernetes(encap: Encap) {
    the_doctor_says_what_happens_to_packets(encap, KUBERNETES);
}

fn hosts(encap: Encap) {
    the_doctor_says_what_happens_to_packets(encap, HOSTS);
}

fn virtual_machines(encap: Encap) {
    the_doctor_says_what_happens_to_packets(encap, VIRTUAL);
}

fn expressions(encap: Encap) {
    the_doctor_says_what_happens_to_packets(encap, EXPRESSIONS);
}

fn layers(encap: Encap) {
    the_doctor_says_what_happens_to_packets(encap, LAYERS);
}

fn the_doctor_says_what_happens_to_packets(encap: Encap, file: sets::File) {
    /// So many kinds of packets are sent whatever else is lost.
    const LEAST: usize = 7;
    let sets = sets::of(file);
    // Where every instruction is emulated, some of them, in time all.
    let tried: Vec<&Set> =
        if is_emulated() { by_stride(&sets).map(|(_, set)| set).collect() } else { sets.iter().collect() };
    let world = World::new(encap);
    let (mut dropping, mut unsure, mut mended, mut packets) = (0, 0, 0, 0);
    let mut differences: Vec<String> = Vec::new();
    for set in &tried {
        world.load(set);
        let word = Word::of(&world);
        packets += compare(&world, set, &word, &mut differences);
        unsure += usize::from(!word.doubted.is_empty());
        dropping += usize::from(!word.dropped.is_empty());
        if word.is_unsure() != set.may_be_unsure {
            differences.push(format!(
                "{}: cannot tell: {}\n    {}",
                set.name,
                word.is_unsure(),
                word.found.join("\n    ")
            ));
        }
        if word.is_clean() || set.is_not_mended {
            continue;
        }
        let word = type_what_is_printed(&world, word);
        mended += usize::from(word.is_clean());
        if !word.is_clean() {
            differences.push(format!(
                "{}: what was printed and typed has not mended it\n    {}",
                set.name,
                word.found.join("\n    ")
            ));
        }
        packets += compare(&world, set, &word, &mut differences);
    }
    println!(
        "{encap}: {} rule sets, {packets} packets compared; {dropping} sets drop some, of {unsure} the doctor cannot tell, {mended} \
         were mended by what it printed; {} differences",
        tried.len(),
        differences.len()
    );
    assert!(packets >= tried.len() * LEAST, "{packets} packets for {} sets", tried.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// What the doctor says of a host's firewalls.
struct Word {
    /// The kinds of packets that are lost.
    dropped: BTreeSet<String>,
    /// Those of which it cannot tell.
    doubted: BTreeSet<String>,
    /// Commands that mend it.
    mends: Vec<String>,
    /// What it found, in its words.
    found: Vec<String>,
}

impl Word {
    #[track_caller]
    fn of(world: &World) -> Self {
        let output = world.a.fanctl("doctor --json");
        let findings = output.json()["findings"].as_array().expect("findings").clone();
        let firewall = |finding: &&Value| finding["check"] == "firewall" && finding["verdict"] != "passed";
        let found: Vec<&Value> = findings.iter().filter(firewall).collect();
        let kinds = |code: &str| {
            let meant = found.iter().filter(|finding| finding["code"] == code);
            let packets = meant.flat_map(|finding| finding["packets"].as_array().expect("kinds of packets"));
            let about = |kind: &&Value| kind.get("host").is_none_or(|host| host == "172.30.0.27");
            packets.filter(about).map(|kind| kind["kind"].as_str().expect("a word").to_string()).collect()
        };
        Self {
            dropped: kinds("firewall-drops"),
            doubted: kinds("firewall-may-drop"),
            mends: found.iter().filter_map(|finding| Some(finding["mend"].as_str()?.to_string())).collect(),
            found: found.iter().map(ToString::to_string).collect(),
        }
    }

    fn is_unsure(&self) -> bool {
        !self.doubted.is_empty()
    }

    fn is_clean(&self) -> bool {
        self.found.is_empty()
    }
}

/// Sends each kind of packet, and notes where the doctor has said something else. Returns how many were compared.
fn compare(world: &World, set: &Set, word: &Word, differences: &mut Vec<String>) -> usize {
    let mut explained: BTreeSet<&str> = BTreeSet::new();
    let mut compared = 0;
    let mut sent: BTreeSet<&str> = BTreeSet::new();
    for (probe, arrives) in world.send(&|probe| probe.expected(world.encap, word)) {
        compared += 1;
        sent.extend(probe.kinds());
        let reasons: Vec<&str> = probe.kinds().iter().copied().filter(|kind| word.dropped.contains(*kind)).collect();
        let is_doubted = probe.kinds().iter().any(|kind| word.doubted.contains(*kind));
        if !arrives {
            explained.extend(&reasons);
        }
        let expected = probe.expected(world.encap, word);
        let is_wrong =
            expected.is_some_and(|expected| expected != arrives) || (!arrives && reasons.is_empty() && !is_doubted);
        if is_wrong {
            let what = if arrives { "arrives" } else { "is lost" };
            differences.push(format!("{}: {probe:?} {what}\n    {}", set.name, word.found.join("\n    ")));
        }
    }
    for kind in &word.dropped {
        if sent.contains(kind.as_str()) && !explained.contains(kind.as_str()) {
            differences.push(format!("{}: nothing is lost of '{kind}'\n    {}", set.name, word.found.join("\n    ")));
        }
    }
    compared
}

/// Types what the doctor prints, until it prints nothing more: what comes to light when the first is mended is mended likewise.
fn type_what_is_printed(world: &World, mut word: Word) -> Word {
    /// As many base chains as a packet may meet in the tables of one program.
    const ROUNDS: usize = 6;
    for _ in 0..ROUNDS {
        if word.mends.is_empty() {
            break;
        }
        world.a.sh(&word.mends.join("\n")).ok();
        word = Word::of(world);
    }
    word
}
