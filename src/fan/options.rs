//! Every option of a fan, each in one place: [`KEYS`].
//!
//! From an entry of the table come the option of `up` and its help, the key of /etc/fan.toml, the word in /etc/network/fan
//! and in the label of a bridge, what `show` and `config list` print, and what contradicts it. A new option is an entry
//! here, its effect, and a test. The tests of the manual pages and of examples/fan.toml name the texts that lack it.

mod read;

use std::fmt;

use super::encap::Encapsulation;
use super::keys::file::DEFAULT_KEY_FILE;
use super::name::InterfaceName;
use super::request::{Follow, Peers, Request, Subnets};

pub use read::{bridge_name, number};
use read::{flag, key_file, table};

/// The smallest MTU a fan is given: what every IPv4 host must be able to take (RFC 791, section 3.1).
pub(crate) const MIN_MTU: u32 = 576;
/// The largest: an IPv4 packet of 65535 bytes (RFC 791, section 3.1) less the 20 of IPIP.
pub(crate) const MAX_MTU: u32 = 65515;
/// The kernel's main routing table (`RT_TABLE_MAIN`, linux/rtnetlink.h).
pub(crate) const MAIN_TABLE: u32 = 254;

/// What can be written down of a fan: the key of /etc/fan.toml, and mostly an option of the same name.
#[derive(Debug)]
pub struct OptionKey {
    /// Its name.
    pub name: &'static str,
    /// The kind of value it takes.
    pub kind: OptionKind,
    /// The values it takes, for a message: `a number from 1 to 254`.
    pub values: &'static str,
    /// As an option of `up`; none if `up` has no such option, or has it for all fans at once.
    pub(crate) argument: Option<Argument>,
    /// The position among the words of 2015, which have no dashes and are printed first; none for all others.
    pub(crate) word: Option<u8>,
    /// The encapsulations that have it; none if all do.
    pub(crate) only: Option<Only>,
    /// The value that is used when none is given, if it does not depend on the host.
    pub(crate) usual: Option<fn(&Request) -> Option<String>>,
    /// How it is read back from a fan that is up.
    pub(crate) read_back: ReadBack,
    set: fn(&mut Request, &str) -> Result<(), String>,
    get: fn(&Request) -> Option<String>,
    reset: fn(&mut Options),
}

/// An option of `up`.
#[derive(Debug)]
pub(crate) struct Argument {
    /// The name of its value in the help; empty where it takes none.
    pub(crate) value_name: &'static str,
    /// Its line in the help.
    pub(crate) help: &'static str,
}

/// The encapsulations that an option is for.
#[derive(Debug)]
pub(crate) struct Only {
    /// Those.
    pub(crate) encapsulations: &'static [Encapsulation],
    /// The end of the sentence that refuses it with another: why, and what to do.
    pub(crate) advice: fn(Encapsulation) -> &'static str,
}

/// How an option is read back from a fan that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadBack {
    /// It has its own place: in the label, or it is the name of the bridge.
    Place,
    /// It is a word of the label.
    Label,
    /// It is a word of the label, and the firewall tables show it where the label is lost.
    Effect,
    /// It is not: it is about what is written down, and no property of a fan that is up.
    FileOnly,
}

/// The kind of value that a [`OptionKey`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// A string.
    Text,
    /// An integer.
    Number,
    /// `true` or `false`.
    Flag,
    /// The same, where `true` goes without saying: the option is `--no-` and its name, without a value.
    Switch,
    /// Either of these, or a string.
    FlagOrText,
    /// An array of strings; as an option, the strings with commas between them.
    List,
}

/// Makes [`Options`], with a field for each entry, and [`KEYS`]. An entry is the field, its type and default, the function that
/// reads its value, and what [`OptionKey`] has of it.
macro_rules! options {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $default:expr, read $read:expr, { $($column:ident: $value:expr,)* })*) => {
        /// The options of a fan.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct Options {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Default for Options {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        /// Every key, in the order in which a fan is best read.
        pub static KEYS: [OptionKey; 2 + [$(stringify!($field)),*].len()] = [
            OVERLAY,
            UNDERLAY,
            $(OptionKey {
                $($column: $value,)*
                set: |config, text| $read(text).map(|value| config.options.$field = value.into()),
                get: |config| config.options.$field.written(),
                reset: |options| options.$field = $default,
                ..PLAIN
            },)*
        ];
    };
}

