//! A host with a fan, its neighbour and the world; and each kind of packet that a fan needs, sent.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::Word;
use super::sets::Set;
use crate::support::{Container, Crafted, Encap, Host, Lan, Namespace, flush_connections};

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// TCP from a container to one of the other host.
    Out,
    /// The same the other way.
    In,
    /// TCP to another container of the same bridge.
    Here,
    /// TCP from a container to the world.
    World,
    /// A question for a name, by UDP.
    Dns,
    /// The same by TCP.
    DnsByTcp,
    /// A request for an address.
    Dhcp,
    /// ICMP from a router of the underlay about an encapsulated packet.
    ErrorFromUnderlay,
    /// ICMP from the gateway about a packet of a container.
    ErrorFromGateway,
    /// ICMP from the world about a packet of a container.
    ErrorFromWorld,
}

/// An address in the world that is on no list of those that nobody has; nothing leaves the test's own networks.
const WORLD: &str = "198.41.0.4";
const PORT: u16 = 7000;

/// How long is waited for what must come. Only a failing test waits that long.
const PATIENTLY: Duration = Duration::from_secs(60);

/// How long is waited for what must not come. What is slower than this passes for lost, as was said it would be.
const BRIEFLY: Duration = Duration::from_millis(150);

impl Probe {
    /// The kinds of packets, in the doctor's words, that it consists of.
    pub fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Out | Self::In => &[
                "from-containers",
                "to-containers",
                "from-hosts",
                "to-hosts",
                "from-host",
                "to-host",
                "from-slice",
                "to-slice",
                "arp",
                "arp-of-hosts",
            ],
            Self::Here => &["between-containers"],
            Self::World => &["to-world", "from-world", "arp"],
            Self::Dns => &["dns", "arp"],
            Self::DnsByTcp => &["dns-by-tcp", "arp"],
            Self::Dhcp => &["dhcp"],
            Self::ErrorFromUnderlay => &["errors-from-underlay"],
            Self::ErrorFromGateway => &["errors-from-gateway"],
            Self::ErrorFromWorld => &["errors-from-world"],
        }
    }

    /// Whether it has to arrive, if the doctor is right; none where that does not follow.
    pub fn expected(self, encap: Encap, word: &Word) -> Option<bool> {
        let has = |kinds: &[&str]| kinds.iter().any(|kind| word.dropped.contains(*kind));
        // What one of the two directions is denied alone, the replies of the other may have.
        let denied: &[&str] = match (self, encap) {
            // Encapsulated packets of both directions are connections of their own.
            (Self::Out, Encap::Vxlan) => {
                &["from-containers", "to-hosts", "from-hosts", "to-host", "from-host", "arp-of-hosts"]
            }
            (Self::In, Encap::Vxlan) => {
                &["to-containers", "to-hosts", "from-hosts", "to-host", "from-host", "arp-of-hosts"]
            }
            (Self::Out, Encap::Ipip) => &["from-containers", "to-hosts", "to-host", "arp-of-hosts"],
            (Self::In, Encap::Ipip) => &["to-containers", "from-hosts", "from-host", "arp-of-hosts"],
            (Self::World, _) => &["to-world", "from-world", "arp-of-hosts"],
            (Self::Dns, _) => &["dns"],
            (Self::DnsByTcp, _) => &["dns-by-tcp"],
            (other, _) => other.kinds(),
        };
        if has(denied) {
            return Some(false);
        }
        let is_open = !has(self.kinds()) && !self.kinds().iter().any(|kind| word.doubted.contains(*kind));
        is_open.then_some(true)
    }
}

/// Two hosts with a fan, of which `a` has the rule sets, containers on both, and the world behind the underlay.
pub struct World {
    pub encap: Encap,
    pub a: Host,
    b: Host,
    ca: Container,
    /// Another one of `a`.
    cc: Container,
    cb: Container,
    /// One of `a` that has no address yet.
    client: Container,
    lan: Lan,
    /// What was loaded last.
    last: RefCell<String>,
}

impl World {
    pub fn new(encap: Encap) -> Self {
        let lan = Lan::new();
        lan.ip(&format!("addr add {WORLD}/32 dev lo"));
        let (a, b) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
        for host in [&a, &b] {
            host.ip(&format!("route add default via {0}\n route add 198.41.0.0/16 via {0} mtu 1300", lan.gateway()));
        }
        up(&a, encap);
        b.up(encap);
        let client = a.attach("fan-250-0-28", "a client", 1500 - encap.overhead());
        client.set_sysctl("ipv4/conf/all/rp_filter", "0");
        client.set_sysctl("ipv4/conf/eth0/rp_filter", "0");
        let world = Self {
            encap,
            ca: a.container("250.0.28.2"),
            cc: a.container("250.0.28.3"),
            cb: b.container("250.0.27.2"),
            a,
            b,
            client,
            lan,
            last: RefCell::default(),
        };
        for server in [&*world.ca, &*world.cc, &*world.cb, &*world.lan] {
            serve(server);
        }
        world
    }

