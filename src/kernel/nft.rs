//! The fans' nftables tables, and our rules in iptables' forward chain, written by `nft`, and read by it where they are not
//! what we made.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::nftables::comments::{Comments, with_comments};
use super::nftables::{Nftables, TableContent, Tables};
use super::{KernelError, exec};
use crate::fan::Fan;
use crate::fan::encap::SourcePorts;
use crate::fan::mapping::Overlay;
use crate::plan::diff::Step;
use crate::plan::firewall::{
    Abilities, Accept, Beside, FAMILIES, FORMAT, Forward, ForwardChain, Record, Ruleset, ruleset, table_name,
};
use crate::plan::state::Object;

/// What nftables holds that matters to us.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Our tables and rules.
    pub(crate) objects: Vec<Object>,
    /// Tables that have the name of a fan's and are none.
    pub(crate) namesakes: Vec<(&'static str, Overlay)>,
    /// What iptables does with traffic that is forwarded.
    pub(crate) forward: Forward,
}

/// Reads our tables, and our rules in iptables' chains. `fans` are those that are up: the kernel itself tells which of their
/// tables are as this version makes them, and what others say is asked of `nft`.
///
/// That takes a run of `nft` for each table or chain: given two tables to list in one run, nft 1.0.6 reads only the last
/// into its cache and then misses the first.
///
/// A table or chain may come or go meanwhile, when another `fanctl` or an administrator has a hand in it; then all is read
/// again, since only together the parts make a true picture.
///
/// None on a kernel without nf_tables.
///
/// # Errors
/// A sentence from `nft`, or what the kernel said.
pub(crate) fn observe(fans: &[&Fan]) -> Result<Option<Observed>, KernelError> {
    const ATTEMPTS: usize = 10;
    let Some(nftables) = Nftables::connect()? else {
        return Ok(None);
    };
    if exec::find("nft").is_none() {
        return Err(exec::missing("nft").into());
    }
    let read = || {
        let before = nftables.generation()?;
        let observed = read(&nftables, fans)?;
        Ok((observed, before == nftables.generation()?))
    };
    let settled = (1..ATTEMPTS).find_map(|_| read().ok().filter(|(_, settled)| *settled));
    let (observed, _) = settled.map_or_else(read, Ok::<_, KernelError>)?;
    Ok(Some(observed))
}

fn read(nftables: &Nftables, fans: &[&Fan]) -> Result<Observed, KernelError> {
    let tables = nftables.tables()?;
    let mut objects = Vec::new();
    for (overlay, families) in &tables.ours {
        let fan = fans.iter().find(|fan| fan.overlay() == *overlay);
        let made = fan.and_then(|fan| {
            let found = sketch(nftables, &tables, *overlay).ok()??;
            let made = [SourcePorts::Privileged, SourcePorts::Any].map(|sources| ruleset(fan, sources));
            made.into_iter().find(|made| *made == found)
        });
        let is_whole = families.len() == FAMILIES.len();
        let content = nftables.content(*overlay, families)?;
        let deviations = content.deviations(made.is_some() || !is_whole);
        let is_recorded = made.is_none() || content.record.is_some();
        let made = made.filter(|_| deviations.is_empty());
        let ruleset = made.map_or_else(|| list(*overlay, families), Ok::<_, KernelError>)?;
        objects.push(Object::Firewall(*overlay, ruleset.deviating(deviations).recorded(is_recorded)));
    }
    let mut asks_docker_user = false;
    for chain in &tables.forward {
        let chain = chain.to_string();
        let listing = exec::run("nft", &["-a", "list", "chain", "ip", "filter", &chain], "")?;
        let listing = with_comments(&listing, &nftables.comments(&chain)?);
        asks_docker_user |= asks(&without_handles(&listing), ForwardChain::DockerUser);
        objects.extend(accepts(&listing).map(|(accept, _)| Object::Accept(accept)));
    }
    let is_in_dockers =
        |object: &&Object| matches!(object, Object::Accept(accept) if accept.chain == ForwardChain::DockerUser);
    let forward = Forward {
        beside: tables.beside(objects.iter().filter(is_in_dockers).count()),
        drops: tables.forward_drops,
        has_docker_user: tables.forward.contains(&ForwardChain::DockerUser),
        asks_docker_user,
    };
    Ok(Observed { objects, namesakes: tables.namesakes, forward })
}

/// What is known of a fan's tables without their text; none when there is more in them than is known so.
fn sketch(nftables: &Nftables, tables: &Tables, overlay: Overlay) -> Result<Option<Ruleset>, KernelError> {
    let mut text = String::new();
    for family in FAMILIES {
        let Some(sketch) = nftables.sketch(tables, family, &table_name(overlay))? else {
            return Ok(None);
        };
        text += &sketch;
    }
    Ok(Some(Ruleset::new(text)))
}