options! {
    /// How packets travel between hosts.
    encapsulation: Encapsulation = Encapsulation::Ipip, read str::parse::<Encapsulation>, {
        name: "encap",
        values: "\"ipip\", \"vxlan\" or \"wireguard\"",
        argument: Some(option(
            "ENCAP",
            "How packets travel; the same on all hosts: ipip, vxlan or wireguard, which encrypts them [default: ipip]",
        )),
        read_back: ReadBack::Place,
    }

    /// The bridge's name where it is not to be that of the slice.
    bridge: Option<InterfaceName> = None, read bridge_name, {
        name: "bridge",
        values: "a name like \"fan0\"",
        argument: Some(option("NAME", "The bridge's name [default: after the slice, fan-250-0-28]")),
        word: Some(2),
        read_back: ReadBack::Place,
    }

    /// Whether a DHCP server gives out the slice.
    dhcp: bool = false, read |text| flag("dhcp", text), {
        name: "dhcp",
        kind: OptionKind::Flag,
        values: FLAG,
        argument: Some(option("", "Give out the slice by DHCP (needs dnsmasq)")),
        word: Some(0),
    }

    /// Addresses at the start of the slice that the host keeps, 1 to 254.
    host_reserve: u8 = 1, read |text| number("host-reserve", text, 1..=254_u8), {
        name: "host-reserve",
        kind: OptionKind::Number,
        values: "a number from 1 to 254",
        argument: Some(option("N", "Addresses at the start of the slice that the host keeps, 1 to 254 [default: 1]")),
        word: Some(1),
    }

    /// MTU of bridge and tunnel in bytes, where it is not to follow the underlay.
    mtu: Option<u32> = None, read |text| number("mtu", text, MIN_MTU..=MAX_MTU), {
        name: "mtu",
        kind: OptionKind::Number,
        values: "a number from 576 to 65515",
        argument: Some(option("N", "MTU of bridge and tunnel, 576 to 65515 [default: the underlay's less 20 (ipip), 50 (vxlan) or 60 (wireguard)]")),
    }

    /// UDP port of VXLAN, or the first of the two of WireGuard, 1 to 65535, where it is not to be the usual one.
    port: Option<u16> = None, read |text| number("port", text, 1..=65535_u16), {
        name: "port",
        kind: OptionKind::Number,
        values: "a number from 1 to 65535",
        argument: Some(option(
            "N",
            "UDP port of vxlan, or the first of the two of wireguard; the same on all hosts [default: 8472, 8473]",
        )),
        only: Some(Only {
            encapsulations: &[Encapsulation::Vxlan, Encapsulation::Wireguard],
            advice: |_| "; choose encap vxlan or wireguard on all hosts, or leave the port out",
        }),
        usual: Some(|config| config.options.encapsulation.usual_port().map(|port| port.to_string())),
    }

    /// Routing table of its own (1 to 4294967295) where the main table is not to be used.
    table: Option<u32> = None, read table, {
        name: "table",
        kind: OptionKind::Number,
        values: "a number from 1 to 4294967295",
        argument: Some(option("N", "Keep the fan's routes in table N, behind a routing rule, instead of the main table")),
        usual: Some(|_| Some(MAIN_TABLE.to_string())),
    }

    /// Whether traffic from the slice to outside the overlay is masqueraded.
    nat: bool = true, read |text| flag("nat", text), {
        name: "nat",
        kind: OptionKind::Switch,
        values: FLAG,
        argument: Some(option("", "Do not masquerade traffic from the slice to outside the overlay")),
        read_back: ReadBack::Effect,
    }

    /// Networks outside the overlay that are routed behind containers here.
    routed: Subnets = Subnets::default(), read str::parse::<Subnets>, {
        name: "routed",
        kind: OptionKind::List,
        values: "a list of networks like [\"10.8.0.0/24\"]",
        argument: Some(option(
            "NETWORKS",
            "Networks that are routed behind containers here, and that containers so may send from, with commas between them",
        )),
    }

    /// Whether connections between slices skip what stands between bridge and tunnel, once that has let them pass;
    /// meaningless with VXLAN, whose packets are not routed, and with WireGuard, and then true.
    flowtable: bool = true, read |text| flag("flowtable", text), {
        name: "flowtable",
        kind: OptionKind::Switch,
        values: FLAG,
        argument: Some(option(
            "",
            "Run every packet between slices through the host's firewall, not only the first ones of a connection (ipip)",
        )),
        only: Some(Only {
            encapsulations: &[Encapsulation::Ipip],
            advice: |_| ", which has none; leave it out",
        }),
        read_back: ReadBack::Effect,
    }

    /// Whether connections between slices go past the tunnel device, routing and netfilter, once those have let them pass.
    fast: bool = false, read |text| flag("fast", text), {
        name: "fast",
        kind: OptionKind::Flag,
        values: FLAG,
        argument: Some(option(
            "",
            "Encapsulate packets of established connections by programs on bridge and underlay alone (ipip, Ethernet)",
        )),
        only: Some(Only {
            encapsulations: &[Encapsulation::Ipip],
            advice: |other| match other {
                // A record of what is encrypted would have the fast path send it in clear.
                Encapsulation::Wireguard => {
                    ": fast would send packets unencrypted; leave it out"
                }
                _ => ", for which it has no programs yet; leave it out",
            },
        }),
    }

    /// Whether its containers have names, which `fanctl names serve` answers for.
    names: bool = false, read |text| flag("names", text), {
        name: "names",
        kind: OptionKind::Flag,
        values: FLAG,
        argument: Some(option("", "Give containers names (fan-names.service answers for them)")),
    }

    /// Hosts that may be there, for names.
    peers: Peers = Peers::default(), read str::parse::<Peers>, {
        name: "peers",
        kind: OptionKind::List,
        values: "a list of hosts like [\"172.30.0.27\", \"fan-peers.example.net\"]",
        read_back: ReadBack::FileOnly,
    }

    /// The file of the secrets that WireGuard's keys are computed from, where it is not the usual one.
    key: Option<String> = None, read key_file, {
        name: "key",
        values: "a path like \"/etc/fan/key\"",
        argument: Some(option("FILE", "The file of the secret that all hosts have (wireguard) [default: /etc/fan/key]")),
        only: ENCRYPTED,
        usual: Some(|_| Some(DEFAULT_KEY_FILE.to_string())),
    }

    /// Where hosts have their addresses, where that is not all of the underlay; meaningless without WireGuard.
    hosts: Subnets = Subnets::default(), read |text| Subnets::read("hosts", text), {
        name: "hosts",
        kind: OptionKind::List,
        values: "a list of networks like [\"172.30.0.0/24\"]",
        argument: Some(option(
            "NETWORKS",
            "Where in the underlay hosts have addresses (wireguard), with commas between them [default: all of it, up to 4096]",
        )),
        only: ENCRYPTED,
    }

    /// Addresses in the underlay that are no host's any more; meaningless without WireGuard.
    exclude: Subnets = Subnets::default(), read |text| Subnets::read("exclude", text), {
        name: "exclude",
        kind: OptionKind::List,
        values: "a list of networks like [\"172.30.0.66/32\"]",
        argument: Some(option(
            "NETWORKS",
            "Networks or addresses of removed hosts (wireguard), with commas between them",
        )),
        only: ENCRYPTED,
    }

    /// Whether it is kept as configured while the host changes.
    follow: Follow = Follow::No, read str::parse::<Follow>, {
        name: "follow",
        kind: OptionKind::FlagOrText,
        values: "true, false or \"renumber\"",
        read_back: ReadBack::FileOnly,
    }

    /// Whether it comes up even where that takes addresses away that this host uses.
    force: bool = false, read |text| flag("force", text), {
        name: "force",
        kind: OptionKind::Flag,
        values: FLAG,
        read_back: ReadBack::FileOnly,
    }

    /// False for an entry that is kept but not brought up (`off`).
    enabled: bool = true, read |text| flag("enabled", text), {
        name: "enabled",
        kind: OptionKind::Flag,
        values: FLAG,
        read_back: ReadBack::FileOnly,
    }
}

