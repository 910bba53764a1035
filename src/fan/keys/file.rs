//! The file that holds a fan's secrets, a line each:
//!
//! ```text
//! # fanctl key generate
//! fanctl-secret-1 1 BASE64
//! ```
//!
//! What is in base64 (RFC 4648) is the secret, and behind it a check word: the first four bytes of the SHA-256 of all that
//! stands before it, from `fanctl-secret-1` on with one blank between two words, and of the secret. A host sends by the first
//! line's secret and receives by those of both. A host that is not to have the secret has lines of its own keys (`fanctl key issue`):
//!
//! ```text
//! fanctl-host-1 1 250.0.0.0/8 172.30.0.0/16 172.30.0.28 BASE64
//! ```
//!
//! In base64 there are its private key, the preshared key, the secret's fingerprint and a check word of all that stands before. Only
//! the program makes such a file: a secret that a person thought of could be found by trying, from one recorded handshake.
//!
//! The number in the first word is the version of the line's format and of the derivation. docs/encryption.md specifies both, and
//! neither changes. Lines are read as they are written, except that there may be more blanks and tabs.

use std::fmt;
use std::net::Ipv4Addr;

use base64ct::{Base64, Encoding};
use ipnetwork::Ipv4Network;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Fingerprint, Issued, Key, Secret, SecretKey};
use crate::fan::mapping::{Mapping, Underlay, digits};
use crate::fan::text::excerpt;

/// The word that begins the line of a secret; the number is that of the format.
const SECRET: &str = "fanctl-secret-1";

/// The word that begins the line of keys that a host was issued.
const HOST: &str = "fanctl-host-1";

/// Bytes of what such a line has in base64, without the check word: two keys and a fingerprint.
const ISSUED_LEN: usize = 32 + 32 + 8;

/// Bytes of a check word.
const CHECK_LEN: usize = 4;

/// Where the key file is unless another is named.
pub(crate) const DEFAULT_KEY_FILE: &str = "/etc/fan/key";

/// The most that a key file is long, in bytes.
pub(crate) const KEY_FILE_LIMIT: u64 = 64 << 10;

/// A file of one or two secrets, or of the keys that a host has of them; the first is that by which a host sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    comments: Vec<String>,
    keys: Vec<Key>,
}

/// What is wrong with a key file, or with what is asked for of it. Nothing that may be secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// It is no text.
    NoText,
    /// It has no secret.
    Empty,
    /// A line, from 1, is none of a secret.
    NoSecret(usize),
    /// A line is of another version of the format, which begins with this word.
    OtherVersion(usize, String),
    /// A line has an epoch that is no number from 1 to 4294967295.
    NoEpoch(usize),
    /// What a line has in base64 is cut, or not what was written.
    Damaged(usize),
    /// Some lines are secrets, and some the keys of a host; or they are of two hosts.
    Mixed,
    /// It has the keys of one host, from which no others follow.
    NotASecret,
    /// There are more than two secrets.
    TooMany,
    /// Two secrets have epochs that are both even or both odd, and so one port.
    SamePort(u32, u32),
    /// There are two secrets already.
    Turning(u32, u32),
    /// There is no secret of this epoch.
    NoneOf(u32),
    /// The secret of this epoch is the one that hosts send by.
    Preferred(u32),
    /// No epoch comes after this one.
    Last(u32),
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoText => f.write_str("is no text; make one: fanctl key generate"),
            Self::Empty => f.write_str("has no secret; make one: fanctl key generate"),
            Self::NoSecret(line) => {
                write!(
                    f,
                    "line {line} is no secret that fanctl key generate made; copy the file again from another host"
                )
            }
            Self::OtherVersion(line, word) => {
                write!(f, "line {line} begins with '{}', which this version of fanctl does not know", excerpt(word))
            }
            Self::NoEpoch(line) => write!(f, "line {line} has no epoch, a number from 1 to {}", u32::MAX),
            Self::Damaged(line) => {
                write!(f, "line {line} is damaged: its check word is another; copy the file again from another host")
            }
            Self::Mixed => f.write_str(
                "has lines of several kinds or hosts; it has secrets, or the keys of one host: fanctl key issue ADDRESS -o FILE",
            ),
            Self::NotASecret => f.write_str(
                "has the keys of one host and not the secret; do this where the secret is, and issue the host's file again",
            ),
            Self::TooMany => f.write_str("has more than two secrets; remove one: fanctl key remove EPOCH"),
            Self::SamePort(one, two) => {
                write!(
                    f,
                    "has secrets of epochs {one} and {two}, which would use one UDP port; remove one of the lines"
                )
            }
            Self::Turning(one, two) => {
                write!(f, "has secrets of epochs {one} and {two} already; first: fanctl key remove EPOCH")
            }
            Self::NoneOf(epoch) => write!(f, "has no secret of epoch {epoch}; see: fanctl key fingerprint"),
            Self::Preferred(epoch) => {
                write!(f, "has epoch {epoch} first, which hosts send by; first prefer another: fanctl key prefer EPOCH")
            }
            Self::Last(epoch) => {
                write!(f, "has epoch {epoch}, the last there is; make a new file: fanctl key generate")
            }
        }
    }
}

