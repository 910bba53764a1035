//! The account of a lab: a picture of who is where, and what was measured. Pure.

use std::net::Ipv4Addr;

use serde::Serialize;

use super::measure::{Connection, Ping};
use super::topology::{FanHost, Node};
use super::wire::Overheard;
use crate::fan::encap::Encapsulation;
use crate::fan::mapping::{Overlay, Underlay};

/// The width of a host in the picture: odd, so that it has a middle.
const COLUMN: usize = 41;

/// What stands, before anything is measured.
#[derive(Debug, Serialize)]
pub(crate) struct LabSetting {
    /// The kernel's release.
    pub(crate) kernel: String,
    #[serde(rename = "encap")]
    pub encapsulation: Encapsulation,
    /// What there is to say about the choice of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
    pub(crate) overlay: Overlay,
    pub(crate) underlay: Underlay,
    /// The command that ran on each host.
    pub(crate) command: String,
    pub(crate) hosts: Vec<FanHost>,
}

/// What was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    /// Between containers on different hosts.
    pub(crate) ping: Vec<Ping>,
    /// Between the first two hosts themselves, for scale.
    pub(crate) underlay_ping: Vec<Ping>,
    /// Between containers on different hosts.
    pub(crate) tcp: Vec<Connection>,
    /// What was seen between the hosts of pings and connections, where the fan encrypts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) overheard: Option<Overheard>,
    /// Between the first containers of the first two hosts, and between those hosts.
    pub(crate) throughput: Vec<Throughput>,
}

/// One stream between containers, and one between their hosts, measured in turns.
#[derive(Debug, Serialize)]
pub(crate) struct Throughput {
    pub(crate) from: Ipv4Addr,
    pub(crate) to: Ipv4Addr,
    pub(crate) bits_per_second: f64,
    /// The same between the two hosts, without a fan.
    pub(crate) underlay_bits_per_second: f64,
    /// The first as a part of the second.
    pub(crate) ratio: f64,
}

/// The headline, the picture and what ran.
pub(crate) fn opening(setting: &LabSetting) -> Vec<String> {
    let LabSetting { kernel, encapsulation, hosts, underlay, .. } = setting;
    let many = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let containers = many(hosts.first().map_or(0, |host| host.host.containers.len()), "container");
    let count = many(hosts.len(), "host");
    let mut lines =
        vec![format!("the fan on one machine: {count}, {containers} each, over {encapsulation} (kernel {kernel})")];
    lines.extend(setting.note.clone());
    lines.push(String::new());
    lines.extend(match &hosts[..] {
        [one, two] => picture(one, two, *underlay),
        more => list(more, *underlay),
    });
    let mtu = hosts.first().map_or(0, |host| host.mtu);
    lines.extend([
        String::new(),
        format!("on each host: {}", setting.command),
        format!("in each container: mtu {mtu}, default route via the host's bridge"),
        String::new(),
    ]);
    lines
}

/// Two hosts side by side.
fn picture(one: &FanHost, two: &FanHost, underlay: Underlay) -> Vec<String> {
    let row = |draw: fn(&FanHost) -> String| {
        let row = format!("{:^COLUMN$}{:^COLUMN$}", draw(one), draw(two));
        row.trim_end().to_owned()
    };
    let wire = format!(" underlay {underlay} ");
    vec![
        row(|host| ends(&host.host.containers, "   ", "   ...   ")),
        row(|host| legs(&host.host.containers).into()),
        row(|FanHost { host, prefix, .. }| format!("{}   {}/{prefix}", host.bridge, host.gateway)),
        row(|_| "|".into()),
        row(|host| format!("eth0   {}", host.host.place.address)),
        row(|_| "|".into()),
        format!("{:indent$}+{wire:-^width$}+", "", indent = COLUMN / 2, width = COLUMN - 1),
    ]
}

/// As many hosts as there are, one a line.
fn list(hosts: &[FanHost], underlay: Underlay) -> Vec<String> {
    let row = |host: &str, bridge: &str, gateway: &str, containers: &str| {
        format!("  {host:<14}{bridge:<18}{gateway:<18}{containers}")
    };
    let mut lines = vec![row("host", "bridge", "", "containers")];
    lines.extend(hosts.iter().map(|FanHost { host, prefix, .. }| {
        let gateway = format!("{}/{prefix}", host.gateway);
        let containers = ends(&host.containers, "  ", " to ");
        row(&host.place.address.to_string(), host.bridge.as_str(), &gateway, &containers)
    }));
    lines.extend([String::new(), format!("  underlay {underlay} between the hosts")]);
    lines
}

