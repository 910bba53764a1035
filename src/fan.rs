//! A fan on this host, with nothing left open: what was asked for, resolved against the host's addresses.
//!
//! A fan is written on its bridge as a [label](Fan::label), so that the kernel is the only database:
//! `fan 250.0.0.0/8 172.30.0.28/16 dev eth0 ipip host-reserve 1 dhcp`.

pub(crate) mod digest;
pub mod encap;
pub(crate) mod json;
pub mod keys;
pub mod label;
mod mac;
pub mod mapping;
pub mod name;
pub mod options;
pub mod request;
pub mod shell;
pub mod text;
pub(crate) mod words;

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::fan::encap::Encapsulation;
use crate::fan::keys::file::port_of;
use crate::fan::mapping::{Mapping, Overlay, Underlay};
use crate::fan::name::InterfaceName;
use crate::fan::options::{MAIN_TABLE, OptionKey, Options, ReadBack};
use crate::fan::request::{Request, UnderlayPlace, UnderlaySource};
use crate::fan::shell::Line;
use crate::shell;

pub use mac::Mac;

/// A fan on this host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fan {
    /// Overlay over underlay.
    pub mapping: Mapping,
    /// This host's address in the underlay.
    pub host: Ipv4Addr,
    /// The interface that holds the address.
    pub device: InterfaceName,
    /// The bridge that containers attach to.
    pub(crate) bridge: InterfaceName,
    /// Its options, without the bridge's name and without those that matter in files only.
    pub options: Options,
    /// The epochs of the secrets that it is encrypted by, one or two, that which this host sends by first; none without encryption.
    pub(crate) epochs: Vec<u32>,
    /// Whether configuration brought it up, rather than a person.
    pub(crate) auto: bool,
}

impl Fan {
    /// The command that puts its objects right.
    #[must_use]
    pub(crate) fn mend(&self) -> Line {
        shell!("fanctl doctor {} --fix", self.bridge)
    }

    /// The fan that is asked for, from this address of the host, on this interface; by a person, as far as that goes.
    ///
    /// # Errors
    /// A sentence: overlay and underlay do not go together.
    pub fn new(config: &Request, host: Ipv4Addr, device: InterfaceName) -> Result<Self, String> {
        let underlay = Underlay::containing(host, config.underlay.len)?;
        let mapping = Mapping::new(config.overlay, underlay)?;
        let mut options = Options::of_fan(config);
        if let Some(reason) = options.routed.overlap(underlay.network()) {
            return Err(reason);
        }
        let bridge = options.bridge.take().unwrap_or_else(|| InterfaceName::of_slice(mapping.slice(host)));
        Ok(Self { mapping, host, device, bridge, options, epochs: Vec::new(), auto: false })
    }

    /// What asks for this fan, by the host's address.
    #[must_use]
    pub fn config(&self) -> Request {
        let underlay = UnderlaySource {
            place: UnderlayPlace::Address(self.host),
            len: self.mapping.underlay().network().prefix(),
        };
        let bridge = (self.bridge != self.default_bridge()).then(|| self.bridge.clone());
        Request { options: Options { bridge, ..self.options.clone() }, ..Request::new(self.overlay(), underlay) }
    }

    /// The overlay, which is the fan's identity on a host.
    #[must_use]
    pub fn overlay(&self) -> Overlay {
        self.mapping.overlay()
    }

    /// This host's part of the overlay.
    #[must_use]
    pub fn slice(&self) -> Ipv4Network {
        self.mapping.slice(self.host)
    }

