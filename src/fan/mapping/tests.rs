//! The arithmetic, on known vectors and by properties.

use super::*;
use proptest::prelude::*;

fn mapping(overlay: &str, underlay: &str) -> Result<Mapping, String> {
    let network: Ipv4Network = underlay.parse().unwrap();
    Mapping::new(overlay.parse()?, Underlay::containing(network.ip(), network.prefix())?)
}

/// Those that manual pages, articles and tests of Ubuntu's fan and of its users give: overlay, underlay, host, slice.
const SLICES: [(&str, &str, &str, &str); 14] = [
    ("250.0.0.0/8", "172.16.0.0/16", "172.16.3.4", "250.3.4.0/24"),
    ("10.0.0.0/8", "172.16.0.0/16", "172.16.3.4", "10.3.4.0/24"),
    ("250.0.0.0/8", "172.30.0.0/16", "172.30.0.28", "250.0.28.0/24"),
    ("250", "172.30.0.0/16", "172.30.0.27", "250.0.27.0/24"),
    ("99.0.0.0/8", "10.88.0.0/16", "10.88.3.4", "99.3.4.0/24"),
    ("99.0.0.0/8", "10.99.224.0/20", "10.99.238.5", "99.224.80.0/20"),
    ("100.64.0.0/10", "10.224.220.0/24", "10.224.220.10", "100.66.128.0/18"),
    ("10.0.0.0/8", "172.21.0.0/16", "172.21.5.20", "10.5.20.0/24"),
    ("240.0.0.0/8", "10.248.0.0/16", "10.248.119.94", "240.119.94.0/24"),
    ("240.0.0.0/8", "192.168.202.0/24", "192.168.202.11", "240.11.0.0/16"),
    ("250.0.0.0/8", "10.0.0.0/16", "10.0.2.15", "250.2.15.0/24"),
    ("250.0.0.0/8", "192.168.0.0/16", "192.168.13.7", "250.13.7.0/24"),
    ("250.0.0.0/8", "172.30.0.0/16", "172.30.0.0", "250.0.0.0/24"),
    ("250.0.0.0/8", "172.30.0.0/16", "172.30.255.255", "250.255.255.0/24"),
];

/// Inner destination to outer destination.
const HOSTS: [(&str, &str, &str, &str); 6] = [
    ("99.0.0.0/8", "10.88.0.0/16", "99.6.7.8", "10.88.6.7"),
    ("100.64.0.0/10", "10.224.220.0/24", "100.66.200.5", "10.224.220.11"),
    ("10.0.0.0/8", "172.16.0.0/16", "10.3.4.15", "172.16.3.4"),
    ("240.0.0.0/8", "172.16.0.0/16", "240.5.6.25", "172.16.5.6"),
    ("250.0.0.0/8", "172.30.0.0/16", "250.0.27.3", "172.30.0.27"),
    ("240.0.0.0/8", "192.168.202.0/24", "240.11.200.5", "192.168.202.11"),
];

#[test]
fn the_worked_examples_hold() {
    for (overlay, underlay, host, slice) in SLICES {
        let mapping = mapping(overlay, underlay).unwrap();
        assert_eq!(mapping.slice(host.parse().unwrap()).to_string(), slice, "{mapping:?} {host}");
    }
    for (overlay, underlay, inner, outer) in HOSTS {
        let mapping = mapping(overlay, underlay).unwrap();
        assert_eq!(mapping.host(inner.parse().unwrap()).to_string(), outer, "{mapping:?} {inner}");
    }
}

#[test]
fn vxlan_identifiers_are_ubuntus() {
    for (overlay, vni) in [("240", 15_728_640), ("250", 16_384_000), ("10", 655_360)] {
        assert_eq!(overlay.parse::<Overlay>().unwrap().vni(), vni);
    }
}

