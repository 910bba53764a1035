//! Other tunnels that take a fan's packets, or its port.

use super::{Facts, Finding, Found};
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::plan::conflicts;
use crate::plan::host::LinkKind;
use crate::shell;

pub(super) fn check(fan: &Fan, facts: Facts) -> Vec<Finding> {
    let others = facts.host.links.iter().filter(|link| !link.ours && link.up);
    let is_up = facts.host.link(&fan.tunnel()).is_some_and(|link| link.up);
    others
        .filter_map(|link| {
            let delete = shell!("ip link delete dev {}", link.name);
            if let Some(peer) = conflicts::takes_from(fan, link) {
                let reason = format!(
                    "interface '{}' is an ipip tunnel that takes the fan's packets from {peer} in front of its checks",
                    link.name
                );
                return Some(Finding::failed(Found::TunnelTakesPackets, reason).mended_by(delete));
            }
            // Without it our device cannot come up.
            let holds_port =
                matches!(link.kind, LinkKind::Vxlan { port, shares_port: false, .. } if port == fan.port());
            (fan.options.encapsulation == Encapsulation::Vxlan && holds_port && !is_up).then(|| {
                let reason = format!(
                    "VXLAN interface '{}' holds UDP port {}, which tunnel '{}' needs",
                    link.name,
                    fan.port(),
                    fan.tunnel()
                );
                let mend = shell!("{} && fanctl doctor {} --fix", delete, fan.bridge);
                Finding::failed(Found::PortTaken, reason).mended_by(mend)
            })
        })
        .collect()
}
