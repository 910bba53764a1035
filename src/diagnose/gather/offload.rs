//! What VXLAN tunnels leave to the hardware below them, where that is known to get it wrong.

use std::collections::BTreeMap;
use std::fs;

use crate::diagnose::facts::{FAULTY_DRIVERS, Offload};
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::fan::name::InterfaceName;
use crate::kernel::exec;

/// Offloads of the tunnels over an interface with such a driver.
#[must_use]
pub(crate) fn observe<'a>(fans: impl Iterator<Item = &'a Fan>) -> BTreeMap<InterfaceName, Offload> {
    let of = |fan: &Fan| {
        let driver = fs::read_link(format!("/sys/class/net/{}/device/driver", fan.device)).ok()?;
        let driver = driver.file_name()?.to_str()?.to_string();
        let tunnel = fan.tunnel();
        FAULTY_DRIVERS.contains(&driver.as_str()).then(|| {
            let listing = exec::run("ethtool", &["-k", tunnel.as_str()], "");
            let checksums = listing.ok().and_then(|listing| offloads_checksums(&listing));
            (tunnel, Offload { driver, checksums })
        })
    };
    fans.filter(|fan| fan.options.encapsulation == Encapsulation::Vxlan).filter_map(of).collect()
}

/// Whether `ethtool -k` shows that checksums are left to the hardware.
fn offloads_checksums(listing: &str) -> Option<bool> {
    let mut lines = listing.lines().map(str::trim);
    let state = lines.find_map(|line| line.strip_prefix("tx-checksum-ip-generic: "))?;
    Some(state.starts_with("on"))
}

/// UDP packets that came with a wrong checksum, by /proc/net/snmp: a line of names, and one of numbers.
#[must_use]
pub(crate) fn bad_checksums(snmp: &str) -> Option<u64> {
    let mut udp = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, numbers) = (udp.next()?, udp.next()?);
    let place = names.split(' ').position(|name| name == "InCsumErrors")?;
    numbers.split(' ').nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_to_the_hardware_is_read_as_ethtool_prints_it() {
        let listing =
            |state| format!("Features for fan-vx1:\ntx-checksumming: on\n\ttx-checksum-ip-generic: {state}\n");
        assert_eq!(offloads_checksums(&listing("on")), Some(true));
        assert_eq!(offloads_checksums(&listing("off [requested on]")), Some(false));
        assert_eq!(offloads_checksums(""), None);
    }

    #[test]
    fn wrong_checksums_are_found_by_the_name_of_their_column() {
        let snmp = "Tcp: A InCsumErrors\nTcp: 1 2\nUdp: InErrors InCsumErrors\nUdp: 5 7\nUdpLite: InErrors\n";
        assert_eq!(bad_checksums(snmp), Some(7));
        assert_eq!(bad_checksums(""), None);
    }
}
