//! What came of the probes, weighed: which hop it is that packets do not pass.

use std::net::Ipv4Addr;

use crate::diagnose::trace::cause::{Cause, Conclusion, THIS_HOST};
use crate::diagnose::trace::hops::narrow_advice;
use crate::diagnose::trace::packet::Complaint;
use crate::diagnose::trace::probe::{Aim, Evidence, Handshake, Leg, ProbeOutcome};
use crate::diagnose::trace::{Location, Target};
use crate::fan::encap::Encapsulation;
use crate::fan::name::InterfaceName;
use crate::plan::host::Reachability;
use crate::shell;

pub(super) struct Judge<'a> {
    pub(super) target: &'a Target,
    pub(super) evidence: &'a Evidence,
}

impl Judge<'_> {
    fn address(&self) -> Option<&ProbeOutcome> {
        self.evidence.outcome(Leg::Address, Aim::Small)
    }

    /// Whether the other host's fan answers, where that is another address than the one asked for.
    fn gateway_answers(&self) -> bool {
        self.evidence.answered(Leg::Gateway, Aim::Small)
    }

    /// Nobody can have the address, and the programs refuse it.
    pub(super) fn nobody(&self) -> Conclusion {
        let Target { asked, host, fan, .. } = self.target;
        let why = format!("the broadcast address of the network of {}", fan.device);
        let says = if asked == host {
            format!("{host} is no host: it is {why}")
        } else {
            format!("{asked} belongs to no host: that would be {host}, {why}")
        };
        Conclusion::new(Cause::AddressOfNobody, asked.to_string(), says).advise(format!(
            "trace an address of a slice that is a host's; fanctl map {} {} ADDRESS tells whose it is",
            fan.overlay(),
            fan.mapping.underlay()
        ))
    }

    /// Small packets are answered. What of others?
    pub(super) fn answered(&self) -> Conclusion {
        let (Target { mtu, host, .. }, evidence) = (self.target, self.evidence);
        let name = self.target.name();
        if let Some(spoilt) = self.spoilt() {
            return spoilt;
        }
        if !evidence.answered(Leg::Address, Aim::Full) {
            return self.narrow();
        }
        if !evidence.answered(Leg::Address, Aim::Fragments) {
            if evidence.answered(Leg::Gateway, Aim::Fragments) {
                let says = format!("{name} sends packets larger than the {mtu} bytes of the fan, and they are lost");
                return Conclusion::new(Cause::AddressMtuLarge, name, says)
                    .advise(format!("give its interface the MTU {mtu}"));
            }
            let says = format!("{name} answers whole packets of {mtu} bytes, but none that was cut up");
            return Conclusion::new(Cause::FragmentsLost, host.to_string(), says)
                .advise("let fragments pass in firewalls between the hosts")
                .but_works();
        }
        let way = match self.target.place {
            Location::There => format!(" by way of {host}"),
            Location::Here | Location::Own => String::new(),
        };
        Conclusion {
            works: true,
            cause: Cause::Works,
            hop: None,
            says: format!("{name} answers{way}, packets of {mtu} bytes included"),
            advice: None,
        }
    }

    /// UDP without a checksum arrives at the other host, and UDP with one does not.
    fn spoilt(&self) -> Option<Conclusion> {
        self.evidence.spoilt()?;
        let (Target { fan, host, .. }, device) = (self.target, self.way_out());
        let says = format!(
            "UDP with a checksum does not arrive at {host}, UDP without one and ICMP do: checksum offload of a NIC, here or there, \
             spoils it, and TCP"
        );
        let here = shell!("ethtool -K {} tx-checksum-ip-generic off", fan.tunnel());
        let there = shell!("ethtool -K {} rx off", device);
        Some(
            Conclusion::new(Cause::ChecksumsSpoilt, THIS_HOST, says).advise(format!(
                "{here}, until fanctl makes the tunnel anew; if that does not help, on {host}: {there}"
            )),
        )
    }

    /// Small packets are answered and full ones are not.
    fn narrow(&self) -> Conclusion {
        let (Target { mtu, host, .. }, evidence) = (self.target, self.evidence);
        let name = self.target.name();
        let fits = evidence.measured(Leg::Address).unwrap_or_default();
        // The gateway of the other host tells what its bridge takes, before the container is blamed.
        let gateway = self.target.gateway;
        let told = |(_, outcome): &(_, ProbeOutcome)| matches!(outcome, ProbeOutcome::Complaint(from, Complaint::TooLarge(_)) if *from == gateway);
        let is_behind = self.target.place == Location::There && self.target.address != gateway;
        // Where the underlay is narrow, that gateway tells what it has learned of it.
        if is_behind && evidence.answered(Leg::Underlay, Aim::Full) && evidence.probes.iter().any(told) {
            let says = format!("the fan on {host} takes packets of {fits} bytes, and the one here {mtu}");
            return Conclusion::new(Cause::ThereMtuSmall, host.to_string(), says).advise(narrow_advice(fits));
        }
        if self.target.place != Location::There || evidence.answered(Leg::Gateway, Aim::Full) {
            // No router is between the fan there and the container that could tell which of them takes less.
            let is_flat = !self.target.fan.options.encapsulation.is_routed();
            let (or_fan, compared) = if is_behind && is_flat {
                let compared = "; if it has that, compare fanctl show -l on both hosts";
                (format!(" or the fan on {host}"), compared)
            } else {
                (String::new(), "")
            };
            let says = format!(
                "{name} takes packets of {fits} bytes, and the fan has {mtu}: its interface{or_fan} is to blame"
            );
            return Conclusion::new(Cause::AddressMtuSmall, name, says)
                .advise(format!("give its interface the MTU {mtu}{compared}"));
        }
        if evidence.answered(Leg::Underlay, Aim::Full) {
            let says = format!("the fan on {host} takes packets of {fits} bytes, and the one here {mtu}");
            return Conclusion::new(Cause::ThereMtuSmall, host.to_string(), says).advise(narrow_advice(fits));
        }
        let teller = self.too_large();
        let hop = teller.map_or(host.to_string(), |teller| teller.to_string());
        let underlay = match evidence.measured(Leg::Underlay) {
            Some(underlay) => format!(" (the underlay to {host} {underlay})"),
            None => String::new(),
        };
        if let Some(teller) = teller {
            let says = format!(
                "{name} answers, but the path MTU is {fits}{underlay}, not {mtu}; {teller} sends ICMP 'fragmentation needed'"
            );
            return Conclusion::new(Cause::Narrow, hop, says).advise(narrow_advice(fits)).but_works();
        }
        let says = format!("packets of more than {fits} bytes{underlay} to {host} are dropped without an ICMP error");
        Conclusion::new(Cause::BlackHole, hop, says).advise(narrow_advice(fits))
    }

    /// Who said that a packet was too large; a router rather than this host, which may have it from there.
    fn too_large(&self) -> Option<Ipv4Addr> {
        let about_probes = self.evidence.probes.iter().filter_map(|(_, outcome)| match outcome {
            ProbeOutcome::Complaint(from, complaint) => Some((*from, *complaint)),
            _ => None,
        });
        let all = self.evidence.complaints.iter().copied().chain(about_probes);
        let tellers: Vec<_> =
            all.filter(|(_, complaint)| matches!(complaint, Complaint::TooLarge(_))).map(|(from, _)| from).collect();
        let fan = &self.target.fan;
        let is_router = |from: &&Ipv4Addr| **from != fan.host && !fan.overlay().contains(**from);
        tellers.iter().find(is_router).or(tellers.first()).copied()
    }

    /// An address behind this host does not answer.
    pub(super) fn here(&self) -> Conclusion {
        let name = self.target.name();
        let bridge = &self.target.fan.bridge;
        if let Some(forbidden) = self.not_sent() {
            return forbidden;
        }
        match (self.address(), self.evidence.on_bridge) {
            (Some(ProbeOutcome::Complaint(_, Complaint::Host)), _) | (_, Some(Reachability::Silent) | None) => {
                let says = format!("{name} is not there: nobody on {bridge} answers for it");
                Conclusion::new(Cause::AddressGone, name, says)
                    .advise(format!("see whether it runs, has this address, and a port on {bridge}"))
            }
            (_, Some(Reachability::Known(mac))) => self.silent(&format!("{mac} on {bridge} has this address")),
        }
    }

    /// The interface by which wrapped packets leave.
    fn way_out(&self) -> &InterfaceName {
        self.evidence.way_out.as_ref().unwrap_or(&self.target.fan.device)
    }

    /// Somebody is there and answers no ping.
    fn silent(&self, because: &str) -> Conclusion {
        let name = self.target.name();
        let says = format!("{because}, but it answers no ping: a firewall drops it there");
        Conclusion::new(Cause::AddressSilent, name, says).advise("try the port of the service that is meant")
    }

    /// This host would not send.
    fn not_sent(&self) -> Option<Conclusion> {
        let all = self.evidence.probes.iter().filter(|(probe, _)| probe.aim == Aim::Small);
        let mut found = all.filter_map(|(probe, outcome)| match outcome {
            ProbeOutcome::NotSent { words, forbidden } => Some((probe.destination, words, *forbidden)),
            _ => None,
        });
        let (to, words, forbidden) = found.next_back()?;
        Some(if forbidden {
            let says = format!("a firewall of this host forbids it to send to {to}");
            Conclusion::new(Cause::HereFirewallOut, THIS_HOST, says)
                .advise("see nft list ruleset and iptables-save, chains with the hook output")
        } else {
            let says = format!("this host cannot send to {to}: {words}");
            Conclusion::new(Cause::HereRoute, THIS_HOST, says).advise(self.target.fan.mend())
        })
    }

    /// An address behind another host does not answer.
    pub(super) fn there(&self) -> Conclusion {
        if let Some(handshake @ Handshake::NoPeer) = self.evidence.handshake {
            return self.no_handshake(handshake);
        }
        self.not_sent()
            .or_else(|| self.gateway_answers().then(|| self.address_missing()))
            .or_else(|| self.lost_here())
            .or_else(|| self.complained())
            .or_else(|| self.evidence.answered(Leg::Underlay, Aim::Small).then(|| self.dropped()))
            .unwrap_or_else(|| self.host_missing())
    }

    /// The other host's gateway answers, and the address does not.
    fn address_missing(&self) -> Conclusion {
        let Target { host, gateway, fan, .. } = self.target;
        let name = self.target.name();
        let gone = |because: String| {
            let says = format!("{name} is not there: the fan on {host} answers, but {because}");
            Conclusion::new(Cause::AddressGone, name.clone(), says)
                .advise(format!("see on {host} whether it runs and has this address"))
        };
        match (self.address(), self.evidence.on_bridge) {
            (Some(ProbeOutcome::Complaint(from, Complaint::Host)), _) if from == gateway => {
                gone(format!("it says that nobody has this address ({from}: host unreachable)"))
            }
            (Some(ProbeOutcome::Complaint(from, complaint)), _) if *complaint != Complaint::Host => {
                let says = format!("{name} cannot be reached: {from} says {complaint}");
                Conclusion::new(Cause::Rejected, from.to_string(), says).advise(format!("see the firewall of {host}"))
            }
            (_, Some(Reachability::Known(mac))) => self.silent(&format!("{mac} behind {host} has this address")),
            _ if fan.options.encapsulation == Encapsulation::Vxlan => {
                gone("nobody answers ARP for this address".into())
            }
            _ => {
                let says = format!(
                    "the fan on {host} answers, but {name} does not: a firewall of {host} (forward) or its own drops it"
                );
                Conclusion::new(Cause::AddressSilent, name, says)
                    .advise(format!("see the chains with the hook forward on {host}: nft list ruleset"))
            }
        }
    }

    /// Something is lost on this host itself, going or coming.
    fn lost_here(&self) -> Option<Conclusion> {
        let Target { host, fan, .. } = self.target;
        let (device, carrier) = (self.way_out(), self.target.carrier());
        if self.evidence.left == Some(false) && self.evidence.next_hop != Some(Reachability::Silent) {
            let says = format!("something on this host drops {carrier} before it leaves by {device}");
            let filters = shell!("tc filter show dev {} egress", device);
            return Some(
                Conclusion::new(Cause::HereFirewallOut, THIS_HOST, says)
                    .advise(format!("see nft list ruleset, hooks output and postrouting, and {filters}")),
            );
        }
        let lost = &self.evidence.lost;
        let from = lost.first()?;
        // Others' packets are counted as well, but where fewer were refused than lost it was not the program.
        let may_be_refused = usize::try_from(self.evidence.refused).unwrap_or(usize::MAX) >= lost.len();
        let verdict = if from != host {
            let says =
                format!("answers come from {from} and not from {host}, and are refused: NAT is between the hosts");
            Conclusion::new(Cause::HereRefused, from.to_string(), says)
                .advise("let the hosts reach each other's addresses without translation")
        } else if may_be_refused {
            let says = format!("answers of {host} come, and the program on {} refuses them", fan.tunnel());
            Conclusion::new(Cause::HereRefused, THIS_HOST, says).advise(format!(
                "run fanctl trace {} on {host}; or another fan is there: compare fanctl show -l on both hosts",
                fan.gateway()
            ))
        } else {
            let says = format!("answers of {host} come by {}, and something on this host drops them", fan.device);
            Conclusion::new(Cause::HereFirewallIn, THIS_HOST, says).advise(format!(
                "let {carrier} from {} pass, and ping: see nft list ruleset, hooks prerouting and input",
                fan.mapping.underlay()
            ))
        };
        Some(verdict)
    }

    /// Somebody sent an error about what was wrapped.
    fn complained(&self) -> Option<Conclusion> {
        let Target { host, fan, .. } = self.target;
        let carrier = self.target.carrier();
        let errors = &self.evidence.complaints;
        let (from, complaint) =
            errors.iter().find(|(_, complaint)| !matches!(complaint, Complaint::TooLarge(_) | Complaint::Expired))?;
        Some(match complaint {
            Complaint::Protocol | Complaint::Port if from == host => {
                let says = format!(
                    "{host} has no fan for {} over {}, or its firewall rejects {carrier}: it says {complaint}",
                    fan.overlay(),
                    fan.options.encapsulation
                );
                let underlay = format!("{host}/{}", fan.mapping.underlay().network().prefix());
                Conclusion::new(Cause::NoFanThere, host.to_string(), says).advise(format!(
                    "bring it up there: fanctl up {} {underlay} --encap {}; or another fan is there: compare fanctl show -l on \
                     both hosts",
                    fan.overlay(),
                    fan.options.encapsulation
                ))
            }
            Complaint::Host | Complaint::Network => self.no_way(*from, *complaint),
            _ => {
                let says = format!("{from} rejects {carrier}: it says {complaint}");
                Conclusion::new(Cause::Rejected, from.to_string(), says)
                    .advise(format!("let {carrier} pass in the firewall of {from}"))
            }
        })
    }

    /// The other host is not on the network that it should be on, or the router on the way to it is not.
    fn gone(&self) -> Conclusion {
        let Target { host, fan, .. } = self.target;
        let device = self.way_out();
        if let Some(router) = self.evidence.router {
            let says =
                format!("next hop {router} does not answer ARP on {device}: packets for {host} are handed to it");
            return Conclusion::new(Cause::NextHopGone, router.to_string(), says).advise(format!(
                "see whether {router} runs and has this address, and the route: ip route get {host} from {}",
                fan.host
            ));
        }
        let says = format!("{host} is not there: nobody answers ARP for the way to it on {device}");
        let advice = format!("see whether {host} runs and has this address");
        let elsewhere =
            format!(", and why the way to it is not by {}: ip route get {host} from {}", fan.device, fan.host);
        let advice = if *device == fan.device { advice } else { advice + &elsewhere };
        Conclusion::new(Cause::HostGone, host.to_string(), says).advise(advice)
    }

    /// A router cannot reach the other host; or this one, which then has asked in vain for whoever is next.
    fn no_way(&self, from: Ipv4Addr, complaint: Complaint) -> Conclusion {
        let Target { host, fan, .. } = self.target;
        if from == fan.host {
            return self.gone();
        }
        let says = format!("{host} cannot be reached: {from} says {complaint}");
        Conclusion::new(Cause::HostGone, from.to_string(), says)
            .advise(format!("see the routes of {from}, and whether {host} runs"))
    }

    /// The other host answers, and to wrapped packets nobody does.
    fn dropped(&self) -> Conclusion {
        let Target { host, fan, .. } = self.target;
        let carrier = self.target.carrier();
        let witness = match fan.options.encapsulation {
            Encapsulation::Ipip => "ip proto 4".to_string(),
            Encapsulation::Vxlan | Encapsulation::Wireguard => format!("udp port {}", fan.carrier_port()),
        };
        if self.evidence.knows {
            let says = format!(
                "{host} answers ARP by {carrier} and no ping: its fan is not right, or a firewall there drops it"
            );
            return Conclusion::new(Cause::Dropped, host.to_string(), says).advise(format!(
                "on {host}: fanctl doctor {} --fix, and fanctl trace {}",
                fan.overlay(),
                fan.gateway()
            ));
        }
        if let Some(handshake) = self.evidence.handshake.filter(|handshake| !handshake.is_good()) {
            return self.no_handshake(handshake);
        }
        let reached = self.evidence.hops.iter().rev().find_map(|hop| hop.wrapped);
        let where_ = match reached {
            Some(router) => format!("gets as far as {router}; it or what comes after it drops it"),
            None if self.evidence.hops.iter().any(|hop| hop.plain.is_some()) => {
                "does not even get to the first router, or is dropped by it".to_string()
            }
            None if self.evidence.knew => {
                format!(
                    "gets no answer and no ICMP error: a firewall drops it, on the way or on {host}, or only ping there"
                )
            }
            None => format!("gets no answer and no ICMP error: a firewall drops it, on the way or on {host}"),
        };
        let hop = reached.map_or(host.to_string(), |router| router.to_string());
        Conclusion::new(Cause::Dropped, hop, format!("{host} answers ping, but {carrier} to it {where_}")).advise(format!(
            "let {carrier} pass in firewalls, tc filters and security groups; tcpdump -n {witness} on {host} tells whether it arrives, \
             and fanctl trace {} there what becomes of it; or another fan is there: compare fanctl show -l on both hosts \
             (overlay, underlay, encapsulation, port)",
            fan.gateway()
        ))
    }

    /// The other host answers ping, and has not shaken hands. It says nothing to those whose key it does not know.
    fn no_handshake(&self, handshake: Handshake) -> Conclusion {
        let Target { host, fan, .. } = self.target;
        let carrier = self.target.carrier();
        let (what, advice) = match handshake {
            Handshake::NoPeer => {
                let says = format!("{host} is no peer: it is outside of hosts, or in exclude");
                let advice = "list it in hosts, on all hosts: fan.toml(5)".to_string();
                return Conclusion::new(Cause::NoHandshake, host.to_string(), says).advise(advice);
            }
            Handshake::Never => ("no handshake with it has succeeded".to_string(), ""),
            Handshake::Ago(seconds) => (
                format!("the last handshake with it was {seconds} s ago"),
                ", and whether the clock of each host is right: a host does not heed a handshake that is dated before the last one",
            ),
        };
        let says = format!(
            "{host} answers ping, but {what}: it has another secret or does not list this host, or {carrier} is dropped"
        );
        Conclusion::new(Cause::NoHandshake, host.to_string(), says).advise(format!(
            "compare fanctl key fingerprint and fanctl show on both hosts{advice}; tcpdump -n udp port {} on {host} tells whether it \
             arrives",
            fan.carrier_port()
        ))
    }

    /// The other host answers nothing.
    fn host_missing(&self) -> Conclusion {
        let host = self.target.host;
        match (self.evidence.outcome(Leg::Underlay, Aim::Small), self.evidence.next_hop) {
            (_, Some(Reachability::Silent)) => self.gone(),
            (Some(ProbeOutcome::Complaint(from, complaint)), _) => self.no_way(*from, *complaint),
            _ => {
                let carrier = self.target.carrier();
                let says = format!("{host} answers neither ping nor {carrier}: it is down, or a firewall drops both");
                Conclusion::new(Cause::HostSilent, host.to_string(), says)
                    .advise(format!("see whether {host} runs, and the firewalls between"))
            }
        }
    }
}
