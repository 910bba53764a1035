//! Run by many at once, commands take turns, and what comes out is right.

use std::process::Command;

use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Encap, Host, Lan, Output, assert_same, is_emulated};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("concurrent")
        .only_ipip_in_tier_3()
        .only_on("6.12")
        .each(named![many_at_once_end_in_a_right_state])
        .list()
}

/// What fanctl may end with: what was asked for is done, or (`export`) there was no such fan, or (`status`) it differs.
const ENDS: [i32; 3] = [0, 1, 4];

/// The fan 250.0.0.0/8 is somebody's, the fan 251.0.0.0/8 the configuration's.
fn many_at_once_end_in_a_right_state(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.set_sysctl("ipv4/ip_forward", "1");
    let table = |more: &str| {
        format!("[[fan]]\noverlay = \"251.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"{encap}\"\n{more}\n")
    };
    host.write("/run/fan.toml", &table(""));
    host.write("/run/other.toml", &table("nat = false"));
    host.write("/run/none.toml", "");

    let before = host.dump();
    let up = format!("up 250.0.0.0/8 eth0/16 {}", encap.words());
    let down = "down 250.0.0.0/8 eth0/16";
    let reload = |file: &str| format!("reload --config /run/{file}.toml");
    // All that can come out of it.
    let mut right = Vec::new();
    for one in [&up, down] {
        for file in ["fan", "other", "none"] {
            host.fanctl(one).ok();
            host.fanctl(&reload(file)).ok();
            right.push(host.dump());
        }
    }
    let mixed = [
        up.clone(),
        reload("fan"),
        down.to_string(),
        "status --config /run/fan.toml".to_string(),
        reload("other"),
        "show --json".to_string(),
        reload("none"),
        "export docker 250.0.0.0/8".to_string(),
    ];
    let running: Vec<_> = (0..if is_emulated() { 8 } else { 20 })
        .map(|number| {
            let words = &mixed[number % mixed.len()];
            let mut command = Command::new(Host::program());
            command.args(words.split_whitespace());
            (words, host.spawn(command))
        })
        .collect();
    for (words, child) in running {
        let output = Output::of(words.clone(), child);
        let acts = ["up", "down", "reload"].iter().any(|verb| words.starts_with(verb));
        let ends = if acts { &ENDS[..1] } else { &ENDS[..] };
        assert!(output.code.is_some_and(|code| ends.contains(&code)), "{output}");
        assert!(!output.stderr.contains("panicked"), "{output}");
    }
    let now = host.dump();
    if !right.contains(&now) {
        for one in right {
            assert_same(&one, &now, "many at once: as none of these");
        }
    }
    host.fanctl("down -e").ok();
    assert_same(&before, &host.dump(), "many at once, then down -e");
}
