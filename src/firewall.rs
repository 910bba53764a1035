//! The fan's nftables tables: what they refuse, what they masquerade, and how a table is known to be ours.
//!
//! There are two of one name, in family `ip` for what is routed and in family `bridge` for what enters a bridge by a port. A
//! table is written in nft's own language, because that is what a person would type and what `--dry-run` shows. Every
//! rule carries a comment with a digest of its text. nft prints rules in ways that differ between its versions,
//! so a table is compared by the order of its chains and comments: see [`Ruleset`].

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::digest::digest;
use crate::encap::Encapsulation;
use crate::fan::Fan;
use crate::mapping::Overlay;
use crate::name::InterfaceName;

/// The families in which a fan has a table.
pub const FAMILIES: [&str; 2] = ["ip", "bridge"];

/// The name of a fan's tables.
#[must_use]
pub fn table_name(overlay: Overlay) -> String {
    format!("fan-{overlay}")
}

/// The overlay of a table with such a name; none when the table is not one of ours.
#[must_use]
pub fn table_overlay(name: &str) -> Option<Overlay> {
    name.strip_prefix("fan-")?.parse().ok()
}

/// A chain of iptables that forwarded traffic has to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForwardChain {
    /// The chain that Docker leaves to the administrator.
    DockerUser,
    /// The chain itself.
    Forward,
}

impl ForwardChain {
    /// Both.
    pub const ALL: [Self; 2] = [Self::DockerUser, Self::Forward];
}

impl fmt::Display for ForwardChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DockerUser => "DOCKER-USER",
            Self::Forward => "FORWARD",
        })
    }
}

/// What iptables does with traffic that is forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forward {
    /// The chain `FORWARD` drops what no rule accepts.
    pub drops: bool,
    /// There is a chain `DOCKER-USER`.
    pub has_docker_user: bool,
    /// `FORWARD` asks it.
    pub asks_docker_user: bool,
}

impl Forward {
    /// The chains that need rules to let a fan's traffic pass. Docker makes `DOCKER-USER` when it starts, and takes one that
    /// is there as it is: where Docker is installed, rules in it are for when it will have started.
    #[must_use]
    pub fn chains(self, docker_is_installed: bool) -> Vec<ForwardChain> {
        let docker = self.has_docker_user || docker_is_installed;
        let forward = self.drops && !self.asks_docker_user;
        [(ForwardChain::DockerUser, docker), (ForwardChain::Forward, forward)]
            .into_iter()
            .filter_map(|(chain, needs_rules)| needs_rules.then_some(chain))
            .collect()
    }
}

/// The direction of forwarded traffic that an accept rule lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the bridge.
    From,
    /// To the bridge; the fan's own table has refused what must not go there.
    To,
}

/// A rule that accepts forwarded traffic of a fan where another tool's policy would drop it: only a rule in the same
/// chain can prevent that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// The fan.
    pub overlay: Overlay,
    /// The chain the rule stands in.
    pub chain: ForwardChain,
    /// The fan's bridge.
    pub bridge: InterfaceName,
    /// From or to the bridge.
    pub way: Way,
}

impl Accept {
    /// The rule with its place, as `nft insert rule` reads it.
    #[must_use]
    pub fn rule(&self) -> String {
        let interface = match self.way {
            Way::From => "iifname",
            Way::To => "oifname",
        };
        let Self {
            chain, bridge, overlay, ..
        } = self;
        format!("ip filter {chain} {interface} \"{bridge}\" counter accept comment \"fan {overlay}\"")
    }

    /// The commands to `nft` that put the rule at the head of its chain; that of Docker is made if it is not there.
    pub fn insertion(&self) -> impl Iterator<Item = String> {
        let is_dockers = self.chain == ForwardChain::DockerUser;
        let make = ["add table ip filter", "add chain ip filter DOCKER-USER"];
        let made = make.into_iter().filter(move |_| is_dockers).map(String::from);
        made.chain([format!("insert rule {}", self.rule())])
    }

