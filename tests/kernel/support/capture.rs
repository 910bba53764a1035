//! tcpdump as a witness.

use std::io::{BufRead, BufReader};
use std::mem;
use std::net::UdpSocket;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;

use super::{DEADLINE, Namespace, eventually};

/// Packets to this port are ours: the last one seen ends a capture.
const MARKER: u16 = 9;

/// A running tcpdump on one device of a namespace.
pub struct Capture<'a> {
    namespace: &'a Namespace,
    device: String,
    tcpdump: Child,
    lines: Receiver<String>,
    packets: Vec<String>,
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
        read_lines(stderr, listens);
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.contains("listening on")) {
            let line = is_listening.recv_timeout(DEADLINE);
            said.push(line.unwrap_or_else(|_| panic!("tcpdump does not listen on {device}: {said:?}")));
        }
        let (sender, lines) = mpsc::channel();
        read_lines(stdout, sender);
        Self { namespace, device: device.into(), tcpdump, lines, packets: Vec::new() }
    }

    /// All packets so far, one line each. A marker packet sent now and seen in the capture proves that tcpdump has
    /// reported all packets before it.
    #[track_caller]
    pub fn packets(mut self) -> Vec<String> {
        self.mark();
        while !self.packets.last().is_some_and(|packet| packet.contains(&format!("255.255.255.255.{MARKER}:"))) {
            self.read_line();
        }
        self.packets.pop();
        mem::take(&mut self.packets)
    }

    /// Those of all packets so far that say this.
    #[track_caller]
    pub fn packets_with(self, words: &str) -> Vec<String> {
        let mut packets = self.packets();
        packets.retain(|packet| packet.contains(words));
        packets
    }

    /// All packets up to now, once there are this many.
    #[track_caller]
    pub fn at_least(mut self, count: usize) -> Vec<String> {
        while self.packets.len() < count {
            self.read_line();
        }
        self.packets()
    }

    /// All packets up to now, once one of them says this.
    #[track_caller]
    pub fn until(self, sign: &str) -> Vec<String> {
        self.until_all(&[sign.into()])
    }

    /// All packets up to now, once each of these is said by one of them. Those of two senders, or of one that went from
    /// processor to processor, overtake each other.
    #[track_caller]
    pub fn until_all(mut self, signs: &[String]) -> Vec<String> {
        for sign in signs {
            while !self.packets.iter().any(|packet| packet.contains(sign)) {
                self.read_line();
            }
        }
        self.packets()
    }

    /// The first packets, for a device on which no marker can be sent; there must be at least one more.
    #[track_caller]
    pub fn first(mut self, count: usize) -> Vec<String> {
        while self.packets.len() <= count {
            self.read_line();
        }
        self.packets.truncate(count);
        mem::take(&mut self.packets)
    }

    /// The next line of tcpdump; what `-v` puts on lines of their own belongs to the packet before.
    #[track_caller]
    fn read_line(&mut self) {
        let (lines, packets) = (&self.lines, &self.packets);
        let what = format!("tcpdump on {} sees one packet more than {packets:#?}", self.device);
        let line = eventually(&what, || lines.try_recv().ok());
        match self.packets.last_mut() {
            Some(last) if line.starts_with(char::is_whitespace) || awaits_inner(last) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => self.packets.push(line),
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

/// Whether a line is the outer half of a VXLAN packet, after which tcpdump begins a line for the inner half.
fn awaits_inner(line: &str) -> bool {
    line.rsplit_once("vni ").is_some_and(|(_, vni)| vni.chars().all(|digit| digit.is_ascii_digit()))
}

/// Reads a pipe in a thread, so that nothing waits on it.
fn read_lines(pipe: impl BufRead + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        for line in pipe.lines().map_while(Result::ok) {
            let _ = to.send(line);
        }
    });
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.tcpdump.id().cast_signed()), Signal::SIGKILL);
        let _ = self.tcpdump.wait();
    }
}
