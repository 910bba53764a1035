//! The instructions of one small packet by the kernel's functions, in a guest whose QEMU counts them (`benches/instructions`).
//!
//! The first line of the output is `kernel RELEASE`. For each case follow a line `case NAME PACKETS` and lines of functions in the order of their addresses: the
//! address (16 hexadecimal digits), the part of the kernel that the function belongs to, and its name.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use crate::load::{Load, packets};
use crate::measure::{address, all, mtu};
use crate::site::{Connected, Site};

/// What tells the counter that a section begins and ends.
const MARK: &str = "mark";

/// Sends so many packets in each case, and prints what the counts are to be read with.
pub fn run(cases: &[String], packets: u32) -> Result<(), Box<dyn Error>> {
    // That programs have names; it does so only for those that are loaded afterwards.
    fs::write("/proc/sys/net/core/bpf_jit_kallsyms", "1")?;
    println!("kernel {}", fs::read_to_string("/proc/sys/kernel/osrelease")?.trim());
    for case in cases {
        let peer = all().find(|peer| peer.name == case).ok_or_else(|| format!("there is no case '{case}'"))?;
        let connected = (peer.connect)(Site::new());
        mtu(&connected);
        let sent = count(&connected, packets)?;
        println!("case {case} {sent}");
        print!("{}", functions(&fs::read_to_string("/proc/kallsyms")?));
    }
    Ok(())
}

fn count(connected: &Connected, packets: u32) -> Result<u32, Box<dyn Error>> {
    let [client, server] = &connected.containers;
    let load = Load { client, server, address: address(), time: std::time::Duration::ZERO };
    let mut exchange = packets::exchange(load);
    // What is learned by first packets is learned.
    exchange.rounds(2);
    mark("begin")?;
    let sent = exchange.rounds(packets.div_ceil(packets::BATCH_U32));
    mark("end")?;
    Ok(sent)
}

fn mark(word: &str) -> Result<(), Box<dyn Error>> {
    let status = Command::new(MARK).arg(word).status()?;
    if status.success() { Ok(()) } else { Err(format!("{MARK} {word}: {status}").into()) }
}

/// The functions of `kallsyms` as lines, the runs of others as one each.
fn functions(kallsyms: &str) -> String {
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
    } else if is_of(&["cls_", "sch_", "act_", "bpf"]) || begins(&["tcf_", "tc_", "sch_", "cls_", "bpf_", "__bpf_"]) {
        "tc"
    } else {
        "other"
    }
}

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
