//! Traffic between namespaces: ping, TCP, and an echo that fails at every lost packet.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{DEADLINE, Namespace, Output, is_emulated};

/// One ping and its answer, or what was said instead.
pub struct Ping {
    output: Output,
}

impl Namespace {
    /// Sends one ping, the first and only packet.
    #[track_caller]
    pub fn ping(&self, address: &str) -> Ping {
        self.ping_with("", address)
    }

    /// Sends one ping with more options.
    #[track_caller]
    pub fn ping_with(&self, options: &str, address: &str) -> Ping {
        Ping { output: self.exec(&format!("ping -n -c 1 -W 60 {options} {address}")) }
    }

    /// Sends one ping after a repair. Neighbours that have not answered ARP yet are asked for anew: the kernel drops the
    /// packets that wait for one when its third request has no answer, even if the repair is done by then
    /// (`neigh_timer_handler`, net/core/neighbour.c at v6.12).
    #[track_caller]
    pub fn ping_again(&self, address: &str) -> Ping {
        self.asks_anew();
        self.ping(address)
    }

    /// Removes the neighbours that have not answered ARP yet.
    #[track_caller]
    pub fn asks_anew(&self) {
        self.ip("neigh flush nud incomplete");
    }

    /// Sends one ping that must get no answer, and waits a short time for it.
    #[track_caller]
    pub fn ping_in_vain(&self, address: &str) -> Output {
        self.exec(&format!("ping -n -c 1 -W 0.5 {address}")).exits(1)
    }
}

impl Ping {
    /// It was answered.
    #[track_caller]
    pub fn arrives(self) -> Self {
        Self { output: self.output.ok() }
    }

    /// The TTL of the answer.
    #[track_caller]
    pub fn ttl(&self) -> u64 {
        let ttl = self.output.stdout.split("ttl=").nth(1).and_then(|rest| rest.split(' ').next());
        ttl.and_then(|ttl| ttl.parse().ok()).unwrap_or_else(|| panic!("no ttl\n{}", self.output))
    }
}

/// The time from an answer to the next question: short enough to meet every change, and long enough to leave the
/// processor to other processes.
fn pace() -> Duration {
    Duration::from_millis(if is_emulated() { 20 } else { 2 })
}

/// Bytes that go each way over a connection.
const SIZE: usize = 1 << 20;

/// Opens a connection from one namespace to an address of another, and moves a megabyte each way.
#[track_caller]
pub fn tcp_exchange(client: &Namespace, server: &Namespace, address: &str) -> SocketAddr {
    let address: Ipv4Addr = address.parse().expect("an address");
    let listener = server.run(move || TcpListener::bind((address, 0))).expect("to listen there");
    let to = listener.local_addr().expect("its address");
    let serving = thread::spawn(move || {
        let (stream, peer) = listener.accept().expect("a connection");
        assert_eq!(exchange(stream), SIZE);
        peer
    });
    let stream = client.run(move || TcpStream::connect_timeout(&to, DEADLINE));
    let stream = stream.unwrap_or_else(|error| panic!("no connection to {to}: {error}"));
    assert_eq!(exchange(stream), SIZE);
    serving.join().expect("the server's half")
}

/// Sends and receives at once; returns how much came.
fn exchange(mut stream: TcpStream) -> usize {
    stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
    stream.set_write_timeout(Some(DEADLINE)).expect("a time limit");
    let mut out = stream.try_clone().expect("the other direction");
    let sending = thread::spawn(move || {
        out.write_all(&vec![b'f'; SIZE]).expect("to send");
        out.shutdown(Shutdown::Write).expect("to end");
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("to receive");
    sending.join().expect("the sender");
    received.len()
}

/// Questions and answers until it is stopped: one lost packet is a failure, for none is sent again.
pub struct Echo {
    stop: Sender<()>,
    asking: JoinHandle<u64>,
}

impl Echo {
    /// Starts asking an address of another namespace.
    #[track_caller]
    pub fn between(client: &Namespace, server: &Namespace, address: &str) -> Self {
        let asking = asking(client, server, address);
        let (stop, stopped) = mpsc::channel();
        let asking = thread::spawn(move || {
            let mut count = 0;
            while stopped.recv_timeout(pace()) == Err(RecvTimeoutError::Timeout) {
                ask(&asking, count);
                count += 1;
            }
            ask(&asking, LAST);
            count
        });
        Self { stop, asking }
    }

    /// Stops, and returns how many packets went there and back.
    #[track_caller]
    pub fn stop(self) -> u64 {
        drop(self.stop);
        self.asking.join().unwrap_or_else(|_| panic!("a packet was lost"))
    }
}

/// Asks an address of another namespace a number of questions, and then the last one; each answer must come.
#[track_caller]
pub fn udp_exchange(client: &Namespace, server: &Namespace, address: &str, count: u64) {
    let asking = asking(client, server, address);
    for number in (1..count).chain([LAST]) {
        ask(&asking, number);
    }
}

/// The last question that is answered.
const LAST: u64 = u64::MAX;

/// A socket whose questions are answered at an address of another namespace, up to the last.
#[track_caller]
fn asking(client: &Namespace, server: &Namespace, address: &str) -> UdpSocket {
    let address: Ipv4Addr = address.parse().expect("an address");
    let answering = server.run(move || UdpSocket::bind((address, 0))).expect("to listen there");
    let asking = client.run(|| UdpSocket::bind("0.0.0.0:0")).expect("a socket");
    let to = answering.local_addr().expect("its address");
    answering.set_read_timeout(Some(DEADLINE)).expect("a time limit");
    asking.set_read_timeout(Some(DEADLINE)).expect("a time limit");
    asking.connect(to).expect("the peer");
    thread::spawn(move || {
        let mut question = [0; 8];
        while let Ok((8, from)) = answering.recv_from(&mut question) {
            let _ = answering.send_to(&question, from);
            if u64::from_be_bytes(question) == LAST {
                return;
            }
        }
    });
    asking
}

/// One question; its answer must come.
fn ask(socket: &UdpSocket, number: u64) {
    socket.send(&number.to_be_bytes()).expect("to ask");
    let mut answer = [0; 8];
    let length = socket.recv(&mut answer).unwrap_or_else(|error| panic!("packet {number} lost: {error}"));
    assert_eq!((length, u64::from_be_bytes(answer)), (8, number));
}
