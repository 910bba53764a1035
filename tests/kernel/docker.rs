//! Docker's own containers on the fan, by what `fanctl export docker` prints.

use std::net::Ipv4Addr;

use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Docker, Encap, Host, Instance, Lan, Output, eventually};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("runtime::docker")
        .each_with(&[Need::Docker], named![containers_of_a_network_talk, docker_after_the_fan_lets_it_pass])
        // Too slow where every instruction is emulated.
        .each_with(
            &[Need::Tier2],
            named![
                containers_of_the_default_bridge_talk,
                reserved_addresses_are_not_given_out,
                a_network_outlives_its_fan,
                a_network_that_is_none_for_the_fan_is_refused,
                a_stack_of_a_swarm_has_replicas_on_both_hosts_that_talk,
            ],
        )
        .once_with(&[Need::Tier2], named![the_first_and_the_last_slice_of_the_overlay_are_given_out])
        .list()
}

/// Where Docker makes no network of its own.
const NO_BRIDGE: &str = r#"{ "bridge": "none" }"#;

/// Two hosts on an underlay that leads to the internet.
#[track_caller]
fn hosts(lan: &Lan) -> [Host; 2] {
    ["172.30.0.28", "172.30.0.27"].map(|address| {
        let host = lan.host(address);
        host.ip(&format!("route add default via {}", lan.gateway()));
        host
    })
}

/// Makes the network by the command that is exported, as it is.
#[track_caller]
fn make_network(host: &Host) {
    let command = host.fanctl("export docker").ok();
    assert_eq!(command.stderr, "");
    host.sh(&command.stdout).ok();
}

/// The policy of iptables for what is forwarded.
#[track_caller]
fn forward_policy(host: &Host) -> String {
    host.exec("iptables -w -S FORWARD").ok().stdout.lines().next().unwrap_or_default().into()
}

/// The last octet of an address of this host's slice.
#[track_caller]
fn in_slice(container: &Instance, third: u8) -> u8 {
    let address: Ipv4Addr = container.address.parse().expect("an address");
    let [a, b, c, d] = address.octets();
    assert_eq!([a, b, c], [250, 0, third], "{address}");
    d
}

fn containers_of_a_network_talk(encap: Encap) {
    let lan = Lan::new();
    let [a, b] = hosts(&lan);
    // Docker first: forwarding is off, so Docker switches it on, and has FORWARD drop what nobody asked for.
    let dockers = [&a, &b].map(|host| Docker::start(host, NO_BRIDGE));
    for host in [&a, &b] {
        assert_eq!(forward_policy(host), "-P FORWARD DROP");
        host.up(encap);
        make_network(host);
    }
    let [ca, cb] = dockers.each_ref().map(|docker| docker.container("web", "--network fan"));
    assert_eq!([in_slice(&ca, 28), in_slice(&cb, 27)], [2, 2]);
    ca.all_works(&cb, encap);

    // A published port reaches its container, from a machine that has no fan.
    let published = dockers[0].container("published", "--network fan --publish 8080:7");
    published.serve_echo();
    let client = lan.host("172.30.9.9");
    let answer = client.sh("echo hello | nc -N -w 10 172.30.0.28 8080").ok();
    assert_eq!(answer.stdout, "hello\n");
}

fn containers_of_the_default_bridge_talk(encap: Encap) {
    let lan = Lan::new();
    let [a, b] = hosts(&lan);
    for host in [&a, &b] {
        host.exec("iptables -w -P FORWARD DROP").ok();
        host.up(encap);
    }
    let dockers = [&a, &b].map(|host| {
        let daemon_json = host.fanctl("export docker --default-bridge").ok().stdout;
        Docker::start(host, &daemon_json)
    });
    let [ca, cb] = dockers.each_ref().map(|docker| docker.container("web", ""));
    in_slice(&ca, 28);
    in_slice(&cb, 27);
    ca.all_works(&cb, encap);
}

