//! A container of a real runtime, and what any two of them on a fan can do.

use std::process::Command;

use super::image::IMAGE;
use super::{Encap, Host, INTERNET, Output, eventually};

/// A script that runs its arguments and does not wait, for an engine that waits.
pub const BEGIN: &str = "exec setsid --fork \"$@\" </dev/null >/dev/null 2>&1\n";

/// A container that runs until its engine ends.
pub struct Instance<'a> {
    host: &'a Host,
    /// The words that run in it what follows them.
    enter: String,
    /// The same, without waiting.
    begin: String,
    pub address: String,
}

impl<'a> Instance<'a> {
    /// One that runs already.
    pub fn entered_by(host: &'a Host, enter: &str, begin: &str, address: String) -> Self {
        let (enter, begin) = (enter.into(), begin.into());
        Self { host, enter, begin, address }
    }

    /// Starts one that waits; `options` tell its network. The engine is `docker`, or one that takes the same words.
    #[track_caller]
    pub fn start(host: &'a Host, engine: &str, name: &str, options: &str) -> Self {
        let run = format!("run --detach --stop-signal KILL --name {name} {options} {IMAGE} sleep 3600");
        host.exec(&format!("{engine} {run}")).ok();
        Self::running(host, engine, name)
    }

    /// One that such an engine has started.
    #[track_caller]
    pub fn running(host: &'a Host, engine: &str, name: &str) -> Self {
        let told = host.exec(&format!("{engine} inspect {name}")).ok().json();
        let networks = &told[0]["NetworkSettings"]["Networks"];
        let network = networks.as_object().and_then(|networks| networks.values().next());
        let address = network.and_then(|network| network["IPAddress"].as_str());
        let address = address.unwrap_or_else(|| panic!("no address: {told:#}")).into();
        let [enter, begin] = ["exec", "exec --detach"].map(|exec| format!("{engine} {exec} {name}"));
        Self::entered_by(host, &enter, &begin, address)
    }

    /// Runs a command in it.
    #[track_caller]
    pub fn exec(&self, line: &str) -> Output {
        self.host.exec(&format!("{} {line}", self.enter))
    }

    /// Runs a script in it.
    #[track_caller]
    pub fn sh(&self, script: &str) -> Output {
        let mut words = self.enter.split(' ');
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).args(["sh", "-euc", script]);
        self.host.execute(command)
    }

    /// Starts a server in it, and waits until it listens on its TCP port.
    #[track_caller]
    pub fn serve(&self, line: &str, port: u16) {
        self.host.exec(&format!("{} {line}", self.begin)).ok();
        // A line of /proc/net/tcp: address and port in hexadecimal, the peer's, and 0A where it listens.
        let listens = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.len() > 3 && fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == "0A"
        };
        eventually("it listens", || {
            let sockets = self.exec("cat /proc/net/tcp /proc/net/tcp6").stdout;
            sockets.lines().any(listens).then_some(())
        });
    }

    /// Serves what echoes on port 7, once.
    #[track_caller]
    pub fn serve_echo(&self) {
        self.serve("nc -l -p 7 -e cat", 7);
    }

    /// Pings another, and sends it a line that comes back.
    #[track_caller]
    pub fn reaches(&self, other: &Self) {
        self.exec(&format!("ping -c 1 -W 10 {}", other.address)).ok();
        other.serve("nc -l -p 7 -e netstat -tn", 7);
        // The server tells who it is connected with.
        let seen = self.sh(&format!("nc -w 10 {} 7 </dev/null", other.address)).ok();
        seen.stdout_has(&[&format!("{}:7 ", other.address), &format!("{}:", self.address)]);
    }

    /// Two of them reach each other, both ways, as they are, and the internet; with the MTU that the fan has.
    #[track_caller]
    pub fn all_works(&self, other: &Self, encap: Encap) {
        let mtu = 1500 - encap.overhead();
        for (one, other) in [(self, other), (other, self)] {
            one.reaches(other);
            one.exec(&format!("ping -c 1 -W 10 {INTERNET}")).ok();
            one.exec("ip link show eth0").ok().stdout_has(&[&format!("mtu {mtu} ")]);
        }
        other.serve("iperf3 --server --one-off", 5201);
        let command = format!("iperf3 --client {} --bytes 128M --json", other.address);
        let report = self.exec(&command).ok().json();
        // What was still on its way when the last byte was sent is not counted: a socket's buffers on either side.
        let received = report["end"]["sum_received"]["bytes"].as_u64().expect("a number");
        assert!(received > 64 << 20, "{report:#}");
    }
}
