//! What passes a bridge of the fan, in family `bridge`, IPv4 and ARP.
//!
//! `ports` filters frames that enter by a port: a source in the overlay must be in the slice and not an address of the bridge,
//! and the sender of ARP must be in the slice. (Docker also gives out the slice's first and last address where the whole overlay
//! is on link.) Over VXLAN, where a bridge learns the Ethernet addresses of other hosts, it drops the computed addresses of
//! gateways and tunnels.
//!
//! `neighbours` filters frames from port to port: the source must be in the slice or in a subnet that is routed there. A frame for
//! another host may leave by the tunnel only, whatever Ethernet address a container has claimed; `sent` does the same for frames
//! that the host sends. `containers` in family `ip` checks what is for the host itself.
//!
//! A kernel without `meta ibrname` (`CONFIG_NFT_BRIDGE_META`) cannot tell bridges apart here: see
//! [`Abilities::bridge_names`](crate::plan::firewall::Abilities::bridge_names). There the rules stand without it, and those that would
//! touch another bridge ask for a destination in our slice instead.
//!
//! A tag of VLAN 0 is no tag to those who receive it, so the rules look at what is behind the first one, where the kernel
//! keeps it (`meta protocol`); of two such tags both are taken off behind our back (`__netif_receive_skb_core`,
//! net/core/dev.c at v6.12).

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::super::{BY_INDEX_OUT, GuardRule, HERE, table_name};
use super::{chain, from, from_namesake};
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::fan::name::InterfaceName;

/// `groups` is for frames that the host receives past the bridge's other rules, as if they came by the port: those for a group that no
/// bridge forwards ([`FORWARDED_GROUPS`](crate::plan::state::FORWARDED_GROUPS)).
///
/// Writes the table; gives what stands in it for kernels that cannot tell bridges apart.
pub(super) fn table(fan: &Fan, script: &mut String) -> Vec<(String, String)> {
    let _ = writeln!(script, "table bridge {} {{", table_name(fan.overlay()));
    let hook = "type filter hook prerouting priority -200; policy accept;";
    chain(script, "ports", hook, &ports(fan));
    let hook = "type filter hook forward priority -200; policy accept;";
    chain(script, "neighbours", hook, &neighbours(fan));
    let hook = "type filter hook input priority -200; policy accept;";
    chain(script, "groups", hook, &[(GuardRule::ReservedGroups.as_str(), reserved(&here(fan)))]);
    if fan.options.encapsulation == Encapsulation::Vxlan {
        let hook = "type filter hook output priority -200; policy accept;";
        chain(script, "sent", hook, &sent(fan));
    }
    script.push_str("}\n");
    let slice = fan.slice();
    vec![
        (reserved(&here(fan)), reserved("")),
        (foreign_by_arp(fan), format!("meta protocol arp arp daddr ip {slice} counter drop")),
        (format!("{}ip saddr 0.0.0.0 drop", here(fan)), format!("ip daddr {slice} ip saddr 0.0.0.0 drop")),
        (foreign(fan), format!("ip daddr {slice} {}", not_of_here(fan))),
    ]
}

/// What is for a group of 01:80:c2:00 that the bridge does not forward, and no protocol of bridges. Where rules cannot tell bridges
/// apart, no other bridge misses it either.
fn reserved(here: &str) -> String {
    format!("@ll,0,32 == 0x0180c200 {here}meta protocol {{ ip, arp, ip6, 0x8100, 0x88a8 }} counter drop")
}

fn here(fan: &Fan) -> String {
    format!("{HERE}{}\" ", fan.bridge)
}

fn foreign_by_arp(fan: &Fan) -> String {
    format!("{}meta protocol arp counter drop", here(fan))
}

fn foreign(fan: &Fan) -> String {
    format!("{}{}", here(fan), not_of_here(fan))
}

fn not_of_here(fan: &Fan) -> String {
    let slice = fan.slice();
    match fan.options.routed.set() {
        Some(subnets) => format!("ip saddr != {slice} ip saddr != {subnets} counter drop"),
        None => format!("ip saddr != {slice} counter drop"),
    }
}

