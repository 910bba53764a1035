//! Why a fan cannot be encrypted as asked for.

use ipnetwork::Ipv4Network;

use crate::fan::Fan;
use crate::plan::host::Host;
use crate::plan::reason::{Reason, reason};

/// The most bytes of an alias (`IFALIASZ` less one, linux/if.h).
const ALIAS_LEN: usize = 255;

pub(super) fn reasons(fan: &Fan, host: &Host) -> Vec<Reason> {
    let Some(file) = fan.key_file() else { return Vec::new() };
    let mut reasons = Vec::new();
    if let Some(Err(why)) = host.keys.get(file) {
        reasons.push(reason!(NoKey, "{why}"));
    }
    let own = Ipv4Network::new(fan.host, 32).expect("a prefix length");
    let (hosts, exclude) = (&fan.options.hosts, &fan.options.exclude);
    let is_listed = hosts.given().is_none() || hosts.hold(own);
    if !is_listed || exclude.hold(own) {
        let (what, list) = if is_listed { ("in exclude", exclude) } else { ("not in hosts", hosts) };
        reasons.push(reason!(
            HostNotListed,
            "address {} of this host is {what} '{list}', so that other hosts ignore it; correct the list on all \
             hosts",
            fan.host
        ));
    }
    let len = fan.label().len();
    if len > ALIAS_LEN {
        reasons.push(reason!(
            LabelTooLong,
            "what is asked for takes {len} bytes in the alias of the bridge, which has {ALIAS_LEN}; list fewer networks, or give the \
             key file a shorter name"
        ));
    }
    reasons
}
