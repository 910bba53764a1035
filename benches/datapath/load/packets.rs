//! Small packets, as many as arrive without loss: never more are under way than fit into the receiver's buffer. The
//! receiver tells the sender by shared memory, not by the network, how many have arrived.

use std::io::{IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

use super::round_trip::sockets;
use super::{Load, PATIENCE, Rate, watch};

/// Bytes of UDP payload.
const SIZE: usize = 64;
/// Packets that one system call takes.
const BATCH: usize = 32;
/// Packets under way at most: their buffers, under 1 KiB each, fit into the 208 KiB of a socket (net.core.rmem_default).
const WINDOW: u64 = 128;

/// What the receiver does beside receiving.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// It has answered the first packet, so that connection tracking sees an established connection.
    Answers,
    /// Nothing.
    IsSilent,
}

/// Packets a second.
pub fn measure(load: Load, kind: Receiver) -> Rate {
    let (client, server) = sockets(load);
    if kind == Receiver::Answers {
        client.send(&[b'q'; SIZE]).expect("to ask");
        let (_, from) = server.recv_from(&mut [0; SIZE]).expect("a question");
        server.send_to(&[b'a'; SIZE], from).expect("to answer");
        client.recv(&mut [0; SIZE]).expect("an answer");
    }
    let (received, over) = (AtomicU64::new(0), AtomicBool::new(false));
    // The server's socket stays open after the last packet: to a closed port, the next send would fail by an ICMP error.
    let (client, server, received, over) = (&client, &server, &received, &over);
    thread::scope(|scope| {
        let sender = scope.spawn(move || send(client, received, over));
        let waiting = sender.thread().clone();
        scope.spawn(move || receive(server, received, over, &waiting));
        let rate = watch(load.time, || received.load(Relaxed));
        over.store(true, Relaxed);
        rate
    })
}

/// Sends until `over`, then one more packet for the receiver, which waits for it.
fn send(socket: &UdpSocket, received: &AtomicU64, over: &AtomicBool) {
    let payload = [b'f'; SIZE];
    let batch = [[IoSlice::new(&payload)]; BATCH];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let nobody: [Option<SockaddrIn>; BATCH] = [None; BATCH];
    let mut sent = 0;
    let mut progress = (0, Instant::now());
    while !over.load(Relaxed) {
        let come = received.load(Relaxed);
        if sent + BATCH as u64 - come > WINDOW {
            thread::park_timeout(Duration::from_millis(100));
            if come > progress.0 {
                progress = (come, Instant::now());
            }
            assert!(progress.1.elapsed() < PATIENCE, "of {sent} packets {come} came");
            continue;
        }
        let done = sendmmsg(socket.as_raw_fd(), &mut headers, &batch, nobody, [], MsgFlags::empty()).expect("to send");
        sent += done.count() as u64;
    }
    // The receiver waits for a packet.
    socket.send(&payload).expect("to end");
}

fn receive(socket: &UdpSocket, received: &AtomicU64, over: &AtomicBool, sender: &Thread) {
    let mut buffers = [[0; SIZE]; BATCH];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    while !over.load(Relaxed) {
        let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let flags = MsgFlags::MSG_WAITFORONE;
        let come = recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None).expect("to receive");
        let come = come.count() as u64;
        let before = received.fetch_add(come, Relaxed);
        // Once for each batch that the sender may send now.
        if (before + come) / BATCH as u64 > before / BATCH as u64 {
            sender.unpark();
        }
    }
}

/// [`BATCH`], as packets are counted.
pub const BATCH_U32: u32 = 32;

/// Two sockets; the second answers the last packet of each batch. One thread has both, so that only the path of the
/// packets is counted, and the same each time.
pub struct Exchange {
    client: UdpSocket,
    server: UdpSocket,
}

/// Opens the sockets.
pub fn exchange(load: Load) -> Exchange {
    let (client, server) = sockets(load);
    Exchange { client, server }
}

impl Exchange {
    /// Sends so many batches; gives the number of packets, without the answers.
    pub fn rounds(&mut self, rounds: u32) -> u32 {
        let mut buffer = [b'f'; SIZE];
        for _ in 0..rounds {
            for _ in 0..BATCH_U32 {
                self.client.send(&buffer).expect("to send");
            }
            for number in 1..=BATCH_U32 {
                let (_, from) = self.server.recv_from(&mut buffer).expect("a packet");
                if number == BATCH_U32 {
                    self.server.send_to(&buffer, from).expect("to answer");
                }
            }
            self.client.recv(&mut buffer).expect("an answer");
        }
        rounds * BATCH_U32
    }
}
