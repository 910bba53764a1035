//! The fast path of a fan, which is one object: a port of the bridge and four programs with their maps come and go together. No
//! program is worth anything without the others, and nobody but who has made the maps can give them to another program.

use crate::bpf::fast::FastSpec;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::plan::state::Direction;

/// The fast path of a fan.
#[derive(Clone, Debug)]
pub struct FastPath {
    /// The fan.
    pub overlay: Overlay,
    /// Its bridge.
    pub bridge: InterfaceName,
    /// The underlay's interface.
    pub device: InterfaceName,
    /// What the programs are made for; none where no fan that is up tells.
    pub spec: Option<FastSpec>,
    /// The digest of the programs; none where something is missing or is not as it was made.
    pub digest: Option<String>,
}

impl PartialEq for FastPath {
    fn eq(&self, other: &Self) -> bool {
        let told = |path: &Self| (path.overlay, path.bridge.clone(), path.device.clone(), path.digest.clone());
        told(self) == told(other)
    }
}
impl Eq for FastPath {}

/// The beginning of the alias of a port, which makes it ours.
const PORT_LABEL: &str = "fan fast path ";

impl FastPath {
    /// The port of the bridge by which received packets enter it: a dummy device, named after the fan's number.
    #[must_use]
    pub fn port(&self) -> InterfaceName {
        InterfaceName::fast_port(self.overlay.vni())
    }

    /// The alias of the port, which tells whose it is and where the programs on the underlay are.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{PORT_LABEL}{} dev {}", self.overlay, self.device)
    }

    /// The fan and the underlay's interface that the alias of a port tells; none when it is not one of ours.
    #[must_use]
    pub fn of_label(label: &str) -> Option<(Overlay, InterfaceName)> {
        let (overlay, device) = label.strip_prefix(PORT_LABEL)?.split_once(" dev ")?;
        Some((overlay.parse().ok()?, device.parse().ok()?))
    }

    /// Where the programs are, in the order in which they are attached: the records come before what asks for them.
    #[must_use]
    pub fn hooks(&self) -> [(&InterfaceName, Direction); 4] {
        [
            (&self.bridge, Direction::Egress),
            (&self.device, Direction::Egress),
            (&self.device, Direction::Ingress),
            (&self.bridge, Direction::Ingress),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_back_as_written_and_others_are_not_ours() {
        let path = FastPath {
            overlay: "250.0.0.0/8".parse().unwrap(),
            bridge: "fan-250-0-28".parse().unwrap(),
            device: "fifteen-letterz".parse().unwrap(),
            spec: None,
            digest: None,
        };
        assert_eq!(path.port().as_str(), "fan-in16384000");
        assert_eq!(FastPath::of_label(&path.label()), Some((path.overlay, path.device)));
        for other in ["", "fan fast path ", "fan fast path 250.0.0.0/8", "fan 250.0.0.0/8 dev eth0"] {
            assert_eq!(FastPath::of_label(other), None, "{other}");
        }
    }
}
