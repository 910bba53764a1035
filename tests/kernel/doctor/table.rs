//! The breakages, each with the packets that it stops and the one check that must fail.

use crate::fixture::Pair;
use crate::support::{Encap, INTERNET, Namespace};

/// What no longer arrives.
#[derive(Debug, Clone, Copy)]
pub enum Lost {
    /// A ping from container to container.
    Containers,
    /// The same from a container with an empty neighbour table.
    Strangers,
    /// A ping from a container to the internet.
    World,
    /// A ping from the host to a container of the other host.
    Host,
    /// A packet of this many bytes from container to container.
    Large(u64),
    /// Nothing, yet: it is a risk.
    Nothing,
}

impl Lost {
    /// It is lost now.
    #[track_caller]
    pub fn assert_lost(self, pair: &Pair) {
        if let Some((from, line)) = self.probe(pair) {
            let output = from.exec(&line);
            assert_ne!(output.code, Some(0), "nothing is broken\n{output}");
        }
    }

    /// It arrives, now that something was put right.
    #[track_caller]
    pub fn assert_flows(self, pair: &Pair) {
        if let Some((from, line)) = self.probe(pair) {
            for asking in [&*pair.ca, &*pair.a] {
                asking.asks_anew();
            }
            from.exec(&line.replace("-W 0.5", "-W 60")).ok();
        }
    }

    fn probe(self, pair: &Pair) -> Option<(&Namespace, String)> {
        let ping = |options: &str, to: &str| format!("ping -n -c 1 -W 0.5 {options} {to}");
        Some(match self {
            Self::Containers => (&pair.ca, ping("", "250.0.27.2")),
            Self::Strangers => {
                pair.ca.ip("neigh flush all");
                (&pair.ca, ping("", "250.0.27.2"))
            }
            Self::World => (&pair.ca, ping("", INTERNET)),
            Self::Host => (&pair.a, ping("", "250.0.27.2")),
            // The headers of IP and ICMP are 28 bytes.
            Self::Large(size) => (&pair.ca, ping(&format!("-M do -s {}", size - 28), "250.0.27.2")),
            Self::Nothing => return None,
        })
    }
}

/// A breakage.
pub struct Row {
    pub encaps: &'static [Encap],
    /// A script. TUNNEL and ROUTE are the devices of the fan and of its overlay's route, LEN the length of its address,
    /// WRAPPED the encapsulated packets in the options of iptables.
    pub damage: &'static str,
    pub lost: Lost,
    /// What arrives when it is mended: the same, if nothing else is said.
    pub flows: Lost,
    pub check: &'static str,
    pub verdict: &'static str,
    /// A script that removes what is left when it is mended.
    pub after: &'static str,
}

const BOTH: &[Encap] = &[Encap::Ipip, Encap::Vxlan];
const IPIP: &[Encap] = &[Encap::Ipip];
const VXLAN: &[Encap] = &[Encap::Vxlan];

fn row(check: &'static str, lost: Lost, damage: &'static str) -> Row {
    Row { encaps: BOTH, damage, lost, flows: lost, check, verdict: "failed", after: "" }
}

impl Row {
    fn of(self, encaps: &'static [Encap]) -> Self {
        Self { encaps, ..self }
    }

    fn warned(self) -> Self {
        Self { verdict: "warned", ..self }
    }

    fn flowing(self, flows: Lost) -> Self {
        Self { flows, ..self }
    }

    fn then(self, after: &'static str) -> Self {
        Self { after, ..self }
    }
}

/// A script of a row in the words of an encapsulation.
pub fn spell(script: &str, encap: Encap) -> String {
    let (route, wrapped) = match encap {
        Encap::Ipip => ("fan-ipip", "-p 4"),
        Encap::Vxlan => ("fan-250-0-28", "-p udp --dport 8472"),
    };
    script
        .replace("TUNNEL", encap.tunnel())
        .replace("ROUTE", route)
        .replace("LEN", &encap.bridge_len().to_string())
        .replace("WRAPPED", wrapped)
}

