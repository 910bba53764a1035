//! Fans that come and go with an interface of ifupdown: by the lines of the announcement, by the options of a stanza,
//! by configuration. Everything runs under Debian's ifupdown and under ifupdown-ng.

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Lan, NOBODY, Station, Suite, assert_same};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    /// The tests by name, for one suite.
    macro_rules! with {
        ($suite:expr; $($test:ident),+ $(,)?) => { &[$((stringify!($test), (|| $test($suite)) as fn())),+] };
    }
    macro_rules! all {
        ($suite:expr) => {
            with![$suite;
                the_lines_of_the_announcement_leave_nothing,
                the_options_of_a_stanza_leave_nothing,
                a_stanza_only_warns_of_what_its_fan_takes,
                the_lines_of_the_pages_never_fail_the_interface,
                a_stanza_may_list_overlays_and_give_a_prefix,
                two_hosts_are_connected_by_ifup,
                the_words_of_a_stanza_stay_words,
                a_second_ifup_changes_nothing,
                a_container_does_not_keep_an_interface_up,
                a_fan_goes_whose_interface_is_gone,
                without_fanctl_an_interface_comes_and_goes,
                without_a_system_log_somebody_else_is_told,
                somebody_at_the_terminal_is_told_too,
                nobody_may_run_the_hook,
                the_configured_fans_of_an_interface_come_and_go_with_it,
                a_fan_made_by_hand_stays,
                a_configured_fan_with_a_container_lets_the_interface_go,
                a_broken_configuration_is_logged,
                an_interface_without_a_fan_is_no_news,
            ]
        };
    }
    let debian = Cases::of("ifupdown")
        .once_with(&[Need::Tier2], all!(Suite::Ifupdown))
        .once_with(&[Need::Tier2], named![the_hook_knows_whom_it_is_called_for, an_alias_is_an_address]);
    let ng = Cases::of("ifupdown-ng").once_with(&[Need::Tier2], all!(Suite::IfupdownNg));
    debian.list().into_iter().chain(ng.list()).collect()
}

/// What makes the fan of the announcement on a kernel without IPIP too.
const FAN: [&str; 2] = ["fan-overlay 250.0.0.0/8", "fan-options --encap vxlan"];
/// A program that prints its arguments.
const ECHO: &str = "#!/bin/sh\nprintf '[%s]' \"$@\"\necho\n";
const IS_UP: &str = "fan-250-0-28 is up: slice 250.0.28.0/24, gateway 250.0.28.1, mtu 1450";

/// A host with an eth0 on the underlay of the announcement, and these lines in its stanza.
#[track_caller]
fn station(suite: Suite, lines: &[&str]) -> (Station, Lan) {
    let lan = Lan::new();
    let station = station_on(&lan, suite, "172.30.0.28", lines);
    (station, lan)
}

#[track_caller]
fn station_on(lan: &Lan, suite: Suite, address: &str, lines: &[&str]) -> Station {
    let station = Station::new(suite, address);
    lan.wire(&station, "eth0");
    station.ip("link set eth0 up\n link set eth0 down"); // the queueing discipline is made the first time, and stays
    station.interfaces(&[("eth0", address, lines)]);
    station
}

/// Takes the interface down, and checks that the host is as it was.
#[track_caller]
fn nothing_is_left(host: &Station, before: &[String]) {
    let output = host.ifdown("eth0").ok();
    assert_same(before, &host.dump(), &output.to_string());
}

fn the_lines_of_the_announcement_leave_nothing(suite: Suite) {
    let lines = ["up fanctl up 250.0.0.0/8 eth0/16 dhcp --encap vxlan", "down fanctl down 250.0.0.0/8 eth0/16"];
    let (host, _lan) = station(suite, &lines);
    let before = host.dump();
    host.ifup("eth0").ok();
    host.has_fans(&["fan-250-0-28 250.0.28.1/8"]);
    assert_eq!(host.dnsmasqs().len(), 1);
    nothing_is_left(&host, &before);
}

