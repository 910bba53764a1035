//! The table of the public keys of all hosts, for those that were issued their own keys:
//!
//! ```text
//! fanctl-table-1 1 250.0.0.0/8 172.30.0.0/16 254 SHA-256
//! 172.30.0.1 BASE64
//! ```
//!
//! It has a part for each epoch: a first line with epoch, overlay, underlay, the number of hosts, and in hexadecimal the SHA-256 of
//! all that stands before it on that line and of the part's other lines; then a line for each host, by rising address. No two hosts
//! have one key. The hash finds damage, and is none against forgery: who could change the table could put himself between two hosts,
//! so it is read where only root could. Between parts there may be empty lines and lines that begin with `#`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;

use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};

use super::{PublicKey, Secret};
use crate::fan::mapping::{Mapping, digits};
use crate::fan::text::excerpt;

/// The word that begins a part; the number is that of the format.
const TABLE: &str = "fanctl-table-1";

/// Where the table is unless another is named.
pub(crate) const DEFAULT_TABLE: &str = "/etc/fan/hosts.pub";

/// The most that a table is long, in bytes: two epochs of 16,384 hosts take some 2,000,000.
pub(crate) const TABLE_LIMIT: u64 = 4 << 20;

/// The public keys of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table(Vec<Part>);

/// Those of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    epoch: u32,
    /// Overlay and underlay as the first line has them.
    networks: (String, String),
    hosts: BTreeMap<Ipv4Addr, PublicKey>,
}

/// What is wrong with a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableFault {
    /// It is no text.
    NoText,
    /// It has no key.
    Empty,
    /// A line, from 1, is none of a table.
    NoLine(usize, String),
    /// The part of an epoch is not what was written.
    Damaged(u32),
    /// Two parts are of one epoch.
    Twice(u32),
    /// It is for other networks.
    OtherNetworks(String, String),
    /// It has nothing of an epoch.
    NoneOf(u32),
    /// It lacks a host, or has another key of it.
    NotOf(Ipv4Addr, u32),
}

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const AGAIN: &str = "make it again where the secret is: fanctl key table";
        match self {
            Self::NoText => write!(f, "is no text; {AGAIN}"),
            Self::Empty => write!(f, "has no public keys; {AGAIN}"),
            Self::NoLine(line, text) => write!(f, "line {line} '{}' is none of a table; {AGAIN}", excerpt(text)),
            Self::Damaged(epoch) => {
                write!(f, "is damaged: what it has of epoch {epoch} is not what was written; {AGAIN}")
            }
            Self::Twice(epoch) => write!(f, "has epoch {epoch} twice; {AGAIN}"),
            Self::OtherNetworks(overlay, underlay) => {
                write!(f, "is for overlay '{}' and underlay '{}'; {AGAIN}", excerpt(overlay), excerpt(underlay))
            }
            Self::NoneOf(epoch) => write!(f, "has nothing of epoch {epoch}, which the key file has; {AGAIN}"),
            Self::NotOf(host, epoch) => {
                write!(f, "has another key of host {host} and epoch {epoch} than the key file, or none; {AGAIN}")
            }
        }
    }
}

/// Writes the part of a secret's epoch.
pub(crate) fn write(secret: &Secret, mapping: Mapping, hosts: impl Iterator<Item = Ipv4Addr>) -> String {
    let mut keys: Vec<_> = hosts.map(|host| (host, secret.private(mapping, host).public())).collect();
    keys.sort_unstable();
    let mut lines = String::new();
    for (host, key) in &keys {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{host} {key}");
    }
    let (overlay, underlay) = (mapping.overlay(), mapping.underlay());
    let head = format!("{TABLE} {} {overlay} {underlay} {} ", secret.epoch, keys.len());
    format!("{head}{}\n{lines}", hash(&head, &lines))
}

