//! Each step as the `ip`, `tc`, `nft` or `sysctl` line that a person would type: for `--dry-run`, `-v` and messages.

use std::collections::BTreeSet;

use crate::firewall::{Accept, FAMILIES, ForwardChain, table_name};
use crate::host::Host;
use crate::mapping::Overlay;
use crate::name::InterfaceName;
use crate::object::{
    Bridge, Filter, Ipv6, Object, PROTOCOL, RULE_PRIORITY, Route, Setting, Slot, State, Table, Tunnel, TunnelKind,
    UNREACHABLE_METRIC,
};
use crate::plan::Step;

/// The line of the one thing that is asked of the machine and never taken back.
pub const IP_FORWARD: &str = "sysctl -w net.ipv4.ip_forward=1";

/// What kind of object it is, and its name, for messages: `bridge 'fan-250-0-28'`.
#[must_use]
pub fn describe(object: &Object) -> String {
    match object {
        Object::Unreachable(overlay, _) => format!("unreachable route '{overlay}'"),
        Object::Rule(overlay, _) => format!("rule 'to {overlay}'"),
        Object::Bridge(bridge) => format!("bridge '{}'", bridge.fan.bridge),
        Object::Tunnel(tunnel) => format!("tunnel '{}'", tunnel.name),
        Object::Address(address) => format!("address '{}' on '{}'", address.address, address.link),
        Object::Clsact(_, link) => format!("clsact of '{link}'"),
        Object::Filter(filter) => format!("{} filter of '{}'", filter.direction.as_str(), filter.link),
        Object::Firewall(overlay, _) => format!("nftables tables '{}'", table_name(*overlay)),
        Object::Accept(accept) => format!("rule for '{}' in chain '{}'", accept.bridge, accept.chain),
        Object::Up(_, link) => format!("link '{link}' up"),
        Object::Route(route) => format!("route '{}' to '{}'", route.destination, route.device),
        Object::Dhcp(dhcp) => format!("dhcp server on '{}'", dhcp.bridge),
    }
}

/// The verb of a step, for messages.
#[must_use]
pub fn verb(step: &Step) -> &'static str {
    match step {
        Step::Create(_) => "create",
        Step::Change { .. } => "change",
        Step::Delete(_) => "delete",
        Step::Hold(_) => "hold",
        Step::Remake(_) => "make anew",
    }
}

/// The lines of a step.
#[must_use]
pub fn lines(step: &Step) -> Vec<String> {
    match step {
        Step::Create(object) => create(object),
        Step::Change { from, to } => change(from, to),
        Step::Delete(object) => vec![delete(object)],
        Step::Hold(_) => Vec::new(),
        Step::Remake(object) => change(object, object),
    }
}

fn create(object: &Object) -> Vec<String> {
    match object {
        Object::Unreachable(overlay, table) => vec![format!("ip route add {}", unreachable(overlay, *table))],
        Object::Rule(overlay, table) => vec![format!("ip rule add {}", rule(overlay, *table))],
        Object::Bridge(bridge) => {
            let name = &bridge.fan.bridge;
            let mut lines = vec![
                format!("ip link add {name} address {} type bridge", bridge.mac),
                format!("ip link set {name} mtu {} alias '{}'", bridge.mtu, bridge.fan.label()),
            ];
            lines.extend(settings(name.as_str(), bridge.forwarding, Some(bridge.send_redirects)));
            lines.extend(ipv6(name, bridge.ipv6));
            lines.extend(altered(name, &BTreeSet::new(), &bridge.changed));
            lines
        }
        Object::Tunnel(tunnel) => create_tunnel(tunnel),
        Object::Address(address) => vec![format!(
            "ip address add {} broadcast {} dev {} noprefixroute",
            address.address,
            address.address.broadcast(),
            address.link
        )],
        Object::Clsact(_, link) => vec![format!("tc qdisc add dev {link} clsact")],
        Object::Filter(filter) => vec![attach("add", filter)],
        Object::Firewall(_, ruleset) => nft_script(ruleset.script()),
        Object::Accept(accept) => accept.insertion().map(|line| format!("nft '{line}'")).collect(),
        Object::Up(_, link) => vec![format!("ip link set {link} up")],
        Object::Route(route) => vec![format!("ip route add {}", self::route(route))],
        Object::Dhcp(dhcp) => vec![format!("dnsmasq {}", dhcp.arguments.join(" "))],
    }
}