pub fn devices() -> Vec<Row> {
    use Lost::{Containers, Nothing, World};
    vec![
        row("filters", Containers, "tc filter del dev TUNNEL egress"),
        row("filters", Nothing, "tc filter del dev TUNNEL ingress"),
        row("filters", Containers, "tc qdisc del dev TUNNEL clsact"),
        row("tunnel", Containers, "ip link set TUNNEL down"),
        row("tunnel", Containers, "ip link del TUNNEL"),
        row("tunnel", Containers, "ip link set TUNNEL nomaster").of(VXLAN),
        row("tunnel", Containers, "bridge vni delete vni 16384000 dev TUNNEL").of(VXLAN),
        row("bridge", Containers, "ip link set fan-250-0-28 down"),
        row("bridge", World, "ip addr del 250.0.28.1/LEN dev fan-250-0-28"),
    ]
}

/// `con0` is the port of the container.
pub fn ports() -> Vec<Row> {
    use Lost::{Containers, Nothing};
    vec![
        row("containers", Containers, "ip link set con0 down"),
        row("containers", Containers, "bridge link set dev con0 state disabled"),
        row("containers", Nothing, "bridge link set dev con0 bcast_flood off"),
        row("containers", Nothing, "bridge link set dev con0 learning off flood off").flowing(Containers),
    ]
}

pub fn settings() -> Vec<Row> {
    use Lost::{Containers, Host, Nothing, World};
    vec![
        row("routes", Host, "ip route del 250.0.0.0/8 dev ROUTE"),
        row("routes", World, "ip route del 250.0.28.0/24 dev fan-250-0-28").of(IPIP),
        row("routes", Nothing, "ip route del unreachable 250.0.0.0/8 metric 4278198272"),
        row("table", World, "nft delete table ip fan-250.0.0.0/8"),
        row("table", World, "nft flush table ip fan-250.0.0.0/8"),
        row(
            "table",
            World,
            "nft insert rule ip fan-250.0.0.0/8 guard iifname fan-250-0-28 ip daddr != 250.0.0.0/8 drop",
        ),
        row("forwarding", World, "sysctl -q -w net.ipv4.conf.fan-250-0-28.forwarding=0"),
        row("forwarding", Containers, "sysctl -q -w net.ipv4.conf.fan-ipip.forwarding=0").of(IPIP),
        row("forwarding", World, "sysctl -q -w net.ipv4.ip_forward=0"),
        row("forwarding", World, "sysctl -q -w net.ipv4.conf.eth0.forwarding=0"),
        row("redirects", Nothing, "sysctl -q -w net.ipv4.conf.fan-250-0-28.send_redirects=1").warned(),
        row("mtu", Nothing, "ip link set fan-250-0-28 mtu 1300"),
        row("mtu", Lost::Large(1400), "ip link set TUNNEL mtu 1300").of(VXLAN),
        row("mtu", Nothing, "ip link set TUNNEL mtu 1300").of(IPIP),
    ]
}

pub fn routes() -> Vec<Row> {
    use Lost::{Containers, Host};
    vec![
        row("routing", Host, "ip route add 250.0.27.2/32 dev eth0"),
        row("routing", Host, "ip route add blackhole 250.0.27.0/24"),
        row(
            "routing",
            Host,
            "ip route add default dev eth0 table 77; ip rule add to 250.0.0.0/8 lookup 77 priority 500",
        )
        .then("ip rule del priority 499; ip rule del priority 500"),
        row("routing", Host, "ip rule add to 250.0.0.0/8 prohibit priority 500")
            .then("ip rule del priority 499; ip rule del priority 500"),
        row(
            "routing",
            Containers,
            "ip route replace default dev eth0 table 77; ip rule add from 250.0.28.0/24 lookup 77 priority 500",
        )
        .of(IPIP)
        .then("ip rule del priority 499; ip rule del priority 500"),
        // The way to other hosts.
        row("routing", Containers, "ip route add blackhole 172.30.0.0/24"),
        row("routing", Containers, "ip route add prohibit 172.30.0.27"),
        row("routing", Containers, "ip rule add to 172.30.0.0/16 blackhole priority 500")
            .then("ip rule del priority 499; ip rule del priority 500"),
    ]
}

