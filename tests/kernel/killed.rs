//! Killed by SIGKILL at every step, and run by many at once: what comes next converges.

use std::process::Command;

use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Encap, Host, Lan, Output, assert_same, is_emulated};

pub fn cases() -> Vec<Case> {
    Cases::of("killed")
        .only_ipip_in_tier_3()
        .each(named![
            an_up_killed_at_any_step_is_finished_by_the_next_up,
            an_up_killed_at_any_step_is_taken_back_by_down,
            a_down_killed_at_any_step_is_finished_by_the_next_down,
            many_at_once_end_in_a_right_state,
        ])
        .list()
}

const DOWN: &str = "down 250.0.0.0/8 eth0/16";

/// The steps at which to kill: all, and on an emulated machine every sixth.
fn steps() -> impl Iterator<Item = usize> {
    (1..).step_by(if is_emulated() { 6 } else { 1 })
}

/// A host that forwards, as it will after the first `up`.
fn a_host() -> (Host, Lan) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.set_sysctl("ipv4/ip_forward", "1");
    (host, lan)
}

fn up(encap: Encap, words: &str) -> String {
    format!("up 250.0.0.0/8 eth0/16 {} {words}", encap.words())
}

fn an_up_killed_at_any_step_is_finished_by_the_next_up(encap: Encap) {
    let (host, _lan) = a_host();
    let before = host.dump();
    host.up(encap);
    let whole = host.dump();
    host.fanctl("down -e").ok();
    let mut steps = steps();
    let last = steps.find(|&step| {
        let killed = host.killed_at(&up(encap, ""), step);
        let output = host.up(encap);
        assert_same(&whole, &host.dump(), &format!("killed at step {step}\n{output}"));
        host.fanctl("down -e").ok();
        !killed
    });
    assert!(last > Some(10), "a plan of so few steps: {last:?}");
    assert_same(&before, &host.dump(), "down -e");
}

fn an_up_killed_at_any_step_is_taken_back_by_down(encap: Encap) {
    let (host, _lan) = a_host();
    let before = host.dump();
    let mut steps = steps();
    let last = steps.find(|&step| {
        let killed = host.killed_at(&up(encap, "dhcp"), step);
        let output = host.fanctl(if step % 2 == 0 { "down -e" } else { DOWN }).ok();
        assert_same(&before, &host.dump(), &format!("killed at step {step}\n{output}"));
        !killed
    });
    assert!(last > Some(10), "a plan of so few steps: {last:?}");
}

fn a_down_killed_at_any_step_is_finished_by_the_next_down(encap: Encap) {
    let (host, _lan) = a_host();
    let before = host.dump();
    let mut steps = steps();
    let last = steps.find(|&step| {
        host.fanctl(&up(encap, "dhcp")).ok();
        let killed = host.killed_at(DOWN, step);
        let output = host.fanctl(if step % 2 == 0 { "down -e" } else { DOWN }).ok();
        assert_same(&before, &host.dump(), &format!("killed at step {step}\n{output}"));
        !killed
    });
    assert!(last > Some(5), "a plan of so few steps: {last:?}");
}

fn many_at_once_end_in_a_right_state(encap: Encap) {
    let (host, _lan) = a_host();
    let before = host.dump();
    host.up(encap);
    let whole = host.dump();
    let mixed = [up(encap, ""), DOWN.to_string(), "show --json".to_string()];
    let running: Vec<_> = (0..if is_emulated() { 8 } else { 20 })
        .map(|number| {
            let words = &mixed[number % mixed.len()];
            let mut command = Command::new(Host::program());
            command.args(words.split_whitespace());
            (words, host.spawn(command))
        })
        .collect();
    for (words, child) in running {
        Output::of(words.clone(), child).ok();
    }
    let fans = host.fanctl("show --json").ok().json();
    if let Some(fan) = fans.as_array().expect("fans").first() {
        assert_eq!(fan["verdict"]["complete"], true, "{fan:#}");
        assert_same(&whole, &host.dump(), "many at once, the last an up");
    } else {
        assert_same(&before, &host.dump(), "many at once, the last a down");
    }
    host.up(encap);
    assert_same(&whole, &host.dump(), "many at once, then up");
    host.fanctl("down -e").ok();
    assert_same(&before, &host.dump(), "many at once, then down -e");
}
