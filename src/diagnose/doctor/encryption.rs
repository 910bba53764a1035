//! What WireGuard has heard of other hosts: who shakes hands, by which secret, and from where.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;

use super::{Facts, Finding, Found, count};
use crate::fan::Fan;
use crate::plan::state::{Heard, Peer};
use crate::shell;

/// How long the keys of a handshake are used, in seconds (`REJECT_AFTER_TIME`, drivers/net/wireguard/messages.h); who sends without a
/// pause shakes hands again before.
const KEYS_LAST: u64 = 180;
/// How long ago a host was heard that still sends by a secret, in seconds.
const LATELY: u64 = 300;
/// The most hosts that are named.
const MOST: usize = 8;

/// What was heard of another host by one of the fan's secrets.
struct Contact<'a> {
    host: Ipv4Addr,
    epoch: u32,
    peer: &'a Peer,
    heard: Heard,
    /// Seconds since the last handshake; none if there was none.
    age: Option<u64>,
}

impl Contact<'_> {
    fn is_heard(&self, within: u64) -> bool {
        self.age.is_some_and(|age| age < within)
    }
}

pub(super) fn check(fan: &Fan, facts: Facts, _: &[Finding]) -> Vec<Finding> {
    let Some(now) = facts.health.now.filter(|_| fan.key_file().is_some() && facts.host.privileged) else {
        return Vec::new();
    };
    let contacts = contacts(fan, facts, now);
    let mut findings = Vec::new();
    findings.extend(clock(&contacts, facts, now));
    findings.extend(elsewhere(&contacts, fan));
    findings.extend(old_epoch(&contacts, fan));
    findings.extend(silent(&contacts, fan, facts));
    if findings.is_empty() {
        let heard = contacts.iter().filter(|contact| contact.is_heard(LATELY)).count();
        let reason = format!(
            "{} completed a handshake in the last five minutes, and none failed",
            count(heard, "host", "hosts")
        );
        findings.push(Finding::passed(Found::HandshakesRight, reason));
    }
    findings
}

fn contacts<'a>(fan: &Fan, facts: Facts<'a>, now: u64) -> Vec<Contact<'a>> {
    let mapping = fan.mapping;
    let of_epoch = |epoch: &u32| Some((*epoch, facts.host.heard.get(&fan.tunnel_of(*epoch))?));
    let all = fan.epochs.iter().filter_map(of_epoch).flat_map(|(epoch, list)| {
        list.iter().filter_map(move |(peer, heard)| {
            let IpNetwork::V4(slice) = peer.allowed.first()? else { return None };
            let host = mapping.overlay().contains(slice.ip()).then(|| mapping.host(slice.ip()))?;
            let age = heard.handshake.map(|then| now.saturating_sub(then));
            Some(Contact { host, epoch, peer, heard: *heard, age })
        })
    });
    all.collect()
}

/// A host does not heed a handshake that is dated before the last one of the same host (`wg_noise_handshake_consume_initiation`,
/// drivers/net/wireguard/noise.c): it takes it for a recorded one.
fn clock(contacts: &[Contact], facts: Facts, now: u64) -> Option<Finding> {
    let handshake = contacts.iter().filter_map(|contact| contact.heard.handshake).max();
    let handshake = handshake.map(|then| (then, "the last handshake".to_string()));
    let file = facts.health.written.iter().map(|(path, then)| (*then, format!("{path} was written")));
    let (then, what) = file.chain(handshake).max()?;
    let behind = then.checked_sub(now).filter(|behind| *behind > 0)?;
    let reason = format!("the clock of this host is at least {behind} s behind: it is before {what}");
    let evidence = "hosts that heard a later time of this one do not heed its handshakes until the clock is right";
    Some(
        Finding::failed(Found::ClockBehind, reason)
            .because([evidence.to_string()])
            .mended_by(shell!("timedatectl status")),
    )
}

/// WireGuard follows a host to wherever it is heard from. Where no host is behind NAT, that is another machine with its key.
fn elsewhere(contacts: &[Contact], fan: &Fan) -> Option<Finding> {
    let place = |contact: &Contact| {
        let IpAddr::V4(found) = contact.peer.endpoint?.ip() else { return None };
        let IpAddr::V4(should) = fan.place(contact.host, contact.epoch)?.ip() else { return None };
        (found != should && contact.age.is_some()).then(|| format!("{} is heard from {found}", contact.host))
    };
    let may_move = fan.is_reached_from_elsewhere();
    let found: Vec<String> = contacts.iter().filter(|_| !may_move).filter_map(place).collect();
    let first = found.first()?;
    let reason = format!("{first}: another machine has its key, or NAT is between the hosts");
    let more = found.iter().skip(1).take(MOST).cloned();
    let advice =
        "one of two machines with one key has an address that is not its own; if it is NAT, say so: number, endpoints"
            .into();
    Some(Finding::warned(Found::HostHeardElsewhere, reason).because(more.chain([advice])))
}

