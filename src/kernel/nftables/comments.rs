//! Comments that rules have as a match of iptables' own (`-m comment`), which `nft` does not print. A rule of ours has one after
//! `iptables-save` and `iptables-restore`.

use std::collections::BTreeMap;

use netlink_packet_core::NLM_F_DUMP;

use super::message::{
    EXPRESSION_DATA, EXPRESSION_NAME, HEADER_LEN, RULE_CHAIN, RULE_EXPRESSIONS, TABLE, attribute, header,
};
use super::{GETRULE, Nftables};
use crate::kernel::netlink::{Refusal, attributes};

const IPV4: u8 = 2; // NFPROTO_IPV4
const RULE_HANDLE: u16 = 3;
const MATCH_NAME: u16 = 1;
const MATCH_INFO: u16 = 3;

/// Comments by the handles of their rules.
pub(crate) type Comments = BTreeMap<u64, String>;

impl Nftables {
    /// Such comments in a chain of iptables' table.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn comments(&self, chain: &str) -> Result<Comments, Refusal> {
        let mut question = header(IPV4);
        question.extend(attribute(TABLE, "filter"));
        question.extend(attribute(RULE_CHAIN, chain));
        match self.0.raw(GETRULE, NLM_F_DUMP, &question) {
            Err(refusal) if refusal.errno == nix::libc::ENOENT => Ok(Comments::new()),
            rules => Ok(rules?.iter().filter_map(|rule| comment(rule)).collect()),
        }
    }
}

/// The handle and the comment of a rule.
fn comment(payload: &[u8]) -> Option<(u64, String)> {
    let rule = payload.get(HEADER_LEN..)?;
    let find = |bytes, kind| attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value);
    let handle = u64::from_be_bytes(*find(rule, RULE_HANDLE)?.first_chunk()?);
    let text = attributes(find(rule, RULE_EXPRESSIONS)?).find_map(|(_, expression)| {
        let data = find(expression, EXPRESSION_DATA)?;
        let is_match = find(expression, EXPRESSION_NAME)?.starts_with(b"match\0");
        let is_comment = is_match && find(data, MATCH_NAME)?.starts_with(b"comment\0");
        // `struct xt_comment_info`: 256 bytes, the text and zeros.
        find(data, MATCH_INFO).filter(|_| is_comment)?.split(|byte| *byte == 0).next()
    })?;
    Some((handle, std::str::from_utf8(text).ok()?.to_string()))
}

/// A listing with handles in which such comments stand as `nft` prints its own. A rule that has anything else that `nft` does not
/// print keeps its line.
#[must_use]
pub(crate) fn with_comments(listing: &str, comments: &Comments) -> String {
    let line = |line: &str| {
        let restored = line.split_once(" # handle ").and_then(|(rule, handle)| {
            let comment = comments.get(&handle.trim().parse().ok()?)?;
            let is_plain = !comment.contains(['"', '\\']) && comment.chars().all(|c| !c.is_control());
            let indent = &rule[..rule.len() - rule.trim_start().len()];
            let words = rule.replace("xt match \"comment\"", "");
            let words: Vec<&str> = words.split_whitespace().collect();
            let is_alone = is_plain && !rule.contains(" comment \"");
            is_alone.then(|| format!("{indent}{} comment \"{comment}\" # handle {handle}", words.join(" ")))
        });
        restored.unwrap_or_else(|| line.to_string()) + "\n"
    };
    listing.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_stands_where_nft_would_print_it() {
        let comments = Comments::from([(4, "fan 250.0.0.0/8".into()), (5, "a\"b".into())]);
        for printed in ["", "xt match \"comment\""] {
            let listing = format!("\t\tiifname \"b\" {printed} counter accept # handle 4\n\t\taccept # handle 5\n");
            let expected =
                "\t\tiifname \"b\" counter accept comment \"fan 250.0.0.0/8\" # handle 4\n\t\taccept # handle 5\n";
            assert_eq!(with_comments(&listing, &comments), expected);
        }
    }

    #[test]
    fn a_cut_rule_is_no_panic() {
        let bytes = [2, 0, 0, 0, 12, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 4, 8, 0, 4, 0, 4, 0, 1, 0];
        for len in 0..bytes.len() {
            assert_eq!(comment(&bytes[..len]), None);
        }
    }
}
