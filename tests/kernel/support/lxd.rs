//! A LXD daemon of a host's own, in a Debian of the host's own.

use std::process::Child;

use super::image::{self, IMAGE};
use super::instance::BEGIN;
use super::{Host, Instance, Output, Root, eventually};

/// The first program of a container: it gets an address by DHCP.
const INIT: &str = "#!/bin/sh\nexec /bin/udhcpc -f -i eth0 -O mtu -s /lease\n";

/// The metadata of an image.
const METADATA: &str = "architecture: x86_64\ncreation_date: 1\nproperties:\n  os: busybox\n";

/// A running daemon.
pub struct Lxd<'a> {
    host: &'a Host,
    daemon: Child,
    root: Root<'a>,
}

impl<'a> Lxd<'a> {
    /// Starts one, and waits until it answers. It has a place for containers and the image of the tests, and no network.
    #[track_caller]
    pub fn start(host: &'a Host) -> Self {
        let root = Root::on(host);
        for (file, text) in
            [("/image/lease", image::LEASE), ("/image/init", INIT), ("/metadata.yaml", METADATA), ("/begin", BEGIN)]
        {
            host.write(&Root::path(file), text);
        }
        let daemon = root.daemon("lxd");
        let lxd = Self { host, daemon, root };
        let ready = lxd.root.exec("lxd waitready --timeout 50");
        assert_eq!(ready.code, Some(0), "{ready}{}", lxd.root.log());
        lxd.root
            .sh(&format!(
                "cd /
                 mkdir image/sbin image/dev image/proc image/sys
                 mv image/init image/sbin/init
                 chmod +x image/lease image/sbin/init
                 mv image rootfs
                 tar -cf image.tar metadata.yaml rootfs
                 lxc storage create default dir
                 lxc profile device add default root disk path=/ pool=default
                 lxc profile set default security.privileged true
                 lxc image import image.tar --alias {IMAGE}"
            ))
            .ok();
        lxd
    }

    /// Runs a command of LXD's.
    #[track_caller]
    pub fn lxc(&self, words: &str) -> Output {
        self.root.exec(&format!("lxc {words}"))
    }

    /// Runs `lxc profile edit` with a text.
    #[track_caller]
    pub fn edit_profile(&self, name: &str, text: &str) -> Output {
        self.host.write(&Root::path("/profile"), text);
        self.root.sh(&format!("lxc profile edit {name} </profile"))
    }

    /// Starts a container with these profiles, and waits until it has its address, by DHCP.
    #[track_caller]
    pub fn container(&self, name: &str, profiles: &str) -> Instance<'a> {
        self.lxc(&format!("launch --quiet {IMAGE} {name} {profiles}")).ok();
        let enter = format!("{} lxc exec --mode non-interactive {name} --", self.root.enter());
        let address = eventually("the container has a lease", || {
            let address = self.host.exec(&format!("{enter} cat /address"));
            address.stdout.strip_suffix('\n').map(str::to_string)
        });
        let begin = format!("sh {} {enter}", Root::path("/begin"));
        Instance::entered_by(self.host, &enter, &begin, address)
    }
}

impl Drop for Lxd<'_> {
    /// Ends its containers as an administrator would; then it, and kills all that is left.
    fn drop(&mut self) {
        let _ = self.root.sh("lxc list --format csv --columns n | xargs --no-run-if-empty lxc delete --force");
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