/// The text of a fan's tables.
fn list(overlay: Overlay, families: &[&str]) -> Result<Ruleset, KernelError> {
    let mut listing = String::new();
    for family in families {
        listing += &exec::run("nft", &["list", "table", family, &table_name(overlay)], "")?;
    }
    Ok(Ruleset::new(listing))
}

fn without_handles(listing: &str) -> String {
    let lines = listing.lines().map(|line| line.split(" # handle ").next().unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
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

/// Makes and removes tables of fans and rules in iptables' chains, all in one transaction: it happens whole or not at all.
/// Tables come in place of those that may be there; that there is nothing to remove is as good. A kernel takes nothing of a
/// script of which it cannot do all, and is then asked for less.
///
/// # Errors
/// A sentence from `nft`.
pub(crate) fn carry_out(steps: &[Step]) -> Result<(), String> {
    let gone: Vec<&Accept> = steps.iter().filter_map(deleted).collect();
    let deletion = match &gone[..] {
        [] => String::new(),
        gone => deletion(gone, &filter_table()?),
    };
    let script = |abilities| {
        let parts = steps.iter().map(|step| part(step, abilities));
        std::iter::once(deletion.clone()).chain(parts).collect::<String>()
    };
    let whole = script(Abilities::WHOLE);
    // What is empty is not worth a process.
    if !whole.is_empty() {
        exec::run("nft", &["-f", "-"], &whole).or_else(|said| {
            let less = script(abilities());
            if less == whole { Err(said) } else { exec::run("nft", &["-f", "-"], &less) }
        })?;
    }
    let made: Vec<Overlay> = steps.iter().filter_map(made).collect();
    // Tables without a record are as good; only rules changed under their comments are not seen until the next command
    // records them.
    let _ = record(&made).or_else(|_| record(&made));
    Ok(())
}

/// The same steps with the text of tables that this kernel takes, for to be shown.
pub(crate) fn as_taken(steps: &[Step]) -> Vec<Step> {
    let mut known = None;
    let mut fitted = |object: &Object| match object {
        Object::Firewall(overlay, ruleset) if ruleset.asks_for_abilities() => {
            Object::Firewall(*overlay, ruleset.fitted(*known.get_or_insert_with(abilities)))
        }
        other => other.clone(),
    };
    let mut taken = |step: &Step| match step {
        Step::Create(to) => Step::Create(fitted(to)),
        Step::Remake(to) => Step::Remake(fitted(to)),
        Step::Change { from, to } => Step::Change { from: from.clone(), to: fitted(to) },
        other => other.clone(),
    };
    steps.iter().map(&mut taken).collect()
}

/// Keeps in the tables of these fans what is in them now, where they have no record.
///
/// # Errors
/// What the kernel or `nft` said.
pub(crate) fn record(overlays: &[Overlay]) -> Result<(), KernelError> {
    let mut script = String::new();
    let Some(nftables) = Nftables::connect()? else {
        return Ok(());
    };
    for &overlay in overlays {
        let TableContent { digest, record, .. } = nftables.content(overlay, &FAMILIES)?;
        if record.is_none() {
            let format = FORMAT;
            let record = Record { format, digest };
            let _ = writeln!(script, "add chain ip {} {record}", table_name(overlay));
        }
    }
    if !script.is_empty() {
        exec::run("nft", &["-f", "-"], &script)?;
    }
    Ok(())
}

/// The overlay whose tables a step makes as this version does; those of another version are put back as they were.
fn made(step: &Step) -> Option<Overlay> {
    match step {
        Step::Create(Object::Firewall(overlay, ruleset))
        | Step::Remake(Object::Firewall(overlay, ruleset))
        | Step::Change { to: Object::Firewall(overlay, ruleset), .. } => {
            ruleset.deviations().is_empty().then_some(*overlay)
        }
        _ => None,
    }
}

/// What this kernel can do, by trial: with `--check`, `nft` has it read a table and keep nothing of it (the batch is sent without
/// its end, `nfnetlink_rcv_batch`, net/netfilter/nfnetlink.c). A kernel lacks what it refuses where it takes a table like it.
fn abilities() -> Abilities {
    let takes = |table: &str| exec::run("nft", &["--check", "-f", "-"], table).is_ok();
    let lacks = |ability: &str, plain: &str| !takes(ability) && takes(plain);
    Abilities {
        flowtables: !lacks(FLOWTABLE_TRIAL, "table ip fanctl-trial {\n\tchain trial {\n\t\tip ttl 1 drop\n\t}\n}\n"),
        bridge_names: !lacks(
            "table bridge fanctl-trial {\n\tchain trial {\n\t\tmeta ibrname \"trial\" drop\n\t}\n}\n",
            "table bridge fanctl-trial {\n\tchain trial {\n\t\tiifname \"trial\" drop\n\t}\n}\n",
        ),
    }
}

/// Whether this kernel has flowtables, by trial.
#[must_use]
pub(crate) fn has_flowtables() -> bool {
    abilities().flowtables
}

/// A table with a flowtable, and a rule that hands connections to it.
const FLOWTABLE_TRIAL: &str = "table ip fanctl-trial {\n\tflowtable between {\n\t\thook ingress priority 0\n\t\tdevices = { lo }\n\t}\n\t\
                               chain trial {\n\t\ttype filter hook forward priority 300; policy accept;\n\t\t\
                               flow add @between\n\t}\n}\n";

fn deleted(step: &Step) -> Option<&Accept> {
    match step {
        Step::Delete(Object::Accept(accept)) => Some(accept),
        _ => None,
    }
}

/// What a step is to `nft`, but for the removal of rules, which takes their handles.
fn part(step: &Step, abilities: Abilities) -> String {
    match step {
        Step::Create(Object::Firewall(overlay, ruleset))
        | Step::Remake(Object::Firewall(overlay, ruleset))
        | Step::Change { to: Object::Firewall(overlay, ruleset), .. } => {
            removal_of(*overlay) + &ruleset.with_links(exists).script_for(abilities)
        }
        Step::Delete(Object::Firewall(overlay, _)) => removal_of(*overlay),
        Step::Create(Object::Accept(accept)) => accept.insertion().map(|line| line + "\n").collect(),
        _ => String::new(),
    }
}

fn exists(link: &str) -> bool {
    nix::net::if_::if_nametoindex(link).is_ok()
}

/// iptables' table with the handles of what is in it; nothing when there is none.
fn filter_table() -> Result<String, String> {
    let comments = || -> Result<Comments, String> {
        let nftables = Nftables::connect().map_err(|refusal| refusal.to_string())?;
        let mut all = Comments::new();
        for chain in nftables.iter().flat_map(|_| ForwardChain::ALL) {
            let found = nftables.as_ref().map(|nftables| nftables.comments(&chain.to_string()));
            all.extend(found.transpose().map_err(|refusal| refusal.to_string())?.unwrap_or_default());
        }
        Ok(all)
    };
    let listing = exec::run("nft", &["-a", "list", "table", "ip", "filter"], "");
    listing.and_then(|listing| Ok(with_comments(&listing, &comments()?))).or_else(|said| {
        let nftables = Nftables::connect().map_err(|refusal| refusal.to_string())?;
        let tables = nftables.map_or_else(|| Ok(Tables::default()), |nftables| nftables.tables());
        let is_gone = tables.is_ok_and(|tables| tables.forward.is_empty());
        if is_gone { Ok(String::new()) } else { Err(said) }
    })
}

/// What takes rules of ours out of the table that is listed with handles, and Docker's chain with them where they were the
/// last. All of it goes at once or nothing does; by their handles, so that nothing goes that was not listed.
#[must_use]
pub fn deletion(gone: &[&Accept], listing: &str) -> String {
    let handles: BTreeMap<u64, ForwardChain> = accepts(listing)
        .filter(|(found, _)| gone.contains(&found))
        .filter_map(|(found, handle)| Some((handle?, found.chain)))
        .collect();
    let delete = |(handle, chain)| format!("delete rule ip filter {chain} handle {handle}\n");
    let mut script: String = handles.iter().map(delete).collect();
    if gone.iter().any(|accept| accept.chain == ForwardChain::DockerUser) {
        let is_left = |line: &&str| handle(line).is_none_or(|handle| !handles.contains_key(&handle));
        let rest: Vec<&str> =
            listing.lines().filter(is_left).map(|line| line.split(" # handle ").next().unwrap_or(line)).collect();
        script.extend(beside(&rest.join("\n")).removal().map(|line| format!("{line}\n")));
    }
    script
}

/// The number under which nft knows the rule of a line. Tables and chains have numbers of their own, which may be the same.
fn handle(line: &str) -> Option<u64> {
    let (rule, handle) = line.split_once(" # handle ")?;
    handle.trim().parse().ok().filter(|_| !rule.ends_with('{'))
}

/// What there is in a table from which our rules are gone already.
fn beside(listing: &str) -> Beside {
    let text = listing.lines().map(str::trim);
    let lines: Vec<&str> = text.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let chain = ["chain DOCKER-USER {", "}"];
    let is_empty = lines.windows(2).any(|lines| lines == chain);
    if !is_empty || asks(listing, ForwardChain::DockerUser) {
        return Beside::Use;
    }
    if lines == ["table ip filter {", chain[0], "}", "}"] { Beside::Nothing } else { Beside::Others }
}
