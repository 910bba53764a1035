//! Each step as the `ip`, `tc`, `nft` or `sysctl` line that a person would type: for `--dry-run`, `-v` and messages.

use std::collections::BTreeSet;

use crate::fan::mapping::Overlay;
use crate::fan::name::InterfaceName;
use crate::fan::shell::Line;
use crate::plan::diff::Step;
use crate::plan::firewall::{Accept, FAMILIES, ForwardChain, table_name};
use crate::plan::host::Host;
use crate::plan::state::{
    Bridge, FORWARDED_GROUPS, FastPath, Filter, Ipv6, Object, PROTOCOL, Peers, RULE_PRIORITY, Route, RoutingTable,
    Setting, Slot, State, Tunnel, TunnelKind, UNREACHABLE_METRIC, vnis_but,
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
        Step::Change { from, to } => change(Some(from), to),
        Step::Delete(Object::FastPath(path)) => delete_fast_path(path),
        Step::Delete(object) => vec![delete(object)],
        Step::Hold(_) => Vec::new(),
        Step::Remake(object) => change(None, object),
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
                shell!("ip link add {} address {} type bridge group_fwd_mask {}", name, bridge.mac, FORWARDED_GROUPS),
                shell!("ip link set {} mtu {} alias {}", name, bridge.mtu, bridge.fan.label()),
            ];
            lines.extend(bridge_settings(None, bridge));
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

/// What makes an object another one: of a device, what differs, and all where nothing is known of it from before.
fn change(from: Option<&Object>, to: &Object) -> Vec<Line> {
    match to {
        Object::Bridge(bridge) => {
            change_bridge(from.and_then(|from| if let Object::Bridge(from) = from { Some(from) } else { None }), bridge)
        }
        Object::Tunnel(tunnel) => {
            change_tunnel(from.and_then(|from| if let Object::Tunnel(from) = from { Some(from) } else { None }), tunnel)
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
                Some(Object::FastPath(from)) => delete_fast_path(from),
                _ => Vec::new(),
            };
            lines.extend(create_fast_path(path));
            lines
        }
        other => create(other),
    }
}

fn change_bridge(from: Option<&Bridge>, to: &Bridge) -> Vec<Line> {
    let name = &to.fan.bridge;
    let mut lines = Vec::new();
    if let Some(from) = from {
        let old = &from.fan.bridge;
        lines.extend((old != name).then(|| shell!("ip link set {} name {}", old, name)));
        lines.extend((from.mac != to.mac).then(|| shell!("ip link set {} address {}", name, to.mac)));
    }
    let mtu = from.is_none_or(|from| from.mtu != to.mtu).then(|| shell!(" mtu {}", to.mtu));
    let label = to.fan.label();
    let alias = from.is_none_or(|from| from.fan.label() != label).then(|| shell!(" alias {}", label));
    if mtu.is_some() || alias.is_some() {
        lines.push(shell!("ip link set {}{}{}", name, mtu.unwrap_or_default(), alias.unwrap_or_default()));
    }
    lines.extend(bridge_settings(from, to));
    lines.extend(from.into_iter().flat_map(|from| altered(name, &from.changed, &to.changed)));
    lines
}

