//! The hosts that answered last, in a file: where to begin after the next start. Only candidates are read from it, and nothing is lost
//! with it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::fan::Fan;
use crate::fan::mapping::Mapping;
use crate::kernel::file;

/// Where the files are, one for each overlay.
const DIRECTORY: &str = "/var/lib/fan-names";

/// The most hosts in a file, and so the most bytes of one: an address in a line.
const MOST: usize = 1_024;
const LIMIT: u64 = 16 * MOST as u64;

/// How often it is written at most.
const PAUSE: Duration = Duration::from_secs(10);

/// The file of a fan.
pub(super) struct Kept {
    path: PathBuf,
    hosts: Vec<Ipv4Addr>,
    written: Option<Instant>,
}

impl Kept {
    /// What the file of a fan says; nothing where there is none.
    pub(super) fn of(fan: &Fan) -> Self {
        Self::at(Path::new(DIRECTORY), fan.mapping)
    }

    fn at(directory: &Path, mapping: Mapping) -> Self {
        let path = directory.join(mapping.overlay().network().to_string().replace('/', "-"));
        let text = file::read_text(&path, LIMIT).unwrap_or_default();
        Self { hosts: hosts(mapping, &text), path, written: None }
    }

    /// Those who answered last, and before.
    pub(super) fn hosts(&self) -> &[Ipv4Addr] {
        &self.hosts
    }

    /// These answer now. Those who did before are kept behind them: a network that is out must not empty the list.
    pub(super) fn keep(&mut self, here: &[Ipv4Addr]) {
        let known: BTreeSet<Ipv4Addr> = self.hosts.iter().copied().collect();
        let is_news = here.iter().any(|host| !known.contains(host));
        let is_due = self.written.is_none_or(|written| written.elapsed() >= PAUSE);
        // With as many hosts as it takes, some are always new, and it is good enough as it is.
        let is_full = self.hosts.len() >= MOST && here.iter().filter(|host| known.contains(host)).count() >= MOST / 2;
        if !is_news || !is_due || is_full {
            return;
        }
        self.written = Some(Instant::now());
        let now: BTreeSet<Ipv4Addr> = here.iter().copied().collect();
        let before = self.hosts.iter().filter(|host| !now.contains(host));
        self.hosts = now.iter().chain(before).take(MOST).copied().collect();
        // It is a help, and no more: without it the hosts are found as at first.
        let _ = self.write();
    }

    /// Writes a file of its own and has it take the place of the other, so that it is never read half.
    fn write(&self) -> io::Result<()> {
        let mut text = String::new();
        for host in &self.hosts {
            let _ = writeln!(text, "{host}");
        }
        if let Some(directory) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let new = self.path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        File::options().write(true).create_new(true).mode(0o600).open(&new)?.write_all(text.as_bytes())?;
        fs::rename(&new, &self.path)
    }
}

/// The hosts of the underlay that a text names, one in a line, each once; other lines say nothing.
fn hosts(mapping: Mapping, text: &str) -> Vec<Ipv4Addr> {
    let mut seen = BTreeSet::new();
    let all = text.lines().filter_map(|line| line.trim().parse().ok());
    let all = all.filter(|host| mapping.underlay().contains(*host) && seen.insert(*host));
    all.take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::tests::announced;

    fn directory(test: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("fanctl-kept-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        directory
    }

    #[test]
    fn hosts_that_answered_are_kept_and_an_outage_empties_nothing() {
        let (directory, mapping) = (directory("outage"), announced().mapping);
        let all: [Ipv4Addr; 3] = [[172, 30, 0, 27].into(), [172, 30, 0, 29].into(), [172, 30, 0, 30].into()];
        let mut kept = Kept::at(&directory, mapping);
        assert!(kept.hosts().is_empty());
        kept.keep(&all[..2]);
        let mut kept = Kept::at(&directory, mapping);
        assert_eq!(kept.hosts(), &all[..2]);
        kept.keep(&[]);
        assert_eq!(Kept::at(&directory, mapping).hosts(), &all[..2]);
        kept.keep(&all[2..]);
        assert_eq!(Kept::at(&directory, mapping).hosts(), [all[2], all[0], all[1]]);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_no_host_of_the_underlay_says_nothing() {
        let mapping = announced().mapping;
        let text = "172.30.0.27\n\0\u{1b}[2J\n10.0.0.1\n172.30.0.27\n 172.30.0.29 \n172.30.0.29 172.30.0.30\n-1\n";
        assert_eq!(hosts(mapping, text), [Ipv4Addr::new(172, 30, 0, 27), Ipv4Addr::new(172, 30, 0, 29)]);
        let many: Vec<String> = (0..20_000).map(|host| format!("172.30.{}.{}", host / 250, host % 250 + 1)).collect();
        assert_eq!(hosts(mapping, &many.join("\n")).len(), MOST);
    }

    #[test]
    fn a_file_that_is_too_long_or_none_is_not_read() {
        let (directory, mapping) = (directory("long"), announced().mapping);
        fs::create_dir(&directory).unwrap();
        let path = Kept::at(&directory, mapping).path;
        fs::write(&path, "172.30.0.27\n".repeat(2_000)).unwrap();
        assert!(Kept::at(&directory, mapping).hosts().is_empty());
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(Kept::at(&directory, mapping).hosts().is_empty());
        fs::remove_dir_all(&directory).unwrap();
    }
}
