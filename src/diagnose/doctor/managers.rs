//! Other software that manages interfaces, and what it has done to ours.

use ipnetwork::Ipv4Network;

use super::{Facts, Finding, Found};
use crate::diagnose::facts::Manager;
use crate::fan::Fan;
use crate::fan::name::InterfaceName;
use crate::fan::shell::Line;
use crate::shell;

/// Programs that were not told to leave fans alone.
pub(super) fn managers(facts: Facts) -> Vec<Finding> {
    let findings = facts.health.managers.iter().filter_map(|Manager { name, lacks }| {
        let file = (*lacks)?;
        let command = match *name {
            "NetworkManager" => shell!(
                "printf '[device-fan]\\nmatch-device=interface-name:fan-*\\nmanaged=0\\n' > {} && nmcli general reload",
                file
            ),
            "dhcpcd" => shell!("echo 'denyinterfaces fan-*' >> {}", file),
            _ => shell!("printf '[Match]\\nName=fan-*\\n[Link]\\nUnmanaged=yes\\n' > {} && networkctl reload", file),
        };
        let reason = format!("{name} runs here, and was not told to leave the interfaces of fans alone");
        Some(
            Finding::warned(Found::SoftwareNotTold, reason)
                .because([format!("no such line in {file} or beside it")])
                .mended_by(command),
        )
    });
    findings.collect()
}

/// Addresses on a fan's devices that are not the fan's. One that lies in the overlay is an object of the fan too many.
pub(super) fn addresses(fan: &Fan, facts: Facts, _: &[Finding]) -> Vec<Finding> {
    let devices: Vec<_> = fan.tunnels().chain([fan.bridge.clone()]).collect();
    let foreign: Vec<(Ipv4Network, &InterfaceName)> = devices
        .iter()
        .filter_map(|name| facts.host.link(name))
        .flat_map(|link| link.addresses.iter().map(move |a| (a.address, &link.name)))
        .filter(|(address, _)| !fan.overlay().contains(address.ip()))
        .collect();
    let Some((address, name)) = foreign.first() else {
        return Vec::new();
    };
    let suspects: Vec<&str> = facts.health.managers.iter().map(|manager| manager.name).collect();
    let who = match suspects[..] {
        [] => "somebody".to_string(),
        ref names => format!("somebody, perhaps {},", names.join(" or ")),
    };
    let delete = foreign.iter().map(|(address, name)| shell!("ip address delete {} dev {}", address, name));
    vec![
        Finding::warned(
            Found::AddressForeign,
            format!("{who} has given '{name}' the address {address}, which is not the fan's"),
        )
        .mended_by(Line::all_of(delete)),
    ]
}
