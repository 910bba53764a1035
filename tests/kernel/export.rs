//! `fanctl export`: from the kernel as it is, or as it would be.

use serde_json::{Value, json};

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
            a_file_is_written_whole_or_not_at_all,
            a_file_that_holds_something_else_stays,
            the_other_keys_of_daemon_json_stay,
        ])
        .list()
}

const RUNTIMES: [&str; 7] = ["docker", "docker --default-bridge", "podman", "cni", "lxd", "libvirt", "flannel-env"];

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
    host.write("/run/fan.toml", &format!("fan = [{{ overlay = \"250\", underlay = \"eth0\", encap = \"{encap}\" }}]"));
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
    host.fanctl(&format!("up 251.0.0.0/8 eth0/16 bridge blue {}", encap.words())).ok();
    host.fanctl("export docker").exits(2).stderr_has(&["blue", "fan-250-0-28", "fanctl export docker"]);
    for name in ["250", "250.0.0.0/8", "fan-250-0-28"] {
        assert_eq!(exports(&host, name), alone, "{name}");
    }
    host.fanctl("export docker blue").ok().stdout_has(&["251.0.28.1", "bridge.name=blue"]);
    host.fanctl("export docker red").failed().stderr_has(&["fan 'red' is neither up nor configured"]);
}

/// What `stat` says of a file: mode, owner and group.
fn stat(host: &Host, file: &str) -> String {
    host.exec(&format!("stat -c %a:%u:%g {file}")).ok().stdout.trim().to_string()
}

fn text(host: &Host, file: &str) -> String {
    host.exec(&format!("cat {file}")).ok().stdout
}

fn a_file_is_written_whole_or_not_at_all(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.exec("mkdir /run/net.d").ok();
    let write = "export cni -o /run/net.d/10-fan.conflist";
    // No fan, no file, and one that is there stays as it is.
    host.write("/run/none.toml", "");
    host.fanctl(&format!("{write} --config /run/none.toml")).failed();
    let files = |host: &Host| host.exec("ls -A /run/net.d").ok().stdout;
    assert_eq!(files(&host), "");
    host.up(encap);
    host.fanctl(write).ok().stdout_has(&["/run/net.d/10-fan.conflist is written"]);
    let exported = host.fanctl("export cni").ok().stdout;
    assert_eq!(text(&host, "/run/net.d/10-fan.conflist"), exported);
    assert_eq!(stat(&host, "/run/net.d/10-fan.conflist"), "644:0:0");
    // Another time, with another MTU: mode and owner stay, and nothing else is left there.
    host.sh("chmod 640 /run/net.d/10-fan.conflist; chown 7:8 /run/net.d/10-fan.conflist").ok();
    host.fanctl(write).ok().stdout_has(&["nothing to do"]);
    host.ip("link set fan-250-0-28 mtu 1300");
    host.fanctl(write).ok();
    let exported = host.fanctl("export cni").ok().stdout;
    assert!(exported.contains("1300"));
    assert_eq!(text(&host, "/run/net.d/10-fan.conflist"), exported);
    assert_eq!(stat(&host, "/run/net.d/10-fan.conflist"), "640:7:8");
    assert_eq!(files(&host), "10-fan.conflist\n");
    // A link leads on, and stays.
    host.sh("ln -s net.d/10-fan.conflist /run/link; ln -s nowhere /run/dangling").ok();
    host.ip("link set fan-250-0-28 mtu 1200");
    host.fanctl("export cni -o /run/link").ok();
    assert!(text(&host, "/run/net.d/10-fan.conflist").contains("1200"));
    host.exec("test -L /run/link").ok();
    // What is no file stays what it is, and is not waited for.
    host.sh("mkfifo /run/fifo; ln -s /run/net.d /run/others; chown -h 7 /run/others").ok();
    for place in ["/run/net.d", "/run/fifo", "/dev/null", "/run/dangling", "/run/others"] {
        host.fanctl(&format!("export cni -o {place}")).refused().stderr_has(&[place]);
    }
    host.exec("test -p /run/fifo").ok();
    host.sh("mkdir /run/ro; mount -t tmpfs -o ro tmpfs /run/ro").ok();
    host.fanctl("export cni -o /run/ro/fan").failed().stderr_has(&["/run/ro/fan", "Read-only"]);
    host.fanctl("export cni -o /run/none/fan").failed().stderr_has(&["/run/none/fan"]);
    host.fanctl("export cni -o -").exits(2);
}

fn a_file_that_holds_something_else_stays(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(encap);
    for runtime in ["docker", "podman", "cni", "lxd", "libvirt"] {
        let write =
            |name: &str, more: &str| host.fanctl(&format!("export {runtime} --name {name} -o /run/file {more}"));
        write("blue", "").ok();
        let blue = text(&host, "/run/file");
        host.ip("link set fan-250-0-28 mtu 1300");
        write("blue", "").ok();
        if runtime != "libvirt" {
            assert_ne!(text(&host, "/run/file"), blue, "{runtime}: an export of before is replaced");
        }
        let before = text(&host, "/run/file");
        write("green", "").refused().stderr_has(&["/run/file", "'green'", "--force"]);
        assert_eq!(text(&host, "/run/file"), before);
        host.write("/run/file", "precious\n");
        write("blue", "").refused();
        assert_eq!(text(&host, "/run/file"), "precious\n");
        write("green", "--force").ok();
        assert_eq!(text(&host, "/run/file"), host.fanctl(&format!("export {runtime} --name green")).ok().stdout);
        host.exec("rm /run/file").ok();
        host.ip("link set fan-250-0-28 mtu 1400");
    }
    host.write("/run/subnet.env", "FLANNEL_NETWORK=10.0.0.0/8\nFLANNEL_MTU=1450\n");
    host.fanctl("export flannel-env -o /run/subnet.env").ok();
    host.write("/run/subnet.env", "PATH=/bin\n");
    host.fanctl("export flannel-env -o /run/subnet.env").refused();
}

fn the_other_keys_of_daemon_json_stay(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    let write = "export docker --default-bridge -o /run/daemon.json";
    let own = "{\"log-driver\": \"local\", \"mtu\": 9000, \"dns\": [\"192.0.2.53\"]}";
    host.write("/run/daemon.json", own);
    host.write("/run/none.toml", "");
    host.fanctl(&format!("{write} --config /run/none.toml")).failed();
    assert_eq!(text(&host, "/run/daemon.json"), own, "no fan is up");
    host.up(encap);
    host.fanctl(write).ok();
    let merged: Value = serde_json::from_str(&text(&host, "/run/daemon.json")).expect("JSON");
    let mut expected = host.fanctl("export docker --default-bridge").ok().json();
    expected["log-driver"] = "local".into();
    expected["dns"] = json!(["192.0.2.53"]);
    assert_eq!(merged, expected);
    host.fanctl("export docker --default-bridge --check /run/daemon.json").ok();
    host.fanctl(write).ok().stdout_has(&["nothing to do"]);
    for wrong in ["[]", "{\"log-driver\": ", "{\"bip\": \"10.1.1.1/24\"}"] {
        host.write("/run/daemon.json", wrong);
        host.fanctl(write).refused().stderr_has(&["/run/daemon.json", "--force"]);
        assert_eq!(text(&host, "/run/daemon.json"), wrong);
        host.fanctl(&format!("{write} --force")).ok();
        assert_eq!(text(&host, "/run/daemon.json"), host.fanctl("export docker --default-bridge").ok().stdout);
    }
    // What a redirection that came to nothing has left.
    host.write("/run/daemon.json", "");
    host.fanctl(write).ok();
}
