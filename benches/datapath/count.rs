//! The instructions of one small packet by the kernel's functions, in a guest whose QEMU counts them (`benches/instructions`).
//!
//! The first line of the output is `kernel RELEASE`. For each case follow a line `case NAME PACKETS` and lines of functions in the order of their addresses: the
//! address (16 hexadecimal digits), the part of the kernel that the function belongs to, and its name.

use std::error::Error;
use std::fs;
use std::process::Command;

use crate::figures::kallsyms::functions;
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
