//! Podman on a host, as Debian 12 ships it, with the plugins of CNI: its files are in the host's own `/run`, its containers in
//! a cgroup of their own, and both go with it.

use super::cgroup::Cgroup;
use super::image::{self, IMAGE};
use super::{Host, Instance, own_state};

/// What `--root` and its like do not tell. Debian's limits are more than a container's parent may have here.
const CONFIGURATION: &str = r#"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_backend = "cni"
network_config_dir = "/run/podman/net"
cni_plugin_dirs = ["/usr/lib/cni"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "/run/podman/tmp"
"#;

/// The program, with all that is this host's own.
const ENGINE: &str = "env CONTAINERS_CONF=/run/podman/containers.conf podman --root /run/podman/root --runroot /run/podman/run \
                      --storage-driver vfs";

/// Podman, which is no daemon.
pub struct Podman<'a> {
    host: &'a Host,
    cgroup: Cgroup,
}

impl<'a> Podman<'a> {
    /// Has the image of the tests, and this list of plugins as its only network.
    #[track_caller]
    pub fn on(host: &'a Host, list: &str) -> Self {
        let cgroup = Cgroup::in_namespace(host);
        own_state(host);
        host.sh("mkdir -p /run/podman/net").ok();
        host.write("/run/podman/containers.conf", CONFIGURATION);
        host.write("/run/podman/net/fan.conflist", list);
        let podman = Self { host, cgroup };
        host.sh(&image::tree("/run/podman/image")).ok();
        host.sh(&format!("tar -C /run/podman/image -c . | {ENGINE} import - {IMAGE}"))
            .ok();
        podman
    }

    /// Starts a container that waits, on the fan.
    #[track_caller]
    pub fn container(&self, name: &str, options: &str) -> Instance<'a> {
        let options = format!("--cgroup-parent {} --network fan {options}", self.cgroup.name());
        Instance::start(self.host, ENGINE, name, &options)
    }

    /// Ends its containers, which gives back their addresses.
    #[track_caller]
    pub fn remove_all(&self) {
        self.host.exec(&format!("{ENGINE} rm --all --force --time 0")).ok();
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        let _ = self.host.exec(&format!("{ENGINE} rm --all --force --time 0"));
        self.cgroup.remove(self.host);
    }
}
