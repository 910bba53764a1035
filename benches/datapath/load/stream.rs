//! TCP streams: written and read in pieces of 128 KiB, counted where they arrive.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use super::{Load, PATIENCE, Rate, watch};

/// What is written and read at once.
const PIECE: usize = 128 * 1024;

/// Bytes a second of so many streams together.
pub fn measure(load: Load, streams: usize) -> Rate {
    let (received, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let (received, over) = (&received, &over);
    let ends: Vec<(TcpStream, TcpStream)> = (0..streams).map(|_| connect(load)).collect();
    thread::scope(|scope| {
        for (client, server) in ends {
            scope.spawn(move || send(client, over));
            scope.spawn(move || receive(server, received));
        }
        let rate = watch(load.time, || received.load(Relaxed));
        over.store(true, Relaxed);
        rate
    })
}

/// Both ends of a connection from the client's namespace to the server's.
pub fn connect(load: Load) -> (TcpStream, TcpStream) {
    let address = load.address;
    let listener = load.server.run(move || TcpListener::bind((address, 0))).expect("to listen");
    let to = listener.local_addr().expect("its address");
    let client = load.client.run(move || TcpStream::connect_timeout(&to, PATIENCE));
    let client = client.unwrap_or_else(|error| panic!("no connection to {to}: {error}"));
    let (server, _) = listener.accept().expect("a connection");
    for end in [&client, &server] {
        end.set_nodelay(true).expect("no delay");
        end.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        end.set_write_timeout(Some(PATIENCE)).expect("a time limit");
    }
    (client, server)
}

fn send(mut client: TcpStream, over: &AtomicBool) {
    let piece = vec![b'f'; PIECE];
    while !over.load(Relaxed) {
        client.write_all(&piece).expect("to send");
    }
    client.shutdown(Shutdown::Write).expect("to end");
}

fn receive(mut server: TcpStream, received: &AtomicU64) {
    let mut piece = vec![0; PIECE];
    loop {
        match server.read(&mut piece).expect("to receive") {
            0 => return,
            length => received.fetch_add(length as u64, Relaxed),
        };
    }
}
