//! What a device takes part in of IPv6.

/// The smallest MTU, in bytes, of a device on which the kernel speaks IPv6 (RFC 8200, `IPV6_MIN_MTU`).
pub const IPV6_MIN_MTU: u32 = 1280;

/// What a device takes part in of IPv6. A fan is IPv4 only, so that its devices take part in nothing unless a user asks
/// for it: the router advertisement of a container would give the host an address and a default route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ipv6 {
    /// `net.ipv6.conf.DEVICE.accept_ra`
    pub(crate) accept_ra: bool,
    /// `net.ipv6.conf.DEVICE.accept_redirects`
    pub(crate) accept_redirects: bool,
    /// Whether the kernel gives it addresses (`addr_gen_mode` other than `none`), or has given it one.
    pub automatic: bool,
}
