//! What `--help` tells below and beside the options: forms, examples, exit statuses.

pub(crate) const UP_USAGE: &str = "fanctl up OVERLAY UNDERLAY [WORD]... [OPTIONS]
       fanctl up -o OVERLAY -u UNDERLAY [OPTIONS]
       fanctl up -a [--config FILE] [--dev INTERFACE] [OPTIONS]";

pub(crate) const DOWN_USAGE: &str = "fanctl down BRIDGE|OVERLAY [OPTIONS]
       fanctl down OVERLAY UNDERLAY [OPTIONS]
       fanctl down -o OVERLAY -u UNDERLAY [OPTIONS]
       fanctl down -a [--dev INTERFACE] [OPTIONS]
       fanctl down -e [OPTIONS]";

pub(crate) const NAMES_EXAMPLES: &str = "\
Examples:
  fanctl names serve
  fanctl names hosts --wait 5
  fanctl names list web
  fanctl names add db 250.0.28.9
  fanctl names remove db

Exit status: 0 done, 1 failed, as when no daemon answers, 2 usage or configuration, 4 a host that is
configured as a peer does not answer (hosts --wait).";

pub(crate) const UP_EXAMPLES: &str = "\
OVERLAY is the network that containers live in: 250.0.0.0/8, or 250 for short.

UNDERLAY is where this host's address comes from, and the underlay's width (16 if not written),
which need not be that of the interface:
  eth0/16          the first primary address of eth0
  172.30.0.28/16   this address
  172.30.0.0/16    the host's one address in this network
  default/16       the first primary address of the default route's interface

WORD is one of those of 2015:
  dhcp             as --dhcp
  host-reserve N   as --host-reserve N
  bridge NAME      as --bridge NAME
  off              leave this fan alone: do nothing

Examples:
  fanctl up 250.0.0.0/8 eth0/16
  fanctl up 250.0.0.0/8 eth0/16 dhcp host-reserve 4
  fanctl up -o 250.0.0.0/8 -u 172.30.0.0/16 --encap vxlan
  fanctl up 250 default --dry-run
  fanctl up 250.0.0.0/8 eth0/16 --save
  fanctl up -a

Exit status: 0 done, 1 failed (all steps were taken back), 2 usage or configuration, 3 refused
(nothing was touched), as when an address that this host uses would go into the fan. With -a each
fan stands for itself: 1 if any failed, else 3, else 2; with --tempfail 75 instead of most 3.";

pub(crate) const DOWN_EXAMPLES: &str = "\
BRIDGE, OVERLAY and UNDERLAY are those that the fan was brought up with, or what fanctl show prints.

Examples:
  fanctl down fan-250-0-28
  fanctl down 250.0.0.0/8 eth0/16
  fanctl down -o 250.0.0.0/8 -u 172.30.0.28/16
  fanctl down -a
  fanctl down -e

Exit status: 0 done or nothing to do, 1 failed (all steps were taken back), 2 usage, 3 refused
(nothing was touched), as when a container is still attached.";

pub(crate) const RELOAD_EXAMPLES: &str = "\
Configured fans are brought up or changed. Fans that were removed from the configuration or are off
there are taken down. A fan brought up by hand stays, and belongs to the configuration if that has
its overlay. A fault in a file, or a file without any fan, changes nothing: see down -a.

Examples:
  fanctl reload
  fanctl reload --dry-run

Exit status: 0 done or nothing to do, 1 a fan failed (its steps were taken back), 2 usage or
configuration, 3 a fan was refused (it was not touched).";

pub(crate) const STATUS_EXAMPLES: &str = "\
Examples:
  fanctl status
  fanctl status --json=2 | jq '.fans[] | select(.matches | not)'

Exit status: 0 the machine is as configured, 1 failed, 2 usage or configuration, 4 it is not.";

pub(crate) const WATCH_EXAMPLES: &str = "\
It stays, and prints a line for each change: of the underlay's address, MTU or interface, and of
anything that belongs to a fan. A fan of the configuration that has follow = true is put back as
configured; a bridge with containers attached is only replaced with follow = \"renumber\". A fan that
was taken down stays down. The configuration is read again at each change and on SIGHUP; SIGTERM and
SIGINT end it.

Examples:
  fanctl watch
  systemctl enable --now fan-watch

Exit status: 0 it was asked to end, 1 failed, 2 usage or configuration.";

pub(crate) const CONFIG_EXAMPLES: &str = "\
The files are /etc/fan.toml and /etc/network/fan. Both are read, and a fan that stands in both must
be the same.

Examples:
  fanctl config check
  fanctl config check --config new.toml
  fanctl config convert -o /etc/fan.toml
  lxc network show lxdfan0 | fanctl config convert /dev/stdin
  juju model-config fan-config | fanctl config convert /dev/stdin

Exit status: 0 nothing is wrong, 1 failed, 2 usage, or something is wrong with a file.";

