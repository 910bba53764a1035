//! A host whose interfaces belong to ifupdown, as Debian ships it: with an `/etc`, a `/dev/log` and a `/usr/local/bin` of
//! its own, which no other process sees.

use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::ops::Deref;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount, umount};
use serde_json::Value;

use super::unpacked::unpacked;
use super::{Host, Output};

/// The programs that are called ifupdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Debian's own.
    Ifupdown,
    /// Alpine's, and Debian's if asked for.
    IfupdownNg,
}

impl Suite {
    /// Where its package is unpacked.
    fn root(self) -> PathBuf {
        unpacked(&[match self {
            Self::Ifupdown => "ifupdown",
            Self::IfupdownNg => "ifupdown-ng",
        }])
    }
}

/// A host with ifupdown, its hooks for `fanctl`, and `fanctl` in `/usr/local/bin`; no interface is up or configured.
pub struct Station {
    host: Host,
    root: PathBuf,
    /// What listens at /dev/log.
    log: UnixDatagram,
}

impl Deref for Station {
    type Target = Host;
    fn deref(&self) -> &Host {
        &self.host
    }
}

impl Station {
    #[track_caller]
    pub fn new(suite: Suite, name: &str) -> Self {
        let (host, root) = (Host::new(name), suite.root());
        host.set_sysctl("ipv4/ip_forward", "1"); // fanctl never sets it back: it must not count as a difference
        host.set_sysctl("unix/max_dgram_qlen", "512");
        host.ip("link set lo up");
        let executors = root.join("usr/libexec");
        let log = host.run(move || {
            own_dev();
            mount_new("tmpfs", "/usr/local/bin", "");
            symlink(Host::program(), FANCTL).expect("fanctl installed");
            if executors.is_dir() {
                bind(executors, "/usr/libexec");
            }
            fs::remove_dir_all("/etc/network").expect("no hooks of the machine's");
            fs::create_dir_all("/run/network").expect("a directory");
            for phase in ["pre-up", "up", "down", "post-down"] {
                fs::create_dir_all(format!("/etc/network/if-{phase}.d")).expect("a directory");
            }
            for hook in ["/etc/network/if-up.d/fanctl", "/etc/network/if-post-down.d/fanctl"] {
                fs::copy(HOOK, hook).expect("the hook");
            }
            let log = UnixDatagram::bind(LOG).expect("a system log");
            fs::set_permissions(LOG, Permissions::from_mode(0o666)).expect("open to all users");
            log
        });
        log.set_nonblocking(true).expect("a socket");
        Self { host, root, log }
    }

    /// Writes `/etc/network/interfaces`: each interface with its address in a /16, and the lines of its stanza.
    #[track_caller]
    pub fn interfaces(&self, stanzas: &[(&str, &str, &[&str])]) {
        let mut text = String::new();
        for (device, address, lines) in stanzas {
            let _ = writeln!(text, "auto {device}\niface {device} inet static\n  address {address}/16");
            for line in *lines {
                let _ = writeln!(text, "  {line}");
            }
        }
        self.write("/etc/network/interfaces", &text);
    }

    #[track_caller]
    pub fn ifup(&self, words: &str) -> Output {
        self.exec(&format!("{}/sbin/ifup {words}", self.root.display()))
    }

    /// As a user at a terminal does, who sees standard output and error.
    #[track_caller]
    pub fn ifup_at_a_terminal(&self, words: &str) -> Output {
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command"]);
        command.arg(format!("{}/sbin/ifup {words}", self.root.display()));
        command.arg("/dev/null");
        self.execute(command)
    }

    #[track_caller]
    pub fn ifdown(&self, words: &str) -> Output {
        self.exec(&format!("{}/sbin/ifdown {words}", self.root.display()))
    }

    /// What has come to the system log under the name of fanctl since the last look. A program that has ended has
    /// delivered what it had to say.
    #[track_caller]
    pub fn logged(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match self.log.recv(&mut buffer) {
                Ok(length) => {
                    let entry = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    lines.extend(entry.split_once(" fanctl: ").map(|(_, line)| line.to_string()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return lines,
                Err(error) => panic!("the system log: {error}"),
            }
        }
    }

    /// Takes the system log away.
    pub fn stop_logging(&self) {
        self.run(|| fs::remove_file(LOG)).expect("the log's socket");
    }

    /// Removes `fanctl`, and leaves the hooks.
    #[track_caller]
    pub fn uninstall(&self) {
        self.run(|| fs::remove_file(FANCTL)).expect("fanctl");
        let elsewhere = self.exec("which fanctl");
        assert_ne!(elsewhere.code, Some(0), "this machine has one of its own\n{elsewhere}");
    }

    /// Puts this program in the place of `fanctl`.
    pub fn replace_fanctl(&self, program: &'static str) {
        self.run(move || {
            fs::remove_file(FANCTL).expect("fanctl");
            fs::write(FANCTL, program).expect("to write");
            fs::set_permissions(FANCTL, Permissions::from_mode(0o755)).expect("an executable file");
        });
    }

    /// These bridges are up and no other, each with its address: "fan-250-0-28 250.0.28.1/24".
    #[track_caller]
    pub fn has_fans(&self, expected: &[&str]) {
        let links = self.ip_json("addr show up type bridge");
        let links = links.as_array().expect("links").iter();
        let mut fans: Vec<String> = links
            .map(|link| {
                let address = &link["addr_info"][0];
                let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
                let (bridge, local) = (text(&link["ifname"]), text(&address["local"]));
                format!("{bridge} {local}/{}", address["prefixlen"])
            })
            .collect();
        fans.sort();
        assert_eq!(fans, expected, "the log says: {:#?}", self.logged());
    }
}

const HOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/ifupdown/fanctl");
const FANCTL: &str = "/usr/local/bin/fanctl";
const LOG: &str = "/dev/log";

/// A `/dev` where a socket can be made that no other process sees, with terminals of its own.
fn own_dev() {
    fs::create_dir("/run/dev").expect("a directory");
    bind("/dev", "/run/dev");
    mount_new("tmpfs", "/dev", "");
    for device in ["null", "random", "urandom"] {
        let place = format!("/dev/{device}");
        File::create(&place).expect("a file");
        bind(format!("/run/dev/{device}"), place);
    }
    umount("/run/dev").expect("it is used no more");
    fs::create_dir("/dev/pts").expect("a directory");
    mount_new("devpts", "/dev/pts", "ptmxmode=0666");
    symlink("pts/ptmx", "/dev/ptmx").expect("a link");
}

fn bind(source: impl AsRef<Path>, target: impl AsRef<Path>) {
    let (source, target, none) = (source.as_ref(), target.as_ref(), None::<&str>);
    mount(Some(source), target, none, MsFlags::MS_BIND, none)
        .unwrap_or_else(|error| panic!("{} on {}: {error}", source.display(), target.display()));
}

fn mount_new(kind: &str, directory: &str, options: &str) {
    mount(Some(kind), directory, Some(kind), MsFlags::empty(), Some(options))
        .unwrap_or_else(|error| panic!("{kind} on {directory}: {error}"));
}