fn the_options_of_a_stanza_leave_nothing(suite: Suite) {
    let options = "fan-options dhcp host-reserve 4 --encap vxlan";
    let (host, _lan) = station(suite, &["fan-overlay 250.0.0.0/8", options]);
    let before = host.dump();
    host.ifup("eth0").ok();
    host.has_fans(&["fan-250-0-28 250.0.28.1/8"]);
    let (_, server) = &host.dnsmasqs()[0];
    assert!(server.contains("250.0.28.5,250.0.28.254"), "{server}");
    assert!(host.logged().contains(&IS_UP.into()));
    nothing_is_left(&host, &before);
    assert!(host.logged().contains(&"fan 250.0.0.0/8 is down".into()));
}

/// A stanza has no option for `force`: what a fan takes away is only reported, and the fan comes up. fan.toml has one.
fn a_stanza_only_warns_of_what_its_fan_takes(suite: Suite) {
    let lines = ["up ip route add default via 172.30.0.1", "fan-overlay 10.0.0.0/8", "fan-options --encap vxlan"];
    let (host, _lan) = station(suite, &lines);
    host.write("/etc/resolv.conf", "nameserver 10.255.255.53\n");
    host.ifup("eth0").ok();
    host.has_fans(&["fan-10-0-28 10.0.28.1/8"]);
    let logged = host.logged();
    let is_told = |line: &String| line.starts_with("DNS server 10.255.255.53 is inside overlay '10.0.0.0/8'");
    assert!(logged.iter().any(is_told), "{logged:#?}");
    host.ifdown("eth0").ok();
    host.has_fans(&[]);
    let (host, _lan) = station(suite, &lines[..1]);
    host.write("/etc/resolv.conf", "nameserver 10.255.255.53\n");
    let fan =
        |more: &str| format!("[[fan]]\noverlay = \"10.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"vxlan\"\n{more}");
    host.write("/etc/fan.toml", &fan(""));
    host.ifup("eth0").ok();
    host.has_fans(&[]);
    host.ifdown("eth0").ok();
    host.write("/etc/fan.toml", &fan("force = true\n"));
    host.ifup("eth0").ok();
    host.has_fans(&["fan-10-0-28 10.0.28.1/8"]);
}

/// The lines of the manual: an error of the fan is no error of the interface.
fn the_lines_of_the_pages_never_fail_the_interface(suite: Suite) {
    let page = include_str!("../../docs/migration.md");
    let lines: Vec<&str> = page
        .lines()
        .map(str::trim)
        .filter(|line| ["up fanctl ", "down fanctl "].iter().any(|words| line.starts_with(words)))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let (host, _lan) = station(suite, &lines);
    host.replace_fanctl("#!/bin/sh\nexit 3\n");
    host.ifup("eth0").ok();
    let state = || host.ip_json("addr show dev eth0")[0]["addr_info"].as_array().expect("addresses").len();
    assert_eq!(state(), 1);
    host.ifdown("eth0").ok();
    assert_eq!(state(), 0);
}

fn a_stanza_may_list_overlays_and_give_a_prefix(suite: Suite) {
    let lines = ["fan-overlay 250.0.0.0/8 251.0.0.0/8", "fan-underlay-prefix 24", "fan-options --encap vxlan"];
    let (host, _lan) = station(suite, &lines);
    let before = host.dump();
    host.ifup("eth0").ok();
    host.has_fans(&["fan-250-28 250.28.0.1/8", "fan-251-28 251.28.0.1/8"]);
    nothing_is_left(&host, &before);
}

/// ifupdown-ng has no aliases.
fn an_alias_is_an_address() {
    let (host, _lan) = station(Suite::Ifupdown, &[]);
    host.interfaces(&[("eth0", "172.30.0.28", &[]), ("eth0:1", "10.5.7.9", &FAN)]);
    host.ifup("eth0").ok();
    host.ifup("eth0:1").ok();
    host.has_fans(&["fan-250-7-9 250.7.9.1/8"]);
    host.exec("ip -4 address show dev eth0").ok().stdout_has(&["10.5.7.9/16", "eth0:1"]);
    host.ifdown("eth0:1").ok();
    host.has_fans(&[]);
}

