//! Each step as the `ip`, `tc`, `nft` or `sysctl` line that a person would type: for `--dry-run`, `-v` and messages.

use std::collections::BTreeSet;

use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::fan::shell::Line;
use crate::plan::diff::Step;
use crate::plan::firewall::{Accept, FAMILIES, ForwardChain, table_name};
use crate::plan::host::Host;
use crate::plan::state::{
    Bridge, FastPath, Filter, Ipv6, Object, PROTOCOL, Peers, RULE_PRIORITY, Route, RoutingTable, Setting, Slot, State,
    Tunnel, TunnelKind, UNREACHABLE_METRIC, vnis_but,
};
use crate::shell;

/// The line of the one thing that is asked of the machine and never taken back.
pub(crate) const IP_FORWARD: &str = "sysctl -w net.ipv4.ip_forward=1";

/// What kind of object it is, and its name, for messages: `bridge 'fan-250-0-28'`.
#[must_use]
pub(crate) fn describe(object: &Object) -> String {
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
        Object::Peers(peers) => format!("key and {} of '{}'", peers.count(), peers.link),
        Object::Up(_, link) => format!("link '{link}' up"),
        Object::FastPath(path) => format!("fast path of fan {}", path.overlay),
        Object::Route(route) => format!("route '{}' to '{}'", route.destination, route.device),
        Object::Dhcp(dhcp) => format!("dhcp server on '{}'", dhcp.bridge),
    }
}

/// The verb of a step, for messages.
#[must_use]
pub(crate) fn verb(step: &Step) -> &'static str {
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
    let lines = match step {
        Step::Create(object) => create(object),
        Step::Change { from, to } => change(from, to),
        Step::Delete(Object::FastPath(path)) => delete_fast_path(path),
        Step::Delete(object) => vec![delete(object)],
        Step::Hold(_) => Vec::new(),
        Step::Remake(object) => change(object, object),
    };
    lines.into_iter().map(String::from).collect()
}

fn create(object: &Object) -> Vec<Line> {
    match object {
        Object::Unreachable(overlay, table) => vec![shell!("ip route add {}", unreachable(*overlay, *table))],
        Object::Rule(overlay, table) => vec![shell!("ip rule add {}", rule(*overlay, *table))],
        Object::Bridge(bridge) => {
            let name = &bridge.fan.bridge;
            let mut lines = vec![
                shell!("ip link add {} address {} type bridge", name, bridge.mac),
                shell!("ip link set {} mtu {} alias {}", name, bridge.mtu, bridge.fan.label()),
            ];
            lines.extend(settings(name, bridge.forwarding, Some(bridge.send_redirects)));
            lines.extend(ipv6(name, bridge.ipv6));
            lines.extend(altered(name, &BTreeSet::new(), &bridge.changed));
            lines
        }
        Object::Tunnel(tunnel) => create_tunnel(tunnel),
        Object::Address(address) => vec![shell!(
            "ip address add {} broadcast {} dev {} noprefixroute",
            address.address,
            address.address.broadcast(),
            address.link
        )],
        Object::Clsact(_, link) => vec![shell!("tc qdisc add dev {} clsact", link)],
        Object::Filter(filter) => vec![attach(&shell!("add"), filter)],
        Object::Firewall(_, ruleset) => nft_script(ruleset.script()),
        Object::Accept(accept) => accept.insertion().map(|line| shell!("nft {}", line)).collect(),
        Object::Peers(peers) => vec![set_peers(peers)],
        Object::Up(_, link) => vec![shell!("ip link set {} up", link)],
        Object::Route(route) => vec![shell!("ip route add {}", self::route(route))],
        Object::FastPath(path) => create_fast_path(path),
        Object::Dhcp(dhcp) => {
            let line = |arguments: &Vec<String>| Line::command("dnsmasq", arguments);
            dhcp.arguments.iter().map(line).collect()
        }
    }
}