/// Hosts that send by the secret that is to be removed.
fn old_epoch(contacts: &[Contact], fan: &Fan) -> Option<Finding> {
    let [preferred, other] = fan.epochs[..] else { return None };
    let is_old = |contact: &&Contact| contact.epoch == other && other < preferred && contact.is_heard(LATELY);
    let found: Vec<&Contact> = contacts.iter().filter(is_old).collect();
    if found.is_empty() {
        return None;
    }
    let reason = format!(
        "{} still heard by epoch {other} in the last five minutes: {}",
        count(found.len(), "host was", "hosts were"),
        names(found.iter().map(|contact| contact.host))
    );
    let advice =
        format!("let them prefer epoch {preferred} before it is removed: fanctl key prefer {preferred}, fanctl reload");
    Some(Finding::warned(Found::EpochOld, reason).because([advice]))
}

/// Hosts that were sent to and do not shake hands, where they are known to be there.
fn silent(contacts: &[Contact], fan: &Fan, facts: Facts) -> Option<Finding> {
    let epoch = *fan.epochs.first()?;
    let is_known = |host: Ipv4Addr| {
        let mut neighbours = facts.health.neighbours.iter();
        let is_neighbour = neighbours.any(|known| known.address == host && known.device == fan.device);
        is_neighbour || fan.options.endpoints.hold(host)
    };
    let is_silent = |contact: &&Contact| {
        let is_meant = contact.epoch == epoch && contact.heard.sent > 0;
        let is_kept_up = contact.peer.keepalive > 0;
        let is_missing = match contact.age {
            None => is_known(contact.host),
            Some(age) => is_kept_up && age >= KEYS_LAST,
        };
        is_meant && is_missing
    };
    let found: Vec<&Contact> = contacts.iter().filter(is_silent).collect();
    let first = found.first()?;
    let since = first.age.map_or("ever".to_string(), |age| format!("since {age} s"));
    let reason = format!("no handshake {since} with {}", names(found.iter().map(|contact| contact.host)));
    let file = fan.key_file().unwrap_or_default();
    let keys = facts.host.keys.get(file).and_then(|keys| keys.as_ref().ok());
    let own = keys.and_then(|keys| keys.iter().find(|key| key.epoch() == epoch));
    let fingerprint = own.map(|own| format!("fingerprint of epoch {epoch} here: {}", own.fingerprint()));
    let port = fan.port_of(epoch);
    let others = contacts.iter().filter(|contact| contact.epoch == epoch && contact.is_heard(LATELY)).count();
    let whose = match others {
        0 => "nobody shakes hands: this host has another secret than all, or its clock is behind, or UDP is dropped",
        _ => {
            "others shake hands: it has another secret or hosts without this one, its clock was set back, or UDP is dropped there"
        }
    };
    let see =
        format!("compare fanctl key fingerprint on both hosts; tcpdump -n udp port {port} there tells what arrives");
    Some(
        Finding::warned(Found::HandshakeMissing, reason)
            .because(fingerprint.into_iter().chain([whose.to_string(), see]))
            .mended_by(shell!("fanctl trace {}", fan.mapping.gateway(first.host))),
    )
}

