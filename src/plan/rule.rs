//! Other people's routing rules (ip-rule(8)): which packets they are about, what they do, and how they are written.

use std::fmt;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use super::lookup::Question;

/// A routing rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoutingRule {
    /// Lower comes first.
    pub(crate) priority: u32,
    /// Whether it is about the packets of which what follows does not hold.
    pub(crate) negated: bool,
    /// Packets from this network only.
    pub(crate) from: Option<Ipv4Network>,
    /// Packets to this network only.
    pub(crate) to: Option<Ipv4Network>,
    /// Packets received by this interface only; those of the host itself come by `lo`.
    pub(crate) incoming: Option<String>,
    /// Packets that have this mark behind this mask.
    pub(crate) mark: Option<(u32, u32)>,
    /// What else it asks of packets, in the words of `ip rule`.
    pub(crate) others: Vec<String>,
    /// What it does.
    pub(crate) action: Action,
    /// Which of the routes that it finds do not count, in the words of `ip rule`.
    pub(crate) suppressed: Vec<String>,
}

/// What a routing rule does (`FR_ACT_*`, linux/fib_rules.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing; or nothing that is known.
    #[default]
    Nothing,
    /// It leads to a routing table.
    Lookup(u32),
    /// It leads to the rule of this priority.
    Goto(u32),
    /// It refuses packets, with this word.
    Refuse(&'static str),
}

impl RoutingRule {
    /// Whether it may be about a packet, which has no mark: what is not known of packets may hold.
    #[must_use]
    pub(crate) fn may_concern(&self, packet: &Question) -> bool {
        let within = |network: Option<Ipv4Network>, address: Option<Ipv4Addr>| {
            network.is_none_or(|network| address.is_some_and(|address| network.contains(address)))
        };
        let incoming = packet.incoming.as_ref().map_or("lo", |name| name.as_str());
        let holds = within(self.to, Some(packet.to))
            && within(self.from, packet.from)
            && self.incoming.as_ref().is_none_or(|name| name == incoming)
            && self.mark.is_none_or(|(mark, mask)| mark & mask == 0);
        // Where all that is known holds, the rest decides.
        match (holds, self.negated) {
            (true, false) | (false, true) => true,
            (true, true) => !self.others.is_empty(),
            (false, false) => false,
        }
    }
}

/// As `ip rule` takes it.
impl fmt::Display for RoutingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = vec![format!("priority {}", self.priority)];
        words.extend(self.negated.then(|| "not".to_string()));
        words.extend(self.from.map(|network| format!("from {network}")));
        words.extend(self.to.map(|network| format!("to {network}")));
        words.extend(self.mark.map(|(mark, mask)| match mask {
            u32::MAX => format!("fwmark {mark:#x}"),
            mask => format!("fwmark {mark:#x}/{mask:#x}"),
        }));
        words.extend(self.incoming.as_ref().map(|name| format!("iif {name}")));
        words.extend(self.others.iter().cloned());
        match self.action {
            Action::Nothing => {}
            Action::Lookup(table) => words.push(format!("lookup {table}")),
            Action::Goto(priority) => words.push(format!("goto {priority}")),
            Action::Refuse(word) => words.push(word.to_string()),
        }
        words.extend(self.suppressed.iter().cloned());
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(incoming: Option<&str>) -> Question {
        Question {
            to: [250, 0, 27, 1].into(),
            from: Some([250, 0, 28, 2].into()),
            incoming: incoming.map(|name| name.parse().unwrap()),
        }
    }

    fn rule(to: Option<&str>) -> RoutingRule {
        RoutingRule {
            priority: 500,
            to: to.map(|network| network.parse().unwrap()),
            action: Action::Lookup(77),
            ..RoutingRule::default()
        }
    }

    #[test]
    fn a_rule_is_about_what_it_says_or_with_not_about_the_rest() {
        for (to, holds) in [(None, true), (Some("250.0.0.0/8"), true), (Some("10.0.0.0/8"), false)] {
            assert_eq!(rule(to).may_concern(&question(None)), holds, "{to:?}");
            let negated = RoutingRule { negated: true, ..rule(to) };
            assert_eq!(negated.may_concern(&question(None)), !holds, "not {to:?}");
        }
        // The fan's packets have no mark.
        for (mark, holds) in [((0xca6c, u32::MAX), false), ((0, 0xff), true), ((0x100, 0xff), true)] {
            let marked = RoutingRule { mark: Some(mark), ..rule(None) };
            assert_eq!(marked.may_concern(&question(None)), holds, "{marked}");
            let negated = RoutingRule { negated: true, ..marked };
            assert_eq!(negated.may_concern(&question(None)), !holds, "{negated}");
        }
        for (name, holds) in [("lo", false), ("fan-250-0-28", true)] {
            let incoming = Some(name.to_string());
            let received = RoutingRule { incoming, ..rule(None) };
            assert_eq!(received.may_concern(&question(Some("fan-250-0-28"))), holds, "{name}");
            assert_eq!(received.may_concern(&question(None)), !holds, "{name}");
        }
        // Of whom a packet is, is not known: it may be either.
        let others = vec!["uidrange 0-0".to_string()];
        for negated in [false, true] {
            let of_somebody = RoutingRule { negated, others: others.clone(), ..rule(None) };
            assert!(of_somebody.may_concern(&question(None)), "{of_somebody}");
        }
    }

    #[test]
    fn a_rule_is_written_as_it_was_made() {
        let wg_quick = RoutingRule {
            priority: 32765,
            negated: true,
            mark: Some((0xca6c, u32::MAX)),
            action: Action::Lookup(51820),
            ..RoutingRule::default()
        };
        assert_eq!(wg_quick.to_string(), "priority 32765 not fwmark 0xca6c lookup 51820");
        let all = RoutingRule {
            from: Some("10.0.0.0/8".parse().unwrap()),
            incoming: Some("eth0".into()),
            mark: Some((0x80000, 0x00ff_0000)),
            others: vec!["oif eth1".into(), "dport 53".into()],
            suppressed: vec!["suppress_prefixlength 0".into()],
            ..rule(Some("250.0.0.0/8"))
        };
        assert_eq!(
            all.to_string(),
            "priority 500 from 10.0.0.0/8 to 250.0.0.0/8 fwmark 0x80000/0xff0000 iif eth0 oif eth1 dport 53 lookup 77 \
             suppress_prefixlength 0"
        );
        for (action, word) in [(Action::Goto(900), "goto 900"), (Action::Refuse("prohibit"), "prohibit")] {
            let other = RoutingRule { action, ..rule(None) };
            assert_eq!(other.to_string(), format!("priority 500 {word}"));
        }
    }
}