/// The first and the last of the containers, with one word between two and another between more.
fn ends(containers: &[Node], between_two: &str, between_more: &str) -> String {
    match containers {
        [] => String::new(),
        [only] => only.address.to_string(),
        [first, last] => format!("{}{between_two}{}", first.address, last.address),
        [first, .., last] => format!("{}{between_more}{}", first.address, last.address),
    }
}

/// What joins the containers to their bridge.
fn legs(containers: &[Node]) -> &'static str {
    match containers {
        [_] => "|",
        [_, _] => r"\       /",
        _ => r"\      |      /",
    }
}

/// A line for each of the first two, and one for the rest.
pub(crate) fn pings(pings: &[Ping]) -> Vec<String> {
    let (shown, rest) = pings.split_at(pings.len().min(2));
    let line = |ping: &Ping| {
        let Ping { from, to, ttl, first_ms, mean_ms } = ping;
        row("ping", *from, *to) + &format!("{mean_ms:.3} ms, first packet {first_ms:.3} ms, ttl {ttl}")
    };
    let mut lines: Vec<String> = shown.iter().map(line).collect();
    if !rest.is_empty() {
        let slowest = rest.iter().map(|ping| ping.first_ms).fold(0.0, f64::max);
        lines.push(format!("ping    {}every first packet answered, the slowest in {slowest:.3} ms", more(rest.len())));
    }
    lines
}

/// A line for each of the first two, and one for the rest.
pub(crate) fn connections(connections: &[Connection]) -> Vec<String> {
    let (shown, rest) = connections.split_at(connections.len().min(2));
    let line = |connection: &Connection| {
        let Connection { from, to, seen_as, ms } = connection;
        row("tcp", *from, *to) + &format!("a greeting each way in {ms:.3} ms, seen as {}", seen_as.ip())
    };
    let mut lines: Vec<String> = shown.iter().map(line).collect();
    if !rest.is_empty() {
        lines.push(format!("tcp     {}a greeting each way", more(rest.len())));
    }
    lines
}

/// What a listener between the hosts has of all that.
pub(crate) fn overheard(seen: Overheard) -> Vec<String> {
    let Overheard { packets, bytes, port, .. } = seen;
    vec![format!(
        "wire    {packets} packets, {bytes} bytes, all of UDP port {port}: no ping, greeting or address of a container in them"
    )]
}

/// A line for each direction.
pub(crate) fn throughputs(throughputs: &[Throughput]) -> Vec<String> {
    let line = |throughput: &Throughput| {
        let Throughput { from, to, bits_per_second, underlay_bits_per_second, ratio } = throughput;
        let (fan, underlay) = (rate(*bits_per_second), rate(*underlay_bits_per_second));
        row("stream", *from, *to) + &format!("{fan}, {:.0} % of the {underlay} between the hosts", ratio * 100.0)
    };
    throughputs.iter().map(line).collect()
}

/// The hosts by themselves, and what the numbers do not say.
pub(crate) fn scale(underlay_pings: &[Ping]) -> Vec<String> {
    let mut lines = vec![String::new(), "the hosts themselves, without the fan, for scale:".into()];
    lines.extend(pings(underlay_pings));
    lines.extend([String::new(), "hosts and wire are this one machine: trust the ratios more than the numbers".into()]);
    lines
}

/// How to enter a lab that is kept, and how to remove it.
pub(crate) fn kept(hosts: &[FanHost]) -> Vec<String> {
    let mut lines = vec![String::new(), "the lab is left standing; go in:".into()];
    if let [FanHost { host: here, .. }, FanHost { host: there, .. }, ..] = hosts
        && let ([container, ..], [target, ..]) = (&here.containers[..], &there.containers[..])
    {
        let host = &here.place.namespace;
        lines.extend([
            format!("  sudo ip netns exec {} ping {}", container.namespace, target.address),
            format!("  sudo ip netns exec {host} fanctl show"),
            format!("  sudo ip netns exec {host} tcpdump -ni eth0"),
        ]);
    }
    lines.extend(["take it down:".into(), "  sudo fanctl lab down".into()]);
    lines
}

