//! `map`: the arithmetic, for anybody, without a kernel.

use std::io::{BufRead, Write};
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use serde::Serialize;

use crate::cli::MapArgs;
use crate::error::Error;
use crate::mapping::{Mapping, Overlay, Underlay};
use crate::name::InterfaceName;

/// What `map` tells of an address.
#[derive(Serialize)]
struct Mapped {
    address: Ipv4Addr,
    kind: &'static str,
    overlay: Overlay,
    underlay: Underlay,
    slice: Ipv4Network,
    host: Ipv4Addr,
    gateway: Ipv4Addr,
    bridge: InterfaceName,
}

impl Mapped {
    fn new(mapping: Mapping, text: &str) -> Result<Self, Error> {
        let (overlay, underlay) = (mapping.overlay(), mapping.underlay());
        let address: Ipv4Addr = text.parse().map_err(|_| {
            Error::Usage(format!(
                "address '{text}' is no IPv4 address; write one of {overlay} or {underlay}"
            ))
        })?;
        let (kind, host) = if underlay.contains(address) {
            ("host", address)
        } else if overlay.contains(address) {
            ("overlay", mapping.host(address))
        } else {
            return Err(Error::Usage(format!(
                "address '{address}' is neither in overlay {overlay} nor in underlay {underlay}"
            )));
        };
        let slice = mapping.slice(host);
        let (gateway, bridge) = (mapping.gateway(host), InterfaceName::of_slice(slice));
        Ok(Self {
            address,
            kind,
            overlay,
            underlay,
            slice,
            host,
            gateway,
            bridge,
        })
    }
}

/// Tells slices and hosts. Addresses are taken one by one and answered at once, however many there are.
pub fn map(args: &MapArgs, out: &mut dyn Write) -> Result<(), Error> {
    let underlay = args.underlay.underlay().ok_or_else(|| {
        Error::Usage(format!(
            "underlay '{}' is no network; map looks at no host: write it like 172.30.0.0/16",
            args.underlay
        ))
    })?;
    let mapping = Mapping::new(args.overlay, underlay).map_err(Error::Usage)?;
    let mut separator = "[\n";
    if !args.json {
        writeln!(
            out,
            "{:16} {:8} {:19} {:16} {:16} Bridge",
            "Address", "Kind", "Slice", "Host", "Gateway"
        )?;
    }
    let mut one = |text: &str, out: &mut dyn Write| -> Result<(), Error> {
        let Mapped {
            address,
            kind,
            slice,
            host,
            gateway,
            bridge,
            ..
        } = &match Mapped::new(mapping, text)? {
            mapped if args.json => {
                out.write_all(separator.as_bytes())?;
                separator = ",\n";
                return Ok(serde_json::to_writer(&mut *out, &mapped).map_err(std::io::Error::from)?);
            }
            mapped => mapped,
        };
        let slice = slice.to_string();
        Ok(writeln!(
            out,
            "{address:16} {kind:8} {slice:19} {host:16} {gateway:16} {bridge}"
        )?)
    };
    for text in &args.addresses {
        if text != "-" {
            one(text, out)?;
            continue;
        }
        let mut input = std::io::stdin().lock();
        let mut line = String::new();
        for number in 1_u64.. {
            line.clear();
            if input.read_line(&mut line)? == 0 {
                break;
            }
            match line.trim() {
                "" => {}
                text => one(text, out).map_err(|error| match error {
                    Error::Usage(reason) => Error::Usage(format!("standard input, line {number}: {reason}")),
                    other => other,
                })?,
            }
        }
    }
    if args.json {
        out.write_all(if separator == "[\n" { b"[" } else { b"" })?;
        writeln!(out, "\n]")?;
    }
    Ok(())
}