fn change_tunnel(from: Option<&Tunnel>, to: &Tunnel) -> Vec<Line> {
    let name = &to.name;
    let is_other = from.is_none_or(|from| from.mtu != to.mtu);
    let mut lines: Vec<Line> = is_other.then(|| shell!("ip link set {} mtu {}", name, to.mtu)).into_iter().collect();
    lines.extend(tunnel_settings(from, to));
    if let Some(Tunnel { kind: from, .. }) = from {
        if let (TunnelKind::Vxlan { vnis: from, .. }, TunnelKind::Vxlan { vnis: to, .. }) = (from, &to.kind) {
            let delete = |vnis| shell!("bridge vni delete vni {} dev {}", range(vnis), name);
            lines.extend(vnis_but(from, to).into_iter().map(delete));
        }
        lines.extend(altered(name, port(from), port(&to.kind)));
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
    let (epoch, count) = (peers.epoch, peers.hosts.len().to_string());
    shell!(
        "wg setconf {} CONFIGURATION  # key and {} peers computed from epoch {} of the key file, listen-port {}",
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
    lines.extend(tunnel_settings(None, tunnel));
    lines
}

fn tunnel_settings(from: Option<&Tunnel>, to: &Tunnel) -> Vec<Line> {
    let name = &to.name;
    let mut lines = ipv6(name, from.and_then(|from| from.ipv6), to.ipv6);
    lines.extend(setting(name, "forwarding", from.map(|from| from.forwarding), to.forwarding));
    if let TunnelKind::Wireguard { rp_filter, .. } = to.kind {
        let is = from.and_then(|from| from.kind.rp_filter());
        lines.extend((is != Some(rp_filter)).then(|| shell!("sysctl -w {}={}", name.setting("rp_filter"), rp_filter)));
        let (is, should) = (from.and_then(|from| from.kind.address()), to.kind.address());
        lines.extend(is.filter(|_| is != should).map(|is| shell!("ip address delete {}/32 dev {}", is, name)));
        lines.extend(
            should.filter(|_| is != should).map(|address| shell!("ip address add {}/32 dev {}", address, name)),
        );
    }
    if let TunnelKind::Vxlan { vnis, bridge, .. } = &to.kind {
        let (old_bridge, new_vnis) = match from.map(|from| &from.kind) {
            Some(TunnelKind::Vxlan { vnis: old, bridge, .. }) => (bridge.as_ref(), vnis_but(vnis, old)),
            _ => (None, vnis.clone()),
        };
        let master = bridge.as_ref().filter(|bridge| old_bridge != Some(*bridge));
        lines.extend(master.map(|bridge| shell!("ip link set {} master {}", name, bridge)));
        lines.extend(new_vnis.into_iter().map(|vnis| shell!("bridge vni add vni {} dev {}", range(vnis), name)));
    }
    lines
}

/// Network identifiers as `bridge vni` takes them.
fn range((first, last): (u32, u32)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

fn bridge_settings(from: Option<&Bridge>, to: &Bridge) -> Vec<Line> {
    let name = &to.fan.bridge;
    let forwarding = setting(name, "forwarding", from.map(|from| from.forwarding), to.forwarding);
    let redirects = setting(name, "send_redirects", from.map(|from| from.send_redirects), to.send_redirects);
    let mut lines: Vec<Line> = forwarding.into_iter().chain(redirects).collect();
    lines.extend(ipv6(name, from.and_then(|from| from.ipv6), to.ipv6));
    lines
}

fn setting(link: &InterfaceName, name: &str, from: Option<bool>, to: bool) -> Option<Line> {
    (from != Some(to)).then(|| shell!("sysctl -w {}={}", link.setting(name), u8::from(to)))
}

/// The settings of a tunnel as a port of its bridge.
fn port(kind: &TunnelKind) -> &BTreeSet<Setting> {
    const NONE: &BTreeSet<Setting> = &BTreeSet::new();
    match kind {
        TunnelKind::Vxlan { changed, .. } => changed,
        TunnelKind::Ipip | TunnelKind::Wireguard { .. } => NONE,
    }
}

fn ipv6(link: &InterfaceName, from: Option<Ipv6>, to: Option<Ipv6>) -> Vec<Line> {
    let Some(to) = to else { return Vec::new() };
    let mode = if to.automatic { "eui64" } else { "none" };
    let line = |setting, from: Option<bool>, to| {
        (from != Some(to)).then(|| shell!("sysctl -w {}={}", link.ipv6_setting(setting), u8::from(to)))
    };
    let is_other = from.is_none_or(|from| from.automatic != to.automatic);
    let lines = [
        is_other.then(|| shell!("ip link set {} addrgenmode {}", link, mode)),
        line("accept_ra", from.map(|from| from.accept_ra), to.accept_ra),
        line("accept_redirects", from.map(|from| from.accept_redirects), to.accept_redirects),
    ];
    lines.into_iter().flatten().collect()
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
