//! What the words and options of `up` change.

use serde_json::{Value, json};

use crate::case::{Case, Cases};
use crate::firewall::{forward_drops, install_docker};
use crate::fixture::Pair;
use crate::named;
use crate::support::{Capture, Encap, Host, Lan, Namespace, assert_same, becomes, tcp_exchange};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("options")
        .only_ipip_in_tier_3()
        .each(named![
            dry_run_prints_lines_to_type_and_changes_nothing,
            the_lines_of_a_dry_run_take_away_what_down_does,
            the_lines_of_a_dry_run_change_what_up_does,
            options_change_in_place,
            a_table_of_its_own_leaves_the_main_table_alone,
            a_bridge_can_have_another_name,
            the_host_keeps_as_many_addresses_as_it_is_told,
            a_change_tells_what_changes,
            up_by_hand_tells_that_the_file_differs,
            the_host_takes_addresses_that_no_container_has,
            the_host_takes_no_address_that_a_container_may_have,
            off_does_nothing,
            down_takes_away_what_options_made,
        ])
        .once(named![vxlan_can_use_another_port, the_encapsulation_can_be_changed])
        .in_both_tiers()
        .each(named![the_lines_of_a_dry_run_make_all_but_the_programs])
        .list()
}

/// A host without a fan.
fn a_host() -> (Host, Lan) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    (host, lan)
}

#[track_caller]
fn up(host: &Host, encap: Encap, words: &str) {
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {} {words}", encap.words())).ok();
}

#[track_caller]
fn addresses(host: &Host, device: &str) -> Vec<String> {
    let links = host.ip_json(&format!("addr show dev {device}"));
    let addresses = links[0]["addr_info"].as_array().expect("addresses").iter();
    addresses.map(|address| address["local"].as_str().expect("an address").to_string()).collect()
}

fn dry_run_prints_lines_to_type_and_changes_nothing(encap: Encap) {
    let (host, _lan) = a_host();
    let words = format!("up 250.0.0.0/8 eth0/16 {} --dry-run", encap.words());
    let output = host.unchanged(|| host.fanctl(&words).ok());
    output.stdout_has(&[
        "ip link add",
        "type bridge",
        "fan-250-0-28",
        encap.tunnel(),
        "tc filter",
        "nft",
        "unreachable",
    ]);
    host.up(encap);
    for words in ["down 250.0.0.0/8 eth0/16 --dry-run", "down -e --dry-run"] {
        let output = host.unchanged(|| host.fanctl(words).ok());
        output.stdout_has(&["ip link del", "fan-250-0-28"]);
    }
}

/// Types the lines that a command prints, all but those that begin like this.
#[track_caller]
fn type_the_lines(host: &Host, words: &str, but: &str) -> String {
    let lines = host.fanctl(&format!("{words} --dry-run")).ok().stdout;
    let typed: String = lines.split_inclusive('\n').filter(|line| !line.starts_with(but)).collect();
    host.write("/run/lines", &typed);
    let output = host.exec("sh -eu /run/lines").ok();
    assert_eq!(output.stderr, "", "{output}\n{typed}");
    typed
}

/// What firewall a host can have before the fan: none, iptables' own chains, and Docker's.
const FIREWALLS: [fn(&Host); 3] = [|_| {}, forward_drops, install_docker];

fn the_lines_of_a_dry_run_take_away_what_down_does(encap: Encap) {
    for prepare in FIREWALLS {
        let (host, _lan) = a_host();
        host.set_sysctl("ipv4/ip_forward", "1");
        prepare(&host);
        let before = host.dump();
        up(&host, encap, "--table 100 --dhcp host-reserve 2");
        let other = format!("up 251.0.0.0/8 eth0/16 {}", encap.words());
        host.fanctl(&other).ok();
        let typed = type_the_lines(&host, "down 250.0.0.0/8 eth0/16", "#");
        host.fanctl(&other).ok().stdout_has(&["nothing to do"]);
        let rest = type_the_lines(&host, "down -e", "#");
        becomes(&before, &host, &(typed + &rest));
    }
}

fn the_lines_of_a_dry_run_make_all_but_the_programs(encap: Encap) {
    for prepare in FIREWALLS {
        let (host, _lan) = a_host();
        prepare(&host);
        let words = format!("up 250.0.0.0/8 eth0/16 --table 100 {}", encap.words());
        let typed = type_the_lines(&host, &words, "tc filter add");
        let left = host.fanctl(&format!("{words} --dry-run")).ok().stdout;
        assert!(left.lines().all(|line| line.starts_with("tc filter add")), "{typed}\nand then\n{left}");
        host.fanctl(&words).ok();
        let made = host.dump();
        host.down();
        host.fanctl(&words).ok();
        assert_same(&made, &host.dump(), &typed);
    }
}