const FLAG: &str = "true or false";

/// For options of encryption.
const ENCRYPTED: Option<Only> = Some(Only {
    encapsulations: &[Encapsulation::Wireguard],
    advice: |_| ", which encrypts nothing; choose encap wireguard on all hosts, or leave it out",
});

/// What is left out of an entry.
const PLAIN: OptionKey = OptionKey {
    name: "",
    kind: OptionKind::Text,
    values: "",
    argument: None,
    word: None,
    only: None,
    usual: None,
    read_back: ReadBack::Label,
    set: |_, _| Ok(()),
    get: |_| None,
    reset: |_| {},
};

const OVERLAY: OptionKey = OptionKey {
    name: "overlay",
    values: "a network like \"250.0.0.0/8\"",
    read_back: ReadBack::Place,
    set: |config, text| text.parse().map(|value| config.overlay = value),
    get: |config| Some(config.overlay.to_string()),
    ..PLAIN
};

const UNDERLAY: OptionKey = OptionKey {
    name: "underlay",
    values: "an interface, address or network like \"eth0/16\", \"172.30.0.28/16\", \"172.30.0.0/16\", \"default/16\"",
    read_back: ReadBack::Place,
    set: |config, text| text.parse().map(|value| config.underlay = value),
    get: |config| Some(config.underlay.to_string()),
    ..PLAIN
};