fn two_hosts_are_connected_by_ifup(suite: Suite) {
    let lan = Lan::new();
    let [a, b] = ["172.30.0.28", "172.30.0.27"].map(|address| {
        let host = station_on(&lan, suite, address, &FAN);
        host.ifup("eth0").ok();
        host
    });
    let (ca, cb) = (a.container("250.0.28.2"), b.container("250.0.27.2"));
    ca.ping("250.0.27.2").arrives();
    cb.ping("250.0.28.2").arrives();
}

fn the_words_of_a_stanza_stay_words(suite: Suite) {
    let (host, _lan) = station(suite, &[]);
    host.write(
        "/etc/network/interfaces",
        "iface lo inet loopback\n\
         iface eth0 inet6 manual\n\
         iface eth0 inet static\n\
           address 172.30.0.28/16\n\
           fan-overlay 250.0.0.0/8\n\
           fan-options dhcp  *\t$(touch${IFS}/run/oops) `id` ; \"a b\" -x\n\
         auto lo\n\
         auto eth0\n",
    );
    host.replace_fanctl(ECHO);
    host.ifup("-a").ok();
    let options = r#"[dhcp][*][$(touch${IFS}/run/oops)][`id`][;]["a][b"][-x]"#;
    assert_eq!(
        host.logged(),
        [format!("[up][250.0.0.0/8][eth0/16][--force]{options}"), "[up][--all][--dev][eth0]".to_string()]
    );
    host.ifdown("-a").ok();
    assert_eq!(host.logged(), ["[down][250.0.0.0/8][eth0/16]", "[down][--all][--dev][eth0]"]);
    host.exec("ls /run/oops").exits(2);
}

fn the_hook_knows_whom_it_is_called_for() {
    let (host, _lan) = station(Suite::Ifupdown, &[]);
    host.replace_fanctl(ECHO);
    let up = "[up][--all][--dev][eth0]";
    for (environment, calls) in [
        ("MODE=start IFACE=eth0", up), // ifupdown-ng
        ("MODE=start IFACE=eth0 ADDRFAM=inet", up),
        ("MODE=start IFACE=eth0 ADDRFAM=inet,inet6", up), // ifupdown2
        ("MODE=start IFACE=eth0 ADDRFAM=NetworkManager", up), // Debian's NetworkManager runs these hooks too
        ("MODE=stop IFACE=eth0 ADDRFAM=inet", "[down][--all][--dev][eth0]"),
        ("MODE=start IFACE=eth0 ADDRFAM=inet6", ""),
        ("MODE=start IFACE=--all ADDRFAM=meta", ""),
        ("MODE=start IFACE=lo ADDRFAM=inet", ""),
        ("MODE=start IFACE=eth0:1 ADDRFAM=inet", ""),
        ("MODE=start IFACE=fan-250-0-28 ADDRFAM=NetworkManager", ""),
        ("MODE=start", ""),
        ("IFACE=eth0", ""),
    ] {
        host.exec(&format!("env {environment} /etc/network/if-up.d/fanctl")).ok();
        assert_eq!(host.logged().concat(), calls, "{environment}");
    }
}

fn a_second_ifup_changes_nothing(suite: Suite) {
    let (host, _lan) = station(suite, &FAN);
    host.ifup("eth0").ok();
    host.has_fans(&["fan-250-0-28 250.0.28.1/8"]);
    host.unchanged(|| host.ifup("eth0").ok());
    host.logged();
    // As ifupdown-ng runs it since 2023: without /usr/local, where fanctl is.
    let environment = "env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin MODE=start IFACE=eth0 \
        IF_FAN_OVERLAY=250.0.0.0/8 IF_FAN_OPTIONS=--encap=vxlan";
    host.unchanged(|| host.exec(&format!("{environment} /etc/network/if-up.d/fanctl")).ok());
    assert_eq!(host.logged(), [""; 0], "nothing to do is no news");
}

