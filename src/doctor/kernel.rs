//! What a fan needs of the kernel, and this diagnosis of its user.

use super::{Facts, Finding};
use crate::encap::Encapsulation;
use crate::host::LinkKind;
use crate::object::fans;

/// The first version with VXLAN devices that filter network identifiers.
const VNIFILTER: (u32, u32) = (5, 18);

pub(super) fn check(facts: Facts) -> Vec<Finding> {
    let kernel = &facts.health.kernel;
    let mut findings = Vec::new();
    for encapsulation in wanted(facts) {
        findings.extend(lacks(encapsulation, facts));
    }
    if let Some(Err(words)) = &kernel.loads_programs {
        findings.push(
            Finding::failed("kernel", "the kernel takes no program, and a fan is two of them").because([words.clone()]),
        );
    }
    if !kernel.has_nft {
        findings.push(
            Finding::failed(
                "kernel",
                "the program 'nft' is not installed, and nothing guards the overlay without it",
            )
            .mended_by("apt-get install nftables"),
        );
    }
    if kernel.compiles_programs == Some(false) {
        findings.push(
            Finding::warned(
                "kernel",
                "programs are interpreted, not compiled, which costs every packet time",
            )
            .because(["net.core.bpf_jit_enable is 0".into()])
            .mended_by("sysctl -w net.core.bpf_jit_enable=1"),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::passed(
            "kernel",
            format!("Linux {} has all that a fan needs", kernel.release),
        ));
    }
    if !facts.host.privileged {
        findings.push(
            Finding::warned("privileges", "not root, so that much could not be looked at")
                .because(facts.health.unseen.iter().cloned())
                .mended_by("sudo fanctl doctor"),
        );
    } else if !facts.health.unseen.is_empty() {
        findings.push(
            Finding::warned("privileges", "not everything could be looked at")
                .because(facts.health.unseen.iter().cloned()),
        );
    }
    findings
}

/// The encapsulations that matter here: those in use or configured, else both.
fn wanted(facts: Facts) -> Vec<Encapsulation> {
    let configured = facts.configured.unwrap_or_default();
    let used: Vec<Encapsulation> = fans(facts.owned)
        .map(|fan| fan.encapsulation)
        .chain(configured.iter().map(|config| config.encapsulation))
        .collect();
    let is_wanted = |encapsulation: &Encapsulation| used.is_empty() || used.contains(encapsulation);
    Encapsulation::ALL.into_iter().filter(is_wanted).collect()
}

/// What the kernel lacks for an encapsulation, as far as that shows without making a device. With no fan to lose it is only
/// a warning: the other encapsulation may do.
fn lacks(encapsulation: Encapsulation, facts: Facts) -> Option<Finding> {
    let kernel = &facts.health.kernel;
    let is_in_use = fans(facts.owned).any(|fan| fan.encapsulation == encapsulation)
        || facts
            .configured
            .is_some_and(|all| all.iter().any(|config| config.encapsulation == encapsulation));
    let has_device = |is_one: fn(&LinkKind) -> bool| facts.host.links.iter().any(|link| is_one(&link.kind));
    let reason = match encapsulation {
        Encapsulation::Ipip if has_device(|kind| matches!(kind, LinkKind::IpipExternal)) => return None,
        Encapsulation::Vxlan if has_device(|kind| matches!(kind, LinkKind::Vxlan { shares_port: true, .. })) => {
            return None;
        }
        Encapsulation::Ipip if kernel.has_ipip == Some(false) => "the kernel has no ipip".to_string(),
        Encapsulation::Vxlan if kernel.has_vxlan == Some(false) => "the kernel has no vxlan".to_string(),
        Encapsulation::Vxlan if kernel.version().is_some_and(|version| version < VNIFILTER) => {
            "the kernel is older than 5.18, which brought vxlan with vnifilter".to_string()
        }
        _ => return None,
    };
    let evidence = format!(
        "{} is neither loaded nor known to Linux {}",
        encapsulation, kernel.release
    );
    let finding = if is_in_use {
        Finding::failed("kernel", reason)
    } else {
        let other = Encapsulation::ALL.into_iter().find(|other| *other != encapsulation);
        let other = other.map_or(String::new(), |other| format!("; use --encap {other}, on all hosts"));
        Finding::warned("kernel", reason + &other)
    };
    Some(finding.because([evidence]))
}
