//! The same as `fanctl up` and `down` make, by a script of `ip`, `tc`, `bridge`, `nft` and `sysctl` calls: the lines that
//! `--dry-run` prints, a process each, as the original fanctl, a shell script, worked.

use std::error::Error;
use std::fs;
use std::path::Path;

use fanctl::bpf::program::{self, Spec};
use fanctl::fan::Fan;

use crate::object;

/// What a script cannot make up as it runs.
pub struct Kit<'a> {
    /// Where the object files of the programs are.
    pub directory: &'a Path,
}

impl Kit<'_> {
    /// Turns what `--dry-run` printed into a script that runs.
    pub fn script(&self, dry_run: &str) -> Result<String, Box<dyn Error>> {
        let Some(fan) = made(dry_run) else { return Ok(format!("set -e\n{dry_run}")) };
        self.write_objects(&fan)?;
        let lines = dry_run.lines().map(|line| self.runnable(line) + "\n");
        Ok(std::iter::once("set -e\n".to_string()).chain(lines).collect())
    }

    /// Writes the programs of the fan.
    fn write_objects(&self, fan: &Fan) -> Result<(), Box<dyn Error>> {
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

    /// The line with the program that stands for one in it, if any does.
    fn runnable(&self, line: &str) -> String {
        let Some((filter, comment)) = line.split_once(" direct-action object-pinned PROGRAM") else {
            return line.to_string();
        };
        let is_refusal = comment.ends_with("a program that drops: fanctl show --program");
        let name = match (is_refusal, filter.contains(" ingress ")) {
            (true, _) => "refuse",
            (false, true) => "ingress",
            (false, false) => "egress",
        };
        let (file, section) = (self.file(name), object::SECTION);
        format!("{filter} direct-action object-file {} section {section}", file.display())
    }
}

/// The fan that the lines make: its bridge has the label that tells it.
fn made(dry_run: &str) -> Option<Fan> {
    dry_run.lines().find_map(|line| {
        let (device, alias) = line.strip_prefix("ip link set ")?.split_once(" alias '")?;
        Fan::from_label(&device.split(' ').next()?.parse().ok()?, alias.trim_end_matches('\''))
    })
}