    /// Takes away what the last set has left, loads this one, and brings the fan up beside it.
    #[track_caller]
    pub fn load(&self, set: &Set) {
        let last = self.last.replace(set.script.clone());
        let mut clean =
            vec!["nft flush ruleset; sysctl -q -w net.bridge.bridge-nf-call-iptables=0; ip route flush cache"];
        for (word, commands) in [
            (
                "legacy",
                "for table in raw filter; do iptables-legacy -w -t $table -F; done
                 for chain in INPUT FORWARD OUTPUT; do iptables-legacy -w -P $chain ACCEPT; done",
            ),
            ("ipset", "ipset destroy"),
            ("tc qdisc", "tc qdisc del dev eth0 clsact"),
        ] {
            clean.extend(last.contains(word).then_some(commands));
        }
        self.a.sh(&clean.join("\n")).ok();
        if set.is_bridged {
            self.a.set_sysctl("bridge/bridge-nf-call-iptables", "1");
        }
        let output = self.a.sh(&set.script);
        assert_eq!(output.code, Some(0), "{}: {}", set.name, output.stderr);
        up(&self.a, self.encap);
    }

    /// Sends each kind of packet, and tells which arrived. What must arrive is waited for.
    pub fn send(&self, expected: &dyn Fn(Probe) -> Option<bool>) -> Vec<(Probe, bool)> {
        self.forget();
        let patience = |probe: Probe| if expected(probe) == Some(true) { PATIENTLY } else { BRIEFLY };
        let connection = |from: &Namespace, probe: Probe, to: &str, port| {
            let to = SocketAddr::new(to.parse().expect("an address"), port);
            let patience = patience(probe);
            from.run(move || TcpStream::connect_timeout(&to, patience)).ok()
        };
        let out = connection(&self.ca, Probe::Out, "250.0.27.2", PORT);
        let world = connection(&self.ca, Probe::World, WORLD, PORT);
        let mut found = vec![
            (Probe::Out, out.is_some()),
            (Probe::In, connection(&self.cb, Probe::In, "250.0.28.2", PORT).is_some()),
            (Probe::Here, connection(&self.ca, Probe::Here, "250.0.28.3", PORT).is_some()),
            (Probe::World, world.is_some()),
            (Probe::Dns, self.asks_by_udp(patience(Probe::Dns))),
            (Probe::DnsByTcp, self.asks_by_tcp(patience(Probe::DnsByTcp))),
            (Probe::Dhcp, self.requests(patience(Probe::Dhcp))),
        ];
        // Errors are about connections that stand.
        if out.is_some()
            && let Some(arrives) = self.error_from_underlay(expected(Probe::ErrorFromUnderlay))
        {
            found.push((Probe::ErrorFromUnderlay, arrives));
        }
        if let Some(connection) = &world {
            found.push((Probe::ErrorFromGateway, self.error_from_gateway(expected(Probe::ErrorFromGateway))));
            let expected = expected(Probe::ErrorFromWorld);
            found.push((Probe::ErrorFromWorld, self.error_from_world(expected, connection)));
        }
        found
    }

    /// No connection of before, no neighbour and no path is known.
    fn forget(&self) {
        self.a.run(flush_connections);
        for namespace in [&*self.ca, &*self.cb, &*self.a, &*self.b] {
            namespace.ip("neigh flush all");
        }
    }

