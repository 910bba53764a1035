//! The host's neighbours on its underlay: no two hosts may have the same Ethernet address.

use std::collections::BTreeMap;

use super::{Check, Facts, Finding, Found, count};
use crate::fan::{Fan, Mac};
use crate::plan::host::NeighbourEntry;
use crate::shell;

pub(super) fn check(fan: &Fan, facts: Facts, before: &[Finding]) -> Vec<Finding> {
    let underlay = fan.mapping.underlay();
    let neighbours: Vec<&NeighbourEntry> = facts
        .health
        .neighbours
        .iter()
        .filter(|neighbour| neighbour.device == fan.device && underlay.contains(neighbour.address))
        .collect();
    let own = facts.health.macs.get(&fan.device);
    if let Some(other) = neighbours.iter().find(|neighbour| Some(&neighbour.mac) == own) {
        let reason = format!(
            "host {} has the Ethernet address of this host's '{}', {}: one takes what is the other's, as with machines that \
             were copied",
            other.address, fan.device, other.mac
        );
        let [a, b, c, d] = fan.host.octets();
        let mac = Mac([0x02, 0xfb, a, b, c, d]);
        return vec![
            Finding::failed(Found::MacOfNeighbour, reason)
                .because([format!("neighbour {} lladdr {} dev {}", other.address, other.mac, fan.device)])
                .mended_by(shell!(
                    "ip link set dev {} address {} && ip neighbour flush dev {}",
                    fan.device,
                    mac,
                    fan.device
                )),
        ];
    }
    let mut holders: BTreeMap<Mac, Vec<String>> = BTreeMap::new();
    for neighbour in neighbours.iter().filter(|neighbour| neighbour.confirmed) {
        holders.entry(neighbour.mac).or_default().push(neighbour.address.to_string());
    }
    if let Some((mac, addresses)) = holders.iter().find(|(_, addresses)| addresses.len() > 1) {
        let reason = format!(
            "hosts {} have one Ethernet address, {mac}; that is as it should be for one machine, or behind a router",
            addresses.join(" and ")
        );
        return vec![Finding::warned(Found::MacShared, reason)];
    }
    if before.iter().any(|finding| finding.check == Check::Macs) {
        return Vec::new();
    }
    let known = count(neighbours.len(), "neighbour", "neighbours");
    vec![Finding::passed(Found::MacsDistinct, format!("{known} on {}, none with the address of another", fan.device))]
}
