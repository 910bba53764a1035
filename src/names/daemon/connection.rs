//! A stream that is read and written as far as it goes, and never waited for.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

/// How long one may stay open: there is a limit to how many there are.
const PATIENCE: Duration = Duration::from_secs(10);

/// A stream with what was read of it and what is to be written to it.
pub(crate) struct Connection<S> {
    stream: S,
    /// What was read, and not taken yet.
    pub(crate) input: Vec<u8>,
    output: Vec<u8>,
    /// The most that is kept of either, in bytes.
    limits: (usize, usize),
    began: Instant,
    /// Whether nothing more will be read.
    has_ended: bool,
    /// Whether it is of no use any more.
    is_broken: bool,
    /// Answers that are still to come.
    pub(crate) awaited: usize,
}

impl<S: Read + Write + AsFd> Connection<S> {
    /// A stream that does not block. `limits` are the most that is kept of what is read and of what is to be written, in bytes.
    pub(crate) fn new(stream: S, limits: (usize, usize)) -> Self {
        let (input, output) = (Vec::new(), Vec::new());
        let began = Instant::now();
        Self { stream, input, output, limits, began, has_ended: false, is_broken: false, awaited: 0 }
    }

    /// What to wait for.
    pub(crate) fn wants(&self) -> (BorrowedFd<'_>, PollFlags) {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, !self.has_ended && self.input.len() < self.limits.0);
        flags.set(PollFlags::POLLOUT, !self.output.is_empty());
        (self.stream.as_fd(), flags)
    }

    /// Reads what there is.
    pub(crate) fn fill(&mut self) {
        let mut chunk = [0; 4_096];
        while !self.has_ended && self.input.len() < self.limits.0 {
            let room = chunk.len().min(self.limits.0 - self.input.len());
            match self.stream.read(&mut chunk[..room]) {
                Ok(0) => self.has_ended = true,
                Ok(len) => self.input.extend(&chunk[..len]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => (self.has_ended, self.is_broken) = (true, true),
            }
        }
    }

    /// Reads nothing more.
    pub(crate) fn end(&mut self) {
        self.has_ended = true;
    }

    /// Has something written. With more than may wait the stream is given up.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.output.extend(bytes);
        self.is_broken |= self.output.len() > self.limits.1;
    }

    /// Writes what can be written.
    pub(crate) fn flush(&mut self) {
        while !self.output.is_empty() && !self.is_broken {
            match self.stream.write(&self.output) {
                Ok(len) => drop(self.output.drain(..len)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.is_broken = true,
            }
        }
    }

    /// Whether it can be closed: all is said, or it has taken too long.
    pub(crate) fn is_over(&self) -> bool {
        let is_said = self.has_ended && self.output.is_empty() && self.awaited == 0;
        is_said || self.is_broken || self.began.elapsed() >= PATIENCE
    }
}
