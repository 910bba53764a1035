//! What is, beyond what a plan needs: the facts of a diagnosis.

mod inside;
pub(crate) mod listener;
pub(crate) mod netfilter;
pub(crate) mod offload;
pub(crate) mod peer;
pub(crate) mod prober;
pub(crate) mod programs;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use caps::Capability;

use crate::bpf::program;
use crate::diagnose::facts::{EarlierLook, Health, Kernel, Manager, Settings};
use crate::kernel::file::{self, FILE_LIMIT, KERNEL_LIMIT};
use crate::kernel::{KernelError, Machine, Scope, bpf, capabilities, exec, link, neighbour, process, rules};
use crate::plan::host::{Flow, Host};
use crate::plan::lookup::{Answer, Question};
use crate::plan::state::{State, fans};

impl Machine {
    /// Reads what a diagnosis asks for. What cannot be read is said in [`Health::unseen`].
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn examine(&self, owned: &State, host: &Host) -> Result<Health, KernelError> {
        let messages = self.netlink.dump_links()?;
        let names = link::names(&messages);
        let (peers, hidden_peers) = peer::observe(&self.netlink, &messages, host);
        let mut health = Health {
            kernel: kernel(host),
            settings: settings(host),
            bridged_packets_are_filtered: number("net/bridge/bridge-nf-call-iptables") == Some(1),
            macs: rules::macs(&messages),
            neighbours: neighbour::observe(&self.netlink, &names)?,
            peers,
            hidden_peers,
            rules: rules::rules(&self.netlink)?,
            programs: programs::observe(&self.netlink, &messages, &names, host)?,
            managers: managers()?,
            now: seconds(SystemTime::now()),
            written: written(owned),
            has_systemd: Path::new("/run/systemd/system").is_dir(),
            offloads: offload::observe(fans(owned)),
            bad_checksums: file::read_text("/proc/net/snmp", KERNEL_LIMIT)
                .ok()
                .and_then(|snmp| offload::bad_checksums(&snmp))
                .unwrap_or_default(),
            ..Health::default()
        };
        if host.privileged {
            (health.tables, health.unseen) = netfilter::observe();
        } else {
            health.unseen.push("firewalls, programs and the other ends of ports: only root may look at them".into());
        }
        Ok(health)
    }

    /// Counts once more what fans refuse.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn count_again(&self, host: &mut Host, health: &mut Health) -> Result<(), KernelError> {
        let (_, now) = self.look(Scope::Own)?;
        let (tables, _) = netfilter::observe();
        let tunnels = host.links.iter().map(|link| (link.name.clone(), link.counters.refused)).collect();
        health.earlier = Some(EarlierLook { tables: std::mem::replace(&mut health.tables, tables), tunnels });
        for link in &mut host.links {
            link.counters = now.link(&link.name).map_or(link.counters, |now| now.counters);
        }
        Ok(())
    }

    /// Asks the kernel where packets go. A question that cannot be asked has no answer.
    #[must_use]
    pub(crate) fn answer(&self, questions: impl IntoIterator<Item = Question>) -> BTreeMap<Question, Answer> {
        let mut answers = BTreeMap::new();
        let Ok(names) = self.names() else {
            return answers;
        };
        for question in questions {
            let flow = Flow {
                source: question.from.unwrap_or(Ipv4Addr::UNSPECIFIED),
                destination: question.to,
                forwarded_from: question.incoming.clone(),
                bound_to: None,
            };
            // An interface that is gone is a finding of its own, and what would come in by it no question.
            if let Ok(answer) = self.route_among(&names, &flow) {
                answers.insert(question, answer.map_err(|refusal| refusal.errno));
            }
        }
        answers
    }
}