fn a_container_does_not_keep_an_interface_up(suite: Suite) {
    let lan = Lan::new();
    let [a, b] = ["172.30.0.28", "172.30.0.27"].map(|address| station_on(&lan, suite, address, &FAN));
    let before = a.dump();
    for host in [&a, &b] {
        host.ifup("eth0").ok();
    }
    let (ca, _cb) = (a.container("250.0.28.2"), b.container("250.0.27.2"));
    a.logged();
    a.ifdown("eth0").ok();
    let eth0 = &a.ip_json("addr show dev eth0")[0];
    assert_eq!((&eth0["operstate"], eth0["addr_info"].as_array().map(Vec::len)), (&"DOWN".into(), Some(0)));
    let said = a.logged();
    assert!(said[0].starts_with("bridge 'fan-250-0-28' still has a container"), "{said:?}");
    a.ifup("eth0").ok();
    ca.ping("250.0.27.2").arrives();
    a.detach(&ca);
    nothing_is_left(&a, &before);
}

fn a_fan_goes_whose_interface_is_gone(suite: Suite) {
    let (host, _lan) = station(suite, &FAN);
    host.ifup("eth0").ok();
    host.has_fans(&["fan-250-0-28 250.0.28.1/8"]);
    host.ip("link del eth0");
    host.ifdown("eth0");
    assert_eq!(host.devices(), ["lo"]);
    assert_eq!(host.ip_json("route show"), serde_json::json!([]));
}

fn without_fanctl_an_interface_comes_and_goes(suite: Suite) {
    let (host, _lan) = station(suite, &FAN);
    host.uninstall();
    host.ifup("eth0").ok();
    host.has_fans(&[]);
    host.ifdown("eth0").ok();
    let said = "interface 'eth0' has a fan-overlay, but fanctl is not installed";
    assert_eq!(host.logged(), [said, said]);
    host.interfaces(&[("eth0", "172.30.0.28", &[])]);
    host.ifup("eth0").ok().silently();
    host.ifdown("eth0").ok().silently();
    assert!(host.logged().is_empty(), "no fan was asked for");
}

fn without_a_system_log_somebody_else_is_told(suite: Suite) {
    let (host, _lan) = station(suite, &["fan-overlay 240.0.0.0/8", "fan-underlay-prefix 4"]);
    host.ifup("eth0").ok();
    let said = host.logged();
    assert!(said[0].contains("underlay"), "{said:?}");
    host.ifdown("eth0").ok();
    host.stop_logging();
    host.ifup("eth0").ok().stderr_has(&[&said[0]]);
}

fn somebody_at_the_terminal_is_told_too(suite: Suite) {
    let (host, _lan) = station(suite, &FAN);
    host.ifup_at_a_terminal("eth0").ok().stdout_has(&[IS_UP]);
    assert!(host.logged().contains(&IS_UP.into()));
}

fn nobody_may_run_the_hook(suite: Suite) {
    let (host, _lan) = station(suite, &FAN);
    let environment = "env MODE=start IFACE=eth0 IF_FAN_OVERLAY=250.0.0.0/8";
    host.unchanged(|| host.exec(&format!("{NOBODY} {environment} /etc/network/if-up.d/fanctl")).ok());
    let said = host.logged();
    assert!(said[0].contains("root"), "{said:?}");
}

/// Two underlays, and two fans over each: one in each of the two files.
#[track_caller]
fn two_nics(suite: Suite) -> (Station, [Lan; 2]) {
    let lans = [Lan::new(), Lan::of("10.99.0.0/16", 1500)];
    let host = station_on(&lans[0], suite, "172.30.0.28", &[]);
    lans[1].wire(&host, "eth1");
    host.ip("link set eth1 up\n link set eth1 down");
    host.interfaces(&[("eth0", "172.30.0.28", &[]), ("eth1", "10.99.0.28", &[])]);
    host.write(
        "/etc/fan.toml",
        r#"
        [[fan]]
        overlay = "250.0.0.0/8"
        underlay = "eth0/16"
        encap = "vxlan"
        [[fan]]
        overlay = "251.0.0.0/8"
        underlay = "10.99.0.0/16"
        encap = "vxlan"
        dhcp = true
        "#,
    );
    host.write(
        "/etc/network/fan",
        "172.30.0.0/16 252.0.0.0/8 --encap vxlan\neth1/16 253.0.0.0/8 --encap vxlan --enable",
    );
    (host, lans)
}

