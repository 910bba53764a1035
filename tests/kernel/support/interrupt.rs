//! A signal at a chosen moment of a run of `fanctl`, which announces with `-v` what it is about to do.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};

use super::{Host, Output};

impl Host {
    /// Starts `fanctl … -v`, and gives what it announces, one at a time.
    ///
    /// Its standard error is a pipe with room for one write, so that it cannot run ahead of what was read by more than
    /// the step it has announced.
    #[track_caller]
    pub fn announcing(&self, words: &str) -> (Child, impl Iterator<Item = String> + use<>) {
        let (reading, writing) = pipe2(OFlag::O_CLOEXEC | OFlag::O_DIRECT).expect("a pipe");
        fcntl(&writing, FcntlArg::F_SETPIPE_SZ(1)).expect("the smallest pipe");
        let mut command = Command::new(Self::program());
        command.args(words.split_whitespace()).arg("-v");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(writing);
        let child = self.run(move || command.spawn()).expect("fanctl");
        let (mut reading, mut packet) = (File::from(reading), [0; 4096]);
        let announced = std::iter::from_fn(move || {
            let length = reading.read(&mut packet).expect("what it announces");
            (length > 0).then(|| String::from_utf8_lossy(&packet[..length]).into_owned())
        });
        (child, announced)
    }

    /// Runs `fanctl … -v` and sends it a signal when it has announced `count` steps. Steps begin with `mark`. Returns
    /// how it ended, or `None` when it never got that far, and ended well.
    #[track_caller]
    pub fn signalled_at(&self, words: &str, mark: &str, count: usize, signal: Signal) -> Option<Output> {
        let (child, announced) = self.announcing(words);
        let pid = Pid::from_raw(child.id().cast_signed());
        let (mut said, mut sent) = (String::new(), false);
        for announcement in announced {
            said += &announcement;
            if !sent && said.lines().filter(|line| line.starts_with(mark)).count() == count {
                kill(pid, signal).expect("it lives");
                sent = true;
            }
        }
        let output = Output::of(format!("fanctl {words} -v: {signal} at step {count}\n{said}"), child);
        if !sent {
            output.ok();
            return None;
        }
        Some(output)
    }
}