pub fn firewalls() -> Vec<Row> {
    use Lost::{Containers, Nothing, World};
    vec![
        // Docker, before it starts: its chain is there, or was emptied, and nothing is dropped.
        row(
            "firewall",
            Nothing,
            "iptables -w -N DOCKER-USER || iptables -w -F DOCKER-USER",
        )
        .warned()
        .then("nft flush ruleset"),
        // Docker, as it starts.
        row("firewall", World, "iptables -w -P FORWARD DROP").then("iptables -w -P FORWARD ACCEPT"),
        row(
            "firewall",
            World,
            "iptables -w -N DOCKER-USER || iptables -w -F DOCKER-USER; iptables -w -A DOCKER-USER -j RETURN; iptables -w -P FORWARD DROP; iptables -w -I \
             FORWARD -j DOCKER-USER",
        )
        .then("nft flush ruleset"),
        row(
            "firewall",
            World,
            "nft add table inet strict; nft 'add chain inet strict forward { type filter hook forward priority 0; policy \
             drop; }'; nft add rule inet strict forward tcp dport 22 accept",
        )
        .then("nft delete table inet strict"),
        // firewalld, in its own words.
        row(
            "firewall",
            World,
            "nft add table inet firewalld; nft 'add chain inet firewalld filter_FORWARD { type filter hook forward priority \
             10; policy accept; }'; nft 'add rule inet firewalld filter_FORWARD ct state vmap { established : accept, \
             related : accept, invalid : drop }'; nft 'add rule inet firewalld filter_FORWARD iifname lo accept'; nft 'add \
             rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited'",
        )
        .then("nft delete table inet firewalld"),
        row("firewall", Containers, "iptables -w -A INPUT WRAPPED -j DROP")
            .then("nft delete table ip filter"),
        row("firewall", Containers, "iptables -w -A OUTPUT WRAPPED -j REJECT")
            .then("nft delete table ip filter"),
        row("firewall", Containers, "iptables -w -t raw -A PREROUTING WRAPPED -j DROP")
            .then("nft delete table ip raw"),
        // ufw: what is not asked for is dropped by the policy, behind chains of its own.
        row(
            "firewall",
            Containers,
            "iptables -w -N ufw-before-input; iptables -w -A ufw-before-input -i lo -j ACCEPT; iptables -w -A \
             ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -m mark ! --mark 1 -j RETURN; iptables -w -A \
             ufw-before-input -m conntrack --ctstate INVALID -j DROP; iptables -w -A ufw-before-input -p tcp --dport 22 -j \
             ACCEPT; iptables -w -A INPUT -j ufw-before-input; iptables -w -P INPUT DROP",
        )
        .then("nft delete table ip filter"),
        row(
            "firewall",
            Containers,
            "nft add table netdev early; nft 'add chain netdev early in { type filter hook ingress device eth0 priority 0; \
             }'; nft 'add rule netdev early in ip protocol { 4, 17 } drop'",
        )
        .then("nft delete table netdev early"),
        // KUBE-FORWARD, after it has dropped a packet with an invalid connection state.
        row(
            "firewall",
            Nothing,
            "nft add table ip kube; nft add chain ip kube KUBE-FORWARD; nft 'add chain ip kube forward { type filter hook \
             forward priority 0; }'; nft 'add rule ip kube forward jump KUBE-FORWARD'; nft 'add rule ip kube KUBE-FORWARD ct \
             state invalid counter packets 3 bytes 180 drop'",
        )
        .warned()
        .then("nft delete table ip kube"),
        // By a rule that the doctor does not understand: perhaps.
        row(
            "firewall",
            Nothing,
            "nft add table ip odd; nft 'add chain ip odd forward { type filter hook forward priority 0; }'; nft 'add rule ip \
             odd forward meta length > 60000 drop'",
        )
        .warned()
        .then("nft delete table ip odd"),
        // A packet that is not ICMP matches no type of ICMP, not even with `!=`.
        row(
            "firewall",
            Containers,
            "nft add table ip odd; nft 'add chain ip odd input { type filter hook input priority 0; policy drop; }'; nft 'add \
             rule ip odd input icmp type != redirect accept'",
        )
        .then("nft delete table ip odd"),
    ]
}