fn the_configured_fans_of_an_interface_come_and_go_with_it(suite: Suite) {
    let (host, _lans) = two_nics(suite);
    let on_eth0 = ["fan-250-0-28 250.0.28.1/8", "fan-252 252.0.28.1/8"];
    let on_eth1 = ["fan-251-0-28 251.0.28.1/8", "fan-253 253.0.28.1/8"];
    let on_both = [on_eth0[0], on_eth1[0], on_eth0[1], on_eth1[1]];
    let none = host.dump();
    host.ifup("eth0").ok();
    host.has_fans(&on_eth0);
    let one = host.dump();
    host.ifup("eth1").ok();
    host.has_fans(&on_both);
    let output = host.ifdown("eth1").ok();
    assert_same(&one, &host.dump(), &output.to_string());
    host.ifup("eth1").ok();
    host.ifdown("eth0").ok();
    host.has_fans(&on_eth1);
    host.ifup("-a").ok();
    host.has_fans(&on_both);
    let output = host.ifdown("eth0 eth1").ok();
    assert_same(&none, &host.dump(), &output.to_string());
}

fn a_fan_made_by_hand_stays(suite: Suite) {
    let (host, _lans) = two_nics(suite);
    host.ifup("eth0").ok();
    host.fanctl("up 240.0.0.0/8 eth0/16 --encap vxlan").ok();
    let on_eth0 = ["fan-250-0-28 250.0.28.1/8", "fan-252 252.0.28.1/8"];
    host.has_fans(&["fan-240-0-28 240.0.28.1/8", on_eth0[0], on_eth0[1]]);
    host.ifdown("eth0").ok();
    host.has_fans(&["fan-240-0-28 240.0.28.1/8"]);
}

fn a_configured_fan_with_a_container_lets_the_interface_go(suite: Suite) {
    let (host, _lans) = two_nics(suite);
    host.ifup("eth0").ok();
    let container = host.container("250.0.28.2");
    host.logged();
    host.ifdown("eth0").ok();
    assert_eq!(host.ip_json("addr show dev eth0")[0]["addr_info"], serde_json::json!([]));
    let said = host.logged();
    let refusal = "bridge 'fan-250-0-28' still has a container";
    assert!(said.iter().any(|line| line.contains(refusal)), "{said:?}");
    host.detach(&container);
}

fn a_broken_configuration_is_logged(suite: Suite) {
    for (file, text) in [
        ("/etc/fan.toml", "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlie = \"eth0/16\"\n"),
        ("/etc/network/fan", "250.0.0.0/8\n"),
    ] {
        let (host, _lan) = station(suite, &[]);
        host.write(file, text);
        host.ifup("eth0").ok();
        host.ip_json("addr show dev eth0")[0]["addr_info"][0]["local"].as_str().expect("it has its address");
        let said = host.logged();
        assert!(said.iter().any(|line| line.contains(file)), "{said:?}");
        host.ifdown("eth0").ok();
    }
}

fn an_interface_without_a_fan_is_no_news(suite: Suite) {
    let (host, _lans) = two_nics(suite);
    host.write("/etc/network/fan", "");
    host.write("/etc/fan.toml", "fan = [{ overlay = \"250.0.0.0/8\", underlay = \"eth1/16\", encap = \"vxlan\" }]");
    host.ifup("eth0").ok().silently();
    host.ifdown("eth0").ok().silently();
    assert_eq!(host.logged(), [""; 0]);
}