fn seconds(time: SystemTime) -> Option<u64> {
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// Files by which a clock that is behind is found out: the keys of fans, and what systemd-timesyncd notes of the time.
fn written(owned: &State) -> Vec<(String, u64)> {
    let keys = fans(owned).filter_map(|fan| fan.key_file()).map(str::to_string);
    let when = |path: String| {
        let then = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok()?;
        Some((path, seconds(then)?))
    };
    keys.chain([TIMESYNC.to_string()]).filter_map(when).collect()
}

/// What systemd-timesyncd touches while the clock is right (systemd-timesyncd.service(8)).
const TIMESYNC: &str = "/var/lib/systemd/timesync/clock";

fn number(setting: impl AsRef<Path>) -> Option<i64> {
    let text = file::read_text(Path::new("/proc/sys").join(setting), KERNEL_LIMIT).ok()?;
    text.trim().parse().ok()
}

fn settings(host: &Host) -> BTreeMap<String, Settings> {
    let all = ("all".to_string(), OsString::from("all"));
    let names = host.links.iter().map(|link| (link.name.to_string(), link.name.os()));
    let read = |name: &OsStr| {
        let of = |setting| number(Path::new("net/ipv4/conf").join(name).join(setting));
        Some(Settings {
            rp_filter: of("rp_filter").and_then(|mode| mode.try_into().ok())?,
            forwarding: of("forwarding")? != 0,
        })
    };
    let settings = names.chain([all]).filter_map(|(name, os)| Some((name, read(&os)?)));
    settings.collect()
}

fn kernel(host: &Host) -> Kernel {
    let release = &host.linux.release;
    let modules = |list: &str| file::read_text(format!("/lib/modules/{release}/{list}"), KERNEL_LIMIT).ok();
    let known = modules("modules.dep").map(|text| text + &modules("modules.builtin").unwrap_or_default());
    let has = |module: &str| {
        let is_loaded = Path::new("/sys/module").join(module).exists();
        let is_known = known.as_ref().map(|known| known.contains(&format!("/{module}.ko")));
        if is_loaded { Some(true) } else { is_known }
    };
    // Loaded, and thrown away at once: no device sees it.
    let load = || {
        let loaded = capabilities::raised(&[Capability::CAP_BPF], || bpf::load(&program::refuse()));
        loaded.map(drop).map_err(|error| error.to_string())
    };
    Kernel {
        has_ipip: has("ipip"),
        has_vxlan: has("vxlan"),
        has_wireguard: has("wireguard"),
        loads_programs: host.privileged.then(load),
        has_nft: exec::find("nft").is_some(),
        compiles_programs: number("net/core/bpf_jit_enable").map(|mode| mode != 0),
    }
}

/// A program that configures interfaces.
struct KnownManager {
    name: &'static str,
    /// The name of its process: 15 characters, as the kernel keeps them.
    comm: &'static str,
    /// The file or directory, in each of [`ROOTS`], where it is told to leave fans alone.
    place: &'static str,
    /// The words that tell it.
    words: &'static [&'static str],
    /// The file to write them to.
    file: &'static str,
}

const ROOTS: [&str; 4] = ["/usr/lib", "/lib", "/etc", "/run"];

const KNOWN: [KnownManager; 3] = [
    KnownManager {
        name: "NetworkManager",
        comm: "NetworkManager",
        place: "NetworkManager/conf.d",
        words: &["interface-name:fan-"],
        file: "/etc/NetworkManager/conf.d/50-fan.conf",
    },
    KnownManager {
        name: "systemd-networkd",
        comm: "systemd-network",
        place: "systemd/network",
        words: &["Property=FAN=1", "Name=fan-"],
        file: "/etc/systemd/network/05-fan-by-name.network",
    },
    KnownManager {
        name: "dhcpcd",
        comm: "dhcpcd",
        place: "dhcpcd.conf",
        words: &["denyinterfaces fan-"],
        file: "/etc/dhcpcd.conf",
    },
];

/// Those of them that run in this network namespace.
fn managers() -> Result<Vec<Manager>, KernelError> {
    let running = process::named(&KNOWN.map(|known| known.comm))?;
    let found = KNOWN.iter().filter(|known| running.iter().any(|process| process.comm == known.comm));
    let manager = |known: &KnownManager| {
        let mut places = ROOTS.iter().map(|root| Path::new(root).join(known.place));
        Manager { name: known.name, lacks: (!places.any(|place| says(&place, known.words))).then_some(known.file) }
    };
    Ok(found.map(manager).collect())
}

/// Whether a file, or one in a directory, has one of these words.
fn says(place: &Path, words: &[&str]) -> bool {
    let says = |file: &Path| {
        let text = file::read_text(file, FILE_LIMIT).unwrap_or_default();
        words.iter().any(|word| text.contains(word))
    };
    match fs::read_dir(place) {
        Ok(entries) => entries.flatten().any(|entry| says(&entry.path())),
        Err(_) => says(place),
    }
}