/// Each option on top of those before it, and all of them back.
fn the_lines_of_a_dry_run_change_what_up_does(encap: Encap) {
    let changes = ["--mtu 1400", "--mtu 1400 --no-nat", "--table 100 host-reserve 2", "--routed 198.51.100.0/24", ""];
    for prepare in FIREWALLS {
        let (host, _lan) = a_host();
        host.set_sysctl("ipv4/ip_forward", "1");
        prepare(&host);
        up(&host, encap, "");
        let mut before = "";
        for change in changes {
            let words = format!("up 250.0.0.0/8 eth0/16 {} {change}", encap.words());
            let typed = type_the_lines(&host, &words, "tc filter replace");
            let left = host.fanctl(&format!("{words} --dry-run")).ok().stdout;
            assert!(left.lines().all(|line| line.starts_with("tc filter replace")), "{typed}\nand then\n{left}");
            // It keeps a record of tables that a person typed.
            host.fanctl(&words).ok();
            let made = host.dump();
            up(&host, encap, before);
            up(&host, encap, change);
            assert_same(&made, &host.dump(), &format!("{change}\n{typed}"));
            before = change;
        }
    }
}

fn options_change_in_place(encap: Encap) {
    let pair = Pair::new(encap);
    let index = |device: &str| pair.a.ip_json(&format!("link show dev {device}"))[0]["ifindex"].clone();
    let devices: Vec<Value> = [index("fan-250-0-28"), index(encap.tunnel())].into();
    let plain = pair.a.dump();
    let no_flowtable = (encap == Encap::Ipip).then_some("--no-flowtable");
    for change in ["--no-nat", "--mtu 1400", "--table 100"].into_iter().chain(no_flowtable) {
        up(&pair.a, encap, change);
        assert_eq!([index("fan-250-0-28"), index(encap.tunnel())].to_vec(), devices, "{change}");
        pair.ca.ping("250.0.27.2").arrives();
        pair.cb.ping("250.0.28.2").arrives();
    }
    let output = pair.a.up(encap);
    assert_same(&plain, &pair.a.dump(), &output.to_string());
    pair.ca.ping("250.0.27.2").arrives();
}

fn a_table_of_its_own_leaves_the_main_table_alone(encap: Encap) {
    let lan = Lan::new();
    let (a, b) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
    let main = a.ip_json("route show table main");
    for host in [&a, &b] {
        host.ip(&format!("route add default via {}", lan.gateway()));
        up(host, encap, "--table 100");
    }
    let rules = a.ip_json("rule show");
    let rule = rules.as_array().expect("rules").iter().find(|rule| rule["table"] == "100");
    let rule = rule.unwrap_or_else(|| panic!("no rule for table 100: {rules:#}"));
    assert_eq!((&rule["dst"], &rule["dstlen"]), (&"250.0.0.0".into(), &8.into()), "{rule:#}");
    assert!(rule.get("iif").is_none(), "{rule:#}");
    let routes = a.ip_json("route show table 100").to_string();
    for part in ["250.0.0.0/8", "unreachable", "4278198272"] {
        assert!(routes.contains(part), "{routes}");
    }
    // The only route of ours in the main table is the unreachable one, in case the rule is removed.
    a.ip("route del default");
    let mut last_resort = a.ip_json("route show table main type unreachable");
    assert_eq!(last_resort.as_array().map(Vec::len), Some(1), "{last_resort:#}");
    assert_eq!((&last_resort[0]["dst"], &last_resort[0]["protocol"]), (&"250.0.0.0/8".into(), &"250".into()));
    let mut expected = main.as_array().expect("routes").clone();
    expected.append(last_resort.as_array_mut().expect("routes"));
    assert_eq!(a.ip_json("route show table main").as_array(), Some(&expected));
    a.ip(&format!("route add default via {}", lan.gateway()));
    let (ca, cb) = (a.container("250.0.28.2"), b.container("250.0.27.2"));
    assert_eq!(ca.ping("250.0.27.2").arrives().ttl(), encap.ttl());
    assert_eq!(cb.ping("250.0.28.2").arrives().ttl(), encap.ttl());
    a.ping("250.0.27.1").arrives();
    let peer = tcp_exchange(&a, &cb, "250.0.27.2");
    assert_eq!(peer.ip().to_string(), "250.0.28.1");
    a.ip(&format!("link del {}", encap.tunnel()));
    let wire = Capture::on(&a, "eth0", &format!("(net 250.0.0.0/8 or ({})) and not src 172.30.0.27", encap.outer()));
    ca.ping_in_vain("250.0.27.2");
    a.exec("ping -n -c 1 -W 0.5 250.0.27.2");
    assert_eq!(wire.packets(), Vec::<String>::new(), "no leak");
}

