//! The causes that a trace can find, and the hop that is to blame for it.

use serde::Serialize;

/// The cause of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// Nothing is wrong.
    Works,
    /// It works for packets that are smaller than the fan's MTU; the sender of larger ones gets an ICMP error.
    Narrow,
    /// It works, except for packets that have to be fragmented on the way.
    FragmentsLost,
    /// No probe could be sent.
    Unproven,
    /// This host has lost the underlay address that its slice is computed from.
    HereAddress,
    /// A device of the fan or of the underlay is down or gone.
    HereDevice,
    /// A routing rule is missing, or another comes first.
    HereRule,
    /// There is no route, or another takes it.
    HereRoute,
    /// This host does not forward what its containers send.
    HereForward,
    /// A program is gone, or not the fan's, or refuses it.
    HereProgram,
    /// There is no way to the other host.
    HereUnderlay,
    /// Something on this host drops it before it leaves.
    HereFirewallOut,
    /// Something on this host drops the answers.
    HereFirewallIn,
    /// This host's program refuses the answers.
    HereRefused,
    /// No host can have the address: that of its host is the broadcast address of the underlay's network.
    AddressOfNobody,
    /// The other host is not there.
    HostGone,
    /// The router that leads to the other host is not there.
    NextHopGone,
    /// The other host answers nothing, encapsulated or not.
    HostSilent,
    /// The other host and this one have no keys for each other: no handshake of WireGuard succeeds.
    NoHandshake,
    /// The other host is there, and has no such fan.
    NoFanThere,
    /// An ICMP error says that it is forbidden.
    Rejected,
    /// Encapsulated packets are dropped on the way, or by the other host before its fan.
    Dropped,
    /// The other host's fan answers, and no container there has the address.
    AddressGone,
    /// The other host's fan answers, and the address does not.
    AddressSilent,
    /// The MTU of the interface at the address is smaller than the fan's.
    AddressMtuSmall,
    /// The MTU of the interface at the address is larger than the fan's.
    AddressMtuLarge,
    /// Large packets are dropped on the underlay, without an ICMP error.
    BlackHole,
    /// UDP arrives without a checksum, and not with one that the interface computes.
    ChecksumsSpoilt,
    /// The MTU of the other host's fan is smaller than that of this one.
    ThereMtuSmall,
}

/// The end of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Conclusion {
    /// Whether packets arrive and are answered.
    pub(crate) works: bool,
    /// Why, or why not.
    pub(crate) cause: Cause,
    /// The hop that is to blame; none when it works.
    pub(crate) hop: Option<String>,
    /// A sentence.
    pub(crate) says: String,
    /// What to do; none when there is nothing to do.
    pub(crate) advice: Option<String>,
}

/// The hop that is to blame, as it is written in [`Conclusion::hop`].
pub(crate) const THIS_HOST: &str = "this host";

impl Conclusion {
    pub(super) fn new(cause: Cause, hop: impl Into<String>, says: String) -> Self {
        Self { works: false, cause, hop: Some(hop.into()), says, advice: None }
    }

    pub(super) fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    pub(super) fn but_works(self) -> Self {
        Self { works: true, ..self }
    }
}
