//! The configuration files: what is wrong with them, all at once, and what stands in them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::program::{Output, Run, with};

/// A file that this test alone uses.
struct File(PathBuf);

impl File {
    fn new(test: &str, extension: &str, text: impl AsRef<[u8]>) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}{extension}"));
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("its owner");
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().expect("text")
    }

    /// `fanctl VERB... --config FILE`
    fn given_to(&self, verbs: &[&str]) -> Run {
        with(verbs.iter().copied().chain(["--config", self.name()]))
    }

    /// Standard error without the file's directory.
    fn complaints(&self, output: &Output) -> String {
        output.stderr.replace(self.name(), "FILE")
    }
}

/// A broken /etc/fan.toml and all that is said of it.
const BROKEN_TOML: [(&str, &str, &str); 28] = [
    (
        "names with slips",
        "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\n[[name]]\nname = \"a.b\"\naddress = \"10.0.0.1\"\nport = 1\n\
         [[name]]\naddress = \"250.0.28.9\"\n[[name]]\nname = \"db\"\naddress = \"10.0.0.1\"\n",
        "FILE:5:8: name 'a.b': a name has letters, digits, '-' and '_', and begins and ends with a letter or digit\n\
         FILE:7:1: key 'port' is unknown; a name has name, address\n\
         FILE:8:1: the name lacks its 'name', a string like \"db\"\n\
         FILE:10:1: address '10.0.0.1' of name 'db' is in the overlay of no fan here; write one that is",
    ),
    (
        "a key with a slip",
        "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\ndchp = true\n",
        "FILE:4:1: key 'dchp' is unknown; a fan has overlay, underlay, encap, bridge, dhcp, host-reserve, mtu, port, table, \
         nat, routed, flowtable, fast, names, peers, key, hosts, exclude, follow, force, enabled",
    ),
    (
        "values of the wrong kind",
        "[[fan]]\noverlay = 250\nunderlay = \"eth0/16\"\ndhcp = \"yes\"\nmtu = \"1400\"\nfollow = \"true\"\n",
        "FILE:2:11: overlay is a network like \"250.0.0.0/8\", not the number 250\n\
         FILE:4:8: dhcp is true or false, not the string 'yes'\n\
         FILE:5:7: mtu is a number from 576 to 65515, not the string '1400'\n\
         FILE:6:10: follow is true, false or \"renumber\", not the string 'true'",
    ),
    (
        "values out of range",
        "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/33\"\nhost-reserve = 300\nmtu = 100\n  port = 0\ntable = 254\n",
        "FILE:3:12: underlay 'eth0/33' has no prefix length from 0 to 32 after the '/'\n\
         FILE:4:16: host-reserve '300' is no number from 1 to 254\n\
         FILE:5:7: mtu '100' is no number from 576 to 65515\n\
         FILE:6:10: port '0' is no number from 1 to 65535\n\
         FILE:7:9: table 254 is the kernel's own; leave the table out for the main one",
    ),
    (
        "an unknown encapsulation, a name that cannot be",
        "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"gre\"\nbridge = \"fan/0\"\n",
        "FILE:4:9: encapsulation 'gre' is unknown; it is ipip, vxlan or wireguard\n\
         FILE:5:10: interface name 'fan/0' holds a '/', ':', '%', blank or control character",
    ),
    (
        "a fan without an underlay",
        "# the fan\n\n[[fan]]\noverlay = \"250.0.0.0/8\"\n",
        "FILE:3:1: the fan lacks its 'underlay', an interface, address or network like \"eth0/16\", \"172.30.0.28/16\", \
         \"172.30.0.0/16\", \"default/16\"",
    ),
    (
        "one overlay twice",
        "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\n[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth1/16\"\n",
        "FILE:5:11: overlay '250.0.0.0/8' stands already in line 1, and a host has one slice of an overlay; remove one of \
         the two, or switch it off",
    ),
    (
        "overlays that overlap",
        "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\n[[fan]]\noverlay = \"250.7.0.0/16\"\nunderlay = \"eth1/24\"\n",
        "FILE:5:11: overlay '250.7.0.0/16' overlaps '250.0.0.0/8' in line 1; choose another overlay",
    ),
    (
        "one bridge twice",
        "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nbridge = \"fan0\"\n\
         [[fan]]\noverlay = \"251.0.0.0/8\"\nunderlay = \"eth0/16\"\nbridge = \"fan0\"\n",
        "FILE:8:10: bridge 'fan0' is that of the fan in line 1 already; choose another name",
    ),
    (
        "a mapping that cannot be",
        "[[fan]]\noverlay = \"172.0.0.0/8\"\nunderlay = \"172.30.0.0/16\"\n",
        "FILE:3:12: overlay '172.0.0.0/8' and underlay '172.30.0.0/16' overlap; choose an overlay that no host uses",
    ),
    (
        "an underlay that is as wide as its overlay",
        "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/8\"\n",
        "FILE:3:12: overlay '250.0.0.0/8' is not wider than underlay 'eth0/8': every host needs a slice of its own, so the \
         overlay's prefix must be the shorter one",
    ),
    (
        "a slice without room for a container",
        "[[fan]]\noverlay = \"250.0.0.0/15\"\nunderlay = \"default/16\"\n",
        "FILE:3:12: overlay '250.0.0.0/15' over underlay 'default/16' gives each host a /31, which has no room for \
         containers; a slice must be a /30 or shorter",
    ),
    (
        "a host that keeps its whole slice",
        "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nhost-reserve = 254\n",
        "FILE:4:16: host-reserve 254 leaves no address for containers: a slice of '250.0.0.0/8' over 'eth0/16' is a /24, \
         which has 254",
    ),
    (
        "the underlay's interface as a bridge",
        "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nbridge = \"eth0\"\n",
        "FILE:4:10: bridge 'eth0' is the interface of underlay 'eth0/16'; choose a name that no interface has, like fan0",
    ),
    (
        "a port without vxlan",
        "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nport = 4789\n",
        "FILE:4:8: port 4789 is for vxlan and wireguard, and this fan is over ipip; choose encap vxlan or \
         wireguard on all hosts, or leave the port out",
    ),
    (
        "the fast path over vxlan",
        "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nencap = \"vxlan\"\nfast = true\n",
        "FILE:5:8: fast true is for ipip, and this fan is over vxlan, for which it has no programs yet; leave it out",
    ),
    (
        "the fast path over wireguard",
        "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/20\"\nencap = \"wireguard\"\nfast = true\n",
        "FILE:5:8: fast true is for ipip, and this fan is over wireguard: fast would send packets unencrypted; \
         leave it out",
    ),
    (
        "the fast path without a flowtable",
        "[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\nflowtable = false\nfast = true\n",
        "FILE:5:8: fast needs the flowtable; leave out fast, or have the flowtable",
    ),
    (
        "one bracket too few",
        "[fan]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\n",
        "FILE:1:1: 'fan' is one of several, so it takes two brackets: write [[fan]]",
    ),
    (
        "a table of another name",
        "[[fans]]\noverlay = \"250.0.0.0/8\"\n",
        "FILE:1:3: 'fans' is unknown; the file consists of [[fan]] and [[name]] tables",
    ),
    (
        "quotes forgotten",
        "[[fan]]\noverlay = 250.0.0.0/8\nunderlay = eth0/16\n",
        "FILE:2:16: 'overlay = 250.0.0.0/8' needs plain quotes: write overlay = \"250.0.0.0/8\"\n\
         FILE:3:12: 'underlay = eth0/16' needs plain quotes: write underlay = \"eth0/16\"",
    ),
    (
        "quotes of a word processor, and half of a pair",
        "[[fan]]\noverlay = “250.0.0.0/8” # ours\nunderlay = \"eth0/16\nencap=vxlan\nfollow = renumber\n",
        "FILE:2:11: 'overlay = “250.0.0.0/8”' needs plain quotes: write overlay = \"250.0.0.0/8\"\n\
         FILE:3:20: 'underlay = \"eth0/16' needs plain quotes: write underlay = \"eth0/16\"\n\
         FILE:4:7: 'encap = vxlan' needs plain quotes: write encap = \"vxlan\"\n\
         FILE:5:10: 'follow = renumber' needs plain quotes: write follow = \"renumber\"",
    ),
    (
        "words for a flag and a number, and a key that is none",
        "[[fan]]\ndhcp = yes\nnat = False\nmtu = 1400b\nport = 01\nreserve = few\n",
        "FILE:2:8: dhcp is true or false, not 'yes'\n\
         FILE:3:7: nat is true or false, not 'False'\n\
         FILE:4:7: mtu is a number from 576 to 65515, not '1400b'\n\
         FILE:5:8: port is a number from 1 to 65535, not '01'\n\
         FILE:6:11: key 'reserve' is unknown; a fan has overlay, underlay, encap, bridge, dhcp, host-reserve, mtu, port, \
         table, nat, routed, flowtable, fast, names, peers, key, hosts, exclude, follow, force, enabled",
    ),
    ("a colon", "[[fan]]\noverlay: \"250.0.0.0/8\"\n", "FILE:2:10: this is no TOML: 'overlay: \"250.0.0.0/8\"': "),
    ("a key twice", "[[fan]]\nmtu = 1400\nmtu = 1500\n", "FILE:3:1: this is no TOML: 'mtu = 1500': "),
    (
        "a fan without anything",
        "[[fan]]\n",
        "FILE:1:1: the fan lacks its 'overlay', a network like \"250.0.0.0/8\"\n\
         FILE:1:1: the fan lacks its 'underlay', an interface, address or network like \"eth0/16\", \"172.30.0.28/16\", \
         \"172.30.0.0/16\", \"default/16\"",
    ),
    (
        "lines of the other file",
        "250.0.0.0/8 eth0/16 dhcp\n172.30.0.0/16 251 --mtu=1400\n",
        "FILE:1:13: this is a line of /etc/network/fan; to have such a file as TOML: fanctl config convert FILE",
    ),
    ("nothing that is known", "Bring up the fan!\n", "FILE:1:7: this is no TOML: 'Bring up the fan!': "),
];

