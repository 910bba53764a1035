//! What connection tracking knows.

use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Forgets all connections: a deletion that names none (`ctnetlink_del_conntrack`, net/netfilter/nf_conntrack_netlink.c).
pub fn flush_connections() {
    const LENGTH: u32 = 20;
    const DELETE: u16 = 1 << 8 | 2; // NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE
    const REQUEST_AND_ACK: u16 = 1 | 4;
    let kind = SockType::Raw;
    let netlink = socket(AddressFamily::Netlink, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter);
    let netlink = netlink.expect("a socket");
    let mut message = LENGTH.to_ne_bytes().to_vec();
    message.extend(DELETE.to_ne_bytes());
    message.extend(REQUEST_AND_ACK.to_ne_bytes());
    message.extend([0; 12]);
    send(netlink.as_raw_fd(), &message, MsgFlags::empty()).expect("to ask");
    let mut answer = [0; 256];
    recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty()).expect("an answer");
    assert_eq!(answer[16..20], [0; 4], "connections are forgotten");
}
