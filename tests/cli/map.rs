//! `fanctl map`: the arithmetic, which takes no privileges.

use serde_json::{Value, json};

use crate::program::fanctl;

/// The vectors of the original fan, of its users, and of its kernel patch; then edges.
const HOSTS: &str = "
    # overlay      underlay          host            slice             gateway        bridge
    250.0.0.0/8    172.16.0.0/16     172.16.3.4      250.3.4.0/24      250.3.4.1      fan-250-3-4
    10.0.0.0/8     172.16.0.0/16     172.16.3.4      10.3.4.0/24       10.3.4.1       fan-10-3-4
    250.0.0.0/8    172.30.0.0/16     172.30.0.28     250.0.28.0/24     250.0.28.1     fan-250-0-28
    250.0.0.0/8    172.30.0.0/16     172.30.0.27     250.0.27.0/24     250.0.27.1     fan-250-0-27
    99.0.0.0/8     10.88.0.0/16      10.88.3.4       99.3.4.0/24       99.3.4.1       fan-99-3-4
    99.0.0.0/8     10.99.224.0/20    10.99.238.5     99.224.80.0/20    99.224.80.1    fan-99-224-80
    100.64.0.0/10  10.224.220.0/24   10.224.220.10   100.66.128.0/18   100.66.128.1   fan-100-66-128
    10.0.0.0/8     172.21.0.0/16     172.21.3.5      10.3.5.0/24       10.3.5.1       fan-10-3-5
    10.0.0.0/8     172.21.0.0/16     172.21.5.20     10.5.20.0/24      10.5.20.1      fan-10-5-20
    240.0.0.0/8    172.16.0.0/16     172.16.3.4      240.3.4.0/24      240.3.4.1      fan-240-3-4
    10.0.0.0/8     172.16.0.0/16     172.16.5.6      10.5.6.0/24       10.5.6.1       fan-10-5-6
    240.0.0.0/8    10.248.0.0/16     10.248.119.94   240.119.94.0/24   240.119.94.1   fan-240-119-94
    240.0.0.0/8    10.248.0.0/16     10.248.119.117  240.119.117.0/24  240.119.117.1  fan-240-119-117
    240.0.0.0/8    10.97.0.0/16      10.97.72.117    240.72.117.0/24   240.72.117.1   fan-240-72-117
    250.0.0.0/8    192.168.0.0/16    192.168.12.7    250.12.7.0/24     250.12.7.1     fan-250-12-7
    250.0.0.0/8    192.168.0.0/16    192.168.13.7    250.13.7.0/24     250.13.7.1     fan-250-13-7
    240.0.0.0/8    192.168.202.0/24  192.168.202.11  240.11.0.0/16     240.11.0.1     fan-240-11
    250.0.0.0/8    10.0.0.0/16       10.0.2.15       250.2.15.0/24     250.2.15.1     fan-250-2-15
    253.0.0.0/8    172.31.0.0/16     172.31.16.0     253.16.0.0/24     253.16.0.1     fan-253-16
    243.0.0.0/8    172.31.0.0/16     172.31.64.0     243.64.0.0/24     243.64.0.1     fan-243-64
    250.0.0.0/8    172.30.0.0/16     172.30.0.0      250.0.0.0/24      250.0.0.1      fan-250
    250.0.0.0/8    172.30.0.0/16     172.30.255.255  250.255.255.0/24  250.255.255.1  fan-250-255-255
    # The smallest slice: 22 bits of host, 0x1e001c, move by two to 0x780070.
    250.0.0.0/8    172.0.0.0/10      172.30.0.28     250.120.0.112/30  250.120.0.113  fan-fa780070
    # No bit of the host counts: one host, and the overlay is its slice.
    10.0.0.0/8     192.168.7.9/32    192.168.7.9     10.0.0.0/8        10.0.0.1       fan-10
    10.64.0.0/10   192.168.0.0/22    192.168.3.255   10.127.240.0/20   10.127.240.1   fan-10-127-240
";

/// The way back: addresses of containers.
const ADDRESSES: &str = "
    # overlay      underlay          address          host            slice             gateway        bridge
    99.0.0.0/8     10.88.0.0/16      99.6.7.8         10.88.6.7       99.6.7.0/24       99.6.7.1       fan-99-6-7
    100.64.0.0/10  10.224.220.0/24   100.66.200.5     10.224.220.11   100.66.192.0/18   100.66.192.1   fan-100-66-192
    10.0.0.0/8     172.16.0.0/16     10.3.4.15        172.16.3.4      10.3.4.0/24       10.3.4.1       fan-10-3-4
    240.0.0.0/8    172.16.0.0/16     240.5.6.25       172.16.5.6      240.5.6.0/24      240.5.6.1      fan-240-5-6
    250.0.0.0/8    172.30.0.0/16     250.0.27.3       172.30.0.27     250.0.27.0/24     250.0.27.1     fan-250-0-27
    240.0.0.0/8    192.168.202.0/24  240.11.200.5     192.168.202.11  240.11.0.0/16     240.11.0.1     fan-240-11
    250.0.0.0/8    172.30.0.0/16     250.0.0.0        172.30.0.0      250.0.0.0/24      250.0.0.1      fan-250
    250.0.0.0/8    172.30.0.0/16     250.255.255.255  172.30.255.255  250.255.255.0/24  250.255.255.1  fan-250-255-255
    250.0.0.0/8    172.0.0.0/10      250.120.0.114    172.30.0.28     250.120.0.112/30  250.120.0.113  fan-fa780070
