//! What this machine can run, and saying so when it cannot.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Namespace;
use crate::case::Need;

/// What this machine can run.
pub struct Machine {
    release: String,
    root: bool,
    needs_met: Vec<Need>,
    emulated: bool,
    ci: bool,
}

/// Whether this is tier 3, where every processor instruction is emulated.
pub fn is_emulated() -> bool {
    env::var("FANCTL_TIER").is_ok_and(|tier| tier == "3")
}

/// Whether a guest is to run what need not depend on its kernel, too.
fn runs_every_case() -> bool {
    env::var("FANCTL_EVERY_CASE").is_ok_and(|value| value == "1")
}

/// The number that decides which of many like things are tried this time, from `FANCTL_SEED` or else the clock. It decides
/// what is looked at, never what is right.
pub fn seed() -> usize {
    static SEED: LazyLock<usize> = LazyLock::new(|| {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let number =
            env::var("FANCTL_SEED").map_or_else(|_| clock(), |text| text.parse().expect("FANCTL_SEED, a number"));
        usize::try_from(number).expect("64 bits")
    });
    *SEED
}

/// Every seventeenth of many, from one that the seed chooses, with its number: in time all are tried. With
/// `FANCTL_EVERY_CALL=1` all of them, which takes minutes.
pub fn by_stride<T>(all: &[T]) -> impl Iterator<Item = (usize, &T)> {
    let every = env::var("FANCTL_EVERY_CALL").is_ok_and(|value| value == "1");
    let stride = if every { 1 } else { 17 };
    all.iter().enumerate().skip(seed() % stride).step_by(stride)
}

impl Machine {
    /// Finds out, in a namespace that is thrown away.
    pub fn probe() -> Self {
        let root = nix::unistd::geteuid().is_root();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc");
        let mut needs_met = Vec::new();
        if root {
            for module in ["ipip", "vxlan", "br_netfilter"] {
                let modprobe = Command::new("modprobe").arg(module).stderr(Stdio::null()).status();
                drop(modprobe);
            }
            let scratch = Namespace::new("probe");
            let can = |line: &str| scratch.exec(line).code == Some(0);
            needs_met.push(if is_emulated() { Need::Tier3 } else { Need::Tier2 });
            for (need, program) in [(Need::Docker, "/usr/bin/dockerd"), (Need::Cni, "/usr/lib/cni/bridge")] {
                if !is_emulated() || Path::new(program).exists() {
                    needs_met.push(need);
                }
            }
            let ipip = can("ip link add probe type ipip external");
            needs_met.push(if ipip { Need::Ipip } else { Need::NoIpip });
            if scratch.sysctl("bridge/bridge-nf-call-iptables").is_some() {
                needs_met.push(Need::BridgeNetfilter);
            }
            if Path::new("/usr/sbin/iptables-legacy-save").exists() && can("iptables-legacy -w -S") {
                needs_met.push(Need::LegacyIptables);
            }
            if Path::new("/usr/sbin/ipset").exists() && can("ipset list -n") {
                needs_met.push(Need::Ipset);
            }
            if can("ip link add veth7 type veth") && can("ip link add link veth7 name veth7.7 type vlan id 7") {
                needs_met.push(Need::Vlan);
            }
            // Loading the module makes a bond0 for the machine itself, which is not ours to have.
            let bonding = is_emulated() || Path::new("/sys/class/net/bonding_masters").exists();
            if bonding && can("ip link add bond7 type bond") {
                needs_met.push(Need::Bonding);
            }
            let table = "table bridge probe { chain c { meta ibrname \"br0\" accept; }; }";
            if scratch.sh(&format!("echo '{table}' | nft -f -")).code == Some(0) {
                needs_met.push(Need::BridgeNames);
            }
            let wireguard = can("ip link add wg0 type wireguard");
            needs_met.push(if wireguard { Need::Wireguard } else { Need::NoWireguard });
            let state = "src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1000 mode transport";
            let key = "rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128";
            if can(&format!("ip xfrm state add {state} aead {key}")) {
                needs_met.push(Need::Ipsec);
            }
        }
        Self {
            release: release.trim().into(),
            root,
            needs_met,
            emulated: is_emulated(),
            ci: env::var("CI").is_ok_and(|value| value == "true"),
        }
    }

    /// Prints one line for each thing that cannot run here.
    pub fn announce(&self) {
        println!("seed {}: repeat with FANCTL_SEED={}", seed(), seed());
        if !self.root {
            println!("tiers 2 and 3 cannot run: they need root");
        } else if self.is_tier_3() {
            println!(
                "tier 3 repeats of tier 2 what needs IPIP or the path of packets, and unless FANCTL_EVERY_CASE=1 no more"
            );
        } else if !self.has(Need::Ipip) {
            println!(
                "tier 3 (ipip) cannot run on this kernel ({}): it runs in QEMU through tests/qemu/tier",
                self.release
            );
        }
    }

    /// What the line that sums up a run begins with.
    pub fn title(&self) -> String {
        let tier = if self.is_tier_3() { 3 } else { 2 };
        format!("tier {tier}, kernel {}", self.release)
    }

    /// Whether the run is a failure whatever its tests say, because it could not run what it had to.
    pub fn is_incomplete(&self) -> bool {
        !self.root && (self.ci || self.is_tier_3())
    }

    /// Why a test cannot run here, if so. What tier 3 is about is never missing there: such a test runs, and fails.
    pub fn missing(&self, needs: &[Need]) -> Option<String> {
        if !self.root {
            return Some("needs root".into());
        }
        let missing = needs.iter().find(|&&need| !self.has(need))?;
        if *missing == Need::Ipip && self.is_tier_3() {
            return None;
        }
        Some(match missing {
            Need::Ipip => format!("no ipip in kernel {}: tier 3", self.release),
            Need::NoIpip => format!("kernel {} has ipip", self.release),
            Need::BridgeNetfilter => format!("no br_netfilter in kernel {}", self.release),
            Need::LegacyIptables => format!("no iptables-legacy, or no ip_tables in kernel {}", self.release),
            Need::Ipset => format!("no ipset, or none in kernel {}", self.release),
            Need::BridgeNames => format!("no meta ibrname in kernel {}", self.release),
            Need::Vlan => format!("no VLAN devices in kernel {}", self.release),
            Need::Docker => "no Docker in this guest".into(),
            Need::Cni => "no CNI plugins in this guest".into(),
            Need::Tier2 | Need::Once => "left to tier 2".into(),
            Need::Series(series) => format!("left to kernel {series}"),
            Need::Tier3 => "left to tier 3: it needs a kernel to itself".into(),
            Need::Bonding => format!("no bonding in kernel {}, or not loaded", self.release),
            Need::Wireguard => format!("no WireGuard in kernel {}", self.release),
            Need::NoWireguard => format!("kernel {} has WireGuard", self.release),
            Need::Ipsec => format!("no IPsec with AES in kernel {}", self.release),
        })
    }

    fn has(&self, need: Need) -> bool {
        match need {
            Need::Series(series) => {
                !self.emulated || runs_every_case() || self.release.starts_with(&format!("{series}."))
            }
            Need::Once => !self.emulated || runs_every_case(),
            _ => self.needs_met.contains(&need),
        }
    }

    fn is_tier_3(&self) -> bool {
        self.emulated
    }
}
