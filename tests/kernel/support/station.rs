//! A host whose interfaces belong to ifupdown, as Debian ships it: with an `/etc`, a `/dev/log` and a `/usr/local/bin` of
//! its own, which are those of the machine for nobody else.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::mount::{MsFlags, mount, umount};

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
    /// Where its package is unpacked; `tests/ifupdown` has seen to that.
    fn root(self) -> PathBuf {
        static UNPACKED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let unpacked = UNPACKED.get_or_init(|| {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ifupdown");
            let output = Command::new(script).output().map_err(|error| error.to_string())?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
            Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
        });
        let unpacked = unpacked.as_ref().unwrap_or_else(|error| panic!("no ifupdown: {error}"));
        unpacked.join(match self {
            Self::Ifupdown => "ifupdown",
            Self::IfupdownNg => "ifupdown-ng",
        })
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
        host.set_sysctl("ipv4/ip_forward", "1"); // it is never taken back, and so no difference
        host.set_sysctl("unix/max_dgram_qlen", "512");
        host.exec("cp -a /etc /run/etc").ok();
        let programs = root.join("usr/libexec");
        let log = host.run(move || {
            bind("/run/etc", "/etc");
            own_dev();
            tmpfs("/usr/local/bin");
            symlink(Host::program(), FANCTL).expect("fanctl installed");
            if programs.is_dir() {
                bind(programs, "/usr/libexec");
            }
            fs::remove_dir_all("/etc/network").expect("no hooks of the machine's");
            fs::create_dir_all("/run/network").expect("a directory");
            for phase in ["pre-up", "up", "down", "post-down"] {
                fs::create_dir_all(format!("/etc/network/if-{phase}.d")).expect("a directory");
            }
            for hook in ["/etc/network/if-up.d/fanctl", "/etc/network/if-post-down.d/fanctl"] {
                fs::copy(HOOK, hook).expect("the hook");
            }
            UnixDatagram::bind(LOG).expect("a system log")
        });
        log.set_nonblocking(true).expect("a socket");
        Self { host, root, log }
    }

    /// Writes a file below its own `/etc`.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        assert!(path.starts_with("/etc/"), "{path} is not the host's own");
        let (path, text) = (path.to_string(), text.to_string());
        self.run(move || fs::write(path, text)).expect("to write");
    }

    /// Writes `/etc/network/interfaces`: each interface with its address in a /16, and the lines of its stanza.
    #[track_caller]
    pub fn interfaces(&self, stanzas: &[(&str, &str, &[&str])]) {
        let mut text = String::new();
        for (device, address, lines) in stanzas {
            text += &format!("auto {device}\niface {device} inet static\n  address {address}/16\n");
            text.extend(lines.iter().map(|line| format!("  {line}\n")));
        }
        self.write("/etc/network/interfaces", &text);
    }

    #[track_caller]
    pub fn ifup(&self, words: &str) -> Output {
        self.exec(&format!("{}/sbin/ifup {words}", self.root.display()))
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
                    let (_, line) = entry
                        .split_once(" fanctl: ")
                        .unwrap_or_else(|| panic!("from whom? {entry}"));
                    lines.push(line.to_string());
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

    /// Each fan bridge that is up, with the address it has.
    #[track_caller]
    pub fn fans(&self) -> Vec<(String, String)> {
        let links = self.ip_json("addr show up type bridge");
        let mut fans: Vec<(String, String)> = links
            .as_array()
            .expect("links")
            .iter()
            .map(|link| {
                let address = &link["addr_info"][0];
                let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_string();
                (
                    text(&link["ifname"]),
                    format!("{}/{}", text(&address["local"]), address["prefixlen"]),
                )
            })
            .collect();
        fans.sort();
        fans
    }
}

const HOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/ifupdown/fanctl");
const FANCTL: &str = "/usr/local/bin/fanctl";
const LOG: &str = "/dev/log";

/// A `/dev` where a socket can be made that nobody else sees.
fn own_dev() {
    fs::create_dir("/run/dev").expect("a directory");
    bind("/dev", "/run/dev");
    tmpfs("/dev");
    for device in ["null", "random", "urandom"].map(|name| Path::new("/dev").join(name)) {
        File::create(&device).expect("a file");
        bind(
            Path::new("/run").join(device.strip_prefix("/").expect("absolute")),
            &device,
        );
    }
    umount("/run/dev").expect("it is used no more");
}

fn bind(source: impl AsRef<Path>, target: impl AsRef<Path>) {
    let (source, target, none) = (source.as_ref(), target.as_ref(), None::<&str>);
    mount(Some(source), target, none, MsFlags::MS_BIND, none)
        .unwrap_or_else(|error| panic!("{} on {}: {error}", source.display(), target.display()));
}

fn tmpfs(directory: &str) {
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect(directory);
}