/// A line of /etc/network/fan and what is said of it.
const BROKEN_LINES: [(&str, &str); 12] = [
    (
        "250 eth0 dchp",
        "FILE:1:10: word 'dchp' is unknown; after overlay and underlay may come dhcp, host-reserve N, bridge NAME, off, and options such as --encap vxlan",
    ),
    ("250 eth0 host-reserve", "FILE:1:10: 'host-reserve' lacks its value, a number from 1 to 254"),
    ("250 eth0 dhcp host-reserve none", "FILE:1:15: host-reserve 'none' is no number from 1 to 254"),
    (
        "172.30.0.0/16 250.0.0.0/8 --dhpc",
        "FILE:1:27: word '--dhpc' is unknown; after overlay and underlay may come dhcp, host-reserve N, bridge NAME, off, and options such as --encap vxlan",
    ),
    (
        "172.30.0.0/16 250.0.0.0/8 --bridge=a/b",
        "FILE:1:27: interface name 'a/b' holds a '/', ':', '%', blank or control character",
    ),
    ("250.0.0.0/8", "FILE:1:1: '250.0.0.0/8' stands alone; a line is OVERLAY UNDERLAY, like 250.0.0.0/8 eth0/16"),
    ("  250.1.0.0/8 eth0/16", "FILE:1:3: overlay '250.1.0.0/8' has host bits set; the network is 250.0.0.0/8"),
    ("eth0/40 250.0.0.0/8", "FILE:1:1: underlay 'eth0/40' has no prefix length from 0 to 32 after the '/'"),
    (
        "172.16.0.0/16 172.17.0.0/16",
        "FILE:1:15: overlay '172.16.0.0/16' is not wider than underlay '172.17.0.0/16': every host needs a slice of its own, so the overlay's prefix must be the shorter one",
    ),
    (
        "eth0/8 250.0.0.0/8 --dhcp",
        "FILE:1:1: overlay '250.0.0.0/8' is not wider than underlay 'eth0/8': every host needs a slice of its own, so the overlay's prefix must be the shorter one",
    ),
    (
        "10.0.0.0/20 172.30.0.0/24 host-reserve 14",
        "FILE:1:1: host-reserve 14 leaves no address for containers: a slice of '10.0.0.0/20' over '172.30.0.0/24' is a /28, which has 14",
    ),
    (
        "[[fan]]",
        "FILE:1:1: this looks like TOML, where a line like 250.0.0.0/8 eth0/16 should be; TOML belongs into a file whose name ends in .toml",
    ),
];