impl Table {
    /// Reads a table.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<Self, TableFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| TableFault::NoText)?;
        let mut lines = (1..).zip(text.lines());
        let mut parts: Vec<Part> = Vec::new();
        while let Some((number, line)) = lines.find(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let wrong = || TableFault::NoLine(number, line.into());
            let words: Vec<&str> = line.split(' ').collect();
            let [TABLE, epoch, overlay, underlay, count, sum] = words[..] else { return Err(wrong()) };
            let plain = |text: &str| digits(text).filter(|_| !text.starts_with('0')).ok_or_else(wrong);
            let (epoch, hosts_listed) = (plain(epoch)?, plain(count)?);
            let count = usize::try_from(hosts_listed).map_err(|_| wrong())?;
            let head = &line[..line.len() - sum.len()];
            if parts.iter().any(|part| part.epoch == epoch) {
                return Err(TableFault::Twice(epoch));
            }
            let (mut hosts, mut written, mut keys) = (BTreeMap::new(), String::new(), BTreeSet::new());
            for (number, line) in lines.by_ref().take(count) {
                let (host, key) = host(line).ok_or_else(|| TableFault::NoLine(number, line.into()))?;
                if hosts.last_key_value().is_some_and(|(last, _)| *last >= host) || !keys.insert(key) {
                    return Err(TableFault::NoLine(number, line.into()));
                }
                hosts.insert(host, key);
                written.push_str(line);
                written.push('\n');
            }
            if hosts.len() != count || hash(head, &written) != sum {
                return Err(TableFault::Damaged(epoch));
            }
            parts.push(Part { epoch, networks: (overlay.into(), underlay.into()), hosts });
        }
        if parts.is_empty() { Err(TableFault::Empty) } else { Ok(Self(parts)) }
    }

    /// The hosts of an epoch and their keys; none where the table has nothing of it.
    pub(crate) fn hosts(&self, epoch: u32) -> Option<&BTreeMap<Ipv4Addr, PublicKey>> {
        self.0.iter().find(|part| part.epoch == epoch).map(|part| &part.hosts)
    }

    /// Whether it is the table for a host with this key.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) fn check(&self, mapping: Mapping, epoch: u32, own: (Ipv4Addr, PublicKey)) -> Result<(), TableFault> {
        let part = self.0.iter().find(|part| part.epoch == epoch).ok_or(TableFault::NoneOf(epoch))?;
        let networks = (mapping.overlay().to_string(), mapping.underlay().to_string());
        if part.networks != networks {
            let (overlay, underlay) = part.networks.clone();
            return Err(TableFault::OtherNetworks(overlay, underlay));
        }
        let (host, key) = own;
        let is_there = part.hosts.get(&host) == Some(&key);
        if is_there { Ok(()) } else { Err(TableFault::NotOf(host, epoch)) }
    }
}

fn host(line: &str) -> Option<(Ipv4Addr, PublicKey)> {
    let (host, base64) = line.split_once(' ')?;
    let mut key = [0; 32];
    let decoded = Base64::decode(base64, &mut key).ok()?;
    (decoded.len() == 32).then_some(())?;
    Some((host.parse().ok()?, PublicKey(key)))
}

fn hash(head: &str, lines: &str) -> String {
    Sha256::new().chain_update(head).chain_update(lines).finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::keys::tests::counting;
    use crate::fan::tests::announced;

    fn text() -> String {
        let hosts = [[172, 30, 0, 28], [172, 30, 0, 27]].map(Ipv4Addr::from);
        write(&counting(1), announced().mapping, hosts.into_iter())
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let text = text();
        assert!(text.starts_with("fanctl-table-1 1 250.0.0.0/8 172.30.0.0/16 2 "), "{text}");
        // The key of 172.30.0.28 is that of the vectors.
        assert!(text.ends_with("\n172.30.0.28 wsF5R2iw90DxfxGubLFOKY6SCgIciaOT2FDlHddmO2I=\n"), "{text}");
        let (fan, table) = (announced(), Table::read(text.as_bytes()).unwrap());
        let own = table.hosts(1).unwrap()[&fan.host];
        assert_eq!(own, counting(1).private(fan.mapping, fan.host).public());
        assert_eq!(table.check(fan.mapping, 1, (fan.host, own)), Ok(()));
        assert_eq!(table.check(fan.mapping, 2, (fan.host, own)), Err(TableFault::NoneOf(2)));
        let other = [172, 30, 0, 27].into();
        assert_eq!(table.check(fan.mapping, 1, (other, own)), Err(TableFault::NotOf(other, 1)));
        let both = text.clone() + &write(&counting(2), fan.mapping, [fan.host].into_iter());
        assert_eq!(Table::read(both.as_bytes()).unwrap().hosts(2).unwrap().len(), 1);
        assert_eq!(Table::read((text.clone() + &text).as_bytes()), Err(TableFault::Twice(1)));
    }

    #[test]
    fn a_table_that_was_changed_is_refused() {
        let whole = text();
        let changed = [
            ("wsF5", "wsF6"),
            ("0.28", "0.29"),
            (" 2 ", " 1 "),
            (" 2 ", " 3 "),
            (" 2 ", " 02 "),
            ("table-1 1 ", "table-1 2 "),
            ("250.0.0.0/8", "251.0.0.0/8"),
            ("\n172.30.0.28", "\n# \n172.30.0.28"),
        ];
        for (from, to) in changed {
            let other = whole.replace(from, to);
            assert_ne!(other, whole);
            assert!(Table::read(other.as_bytes()).is_err(), "{other}");
        }
        for len in 0..whole.len() - 1 {
            assert!(Table::read(&whole.as_bytes()[..len]).is_err(), "{len}");
        }
        assert_eq!(Table::read(b"\xff"), Err(TableFault::NoText));
        // Two hosts with one key would be one peer.
        let (head, line) = whole.lines().next().zip(whole.lines().next_back()).unwrap();
        let head = head.rsplit_once(' ').unwrap().0.to_string() + " ";
        let lines = format!("{}\n{line}\n", line.replace("0.28", "0.27"));
        let twice = format!("{head}{}\n{lines}", hash(&head, &lines));
        assert!(matches!(Table::read(twice.as_bytes()), Err(TableFault::NoLine(3, _))));
    }
}
