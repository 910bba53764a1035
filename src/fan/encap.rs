//! The encapsulations: names, overheads and UDP ports. The programs that write outer headers are in `bpf::program`.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// The encapsulation of a fan. Both ends of a fan must use the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encapsulation {
    /// An IPv4 packet in an IPv4 packet, protocol 4 (RFC 2003): 20 bytes, routed.
    Ipip,
    /// An Ethernet frame in a UDP datagram (RFC 7348): 50 bytes, one flat network.
    Vxlan,
    /// An IPv4 packet in one of WireGuard, over UDP: 60 bytes, routed and encrypted.
    Wireguard,
}

/// The first of the two UDP ports of a fan over WireGuard when none is given. It is below 32768, where the kernel begins to choose
/// ports for others (`ip_local_port_range`).
pub(crate) const WIREGUARD_PORT: u16 = 8473;

/// The UDP port of VXLAN when none is given: Linux's own default, and that of Ubuntu's fan (drivers/net/vxlan,
/// `vxlan_port`), not IANA's 4789.
pub(crate) const VXLAN_PORT: u16 = 8472;

/// The first and the last UDP source port of what the kernel encapsulates in VXLAN. A process without `CAP_NET_BIND_SERVICE` gets
/// none below `net.ipv4.ip_unprivileged_port_start`, 1024 unless the administrator says otherwise (ip-sysctl).
pub(crate) const SOURCE_PORTS: (u16, u16) = (512, 1023);

/// Which UDP source ports the VXLAN devices of fans on one port have. The kernel cannot change those of an existing device
/// (`vxlan_nl2conf`, drivers/net/vxlan/vxlan_core.c at v6.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourcePorts {
    /// [`SOURCE_PORTS`]: packets from others are those of a process.
    Privileged,
    /// Those of any process: version 0.1.0 made a device without a range, and it is kept, for to replace it loses packets.
    Any,
}

impl SourcePorts {
    /// The range as a device has it.
    #[must_use]
    pub(crate) fn range(self) -> (u16, u16) {
        match self {
            Self::Privileged => SOURCE_PORTS,
            Self::Any => (0, 0),
        }
    }
}

impl Encapsulation {
    /// All, for messages and completions.
    pub(crate) const ALL: [Self; 3] = [Self::Ipip, Self::Vxlan, Self::Wireguard];

    /// Whether the host routes what goes to other slices, so that only its own slice is on link.
    #[must_use]
    pub(crate) fn is_routed(self) -> bool {
        match self {
            Self::Ipip | Self::Wireguard => true,
            Self::Vxlan => false,
        }
    }

    /// The UDP port when none is given; none over IPIP.
    #[must_use]
    pub(crate) fn usual_port(self) -> Option<u16> {
        match self {
            Self::Ipip => None,
            Self::Vxlan => Some(VXLAN_PORT),
            Self::Wireguard => Some(WIREGUARD_PORT),
        }
    }

    /// Bytes that the encapsulation takes from the underlay's MTU.
    #[must_use]
    pub(crate) fn overhead(self) -> u32 {
        match self {
            Self::Ipip => 20,
            Self::Vxlan => 50,
            Self::Wireguard => 60,
        }
    }

    /// The word used on the command line and in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Vxlan => "vxlan",
            Self::Wireguard => "wireguard",
        }
    }
}

impl fmt::Display for Encapsulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Encapsulation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|encapsulation| encapsulation.as_str() == text)
            .ok_or_else(|| format!("encapsulation '{text}' is unknown; it is ipip, vxlan or wireguard"))
    }
}
