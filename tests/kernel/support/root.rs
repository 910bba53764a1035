//! Debian 13 on a host, for runtimes that Debian 12 has not: `tests/root` unpacks it once for all tests, and every host lays
//! files of its own over it, which are in its `/run` and go with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;

use super::cgroup::Cgroup;
use super::{Host, Output, eventually, image};

/// Where a host sees its files.
const PLACE: &str = "/run/debian";

/// Makes it the root of a process that stays, in mounts of its own: runtimes move the root themselves, which they could
/// not in a chroot.
const HOLD: &str = "cd /run/debian
mkdir -p mnt
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
pivot_root . mnt
umount -l /mnt
touch /held
exec sleep infinity </dev/null >/dev/null 2>&1";

const ENVIRONMENT: &str = "env PATH=/usr/sbin:/usr/bin HOME=/root PODMAN_IGNORE_CGROUPSV1_WARNING=1";

/// A host's own Debian.
pub struct Root<'a> {
    host: &'a Host,
    cgroup: Cgroup,
    holder: Child,
}

/// What `tests/root` made. A test that needs it fails where it cannot be had.
#[track_caller]
fn lower() -> &'static PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/root");
        let output = Command::new(script).output().expect(script);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().into()
    })
}

impl<'a> Root<'a> {
    /// With the tree of the tests' image in `/image`.
    #[track_caller]
    pub fn on(host: &'a Host) -> Self {
        let cgroup = Cgroup::in_namespace(host);
        host.sh(&format!(
            "mkdir -p {PLACE} {PLACE}.upper {PLACE}.work
             mount -t overlay -o lowerdir={},upperdir={PLACE}.upper,workdir={PLACE}.work overlay {PLACE}",
            lower().display()
        ))
        .ok();
        host.sh(&image::tree(&format!("{PLACE}/image"))).ok();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "sh", "-euc", HOLD]);
        let mut holder = host.spawn(command);
        eventually("it is held", || {
            if let Some(status) = holder.try_wait().expect("its state") {
                panic!("the root is not held: {status}");
            }
            host.run(|| Path::new(PLACE).join("held").exists()).then_some(())
        });
        Self { host, cgroup, holder }
    }

    /// Whose it is.
    pub fn host(&self) -> &'a Host {
        self.host
    }

    /// A file of it, as the host sees it.
    pub fn path(path: &str) -> String {
        format!("{PLACE}{path}")
    }

    /// Has it see no cgroups but those for containers, for a runtime that cannot be told where to put its own.
    #[track_caller]
    pub fn confine(&self) {
        self.sh(&self.cgroup.confine_script()).ok();
    }

    /// The name of a cgroup for containers.
    pub fn cgroup(&self) -> &str {
        self.cgroup.name()
    }

    /// The words that run in it what follows them.
    pub fn enter(&self) -> String {
        format!("nsenter --mount=/proc/{}/ns/mnt {ENVIRONMENT}", self.holder.id())
    }

    /// The words that run what follows them among the processes of a daemon, which are known there by the numbers that it knows.
    pub fn enter_to(daemon: &Child) -> String {
        let namespaces = format!("/proc/{}/ns", daemon.id());
        format!("nsenter --mount={namespaces}/mnt --pid={namespaces}/pid_for_children {ENVIRONMENT}")
    }

    /// Runs a command in it.
    #[track_caller]
    pub fn exec(&self, line: &str) -> Output {
        self.host.exec(&format!("{} {line}", self.enter()))
    }

    /// Runs a script in it, to its end or to the first command that fails.
    #[track_caller]
    pub fn sh(&self, script: &str) -> Output {
        self.host.write(&Self::path("/script"), script);
        self.exec("sh -eu /script")
    }

    /// Starts a daemon that is the first of its own processes: they end with it, and it with the test.
    #[track_caller]
    pub fn daemon(&self, words: &str) -> Child {
        let mut command = Command::new("sh");
        let line = format!(
            "{}
             exec setpriv --pdeathsig KILL {} unshare --pid --fork --kill-child --mount-proc {words} \
               >{PLACE}/daemon.log 2>&1",
            self.cgroup.join_script(),
            self.enter()
        );
        command.args(["-euc", &line]);
        self.host.spawn(command)
    }

    /// What a daemon said.
    pub fn log(&self) -> String {
        self.host.run(|| std::fs::read_to_string(Self::path("/daemon.log"))).unwrap_or_default()
    }
}

impl Drop for Root<'_> {
    fn drop(&mut self) {
        self.cgroup.remove(self.host);
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