fn change(from: &Object, to: &Object) -> Vec<Line> {
    match to {
        Object::Bridge(bridge) => change_bridge(from, bridge),
        Object::Tunnel(tunnel) => {
            let mut lines = vec![shell!("ip link set {} mtu {}", tunnel.name, tunnel.mtu)];
            lines.extend(tunnel_settings(tunnel));
            if let (Object::Tunnel(Tunnel { kind: from, .. }), to) = (from, &tunnel.kind) {
                if let (TunnelKind::Vxlan { vnis: from, .. }, TunnelKind::Vxlan { vnis: to, .. }) = (from, to) {
                    let delete = |vnis| shell!("bridge vni delete vni {} dev {}", range(vnis), tunnel.name);
                    lines.extend(vnis_but(from, to).into_iter().map(delete));
                }
                lines.extend(altered(&tunnel.name, port(from), port(to)));
            }
            lines
        }
        Object::Filter(filter) => vec![attach(&shell!("replace"), filter)],
        Object::Firewall(overlay, ruleset) => {
            let mut lines = vec![delete_tables(*overlay)];
            lines.extend(nft_script(ruleset.script()));
            lines
        }
        Object::Route(route) => vec![shell!("ip route replace {}", self::route(route))],
        Object::FastPath(path) => {
            let mut lines = match from {
                Object::FastPath(from) => delete_fast_path(from),
                _ => Vec::new(),
            };
            lines.extend(create_fast_path(path));
            lines
        }
        other => create(other),
    }
}

fn change_bridge(from: &Object, to: &Bridge) -> Vec<Line> {
    let name = &to.fan.bridge;
    let mut lines = Vec::new();
    if let Object::Bridge(from) = from {
        let old = &from.fan.bridge;
        lines.extend((old != name).then(|| shell!("ip link set {} name {}", old, name)));
        lines.extend((from.mac != to.mac).then(|| shell!("ip link set {} address {}", name, to.mac)));
    }
    lines.push(shell!("ip link set {} mtu {} alias {}", name, to.mtu, to.fan.label()));
    lines.extend(settings(name, to.forwarding, Some(to.send_redirects)));
    lines.extend(ipv6(name, to.ipv6));
    if let Object::Bridge(from) = from {
        lines.extend(altered(name, &from.changed, &to.changed));
    }
    lines
}

fn delete(object: &Object) -> Line {
    match object {
        Object::Unreachable(overlay, table) => shell!("ip route delete {}", unreachable(*overlay, *table)),
        Object::Rule(overlay, table) => shell!("ip rule delete {}", rule(*overlay, *table)),
        Object::Bridge(bridge) => shell!("ip link delete {}", bridge.fan.bridge),
        Object::Tunnel(tunnel) => shell!("ip link delete {}", tunnel.name),
        Object::Address(address) => shell!("ip address delete {} dev {}", address.address, address.link),
        Object::Clsact(_, link) => shell!("tc qdisc delete dev {} clsact", link),
        Object::Filter(filter) => shell!("tc filter delete dev {}", filter_place(filter)),
        Object::Firewall(overlay, _) => delete_tables(*overlay),
        Object::Accept(accept) => delete_rule(accept),
        Object::Peers(peers) => shell!("wg syncconf {} /dev/null", peers.link),
        Object::Up(_, link) => shell!("ip link set {} down", link),
        Object::Route(route) => shell!("ip route delete {}", self::route(route)),
        Object::FastPath(path) => shell!("ip link delete {}", path.port()),
        // Only in these namespaces, only the one of this bridge, and not a shell that has this line.
        Object::Dhcp(dhcp) => {
            let pattern = format!("[d]nsmasq .*--interface={} ", dhcp.bridge);
            shell!("pkill --ns $$ --nslist net,user -f {}", pattern)
        }
    }
}

/// Keys are not printed: the comment tells what they are computed from.
fn set_peers(peers: &Peers) -> Line {
    let (epoch, count) = (peers.epoch, peers.count());
    shell!(
        "wg setconf {} CONFIGURATION  # key and {} computed from epoch {} of the key file, listen-port {}",
        peers.link,
        count,
        epoch,
        peers.port
    )
}

