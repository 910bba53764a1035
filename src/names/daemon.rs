//! The daemon: a [`station`] for each fan of this host that has `names`, and who wants to know something by the [`control`] socket.
//!
//! One thread, which waits for sockets and for time. It may bind ports below 1024 and nothing else: it looks at links as any user
//! may, reads lease files, and changes none of that. Without it, containers reach each other as before.

mod connection;
pub(crate) mod control;
mod dns;
pub mod engine;
mod kept;
pub mod leases;
mod resolved;
mod seeds;
pub(crate) mod station;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::fan::Fan;
use crate::fan::label::Label;
use crate::fan::mapping::Overlay;
use crate::fan::request::Peer;
use crate::kernel::{KernelError, Machine, Scope};
use crate::plan::state::fans;

use control::Control;
use station::{News, Station};

/// How often links and lease files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What is written down for the daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    /// Names of containers, each with its address.
    pub names: Vec<(Label, Ipv4Addr)>,
    /// Hosts that may be there, by overlay.
    pub peers: BTreeMap<Overlay, Vec<Peer>>,
}

/// What the daemon tells as it happens.
pub(crate) trait Listener {
    /// It serves.
    fn ready(&mut self);
    /// Something is new of a fan.
    fn news(&mut self, overlay: Overlay, news: &News);
    /// The files are to be read again; none where they have faults, which were told.
    fn reload(&mut self) -> Option<Written>;
}

/// The daemon.
pub(crate) struct Daemon {
    machine: Machine,
    signals: SignalFd,
    control: Control,
    stations: BTreeMap<Overlay, Station>,
    /// Why a fan is not served, as it was told.
    complaints: BTreeMap<Overlay, String>,
    written: Written,
}

impl Daemon {
    /// Takes the control socket, and serves what there is to serve.
    ///
    /// # Errors
    /// When there is no netlink, or another daemon has the socket.
    pub(crate) fn start(written: Written) -> Result<Self, KernelError> {
        let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
        signals.thread_block().map_err(io::Error::from)?;
        let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC);
        Ok(Self {
            machine: Machine::connect()?,
            signals: signals.map_err(io::Error::from)?,
            control: Control::listen()?,
            stations: BTreeMap::new(),
            complaints: BTreeMap::new(),
            written,
        })
    }

    /// Serves until it is asked to end.
    ///
    /// # Errors
    /// When the kernel will not let it look or wait.
    pub(crate) fn serve(&mut self, listener: &mut dyn Listener) -> Result<(), KernelError> {
        let mut looks = Instant::now();
        self.look(listener)?;
        listener.ready();
        loop {
            if looks.elapsed() >= LOOK {
                looks = Instant::now();
                self.look(listener)?;
            }
            self.wait(looks + LOOK)?;
            while let Some(signal) = self.signals.read_signal().map_err(io::Error::from)? {
                if i32::try_from(signal.ssi_signo) != Ok(Signal::SIGHUP as i32) {
                    return Ok(());
                }
                if let Some(written) = listener.reload() {
                    self.written = written;
                    looks = Instant::now();
                    self.look(listener)?;
                }
            }
            for (overlay, station) in &mut self.stations {
                station.work().iter().for_each(|news| listener.news(*overlay, news));
            }
            self.control.work(&mut self.stations);
        }
    }

    /// Sees which fans there are, and has a station for each.
    fn look(&mut self, listener: &mut dyn Listener) -> Result<(), KernelError> {
        let (owned, _) = self.machine.observe(Scope::Fans)?;
        let wanted: BTreeMap<Overlay, &Fan> =
            fans(&owned).filter(|fan| fan.options.names).map(|fan| (fan.overlay(), fan)).collect();
        let gone: Vec<Overlay> =
            self.stations.keys().filter(|overlay| !wanted.contains_key(overlay)).copied().collect();
        for overlay in gone {
            self.stations.remove(&overlay);
            listener.news(overlay, &News::Ended);
        }
        for (overlay, fan) in wanted {
            let is_same = self.stations.get(&overlay).is_some_and(|station| station.fan() == fan);
            if !is_same {
                self.begin(overlay, fan, listener);
            }
            if let Some(station) = self.stations.get_mut(&overlay) {
                let seeds = self.written.peers.get(&overlay).map_or(&[][..], Vec::as_slice);
                let news = station.look(&self.machine, &self.written.names, seeds);
                if let Some(news) = news {
                    listener.news(overlay, &news);
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, overlay: Overlay, fan: &Fan, listener: &mut dyn Listener) {
        // The old one has the ports.
        let added = self.stations.remove(&overlay).map(Station::into_added).unwrap_or_default();
        match Station::open(fan, added) {
            Ok(station) => {
                self.stations.insert(overlay, station);
                self.complaints.remove(&overlay);
                listener.news(overlay, &News::Began(fan.gateway()));
            }
            Err(error) => {
                let said = self.complaints.insert(overlay, error.clone());
                if said.as_ref() != Some(&error) {
                    listener.news(overlay, &News::Failed(error));
                }
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&self, looks: Instant) -> io::Result<()> {
        let now = Instant::now();
        let next = self.stations.values().filter_map(Station::next).chain([looks]).min().unwrap_or(looks);
        let rest = next.saturating_duration_since(now) + Duration::from_micros(999);
        let limit = PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX);
        let mut wanted: Vec<(BorrowedFd<'_>, PollFlags)> = vec![(self.signals.as_fd(), PollFlags::POLLIN)];
        wanted.extend(self.control.wants());
        wanted.extend(self.stations.values().flat_map(Station::wants));
        let mut all: Vec<PollFd> = wanted.into_iter().map(|(fd, flags)| PollFd::new(fd, flags)).collect();
        match poll(&mut all, limit) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
