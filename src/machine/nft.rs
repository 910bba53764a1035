//! The fans' nftables tables, and our rules in iptables' forward chain, read and written by `nft`.

use std::collections::{BTreeMap, BTreeSet};

use super::tool;
use crate::firewall::{Accept, FAMILIES, Forward, ForwardChain, Ruleset, table_name, table_overlay};
use crate::mapping::Overlay;
use crate::object::Object;

/// What nftables holds that matters to us.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Our tables and rules.
    pub objects: Vec<Object>,
    /// What iptables does with traffic that is forwarded.
    pub forward: Forward,
}

/// Reads our tables, and our rules in iptables' chains.
///
/// One run of `nft` tells which chains there are, then one for each that matters: given two tables to list in one run,
/// nft 1.0.6 reads only the last into its cache and then misses the first.
///
/// A table or chain may go between the two, when another `fanctl` or an administrator takes it away; then all is read
/// again, since only together the parts make a true picture.
///
/// # Errors
/// A sentence from `nft`.
pub fn observe() -> Result<Observed, String> {
    const ATTEMPTS: usize = 10;
    (1..ATTEMPTS).find_map(|_| read().ok()).map_or_else(read, Ok)
}

fn read() -> Result<Observed, String> {
    let chains = Chains::read(&tool::run("nft", &["list", "chains"], "")?);
    let mut objects = Vec::new();
    for (overlay, families) in &chains.ours {
        let mut listing = String::new();
        for family in families {
            listing += &tool::run("nft", &["list", "table", family, &table_name(*overlay)], "")?;
        }
        objects.push(Object::Firewall(*overlay, Ruleset::new(listing)));
    }
    let mut asks_docker_user = false;
    for chain in &chains.forward {
        let listing = tool::run("nft", &["list", "chain", "ip", "filter", &chain.to_string()], "")?;
        asks_docker_user |= asks(&listing, ForwardChain::DockerUser);
        objects.extend(accepts(&listing).map(|(accept, _)| Object::Accept(accept)));
    }
    let forward = Forward {
        drops: chains.forward_drops,
        has_docker_user: chains.forward.contains(&ForwardChain::DockerUser),
        asks_docker_user,
    };
    Ok(Observed { objects, forward })
}

/// Which tables and chains there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chains {
    /// The families in which there is a table of ours, in the order of [`FAMILIES`].
    pub ours: BTreeMap<Overlay, Vec<&'static str>>,
    /// Chains of iptables that are there.
    pub forward: Vec<ForwardChain>,
    /// `FORWARD` drops what no rule accepts.
    pub forward_drops: bool,
}

impl Chains {
    /// Reads `nft list chains`.
    #[must_use]
    pub fn read(listing: &str) -> Self {
        let mut chains = Self::default();
        let (mut is_filter, mut chain) = (false, None);
        for line in listing.lines().map(str::trim) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["table", family, name, "{"] => {
                    is_filter = (family, name) == ("ip", "filter");
                    let ours = FAMILIES.into_iter().find(|ours| *ours == family);
                    if let (Some(family), Some(overlay)) = (ours, table_overlay(name)) {
                        let families = chains.ours.entry(overlay).or_default();
                        families.push(family);
                        families.sort_by_key(|family| FAMILIES.iter().position(|ours| ours == family));
                    }
                }
                ["chain", name, "{"] if is_filter => {
                    chain = ForwardChain::ALL.into_iter().find(|chain| chain.to_string() == name);
                    chains.forward.extend(chain);
                }
                ["type", ..] if chain == Some(ForwardChain::Forward) => {
                    chains.forward_drops = line.ends_with("policy drop;");
                }
                ["}"] => chain = None,
                _ => {}
            }
        }
        chains
    }
}

/// Whether a chain is jumped to in a listing.
fn asks(listing: &str, chain: ForwardChain) -> bool {
    let [jump, goto] = ["jump", "goto"].map(|verdict| format!("{verdict} {chain}"));
    let mut rules = listing.lines().map(str::trim_end);
    rules.any(|rule| rule.ends_with(&jump) || rule.ends_with(&goto))
}

