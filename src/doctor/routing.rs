//! Where the kernel sends packets of the fan, and where it should: other people's routes and rules, and the reverse path
//! filter.
//!
//! The kernel is asked, for some addresses that stand for all: those of other hosts that it has talked to, those that other
//! people's routes and rules are about, and two that are computed.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::{Facts, Finding, all_of, counters};
use crate::encap::Encapsulation;
use crate::fan::{Fan, MAIN_TABLE};
use crate::health::{Answer, Health, Question, Rule};
use crate::host::{ForeignRoute, Host, Routing};
use crate::mapping::overlap;
use crate::name::InterfaceName;
use crate::object::{State, fans};

/// What to ask the kernel.
#[must_use]
pub fn questions(owned: &State, host: &Host, health: &Health) -> BTreeSet<Question> {
    fans(owned)
        .flat_map(|fan| asked(fan, host, health))
        .map(|asked| asked.question)
        .collect()
}

/// A question, and what the answer should be.
struct Asked {
    question: Question,
    /// In the middle of a sentence.
    what: String,
    way: Way,
}

/// The way that a packet of a fan should take.
#[derive(Clone, PartialEq, Eq)]
enum Way {
    /// Out by this interface.
    Out(InterfaceName),
    /// To another host, by the interface that holds the underlay address.
    Underlay(InterfaceName),
}

/// At most so many neighbours are asked about.
const NEIGHBOURS: usize = 16;

fn asked(fan: &Fan, host: &Host, health: &Health) -> Vec<Asked> {
    let mut asked = Vec::new();
    let mut ask = |to, from, incoming: Option<&InterfaceName>, what: String, way| {
        let question = Question {
            to,
            from,
            incoming: incoming.cloned(),
        };
        asked.push(Asked { question, what, way });
    };
    let (bridge, tunnel) = (&fan.bridge, fan.tunnel());
    let container = fan.container_range().0;
    let way_to_others = match fan.encapsulation {
        Encapsulation::Ipip => tunnel.clone(),
        Encapsulation::Vxlan => bridge.clone(),
    };
    ask(
        container,
        None,
        None,
        format!("packets for {container} of the own slice"),
        Way::Out(bridge.clone()),
    );
    for to in destinations(fan, host, health) {
        let what = format!("packets for {to} of the overlay");
        ask(to, None, None, what.clone(), Way::Out(way_to_others.clone()));
        // With VXLAN what containers send is bridged, and no route is asked.
        if fan.encapsulation == Encapsulation::Ipip {
            ask(to, Some(container), Some(bridge), what, Way::Out(tunnel.clone()));
            let what = format!("packets from {to} of the overlay");
            ask(container, Some(to), Some(&tunnel), what, Way::Out(bridge.clone()));
        }
    }
    for peer in peers(fan, host, health) {
        let what = format!("packets for host {peer}");
        ask(peer, Some(fan.host), None, what, Way::Underlay(fan.device.clone()));
    }
    asked
}

/// Other hosts: neighbours, and those that somebody's routes are about.
fn peers(fan: &Fan, host: &Host, health: &Health) -> BTreeSet<Ipv4Addr> {
    let underlay = fan.mapping.underlay();
    let is_other = |address: &Ipv4Addr| underlay.contains(*address) && !is_own(*address, host);
    let neighbours = health
        .neighbours
        .iter()
        .filter(|neighbour| neighbour.device == fan.device);
    let neighbours = neighbours.map(|neighbour| neighbour.address).filter(is_other);
    let routed = host
        .routes
        .iter()
        .filter(|route| route.destination.prefix() > underlay.network().prefix())
        .filter(|route| !is_beside(route, fan, host))
        .map(|route| an_address(route.destination, host))
        .filter(is_other);
    neighbours.take(NEIGHBOURS).chain(routed).collect()
}

