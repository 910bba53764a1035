//! A `fanctl watch` that runs while a test does something to its host.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{PipeReader, Read, Write, pipe};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::fstat;
use nix::unistd::Pid;

use super::waiting::attempts;
use super::{Host, eventually};

/// The socket where it says that it is ready, in the host's own /run.
const NOTIFY_SOCKET: &str = "/run/notify";

/// A `fanctl watch`; it ends with this.
pub struct Watcher<'a> {
    host: &'a Host,
    child: Child,
    /// Its messages to the service manager.
    notified: Arc<Mutex<String>>,
    /// How much of that was waited for, in bytes.
    known: RefCell<usize>,
    /// Its standard output and error.
    reading: RefCell<PipeReader>,
    said: RefCell<Vec<u8>>,
    /// How many of the lines were asked for.
    read: usize,
}

impl<'a> Watcher<'a> {
    /// Starts it, and waits until it says that it is ready.
    #[track_caller]
    pub fn start(host: &'a Host, words: &str) -> Self {
        Self::start_with(host, words, |_| None)
    }

    /// Starts it as systemd does, which reads its lines.
    #[track_caller]
    pub fn start_by_systemd(host: &'a Host, words: &str) -> Self {
        Self::start_with(host, words, |reading| {
            let pipe = fstat(reading.as_fd()).expect("a pipe");
            Some(format!("{}:{}", pipe.st_dev, pipe.st_ino))
        })
    }

    #[track_caller]
    fn start_with(host: &'a Host, words: &str, stream: impl FnOnce(&PipeReader) -> Option<String>) -> Self {
        let notified = host.run(|| {
            let _ = fs::remove_file(NOTIFY_SOCKET);
            UnixDatagram::bind(NOTIFY_SOCKET).expect("a socket")
        });
        let (reading, writing) = pipe().expect("a pipe");
        let mut command = Command::new(Host::program());
        command.arg("watch").args(words.split_whitespace());
        command.env("NOTIFY_SOCKET", NOTIFY_SOCKET).env_remove("JOURNAL_STREAM");
        if let Some(stream) = stream(&reading) {
            command.env("JOURNAL_STREAM", stream);
        }
        command.stdin(Stdio::null()).stderr(writing.try_clone().expect("a pipe")).stdout(writing);
        let child = host.run(move || command.spawn()).expect("fanctl");
        fcntl(&reading, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a pipe");
        let watcher = Self {
            host,
            child,
            notified: collect(notified),
            known: RefCell::default(),
            reading: RefCell::new(reading),
            said: RefCell::default(),
            read: 0,
        };
        watcher.notifies("READY=1");
        watcher
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// All that it has said.
    pub fn lines(&self) -> Vec<String> {
        let mut said = self.said.borrow_mut();
        // It ends with an error when there is no more for now, having read what there was.
        let _ = self.reading.borrow_mut().read_to_end(&mut said);
        String::from_utf8_lossy(&said).lines().map(String::from).collect()
    }

    /// It tells this to the service manager.
    #[track_caller]
    pub fn notifies(&self, word: &str) {
        eventually(&format!("it notifies {word}"), || {
            let told = self.notified.lock().expect("no panic");
            let mut known = self.known.borrow_mut();
            let line = format!("{word}\n");
            let found = told[*known..].find(&line)?;
            *known += found + line.len();
            Some(())
        });
    }

    /// It says a line with all these words, after the one that was waited for before.
    #[track_caller]
    pub fn says(&mut self, words: &[&str]) -> String {
        let found = attempts(|| {
            let lines = self.lines();
            let mut unread = lines.iter().enumerate().skip(self.read);
            let (at, line) = unread.find(|(_, line)| words.iter().all(|word| line.contains(word)))?;
            Some((at + 1, line.clone()))
        });
        if let Some((read, line)) = found {
            self.read = read;
            return line;
        }
        panic!("no line with {words:?} since line {} of {:#?}", self.read, self.lines());
    }

    /// It has nothing more to do: it waits for the kernel, without a limit, and nothing has come that it has not read.
    /// Then it does nothing at all until something happens.
    #[track_caller]
    pub fn rests(&self) {
        const POLL: &str = "7"; // __NR_poll, asm/unistd_64.h
        let file = format!("/proc/{}/syscall", self.pid());
        eventually("it has nothing more to do", || {
            let call = fs::read_to_string(&file).expect("it runs");
            let words: Vec<&str> = call.split(' ').collect();
            let waits = words.len() > 3 && words[0] == POLL && words[3].ends_with("ffffffff");
            waits.then_some(())
        });
    }

    /// Fills the pipe of its output, so that another line does not fit.
    #[track_caller]
    pub fn fill_its_output(&self) {
        let output = format!("/proc/{}/fd/1", self.pid());
        let mut options = File::options();
        let mut output = options.write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(output).expect("its output");
        while output.write(b"\n").is_ok() {}
    }

    /// It waits until its output is read.
    #[track_caller]
    pub fn blocks(&self) {
        const WRITE: &str = "1 "; // __NR_write, asm/unistd_64.h
        let file = format!("/proc/{}/syscall", self.pid());
        eventually("it waits for a reader", || {
            let call = fs::read_to_string(&file).expect("it runs");
            call.starts_with(WRITE).then_some(())
        });
    }

    /// It rests, and has said nothing since the line that was waited for.
    #[track_caller]
    pub fn says_no_more(&self) {
        self.rests();
        let lines = self.lines();
        assert_eq!(lines[self.read..], [""; 0], "of {lines:#?}");
    }

    /// It rests, and what it has said are lines that begin like these.
    #[track_caller]
    pub fn says_no_more_than(&mut self, beginnings: &[&str]) {
        self.rests();
        let lines = self.lines();
        let same = lines.len() == beginnings.len()
            && lines.iter().zip(beginnings).all(|(line, begin)| line.starts_with(begin));
        assert!(same, "not {beginnings:?}: {lines:#?}");
        self.read = lines.len();
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs");
    }

    /// It is asked to end, says so to the service manager, and ends well.
    #[track_caller]
    pub fn ends_by(mut self, signal: Signal) {
        self.signal(signal);
        self.notifies("STOPPING=1");
        let status = self.child.wait().expect("its end");
        assert_eq!(status.code(), Some(0), "{:#?}", self.lines());
    }

    /// How many messages of the kernel did not fit into its buffer, as the kernel counts them.
    #[track_caller]
    pub fn missed(&self) -> u64 {
        let socket = self.host.rtnetlink_socket(self.pid()).expect("it listens");
        socket[8].parse().unwrap_or_else(|error| panic!("{error}: {socket:?}"))
    }
}

/// Receives its messages, as the service manager does, as long as a test holds the result.
fn collect(socket: UnixDatagram) -> Arc<Mutex<String>> {
    let notified = Arc::new(Mutex::new(String::new()));
    let (mut buffer, weak) = ([0; 4096], Arc::downgrade(&notified));
    thread::spawn(move || {
        while let (Ok(length), Some(notified)) = (socket.recv(&mut buffer), weak.upgrade()) {
            let mut notified = notified.lock().expect("no panic");
            *notified += &String::from_utf8_lossy(&buffer[..length]);
            if !notified.ends_with('\n') {
                notified.push('\n');
            }
        }
    });
    notified
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