/// The programs are generated, and share maps that are made with them.
fn create_fast_path(path: &FastPath) -> Vec<Line> {
    let port = path.port();
    let mut lines = vec![
        shell!("ip link add {} mtu 65535 type dummy", port),
        shell!("ip link set {} alias {} addrgenmode none master {} up", port, path.label(), path.bridge),
        shell!("bridge link set dev {} learning off flood off mcast_flood off bcast_flood off", port),
    ];
    lines.extend([&path.bridge, &path.device].map(|device| shell!("tc qdisc add dev {} clsact", device)));
    lines.extend(path.hooks().map(|(device, direction)| {
        let (preference, handle) = Slot::Fan(path.overlay).place();
        shell!(
            "tc filter add dev {} {} protocol all pref {} handle {} bpf direct-action object-pinned PROGRAM",
            device,
            direction.as_str(),
            preference,
            format!("{handle:#x}")
        )
    }));
    lines
}

fn delete_fast_path(path: &FastPath) -> Vec<Line> {
    let filters = path.hooks().into_iter().rev().map(|(device, direction)| {
        let (preference, handle) = Slot::Fan(path.overlay).place();
        shell!(
            "tc filter delete dev {} {} protocol all pref {} handle {} bpf",
            device,
            direction.as_str(),
            preference,
            format!("{handle:#x}")
        )
    });
    filters.chain([shell!("ip link delete {}", path.port())]).collect()
}

fn unreachable(overlay: Overlay, table: RoutingTable) -> Line {
    let (metric, place) = (UNREACHABLE_METRIC, in_table(table));
    shell!("unreachable {} metric {} proto {}{}", overlay, metric, PROTOCOL, place)
}

fn rule(overlay: Overlay, RoutingTable(table): RoutingTable) -> Line {
    shell!("to {} lookup {} priority {} protocol {}", overlay, table, RULE_PRIORITY, PROTOCOL)
}

fn route(route: &Route) -> Line {
    shell!(
        "{} dev {} src {} proto {} scope link{}{}",
        route.destination,
        route.device,
        route.source,
        PROTOCOL,
        route.mtu.map_or_else(Line::default, |mtu| shell!(" mtu {}", mtu)),
        in_table(route.table)
    )
}

fn in_table(RoutingTable(table): RoutingTable) -> Line {
    if table == crate::fan::options::MAIN_TABLE { Line::default() } else { shell!(" table {}", table) }
}

fn create_tunnel(tunnel: &Tunnel) -> Vec<Line> {
    let Tunnel { name, mtu, .. } = tunnel;
    let mut lines = match &tunnel.kind {
        TunnelKind::Ipip => vec![shell!("ip link add {} type ipip external", name)],
        TunnelKind::Wireguard { .. } => vec![shell!("ip link add {} type wireguard", name)],
        TunnelKind::Vxlan { port, sources: (first, last), mac, .. } => vec![shell!(
            "ip link add {} address {} type vxlan external vnifilter dstport {} srcport {} {} nolearning",
            name,
            mac,
            port,
            first,
            last
        )],
    };
    lines.push(shell!("ip link set {} mtu {} alias {}", name, mtu, tunnel.label()));
    lines.extend(tunnel_settings(tunnel));
    lines
}

fn tunnel_settings(tunnel: &Tunnel) -> Vec<Line> {
    let name = &tunnel.name;
    let mut lines = ipv6(name, tunnel.ipv6);
    lines.extend(settings(name, tunnel.forwarding, None));
    if let TunnelKind::Vxlan { vnis, bridge, .. } = &tunnel.kind {
        lines.extend(bridge.iter().map(|bridge| shell!("ip link set {} master {}", name, bridge)));
        lines.extend(vnis.iter().map(|vnis| shell!("bridge vni add vni {} dev {}", range(*vnis), name)));
    }
    lines
}

