//! Names of Docker's own containers, asked for by the resolvers of glibc and of musl.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{Server, addresses, finds, sees, up};
use crate::case::{Case, Cases, Need};
use crate::named;
use crate::support::{Docker, Encap, Host, IMAGE, Instance, Lan, eventually};

inventory::submit!(crate::case::Module(cases));
fn cases() -> Vec<Case> {
    Cases::of("runtime::names")
        .each_with(&[Need::Tier2], named![containers_of_docker_have_names, a_service_of_compose_is_scaled])
        .list()
}

/// Prints the addresses of a name, sorted, as getaddrinfo(3) tells them.
const ASK: &str = r#"
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
int main(int argc, char **argv) {
  struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
  if (argc != 2 || getaddrinfo(argv[1], 0, &hints, &found)) return 1;
  for (; found; found = found->ai_next) {
    char text[64] = "not IPv4";
    if (found->ai_family == AF_INET)
      inet_ntop(AF_INET, &((struct sockaddr_in *)found->ai_addr)->sin_addr, text, sizeof text);
    puts(text);
  }
}
"#;

/// What passes on an engine's names; it ends with this.
struct Engine(Child);

impl Engine {
    fn start(host: &Host) -> Self {
        let mut command = Command::new(Host::program());
        command.args(["names", "engine", "docker"]).stdout(Stdio::null());
        Self(host.spawn(command))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a resolver finds in a container: `ask-glibc` or `ask-musl`.
fn asked(client: &Instance, library: &str, name: &str) -> Vec<String> {
    client.exec(&format!("/bin/ask-{library} {name}")).stdout.lines().map(String::from).collect()
}

/// Both libraries find one of these, and in the end each of them.
#[track_caller]
fn all_find(client: &Instance, name: &str, expected: &[String]) {
    for library in ["glibc", "musl"] {
        for address in expected {
            eventually(&format!("{name} is {address} by {library}"), || {
                let found = asked(client, library, name);
                (found.first() == Some(address)).then_some(())
            });
        }
    }
}

#[track_caller]
fn none_finds(client: &Instance, name: &str) {
    for library in ["glibc", "musl"] {
        eventually(&format!("{name} is gone by {library}"), || asked(client, library, name).is_empty().then_some(()));
    }
}

/// Two hosts, of which one has dnsmasq in front of the daemon.
fn two(lan: &Lan, encap: Encap) -> (Host, Host) {
    (up(lan, "172.30.0.28", encap, ""), up(lan, "172.30.0.27", encap, "dhcp"))
}

/// Docker, with the fan's network.
fn docker(host: &Host) -> Docker<'_> {
    let docker = Docker::start(host, r#"{ "bridge": "none" }"#);
    host.sh(&host.fanctl("export docker").ok().stdout).ok();
    docker
}

fn containers_of_docker_have_names(encap: Encap) {
    let lan = Lan::new();
    let (a, b) = two(&lan, encap);
    let dockers = [&a, &b].map(docker);
    let daemon = Server::start(&a, "names serve");
    let (_other, _engines) = (Server::start(&b, "names serve"), [&a, &b].map(Engine::start));
    sees(&b, "172.30.0.28", "here");
    let clients = [&dockers[0], &dockers[1]].map(|docker| {
        let gateway = if std::ptr::eq(docker, &raw const dockers[0]) { "250.0.28.1" } else { "250.0.27.1" };
        let options = format!("--network fan --dns {gateway} --dns-search fan.internal --dns-option ndots:1");
        docker.container("client", &options)
    });
    for (host, docker) in [(&a, &dockers[0]), (&b, &dockers[1])] {
        host.write("/run/ask.c", ASK);
        host.sh("cc -o /run/ask-glibc /run/ask.c && musl-gcc -static -o /run/ask-musl /run/ask.c").ok();
        for library in ["glibc", "musl"] {
            docker.docker(&format!("cp /run/ask-{library} client:/bin/ask-{library}")).ok();
        }
    }

    let began = Instant::now();
    let web = dockers[0].container("web", "--network fan");
    let started = began.elapsed();
    all_find(&clients[1], "web.fan.internal", std::slice::from_ref(&web.address));
    println!(
        "docker run took {started:?}; both libraries of the other host had the answer after {:?}",
        began.elapsed()
    );
    // By the domain to search, from both hosts, and by its slice.
    for client in &clients {
        all_find(client, "web", std::slice::from_ref(&web.address));
        all_find(client, "web.250-0-28.fan.internal", std::slice::from_ref(&web.address));
    }

    // What Compose does for a service that it scales from one to five and back: names of their own, and an alias.
    let start = |number: usize| {
        dockers[number % 2].container(&format!("shop-app-{number}"), "--network fan --network-alias app").address
    };
    let first = start(1);
    all_find(&clients[0], "app", std::slice::from_ref(&first));
    let mut addresses = vec![first.clone()];
    addresses.extend((2..=5).map(start));
    for client in &clients {
        all_find(client, "app", &addresses);
    }
    for number in 2..=5 {
        dockers[number % 2].docker(&format!("rm --force shop-app-{number}")).ok();
    }
    for (client, number) in clients.iter().flat_map(|client| (2..=5).map(move |number| (client, number))) {
        none_finds(client, &format!("shop-app-{number}"));
    }
    for client in &clients {
        all_find(client, "app", std::slice::from_ref(&first));
        assert_eq!(asked(client, "musl", "app"), std::slice::from_ref(&first));
    }

    // Killed, the daemon takes its host's names with it, and no packet.
    let plain = b.container("250.0.27.200");
    daemon.end(nix::sys::signal::Signal::SIGKILL);
    none_finds(&clients[1], "web");
    plain.ping(&web.address).arrives();
    let (_daemon, _engine) = (Server::start(&a, "names serve"), Engine::start(&a));
    finds(&plain, "250.0.27.1", "web.fan.internal", &[&web.address]);
    dockers[0].docker("rm --force web").ok();
    none_finds(&clients[1], "web");
}

/// What the resolver of busybox finds, asking a gateway.
fn looked_up(from: &Instance, gateway: &str, name: &str) -> Vec<String> {
    addresses(&from.exec(&format!("busybox nslookup {name} {gateway}")).stdout)
}

/// What is written for Compose in docs/names.md.
fn compose(gateway: &str) -> String {
    format!(
        "services:\n  app:\n    image: {IMAGE}\n    command: [\"sleep\", \"3600\"]\n    stop_signal: KILL\n    networks: [fan]\n    \
         dns: {gateway}\n    dns_search: fan.internal\n    dns_opt: [\"ndots:1\"]\n\
         networks:\n  fan:\n    external: true\n"
    )
}

fn a_service_of_compose_is_scaled(encap: Encap) {
    let lan = Lan::new();
    let (a, b) = two(&lan, encap);
    let dockers = [&a, &b].map(docker);
    let _daemons = [&a, &b].map(|host| Server::start(host, "names serve"));
    let _engines = [&a, &b].map(Engine::start);
    sees(&b, "172.30.0.28", "here");
    let client = dockers[1].container("client", "--network fan");
    a.write("/run/shop.yml", &compose("250.0.28.1"));
    // What the engine itself says that the service has.
    let scale = |number: usize| -> Vec<String> {
        let compose = "docker-compose --file /run/shop.yml --project-name shop";
        a.sh(&format!("{compose} up --detach --scale app={number}")).ok();
        let all = a.exec("docker ps --quiet --filter label=com.docker.compose.service=app").ok().stdout;
        let mut addresses: Vec<String> =
            all.lines().map(|container| Instance::running(&a, "docker", container).address).collect();
        addresses.sort();
        assert_eq!(addresses.len(), number);
        addresses
    };
    for number in [1, 5, 1] {
        let expected = scale(number);
        let mut seen = std::collections::BTreeSet::new();
        // Until all were answered, and nothing else is.
        eventually(&format!("app is {expected:?} on the other host"), || {
            let found = looked_up(&client, "250.0.27.1", "app.fan.internal");
            if found.iter().any(|address| !expected.contains(address)) {
                seen.clear();
            }
            seen.extend(found);
            seen.iter().eq(&expected).then_some(())
        });
        println!("Compose scaled the service to {number}, and the other host found {expected:?}");
    }
    // A service finds itself by the word that Compose knows it by, and by the domain.
    let own = dockers[0].docker("ps --quiet --filter label=com.docker.compose.service=app").ok().stdout;
    let own = Instance::running(&a, "docker", own.trim());
    own.exec("cat /etc/resolv.conf").ok().stdout_has(&["fan.internal", "ndots:1"]);
    eventually("a container of Compose finds itself", || {
        (looked_up(&own, "250.0.28.1", "app.fan.internal") == [own.address.clone()]).then_some(())
    });
}
