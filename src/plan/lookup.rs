//! Route lookups: where the kernel sends a packet.

use std::net::Ipv4Addr;

use crate::fan::name::InterfaceName;
use crate::plan::host::Routing;

/// Where does a packet go?
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    /// To this address,
    pub(crate) to: Ipv4Addr,
    /// from this one, if that is said,
    pub(crate) from: Option<Ipv4Addr>,
    /// received by this interface; none for one that the host itself sends.
    pub(crate) incoming: Option<InterfaceName>,
}

/// What the kernel answers: where it goes, or the error number of its refusal.
pub(crate) type Answer = Result<Routing, i32>;
