//! What `fanctl` refuses: each refusal has its own sentence, and leaves the machine as it was.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount, umount};

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Encap, Host, Lan, NOBODY, Output, eventually};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("refusals")
        .only_ipip_in_tier_3()
        .each(named![
            not_root,
            bpf_refused,
            a_bridge_name_taken_by_somebody_else,
            an_overlay_routed_elsewhere,
            an_overlay_that_overlaps_another_fan,
            a_container_attached_on_down,
            dnsmasq_missing,
            nft_missing,
            no_nf_tables_in_this_kernel,
            a_step_that_fails_is_undone,
            everything_wrong_is_told_at_once,
        ])
        .once(named![
            an_unknown_interface,
            an_interface_that_is_down,
            no_address_in_the_underlay,
            two_candidate_addresses,
            a_udp_port_taken_by_another_vxlan_device,
            a_udp_port_held_by_a_process,
            usage_errors_exit_2,
        ])
        .once_with(&[Need::NoIpip], named![no_ipip_in_this_kernel])
        .once_with(
            &[Need::Ipip],
            named![another_ipip_external_device, a_classic_ipip_tunnel_to_a_host, a_classic_ipip_tunnel_to_anybody],
        )
        .list()
}

fn a_host() -> (Host, Lan) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    (host, lan)
}

fn up(host: &Host, encap: Encap) -> Output {
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {}", encap.words()))
}

fn not_root(encap: Encap) {
    let (host, _lan) = a_host();
    let words = format!("up 250.0.0.0/8 eth0/16 {}", encap.words());
    host.unchanged(|| host.fanctl_by(NOBODY, &words).failed().stderr_has(&["root"]));
    host.up(encap);
    host.unchanged(|| host.fanctl_by(NOBODY, "down -e").failed().stderr_has(&["root"]));
}

fn no_ipip_in_this_kernel() {
    let (host, _lan) = a_host();
    host.unchanged(|| up(&host, Encap::Ipip).failed().stderr_has(&["ipip", "--encap vxlan", "all hosts"]));
}

fn bpf_refused(encap: Encap) {
    let (host, _lan) = a_host();
    let words = format!("up 250.0.0.0/8 eth0/16 {}", encap.words());
    let without = "setpriv --bounding-set -bpf,-sys_admin";
    host.unchanged(|| {
        host.fanctl_by(without, &words).failed().stderr_has(&["bpf program", "not permitted", "CAP_BPF"])
    });
}

fn an_unknown_interface() {
    let (host, _lan) = a_host();
    let words = "up 250.0.0.0/8 eth7/16 --encap vxlan";
    host.unchanged(|| host.fanctl(words).refused().stderr_has(&["eth7"]));
    host.ip("link property add dev eth0 altname enp7s0");
    let words = "up 250.0.0.0/8 enp7s0/16 --encap vxlan";
    host.unchanged(|| host.fanctl(words).refused().stderr_has(&["enp7s0", "another one of 'eth0'"]));
    let words = "up 250.0.0.0/8 default/16 --encap vxlan";
    host.unchanged(|| host.fanctl(words).refused().stderr_has(&["default"]));
}

fn an_interface_that_is_down() {
    let (host, _lan) = a_host();
    host.ip("link set eth0 down");
    host.unchanged(|| up(&host, Encap::Vxlan).refused().stderr_has(&["eth0", "down"]));
}

fn no_address_in_the_underlay() {
    let (host, _lan) = a_host();
    host.ip("link add br7 type bridge\n link set br7 up");
    for (underlay, named) in [("10.9.0.0/16", "10.9.0.0/16"), ("10.9.8.7/16", "10.9.8.7"), ("br7/16", "br7")] {
        let words = format!("up 250.0.0.0/8 {underlay} --encap vxlan");
        host.unchanged(|| host.fanctl(&words).refused().stderr_has(&[named, "address"]));
    }
}

fn two_candidate_addresses() {
    let (host, _lan) = a_host();
    host.ip("addr add 172.30.7.7/16 dev eth0");
    let words = "up 250.0.0.0/8 172.30.0.0/16 --encap vxlan";
    host.unchanged(|| host.fanctl(words).refused().stderr_has(&["172.30.0.28", "172.30.7.7"]));
}

fn a_bridge_name_taken_by_somebody_else(encap: Encap) {
    let (host, _lan) = a_host();
    host.ip("link add fan-250-0-28 type bridge");
    host.unchanged(|| up(&host, encap).refused().stderr_has(&["fan-250-0-28"]));
    host.ip("link add eth1 type bridge");
    let words = format!("up 250.0.0.0/8 eth0/16 bridge eth1 {}", encap.words());
    host.unchanged(|| host.fanctl(&words).refused().stderr_has(&["eth1"]));
    // The underlay's own interface cannot be the bridge.
    let words = format!("up 250.0.0.0/8 eth0/16 bridge eth0 {}", encap.words());
    host.unchanged(|| host.fanctl(&words).exits(2).stderr_has(&["eth0"]));
    host.unchanged(|| host.fanctl("down -e").ok());
}