#[test]
fn what_cannot_work_is_refused_with_a_sentence() {
    for (overlay, underlay, reason) in [
        ("1.0.0.0/8", "2.0.0.0/8", "not wider"),
        ("1.0.0.0/16", "2.0.0.0/8", "not wider"),
        ("1.0.0.0/8", "2.0.0.0/9", "no room for containers"),
        ("10.0.0.0/8", "10.1.0.0/16", "overlap"),
        ("0.0.0.0/8", "10.1.0.0/16", "this network"),
        ("0.0.0.0/0", "10.1.0.0/16", "this network"),
        ("126.0.0.0/7", "10.1.0.0/16", "loopback"),
        ("127", "10.1.0.0/16", "loopback"),
        ("169.254.128.0/17", "10.1.0.0/24", "link-local"),
        ("224.0.0.0/8", "10.1.0.0/16", "multicast"),
        ("250.1.0.0/8", "10.1.0.0/16", "the network is 250.0.0.0/8"),
        ("250.0.0.0", "10.1.0.0/16", "250.0.0.0/8"),
        ("333.122.142.17/18", "10.1.0.0/16", "no IPv4 network"),
        ("fd00::/8", "10.1.0.0/16", "no IPv4 network"),
        ("250", "127.0.0.0/16", "loopback"),
    ] {
        let error = mapping(overlay, underlay).unwrap_err();
        assert!(error.contains(reason), "{overlay} over {underlay}: {error}");
        assert!(error.contains(overlay) || error.contains("underlay"), "names what was written: {error}");
    }
}

/// Every legal pair of widths, with networks that do not overlap.
pub(crate) fn any_mapping() -> impl Strategy<Value = Mapping> {
    (1_u8..=30, any::<u32>(), any::<u32>())
        .prop_flat_map(|(over_len, over, under)| (Just(over_len), (over_len + 2)..=32, Just(over), Just(under)))
        .prop_filter_map("networks that may be used", |(over_len, under_len, over, under)| {
            let over = Ipv4Network::new((over & !host_mask(over_len)).into(), over_len).ok()?;
            Mapping::new(Overlay::new(over).ok()?, Underlay::containing(under.into(), under_len).ok()?).ok()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, max_global_rejects: 2_000_000, ..ProptestConfig::default() })]

    #[test]
    fn a_mapping_inverts_itself(mapping in any_mapping(), bits: u32, inside: u32) {
        let under = mapping.underlay().network();
        let host = Ipv4Addr::from(u32::from(under.network()) | (bits & host_mask(under.prefix())));
        let slice = mapping.slice(host);
        let address = Ipv4Addr::from(u32::from(slice.network()) | (inside & host_mask(slice.prefix())));
        prop_assert_eq!(mapping.host(address), host);
        prop_assert!(slice.contains(address));
        prop_assert!(mapping.overlay().contains(slice.network()) && mapping.overlay().contains(slice.broadcast()));
        prop_assert!(slice.contains(mapping.gateway(host)) && slice.prefix() <= MAX_SLICE_LEN);
    }

    #[test]
    fn slices_of_different_hosts_are_disjoint(mapping in any_mapping(), one: u32, two: u32) {
        let under = mapping.underlay().network();
        let host = |bits: u32| Ipv4Addr::from(u32::from(under.network()) | (bits & host_mask(under.prefix())));
        let (one, two) = (host(one), host(two));
        prop_assert_eq!(overlap(mapping.slice(one), mapping.slice(two)), one == two);
    }
}

#[test]
fn all_slices_of_a_16_tile_the_overlay_in_order() {
    let mapping = mapping("250", "172.30.0.0/16").unwrap();
    let mut next = u32::from(mapping.overlay().network().network());
    for host in 0..=u32::from(u16::MAX) {
        let host = Ipv4Addr::from(0xac1e_0000 | host);
        let slice = mapping.slice(host);
        assert_eq!(u32::from(slice.network()), next);
        next = next.wrapping_add(slice.size());
    }
    assert_eq!(next, u32::from(mapping.overlay().network().broadcast()) + 1);
}
