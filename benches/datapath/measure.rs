//! All cases built, then measured in turn.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use crate::cpu;
use crate::figures::campaign::{Campaign, Case, Instrument, NotRun, REFERENCE};
use crate::figures::metric::Metric;
use crate::figures::sample::percentile;
use crate::load::packets::{self, Receiver};
use crate::load::{Load, round_trip, stream};
use crate::peers::{PEERS, Peer, VARIANTS};
use crate::site::{Connected, HOSTS, Site};

/// What to measure.
pub struct Plan {
    /// For each figure.
    pub time: Duration,
    pub repetitions: usize,
    /// Names; all if empty.
    pub cases: Vec<String>,
    pub instrument: Instrument,
    pub command: String,
}

/// Options of ethtool(8) for a network card without tunnel offloads: it segments nothing, and merges what it receives.
const CUT: &str = "tso off gso off tx-gre-segmentation off tx-ipxip4-segmentation off tx-udp_tnl-segmentation off \
                   tx-udp_tnl-csum-segmentation off gro on";
const WHOLE: &str = "tso on gso on tx-gre-segmentation on tx-ipxip4-segmentation on tx-udp_tnl-segmentation on \
                     tx-udp_tnl-csum-segmentation on gro off";

/// The cases that were built, and those that this kernel cannot run.
type Built = (Vec<(Case, Connected)>, Vec<NotRun>);

impl Plan {
    /// Measures everything. An error without root, or for a name that no case has; a panic when a case that this kernel
    /// can run does not connect.
    pub fn carry_out(self) -> Result<Campaign, Box<dyn Error>> {
        if !nix::unistd::geteuid().is_root() {
            return Err("making namespaces takes root; try: sudo make bench".into());
        }
        let (mut running, not_run) = self.build()?;
        for repetition in 1..=self.repetitions {
            eprintln!("datapath: repetition {repetition} of {}", self.repetitions);
            for (case, connected) in &mut running {
                for (metric, sample) in measure(connected, self.time) {
                    case.samples.entry(metric).or_default().push(sample);
                }
            }
        }
        Ok(Campaign {
            taken: today()?,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().into(),
            instrument: self.instrument,
            command: self.command,
            cpus: cpu::count(),
            seconds: self.time.as_secs_f64(),
            cases: running.into_iter().map(|(case, _)| case).collect(),
            not_run,
        })
    }

    fn build(&self) -> Result<Built, Box<dyn Error>> {
        if let Some(name) = self.cases.iter().find(|name| all().all(|peer| peer.name != **name)) {
            let names = all().map(|peer| peer.name).collect::<Vec<_>>().join(", ");
            return Err(format!("there is no case '{name}'; there are {names}").into());
        }
        let asked_for = |peer: &&Peer| {
            let name = peer.name.to_string();
            let is_variant = VARIANTS.iter().any(|variant| variant.name == name);
            name == REFERENCE || self.cases.contains(&name) || (self.cases.is_empty() && !is_variant)
        };
        // The check loads modules, which change hosts that exist already.
        let asked: Vec<_> = all().filter(asked_for).map(|peer| (peer, peer.missing())).collect();
        let (mut running, mut not_run) = (vec![], vec![]);
        for (peer, missing) in asked {
            let title = peer.title.to_string();
            if let Some(reason) = missing {
                eprintln!("datapath: not run: {title}: {reason}");
                not_run.push(NotRun { title, reason });
                continue;
            }
            eprintln!("datapath: building {title}");
            let connected = (peer.connect)(Site::new());
            let case = Case { name: peer.name.into(), title, mtu: mtu(&connected), samples: BTreeMap::new() };
            running.push((case, connected));
        }
        Ok((running, not_run))
    }
}

/// Every case that has a name.
pub fn all() -> impl Iterator<Item = &'static Peer> {
    PEERS.iter().chain(&VARIANTS)
}

/// The container's MTU, once a packet of that size has passed in one piece, and the answer has.
pub fn mtu(connected: &Connected) -> u32 {
    let [client, _] = &connected.containers;
    let mtu = client.run(|| fs::read_to_string("/sys/class/net/eth0/mtu")).expect("its MTU");
    let mtu: u32 = mtu.trim().parse().expect("a number");
    let ping = |size: u32| client.exec(&format!("ping -n -c 3 -i 0.1 -W 10 -M do -s {size} {}", address()));
    // Neighbours are looked up, keys exchanged.
    ping(56).ok();
    ping(mtu - 28).ok().stdout_has(&[" 0% packet loss"]);
    mtu
}

/// That of the container that is sent to.
pub fn address() -> Ipv4Addr {
    Ipv4Addr::new(250, 0, HOSTS[1], 2)
}

/// One sample of each figure.
pub fn measure(connected: &Connected, time: Duration) -> Vec<(Metric, f64)> {
    let [client, server] = &connected.containers;
    let load = Load { client, server, address: address(), time };
    let one = stream::measure(load, 1);
    let four = stream::measure(load, 4);
    connected.site.set_wire(CUT);
    let cut = stream::measure(load, 1);
    connected.site.set_wire(WHOLE);
    let packets = packets::measure(load, Receiver::Answers);
    let unanswered = packets::measure(load, Receiver::IsSilent);
    let mut samples = vec![
        (Metric::TcpOne, one.per_second * 8.0),
        (Metric::TcpFour, four.per_second * 8.0),
        (Metric::TcpCut, cut.per_second * 8.0),
        (Metric::Packets, packets.per_second),
        (Metric::PacketsUnanswered, unanswered.per_second),
        (Metric::CpuPerGigabyte, one.cpu * 1e9),
        (Metric::CpuPerMegapacket, packets.cpu * 1e6),
    ];
    for (mut times, median, slow) in [
        (round_trip::tcp(load), Metric::TcpRoundTrip, Metric::TcpRoundTripSlow),
        (round_trip::udp(load), Metric::UdpRoundTrip, Metric::UdpRoundTripSlow),
    ] {
        for (metric, share) in [(median, 0.5), (slow, 0.99)] {
            samples.push((metric, percentile(&mut times, share).expect("an exchange")));
        }
    }
    samples
}

fn today() -> Result<String, Box<dyn Error>> {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().into())
}