fn a_bridge_can_have_another_name(encap: Encap) {
    let (host, _lan) = a_host();
    up(&host, encap, "bridge br-fan");
    assert_eq!(addresses(&host, "br-fan"), ["250.0.28.1"]);
    assert!(!host.devices().contains(&"fan-250-0-28".to_string()));
    host.fanctl("show").ok().stdout_has(&["br-fan ", "bridge br-fan"]);
    host.down();
    assert!(!host.devices().contains(&"br-fan".to_string()));
}

fn the_host_keeps_as_many_addresses_as_it_is_told(encap: Encap) {
    let (host, _lan) = a_host();
    up(&host, encap, "host-reserve 4");
    assert_eq!(addresses(&host, "fan-250-0-28"), ["250.0.28.1", "250.0.28.2", "250.0.28.3", "250.0.28.4"]);
    host.fanctl("show").ok().stdout_has(&["host-reserve 4"]);
    let container = host.container("250.0.28.5");
    container.ping("250.0.28.4").arrives();
    up(&host, encap, "--host-reserve 2");
    assert_eq!(addresses(&host, "fan-250-0-28"), ["250.0.28.1", "250.0.28.2"]);
}

/// A change of a fan that is up reports each old and new value, and the ports that have to be changed too.
fn a_change_tells_what_changes(encap: Encap) {
    let (host, _lan) = a_host();
    up(&host, encap, "");
    let container = host.container("250.0.28.2");
    let mtu = 1500 - encap.overhead();
    let words = |more: &str| format!("up 250.0.0.0/8 eth0/16 {} {more}", encap.words());
    let output = host.fanctl(&words("--no-nat --mtu 1400")).ok();
    output.stdout_has(&[
        &format!("changed: nat on -> off, mtu {mtu} -> 1400\n"),
        &format!("mtu 1400 is to be set on these ports too, and on their containers' ends: {}\n", container.port()),
    ]);
    host.ip(&format!("link set {} mtu 1400", container.port()));
    // An option that is left out goes back to its default, which is reported as well.
    let output = host.unchanged(|| host.fanctl(&words("--mtu 1400 --dry-run")).ok());
    output.stderr_has(&["changed: nat off -> on"]);
    let output = host.fanctl(&words("--mtu 1400 --json")).ok();
    assert_eq!(output.json()["changes"]["options"], json!([{ "option": "nat", "from": "off", "to": "on" }]));
    assert_eq!(output.json()["changes"]["ports"], Value::Null, "they have it");
    let output = host.fanctl(&words("--mtu 1400")).ok();
    assert!(!output.stdout.contains("changed"), "{output}");
}

fn up_by_hand_tells_that_the_file_differs(encap: Encap) {
    let (host, _lan) = a_host();
    let file = format!(
        "\n[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"{encap}\"\nbridge = \"blue\"\nmtu = 1400\n"
    );
    host.write("/etc/fan.toml", &file);
    host.fanctl("up -a").ok();
    let output = host.fanctl(&format!("up 250.0.0.0/8 eth0/16 {}", encap.words())).ok();
    let mtu = 1500 - encap.overhead();
    let output = output.stdout_has(&["changed: bridge blue -> fan-250-0-28", &format!("mtu 1400 -> {mtu}")]);
    output.stderr_has(&[
        "/etc/fan.toml:2",
        "bridge fan-250-0-28 -> blue",
        &format!("mtu {mtu} -> 1400"),
        "fanctl reload",
    ]);
    let output = host.fanctl("reload").ok();
    assert_eq!(output.stderr, "", "{output}");
    let output = host.fanctl(&format!("up 250.0.0.0/8 eth0/16 bridge blue --mtu 1400 {}", encap.words())).ok();
    assert_eq!(output.stderr, "", "{output}");
}