impl KeyFile {
    /// A file with one secret.
    #[must_use]
    pub(crate) fn new(secret: Secret) -> Self {
        Self { comments: Vec::new(), keys: vec![Key::Shared(secret)] }
    }

    /// The file of a host that is not to have the secrets of this one.
    ///
    /// # Errors
    /// When this one has none itself.
    pub(crate) fn issue(&self, mapping: Mapping, host: Ipv4Addr) -> Result<Self, KeyFault> {
        let issued = self.keys.iter().map(|key| match key {
            Key::Shared(secret) => Ok(Key::Issued(secret.issue(mapping, host))),
            Key::Issued(_) => Err(KeyFault::NotASecret),
        });
        Ok(Self { comments: Vec::new(), keys: issued.collect::<Result<_, _>>()? })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<Self, KeyFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| KeyFault::NoText)?;
        let (mut comments, mut keys) = (Vec::new(), Vec::new());
        for (number, line) in (1..).zip(text.lines().map(|line| line.trim_matches(BLANKS))) {
            if line.starts_with('#') {
                comments.push(line.to_string());
            } else if !line.is_empty() {
                keys.push(key(number, line)?);
            }
        }
        match &keys[..] {
            [] => Err(KeyFault::Empty),
            [one, two] if port_of(one.epoch()) == port_of(two.epoch()) => {
                Err(KeyFault::SamePort(one.epoch(), two.epoch()))
            }
            [one, two] if one.holder() != two.holder() => Err(KeyFault::Mixed),
            [_] | [_, _] => Ok(Self { comments, keys }),
            _ => Err(KeyFault::TooMany),
        }
    }

    /// The file as text.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let comments: usize = self.comments.iter().map(|comment| comment.len() + 1).sum();
        // Enough for all, so that no part is left behind where a growing text was.
        let mut text = Zeroizing::new(String::with_capacity(comments + self.keys.len() * LINE_LEN));
        for comment in &self.comments {
            text.push_str(comment);
            text.push('\n');
        }
        for key in &self.keys {
            write_key(key, &mut text);
        }
        text
    }

    /// The secrets, or what the host has of them, the one to send by first.
    #[must_use]
    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Adds a secret, which hosts receive by and do not send by yet, and gives its epoch.
    ///
    /// # Errors
    /// When there are two already.
    pub(crate) fn add(&mut self, secret: SecretKey) -> Result<u32, KeyFault> {
        match &self.keys[..] {
            [Key::Issued(_), ..] => Err(KeyFault::NotASecret),
            [one] => {
                let epoch = one.epoch().checked_add(1).ok_or(KeyFault::Last(one.epoch()))?;
                self.keys.push(Key::Shared(Secret::new(epoch, secret)));
                Ok(epoch)
            }
            [one, two, ..] => Err(KeyFault::Turning(one.epoch(), two.epoch())),
            [] => Err(KeyFault::Empty),
        }
    }

    /// Puts a secret first, by which hosts then send.
    ///
    /// # Errors
    /// When there is none of that epoch.
    pub(crate) fn prefer(&mut self, epoch: u32) -> Result<(), KeyFault> {
        let place = self.place(epoch)?;
        self.keys[..=place].rotate_right(1);
        Ok(())
    }

    /// Removes a secret that hosts do not send by.
    ///
    /// # Errors
    /// When there is none of that epoch, or they do.
    pub(crate) fn remove(&mut self, epoch: u32) -> Result<(), KeyFault> {
        match self.place(epoch)? {
            0 => Err(KeyFault::Preferred(epoch)),
            place => {
                self.keys.remove(place);
                Ok(())
            }
        }
    }

    fn place(&self, epoch: u32) -> Result<usize, KeyFault> {
        self.keys.iter().position(|key| key.epoch() == epoch).ok_or(KeyFault::NoneOf(epoch))
    }
}

