//! The same as `fanctl up` and `down` make, by a script of `ip`, `tc`, `bridge`, `nft` and `sysctl` calls: the lines that
//! `--dry-run` prints, a process each, as the original fanctl, a shell script, worked.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use fanctl::bpf::program::{self, Spec};
use fanctl::fan::Fan;

use crate::object;

/// What a script cannot make up as it runs.
pub struct Kit<'a> {
    /// Where the object files of the programs are.
    pub directory: &'a Path,
    /// The kernel can tell bridges apart in nftables (`meta ibrname`); a script has no second try.
    pub knows_bridges: bool,
}

impl<'a> Kit<'a> {
    /// Tries what this kernel can.
    pub fn new(directory: &'a Path) -> Result<Self, Box<dyn Error>> {
        let table = "table bridge probe { chain probe { meta ibrname \"probe\" accept; }; }";
        let mut attempt = Command::new("nft");
        attempt.args(["--check", table]).stderr(Stdio::null());
        Ok(Self { directory, knows_bridges: attempt.status()?.success() })
    }

    /// Turns what `--dry-run` printed into a script that runs.
    pub fn script(&self, dry_run: &str) -> Result<String, Box<dyn Error>> {
        self.write_objects(dry_run)?;
        let lines = dry_run.lines().map(|line| self.runnable(line) + "\n");
        Ok(std::iter::once("set -e\n".to_string()).chain(lines).collect())
    }

    /// Writes the programs of the fan that the lines make: its bridge has the label that tells it.
    fn write_objects(&self, dry_run: &str) -> Result<(), Box<dyn Error>> {
        let label = dry_run.lines().find_map(|line| {
            let (device, alias) = line.strip_prefix("ip link set ")?.split_once(" alias '")?;
            Fan::from_label(&device.split(' ').next()?.parse().ok()?, alias.trim_end_matches('\''))
        });
        let Some(fan) = label else { return Ok(()) };
        // The network of the bench's interface is the underlay.
        let spec = Spec {
            mapping: fan.mapping,
            host: fan.host,
            broadcasts: [fan.mapping.underlay().network().broadcast()].into(),
            encapsulation: fan.options.encapsulation,
        };
        for (name, program) in
            [("ingress", program::ingress(&spec)), ("egress", program::egress(&spec)), ("refuse", program::refuse())]
        {
            fs::write(self.file(name), object::of(&program))?;
        }
        Ok(())
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.join(format!("{name}.o"))
    }

    /// A rule is deleted by its number, which a script has to look up; and the quotes of nftables are not for the shell, unless
    /// the line has quotes for it.
    fn runnable(&self, line: &str) -> String {
        if let Some((filter, comment)) = line.split_once(" direct-action object-pinned PROGRAM") {
            let is_refusal = comment.ends_with("a program that drops: fanctl show --program");
            let name = match (is_refusal, filter.contains(" ingress ")) {
                (true, _) => "refuse",
                (false, true) => "ingress",
                (false, false) => "egress",
            };
            let (file, section) = (self.file(name), object::SECTION);
            return format!("{filter} direct-action object-file {} section {section}", file.display());
        }
        if let Some(rule) = line.strip_prefix("nft delete rule ") {
            let words: Vec<&str> = rule.split(' ').collect();
            let (chain, interface) = (words[..3].join(" "), words[3..5].join(" "));
            let (_, comment) = rule.split_once(" comment ").unwrap_or_default();
            let wanted = format!("{interface}.*{}", comment.replace('/', "\\/"));
            return format!(
                "nft delete rule {chain} handle $(nft -a list chain {chain} | sed -n '/{wanted}/s/.*handle //p')"
            );
        }
        match line.strip_prefix("nft ") {
            Some(rule) if !rule.starts_with(['-', '\'']) => format!("nft '{rule}'"),
            _ if self.knows_bridges => line.to_string(),
            _ => match line.split_once("meta ibrname \"") {
                Some((before, rest)) => before.to_string() + rest.split_once("\" ").map_or(rest, |(_, rule)| rule),
                None => line.to_string(),
            },
        }
    }
}