fn reserved_addresses_are_not_given_out(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    // A slice of 14 addresses, of which the bridge holds three.
    host.fanctl(&format!("up 240.0.0.0/12 172.30.0.28/16 host-reserve 3 {}", encap.words())).ok();
    let docker = Docker::start(&host, NO_BRIDGE);
    make_network(&host);
    let mut given = Vec::new();
    for name in 4..15 {
        given.push(docker.container(&format!("c{name}"), "--network fan").address);
    }
    given.sort_by_key(|address| address.parse::<Ipv4Addr>().expect("an address"));
    let expected: Vec<String> = (4..15).map(|last| format!("240.0.1.{}", 192 + last)).collect();
    assert_eq!(given, expected);
    let full = docker.docker("run --network fan fan-test echo");
    assert_ne!(full.code, Some(0), "the slice is given out\n{full}");
    full.stderr_has(&["no available IPv4 addresses"]);
}

fn a_network_outlives_its_fan(encap: Encap) {
    let lan = Lan::new();
    let [a, b] = hosts(&lan);
    for host in [&a, &b] {
        host.up(encap);
    }
    let remote = b.container("250.0.27.2");
    let docker = Docker::start(&a, NO_BRIDGE);
    make_network(&a);
    docker.container("first", "--network fan");
    let refusal = a.fanctl("down 250.0.0.0/8 eth0/16").refused();
    refusal.stderr_has(&["fan-250-0-28", "attached"]);
    docker.docker("rm --force first").ok();
    a.down();
    a.up(encap);
    let second = docker.container("second", "--network fan");
    second.exec("ping -c 1 -W 10 250.0.27.2").ok();
    remote.ping(&second.address).arrives();
}

/// Over VXLAN an end of such a slice is one of Docker's subnet too.
fn the_first_and_the_last_slice_of_the_overlay_are_given_out() {
    let lan = Lan::of("10.5.0.0/16", 1500);
    // The first and the last address of the underlay are no host's.
    for (host, first) in [("10.5.64.1", "250.0.4.2"), ("10.5.127.254", "250.255.248.2")] {
        let host = lan.host(host);
        host.fanctl("up 250.0.0.0/8 eth0/18 --encap vxlan").ok();
        let docker = Docker::start(&host, NO_BRIDGE);
        make_network(&host);
        assert_eq!(docker.container("web", "--network fan").address, first);
        compare(&docker, &host, "fan").ok();
    }
}

/// Compares what Docker says of a network with what the fan needs.
#[track_caller]
fn compare(docker: &Docker, host: &Host, network: &str) -> Output {
    let inspected = docker.docker(&format!("network inspect {network}")).ok();
    host.write("/run/inspected", &inspected.stdout);
    host.fanctl("export docker --check /run/inspected")
}

fn a_network_that_is_none_for_the_fan_is_refused(encap: Encap) {
    let lan = Lan::new();
    let host = lan.host("172.30.0.28");
    host.up(encap);
    let docker = Docker::start(&host, NO_BRIDGE);
    let command = host.fanctl("export docker").ok().stdout;
    host.sh(&command).ok();
    let fits = compare(&docker, &host, "fan").ok();
    assert_eq!(fits.stdout, "docker's network 'fan' is as fan 250.0.0.0/8 has it\n");

    // As a Docker has it that was not told the MTU.
    let mtu = 1500 - encap.overhead();
    docker.docker("network rm fan").ok();
    host.sh(&command.replace(&format!("  -o com.docker.network.driver.mtu={mtu} \\\n"), "")).ok();
    let refusal = compare(&docker, &host, "fan").refused();
    refusal.stderr_has(&[&format!(
        "docker's network 'fan' is none for fan 250.0.0.0/8: it is told no mtu, so that containers have 1500 and not {mtu} or \
         less; make it anew, by: fanctl export docker fan-250-0-28"
    )]);

    // Of another slice, or one that Docker made up.
    docker.docker("network rm fan").ok();
    docker.docker("network create --subnet 250.0.27.0/24 fan").ok();
    let refusal = compare(&docker, &host, "fan").refused();
    refusal.stderr_has(&[
        "it has a bridge of its own and not fan-250-0-28",
        "its subnet is 250.0.27.0/24 and not 250.0.",
        "it may give out 250.0.27.",
        "it is told no gateway",
    ]);
    let daemon_json = host.fanctl("export docker --default-bridge").ok().stdout;
    host.write("/run/daemon.json", &daemon_json);
    host.fanctl("export docker --default-bridge --check /run/daemon.json").ok();
    host.write("/run/daemon.json", &daemon_json.replace("250.0.28.", "250.0.27."));
    let refusal = host.fanctl("export docker --default-bridge --check /run/daemon.json").refused();
    refusal.stderr_has(&["it may give out 250.0.27.0"]);
}

