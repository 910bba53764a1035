//! LXC on a host: its files and its containers are in the host's own `/run`, and a cgroup of their own. It is unpacked and
//! not installed, for its package would give the machine a bridge.

use super::cgroup::Cgroup;
use super::image;
use super::instance::BEGIN;
use super::unpacked::unpacked;
use super::{Host, Instance, eventually};

/// LXC, which is no daemon.
pub struct Lxc<'a> {
    host: &'a Host,
    cgroup: Cgroup,
}

/// The programs of LXC in front of the words that follow.
fn program(name: &str) -> String {
    let root = unpacked(&["lxc", "liblxc1", "liblxc-common"]);
    let root = root.display();
    let libraries = format!("{root}/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    format!("env LD_LIBRARY_PATH={libraries} {root}/usr/bin/{name} -P /run/lxc")
}

impl<'a> Lxc<'a> {
    /// Without containers.
    pub fn on(host: &'a Host) -> Self {
        let cgroup = Cgroup::in_namespace(host);
        host.sh("mkdir -p /run/lxc/mount").ok();
        // A process that waits for the output of lxc-attach would wait for the command.
        host.write("/run/lxc/begin", BEGIN);
        Self { host, cgroup }
    }

    /// Starts a container on a bridge, and waits until it has its address, by DHCP. A container of the same name has the
    /// same MAC address.
    #[track_caller]
    pub fn container(&self, name: &str, bridge: &str, mtu: u64) -> Instance<'a> {
        let root = format!("/run/lxc/{name}/rootfs");
        self.host.sh(&format!("mkdir -p {root}/dev {root}/proc {root}/sys; rm -f {root}/address")).ok();
        self.host.sh(&image::tree(&root)).ok();
        self.host.write(&format!("{root}/lease"), image::LEASE);
        self.host.sh(&format!("chmod +x {root}/lease")).ok();
        let number = name.bytes().fold(0_u8, u8::wrapping_add);
        let configuration = format!(
            "lxc.uts.name = {name}
             lxc.rootfs.path = dir:{root}
             lxc.rootfs.mount = /run/lxc/mount
             lxc.mount.auto = proc:mixed
             lxc.net.0.type = veth
             lxc.net.0.link = {bridge}
             lxc.net.0.flags = up
             lxc.net.0.mtu = {mtu}
             lxc.net.0.hwaddr = 02:00:00:00:00:{number:02x}
             lxc.init.cmd = /bin/udhcpc -f -i eth0 -O mtu -s /lease
             lxc.apparmor.profile = unconfined
             lxc.cgroup.dir = {}\n",
            self.cgroup.name()
        );
        self.host.write(&format!("/run/lxc/{name}/config"), &configuration);
        let start = program("lxc-start");
        self.host.exec(&format!("{start} -n {name} --daemon --logfile /run/lxc/{name}/log")).ok();
        let address = eventually("the container has a lease", || {
            let file = format!("{root}/address");
            let text = self.host.run(move || std::fs::read_to_string(file)).ok()?;
            text.strip_suffix('\n').map(str::to_string)
        });
        let attach = format!("{} -n {name} --", program("lxc-attach"));
        Instance::entered_by(self.host, &attach, &format!("sh /run/lxc/begin {attach}"), address)
    }

    /// Ends a container.
    #[track_caller]
    pub fn stop(&self, name: &str) {
        self.host.exec(&format!("{} -n {name} --kill", program("lxc-stop"))).ok();
    }
}

impl Drop for Lxc<'_> {
    fn drop(&mut self) {
        self.cgroup.remove(self.host);
    }
}
