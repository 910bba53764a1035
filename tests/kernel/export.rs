//! `fanctl export`: from the kernel as it is, or as it would be.

use crate::case::{Case, Cases};
use crate::named;
use crate::support::{Encap, Host, Lan, NOBODY};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("export")
        .only_ipip_in_tier_3()
        .only_on("6.12")
        .each(named![
            the_mtu_is_that_of_the_bridge,
            what_is_configured_is_exported_as_if_it_were_up,
            one_of_several_fans_is_named,
        ])
        .list()
}

const RUNTIMES: [&str; 7] = [
    "docker",
    "docker --default-bridge",
    "podman",
    "cni",
    "lxd",
    "libvirt",
    "flannel-env",
];

/// What is printed by an ordinary user, for all runtimes.
#[track_caller]
fn exports(host: &Host, words: &str) -> Vec<String> {
    let export = |runtime| {
        let output = host.fanctl_by(NOBODY, &format!("export {runtime} {words}")).ok();
        assert_eq!(output.stderr, "");
        output.stdout
    };
    RUNTIMES.map(export).into()
}

fn the_mtu_is_that_of_the_bridge(encap: Encap) {
    let lan = Lan::of("172.30.0.0/16", 9000);
    let host = lan.host("172.30.0.28");
    host.up(encap);
    for mtu in [9000 - encap.overhead(), 1400] {
        host.ip(&format!("link set fan-250-0-28 mtu {mtu}"));
        let docker = host.fanctl("export docker").ok();
        docker.stdout_has(&[&format!("driver.mtu={mtu} ")]);
        let flannel = host.fanctl("export flannel-env").ok();
        flannel.stdout_has(&[&format!("FLANNEL_MTU={mtu}\n")]);
    }
}

fn what_is_configured_is_exported_as_if_it_were_up(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.write(
        "/run/fan.toml",
        &format!("fan = [{{ overlay = \"250\", underlay = \"eth0\", encap = \"{encap}\" }}]"),
    );
    let configured = exports(&host, "--config /run/fan.toml");
    let told = host.fanctl("export cni --config /run/fan.toml --verbose").ok();
    told.stderr_has(&["fan 250.0.0.0/8 is not up", "/run/fan.toml"]);
    host.up(encap);
    assert_eq!(exports(&host, ""), configured);
    // What is up goes before what is configured.
    host.write("/run/fan.toml", "fan = [{ overlay = \"251\", underlay = \"eth0\" }]");
    assert_eq!(exports(&host, "--config /run/fan.toml"), configured);
    let other = host.fanctl("export docker 251 --config /run/fan.toml").ok();
    other.stdout_has(&["251.0.28.1", "fan-251-0-28"]);
}

fn one_of_several_fans_is_named(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(encap);
    let alone = exports(&host, "");
    host.fanctl(&format!("up 251.0.0.0/8 eth0/16 bridge blue {}", encap.words()))
        .ok();
    host.fanctl("export docker")
        .exits(2)
        .stderr_has(&["blue", "fan-250-0-28", "fanctl export docker"]);
    for name in ["250", "250.0.0.0/8", "fan-250-0-28"] {
        assert_eq!(exports(&host, name), alone, "{name}");
    }
    host.fanctl("export docker blue")
        .ok()
        .stdout_has(&["251.0.28.1", "bridge.name=blue"]);
    host.fanctl("export docker red")
        .failed()
        .stderr_has(&["fan 'red' is neither up nor configured"]);
}
