//! What nftables holds, asked of the kernel itself: which tables and chains there are, and by their comments which rules.
//!
//! `nft` takes milliseconds to start, and reads everything there is to list one table. Whether a table is what we made, the
//! kernel tells in microseconds; the text of one that is not is for `nft` to read, as is what rules say (linux/netfilter/nf_tables.h,
//! net/netfilter/nf_tables_api.c at v6.12).

pub mod comments;
mod content;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::libc;

use super::netlink::{Netlink, Refusal, attributes};
use crate::fan::mapping::Overlay;
use crate::plan::firewall::{
    Beside, FAMILIES, FLOWTABLE, ForwardChain, Record, is_chain_of_ours, table_name, table_overlay,
};

const SUBSYSTEM: u16 = 10 << 8; // NFNL_SUBSYS_NFTABLES, linux/netfilter/nfnetlink.h
const GETTABLE: u16 = SUBSYSTEM + 1;
const GETCHAIN: u16 = SUBSYSTEM + 4;
const GETRULE: u16 = SUBSYSTEM + 7;
const GETSET: u16 = SUBSYSTEM + 10;
const GETSETELEM: u16 = SUBSYSTEM + 13;
const GETGEN: u16 = SUBSYSTEM + 16;
const GETOBJ: u16 = SUBSYSTEM + 19;
const GETFLOWTABLE: u16 = SUBSYSTEM + 23;

/// Bytes of a `struct nfgenmsg`: family, version, two bytes of a resource.
const HEADER_LEN: usize = 4;
/// Every family.
const ANY: u8 = 0;
/// `NFPROTO_IPV4` and `NFPROTO_BRIDGE`, in the order of [`FAMILIES`].
const FAMILY_NUMBERS: [u8; 2] = [2, 7];

// The table has the same place in all messages (`enum nft_*_attributes`).
const TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const TABLE_FLAGS: u16 = 2;
const TABLE_USERDATA: u16 = 6;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_USE: u16 = 6;
const CHAIN_TYPE: u16 = 7;
const CHAIN_USERDATA: u16 = 12;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const META_KEY: u16 = 2;
const META_IIF: u32 = 4;
const CMP_DATA: u16 = 3;
const DATA_VALUE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const FLOWTABLE_NAME: u16 = 2;
const FLOWTABLE_HOOK: u16 = 3;
const HOOK_DEVICES: u16 = 3;
const SET_ANONYMOUS: u32 = 1;
const DROP: u32 = 0; // NF_DROP

pub use content::{Parts, TableContent};

/// A table: its family and name.
pub type TableName = (&'static str, String);

/// Which tables of ours and which chains of iptables there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// The families in which there is a table of ours, in the order of [`FAMILIES`].
    pub ours: BTreeMap<Overlay, Vec<&'static str>>,
    /// Tables that have the name of a fan's and none of its chains.
    pub namesakes: Vec<(&'static str, Overlay)>,
    /// Chains of iptables that are there.
    pub forward: Vec<ForwardChain>,
    /// `FORWARD` drops what no rule accepts.
    pub forward_drops: bool,
    /// How many rules are in `DOCKER-USER` or ask it (`use` of `struct nft_chain`).
    docker_user: Option<u32>,
    /// Whether there is more than that chain in iptables' table.
    has_others: bool,
    /// What there is in each table of ours in which there is nothing but chains and our flowtable.
    plain: BTreeMap<TableName, Plain>,
    /// Tables in which there is a chain that each of ours has.
    guarded: BTreeSet<TableName>,
}

/// What there is in a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plain {
    /// Its chains, in order.
    pub chains: Vec<String>,
    /// The devices of our flowtable, if it is there.
    pub devices: Option<Vec<String>>,
}

/// The answers of the kernel, each the payload of a message.
#[derive(Debug, Default)]
pub struct Replies {
    /// All tables.
    pub tables: Vec<Vec<u8>>,
    /// All chains.
    pub chains: Vec<Vec<u8>>,
    /// All sets.
    pub sets: Vec<Vec<u8>>,
    /// All flowtables.
    pub flowtables: Vec<Vec<u8>>,
    /// All other objects.
    pub others: Vec<Vec<u8>>,
}

