//! Other people's firewalls: each kind of packet that a fan needs is walked through all of their chains.

mod keeper;
mod packets;
mod programs;
mod traffic;

use super::{Check, Facts, Finding, Found};
use crate::diagnose::netfilter::{Backend, Blame, ConntrackState, Fate, FirewallTable, Packet, fate, fates};
use crate::fan::Fan;
use crate::fan::shell::Line;
use crate::plan::firewall::{is_chain_of_ours, table_overlay};
use keeper::Keeper;
use packets::packets;
pub(crate) use traffic::TrafficKind;

pub(super) fn check(fan: &Fan, facts: Facts, before: &[Finding]) -> Vec<Finding> {
    if !facts.host.privileged {
        return Vec::new();
    }
    // Rules of ours that are missing in iptables' FORWARD are an object of ours, and found already.
    let is_ours_to_mend = |blame: &Blame| {
        let ours = before.iter().any(|finding| finding.check == Check::Firewall);
        ours && is_forward(blame)
    };
    let others: Vec<FirewallTable> = facts.health.tables.iter().filter(|table| !is_of_a_fan(table)).cloned().collect();
    let mut culprits: Vec<Culprit> = Vec::new();
    let journeys = packets(fan, facts, &others);
    let journeys = journeys.iter();
    for (kind, fate) in journeys.flat_map(|(kind, hooks)| fates(hooks, &others).map(move |fate| (*kind, fate))) {
        let (blame, is_certain) = match fate {
            Fate::Passes => continue,
            Fate::Lost(blame) => (blame, true),
            Fate::AtRisk(blame) => (blame, false),
        };
        if !is_ours_to_mend(&blame) {
            Culprit::among(&mut culprits, &blame, is_certain).add(kind, blame);
        }
    }
    // What a chain drops without doubt, it need not be doubted for.
    let certain: Vec<Culprit> = culprits.iter().filter(|culprit| culprit.is_certain).cloned().collect();
    for culprit in culprits.iter_mut().filter(|culprit| !culprit.is_certain) {
        let same = certain.iter().find(|other| other.is_of(&culprit.blames[0]));
        culprit.kinds.retain(|kind| same.is_none_or(|same| !same.covers(*kind)));
    }
    culprits.retain(|culprit| !culprit.kinds.is_empty());
    let mut findings: Vec<Finding> = culprits.iter().map(|culprit| culprit.finding(fan, facts)).collect();
    findings.extend(programs::check(fan, facts));
    findings.extend(invalid(fan, facts, &others));
    if findings.is_empty() && !before.iter().any(|finding| finding.check == Check::Firewall) {
        let tables = match others.len() {
            0 => "there is no other firewall".to_string(),
            number => {
                let tables = super::count(number, "other table", "other tables");
                format!("the firewall ({tables}) lets the fan's packets pass")
            }
        };
        findings.push(Finding::passed(Found::FirewallPasses, tables));
    }
    findings
}

/// Whether the chain that rules of the fan stand ready for drops what is forwarded for it: without them packets are lost.
pub(super) fn is_forward_closed(fan: &Fan, facts: Facts) -> bool {
    let journeys = packets(fan, facts, &[]);
    let fates = journeys.iter().flat_map(|(_, hooks)| fates(hooks, &facts.health.tables));
    fates.filter_map(blamed).any(|blame| is_forward(&blame))
}

fn blamed(fate: Fate) -> Option<Blame> {
    match fate {
        Fate::Passes => None,
        Fate::Lost(blame) | Fate::AtRisk(blame) => Some(blame),
    }
}

/// Whether it is the chain `FORWARD` of iptables on top of nftables.
fn is_forward(blame: &Blame) -> bool {
    (blame.backend, blame.table.as_str(), blame.base.as_str()) == (Backend::Nftables, "filter", "FORWARD")
}

/// A base chain that drops packets of a fan, or may drop them.
#[derive(Clone)]
struct Culprit {
    is_certain: bool,
    kinds: Vec<TrafficKind>,
    blames: Vec<Blame>,
}

