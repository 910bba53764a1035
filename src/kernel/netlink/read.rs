//! Reading links, addresses and rules, in which names may be any bytes: what the library reads too strictly is read here.

use netlink_packet_core::Parseable;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::rule::RuleMessage;

use super::Refusal;
use crate::fan::name::InterfaceName;
use crate::fan::text::escape;

/// The request for links (linux/rtnetlink.h).
pub const RTM_GETLINK: u16 = 18;

/// Bytes of a `struct ifinfomsg`, in front of a link's attributes.
pub const LINK_HEADER_LEN: usize = 16;

/// A link as the kernel tells of it.
#[derive(Debug)]
pub struct LinkReply {
    /// What is read of it, without its texts.
    pub message: LinkMessage,
    /// Its name.
    pub name: InterfaceName,
    /// Its alias: any bytes, none if it has none.
    pub(crate) alias: Vec<u8>,
    /// Its alternative names: any bytes, line feeds among them.
    pub(crate) other_names: Vec<Vec<u8>>,
}

/// Reads a link message. Only the attributes that `fanctl` needs are given to the library, so that it fails at no other
/// that it does not understand; texts are taken as bytes.
///
/// # Errors
/// When it cannot be read.
pub fn read_link(payload: &[u8]) -> Result<LinkReply, Refusal> {
    let unreadable = |sentence| Refusal { errno: nix::libc::EBADMSG, sentence: Some(sentence) };
    let (header, rest) = payload.split_at(LINK_HEADER_LEN.min(payload.len()));
    let (mut readable, mut name, mut alias, mut other_names) = (header.to_vec(), None, Vec::new(), Vec::new());
    for (kind, value) in attributes(rest) {
        match kind {
            IFLA_IFNAME => name = Some(InterfaceName::from_kernel(text(value))),
            IFLA_IFALIAS => alias = text(value).to_vec(),
            IFLA_PROP_LIST => other_names.extend(attributes(value).map(|(_, name)| text(name).to_vec())),
            kind if IFLA_READ.contains(&kind) => attribute(&mut readable, kind, value),
            _ => {}
        }
    }
    let message =
        LinkMessage::parse(&readable[..]).map_err(|error| unreadable(format!("a link cannot be read: {error}")))?;
    Ok(LinkReply { message, name: name.ok_or_else(|| unreadable("a link has no name".into()))?, alias, other_names })
}

/// Bytes of a `struct ifaddrmsg`, in front of an address's attributes.
pub(super) const ADDRESS_HEADER_LEN: usize = 8;

/// Reads an address message without its label, which is the name of the interface and may be any bytes; none when it cannot be
/// read.
#[must_use]
pub fn read_address(payload: &[u8]) -> Option<AddressMessage> {
    const IFA_LABEL: u16 = 3; // linux/if_addr.h
    let (header, rest) = payload.split_at_checked(ADDRESS_HEADER_LEN)?;
    let mut readable = header.to_vec();
    for (kind, value) in attributes(rest).filter(|(kind, _)| *kind != IFA_LABEL) {
        attribute(&mut readable, kind, value);
    }
    AddressMessage::parse(&readable[..]).ok()
}

/// Bytes of a `struct fib_rule_hdr`, in front of a rule's attributes.
pub(super) const RULE_HEADER_LEN: usize = 12;

/// Reads a rule message, with names of interfaces escaped; none when it cannot be read.
#[must_use]
pub fn read_rule(payload: &[u8]) -> Option<RuleMessage> {
    const NAMES: [u16; 2] = [3, 17]; // FRA_IIFNAME, FRA_OIFNAME, linux/fib_rules.h
    let (header, rest) = payload.split_at_checked(RULE_HEADER_LEN)?;
    let mut readable = header.to_vec();
    for (kind, value) in attributes(rest) {
        if NAMES.contains(&kind) {
            let name = [escape(text(value)).as_bytes(), &[0]].concat();
            attribute(&mut readable, kind, &name);
        } else {
            attribute(&mut readable, kind, value);
        }
    }
    RuleMessage::parse(&readable[..]).ok()
}

/// Adds an attribute to a message.
fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // What came in an attribute fits one (16 bits, struct nlattr); a longer one would not be read.
    message.extend(u16::try_from(value.len() + 4).unwrap_or_default().to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

// Attributes of a link (linux/if_link.h).
const IFLA_IFNAME: u16 = 3;
const IFLA_IFALIAS: u16 = 20;
const IFLA_PROP_LIST: u16 = 52;
/// Those that are read by the library: address, MTU, the device below, controller, kind and its data, counters, settings, the
/// namespace of the device below.
const IFLA_READ: [u16; 8] = [1, 4, 5, 10, 18, 23, 26, 37];

/// A text of the kernel's without the zero behind it.
pub(super) fn text(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Set in the kind of an attribute that holds others (linux/netlink.h).
pub const NLA_F_NESTED: u16 = 1 << 15;

/// The attributes in some bytes: kind without that flag, and value.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let &[a, b, c, d] = bytes.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & !NLA_F_NESTED, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_no_text_hide_no_interface() {
        let mut payload = vec![0; LINK_HEADER_LEN];
        payload.extend([10, 0, 20, 0, b'c', b'a', b'f', 0xe9, b' ', 0, 0, 0]); // IFLA_IFALIAS
        payload.extend([9, 0, 3, 0, b'e', b't', b'h', 0xe9, 0, 0, 0, 0]); // IFLA_IFNAME
        payload.extend([12, 0, 52, 128, 7, 0, 53, 0, b'\n', 0xff, 0, 0]); // IFLA_PROP_LIST, IFLA_ALT_IFNAME
        payload.extend([8, 0, 4, 0, 0xdc, 5, 0, 0]); // IFLA_MTU
        let link = read_link(&payload).unwrap();
        assert_eq!(link.name.to_string(), r"eth\xe9");
        assert_eq!((&link.alias[..], &link.other_names[..]), (&b"caf\xe9 "[..], &[b"\n\xff".to_vec()][..]));
        assert_eq!(link.message.attributes.len(), 1, "the MTU");
        for len in 0..payload.len() {
            let _ = read_link(&payload[..len]);
        }
    }

    #[test]
    fn a_rule_about_an_interface_of_any_name_is_read() {
        let mut payload = vec![0; RULE_HEADER_LEN];
        payload[0] = 2;
        payload.extend([9, 0, 3, 0, b'c', b'a', b'f', 0xe9, 0, 0, 0, 0]);
        let rule = read_rule(&payload).unwrap();
        let name = netlink_packet_route::rule::RuleAttribute::Iifname(r"caf\xe9".into());
        assert_eq!(rule.attributes, [name]);
        for len in 0..payload.len() {
            let _ = read_rule(&payload[..len]);
        }
    }
}