#[track_caller]
fn assert_told(file: &File, what: &str, expected: &str) {
    let told = file.complaints(&file.given_to(&["config", "check"]).finds_faults().prints(""));
    let expected: Vec<String> = expected.lines().map(|line| format!("fanctl: {line}")).collect();
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told.len(), expected.len(), "{what}: {told:#?}");
    for (told, expected) in told.iter().zip(&expected) {
        // What the parser of TOML says itself may change with its version.
        if expected.ends_with(": ") {
            assert!(told.starts_with(expected), "{what}: {told}");
        } else {
            assert_eq!(told, expected, "{what}");
        }
    }
}

#[test]
fn everything_wrong_with_a_toml_file_is_told_at_once_with_its_place() {
    for (index, (what, text, expected)) in BROKEN_TOML.iter().enumerate() {
        assert_told(&File::new(&format!("broken-{index}"), ".toml", text), what, expected);
    }
}

#[test]
fn everything_wrong_with_a_legacy_file_is_told_at_once_with_its_place() {
    for (index, (line, expected)) in BROKEN_LINES.iter().enumerate() {
        assert_told(&File::new(&format!("broken-{index}"), "", line), line, expected);
    }
    let lines: Vec<&str> = BROKEN_LINES.iter().map(|(line, _)| *line).collect();
    let all = File::new("all-broken", "", lines.join("\n"));
    let told = all.complaints(&all.given_to(&["config", "check"]).finds_faults());
    let places: Vec<&str> = told.lines().filter_map(|line| line.split(':').nth(2)).collect();
    assert_eq!(places, (1..=BROKEN_LINES.len()).map(|line| line.to_string()).collect::<Vec<_>>());
}