    /// The first address of the slice: the bridge's, and the containers' gateway.
    #[must_use]
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        self.mapping.gateway(self.host)
    }

    /// The prefix length of addresses on the bridge and in containers: that of the slice where the rest of the
    /// overlay is routed (IPIP, WireGuard), that of the overlay where it is one flat network (VXLAN).
    #[must_use]
    pub(crate) fn on_link_len(&self) -> u8 {
        self.on_link().prefix()
    }

    /// The network that bridge and containers have on link: the slice (IPIP) or the whole overlay (VXLAN).
    #[must_use]
    pub(crate) fn on_link(&self) -> Ipv4Network {
        match self.options.encapsulation {
            Encapsulation::Ipip | Encapsulation::Wireguard => self.slice(),
            Encapsulation::Vxlan => self.overlay().network(),
        }
    }

    /// The first and the last address for a container: behind those that the bridge holds, and before the slice's
    /// broadcast address.
    #[must_use]
    pub(crate) fn container_range(&self) -> (Ipv4Addr, Ipv4Addr) {
        let first = u32::from(self.gateway()) + u32::from(self.options.host_reserve);
        let last = u32::from(self.slice().broadcast()) - 1;
        (first.into(), last.into())
    }

    /// The addresses that the bridge holds, the gateway first.
    pub(crate) fn bridge_addresses(&self) -> impl Iterator<Item = Ipv4Network> + use<> {
        let (first, len) = (u32::from(self.gateway()), self.on_link_len());
        (0..u32::from(self.options.host_reserve))
            .map(move |offset| Ipv4Network::new((first + offset).into(), len).expect("a mapping has legal lengths"))
    }

    /// The tunnel device that packets leave by: one shared by all IPIP fans of the host, or the fan's own VXLAN or WireGuard device.
    #[must_use]
    pub(crate) fn tunnel(&self) -> InterfaceName {
        match self.options.encapsulation {
            Encapsulation::Ipip => InterfaceName::shared_tunnel(),
            Encapsulation::Vxlan => InterfaceName::vxlan_tunnel(self.overlay().vni()),
            Encapsulation::Wireguard => self.tunnel_of(self.epochs.first().copied().unwrap_or(1)),
        }
    }

    /// The WireGuard device of an epoch.
    #[must_use]
    pub(crate) fn tunnel_of(&self, epoch: u32) -> InterfaceName {
        InterfaceName::wireguard_tunnel(self.overlay().vni(), epoch)
    }

    /// Every tunnel device that packets come by, that which they leave by first.
    pub(crate) fn tunnels(&self) -> impl Iterator<Item = InterfaceName> + use<> {
        let others: Vec<_> = self.epochs.iter().skip(1).map(|epoch| self.tunnel_of(*epoch)).collect();
        std::iter::once(self.tunnel()).chain(others)
    }

    /// The bridge's MAC address: locally administered, then the slice's network, so that it is unique in the overlay,
    /// predictable and stable.
    #[must_use]
    pub(crate) fn bridge_mac(&self) -> Mac {
        self.mac(0x02)
    }

    /// The VXLAN device's MAC address, made like the bridge's.
    #[must_use]
    pub(crate) fn tunnel_mac(&self) -> Mac {
        self.mac(0x06)
    }

    fn mac(&self, first: u8) -> Mac {
        let [a, b, c, d] = self.slice().network().octets();
        Mac([first, 0xfa, a, b, c, d])
    }

    /// The UDP port of VXLAN, or the first of WireGuard's; meaningless with IPIP, and then 0.
    #[must_use]
    pub(crate) fn port(&self) -> u16 {
        self.options.port.or(self.options.encapsulation.usual_port()).unwrap_or_default()
    }

    /// The UDP port that its packets go to; 0 over IPIP.
    #[must_use]
    pub(crate) fn carrier_port(&self) -> u16 {
        self.epochs.first().map_or(self.port(), |epoch| self.port_of(*epoch))
    }

    /// The UDP port of an epoch: neighbouring ones have different ports.
    #[must_use]
    pub(crate) fn port_of(&self, epoch: u32) -> u16 {
        self.port().saturating_add(port_of(epoch))
    }

    /// The UDP ports that belong to it, whether they are in use or not: one with VXLAN, two with WireGuard.
    #[must_use]
    pub(crate) fn ports(&self) -> Vec<u16> {
        match self.options.encapsulation {
            Encapsulation::Ipip => Vec::new(),
            Encapsulation::Vxlan => vec![self.port()],
            Encapsulation::Wireguard => vec![self.port_of(0), self.port_of(1)],
        }
    }

    /// The file of the secrets that it is encrypted by; none without encryption.
    #[must_use]
    pub(crate) fn key_file(&self) -> Option<&str> {
        self.options.key_file()
    }

    /// The routing table that holds the fan's routes.
    #[must_use]
    pub(crate) fn routing_table(&self) -> u32 {
        self.options.table.unwrap_or(MAIN_TABLE)
    }

    /// The bridge's name if nobody asks for another.
    #[must_use]
    pub(crate) fn default_bridge(&self) -> InterfaceName {
        InterfaceName::of_slice(self.slice())
    }

    /// Host address and underlay width, as `show` prints them: 172.30.0.28/16.
    #[must_use]
    pub(crate) fn underlay_address(&self) -> String {
        format!("{}/{}", self.host, self.mapping.underlay().network().prefix())
    }

    /// What differs from a plain fan, in words, those of 2015 first: `dhcp host-reserve 1 auto no-nat`.
    #[must_use]
    pub(crate) fn flags(&self) -> String {
        let reserve = Some(format!("host-reserve {}", self.options.host_reserve));
        let auto = self.auto.then(|| "auto".to_string());
        let dhcp = self.words(|key| key.name == "dhcp");
        let flags = dhcp.chain(reserve).chain(auto).chain(self.words(|key| key.name == "bridge"));
        flags.chain(self.words(|key| key.word.is_none())).collect::<Vec<_>>().join(" ")
    }

    /// The alias of the fan's bridge: everything about the fan but the bridge's own name. At most 255 bytes, the
    /// kernel's limit (`IFALIASZ`).
    #[must_use]
    pub fn label(&self) -> String {
        let (overlay, underlay, device) = (self.overlay(), self.underlay_address(), &self.device);
        let (encapsulation, reserve) = (self.options.encapsulation, self.options.host_reserve);
        let fixed = format!("fan {overlay} {underlay} dev {device} {encapsulation} host-reserve {reserve}");
        let mut words = vec![fixed];
        let epochs: Vec<String> = self.epochs.iter().map(ToString::to_string).collect();
        words.extend((!epochs.is_empty()).then(|| format!("epoch {}", epochs.join(","))));
        words.extend(self.words(|key| key.read_back != ReadBack::Place && key.name != "host-reserve"));
        words.extend(self.auto.then(|| "auto".to_string()));
        words.join(" ")
    }

    /// The words of the options that are not at their default, of some keys.
    fn words(&self, is_wanted: fn(&OptionKey) -> bool) -> impl Iterator<Item = String> + use<> {
        self.config().words().filter(move |(key, _)| is_wanted(key)).map(|(_, words)| words)
    }

    /// Reads a fan back from its bridge's name and alias; none when the alias is not one of ours.
    #[must_use]
    pub fn from_label(bridge: &InterfaceName, label: &str) -> Option<Self> {
        let words: Vec<&str> = label.split(' ').collect();
        let ["fan", overlay, underlay, "dev", device, encapsulation, options @ ..] = words.as_slice() else {
            return None;
        };
        let (options, auto) = match options {
            [options @ .., "auto"] => (options, true),
            options => (options, false),
        };
        let (options, epochs) = match options {
            ["host-reserve", reserve, "epoch", list, options @ ..] => {
                let epochs = list.split(',').map(mapping::digits).collect::<Option<Vec<u32>>>()?;
                ([&["host-reserve", *reserve], options].concat(), epochs)
            }
            options => (options.to_vec(), Vec::new()),
        };
        let (host, len) = underlay.split_once('/')?;
        let (host, len) = (host.parse().ok()?, len.parse().ok()?);
        let place = UnderlayPlace::Address(host);
        let mut config = Request::new(overlay.parse().ok()?, UnderlaySource { place, len });
        config.options.encapsulation = encapsulation.parse().ok()?;
        config.options.bridge = Some(bridge.clone());
        config.apply_label(&options).ok()?;
        let device: InterfaceName = device.parse().ok()?;
        let are_plain = bridge.is_plain() && device.is_plain();
        let fan = Self::new(&config, host, device).ok()?;
        let is_encrypted = fan.options.encapsulation == Encapsulation::Wireguard;
        let is_sound = is_encrypted == (1..=2).contains(&epochs.len()) && !epochs.contains(&0);
        (are_plain && is_sound).then_some(Self { epochs, auto, ..fan })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The fan of the announcement.
    pub(crate) fn announced() -> Fan {
        Fan::from_label(&"fan-250-0-28".parse().unwrap(), "fan 250.0.0.0/8 172.30.0.28/16 dev eth0 ipip host-reserve 1")
            .unwrap()
    }

    #[test]
    fn labels_are_read_back_as_written() {
        let plain = announced();
        let full = Fan {
            options: Options {
                encapsulation: Encapsulation::Vxlan,
                port: Some(4789),
                dhcp: true,
                host_reserve: 4,
                mtu: Some(1400),
                table: Some(4_294_967_295),
                nat: false,
                routed: "255.100.100.0/24,255.100.200.0/24".replace("255", "198").parse().unwrap(),
                flowtable: false,
                ..Options::default()
            },
            auto: true,
            bridge: "fifteen-letters".parse().unwrap(),
            device: "fifteen-letterz".parse().unwrap(),
            ..plain.clone()
        };
        for fan in [plain, full] {
            let label = fan.label();
            assert_eq!(Fan::from_label(&fan.bridge, &label), Some(fan), "{label}");
            assert!(label.len() <= 255);
        }
    }

    #[test]
    fn other_peoples_aliases_are_not_labels() {
        for alias in [
            "",
            "fan",
            "fan of music",
            "fan 250.0.0.0/8 172.30.0.28/16 dev eth0 ipip and more",
            "fan 250.0.0.0/8 172.30.0.28/16 dev eth0 ipip host-reserve 1 bridge br7",
            "fan 250.0.0.0/8 172.30.0.28/16 dev eth0 ipip overlay 251.0.0.0/8",
            "fan 250.0.0.0/8 172.30.0.28/16 dev eth0 ipip off",
            "fan 250.0.0.0/8 172.30.0.28/16 dev eth0 ipip mtu",
            "fan 250.0.0.0/8 172.30.0.28/16 dev eth0 ipip no-mtu",
            "fan 250.0.0.0/8 172.30.0.28/16 via eth0 ipip",
        ] {
            assert_eq!(Fan::from_label(&"br0".parse().unwrap(), alias), None, "{alias}");
        }
    }

    #[test]
    fn flags_are_those_that_differ() {
        let plain = announced();
        assert_eq!(plain.flags(), "host-reserve 1");
        let other = Fan {
            bridge: "br7".parse().unwrap(),
            auto: true,
            options: Options { dhcp: true, nat: false, flowtable: false, ..plain.options },
            ..plain
        };
        assert_eq!(other.flags(), "dhcp host-reserve 1 auto bridge br7 no-nat no-flowtable");
    }

    #[test]
    fn the_bridge_is_addressed_by_the_kind_of_network() {
        let fan = Fan { options: Options { host_reserve: 2, ..Options::default() }, ..announced() };
        let text = |fan: &Fan| fan.bridge_addresses().map(|a| a.to_string()).collect::<Vec<_>>();
        assert_eq!(text(&fan), ["250.0.28.1/24", "250.0.28.2/24"]);
        assert_eq!(
            text(&Fan { options: Options { encapsulation: Encapsulation::Vxlan, ..fan.options }, ..fan }),
            ["250.0.28.1/8", "250.0.28.2/8"]
        );
    }

    #[test]
    fn mac_addresses_are_local_unicast_and_tell_the_slice() {
        assert_eq!(announced().bridge_mac().to_string(), "02:fa:fa:00:1c:00");
        assert_eq!(announced().tunnel_mac().to_string(), "06:fa:fa:00:1c:00");
        assert_eq!(announced().bridge_mac().slice_of_bridge(), Some(announced().slice().network()));
        assert_eq!(announced().tunnel_mac().slice_of_bridge(), None);
    }
}
