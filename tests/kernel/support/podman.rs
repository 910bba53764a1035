//! Podman on a host: its files are in the host's own `/run`, its containers in a cgroup of their own, and both go with it.

use super::cgroup::Cgroup;
use super::image::{self, IMAGE};
use super::{Host, Instance, Output, Root};

/// What `--root` and its like do not tell Debian 12's. The limits are more than a container's parent may have here.
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

/// The same for Debian 13's, in a root of its own.
const NEWER_CONFIGURATION: &str = r#"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "file"
infra_image = "fan-test"
"#;

const STORAGE: &str = r#"
[storage]
driver = "vfs"
runroot = "/run/storage"
graphroot = "/storage"
"#;

/// Podman, which is no daemon.
pub struct Podman<'a> {
    host: &'a Host,
    place: Place<'a>,
    engine: String,
}

/// Where it and its containers are.
enum Place<'a> {
    Machine(Cgroup),
    Root(Root<'a>),
}

/// Gives Debian 13's its configuration, and the image of the tests.
#[track_caller]
pub fn configure(root: &Root) {
    for (file, text) in [("containers.conf", NEWER_CONFIGURATION), ("storage.conf", STORAGE)] {
        root.host().write(&Root::path(&format!("/etc/containers/{file}")), text);
    }
    let waits = r#"CMD ["sleep", "3600"]"#;
    root.sh(&format!("tar -C /image -c . | podman import --change '{waits}' - {IMAGE}")).ok();
}

impl<'a> Podman<'a> {
    /// Debian 12's, with the image of the tests, and this list of CNI's plugins as its only network.
    #[track_caller]
    pub fn with_cni(host: &'a Host, list: &str) -> Self {
        let cgroup = Cgroup::in_namespace(host);
        host.sh("mkdir -p /run/podman/net").ok();
        host.write("/run/podman/containers.conf", CONFIGURATION);
        host.write("/run/podman/net/fan.conflist", list);
        host.sh(&image::tree("/run/podman/image")).ok();
        host.sh(&format!("tar -C /run/podman/image -c . | {ENGINE} import - {IMAGE}")).ok();
        Self { host, place: Place::Machine(cgroup), engine: ENGINE.into() }
    }

    /// Debian 13's, with netavark, the image of the tests, and no network yet.
    #[track_caller]
    pub fn with_netavark(host: &'a Host) -> Self {
        let root = Root::on(host);
        configure(&root);
        let engine = format!("{} podman", root.enter());
        Self { host, place: Place::Root(root), engine }
    }

    /// Runs a command of Podman's.
    #[track_caller]
    pub fn podman(&self, words: &str) -> Output {
        self.host.exec(&format!("{} {words}", self.engine))
    }

    /// Runs what `fanctl export podman` printed, in the root that it has.
    #[track_caller]
    pub fn make_network(&self, command: &str) {
        match &self.place {
            Place::Machine(_) => self.host.sh(command).ok(),
            Place::Root(root) => root.sh(command).ok(),
        };
    }

    /// Starts a container that waits, on the fan.
    #[track_caller]
    pub fn container(&self, name: &str, options: &str) -> Instance<'a> {
        // For ping, which Podman 5 gives no raw sockets.
        let cgroup = match &self.place {
            Place::Machine(cgroup) => cgroup.name(),
            Place::Root(root) => root.cgroup(),
        };
        let options = format!("--cgroup-parent {cgroup} --cap-add NET_RAW --network fan {options}");
        Instance::start(self.host, &self.engine, name, &options)
    }

    /// Ends its containers, which gives back their addresses.
    #[track_caller]
    pub fn remove_all(&self) {
        self.podman("rm --all --force --time 0").ok();
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        let _ = self.podman("rm --all --force --time 0");
        if let Place::Machine(cgroup) = &self.place {
            cgroup.remove(self.host);
        }
    }
}
