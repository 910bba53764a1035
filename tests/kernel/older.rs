//! A fan that version 0.1.0 made: it goes on working, is told as older, is made anew without losing a packet, and goes without
//! `CAP_SYS_ADMIN`. What that version made is recorded in tests/older.

use serde_json::json;

use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Container, Echo, Encap, Host, Lan};

#[path = "../older/programs.rs"]
mod programs;

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("older")
        .only_ipip_in_tier_3()
        .each(named![
            an_older_fan_is_told_and_made_anew_without_losing_a_packet,
            an_older_fan_is_taken_down_without_sys_admin,
            an_older_fan_with_something_missing_is_not_told_as_older,
        ])
        .list()
}

/// What fan.service has.
const SANDBOX: &str = "setpriv --no-new-privs --bounding-set -all,+net_admin,+bpf,+sys_ptrace,+kill,+setuid,+setgid,+net_bind_service,+net_raw";

/// A host with a fan that 0.1.0 made, written down in its configuration.
struct Older {
    host: Host,
    encap: Encap,
    lan: Lan,
}

impl Older {
    #[track_caller]
    fn new(encap: Encap) -> Self {
        let lan = Lan::new();
        let host = lan.host("172.30.0.28");
        host.ip(&format!("route add default via {}", lan.gateway()));
        host.set_sysctl("ipv6/conf/default/disable_ipv6", "0");
        let script = match encap {
            Encap::Ipip => include_str!("../older/ipip.sh"),
            Encap::Vxlan => include_str!("../older/vxlan.sh"),
        };
        host.sh(script).ok();
        let link: fanctl::fan::name::InterfaceName = encap.tunnel().parse().expect("a name");
        host.run(move || programs::attach(&link, &encap.to_string()));
        let older = Self { host, encap, lan };
        let text = format!("[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"{encap}\"\n");
        older.host.write("/run/fan.toml", &text);
        older
    }

    /// Another host, whose fan this version makes, and a container on each.
    #[track_caller]
    fn and_another(&self) -> (Host, Container, Container) {
        let other = self.lan.host("172.30.0.27");
        other.up(self.encap);
        let (here, there) = (self.host.container("250.0.28.2"), other.container("250.0.27.2"));
        (other, here, there)
    }
}

fn an_older_fan_is_told_and_made_anew_without_losing_a_packet(encap: Encap) {
    let older = Older::new(encap);
    let host = &older.host;
    let (_other, here, there) = older.and_another();
    here.ping("250.0.27.2").arrives();

    let addresses = host.ip_json("-6 addr show dev fan-250-0-28");
    assert!(addresses.to_string().contains("fe80"), "{addresses:#}");
    let verdict = host.fanctl("show --json").ok().json()[0]["verdict"].clone();
    assert_eq!(verdict["older"], true, "{verdict:#}");
    assert_eq!(verdict["complete"], true, "{verdict:#}");
    let codes: Vec<&str> = verdict["differences"]
        .as_array()
        .expect("differences")
        .iter()
        .filter_map(|difference| difference["code"].as_str())
        .collect();
    assert!(codes.contains(&"older") && codes.contains(&"program"), "{verdict:#}");
    let status = host.fanctl("status --json --config /run/fan.toml").ok().json();
    assert_eq!(status["fans"][0]["older"], true, "{status:#}");
    let told = host.fanctl("status --config /run/fan.toml").ok();
    told.stdout_has(&["made by an earlier version", "fanctl reload"]);
    host.fanctl("doctor").stdout_has(&["warn  older of 250.0.0.0/8", "without losing a packet"]);

    let echo = Echo::between(&here, &there, "250.0.27.2");
    host.fanctl_by(SANDBOX, "reload --config /run/fan.toml").ok();
    assert!(echo.stop() > 0);
    let verdict = host.fanctl("show --json").ok().json()[0]["verdict"].clone();
    let expected = json!([true, false, []]);
    assert_eq!(json!([verdict["complete"], verdict["older"], verdict["differences"]]), expected, "{verdict:#}");
    // What the kernel gave the bridge by itself went with it.
    let addresses = host.ip_json("-6 addr show dev fan-250-0-28");
    assert!(!addresses.to_string().contains("fe80"), "{addresses:#}");
    host.unchanged(|| host.fanctl("reload --config /run/fan.toml").ok());
    here.ping("250.0.27.2").arrives();
}

fn an_older_fan_is_taken_down_without_sys_admin(encap: Encap) {
    let older = Older::new(encap);
    older.host.fanctl_by(SANDBOX, "down -a").ok();
    let left = older.host.dump();
    let left: Vec<_> = left.iter().filter(|fact| fact.contains("fan-")).collect();
    assert!(left.is_empty(), "{left:#?}");
}

fn an_older_fan_with_something_missing_is_not_told_as_older(encap: Encap) {
    let older = Older::new(encap);
    older.host.ip("route del unreachable 250.0.0.0/8 metric 4278198272");
    let verdict = older.host.fanctl("show --json").ok().json()[0]["verdict"].clone();
    assert_eq!(json!([verdict["complete"], verdict["older"]]), json!([false, false]), "{verdict:#}");
    older.host.fanctl("status --config /run/fan.toml").exits(4);
}