const fn option(value_name: &'static str, help: &'static str) -> Argument {
    Argument { value_name, help }
}

impl Options {
    /// The file of the secrets that a fan is encrypted by; none without encryption.
    #[must_use]
    pub(crate) fn key_file(&self) -> Option<&str> {
        let is_encrypted = self.encapsulation == Encapsulation::Wireguard;
        is_encrypted.then(|| self.key.as_deref().unwrap_or(DEFAULT_KEY_FILE))
    }

    /// What a fan that is up has of them: not what is about the files only, and no value that is the usual one.
    #[must_use]
    pub(crate) fn of_fan(config: &Request) -> Self {
        let mut options = config.options.clone();
        let is_usual = |key: &OptionKey| key.usual.is_some_and(|usual| key.get(config) == usual(config));
        for key in KEYS.iter().filter(|key| key.read_back == ReadBack::FileOnly || is_usual(key)) {
            (key.reset)(&mut options);
        }
        options
    }
}

impl OptionKey {
    /// The key of that name.
    #[must_use]
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    pub(super) fn set(&self, config: &mut Request, value: &str) -> Result<(), String> {
        (self.set)(config, value)
    }

    /// The value, if it is one that the key takes.
    ///
    /// # Errors
    /// A sentence naming what makes no sense.
    pub(crate) fn check(&self, value: &str) -> Result<String, String> {
        self.set(&mut Request::any(), value).map(|()| value.to_string())
    }

    /// Its value, as text; none where nothing was said and there is no fixed default.
    #[must_use]
    pub(crate) fn get(&self, config: &Request) -> Option<String> {
        (self.get)(config)
    }

    /// Whether no fan can do without it.
    #[must_use]
    pub fn is_required(&self) -> bool {
        matches!(self.name, "overlay" | "underlay")
    }

    /// Whether it is for fans of an encapsulation.
    #[must_use]
    pub(crate) fn is_for(&self, encapsulation: Encapsulation) -> bool {
        self.only.as_ref().is_none_or(|only| only.encapsulations.contains(&encapsulation))
    }
}

/// A value of an option as text.
trait Written {
    /// None where nothing was said and there is no fixed default.
    fn written(&self) -> Option<String>;
}

macro_rules! always_written {
    ($($type:ty),*) => {
        $(impl Written for $type {
            fn written(&self) -> Option<String> {
                Some(self.to_string())
            }
        })*
    };
}

always_written!(bool, u8, Encapsulation, Follow);

impl<T: fmt::Display> Written for Option<T> {
    fn written(&self) -> Option<String> {
        self.as_ref().map(ToString::to_string)
    }
}

impl Written for Peers {
    fn written(&self) -> Option<String> {
        self.given()
    }
}

impl Written for Subnets {
    fn written(&self) -> Option<String> {
        self.given()
    }
}
