//! The same as `fanctl up` and `down` make, by a script of `ip`, `tc`, `nft` and `sysctl` calls: the lines that
//! `--dry-run` prints, a process each, as the original fanctl, a shell script, worked.

/// The programs that the lines call.
const PROGRAMS: [&str; 5] = ["ip", "tc", "nft", "bridge", "sysctl"];

/// Turns what `--dry-run` printed into a script that runs.
pub fn of(dry_run: &str) -> String {
    std::iter::once("set -e".to_string())
        .chain(dry_run.lines().map(runnable))
        .map(|line| line + "\n")
        .collect()
}

/// Our programs cannot be had from a line, so a one-instruction program of tc's own stands in for each: the script has it
/// easier. nft deletes a rule by a number that a script would have to look up, so here the chain, which is ours alone, is
/// flushed. And quotes of nftables are not for the
/// shell, unless the line has quotes for it.
fn runnable(line: &str) -> String {
    if let Some((filter, _)) = line.split_once(" direct-action object-pinned PROGRAM") {
        return filter.replacen(" bpf", " bpf bytecode '1,6 0 0 0,'", 1);
    }
    if let Some(rule) = line.strip_prefix("nft delete rule ") {
        let chain: Vec<&str> = rule.split(' ').take(3).collect();
        return format!("nft flush chain {}", chain.join(" "));
    }
    match line.strip_prefix("nft ") {
        Some(rule) if !rule.starts_with(['-', '\'']) => format!("nft '{rule}'"),
        _ => line.to_string(),
    }
}

/// How many processes a script starts, its shell counted.
pub fn processes(script: &str) -> usize {
    let is_call = |line: &&str| PROGRAMS.iter().any(|program| line.starts_with(&format!("{program} ")));
    1 + script.lines().filter(is_call).count()
}