fn ports(fan: &Fan) -> Vec<(&'static str, String)> {
    let (overlay, slice) = (fan.overlay(), fan.slice());
    let first = fan.gateway();
    let last = Ipv4Addr::from(u32::from(first) + u32::from(fan.options.host_reserve) - 1);
    let held = if first == last { first.to_string() } else { format!("{first}-{last}") };
    let here = here(fan);
    let own = |source| format!("{source} {slice} {source} != {held} accept");
    let posing = |source| format!("{source} {overlay} counter drop");
    let (ip, arp) = ("ip saddr", "arp saddr ip");
    // That it is ARP does not go without saying: nft would ask the frame's own type, which may be that of a tag.
    let mut rules = vec![
        ("our own", own(ip)),
        ("our own by arp", format!("meta protocol arp {}", own(arp))),
        (GuardRule::Posing.as_str(), format!("{here}{}", posing(ip))),
        (GuardRule::PosingByArp.as_str(), format!("{here}meta protocol arp {}", posing(arp))),
        (
            GuardRule::HiddenByTags.as_str(),
            format!("{here}meta protocol {{ 0x8100, 0x88a8 }} @ll,112,16 & 0xfff == 0 counter drop"),
        ),
        // Who asks whether an address is free (RFC 5227).
        ("arp probes", "meta protocol arp arp saddr ip 0.0.0.0 accept".into()),
        (GuardRule::ForeignAddressesByArp.as_str(), foreign_by_arp(fan)),
    ];
    if fan.options.encapsulation == Encapsulation::Vxlan {
        let tunnel = fan.tunnel();
        let computed = computed(base(fan), mask(fan));
        rules.insert(0, ("from the tunnel", from(&tunnel)));
        rules.insert(
            1,
            (
                GuardRule::EthernetAddressesOfHosts.as_str(),
                format!("{computed} iifname != \"{tunnel}\" {here}counter drop"),
            ),
        );
        rules.insert(3, ("from the tunnel", from_namesake(&format!("\"{tunnel}\""))));
    }
    if fan.options.fast {
        // Behind what most packets are.
        rules.insert(2, by_the_fast_path(fan));
    }
    rules
}

/// What the fast path received: it has asked what the tunnel's program asks.
fn by_the_fast_path(fan: &Fan) -> (&'static str, String) {
    let port = InterfaceName::fast_port(fan.overlay().vni());
    ("by the fast path", from_namesake(&format!("\"{port}\"")))
}

/// A source address with these bits. Four bytes are compared in half the instructions of six, and are enough for most overlays.
fn computed(base: [u8; 6], mask: [u8; 6]) -> String {
    let bits = |[a, b, c, d, e, f]: [u8; 6]| (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f]));
    let ((base, base_end), (mask, mask_end)) = (bits(base), bits(mask));
    let end = if mask_end == 0 { String::new() } else { format!(" @ll,80,16 & {mask_end:#06x} == {base_end:#06x}") };
    format!("@ll,48,32 & {mask:#010x} == {base:#010x}{end}")
}

/// The computed Ethernet addresses of the overlay ([`Fan::bridge_mac`], [`Fan::tunnel_mac`]) under their [`mask`].
fn base(fan: &Fan) -> [u8; 6] {
    let [a, b, c, d] = fan.overlay().network().network().octets();
    [0x02, 0xfa, a, b, c, d]
}

/// What they have in common: all but the bit that tells bridge and tunnel apart, and the bits of the slice.
fn mask(fan: &Fan) -> [u8; 6] {
    let [a, b, c, d] = fan.overlay().network().mask().octets();
    [0xfb, 0xff, a, b, c, d]
}

/// What is for another host and goes to a port; not what is for all.
fn astray(fan: &Fan) -> String {
    let (overlay, slice) = (fan.overlay(), fan.slice());
    format!("ip daddr {overlay} ip daddr != {slice} ether daddr != ff:ff:ff:ff:ff:ff counter drop")
}

