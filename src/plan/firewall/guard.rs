//! The rules of a fan's tables that a diagnosis looks for: in the kernel each is known by its comment.

use crate::fan::words::{Words, words};

words! {
    /// A rule of a fan's tables. Its word begins the comment of the rule in the kernel, where a digest follows it.
    GuardRule {
        /// Encapsulated packets from other hosts, which further rules check: it drops nothing.
        EncapsulatedForAHost = "encapsulated for a host",
        /// Encapsulated packets from outside the underlay.
        EncapsulatedByNoHost = "encapsulated by no host",
        /// Encapsulated packets that came in by an interface without a route back to their sender.
        EncapsulatedByAnotherWay = "encapsulated by another way",
        /// Encapsulated packets of another network of this host that are masqueraded.
        Masqueraded = "masqueraded",
        /// Packets with a source route.
        RoutedByItsSender = "routed by its sender",
        /// Packets in frames for a group that a bridge does not forward.
        ReservedGroups = "reserved groups",
        /// Frames with VLAN tags that hide what is in them.
        HiddenByTags = "hidden by tags",
        /// Packets with an address that no container here can have.
        Posing = "posing",
        /// The same in ARP.
        PosingByArp = "posing by arp",
        /// Packets with addresses of the overlay from elsewhere.
        ForeignSources = "foreign sources",
        /// Packets from outside about connections of containers.
        AboutOurOwn = "about our own",
        /// Packets for the overlay from outside of it.
        ForeignPackets = "foreign packets",
        /// Packets for or by the host with an address outside of the slice.
        ForeignAddresses = "foreign addresses",
        /// The same in ARP.
        ForeignAddressesByArp = "foreign addresses by arp",
        /// Packets between containers with an address outside of the slice.
        ForeignNeighbours = "foreign neighbours",
        /// Frames for a container of another host that would have gone to one here.
        ForAnotherHost = "for another host",
        /// The same of frames that this host sends.
        SentToAnotherHost = "sent to another host",
        /// Frames with the Ethernet address of a gateway or tunnel.
        EthernetAddressesOfHosts = "ethernet addresses of hosts",
        /// IPIP packets for the underlay from a container.
        EncapsulatedInIpip = "encapsulated in ipip",
        /// VXLAN packets for the underlay from a container.
        EncapsulatedInVxlan = "encapsulated in vxlan",
        /// VXLAN packets from a process of this host.
        EncapsulatedByAProcess = "encapsulated by a process",
        /// ICMP redirects and source quenches.
        ErrorsThatRedirect = "errors that redirect",
        /// ICMP errors that tell hosts of a small MTU.
        ErrorsAboutASmallMtu = "errors about a small mtu",
        /// ICMP errors about packets that the fan never carried.
        ErrorsOfOtherHosts = "errors of other hosts",
        /// ICMP errors about packets that were for no container here.
        ErrorsAboutOthers = "errors about others",
        /// Questions to the fan's DNS and DHCP server from other slices.
        DnsOfAnotherSlice = "dns of another slice",
    }
}

/// How fans that an earlier version made call some of them.
const OLDER: [(&str, GuardRule); 3] = [
    ("wrapped for a host", GuardRule::EncapsulatedForAHost),
    ("wrapped by no host", GuardRule::EncapsulatedByNoHost),
    ("wrapped by another", GuardRule::EncapsulatedByAnotherWay),
];

impl GuardRule {
    /// The rule of ours that a rule is, in the text that nft prints.
    #[must_use]
    pub(crate) fn of(rule: &str) -> Option<Self> {
        let (_, comment) = rule.split_once("comment \"")?;
        let (name, _) = comment.split('"').next()?.rsplit_once(' ')?;
        let named = Self::ALL.iter().map(|rule| (rule.as_str(), *rule)).chain(OLDER);
        named.into_iter().find_map(|(known, rule)| (known == name).then_some(rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_known_by_its_comment() {
        for rule in GuardRule::ALL {
            assert_eq!(GuardRule::of(&format!("counter drop comment \"{} 1f\"", rule.as_str())), Some(*rule));
        }
        let older = "counter comment \"wrapped for a host 0060e945bb7bfabf\"";
        assert_eq!(GuardRule::of(older), Some(GuardRule::EncapsulatedForAHost));
        assert_eq!(GuardRule::of("counter drop comment \"posing\""), None, "ours have a digest");
        assert_eq!(GuardRule::of("counter drop"), None);
    }
}