/// Which of a fan's two UDP ports an epoch has: 0 or 1 is added to the first.
#[must_use]
pub(crate) fn port_of(epoch: u32) -> u16 {
    u16::from(epoch % 2 == 1)
}

/// The longest line of a key in bytes, and more.
const LINE_LEN: usize = 200;

/// What stands between words, and around a line.
const BLANKS: [char; 2] = [' ', '\t'];

/// Writes a line. Nothing of it is left behind elsewhere.
fn write_key(key: &Key, text: &mut String) {
    let mut bytes = Zeroizing::new([0; ISSUED_LEN + CHECK_LEN]);
    let (head, len) = match key {
        Key::Shared(Secret { epoch, secret }) => {
            bytes[..32].copy_from_slice(secret.bytes());
            (format!("{SECRET} {epoch} "), 32)
        }
        Key::Issued(Issued { epoch, mapping, host, private, preshared, fingerprint }) => {
            bytes[..32].copy_from_slice(private.bytes());
            bytes[32..64].copy_from_slice(preshared.bytes());
            bytes[64..ISSUED_LEN].copy_from_slice(&fingerprint.0);
            (issued_head(*epoch, *mapping, *host), ISSUED_LEN)
        }
    };
    let word = check(&head, &bytes[..len]);
    bytes[len..len + CHECK_LEN].copy_from_slice(&word);
    let mut buffer = Zeroizing::new([0; LINE_LEN]);
    let base64 = Base64::encode(&bytes[..len + CHECK_LEN], &mut buffer[..]).expect("76 bytes are 104 characters");
    text.push_str(&head);
    text.push_str(base64);
    text.push('\n');
}

/// What stands before the base64 of issued keys.
fn issued_head(epoch: u32, mapping: Mapping, host: Ipv4Addr) -> String {
    format!("{HOST} {epoch} {} {} {host} ", mapping.overlay(), mapping.underlay())
}

/// The mapping of these networks, if this is how they are written.
fn networks(overlay: &str, underlay: &str) -> Option<Mapping> {
    let network: Ipv4Network = underlay.parse().ok()?;
    let network = Underlay::containing(network.network(), network.prefix()).ok()?;
    let mapping = Mapping::new(overlay.parse().ok()?, network).ok()?;
    let is_as_written = mapping.overlay().to_string() == overlay && mapping.underlay().to_string() == underlay;
    is_as_written.then_some(mapping)
}

