//! How many processes a command is: itself and all that it starts, even those that end at once. Threads do not count.

use std::error::Error;
use std::process::{Command, Stdio};

use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Runs a command under ptrace, as a debugger does, and counts.
pub fn count(words: &[&str]) -> Result<usize, Box<dyn Error>> {
    // It stops, until it is traced, before it executes the command.
    let mut command = Command::new("sh");
    command.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).args(words);
    let child = command.stdout(Stdio::null()).spawn()?;
    let first = Pid::from_raw(child.id().try_into()?);
    waitpid(first, Some(WaitPidFlag::WUNTRACED))?;
    let births = ptrace::Options::PTRACE_O_TRACEFORK
        | ptrace::Options::PTRACE_O_TRACEVFORK
        | ptrace::Options::PTRACE_O_TRACECLONE;
    ptrace::seize(first, births)?;
    nix::sys::signal::kill(first, Signal::SIGCONT)?;
    let (mut processes, mut failed) = (1, false);
    // Until no process is left. The end of each is reported in its turn.
    while let Ok(status) = waitpid(None::<Pid>, Some(WaitPidFlag::__WALL)) {
        match status {
            WaitStatus::PtraceEvent(pid, signal, event) => {
                let is_birth = [libc::PTRACE_EVENT_FORK, libc::PTRACE_EVENT_VFORK].contains(&event);
                processes += usize::from(is_birth);
                let _ = ptrace::cont(pid, None);
                // The stop it began with is over.
                debug_assert!(signal == Signal::SIGTRAP || event == libc::PTRACE_EVENT_STOP);
            }
            WaitStatus::Stopped(pid, signal) => drop(ptrace::cont(pid, signal)),
            WaitStatus::Exited(pid, code) if pid == first => failed = code != 0,
            _ => {}
        }
    }
    if failed {
        return Err(format!("{} failed", words.join(" ")).into());
    }
    Ok(processes)
}
