//! What is wrong with the kernel's answers, whose doing it is, and what mends it: one judgement of each.

use ipnetwork::Ipv4Network;

use super::{Asked, ExpectedRoute, Standing};
use crate::diagnose::doctor::{CheckResult, Facts, Finding, Found, counters};
use crate::fan::Fan;
use crate::fan::name::InterfaceName;
use crate::fan::options::MAIN_TABLE;
use crate::fan::shell::Line;
use crate::fan::text::errno_words;
use crate::plan::firewall::GuardRule;
use crate::plan::host::{ForeignRoute, Link, Routing};
use crate::plan::lookup::Answer;
use crate::plan::rule::{Action, RoutingRule};
use crate::plan::state::{PROTOCOL, RULE_PRIORITY};
use crate::shell;

/// What is wrong with an answer.
enum RouteFault<'a> {
    /// Somebody's route takes it from the fan, or from the interface of the underlay.
    Astray(&'a Routing),
    /// It goes by a second way, which may be as good.
    Elsewhere(&'a Routing),
    /// It is refused, with this error number.
    Refused(i32),
}

fn judge<'a>(fan: &Fan, asked: &Asked, answer: &'a Answer, facts: Facts) -> Option<RouteFault<'a>> {
    let is_astray = |found: &Routing| found.is_astray(fan, asked.question.to, facts.host);
    match (&asked.way, answer) {
        (ExpectedRoute::Out(device), Ok(found)) => (found.device != *device).then_some(RouteFault::Astray(found)),
        (ExpectedRoute::Underlay(_), Ok(found)) if found.device == fan.device && !found.local => None,
        (ExpectedRoute::Underlay(_), Ok(found)) if is_astray(found) => Some(RouteFault::Astray(found)),
        // Where this host sends whatever it does not know better, it may have other hosts of the fan or not.
        (ExpectedRoute::Underlay(Standing::Guessed), Ok(_) | Err(nix::libc::ENETUNREACH)) => None,
        (ExpectedRoute::Underlay(_), Ok(found)) => Some(RouteFault::Elsewhere(found)),
        (ExpectedRoute::Out(_) | ExpectedRoute::Underlay(_), Err(errno)) => Some(RouteFault::Refused(*errno)),
    }
}

/// The findings. Refusals and second routes are reported only if no route captures packets.
pub(super) fn findings(fan: &Fan, answered: &[(&Asked, &Answer)], facts: Facts) -> Vec<Finding> {
    let (mut captured, mut second): (Vec<Capture>, Vec<(&Asked, &Routing)>) = (Vec::new(), Vec::new());
    let mut refused: Vec<(&Asked, i32)> = Vec::new();
    for (asked, answer) in answered {
        match judge(fan, asked, answer, facts) {
            None => {}
            Some(RouteFault::Astray(found)) => match captured.iter_mut().find(|capture| capture.found == found) {
                Some(capture) => capture.packets.push(asked),
                None => captured.push(Capture { found, packets: vec![asked] }),
            },
            Some(RouteFault::Elsewhere(found)) => second.push((asked, found)),
            Some(RouteFault::Refused(errno)) => refused.push((asked, errno)),
        }
    }
    if !captured.is_empty() {
        return captured.iter().map(|capture| capture.finding(fan, facts)).collect();
    }
    let refusal = refusal(fan, &refused, facts);
    // The hosts of an interface that stands apart are always by another one.
    let is_apart = facts.host.link(&fan.device).is_some_and(Link::stands_apart);
    let second = || {
        let finding = second.first().map(|(asked, found)| elsewhere(fan, asked, found, facts))?;
        (!is_apart || counters::guarded(fan, facts, GuardRule::EncapsulatedByAnotherWay) > 0).then_some(finding)
    };
    refusal.or_else(second).into_iter().collect()
}

/// How bad it is if these packets are lost: a warning, if the other host may not exist.
fn verdict(packets: &[&Asked]) -> CheckResult {
    let is_sure =
        |asked: &&&Asked| matches!(asked.way, ExpectedRoute::Out(_) | ExpectedRoute::Underlay(Standing::Near));
    match packets.iter().find(is_sure) {
        Some(_) => CheckResult::Failed,
        None => CheckResult::Warned,
    }
}

/// A route that takes packets.
struct Capture<'a> {
    found: &'a Routing,
    packets: Vec<&'a Asked>,
}

