//! Names, as far as `watch` tells of them: whether they are served, and which hosts come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::journal::Level;
use crate::fan::mapping::Overlay;
use crate::names::daemon::control::{self, HostEntry, Request, Response};

/// How often is looked, where a fan has names: the daemon tells nobody of itself when it ends.
const AGAIN: Duration = Duration::from_secs(5);

/// The most hosts that are named in a line.
const MOST: usize = 5;

/// The other hosts of a fan that answer; none while its names are not served.
type Seen = Option<BTreeSet<Ipv4Addr>>;

/// What is known of the names of each fan that has them.
#[derive(Default)]
pub(super) struct Names {
    fans: BTreeMap<Overlay, Known>,
    due: Option<Instant>,
}

#[derive(Default)]
struct Known {
    told: Option<Seen>,
    /// In how many looks in a row they were not served: the daemon may be about to begin.
    missed: u8,
}

impl Names {
    /// These fans have names.
    pub(super) fn are_of(&mut self, overlays: &BTreeSet<Overlay>) {
        self.fans.retain(|overlay, _| overlays.contains(overlay));
        for overlay in overlays {
            self.fans.entry(*overlay).or_default();
        }
        self.due = if overlays.is_empty() { None } else { self.due.or_else(|| Some(Instant::now())) };
    }

    /// How long until it is time to look.
    pub(super) fn rest(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Looks, if it is time to, and gives what there is to say.
    pub(super) fn look(&mut self) -> Vec<(Overlay, Level, String)> {
        if self.due.is_none_or(|due| due > Instant::now()) {
            return Vec::new();
        }
        let entries = match control::ask(&Request::Hosts) {
            Ok(Response::Hosts(entries)) => entries,
            _ => Vec::new(),
        };
        self.due = Some(Instant::now() + AGAIN);
        let all = self.fans.iter_mut();
        all.flat_map(|(overlay, known)| {
            let news = known.look(seen(*overlay, &entries));
            news.into_iter().map(|(level, line)| (*overlay, level, line))
        })
        .collect()
    }
}

/// What the daemon says of a fan.
fn seen(overlay: Overlay, entries: &[HostEntry]) -> Seen {
    let mut own = entries.iter().filter(|entry| entry.overlay == overlay.network()).peekable();
    own.peek()?;
    Some(own.filter(|entry| control::is_other_here(entry)).map(|entry| entry.host).collect())
}

impl Known {
    fn look(&mut self, seen: Seen) -> Vec<(Level, String)> {
        self.missed = if seen.is_some() { 0 } else { self.missed.saturating_add(1) };
        if self.missed == 1 {
            return Vec::new();
        }
        let news = news(self.told.as_ref(), &seen);
        self.told = Some(seen);
        news
    }
}

fn news(before: Option<&Seen>, now: &Seen) -> Vec<(Level, String)> {
    match (before, now) {
        (Some(None), None) => Vec::new(),
        (_, None) => vec![(Level::Warning, "its names are not served; see: systemctl status fan-names".into())],
        (None | Some(None), Some(now)) => vec![(Level::Info, format!("its names are served; {}", count(now.len())))],
        (Some(Some(before)), Some(now)) => {
            let came = hosts(now.difference(before)).map(|hosts| (Level::Info, format!("names of {hosts} are there")));
            let left = hosts(before.difference(now))
                .map(|hosts| (Level::Notice, format!("names of {hosts} are gone, for it does not answer")));
            left.into_iter().chain(came).collect()
        }
    }
}

fn count(hosts: usize) -> String {
    match hosts {
        0 => "no other host answers".into(),
        1 => "1 other host answers".into(),
        hosts => format!("{hosts} other hosts answer"),
    }
}

/// Hosts in words; none for nobody.
fn hosts<'a>(all: impl Iterator<Item = &'a Ipv4Addr>) -> Option<String> {
    let all: Vec<String> = all.map(Ipv4Addr::to_string).collect();
    let rest = all.len().saturating_sub(MOST);
    let named = all[..all.len() - rest].join(", ");
    match (all.len(), rest) {
        (0, _) => None,
        (1, _) => Some(format!("host {named}")),
        (_, 0) => Some(format!("each of the hosts {named}")),
        _ => Some(format!("each of the hosts {named} and {rest} others")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(thirds: &[u8]) -> BTreeSet<Ipv4Addr> {
        thirds.iter().map(|third| Ipv4Addr::new(172, 30, 0, *third)).collect()
    }

    fn lines(known: &mut Known, seen: impl Into<Seen>) -> Vec<String> {
        known.look(seen.into()).into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn what_is_new_of_names_is_told_once() {
        let mut known = Known::default();
        // The daemon may begin a moment after us.
        assert!(lines(&mut known, None).is_empty());
        assert_eq!(lines(&mut known, of(&[27])), ["its names are served; 1 other host answers"]);
        assert!(lines(&mut known, of(&[27])).is_empty());
        assert_eq!(
            lines(&mut known, of(&[29])),
            ["names of host 172.30.0.27 are gone, for it does not answer", "names of host 172.30.0.29 are there"]
        );
        assert!(lines(&mut known, None).is_empty());
        assert_eq!(lines(&mut known, None), ["its names are not served; see: systemctl status fan-names"]);
        assert!(lines(&mut known, None).is_empty());
        assert_eq!(lines(&mut known, of(&[])), ["its names are served; no other host answers"]);
    }

    #[test]
    fn many_hosts_are_counted() {
        let mut known = Known::default();
        known.look(of(&[]).into());
        let all: Vec<u8> = (1..=200).collect();
        assert_eq!(
            lines(&mut known, of(&all)),
            [
                "names of each of the hosts 172.30.0.1, 172.30.0.2, 172.30.0.3, 172.30.0.4, 172.30.0.5 and 195 others are there"
            ]
        );
    }
}
