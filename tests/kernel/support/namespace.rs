//! A network namespace, held by a thread of its own.
//!
//! The thread also has private mounts: `/sys` of this namespace, an empty `/run` and `/var/lib`, and an `/etc` as the
//! machine has it but without fans. Hosts with equal addresses in tests that run side by side share no lock, no lease file
//! and no configuration. Nothing has a name on the machine: when the thread ends, or the whole test run is killed, the
//! kernel takes the namespace and all that is in it.

use std::cell::RefCell;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, symlink};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gettid};
use serde_json::Value;

use super::Output;

thread_local! {
    /// To the watchdog of the case that this thread runs.
    pub static SIGNS: RefCell<Option<Sender<()>>> = const { RefCell::new(None) };
}

/// Tells the watchdog that the case of this thread goes on.
fn sign_of_life() {
    SIGNS.with_borrow(|signs| {
        if let Some(watchdog) = signs {
            let _ = watchdog.send(());
        }
    });
}

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace and the programs run in it.
pub struct Namespace {
    name: String,
    holder: Pid,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    /// A new one: no IPv6, nothing forwarded, reverse path filter strict, bridges not filtered.
    pub fn new(name: &str) -> Self {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (ready, is_ready) = mpsc::channel();
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                enter_new();
                ready.send(gettid()).expect("the maker waits");
                for job in todo {
                    job();
                }
            })
            .expect("a thread");
        let holder = is_ready.recv().expect("a namespace of its own, as root");
        let namespace = Self { name: name.into(), holder, jobs: Some(jobs), thread: Some(thread) };
        for (key, value) in [
            ("ipv6/conf/all/disable_ipv6", "1"),
            ("ipv6/conf/default/disable_ipv6", "1"),
            ("ipv4/ip_forward", "0"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "1"),
            ("bridge/bridge-nf-call-iptables", "0"),
        ] {
            if namespace.sysctl(key).is_some() {
                namespace.set_sysctl(key, value);
            }
        }
        namespace
    }

    /// Runs a function in the namespace and gives back what it returns; a panic in it is the caller's.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        sign_of_life();
        let (done, result) = mpsc::channel();
        let job = move || {
            let outcome = panic::catch_unwind(AssertUnwindSafe(job));
            done.send(outcome).expect("the caller waits");
        };
        self.jobs.as_ref().expect("not dropped").send(Box::new(job)).expect("the thread lives");
        result.recv().expect("an outcome").unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// Starts a program in the namespace, its input empty and its output in pipes.
    pub fn spawn(&self, command: Command) -> Child {
        self.spawn_with(command, Stdio::null())
    }

    /// The same, with this as its input.
    pub fn spawn_with(&self, mut command: Command, stdin: Stdio) -> Child {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let text = format!("{command:?}");
        self.run(move || command.spawn()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Runs a program in the namespace to its end.
    #[track_caller]
    pub fn execute(&self, command: Command) -> Output {
        let text = format!("[{}] {}", self.name, command_line(&command));
        Output::of(text, self.spawn(command))
    }

    /// Runs a program given as one line, split at blanks.
    #[track_caller]
    pub fn exec(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words);
        self.execute(command)
    }

    /// Runs a script to its end, or to the first command that fails.
    #[track_caller]
    pub fn sh(&self, script: &str) -> Output {
        let mut command = Command::new("sh");
        command.args(["-euc", script]);
        self.execute(command)
    }

    /// Does what `ip` is told, a command a line. One process does it all: under emulation a process is slow to start.
    #[track_caller]
    pub fn ip(&self, script: &str) {
        self.batch("ip", script).ok();
    }

    /// Feeds a program of iproute2 with commands or, for a list of JSON values, with questions.
    #[track_caller]
    pub fn batch(&self, program: &str, script: &str) -> Output {
        let mut command = Command::new(program);
        command.args(["-j", "-batch", "-"]);
        let mut child = self.spawn_with(command, Stdio::piped());
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(script.as_bytes()).expect("to write the commands");
        drop(input);
        Output::of(format!("[{}] {program} -batch\n{script}", self.name), child)
    }

    /// What `ip -j` says.
    #[track_caller]
    pub fn ip_json(&self, question: &str) -> Value {
        self.exec(&format!("ip -j -d {question}")).ok().json_or_empty()
    }

    /// The Ethernet address of a device.
    #[track_caller]
    pub fn mac(&self, device: &str) -> String {
        let link = self.ip_json(&format!("link show dev {device}"));
        link[0]["address"].as_str().expect("a MAC address").into()
    }

    /// What `tc -j` says, statistics included.
    #[track_caller]
    pub fn tc_json(&self, question: &str) -> Value {
        self.exec(&format!("tc -s -j {question}")).ok().json_or_empty()
    }

    /// What `nft -j` says.
    #[track_caller]
    pub fn nft_json(&self, question: &str) -> Value {
        self.exec(&format!("nft -j {question}")).ok().json_or_empty()["nftables"].clone()
    }

    /// How many packets each counting rule of a table has met, in the order of its rules.
    #[track_caller]
    pub fn counters(&self, table: &str) -> Vec<u64> {
        self.counters_of(table, "")
    }

    /// The same of the rules whose comment begins like this.
    #[track_caller]
    pub fn counters_of(&self, table: &str, comment: &str) -> Vec<u64> {
        let listed = self.nft_json(&format!("list table {table}"));
        let rules = listed.as_array().expect("objects").iter().filter_map(|o| o.get("rule"));
        let meant = rules.filter(|rule| rule["comment"].as_str().unwrap_or_default().starts_with(comment));
        let expressions = meant.flat_map(|rule| rule["expr"].as_array().expect("expressions"));
        expressions.filter_map(|expression| expression["counter"]["packets"].as_u64()).collect()
    }

    /// A sysctl under /proc/sys/net, or `None` where the kernel has no such thing.
    pub fn sysctl(&self, key: &str) -> Option<String> {
        let path = format!("/proc/sys/net/{key}");
        self.run(move || fs::read_to_string(path)).ok().map(|text| text.trim().to_string())
    }

    /// Sets a sysctl under /proc/sys/net.
    #[track_caller]
    pub fn set_sysctl(&self, key: &str, value: &str) {
        let (path, value) = (format!("/proc/sys/net/{key}"), value.to_string());
        self.run(move || fs::write(&path, value)).unwrap_or_else(|error| panic!("{key}: {error}"));
    }

    /// Writes a file; /etc, /run and /var/lib are this namespace's own.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        let (path, text) = (path.to_string(), text.to_string());
        self.run(move || fs::write(&path, text).unwrap_or_else(|error| panic!("{path}: {error}")));
    }

    /// The rtnetlink socket of a process as /proc/net/netlink has it: sk, protocol, the process, groups (hexadecimal, bit 0 being
    /// links), memory for reading and writing, whether a dump goes on, locks, how many messages were dropped, inode.
    pub fn rtnetlink_socket(&self, owner: Pid) -> Option<Vec<String>> {
        let sockets = self.run(|| fs::read_to_string("/proc/thread-self/net/netlink").expect("/proc"));
        let mut sockets = sockets.lines().map(|line| line.split_whitespace().map(String::from).collect::<Vec<_>>());
        sockets.find(|fields| fields[1] == "0" && fields[2] == owner.to_string())
    }

    /// The names of all devices.
    pub fn devices(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .run(|| fs::read_dir("/sys/class/net").expect("/sys of the namespace").collect::<Vec<_>>())
            .into_iter()
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .filter(|name| name != "bonding_masters")
            .collect();
        names.sort();
        names
    }

    /// The processes that live here, other than this one, by their ids and command lines.
    pub fn processes(&self) -> Vec<(Pid, String)> {
        let inode = |pid: &str, what: &str| fs::metadata(format!("/proc/{pid}/{what}/net")).map(|at| at.ino()).ok();
        let ours = inode("self", &format!("task/{}/ns", self.holder));
        let own = Pid::this();
        fs::read_dir("/proc")
            .expect("/proc")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
            .map(Pid::from_raw)
            .filter(|&pid| pid != own && ours.is_some() && inode(&pid.to_string(), "ns") == ours)
            .filter_map(|pid| {
                let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
                Some((pid, line.replace('\0', " ").trim().to_string()))
            })
            .filter(|(_, line)| !line.is_empty())
            .collect()
    }

    /// Whether a process has ended and holds no socket any more: it is gone, or only its parent has not heard of it. Its
    /// memory, and with it its command line, goes earlier (`do_exit`, kernel/exit.c at v6.12).
    pub fn has_ended(pid: Pid) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with(['Z', 'X']))
    }

    /// The id that `ip link … netns ID` takes.
    pub fn id(&self) -> String {
        self.holder.to_string()
    }
}