/// Our rules in the chains of a listing, with their handles where it has them.
pub fn accepts(listing: &str) -> impl Iterator<Item = (Accept, Option<u64>)> {
    let mut chain = None;
    listing.lines().filter_map(move |line| {
        if let Some(name) = line.trim().strip_prefix("chain ") {
            let name = name.split(' ').next().unwrap_or_default();
            chain = ForwardChain::ALL.into_iter().find(|chain| chain.to_string() == name);
        }
        Some((Accept::from_rule(chain?, line)?, handle(line)))
    })
}

/// Removes a fan's tables, whichever of them there are.
fn removal_of(overlay: Overlay) -> String {
    let name = table_name(overlay);
    let lines = FAMILIES.map(|family| format!("add table {family} {name}\ndelete table {family} {name}\n"));
    lines.concat()
}

/// Makes a fan's tables, in place of those that may be there. A kernel takes nothing of a script of which it cannot do all,
/// and is then asked for less.
///
/// # Errors
/// A sentence from `nft`.
pub fn create_tables(overlay: Overlay, ruleset: &Ruleset) -> Result<(), String> {
    let create = |script: &str| tool::run("nft", &["-f", "-"], &(removal_of(overlay) + script)).map(drop);
    let lesser = ruleset.for_lesser_kernels();
    let first = create(ruleset.script());
    lesser
        .iter()
        .fold(first, |done, script| done.or_else(|_| create(script)))
}

/// Removes a fan's tables; that there are none is as good.
///
/// # Errors
/// A sentence from `nft`.
pub fn delete_tables(overlay: Overlay) -> Result<(), String> {
    tool::run("nft", &["-f", "-"], &removal_of(overlay)).map(drop)
}

/// Puts our rule at the head of another tool's chain.
///
/// # Errors
/// A sentence from `nft`.
pub fn create_accept(accept: &Accept) -> Result<(), String> {
    let script: Vec<String> = accept.insertion().map(|line| line + "\n").collect();
    tool::run("nft", &["-f", "-"], &script.concat()).map(drop)
}

/// Takes our rule out again; that it is gone is as good.
///
/// # Errors
/// A sentence from `nft`.
pub fn delete_accept(accept: &Accept) -> Result<(), String> {
    let listing = match tool::run("nft", &["-a", "list", "table", "ip", "filter"], "") {
        Ok(listing) => listing,
        // That there is no such table is as good as well.
        Err(said) => {
            let chains = Chains::read(&tool::run("nft", &["list", "chains", "ip"], "")?);
            return if chains.forward.is_empty() { Ok(()) } else { Err(said) };
        }
    };
    match deletion(accept, &listing) {
        script if script.is_empty() => Ok(()),
        script => tool::run("nft", &["-f", "-"], &script).map(drop),
    }
}

/// What takes our rule out of the table that is listed with handles, and Docker's chain with it where it was the last. All
/// of it goes at once or nothing does; by its handle, so that nothing goes that was not listed.
#[must_use]
pub fn deletion(accept: &Accept, listing: &str) -> String {
    let handles: BTreeSet<u64> = accepts(listing)
        .filter(|(found, _)| found == accept)
        .filter_map(|(_, handle)| handle)
        .collect();
    let delete = |handle| format!("delete rule ip filter {} handle {handle}\n", accept.chain);
    let mut script = handles.iter().map(delete).collect::<Vec<_>>().concat();
    if accept.chain == ForwardChain::DockerUser {
        let is_left = |line: &&str| handle(line).is_none_or(|handle| !handles.contains(&handle));
        let rest: Vec<&str> = listing
            .lines()
            .filter(is_left)
            .map(|line| line.split(" # handle ").next().unwrap_or(line))
            .collect();
        script.extend(removal(&rest.join("\n")));
    }
    script
}

/// The number under which nft knows the rule of a line.
fn handle(line: &str) -> Option<u64> {
    line.split_once(" # handle ")?.1.trim().parse().ok()
}

