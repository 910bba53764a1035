//! Requests and answers of 64 bytes, one at a time. Both ends stay on one processor: waking another costs more than the
//! way there, and how much depends on how asleep it is.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use super::stream::connect;
use super::{Load, PATIENCE};
use crate::cpu;

/// Bytes of a request, and of its answer.
const SIZE: usize = 64;
/// A request that asks for no answer.
const END: u8 = 1;

/// Seconds from each request over one TCP connection to its answer.
pub fn tcp(load: Load) -> Vec<f64> {
    let (mut client, mut server) = connect(load);
    thread::scope(|scope| {
        scope.spawn(move || {
            cpu::stay_on_one();
            let mut buffer = [0; SIZE];
            // The client's end of the connection ends it.
            while server.read_exact(&mut buffer).is_ok() {
                server.write_all(&buffer).expect("to answer");
            }
        });
        let asking = scope.spawn(move || {
            repeat(load.time, || {
                let mut buffer = [0; SIZE];
                client.write_all(&buffer).expect("to ask");
                client.read_exact(&mut buffer).expect("an answer");
            })
        });
        asking.join().expect("the client")
    })
}

/// The same over UDP.
pub fn udp(load: Load) -> Vec<f64> {
    let (client, server) = sockets(load);
    thread::scope(|scope| {
        scope.spawn(move || {
            cpu::stay_on_one();
            let mut buffer = [0; SIZE];
            loop {
                let (_, from) = server.recv_from(&mut buffer).expect("a request");
                if buffer[0] == END {
                    return;
                }
                server.send_to(&buffer, from).expect("to answer");
            }
        });
        let asking = scope.spawn(move || {
            let mut buffer = [0; SIZE];
            let times = repeat(load.time, || {
                client.send(&buffer).expect("to ask");
                client.recv(&mut buffer).expect("an answer");
            });
            client.send(&[END; SIZE]).expect("to end");
            times
        });
        asking.join().expect("the client")
    })
}

/// A socket in each namespace, the client's connected to the server's.
pub fn sockets(load: Load) -> (UdpSocket, UdpSocket) {
    let address = load.address;
    let server = load.server.run(move || UdpSocket::bind((address, 0))).expect("to listen");
    let client = load.client.run(|| UdpSocket::bind("0.0.0.0:0")).expect("a socket");
    client.connect(server.local_addr().expect("its address")).expect("the peer");
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    }
    (client, server)
}

/// Repeats an exchange, after a tenth of the time in which things settle, and times each.
fn repeat(time: Duration, mut exchange: impl FnMut()) -> Vec<f64> {
    cpu::stay_on_one();
    let settled = Instant::now() + time / 10;
    while Instant::now() < settled {
        exchange();
    }
    let mut times = vec![];
    let begun = Instant::now();
    let mut last = begun;
    while last - begun < time {
        exchange();
        let now = Instant::now();
        times.push((now - last).as_secs_f64());
        last = now;
    }
    times
}
