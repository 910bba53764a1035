//! `fanctl watch`: what happens to a host is told, and followed where that was asked for.

mod conduct;
mod losses;
mod moves;

use std::fmt::Write as _;

use serde_json::Value;

use crate::case::Cases;
use crate::support::{Encap, Host, Lan};

/// None of them yet; in tier 3 it is more about the program than about the kernel.
fn none_yet() -> Cases {
    Cases::of("watch").only_ipip_in_tier_3().only_on("6.12")
}

const FILE: &str = "/run/fan.toml";
const CONFIG: &str = "--config /run/fan.toml";
const FAN: &str = "fan 250.0.0.0/8: ";
const OTHER: &str = "fan 251.0.0.0/8: ";
const FOLLOWS: &str = "follow = true";

/// Writes a file of fans over eth0: overlay, and what else their tables hold.
fn write(host: &Host, encap: Encap, fans: &[(&str, &str)]) {
    let mut text = String::new();
    for (overlay, more) in fans {
        let underlay = if more.contains("underlay") { "" } else { "underlay = \"eth0/16\"" };
        let _ = writeln!(text, "[[fan]]\noverlay = \"{overlay}\"\n{underlay}\nencap = \"{encap}\"\n{more}");
    }
    host.write(FILE, &text);
}

/// The host of the announcement with a fan that follows and one that does not, both up.
fn two_fans(encap: Encap) -> (Host, Lan) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    write(&host, encap, &[("250.0.0.0/8", FOLLOWS), ("251.0.0.0/8", "")]);
    host.fanctl(&format!("up -a {CONFIG}")).ok();
    (host, lan)
}

/// The host's state, without the processes that look at it.
#[track_caller]
fn dump(host: &Host) -> Vec<String> {
    let mut facts = host.dump();
    facts.retain(|fact| !fact.starts_with("process") || fact.contains("dnsmasq"));
    facts
}

#[track_caller]
fn mtu(host: &Host, device: &str) -> Value {
    host.ip_json(&format!("link show {device}"))[0]["mtu"].clone()
}

/// Whether a device is there.
fn has(host: &Host, device: &str) -> bool {
    host.devices().iter().any(|name| name == device)
}