";

/// The rows of a table, without comments.
fn rows<const N: usize>(table: &'static str) -> impl Iterator<Item = [&'static str; N]> {
    let lines = table.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        cells.try_into().unwrap_or_else(|_| panic!("a row of {N}: {line}"))
    })
}

#[track_caller]
fn answer(overlay: &str, underlay: &str, address: &str, rest: [&str; 5]) {
    let [kind, host, slice, gateway, bridge] = rest;
    let words = format!("map {overlay} {underlay} {address}");
    let text = fanctl(&words).succeeds().stdout;
    let row: Vec<&str> = text.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row, [address, kind, slice, host, gateway, bridge], "{words}");

    let json_text = fanctl(&format!("{words} --json")).succeeds().stdout;
    let told: Value = serde_json::from_str(&json_text).expect("JSON");
    let expected = json!([{
        "address": address, "kind": kind, "overlay": overlay, "underlay": underlay,
        "slice": slice, "host": host, "gateway": gateway, "bridge": bridge,
    }]);
    assert_eq!(told, expected, "{words}");
}

#[test]
fn a_host_gives_its_slice() {
    for [overlay, underlay, host, slice, gateway, bridge] in rows(HOSTS) {
        answer(overlay, underlay, host, ["host", host, slice, gateway, bridge]);
    }
}

#[test]
fn an_overlay_address_gives_its_host() {
    for [overlay, underlay, address, host, slice, gateway, bridge] in rows(ADDRESSES) {
        answer(overlay, underlay, address, ["overlay", host, slice, gateway, bridge]);
    }
}

#[test]
fn the_gateway_of_each_host_lives_on_that_host() {
    for [overlay, underlay, host, slice, gateway, bridge] in rows(HOSTS) {
        answer(overlay, underlay, gateway, ["overlay", host, slice, gateway, bridge]);
    }
}

#[test]
fn the_table_has_a_header_and_columns() {
    fanctl("map 250.0.0.0/8 172.30.0.0/16 172.30.0.28 250.0.27.3").succeeds().prints(concat!(
        "Address          Kind     Slice               Host             Gateway          Bridge\n",
        "172.30.0.28      host     250.0.28.0/24       172.30.0.28      250.0.28.1       fan-250-0-28\n",
        "250.0.27.3       overlay  250.0.27.0/24       172.30.0.27      250.0.27.1       fan-250-0-27\n",
    ));
}

#[test]
fn json_is_an_array_with_one_object_a_line_in_the_order_of_the_addresses() {
    fanctl("map --json 250 172.30.0.0/16 172.30.0.28 250.0.27.3").succeeds().prints(concat!(
        "[\n",
        r#"{"address":"172.30.0.28","kind":"host","overlay":"250.0.0.0/8","underlay":"172.30.0.0/16","#,
        r#""slice":"250.0.28.0/24","host":"172.30.0.28","gateway":"250.0.28.1","bridge":"fan-250-0-28"},"#,
        "\n",
        r#"{"address":"250.0.27.3","kind":"overlay","overlay":"250.0.0.0/8","underlay":"172.30.0.0/16","#,
        r#""slice":"250.0.27.0/24","host":"172.30.0.27","gateway":"250.0.27.1","bridge":"fan-250-0-27"}"#,
        "\n]\n",
    ));
}

#[test]
fn short_forms_mean_the_long_ones() {
    let long = fanctl("map 250.0.0.0/8 172.30.0.0/16 172.30.0.28").succeeds().stdout;
    for words in ["250 172.30.0.0/16", "250 172.30.0.28/16", "250 172.30.0.28", "250.0.0.0/8 172.30.0.0"] {
        fanctl(&format!("map {words} 172.30.0.28")).succeeds().prints(&long);
    }
}

#[test]
fn every_host_of_a_16_and_every_way_back() {
    let octets = || (0..=255).flat_map(|x| (0..=255).map(move |y| (x, y)));
    let hosts: Vec<String> = octets().map(|(x, y)| format!("172.30.{x}.{y}")).collect();
    let told = fanctl("map 250 172.30.0.0/16 -").reading(hosts.join("\n")).succeeds().stdout;
    let mut rows = told.lines().skip(1);
    for (x, y) in octets() {
        let row = rows.next().unwrap_or_default();
        assert!(row.starts_with(&format!("172.30.{x}.{y} ")), "{row}");
        assert!(row.contains(&format!(" 250.{x}.{y}.0/24 ")), "{row}");
        assert!(row.contains(&format!(" 250.{x}.{y}.1 ")), "{row}");
    }
    assert_eq!(rows.next(), None);

    let addresses: Vec<String> = octets().map(|(x, y)| format!("250.{x}.{y}.{}", x ^ y)).collect();
    let told = fanctl("map 250 172.30.0.0/16 -").reading(addresses.join("\n")).succeeds().stdout;
    for ((x, y), row) in octets().zip(told.lines().skip(1)) {
        assert!(row.contains(&format!(" 172.30.{x}.{y} ")), "{row}");
    }
    assert_eq!(told.lines().count(), 65536 + 1);
}

