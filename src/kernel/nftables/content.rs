//! What is in the tables of a fan, byte for byte as the kernel has it, and the record of what was in them when they were made.
//!
//! A rule is known by its comment, which says nothing when a user replaces the rule by another with the same comment.
//! `nft` turns text into the kernel's expressions, differently in each version, so that a table cannot be compared with
//! what it should be. It is compared with what it was: once the tables are made, the digest of all that the kernel holds
//! is kept as the name of an empty chain in the first of them, which no packet passes.

use super::message::{
    CHAIN_HOOK, CHAIN_NAME, CHAIN_POLICY, CHAIN_TYPE, DROP, EXPRESSION_DATA, EXPRESSION_NAME, FAMILY_NUMBERS, Message,
    RULE_CHAIN, RULE_EXPRESSIONS, RULE_USERDATA, SET_ANONYMOUS, SET_FLAGS, SET_NAME, TABLE, attribute, header, inside,
    messages, text,
};
use super::{GETCHAIN, GETRULE, GETSET, GETSETELEM, Nftables};
use crate::fan::digest::digest;
use crate::fan::mapping::Overlay;
use crate::kernel::netlink::{Refusal, attributes};
use crate::plan::firewall::{Deviation, FAMILIES, FORMAT, Record, table_name};
use netlink_packet_core::NLM_F_DUMP;

const ELEMENTS_TABLE: u16 = 1; // enum nft_set_elem_list_attributes
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
/// Key, data, flags and end of an interval (`enum nft_set_elem_attributes`): what does not change as packets pass.
const ELEMENT_PARTS: [u16; 4] = [1, 2, 3, 10];
/// Expressions whose data changes as packets pass.
const STATEFUL: [&str; 3] = ["counter", "quota", "last"];

/// What the kernel holds in the tables of a fan.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TableContent {
    /// The digest of all of it but the record.
    pub digest: String,
    /// What was in it when it was made, if that is known.
    pub(crate) record: Option<Record>,
    /// Chains whose policy is to drop.
    pub(crate) drops: Vec<String>,
}

impl TableContent {
    /// What was changed in it, or what another version makes otherwise. `is_known` tells whether all rules have the
    /// comments that this version gives them.
    #[must_use]
    pub(crate) fn deviations(&self, is_known: bool) -> Vec<Deviation> {
        let policies = self.drops.iter().cloned().map(Deviation::Policy);
        let own = match &self.record {
            Some(record) if record.digest != self.digest => Some(Deviation::Rules),
            Some(record) if record.format < FORMAT => Some(Deviation::Older(record.format)),
            // The first version kept no record.
            None if !is_known => Some(Deviation::Older(1)),
            _ => None,
        };
        policies.chain(own).collect()
    }
}

/// The answers of the kernel about one table, each the payload of a message.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// Its chains.
    pub chains: Vec<Vec<u8>>,
    /// Its rules, in order.
    pub(crate) rules: Vec<Vec<u8>>,
    /// The elements of its anonymous sets, by the sets' names.
    pub(crate) sets: Vec<(String, Vec<Vec<u8>>)>,
}

/// Puts together what is in the tables of a fan.
#[must_use]
pub fn read(tables: &[Parts]) -> TableContent {
    let mut content = TableContent::default();
    let mut bytes = Vec::new();
    // Each part with its length in front, so that no two tables have the same bytes.
    let mut put = |part: &[u8]| {
        bytes.extend(part.len().to_be_bytes());
        bytes.extend(part);
    };
    for Parts { chains, rules, sets } in tables {
        for chain in messages(chains) {
            let name = chain.text(CHAIN_NAME).unwrap_or_default();
            if let Some(record) = Record::from_chain(&name) {
                content.record = Some(record);
                continue;
            }
            if chain.number(CHAIN_POLICY) == Some(DROP) {
                content.drops.push(name);
            }
            for kind in [CHAIN_NAME, CHAIN_HOOK, CHAIN_POLICY, CHAIN_TYPE] {
                put(chain.value(kind).unwrap_or_default());
            }
        }
        for rule in messages(rules) {
            put(rule.value(RULE_CHAIN).unwrap_or_default());
            put(rule.value(RULE_USERDATA).unwrap_or_default());
            // A device that was made again has another index, and the tables are made again for it: that is compared elsewhere.
            let index = rule.index().map(u32::to_ne_bytes);
            for (_, expression) in attributes(rule.value(RULE_EXPRESSIONS).unwrap_or_default()) {
                let name = inside(expression, EXPRESSION_NAME).unwrap_or_default();
                put(name);
                let is_stateful = text(name).is_some_and(|name| STATEFUL.contains(&name.as_str()));
                let data = inside(expression, EXPRESSION_DATA).unwrap_or_default();
                let is_index =
                    index.is_some_and(|index| text(name).as_deref() == Some("cmp") && data.ends_with(&index));
                put(if is_stateful || is_index { &[] } else { data });
            }
        }
        for (name, payloads) in sets {
            put(name.as_bytes());
            let mut elements: Vec<Vec<u8>> = messages(payloads).flat_map(|message| elements(&message)).collect();
            // The kernel lists them in the order of a hash table.
            elements.sort();
            for element in &elements {
                put(element);
            }
        }
    }
    content.digest = digest(&bytes);
    content
}

fn elements(message: &Message) -> Vec<Vec<u8>> {
    let list = message.value(ELEMENTS).unwrap_or_default();
    let element = |element| {
        let parts = attributes(element).filter(|(kind, _)| ELEMENT_PARTS.contains(kind));
        parts.flat_map(|(kind, value)| kind.to_be_bytes().into_iter().chain(value.iter().copied())).collect()
    };
    attributes(list).map(|(_, value)| element(value)).collect()
}

impl Nftables {
    /// What is in the tables of a fan, one in each of these families.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn content(&self, overlay: Overlay, families: &[&str]) -> Result<TableContent, Refusal> {
        let name = table_name(overlay);
        let there = FAMILIES.iter().zip(FAMILY_NUMBERS).filter(|(family, _)| families.contains(family));
        let tables: Result<Vec<Parts>, Refusal> = there
            .map(|(_, family)| {
                // The kernel tells the chains of all tables, and the rules and sets of one.
                let of_table = |kind| {
                    let mut question = header(family);
                    question.extend(attribute(TABLE, &name));
                    self.0.raw(kind, NLM_F_DUMP, &question)
                };
                let mut chains = self.0.raw(GETCHAIN, NLM_F_DUMP, &header(family))?;
                let is_here = |message: &Message| message.text(TABLE).is_some_and(|table| table == name);
                chains.retain(|payload| Message::read(payload).is_some_and(|message| is_here(&message)));
                let rules = of_table(GETRULE)?;
                let sets = of_table(GETSET)?;
                let anonymous = messages(&sets).filter(|set| is_here(set));
                let anonymous = anonymous
                    .filter(|set| set.number(SET_FLAGS).is_some_and(|flags| flags & SET_ANONYMOUS != 0))
                    .filter_map(|set| set.text(SET_NAME));
                let sets: Result<_, Refusal> = anonymous
                    .map(|set| {
                        let mut question = header(family);
                        question.extend(attribute(ELEMENTS_TABLE, &name));
                        question.extend(attribute(ELEMENTS_SET, &set));
                        Ok((set, self.0.raw(GETSETELEM, NLM_F_DUMP, &question)?))
                    })
                    .collect();
                Ok(Parts { chains, rules, sets: sets? })
            })
            .collect();
        Ok(read(&tables?))
    }
}
