//! Messages of nf_tables: their attributes, and what those hold (linux/netfilter/nf_tables.h).

use super::TableName;
use crate::kernel::netlink::attributes;
use crate::plan::firewall::FAMILIES;

/// Bytes of a `struct nfgenmsg`: family, version, two bytes of a resource.
pub(super) const HEADER_LEN: usize = 4;
/// Every family.
pub(super) const ANY: u8 = 0;
/// `NFPROTO_IPV4` and `NFPROTO_BRIDGE`, in the order of [`FAMILIES`].
pub(super) const FAMILY_NUMBERS: [u8; 2] = [2, 7];

// The table has the same place in all messages (`enum nft_*_attributes`).
pub(super) const TABLE: u16 = 1;
pub(super) const RULE_CHAIN: u16 = 2;
pub(super) const TABLE_FLAGS: u16 = 2;
pub(super) const TABLE_USERDATA: u16 = 6;
pub(super) const CHAIN_NAME: u16 = 3;
pub(super) const CHAIN_HOOK: u16 = 4;
pub(super) const CHAIN_POLICY: u16 = 5;
pub(super) const CHAIN_USE: u16 = 6;
pub(super) const CHAIN_TYPE: u16 = 7;
pub(super) const CHAIN_USERDATA: u16 = 12;
pub(super) const RULE_EXPRESSIONS: u16 = 4;
pub(super) const RULE_USERDATA: u16 = 7;
pub(super) const EXPRESSION_NAME: u16 = 1;
pub(super) const EXPRESSION_DATA: u16 = 2;
pub(super) const META_KEY: u16 = 2;
pub(super) const META_IIF: u32 = 4;
pub(super) const CMP_DATA: u16 = 3;
pub(super) const DATA_VALUE: u16 = 1;
pub(super) const SET_NAME: u16 = 2;
pub(super) const SET_FLAGS: u16 = 3;
pub(super) const FLOWTABLE_NAME: u16 = 2;
pub(super) const FLOWTABLE_HOOK: u16 = 3;
pub(super) const HOOK_DEVICES: u16 = 3;
pub(super) const SET_ANONYMOUS: u32 = 1;
pub(super) const DROP: u32 = 0; // NF_DROP

/// The messages of an answer; what is cut off is not there.
pub(super) fn messages(payloads: &[Vec<u8>]) -> impl Iterator<Item = Message<'_>> {
    payloads.iter().filter_map(|payload| Message::read(payload))
}

/// A message behind its netlink header.
pub(super) struct Message<'a> {
    family: u8,
    attributes: Vec<(u16, &'a [u8])>,
}

impl<'a> Message<'a> {
    pub(super) fn read(payload: &'a [u8]) -> Option<Self> {
        Some(Self { family: *payload.first()?, attributes: attributes(payload.get(HEADER_LEN..)?).collect() })
    }

    /// What an attribute holds.
    pub(super) fn value(&self, kind: u16) -> Option<&'a [u8]> {
        let found = self.attributes.iter().find(|(other, _)| *other == kind);
        found.map(|(_, value)| *value)
    }

    /// An attribute that is a text.
    pub(super) fn text(&self, kind: u16) -> Option<String> {
        text(self.value(kind)?)
    }

    /// An attribute that is a number, which is in network byte order here.
    pub(super) fn number(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(*self.value(kind)?.first_chunk()?))
    }

    /// A comment: what `nft` keeps under number 0 of the bytes that the kernel holds for it (`NFTNL_UDATA_RULE_COMMENT`,
    /// `NFTNL_UDATA_CHAIN_COMMENT`, `NFTNL_UDATA_TABLE_COMMENT`; libnftnl/udata.h).
    pub(super) fn comment(&self, kind: u16) -> Option<String> {
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
    pub(super) fn index(&self) -> Option<u32> {
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
    pub(super) fn devices(&self) -> Vec<String> {
        let hook = self.value(FLOWTABLE_HOOK).unwrap_or_default();
        let list = attributes(hook).find(|(kind, _)| *kind == HOOK_DEVICES);
        let names = list.into_iter().flat_map(|(_, names)| attributes(names));
        names.filter_map(|(_, name)| text(name)).collect()
    }

    /// The table that it is about, in a family of ours.
    pub(super) fn place(&self) -> Option<TableName> {
        let index = FAMILY_NUMBERS.iter().position(|number| *number == self.family)?;
        Some((FAMILIES[index], self.text(TABLE)?))
    }
}

/// The attribute of this kind among those in another.
pub(super) fn inside(value: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(value).find(|(other, _)| *other == kind).map(|(_, value)| value)
}

/// A text with or without its terminating zero.
pub(super) fn text(value: &[u8]) -> Option<String> {
    let value = value.strip_suffix(&[0]).unwrap_or(value);
    Some(std::str::from_utf8(value).ok()?.to_string())
}

/// The header of a question (`struct nfgenmsg`).
pub(super) fn header(family: u8) -> Vec<u8> {
    vec![family, 0, 0, 0]
}

/// A text with a terminating zero, padded.
pub(super) fn attribute(kind: u16, text: &str) -> Vec<u8> {
    let len = 4 + text.len() + 1;
    // The names that we ask for are shorter than NFT_NAME_MAXLEN, 256.
    let mut bytes = u16::try_from(len).unwrap_or(u16::MAX).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(text.as_bytes());
    bytes.resize(len.next_multiple_of(4), 0);
    bytes
}
