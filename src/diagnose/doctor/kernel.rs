//! What a fan needs of the kernel, and this diagnosis of its user.

use super::{Facts, Finding, Found};
use crate::diagnose::netfilter::FirewallTable;
use crate::fan::Fan;
use crate::fan::encap::Encapsulation;
use crate::plan::conflicts::Unfit;
use crate::plan::firewall::{ESTABLISHED, OFFLOAD, table_name};
use crate::plan::host::{LinkKind, SOURCE_SINCE};
use crate::plan::state::fans;
use crate::shell;

pub(super) fn check(facts: Facts) -> Vec<Finding> {
    let kernel = &facts.health.kernel;
    let mut findings: Vec<Finding> = fitness(facts).into_iter().collect();
    let mut unknown = Vec::new();
    // Of a kernel that carries no fan, what one encapsulation lacks is no matter: the other is no way out.
    if findings.is_empty() {
        for encapsulation in wanted(facts) {
            findings.extend(lacks(encapsulation, facts));
            if is_unknown(encapsulation, facts) {
                unknown.push(encapsulation);
            }
        }
    }
    if let Some(Err(words)) = &kernel.loads_programs {
        findings.push(
            Finding::failed(Found::ProgramsRefused, "the kernel refuses BPF programs, which a fan needs")
                .because([words.clone()]),
        );
    }
    if !kernel.has_nft {
        findings.push(
            Finding::failed(
                Found::NftMissing,
                "the program 'nft' is not installed, and nothing guards the overlay without it",
            )
            .mended_by(shell!("apt-get install nftables")),
        );
    }
    if kernel.compiles_programs == Some(false) {
        findings.push(
            Finding::warned(
                Found::ProgramsInterpreted,
                "programs are interpreted, not compiled, which costs every packet time",
            )
            .because(["net.core.bpf_jit_enable is 0".into()])
            .mended_by(shell!("sysctl -w net.core.bpf_jit_enable=1")),
        );
    }
    if findings.is_empty() {
        let finding = match &unknown[..] {
            [] => {
                let release = &facts.host.linux.release;
                Finding::passed(Found::KernelFit, format!("Linux {release} has all that a fan needs"))
            }
            unknown => untold(unknown, facts),
        };
        findings.push(finding.because(lacks_flowtables(facts)));
    }
    if !facts.host.privileged {
        findings.push(
            Finding::warned(Found::NotRoot, "not root, so that much could not be looked at")
                .because(facts.health.unseen.iter().cloned())
                .mended_by(shell!("sudo fanctl doctor")),
        );
    } else if !facts.health.unseen.is_empty() {
        findings.push(
            Finding::warned(Found::NotSeen, "not everything could be looked at")
                .because(facts.health.unseen.iter().cloned()),
        );
    }
    findings
}

/// That the kernel can carry no fan, or that its version leaves a doubt that only root can settle.
fn fitness(facts: Facts) -> Option<Finding> {
    let linux = &facts.host.linux;
    if let Some(unfit) = Unfit::of(linux) {
        return Some(Finding::failed(Found::KernelUnfit, unfit.to_string()));
    }
    let is_old = linux.version().is_some_and(|version| version < SOURCE_SINCE);
    (is_old && linux.takes_source.is_none()).then(|| {
        let (major, minor) = SOURCE_SINCE;
        let release = &linux.release;
        Finding::warned(
            Found::KernelUntried,
            format!("kernel {release} is older than Linux {major}.{minor}, which a fan needs; whether it can do the same was not tried"),
        )
    })
}

/// That a fan's tables were made without the flowtable that is asked for: nothing is lost by it but time.
fn lacks_flowtables(facts: Facts) -> Option<String> {
    let mut asked_for =
        fans(facts.owned).filter(|fan| fan.options.encapsulation == Encapsulation::Ipip && fan.options.flowtable);
    let is_without = |fan: &Fan| {
        let is_own = |table: &&FirewallTable| table.family == "ip" && table.name == table_name(fan.overlay());
        let chain = facts.health.tables.iter().find(is_own);
        let chain = chain.and_then(|table| table.chains.get(ESTABLISHED));
        chain.is_some_and(|chain| chain.rules.iter().all(|rule| !rule.text.contains(OFFLOAD)))
    };
    asked_for.any(is_without).then(|| {
        "nftables had no flowtables (CONFIG_NFT_FLOW_OFFLOAD) when the fan came up: the host's rules are asked about every \
         packet between slices, and not only about the first ones of a connection"
            .to_string()
    })
}

