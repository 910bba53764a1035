//! Topologies that several tests use.

use std::sync::{Mutex, PoisonError};

use crate::support::{Container, Encap, Host, Lan, Namespace};

/// Two hosts of the announcement with a container each, made for one test.
pub struct Pair {
    pub a: Host,
    pub b: Host,
    /// 250.0.28.2, on `a`.
    pub ca: Container,
    /// 250.0.27.2, on `b`.
    pub cb: Container,
    pub lan: Lan,
}

impl Pair {
    /// On an underlay of 1500 bytes.
    #[track_caller]
    pub fn new(encap: Encap) -> Self {
        Self::on(Lan::new(), encap)
    }

    /// On this underlay.
    #[track_caller]
    pub fn on(lan: Lan, encap: Encap) -> Self {
        let (a, b) = (lan.host("172.30.0.28"), lan.host("172.30.0.27"));
        for host in [&a, &b] {
            host.ip(&format!("route add default via {}", lan.gateway()));
            host.up(encap);
        }
        let (ca, cb) = (a.container("250.0.28.2"), b.container("250.0.27.2"));
        Self { a, b, ca, cb, lan }
    }
}

/// Two hosts with two routers between them, and 1400 bytes between the routers.
pub struct NarrowPath {
    /// The hosts, 172.30.0.28 and 172.30.0.227.
    pub pair: Pair,
    /// 172.30.0.1 in front of the one, and 10.1.1.2 and 172.30.0.129 in front of the other.
    pub routers: [Namespace; 2],
    _lans: [Lan; 2],
}

impl NarrowPath {
    #[track_caller]
    pub fn new(encap: Encap) -> Self {
        let left = Lan::of("172.30.0.0/25", 1500);
        let middle = Lan::of("10.1.1.0/24", 1400);
        let right = Lan::of("172.30.0.128/25", 1500);
        let routers = [Namespace::new("left router"), Namespace::new("right router")];
        for (router, lan, address, own, other, via) in [
            (&routers[0], &left, "172.30.0.1/25", "10.1.1.1/24", "172.30.0.128/25", "10.1.1.2"),
            (&routers[1], &right, "172.30.0.129/25", "10.1.1.2/24", "172.30.0.0/25", "10.1.1.1"),
        ] {
            lan.plug(router, "eth0", address);
            middle.plug(router, "eth1", own);
            router.set_sysctl("ipv4/ip_forward", "1");
            router.ip(&format!("route add {other} via {via}"));
        }
        let (a, b) = (left.host("172.30.0.28"), right.host("172.30.0.227"));
        a.ip("route add default via 172.30.0.1");
        b.ip("route add default via 172.30.0.129");
        for host in [&a, &b] {
            host.up(encap);
        }
        let (ca, cb) = (a.container("250.0.28.2"), b.container("250.0.227.2"));
        Self { pair: Pair { a, b, ca, cb, lan: left }, routers, _lans: [middle, right] }
    }
}

/// A pair, a host in another /24 of the underlay, and one without a fan. It stays as it is: a test that uses it only
/// sends and captures, and changes nothing. Its hosts have no reverse path filter, so that the packets that a test sees
/// dropped were dropped by the fan.
pub struct World {
    pub a: Host,
    pub ca: Container,
    pub cb: Container,
    pub b: Host,
    /// 172.30.1.5.
    pub far: Host,
    /// 250.1.5.2, on `far`.
    pub cfar: Container,
    /// 172.30.0.26, which runs no fan.
    pub mallory: Host,
    _lan: Lan,
}

impl World {
    fn new(encap: Encap) -> Self {
        let lan = Lan::new();
        let hosts = ["172.30.0.28", "172.30.0.27", "172.30.1.5"].map(|address| {
            let host = lan.host(address);
            host.set_sysctl("ipv4/conf/default/rp_filter", "0");
            host.set_sysctl("ipv4/conf/eth0/rp_filter", "0");
            host.ip(&format!("route add default via {}", lan.gateway()));
            host.up(encap);
            host
        });
        let [a, b, far] = hosts;
        let (ca, cb, cfar) = (a.container("250.0.28.2"), b.container("250.0.27.2"), far.container("250.1.5.2"));
        let mallory = lan.host("172.30.0.26");
        Self { a, ca, cb, b, far, cfar, mallory, _lan: lan }
    }

    /// Packets that the rules of the fan on host `a` have counted whose comment begins like this, routed or bridged.
    pub fn guarded(&self, rule: &str) -> u64 {
        self.a.counted_packets(&["ip", "bridge"], rule)
    }
}

/// Lends the world of an encapsulation to one test at a time.
#[track_caller]
pub fn with_world(encap: Encap, test: impl FnOnce(&World)) {
    static WORLDS: [Mutex<Option<World>>; 2] = [Mutex::new(None), Mutex::new(None)];
    let mut world = WORLDS[encap as usize].lock().unwrap_or_else(PoisonError::into_inner);
    test(world.get_or_insert_with(|| World::new(encap)));
}