fn to_the_tunnel(fan: &Fan) -> [(&'static str, String); 2] {
    let tunnel = fan.tunnel();
    [
        ("to the tunnel", format!("{BY_INDEX_OUT}{tunnel}\" accept")),
        ("to the tunnel", format!("oifname \"{tunnel}\" accept")),
    ]
}

fn neighbours(fan: &Fan) -> Vec<(&'static str, String)> {
    let mut rules = Vec::new();
    if fan.options.encapsulation == Encapsulation::Vxlan {
        let tunnel = fan.tunnel();
        let [by_index, by_name] = to_the_tunnel(fan);
        let slice = fan.slice();
        rules.extend([
            ("from the tunnel", from(&tunnel)),
            by_index,
            ("from the tunnel", from_namesake(&format!("\"{tunnel}\""))),
            by_name,
            (GuardRule::ForAnotherHost.as_str(), format!("ip saddr {slice} {}", astray(fan))),
        ]);
    }
    if fan.options.fast {
        rules.push(by_the_fast_path(fan));
    }
    rules.extend([
        ("dhcp", "ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept".into()),
        ("no address yet", format!("{}ip saddr 0.0.0.0 drop", here(fan))),
        (GuardRule::ForeignNeighbours.as_str(), foreign(fan)),
    ]);
    rules
}

fn sent(fan: &Fan) -> Vec<(&'static str, String)> {
    let mut rules = to_the_tunnel(fan).to_vec();
    let rule = format!("ether saddr {} {}", fan.bridge_mac(), astray(fan));
    rules.push((GuardRule::SentToAnotherHost.as_str(), rule));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fan::Mac;
    use crate::fan::options::Options;
    use crate::fan::tests::announced;

    fn over_vxlan() -> Fan {
        Fan { options: Options { encapsulation: Encapsulation::Vxlan, ..Options::default() }, ..announced() }
    }

    #[test]
    fn what_enters_by_a_port_has_an_address_that_a_container_here_can_have() {
        let rules = |fan: Fan| ports(&fan).into_iter().map(|(_, rule)| rule).collect::<Vec<_>>();
        let over_ipip = rules(announced());
        assert_eq!(
            over_ipip[..4],
            [
                "ip saddr 250.0.28.0/24 ip saddr != 250.0.28.1 accept",
                "meta protocol arp arp saddr ip 250.0.28.0/24 arp saddr ip != 250.0.28.1 accept",
                "meta ibrname \"fan-250-0-28\" ip saddr 250.0.0.0/8 counter drop",
                "meta ibrname \"fan-250-0-28\" meta protocol arp arp saddr ip 250.0.0.0/8 counter drop",
            ]
        );
        let mut with_tunnel = rules(over_vxlan());
        assert_eq!(with_tunnel.remove(3), "iifname \"fan-vx16384000\" accept");
        assert_eq!(
            with_tunnel.remove(1),
            "@ll,48,32 & 0xfbffff00 == 0x02fafa00 iifname != \"fan-vx16384000\" \
             meta ibrname \"fan-250-0-28\" counter drop"
        );
        assert_eq!(with_tunnel.remove(0), "iif \"fan-vx16384000\" accept");
        assert_eq!(with_tunnel, over_ipip);
        let all_held = rules(Fan { options: Options { host_reserve: 254, ..Options::default() }, ..announced() });
        assert_eq!(all_held[0], "ip saddr 250.0.28.0/24 ip saddr != 250.0.28.1-250.0.28.254 accept");
    }

    #[test]
    fn computed_ethernet_addresses_are_those_of_the_overlay() {
        let fan = over_vxlan();
        let is_computed = |Mac(address): Mac| {
            let masked: Vec<u8> = address.iter().zip(mask(&fan)).map(|(byte, mask)| byte & mask).collect();
            masked == base(&fan)
        };
        assert!(is_computed(fan.bridge_mac()) && is_computed(fan.tunnel_mac()));
        for other in [[0x02, 0x42, 250, 0, 28, 0], [0x02, 0xfa, 251, 0, 28, 0], [0x03, 0xfa, 250, 0, 28, 0]] {
            assert!(!is_computed(Mac(other)));
        }
    }

    #[test]
    fn a_kernel_that_cannot_tell_bridges_apart_asks_for_our_slice() {
        let mut script = String::new();
        let fallbacks = table(&announced(), &mut script);
        for (rule, instead) in &fallbacks {
            assert!(script.contains(rule), "{rule}");
            assert!(instead.contains("250.0.28.0/24") || *instead == reserved(""), "{rule}");
        }
        assert_eq!(fallbacks.last().unwrap().1, "ip daddr 250.0.28.0/24 ip saddr != 250.0.28.0/24 counter drop");
    }
}