fn change(from: &Object, to: &Object) -> Vec<String> {
    match to {
        Object::Bridge(bridge) => change_bridge(from, bridge),
        Object::Tunnel(tunnel) => {
            let mut lines = vec![format!("ip link set {} mtu {}", tunnel.name, tunnel.mtu)];
            lines.extend(tunnel_settings(tunnel));
            if let (Object::Tunnel(Tunnel { kind: from, .. }), to) = (from, &tunnel.kind) {
                lines.extend(altered(&tunnel.name, port(from), port(to)));
            }
            lines
        }
        Object::Filter(filter) => vec![attach("replace", filter)],
        Object::Firewall(overlay, ruleset) => {
            let mut lines = vec![delete_tables(*overlay)];
            lines.extend(nft_script(ruleset.script()));
            lines
        }
        Object::Route(route) => vec![format!("ip route replace {}", self::route(route))],
        other => create(other),
    }
}

fn change_bridge(from: &Object, to: &Bridge) -> Vec<String> {
    let name = &to.fan.bridge;
    let mut lines = Vec::new();
    if let Object::Bridge(from) = from {
        let old = &from.fan.bridge;
        lines.extend((old != name).then(|| format!("ip link set {old} name {name}")));
        lines.extend((from.mac != to.mac).then(|| format!("ip link set {name} address {}", to.mac)));
    }
    lines.push(format!("ip link set {name} mtu {} alias '{}'", to.mtu, to.fan.label()));
    lines.extend(settings(name.as_str(), to.forwarding, Some(to.send_redirects)));
    lines.extend(ipv6(name, to.ipv6));
    if let Object::Bridge(from) = from {
        lines.extend(altered(name, &from.changed, &to.changed));
    }
    lines
}

fn delete(object: &Object) -> String {
    match object {
        Object::Unreachable(overlay, table) => format!("ip route delete {}", unreachable(overlay, *table)),
        Object::Rule(overlay, table) => format!("ip rule delete {}", rule(overlay, *table)),
        Object::Bridge(bridge) => format!("ip link delete {}", bridge.fan.bridge),
        Object::Tunnel(tunnel) => format!("ip link delete {}", tunnel.name),
        Object::Address(address) => format!("ip address delete {} dev {}", address.address, address.link),
        Object::Clsact(_, link) => format!("tc qdisc delete dev {link} clsact"),
        Object::Filter(filter) => format!("tc filter delete dev {}", filter_place(filter)),
        Object::Firewall(overlay, _) => delete_tables(*overlay),
        Object::Accept(accept) => delete_rule(accept),
        Object::Up(_, link) => format!("ip link set {link} down"),
        Object::Route(route) => format!("ip route delete {}", self::route(route)),
        // Only in this network namespace, only the one of this bridge, and not a shell that has this line.
        Object::Dhcp(dhcp) => {
            format!(
                "pkill --ns $$ --nslist net -f '[d]nsmasq .*--interface={} '",
                dhcp.bridge
            )
        }
    }
}

fn unreachable(overlay: &impl std::fmt::Display, table: Table) -> String {
    format!(
        "unreachable {overlay} metric {UNREACHABLE_METRIC} proto {PROTOCOL}{}",
        in_table(table)
    )
}

fn rule(overlay: &impl std::fmt::Display, Table(table): Table) -> String {
    format!("to {overlay} lookup {table} priority {RULE_PRIORITY} protocol {PROTOCOL}")
}

fn route(route: &Route) -> String {
    let mtu = route.mtu.map(|mtu| format!(" mtu {mtu}")).unwrap_or_default();
    format!(
        "{} dev {} src {} proto {PROTOCOL} scope link{mtu}{}",
        route.destination,
        route.device,
        route.source,
        in_table(route.table)
    )
}

fn in_table(Table(table): Table) -> String {
    if table == crate::fan::MAIN_TABLE {
        String::new()
    } else {
        format!(" table {table}")
    }
}

fn create_tunnel(tunnel: &Tunnel) -> Vec<String> {
    let Tunnel { name, mtu, .. } = tunnel;
    let mut lines = match &tunnel.kind {
        TunnelKind::Ipip => vec![format!("ip link add {name} type ipip external")],
        TunnelKind::Vxlan { port, mac, .. } => vec![format!(
            "ip link add {name} address {mac} type vxlan external vnifilter dstport {port} nolearning"
        )],
    };
    lines.push(format!("ip link set {name} mtu {mtu} alias '{}'", tunnel.label()));
    lines.extend(tunnel_settings(tunnel));
    lines
}

