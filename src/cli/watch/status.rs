//! How all fans stand, told at the start, and to the service manager.

use sd_notify::NotifyState;

use super::journal::{Level, tell_systemd};
use super::{KnownFan, Watcher};
use crate::fan::mapping::Overlay;
use crate::fan::request::Follow;

impl Watcher<'_> {
    /// Says at the start what it is about.
    pub(super) fn sum_up(&mut self) {
        if self.is_ready {
            return;
        }
        let follows = |overlay: &&Overlay| {
            let config = self.configuration.enabled().find(|config| config.overlay == **overlay);
            config.is_some_and(|config| config.options.follow != Follow::No)
        };
        let (followed, told): (Vec<&Overlay>, Vec<&Overlay>) = self.known.keys().partition(follows);
        let (followed, told, state) = (names(&followed), names(&told), self.state());
        let line = format_args!("following {followed}, telling of {told}; {state}");
        self.journal.note(Level::Info, None, &line);
    }

    /// How things stand.
    fn state(&self) -> String {
        let is_wrong = |known: &KnownFan| known.sight.as_ref().is_some_and(|sight| !sight.is_right());
        let wrong = self.known.iter().filter(|(_, known)| is_wrong(known));
        let wrong: Vec<&Overlay> = wrong.map(|(overlay, _)| overlay).collect();
        if wrong.is_empty() {
            return "all is as it should be".to_string();
        }
        format!("not as it should be: {}", names(&wrong))
    }

    /// Tells the service manager how things stand, if that is news.
    pub(super) fn tell_how_it_is(&mut self) {
        let state = self.state();
        let mut news = Vec::new();
        if state != self.told {
            news.push(NotifyState::Status(&state));
        }
        if !self.is_ready {
            news.push(NotifyState::Ready);
        }
        if !news.is_empty() {
            tell_systemd(&news);
        }
        (self.told, self.is_ready) = (state, true);
    }
}

fn names(overlays: &[&Overlay]) -> String {
    if overlays.is_empty() {
        return "no fan".to_string();
    }
    let names: Vec<String> = overlays.iter().map(ToString::to_string).collect();
    names.join(", ")
}
