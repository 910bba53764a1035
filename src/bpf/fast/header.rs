//! Where the programs of the fast path keep what they know of a packet: on the stack, in the order of the wire.
//!
//! The inner header stands at the same place whether or not an outer one is in front of it, so that a program that takes away or
//! adds an outer header writes one piece of the stack back into the packet.
//!
//! To store a known number in the first bytes of an aligned eight and others behind it is refused by the verifier of Linux 6.1
//! without CAP_PERFMON (`check_stack_write_fixed_off`, kernel/bpf/verifier.c), so the last bytes of such eight are stored first.
//! Zero is no such number.

/// What a packet looks like at a hook.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// Ethernet, IPv4, ports.
    Plain,
    /// Ethernet, IPv4, IPv4, ports.
    Encapsulated,
}

pub(super) const ETHERNET_LEN: i16 = 14;
pub(super) const IPV4_LEN: i16 = 20;
/// The ports, and what follows them: the whole header of UDP, and eight bytes of that of TCP.
const PORTS_LEN: i16 = 8;

/// Two bytes of TCP: the header's length, and flags.
pub(super) const TCP_LENGTH: i16 = -4;
pub(super) const TCP_FLAGS: i16 = TCP_LENGTH + 1;
/// Where those bytes are in a header of TCP (RFC 9293, section 3.1).
pub(super) const TCP_LENGTH_OFFSET: i16 = 12;

pub(super) const PORTS: i16 = TCP_LENGTH - PORTS_LEN;
pub(super) const INNER: i16 = PORTS - IPV4_LEN;
/// In front of the inner header: that of Ethernet, or the outer one.
pub(super) const ETHERNET_OF_INNER: i16 = INNER - ETHERNET_LEN;
pub(super) const OUTER: i16 = INNER - IPV4_LEN;
pub(super) const ETHERNET_OF_OUTER: i16 = OUTER - ETHERNET_LEN;

/// The number of a counter.
pub(super) const COUNTER: i16 = -72;
/// A flow.
pub(super) const KEY: i16 = -88;
/// What is known of it.
pub(super) const VALUE: i16 = -136;

/// Offsets in an IPv4 header (RFC 791, section 3.1).
pub(super) mod ipv4 {
    pub const TOS: i16 = 1;
    pub const TOTAL_LENGTH: i16 = 2;
    pub const IDENTIFICATION: i16 = 4;
    pub const FRAGMENT: i16 = 6;
    pub const TTL: i16 = 8;
    pub const PROTOCOL: i16 = 9;
    pub const CHECKSUM: i16 = 10;
    pub const SOURCE: i16 = 12;
    pub const DESTINATION: i16 = 16;
}

impl Frame {
    /// Where the packet's first byte stands.
    pub(super) fn start(self) -> i16 {
        match self {
            Self::Plain => ETHERNET_OF_INNER,
            Self::Encapsulated => ETHERNET_OF_OUTER,
        }
    }

    /// How many bytes are read.
    pub(super) fn len(self) -> i32 {
        i32::from(TCP_LENGTH - self.start())
    }

    /// How many bytes stand in front of the inner header.
    pub(super) fn before_inner(self) -> i32 {
        i32::from(INNER - self.start())
    }

    /// Where the second half of the header of TCP stands in the packet.
    pub(super) fn tcp_length(self) -> i32 {
        self.before_inner() + i32::from(IPV4_LEN + TCP_LENGTH_OFFSET)
    }
}
