//! tcpdump as a witness.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;

use super::{DEADLINE, Namespace};

/// Packets to this port are ours: the last one seen ends a capture.
const MARKER: u16 = 9;

/// A running tcpdump on one device of a namespace.
pub struct Capture<'a> {
    namespace: &'a Namespace,
    device: String,
    tcpdump: Child,
    lines: Receiver<String>,
}

impl<'a> Capture<'a> {
    /// Starts one; when this returns, tcpdump listens. The packets of UDP ports 8472 and 4789 are read as VXLAN.
    #[track_caller]
    pub fn on(namespace: &'a Namespace, device: &str, filter: &str) -> Self {
        let mut command = Command::new("tcpdump");
        command.args(["-i", device, "-n", "-v", "-t", "-l", "-U", "--immediate-mode", "-T", "vxlan"]);
        command.arg(format!("({filter}) or (udp dst port {MARKER})"));
        let mut tcpdump = namespace.spawn(command);
        let stderr = BufReader::new(tcpdump.stderr.take().expect("a pipe"));
        let stdout = BufReader::new(tcpdump.stdout.take().expect("a pipe"));
        let (listens, is_listening) = mpsc::channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(listens.send(line))));
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.contains("listening on")) {
            match is_listening.recv_timeout(DEADLINE) {
                Ok(line) => said.push(line),
                Err(_) => panic!("tcpdump does not listen on {device}: {said:?}"),
            }
        }
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        Self { namespace, device: device.into(), tcpdump, lines }
    }

    /// All packets so far, one line each. A marker packet sent now and seen in the capture proves that tcpdump has
    /// reported whatever went before it.
    #[track_caller]
    pub fn packets(self) -> Vec<String> {
        self.mark();
        let mut packets: Vec<String> = Vec::new();
        loop {
            let line = self.lines.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|_| panic!("tcpdump on {} missed the marker: {packets:#?}", self.device));
            match packets.last_mut() {
                Some(last) if line.starts_with(char::is_whitespace) => {
                    last.push(' ');
                    last.push_str(line.trim());
                }
                _ => packets.push(line),
            }
            if packets.last().is_some_and(|packet| packet.contains(&format!("255.255.255.255.{MARKER}:"))) {
                packets.pop();
                return packets;
            }
        }
    }

    /// Sends the marker out of the device.
    #[track_caller]
    fn mark(&self) {
        let device = self.device.clone();
        self.namespace.run(move || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            socket.set_broadcast(true).expect("broadcast");
            setsockopt(&socket, sockopt::BindToDevice, &device.into()).expect("the device");
            socket.send_to(b"the end", ("255.255.255.255", MARKER)).expect("the marker");
        });
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.tcpdump.id().cast_signed()), Signal::SIGKILL);
        let _ = self.tcpdump.wait();
    }
}