impl Tables {
    /// Reads what the kernel answered. What is cut off is not there.
    #[must_use]
    pub fn read(answers: &Replies) -> Self {
        let Replies { tables, chains, sets, flowtables, others } = answers;
        let mut all = Self::default();
        messages(tables).for_each(|table| all.table(&table));
        messages(chains).for_each(|chain| all.chain(&chain));
        all.tell_namesakes();
        messages(flowtables).for_each(|flowtable| all.flowtable(&flowtable));
        // The sets that a rule spells out come and go with it.
        let named = messages(sets).filter(|set| set.number(SET_FLAGS).is_none_or(|flags| flags & SET_ANONYMOUS == 0));
        for place in named.chain(messages(others)).filter_map(|message| message.place()) {
            all.has_others |= is_filter(&place);
            all.plain.remove(&place);
        }
        all
    }

    /// What there is in iptables' table beside so many rules in Docker's chain.
    #[must_use]
    pub fn beside(&self, rules: usize) -> Beside {
        match self.docker_user {
            Some(uses) if usize::try_from(uses).is_ok_and(|uses| uses == rules) => {
                if self.has_others {
                    Beside::Others
                } else {
                    Beside::Nothing
                }
            }
            _ => Beside::Use,
        }
    }

    fn table(&mut self, table: &Message) {
        let Some((place, overlay)) = table.place().and_then(ours) else {
            return;
        };
        let families = self.ours.entry(overlay).or_default();
        families.push(place.0);
        families.sort_by_key(|family| FAMILIES.iter().position(|ours| ours == family));
        if table.number(TABLE_FLAGS) == Some(0) && table.comment(TABLE_USERDATA).is_none() {
            self.plain.insert(place, Plain::default());
        }
    }

    fn chain(&mut self, chain: &Message) {
        let (Some(place), Some(name)) = (chain.place(), chain.text(CHAIN_NAME)) else {
            return;
        };
        if is_filter(&place) {
            let known = ForwardChain::ALL.into_iter().find(|known| known.to_string() == name);
            if known == Some(ForwardChain::DockerUser) {
                self.docker_user = chain.number(CHAIN_USE);
            } else {
                self.has_others = true;
            }
            self.forward.extend(known);
            self.forward_drops |= known == Some(ForwardChain::Forward) && chain.number(CHAIN_POLICY) == Some(DROP);
        }
        if is_chain_of_ours(place.0, &name) {
            self.guarded.insert(place.clone());
        }
        if chain.comment(CHAIN_USERDATA).is_some() {
            self.plain.remove(&place);
        } else if let Some(plain) = self.plain.get_mut(&place).filter(|_| Record::from_chain(&name).is_none()) {
            plain.chains.push(name);
        }
    }

    /// Leaves only those tables that have a chain of ours.
    fn tell_namesakes(&mut self) {
        for (overlay, families) in &mut self.ours {
            let is_ours = |family: &&'static str| self.guarded.contains(&(*family, table_name(*overlay)));
            let others = families.extract_if(.., |family| !is_ours(&&**family));
            self.namesakes.extend(others.map(|family| (family, *overlay)));
        }
        self.ours.retain(|_, families| !families.is_empty());
    }

    fn flowtable(&mut self, flowtable: &Message) {
        let Some(place) = flowtable.place() else { return };
        self.has_others |= is_filter(&place);
        match (flowtable.text(FLOWTABLE_NAME), self.plain.get_mut(&place)) {
            (Some(name), Some(plain)) if name == FLOWTABLE => plain.devices = Some(flowtable.devices()),
            _ => drop(self.plain.remove(&place)),
        }
    }
}

fn messages(payloads: &[Vec<u8>]) -> impl Iterator<Item = Message<'_>> {
    payloads.iter().filter_map(|payload| Message::read(payload))
}

/// Whether it is iptables' table.
fn is_filter(place: &TableName) -> bool {
    *place == ("ip", "filter".to_string())
}

/// A place with the overlay whose table it is.
fn ours(place: TableName) -> Option<(TableName, Overlay)> {
    let overlay = table_overlay(&place.1)?;
    Some((place, overlay))
}

