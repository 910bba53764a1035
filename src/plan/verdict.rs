//! Whether the kernel holds all that belongs to a fan.

use serde::Serialize;

use crate::fan::Fan;
use crate::plan::commands::describe;
use crate::plan::desired;
use crate::plan::diff::{Step, diff};
use crate::plan::difference::{self, Difference};
use crate::plan::foreign::{self, Foreign};
use crate::plan::host::Host;
use crate::plan::state::{Object, Setting, State};

/// Whether the kernel holds all that belongs to a fan.
#[derive(Debug, Serialize)]
pub(crate) struct Completeness {
    /// True when nothing is known to be missing or different, but for what is [older](Self::older).
    pub(crate) complete: bool,
    /// What is not there.
    pub(crate) missing: Vec<String>,
    /// What is there but not as it should be, or should not be.
    pub(crate) different: Vec<String>,
    /// In what the objects that are there differ, each with a code.
    pub(crate) differences: Vec<Difference>,
    /// Whether an earlier version made the fan, and nothing else is known to be missing or different: it goes on working, and
    /// `reload` makes it anew.
    pub(crate) older: bool,
    /// What others put on the fan's devices.
    pub(crate) foreign: Vec<Foreign>,
    /// What could not be looked at, and why.
    pub(crate) unknown: Vec<String>,
}

/// What a plan would have to do to make the fan right.
#[must_use]
pub(crate) fn verdict(fan: &Fan, owned: &State, host: &Host) -> Completeness {
    let mut steps = diff(owned, &desired::with(owned, fan, host));
    steps.retain(|step| !is_hidden(step.object(), host));
    let older = is_only_older(&steps);
    let (mut missing, mut different, mut differences) = (Vec::new(), Vec::new(), Vec::new());
    for step in &steps {
        differences.extend(difference::of(step));
        match step {
            _ if older => {}
            Step::Hold(_) | Step::Remake(_) => {}
            Step::Create(object) => missing.push(describe(object)),
            Step::Change { to: object, .. } | Step::Delete(object) => different.push(describe(object)),
        }
    }
    if fan.options.nat && !host.ip_forward {
        different.push("net.ipv4.ip_forward, which NAT needs".to_string());
    }
    let foreign = foreign::on(fan, host);
    let unknown = unknown(host);
    let is_harmed = foreign.iter().any(|foreign| foreign.is_harmful(fan));
    Completeness {
        complete: missing.is_empty() && different.is_empty() && !is_harmed,
        missing,
        different,
        differences,
        older,
        foreign,
        unknown,
    }
}

/// Whether all that these steps are about is that an earlier version made a fan: its tables, programs and settings are others,
/// and every object is there for the same fan with the same MTU.
#[must_use]
pub(crate) fn is_only_older(steps: &[Step]) -> bool {
    let is_older =
        |step: &Step| matches!(step, Step::Change { from: Object::Firewall(_, from), .. } if from.is_older());
    let is_of_version = |step: &Step| match step {
        Step::Hold(_) | Step::Remake(_) => true,
        Step::Change { from: Object::Bridge(from), to: Object::Bridge(to) } => {
            let is_of_older = |setting: &Setting| *setting == Setting::GroupForwarding(0);
            from.fan == to.fan && from.mtu == to.mtu && from.changed.iter().all(is_of_older)
        }
        Step::Change { from: Object::Tunnel(from), to: Object::Tunnel(to) } => from.mtu == to.mtu,
        Step::Change { to, .. } => matches!(to, Object::Filter(_) | Object::Firewall(..) | Object::FastPath(_)),
        // What cannot become what it should be goes, and comes again.
        Step::Delete(object) => {
            steps.iter().any(|step| matches!(step, Step::Create(made) if made.key() == object.key()))
        }
        Step::Create(object) => {
            steps.iter().any(|step| matches!(step, Step::Delete(gone) if gone.key() == object.key()))
        }
    };
    steps.iter().any(is_older) && steps.iter().all(is_of_version)
}

/// Whether an object could not be seen even if it is there, so that its absence means nothing.
#[must_use]
pub(crate) fn is_hidden(object: &Object, host: &Host) -> bool {
    !host.privileged && matches!(object, Object::Firewall(..) | Object::Accept(_) | Object::Dhcp(_) | Object::Peers(_))
}

/// What could not be looked at, and why.
#[must_use]
pub(crate) fn unknown(host: &Host) -> Vec<String> {
    if host.privileged {
        return Vec::new();
    }
    vec!["firewall, dhcp server and keys: only root may look at them".to_string()]
}