fn row(what: &str, from: Ipv4Addr, to: Ipv4Addr) -> String {
    format!("{what:<8}{from:<12} -> {to:<12}  ")
}

fn more(count: usize) -> String {
    format!("{:<30}", format!("{count} more pairs"))
}

fn rate(bits_per_second: f64) -> String {
    let (divisor, unit) = if bits_per_second < 1e9 { (1e6, "Mbit/s") } else { (1e9, "Gbit/s") };
    format!("{:.1} {unit}", bits_per_second / divisor)
}

#[cfg(test)]
mod tests {
    use super::super::topology::Topology;
    use super::*;

    fn setting(hosts: u8, containers: u8) -> LabSetting {
        let topology = Topology::new(hosts, containers);
        LabSetting {
            kernel: "6.12.0".into(),
            encapsulation: Encapsulation::Ipip,
            note: None,
            overlay: topology.mapping.overlay(),
            underlay: topology.mapping.underlay(),
            command: topology.up(Encapsulation::Ipip),
            hosts: topology.hosts.into_iter().map(|host| FanHost { host, prefix: 24, mtu: 1480 }).collect(),
        }
    }

    #[test]
    fn two_hosts_are_drawn() {
        let picture = "\
the fan on one machine: 2 hosts, 2 containers each, over ipip (kernel 6.12.0)

         250.0.28.2   250.0.28.3                  250.0.27.2   250.0.27.3
                \\       /                                \\       /
      fan-250-0-28   250.0.28.1/24             fan-250-0-27   250.0.27.1/24
                    |                                        |
           eth0   172.30.0.28                       eth0   172.30.0.27
                    |                                        |
                    +-------- underlay 172.30.0.0/16 --------+

on each host: fanctl up 250.0.0.0/8 eth0/16
in each container: mtu 1480, default route via the host's bridge
";
        assert_eq!(opening(&setting(2, 2)).join("\n"), picture);
    }

    #[test]
    fn one_container_hangs_straight_and_many_are_abridged() {
        let one = opening(&setting(2, 1)).join("\n");
        assert!(
            one.contains("2 hosts, 1 container each") && one.contains("  250.0.28.2  ") && !one.contains('\\'),
            "{one}"
        );
        let many = opening(&setting(2, 100)).join("\n");
        assert!(many.contains("250.0.28.2   ...   250.0.28.101"), "{many}");
    }

    #[test]
    fn more_hosts_are_a_list() {
        let list = opening(&setting(16, 3)).join("\n");
        assert!(
            list.contains("  172.30.0.13   fan-250-0-13      250.0.13.1/24     250.0.13.2 to 250.0.13.4\n"),
            "{list}"
        );
        assert!(list.lines().all(|line| line.len() <= 80), "{list}");
    }

    #[test]
    fn the_first_two_pairs_are_told_and_the_rest_counted() {
        let [from, to] = [Ipv4Addr::new(250, 0, 28, 2), Ipv4Addr::new(250, 0, 27, 2)];
        let ping = |first_ms| Ping { from, to, ttl: 62, first_ms, mean_ms: 0.25 };
        assert_eq!(
            pings(&[ping(0.5), ping(0.5), ping(0.75), ping(1.0)]),
            [
                "ping    250.0.28.2   -> 250.0.27.2    0.250 ms, first packet 0.500 ms, ttl 62",
                "ping    250.0.28.2   -> 250.0.27.2    0.250 ms, first packet 0.500 ms, ttl 62",
                "ping    2 more pairs                  every first packet answered, the slowest in 1.000 ms",
            ]
        );
        let throughput = Throughput { from, to, bits_per_second: 9e8, underlay_bits_per_second: 1e9, ratio: 0.9 };
        assert_eq!(
            throughputs(&[throughput]),
            ["stream  250.0.28.2   -> 250.0.27.2    900.0 Mbit/s, 90 % of the 1.0 Gbit/s between the hosts"]
        );
    }
}
