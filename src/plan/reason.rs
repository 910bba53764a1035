//! Why something cannot be done: a sentence for people, and a stable word for programs.

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::fan::name::InterfaceName;
use crate::fan::words::words;

words! {
    /// What stands in the way.
    ReasonCode {
        /// The underlay address is the broadcast address of its network.
        AddressIsBroadcast = "address-is-broadcast",
        /// The underlay holds several addresses of this host.
        AddressAmbiguous = "address-ambiguous",
        /// No host can have the underlay address in a fan.
        AddressOfNoHost = "address-of-no-host",
        /// The alias of a fan's bridge was changed, by which it was known.
        AliasChanged = "alias-changed",
        /// Containers are attached to a bridge that would go.
        BridgeInUse = "bridge-in-use",
        /// A fan that is up has the name of the bridge.
        BridgeNameOfFan = "bridge-name-of-fan",
        /// Another interface has the name of the bridge.
        BridgeNameTaken = "bridge-name-taken",
        /// What was asked for contradicts itself.
        Contradiction = "contradiction",
        /// A container has an address that the bridge would take.
        ContainerHasAddress = "container-has-address",
        /// `dnsmasq` is not installed.
        DnsmasqMissing = "dnsmasq-missing",
        /// It failed, and was not refused.
        Failed = "failed",
        /// The file may not be replaced.
        FileKept = "file-kept",
        /// The configuration has no fan, perhaps by accident.
        ConfigurationEmpty = "configuration-empty",
        /// The underlay's interface carries no Ethernet frames, which the fast path writes.
        FastNeedsEthernet = "fast-needs-ethernet",
        /// Another configuration would let the fan follow.
        FollowAdvice = "follow-advice",
        /// The host's own address is not among those of hosts.
        HostNotListed = "host-not-listed",
        /// The interface is down.
        InterfaceDown = "interface-down",
        /// The interface is in a VRF.
        InterfaceInVrf = "interface-in-vrf",
        /// There is no such interface.
        InterfaceMissing = "interface-missing",
        /// The interface has a name that no firewall rule can hold.
        InterfaceNameUnfit = "interface-name-unfit",
        /// There is one `ipip external` device already.
        IpipExternalTaken = "ipip-external-taken",
        /// The kernel can carry no fan.
        KernelUnfit = "kernel-unfit",
        /// The laboratory cannot be built or removed.
        LabRefused = "lab-refused",
        /// The options do not fit the alias of a bridge.
        LabelTooLong = "label-too-long",
        /// The interface is the loopback.
        Loopback = "loopback",
        /// The MTU that was asked for is more than the interface can carry.
        MtuTooLarge = "mtu-too-large",
        /// The interface leaves too little for packets of a fan.
        MtuTooSmall = "mtu-too-small",
        /// The interface has no IPv4 address.
        NoAddress = "no-address",
        /// No interface has an address in the underlay.
        NoAddressInside = "no-address-inside",
        /// There is no default route.
        NoDefaultRoute = "no-default-route",
        /// There is no key, or others could have it.
        NoKey = "no-key",
        /// No interface has the underlay address.
        NoSuchAddress = "no-such-address",
        /// The fan is up from another underlay.
        OtherUnderlay = "other-underlay",
        /// An interface has an address inside of the overlay.
        OverlayHasAddress = "overlay-has-address",
        /// The overlay overlaps a fan that is up.
        OverlayOverlaps = "overlay-overlaps",
        /// The overlay overlaps what is left of another fan.
        OverlayOverlapsRemains = "overlay-overlaps-remains",
        /// A route leads the overlay elsewhere.
        OverlayRouted = "overlay-routed",
        /// A VXLAN interface holds the port.
        PortTaken = "port-taken",
        /// A program that would go could not be put back.
        ProgramIrretrievable = "program-irretrievable",
        /// A container runtime has another network, or can have none.
        RuntimeRefused = "runtime-refused",
        /// A table has the name of the fan's.
        TableNameTaken = "table-name-taken",
        /// It would take something away from this host.
        TakesFromHost = "takes-from-host",
        /// Another interface has the name of the tunnel.
        TunnelNameTaken = "tunnel-name-taken",
        /// An ipip tunnel would take the fan's packets.
        TunnelTakesPackets = "tunnel-takes-packets",
        /// The underlay is a device of a fan.
        UnderlayOfFan = "underlay-of-fan",
        /// Two overlays would share a VXLAN identifier.
        VniShared = "vni-shared",
    }
}