impl Drop for Namespace {
    /// Ends what still lives in the namespace (a dnsmasq), then the thread that holds it.
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            let _ = kill(pid, Signal::SIGKILL);
        }
        drop(self.jobs.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Moves the calling thread into a network namespace and mounts of its own.
fn enter_new() {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("unshare, as root");
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).expect("/sys of the namespace");
    // The layers of /etc are in the run's /run, which this host does not see.
    own_etc();
    for directory in ["/run", "/var/lib"] {
        mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), none).expect(directory);
    }
    fs::create_dir("/var/lib/misc").expect("where dnsmasq writes");
}

/// The /etc of the machine without its fans, and what is written there stays in this namespace.
fn own_etc() {
    let none: Option<&str> = None;
    let lower = "/run/etc";
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).expect("/run");
    for directory in ["upper", "work"] {
        fs::create_dir(Path::new("/run").join(directory)).expect("a directory");
    }
    let layers = "lowerdir=/etc,upperdir=/run/upper,workdir=/run/work";
    if mount(Some("overlay"), "/etc", Some("overlay"), MsFlags::empty(), Some(layers)).is_err() {
        // A guest of tests/qemu has no overlayfs, and a small /etc.
        fs::create_dir(lower).expect("a directory");
        copy(Path::new("/etc"), Path::new(lower)).expect("a copy of /etc");
        mount(Some(lower), "/etc", none, MsFlags::MS_BIND, none).expect("/etc");
    }
    for file in ["/etc/fan.toml", "/etc/network/fan"] {
        if Path::new(file).exists() {
            fs::remove_file(file).expect(file);
        }
    }
}

/// Copies the files, directories and links in one directory into another.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (entry, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.symlink_metadata()?.file_type();
        if kind.is_dir() {
            fs::create_dir(&target)?;
            copy(&entry, &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&entry)?, &target)?;
        } else {
            fs::copy(&entry, &target)?;
        }
    }
    Ok(())
}

/// A command as a person would type it.
fn command_line(command: &Command) -> String {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}
