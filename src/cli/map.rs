//! `map`: the arithmetic, for anybody, without a kernel.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use serde::Serialize;

use crate::cli::args::MapArgs;
use crate::error::Error;
use crate::fan::json::JsonArgs;
use crate::fan::mapping::{Mapping, Overlay, Underlay};
use crate::fan::name::InterfaceName;

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
            Error::Usage(format!("address '{text}' is no IPv4 address; write one of {overlay} or {underlay}"))
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
        Ok(Self { address, kind, overlay, underlay, slice, host, gateway, bridge })
    }
}

/// No address is longer, and no line is read further.
const LONGEST_LINE: u64 = 256;

/// Tells slices and hosts. Addresses are taken one by one and answered at once, however many there are.
pub(crate) fn map(args: &MapArgs, out: &mut dyn Write) -> Result<(), Error> {
    let underlay = args.underlay.underlay().ok_or_else(|| {
        Error::Usage(format!(
            "underlay '{}' is no network; map looks at no host: write it like 172.30.0.0/16",
            args.underlay
        ))
    })?;
    let mut answers = MapOutput {
        mapping: Mapping::new(args.overlay, underlay).map_err(Error::Usage)?,
        json: args.json,
        first: true,
        out,
    };
    let told = args.addresses.iter().try_for_each(|text| match text.as_str() {
        "-" => answers.lines(std::io::stdin().lock()),
        text => answers.one(text),
    });
    // What was found before an error is a whole array too.
    told.and(answers.end())
}

/// The table or array that answers become, one after the other.
struct MapOutput<'a> {
    mapping: Mapping,
    json: JsonArgs,
    first: bool,
    out: &'a mut dyn Write,
}

impl MapOutput<'_> {
    fn one(&mut self, text: &str) -> Result<(), Error> {
        let mapped = Mapped::new(self.mapping, text)?;
        let first = std::mem::replace(&mut self.first, false);
        if self.json.is_wanted() {
            self.out.write_all(if first { self.begin() } else { b"," })?;
            self.out.write_all(b"\n")?;
            serde_json::to_writer(&mut *self.out, &mapped).map_err(std::io::Error::from)?;
            return Ok(());
        }
        if first {
            self.row("Address", "Kind", ["Slice", "Host", "Gateway", "Bridge"])?;
        }
        let Mapped { slice, host, .. } = &mapped;
        let (slice, host, gateway) = (slice.to_string(), host.to_string(), mapped.gateway.to_string());
        let rest = [slice.as_str(), &host, &gateway, mapped.bridge.as_str()];
        self.row(&mapped.address.to_string(), mapped.kind, rest)
    }

    /// What stands before the first answer.
    fn begin(&self) -> &'static [u8] {
        if self.json.is_second() { b"{\"version\": 2, \"addresses\": [" } else { b"[" }
    }

    fn row(&mut self, address: &str, kind: &str, [slice, host, gateway, bridge]: [&str; 4]) -> Result<(), Error> {
        Ok(writeln!(self.out, "{address:16} {kind:8} {slice:19} {host:16} {gateway:16} {bridge}")?)
    }

    /// Answers line by line; what follows a '#' is a comment. A writer that waits for the answers before it writes more gets them.
    fn lines(&mut self, input: impl Read) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::Failed(format!("standard input: {error}"));
        let mut input = BufReader::new(input);
        let mut line = Vec::new();
        for number in 1_u64.. {
            if !input.buffer().contains(&b'\n') {
                self.out.flush()?;
            }
            line.clear();
            let mut start = input.by_ref().take(LONGEST_LINE);
            if start.read_until(b'\n', &mut line).map_err(failed)? == 0 {
                break;
            }
            let is_cut = line.last() != Some(&b'\n');
            if let Some(comment) = line.iter().position(|byte| *byte == b'#') {
                line.truncate(comment);
                if is_cut {
                    input.skip_until(b'\n').map_err(failed)?;
                }
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim();
            if !text.is_empty() {
                self.one(text).map_err(|error| match error {
                    Error::Usage(reason) => Error::Usage(format!("standard input, line {number}: {reason}")),
                    other => other,
                })?;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        if self.json.is_wanted() {
            let begin = if self.first { self.begin() } else { b"\n" };
            self.out.write_all(begin)?;
            self.out.write_all(if self.json.is_second() { b"]}\n" } else { b"]\n" })?;
        }
        Ok(())
    }
}