/// Firewalls with unusual expressions.
pub fn odd_firewalls() -> Vec<Row> {
    use Lost::{Containers, Nothing};
    let gone = "nft delete table ip odd";
    vec![
        row(
            "firewall",
            Containers,
            "nft add table ip odd; nft 'add map ip odd m { type inet_proto : verdict; elements = { 4 : drop, 17 : drop } \
             }'; nft 'add chain ip odd input { type filter hook input priority 0; }'; nft 'add rule ip odd input ip protocol vmap \
             @m'",
        )
        .then(gone),
        row(
            "firewall",
            Containers,
            "nft add table ip odd; nft add chain ip odd end; nft add rule ip odd end drop; nft 'add chain ip odd input { type \
             filter hook input priority 0; }'; nft 'add rule ip odd input iifname . ip protocol vmap { \"eth0\" . 4 : jump end, \
             \"eth0\" . 17 : jump end }'",
        )
        .then(gone),
        row(
            "firewall",
            Containers,
            "nft add table ip odd; nft 'add chain ip odd early { type filter hook prerouting priority 0; }'; nft 'add chain ip \
             odd input { type filter hook input priority 0; }'; nft 'add rule ip odd early ip protocol { 4, 17 } meta mark set \
             0x8000'; nft 'add rule ip odd input meta mark 0x8000 drop'",
        )
        .then(gone),
        row(
            "firewall",
            Containers,
            "iptables -w -t mangle -A PREROUTING WRAPPED -j MARK --set-mark 0x8000; iptables -w -A INPUT -m mark --mark \
             0x8000/0x8000 -j DROP",
        )
        .then("nft delete table ip filter; nft delete table ip mangle"),
        row(
            "firewall",
            Containers,
            "nft add table ip odd; nft 'add chain ip odd input { type filter hook input priority 0; }'; nft 'add rule ip odd \
             input ip saddr 172.30.0.27 drop'",
        )
        .warned()
        .then(gone),
        // By an expression that the doctor does not understand.
        row(
            "firewall",
            Nothing,
            "nft add table ip odd; nft 'add chain ip odd input { type filter hook input priority 0; }'; nft 'add rule ip odd \
             input meta length vmap { 60000-65535 : drop }'",
        )
        .warned()
        .then(gone),
    ]
}

/// Of kinds that are easily passed over: hooks, connections, other families.
pub fn passed_over() -> Vec<Row> {
    use Lost::{Containers, World};
    let gone = "nft delete table ip odd";
    vec![
        // Packets without connection tracking are dropped as untracked.
        row(
            "firewall",
            Containers,
            "nft add table ip odd; nft 'add chain ip odd early { type filter hook prerouting priority raw; }'; nft 'add rule ip \
             odd early ip protocol { 4, 17 } notrack'; nft 'add chain ip odd input { type filter hook input priority 0; }'; \
             nft add rule ip odd input ct state untracked drop",
        )
        .then(gone),
        // Before connection tracking, no packet has a connection.
        row(
            "firewall",
            Containers,
            "nft add table ip odd; nft 'add chain ip odd early { type filter hook prerouting priority raw; }'; nft add rule ip odd \
             early iifname eth0 ip protocol '{ 4, 17 }' ct state invalid drop",
        )
        .then(gone),
        row(
            "firewall",
            Containers,
            "nft add table netdev odd; nft 'add chain netdev odd out { type filter hook egress device eth0 priority 0; }'; nft \
             'add rule netdev odd out ip protocol { 4, 17 } drop'",
        )
        .then("nft delete table netdev odd"),
        row(
            "firewall",
            Containers,
            "nft add table arp odd; nft 'add chain arp odd in { type filter hook input priority 0; }'; nft add rule arp odd in \
             drop; ip neigh flush dev eth0",
        )
        .then("nft delete table arp odd"),
        // All of one other slice.
        row(
            "firewall",
            Containers,
            "nft add table bridge odd; nft 'add chain bridge odd forward { type filter hook forward priority 0; }'; nft add rule \
             bridge odd forward ip daddr 250.0.27.0/24 drop",
        )
        .of(VXLAN)
        .warned()
        .then("nft delete table bridge odd"),
        row(
            "firewall",
            Containers,
            "nft add table ip odd; nft 'add chain ip odd forward { type filter hook forward priority 0; }'; nft add rule ip odd \
             forward ip saddr 250.0.27.0/24 drop",
        )
        .of(IPIP)
        .warned()
        .then(gone),
        // Frames that this host sends on the fan's bridge: what it answers for the world.
        row(
            "firewall",
            World,
            "nft add table bridge odd; nft 'add chain bridge odd out { type filter hook output priority 0; }'; nft add rule \
             bridge odd out ip saddr != 250.0.0.0/8 drop",
        )
        .then("nft delete table bridge odd"),
        row(
            "firewall",
            World,
            "nft add table bridge odd; nft 'add chain bridge odd in { type filter hook input priority 0; }'; nft add rule \
             bridge odd in ip daddr != 250.0.0.0/8 drop",
        )
        .then("nft delete table bridge odd"),
    ]
}

