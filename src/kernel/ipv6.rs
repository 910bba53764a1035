//! What a device takes part in of IPv6: read from its link message, set by netlink and /proc/sys.

use std::net::IpAddr;
use std::path::Path;

use ipnetwork::Ipv6Network;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use nix::sys::statvfs::{FsFlags, statvfs};
use rtnetlink::LinkUnspec;

use super::netlink::{Netlink, Refusal};
use super::{KernelError, sysctl};
use crate::fan::name::InterfaceName;
use crate::plan::host::HostIpv6;
use crate::plan::state::Ipv6;

const DIRECTORY: &str = "/proc/sys/net/ipv6";

/// What a link message says, by `IFLA_AF_SPEC`; none where the kernel speaks no IPv6 on the device.
pub fn decode(families: &[AfSpecUnspec]) -> Option<Ipv6> {
    let specifics = families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet6(specifics) => Some(specifics),
        _ => None,
    })?;
    let mut ipv6 = Ipv6::default();
    for specific in specifics {
        match specific {
            AfSpecInet6::DevConf(conf) => {
                ipv6.accept_ra = conf.accept_ra != 0;
                ipv6.accept_redirects = conf.accept_redirects != 0;
            }
            AfSpecInet6::AddrGenMode(mode) => ipv6.automatic = *mode != In6AddrGenMode::None,
            _ => {}
        }
    }
    Some(ipv6)
}

/// How the kernel speaks IPv6 in this network namespace.
pub fn host() -> HostIpv6 {
    let default = |setting: &str| sysctl::read(&format!("net/ipv6/conf/default/{setting}")).unwrap_or_default();
    HostIpv6 {
        defaults: Ipv6 {
            accept_ra: default("accept_ra"),
            accept_redirects: default("accept_redirects"),
            automatic: true,
        },
        is_read_only: is_read_only(),
    }
}

/// Whether the settings are in a file system that is mounted for reading only, or not to be seen at all.
fn is_read_only() -> bool {
    let flags = statvfs(Path::new(DIRECTORY)).map(|found| found.flags());
    flags.map_or(true, |flags| flags.contains(FsFlags::ST_RDONLY))
}

/// The request by which the kernel gives a device no addresses. It is one of its own: a message is checked before any of it is
/// done, and a device that is not large enough yet speaks no IPv6 (`inet6_validate_link_af`, net/ipv6/addrconf.c at v6.12).
pub(crate) fn no_addresses(link: LinkUnspecBuilder) -> Message {
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    let families = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]);
    Message::SetLink(link.append_extra_attribute(families).build())
}

/// A link message in the making.
pub(crate) type LinkUnspecBuilder = rtnetlink::LinkMessageBuilder<LinkUnspec>;

/// Writes the settings of a device that are not as they should be; `index` is the device's.
///
/// # Errors
/// What the kernel said, and what to set where it cannot be written.
pub(crate) fn change(netlink: &Netlink, name: &InterfaceName, index: u32, to: Option<Ipv6>) -> Result<(), KernelError> {
    let Some(to) = to else { return Ok(()) };
    let path = |setting: &str| format!("net/ipv6/conf/{name}/{setting}");
    sysctl::ensure(&path("accept_ra"), to.accept_ra)?;
    sysctl::ensure(&path("accept_redirects"), to.accept_redirects)?;
    if to.automatic {
        // Written here the kernel gives the device an address at once; asked for by netlink it does not.
        const EUI64: &str = "0";
        let mode = path("addr_gen_mode");
        return Ok(sysctl::write_text(&mode, EUI64)?);
    }
    netlink.send(&no_addresses(LinkUnspec::new_with_index(index)), 0)?;
    forget(netlink, index, !to.accept_ra)
}

/// Takes away the addresses that the kernel gave a device, and the routes that routers told of.
fn forget(netlink: &Netlink, index: u32, and_routes: bool) -> Result<(), KernelError> {
    for message in addresses(netlink)? {
        if message.header.index == index && is_automatic(&message) {
            gone(netlink.send(&Message::DelAddress(message), 0))?;
        }
    }
    if and_routes {
        let mut question = RouteMessage::default();
        question.header.address_family = AddressFamily::Inet6;
        question.header.protocol = RouteProtocol::Ra;
        question.attributes.push(RouteAttribute::Oif(index));
        for answer in netlink.dump(&Message::GetRoute(question))? {
            let Message::NewRoute(message) = answer else { continue };
            let leads_there = message.attributes.contains(&RouteAttribute::Oif(index));
            if leads_there && message.header.protocol == RouteProtocol::Ra {
                gone(netlink.send(&Message::DelRoute(message), 0))?;
            }
        }
    }
    Ok(())
}

/// What is gone already need not be taken away.
fn gone(sent: Result<(), Refusal>) -> Result<(), Refusal> {
    match sent {
        Err(refusal) if ![nix::libc::EADDRNOTAVAIL, nix::libc::ESRCH].contains(&refusal.errno) => Err(refusal),
        _ => Ok(()),
    }
}

/// The IPv6 addresses of all devices.
///
/// # Errors
/// What the kernel said.
pub(crate) fn addresses(netlink: &Netlink) -> Result<Vec<AddressMessage>, Refusal> {
    let mut question = AddressMessage::default();
    question.header.family = AddressFamily::Inet6;
    let answers = netlink.dump(&Message::GetAddress(question))?.into_iter();
    let addresses = answers.filter_map(|answer| match answer {
        Message::NewAddress(message) => Some(message),
        _ => None,
    });
    Ok(addresses.collect())
}

/// Whether the kernel gave an address by itself (`IFA_PROTO`, which Linux 5.18 brought).
pub(crate) fn is_automatic(message: &AddressMessage) -> bool {
    let is = |attribute: &AddressAttribute| {
        matches!(
            attribute,
            AddressAttribute::Protocol(AddressProtocol::LinkLocal | AddressProtocol::RouterAnnouncement)
        )
    };
    message.attributes.iter().any(is)
}

/// The address in a message.
pub(crate) fn address(message: &AddressMessage) -> Option<Ipv6Network> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(IpAddr::V6(ip)) => Ipv6Network::new(*ip, message.header.prefix_len).ok(),
        _ => None,
    })
}
