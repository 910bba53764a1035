//! What `iptables-save` prints, of either kind of iptables (iptables-save(8), iptables-extensions(8)).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::ipset::{self, IpSets};
use super::nft_json::{bits, protocol, text};
use crate::diagnose::netfilter::{
    Backend, Base, Chain, Field, FirewallRule, FirewallTable, Marking, Match, NewSource, PacketVerdict, Tracking, Value,
};

/// Reads the tables, whose rules may ask sets.
pub fn read(saved: &str, backend: Backend, sets: &IpSets) -> Vec<FirewallTable> {
    let mut tables: Vec<FirewallTable> = Vec::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            tables.push(FirewallTable {
                backend,
                family: "ip".into(),
                name: name.into(),
                chains: BTreeMap::new(),
                sets: BTreeMap::new(),
                maps: BTreeMap::new(),
                is_owned: false,
            });
        }
        let Some(table) = tables.last_mut() else { continue };
        if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split(' ');
            let (name, policy) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let base = base(&table.name, name, policy);
            table.chains.insert(name.into(), Chain { base, rules: vec![] });
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let (chain, rest) = rule.split_once(' ').unwrap_or((rule, ""));
            let mut rule = self::rule(rest, sets);
            rule.text = line.to_string();
            table.chains.entry(chain.into()).or_default().rules.push(rule);
        }
    }
    tables
}

/// The priorities are those of linux/netfilter_ipv4.h.
fn base(table: &str, chain: &str, policy: &str) -> Option<Base> {
    let priority = match (table, chain) {
        ("raw", _) => -300,
        ("mangle", _) => -150,
        ("nat", "PREROUTING" | "OUTPUT") => -100,
        ("filter", _) => 0,
        ("security", _) => 50,
        ("nat", _) => 100,
        _ => return None,
    };
    let is_base = matches!(chain, "PREROUTING" | "INPUT" | "FORWARD" | "OUTPUT" | "POSTROUTING");
    is_base.then(|| Base {
        hook: chain.to_lowercase(),
        priority,
        drops: policy == "DROP",
        devices: Vec::new(),
        translates: table == "nat",
    })
}