/// Whether a route is about a network in which this host stands by another interface: where the underlay is wide, those of
/// libvirt (192.168.122.0/24) and Docker (172.17.0.0/16) are more specific parts of it, with no hosts of the fan in them.
fn is_beside(route: &ForeignRoute, fan: &Fan, host: &Host) -> bool {
    let link = route.device.as_ref().and_then(|device| host.link(device));
    link.is_some_and(|link| {
        let mut addresses = link.addresses.iter().map(|a| a.address.ip());
        link.name != fan.device && addresses.any(|address| route.destination.contains(address))
    })
}

fn is_own(address: Ipv4Addr, host: &Host) -> bool {
    let mut addresses = host.links.iter().flat_map(|link| &link.addresses);
    addresses.any(|own| own.address.ip() == address)
}

/// Addresses of the overlay: on the hosts above, in the slices of two others, and where somebody's routes and rules lead.
fn destinations(fan: &Fan, host: &Host, health: &Health) -> BTreeSet<Ipv4Addr> {
    let (overlay, slice) = (fan.overlay(), fan.slice());
    let is_other = |address: &Ipv4Addr| overlay.contains(*address) && !slice.contains(*address);
    let underlay = fan.mapping.underlay().network();
    let middle = u32::from(underlay.network()) + underlay.size() / 2;
    let beside = u32::from(fan.host) ^ 1;
    let hosts = peers(fan, host, health)
        .into_iter()
        .chain([beside.into(), middle.into()])
        .filter(|peer| underlay.contains(*peer));
    let gateways: Vec<Ipv4Addr> = hosts.map(|peer| fan.mapping.gateway(peer)).collect();
    let routed = host.routes.iter().map(|route| route.destination);
    let ruled = health.rules.iter().filter_map(|rule| rule.to);
    let exact = routed
        .chain(ruled)
        .filter(|network| overlap(*network, overlay.network()))
        .map(|network| an_address(network, host));
    gateways.into_iter().chain(exact).filter(is_other).collect()
}

/// The first address of a network for somebody else, where there is one: for its own the kernel asks no such route.
fn an_address(network: ipnetwork::Ipv4Network, host: &Host) -> Ipv4Addr {
    let first = u32::from(network.network()) + u32::from(network.prefix() < 31);
    let last = u32::from(network.broadcast());
    let mut others = (first..=last).map(Ipv4Addr::from);
    others.find(|address| !is_own(*address, host)).unwrap_or(first.into())
}

pub(super) fn check(fan: &Fan, facts: Facts, _: &[Finding]) -> Vec<Finding> {
    let asked = asked(fan, facts.host, facts.health);
    let answered: Vec<(&Asked, &Answer)> = asked
        .iter()
        .filter_map(|asked| Some((asked, facts.health.answers.get(&asked.question)?)))
        .collect();
    let mut captured: Vec<Capture> = Vec::new();
    for (asked, answer) in &answered {
        if let (Way::Out(device), Ok(found)) = (&asked.way, answer)
            && found.device != *device
        {
            match captured.iter_mut().find(|capture| capture.found == *found) {
                Some(capture) => capture.packets.push(&asked.what),
                None => captured.push(Capture {
                    found: found.clone(),
                    packets: vec![&asked.what],
                }),
            }
        }
    }
    let mut findings: Vec<Finding> = captured.iter().map(|capture| capture.finding(fan, facts)).collect();
    if findings.is_empty() {
        findings.extend(refused(fan, &answered, facts).or_else(|| elsewhere(fan, &answered, facts)));
    }
    if findings.is_empty() {
        findings.push(Finding::passed(
            "routing",
            format!(
                "the kernel was asked about {} packets, and sends them as it should",
                answered.len()
            ),
        ));
    }
    findings
}

/// A route that takes packets from the fan.
struct Capture<'a> {
    found: Routing,
    packets: Vec<&'a String>,
}

