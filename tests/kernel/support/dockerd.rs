//! A Docker daemon of a host's own, as Debian ships it: its files are in the host's own `/run`, its containers in a cgroup
//! of its own, and both go with it.

use std::process::{Child, Command};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroup::Cgroup;
use super::image::{self, IMAGE};
use super::{Host, Instance, Output, eventually};

/// A running daemon.
pub struct Docker<'a> {
    host: &'a Host,
    daemon: Child,
    cgroup: Cgroup,
}

impl<'a> Docker<'a> {
    /// Starts one with this `daemon.json`, and waits until it answers. It has the image of the tests.
    #[track_caller]
    pub fn start(host: &'a Host, daemon_json: &str) -> Self {
        let cgroup = Cgroup::in_namespace(host);
        host.run(|| std::fs::create_dir_all("/run/docker")).expect("a directory");
        host.write("/run/docker/daemon.json", daemon_json);
        let mut command = Command::new("sh");
        // Should this process be killed, the daemon is told to end, and ends its containers.
        let line = format!(
            "exec setpriv --pdeathsig TERM dockerd --config-file /run/docker/daemon.json --data-root /run/docker/data \
             --exec-root /run/docker/exec --pidfile /run/docker/pid --host unix:///run/docker.sock \
             --storage-driver vfs --cgroup-parent {} >/run/docker/log 2>&1",
            cgroup.name()
        );
        command.args(["-c", &line]);
        let daemon = host.spawn(command);
        let mut docker = Self { host, daemon, cgroup };
        eventually("dockerd answers", || {
            if let Some(status) = docker.daemon.try_wait().expect("its state") {
                panic!("dockerd: {status}\n{}", docker.log());
            }
            (docker.docker("version").code == Some(0)).then_some(())
        });
        host.sh(&image::tree("/run/docker/image")).ok();
        host.sh(&format!("tar -C /run/docker/image -c . | docker import - {IMAGE}")).ok();
        docker
    }

    /// Runs a command of Docker's.
    #[track_caller]
    pub fn docker(&self, words: &str) -> Output {
        self.host.exec(&format!("docker {words}"))
    }

    /// Starts a container that waits; `options` tell its network.
    #[track_caller]
    pub fn container(&self, name: &str, options: &str) -> Instance<'a> {
        Instance::start(self.host, "docker", name, options)
    }

    fn log(&self) -> String {
        self.host.run(|| std::fs::read_to_string("/run/docker/log")).unwrap_or_default()
    }
}

impl Drop for Docker<'_> {
    /// Ends it as an administrator would, which ends its containers; then kills all that is left.
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.daemon.id().cast_signed()), Signal::SIGTERM);
        let _ = self.daemon.wait();
        self.cgroup.remove(self.host);
    }
}