/// Whether a word is one that a version of the format begins a line with: `fanctl-`, letters, and a number. No other word of a key
/// file is ever printed, since it may be a secret.
fn is_version(word: &str) -> bool {
    let named = word.strip_prefix("fanctl-").and_then(|rest| rest.split_once('-'));
    named.is_some_and(|(kind, version)| {
        (1..=16).contains(&kind.len())
            && kind.bytes().all(|byte| byte.is_ascii_lowercase())
            && (1..=4).contains(&version.len())
            && version.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Reads a line.
fn key(number: usize, line: &str) -> Result<Key, KeyFault> {
    let words: Vec<&str> = line.split(BLANKS).filter(|word| !word.is_empty()).collect();
    match words[..] {
        [SECRET, epoch, base64] => {
            let epoch = read_epoch(number, epoch)?;
            let bytes = decode::<32>(number, &format!("{SECRET} {epoch} "), base64)?;
            Ok(Key::Shared(Secret::new(epoch, part(&bytes[..]))))
        }
        [HOST, epoch, overlay, underlay, host, base64] => {
            let epoch = read_epoch(number, epoch)?;
            let mapping = networks(overlay, underlay).ok_or(KeyFault::NoSecret(number))?;
            let host: Ipv4Addr = host.parse().map_err(|_| KeyFault::NoSecret(number))?;
            let bytes = decode::<ISSUED_LEN>(number, &issued_head(epoch, mapping, host), base64)?;
            let mut fingerprint = Fingerprint([0; 8]);
            fingerprint.0.copy_from_slice(&bytes[64..]);
            let (private, preshared) = (part(&bytes[..32]), part(&bytes[32..64]));
            Ok(Key::Issued(Issued { epoch, mapping, host, private, preshared, fingerprint }))
        }
        [SECRET | HOST, ..] | [] => Err(KeyFault::NoSecret(number)),
        [version, ..] if is_version(version) => Err(KeyFault::OtherVersion(number, version.into())),
        [..] => Err(KeyFault::NoSecret(number)),
    }
}

fn read_epoch(number: usize, text: &str) -> Result<u32, KeyFault> {
    digits(text).filter(|_| !text.starts_with('0')).ok_or(KeyFault::NoEpoch(number))
}

/// What stands in base64 behind `head`, without its check word.
fn decode<const LEN: usize>(number: usize, head: &str, base64: &str) -> Result<Zeroizing<[u8; LEN]>, KeyFault> {
    let mut buffer = Zeroizing::new([0; LINE_LEN]);
    let decoded = Base64::decode(base64, &mut buffer[..]).map_err(|_| KeyFault::Damaged(number))?;
    let (bytes, word) = decoded.split_first_chunk::<LEN>().ok_or(KeyFault::Damaged(number))?;
    if word != check(head, bytes) {
        return Err(KeyFault::Damaged(number));
    }
    let mut found = Zeroizing::new([0; LEN]);
    found.copy_from_slice(bytes);
    Ok(found)
}

/// A key of these 32 bytes.
fn part(bytes: &[u8]) -> SecretKey {
    let mut key = SecretKey::new([0; 32]);
    key.bytes_mut().copy_from_slice(bytes);
    key
}

fn check(head: &str, bytes: &[u8]) -> [u8; CHECK_LEN] {
    let hash = Sha256::new().chain_update(head).chain_update(bytes).finalize();
    *hash.first_chunk().expect("32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::keys::tests::counting;

    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9A6NKW";

    /// What host 172.30.0.28 of the announced fan is issued of the counting secret.
    const ISSUED: &str = "fanctl-host-1 1 250.0.0.0/8 172.30.0.0/16 172.30.0.28 +MrSMDJm/lLNBPRKkxVPS773h+RvuJNO9Mos4ms15FpxqlB+c1RCVimOXZmiyBPT+1pEut3eqWyQZbihVdotw00hQkGxYX7iMh/xZg==\n";

    #[test]
    fn a_file_is_written_as_it_was_read() {
        // The check word is Python's: sha256(b"fanctl-secret-1 1 " + bytes(range(32)))[:4].
        let text = format!("# of the cluster\nfanctl-secret-1 1 {BASE64}\n");
        let file = KeyFile::read(text.as_bytes()).unwrap();
        assert_eq!(file.keys(), [Key::Shared(counting(1))]);
        assert_eq!(*file.text(), text);
        let blanks = format!("\n  fanctl-secret-1\t1   {BASE64}  \r\n# of the cluster");
        assert_eq!(KeyFile::read(blanks.as_bytes()), Ok(file));
    }

    #[test]
    fn secrets_take_turns() {
        let mut file = KeyFile::new(counting(1));
        let secret = || SecretKey::new([7; 32]);
        assert_eq!(file.remove(1), Err(KeyFault::Preferred(1)));
        assert_eq!(file.add(secret()), Ok(2));
        assert_eq!(file.add(secret()), Err(KeyFault::Turning(1, 2)));
        assert_eq!(file.prefer(3), Err(KeyFault::NoneOf(3)));
        file.prefer(2).unwrap();
        let again = KeyFile::read(file.text().as_bytes()).unwrap();
        assert_eq!(again.keys().iter().map(Key::epoch).collect::<Vec<_>>(), [2, 1]);
        file.remove(1).unwrap();
        assert_eq!(file.add(secret()), Ok(3));
        assert_eq!(KeyFile::new(counting(u32::MAX)).add(secret()), Err(KeyFault::Last(u32::MAX)));
    }

    /// The line is Python's: hmac and hashlib for HKDF and the check word, base64 of 32 + 32 + 8 + 4 bytes.
    #[test]
    fn a_host_is_issued_what_is_its_own() {
        let mapping = crate::fan::tests::announced().mapping;
        let host = Ipv4Addr::from([172, 30, 0, 28]);
        let file = KeyFile::new(counting(1)).issue(mapping, host).unwrap();
        assert_eq!(*file.text(), ISSUED);
        assert_eq!(KeyFile::read(ISSUED.as_bytes()), Ok(file.clone()));
        assert_eq!(file.keys()[0].fingerprint(), counting(1).fingerprint());
        assert_eq!(file.issue(mapping, host), Err(KeyFault::NotASecret));
        assert_eq!(file.clone().add(SecretKey::new([7; 32])), Err(KeyFault::NotASecret));
        let with_secret = format!("{ISSUED}fanctl-secret-1 2 {}", &KeyFile::new(counting(2)).text()[18..]);
        assert_eq!(KeyFile::read(with_secret.as_bytes()), Err(KeyFault::Mixed));
        let changed = [
            ("0.28", "0.27"),
            ("host-1 1", "host-1 3"),
            ("250.0.0.0/8", "251.0.0.0/8"),
            ("172.30.0.0/16", "172.29.0.0/16"),
            ("+MrSMD", "+MrSME"),
        ];
        for (from, to) in changed {
            let other = ISSUED.replace(from, to);
            assert_ne!(other, ISSUED);
            assert_eq!(KeyFile::read(other.as_bytes()), Err(KeyFault::Damaged(1)), "{from}");
        }
        // One line has one way to be written.
        for (from, to) in [("250.0.0.0/8", "250"), ("172.30.0.0/16", "172.30.0.28/16"), ("0.28 ", "0.28 x ")] {
            assert_eq!(KeyFile::read(ISSUED.replace(from, to).as_bytes()), Err(KeyFault::NoSecret(1)), "{from}");
        }
        let elsewhere = Mapping::new("251".parse().unwrap(), mapping.underlay()).unwrap();
        let other = KeyFile::new(counting(2)).issue(elsewhere, host).unwrap();
        let both = format!("{ISSUED}{}", *other.text());
        assert_eq!(KeyFile::read(both.as_bytes()), Err(KeyFault::Mixed));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_is() {
        let line = |text: &str| text.replace("BASE64", BASE64);
        for (text, fault) in [
            ("", KeyFault::Empty),
            ("# nothing\n\n", KeyFault::Empty),
            ("correct horse battery staple", KeyFault::NoSecret(1)),
            ("#\nBASE64", KeyFault::NoSecret(2)),
            ("fanctl-secret-2 1 BASE64", KeyFault::OtherVersion(1, "fanctl-secret-2".into())),
            ("fanctl-secret-2 a b c d BASE64", KeyFault::OtherVersion(1, "fanctl-secret-2".into())),
            ("fanctl-group-12", KeyFault::OtherVersion(1, "fanctl-group-12".into())),
            // Lines that lost a blank, or have another sign in its place.
            ("fanctl-secret-1=BASE64 1 x", KeyFault::NoSecret(1)),
            ("fanctl-secret-1-1-BASE64 1 x", KeyFault::NoSecret(1)),
            ("fanctl-BASE64 1 x", KeyFault::NoSecret(1)),
            ("fanctl-secret-1 1 BASE64 x", KeyFault::NoSecret(1)),
            ("fanctl-secret-1\u{a0}1 BASE64", KeyFault::NoSecret(1)),
            ("fanctl-secret-1\u{c}1 BASE64", KeyFault::NoSecret(1)),
            ("\u{feff}fanctl-secret-1 1 BASE64", KeyFault::NoSecret(1)),
            ("fanctl-secret-1 1 BASE64\u{b}", KeyFault::Damaged(1)),
            ("fanctl-secret-1 1 BASE64\r", KeyFault::Damaged(1)),
            ("fanctl-secret-1 01 BASE64", KeyFault::NoEpoch(1)),
            ("fanctl-secret-1 0 BASE64", KeyFault::NoEpoch(1)),
            ("fanctl-secret-1 +1 BASE64", KeyFault::NoEpoch(1)),
            ("fanctl-secret-1 4294967296 BASE64", KeyFault::NoEpoch(1)),
            ("fanctl-secret-1 2 BASE64", KeyFault::Damaged(1)),
            ("fanctl-secret-1 1 BASE64BASE64", KeyFault::Damaged(1)),
            ("fanctl-secret-1 1 AAEC", KeyFault::Damaged(1)),
            ("fanctl-secret-1 1 s3cr3t!", KeyFault::Damaged(1)),
            ("fanctl-secret-1 1 BASE64\nfanctl-secret-1 1 BASE64", KeyFault::SamePort(1, 1)),
        ] {
            let found = KeyFile::read(line(text).as_bytes()).unwrap_err();
            assert_eq!(found, fault, "{text}");
            assert!(!found.to_string().contains("AAEC") && !found.to_string().contains("horse"), "{found}");
        }
        assert_eq!(KeyFile::read(b"\xff"), Err(KeyFault::NoText));
    }
}
