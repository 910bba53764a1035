//! From what was asked for to a fan on this host: which address, on which interface, the underlay means.

use std::net::Ipv4Addr;

use crate::fan::Fan;
use crate::fan::keys::Key;
use crate::fan::mapping::{self, Underlay, broadcast};
use crate::fan::name::InterfaceName;
use crate::fan::request::{Request, UnderlayPlace, UnderlaySource};
use crate::plan::host::{Host, HostAddress, Link, LinkKind};
use crate::plan::reason::{Reason, ReasonCode, reason};
use crate::plan::state::{State, fans};
use crate::shell;

#[cfg(test)]
pub(crate) mod tests;

/// A fan, and how its underlay address was found.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The fan.
    pub fan: Fan,
    /// A sentence for `--verbose`.
    pub(crate) choice: String,
}

/// Resolves what was asked for against the host's addresses. Where that leaves a choice, a fan that is up stays where it is.
///
/// # Errors
/// A sentence: the interface is unknown, down or leads nowhere, no address fits, or several do.
pub(crate) fn resolve(config: &Request, host: &Host, owned: &State) -> Result<Resolved, Reason> {
    let up = fans(owned).find(|fan| fan.overlay() == config.overlay);
    let found = if config.options.number { numbered(config, host)? } else { find(&config.underlay, host, up)? };
    leads_to_others(found.link, host)?;
    let mut fan = Fan::new(config, found.address, found.link.name.clone())
        .map_err(|reason| Reason::new(ReasonCode::Contradiction, reason))?;
    if let (true, Some(up)) = (config.bridge_gives_way, up) {
        // One that is up keeps its name; a name after the slice goes with the slice.
        let is_after_slice = up.bridge == up.default_bridge();
        fan.bridge = if is_after_slice { fan.default_bridge() } else { up.bridge.clone() };
    }
    fan.epochs = epochs(&fan, host, up);
    let networks = found.link.addresses.iter().map(|own| own.address);
    if networks.clone().any(|own| own.ip() == fan.host && broadcast(own) == Some(fan.host)) {
        let (address, name) = (fan.host, &found.link.name);
        return Err(reason!(
            AddressIsBroadcast,
            "address '{address}' on '{name}' is the broadcast address of its network, which all hosts there hear; give the \
             interface another"
        ));
    }
    if mapping::of_no_host(fan.mapping.underlay().network()).any(|address| address == fan.host) {
        let (address, name, underlay) = (fan.host, &found.link.name, fan.mapping.underlay());
        return Err(reason!(
            AddressOfNoHost,
            "address '{address}' on '{name}' cannot be part of a fan: its host bits in underlay '{underlay}' are all ones or all \
             zeros, which no host has; give the interface another, or write a wider underlay"
        ));
    }
    let FoundAddress { link, address, choice } = found;
    let choice = format!("underlay '{}' is {address} on {} ({choice})", config.underlay, link.name);
    Ok(Resolved { fan, choice })
}

/// The epochs of the secrets that a fan is encrypted by: those of its key file; where that cannot be read, those of the fan that is
/// up, or that of a new file.
fn epochs(fan: &Fan, host: &Host, up: Option<&Fan>) -> Vec<u32> {
    let Some(file) = fan.key_file() else { return Vec::new() };
    match (host.keys.get(file), up) {
        (Some(Ok(keys)), _) => keys.iter().map(Key::epoch).collect(),
        (_, Some(up)) if up.key_file() == Some(file) => up.epochs.clone(),
        _ => vec![1],
    }
}

/// Whether what was asked for can be on an interface: whether the interface, or an address that it has, is what the underlay
/// means. Asked before [`resolve`], so that what is wrong there is news of that interface, and of no other.
#[must_use]
pub(crate) fn is_on(config: &Request, interface: &InterfaceName, host: &Host) -> bool {
    match &config.underlay.place {
        UnderlayPlace::Interface(name) => name == interface,
        UnderlayPlace::Default => host.default_device() == Some(interface),
        UnderlayPlace::Address(_) if config.options.number => {
            numbered(config, host).is_ok_and(|found| found.link.name == *interface)
        }
        UnderlayPlace::Address(wanted) => {
            addresses(host).any(|(link, a)| link.name == *interface && a.address.ip() == *wanted)
        }
        UnderlayPlace::Network(underlay) => inside(*underlay, host).any(|(link, _)| link.name == *interface),
    }
}