#[test]
fn toml_in_the_legacy_file_is_told_once() {
    let text = "# ours\n\n[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"eth0/16\"\ndhcp=true\n";
    let file = File::new("misplaced", "", text);
    let told = file.complaints(&file.given_to(&["config", "check"]).finds_faults());
    assert!(told.starts_with("fanctl: FILE:3:1: this looks like TOML") && told.lines().count() == 1, "{told}");
}

#[test]
fn a_file_that_everybody_may_write_is_refused() {
    let file = File::new("open", ".toml", "");
    fs::set_permissions(&file.0, fs::Permissions::from_mode(0o666)).expect("its owner");
    let told = file.complaints(&file.given_to(&["config", "check"]).finds_faults());
    assert_eq!(
        told,
        "fanctl: FILE: everybody may write to it, and so change this host's network; first: chmod o-w FILE\n"
    );
}

#[test]
fn a_device_is_nobodys_file() {
    let output = with(["config", "check", "--config", "/dev/null"]).succeeds();
    assert_eq!(output.stdout, "/dev/null: no fan, nothing wrong\n");
}

#[test]
fn what_is_no_regular_file_or_too_long_is_told_in_a_line() {
    let long = File::new("long", ".toml", "");
    fs::File::options().write(true).open(&long.0).and_then(|file| file.set_len(100 << 20)).expect("a sparse file");
    let told = long.complaints(&long.given_to(&["config", "check"]).finds_faults());
    assert_eq!(told, "fanctl: FILE: it is longer than 4194304 bytes, the most that is read of such a file\n");
    let told = with(["config", "check", "--config", "/dev/zero"]).finds_faults().stderr;
    assert_eq!(told, "fanctl: /dev/zero: it is a device; only a regular file is read\n");
}