    /// Reads a rule of a chain as nft prints it; none when it is not one of ours.
    #[must_use]
    pub fn from_rule(chain: ForwardChain, rule: &str) -> Option<Self> {
        let (rule, comment) = rule.trim().split_once(" comment \"")?;
        let (comment, _) = comment.split_once('"')?;
        let overlay = comment.strip_prefix("fan ")?.parse().ok()?;
        let words: Vec<&str> = rule.split(' ').collect();
        let (way, bridge) = match words[..] {
            ["iifname", bridge, .., "accept"] => (Way::From, bridge),
            ["oifname", bridge, .., "accept"] => (Way::To, bridge),
            _ => return None,
        };
        let bridge = bridge.trim_matches('"').parse().ok()?;
        Some(Self {
            overlay,
            chain,
            bridge,
            way,
        })
    }
}

/// A fan's tables as nft reads them. Two are equal when they have the same chains with the same rules in the same order, a
/// rule of ours being its comment and anybody else's its text, and their flowtables the same devices, if both have one.
#[derive(Clone)]
pub struct Ruleset {
    script: String,
    marks: Vec<String>,
    /// The flowtable's; none where there is none.
    devices: Option<BTreeSet<String>>,
}

impl Ruleset {
    /// Tables from text in nft's language: what we write, or what `nft list table` prints.
    #[must_use]
    pub fn new(script: String) -> Self {
        let marks = outside_of_flowtables(&script).filter_map(mark).collect();
        let devices = script
            .lines()
            .find_map(|line| line.trim().strip_prefix("devices = {")?.split_once('}'))
            .map(|(names, _)| {
                names
                    .split(',')
                    .map(|name| name.trim().trim_matches('"').into())
                    .collect()
            });
        Self { script, marks, devices }
    }

    /// The text, for `nft -f`.
    #[must_use]
    pub fn script(&self) -> &str {
        &self.script
    }

    /// The devices of the flowtable, if it has one.
    pub fn devices(&self) -> impl Iterator<Item = InterfaceName> {
        self.devices.iter().flatten().filter_map(|name| name.parse().ok())
    }

    /// The text for a kernel that can do no more than this. The rules keep their digests: it is the same ruleset.
    #[must_use]
    pub fn script_for(&self, abilities: Abilities) -> String {
        let mut script = self.script.clone();
        if !abilities.flowtables {
            script = without_flowtable(&script);
        }
        if !abilities.bridge_names {
            script = for_every_bridge(&script);
        }
        script
    }
}

/// What not every kernel can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Flowtables (`CONFIG_NFT_FLOW_OFFLOAD`).
    pub flowtables: bool,
    /// Tell bridges apart, by `meta ibrname` (`CONFIG_NFT_BRIDGE_META`).
    pub bridge_names: bool,
}

impl Abilities {
    /// All there can be, the most first.
    pub const ALL: [Self; 4] = [
        Self::of(true, true),
        Self::of(false, true),
        Self::of(true, false),
        Self::of(false, false),
    ];

    const fn of(flowtables: bool, bridge_names: bool) -> Self {
        Self {
            flowtables,
            bridge_names,
        }
    }
}

fn for_every_bridge(script: &str) -> String {
    let everywhere = |line: &str| match line.split_once(HERE) {
        Some((before, rest)) => format!("{before}{}\n", rest.split_once("\" ").map_or(rest, |(_, rule)| rule)),
        None => format!("{line}\n"),
    };
    script.lines().map(everywhere).collect()
}

fn without_flowtable(script: &str) -> String {
    let lines = outside_of_flowtables(script);
    lines.map(|line| line.replace(OFFLOAD, "") + "\n").collect()
}

