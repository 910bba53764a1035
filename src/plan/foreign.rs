//! What others put on a fan's devices that changes which packets the fan sees. It is named and never taken away.

use std::fmt;

use ipnetwork::Ipv6Network;
use serde::Serialize;

use crate::fan::name::InterfaceName;
use crate::fan::shell::Line;
use crate::fan::{Fan, Mac};
use crate::plan::host::Host;
use crate::plan::state::{Direction, Ipv6, Slot};
use crate::shell;

/// Something of others on a device of a fan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// A filter of traffic control.
    Filter {
        /// The device.
        device: InterfaceName,
        /// Which of its packets it sees.
        direction: Direction,
        /// `pref` of tc(8): lower ones come first.
        preference: u16,
        /// `chain` of tc(8); all but 0 are reached from another filter only.
        chain: u32,
        /// As tc(8) calls it: `bpf`, `flower`, `u32`.
        kind: String,
    },
    /// A program of the kind that stands in front of all filters (`BPF_TCX_INGRESS` and `BPF_TCX_EGRESS`, Linux 6.6).
    Tcx {
        /// The device.
        device: InterfaceName,
        /// Which of its packets it sees.
        direction: Direction,
        /// As in `bpftool prog show id N`.
        program: u32,
    },
    /// A program that sees received packets in front of everything else.
    Xdp {
        /// The device.
        device: InterfaceName,
        /// As in `bpftool prog show id N`.
        program: u32,
    },
    /// An entry of a bridge's forwarding table that was not learned.
    Entry {
        /// The bridge.
        bridge: InterfaceName,
        /// The port that it leads to, or the bridge itself.
        device: InterfaceName,
        /// The address.
        mac: Mac,
    },
    /// An IPv6 address that somebody configured.
    Ipv6Address {
        /// The device.
        device: InterfaceName,
        /// Address and prefix length.
        address: Ipv6Network,
    },
    /// IPv6 settings that this process cannot write.
    Ipv6Settings {
        /// The device.
        device: InterfaceName,
        /// As they are.
        ipv6: Ipv6,
    },
}

impl Foreign {
    /// A stable word for it.
    #[must_use]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Filter { .. } if self.is_in_front() => "filter-in-front",
            Self::Filter { .. } => "filter",
            Self::Tcx { .. } => "tcx-program",
            Self::Xdp { .. } => "xdp-program",
            Self::Entry { .. } => "fdb-entry",
            Self::Ipv6Address { .. } => "ipv6-address",
            Self::Ipv6Settings { .. } => "ipv6-settings",
        }
    }

    /// The device that it is on.
    #[must_use]
    pub(crate) fn device(&self) -> &InterfaceName {
        match self {
            Self::Filter { device, .. }
            | Self::Tcx { device, .. }
            | Self::Xdp { device, .. }
            | Self::Entry { device, .. }
            | Self::Ipv6Address { device, .. }
            | Self::Ipv6Settings { device, .. } => device,
        }
    }

    /// Whether the first filter of a fan comes behind it, or not at all.
    fn is_in_front(&self) -> bool {
        matches!(self, Self::Filter { preference, chain: 0, .. } if *preference <= Slot::FIRST_PREFERENCE)
    }

    /// Whether it can keep a fan's checks from seeing packets, or packets from the fan.
    #[must_use]
    pub(crate) fn is_harmful(&self, fan: &Fan) -> bool {
        let is_on_tunnel = fan.tunnels().any(|tunnel| *self.device() == tunnel);
        match self {
            Self::Filter { .. } => is_on_tunnel && self.is_in_front(),
            Self::Tcx { .. } | Self::Xdp { .. } => is_on_tunnel,
            Self::Entry { device, bridge, .. } => is_on_tunnel || device == bridge,
            Self::Ipv6Address { .. } => false,
            Self::Ipv6Settings { ipv6, .. } => ipv6.accept_ra,
        }
    }

    /// The command that shows it.
    #[must_use]
    pub(crate) fn look(&self) -> Line {
        let device = self.device();
        match self {
            Self::Filter { direction, .. } => shell!("tc filter show dev {} {}", device, direction.as_str()),
            Self::Tcx { .. } | Self::Xdp { .. } => shell!("bpftool net show dev {}", device),
            Self::Entry { bridge, .. } => shell!("bridge fdb show br {}", bridge),
            Self::Ipv6Address { .. } => shell!("ip -6 address show dev {}", device),
            Self::Ipv6Settings { .. } => shell!("sysctl {}", device.ipv6_setting("accept_ra")),
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter { device, direction, preference, chain, kind } => {
                let direction = direction.as_str();
                write!(f, "'{device}' has a {kind} {direction} filter of others, pref {preference}")?;
                if *chain != 0 {
                    write!(f, " in chain {chain}")?;
                }
                if self.is_in_front() {
                    f.write_str(", in front of the fan's")?;
                }
                Ok(())
            }
            Self::Tcx { device, direction, program } => write!(
                f,
                "'{device}' has the tcx {} program {program} of others, in front of the fan's",
                direction.as_str()
            ),
            Self::Xdp { device, program } => write!(f, "'{device}' has the XDP program {program} of others"),
            Self::Entry { bridge, device, mac } => {
                write!(f, "bridge '{bridge}' sends frames for {mac} to '{device}' by an entry that it did not learn")
            }
            Self::Ipv6Address { device, address } => {
                write!(f, "'{device}' has the IPv6 address {address}, and a fan is IPv4 only")
            }
            Self::Ipv6Settings { device, ipv6 } => {
                let (what, setting) = if ipv6.accept_ra {
                    ("router advertisements", "accept_ra")
                } else {
                    ("redirects", "accept_redirects")
                };
                let line = shell!("sysctl -w {}=0", device.ipv6_setting(setting));
                write!(
                    f,
                    "'{device}' accepts IPv6 {what}, and /proc/sys cannot be written; set it from elsewhere: {line}"
                )
            }
        }
    }
}

/// With its code, for JSON.
impl Serialize for Foreign {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Foreign", 2)?;
        fields.serialize_field("code", self.code())?;
        fields.serialize_field("text", &self.to_string())?;
        fields.end()
    }
}

/// What others put on the devices of a fan.
#[must_use]
pub(crate) fn on(fan: &Fan, host: &Host) -> Vec<Foreign> {
    let devices: Vec<InterfaceName> = fan.tunnels().chain([fan.bridge.clone()]).collect();
    let is_here = |foreign: &&Foreign| match foreign {
        Foreign::Entry { bridge, .. } => *bridge == fan.bridge,
        other => devices.contains(other.device()),
    };
    let mut found: Vec<Foreign> = host.foreign.iter().filter(is_here).cloned().collect();
    for link in devices.iter().filter_map(|device| host.link(device)) {
        let device = &link.name;
        found.extend(
            link.ipv6_addresses
                .iter()
                .map(|address| Foreign::Ipv6Address { device: device.clone(), address: *address }),
        );
        let is_read_only = host.ipv6.is_some_and(|ipv6| ipv6.is_read_only);
        let open = link.ipv6.filter(|ipv6| ipv6.accept_ra || ipv6.accept_redirects);
        found.extend(open.filter(|_| is_read_only).map(|ipv6| Foreign::Ipv6Settings { device: device.clone(), ipv6 }));
    }
    found
}