impl Capture<'_> {
    fn finding(&self, fan: &Fan, facts: Facts) -> Finding {
        let Routing { device, table, .. } = self.found;
        let first = self.packets[0];
        let instead = match first.way {
            ExpectedRoute::Out(_) => "into the fan".to_string(),
            ExpectedRoute::Underlay(_) => format!("out by '{}', which has the underlay address", fan.device),
        };
        let reason = format!("{} go to '{device}', and not {instead}", first.what);
        let finding = Finding::new(Found::RouteAstray, verdict(&self.packets), reason);
        let leads_there = |rule: &RoutingRule| rule.action == Action::Lookup(*table);
        let culprits = culprits(&self.packets, facts, leads_there);
        if *table == fan.routing_table() || culprits.is_empty() {
            let is_safe = self.packets.iter().all(|asked| has_another_way(fan, asked, self.found, facts));
            let mend = deletion(fan, self.found).filter(|_| is_safe);
            return Finding { mend, ..finding.because([evidence_of(self.found)]) };
        }
        by_rules(fan, finding, &culprits, &self.packets).because([evidence_of(self.found)])
    }
}

/// Somebody's rules that are about one of these packets and do this, or lead to another rule, which may: the first one first.
/// None if those that only lead on are all.
fn culprits<'a>(packets: &[&Asked], facts: Facts<'a>, does: impl Fn(&RoutingRule) -> bool) -> Vec<&'a RoutingRule> {
    let concerns = |rule: &&RoutingRule| packets.iter().any(|asked| rule.may_concern(&asked.question));
    let mut rules: Vec<&RoutingRule> = facts.health.rules.iter().filter(concerns).collect();
    rules.retain(|rule| does(rule) || matches!(rule.action, Action::Goto(_)));
    rules.sort_by_key(|rule| rule.priority);
    if rules.iter().any(|rule| does(rule)) { rules } else { Vec::new() }
}

/// Reports foreign rules. The repair is a rule in front of them, never their removal: a VPN may depend on them.
fn by_rules(fan: &Fan, finding: Finding, culprits: &[&RoutingRule], packets: &[&Asked]) -> Finding {
    let finding = finding.because(culprits.iter().map(|rule| format!("rule {rule}")));
    let first = culprits.first().map_or(0, |rule| rule.priority);
    let Some(before) = first.checked_sub(1) else {
        return finding;
    };
    let ways =
        [(fan.overlay().network(), fan.routing_table(), false), (fan.mapping.underlay().network(), MAIN_TABLE, true)];
    let is_meant =
        |is_underlay: bool| packets.iter().any(|asked| matches!(asked.way, ExpectedRoute::Underlay(_)) == is_underlay);
    let commands = ways
        .into_iter()
        .filter(|(.., is_underlay)| is_meant(*is_underlay))
        .map(|(network, table, _)| shell!("ip rule add to {} lookup {} priority {}", network, name_of(table), before));
    let mut finding = finding.mended_by(Line::all_of(commands));
    if fan.options.table.is_none() && first > RULE_PRIORITY && is_meant(false) {
        let lasting = format!(
            "for good: with its option table ('table = N', '--table N') the fan brings such a rule for {} itself",
            fan.overlay()
        );
        finding.evidence.push(lasting);
    }
    finding
}

/// A routing table as ip(8) calls it.
fn name_of(table: u32) -> String {
    match table {
        MAIN_TABLE => "main".into(),
        table => table.to_string(),
    }
}

/// What the kernel refuses: somebody's rule or dead end, or the reverse path filter.
fn refusal(fan: &Fan, refused: &[(&Asked, i32)], facts: Facts) -> Option<Finding> {
    let (asked, errno) = refused.first()?;
    let words = errno_words(*errno);
    let packets: Vec<&Asked> = refused.iter().map(|(asked, _)| *asked).collect();
    let reason = format!("{} are refused: {words}", asked.what);
    let finding = blocked(fan, Finding::new(Found::RouteRefused, verdict(&packets), reason), &packets, facts);
    if !finding.evidence.is_empty() {
        return Some(finding);
    }
    let strict = refused.iter().find_map(|(asked, errno)| strict(asked, *errno, facts));
    Some(strict.unwrap_or(finding))
}