    fn asks_by_udp(&self, patience: Duration) -> bool {
        self.ca.run(move || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            socket.set_read_timeout(Some(patience)).expect("a time limit");
            let _ = socket.send_to(QUESTION, "250.0.28.1:53");
            socket.recv(&mut [0; 512]).is_ok()
        })
    }

    fn asks_by_tcp(&self, patience: Duration) -> bool {
        self.ca.run(move || {
            let to: SocketAddr = "250.0.28.1:53".parse().expect("an address");
            let Ok(mut stream) = TcpStream::connect_timeout(&to, patience) else { return false };
            stream.set_read_timeout(Some(patience)).expect("a time limit");
            let length = u16::try_from(QUESTION.len()).expect("short").to_be_bytes();
            let asked = stream.write_all(&[&length[..], QUESTION].concat());
            asked.is_ok() && stream.read(&mut [0; 512]).is_ok_and(|length| length > 0)
        })
    }

    /// Whether the server confirms an address to one who has had it before (RFC 2131, 4.3.2, INIT-REBOOT).
    fn requests(&self, patience: Duration) -> bool {
        let mac = crate::support::octets(&self.client.mac("eth0"));
        self.client.run(move || {
            let socket = UdpSocket::bind("0.0.0.0:68").expect("the client's port");
            socket.set_broadcast(true).expect("broadcasts");
            setsockopt(&socket, sockopt::BindToDevice, &"eth0".into()).expect("by eth0");
            socket.set_read_timeout(Some(patience)).expect("a time limit");
            let mut message = vec![1, 1, 6, 0, 0x46, 0x41, 0x4e, 0x21, 0, 0, 0x80, 0];
            message.extend([0; 16]);
            message.extend(mac);
            message.extend([0; 10 + 64 + 128]);
            message.extend([99, 130, 83, 99]);
            message.extend([53, 1, 3, 50, 4, 250, 0, 28, 77, 255]);
            socket.send_to(&message, "255.255.255.255:67").is_ok() && socket.recv(&mut [0; 1500]).is_ok()
        })
    }

    /// A router of the underlay says of a packet of the tunnel that it was too large. None where the host knows no such
    /// connection, and so the message is about nothing.
    fn error_from_underlay(&self, expected: Option<bool>) -> Option<bool> {
        let ends = ("172.30.0.28", "172.30.0.27");
        let quoted = match self.encap {
            Encap::Ipip => Crafted::new(1, 4, ends, &[0x45, 0, 0, 28, 0, 0, 0, 0]),
            Encap::Vxlan => {
                let known = self.a.run(|| std::fs::read_to_string("/proc/thread-self/net/nf_conntrack"));
                let known = known.unwrap_or_default();
                // Of a line's two directions the first is the one that the connection began with.
                let mut begun = known.lines().filter_map(|line| Some(line.split_once("src=")?.1));
                let port = begun.find_map(|line| line.strip_prefix("172.30.0.28 dst=172.30.0.27 sport="))?;
                let port = port.split(' ').next()?.parse::<u16>().ok()?;
                let header = [port.to_be_bytes(), 8472_u16.to_be_bytes(), 1400_u16.to_be_bytes(), [0, 0]].concat();
                Crafted::new(1, 17, ends, &header)
            }
        };
        let error = quoted.too_large(1500, ("172.30.255.254", "172.30.0.28"));
        Some(told(&self.a, expected, || error.send(&self.lan)))
    }

    /// The gateway knows that the way takes less than the container sends.
    fn error_from_gateway(&self, expected: Option<bool>) -> bool {
        self.ca.ip("route flush cache");
        told(&self.ca, expected, || {
            self.ca.run(|| {
                let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
                for length in [1, 1400] {
                    let _ = socket.send_to(&[0; 1400][..length], (WORLD, PORT));
                }
            });
        })
    }

    /// A router of the world says of a translated packet that it was too large.
    fn error_from_world(&self, expected: Option<bool>, about: &TcpStream) -> bool {
        let port = about.local_addr().expect("a port").port();
        let header = [&port.to_be_bytes()[..], &PORT.to_be_bytes(), &[0; 16]].concat();
        let quoted = Crafted::new(1, 6, ("172.30.0.28", WORLD), &header);
        let error = quoted.too_large(1400, (WORLD, "172.30.0.28"));
        told(&self.ca, expected, || error.send(&self.lan))
    }
}

/// The question for the address of `localhost`, which a server answers by itself.
const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x09localhost\x00\x00\x01\x00\x01";

fn up(host: &Host, encap: Encap) {
    host.fanctl(&format!("up 250.0.0.0/8 eth0/16 dhcp {}", encap.words())).ok();
}

/// Takes connections and ends them, and takes datagrams and says nothing.
fn serve(server: &Namespace) {
    let silent = server.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))).expect("to listen");
    let listener = server.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))).expect("to listen");
    thread::spawn(move || {
        let _silent = silent;
        for stream in listener.incoming() {
            drop(stream);
        }
    });
}

/// Whether ICMP that says "unreachable" comes to a namespace when something is sent. What must come is waited for.
fn told(to: &Namespace, expected: Option<bool>, send: impl FnOnce()) -> bool {
    const PAUSE: Duration = Duration::from_millis(5);
    let before = errors(to);
    send();
    let patience = if expected == Some(true) { PATIENTLY } else { BRIEFLY };
    for _ in 0..patience.as_millis() / PAUSE.as_millis() {
        if errors(to) > before {
            return true;
        }
        thread::sleep(PAUSE);
    }
    false
}

/// How many such messages a namespace has received (`InDestUnreachs`, counted behind the hook `input`).
fn errors(of: &Namespace) -> u64 {
    let snmp = of.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp")).expect("counters");
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Icmp: "));
    let (names, numbers) = (lines.next().expect("names"), lines.next().expect("numbers"));
    let at = names.split(' ').position(|name| name == "InDestUnreachs").expect("its name");
    numbers.split(' ').nth(at).and_then(|number| number.parse().ok()).expect("a number")
}
