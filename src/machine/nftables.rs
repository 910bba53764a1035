//! What nftables holds, asked of the kernel itself: which tables and chains there are, and by their comments which rules.
//!
//! `nft` takes milliseconds to start, and reads everything there is to list one table. Whether a table is what we made, the
//! kernel tells in microseconds; the text of one that is not is for `nft` to read, as is what rules say (linux/netfilter/nf_tables.h,
//! net/netfilter/nf_tables_api.c at v6.12).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::netlink::{Netlink, Refusal};
use super::vni::attributes;
use crate::firewall::{FAMILIES, ForwardChain, table_overlay};
use crate::mapping::Overlay;

const SUBSYSTEM: u16 = 10 << 8; // NFNL_SUBSYS_NFTABLES, linux/netfilter/nfnetlink.h
const GETTABLE: u16 = SUBSYSTEM + 1;
const GETCHAIN: u16 = SUBSYSTEM + 4;
const GETRULE: u16 = SUBSYSTEM + 7;
const GETSET: u16 = SUBSYSTEM + 10;
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
const CHAIN_POLICY: u16 = 5;
const CHAIN_USERDATA: u16 = 12;
const RULE_USERDATA: u16 = 7;
const SET_FLAGS: u16 = 3;
const SET_ANONYMOUS: u32 = 1;
const DROP: u32 = 0; // NF_DROP

/// A table: its family and name.
pub type Place = (&'static str, String);

/// Which tables of ours and which chains of iptables there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// The families in which there is a table of ours, in the order of [`FAMILIES`].
    pub ours: BTreeMap<Overlay, Vec<&'static str>>,
    /// Chains of iptables that are there.
    pub forward: Vec<ForwardChain>,
    /// `FORWARD` drops what no rule accepts.
    pub forward_drops: bool,
    /// The chains of each table of ours in which there is nothing but chains, in order.
    plain: BTreeMap<Place, Vec<String>>,
}

impl Tables {
    /// Reads the payloads of all tables, chains, sets, and other objects. What is cut off is not there.
    #[must_use]
    pub fn read(tables: &[Vec<u8>], chains: &[Vec<u8>], sets: &[Vec<u8>], others: &[Vec<u8>]) -> Self {
        let mut all = Self::default();
        messages(tables).for_each(|table| all.table(&table));
        messages(chains).for_each(|chain| all.chain(&chain));
        // The sets that a rule spells out come and go with it.
        let named = messages(sets).filter(|set| set.number(SET_FLAGS).is_none_or(|flags| flags & SET_ANONYMOUS == 0));
        for place in named.chain(messages(others)).filter_map(|message| message.place()) {
            all.plain.remove(&place);
        }
        all
    }

    fn table(&mut self, table: &Message) {
        let Some((place, overlay)) = table.place().and_then(ours) else {
            return;
        };
        let families = self.ours.entry(overlay).or_default();
        families.push(place.0);
        families.sort_by_key(|family| FAMILIES.iter().position(|ours| ours == family));
        if table.number(TABLE_FLAGS) == Some(0) && table.comment(TABLE_USERDATA).is_none() {
            self.plain.insert(place, Vec::new());
        }
    }

    fn chain(&mut self, chain: &Message) {
        let (Some(place), Some(name)) = (chain.place(), chain.text(CHAIN_NAME)) else {
            return;
        };
        if place == ("ip", "filter".to_string()) {
            let known = ForwardChain::ALL.into_iter().find(|known| known.to_string() == name);
            self.forward.extend(known);
            self.forward_drops |= known == Some(ForwardChain::Forward) && chain.number(CHAIN_POLICY) == Some(DROP);
        }
        if chain.comment(CHAIN_USERDATA).is_some() {
            self.plain.remove(&place);
        } else if let Some(chains) = self.plain.get_mut(&place) {
            chains.push(name);
        }
    }
}

fn messages(payloads: &[Vec<u8>]) -> impl Iterator<Item = Message<'_>> {
    payloads.iter().filter_map(|payload| Message::read(payload))
}

/// A place with the overlay whose table it is.
fn ours(place: Place) -> Option<(Place, Overlay)> {
    let overlay = table_overlay(&place.1)?;
    Some((place, overlay))
}

/// The chains of a table and the comments of their rules, in nft's language as far as
/// [`Ruleset`](crate::firewall::Ruleset) looks; a rule without a comment is one that nobody here makes.
#[must_use]
pub fn sketch(chains: &[String], rules: &[Vec<u8>]) -> String {
    let mut lines: BTreeMap<&str, String> = BTreeMap::new();
    for rule in messages(rules) {
        let name = rule.text(RULE_CHAIN);
        let Some(chain) = chains.iter().find(|chain| Some(*chain) == name.as_ref()) else {
            continue;
        };
        let comment = rule.comment(RULE_USERDATA);
        let comment = comment.filter(|comment| !comment.contains(['"', '\n']));
        let line = comment.map_or("unknown".to_string(), |comment| format!("comment \"{comment}\""));
        let _ = writeln!(lines.entry(chain).or_default(), "{line}");
    }
    let text = |chain: &String| {
        let rules = lines.get(chain.as_str()).map_or("", String::as_str);
        format!("chain {chain} {{\n{rules}}}\n")
    };
    chains.iter().map(text).collect()
}