/// Why something cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Its stable word.
    pub(crate) code: ReasonCode,
    /// The interface that is to blame, where a look at it says the same.
    interface: Option<InterfaceName>,
    text: String,
}

impl Reason {
    /// A reason in words.
    #[must_use]
    pub fn new(code: ReasonCode, text: impl Into<String>) -> Self {
        Self { code, interface: None, text: text.into() }
    }

    /// The same, of an interface.
    #[must_use]
    pub(crate) fn of(self, interface: &InterfaceName) -> Self {
        Self { interface: Some(interface.clone()), ..self }
    }

    /// The same, with what it is about in front.
    #[must_use]
    pub(crate) fn about(self, what: &str) -> Self {
        Self { text: format!("{what}: {}", self.text), ..self }
    }

    /// Several reasons as one, which has the code of the first; none where there are none.
    #[must_use]
    pub(crate) fn joined(reasons: Vec<Self>) -> Option<Self> {
        let texts: Vec<&str> = reasons.iter().map(Self::as_str).collect();
        let text = texts.join("; ");
        Some(Self { text, ..reasons.into_iter().next()? })
    }

    /// Whether it is this, of this interface.
    #[must_use]
    pub(crate) fn is(&self, code: ReasonCode, interface: &InterfaceName) -> bool {
        self.code == code && self.interface.as_ref() == Some(interface)
    }

    /// The sentence.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// With its code, for JSON.
impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Reason", 2)?;
        fields.serialize_field("code", self.code.as_str())?;
        fields.serialize_field("text", &self.text)?;
        fields.end()
    }
}

/// A [`Reason`] with a code and a sentence as in [`format!`].
macro_rules! reason {
    ($code:ident, $($format:tt)+) => {
        crate::plan::reason::Reason::new(crate::plan::reason::ReasonCode::$code, format!($($format)+))
    };
}
pub(crate) use reason;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::fan::words::Words;

    /// Stable: a word may be added, and none may be changed or taken away.
    const CODES: &str = "address-ambiguous address-is-broadcast address-of-no-host alias-changed bridge-in-use \
        bridge-name-of-fan bridge-name-taken configuration-empty container-has-address contradiction dnsmasq-missing failed \
        fast-needs-ethernet file-kept follow-advice host-not-listed interface-down interface-in-vrf interface-missing interface-name-unfit ipip-external-taken \
        kernel-unfit lab-refused label-too-long loopback mtu-too-large mtu-too-small no-address no-address-inside no-default-route \
        no-key no-such-address other-underlay overlay-has-address overlay-overlaps overlay-overlaps-remains overlay-routed \
        port-taken program-irretrievable runtime-refused table-name-taken takes-from-host tunnel-name-taken \
        tunnel-takes-packets underlay-of-fan vni-shared";

    #[test]
    fn codes_are_stable_and_each_is_there_once() {
        let codes: BTreeSet<&str> = ReasonCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), ReasonCode::ALL.len());
        assert_eq!(codes.into_iter().collect::<Vec<_>>(), CODES.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn the_manual_lists_every_code() {
        let words: BTreeSet<&str> = include_str!("../../man/fanctl-doctor.8").split_whitespace().collect();
        for code in ReasonCode::ALL {
            assert!(words.contains(code.as_str()), "man/fanctl-doctor.8 does not list '{}'", code.as_str());
        }
    }

    #[test]
    fn several_reasons_are_one_with_the_code_of_the_first() {
        let reasons = vec![reason!(InterfaceDown, "one"), reason!(FollowAdvice, "two")];
        let joined = Reason::joined(reasons).unwrap();
        assert_eq!((joined.code, joined.as_str()), (ReasonCode::InterfaceDown, "one; two"));
        assert_eq!(Reason::joined(vec![]), None);
        assert_eq!(serde_json::to_value(&joined).unwrap()["code"], "interface-down");
    }
}
