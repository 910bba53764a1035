//! The namespaces of a lab: made, entered, and removed again also after an error or a signal.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::interrupt::Interrupt;
use super::topology::{CommandLine, KEY, PREFIX, ip};
use crate::error::Error;
use crate::kernel::exec;

/// Where `ip netns` keeps the names of namespaces.
pub(crate) const NETNS: &str = "/run/netns";

/// Everything that the lab made on this machine: namespaces, with their devices and processes. Dropping it removes them.
pub(crate) struct Stage {
    interrupt: Interrupt,
    verbose: bool,
    namespaces: Vec<String>,
    /// Whether there is the file of a secret, to be removed with them.
    has_key: bool,
}

impl Stage {
    /// Nothing yet.
    pub fn new(interrupt: Interrupt, verbose: bool) -> Self {
        Self { interrupt, verbose, namespaces: Vec::new(), has_key: false }
    }

    /// What is there from an earlier lab, to be removed.
    pub(crate) fn standing(verbose: bool) -> Result<Self, Error> {
        Ok(Self { interrupt: Interrupt::default(), verbose, namespaces: standing()?, has_key: Path::new(KEY).exists() })
    }

    /// Tells whether a signal asked the lab to end.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// How many namespaces there are.
    pub(crate) fn len(&self) -> usize {
        self.namespaces.len()
    }

    /// Makes a namespace, to be removed with the stage.
    pub(crate) fn add(&mut self, namespace: &str) -> Result<(), Error> {
        self.run(&ip!("netns add {namespace}"))?;
        self.namespaces.push(namespace.into());
        Ok(())
    }

    /// Makes the file of a secret, to be removed with the stage. One of a lab that was killed is nobody's.
    pub(crate) fn make_key(&mut self) -> Result<(), Error> {
        self.has_key = true;
        remove_key()?;
        self.run(&CommandLine::new("fanctl", format_args!("key generate {KEY}"))).map(drop)
    }

    /// Runs a line that ends by itself and at once, and gives what it printed.
    pub fn run(&self, line: &CommandLine) -> Result<String, Error> {
        self.interrupt.check()?;
        self.show(line);
        printed(line, command(line).output())
    }

    /// Runs lines one after the other until one fails.
    pub(crate) fn run_all(&self, lines: &[CommandLine]) -> Result<(), Error> {
        lines.iter().try_for_each(|line| self.run(line).map(drop))
    }

    /// Runs a line that may take a while; a signal ends it. Gives what it printed.
    pub(crate) fn watch(&self, line: &CommandLine) -> Result<String, Error> {
        self.interrupt.check()?;
        self.show(line);
        let output = watched(&mut command(line), || self.interrupt.check().is_err());
        self.interrupt.check()?;
        printed(line, output)
    }

    /// Leaves everything standing.
    pub(crate) fn keep(mut self) {
        self.namespaces.clear();
        self.has_key = false;
    }

    /// Removes everything, the last made first, and reports all that could not be. A signal does not stop it.
    pub(crate) fn remove(mut self) -> Result<(), Error> {
        self.clear()
    }

    fn clear(&mut self) -> Result<(), Error> {
        let mut errors = Vec::new();
        while let Some(namespace) = self.namespaces.pop() {
            let line = ip!("netns delete {namespace}");
            self.show(&line);
            if let Err(error) = printed(&line, command(&line).output()) {
                errors.push(error.to_string());
            }
        }
        if std::mem::take(&mut self.has_key)
            && let Err(error) = remove_key()
        {
            errors.push(error.to_string());
        }
        if errors.is_empty() { Ok(()) } else { Err(Error::Failed(errors.join("\n"))) }
    }

    fn show(&self, line: &CommandLine) {
        if self.verbose {
            // No eprintln, which panics when standard error is closed: the lab must be removed then too.
            let _ = writeln!(io::stderr(), "+ {line}");
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            let _ = writeln!(io::stderr(), "{error}");
        }
    }
}

fn remove_key() -> Result<(), Error> {
    match fs::remove_file(KEY) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::Failed(format!("cannot remove {KEY}: {error}")))
        }
        _ => Ok(()),
    }
}

/// The namespaces of labs that are still there, in no order.
pub(crate) fn standing() -> Result<Vec<String>, Error> {
    let unreadable = |error: io::Error| Error::Failed(format!("cannot read {NETNS}: {error}"));
    let entries = match fs::read_dir(NETNS) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut namespaces = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        namespaces.extend(name.to_str().filter(|name| name.starts_with(PREFIX)).map(String::from));
    }
    Ok(namespaces)
}

/// A line as a process, in a process group of its own, out of a terminal's reach. The word `fanctl` is this very
/// program, even when its file has been replaced meanwhile.
fn command(line: &CommandLine) -> Command {
    let this = format!("/proc/{}/exe", process::id());
    let mut words = line.words().map(|word| if word == "fanctl" { &this } else { word });
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).env_clear().env("PATH", exec::PATH).env("LC_ALL", "C").stdin(Stdio::null()).process_group(0);
    command
}

/// Runs a process until it ends, or kills it with all it started once `stop` says so.
fn watched(command: &mut Command, stop: impl Fn() -> bool) -> io::Result<Output> {
    // Memory and no pipes: processes that it started may hold its output open after it has ended.
    let memory = || memfd_create(c"fanlab", MFdFlags::MFD_CLOEXEC).map(File::from);
    let (mut stdout, mut stderr) = (memory()?, memory()?);
    let mut child = command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?).spawn()?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if stop() {
            let group = i32::try_from(child.id()).map_err(io::Error::other)?;
            killpg(Pid::from_raw(group), Signal::SIGKILL)?;
            break child.wait()?;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let read = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes).map(|_| bytes)
    };
    Ok(Output { status, stdout: read(&mut stdout)?, stderr: read(&mut stderr)? })
}

/// What a process printed, or what it complained of.
fn printed(line: &CommandLine, output: io::Result<Output>) -> Result<String, Error> {
    let output = output.map_err(|error| Error::Failed(format!("cannot run '{line}': {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    // ping says on its standard output what went wrong.
    let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    let said = String::from_utf8_lossy(said);
    let said = if said.trim().is_empty() { output.status.to_string() } else { said.trim().replace('\n', "\n  ") };
    Err(Error::Failed(format!("'{line}' failed:\n  {said}")))
}
