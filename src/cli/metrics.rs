//! `metrics`: the fans of this host for Prometheus, in its text format, as node-exporter's textfile collector takes it.
//!
//! Values of labels are bounded and escaped, and no other text of others is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write as _};
use std::io::{self, ErrorKind, Write};

use crate::cli::args::MetricsArgs;
use crate::diagnose::gather;
use crate::error::Error;
use crate::fan::Fan;
use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::fan::text::line;
use crate::kernel::file::{self, FILE_LIMIT};
use crate::kernel::{Machine, Scope, fast};
use crate::names::daemon::control::{self, HostEntry, Request, Response};
use crate::plan::desired::lease_file;
use crate::plan::firewall::{GuardRule, table_name};
use crate::plan::host::{Counters, FastPackets, Host, Link};
use crate::plan::state::{State, bridges};
use crate::plan::verdict::verdict;

/// How the names of all metrics begin.
const PREFIX: &str = "# HELP fanctl_";

/// Prints the metrics, or writes them.
pub(crate) fn metrics(args: &MetricsArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (owned, host) = Machine::connect()?.look(Scope::Own)?;
    let (configuration, _) = args.config.read();
    let mut page = Page::default();
    fans(&mut page, &owned, &host);
    let configured: Vec<Overlay> = configuration.enabled().map(|config| config.overlay).collect();
    let faulty = [(vec![], u64::from(!configuration.faults.is_empty()))];
    page.add("configuration_faulty", "gauge", "Whether the configuration has an error.", faulty);
    let up: BTreeSet<Overlay> = bridges(&owned).map(|bridge| bridge.fan.overlay()).collect();
    let is_up = |overlay: &Overlay| (overlay_label(*overlay), u64::from(up.contains(overlay)));
    page.add("configured_up", "gauge", "Whether a configured fan is up.", configured.iter().map(is_up));
    if host.privileged {
        refused(&mut page, &owned);
    }
    traffic(&mut page, &owned, &host);
    fast_path(&mut page, &owned, &host);
    names(&mut page, &owned);
    let replace = |there: &str| {
        let is_ours = there.starts_with(PREFIX);
        is_ours.then(|| page.text.clone()).ok_or_else(|| "holds no metrics of fanctl".to_string())
    };
    match args.target.output {
        // What a timer runs says nothing when all is well.
        Some(_) => args.target.write(&page.text, replace, &mut io::sink()),
        None => args.target.write(&page.text, replace, out),
    }
}

type Labels = Vec<(&'static str, String)>;

/// A page in the text format of Prometheus (version 0.0.4).
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    /// Adds a metric with its values; nothing where it has none.
    fn add(&mut self, name: &str, kind: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return;
        }
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{PREFIX}{name} {help}\n# TYPE fanctl_{name} {kind}");
        for (labels, value) in values {
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.text, "fanctl_{name}{labels} {value}");
        }
    }
}

/// The value of a label: one line of printable text, in which `\` and `"` are escaped.
fn escape(value: &str) -> String {
    line(value).replace('\\', r"\\").replace('"', "\\\"")
}

fn overlay_label(overlay: impl Display) -> Labels {
    vec![("overlay", overlay.to_string())]
}

/// What there is once for each fan that is up.
fn fans(page: &mut Page, owned: &State, host: &Host) {
    let all: Vec<_> = bridges(owned).map(|bridge| (bridge, verdict(&bridge.fan, owned, host))).collect();
    let each = |value: &dyn Fn(usize) -> u64| -> Vec<(Labels, u64)> {
        let number = |index: usize| (overlay_label(all[index].0.fan.overlay()), value(index));
        (0..all.len()).map(number).collect()
    };
    let info = all.iter().map(|(bridge, _)| (info(&bridge.fan), 1));
    page.add("info", "gauge", "A fan that is up.", info);
    let complete = each(&|index| u64::from(all[index].1.complete));
    page.add("complete", "gauge", "Whether the kernel holds all that belongs to the fan.", complete);
    let older = each(&|index| u64::from(all[index].1.older));
    page.add("older", "gauge", "Whether an earlier version made the fan, and nothing else differs.", older);
    page.add("mtu_bytes", "gauge", "MTU of the bridge.", each(&|index| all[index].0.mtu.into()));
    let ports = each(&|index| host.foreign_ports(&all[index].0.fan.bridge).count() as u64);
    page.add("ports", "gauge", "Ports of the bridge, but for the tunnel.", ports);
    let leases = all.iter().filter_map(|(bridge, _)| {
        let leases = bridge.fan.options.dhcp.then(|| file::read(lease_file(&bridge.fan), FILE_LIMIT).ok())??;
        let leases = leases.split_inclusive(|byte| *byte == b'\n').count() as u64;
        Some((overlay_label(bridge.fan.overlay()), leases))
    });
    page.add("dhcp_leases", "gauge", "Leases that the DHCP server has given out.", leases);
}

fn info(fan: &Fan) -> Labels {
    let mut labels = overlay_label(fan.overlay());
    labels.extend([
        ("bridge", fan.bridge.to_string()),
        ("underlay", fan.underlay_address()),
        ("interface", fan.device.to_string()),
        ("slice", fan.slice().to_string()),
        ("encap", fan.options.encapsulation.to_string()),
    ]);
    labels
}