fn tunnel_settings(tunnel: &Tunnel) -> Vec<String> {
    let name = tunnel.name.as_str();
    let mut lines = ipv6(&tunnel.name, tunnel.ipv6);
    lines.extend(settings(name, tunnel.forwarding, None));
    if let TunnelKind::Vxlan { vni, bridge, .. } = &tunnel.kind {
        lines.extend(
            bridge
                .iter()
                .map(|bridge| format!("ip link set {name} master {bridge}")),
        );
        lines.extend(vni.iter().map(|vni| format!("bridge vni add vni {vni} dev {name}")));
    }
    lines
}

fn settings(link: &str, forwarding: bool, send_redirects: Option<bool>) -> Vec<String> {
    let line = |setting: &str, on: bool| {
        // sysctl(8) reads a slash as the separator too, which a dot in an interface's name needs.
        format!("sysctl -w net/ipv4/conf/{link}/{setting}={}", u8::from(on))
    };
    let mut lines = vec![line("forwarding", forwarding)];
    lines.extend(send_redirects.map(|on| line("send_redirects", on)));
    lines
}

/// The settings of a tunnel as a port of its bridge.
fn port(kind: &TunnelKind) -> &BTreeSet<Setting> {
    const NONE: &BTreeSet<Setting> = &BTreeSet::new();
    match kind {
        TunnelKind::Vxlan { changed, .. } => changed,
        TunnelKind::Ipip => NONE,
    }
}

fn ipv6(link: &InterfaceName, ipv6: Option<Ipv6>) -> Vec<String> {
    let Some(ipv6) = ipv6 else { return Vec::new() };
    let mode = if ipv6.automatic { "eui64" } else { "none" };
    vec![
        format!("ip link set {link} addrgenmode {mode}"),
        format!("sysctl -w net/ipv6/conf/{link}/accept_ra={}", u8::from(ipv6.accept_ra)),
        format!(
            "sysctl -w net/ipv6/conf/{link}/accept_redirects={}",
            u8::from(ipv6.accept_redirects)
        ),
    ]
}

/// What gives a device other settings, those to take back first.
fn altered(link: &InterfaceName, from: &BTreeSet<Setting>, to: &BTreeSet<Setting>) -> Vec<String> {
    let line = |setting: &Setting, changed| setting.line(link.as_str(), changed);
    let gone = from.difference(to).map(|setting| line(setting, false));
    gone.chain(to.difference(from).map(|setting| line(setting, true)))
        .collect()
}

fn filter_place(filter: &Filter) -> String {
    let (preference, handle) = filter.slot.place();
    format!(
        "{} {} protocol all pref {preference} handle {handle:#x} bpf",
        filter.link,
        filter.direction.as_str()
    )
}

/// The program is generated, so that there is no file to name: the comment tells which one it is.
fn attach(verb: &str, filter: &Filter) -> String {
    let what = match filter.slot {
        Slot::Fan(overlay) => format!("the program of {overlay}"),
        Slot::Refuse => "a program that drops".to_string(),
    };
    format!(
        "tc filter {verb} dev {} direct-action object-pinned PROGRAM  # {what}: fanctl show --program",
        filter_place(filter)
    )
}

fn delete_tables(overlay: Overlay) -> String {
    let tables = FAMILIES.map(|family| format!("delete table {family} {}", table_name(overlay)));
    format!("nft '{}'", tables.join("; "))
}

/// A rule goes by its handle, which nft lists behind a '#'.
fn delete_rule(accept: &Accept) -> String {
    let Accept {
        overlay,
        chain,
        bridge,
        way,
    } = accept;
    let ours = format!("{} \"{bridge}\" .*\"fan {overlay}\"", way.as_str());
    format!("nft -a list chain ip filter {chain} | sed -n '\\|{ours}|s|.*#|delete rule ip filter {chain}|p' | nft -f -")
}

/// The line of what goes with the last rules of ours in Docker's chain, if these steps delete them: the chain, where nobody
/// else needs it, or iptables' table.
#[must_use]
pub fn emptied(steps: &[Step], owned: &State, host: &Host) -> Option<String> {
    let is_in_dockers =
        |object: &Object| matches!(object, Object::Accept(accept) if accept.chain == ForwardChain::DockerUser);
    let ours = owned.values().filter(|object| is_in_dockers(object)).count();
    let touched: Vec<&Step> = steps.iter().filter(|step| is_in_dockers(step.object())).collect();
    let all_go = ours > 0 && touched.len() == ours && touched.iter().all(|step| matches!(step, Step::Delete(_)));
    let removal = host.docker_user.removal().filter(|_| all_go)?;
    Some(format!("nft '{removal}'"))
}

fn nft_script(script: &str) -> Vec<String> {
    let mut lines = vec!["nft -f - <<'END'".to_string()];
    lines.extend(script.lines().map(str::to_string));
    lines.push("END".into());
    lines
}
