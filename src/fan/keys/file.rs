//! The file that holds a fan's secrets, a line each:
//!
//! ```text
//! # fanctl key generate
//! fanctl-secret-1 1 BASE64
//! ```
//!
//! What is in base64 (RFC 4648) is the secret, and behind it a check word: the first four bytes of the SHA-256 of all that
//! stands before it, from `fanctl-secret-1` on with one blank between two words, and of the secret. A host sends by the first
//! line's secret and receives by those of both. Only the program makes such a file: a secret that a person thought of could be
//! found by trying, from one recorded handshake.

use std::fmt::{self, Write as _};

use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Secret, SecretKey};
use crate::fan::mapping::digits;
use crate::fan::text::excerpt;

/// The word that begins the line of a secret; the number is that of the format.
const SECRET: &str = "fanctl-secret-1";

/// Bytes of a check word.
const CHECK_LEN: usize = 4;

/// Where the key file is unless another is named.
pub(crate) const DEFAULT_KEY_FILE: &str = "/etc/fan/key";

/// The most that a key file is long, in bytes.
pub(crate) const KEY_FILE_LIMIT: u64 = 64 << 10;

/// A file of one or two secrets, the first of them that by which a host sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    comments: Vec<String>,
    secrets: Vec<Secret>,
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
        Self { comments: Vec::new(), secrets: vec![secret] }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<Self, KeyFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| KeyFault::NoText)?;
        let (mut comments, mut secrets) = (Vec::new(), Vec::new());
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.starts_with('#') {
                comments.push(line.to_string());
            } else if !line.is_empty() {
                secrets.push(secret(number, line)?);
            }
        }
        match &secrets[..] {
            [] => Err(KeyFault::Empty),
            [one, two] if port_of(one.epoch) == port_of(two.epoch) => Err(KeyFault::SamePort(one.epoch, two.epoch)),
            [_] | [_, _] => Ok(Self { comments, secrets }),
            _ => Err(KeyFault::TooMany),
        }
    }

    /// The file as text.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let comments: usize = self.comments.iter().map(|comment| comment.len() + 1).sum();
        // Enough for all, so that no part is left behind where a growing text was.
        let mut text = Zeroizing::new(String::with_capacity(comments + self.secrets.len() * 128));
        for comment in &self.comments {
            text.push_str(comment);
            text.push('\n');
        }
        for Secret { epoch, secret } in &self.secrets {
            let mut bytes = Zeroizing::new([0; 32 + CHECK_LEN]);
            bytes[..32].copy_from_slice(secret.bytes());
            bytes[32..].copy_from_slice(&check(*epoch, secret.bytes()));
            let mut buffer = Zeroizing::new([0; 64]);
            let base64 = Base64::encode(&bytes[..], &mut buffer[..]).expect("36 bytes are 48 characters");
            text.push_str(SECRET);
            // Writing to a string cannot fail.
            let _ = write!(text, " {epoch} ");
            text.push_str(base64);
            text.push('\n');
        }
        text
    }

    /// The secrets, the one to send by first.
    #[must_use]
    pub(crate) fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// Adds a secret, which hosts receive by and do not send by yet, and gives its epoch.
    ///
    /// # Errors
    /// When there are two already.
    pub(crate) fn add(&mut self, secret: SecretKey) -> Result<u32, KeyFault> {
        match &self.secrets[..] {
            [one] => {
                let epoch = one.epoch.checked_add(1).ok_or(KeyFault::Last(one.epoch))?;
                self.secrets.push(Secret::new(epoch, secret));
                Ok(epoch)
            }
            [one, two, ..] => Err(KeyFault::Turning(one.epoch, two.epoch)),
            [] => Err(KeyFault::Empty),
        }
    }

    /// Puts a secret first, by which hosts then send.
    ///
    /// # Errors
    /// When there is none of that epoch.
    pub(crate) fn prefer(&mut self, epoch: u32) -> Result<(), KeyFault> {
        let place = self.place(epoch)?;
        self.secrets[..=place].rotate_right(1);
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
                self.secrets.remove(place);
                Ok(())
            }
        }
    }

    fn place(&self, epoch: u32) -> Result<usize, KeyFault> {
        self.secrets.iter().position(|secret| secret.epoch == epoch).ok_or(KeyFault::NoneOf(epoch))
    }
}

/// Which of a fan's two UDP ports an epoch has: 0 or 1 is added to the first.
#[must_use]
pub(crate) fn port_of(epoch: u32) -> u16 {
    u16::from(epoch % 2 == 1)
}

fn secret(number: usize, line: &str) -> Result<Secret, KeyFault> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [version, epoch, base64] = words[..] else {
        return Err(KeyFault::NoSecret(number));
    };
    if version != SECRET {
        let is_ours = version.starts_with("fanctl-");
        let other = KeyFault::OtherVersion(number, version.into());
        return Err(if is_ours { other } else { KeyFault::NoSecret(number) });
    }
    let epoch = digits(epoch).filter(|epoch| *epoch > 0).ok_or(KeyFault::NoEpoch(number))?;
    let mut buffer = Zeroizing::new([0; 64]);
    let decoded = Base64::decode(base64, &mut buffer[..]).map_err(|_| KeyFault::Damaged(number))?;
    let (bytes, word) = decoded.split_first_chunk::<32>().ok_or(KeyFault::Damaged(number))?;
    if word != check(epoch, bytes) {
        return Err(KeyFault::Damaged(number));
    }
    let mut secret = SecretKey::new([0; 32]);
    secret.bytes_mut().copy_from_slice(bytes);
    Ok(Secret::new(epoch, secret))
}

fn check(epoch: u32, secret: &[u8; 32]) -> [u8; CHECK_LEN] {
    let hash = Sha256::new().chain_update(format!("{SECRET} {epoch} ")).chain_update(secret).finalize();
    *hash.first_chunk().expect("32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::keys::tests::counting;

    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9A6NKW";

    #[test]
    fn a_file_is_written_as_it_was_read() {
        // The check word is Python's: sha256(b"fanctl-secret-1 1 " + bytes(range(32)))[:4].
        let text = format!("# of the cluster\nfanctl-secret-1 1 {BASE64}\n");
        let file = KeyFile::read(text.as_bytes()).unwrap();
        assert_eq!(file.secrets(), [counting(1)]);
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
        assert_eq!(again.secrets().iter().map(|secret| secret.epoch).collect::<Vec<_>>(), [2, 1]);
        file.remove(1).unwrap();
        assert_eq!(file.add(secret()), Ok(3));
        assert_eq!(KeyFile::new(counting(u32::MAX)).add(secret()), Err(KeyFault::Last(u32::MAX)));
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
