//! What the kernel says to a request that it does not carry out, with its own sentence.

use std::fmt;
use std::io;

use netlink_packet_core::ErrorMessage;

use super::read::{attributes, text};
use crate::fan::text::{errno_words, escape};

/// What the kernel said to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error number, positive (errno(3)).
    pub(crate) errno: i32,
    /// The sentence that came with it, if any: the extended acknowledgement (`NLMSGERR_ATTR_MSG`).
    pub(crate) sentence: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&errno_words(self.errno))?;
        match &self.sentence {
            Some(sentence) => write!(f, " ({})", sentence.trim_end_matches('.')),
            None => Ok(()),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self { errno, sentence: None },
            None => Self { errno: nix::libc::EIO, sentence: Some(error.to_string()) },
        }
    }
}

/// The error number and sentence of an error message; none when it is an acknowledgement.
#[must_use]
pub fn refusal(error: &ErrorMessage) -> Option<Refusal> {
    const HEADER_LEN: usize = 16;
    const ATTRIBUTE_MESSAGE: u16 = 1; // NLMSGERR_ATTR_MSG, linux/netlink.h
    let errno = error.code?.get().wrapping_neg();
    // The payload is our own request, and then attributes (netlink_ack, net/netlink/af_netlink.c).
    let request_len =
        error.header.get(..4).map_or(HEADER_LEN, |len| u32::from_ne_bytes([len[0], len[1], len[2], len[3]]) as usize);
    let rest = error.header.get(request_len.next_multiple_of(4)..).unwrap_or_default();
    let sentence = attributes(rest).find(|(kind, _)| *kind == ATTRIBUTE_MESSAGE);
    let sentence = sentence.map(|(_, value)| escape(text(value)));
    Some(Refusal { errno, sentence })
}

impl Refusal {
    pub(super) fn interrupted() -> Self {
        Self { errno: nix::libc::EAGAIN, sentence: Some("the network changed each time it was read".into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_sentence_is_found_behind_the_request() {
        let mut header = Vec::new();
        header.extend(18_u32.to_ne_bytes()); // our request: 16 bytes of header and 2 of payload, padded to 20
        header.extend([0; 16]);
        let sentence = b"Unknown device type \x1b[2J\n\xff\0";
        header.extend((4 + u16::try_from(sentence.len()).unwrap()).to_ne_bytes());
        header.extend(1_u16.to_ne_bytes());
        header.extend(sentence);
        let mut error = ErrorMessage::default();
        error.code = std::num::NonZeroI32::new(-nix::libc::EOPNOTSUPP);
        error.header = header;
        let refusal = refusal(&error).unwrap();
        assert_eq!(refusal.errno, nix::libc::EOPNOTSUPP);
        assert!(refusal.to_string().ends_with(r"(Unknown device type \x1b[2J\x0a\xff)"), "{refusal}");
    }

    #[test]
    fn an_acknowledgement_is_no_refusal_and_a_cut_one_no_panic() {
        let mut error = ErrorMessage::default();
        assert_eq!(refusal(&error), None);
        error.code = std::num::NonZeroI32::new(-1);
        for len in 0..24 {
            error.header = vec![0xff; len];
            assert_eq!(refusal(&error).unwrap().errno, 1);
        }
    }
}