/// docs/docker.md has these commands.
fn a_stack_of_a_swarm_has_replicas_on_both_hosts_that_talk(encap: Encap) {
    const STACK: &str = "version: '3.8'\nservices:\n  web:\n    image: fan-test\n    command: sleep 3600\n    \
                         networks: [fan]\n    deploy: { replicas: 4, endpoint_mode: dnsrr }\n\
                         networks:\n  fan: { external: true }\n";
    let lan = Lan::new();
    let [a, b] = hosts(&lan);
    let dockers = [&a, &b].map(|host| {
        host.up(encap);
        Docker::start(host, NO_BRIDGE)
    });
    dockers[0].docker("swarm init --advertise-addr 172.30.0.28 --listen-addr 172.30.0.28").ok();
    let token = dockers[0].docker("swarm join-token --quiet worker").ok().stdout;
    dockers[1].docker(&format!("swarm join --token {} 172.30.0.28:2377", token.trim())).ok();
    for (host, docker) in [&a, &b].into_iter().zip(&dockers) {
        let commands = host.fanctl("export docker --swarm").ok().stdout;
        host.sh(&commands).ok();
        compare(docker, host, "fan-node").ok();
    }
    a.write("/run/stack.yaml", STACK);
    dockers[0].docker("stack deploy --resolve-image never -c /run/stack.yaml site").ok();

    let [on_a, on_b] = [(&a, 28), (&b, 27)].map(|(host, third)| {
        let names = eventually("two replicas on each host", || {
            let names = host.exec("docker ps --quiet --filter status=running").ok().stdout;
            (names.lines().count() == 2).then_some(names)
        });
        let replicas: Vec<_> = names.lines().map(|name| Instance::running(host, "docker", name)).collect();
        assert!(replicas.iter().all(|replica| in_slice(replica, third) > 1));
        replicas
    });
    for (one, other) in on_a.iter().zip(&on_b) {
        one.reaches(other);
        other.reaches(one);
    }
    dockers[0].docker("stack rm site").ok();
}

fn docker_after_the_fan_lets_it_pass(encap: Encap) {
    let lan = Lan::new();
    let [a, b] = hosts(&lan);
    for host in [&a, &b] {
        // Without NAT fanctl leaves forwarding off, and Docker has FORWARD drop when it switches it on.
        host.fanctl(&format!("up 250.0.0.0/8 eth0/16 --no-nat {}", encap.words())).ok();
    }
    let dockers = [&a, &b].map(|host| {
        let docker = Docker::start(host, NO_BRIDGE);
        assert_eq!(forward_policy(host), "-P FORWARD DROP");
        make_network(host);
        docker
    });
    let [ca, cb] = dockers.each_ref().map(|docker| docker.container("web", "--network fan"));
    ca.reaches(&cb);
    cb.reaches(&ca);
    // Docker took its chain as it found it, with our rules, and added what it does itself.
    let chain = a.exec("iptables -w -S DOCKER-USER").ok().stdout;
    let rules: Vec<&str> = chain.lines().filter(|line| line.starts_with("-A")).collect();
    let is_ours = |rule: &&str| rule.contains("fan 250.0.0.0/8") && rule.contains("-j ACCEPT");
    assert_eq!(rules.iter().filter(|rule| is_ours(rule)).count(), 2, "{chain}");
    assert_eq!(rules.last(), Some(&"-A DOCKER-USER -j RETURN"), "{chain}");
}