impl Capture<'_> {
    fn finding(&self, fan: &Fan, facts: Facts) -> Finding {
        let Routing { device, table, .. } = &self.found;
        let mut packets: Vec<String> = self.packets.iter().map(ToString::to_string).collect();
        packets.dedup();
        let reason = format!("{} go to '{device}', and not into the fan", packets[0]);
        let route = route(&self.found);
        let rules = facts.health.rules.iter().filter(|rule| rule.leads_to(*table, fan));
        let rules: Vec<&Rule> = rules.collect();
        let is_by_rule = *table != fan.routing_table() && !rules.is_empty();
        let (evidence, mend) = if is_by_rule {
            let evidence = rules.iter().map(|rule| format!("rule {}", rule.words()));
            let delete = rules.iter().map(|rule| format!("ip rule delete {}", rule.words()));
            (
                evidence.chain([format!("route {route}")]).collect(),
                Some(all_of(delete)),
            )
        } else {
            (vec![evidence_of(&self.found)], deletion(&self.found))
        };
        Finding {
            mend,
            ..Finding::failed("routing", reason).because(evidence)
        }
    }
}

/// What the kernel refuses, without anybody's route in the way.
fn refused(fan: &Fan, answered: &[(&Asked, &Answer)], facts: Facts) -> Option<Finding> {
    let refused = answered
        .iter()
        .filter_map(|(asked, answer)| match (&asked.way, answer) {
            (Way::Out(_), Err(errno)) => Some((*asked, *errno)),
            _ => None,
        });
    let refused: Vec<(&Asked, i32)> = refused.collect();
    let (asked, errno) = refused.first()?;
    let words = std::io::Error::from_raw_os_error(*errno).to_string();
    let words = words.split(" (os error").next().unwrap_or(&words).to_string();
    let finding = blocked(fan, asked, &words, facts);
    if finding.mend.is_some() {
        return Some(finding);
    }
    let strict = refused.iter().find_map(|(asked, errno)| strict(asked, *errno, facts));
    Some(strict.unwrap_or(finding))
}

/// The effective mode of an interface's reverse path filter is the larger of its own and that of all.
fn rp_filter(device: &InterfaceName, facts: Facts) -> u8 {
    let of = |name: &str| facts.health.settings.get(name).map_or(0, |settings| settings.rp_filter);
    of("all").max(of(device.as_str()))
}

/// A packet whose sender the kernel would answer by another interface (EXDEV or, since Linux 6.13 and for this host's own
/// addresses, EINVAL: `fib_validate_source`, net/ipv4/fib_frontend.c).
fn strict(asked: &Asked, errno: i32, facts: Facts) -> Option<Finding> {
    let device = asked.question.incoming.as_ref()?;
    let is_strict = rp_filter(device, facts) == 1;
    if !is_strict || ![nix::libc::EXDEV, nix::libc::EINVAL].contains(&errno) {
        return None;
    }
    let names = ["all", device.as_str()].into_iter();
    let strict = names.filter(|name| facts.health.settings.get(*name).is_some_and(|s| s.rp_filter == 1));
    let commands = strict.map(|name| format!("sysctl -w net/ipv4/conf/{name}/rp_filter=2"));
    let reason = format!("the strict reverse path filter of '{device}' drops {}", asked.what);
    let evidence = format!("the larger of net.ipv4.conf.all.rp_filter and net.ipv4.conf.{device}.rp_filter is 1");
    Some(
        Finding::failed("rp_filter", reason)
            .because([evidence])
            .mended_by(all_of(commands)),
    )
}

/// Hosts that are reached by another interface than that of the underlay address. What they send may come by either, unless
/// the kernel's own filter is strict; by a third it is refused by the guard, which counts it.
fn elsewhere(fan: &Fan, answered: &[(&Asked, &Answer)], facts: Facts) -> Option<Finding> {
    let (asked, found) = answered.iter().find_map(|(asked, answer)| match (&asked.way, answer) {
        (Way::Underlay(device), Ok(found)) if found.device != *device && !found.local => Some((asked, found)),
        _ => None,
    })?;
    let (device, own) = (&found.device, &fan.device);
    let reason = format!(
        "{} leave by '{device}', and '{own}' has the underlay address",
        asked.what
    );
    let filter = rp_filter(own, facts);
    let evidence = [
        evidence_of(found),
        format!("rp_filter of '{own}' is in effect {filter}"),
    ];
    let refused = counters::guarded(fan, facts, "wrapped by another");
    let finding = if refused > 0 {
        let reason = format!("{reason}; {refused} packets came from there by another way, and were refused");
        Finding::failed("routing", reason)
    } else if filter == 1 {
        let reason = format!("{reason}; what they send by '{own}' is lost in its strict reverse path filter");
        Finding::failed("routing", reason)
    } else {
        Finding::warned("routing", format!("{reason}; what they send may come by either"))
    };
    Some(Finding {
        mend: deletion(found),
        ..finding.because(evidence)
    })
}

