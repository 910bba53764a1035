//! The names that DHCP clients gave: dnsmasq's file of leases, which is the truth about them.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::fan::label::Label;
use crate::fan::{Fan, Mac};
use crate::kernel::file::{self, FILE_LIMIT};
use crate::kernel::{KernelError, Machine};
use crate::plan::desired::lease_file;

/// A name that a client gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The name, without what follows its first dot.
    pub label: Label,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// Reads a file of leases: `EXPIRY MAC ADDRESS NAME CLIENT`, a line each (lease_update_file, src/lease.c of dnsmasq 2.90), of those
/// that have not expired at this time, in seconds since 1970.
#[must_use]
pub fn read(text: &str, now: u64) -> Vec<Lease> {
    let lease = |line: &str| {
        let mut words = line.split(' ');
        let expiry: u64 = words.next()?.parse().ok()?;
        let mac = mac(words.next()?)?;
        let address = words.next()?.parse().ok()?;
        let name = words.next()?.split('.').next()?;
        // Zero is for ever.
        (expiry == 0 || expiry > now).then_some(())?;
        Some(Lease { label: Label::new(name).ok()?, address, mac })
    };
    text.lines().filter_map(lease).collect()
}

fn mac(text: &str) -> Option<Mac> {
    let octets: Option<Vec<u8>> = text.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
    octets?.try_into().ok().map(Mac)
}

/// What tells two states of a file apart.
type Stamp = (u64, i64, i64, u64);

/// The leases of a fan, as they change.
pub(super) struct Leases {
    path: PathBuf,
    stamp: Option<Stamp>,
    all: Vec<Lease>,
    /// The port behind which each was heard last.
    ports: BTreeMap<Mac, u32>,
}

impl Leases {
    pub(super) fn of(fan: &Fan) -> Self {
        Self { path: lease_file(fan).into(), stamp: None, all: Vec::new(), ports: BTreeMap::new() }
    }

    /// The names now. One whose port has gone is none until its address is heard again; an address that was never heard, as after a start
    /// of ours, is taken to be there.
    pub(super) fn names(&mut self, machine: &Machine, fan: &Fan) -> Vec<(Label, Ipv4Addr)> {
        self.read();
        if self.all.is_empty() {
            return Vec::new();
        }
        let ports = self.look(machine, fan).ok();
        let is_there = |lease: &&Lease| match (&ports, self.ports.get(&lease.mac)) {
            (Some(ports), Some(port)) => ports.contains(port),
            _ => true,
        };
        self.all.iter().filter(is_there).map(|lease| (lease.label.clone(), lease.address)).collect()
    }

    /// Learns behind which port each address is, and gives the ports that there are.
    fn look(&mut self, machine: &Machine, fan: &Fan) -> Result<Vec<u32>, KernelError> {
        for (mac, port) in machine.heard(&fan.bridge)? {
            self.ports.insert(mac, port);
        }
        let leases = &self.all;
        self.ports.retain(|mac, _| leases.iter().any(|lease| lease.mac == *mac));
        machine.ports(&fan.bridge)
    }

    fn read(&mut self) {
        let stamp = fs::symlink_metadata(&self.path).ok();
        let stamp = stamp.map(|found| (found.ino(), found.mtime(), found.mtime_nsec(), found.size()));
        if stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        let text = file::read_text(&self.path, FILE_LIMIT).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.all = read(&text, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_with_a_name_are_names() {
        let text = "1700000000 02:00:00:00:00:01 250.0.28.7 gone *\n\
                    1900000000 02:00:00:00:00:02 250.0.28.8 Web.example.net 01:02\n\
                    0 02:00:00:00:00:03 250.0.28.9 db *\n\
                    1900000000 02:00:00:00:00:04 250.0.28.10 * *\n\
                    1900000000 06-02:00:00:00:00:04 250.0.28.11 odd *\n\
                    duid 00:01\n";
        let names: Vec<String> =
            read(text, 1_800_000_000).iter().map(|lease| format!("{} {}", lease.label, lease.address)).collect();
        assert_eq!(names, ["web 250.0.28.8", "db 250.0.28.9"]);
    }
}
