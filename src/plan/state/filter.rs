//! A program in its place on a device.

use super::Owner;
use crate::bpf::program::Program;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;

/// Which packets of a device a filter sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Received by the device.
    Ingress,
    /// Sent through the device.
    Egress,
}

impl Direction {
    /// The word that `tc` has for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// Where a filter stands in its direction: fans first, each under the handle that is its overlay's network, then
/// the refusal of everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// A fan's own program.
    Fan(Overlay),
    /// The catch-all.
    Refuse,
}

/// The preference of the fans' filters: low enough to leave room before it for an administrator's own.
const FAN_PREFERENCE: u16 = 100;
/// The preference of the catch-all, which is the last there is.
const REFUSE_PREFERENCE: u16 = 65535;

impl Slot {
    /// The preference of the first filter that is ours.
    pub(crate) const FIRST_PREFERENCE: u16 = FAN_PREFERENCE;

    /// Preference and handle of the filter. A fan's handle is its overlay's network, which no other fan of the host
    /// shares, so that all fans stand in one chain and each is replaced by itself.
    #[must_use]
    pub fn place(self) -> (u16, u32) {
        match self {
            Self::Fan(overlay) => (FAN_PREFERENCE, overlay.network().network().into()),
            Self::Refuse => (REFUSE_PREFERENCE, 1),
        }
    }
}

/// A direct-action BPF filter on a device's clsact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The device.
    pub link: InterfaceName,
    /// Sent or received.
    pub direction: Direction,
    /// Its place.
    pub slot: Slot,
    /// Whose it is.
    pub owner: Owner,
    /// What it runs.
    pub program: ProgramRef,
}

/// A program known by the digest of its instructions, which is all that the kernel tells of one; equality is that of the
/// digests.
#[derive(Clone, Debug)]
pub struct ProgramRef {
    /// 16 hexadecimal digits.
    pub digest: String,
    /// The program itself, when it is one that this version would make.
    pub program: Option<Program>,
    /// What this version would make in its place, when it is not.
    pub successor: Option<Program>,
}

impl PartialEq for ProgramRef {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}
impl Eq for ProgramRef {}

impl From<Program> for ProgramRef {
    fn from(program: Program) -> Self {
        Self { digest: program.digest(), program: Some(program), successor: None }
    }
}
