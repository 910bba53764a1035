//! The words that programs know findings by: unique, stable, and in the manual.

use std::collections::BTreeSet;

use crate::diagnose::doctor::{Check, Code, Found};
use crate::fan::words::Words;

/// Stable: a word may be added, and none may be changed or taken away.
const CHECKS: &str = "bridge checksums configuration containers dhcp encryption filters firewall fix foreign forwarding ipv6 kernel macs \
    mtu names objects older privileges redirects refused routes routing rp_filter rule settings software table tunnel tunnels \
    underlay";

/// Likewise.
const FOUND: &str = "address-foreign address-gone address-moved address-on-port address-replaced alias-changed bridge-lost \
    checksum-offload-on checksum-offload-unknown checksums-right checksums-wrong clock-behind configuration-faulty \
    container-address-foreign container-address-reserved container-address-twice container-prefix-wrong \
    container-route-missing containers-right default-device-not-forwarding encap-missing encap-unknown epoch-old fan-differs fan-not-up fan-older fan-refused \
    fan-refused-again fans-as-configured firewall-drops firewall-drops-invalid firewall-may-drop firewall-passes \
    fix-failed handshake-missing handshakes-right host-disagrees host-heard-elsewhere interface-down interface-gone ip-forward-off kernel-fit kernel-unfit kernel-untried mac-of-neighbour \
    mac-shared mac-twice macs-distinct mtu-too-large names-not-served names-served nft-missing no-carrier not-root not-seen nothing-refused \
    objects-right packets-refused port-down port-mtu-large port-mtu-small port-stopped port-taken programs-interpreted programs-refused \
    route-astray route-elsewhere route-refused routing-right rp-filter-strict software-not-told tunnel-takes-packets \
    underlay-right";

#[test]
fn checks_and_codes_are_stable_and_each_is_there_once() {
    let checks: Vec<&str> = Check::ALL.iter().map(|check| check.as_str()).collect();
    assert_eq!(checks, CHECKS.split_whitespace().collect::<Vec<_>>());
    assert!(checks.is_sorted(), "findings about objects stand in the order of these words");
    let mut found: Vec<&str> = Found::ALL.iter().map(|found| found.as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, FOUND.split_whitespace().collect::<Vec<_>>());
    let of_objects = [Code::ObjectMissing(Check::Bridge), Code::ObjectWrong(Check::Bridge)].map(Code::as_str);
    let unique: BTreeSet<&str> = found.iter().copied().chain(of_objects).collect();
    assert_eq!(unique.len(), found.len() + of_objects.len());
}

#[test]
fn the_manual_lists_every_check_and_code() {
    let manual = include_str!("../../../../man/fanctl-doctor.8");
    let words: BTreeSet<&str> = manual.split_whitespace().collect();
    let of_objects = [Code::ObjectMissing(Check::Bridge), Code::ObjectWrong(Check::Bridge)].map(Code::as_str);
    let codes = Found::ALL.iter().map(|found| found.as_str()).chain(of_objects);
    for word in Check::ALL.iter().map(|check| check.as_str()).chain(codes) {
        assert!(words.contains(word), "man/fanctl-doctor.8 does not list '{word}'");
    }
}

#[test]
fn a_finding_is_serialised_with_its_code_beside_its_check() {
    let finding = super::Finding::failed(Found::RpFilterStrict, "text");
    let json = serde_json::to_value(&finding).unwrap();
    assert_eq!((&json["check"], &json["code"]), (&"rp_filter".into(), &"rp-filter-strict".into()));
    let code = Code::Difference(Check::Mtu, "mtu");
    assert_eq!((code.check(), code.as_str()), (Check::Mtu, "mtu"));
}