/// Packets that the rules of each fan have refused, by rule.
fn refused(page: &mut Page, owned: &State) {
    let (tables, _) = gather::netfilter::observe();
    let mut values: BTreeMap<(Overlay, &'static str), u64> = BTreeMap::new();
    for bridge in bridges(owned) {
        let overlay = bridge.fan.overlay();
        let own = tables.iter().filter(|table| table.name == table_name(overlay));
        for rule in own.flat_map(|table| table.chains.values()).flat_map(|chain| &chain.rules) {
            // The first one drops nothing.
            let named = GuardRule::of(&rule.text).filter(|named| *named != GuardRule::EncapsulatedForAHost);
            if let (Some(named), Some(packets)) = (named, rule.packets) {
                *values.entry((overlay, named.as_str())).or_default() += packets;
            }
        }
    }
    let values = values.into_iter().map(|((overlay, rule), packets)| {
        let mut labels = overlay_label(overlay);
        labels.push(("rule", rule.replace(' ', "_")));
        (labels, packets)
    });
    page.add("refused_packets_total", "counter", "Packets that a rule of the fan has refused.", values);
}

/// Packets of bridges and tunnels. Fans over IPIP share a tunnel, and so its counters.
fn traffic(page: &mut Page, owned: &State, host: &Host) {
    let names: BTreeSet<InterfaceName> =
        bridges(owned).flat_map(|bridge| [bridge.fan.bridge.clone(), bridge.fan.tunnel()]).collect();
    let links: Vec<&Link> = names.iter().filter_map(|name| host.link(name)).collect();
    let mut add = |name: &str, help: &str, value: fn(&Counters) -> u64| {
        let values = links.iter().map(|link| (vec![("device", link.name.to_string())], value(&link.counters)));
        page.add(&format!("device_{name}_packets_total"), "counter", help, values);
    };
    add("received", "Packets that came in by a bridge or tunnel.", |counters| counters.received);
    add("sent", "Packets that went out by a bridge or tunnel.", |counters| counters.sent);
    add("filtered", "Packets that the programs on a tunnel have refused.", |counters| counters.refused);
}

/// Packets of the fast paths, which bridges and tunnels do not count.
fn fast_path(page: &mut Page, owned: &State, host: &Host) {
    let overlays = bridges(owned).map(|bridge| bridge.fan.overlay());
    let all: Vec<_> = overlays.filter_map(|overlay| Some((overlay, fast::packets(overlay, host)?))).collect();
    let mut add = |name: &str, help: &str, value: fn(&FastPackets) -> u64| {
        let values = all.iter().map(|(overlay, packets)| (overlay_label(*overlay), value(packets)));
        page.add(&format!("fast_{name}_packets_total"), "counter", help, values);
    };
    add("received", "Packets that came in by the fast path.", |packets| packets.received);
    add("sent", "Packets that went out by the fast path.", |packets| packets.sent);
}

/// Who is there and has names, of the fans that have them; root alone is told that.
fn names(page: &mut Page, owned: &State) {
    let fans = bridges(owned).filter(|bridge| bridge.fan.options.names);
    let overlays: Vec<Overlay> = fans.map(|bridge| bridge.fan.overlay()).collect();
    if overlays.is_empty() {
        return;
    }
    let entries = match control::ask(&Request::Hosts) {
        Ok(Response::Hosts(entries)) => entries,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return,
        _ => Vec::new(),
    };
    let of = |overlay: &Overlay| -> Vec<&HostEntry> {
        entries.iter().filter(|entry| entry.overlay == overlay.network()).collect()
    };
    let served = overlays.iter().map(|overlay| (overlay_label(*overlay), u64::from(!of(overlay).is_empty())));
    page.add("names_served", "gauge", "Whether the daemon of names answers for the fan.", served);
    let mut hosts: BTreeMap<(Overlay, &str), u64> = BTreeMap::new();
    for (overlay, entry) in
        overlays.iter().flat_map(|overlay| of(overlay).into_iter().map(move |entry| (*overlay, entry)))
    {
        *hosts.entry((overlay, entry.state.as_str())).or_default() += 1;
    }
    let hosts = hosts.into_iter().map(|((overlay, state), count)| {
        let mut labels = overlay_label(overlay);
        labels.push(("state", state.to_string()));
        (labels, count)
    });
    page.add("names_hosts", "gauge", "Hosts, by what fanctl names hosts says of them.", hosts);
    let known = overlays.iter().filter(|overlay| !of(overlay).is_empty()).map(|overlay| {
        let here = of(overlay).into_iter().filter(|entry| control::is_here(entry));
        (overlay_label(*overlay), here.map(|entry| entry.names as u64).sum())
    });
    page.add("names", "gauge", "Names of the hosts that are there, each with each address.", known);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_are_escaped() {
        let mut page = Page::default();
        page.add("ports", "gauge", "Ports.", [(vec![("bridge", "a\"b\\\nc\u{1b}".to_string())], 2)]);
        let text =
            "# HELP fanctl_ports Ports.\n# TYPE fanctl_ports gauge\nfanctl_ports{bridge=\"a\\\"b\\\\ c\\\\x1b\"} 2\n";
        assert_eq!(page.text, text);
        page.add("none", "gauge", "None.", []);
        assert_eq!(page.text, text);
    }
}
