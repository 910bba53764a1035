//! The underlay address that a fan was built from: whether it is still this host's, where it was.

use super::{Facts, Finding, Found, up};
use crate::diagnose::wire::{self, LinkFault, LinkFaultKind};
use crate::fan::Fan;
use crate::fan::options::MIN_MTU;
use crate::fan::options::Options;
use crate::plan::desired;
use crate::plan::host::Link;
use crate::shell;

pub(super) fn check(fan: &Fan, facts: Facts) -> Finding {
    let host = facts.host;
    if fan.options.number {
        return number(fan, facts);
    }
    let holder = host.links.iter().find(|link| !link.ours && link.addresses.iter().any(|a| a.address.ip() == fan.host));
    match holder {
        None => address_is_gone(fan, facts),
        Some(link) if link.name != fan.device => Finding::failed(
            Found::AddressMoved,
            format!("the underlay address {} has moved from '{}' to '{}'", fan.host, fan.device, link.name),
        )
        .mended_by(up(fan, &fan.underlay_address())),
        Some(link) if faulty(link, fan, facts).is_some() => {
            fault_of(faulty(link, fan, facts).expect("it was asked for"))
        }
        Some(link) => size(fan, link, facts).unwrap_or_else(|| {
            Finding::passed(Found::UnderlayRight, format!("{} is on {}, mtu {}", fan.host, link.name, link.mtu))
        }),
    }
}

fn fault_of(fault: LinkFault) -> Finding {
    let code = match fault.kind {
        LinkFaultKind::Port => Found::AddressOnPort,
        LinkFaultKind::Down => Found::InterfaceDown,
        LinkFaultKind::NoCarrier => Found::NoCarrier,
    };
    let finding = Finding::failed(code, format!("{}: {}", fault.says, fault.advice));
    fault.mend.map_or(finding.clone(), |mend| finding.mended_by(mend))
}

/// A host with a number sends by an interface, whatever address that has.
fn number(fan: &Fan, facts: Facts) -> Finding {
    let device = &fan.device;
    let Some(link) = facts.host.link(device) else {
        let reason = format!("interface '{device}', by which packets of number {} leave, is gone", fan.host);
        return Finding::failed(Found::InterfaceGone, reason).mended_by(up(fan, &fan.underlay_address()));
    };
    match wire::fault(link, fan.host, facts.host) {
        Some(fault) => fault_of(fault),
        None => size(fan, link, facts).unwrap_or_else(|| {
            Finding::passed(Found::UnderlayRight, format!("{} is a number, by {device}, mtu {}", fan.host, link.mtu))
        }),
    }
}

/// Other hosts send to an address that this host no longer has. If it has another one, its slice is another one too.
fn address_is_gone(fan: &Fan, facts: Facts) -> Finding {
    let underlay = fan.mapping.underlay();
    let device = facts.host.link(&fan.device);
    let addresses = device.map(|link| link.addresses.as_slice()).unwrap_or_default();
    let evidence: Vec<String> =
        addresses.iter().map(|a| format!("{} has the address {}", fan.device, a.address)).collect();
    let gone = format!("the underlay address {} is gone", fan.host);
    let Some(link) = device else {
        let reason = format!("{gone}, and so is interface '{}'", fan.device);
        return Finding::failed(Found::InterfaceGone, reason);
    };
    let Some(now) = addresses.iter().map(|a| a.address.ip()).find(|ip| underlay.contains(*ip)) else {
        let address = fan.underlay_address();
        return Finding::failed(Found::AddressGone, format!("{gone} from '{}'", link.name))
            .because(evidence)
            .mended_by(shell!("ip address add {} dev {}", address, link.name));
    };
    let ports = facts.host.foreign_ports(&fan.bridge).count();
    let first = match ports {
        0 => "",
        _ => "; step 1: stop its containers, which need addresses of the new slice; step 2: the command",
    };
    let slice = fan.mapping.slice(now);
    let renamed = Fan {
        bridge: if fan.bridge == fan.default_bridge() {
            crate::fan::name::InterfaceName::of_slice(slice)
        } else {
            fan.bridge.clone()
        },
        host: now,
        ..fan.clone()
    };
    let len = underlay.network().prefix();
    Finding::failed(
        Found::AddressReplaced,
        format!("{gone}: it is {now} now, and this host's slice would be {slice}{first}"),
    )
    .because(evidence)
    .mended_by(up(&renamed, &format!("{now}/{len}")))
}

/// What keeps the interface of the address, or the one by which packets leave, from carrying packets.
fn faulty(holder: &Link, fan: &Fan, facts: Facts) -> Option<LinkFault> {
    let fault = |link: &Link| wire::fault(link, fan.host, facts.host);
    let way_out = super::way_out(fan, facts);
    fault(holder).or_else(|| fault(facts.host.link(&way_out).filter(|link| link.name != holder.name)?))
}

/// An MTU that somebody asked for, and that fits no more.
fn size(fan: &Fan, link: &Link, facts: Facts) -> Option<Finding> {
    let takes = desired::underlay_mtu(fan, facts.host);
    let room = takes.saturating_sub(fan.options.encapsulation.overhead());
    let wanted = desired::mtu(fan, facts.host);
    if wanted <= room {
        return None;
    }
    let options = Options { mtu: None, ..fan.options.clone() };
    let follow = Fan { options, ..fan.clone() };
    let reason = if takes == link.mtu {
        format!(
            "packets of {wanted} bytes do not fit interface '{}': its mtu {} leaves {room} for {}",
            link.name, link.mtu, fan.options.encapsulation
        )
    } else {
        format!(
            "packets of {wanted} bytes do not fit the routes to {}: they take {takes} bytes, which leaves {room} for {}",
            fan.mapping.underlay(),
            fan.options.encapsulation
        )
    };
    let mend = if room < MIN_MTU {
        shell!("ip link set dev {} mtu {}", link.name, wanted + fan.options.encapsulation.overhead())
    } else {
        up(&follow, &fan.underlay_address())
    };
    Some(Finding::failed(Found::MtuTooLarge, reason).mended_by(mend))
}
