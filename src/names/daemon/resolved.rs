//! systemd-resolved, where it runs, asks the gateway for the fan's zones: it is told by resolvectl(1), and again when it or the bridge
//! is another.
//!
//! It keeps what it was told as a property of a link, and takes it with the link; so there is nothing to take back.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;

use super::super::zone::Zone;
use super::station::News;
use crate::fan::Fan;
use crate::kernel::exec;

/// Where resolved hears programs like resolvectl(1): another file after each of its starts.
const SOCKET: &str = "/run/systemd/resolve/io.systemd.Resolve";

/// When to try again after resolved could not be told.
const AGAIN: Duration = Duration::from_secs(30);

/// Which resolved, and which bridge: inode and time of the socket, index of the interface.
type Pair = (u64, i64, i64, u32);

/// What resolved knows of a fan.
#[derive(Default)]
pub(super) struct Resolved {
    told: Option<Pair>,
    tried: Option<Instant>,
    /// What is being told, and whether it worked once that is known.
    under_way: Option<(Pair, Receiver<Result<(), String>>)>,
    /// Why it could not be told, as was said.
    said: Option<String>,
}

impl Resolved {
    /// Tells resolved what it does not know, in a thread, for an answer may take a while.
    pub(super) fn look(&mut self, fan: &Fan, zone: &Zone) -> Option<News> {
        // A daemon that systemd did not start may be in a network of its own, and resolved is in the machine's.
        std::env::var_os("NOTIFY_SOCKET")?;
        if let Some(news) = self.ended() {
            return Some(news);
        }
        let pair = pair(fan)?;
        let is_resting = self.tried.is_some_and(|tried| tried.elapsed() < AGAIN);
        if self.under_way.is_some() || self.told == Some(pair) || (is_resting && self.told.is_none()) {
            return None;
        }
        let (sender, receiver) = channel();
        let lines = lines(fan, zone);
        (self.told, self.tried, self.under_way) = (None, Some(Instant::now()), Some((pair, receiver)));
        thread::spawn(move || {
            let told = lines.iter().try_for_each(|line| exec::run_with(&[], "resolvectl", line, "").map(|_| ()));
            // The station may have ended meanwhile.
            let _ = sender.send(told);
        });
        None
    }

    /// What came of the last attempt, once it is over.
    fn ended(&mut self) -> Option<News> {
        let (pair, receiver) = self.under_way.as_ref()?;
        let end = match receiver.try_recv() {
            Ok(end) => end,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err("resolvectl was not run to its end".into()),
        };
        let pair = *pair;
        self.under_way = None;
        match end {
            Ok(()) => {
                (self.told, self.said) = (Some(pair), None);
                Some(News::Resolved)
            }
            Err(error) => {
                let said = self.said.replace(error.clone());
                (said.as_ref() != Some(&error)).then_some(News::Unresolved(error))
            }
        }
    }
}

/// Resolved as it runs now, and the fan's bridge; none without either.
fn pair(fan: &Fan) -> Option<Pair> {
    let socket = fs::symlink_metadata(SOCKET).ok()?;
    let index = if_nametoindex(fan.bridge.as_str()).ok()?;
    Some((socket.ino(), socket.ctime(), socket.ctime_nsec(), index))
}

/// The words for resolvectl(1): who is asked on the bridge, for which domains, and for no others.
fn lines(fan: &Fan, zone: &Zone) -> [Vec<String>; 3] {
    let bridge = fan.bridge.to_string();
    let server = vec!["dns".into(), bridge.clone(), fan.gateway().to_string()];
    let mut domains = vec!["domain".into(), bridge.clone()];
    domains.extend(zone.domains().into_iter().map(|domain| format!("~{domain}")));
    [server, domains, vec!["default-route".into(), bridge, "no".into()]]
}

#[cfg(test)]
mod tests {
    use super::super::super::zone::DOMAIN;
    use super::*;
    use crate::fan::tests::announced;

    #[test]
    fn resolved_is_to_ask_for_the_zones_and_for_nothing_else() {
        let fan = announced();
        let lines = lines(&fan, &Zone::new(fan.mapping, DOMAIN)).map(|line| line.join(" "));
        assert_eq!(
            lines,
            [
                "dns fan-250-0-28 250.0.28.1",
                "domain fan-250-0-28 ~fan.internal ~250.in-addr.arpa",
                "default-route fan-250-0-28 no",
            ]
        );
    }
}