#[test]
fn of_a_long_line_a_piece_is_quoted() {
    let long = "x\u{1b}[2J".repeat(20_000);
    let piece = "x\\x1b[2J".repeat(12);
    for (extension, text) in [
        (".toml", format!("{long}\n")),
        (".toml", format!("[[fan]]\noverlay = \"250\"\nunderlay = '{}'\n", long.replace('\u{1b}', "y"))),
        (".toml", format!("[[fan]]\noverlay = '{}'\nunderlay = \"eth0\"\n", "\u{202e}".repeat(9_000))),
        (".toml", format!("[[fan]]\n{} = 1\n", "k".repeat(90_000))),
        (".toml", format!("{} = 1\n", "k".repeat(90_000))),
        (".toml", format!("[[fan]]\nmtu = \"{}\"\n", "k".repeat(90_000))),
        ("", format!("{long} eth0\n")),
        ("", format!("250 eth0 {long}\n")),
        ("", long.clone()),
    ] {
        let file = File::new("piece", extension, &text);
        let output = file.given_to(&["config", "check"]).finds_faults();
        let told = file.complaints(&output);
        assert!(told.lines().all(|line| line.len() < 1000), "{} bytes", told.len());
        assert!(!told.contains('\u{1b}') && !told.contains('\u{202e}'), "{told}");
        assert!(!text.contains('\u{1b}') || told.contains(&piece[..20]), "{told}");
    }
}

#[test]
fn a_file_that_is_no_text_is_a_fault() {
    let file = File::new("binary", ".toml", b"fan = \xff\n");
    let told = file.complaints(&file.given_to(&["config", "check"]).finds_faults());
    assert_eq!(told, "fanctl: FILE: byte 6 is no UTF-8 text\n");
}

const TWO: &str = "fan = [{ overlay = \"250.0.0.0/8\", underlay = \"eth0/16\" }]\n";
const LEGACY: &str =
    "# both grammars\n241 eth0 dhcp host-reserve 4 off\n172.30.0.0/16 250.0.0.0/8 --dhcp --enable --bridge=fan-250";

#[test]
fn a_right_file_is_said_to_be_right() {
    let file = File::new("right", ".toml", TWO);
    let output = file.given_to(&["config", "check"]).succeeds();
    assert_eq!(output.stdout.replace(file.name(), "FILE"), "FILE: 1 fan, nothing wrong\n");
    let file = File::new("right", "", LEGACY);
    let output = file.given_to(&["config", "check"]).succeeds();
    assert_eq!(output.stdout.replace(file.name(), "FILE"), "FILE: 2 fans, 1 of them off, nothing wrong\n");
}

#[test]
fn the_example_is_right_and_shows_every_key() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fan.toml");
    let output = with(["config", "check", "--config", example]).succeeds();
    assert!(output.stdout.ends_with(": 3 fans, 2 of them off, nothing wrong\n"), "{output:?}");
    let text = fs::read_to_string(example).expect("the example");
    for key in &fanctl::fan::options::KEYS {
        let shown = text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{} = ", key.name)));
        assert!(shown, "{} is not in the example", key.name);
    }
}