/// Whether the kernel made a route by itself, for an address of this host. It is as good as the address, and no mistake that
/// deleting it would mend.
fn is_of_an_address(found: &Routing) -> bool {
    found.protocol == nix::libc::RTPROT_KERNEL
}

fn evidence_of(found: &Routing) -> String {
    let route = route(found);
    if is_of_an_address(found) {
        format!("route {route}, which is there for an address of '{}'", found.device)
    } else {
        format!("route {route}")
    }
}

/// The command that deletes somebody's route.
fn deletion(found: &Routing) -> Option<String> {
    (!is_of_an_address(found)).then(|| format!("ip route delete {}", route(found)))
}

/// A route in the words of `ip route`.
fn route(found: &Routing) -> String {
    let by = found.gateway.map_or(String::new(), |gateway| format!(" via {gateway}"));
    let place = match found.table {
        MAIN_TABLE => String::new(),
        table => format!(" table {table}"),
    };
    format!("{}{by} dev {}{place}", found.route, found.device)
}

/// A packet of the overlay that the kernel refuses to send: by a rule, or by an unreachable route that is not ours.
fn blocked(fan: &Fan, asked: &Asked, words: &str, facts: Facts) -> Finding {
    let finding = Finding::failed("routing", format!("{} are refused: {words}", asked.what));
    let to = asked.question.to;
    let route = facts.host.routes.iter().find(|route| {
        let is_its = route.device.is_none() && route.destination.contains(to);
        is_its && route.destination.prefix() >= fan.overlay().network().prefix()
    });
    if let Some(route) = route {
        let place = match route.table {
            MAIN_TABLE => String::new(),
            table => format!(" table {table}"),
        };
        let words = format!("{}{place}", route.destination);
        return finding
            .because([format!("route {words}, which leads nowhere")])
            .mended_by(format!("ip route delete {words}"));
    }
    let rules = facts.health.rules.iter();
    let rules: Vec<&Rule> = rules.filter(|rule| rule.is_about(fan) && rule.refuses()).collect();
    if rules.is_empty() {
        return finding;
    }
    let delete = rules.iter().map(|rule| format!("ip rule delete {}", rule.words()));
    finding
        .because(rules.iter().map(|rule| format!("rule {}", rule.words())))
        .mended_by(all_of(delete))
}

impl Rule {
    fn is_about(&self, fan: &Fan) -> bool {
        let touches = |network: Option<ipnetwork::Ipv4Network>| {
            network.is_none_or(|network| overlap(network, fan.overlay().network()))
        };
        touches(self.to) && touches(self.from)
    }

    fn leads_to(&self, table: u32, fan: &Fan) -> bool {
        self.table == table && self.is_about(fan)
    }

    fn refuses(&self) -> bool {
        ["blackhole", "unreachable", "prohibit"]
            .iter()
            .any(|action| self.rest.ends_with(action))
    }

    /// As `ip rule` has it.
    fn words(&self) -> String {
        let mut words = vec![format!("priority {}", self.priority)];
        words.extend(self.from.map(|network| format!("from {network}")));
        words.extend(self.to.map(|network| format!("to {network}")));
        words.extend(self.incoming.as_ref().map(|name| format!("iif {name}")));
        if !self.rest.is_empty() && !self.refuses() {
            words.push(self.rest.clone());
        }
        if self.refuses() {
            words.push(self.rest.clone());
        } else if self.table != 0 {
            words.push(format!("lookup {}", self.table));
        }
        words.join(" ")
    }
}