/// The encapsulations that matter here: those in use or configured, else those that need nothing to be prepared.
fn wanted(facts: Facts) -> Vec<Encapsulation> {
    let configured = facts.configured.unwrap_or_default();
    let used: Vec<Encapsulation> = fans(facts.owned)
        .map(|fan| fan.options.encapsulation)
        .chain(configured.iter().map(|config| config.options.encapsulation))
        .collect();
    let is_plain = |encapsulation: &Encapsulation| *encapsulation != Encapsulation::Wireguard;
    let is_wanted =
        |encapsulation: &Encapsulation| used.contains(encapsulation) || (used.is_empty() && is_plain(encapsulation));
    Encapsulation::ALL.into_iter().filter(is_wanted).collect()
}

/// Whether it cannot be told that the kernel has the devices of an encapsulation: no fan is up that has one, none is loaded,
/// and no list says that it is built in or a module.
fn is_unknown(encapsulation: Encapsulation, facts: Facts) -> bool {
    let kernel = &facts.health.kernel;
    let known = match encapsulation {
        Encapsulation::Ipip => kernel.has_ipip,
        Encapsulation::Vxlan => kernel.has_vxlan,
        Encapsulation::Wireguard => kernel.has_wireguard,
    };
    let is_proven =
        fans(facts.owned).any(|fan| fan.options.encapsulation == encapsulation) || has_device(encapsulation, facts);
    known.is_none() && !is_proven
}

/// That something is not known, and how to find out. It is a warning where a fan is configured that would need it.
fn untold(unknown: &[Encapsulation], facts: Facts) -> Finding {
    let release = &facts.host.linux.release;
    let names: Vec<String> = unknown.iter().map(ToString::to_string).collect();
    let names = names.join(" and ");
    let configured = facts.configured.unwrap_or_default();
    let finding = if configured.iter().any(|config| unknown.contains(&config.options.encapsulation)) {
        Finding::warned(Found::EncapUnknown, format!("it is not known whether Linux {release} has {names}"))
    } else {
        let reason = format!("Linux {release} has all that a fan needs, but whether it has {names} is not known");
        Finding::passed(Found::EncapUnknown, reason)
    };
    let missing =
        format!("none is loaded, and /lib/modules/{release}/modules.dep, which would list it, cannot be read");
    let tries = unknown
        .iter()
        .map(|encapsulation| format!("to find out, in a network of its own: fanctl lab --encap {encapsulation}"));
    finding.because([missing]).because(tries)
}

fn has_device(encapsulation: Encapsulation, facts: Facts) -> bool {
    facts.host.links.iter().any(|link| match encapsulation {
        Encapsulation::Ipip => matches!(link.kind, LinkKind::IpipExternal),
        Encapsulation::Vxlan => matches!(link.kind, LinkKind::Vxlan { shares_port: true, .. }),
        Encapsulation::Wireguard => matches!(link.kind, LinkKind::Wireguard),
    })
}

/// What the kernel lacks for an encapsulation, as far as that shows without making a device. With no fan to lose it is only
/// a warning: the other encapsulation may do.
fn lacks(encapsulation: Encapsulation, facts: Facts) -> Option<Finding> {
    let kernel = &facts.health.kernel;
    let is_plain = |encapsulation: &Encapsulation| *encapsulation != Encapsulation::Wireguard;
    let is_in_use = fans(facts.owned).any(|fan| fan.options.encapsulation == encapsulation)
        || facts.configured.is_some_and(|all| all.iter().any(|config| config.options.encapsulation == encapsulation));
    let reason = match encapsulation {
        _ if has_device(encapsulation, facts) => return None,
        Encapsulation::Ipip if kernel.has_ipip == Some(false) => "the kernel has no ipip".to_string(),
        Encapsulation::Vxlan if kernel.has_vxlan == Some(false) => "the kernel has no vxlan".to_string(),
        Encapsulation::Wireguard if kernel.has_wireguard == Some(false) => "the kernel has no wireguard".to_string(),
        _ => return None,
    };
    let evidence = format!("{} is neither loaded nor known to Linux {}", encapsulation, facts.host.linux.release);
    let finding = if is_in_use {
        Finding::failed(Found::EncapMissing, reason)
    } else {
        let other = Encapsulation::ALL.into_iter().find(|other| *other != encapsulation && is_plain(other));
        let other = other.map_or(String::new(), |other| format!("; use --encap {other}, on all hosts"));
        Finding::warned(Found::EncapMissing, reason + &other)
    };
    Some(finding.because([evidence]))
}
