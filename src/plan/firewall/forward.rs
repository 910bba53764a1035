//! Our rules in the chains of iptables that forwarded traffic has to pass: no other table can undo a drop there.

use std::fmt;

use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;

/// A chain of iptables that forwarded traffic has to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForwardChain {
    /// The chain that Docker leaves to the administrator.
    DockerUser,
    /// The chain itself.
    Forward,
}

impl ForwardChain {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::DockerUser, Self::Forward];
}

impl fmt::Display for ForwardChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DockerUser => "DOCKER-USER",
            Self::Forward => "FORWARD",
        })
    }
}

/// What iptables does with traffic that is forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forward {
    /// The chain `FORWARD` drops what no rule accepts.
    pub(crate) drops: bool,
    /// There is a chain `DOCKER-USER`.
    pub(crate) has_docker_user: bool,
    /// `FORWARD` jumps to it.
    pub(crate) asks_docker_user: bool,
    /// What there is beside rules of ours.
    pub(crate) beside: Beside,
}

/// What there is in iptables' table beside our rules in `DOCKER-USER`: it decides what is removed with the last of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Beside {
    /// Other rules in that chain, or a rule that jumps to it; or there is no such chain.
    #[default]
    Use,
    /// Other chains, no rule of which jumps to it.
    Others,
    /// Nothing.
    Nothing,
}

impl Beside {
    /// The command to `nft` that removes what is not needed without our rules.
    #[must_use]
    pub(crate) fn removal(self) -> Option<&'static str> {
        match self {
            Self::Use => None,
            Self::Others => Some("delete chain ip filter DOCKER-USER"),
            Self::Nothing => Some("delete table ip filter"),
        }
    }
}

impl Forward {
    /// The chains that need rules to let a fan's traffic pass. Docker makes `DOCKER-USER` when it starts, and takes one that
    /// is there as it is: where Docker is installed, rules in it are for when it will have started.
    #[must_use]
    pub(crate) fn chains(self, docker_is_installed: bool) -> Vec<ForwardChain> {
        let docker = self.has_docker_user || docker_is_installed;
        let forward = self.drops && !self.asks_docker_user;
        [(ForwardChain::DockerUser, docker), (ForwardChain::Forward, forward)]
            .into_iter()
            .filter_map(|(chain, needs_rules)| needs_rules.then_some(chain))
            .collect()
    }
}

/// The direction of forwarded traffic that an accept rule lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForwardDirection {
    /// From the bridge.
    From,
    /// To the bridge; the fan's own table has refused what must not go there.
    To,
}

impl ForwardDirection {
    /// What `nft` calls the interface by which such traffic has come, or is to go.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::From => "iifname",
            Self::To => "oifname",
        }
    }
}

/// A rule that accepts forwarded traffic of a fan where another tool's policy would drop it: only a rule in the same
/// chain can prevent that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// The fan.
    pub(crate) overlay: Overlay,
    /// The chain the rule stands in.
    pub chain: ForwardChain,
    /// The fan's bridge.
    pub(crate) bridge: InterfaceName,
    /// From or to the bridge.
    pub(crate) way: ForwardDirection,
}

impl Accept {
    /// The rule with its place, as `nft insert rule` reads it.
    #[must_use]
    pub fn rule(&self) -> String {
        let Self { chain, bridge, overlay, way } = self;
        let interface = way.as_str();
        format!("ip filter {chain} {interface} \"{bridge}\" counter accept comment \"fan {overlay}\"")
    }

    /// The commands to `nft` that put the rule at the head of its chain; that of Docker is made if it is not there.
    pub(crate) fn insertion(&self) -> impl Iterator<Item = String> {
        let is_dockers = self.chain == ForwardChain::DockerUser;
        let make = ["add table ip filter", "add chain ip filter DOCKER-USER"];
        let made = make.into_iter().filter(move |_| is_dockers).map(String::from);
        made.chain([format!("insert rule {}", self.rule())])
    }

    /// Reads a rule of a chain as nft prints it; none when it is not one of ours.
    #[must_use]
    pub fn from_rule(chain: ForwardChain, rule: &str) -> Option<Self> {
        let (rule, comment) = rule.trim().split_once(" comment \"")?;
        let (comment, _) = comment.split_once('"')?;
        let overlay = comment.strip_prefix("fan ")?.parse().ok()?;
        let words: Vec<&str> = rule.split(' ').collect();
        let (way, bridge, counter) = match &words[..] {
            ["iifname", bridge, counter @ .., "accept"] => (ForwardDirection::From, bridge, counter),
            ["oifname", bridge, counter @ .., "accept"] => (ForwardDirection::To, bridge, counter),
            _ => return None,
        };
        // A rule that matches more, or does more, is not ours.
        if !matches!(counter, [] | ["counter"] | ["counter", "packets", _, "bytes", _]) {
            return None;
        }
        let bridge = bridge.trim_matches('"').parse().ok()?;
        Some(Self { overlay, chain, bridge, way })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_stand_where_they_are_asked_now_and_when_docker_has_started() {
        use ForwardChain::{DockerUser, Forward as ForwardItself};
        let forward = |drops, has_docker_user, asks_docker_user| Forward {
            drops,
            has_docker_user,
            asks_docker_user,
            beside: Beside::Use,
        };
        let nothing = forward(false, false, false);
        assert_eq!(nothing.chains(false), []);
        assert_eq!(nothing.chains(true), [DockerUser]);
        assert_eq!(forward(true, false, false).chains(false), [ForwardItself]);
        assert_eq!(forward(true, false, false).chains(true), [DockerUser, ForwardItself]);
        assert_eq!(forward(true, true, false).chains(true), [DockerUser, ForwardItself]);
        assert_eq!(forward(true, true, true).chains(true), [DockerUser]);
        assert_eq!(forward(false, true, true).chains(false), [DockerUser]);
    }
}