/// Words, some of them in quotes.
fn words(rule: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut characters = rule.chars();
    while let Some(character) = characters.next() {
        match character {
            // iptables-save writes a backslash before a quote, and before another (`xtables_save_string`).
            '\\' if is_quoted => word.extend(characters.next()),
            '"' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(std::mem::take(&mut word)),
            _ => word.push(character),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

fn rule(text: &str, sets: &IpSets) -> FirewallRule {
    let words = words(text);
    let mut words = words.iter().map(String::as_str).peekable();
    let mut rule = FirewallRule::default();
    let (mut negated, mut transport, mut module) = (false, 0, "");
    while let Some(word) = words.next() {
        if word == "!" {
            negated = true;
            continue;
        }
        let mut take = || words.next().unwrap_or_default();
        match word {
            "-m" => {
                module = take();
                negated = false;
                continue;
            }
            "-j" => {
                module = take();
                rule.verdict = target(module);
                match module {
                    "NOTRACK" => rule.tracking = Some(Tracking::Off),
                    "CONNMARK" => rule.tracking = Some(Tracking::Mark),
                    _ => {}
                }
            }
            "--notrack" => rule.tracking = Some(Tracking::Off),
            "--zone" | "--zone-orig" | "--zone-reply" if module == "CT" => {
                take();
                rule.tracking = Some(Tracking::Zone);
            }
            "--set-xmark" | "--set-mark" if module == "MARK" => rule.marking = Some(marking(take())),
            // Behind masks of which is said below.
            "--restore-mark" => rule.marking = Some(Marking::OfConnection { keep: 0 }),
            "--nfmask" if rule.marking.is_some() => {
                let keep = hexadecimal(take()).map_or(0, |mask| !mask);
                rule.marking = Some(Marking::OfConnection { keep });
            }
            "--mark" => {
                let words = take();
                let (value, mask) = words.split_once('/').unwrap_or((words, "0xffffffff"));
                let mask = hexadecimal(mask).unwrap_or(u32::MAX);
                let of = if module == "connmark" { Field::ConnectionMark } else { Field::Mark };
                rule.matches.push(field(of(mask), negated, [value]));
            }
            "--match-set" => {
                let set = sets.get(take());
                rule.matches.push(ipset::condition(set, take(), negated));
            }
            "--tcp-flags" => {
                let [mask, flags] = [take(), take()].map(|names| match names {
                    "NONE" => Some(0),
                    "ALL" => Some(0x3f),
                    _ => bits(&serde_json::json!(names.to_lowercase().split(',').collect::<Vec<_>>())),
                });
                rule.matches.push(match mask.zip(flags) {
                    Some((mask, flags)) => {
                        Match::Field { field: Field::TcpFlags(mask), negated, values: vec![Value::Range(flags, flags)] }
                    }
                    None => Match::Unknown,
                });
            }
            "--physdev-is-bridged" => rule.matches.push(field(Field::PortIn, negated, ["+"])),
            "-g" => rule.verdict = Some(PacketVerdict::Goto(take().into())),
            "--to-source" => {
                let address = take().parse().map_or(NewSource::Unknown, NewSource::Address);
                rule.verdict = Some(PacketVerdict::Source(address));
            }
            // What is said of a target says nothing of the packet.
            "--comment" | "--reject-with" | "--log-prefix" | "--log-level" | "--limit-burst" | "--nflog-prefix"
            | "--nflog-group" | "--set-xmark" | "--set-mark" | "--nfmask" | "--ctmask" | "--to-destination" => {
                take();
            }
            "--save-mark" => {}
            "-p" => {
                let name = take();
                transport = protocol(name).or_else(|| name.parse().ok()).unwrap_or_default();
                rule.matches.push(field(Field::Protocol, negated, [name]));
            }
            _ => {
                if let Some(known) = known(word, transport) {
                    let value = take();
                    rule.matches.push(field(known, negated, value.split(',')));
                } else {
                    if words.peek().is_some_and(|next| !next.starts_with('-') && *next != "!") {
                        words.next();
                    }
                    rule.matches.push(Match::Unknown);
                }
            }
        }
        negated = false;
    }
    rule
}

fn known(option: &str, transport: u8) -> Option<Field> {
    Some(match option {
        "-s" | "--src-range" => Field::Source,
        "-d" | "--dst-range" => Field::Destination,
        "-i" => Field::In,
        "-o" => Field::Out,
        "--ctstate" | "--state" => Field::State,
        "--ctstatus" => Field::Status,
        "--src-type" => Field::SourceType,
        "--dst-type" => Field::DestinationType,
        "--pkt-type" => Field::PacketType,
        "--physdev-in" => Field::PortIn,
        "--physdev-out" => Field::PortOut,
        "--dport" | "--dports" => Field::DestinationPort(transport),
        "--sport" | "--sports" => Field::SourcePort(transport),
        "--icmp-type" => Field::IcmpType,
        _ => return None,
    })
}

fn field<'a>(field: Field, negated: bool, values: impl IntoIterator<Item = &'a str>) -> Match {
    let value = |word: &str| match field {
        Field::In | Field::Out | Field::PortIn | Field::PortOut => {
            Value::Word(word.strip_suffix('+').map_or_else(|| word.to_string(), |start| format!("{start}*")))
        }
        Field::Source | Field::Destination if word.contains('-') => {
            let ends = word.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
            ends.map_or(Value::Unknown, |(first, last): (Ipv4Addr, Ipv4Addr)| Value::Range(first.into(), last.into()))
        }
        Field::State | Field::Status | Field::SourceType | Field::DestinationType | Field::PacketType => {
            Value::Word(word.to_lowercase())
        }
        Field::Mark(_) | Field::ConnectionMark(_) => number(word),
        Field::SourcePort(_) | Field::DestinationPort(_) => match word.split_once(':') {
            Some((first, last)) => match (number(first), number(last)) {
                (Value::Range(first, _), Value::Range(last, _)) => Value::Range(first, last),
                _ => Value::Unknown,
            },
            None => number(word),
        },
        // Of a type, a code is mostly left out, or is all (`xtables_parse_icmp`, libxt_icmp.h of iptables).
        Field::IcmpType => match word {
            "any" | "255" => Value::Range(0, 255),
            "fragmentation-needed" | "3/4" => text("3"),
            _ => text(word),
        },
        _ => text(word),
    };
    Match::Field { field, negated, values: values.into_iter().map(value).collect() }
}

/// What a mark becomes: the bits of a mask are cleared, those of a value flipped (`mark_tg`, net/netfilter/xt_mark.c).
fn marking(words: &str) -> Marking {
    let (value, mask) = words.split_once('/').unwrap_or((words, "0xffffffff"));
    match (hexadecimal(value), hexadecimal(mask)) {
        (Some(flip), Some(mask)) => Marking::Bits { keep: !mask, flip },
        _ => Marking::Unknown,
    }
}

fn hexadecimal(word: &str) -> Option<u32> {
    word.strip_prefix("0x").map_or_else(|| word.parse().ok(), |digits| u32::from_str_radix(digits, 16).ok())
}

fn number(word: &str) -> Value {
    hexadecimal(word).map_or(Value::Unknown, |number| Value::Range(number, number))
}

fn target(name: &str) -> Option<PacketVerdict> {
    Some(match name {
        "ACCEPT" => PacketVerdict::Accept,
        "MASQUERADE" => PacketVerdict::Source(NewSource::OfInterface),
        // Its address is an option, which follows.
        "SNAT" => PacketVerdict::Source(NewSource::Unknown),
        "DROP" | "REJECT" => PacketVerdict::Drop,
        "RETURN" => PacketVerdict::Return,
        // They change or note something, and the next rule decides.
        "LOG" | "NFLOG" | "ULOG" | "MARK" | "CONNMARK" | "TCPMSS" | "TCPOPTSTRIP" | "CT" | "NOTRACK" | "TRACE"
        | "CHECKSUM" | "CLASSIFY" | "DSCP" | "TOS" | "ECN" | "TTL" | "HL" | "SET" | "TEE" | "AUDIT" | "SECMARK"
        | "CONNSECMARK" | "IDLETIMER" | "LED" | "RATEEST" => return None,
        "QUEUE" | "NFQUEUE" => PacketVerdict::Unknown,
        // Or a target that is not known.
        chain => PacketVerdict::Jump(chain.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::netfilter::{ConntrackState, Fate, Packet, fate};

    const SAVED: &str = "# Generated by iptables-save\n*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [7:420]\n:KUBE-FORWARD - \
                         [0:0]\n-A FORWARD -m comment --comment \"the rules of kube\" -j KUBE-FORWARD\n-A KUBE-FORWARD -m \
                         conntrack --ctstate INVALID -j DROP\n-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT\n-A \
                         KUBE-FORWARD -i docker+ ! -o eth0 -p tcp -m tcp --dport 1:1024 -j ACCEPT\nCOMMIT\n*nat\n:PREROUTING \
                         ACCEPT [0:0]\nCOMMIT\n";

    fn forwarded(incoming: &str, port: u16) -> Packet {
        Packet {
            hook: "forward",
            families: &["ip", "inet"],
            incoming: Some(incoming.into()),
            outgoing: Some("fan-ipip".into()),
            bridge: None,
            ports: None,
            is_arp: false,
            source: [250, 0, 28, 2].into(),
            destination: [250, 0, 27, 2].into(),
            masqueraded: None,
            diverting: Vec::new(),
            needs_connection: false,
            is_local: false,
            protocol: 6,
            source_port: None,
            port: Some(port),
            state: ConntrackState::New,
        }
    }

    #[test]
    fn tables_are_read_as_iptables_saves_them() {
        let tables = read(SAVED, Backend::Legacy, &IpSets::new());
        assert_eq!(tables.len(), 2);
        let forward = &tables[0].chains["FORWARD"];
        assert!(forward.base.as_ref().is_some_and(|base| base.drops && base.hook == "forward"));
        let unknown = |rule: &FirewallRule| rule.matches.contains(&Match::Unknown);
        let rules = tables[0].chains.values().flat_map(|chain| &chain.rules);
        assert_eq!(rules.filter(|rule| unknown(rule)).count(), 0, "{tables:#?}");
        assert!(tables[1].chains["PREROUTING"].base.as_ref().is_some_and(|base| base.translates));
    }

    #[test]
    fn what_was_read_can_be_walked() {
        let tables = read(SAVED, Backend::Legacy, &IpSets::new());
        assert_eq!(fate(&forwarded("docker0", 80), &tables), Fate::Passes);
        for (incoming, port) in [("docker0", 8080), ("eth1", 80)] {
            let Fate::Lost(blame) = fate(&forwarded(incoming, port), &tables) else { panic!("{incoming} {port}") };
            assert_eq!((blame.base.as_str(), blame.rule), ("FORWARD", None));
        }
        let invalid = Packet { state: ConntrackState::Invalid, ..forwarded("docker0", 80) };
        let Fate::Lost(blame) = fate(&invalid, &tables) else { panic!("it is dropped") };
        assert!(blame.rule.is_some_and(|rule| rule.asks_for_invalid()));
    }

    #[test]
    fn types_of_icmp_are_read_with_their_codes() {
        let values = |text: &str| match &rule(text, &IpSets::new()).matches[..] {
            [_, Match::Field { field: Field::IcmpType, values, .. }] => values.clone(),
            other => panic!("{other:?}"),
        };
        let unreachable = [Value::Range(3, 3)];
        for text in ["3", "3/4", "fragmentation-needed"] {
            let line = format!("-p icmp -m icmp --icmp-type {text} -j ACCEPT");
            assert_eq!(values(&line), unreachable, "{text}");
        }
        assert_eq!(values("-p icmp -m icmp --icmp-type any -j ACCEPT"), [Value::Range(0, 255)]);
        for text in ["8", "3/1"] {
            let line = format!("-p icmp -m icmp ! --icmp-type {text} -j DROP");
            assert_ne!(values(&line), unreachable, "{text}");
        }
    }

    #[test]
    fn marks_are_read_with_their_masks_and_those_of_connections_apart() {
        let bits = |keep, flip| Some(Marking::Bits { keep, flip });
        for (text, marking) in [
            ("-j MARK --set-xmark 0x8000/0xffffffff", bits(0, 0x8000)),
            ("-j MARK --set-xmark 0x4000/0x4000", bits(!0x4000, 0x4000)),
            ("-j CONNMARK --set-xmark 0x1/0xffffffff", None),
            ("-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff", None),
            ("-j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff", Some(Marking::OfConnection { keep: !0xff })),
        ] {
            let rule = rule(text, &IpSets::new());
            assert_eq!((rule.marking, rule.verdict, &rule.matches[..]), (marking, None, &[][..]), "{text}");
        }
        for (text, expected) in [
            ("-m mark --mark 0x8000 -j DROP", Field::Mark(u32::MAX)),
            ("-m mark --mark 0x8000/0x8000 -j DROP", Field::Mark(0x8000)),
            ("-m connmark --mark 0x8000 -j DROP", Field::ConnectionMark(u32::MAX)),
        ] {
            let condition = field(expected, false, ["0x8000"]);
            assert_eq!(rule(text, &IpSets::new()).matches, [condition], "{text}");
        }
    }

    #[test]
    fn a_word_that_is_not_known_is_no_match_and_not_none() {
        let rule = rule("-p tcp -m length --length 0:100 -m limit --limit 3/min -j DROP", &IpSets::new());
        assert_eq!(rule.matches.iter().filter(|one| **one == Match::Unknown).count(), 2);
        assert_eq!(rule.verdict, Some(PacketVerdict::Drop));
    }

    #[test]
    fn flags_types_ports_of_bridges_and_ranges_are_understood() {
        let only = |text: &str| match rule(text, &IpSets::new()).matches.pop() {
            Some(Match::Field { field, negated, values }) => (field, negated, values),
            other => panic!("{other:?}"),
        };
        let word = |word: &str| vec![Value::Word(word.into())];
        for (text, expected) in [
            ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", (Field::TcpFlags(0x17), false, vec![Value::Range(2, 2)])),
            ("-p tcp -m tcp ! --tcp-flags ALL NONE", (Field::TcpFlags(0x3f), true, vec![Value::Range(0, 0)])),
            ("-m addrtype --src-type BROADCAST", (Field::SourceType, false, word("broadcast"))),
            ("-m pkttype ! --pkt-type multicast", (Field::PacketType, true, word("multicast"))),
            ("-m physdev --physdev-in fwln+", (Field::PortIn, false, word("fwln*"))),
            ("-m physdev ! --physdev-is-bridged", (Field::PortIn, true, word("*"))),
            (
                "-m iprange --src-range 10.0.0.1-10.0.0.9",
                (Field::Source, false, vec![Value::Range(0x0a00_0001, 0x0a00_0009)]),
            ),
        ] {
            assert_eq!(only(&format!("{text} -j DROP")), expected, "{text}");
        }
    }
}