/// The chains of a table and the comments of their rules, in nft's language as far as
/// [`Ruleset`](crate::plan::firewall::Ruleset) looks; a rule without a comment is one that nobody here makes. `name_of` tells which
/// device has an index.
#[must_use]
pub fn sketch(table: &Plain, rules: &[Vec<u8>], name_of: impl Fn(u32) -> Option<String>) -> String {
    let Plain { chains, devices } = table;
    let mut lines: BTreeMap<&str, String> = BTreeMap::new();
    for rule in messages(rules) {
        let name = rule.text(RULE_CHAIN);
        let Some(chain) = chains.iter().find(|chain| Some(*chain) == name.as_ref()) else {
            continue;
        };
        let comment = rule.comment(RULE_USERDATA);
        let comment = comment.filter(|comment| !comment.contains(['"', '\n']));
        let line = comment.map_or("unknown".to_string(), |comment| format!("comment \"{comment}\""));
        let asks_for = rule.index().map(|index| match name_of(index) {
            Some(name) => format!("iif \"{name}\" "),
            None => format!("iif {index} "),
        });
        let _ = writeln!(lines.entry(chain).or_default(), "{}{line}", asks_for.unwrap_or_default());
    }
    let text = |chain: &String| {
        let rules = lines.get(chain.as_str()).map_or("", String::as_str);
        format!("chain {chain} {{\n{rules}}}\n")
    };
    let flowtable = devices.iter().map(|devices| {
        let devices = devices.join(", ");
        format!("flowtable {FLOWTABLE} {{\ndevices = {{ {devices} }}\n}}\n")
    });
    flowtable.chain(chains.iter().map(text)).collect()
}

/// A message behind its netlink header.
struct Message<'a> {
    family: u8,
    attributes: Vec<(u16, &'a [u8])>,
}

impl<'a> Message<'a> {
    fn read(payload: &'a [u8]) -> Option<Self> {
        Some(Self { family: *payload.first()?, attributes: attributes(payload.get(HEADER_LEN..)?).collect() })
    }

    fn value(&self, kind: u16) -> Option<&'a [u8]> {
        let found = self.attributes.iter().find(|(other, _)| *other == kind);
        found.map(|(_, value)| *value)
    }

    fn text(&self, kind: u16) -> Option<String> {
        text(self.value(kind)?)
    }

    /// Numbers are in network byte order here.
    fn number(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(*self.value(kind)?.first_chunk()?))
    }

    /// A comment: what `nft` keeps under number 0 of the bytes that the kernel holds for it (`NFTNL_UDATA_RULE_COMMENT`,
    /// `NFTNL_UDATA_CHAIN_COMMENT`, `NFTNL_UDATA_TABLE_COMMENT`; libnftnl/udata.h).
    fn comment(&self, kind: u16) -> Option<String> {
        let mut bytes = self.value(kind)?;
        while let [number, len, rest @ ..] = bytes {
            let (value, others) = rest.split_at_checked(usize::from(*len))?;
            if *number == 0 {
                return text(value);
            }
            bytes = others;
        }
        None
    }

    /// The index of the device that a rule asks for first of all (`enum nft_meta_attributes`, `enum nft_cmp_attributes`).
    fn index(&self) -> Option<u32> {
        let mut expressions = attributes(self.value(RULE_EXPRESSIONS)?).map(|(_, expression)| expression);
        let mut next = |name: &str| {
            let expression = expressions.next()?;
            let is_it = text(inside(expression, EXPRESSION_NAME)?).is_some_and(|found| found == name);
            is_it.then(|| inside(expression, EXPRESSION_DATA))?
        };
        let key = inside(next("meta")?, META_KEY)?.first_chunk()?;
        if u32::from_be_bytes(*key) != META_IIF {
            return None;
        }
        let index = inside(inside(next("cmp")?, CMP_DATA)?, DATA_VALUE)?.first_chunk()?;
        Some(u32::from_ne_bytes(*index))
    }

    /// The names of a flowtable's devices, from two lists one in the other (`NFTA_FLOWTABLE_HOOK_DEVS`).
    fn devices(&self) -> Vec<String> {
        let hook = self.value(FLOWTABLE_HOOK).unwrap_or_default();
        let list = attributes(hook).find(|(kind, _)| *kind == HOOK_DEVICES);
        let names = list.into_iter().flat_map(|(_, names)| attributes(names));
        names.filter_map(|(_, name)| text(name)).collect()
    }

    fn place(&self) -> Option<TableName> {
        let index = FAMILY_NUMBERS.iter().position(|number| *number == self.family)?;
        Some((FAMILIES[index], self.text(TABLE)?))
    }
}

