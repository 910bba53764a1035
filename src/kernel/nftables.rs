//! What nftables holds, asked of the kernel itself: which tables and chains there are, and by their comments which rules.
//!
//! `nft` takes milliseconds to start, and reads everything there is to list one table. Whether a table is what we made, the
//! kernel tells in microseconds; the text of one that is not is for `nft` to read, as is what rules say (linux/netfilter/nf_tables.h,
//! net/netfilter/nf_tables_api.c at v6.12).

pub(crate) mod comments;
mod content;
mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::libc;

use super::netlink::{Netlink, Refusal};
use crate::fan::mapping::Overlay;
use crate::plan::firewall::{
    Beside, FAMILIES, FLOWTABLE, ForwardChain, Record, is_chain_of_ours, table_name, table_overlay,
};
use message::{
    ANY, CHAIN_NAME, CHAIN_POLICY, CHAIN_USE, CHAIN_USERDATA, DROP, FAMILY_NUMBERS, FLOWTABLE_NAME, Message,
    RULE_CHAIN, RULE_USERDATA, SET_ANONYMOUS, SET_FLAGS, TABLE, TABLE_FLAGS, TABLE_USERDATA, attribute, header,
    messages,
};

pub(crate) use content::TableContent;

const SUBSYSTEM: u16 = 10 << 8; // NFNL_SUBSYS_NFTABLES, linux/netfilter/nfnetlink.h
const GETTABLE: u16 = SUBSYSTEM + 1;
const GETCHAIN: u16 = SUBSYSTEM + 4;
const GETRULE: u16 = SUBSYSTEM + 7;
const GETSET: u16 = SUBSYSTEM + 10;
const GETSETELEM: u16 = SUBSYSTEM + 13;
const GETGEN: u16 = SUBSYSTEM + 16;
const GETOBJ: u16 = SUBSYSTEM + 19;
const GETFLOWTABLE: u16 = SUBSYSTEM + 23;

/// A table: its family and name.
pub(crate) type TableName = (&'static str, String);

/// Which tables of ours and which chains of iptables there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// The families in which there is a table of ours, in the order of [`FAMILIES`].
    pub ours: BTreeMap<Overlay, Vec<&'static str>>,
    /// Tables that have the name of a fan's and none of its chains.
    pub(crate) namesakes: Vec<(&'static str, Overlay)>,
    /// Chains of iptables that are there.
    pub(crate) forward: Vec<ForwardChain>,
    /// `FORWARD` drops what no rule accepts.
    pub(crate) forward_drops: bool,
    /// How many rules are in `DOCKER-USER` or ask it (`use` of `struct nft_chain`).
    docker_user: Option<u32>,
    /// Whether there is more than that chain in iptables' table.
    has_others: bool,
    /// The content of each table of ours that has only chains and our flowtable.
    plain: BTreeMap<TableName, Plain>,
    /// Tables with a chain that every table of ours has.
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
        // An anonymous set is made and removed with its rule.
        let named = messages(sets).filter(|set| set.number(SET_FLAGS).is_none_or(|flags| flags & SET_ANONYMOUS == 0));
        for place in named.chain(messages(others)).filter_map(|message| message.place()) {
            all.has_others |= is_filter(&place);
            all.plain.remove(&place);
        }
        all
    }

    /// What there is in iptables' table beside this number of rules in Docker's chain.
    #[must_use]
    pub(crate) fn beside(&self, rules: usize) -> Beside {
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
/// [`Ruleset`](crate::plan::firewall::Ruleset) looks; a rule without a comment is never one of ours. `name_of` tells
/// which device has an index.
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

/// The errors for a part of the kernel that is not there.
const ABSENT: [i32; 4] = [libc::EINVAL, libc::EPROTONOSUPPORT, libc::ESOCKTNOSUPPORT, libc::EAFNOSUPPORT];

/// A connection to nftables, in the network namespace of the thread that made it.
pub(crate) struct Nftables(Netlink);

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

    /// The generation of the ruleset: another number after each change by any process.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn generation(&self) -> Result<Vec<Vec<u8>>, Refusal> {
        self.0.raw(GETGEN, NLM_F_ACK, &header(ANY))
    }

    /// Which tables and chains there are.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn tables(&self) -> Result<Tables, Refusal> {
        let all = |kind| self.0.raw(kind, NLM_F_DUMP, &header(ANY));
        Ok(Tables::read(&Replies {
            tables: all(GETTABLE)?,
            chains: all(GETCHAIN)?,
            sets: all(GETSET)?,
            flowtables: all(GETFLOWTABLE)?,
            others: all(GETOBJ)?,
        }))
    }

    /// The [`sketch`] of a table that has only chains and our flowtable.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn sketch(&self, tables: &Tables, family: &'static str, name: &str) -> Result<Option<String>, Refusal> {
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

#[cfg(test)]
mod tests;
