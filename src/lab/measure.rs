//! Pings, connections and throughput between two places.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use serde::Serialize;

use super::interrupt::Interrupt;
use super::namespaces::{NETNS, Stage};
use super::topology::{CommandLine, Node};
use crate::error::Error;

/// How long anything may keep silent before the lab gives up.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one stream of data is measured.
const STREAM: Duration = Duration::from_millis(100);
/// What is written at once.
const CHUNK: usize = 128 * 1024;

/// How a greeting begins.
pub(super) const GREETING: &str = "hello from ";

/// Round trips from one place to another.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ping {
    pub(crate) from: Ipv4Addr,
    pub(crate) to: Ipv4Addr,
    /// The time to live of the answers.
    pub(crate) ttl: u8,
    /// The first round trip in milliseconds, with the neighbour lookups it needed.
    pub(crate) first_ms: f64,
    /// The mean of those that followed, in milliseconds; the first if none did.
    pub(crate) mean_ms: f64,
}

/// A connection that carried a message each way.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Connection {
    pub(crate) from: Ipv4Addr,
    pub(crate) to: Ipv4Addr,
    /// Where the listening side saw the connection come from.
    pub(crate) seen_as: SocketAddr,
    /// From the first packet to the end of the answer, in milliseconds.
    pub(crate) ms: f64,
}

/// One answer of `ping`.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Reply {
    sequence: u32,
    ttl: u8,
    ms: f64,
}

/// Pings `count` times. An error unless the first packet is answered, and all after it.
pub(crate) fn ping(stage: &Stage, from: &Node, to: &Node, count: u32) -> Result<Ping, Error> {
    let words = format!("ping -n -c {count} -i 0.02 -w {} {}", PATIENCE.as_secs(), to.address);
    let text = stage.watch(&CommandLine::inside(&from.namespace, &words))?;
    let route = format!("{} -> {}", from.address, to.address);
    let replies = replies(&text);
    let missing = (1..=count).find(|sequence| replies.iter().all(|reply| reply.sequence != *sequence));
    if let Some(sequence) = missing {
        return Err(Error::Failed(format!("ping {route}: packet {sequence} of {count} was not answered")));
    }
    if replies.len() != count as usize {
        return Err(Error::Failed(format!("ping {route}: {count} packets had {} answers", replies.len())));
    }
    let (Some(first), Some(mean_ms)) = (replies.first(), mean(&replies)) else {
        return Err(Error::Failed(format!("ping {route}: cannot read the answer:\n{text}")));
    };
    Ok(Ping { from: from.address, to: to.address, ttl: first.ttl, first_ms: first.ms, mean_ms })
}

/// The answers in the output of iputils' `ping`, as in `64 bytes from 250.0.27.2: icmp_seq=1 ttl=62 time=0.120 ms`.
fn replies(text: &str) -> Vec<Reply> {
    text.lines().filter_map(reply).collect()
}

fn reply(line: &str) -> Option<Reply> {
    let word = |key: &str| line.split_whitespace().find_map(|word| word.strip_prefix(key));
    Some(Reply {
        sequence: word("icmp_seq=")?.parse().ok()?,
        ttl: word("ttl=")?.parse().ok()?,
        ms: word("time=")?.parse().ok()?,
    })
}

/// The mean round trip after the first, which paid for the neighbour lookups.
fn mean(replies: &[Reply]) -> Option<f64> {
    let settled = if replies.len() > 1 { &replies[1..] } else { replies };
    let count = u32::try_from(settled.len()).ok().filter(|count| *count > 0)?;
    let mean = settled.iter().map(|reply| reply.ms).sum::<f64>() / f64::from(count);
    Some((mean * 1e3).round() / 1e3) // no more digits than ping gives
}

/// Connects, sends a greeting each way and compares what arrived with what was sent. An error if the connection came
/// from another address than its own: nothing in the overlay is translated.
pub(crate) fn connection(from: &Node, to: &Node) -> Result<Connection, Error> {
    let exchange = || {
        let begin = Instant::now();
        let (client, server, seen_as) = connect(from, to)?;
        for (mut sender, mut receiver, name) in [(&client, &server, from), (&server, &client, to)] {
            let message = format!("{GREETING}{}", name.address);
            sender.write_all(message.as_bytes())?;
            let mut received = vec![0; message.len()];
            receiver.read_exact(&mut received)?;
            if received != message.as_bytes() {
                let received = String::from_utf8_lossy(&received);
                return Err(io::Error::other(format!("'{message}' was sent and '{received}' arrived")));
            }
        }
        let ms = begin.elapsed().as_secs_f64() * 1e3;
        if seen_as.ip() != from.address {
            return Err(io::Error::other(format!("it was seen as coming from {}", seen_as.ip())));
        }
        Ok(Connection { from: from.address, to: to.address, seen_as, ms })
    };
    exchange().map_err(|error| named("tcp", from, to, &error))
}