/// The lines of a script, but for those of flowtables, whose devices nft prints in an order of its own.
fn outside_of_flowtables(script: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    script.lines().filter(move |line| {
        let starts = line.trim().starts_with("flowtable ");
        let was_inside = inside;
        inside = starts || (inside && line.trim() != "}");
        !starts && !was_inside
    })
}

/// What a line of a table contributes to its identity.
fn mark(line: &str) -> Option<String> {
    let line = line.trim();
    if let Some((_, comment)) = line.split_once("comment \"") {
        return Some(comment.split('"').next().unwrap_or(comment).to_string());
    }
    // nft prints a chain's priority as a number or by name, depending on its version.
    let layout = line.is_empty() || line == "}" || line.starts_with("table ") || line.starts_with("type ");
    (!layout).then(|| line.to_string())
}

impl PartialEq for Ruleset {
    fn eq(&self, other: &Self) -> bool {
        // A kernel that has no flowtables is asked for none.
        let same_devices = match (&self.devices, &other.devices) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        self.marks == other.marks && same_devices
    }
}
impl Eq for Ruleset {}

impl fmt::Debug for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.marks).finish()
    }
}

/// The tables of a fan.
///
/// `guard` keeps everybody else out. It stands in front of connection tracking (priority -300), where packets are still as
/// they came: what has an address of the overlay there is for the fan itself, and may come only from it. Replies to what was
/// masqueraded, and what somebody's destination NAT sends into the overlay, have the host's address yet. Where nobody
/// masquerades, replies have the container's, and only connection tracking knows them: `answers` stands behind it and behind
/// destination NAT (-100). There an ICMP error belongs to the conversation that it quotes, whoever sent it.
///
/// `wrapped` is for what is wrapped already, for a host of the underlay: it must come from one, by the underlay's interface
/// or a way that leads back to it. A container could write such a packet itself, and nobody would look inside before it had
/// arrived.
///
/// `routed` sees what a source route has turned behind the guard's back. `genuine` translates what goes to other slices into
/// what it is: the kernel translates a connection once, so that nobody who comes later (priority 100) masquerades it. `nat`
/// lets containers reach what the host reaches.
///
/// `established` leads over IPIP what every chain of the host has let pass, its own being the last, from bridge to tunnel and
/// back by the kernel's flowtable, past routing and all chains: a connection of TCP once it stands, one of UDP from its
/// second packet on. Each packet is still measured against the MTU, loses a hop, and is seen by the programs.
///
/// `ports` is for what containers say to their host and to each other: what enters a bridge by a port, other than a tunnel
/// of the fan, says neither that it comes from another slice nor that it comes from the host. See `ports`.
///
/// Every packet passes these chains, so what most of them need stands first, and what is dear to ask last.
#[must_use]
pub fn ruleset(fan: &Fan) -> Ruleset {
    let (overlay, slice, bridge) = (fan.overlay(), fan.slice(), &fan.bridge);
    let underlay = fan.mapping.underlay();
    let wrapped = match fan.encapsulation {
        Encapsulation::Ipip => "ip protocol 4".to_string(),
        Encapsulation::Vxlan => format!("udp dport {}", fan.port),
    };
    let from_the_fan = format!("iifname {{ \"lo\", {} }} accept", devices(fan));
    let mut guard = vec![
        (
            "wrapped for a host",
            format!("{wrapped} ip daddr {underlay} goto wrapped"),
        ),
        ("from the fan", from_the_fan.clone()),
        ("foreign sources", format!("ip saddr {overlay} counter drop")),
    ];
    if fan.nat {
        guard.push(("foreign packets", format!("ip daddr {overlay} counter drop")));
    }

    let mut script = format!("table ip {} {{\n", table_name(overlay));
    let raw = "type filter hook prerouting priority -300; policy accept;";
    chain(&mut script, "guard", raw, &guard);
    chain(
        &mut script,
        "wrapped",
        "",
        &[
            ("wrapped by no host", format!("ip saddr != {underlay} counter drop")),
            ("from the underlay", format!("iifname \"{}\" accept", fan.device)),
            ("wrapped by another", "fib saddr . iif oif 0 counter drop".into()),
        ],
    );
    if !fan.nat {
        let among_ourselves = format!("ct original ip saddr {overlay} ct original ip daddr {overlay} counter drop");
        let answers = [
            ("from the fan", from_the_fan),
            ("not ours", format!("ip daddr != {overlay} accept")),
            ("about our own", among_ourselves),
            ("replies", "ct state established,related accept".into()),
            ("published ports", "ct status dnat accept".into()),
            ("foreign packets", "counter drop".into()),
        ];
        let hook = "type filter hook prerouting priority -90; policy accept;";
        chain(&mut script, "answers", hook, &answers);
    }
    routed(fan, &mut script);
    established(fan, &mut script);
    let genuine = format!("ip saddr {slice} ip daddr {overlay} ip daddr != {slice} counter snat to ip saddr");
    let hook = "type nat hook postrouting priority 90; policy accept;";
    chain(&mut script, "genuine", hook, &[("between slices", genuine)]);
    if fan.nat {
        let masquerade = format!("ip saddr {slice} ip daddr != {overlay} oifname != \"{bridge}\" counter masquerade");
        let hook = "type nat hook postrouting priority 100; policy accept;";
        chain(&mut script, "nat", hook, &[("leaving", masquerade)]);
    }
    let _ = write!(script, "}}\ntable bridge {} {{\n", table_name(overlay));
    let hook = "type filter hook prerouting priority -200; policy accept;";
    chain(&mut script, "ports", hook, &ports(fan));
    script.push_str("}\n");
    Ruleset::new(script)
}

