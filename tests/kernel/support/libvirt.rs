//! A libvirt daemon of a host's own, in a Debian of the host's own. Its guests are containers, by its own driver: virtual
//! machines would be emulated in most places where tests run.

use std::process::Child;

use super::image;
use super::instance::BEGIN;
use super::{Host, Instance, Output, Root, eventually};

/// What a guest runs first: it gets itself an address. Its card is down, as in a machine that has just been switched on.
const INIT: &str = "#!/bin/sh\n/bin/ip link set eth0 up\nexec /bin/udhcpc -f -i eth0 -O mtu -s /lease\n";

/// How often to ask the driver for a guest's process before the guest is made anew: it answers in some 50 ms, in 200 ms on a
/// loaded machine, and mostly it knows at once.
const PATIENCE: u32 = 25;

/// A running daemon.
pub struct Libvirt<'a> {
    host: &'a Host,
    daemon: Child,
    root: Root<'a>,
}

impl<'a> Libvirt<'a> {
    /// Starts one, and waits until it answers. It has no networks and no guests.
    #[track_caller]
    pub fn start(host: &'a Host) -> Self {
        let root = Root::on(host);
        for (file, text) in [("/image/lease", image::LEASE), ("/image/init", INIT), ("/begin", BEGIN)] {
            host.write(&Root::path(file), text);
        }
        root.sh("cd /image\nmkdir dev proc sys\nchmod +x lease init").ok();
        let daemon = root.daemon("libvirtd");
        let mut libvirt = Self { host, daemon, root };
        eventually("libvirtd answers", || {
            if let Some(status) = libvirt.daemon.try_wait().expect("its state") {
                panic!("libvirtd: {status}\n{}", libvirt.root.log());
            }
            (libvirt.virsh("network", "version").code == Some(0)).then_some(())
        });
        libvirt
    }

    /// Runs a command with one of libvirt's drivers.
    #[track_caller]
    pub fn virsh(&self, driver: &str, words: &str) -> Output {
        self.root.exec(&format!("virsh --connect {driver}:///system {words}"))
    }

    /// Runs a command of `network:///system` that takes a file.
    #[track_caller]
    pub fn define(&self, words: &str, text: &str) -> Output {
        self.host.write(&Root::path("/defined.xml"), text);
        self.virsh("network", &format!("{words} /defined.xml"))
    }

    /// Starts a guest with a card in this network, and waits until it has its address, by DHCP.
    #[track_caller]
    pub fn guest(&self, name: &str, network: &str) -> Instance<'a> {
        let domain = format!(
            "<domain type='lxc'>
               <name>{name}</name>
               <memory>65536</memory>
               <resource><partition>/{}</partition></resource>
               <os><type>exe</type><init>/init</init></os>
               <devices>
                 <filesystem type='mount'><source dir='/image'/><target dir='/'/></filesystem>
                 <interface type='network'><source network='{network}'/></interface>
                 <console type='pty'/>
               </devices>
             </domain>",
            self.root.cgroup()
        );
        self.host.write(&Root::path("/domain.xml"), &domain);
        let create = || {
            // What is there is another guest's, or that of this one before.
            self.root.sh("rm -f /image/address").ok();
            self.virsh("lxc", "create /domain.xml").ok();
        };
        create();
        // It looks for the guest's process in /proc by the daemon's number for it.
        let enter = format!(
            "{} virsh --quiet --connect lxc:///system lxc-enter-namespace --noseclabel {name} -- /bin/busybox env PATH=/bin",
            Root::enter_to(&self.daemon)
        );
        let mut nameless = 0;
        let address = eventually("the guest has a lease", || {
            let address = self.host.exec(&format!("{enter} cat /address"));
            // Now and then the driver misses the message that tells its guest's process, and never learns it.
            nameless += u32::from(address.stderr.contains("Init pid is not yet available"));
            if nameless > PATIENCE {
                nameless = 0;
                self.virsh("lxc", &format!("destroy {name}")).ok();
                create();
            }
            address.stdout.lines().next().map(str::to_string)
        });
        let begin = format!("sh {} {enter}", Root::path("/begin"));
        Instance::entered_by(self.host, &enter, &begin, address)
    }
}

impl Drop for Libvirt<'_> {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