impl Culprit {
    /// That of a chain, made if it is not there.
    fn among<'a>(all: &'a mut Vec<Self>, blame: &Blame, is_certain: bool) -> &'a mut Self {
        let index = all.iter().position(|culprit| culprit.is_certain == is_certain && culprit.is_of(blame));
        let index = index.unwrap_or_else(|| {
            all.push(Self { is_certain, kinds: vec![], blames: vec![blame.clone()] });
            all.len() - 1
        });
        &mut all[index]
    }

    fn is_of(&self, blame: &Blame) -> bool {
        let place = |blame: &Blame| (blame.backend, blame.family.clone(), blame.table.clone(), blame.base.clone());
        place(&self.blames[0]) == place(blame)
    }

    /// Whether a kind is told of already, by itself or with all of which it is a part.
    fn covers(&self, kind: TrafficKind) -> bool {
        self.kinds.contains(&kind) || kind.general().is_some_and(|all| self.kinds.contains(&all))
    }

    fn add(&mut self, kind: TrafficKind, blame: Blame) {
        if self.covers(kind) && self.blames.contains(&blame) {
            return;
        }
        if !self.covers(kind) {
            self.kinds.push(kind);
        } else if !self.kinds.contains(&kind) {
            return;
        }
        if !self.blames.contains(&blame) {
            self.blames.push(blame);
        }
    }

    fn finding(&self, fan: &Fan, facts: Facts) -> Finding {
        let blame = &self.blames[0];
        let what: Vec<String> = self.kinds.iter().map(|kind| kind.describe(fan)).collect();
        let what = what.join(" and ");
        let keeper = Keeper::of(blame);
        let who = format!("chain '{}' of {} table '{} {}'", blame.base, blame.backend, blame.family, blame.table);
        let owned = (blame.is_owned && keeper.is_none())
            .then(|| format!("table '{}' is for its maker alone to change (flags owner)", blame.table));
        let own = keeper.filter(|_| blame.is_owned);
        let mend = self.kinds.iter().map(|kind| match own {
            Some(keeper) => keeper.commands(*kind, fan, facts),
            None => kind.acceptance(fan, blame),
        });
        // Several kinds may be accepted by one rule.
        let mend = mend.collect::<Option<Vec<Line>>>().map(|lines| {
            let mut once: Vec<Line> = Vec::new();
            for line in lines {
                if !once.contains(&line) {
                    once.push(line);
                }
            }
            Line::all_of(once)
        });
        let lasting = match keeper {
            Some(keeper) => keeper.advice(&self.kinds, fan, facts),
            None if mend.is_some() => {
                let file = blame.file();
                format!(
                    "; the command lasts until these rules are loaded again: write it into their file too, such as {file}"
                )
            }
            None => String::new(),
        };
        let finding = if !self.is_certain {
            let reason = format!("cannot tell whether {who} drops {what}: look at this rule{lasting}");
            Finding::warned(Found::FirewallMayDrop, reason)
        } else if self.kinds.iter().any(|kind| kind.is_vital()) {
            Finding::failed(Found::FirewallDrops, format!("{who} drops {what}{lasting}"))
        } else {
            Finding::warned(Found::FirewallDrops, format!("{who} drops {what}{lasting}"))
        };
        let evidence = self.blames.iter().map(|blame| match &blame.rule {
            Some(rule) => format!("{}: {}", blame.chain, rule.text),
            None => format!("{}: policy drop, and no rule accepts them", blame.chain),
        });
        Finding { mend, packets: self.kinds.clone(), ..finding.because(evidence).because(owned) }
    }
}

/// Whether a table is one of a fan's.
fn is_of_a_fan(table: &FirewallTable) -> bool {
    let mut chains = table.chains.keys();
    table_overlay(&table.name).is_some() && chains.any(|chain| is_chain_of_ours(&table.family, chain))
}

/// Packets that connection tracking could make nothing of, and that somebody dropped for that: TCP that it saw half of, as
/// with two ways between two hosts. The rule counts, so that it is known whether it ever happened.
fn invalid(fan: &Fan, facts: Facts, others: &[FirewallTable]) -> Option<Finding> {
    let journeys = packets(fan, facts, &[]).into_iter();
    let forwarded = journeys
        .filter(|(kind, _)| matches!(kind, TrafficKind::FromContainers | TrafficKind::ToWorld))
        .flat_map(|(_, hooks)| hooks)
        .filter(|packet| packet.hook == "forward");
    let mut blames = forwarded.filter_map(|packet| {
        let packet = Packet { state: ConntrackState::Invalid, ..packet };
        match fate(&packet, others) {
            Fate::Lost(blame) => Some(blame),
            _ => None,
        }
    });
    let blame = blames.find(|blame| {
        let rule = blame.rule.as_ref();
        rule.is_some_and(|rule| rule.packets.is_some_and(|packets| packets > 0) && rule.asks_for_invalid())
    })?;
    let rule = blame.rule.as_ref()?;
    let reason = format!(
        "chain '{}' has dropped {} whose connection was unknown; if connections between containers hang, these were theirs",
        blame.chain,
        super::count(usize::try_from(rule.packets.unwrap_or_default()).unwrap_or(usize::MAX), "packet", "packets")
    );
    let mend =
        [TrafficKind::FromContainers, TrafficKind::ToContainers].into_iter().map(|kind| kind.acceptance(fan, &blame));
    let finding =
        Finding::warned(Found::FirewallDropsInvalid, reason).because([format!("{}: {}", blame.chain, rule.text)]);
    Some(Finding { mend: mend.collect::<Option<Vec<Line>>>().map(Line::all_of), ..finding })
}