fn an_overlay_routed_elsewhere(encap: Encap) {
    let (host, _lan) = a_host();
    for route in ["250.0.0.0/8 via 172.30.0.1", "250.7.0.0/16 via 172.30.0.1", "250.0.28.0/25 dev eth0"] {
        host.ip(&format!("route add {route}"));
        let network = route.split(' ').next().expect("a network");
        host.unchanged(|| up(&host, encap).refused().stderr_has(&[network]));
        host.ip(&format!("route del {route}"));
    }
    host.ip("addr add 250.9.0.1/16 dev eth0");
    host.unchanged(|| up(&host, encap).refused().stderr_has(&["250.9.0.1/16", "eth0"]));
}

fn an_overlay_that_overlaps_another_fan(encap: Encap) {
    let (host, _lan) = a_host();
    host.up(encap);
    let words = format!("up 250.16.0.0/12 eth0/16 {}", encap.words());
    host.unchanged(|| host.fanctl(&words).refused().stderr_has(&["250.16.0.0/12", "250.0.0.0/8"]));
}

fn another_ipip_external_device() {
    let (host, _lan) = a_host();
    host.ip("link add mine type ipip external");
    host.unchanged(|| up(&host, Encap::Ipip).refused().stderr_has(&["mine", "external"]));
}

fn a_classic_ipip_tunnel_to_a_host() {
    let (host, _lan) = a_host();
    host.ip("link add classic type ipip local 172.30.0.28 remote 172.30.0.27\n link set classic up");
    host.unchanged(|| up(&host, Encap::Ipip).refused().stderr_has(&["classic"]));
    host.ip("link del classic\n link add classic type ipip remote 172.30.0.27\n link set classic up");
    host.unchanged(|| up(&host, Encap::Ipip).refused().stderr_has(&["classic"]));
    host.ip(
        "link del classic\n link add elsewhere type ipip local 172.30.0.28 remote 192.0.2.1\n link set elsewhere up",
    );
    host.up(Encap::Ipip);
}

fn a_classic_ipip_tunnel_to_anybody() {
    let (host, _lan) = a_host();
    host.ip("link add classic type ipip local 172.30.0.28\n link set classic up");
    host.unchanged(|| up(&host, Encap::Ipip).refused().stderr_has(&["classic"]));
    host.ip("link del classic\n link set tunl0 up");
    host.up(Encap::Ipip);
}

fn a_udp_port_taken_by_another_vxlan_device() {
    let (host, _lan) = a_host();
    host.ip("link add flannel.1 type vxlan id 1 dstport 8472 local 172.30.0.28 dev eth0\n link set flannel.1 up");
    host.unchanged(|| up(&host, Encap::Vxlan).refused().stderr_has(&["flannel.1", "8472", "--port"]));
    host.fanctl("up 250.0.0.0/8 eth0/16 --encap vxlan --port 8473").ok();
}

/// Any user may hold a port above 1023. The message names the process.
fn a_udp_port_held_by_a_process() {
    let (host, _lan) = a_host();
    let mut nc = Command::new("nc");
    nc.args(["-u", "-l", "0.0.0.0", "8472"]).uid(65534).gid(65534);
    let mut nc = host.spawn(nc);
    eventually("the port is held", || {
        let sockets = host.exec("ss -H -u -l -n sport = :8472").ok().stdout;
        (!sockets.is_empty()).then_some(())
    });
    let output = host.unchanged(|| up(&host, Encap::Vxlan).refused());
    let holder = format!("UDP port 8472 is held by process {} ('nc')", nc.id());
    output.stderr_has(&[&holder, "--port N"]);
    nc.kill().expect("it runs");
    nc.wait().expect("it ends");
    up(&host, Encap::Vxlan).ok();
}

fn a_container_attached_on_down(encap: Encap) {
    let (host, _lan) = a_host();
    host.up(encap);
    let container = host.container("250.0.28.2");
    for words in ["down 250.0.0.0/8 eth0/16", "down -e"] {
        host.unchanged(|| host.fanctl(words).refused().stderr_has(&["fan-250-0-28", "con0"]));
    }
    container.ping("250.0.28.1").arrives();
    host.detach(&container);
    host.down();
}

/// A program that cannot be found on a host in any directory: a device is mounted over each of its files.
struct Hidden<'a> {
    host: &'a Host,
    places: Vec<PathBuf>,
}

