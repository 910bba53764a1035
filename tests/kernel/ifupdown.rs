//! Fans that come and go with an interface of ifupdown: by the lines of the announcement, by the options of a stanza.
//! Everything runs under Debian's ifupdown and under ifupdown-ng.

use crate::case::{Case, Cases, Need};
use crate::support::{Host, Lan, NOBODY, Station, Suite, assert_same};

/// Tests by name, each with this suite.
macro_rules! with {
    ($suite:expr; $($test:ident),+ $(,)?) => { &[$((stringify!($test), (|| $test($suite)) as fn())),+] };
}

pub fn cases() -> Vec<Case> {
    macro_rules! all {
        ($suite:expr) => {
            with![$suite;
                the_lines_of_the_announcement_leave_nothing,
                the_options_of_a_stanza_make_a_fan_and_leave_nothing,
            ]
        };
    }
    let debian = Cases::of("ifupdown").once_with(&[Need::Tier2], all!(Suite::Ifupdown));
    let ng = Cases::of("ifupdown-ng").once_with(&[Need::Tier2], all!(Suite::IfupdownNg));
    debian.list().into_iter().chain(ng.list()).collect()
}

/// A station with an eth0 on the underlay of the announcement, and these lines in its stanza.
#[track_caller]
fn station(suite: Suite, lines: &[&str]) -> (Station, Lan) {
    let (lan, station) = (Lan::new(), Station::new(suite, "172.30.0.28"));
    lan.wire(&station, "eth0");
    station.ip("link set eth0 up\n link set eth0 down"); // a queue comes with the first time, and stays
    station.interfaces(&[("eth0", "172.30.0.28", lines)]);
    (station, lan)
}

fn fan(bridge: &str, address: &str) -> (String, String) {
    (bridge.into(), address.into())
}

fn the_lines_of_the_announcement_leave_nothing(suite: Suite) {
    // ifupdown-ng looks for programs in the system's directories only.
    let fanctl = if suite == Suite::IfupdownNg {
        "/usr/local/bin/fanctl"
    } else {
        "fanctl"
    };
    let lines = [
        format!("up {fanctl} up 250.0.0.0/8 eth0/16 dhcp --encap vxlan"),
        format!("down {fanctl} down 250.0.0.0/8 eth0/16"),
    ];
    let (host, _lan) = station(suite, &lines.each_ref().map(String::as_str));
    let before = host.dump();
    host.ifup("eth0").ok();
    assert_eq!(host.fans(), [fan("fan-250-0-28", "250.0.28.1/8")]);
    assert_eq!(host.dnsmasqs().len(), 1);
    let output = host.ifdown("eth0").ok();
    assert_same(&before, &host.dump(), &output.to_string());
}

fn the_options_of_a_stanza_make_a_fan_and_leave_nothing(suite: Suite) {
    let (host, _lan) = station(
        suite,
        &[
            "fan-overlay 250.0.0.0/8",
            "fan-options dhcp host-reserve 4 --encap vxlan",
        ],
    );
    let before = host.dump();
    host.ifup("eth0").ok();
    assert_eq!(
        host.fans(),
        [fan("fan-250-0-28", "250.0.28.1/8")],
        "{:?}",
        host.logged()
    );
    let (_, server) = &host.dnsmasqs()[0];
    assert!(server.contains("250.0.28.5,250.0.28.254"), "{server}");
    let output = host.ifdown("eth0").ok();
    println!("{:?}", host.logged());
    assert_same(&before, &host.dump(), &output.to_string());
}