/// The attribute of this kind among those in another.
fn inside(value: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(value).find(|(other, _)| *other == kind).map(|(_, value)| value)
}

fn text(value: &[u8]) -> Option<String> {
    let value = value.strip_suffix(&[0]).unwrap_or(value);
    Some(std::str::from_utf8(value).ok()?.to_string())
}

/// What is said of a part of the kernel that is not there.
const ABSENT: [i32; 4] = [libc::EINVAL, libc::EPROTONOSUPPORT, libc::ESOCKTNOSUPPORT, libc::EAFNOSUPPORT];

/// A connection to nftables, in the network namespace of the thread that made it.
pub struct Nftables(Netlink);

impl Nftables {
    /// Connects, and asks a first question, for which the kernel loads nf_tables as a module; none where it has none. Then it
    /// has no such socket, or nothing there that would read the question (`nfnetlink_rcv_msg`, net/netfilter/nfnetlink.c at
    /// v6.12).
    ///
    /// # Errors
    /// What the kernel said.
    pub fn connect() -> Result<Option<Self>, Refusal> {
        let asked = Netlink::connect_to(NETLINK_NETFILTER)
            .map_err(Refusal::from)
            .map(Self)
            .and_then(|nftables| nftables.generation().map(|_| nftables));
        match asked {
            Err(refusal) if ABSENT.contains(&refusal.errno) => Ok(None),
            asked => asked.map(Some),
        }
    }

    /// The number of what there is: another after each change of anybody's.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn generation(&self) -> Result<Vec<Vec<u8>>, Refusal> {
        self.0.raw(GETGEN, NLM_F_ACK, &header(ANY))
    }

    /// Which tables and chains there are.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn tables(&self) -> Result<Tables, Refusal> {
        let all = |kind| self.0.raw(kind, NLM_F_DUMP, &header(ANY));
        Ok(Tables::read(&Replies {
            tables: all(GETTABLE)?,
            chains: all(GETCHAIN)?,
            sets: all(GETSET)?,
            flowtables: all(GETFLOWTABLE)?,
            others: all(GETOBJ)?,
        }))
    }

    /// The [`sketch`] of a table in which there is nothing but chains and our flowtable.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn sketch(&self, tables: &Tables, family: &'static str, name: &str) -> Result<Option<String>, Refusal> {
        let place = (family, name.to_string());
        let index = FAMILIES.iter().position(|ours| *ours == family);
        let (Some(plain), Some(index)) = (tables.plain.get(&place), index) else {
            return Ok(None);
        };
        let mut question = header(FAMILY_NUMBERS[index]);
        question.extend(attribute(TABLE, name));
        let rules = self.0.raw(GETRULE, NLM_F_DUMP, &question)?;
        let name_of = |index| nix::net::if_::if_indextoname(index).ok()?.into_string().ok();
        Ok(Some(sketch(plain, &rules, name_of)))
    }
}

fn header(family: u8) -> Vec<u8> {
    vec![family, 0, 0, 0]
}