/// Of packets to and from the world, and of other things that the walk has to know.
pub fn of_the_world() -> Vec<Row> {
    use Lost::{Containers, Nothing, Strangers, World};
    let gone = "nft delete table ip odd";
    vec![
        // What is not tracked is not translated, and in another zone its answer is of no connection.
        row(
            "firewall",
            World,
            "nft add table ip odd; nft 'add chain ip odd early { type filter hook prerouting priority raw; }'; nft add rule ip odd \
             early iifname fan-250-0-28 notrack",
        )
        .warned()
        .then(gone),
        row(
            "firewall",
            World,
            "nft add table ip odd; nft 'add chain ip odd early { type filter hook prerouting priority raw; }'; nft add rule ip odd \
             early iifname fan-250-0-28 ct zone set 5",
        )
        .warned()
        .then(gone),
        // A mark that sends packets to another table.
        row(
            "firewall",
            World,
            "iptables -t mangle -A PREROUTING -i fan-250-0-28 -j MARK --set-mark 9; ip route add unreachable default table 99; ip \
             rule add fwmark 9 lookup 99 priority 40",
        )
        .warned()
        .then("iptables -t mangle -F PREROUTING; ip rule del priority 40; ip route flush table 99"),
        // Another outer source is refused by the other host.
        row(
            "firewall",
            Nothing,
            "nft add table ip odd; nft 'add chain ip odd out { type nat hook postrouting priority 100; }'; nft add rule ip odd \
             out oifname eth0 ip protocol '{ 4, 17 }' snat to 172.30.0.99",
        )
        .warned()
        .then(gone),
        // A host that is known only from this rule.
        row(
            "firewall",
            Nothing,
            "nft add table ip odd; nft 'add chain ip odd output { type filter hook output priority 0; }'; nft add rule ip odd \
             output ip daddr 172.30.0.99 drop",
        )
        .warned()
        .then(gone),
        // Packets that would be redirected to a port without a listener.
        row(
            "firewall",
            Nothing,
            "nft add table ip odd; nft 'add chain ip odd before { type nat hook prerouting priority dstnat; }'; nft add rule ip \
             odd before udp dport 8472 redirect to :9",
        )
        .of(VXLAN)
        .warned()
        .then(gone),
        // A packet that is not TCP matches no port of TCP, not even with `!=`.
        row(
            "firewall",
            Containers,
            "nft add table ip odd; nft 'add chain ip odd input { type filter hook input priority 0; policy drop; }'; nft 'add \
             rule ip odd input tcp dport != 22 accept'; nft 'add rule ip odd input tcp flags & (fin | syn) == 0 accept'; nft \
             'add rule ip odd input igmp type != membership-query accept'",
        )
        .then(gone),
        row(
            "firewall",
            Strangers,
            "ebtables -A FORWARD -p ARP -j DROP",
        )
        .of(VXLAN)
        .then("nft delete table bridge filter"),
        row(
            "firewall",
            Strangers,
            "nft add table bridge odd; nft 'add chain bridge odd f { type filter hook forward priority 0; policy drop; }'; nft \
             'add rule bridge odd f ether type ip accept'",
        )
        .of(VXLAN)
        .then("nft delete table bridge odd"),
    ]
}

pub fn legacy() -> Vec<Row> {
    use Lost::{Containers, World};
    vec![
        row("firewall", World, "iptables-legacy -w -P FORWARD DROP"),
        row("firewall", Containers, "iptables-legacy -w -A INPUT WRAPPED -j DROP"),
    ]
}

pub fn underlay() -> Vec<Row> {
    use Lost::{Containers, Large};
    let gateway = "ip route replace default via 172.30.255.254";
    vec![
        row("underlay", Containers, "ip addr del 172.30.0.28/16 dev eth0").then(gateway),
        row("underlay", Containers, "ip link set eth0 down").then(gateway),
        row("mtu", Large(1400), "ip link set eth0 mtu 1400").flowing(Large(1350)),
    ]
}

pub fn tunnels() -> Vec<Row> {
    vec![row(
        "tunnels",
        Lost::Containers,
        "ip link add thief type ipip local 172.30.0.28 remote 172.30.0.27; ip link set thief up",
    )]
}