impl<'a> Hidden<'a> {
    #[track_caller]
    fn new(host: &'a Host, program: &str) -> Self {
        let directories = std::env::var("PATH").unwrap_or_default();
        let places = directories.split(':').chain(["/usr/sbin", "/sbin"]);
        let places: Vec<PathBuf> = places.map(|place| Path::new(place).join(program)).collect();
        let places = host.run(move || {
            let mut hidden = Vec::new();
            for place in places {
                // Two directories may be the same one.
                if place.is_file() {
                    let none: Option<&str> = None;
                    mount(Some("/dev/null"), &place, none, MsFlags::MS_BIND, none).expect("a device in its place");
                    hidden.push(place);
                }
            }
            hidden
        });
        assert!(!places.is_empty(), "no {program} to hide");
        Self { host, places }
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        let places = std::mem::take(&mut self.places);
        self.host.run(move || {
            for place in &places {
                umount(place).expect("the program again");
            }
        });
    }
}

fn dnsmasq_missing(encap: Encap) {
    let (host, _lan) = a_host();
    let words = format!("up 250.0.0.0/8 eth0/16 dhcp {}", encap.words());
    host.unchanged(|| {
        let _hidden = Hidden::new(&host, "dnsmasq");
        host.fanctl(&words).refused().stderr_has(&["dnsmasq", "install"])
    });
}

fn nft_missing(encap: Encap) {
    let (host, _lan) = a_host();
    let words = format!("up 250.0.0.0/8 eth0/16 {}", encap.words());
    host.unchanged(|| {
        let _hidden = Hidden::new(&host, "nft");
        host.fanctl(&words).failed().stderr_has(&["nft", "install"])
    });
}

/// The kernel as it is without nf_tables: it gives no socket of that family.
fn no_nf_tables_in_this_kernel(encap: Encap) {
    let (host, _lan) = a_host();
    host.write(
        "/etc/fan.toml",
        &format!("[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"{encap}\"\n"),
    );
    let up = format!("up 250.0.0.0/8 eth0/16 {}", encap.words());
    let fanctl = |words: &str| host.without_nf_tables(words);
    for words in [&up[..], "up -a", "reload", "reload --dry-run"] {
        host.unchanged(|| {
            let output = fanctl(words).exits(3).stderr_has(&["no nf_tables", "CONFIG_NF_TABLES"]);
            assert_eq!(output.stderr.lines().count(), 1, "one refusal\n{output}");
            output
        });
    }
    host.unchanged(|| fanctl("status").exits(4).stdout_has(&["no nf_tables"]));
    host.unchanged(|| fanctl("doctor").exits(1).stdout_has(&["FAIL  kernel", "no nf_tables"]));
    host.fanctl(&up).ok();
    fanctl("show").ok().stdout_has(&["fan-250-0-28"]);
    fanctl("show --json").ok().stdout_has(&["fan-250-0-28"]);
}

fn a_step_that_fails_is_undone(encap: Encap) {
    let (host, _lan) = a_host();
    host.set_sysctl("ipv4/ip_forward", "1");
    // Another server holds the DHCP port on all addresses, which only shows when ours starts, last of all.
    host.exec("dnsmasq --conf-file=/dev/null --port=0 --dhcp-range=192.0.2.10,192.0.2.20 --pid-file=/run/other.pid --dhcp-leasefile=/run/other.leases").ok();
    let words = format!("up 250.0.0.0/8 eth0/16 dhcp {}", encap.words());
    let told = ["dnsmasq", "in use", "ss -lnp", "bind-interfaces", "leave dhcp out"];
    host.unchanged(|| host.fanctl(&words).failed().stderr_has(&told));
}

fn everything_wrong_is_told_at_once(encap: Encap) {
    let (host, _lan) = a_host();
    host.ip("link add fan-250-0-28 type bridge\n route add 250.7.0.0/16 via 172.30.0.1");
    let output = host.unchanged(|| up(&host, encap).exits(3).stderr_has(&["fan-250-0-28", "250.7.0.0/16"]));
    assert_eq!(output.stderr.lines().count(), 2, "a line for each reason\n{output}");
}

fn usage_errors_exit_2() {
    let (host, _lan) = a_host();
    for words in [
        "",
        "frobnicate",
        "up",
        "up 250.0.0.0/8",
        "up 250.0.0.0/8 eth0/16 nonsense",
        "up 300.0.0.0/8 eth0/16",
        "up 250.0.0.0/8 eth0/33",
        "up 250.0.0.0/8 eth0/16 host-reserve",
        "up 250.0.0.0/8 eth0/16 host-reserve none",
        "up 250.0.0.0/8 eth0/16 --encap gre",
        "up 250.0.0.0/8 eth0/16 --mtu plenty",
        "up 250.0.0.0/8 eth0/16 bridge a-name-longer-than-15",
        "down",
    ] {
        host.unchanged(|| host.fanctl(words).exits(2));
    }
}
