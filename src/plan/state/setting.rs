//! Settings of bridges and their ports that change which frames go where.

use std::fmt;

use crate::fan::name::InterfaceName;
use crate::fan::shell::Line;
use crate::shell;

/// The link-local groups (01:80:c2:00:00:0X) that a fan's bridge forwards: all that it may (`BR_GROUPFWD_RESTRICTED`,
/// net/bridge/br_private.h at v6.12). A frame for another one does not pass the bridge's rules: the host receives it as what came by
/// the port (`br_handle_frame`, net/bridge/br_input.c).
pub(crate) const FORWARDED_GROUPS: u16 = 0xfff8;

/// A setting of a bridge or of a port. Those of a fan stay as the kernel makes them (`br_dev_setup`, net/bridge/br_device.c,
/// and `new_nbp`, net/bridge/br_if.c, at v6.12), but for [`FORWARDED_GROUPS`]; a set of these names the ones that were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// A port learns no addresses.
    Learning,
    /// A port gets no frames to unknown addresses.
    Flood,
    /// A port gets no multicast.
    MulticastFlood,
    /// A port gets no broadcast, and so no ARP requests.
    BroadcastFlood,
    /// A port gets its own frames back.
    Hairpin,
    /// A port exchanges no frames with other isolated ones.
    Isolated,
    /// The bridge answers ARP in place of the port.
    NeighbourSuppression,
    /// A port takes frames only from addresses that were configured.
    Locked,
    /// A bridge forwards only within VLANs.
    VlanFiltering,
    /// A bridge speaks the spanning tree protocol.
    SpanningTree,
    /// A bridge forwards other link-local groups than [`FORWARDED_GROUPS`]: the bits of `group_fwd_mask`.
    GroupForwarding(u16),
}

impl Setting {
    /// Whether the kernel makes it on.
    #[must_use]
    pub(crate) fn is_on_at_first(self) -> bool {
        matches!(self, Self::Learning | Self::Flood | Self::MulticastFlood | Self::BroadcastFlood)
    }

    /// A stable word for its being changed.
    #[must_use]
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Learning => "port-learning",
            Self::Flood => "port-flood",
            Self::MulticastFlood => "port-mcast-flood",
            Self::BroadcastFlood => "port-bcast-flood",
            Self::Hairpin => "port-hairpin",
            Self::Isolated => "port-isolated",
            Self::NeighbourSuppression => "port-neigh-suppress",
            Self::Locked => "port-locked",
            Self::VlanFiltering => "bridge-vlan-filtering",
            Self::SpanningTree => "bridge-stp",
            Self::GroupForwarding(_) => "bridge-group-forwarding",
        }
    }

    /// The name that bridge(8) or ip-link(8) has for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Learning => "learning",
            Self::Flood => "flood",
            Self::MulticastFlood => "mcast_flood",
            Self::BroadcastFlood => "bcast_flood",
            Self::Hairpin => "hairpin",
            Self::Isolated => "isolated",
            Self::NeighbourSuppression => "neigh_suppress",
            Self::Locked => "locked",
            Self::VlanFiltering => "vlan_filtering",
            Self::SpanningTree => "stp_state",
            Self::GroupForwarding(_) => "group_fwd_mask",
        }
    }

    /// The command that gives a device the setting: as changed, or as the kernel makes it.
    #[must_use]
    pub fn line(self, device: &InterfaceName, changed: bool) -> Line {
        let name = self.name();
        let of_bridge = |value: u16| shell!("ip link set {} type bridge {} {}", device, name, value);
        match self {
            Self::VlanFiltering | Self::SpanningTree => of_bridge(u16::from(changed)),
            Self::GroupForwarding(mask) => of_bridge(if changed { mask } else { FORWARDED_GROUPS }),
            _ => {
                let on = self.is_on_at_first() != changed;
                shell!("bridge link set dev {} {} {}", device, name, if on { "on" } else { "off" })
            }
        }
    }
}

/// The setting as it is when changed.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GroupForwarding(mask) => write!(f, "{} {mask:#x}", self.name()),
            _ if self.is_on_at_first() => write!(f, "{} off", self.name()),
            _ => write!(f, "{} on", self.name()),
        }
    }
}