/// The interfaces by which what is in the fan travels, as in a set of nft: the bridge, and the tunnel, except that what comes
/// by VXLAN comes from the bridge too.
fn devices(fan: &Fan) -> String {
    match fan.encapsulation {
        Encapsulation::Ipip => format!("\"{}\", \"{}\"", fan.bridge, fan.tunnel()),
        Encapsulation::Vxlan => format!("\"{}\"", fan.bridge),
    }
}

/// What is forwarded though its destination is the host itself goes where its sender wants it (`ip_options_rcv_srr`,
/// net/ipv4/ip_options.c at v6.12, which writes the next destination only when the packet leaves). That is asked of the route
/// and not of the option: `ip option lsrr` finds no source route of which a part has been travelled.
fn routed(fan: &Fan, script: &mut String) {
    let by_sender = |way| {
        let rule = format!("{way} {{ {} }} counter drop", devices(fan));
        ("routed by its sender", rule)
    };
    let rule = "ip hdrlength > 5 fib daddr type local goto by_sender".to_string();
    let hook = "type filter hook forward priority -90; policy accept;";
    chain(script, "routed", hook, &[("by its sender", rule)]);
    chain(script, "by_sender", "", &["iifname", "oifname"].map(by_sender));
}

/// The name of the flowtable.
pub const FLOWTABLE: &str = "between";

/// What a rule does that hands a connection to it.
const OFFLOAD: &str = "flow add @between ";

/// What is between two slices passes no NAT, so that nothing is lost with the chains of type nat.
fn established(fan: &Fan, script: &mut String) {
    if fan.encapsulation != Encapsulation::Ipip || !fan.flowtable {
        return;
    }
    let overlay = fan.overlay();
    let _ = write!(
        script,
        "\tflowtable {FLOWTABLE} {{\n\t\thook ingress priority 0\n\t\tdevices = {{ {} }}\n\t}}\n",
        devices(fan)
    );
    let between = format!("ip saddr {overlay} ip daddr {overlay} {OFFLOAD}");
    let hook = "type filter hook forward priority 300; policy accept;";
    chain(script, "established", hook, &[("between slices", between)]);
}