/// A text with a terminating zero, padded.
fn attribute(kind: u16, text: &str) -> Vec<u8> {
    let len = 4 + text.len() + 1;
    // The names that we ask for are shorter than NFT_NAME_MAXLEN, 256.
    let mut bytes = u16::try_from(len).unwrap_or(u16::MAX).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(text.as_bytes());
    bytes.resize(len.next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::encap::SourcePorts;
    use crate::fan::tests::announced;
    use crate::plan::firewall::{Ruleset, ruleset, table_name};

    const NAME: &str = "fan-250.0.0.0/8";

    fn payload(family: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = header(family);
        for (kind, value) in attributes {
            let len = 4 + value.len();
            bytes.extend(u16::try_from(len).unwrap().to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn named(name: &str) -> Vec<u8> {
        [name.as_bytes(), &[0]].concat()
    }

    /// What nft keeps of a comment, behind something else that it keeps.
    fn commented(comment: &str) -> Vec<u8> {
        let text = named(comment);
        [&[1, 2, 7, 7, 0, u8::try_from(text.len()).unwrap()], &text[..]].concat()
    }

    fn table(family: u8, flags: u32) -> Vec<u8> {
        payload(family, &[(TABLE, &named(NAME)), (TABLE_FLAGS, &flags.to_be_bytes())])
    }

    fn chain(family: u8, table: &str, name: &str, policy: u32) -> Vec<u8> {
        let policy = policy.to_be_bytes();
        payload(family, &[(TABLE, &named(table)), (CHAIN_NAME, &named(name)), (CHAIN_POLICY, &policy)])
    }

    fn flowtable(name: &str, devices: &[&str]) -> Vec<u8> {
        let nested = |kind: u16, parts: &[(u16, &[u8])]| (kind, payload(2, parts)[HEADER_LEN..].to_vec());
        let names: Vec<Vec<u8>> = devices.iter().map(|device| named(device)).collect();
        let names: Vec<(u16, &[u8])> = names.iter().map(|name| (1, &name[..])).collect();
        let (kind, list) = nested(HOOK_DEVICES, &names);
        let (hook, value) = nested(FLOWTABLE_HOOK, &[(kind, &list)]);
        payload(2, &[(TABLE, &named(NAME)), (FLOWTABLE_NAME, &named(name)), (hook, &value)])
    }

    /// How many of the tables are plain.
    fn plain(answers: &Replies) -> usize {
        Tables::read(answers).plain.len()
    }

    #[test]
    fn tables_and_chains_are_read_and_others_are_not_ours() {
        let all = [table(7, 0), table(2, 0), table(1, 0), payload(2, &[(TABLE, &named("mine"))])];
        let chains = [
            chain(2, NAME, "guard", 1),
            chain(7, NAME, "ports", 1),
            chain(2, NAME, "nat", 1),
            chain(2, "filter", "FORWARD", DROP),
            chain(2, "filter", "DOCKER-USER", 1),
            chain(7, "filter", "FORWARD", 1),
        ];
        let read = |tables: &[Vec<u8>], chains: &[Vec<u8>]| {
            Tables::read(&Replies { tables: tables.to_vec(), chains: chains.to_vec(), ..Replies::default() })
        };
        let tables = read(&all, &chains);
        assert_eq!(tables.ours, BTreeMap::from([("250".parse().unwrap(), vec!["ip", "bridge"])]));
        assert_eq!(tables.forward, [ForwardChain::Forward, ForwardChain::DockerUser]);
        assert!(tables.forward_drops);
        assert_eq!(tables.plain[&("ip", NAME.to_string())].chains, ["guard", "nat"]);
        let accepting = read(&all, &[chain(2, "filter", "FORWARD", 1)]);
        assert!(!accepting.forward_drops);
        for payload in all.iter().chain(&chains).chain(&[flowtable(FLOWTABLE, &["fan0"])]) {
            for len in 0..payload.len() {
                let cut = || vec![payload[..len].to_vec()];
                let _ = Tables::read(&Replies {
                    tables: [&all[..], &cut()].concat(),
                    chains: cut(),
                    sets: cut(),
                    flowtables: cut(),
                    others: cut(),
                });
            }
        }
    }

    #[test]
    fn a_table_with_more_than_is_ours_is_not_plain() {
        let answers =
            || Replies { tables: vec![table(2, 0)], chains: vec![chain(2, NAME, "guard", 1)], ..Replies::default() };
        let set = |flags: u32| vec![payload(2, &[(TABLE, &named(NAME)), (SET_FLAGS, &flags.to_be_bytes())])];
        let with_comment =
            payload(2, &[(TABLE, &named(NAME)), (CHAIN_NAME, &named("guard")), (CHAIN_USERDATA, &commented("mine"))]);
        let sets = |flags| Replies { sets: set(flags), ..answers() };
        let flowtables = |name| Replies { flowtables: vec![flowtable(name, &["eth0"])], ..answers() };
        assert_eq!([plain(&answers()), plain(&sets(SET_ANONYMOUS | 2)), plain(&flowtables(FLOWTABLE))], [1; 3]);
        for more in [
            sets(2),
            flowtables("mine"),
            Replies { others: set(0), ..answers() },
            Replies {
                tables: vec![table(2, 1)], // dormant
                ..answers()
            },
            Replies { chains: vec![with_comment], ..answers() },
        ] {
            assert_eq!(plain(&more), 0, "{more:?}");
        }
    }

    /// The chains of a table as made, and its rules as the kernel has them.
    fn as_made(script: &str) -> (Vec<String>, Vec<Vec<u8>>) {
        let (mut chains, mut rules) = (Vec::new(), Vec::new());
        for line in script.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("chain ") {
                chains.push(name.trim_end_matches(" {").to_string());
            } else if let Some((_, comment)) = line.split_once("comment \"") {
                let userdata = commented(comment.trim_end_matches('"'));
                let chain = named(chains.last().unwrap());
                rules.push(payload(2, &[(RULE_CHAIN, &chain), (RULE_USERDATA, &userdata)]));
            }
        }
        (chains, rules)
    }

    /// The expressions of a rule that asks for the index of a device.
    fn asking_for(index: u32) -> Vec<u8> {
        let nested = |attributes: &[(u16, &[u8])]| payload(2, attributes)[HEADER_LEN..].to_vec();
        let expression = |name, data: &[u8]| nested(&[(EXPRESSION_NAME, &named(name)), (EXPRESSION_DATA, data)]);
        let meta = expression("meta", &nested(&[(1, &[0; 4]), (META_KEY, &META_IIF.to_be_bytes())]));
        let value = nested(&[(DATA_VALUE, &index.to_ne_bytes())]);
        let cmp = expression("cmp", &nested(&[(1, &[0; 4]), (CMP_DATA, &value)]));
        nested(&[(RULE_EXPRESSIONS, &nested(&[(1, &meta), (1, &cmp)]))])
    }

    #[test]
    fn a_sketch_is_the_ruleset_that_was_made_and_no_other() {
        let made = ruleset(&announced(), SourcePorts::Privileged);
        assert!(made.script().contains(&table_name(announced().overlay())));
        let (chains, rules) = as_made(made.script());
        let with = |chains: &[String], rules: &[Vec<u8>], devices: &[&str]| {
            let answers = Replies {
                tables: vec![table(2, 0)],
                chains: chains.iter().map(|name| chain(2, NAME, name, 1)).collect(),
                flowtables: vec![flowtable(FLOWTABLE, devices)],
                ..Replies::default()
            };
            let tables = Tables::read(&answers);
            let name_of = |index| (index == 7).then(|| "eth0".to_string());
            Ruleset::new(sketch(&tables.plain[&("ip", NAME.to_string())], rules, name_of))
        };
        let devices = ["fan-ipip", "fan-250-0-28"];
        let sketched = |chains: &[String], rules: &[Vec<u8>]| with(chains, rules, &devices);
        assert_ne!(with(&chains, &rules, &devices[1..]), made, "a device is gone");
        assert_eq!(sketched(&chains, &rules), made);
        for index in 0..rules.len() {
            let mut fewer = rules.clone();
            fewer.remove(index);
            assert_ne!(sketched(&chains, &fewer), made, "without rule {index}");
            let mut more = rules.clone();
            more.insert(index, payload(2, &[(RULE_CHAIN, &named(&chains[0]))]));
            assert_ne!(sketched(&chains, &more), made, "with a rule of somebody's at {index}");
        }
        for index in 0..chains.len() {
            let mut fewer = chains.clone();
            fewer.remove(index);
            assert_ne!(sketched(&fewer, &rules), made, "without chain {index}");
        }
        let more = [&chains[..], &["mine".to_string()]].concat();
        assert_ne!(sketched(&more, &rules), made);
        for (index, is_ours) in [(7, true), (8, false)] {
            let asking: Vec<_> = rules.iter().map(|rule| [&rule[..], &asking_for(index)].concat()).collect();
            assert_eq!(sketched(&chains, &asking) == made, is_ours, "device {index}");
        }
    }
}