pub(crate) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  fanctl completions bash > /usr/share/bash-completion/completions/fanctl
  fanctl completions zsh > /usr/share/zsh/site-functions/_fanctl
  fanctl completions fish > /usr/share/fish/vendor_completions.d/fanctl.fish";

pub(crate) const SHOW_EXAMPLES: &str = "\
Examples:
  fanctl show
  fanctl show -l
  fanctl show 250.0.0.0/8 --json=2 | jq '.fans[].health'
  fanctl show fan-250-0-28 --program

Exit status: 0 done, 1 failed, as when the fan that was named is not up, 2 usage.";

pub(crate) const METRICS_EXAMPLES: &str = "\
The text is that of Prometheus, for the textfile collector of node-exporter. A file is written whole
or not at all; its name has to end in .prom.

Examples:
  fanctl metrics
  fanctl metrics -o /var/lib/prometheus/node-exporter/fan.prom

Exit status: 0 done, 1 failed, 2 usage, 3 the file holds something else.";

pub(crate) const DOCTOR_EXAMPLES: &str = "\
Looks at everything that has made a fan fail: the kernel, the underlay address, every object of the
fan, where the kernel routes its packets, everybody's firewall rules, the MTU of ports and of
containers, Ethernet addresses, and other software. It sends no packet; fanctl trace does. Each
check is one line: ok, warn (nothing is lost by it yet) or FAIL, with the evidence and the command
that mends it. It reports the cause and leaves out its consequences.

--fix mends what belongs to the fan. Somebody else's firewall, routes and interfaces it leaves to
you, and prints the command.

Examples:
  sudo fanctl doctor
  sudo fanctl doctor 250.0.0.0/8 --fix
  sudo fanctl doctor --json=2 | jq -r '.findings[] | select(.result == \"failed\").fix'

Exit status: 0 no check failed, 1 one did, 2 usage.";
pub(crate) const TRACE_EXAMPLES: &str = "\
ADDRESS is a container, here or behind another host; a gateway; or a host of the underlay, which
stands for its gateway. Each step tells what is decided there, from the kernel's own answers. Then
pings prove it, on the underlay and on the fan, small ones and as large as the fan takes. The first
line names the fault, the second what to do:
  this host        a device, rule, route, program or firewall here
  the way          encapsulated packets are dropped, or only smaller ones get through
  the other host   it is not there, or has no such fan
  the address      nobody has it, or it answers no ping, or its interface has the wrong MTU
Only root may send such pings; others see the steps.

Examples:
  fanctl trace 250.0.27.2
  fanctl trace 172.30.0.27
  fanctl trace 250.0.27.2 --json=2 | jq -r .verdict.cause

Exit status: 0 the address answers, 1 it does not or not as it should, or no fan has it, 2 usage.";

pub(crate) const EXPORT_EXAMPLES: &str = "\
With ipip a container's network is the slice; with vxlan it is the whole overlay, and addresses are
given out from the slice. Reserved addresses are kept out. A file is written whole or not at all; it
keeps its mode and owner, and daemon.json its other keys. A file that holds something else stays.

Examples:
  fanctl export docker | sudo sh
  fanctl export docker --default-bridge -o /etc/docker/daemon.json
  fanctl export docker --swarm | sudo sh
  fanctl export podman | sudo sh
  fanctl export cni -o /etc/cni/net.d/10-fan.conflist
  fanctl export lxd | lxc profile edit fan
  fanctl export libvirt -o fan.xml && virsh net-define fan.xml
  fanctl export flannel-env -o /run/flannel/subnet.env
  docker network inspect fan | fanctl export docker --check -

Exit status: 0 done, 1 failed, as when the fan that was named is not up, 2 usage or configuration,
3 refused, for example if the runtime cannot express this fan, or its network does not match.";

pub(crate) const MAP_EXAMPLES: &str = "\
Examples:
  fanctl map 250.0.0.0/8 172.30.0.0/16 172.30.0.28 250.0.27.3
  fanctl map 250 172.30.0.0/16 - < addresses.txt

Exit status: 0 done, 1 failed, 2 usage, as when an address is in neither network.";

pub(crate) const LAB_EXAMPLES: &str = "\
Examples:
  fanctl lab
  fanctl lab --hosts 4 --encap vxlan
  fanctl lab --keep
  fanctl lab down

Exit status: 0 every packet arrived, 1 failed (nothing is left), 2 usage, 3 refused (nothing was
touched).";

pub(crate) const KEY_EXAMPLES: &str = "\
A key file holds a secret, from which each host computes the keys of all. It is made by generate alone, has
mode 600, and is the same on all hosts. A second secret takes the place of the first without losing a packet:
add, copy the file to all hosts, fanctl reload on all; prefer, copy, reload; remove, copy, reload.

Examples:
  fanctl key generate
  fanctl key fingerprint
  fanctl key add
  fanctl key prefer 2
  fanctl key remove 1

Exit status: 0 done, 1 failed, 2 usage, 3 refused (the file is as it was).";