/// An address on an interface, and why it was chosen.
struct FoundAddress<'a> {
    link: &'a Link,
    address: Ipv4Addr,
    choice: String,
}

/// Finds the address; `up` is the fan, if it is up.
fn find<'a>(source: &UnderlaySource, host: &'a Host, up: Option<&Fan>) -> Result<FoundAddress<'a>, Reason> {
    match &source.place {
        UnderlayPlace::Interface(name) => on_interface(name, source, host, up),
        UnderlayPlace::Default => {
            let device = host.default_device().ok_or_else(|| {
                let len = source.len;
                reason!(
                    NoDefaultRoute,
                    "underlay '{source}': this host has no default route; name an interface like eth0/{len}"
                )
            })?;
            let found = on_interface(device, source, host, up)?;
            let choice = format!("{}; {device} has the default route", found.choice);
            Ok(FoundAddress { choice, ..found })
        }
        UnderlayPlace::Address(wanted) => addresses(host)
            .find(|(_, a)| a.address.ip() == *wanted)
            .map(|(link, _)| FoundAddress { link, address: *wanted, choice: "as written".into() })
            .ok_or_else(|| {
                reason!(NoSuchAddress, "underlay '{source}': no interface has the address {wanted}; see: ip -4 address")
            }),
        UnderlayPlace::Network(underlay) => in_network(*underlay, source, host, up),
    }
}

/// What an address is better for than the next: it is the host's own, and no virtual one that may go to another host; it is valid
/// beyond the host; it is there.
const RANKS: [fn(&HostAddress) -> bool; 3] =
    [|a| a.global && !a.secondary && a.address.prefix() < 32, |a| a.global, |_| true];

/// Of an interface's addresses the one that the fan has already; else the first of the highest [rank](RANKS), in the kernel's
/// order, which is that of their being added.
fn on_interface<'a>(
    name: &InterfaceName,
    source: &UnderlaySource,
    host: &'a Host,
    up: Option<&Fan>,
) -> Result<FoundAddress<'a>, Reason> {
    let link = host.link(name).ok_or_else(|| unknown(name, source, host))?;
    let all = &link.addresses;
    let has_already = all.iter().find(|a| is_held(**a, up));
    let mut ranks = RANKS.into_iter();
    let (chosen, how) = match (has_already, ranks.find_map(|rank| all.iter().find(|a| rank(a)))) {
        (Some(chosen), _) => (chosen, "the one that the fan has"),
        (None, Some(chosen)) => (chosen, "the first primary"),
        (None, None) => {
            return Err(reason!(
                NoAddress,
                "interface '{name}' has no IPv4 address in the underlay; give it one, or name another interface"
            ));
        }
    };
    let (address, len) = (chosen.address.ip(), source.len);
    let choice = match all.len() {
        1 => "its only address".to_string(),
        count => format!("{how} of {count} addresses; name another like 172.30.0.28/{len}"),
    };
    Ok(FoundAddress { link, address, choice })
}

/// A number that stands for this host, on the interface that has it as an address, or else on that of the default route.
fn numbered<'a>(config: &Request, host: &'a Host) -> Result<FoundAddress<'a>, Reason> {
    let source = &config.underlay;
    let UnderlayPlace::Address(number) = source.place else {
        return Err(reason!(
            NoSuchAddress,
            "underlay '{source}' names no number of this host; write it like 172.30.7.9/16"
        ));
    };
    let has_it = addresses(host).find(|(_, own)| own.address.ip() == number).map(|(link, _)| link);
    let of_default = || host.link(host.default_device()?);
    let found = has_it.map(|link| (link, "a number, and its address")).or_else(|| {
        let link = of_default()?;
        Some((link, "a number; this interface has the default route"))
    });
    let (link, choice) = found.ok_or_else(|| {
        reason!(
            NoDefaultRoute,
            "underlay '{source}': {number} is a number and no address of this host, which then sends by its default route, and it has \
             none; see: ip -4 route"
        )
    })?;
    Ok(FoundAddress { link, address: number, choice: choice.into() })
}

/// Whether an address is the one that the fan has.
fn is_held(address: HostAddress, up: Option<&Fan>) -> bool {
    up.is_some_and(|fan| fan.host == address.address.ip())
}