fn names(hosts: impl Iterator<Item = Ipv4Addr>) -> String {
    let all: Vec<String> = hosts.map(|host| host.to_string()).collect();
    let more = all.len().saturating_sub(MOST);
    let list = all[..all.len() - more].join(", ");
    if more == 0 { list } else { format!("{list} and {more} more") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::diagnose::facts::Health;
    use crate::fan::keys::SecretKey;
    use crate::fan::shell::Line;
    use crate::plan::host::Host;
    use crate::plan::state::State;

    const NOW: u64 = 1_800_000_000;

    fn fan(words: &str) -> Fan {
        let label = format!("fan 250.0.0.0/8 172.30.0.28/16 dev eth0 wireguard host-reserve 1 {words}");
        Fan::from_label(&"fan-250-0-28".parse().unwrap(), &label).unwrap()
    }

    /// A peer at this place, and when it was heard.
    fn heard(place: &str, ago: Option<u64>) -> (Peer, Heard) {
        let peer = Peer {
            preshared: SecretKey::new([0; 32]),
            endpoint: Some(place.parse().unwrap()),
            keepalive: 0,
            allowed: BTreeSet::from(["250.0.27.0/24".parse().unwrap()]),
        };
        (peer, Heard { handshake: ago.map(|ago| NOW - ago), received: 0, sent: 148 })
    }

    fn found(fan: &Fan, of_epochs: &[(u32, (Peer, Heard))], change: impl Fn(&mut Health)) -> Vec<(String, String)> {
        let mut host = Host { privileged: true, ..Host::default() };
        for (epoch, peer) in of_epochs {
            host.heard.insert(fan.tunnel_of(*epoch), vec![peer.clone()]);
        }
        let mut health = Health { now: Some(NOW), ..Health::default() };
        change(&mut health);
        let facts = Facts {
            owned: &State::new(),
            host: &host,
            health: &health,
            configured: None,
            config_option: &Line::default(),
        };
        let findings = check(fan, facts, &[]);
        findings.into_iter().map(|finding| (finding.code.as_str().to_string(), finding.reason)).collect()
    }

    #[test]
    fn what_was_heard_of_hosts_is_told() {
        let plain = fan("epoch 1");
        let at_home = "172.30.0.27:8474";
        let is_there = |health: &mut Health| {
            health.neighbours = vec![crate::plan::host::NeighbourEntry {
                device: "eth0".parse().unwrap(),
                address: [172, 30, 0, 27].into(),
                mac: crate::fan::Mac([2; 6]),
                confirmed: true,
            }];
        };
        let code =
            |found: &[(String, String)]| found.iter().map(|(code, _)| code.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(code(&found(&plain, &[(1, heard(at_home, Some(7)))], is_there)), "handshakes-right");
        // Nobody is there; nobody has anything to say.
        assert_eq!(code(&found(&plain, &[(1, heard(at_home, None))], |_| {})), "handshakes-right");
        assert_eq!(code(&found(&plain, &[(1, heard(at_home, Some(9999)))], is_there)), "handshakes-right");
        let silent = found(&plain, &[(1, heard(at_home, None))], is_there);
        assert_eq!(silent, [("handshake-missing".into(), "no handshake ever with 172.30.0.27".into())]);
        let away = found(&plain, &[(1, heard("172.30.0.99:8474", Some(7)))], is_there);
        assert_eq!(code(&away), "host-heard-elsewhere");
        assert!(away[0].1.starts_with("172.30.0.27 is heard from 172.30.0.99"), "{away:?}");
        assert_eq!(
            code(&found(&fan("epoch 1 number"), &[(1, heard("172.30.0.99:8474", Some(7)))], |_| {})),
            "handshakes-right"
        );
        let mut kept = heard(at_home, Some(200));
        kept.0.keepalive = 25;
        let late = found(&plain, &[(1, kept)], |_| {});
        assert_eq!(late, [("handshake-missing".into(), "no handshake since 200 s with 172.30.0.27".into())]);
        let behind = found(&plain, &[(1, heard(at_home, Some(7)))], |health| {
            health.written = vec![("/etc/fan/key".into(), NOW + 60)];
        });
        assert_eq!(code(&behind), "clock-behind");
        assert!(behind[0].1.contains("60 s behind: it is before /etc/fan/key was written"), "{behind:?}");
    }

    #[test]
    fn hosts_that_still_send_by_the_old_secret_are_named() {
        let at_home = || heard("172.30.0.27:8474", Some(7));
        let turned = found(&fan("epoch 2,1"), &[(1, at_home())], |_| {});
        assert_eq!(turned[0].0, "epoch-old");
        assert_eq!(turned[0].1, "1 host was still heard by epoch 1 in the last five minutes: 172.30.0.27");
        assert_eq!(
            found(&fan("epoch 1,2"), &[(2, at_home())], |_| {})[0].0,
            "handshakes-right",
            "it prefers it already"
        );
        let long_ago = heard("172.30.0.27:8474", Some(301));
        assert_eq!(found(&fan("epoch 2,1"), &[(1, long_ago)], |_| {})[0].0, "handshakes-right");
    }
}