#[test]
fn an_address_in_neither_network_names_both() {
    fanctl("map 250.0.0.0/8 172.30.0.0/16 8.8.8.8")
        .misused()
        .prints("")
        .complains("fanctl: address '8.8.8.8' is neither in overlay 250.0.0.0/8 nor in underlay 172.30.0.0/16\n");
    // A host of the same site, but of another fan.
    fanctl("map 253 172.31.0.0/16 172.99.16.0").misused().saying(&["253.0.0.0/8", "172.31.0.0/16"]);
}

#[test]
fn what_was_found_before_an_error_is_told() {
    let output = fanctl("map 250 172.30.0.0/16 172.30.0.28 8.8.8.8").misused();
    output.prints_all_of(&["172.30.0.28 ", "fan-250-0-28"]);
    let output = fanctl("map --json 250 172.30.0.0/16 172.30.0.28 8.8.8.8").misused();
    let told: Value = serde_json::from_str(&output.stdout).expect("a whole array");
    assert_eq!(told[0]["slice"], "250.0.28.0/24");
}

#[test]
fn a_mapping_that_cannot_be_is_refused_with_the_reason() {
    for (overlay, underlay, reason) in [
        ("2.0.0.0/16", "1.0.0.0/8", "'2.0.0.0/16' is not wider than underlay '1.0.0.0/8'"),
        ("250.0.0.0/16", "172.30.0.0/16", "not wider"),
        ("250.0.0.0/8", "172.0.0.0/9", "each host a /31"),
        ("250.0.0.0/28", "172.30.0.0/29", "each host a /31"),
        ("172.0.0.0/8", "172.30.0.0/16", "overlap"),
        ("10.0.0.0/8", "10.88.0.0/16", "overlap"),
        ("250.0.28.0/8", "172.30.0.0/16", "the network is 250.0.0.0/8"),
        ("0.0.0.0/8", "172.30.0.0/16", "this network"),
        ("0", "172.30.0.0/16", "this network"),
        ("127.0.0.0/8", "172.30.0.0/16", "loopback"),
        ("127.16.0.0/12", "172.30.0.0/16", "loopback"),
        ("169.254.0.0/16", "172.30.0.0/24", "link-local"),
        ("224.0.0.0/8", "172.30.0.0/16", "multicast"),
        ("239.0.0.0/8", "172.30.0.0/16", "multicast"),
        ("128.0.0.0/1", "10.0.0.0/16", "link-local"),
        ("256", "172.30.0.0/16", "'256' is no network"),
        ("250.0.0.0", "172.30.0.0/16", "'250.0.0.0' is no network"),
        ("250.0.0.0/33", "172.30.0.0/16", "'250.0.0.0/33'"),
        ("fd00::/8", "172.30.0.0/16", "'fd00::/8' is no IPv4 network"),
        ("250.0.0.0/8=172.30.0.0/16", "172.30.0.0/16", "is no IPv4 network"),
        ("250", "fd00::1/64", "a fan is IPv4 only"),
        ("250", "333.122.142.17/18", "neither an interface nor an IPv4 address"),
        ("250", "172.30.0.0/33", "no prefix length from 0 to 32"),
        ("250", "172.30.0.0/", "no prefix length from 0 to 32"),
        ("250", "127.0.0.0/16", "loopback"),
        ("250", "224.1.0.0/16", "multicast"),
        ("250", "0.0.0.0/16", "this network"),
        ("250", "eth0/16", "map looks at no host"),
        ("250", "default/16", "map looks at no host"),
    ] {
        let words = format!("map {overlay} {underlay} 172.30.0.28");
        fanctl(&words).misused().prints("").saying(&[reason]);
    }
}

#[test]
fn an_address_that_is_none_is_quoted() {
    for address in ["172.30.0", "172.30.0.028", "172.30.0.28/16", "fd00::1", "eth0"] {
        let words = format!("map 250 172.30.0.0/16 {address}");
        fanctl(&words).misused().saying(&[&format!("'{address}' is no IPv4 address"), "172.30.0.0/16"]);
    }
}

#[test]
fn comments_of_a_list_are_skipped() {
    let list = format!("# web\n172.30.0.28 # rack 2\n\n#{}\n  # last\n250.0.27.3", "172.30.0.9 ".repeat(100));
    let told = fanctl("map 250 172.30.0.0/16 -").reading(list).succeeds().stdout;
    let rows: Vec<&str> = told.lines().skip(1).filter_map(|row| row.split(' ').next()).collect();
    assert_eq!(rows, ["172.30.0.28", "250.0.27.3"]);
    let output = fanctl("map 250 172.30.0.0/16 -").reading("# one\nweb\n".to_string()).misused();
    output.saying(&["standard input, line 2: address 'web' is no IPv4 address"]);
}
