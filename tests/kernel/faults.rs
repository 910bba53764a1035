//! Every command, with every call by which it acts failing once, and once killed there. Of what failed nothing is left;
//! what was killed is finished, or taken back, by the next command.

use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Encap, Host, Lan, assert_same, by_stride};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("faults")
        .only_ipip_in_tier_3()
        .only_on("6.12")
        .each(named![up_at_every_call, down_at_every_call, a_change_at_every_call, reload_of_three_fans_at_every_call,])
        .list()
}

const FILE: &str = "/run/fan.toml";

/// A command, and how to come to where it begins.
struct Scenario {
    host: Host,
    /// What brings an empty host to where the command begins.
    start: Vec<String>,
    command: String,
    /// The number of fans it is about. One of several that fails does not keep the others from changing.
    fans: usize,
    _lan: Lan,
}

impl Scenario {
    fn new(start: &[&str], command: &str, encap: Encap) -> Self {
        let lan = Lan::new();
        let host = lan.host("172.30.0.28");
        // As it will be after the first fan with NAT.
        host.set_sysctl("ipv4/ip_forward", "1");
        let complete = |words: &str| {
            let words = words.replace("CONFIG", &format!("--config {FILE}"));
            words.replace("ENCAP", encap.words())
        };
        Self {
            host,
            start: start.iter().map(|words| complete(words)).collect(),
            command: complete(command),
            fans: 1,
            _lan: lan,
        }
    }

    fn of_three(self) -> Self {
        Self { fans: 3, ..self }
    }

    /// What can be seen of the host. A DHCP server that was stopped and started again is another process.
    #[track_caller]
    fn look(&self) -> Vec<String> {
        let anonymous = |fact: String| match fact.strip_prefix("process ").and_then(|rest| rest.split_once(' ')) {
            Some((_, line)) => format!("process {line}"),
            None => fact,
        };
        self.host.dump().into_iter().map(anonymous).collect()
    }

    #[track_caller]
    fn begin(&self) {
        self.host.fanctl("down -e").ok();
        self.start();
    }

    #[track_caller]
    fn start(&self) {
        for words in &self.start {
            self.host.fanctl(words).ok();
        }
    }

    /// Goes through calls by the stride. With several fans reading is left out, which is the same for one.
    #[track_caller]
    fn at_every_call(&self) {
        let nothing = self.look();
        self.begin();
        let before = self.look();
        let mut acts = self.host.acts_of(&self.command);
        let after = self.look();
        assert!(acts.len() > 10, "so few calls: {acts:?}");
        acts.retain(|act| self.fans == 1 || !act.is_reading());
        let mut begun = false;
        for (number, act) in by_stride(&acts) {
            if !begun {
                self.begin();
            }
            let output = self.host.fails_at(&self.command, act);
            let context = format!("failed at {act}\n{output}");
            let now = self.look();
            if output.code == Some(0) {
                // Reading was tried again.
                assert_same(&after, &now, &context);
            } else {
                self.is_either(&before, &after, &now, &context);
            }
            if now != before {
                self.begin();
            }
            self.host.killed_entering(&self.command, act);
            let context = format!("killed at {act}, then ");
            if number % 2 == 0 {
                let output = self.host.fanctl(&self.command).ok();
                assert_same(&after, &self.look(), &format!("{context}{output}"));
                begun = false;
            } else {
                let output = self.host.fanctl("down -e").ok();
                assert_same(&nothing, &self.look(), &format!("{context}{output}"));
                self.start();
                begun = true;
            }
        }
    }

    /// The host is as it was before. Of several fans each is as it was, or as it was to be, and not all are that.
    #[track_caller]
    fn is_either(&self, before: &[String], after: &[String], now: &[String], context: &str) {
        if self.fans == 1 {
            return assert_same(before, now, context);
        }
        let of = |fan: usize, facts: &[String]| -> Vec<String> {
            let marks = [format!("{fan}."), format!("{fan}-0-28"), format!("vx{}", fan << 16)];
            let is_its = |fact: &&String| marks.iter().any(|mark| fact.contains(mark.as_str()));
            facts.iter().filter(is_its).cloned().collect()
        };
        let mut changed = 0;
        for fan in 250..254 {
            let (before, after, now) = (of(fan, before), of(fan, after), of(fan, now));
            if now == after && before != after {
                changed += 1;
            } else {
                assert_same(&before, &now, context);
            }
        }
        assert!(changed < self.fans, "one of them failed\n{context}");
    }
}

const UP: &str = "up 250.0.0.0/8 eth0/16 dhcp --table 7 --host-reserve 2 ENCAP";

fn up_at_every_call(encap: Encap) {
    Scenario::new(&[], UP, encap).at_every_call();
}

fn down_at_every_call(encap: Encap) {
    Scenario::new(&[UP], "down 250.0.0.0/8 eth0/16", encap).at_every_call();
}

/// Replaces programs and firewall, stops a DHCP server, moves routes to another table, and addresses go and come.
fn a_change_at_every_call(encap: Encap) {
    let command = "up 250.0.0.0/8 eth0/16 --mtu 1300 --no-nat --host-reserve 1 ENCAP";
    Scenario::new(&[UP], command, encap).at_every_call();
}

/// Writes the two files between which the commands of three fans go.
fn of_three_fans(start: &[&str], command: &str, encap: Encap) -> Scenario {
    let scenario = Scenario::new(start, command, encap).of_three();
    let fan = |number: usize, more: &str| {
        format!("[[fan]]\noverlay = \"{number}.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"{encap}\"\n{more}\n")
    };
    let first = [fan(250, ""), fan(251, "dhcp = true"), fan(252, "")].concat();
    let second = [fan(251, "mtu = 1300\nnat = false"), fan(252, ""), fan(253, "table = 7")].concat();
    scenario.host.write(FILE, &first);
    scenario.host.write("/run/other.toml", &second);
    scenario
}

/// One goes, one stays, one changes and one comes.
fn reload_of_three_fans_at_every_call(encap: Encap) {
    of_three_fans(&["up -a CONFIG"], "reload --config /run/other.toml", encap).at_every_call();
}