/// That there is no interface of this name. One that has it beside its own is not taken for it: what brings fans up and down with
/// an interface knows that by its name.
fn unknown(name: &InterfaceName, source: &UnderlaySource, host: &Host) -> Reason {
    let has_it = |link: &&Link| link.other_names.iter().any(|other| other == name.as_str());
    let reason = match host.links.iter().find(has_it) {
        None => reason!(InterfaceMissing, "interface '{name}' does not exist; see: ip link"),
        Some(link) => reason!(
            InterfaceMissing,
            "interface '{name}' does not exist by that name, which is another one of '{0}'; write {0}/{1}",
            link.name,
            source.len
        ),
    };
    reason.of(name)
}

/// The host's one address in a network: the one that the fan has already, else the only one, or the only one that is no /32,
/// as virtual addresses mostly are. Which was added first says nothing here.
fn in_network<'a>(
    underlay: Underlay,
    source: &UnderlaySource,
    host: &'a Host,
    up: Option<&Fan>,
) -> Result<FoundAddress<'a>, Reason> {
    let inside: Vec<_> = inside(underlay, host).collect();
    let criteria: [(&str, &dyn Fn(HostAddress) -> bool); 3] = [
        ("the one that the fan has", &|a| is_held(a, up)),
        ("the only one that is no /32", &|a| a.address.prefix() < 32),
        ("the only one", &|_| true),
    ];
    let found = criteria.into_iter().find_map(|(how, is_meant)| {
        let mut meant = inside.iter().filter(|(_, address)| is_meant(**address));
        let only = meant.next()?;
        meant.next().is_none().then_some((only, how))
    });
    if let Some(((link, address), how)) = found {
        return Ok(FoundAddress { link, address: address.address.ip(), choice: format!("{how} of its network") });
    }
    let list: Vec<_> = inside.iter().map(|(link, a)| format!("{} on {}", a.address.ip(), link.name)).collect();
    Err(match inside.first() {
        None => reason!(NoAddressInside, "underlay '{source}': no interface has an address in it; see: ip -4 address"),
        Some((_, first)) => reason!(
            AddressAmbiguous,
            "underlay '{source}' holds several addresses of this host: {}; write the one that is meant, like {}/{}",
            list.join(", "),
            first.address.ip(),
            source.len
        ),
    })
}

/// The host's addresses in a network by which others can be reached.
fn inside(underlay: Underlay, host: &Host) -> impl Iterator<Item = (&Link, &HostAddress)> {
    addresses(host).filter(move |(link, a)| link.kind != LinkKind::Loopback && underlay.contains(a.address.ip()))
}

/// Every address of the host but those on a fan's own devices.
fn addresses(host: &Host) -> impl Iterator<Item = (&Link, &HostAddress)> {
    host.links
        .iter()
        .filter(|link| !link.ours)
        .flat_map(|link| link.addresses.iter().map(move |address| (link, address)))
}

/// Refuses an interface that the other hosts cannot be reached by.
fn leads_to_others(link: &Link, host: &Host) -> Result<(), Reason> {
    let name = &link.name;
    if link.kind == LinkKind::Loopback {
        return Err(reason!(
            Loopback,
            "interface '{name}' is the loopback, which leads to no other host; give the address to the interface that does"
        ));
    }
    if !link.up {
        return Err(reason!(
            InterfaceDown,
            "interface '{name}' is down; bring it up first: {}",
            shell!("ip link set dev {} up", name)
        )
        .of(name));
    }
    let master = link.master.as_ref().and_then(|master| host.link(master));
    match master {
        Some(vrf) if vrf.kind == LinkKind::Vrf => Err(reason!(
            InterfaceInVrf,
            "interface '{name}' is in VRF '{}', and the fan's packets are routed by the main table; name an interface \
             outside of it",
            vrf.name
        )),
        _ if !name.is_plain() => Err(reason!(
            InterfaceNameUnfit,
            "interface '{name}' cannot be the underlay of a fan, whose firewall has to name it: {name} holds a '*', '\"', '\\' \
             or what is not printable; give it another name: {}",
            shell!("ip link set dev {} name NAME", name)
        )),
        _ => Ok(()),
    }
}
