//! What a finding is called by programs: the check that it belongs to, and what it found.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::fan::words::words;

words! {
    /// An area that is checked. Findings of one fan about its objects stand in this order, that of the words.
    Check {
        /// The bridge and its addresses.
        Bridge = "bridge",
        /// Checksums that hardware computes.
        Checksums = "checksums",
        /// Files and what is up.
        Configuration = "configuration",
        /// What is attached to the bridge.
        Containers = "containers",
        /// The DHCP server.
        Dhcp = "dhcp",
        /// What WireGuard has heard of other hosts.
        Encryption = "encryption",
        /// The programs on the tunnel.
        Filters = "filters",
        /// Firewalls of others.
        Firewall = "firewall",
        /// What `--fix` could not do.
        Fix = "fix",
        /// What others put on the fan's devices.
        Foreign = "foreign",
        /// Forwarding by the kernel.
        Forwarding = "forwarding",
        /// IPv6 on the fan's devices.
        Ipv6 = "ipv6",
        /// What a fan needs of the kernel.
        Kernel = "kernel",
        /// Ethernet addresses.
        Macs = "macs",
        /// Sizes.
        Mtu = "mtu",
        /// Names of containers.
        Names = "names",
        /// All objects of a fan.
        Objects = "objects",
        /// Fans of an earlier version.
        Older = "older",
        /// What could not be looked at.
        Privileges = "privileges",
        /// ICMP redirects of the bridge.
        Redirects = "redirects",
        /// Packets that the fan refused.
        Refused = "refused",
        /// The fan's routes.
        Routes = "routes",
        /// Where the kernel sends packets.
        Routing = "routing",
        /// The reverse path filter.
        RpFilter = "rp_filter",
        /// The fan's routing rules.
        Rule = "rule",
        /// Settings of the host.
        Settings = "settings",
        /// Software that configures interfaces.
        Software = "software",
        /// The fan's nftables tables.
        Table = "table",
        /// The fan's tunnel.
        Tunnel = "tunnel",
        /// Tunnels of others.
        Tunnels = "tunnels",
        /// The underlay address and its interface.
        Underlay = "underlay",
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Declares the findings that are about nothing but their check.
macro_rules! findings {
    ($($check:ident { $($(#[$doc:meta])* $name:ident = $word:literal,)* })*) => {
        words! {
            /// What was found, where that follows from the check alone.
            Found { $($($(#[$doc])* $name = $word,)*)* }
        }

        impl Found {
            /// The check that finds it.
            #[must_use]
            pub(crate) fn check(self) -> Check {
                match self { $($(Self::$name => Check::$check,)*)* }
            }
        }
    };
}

findings! {
    Bridge {
        /// The alias of a bridge was changed, by which it was known.
        AliasChanged = "alias-changed",
        /// A fan has lost its bridge.
        BridgeLost = "bridge-lost",
    }
    Checksums {
        /// VXLAN leaves checksums to hardware that is known to get them wrong.
        OffloadOn = "checksum-offload-on",
        /// Whether it does could not be read.
        OffloadUnknown = "checksum-offload-unknown",
        /// Packets came with a wrong checksum.
        ChecksumsWrong = "checksums-wrong",
        /// Those that did tell nothing.
        ChecksumsRight = "checksums-right",
    }
    Configuration {
        /// The files cannot be followed.
        ConfigurationFaulty = "configuration-faulty",
        /// A fan is configured and not up.
        FanNotUp = "fan-not-up",
        /// A fan is configured and cannot be up.
        FanRefused = "fan-refused",
        /// A fan is up and could not be up again.
        FanRefusedAgain = "fan-refused-again",
        /// A fan is not as it is configured.
        FanDiffers = "fan-differs",
        /// Fans are as they are configured.
        FansAsConfigured = "fans-as-configured",
    }
    Containers {
        /// Something attached sends more than the bridge carries.
        PortMtuLarge = "port-mtu-large",
        /// Something attached takes less than the bridge carries.
        PortMtuSmall = "port-mtu-small",
        /// A port is down, or the interface behind it.
        PortDown = "port-down",
        /// A bridge forwards no frames of a port.
        PortStopped = "port-stopped",
        /// Two containers have one address, or one has an address of the bridge.
        ContainerAddressTwice = "container-address-twice",
        /// A container has an address of another host's slice.
        ContainerAddressForeign = "container-address-foreign",
        /// A container has an address of the slice that is for no container.
        ContainerAddressReserved = "container-address-reserved",
        /// A container's address has another prefix length than the bridge's.
        ContainerPrefixWrong = "container-prefix-wrong",
        /// A container has no default route, or none to other hosts.
        ContainerRouteMissing = "container-route-missing",
        /// Nothing is wrong.
        ContainersRight = "containers-right",
    }
    Encryption {
        /// Hosts that are there do not shake hands.
        HandshakeMissing = "handshake-missing",
        /// The clock is before what has happened already.
        ClockBehind = "clock-behind",
        /// A host is heard from another address than its own.
        HostHeardElsewhere = "host-heard-elsewhere",
        /// Hosts send by the secret that is to be removed.
        EpochOld = "epoch-old",
        /// Nothing is wrong.
        HandshakesRight = "handshakes-right",
    }
    Firewall {
        /// A chain drops packets of the fan.
        FirewallDrops = "firewall-drops",
        /// A chain may drop packets of the fan.
        FirewallMayDrop = "firewall-may-drop",
        /// A chain has dropped packets of unknown connections.
        FirewallDropsInvalid = "firewall-drops-invalid",
        /// All chains let the fan's packets pass.
        FirewallPasses = "firewall-passes",
    }
    Fix {
        /// `--fix` could not mend a fan.
        FixFailed = "fix-failed",
    }
    Forwarding {
        /// `net.ipv4.ip_forward` is 0, and NAT needs it.
        IpForwardOff = "ip-forward-off",
        /// The interface of the default route forwards no packets.
        DefaultDeviceNotForwarding = "default-device-not-forwarding",
    }
    Kernel {
        /// The kernel can carry no fan.
        KernelUnfit = "kernel-unfit",
        /// The kernel is old, and whether it can do the same was not tried.
        KernelUntried = "kernel-untried",
        /// The kernel takes no program.
        ProgramsRefused = "programs-refused",
        /// `nft` is not installed.
        NftMissing = "nft-missing",
        /// Programs are interpreted.
        ProgramsInterpreted = "programs-interpreted",
        /// The kernel lacks an encapsulation.
        EncapMissing = "encap-missing",
        /// Whether the kernel has an encapsulation is not known.
        EncapUnknown = "encap-unknown",
        /// The kernel has all that a fan needs.
        KernelFit = "kernel-fit",
    }
    Macs {
        /// Two on the bridge have the same Ethernet address.
        MacTwice = "mac-twice",
        /// Another host has the Ethernet address of this one.
        MacOfNeighbour = "mac-of-neighbour",
        /// Two other hosts have the same Ethernet address.
        MacShared = "mac-shared",
        /// No neighbour has the Ethernet address of another.
        MacsDistinct = "macs-distinct",
    }
    Mtu {
        /// Packets of the fan do not fit the interface of the underlay.
        MtuTooLarge = "mtu-too-large",
    }
    Names {
        /// A fan has names, and no daemon answers for them.
        NamesNotServed = "names-not-served",
        /// The daemon answers for names of the fan.
        NamesServed = "names-served",
    }
    Objects {
        /// All objects of a fan are there and right.
        ObjectsRight = "objects-right",
    }
    Older {
        /// An earlier version made the fan.
        FanOlder = "fan-older",
    }
    Privileges {
        /// Not root.
        NotRoot = "not-root",
        /// Not everything could be looked at.
        NotSeen = "not-seen",
    }
    Refused {
        /// Packets of another host come that show another fan there.
        HostDisagrees = "host-disagrees",
        /// The fan refused packets.
        PacketsRefused = "packets-refused",
        /// The fan refused nothing that would tell of a mistake.
        NothingRefused = "nothing-refused",
    }
    Routing {
        /// A route takes packets from the fan or from the interface of the underlay.
        RouteAstray = "route-astray",
        /// Another host is reached by another interface.
        RouteElsewhere = "route-elsewhere",
        /// The kernel refuses packets of the fan.
        RouteRefused = "route-refused",
        /// The kernel sends packets as it should.
        RoutingRight = "routing-right",
    }
    RpFilter {
        /// The strict reverse path filter drops packets of the fan.
        RpFilterStrict = "rp-filter-strict",
    }
    Software {
        /// Software was not told to leave fans alone.
        SoftwareNotTold = "software-not-told",
        /// A device of the fan has an address that is not the fan's.
        AddressForeign = "address-foreign",
    }
    Tunnels {
        /// An ipip tunnel takes the fan's packets.
        TunnelTakesPackets = "tunnel-takes-packets",
        /// A VXLAN interface holds the fan's port.
        PortTaken = "port-taken",
    }
    Underlay {
        /// The underlay address is on another interface.
        AddressMoved = "address-moved",
        /// The address is on a port of a bridge or bond.
        AddressOnPort = "address-on-port",
        /// The interface is down.
        InterfaceDown = "interface-down",
        /// The interface has no carrier.
        NoCarrier = "no-carrier",
        /// The interface and its address are gone.
        InterfaceGone = "interface-gone",
        /// The underlay address is gone.
        AddressGone = "address-gone",
        /// The interface has another address of the underlay instead.
        AddressReplaced = "address-replaced",
        /// The underlay address is where it should be.
        UnderlayRight = "underlay-right",
    }
}

/// What was found: a stable word for programs, and the check that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It follows from the check alone.
    Found(Found),
    /// An object of a fan is missing, in this area.
    ObjectMissing(Check),
    /// An object of a fan is there and has to go or to be made anew, in this area.
    ObjectWrong(Check),
    /// An object of a fan differs, in this area: the code of the [`Difference`](crate::plan::difference::Difference).
    Difference(Check, &'static str),
    /// Others put it there: the code of the [`Foreign`](crate::plan::foreign::Foreign).
    Foreign(&'static str),
    /// A setting of the host: the code of the [`Remark`](crate::plan::remarks::Remark).
    Setting(&'static str),
}

impl Code {
    /// Its stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found(found) => found.as_str(),
            Self::ObjectMissing(_) => "object-missing",
            Self::ObjectWrong(_) => "object-wrong",
            Self::Difference(_, code) | Self::Foreign(code) | Self::Setting(code) => code,
        }
    }

    /// The check that finds it.
    #[must_use]
    pub(crate) fn check(self) -> Check {
        match self {
            Self::Found(found) => found.check(),
            Self::ObjectMissing(check) | Self::ObjectWrong(check) | Self::Difference(check, _) => check,
            Self::Foreign(_) => Check::Foreign,
            Self::Setting(_) => Check::Settings,
        }
    }
}

impl From<Found> for Code {
    fn from(found: Found) -> Self {
        Self::Found(found)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