#[test]
fn the_list_is_a_table_or_json() {
    let file = File::new("listed", "", LEGACY);
    let table = file.given_to(&["config", "list"]).succeeds().stdout.replace(file.name(), "FILE");
    assert_eq!(
        table,
        "\
Overlay              Underlay             Options                          Place
241.0.0.0/8          eth0/16              dhcp host-reserve 4 off          FILE:2
250.0.0.0/8          172.30.0.0/16        bridge fan-250 dhcp              FILE:3
"
    );
    let text = file.given_to(&["config", "list", "--json"]).succeeds().stdout;
    let list: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        list[1],
        serde_json::json!({
            "overlay": "250.0.0.0/8", "underlay": "172.30.0.0/16", "encap": "ipip", "bridge": "fan-250", "dhcp": true,
            "host_reserve": 1, "mtu": null, "port": null, "table": 254, "nat": true, "routed": [], "flowtable": true, "fast": false, "names": false, "peers": [], "key": null, "hosts": [], "exclude": [], "follow": false, "force": false, "enabled": true,
            "file": file.name(), "line": 3
        })
    );
}

#[test]
fn what_is_known_without_the_host_is_filled_in() {
    let file = File::new(
        "filled-in",
        "",
        "250 eth0 --encap vxlan\n251 eth0 --encap vxlan --port 4789 --table 99 --mtu 1400\n",
    );
    let text = file.given_to(&["config", "list", "--json"]).succeeds().stdout;
    let list: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let told = |key: &str| [list[0][key].clone(), list[1][key].clone()];
    assert_eq!(told("port"), [8472, 4789]);
    assert_eq!(told("table"), [254, 99]);
    assert_eq!(told("mtu"), [serde_json::Value::Null, 1400.into()]);
    for of_ipip in ["flowtable", "fast"] {
        assert_eq!(told(of_ipip), [serde_json::Value::Null, serde_json::Value::Null]);
    }
}

#[test]
fn what_is_converted_says_the_same() {
    let legacy = File::new("before", "", LEGACY);
    let toml = with(["config", "convert", legacy.name()]).succeeds().stdout;
    assert_eq!(
        toml,
        "# both grammars\n[[fan]]\noverlay = \"241.0.0.0/8\"\nunderlay = \"eth0/16\"\ndhcp = true\nhost-reserve = 4\n\
         enabled = false\n[[fan]]\noverlay = \"250.0.0.0/8\"\nunderlay = \"172.30.0.0/16\"\nbridge = \"fan-250\"\ndhcp = true\n"
    );
    let converted = File::new("after", ".toml", toml);
    let list = |file: &File| -> Vec<serde_json::Value> {
        let text = file.given_to(&["config", "list", "--json"]).succeeds().stdout;
        let mut list: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
        for fan in &mut list {
            let fan = fan.as_object_mut().expect("an object");
            assert!(fan.remove("file").is_some() && fan.remove("line").is_some());
        }
        list
    };
    assert_eq!(list(&legacy), list(&converted));
}

#[test]
fn what_cannot_be_read_cannot_be_converted() {
    with(["config", "convert", "/nowhere/fan"]).misused().prints("").saying(&["/nowhere/fan: No such file"]);
    let file = File::new("unconverted", "", "250 eth0\n251 eth0 dchp\n");
    with(["config", "convert", file.name()]).misused().prints("").saying(&[":2:10: word 'dchp'"]);
}

/// `lxc network show` of LXD 5.0, of a network that `lxd init` made in a cluster.
const LXD_FAN: &str = r#"config:
  bridge.mode: fan
  fan.overlay_subnet: 240.0.0.0/8
  fan.type: vxlan
  fan.underlay_subnet: 172.30.0.0/16
  ipv4.nat: "true"
  raw.dnsmasq: |-
    ipv4.nat: "false"
    name: nobody
  ipv4.dhcp.expiry: 2h
  volatile.network.mac: 00:16:3e:00:00:01
description: ""
name: lxdfan0
type: bridge
used_by:
- /1.0/profiles/default
managed: true
status: Created
locations:
- one
- two
"#;