/// How a rule of the bridge family begins that is for one bridge, whose name follows.
const HERE: &str = "meta ibrname \"";

/// What may enter a bridge by its ports, IP and ARP: what says that it comes from the overlay has an address of our slice
/// that the bridge does not hold. Docker gives out the slice's first and last address too where the whole overlay is on
/// link. On a kernel without `meta ibrname` (`CONFIG_NFT_BRIDGE_META`) it holds for all bridges of the host: see
/// [`Abilities::bridge_names`].
///
/// A tag of VLAN 0 is no tag to those who receive it, so the rules look at what is behind the first one, where the kernel
/// keeps it (`meta protocol`); of two such tags both are taken off behind our back (`__netif_receive_skb_core`,
/// net/core/dev.c at v6.12).
fn ports(fan: &Fan) -> Vec<(&'static str, String)> {
    let (overlay, slice) = (fan.overlay(), fan.slice());
    let first = fan.gateway();
    let last = Ipv4Addr::from(u32::from(first) + u32::from(fan.host_reserve) - 1);
    let held = if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    };
    let here = format!("{HERE}{}\" ", fan.bridge);
    let own = |source| format!("{source} {slice} {source} != {held} accept");
    let posing = |source| format!("{source} {overlay} counter drop");
    let (ip, arp) = ("ip saddr", "arp saddr ip");
    // That it is ARP does not go without saying: nft would ask the frame's own type, which may be that of a tag.
    let mut rules = vec![
        ("our own", own(ip)),
        ("our own by arp", format!("meta protocol arp {}", own(arp))),
        ("posing", format!("{here}{}", posing(ip))),
        ("posing by arp", format!("{here}meta protocol arp {}", posing(arp))),
        (
            "hidden by tags",
            format!("{here}meta protocol {{ 0x8100, 0x88a8 }} @ll,112,16 & 0xfff == 0 counter drop"),
        ),
    ];
    if fan.encapsulation == Encapsulation::Vxlan {
        rules.insert(1, ("from the tunnel", format!("iifname \"{}\" accept", fan.tunnel())));
    }
    rules
}

