//! The kernel's functions by what they are for, as /proc/kallsyms names them.

use std::fmt::Write as _;

/// The functions of `kallsyms` as lines, the runs of others as one each.
pub fn functions(kallsyms: &str) -> String {
    let mut functions: Vec<(&str, &str, &str)> = kallsyms
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
            let module = words.next().unwrap_or("").trim_matches(['[', ']']);
            "tTwW".contains(kind).then(|| (address, part(name, module), name))
        })
        .collect();
    functions.sort_unstable();
    functions.dedup_by(|(_, part, _), (_, before, _)| *part == "other" && *before == "other");
    functions.iter().fold(String::new(), |mut text, (address, part, name)| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{address} {part} {name}");
        text
    })
}

/// The part of the kernel that a function belongs to.
fn part(name: &str, module: &str) -> &'static str {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let is_of = |modules: &[&str]| modules.iter().any(|prefix| module.starts_with(prefix));
    let name = name.trim_start_matches('_');
    if is_of(&["nf_", "nft_", "nfnetlink", "x_tables", "br_netfilter"]) || name.starts_with("nf_") {
        "netfilter"
    } else if is_of(&["cls_", "sch_", "act_", "bpf"]) || begins(&["tcf_", "tc_", "sch_", "cls_", "bpf_"]) {
        "tc"
    } else {
        "other"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_of_netfilter_of_tc_or_of_neither() {
        let kallsyms = "ffffffff00000010 t nf_hook_slow\n\
                        ffffffff00000030 T ip_rcv\n\
                        ffffffff00000020 T ip_output\n\
                        ffffffff00000040 D nf_table\n\
                        ffffffff00000050 t nft_do_chain\t[nf_tables]\n\
                        ffffffff00000060 t bpf_prog_1_fan\t[bpf]\n";
        assert_eq!(
            functions(kallsyms),
            "ffffffff00000010 netfilter nf_hook_slow\n\
             ffffffff00000020 other ip_output\n\
             ffffffff00000050 netfilter nft_do_chain\n\
             ffffffff00000060 tc bpf_prog_1_fan\n"
        );
    }
}