/// A bridge takes no address that is in use behind a port, and every other one.
fn the_host_takes_addresses_that_no_container_has(encap: Encap) {
    let (host, _lan) = a_host();
    up(&host, encap, "");
    let words = |reserve: u8| format!("up 250.0.0.0/8 eth0/16 {} --host-reserve {reserve}", encap.words());
    let container = host.container("250.0.28.5");
    host.fanctl(&words(4)).ok();
    container.ping("250.0.28.4").arrives();
    host.unchanged(|| host.fanctl(&words(5)).refused().stderr_has(&["250.0.28.5", container.port()]));
    // An address of a machine inside a container, which is not the container's own, is found by ARP.
    let machine = Namespace::new("in a container");
    container.ip(&format!(
        "addr flush dev eth0
         link add br9 type bridge
         link set br9 up
         link set eth0 master br9
         link add port0 type veth peer name eth0 netns {}
         link set port0 master br9 up",
        machine.id()
    ));
    machine.ip("link set eth0 up");
    container.forwards("port0");
    machine.ip(&format!("addr add 250.0.28.6/{} dev eth0", on_link(encap)));
    host.fanctl(&words(5)).ok();
    host.fanctl(&words(6)).refused().stderr_has(&["250.0.28.6"]);
    machine.ip("addr flush dev eth0");
    host.fanctl(&words(6)).ok();
}

fn the_host_takes_no_address_that_a_container_may_have(encap: Encap) {
    let pair = Pair::new(encap);
    let words = format!("up 250.0.0.0/8 eth0/16 {} --host-reserve 4", encap.words());
    // A container that is not in the neighbour table may still have the address: it may have been silent.
    pair.a.ip("neigh flush all");
    pair.a.unchanged(|| pair.a.fanctl(&words).refused().stderr_has(&["250.0.28.2 to 250.0.28.4", pair.ca.port()]));
    pair.cb.ping("250.0.28.2").arrives();
    // As the message says, for a container that is known to have another address.
    let (port, bridge) = (pair.ca.port(), "fan-250-0-28");
    pair.ca.ip(&format!(
        "addr flush dev eth0\n addr add 250.0.28.9/{} dev eth0\n route add default via 250.0.28.1",
        on_link(encap)
    ));
    pair.a.ip(&format!("link set {port} nomaster"));
    pair.a.fanctl(&words).ok();
    pair.a.ip(&format!("link set {port} master {bridge}"));
    pair.cb.ping("250.0.28.9").arrives();
    assert_eq!(addresses(&pair.a, bridge).len(), 4);
    // Reserving fewer addresses takes none from a container.
    up(&pair.a, encap, "--host-reserve 2");
}

/// The prefix length that containers have.
fn on_link(encap: Encap) -> u8 {
    match encap {
        Encap::Ipip => 24,
        Encap::Vxlan => 8,
    }
}

fn off_does_nothing(encap: Encap) {
    let (host, _lan) = a_host();
    host.unchanged(|| host.fanctl(&format!("up 250.0.0.0/8 eth0/16 off {}", encap.words())).ok());
}

fn down_takes_away_what_options_made(encap: Encap) {
    let (host, _lan) = a_host();
    host.set_sysctl("ipv4/ip_forward", "1");
    let before = host.dump();
    for words in ["--table 100", "--no-nat", "bridge br7 host-reserve 200", "--mtu 1280 dhcp"] {
        up(&host, encap, words);
        let output = host.down();
        assert_same(&before, &host.dump(), &format!("{words}\n{output}"));
    }
}

fn vxlan_can_use_another_port() {
    let lan = Lan::new();
    let (a, b) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
    for host in [&a, &b] {
        up(host, Encap::Vxlan, "--port 4789");
    }
    let (ca, cb) = (a.container("250.0.28.2"), b.container("250.0.27.2"));
    let wire = Capture::on(&b, "eth0", "udp and not port 9");
    ca.ping("250.0.27.2").arrives();
    cb.ping("250.0.28.2").arrives();
    let packets = wire.packets();
    assert!(!packets.is_empty() && packets.iter().all(|packet| packet.contains(".4789: VXLAN")), "{packets:#?}");
}

fn the_encapsulation_can_be_changed() {
    // From VXLAN to IPIP and back where the kernel has IPIP; between two ports of VXLAN on each kernel.
    let (host, _lan) = a_host();
    up(&host, Encap::Vxlan, "");
    let one = host.dump();
    up(&host, Encap::Vxlan, "--port 4789");
    let ipip = host.fanctl("up 250.0.0.0/8 eth0/16");
    if ipip.code == Some(0) {
        assert_eq!(host.ip_json("link show dev fan-ipip")[0]["linkinfo"]["info_kind"], "ipip");
        assert!(!host.devices().contains(&"fan-vx16384000".to_string()));
    }
    up(&host, Encap::Vxlan, "");
    assert!(!host.devices().contains(&"fan-ipip".to_string()));
    assert_same(&one, &host.dump(), "there and back");
}