/// What one stream carries, in bits per second, counted where it arrives.
pub(crate) fn throughput(interrupt: &Interrupt, from: &Node, to: &Node) -> Result<f64, Error> {
    let measure = || {
        let (mut client, mut server, _) = connect(from, to)?;
        thread::scope(|scope| {
            let sender = scope.spawn(move || send(interrupt, &mut client));
            let rate = receive(&mut server);
            sender.join().unwrap_or_else(|_| Err(io::Error::other("the sender died"))).and(rate)
        })
    };
    let rate = measure();
    interrupt.check()?;
    rate.map_err(|error| named("throughput", from, to, &error))
}

fn send(interrupt: &Interrupt, client: &mut TcpStream) -> io::Result<()> {
    let chunk = vec![b'f'; CHUNK];
    let begin = Instant::now();
    while begin.elapsed() < STREAM && interrupt.check().is_ok() {
        client.write_all(&chunk)?;
    }
    client.shutdown(std::net::Shutdown::Write)
}

/// Reads to the end. Bits per second from the first piece to the end.
fn receive(server: &mut TcpStream) -> io::Result<f64> {
    let mut chunk = vec![0; CHUNK];
    server.read_exact(&mut chunk[..1])?;
    let begin = Instant::now();
    let mut bits = 0.0;
    loop {
        match server.read(&mut chunk)? {
            0 => return Ok(bits / begin.elapsed().as_secs_f64()),
            length => bits += f64::from(u32::try_from(length).unwrap_or(u32::MAX)) * 8.0,
        }
    }
}

/// Both ends of a connection, and where the listening side saw it come from.
fn connect(from: &Node, to: &Node) -> io::Result<(TcpStream, TcpStream, SocketAddr)> {
    let listener = within(to, || TcpListener::bind((to.address, 0)))?;
    listener.set_nonblocking(true)?;
    let target = listener.local_addr()?;
    let client = within(from, || TcpStream::connect_timeout(&target, PATIENCE))?;
    let deadline = Instant::now() + PATIENCE;
    let (server, seen_as) = loop {
        match listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(1));
            }
            accepted => break accepted?,
        }
    };
    server.set_nonblocking(false)?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
        end.set_read_timeout(Some(PATIENCE))?;
        end.set_write_timeout(Some(PATIENCE))?;
    }
    Ok((client, server, seen_as))
}

/// Makes a socket in a namespace. A socket stays in the namespace it was made in, and a thread of its own is all that
/// has to go there.
pub(super) fn within<T: Send>(place: &Node, make: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let enter = || {
        let namespace = File::open(format!("{NETNS}/{}", place.namespace))?;
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        make()
    };
    thread::scope(|scope| scope.spawn(enter).join()).unwrap_or_else(|_| Err(io::Error::other("a thread died")))
}

fn named(what: &str, from: &Node, to: &Node, error: &io::Error) -> Error {
    Error::Failed(format!("{what} {} -> {}: {error}", from.address, to.address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: &str = "\
PING 250.0.27.2 (250.0.27.2) 56(84) bytes of data.
64 bytes from 250.0.27.2: icmp_seq=1 ttl=62 time=0.518 ms
64 bytes from 250.0.27.2: icmp_seq=2 ttl=62 time=0.1 ms
64 bytes from 250.0.27.2: icmp_seq=3 ttl=62 time=0.2 ms

--- 250.0.27.2 ping statistics ---
3 packets transmitted, 3 received, 0% packet loss, time 40ms
rtt min/avg/max/mdev = 0.100/0.272/0.518/0.178 ms
";

    #[test]
    fn the_answers_of_ping_are_read() {
        let replies = replies(PING);
        assert_eq!(replies.len(), 3);
        assert_eq!(replies[0], Reply { sequence: 1, ttl: 62, ms: 0.518 });
    }

    #[test]
    fn the_mean_leaves_out_the_first_round_trip_unless_it_is_the_only_one() {
        let replies = replies(PING);
        assert!((mean(&replies).unwrap() - 0.15).abs() < 1e-9);
        assert!((mean(&replies[..1]).unwrap() - 0.518).abs() < 1e-9);
        assert_eq!(mean(&[]), None);
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let text = "PING 250.0.27.2 (250.0.27.2) 56(84) bytes of data.\nFrom 250.0.28.1 icmp_seq=1 Destination Net Unreachable\n";
        assert_eq!(replies(text), []);
    }
}
