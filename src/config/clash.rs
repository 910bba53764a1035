//! Whether a fan can be beside those that were written down before it. What they have is looked up, and no fan is compared
//! with all others: the time that it takes grows with their number, not with its square.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ipnetwork::Ipv4Network;

use super::{Entry, Fault};
use crate::fan::encap::Encapsulation;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::fan::options::{KEYS, OptionKey};
use crate::fan::request::Request;

/// The index of the first entry that has each overlay, network, identifier or bridge.
#[derive(Default)]
pub(super) struct Known {
    /// The files that have just this fan.
    same: BTreeMap<String, BTreeSet<Rc<str>>>,
    /// The first fan of an overlay in each file, and the first that is on.
    overlays: BTreeMap<(Overlay, Rc<str>), (usize, Option<usize>)>,
    files: BTreeSet<Rc<str>>,
    /// The fans that are on: by their overlays, by the networks around these, and by what else only one can have.
    networks: BTreeMap<Ipv4Network, usize>,
    around: BTreeMap<Ipv4Network, usize>,
    identifiers: BTreeMap<u32, usize>,
    bridges: BTreeMap<InterfaceName, usize>,
}

impl Known {
    /// Adds a fan, or tells that another file has it already.
    ///
    /// # Errors
    /// Why it cannot be beside the first of `entries`, all that were added before, that stands in its way.
    pub(super) fn add(&mut self, entries: &[Entry], entry: &Entry) -> Result<bool, Fault> {
        super::work(1);
        let file = &entry.position.file;
        let text = format!("{:?}", entry.config);
        if self.same.get(&text).is_some_and(|files| files.iter().any(|other| other != file)) {
            return Ok(false);
        }
        let first = self.in_the_way(entry).min();
        if let Some(earlier) = first.map(|index| &entries[index])
            && !earlier.is_beside(entry)
            && earlier.config.agrees_with(&entry.config)
        {
            return Ok(false);
        }
        if let Some(fault) = first.and_then(|index| clash(&entries[index], entry)) {
            return Err(fault);
        }
        self.same.entry(text).or_default().insert(file.clone());
        self.note(entries.len(), entry);
        Ok(true)
    }

    /// The fans that may stand in the way of one.
    fn in_the_way(&self, entry: &Entry) -> impl Iterator<Item = usize> {
        let Entry { config, position, .. } = entry;
        let others = self.files.iter().filter(|file| **file != position.file);
        let twice = others.filter_map(|file| {
            let (first, first_on) = self.overlays.get(&(config.overlay, file.clone()))?;
            if config.options.enabled { Some(*first) } else { *first_on }
        });
        let network = config.overlay.network();
        let on = config.options.enabled.then(|| {
            let wider = networks_around(network).filter_map(|wider| self.networks.get(&wider));
            let narrower = self.around.get(&network);
            let identifier = identifier(config).and_then(|number| self.identifiers.get(&number));
            let bridge = config.options.bridge.as_ref().and_then(|bridge| self.bridges.get(bridge));
            wider.chain(narrower).chain(identifier).chain(bridge).copied()
        });
        let all: Vec<usize> = twice.chain(on.into_iter().flatten()).collect();
        super::work(all.len());
        all.into_iter()
    }

    fn note(&mut self, index: usize, entry: &Entry) {
        let Entry { config, position, .. } = entry;
        self.files.insert(position.file.clone());
        let on = config.options.enabled.then_some(index);
        let of_overlay = self.overlays.entry((config.overlay, position.file.clone()));
        let (_, first_on) = of_overlay.or_insert((index, on));
        *first_on = first_on.or(on);
        if !config.options.enabled {
            return;
        }
        let network = config.overlay.network();
        self.networks.entry(network).or_insert(index);
        for wider in networks_around(network) {
            self.around.entry(wider).or_insert(index);
        }
        if let Some(number) = identifier(config) {
            self.identifiers.entry(number).or_insert(index);
        }
        if let Some(bridge) = &config.options.bridge {
            self.bridges.entry(bridge.clone()).or_insert(index);
        }
    }
}

/// A network, and each that contains it.
fn networks_around(network: Ipv4Network) -> impl Iterator<Item = Ipv4Network> {
    let around = move |len| Ipv4Network::new(network.ip(), len).ok();
    let networks = (0..=network.prefix()).filter_map(around);
    networks.filter_map(|wider| Ipv4Network::new(wider.network(), wider.prefix()).ok())
}

/// The VXLAN identifier of a fan that has one.
fn identifier(config: &Request) -> Option<u32> {
    (config.options.encapsulation == Encapsulation::Vxlan).then(|| config.overlay.vni())
}

/// Why two fans cannot both be. One that is off is in nobody's way, unless the other file has it on.
fn clash(earlier: &Entry, entry: &Entry) -> Option<Fault> {
    let (one, two) = (&earlier.config, &entry.config);
    let same_file = earlier.is_beside(entry);
    let there = if same_file { format!("line {}", earlier.position.line) } else { earlier.position.to_string() };
    let fault = |key: &str, message: String| Some(Fault::new(entry.place(key), message));
    let both = one.options.enabled && two.options.enabled;
    if one.overlay == two.overlay && !same_file && (one.options.enabled || two.options.enabled) {
        return fault(
            "overlay",
            format!(
                "fan {} is not as in {there}: {}; let both files agree, or remove it from one",
                two.overlay,
                differences(one, two)
            ),
        );
    }
    if !both {
        return None;
    }
    if one.overlay == two.overlay {
        return fault(
            "overlay",
            format!(
                "overlay '{}' stands already in {there}, and a host has one slice of an overlay; remove one of the two, or \
                 switch it off",
                two.overlay
            ),
        );
    }
    if one.overlay.overlaps(two.overlay) {
        return fault(
            "overlay",
            format!("overlay '{}' overlaps '{}' in {there}; choose another overlay", two.overlay, one.overlay),
        );
    }
    if one.options.encapsulation == Encapsulation::Vxlan && two.options.encapsulation == Encapsulation::Vxlan {
        let vni = two.overlay.vni();
        if one.overlay.vni() == vni {
            return fault(
                "overlay",
                format!(
                    "overlay '{}' would share the VXLAN identifier {vni} with '{}' in {there}; choose another overlay",
                    two.overlay, one.overlay
                ),
            );
        }
    }
    let name_gives_way = one.bridge_gives_way || two.bridge_gives_way;
    match &two.options.bridge {
        Some(bridge) if one.options.bridge.as_ref() == Some(bridge) && !name_gives_way => {
            fault("bridge", format!("bridge '{bridge}' is that of the fan in {there} already; choose another name"))
        }
        _ => None,
    }
}

/// What two fans over one overlay say differently: `underlay 'eth1/16' here and 'eth0/16' there`.
fn differences(there: &Request, here: &Request) -> String {
    let name_gives_way = there.bridge_gives_way || here.bridge_gives_way;
    let value = |key: &OptionKey, config| key.get(config).map_or("the default".into(), |value| format!("'{value}'"));
    let differing =
        KEYS.iter().filter(|key| key.name != "bridge" || !name_gives_way).filter(|key| key.get(there) != key.get(here));
    let list: Vec<String> = differing
        .map(|key| format!("{} {} here and {} there", key.name, value(key, here), value(key, there)))
        .collect();
    list.join(", ")
}
