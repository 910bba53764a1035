//! What a trace can come to, and who is to blame for it.

use serde::Serialize;

/// What a verdict comes down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// Nothing is wrong.
    Works,
    /// It works, for packets that are smaller than the fan's; whoever sends larger ones is told.
    Narrow,
    /// It works, but for what has to be cut up on the way.
    FragmentsLost,
    /// No probe could be sent.
    Unproven,
    /// This host has not the address any more that its slice comes from.
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
    /// The other host answers nothing, wrapped or not.
    HostSilent,
    /// The other host is there, and has no such fan.
    NoFanThere,
    /// Somebody says that it is forbidden.
    Rejected,
    /// Wrapped packets stay on the way, or at the other host's door.
    Dropped,
    /// The other host's fan answers, and nobody has the address.
    AddressGone,
    /// The other host's fan answers, and the address does not.
    AddressSilent,
    /// The interface at the address takes less than the fan does.
    AddressMtuSmall,
    /// The interface at the address sends more than the fan takes.
    AddressMtuLarge,
    /// Large packets are lost on the underlay, and nobody says so.
    BlackHole,
    /// The other host's fan takes less than this one.
    ThereMtuSmall,
}

/// The end of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Conclusion {
    /// Whether packets arrive and are answered.
    pub(crate) works: bool,
    /// What it comes down to.
    pub(crate) cause: Cause,
    /// Who is to blame; none when nobody is.
    pub(crate) hop: Option<String>,
    /// A sentence.
    pub(crate) says: String,
    /// What to do; none when there is nothing to do.
    pub(crate) advice: Option<String>,
}

/// Who is to blame, as it is written in [`Conclusion::hop`].
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