/// Network identifiers as `bridge vni` takes them.
fn range((first, last): (u32, u32)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

fn settings(link: &InterfaceName, forwarding: bool, send_redirects: Option<bool>) -> Vec<Line> {
    let line = |setting: &str, on: bool| shell!("sysctl -w {}={}", link.setting(setting), u8::from(on));
    let mut lines = vec![line("forwarding", forwarding)];
    lines.extend(send_redirects.map(|on| line("send_redirects", on)));
    lines
}

/// The settings of a tunnel as a port of its bridge.
fn port(kind: &TunnelKind) -> &BTreeSet<Setting> {
    const NONE: &BTreeSet<Setting> = &BTreeSet::new();
    match kind {
        TunnelKind::Vxlan { changed, .. } => changed,
        TunnelKind::Ipip | TunnelKind::Wireguard { .. } => NONE,
    }
}

fn ipv6(link: &InterfaceName, ipv6: Option<Ipv6>) -> Vec<Line> {
    let Some(ipv6) = ipv6 else { return Vec::new() };
    let mode = if ipv6.automatic { "eui64" } else { "none" };
    let line = |setting, on| shell!("sysctl -w {}={}", link.ipv6_setting(setting), u8::from(on));
    vec![
        shell!("ip link set {} addrgenmode {}", link, mode),
        line("accept_ra", ipv6.accept_ra),
        line("accept_redirects", ipv6.accept_redirects),
    ]
}

/// What gives a device other settings, those to take back first.
fn altered(link: &InterfaceName, from: &BTreeSet<Setting>, to: &BTreeSet<Setting>) -> Vec<Line> {
    let gone = from.difference(to).map(|setting| setting.line(link, false));
    gone.chain(to.difference(from).map(|setting| setting.line(link, true))).collect()
}

fn filter_place(filter: &Filter) -> Line {
    let (preference, handle) = filter.slot.place();
    shell!(
        "{} {} protocol all pref {} handle {} bpf",
        filter.link,
        filter.direction.as_str(),
        preference,
        format!("{handle:#x}")
    )
}

/// The program is generated, so that there is no file to name: the comment tells which one it is.
fn attach(verb: &Line, filter: &Filter) -> Line {
    let what = match filter.slot {
        Slot::Fan(overlay) => shell!("the program of {}", overlay),
        Slot::Refuse => shell!("a program that drops"),
    };
    shell!(
        "tc filter {} dev {} direct-action object-pinned PROGRAM  # {}: fanctl show --program",
        verb,
        filter_place(filter),
        what
    )
}

fn delete_tables(overlay: Overlay) -> Line {
    // One that is gone already is made first, so that the other goes.
    let name = table_name(overlay);
    let tables = FAMILIES.map(|family| format!("add table {family} {name}; delete table {family} {name}"));
    shell!("nft {}", tables.join("; "))
}

/// A rule goes by its handle, which nft lists behind a '#'.
fn delete_rule(accept: &Accept) -> Line {
    let Accept { overlay, chain, bridge, way } = accept;
    let ours = format!("{} \"{bridge}\" .*\"fan {overlay}\"", way.as_str());
    let script = format!("\\|{ours}|s|.*#|delete rule ip filter {chain}|p");
    shell!("nft -a list chain ip filter {} | sed -n {} | nft -f -", chain.to_string(), script)
}

/// The line of what goes with the last rules of ours in Docker's chain, if these steps delete them: the chain, where nobody
/// else needs it, or iptables' table.
#[must_use]
pub(crate) fn emptied(steps: &[Step], owned: &State, host: &Host) -> Option<String> {
    let is_in_dockers =
        |object: &Object| matches!(object, Object::Accept(accept) if accept.chain == ForwardChain::DockerUser);
    let ours = owned.values().filter(|object| is_in_dockers(object)).count();
    let touched: Vec<&Step> = steps.iter().filter(|step| is_in_dockers(step.object())).collect();
    let all_go = ours > 0 && touched.len() == ours && touched.iter().all(|step| matches!(step, Step::Delete(_)));
    let removal = host.docker_user.removal().filter(|_| all_go)?;
    Some(shell!("nft {}", removal).into())
}

fn nft_script(script: &str) -> Vec<Line> {
    Line::here_document("nft -f -", script)
}