/// A message behind its netlink header.
struct Message<'a> {
    family: u8,
    attributes: Vec<(u16, &'a [u8])>,
}

impl<'a> Message<'a> {
    fn read(payload: &'a [u8]) -> Option<Self> {
        Some(Self {
            family: *payload.first()?,
            attributes: attributes(payload.get(HEADER_LEN..)?).collect(),
        })
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

    fn place(&self) -> Option<Place> {
        let index = FAMILY_NUMBERS.iter().position(|number| *number == self.family)?;
        Some((FAMILIES[index], self.text(TABLE)?))
    }
}

fn text(value: &[u8]) -> Option<String> {
    let value = value.strip_suffix(&[0]).unwrap_or(value);
    Some(std::str::from_utf8(value).ok()?.to_string())
}

/// A connection to nftables, in the network namespace of the thread that made it.
pub struct Nftables(Netlink);

impl Nftables {
    /// Connects.
    ///
    /// # Errors
    /// When the kernel gives no such socket.
    pub fn connect() -> io::Result<Self> {
        Netlink::connect_to(NETLINK_NETFILTER).map(Self)
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
        let others = [all(GETOBJ)?, all(GETFLOWTABLE)?].concat();
        Ok(Tables::read(&all(GETTABLE)?, &all(GETCHAIN)?, &all(GETSET)?, &others))
    }

    /// The [`sketch`] of a table in which there is nothing but chains.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn sketch(&self, tables: &Tables, family: &'static str, name: &str) -> Result<Option<String>, Refusal> {
        let place = (family, name.to_string());
        let index = FAMILIES.iter().position(|ours| *ours == family);
        let (Some(chains), Some(index)) = (tables.plain.get(&place), index) else {
            return Ok(None);
        };
        let mut question = header(FAMILY_NUMBERS[index]);
        question.extend(attribute(TABLE, name));
        let rules = self.0.raw(GETRULE, NLM_F_DUMP, &question)?;
        Ok(Some(sketch(chains, &rules)))
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
    use crate::fan::tests::announced;
    use crate::firewall::{Ruleset, ruleset, table_name};

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
        payload(
            family,
            &[
                (TABLE, &named(table)),
                (CHAIN_NAME, &named(name)),
                (CHAIN_POLICY, &policy),
            ],
        )
    }

    fn plain(tables: &Tables) -> Vec<&Place> {
        tables.plain.keys().collect()
    }

    #[test]
    fn tables_and_chains_are_read_and_others_are_not_ours() {
        let all = [
            table(7, 0),
            table(2, 0),
            table(1, 0),
            payload(2, &[(TABLE, &named("mine"))]),
        ];
        let chains = [
            chain(2, NAME, "guard", 1),
            chain(7, NAME, "ports", 1),
            chain(2, NAME, "nat", 1),
            chain(2, "filter", "FORWARD", DROP),
            chain(2, "filter", "DOCKER-USER", 1),
            chain(7, "filter", "FORWARD", 1),
        ];
        let tables = Tables::read(&all, &chains, &[], &[]);
        assert_eq!(
            tables.ours,
            BTreeMap::from([("250".parse().unwrap(), vec!["ip", "bridge"])])
        );
        assert_eq!(tables.forward, [ForwardChain::Forward, ForwardChain::DockerUser]);
        assert!(tables.forward_drops);
        assert_eq!(tables.plain[&("ip", NAME.to_string())], ["guard", "nat"]);
        let accepting = Tables::read(&all, &[chain(2, "filter", "FORWARD", 1)], &[], &[]);
        assert!(!accepting.forward_drops);
        for payload in all.iter().chain(&chains) {
            for len in 0..payload.len() {
                let cut = [payload[..len].to_vec()];
                let _ = Tables::read(&cut, &cut, &cut, &cut);
            }
        }
    }

    #[test]
    fn a_table_with_more_than_chains_is_not_plain() {
        let (all, chains) = ([table(2, 0)], [chain(2, NAME, "guard", 1)]);
        let set = |flags: u32| [payload(2, &[(TABLE, &named(NAME)), (SET_FLAGS, &flags.to_be_bytes())])];
        assert_eq!(
            plain(&Tables::read(&all, &chains, &set(SET_ANONYMOUS | 2), &[])).len(),
            1
        );
        assert_eq!(plain(&Tables::read(&all, &chains, &set(2), &[])).len(), 0);
        assert_eq!(plain(&Tables::read(&all, &chains, &[], &set(0))).len(), 0);
        assert_eq!(
            plain(&Tables::read(&[table(2, 1)], &chains, &[], &[])).len(),
            0,
            "dormant"
        );
        let with_comment = payload(
            2,
            &[
                (TABLE, &named(NAME)),
                (CHAIN_NAME, &named("guard")),
                (CHAIN_USERDATA, &commented("mine")),
            ],
        );
        assert_eq!(plain(&Tables::read(&all, &[with_comment], &[], &[])).len(), 0);
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

    #[test]
    fn a_sketch_is_the_ruleset_that_was_made_and_no_other() {
        let made = ruleset(&announced());
        assert!(made.script().contains(&table_name(announced().overlay())));
        let (chains, rules) = as_made(made.script());
        let sketched = |chains: &[String], rules: &[Vec<u8>]| Ruleset::new(sketch(chains, rules));
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
    }
}
