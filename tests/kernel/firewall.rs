//! Other people's firewalls: Docker sets FORWARD to drop, and no table of ours can undo that.

use crate::case::{Case, Cases, Need};
use crate::fixture::Pair;
use crate::named;
use crate::support::{Encap, Host, INTERNET, Lan, assert_same, tcp_exchange};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("firewall")
        .only_ipip_in_tier_3()
        .each(named![
            containers_talk_while_forward_drops,
            containers_talk_while_docker_is_there,
            our_rules_go_away_on_down,
            docker_that_comes_later_is_noticed_by_the_next_up,
        ])
        .in_both_tiers()
        .each_with(&[Need::BridgeNetfilter], named![containers_talk_while_bridged_frames_pass_through_forward])
        .list()
}

/// What Docker does to a host: FORWARD drops, and DOCKER-USER is the administrator's, whose rules stay.
pub fn install_docker(host: &Host) {
    if host.exec("iptables -w -S DOCKER-USER").code != Some(0) {
        host.exec("iptables -w -N DOCKER-USER").ok();
    }
    for rule in ["-A DOCKER-USER -j RETURN", "-P FORWARD DROP", "-I FORWARD -j DOCKER-USER"] {
        host.exec(&format!("iptables -w {rule}")).ok();
    }
}

#[track_caller]
fn rules(host: &Host, chain: &str) -> Vec<String> {
    let rules = host.exec(&format!("iptables -w -S {chain}")).ok().stdout;
    rules.lines().filter(|line| line.contains("\"fan 250.0.0.0/8")).map(str::to_string).collect()
}

/// Two hosts whose firewalls are prepared before `fanctl up`.
#[track_caller]
fn pair_behind(encap: Encap, prepare: impl Fn(&Host)) -> Pair {
    let lan = Lan::new();
    let (a, b) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
    for host in [&a, &b] {
        host.ip(&format!("route add default via {}", lan.gateway()));
        prepare(host);
        host.up(encap);
    }
    let (ca, cb) = (a.container("250.0.28.2"), b.container("250.0.27.2"));
    Pair { a, b, ca, cb, lan }
}

#[track_caller]
fn all_works(pair: &Pair) {
    pair.ca.ping("250.0.27.2").arrives();
    pair.cb.ping("250.0.28.1").arrives();
    tcp_exchange(&pair.cb, &pair.ca, "250.0.28.2");
    pair.ca.ping(INTERNET).arrives();
    pair.a.container("250.0.28.3").ping("250.0.28.2").arrives();
}

/// Chains of iptables, and a policy.
pub fn forward_drops(host: &Host) {
    host.exec("iptables -w -P FORWARD DROP").ok();
}

fn containers_talk_while_forward_drops(encap: Encap) {
    let pair = pair_behind(encap, forward_drops);
    all_works(&pair);
    assert!(!rules(&pair.a, "FORWARD").is_empty(), "{}", pair.a.exec("iptables -w -S").stdout);
}

fn containers_talk_while_docker_is_there(encap: Encap) {
    let pair = pair_behind(encap, install_docker);
    all_works(&pair);
    assert!(!rules(&pair.a, "DOCKER-USER").is_empty(), "{}", pair.a.exec("iptables -w -S").stdout);
    assert_eq!(rules(&pair.a, "FORWARD"), Vec::<String>::new(), "Docker rewrites FORWARD, so ours are not there");
}

fn our_rules_go_away_on_down(encap: Encap) {
    for prepare in [forward_drops, install_docker] {
        let lan = Lan::new();
        let host = lan.host("172.30.0.28");
        host.set_sysctl("ipv4/ip_forward", "1");
        prepare(&host);
        host.exec("iptables -w -A FORWARD -s 192.0.2.0/24 -j ACCEPT").ok();
        let before = host.dump();
        host.up(encap);
        let output = host.down();
        assert_same(&before, &host.dump(), &output.to_string());
    }
}

fn docker_that_comes_later_is_noticed_by_the_next_up(encap: Encap) {
    let pair = pair_behind(encap, |_| {});
    for host in [&pair.a, &pair.b] {
        install_docker(host);
        host.up(encap);
    }
    all_works(&pair);
}

fn containers_talk_while_bridged_frames_pass_through_forward(encap: Encap) {
    let pair = pair_behind(encap, |host| {
        host.set_sysctl("bridge/bridge-nf-call-iptables", "1");
        install_docker(host);
    });
    all_works(&pair);
}