/// Writes a chain; without a hook it is one that others lead to. A rule's digest covers the hook, which nft prints in ways
/// that differ.
fn chain(script: &mut String, name: &str, hook: &str, rules: &[(&str, String)]) {
    // Writing to a string cannot fail.
    let _ = writeln!(script, "\tchain {name} {{");
    if !hook.is_empty() {
        let _ = writeln!(script, "\t\t{hook}");
    }
    for (what, rule) in rules {
        let mark = digest(format!("{hook} {rule}").as_bytes());
        let _ = writeln!(script, "\t\t{} comment \"{what} {mark}\"", rule.trim_end());
    }
    script.push_str("\t}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::tests::announced;

    #[test]
    fn rules_stand_where_they_are_asked_now_and_when_docker_has_started() {
        use ForwardChain::{DockerUser, Forward as ForwardItself};
        let forward = |drops, has_docker_user, asks_docker_user| Forward {
            drops,
            has_docker_user,
            asks_docker_user,
        };
        let nothing = forward(false, false, false);
        assert_eq!(nothing.chains(false), []);
        assert_eq!(nothing.chains(true), [DockerUser]);
        assert_eq!(forward(true, false, false).chains(false), [ForwardItself]);
        assert_eq!(forward(true, false, false).chains(true), [DockerUser, ForwardItself]);
        assert_eq!(forward(true, true, false).chains(true), [DockerUser, ForwardItself]);
        assert_eq!(forward(true, true, true).chains(true), [DockerUser]);
        assert_eq!(forward(false, true, true).chains(false), [DockerUser]);
    }

    #[test]
    fn a_table_is_known_by_its_name() {
        let overlay = announced().overlay();
        assert_eq!(table_name(overlay), "fan-250.0.0.0/8");
        assert_eq!(table_overlay("fan-250.0.0.0/8"), Some(overlay));
        assert_eq!(table_overlay("fan-club"), None);
        assert_eq!(table_overlay("filter"), None);
    }

    #[test]
    fn what_enters_by_a_port_has_an_address_that_a_container_here_can_have() {
        let rules = |fan: Fan| ports(&fan).into_iter().map(|(_, rule)| rule).collect::<Vec<_>>();
        let over_ipip = rules(announced());
        assert_eq!(
            over_ipip[..4],
            [
                "ip saddr 250.0.28.0/24 ip saddr != 250.0.28.1 accept",
                "meta protocol arp arp saddr ip 250.0.28.0/24 arp saddr ip != 250.0.28.1 accept",
                "meta ibrname \"fan-250-0-28\" ip saddr 250.0.0.0/8 counter drop",
                "meta ibrname \"fan-250-0-28\" meta protocol arp arp saddr ip 250.0.0.0/8 counter drop",
            ]
        );
        let mut over_vxlan = rules(Fan {
            encapsulation: Encapsulation::Vxlan,
            ..announced()
        });
        assert_eq!(over_vxlan.remove(1), "iifname \"fan-vx16384000\" accept");
        assert_eq!(over_vxlan, over_ipip);
        let all_held = rules(Fan {
            host_reserve: 254,
            ..announced()
        });
        assert_eq!(
            all_held[0],
            "ip saddr 250.0.28.0/24 ip saddr != 250.0.28.1-250.0.28.254 accept"
        );
    }

    #[test]
    fn a_table_is_the_same_however_nft_prints_it() {
        let ours = ruleset(&announced());
        let printed = ours
            .script()
            .replace("priority -300", "priority raw")
            .replace("priority -90", "priority dstnat + 10")
            .replace("\"fan-250-0-28\", \"fan-ipip\" }\n", "fan-ipip, fan-250-0-28 }\n")
            .replace("counter drop", "counter packets 7 bytes 420 drop")
            .replace("table ip fan-250.0.0.0/8", "table ip fan-250.0.0.0/8 ");
        assert_eq!(Ruleset::new(printed), ours);
        let [all, slow, everywhere, least] = Abilities::ALL.map(|abilities| ours.script_for(abilities));
        assert_eq!(all, ours.script());
        assert!(
            ours.script()
                .contains("\t\tmeta ibrname \"fan-250-0-28\" ip saddr 250.0.0.0/8")
        );
        assert!(everywhere.contains("\t\tip saddr 250.0.0.0/8") && !everywhere.contains("ibrname"));
        assert!(slow.contains("ibrname") && !slow.contains("flow") && slow.contains("chain established"));
        assert!(everywhere.contains("flow add @between comment") && !least.contains("flow add"));
        for text in [slow, everywhere, least] {
            assert_eq!(Ruleset::new(text), ours);
        }
    }

    #[test]
    fn a_table_that_somebody_changed_differs() {
        let ours = ruleset(&announced());
        let lines: Vec<&str> = ours.script().lines().collect();
        let without = |index: usize| {
            let mut lines = lines.clone();
            lines.remove(index);
            lines.join("\n")
        };
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("comment")) {
            assert_ne!(Ruleset::new(without(index)), ours, "without {line}");
        }
        let opened = ours.script().replacen("\t\tiifname", "\t\taccept\n\t\tiifname", 1);
        assert_ne!(Ruleset::new(opened), ours);
        let other = |nat, flowtable| {
            ruleset(&Fan {
                nat,
                flowtable,
                ..announced()
            })
        };
        assert_ne!(other(false, true), ours);
        assert_ne!(other(true, false), ours);
        // A device that is gone takes itself out of the flowtable.
        let lost = ours
            .script()
            .replace("\"fan-250-0-28\", \"fan-ipip\" }\n", "fan-250-0-28 }\n");
        assert_ne!(Ruleset::new(lost), ours);
    }
}