/// What takes away Docker's chain where it is empty and nobody asks it, and the table if nothing else is in it.
fn removal(listing: &str) -> Option<&'static str> {
    let text = listing.lines().map(str::trim);
    let lines: Vec<&str> = text.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let chain = ["chain DOCKER-USER {", "}"];
    let is_empty = lines.windows(2).any(|lines| lines == chain);
    if !is_empty || asks(listing, ForwardChain::DockerUser) {
        return None;
    }
    let is_alone = lines == ["table ip filter {", chain[0], "}", "}"];
    Some(if is_alone {
        "delete table ip filter\n"
    } else {
        "delete chain ip filter DOCKER-USER\n"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::Way;

    const CHAINS: &str = "table bridge fan-250.0.0.0/8 {\n\tchain ports {\n\t\ttype filter hook prerouting priority \
                          filter; policy accept;\n\t}\n}\ntable bridge filter {\n\tchain FORWARD {\n\t\ttype filter hook \
                          forward priority filter; policy accept;\n\t}\n}\ntable ip fan-250.0.0.0/8 {\n\tchain guard {\n\t\ttype filter hook prerouting priority dstnat + \
                          10; policy accept;\n\t}\n}\ntable ip filter {\n\tchain DOCKER-USER {\n\t}\n\tchain FORWARD \
                          {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\ntable ip mine \
                          {\n\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy accept;\n\t}\n}\n";

    #[test]
    fn chains_are_read_as_nft_lists_them() {
        let chains = Chains::read(CHAINS);
        assert_eq!(
            chains.ours,
            BTreeMap::from([("250".parse().unwrap(), vec!["ip", "bridge"])])
        );
        assert_eq!(chains.forward, [ForwardChain::DockerUser, ForwardChain::Forward]);
        assert!(chains.forward_drops);
        assert!(!Chains::read(&CHAINS.replace("policy drop", "policy accept")).forward_drops);
        assert_eq!(Chains::read(""), Chains::default());
    }

    #[test]
    fn dockers_chain_is_taken_away_where_it_is_nobodys() {
        let alone = "table ip filter {\n\tchain DOCKER-USER {\n\t}\n}\n";
        let forward = "\n\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n";
        let beside = alone.replace("\n}\n", forward);
        let asked = beside.replace("drop;\n", "drop;\n\t\tcounter packets 0 bytes 0 jump DOCKER-USER\n");
        let used = alone.replace("USER {\n", "USER {\n\t\tcounter packets 7 bytes 420 return\n");
        assert_eq!(removal(alone), Some("delete table ip filter\n"));
        assert_eq!(removal(&beside), Some("delete chain ip filter DOCKER-USER\n"));
        assert_eq!((removal(&asked), removal(&used), removal("")), (None, None, None));
        assert!(asks(&asked, ForwardChain::DockerUser) && !asks(&beside, ForwardChain::DockerUser));
    }

    #[test]
    fn our_rule_goes_with_the_chain_that_it_was_alone_in() {
        let accept = |overlay: &str, way| Accept {
            overlay: overlay.parse().unwrap(),
            chain: ForwardChain::DockerUser,
            bridge: "fan-250-0-28".parse().unwrap(),
            way,
        };
        let line = |accept: &Accept, number| {
            format!(
                "\t\t{} # handle {number}\n",
                accept.rule().replace("ip filter DOCKER-USER ", "")
            )
        };
        let (ours, theirs) = (accept("250", Way::From), accept("251", Way::From));
        let listing = |rules: &str| {
            format!("table ip filter {{ # handle 1\n\tchain DOCKER-USER {{ # handle 14\n{rules}\t}}\n}}\n")
        };
        let alone = listing(&line(&ours, 4));
        let gone = "delete rule ip filter DOCKER-USER handle 4\n";
        assert_eq!(deletion(&ours, &alone), format!("{gone}delete table ip filter\n"));
        let beside = listing(&(line(&theirs, 14) + &line(&ours, 4)));
        assert_eq!(deletion(&ours, &beside), gone);
        assert_eq!(deletion(&accept("250", Way::To), &alone), "");
    }

    #[test]
    fn our_rules_are_read_back_and_others_are_not() {
        let accept = |way| Accept {
            overlay: "250".parse().unwrap(),
            chain: ForwardChain::Forward,
            bridge: "fan-250-0-28".parse().unwrap(),
            way,
        };
        let printed = |way| accept(way).rule().replace("ip filter FORWARD ", "");
        let listing = format!(
            "table ip filter {{\n\tchain FORWARD {{\n\t\t{} # handle 4\n\t\t{} # handle 5\n\t\tiifname \"docker0\" accept \
             comment \"fan of docker\" # handle 6\n\t}}\n}}\n",
            printed(Way::From).replace("counter", "counter packets 3 bytes 252"),
            printed(Way::To),
        );
        let found: Vec<_> = accepts(&listing).collect();
        assert_eq!(found, [(accept(Way::From), Some(4)), (accept(Way::To), Some(5))]);
    }
}