#[test]
fn fans_of_lxd_and_juju_are_converted_and_keep_their_bridges() {
    let lxd = File::new("lxd", "", LXD_FAN);
    with(["config", "convert", lxd.name()]).succeeds().prints(
        "# LXD's network 'lxdfan0'\n# not taken over: raw.dnsmasq, ipv4.dhcp.expiry\n[[fan]]\noverlay = \"240.0.0.0/8\"\n\
         underlay = \"172.30.0.0/16\"\nencap = \"vxlan\"\nbridge = \"lxdfan0\"\ndhcp = true\n",
    );
    let bare = File::new("lxd", "", LXD_FAN.replace("vxlan", "ipip").replace("  ipv4.nat: \"true\"\n", ""));
    with(["config", "convert", bare.name()]).succeeds().prints(
        "# LXD's network 'lxdfan0'\n# not taken over: raw.dnsmasq, ipv4.dhcp.expiry\n[[fan]]\noverlay = \"240.0.0.0/8\"\n\
         underlay = \"172.30.0.0/16\"\nbridge = \"lxdfan0\"\ndhcp = true\nnat = false\n",
    );
    let juju = "[[fan]]\noverlay = \"252.0.0.0/8\"\nunderlay = \"172.31.0.0/16\"\nencap = \"vxlan\"\nbridge = \"fan-252\"\n\
                dhcp = true\n";
    for text in ["172.31.0.0/16=252.0.0.0/8\n", "172.31.0.0/16:252.0.0.0/8;"] {
        let told = format!("# Juju's fan-config {}\n{juju}", text.trim_end_matches(['\n', ';']));
        with(["config", "convert", File::new("juju", "", text).name()]).succeeds().prints(&told);
    }
    let two = File::new("juju", "", "172.31.0.0/16=252.0.0.0/8 192.168.8.0/24=10.0.0.0/8");
    let toml = with(["config", "convert", two.name()]).succeeds().stdout;
    assert_eq!(toml.matches("[[fan]]").count(), 2, "{toml}");
    File::new("after", ".toml", toml).given_to(&["config", "check"]).succeeds();
}

#[test]
fn a_fan_of_another_program_that_is_none_is_told() {
    let faulty = |text: &str, place: &str| {
        with(["config", "convert", File::new("foreign", "", text).name()]).misused().prints("").saying(&[place]);
    };
    faulty(
        &LXD_FAN.replace("mode: fan", "mode: standard"),
        ":1:1: network 'lxdfan0' has no fan: its bridge.mode is 'standard'",
    );
    faulty(&LXD_FAN.replace("172.30.0.0/16", "auto"), ":5:3: fan.underlay_subnet names no network");
    faulty(&LXD_FAN.replace("172.30.0.0/16", "172.30.0.0/40"), ":5:3: ");
    faulty(&LXD_FAN.replace("vxlan", "geneve"), ":4:3: fan.type 'geneve' is unknown");
    faulty(&LXD_FAN.replace("name: lxdfan0", "name: lxd/fan"), ":13:1: interface name");
    faulty(&LXD_FAN.replace("name: lxdfan0\n", ""), ":1:1: the network lacks its name");
    faulty(&(LXD_FAN.to_owned() + LXD_FAN), ":22:1: a second network begins here");
    faulty("172.31.0.0/16=252.0.0.0/8 elsewhere", ":1:27: 'elsewhere' is no fan of Juju's");
    faulty("172.31.0.0/16=252.0.0.0/24", ":1:1: ");
}

#[test]
fn the_verbs_that_follow_a_file_tell_its_faults() {
    let file = File::new("followed", ".toml", "[[fan]]\noverlay = \"250.0.0.0/8\"\n");
    for verb in [&["up", "-a"][..], &["reload"], &["status"], &["config", "list"]] {
        let told = file.complaints(&file.given_to(verb).finds_faults());
        assert!(told.starts_with("fanctl: FILE:1:1: the fan lacks its 'underlay'"), "{verb:?}: {told}");
    }
}