/// Adds whose rule or dead end it is; a rule comes first.
fn blocked(fan: &Fan, finding: Finding, packets: &[&Asked], facts: Facts) -> Finding {
    let first = packets[0];
    let to = first.question.to;
    let least = match first.way {
        ExpectedRoute::Out(_) => fan.overlay().network(),
        ExpectedRoute::Underlay(_) => fan.mapping.underlay().network(),
    };
    // The route that a table has for an address, if it leads nowhere.
    let dead_end = |table: u32| -> Option<Ipv4Network> {
        let routes = facts.host.routes.iter();
        let its = routes.filter(|route| route.table == table && !route.is_throw && route.destination.contains(to));
        let best = its.max_by_key(|route| (route.destination.prefix(), std::cmp::Reverse(route.metric)))?;
        best.device.is_none().then_some(best.destination)
    };
    let refuses = |rule: &RoutingRule| match rule.action {
        Action::Refuse(_) => true,
        Action::Lookup(table) => table != fan.routing_table() && table != MAIN_TABLE && dead_end(table).is_some(),
        Action::Goto(_) | Action::Nothing => false,
    };
    let culprits = culprits(&[first], facts, refuses);
    if !culprits.is_empty() {
        let ends = culprits.iter().filter_map(|rule| match rule.action {
            Action::Lookup(table) => Some((table, dead_end(table)?)),
            _ => None,
        });
        let ends: Vec<String> =
            ends.map(|(table, end)| format!("route {end} table {table}, which leads nowhere")).collect();
        return by_rules(fan, finding, &culprits, packets).because(ends);
    }
    let tables = [fan.routing_table(), MAIN_TABLE].into_iter();
    let mut ends = tables.filter_map(|table| Some((table, dead_end(table)?)));
    let Some((table, end)) = ends.find(|(_, end)| end.prefix() >= least.prefix()) else {
        return finding;
    };
    let words = match table {
        MAIN_TABLE => end.to_string(),
        table => format!("{end} table {table}"),
    };
    finding
        .because([format!("route {words}, which leads nowhere")])
        .mended_by(shell!("ip route delete {}", Line::words(&words)))
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
    let all = ("all", b"net/ipv4/conf/all/rp_filter".to_vec());
    let names = [all, (device.as_str(), device.setting("rp_filter"))].into_iter();
    let strict = names.filter(|(name, _)| facts.health.settings.get(*name).is_some_and(|s| s.rp_filter == 1));
    let commands = strict.map(|(_, setting)| shell!("sysctl -w {}=2", setting));
    let reason = format!("the strict reverse path filter of '{device}' drops {}", asked.what);
    let evidence = format!("the larger of net.ipv4.conf.all.rp_filter and net.ipv4.conf.{device}.rp_filter is 1");
    Some(Finding::failed(Found::RpFilterStrict, reason).because([evidence]).mended_by(Line::all_of(commands)))
}

/// Hosts that are reached by another interface than that of the underlay address. What they send may come by either, unless
/// the kernel's own filter is strict; by a third it is refused by the guard, which counts it.
fn elsewhere(fan: &Fan, asked: &Asked, found: &Routing, facts: Facts) -> Finding {
    let (device, own) = (&found.device, &fan.device);
    let reason = format!("{} leave by '{device}', and '{own}' has the underlay address", asked.what);
    let filter = rp_filter(own, facts);
    let evidence = [evidence_of(found), format!("rp_filter of '{own}' is in effect {filter}")];
    let refused = counters::guarded(fan, facts, GuardRule::EncapsulatedByAnotherWay);
    let finding = if refused > 0 {
        let reason = format!("{reason}; {refused} packets came from there by another way, and were refused");
        Finding::failed(Found::RouteElsewhere, reason)
    } else if filter == 1 {
        let reason = format!("{reason}; what they send by '{own}' is lost in its strict reverse path filter");
        Finding::failed(Found::RouteElsewhere, reason)
    } else {
        Finding::warned(Found::RouteElsewhere, format!("{reason}; what they send may come by either"))
    };
    let mend = deletion(fan, found).filter(|_| has_another_way(fan, asked, found, facts));
    Finding { mend, ..finding.because(evidence) }
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

/// The command that deletes a route of another's, where that is about the fan and not for the whole world. None for one that has
/// the protocol of ours: whose it is is not certain.
fn deletion(fan: &Fan, found: &Routing) -> Option<Line> {
    let networks = [fan.overlay().network(), fan.mapping.underlay().network()];
    let is_about_it = networks
        .iter()
        .any(|network| network.contains(found.route.network()) && network.prefix() <= found.route.prefix());
    (is_about_it && !is_of_an_address(found) && found.protocol != PROTOCOL).then(|| {
        let by = found.gateway.map_or_else(Line::default, |gateway| shell!(" via {}", gateway));
        let place = match found.table {
            MAIN_TABLE => Line::default(),
            table => shell!(" table {}", table),
        };
        shell!("ip route delete {}{} dev {}{}", found.route, by, found.device, place)
    })
}

/// Whether the packets have a way when a route is deleted: the best of the others leads where it should.
fn has_another_way(fan: &Fan, asked: &Asked, found: &Routing, facts: Facts) -> bool {
    let expected = match &asked.way {
        // The fan's own routes are there, or their absence is a finding of its own.
        ExpectedRoute::Out(_) => return true,
        ExpectedRoute::Underlay(_) => &fan.device,
    };
    let rest = |table: u32| {
        let is_other = |route: &&ForeignRoute| {
            (route.destination, route.device.as_ref(), route.gateway)
                != (found.route, Some(&found.device), found.gateway)
        };
        let routes = facts.host.routes.iter().filter(is_other);
        let its = routes.filter(|route| route.table == table && route.destination.contains(asked.question.to));
        // Of two that are equal, the kernel takes the one that was there first.
        its.rev().max_by_key(|route| (route.destination.prefix(), std::cmp::Reverse(route.metric)))
    };
    let remaining = rest(found.table).or_else(|| rest(MAIN_TABLE));
    remaining.is_some_and(|route| !route.is_throw && route.device.as_ref() == Some(expected))
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
